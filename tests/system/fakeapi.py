"""An API that does what a test wants, for fnctl; and a package to send to it."""

import http.server
import json
import os
import socketserver
import threading

import pytest

import fndtest

SOCKET = "/run/fake.sock"

FUNCTION = {
    "name": "hello", "environment": "default", "application": "", "state": "active", "version": 3, "scale": "auto", "wanted": 1, "ready": 1, "starting": 0, "image": "ab" * 32,
    "image_bytes": 706000, "deployed": "2026-01-02T03:04:05.678Z", "url": "/fn/hello/",
    "limits": {"memory_bytes": 128 << 20, "cpu": 1.0, "pids": 64, "tmp_bytes": 64 << 20, "timeout": 60, "concurrency": 0, "queue": 100, "queue_timeout": None, "stream_idle": None},
    "health": {"path": "/ping", "interval": 5, "threshold": 3}, "port": 3000, "restarts": 2, "last_failure": "exited with status 1", "last_failed_instance": "hello-abc123",
    "last_log": ["first \x1b[31mline", "second"],
}
INSTANCE = {
    "name": "hello-x3k9ab", "function": "hello", "environment": "default", "version": 3, "state": "ready", "address": "10.231.0.2", "port": 3000, "pid": 77, "uid": 1879048192, "slot": 0,
    "started": "2026-01-02T03:04:05.678Z", "ready_ms": 2.1, "memory_bytes": 1 << 20, "memory_max_bytes": 2 << 20, "cpu_seconds": 0.25, "pids": 2, "oom_kills": 0, "in_flight": 1,
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "unix"

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status, body, content_type="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def serve(self):
        self.server.fake.on_request(self)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = serve


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


class Fake:
    """rules: {"METHOD path": (status, body) or a function of the handler}. Requests are recorded as (method, path, headers, body)."""

    def __init__(self, rules):
        self.rules = rules
        self.requests = []
        self.server = Server(SOCKET, Handler)
        self.server.fake = self
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def on_request(self, handler):
        rule = self.rules.get(f"{handler.command} {handler.path.split('?')[0]}", (404, {"error": "not_found", "message": "no function of that name", "function": None}))
        if callable(rule):
            self.requests.append((handler.command, handler.path, handler.headers, None))
            rule(handler)
            return
        self.requests.append((handler.command, handler.path, handler.headers, handler.body()))
        handler.answer(*rule)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        os.unlink(SOCKET)


@pytest.fixture
def api():
    made = []

    def make(rules=None):
        base = {"GET /api/v1/functions/hello": (200, FUNCTION), "GET /api/v1/version": (200, {"version": "9.8.7", "api": 1})}
        made.append(Fake({**base, **(rules or {})}))
        return made[0]

    yield make
    for fake in made:
        fake.close()


def fnctl(*args, status=0, **options):
    options.setdefault("env", {"FND_SOCKET": SOCKET})
    return fndtest.fnctl(*args, status=status, **options)


def chunk(handler, data):
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def begin_chunks(handler, status=200):
    handler.send_response(status)
    handler.send_header("Content-Type", "text/plain")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()


def package(directory):
    (directory / "sub").mkdir(parents=True)
    (directory / "function.ini").write_text("[function]\nname = hello\ncommand = /run\n")
    (directory / "sub" / "data").write_bytes(os.urandom(300000))
    return directory
