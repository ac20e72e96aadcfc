"""A package index as pip knows it, of tiny wheels that are made here."""

import hashlib
import http.server
import io
import threading
import zipfile


def wheel(name, version, text, requires=()):
    """(file name, bytes) of a tiny wheel."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {r}\n" for r in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{n},,\n" for n in files) + f"{info}/RECORD,,\n"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as z:
        for n, t in files.items():
            z.writestr(zipfile.ZipInfo(n), t)
    return f"{name}-{version}-py3-none-any.whl", made.getvalue()


class Index:
    """A simple index (PEP 503) over HTTP."""

    def __init__(self, listener=None):
        self.files = {}
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = index.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=listener is None)
        if listener:
            self.server.socket.close()
            self.server.socket = listener
        self.url = f"http://127.0.0.1:{self.server.socket.getsockname()[1]}/simple/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, *args, **more):
        name, data = wheel(*args, **more)
        self.files[name] = data

    def answer(self, path):
        if path.startswith("/files/"):
            return 200, self.files[path[7:]]
        project = path.split("/")[2]
        found = [n for n in sorted(self.files) if n.split("-")[0] == project]
        if not found:
            return 404, b""
        return 200, "".join(f'<a href="/files/{n}#sha256={hashlib.sha256(self.files[n]).hexdigest()}">{n}</a>\n' for n in found).encode()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
