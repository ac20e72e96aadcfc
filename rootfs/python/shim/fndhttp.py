"""HTTP/1.1 as a function's server needs it: the gateway is the client, keeps connections, and has checked what it forwards. What two could read in two ways is still refused."""
import socket

HEAD_MAX = 65536
READ = 65536
REASONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 206: "Partial Content", 301: "Moved Permanently", 302: "Found", 303: "See Other",
           304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
           405: "Method Not Allowed", 409: "Conflict", 413: "Content Too Large", 422: "Unprocessable Content", 429: "Too Many Requests",
           431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable"}
FAILED = b"The function failed; its log says why.\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Bad(Exception):
    """A request that is answered by (status, text), and is the last of its connection."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status, self.text = status, text


class Request:
    __slots__ = ("method", "target", "path", "query", "headers", "fields", "close", "length", "expects")

    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0") or not words[1]:
            raise Bad(400, "not a request of HTTP/1.1")
        self.method, self.target = words[0], words[1]
        self.path, _, self.query = words[1].partition("?")
        self.headers = headers = []
        self.fields = fields = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name[-1] in " \t" or name[0] in " \t":
                raise Bad(400, "a header line without a name")
            name, value = name.lower(), value.strip(" \t")
            headers.append((name, value))
            fields[name] = fields[name] + ("; " if name == "cookie" else ", ") + value if name in fields else value
        said = fields.get("connection", "").lower()
        self.close = "close" in said or (words[2] == "HTTP/1.0" and "keep-alive" not in said)
        self.length = self.body_length()
        self.expects = self.length != 0 and words[2] == "HTTP/1.1" and fields.get("expect", "").lower() == "100-continue"

    def body_length(self):
        """Bytes of the body; -1: chunked."""
        coding, length = self.fields.get("transfer-encoding"), self.fields.get("content-length")
        if coding is not None:
            if coding.lower() != "chunked" or length is not None:
                raise Bad(400, "a body of two lengths, or in an unknown coding")
            return -1
        if length is None:
            return 0
        if not (length.isascii() and length.isdigit() and len(length) <= 18):
            raise Bad(400, "Content-Length is not a number")
        return int(length)


class Framing:
    """Takes a body out of what was received: feed(buf) moves its bytes from buf to self.body; done once all of it was there."""

    __slots__ = ("left", "chunked", "body", "done", "state")

    def __init__(self, length):
        self.left, self.chunked = max(length, 0), length < 0
        self.body, self.done, self.state = bytearray(), length == 0, "size"

    def feed(self, buf):
        if not self.chunked:
            self.take(buf)
            self.done = self.left == 0
        while self.chunked and not self.done and buf:
            if self.state == "data" and self.left:
                self.take(buf)
                continue
            end = buf.find(b"\r\n")
            if end < 0:
                if len(buf) > 4096:
                    raise Bad(400, "a chunk without its size")
                return
            line = bytes(buf[:end])
            del buf[: end + 2]
            self.line(line)

    def take(self, buf):
        n = min(self.left, len(buf))
        self.body += buf[:n]
        del buf[:n]
        self.left -= n

    def line(self, line):
        if self.state == "size":
            size = line.partition(b";")[0].strip()
            if not size or len(size) > 15 or size.strip(b"0123456789abcdefABCDEF"):
                raise Bad(400, "a chunk's size is not a number")
            self.left = int(size, 16)
            self.state = "data" if self.left else "trailer"
        elif self.state == "data":
            if line:
                raise Bad(400, "a chunk is longer than its size")
            self.state = "size"
        elif not line:
            self.done = True


def take_head(buf):
    """The Request whose head is complete in buf, which loses it; None: more is needed."""
    while buf[:2] == b"\r\n":
        del buf[:2]
    end = buf.find(b"\r\n\r\n")
    if end < 0 or end > HEAD_MAX:
        if len(buf) > HEAD_MAX:
            raise Bad(431, "the head of the request is longer than 64 KiB")
        return None
    request = Request(bytes(buf[:end]))
    del buf[: end + 4]
    return request


def bad_header(name, value):
    """Why this must not be sent; None if it may."""
    if not isinstance(name, str) or not isinstance(value, str):
        return f"the header {name!r}: {value!r}: its name and value must be texts"
    if not name or not name.isascii() or any(c in "()<>@,;:\\\"/[]?={} \t" or c < "!" or c > "~" for c in name):
        return f"{name!r} is not the name of a header"
    if "\r" in value or "\n" in value or "\0" in value:
        return f"the value of the header {name} has a line break in it"
    return None


def head(status, headers, close, reason=None):
    """The bytes of an answer's head. Headers that say how long the body is are the caller's."""
    text = [f"HTTP/1.1 {status} {REASONS.get(status, '') if reason is None else reason}\r\n"]
    text += [f"{name}: {value}\r\n" for name, value in headers]
    text.append("Connection: close\r\n\r\n" if close else "\r\n")
    return "".join(text).encode("latin-1", "replace")


def has_body(method, status):
    return method != "HEAD" and status >= 200 and status not in (204, 304)


def listener(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", port))
    sock.listen(1024)
    return sock
