"""Registries of tiny packages that are made here, over HTTP: npm's, and a gem server as Bundler asks it (the compact index)."""

import base64
import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading


def tar(files, mode=None):
    """A tar of {path: text}."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            data = text if isinstance(text, bytes) else text.encode()
            info.mode, info.size = mode or 0o644, len(data)
            t.addfile(info, io.BytesIO(data))
    return made.getvalue()


def gzipped(data):
    return gzip.compress(data, mtime=0)


class Shelf:
    """Answers GET with what lies at the path, else 404; asked: the paths; given: the credentials that came along."""

    def __init__(self, listener=None):
        self.lies, self.asked, self.given = {}, [], set()
        shelf = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path = self.path.split("?")[0].replace("%2f", "/")
                shelf.asked.append(path)
                shelf.given.add(self.headers.get("Authorization"))
                body = shelf.lies.get(path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Type", "application/json" if body and body[:1] == b"{" else "application/octet-stream")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=listener is None)
        self.server.daemon_threads = True
        if listener:
            self.server.socket.close()
            self.server.socket = listener
        self.port = self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Npm:
    """What npm's registry says, of packages that hold one index.js."""

    def __init__(self, shelf, url):
        self.shelf, self.url, self.packages = shelf, url, {}

    def add(self, name, version, text, script=None, **more):
        manifest = {"name": name, "version": version, "main": "index.js", **more}
        data = gzipped(tar({"package/package.json": json.dumps(manifest), "package/index.js": text, **({"package/script.js": script} if script else {})}))
        path = f"/{name}/-/{name}-{version}.tgz"
        dist = {"tarball": self.url + path, "shasum": hashlib.sha1(data).hexdigest(), "integrity": "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()}
        versions = self.packages.setdefault(name, {})
        versions[version] = {**manifest, "dist": dist, **({"hasInstallScript": True} if script else {})}
        self.shelf.lies[path] = data
        self.shelf.lies["/" + name] = json.dumps({"name": name, "dist-tags": {"latest": version}, "versions": versions}).encode()


class Gems:
    """A gem server, of gems that hold one lib/NAME.rb."""

    def __init__(self, shelf):
        self.shelf, self.gems = shelf, {}

    def add(self, name, version, text, requires=(), extensions=None):
        extensions = extensions or {}
        needs = "".join(f"- !ruby/object:Gem::Dependency\n  name: {r}\n  type: :runtime\n  prerelease: false\n  requirement: &any\n    !ruby/object:Gem::Requirement\n    requirements:\n    - - '>='\n      - !ruby/object:Gem::Version\n"
                        "        version: '0'\n  version_requirements: *any\n" for r in requires)
        metadata = (f"--- !ruby/object:Gem::Specification\nname: {name}\nversion: !ruby/object:Gem::Version\n  version: '{version}'\nplatform: ruby\nauthors:\n- test\nautorequire:\nbindir: bin\ncert_chain: []\n"
                    f"date: 2020-01-01 00:00:00.000000000 Z\ndependencies:{' []' if not needs else ''}\n{needs}description: test\nemail:\nexecutables: []\nextensions: {json.dumps(list(extensions))}\nextra_rdoc_files: []\nfiles:\n- lib/{name}.rb\n"
                    "homepage: http://example.org\nlicenses: []\nmetadata: {}\npost_install_message:\nrdoc_options: []\nrequire_paths:\n- lib\nrequired_ruby_version: !ruby/object:Gem::Requirement\n  requirements:\n  - - '>='\n"
                    "    - !ruby/object:Gem::Version\n      version: '0'\nrequired_rubygems_version: !ruby/object:Gem::Requirement\n  requirements:\n  - - '>='\n    - !ruby/object:Gem::Version\n      version: '0'\n"
                    "requirements: []\nrubygems_version: 3.3.15\nsigning_key:\nspecification_version: 4\nsummary: test\ntest_files: []\n")
        files = {f"lib/{name}.rb": text, **extensions}
        data = tar({"metadata.gz": gzipped(metadata.encode()), "data.tar.gz": gzipped(tar(files))})
        self.shelf.lies[f"/gems/{name}-{version}.gem"] = data
        lines = self.gems.setdefault(name, [])
        lines.append((version, f"{version} {','.join(r + ':>= 0' for r in requires)}|checksum:{hashlib.sha256(data).hexdigest()}\n"))
        self.publish()

    def publish(self):
        versions = "created_at: 2020-01-01T00:00:00Z\n---\n"
        for name, lines in sorted(self.gems.items()):
            info = ("---\n" + "".join(line for _, line in lines)).encode()
            self.shelf.lies["/info/" + name] = info
            versions += f"{name} {','.join(v for v, _ in lines)} {hashlib.md5(info).hexdigest()}\n"
        self.shelf.lies["/versions"] = versions.encode()
        self.shelf.lies["/names"] = ("---\n" + "".join(n + "\n" for n in sorted(self.gems))).encode()
