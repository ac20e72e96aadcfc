"""An apt repository of tiny packages that are made here, over HTTP."""

import functools
import gzip
import hashlib
import http.server
import os
import subprocess
import threading


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Repository:
    def __init__(self, directory, listener=None, address="127.0.0.1"):
        self.top = str(directory)
        os.makedirs(self.top + "/pool")
        self.packages = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=self.top), bind_and_activate=listener is None)
        if listener:
            self.server.socket.close()
            self.server.socket = listener
        self.source = f"deb [trusted=yes] http://{address}:{self.server.socket.getsockname()[1]}/ ./"
        self.architecture = subprocess.run(["dpkg", "--print-architecture"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, name, version, files, depends="", script=None, recommends=""):
        """files: {path: text or bytes, which is a program; its name may end with setuid}, or {"path -> target": ""}"""
        tree = f"{self.top}/trees/{name}_{version}"
        os.makedirs(tree + "/DEBIAN")
        for path, text in files.items():
            path, _, target = path.partition(" -> ")
            os.makedirs(os.path.dirname(f"{tree}/{path}"), exist_ok=True)
            if target:
                os.symlink(target, f"{tree}/{path}")
                continue
            data = text if isinstance(text, bytes) else text.encode()
            with open(f"{tree}/{path}", "wb") as f:
                f.write(data)
            os.chmod(f"{tree}/{path}", 0o4755 if path.endswith("setuid") else 0o755 if isinstance(text, bytes) or text.startswith("#!") else 0o644)
        control = f"Package: {name}\nVersion: {version}\nArchitecture: {self.architecture}\nMaintainer: test\n" + (f"Depends: {depends}\n" if depends else "") + (f"Recommends: {recommends}\n" if recommends else "") + "Description: test\n"
        with open(tree + "/DEBIAN/control", "w", encoding="utf-8") as f:
            f.write(control)
        if script:
            with open(tree + "/DEBIAN/postinst", "w", encoding="utf-8") as f:
                f.write("#!/bin/sh\n" + script + "\n")
            os.chmod(tree + "/DEBIAN/postinst", 0o755)
        file = f"pool/{name}_{version.replace(':', '%3a')}_{self.architecture}.deb".replace("%3a", ".")
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, f"{self.top}/{file}"], stdout=subprocess.DEVNULL, check=True)
        with open(f"{self.top}/{file}", "rb") as f:
            data = f.read()
        self.packages.append((name, hashlib.sha256(data).hexdigest(), control + f"Filename: {file}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"))

    def publish(self):
        text = "\n".join(p[2] for p in self.packages).encode()
        with open(self.top + "/Packages", "wb") as f:
            f.write(text)
        with open(self.top + "/Packages.gz", "wb") as f:
            f.write(gzip.compress(text))

    def digest(self, name):
        return next(d for n, d, _ in self.packages if n == name)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
