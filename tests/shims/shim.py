"""A shim that runs here, without sandbox and daemon, on a function that the test writes. The suite has a network of its own (tests/testhost), so that ports are its own too."""

import contextlib
import errno
import http.client
import itertools
import os
import random
import re
import socket
import subprocess
import tempfile
import threading
import time

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
DEADLINE = 30
ports = itertools.count(20000)


def read_all(sock):
    """All that comes until the other side closes."""
    got = b""
    while more := sock.recv(65536):
        got += more
    return got


class Shim:
    """with Shim("rootfs/python/shim/start", "handler.main", {"handler.py": "..."}) as s: s.get("/")"""

    def __init__(self, start, handler, files, env=None):
        self.port = next(ports)
        self.made = tempfile.TemporaryDirectory()
        self.root = self.made.name
        for name, text in files.items():
            path = os.path.join(self.root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb" if isinstance(text, bytes) else "w") as f:
                f.write(text)
        environ = {"PATH": "/usr/bin:/bin", "PORT": str(self.port), "HOME": "/tmp", "TMPDIR": self.made.name, "FND_HANDLER": handler, **(env or {})}
        self.process = subprocess.Popen([os.path.join(REPO, start), handler], cwd=self.root, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            self.lines.append(line.decode(errors="replace"))

    @property
    def log(self):
        return "".join(self.lines)

    def __enter__(self):
        wait(lambda: self.answers() or self.process.poll() is not None, "an answer to /ping", self)
        assert self.process.poll() is None, self.log
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()
        self.made.cleanup()

    def answers(self):
        try:
            return self.get("/ping").status == 200
        except OSError:
            return False

    def listens(self):
        try:
            self.connect().close()
            return True
        except (ConnectionRefusedError, ConnectionResetError):  # reset: it was closed with this connection in its queue. Not a timeout: that is a listener that nobody accepts from
            return False

    def resident_kb(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return int(next(line.split()[1] for line in f if line.startswith("VmRSS")))

    def feed_garbage(self, turns, settled):
        """Requests that are cut, or changed in some bytes, each to the end of its connection. Returns the KB that are resident more after all of them than after `settled`."""
        whole = b"POST /x?a=%zz HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: x\r\n\r\n"
        chance, before = random.Random(5), 0
        for turn in range(turns):
            data = bytearray(whole)
            for _ in range(chance.randrange(1, 6)):
                at = chance.randrange(len(data))
                data[at : at + chance.randrange(3)] = bytes(chance.choice(b"\r\n :;,0123456789abcdefGPHT/\0\xff%?") for _ in range(chance.randrange(4)))
            with self.connect() as c:
                try:
                    c.sendall(whole[: turn % len(whole)] if turn % 2 else bytes(data))
                    c.shutdown(socket.SHUT_WR)
                    while c.recv(65536):
                        pass
                except OSError as e:  # refused and closed, with bytes of it unread
                    if e.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
                        raise
            before = self.resident_kb() if turn == settled else before
        return self.resident_kb() - before

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def ask(self, method="GET", path="/", body=None, headers=None):
        """An http.client response with .data"""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            c.request(method, path, body, headers or {})
            answer = c.getresponse()
            answer.data = answer.read()
            return answer
        finally:
            c.close()

    def get(self, path="/", **headers):
        return self.ask("GET", path, None, headers)

    def get_at_once(self, paths):
        """The bodies of the answers, as they come."""
        got = []
        threads = [threading.Thread(target=lambda path=path: got.append(self.get(path).data)) for path in paths]
        for t in threads:
            t.start()
        for t in threads:
            t.join(DEADLINE)
        return got

    def post(self, path, body, kind="application/json"):
        return self.ask("POST", path, body, {"Content-Type": kind})

    def raw(self, data):
        """All that comes until the server closes."""
        with self.connect() as s:
            s.sendall(data)
            got = b""
            while True:
                more = s.recv(65536)
                if not more:
                    return got
                got += more

    def in_parts(self, path, first, last, go):
        """A chunked answer whose first part comes before its last is made; go() lets it be made."""
        with self.connect() as c:
            c.sendall(b"GET %s HTTP/1.1\r\nConnection: close\r\n\r\n" % path.encode())
            got = b""
            while first not in got:
                got += c.recv(65536)
            assert last not in got
            go()
            while more := c.recv(65536):
                got += more
        assert got.endswith(b"%x\r\n%s\r\n0\r\n\r\n" % (len(last), last))

    def says(self, pattern):
        """Waits for a line of the log and returns it."""
        found = lambda: next((line for line in list(self.lines) if re.search(pattern, line)), None)
        wait(found, f"a line of the log like {pattern}", self)
        return found()

    def ends(self):
        """Waits for the end; the exit status."""
        status = self.process.wait(DEADLINE)
        self.reader.join()
        return status

    def stop(self):
        self.process.terminate()
        return self.ends()


def wait(condition, what, shim=None):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {DEADLINE} s\n{shim.log if shim else ''}"
        time.sleep(0.01)  # between two looks, until the deadline


def refused(start, handler, files, env=None):
    """The log of a handler that cannot be served; the last line is the message."""
    shim = Shim(start, handler, files, env)
    try:
        assert shim.ends() != 0, shim.log
        return shim.log.rstrip("\n").split("\n")
    finally:
        shim.__exit__()
