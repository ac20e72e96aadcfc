"""WSGI (PEP 3333) applications: Flask, Django, Bottle, and what else speaks it."""
import io
import sys
from urllib.parse import unquote_to_bytes

import fndhttp
import fndload

HOP_BY_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}


class Wrong(Exception):
    """The application broke the protocol."""


class Body(io.RawIOBase):
    """wsgi.input of a body that is still coming."""

    def __init__(self, conn):
        super().__init__()
        self.conn = conn

    def readable(self):
        return True

    def readinto(self, into):
        body = self.conn.framing.body
        while not body:
            if not self.conn.more():
                return 0
        n = min(len(into), len(body))
        into[:n] = body[:n]
        del body[:n]
        return n


class FileWrapper:
    def __init__(self, file, size=65536):
        self.file, self.size = file, size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self):
        return self

    def __next__(self):
        data = self.file.read(self.size)
        if not data:
            raise StopIteration
        return data


def environ_of(request, calls, body):
    fields = request.fields
    host, _, port = fields.get("host", "").rpartition(":") if not fields.get("host", "").endswith("]") else (fields["host"], "", "")
    scheme = fields.get("x-forwarded-proto", "http")
    if not port.isdigit():
        host, port = fields.get("host", ""), "443" if scheme == "https" else "80"
    environ = {
        "REQUEST_METHOD": request.method, "SCRIPT_NAME": fields.get("x-forwarded-prefix", "").rstrip("/"), "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query, "SERVER_NAME": host or "localhost", "SERVER_PORT": port, "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": fields.get("x-forwarded-for", "").partition(",")[0].strip(), "REQUEST_URI": request.target,
        "wsgi.version": (1, 0), "wsgi.url_scheme": scheme, "wsgi.input": body, "wsgi.errors": sys.stderr, "wsgi.multithread": calls.threads > 1,
        "wsgi.multiprocess": True, "wsgi.run_once": False, "wsgi.file_wrapper": FileWrapper, "wsgi.input_terminated": True,
    }
    for name, value in fields.items():
        if name == "content-type":
            environ["CONTENT_TYPE"] = value
        elif name == "content-length":
            environ["CONTENT_LENGTH"] = value
        elif "_" not in name:  # X_Name would be taken for X-Name
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ


class Answer:
    """start_response, write and what is sent of one answer."""

    def __init__(self, conn):
        self.conn, self.status, self.reason, self.headers, self.length = conn, None, None, None, None
        self.begun, self.chunked, self.sent = False, False, 0

    def start(self, status, headers, exc_info=None):
        if exc_info:
            try:
                if self.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status is not None:
            raise Wrong("called start_response twice")
        number, _, reason = status.partition(" ") if isinstance(status, str) else ("", "", "")
        if len(number) != 3 or not (number.isascii() and number.isdigit()) or int(number) < 200 or fndhttp.bad_header("Status", reason):
            raise Wrong(f"gave start_response the status {status!r}: such as \"200 OK\" is meant")
        self.length, sent = None, []
        for name, value in headers:
            why = fndhttp.bad_header(name, value)
            if why or name.lower() in HOP_BY_HOP:
                raise Wrong(f"gave start_response a header that cannot be sent: {why or name + ' is the business of the server'}")
            if name.lower() == "content-length":
                if not (value.isascii() and value.isdigit() and len(value) <= 18):
                    raise Wrong(f"gave start_response the Content-Length {value!r}")
                self.length = int(value)
            else:
                sent.append((name, value))
        self.status, self.reason, self.headers = int(number), reason, sent
        return self.write

    def begin(self):
        """Sends the head. Chunked where the application did not say how long its answer is."""
        if self.status is None:
            raise Wrong("made a body before it called start_response")
        conn, request = self.conn, self.conn.request
        self.begun = conn.sent = True
        body = fndhttp.has_body(request.method, self.status)
        headers = self.headers
        if self.length is not None and self.status >= 200 and self.status != 204:
            headers = headers + [("Content-Length", str(self.length))]
        elif body:
            self.chunked = True
            headers = headers + [("Transfer-Encoding", "chunked")]
        conn.close = conn.close or request.close or conn.last or not conn.framing.done
        self.has_body = body
        return fndhttp.head(self.status, headers, conn.close, self.reason)

    def write(self, data):
        if not isinstance(data, bytes):
            raise Wrong(f"made a part of the body that is {type(data).__name__}, not bytes")
        before = b"" if self.begun else self.begin()
        if self.length is not None and self.sent + len(data) > self.length:
            data = data[: self.length - self.sent]
        self.sent += len(data)
        if not self.has_body or not data:
            data = b""
        elif self.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if before or data:
            self.conn.send(before + data)

    def finish(self):
        if not self.begun:
            if self.length is None and self.status is not None:
                self.length = 0
            self.conn.send(self.begin())
        if self.chunked:
            self.conn.send(b"0\r\n\r\n")
        elif self.has_body and self.length is not None and self.sent < self.length:
            self.conn.close = True
            raise Wrong(f"made {self.sent} bytes of body and had said {self.length} in Content-Length")


class Calls:
    reads_bodies = True
    Wrong = Wrong

    def __init__(self, handler):
        self.app = handler.call
        self.threads = fndload.number("HANDLER_THREADS", 8, 1, 256)

    def call(self, conn):
        framing = conn.framing
        body = io.BytesIO(framing.body) if framing.done else io.BufferedReader(Body(conn), 65536)
        answer = Answer(conn)
        parts = self.app(environ_of(conn.request, self, body), answer.start)
        try:
            if isinstance(parts, (list, tuple)) and len(parts) == 1 and answer.length is None and not answer.begun and isinstance(parts[0], bytes):
                answer.length = len(parts[0])
            for part in parts:
                if part or not isinstance(part, bytes):
                    answer.write(part)
            answer.finish()
        finally:
            if hasattr(parts, "close"):
                parts.close()
