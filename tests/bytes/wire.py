"""wire.py: both ends of the proxy: a function that records the exact bytes it gets and answers what a case says, and a client that reads to the end of what it expects."""

import contextlib
import re
import selectors
import socket
import struct
import threading
import time

GOOD = b"GET /fn/t/good HTTP/1.1\r\nHost: good\r\n\r\n"
WAIT_S = 30
RESET = struct.pack("ii", 1, 0)


def head_end(data):
    end = data.find(b"\r\n\r\n")
    return end + 4 if end >= 0 else -1


def chunks_end(data, at):
    """(payload, where the coding ends, or -1)"""
    payload = b""
    while True:
        eol = data.find(b"\r\n", at)
        if eol < 0:
            return payload, -1
        size = int(re.match(rb"[0-9a-fA-F]+", data[at:eol])[0], 16)
        at = eol + 2
        payload += data[at:at + size]
        if size == 0:
            while True:
                eol = data.find(b"\r\n", at)
                if eol < 0:
                    return payload, -1
                if eol == at:
                    return payload, at + 2
                at = eol + 2
        at += size + 2
        if at > len(data):
            return payload, -1


def field(head, name):
    m = re.search(rb"(?mi)^" + name + rb":[ \t]*([^\r]*?)[ \t]*\r$", head)
    return m[1] if m else None


def message_end(data):
    """Where the first request in data ends, or -1. The gateway frames it, so it is plain."""
    end = head_end(data)
    if end < 0:
        return -1
    head = data[:end]
    if field(head, b"Transfer-Encoding"):
        return chunks_end(data, end)[1]
    end += int(field(head, b"Content-Length") or 0)
    return end if end <= len(data) else -1


def joined(data):
    """Chunks of a message made one: how they were cut depends on how the bytes came. For what the gateway has framed."""
    out, at = b"", 0
    while at < len(data):
        end = head_end(data[at:])
        if end < 0:
            break
        head = data[at:at + end]
        out += head
        at += end
        try:
            if (field(head, b"Transfer-Encoding") or b"").lower() == b"chunked":
                payload, stop = chunks_end(data, at)
                out += b"<" + payload + (b">" + data[data.rfind(b"0\r\n", at, stop):stop] if stop >= 0 else b"")
                at = stop if stop >= 0 else len(data)
        except TypeError:  # no chunks behind it (HEAD)
            pass
        length = field(head, b"Content-Length")
        if length and length.isdigit():
            out += data[at:at + int(length)]
            at += int(length)
    return out + data[at:]


class Upstream:
    """A connection of the proxy to the function."""

    def __init__(self, sock, number):
        self.sock, self.number = sock, number
        self.buf = b""
        self.entry = None  # of the log: the request that is coming in
        self.answered = False  # on its head already
        self.raw = False  # after 101: whatever comes is recorded


class Function:
    """One thread: what has come is recorded, on every connection, before any of it is answered. So when one request is seen here, nothing that was sent before it is missing."""

    def __init__(self, ping=True):
        self.cond = threading.Condition()
        self.log = []  # [connection, bytes] in the order of first bytes
        self.case, self.pieces, self.sync = None, None, None
        self.ping = ping
        self.conns = 0
        self.busy = False
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.host, self.port = self.listener.getsockname()
        self.listener.listen(128)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        threading.Thread(target=self.run, daemon=True).start()

    def play(self, case, pieces=None, sync=None):
        """What the next requests are answered with; in pieces that are as long as `pieces` says, sync() between them."""
        with self.cond:
            self.case, self.pieces, self.sync = case, pieces, sync
            self.log.clear()

    def run(self):
        while True:
            ready = [key.data for key, _ in self.selector.select()]
            if None in ready:
                sock, _ = self.listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.conns += 1
                self.selector.register(sock, selectors.EVENT_READ, Upstream(sock, self.conns))
            ready = [u for u in ready if u]
            came = [u for u in ready if self.fill(u)]
            self.busy = bool(came)
            for u in came:
                with contextlib.suppress(OSError):
                    self.answer(u)
            with self.cond:
                self.busy = False
                self.cond.notify_all()

    def close(self, u, reset=False):
        if u.sock.fileno() >= 0:
            self.selector.unregister(u.sock)
            if reset:
                u.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            u.sock.close()

    def fill(self, u):
        try:
            data = u.sock.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self.close(u)
            return False
        if self.ping and not u.buf and data.startswith(b"GET /ping "):
            u.sock.sendall(ANSWER_PING)
            return False
        with self.cond:
            if not u.entry or (not u.buf and not u.raw):
                u.entry = [u.number, b""]
                self.log.append(u.entry)
            u.entry[1] += data
        u.buf += data
        return True

    def answer(self, u):
        """Every request that is whole; one that is answered early is answered once."""
        while u.buf and not u.raw:
            end, head = message_end(u.buf), head_end(u.buf)
            case = self.case if b"\r\nHost: good\r\n" not in u.buf[:max(head, 0)] else None
            early = case and case.finish == "early" and head >= 0 and not u.answered
            if early:
                u.answered = True
                self.say(u, case)
            if end < 0:
                return
            request, u.buf = u.buf[:end], u.buf[end:]
            if u.answered:
                u.answered = False
                continue
            if case and case.finish == "waits" and not case.answers:
                return
            self.say(u, case, request)

    def say(self, u, case, request=b""):
        if b"/sentinel " in request[:40]:
            u.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsentinel")
            return
        if not case or not (case.answers or case.finish):
            u.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + (b"" if request.startswith(b"HEAD ") else b"ok"))
            return
        u.raw = case.answers.startswith(b"HTTP/1.1 101")
        for piece in cut(case.answers, self.pieces):
            u.sock.sendall(piece)
            if self.sync:
                self.sync()
        if case.finish in ("close", "reset"):
            self.close(u, case.finish == "reset")

    def rest(self):
        """Until all that is said has been said."""
        with self.cond:
            self.cond.wait_for(lambda: not self.busy, WAIT_S)

    def got(self):
        """(bytes in the order of the requests, the connections)"""
        with self.cond:
            return b"".join(data for _, data in self.log), [number for number, _ in self.log]


ANSWER_PING = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong"


def cut(data, pieces):
    """pieces: None (one), 1 (single bytes), or the position of the only cut as (n,)."""
    if not pieces:
        return [data] if data else []
    if pieces == 1:
        return [data[i:i + 1] for i in range(len(data))]
    return [p for p in (data[:pieces[0]], data[pieces[0]:]) if p]


class Client:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b""
        self.end = ""  # closed, reset; timeout: nothing more in time

    def send(self, data, pieces=None, sync=None):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in cut(data, pieces):
                self.sock.sendall(piece)
                if sync:
                    sync()

    def half_close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def read(self, enough, seconds=WAIT_S):
        """Until enough(buf) or the end."""
        deadline = time.monotonic() + seconds
        while not self.end and not enough(self.buf):
            self.sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.sock.recv(1 << 20)
            except ConnectionResetError:
                self.end = "reset"
                break
            except TimeoutError:
                self.end = "timeout"
                break
            if not data:
                self.end = "closed"
            self.buf += data
        return self.buf

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
