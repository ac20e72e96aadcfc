"""fnd-gateway alone, between a fake runner (the SEQPACKET side of include/record.h) and fake instances (threads with raw sockets), so that every byte on both sides is the test's."""

import contextlib
import ctypes
import errno
import os
import signal
import socket
import threading
import time

import fndtest
import pytest
from fndtest import wait_until
from gatewayrecords import (  # noqa: F401  pylint: disable=unused-import
    ACME, ACTIVE, CERTIFICATE, DRAINING, FILE, FILES, FUNCTION, GONE, HELLO, INSTANCE, KEY, READY, READY_STATE, REPLY, REPORTS, SETTINGS, STARTING,
    STATS, STATS_GET, STOPPED, SYNCED, WELCOME, File, Files, FnId, Function, Head, Instance, Reply, Report, Settings, Stats, Welcome, nets, record,
    settings_defaults)

UID = 64900
RUN = "/run/fnd"
RUNNER_SOCKET = RUN + "/gw/runner.sock"
API_SOCKET = RUN + "/fnd.sock"


class Runner:
    """What the gateway takes for the runner. A snapshot goes out at every connection."""

    def __init__(self, **welcome):
        self.welcome = dict(protocol=1, start_timeout_ms=20000, drain_timeout_ms=20000, max_body_bytes=1 << 30, max_archive_bytes=1 << 30,
                            threads=2)
        self.welcome.update(welcome)
        self.settings = settings_defaults()
        self.functions, self.instances = {}, {}
        self.files = []  # (kind, name, path)
        self.reports = []
        self.stats_gets = 0
        self.cond = threading.Condition()
        self.peer = None
        self.listener = None
        self.names = 0

    def open(self):
        os.makedirs(os.path.dirname(RUNNER_SOCKET), exist_ok=True)
        if os.path.exists(RUNNER_SOCKET):
            os.unlink(RUNNER_SOCKET)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(RUNNER_SOCKET)
        os.chmod(RUNNER_SOCKET, 0o777)
        self.listener.listen(4)
        threading.Thread(target=self.serve, args=(self.listener,), daemon=True).start()

    def close(self):
        listener, self.listener = self.listener, None
        if listener:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self.cond:
            if self.peer:
                self.peer.shutdown(socket.SHUT_RDWR)
                self.peer = None

    def reopen(self):
        self.close()
        self.open()
        fndtest.wait_until(lambda: self.peer, what="the gateway to call again")
        self.heard()

    def serve(self, listener):
        while self.listener is listener:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            self.talk(peer)

    def talk(self, peer):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a gateway that ended while it was told something; reset: it had not read what came before
            self.answer(peer)
        with self.cond:
            if self.peer is peer:
                self.peer = None
            peer.close()

    def answer(self, peer):
        while True:
            try:
                data = peer.recv(65536)
            except OSError:
                data = b""
            if not data:
                return
            head = Head.from_buffer_copy(data)
            if head.type == HELLO:
                with self.cond:
                    self.peer = peer
                    self.snapshot()
                    self.cond.notify_all()
            elif head.type == STATS_GET:
                with self.cond:
                    self.stats_gets += 1
                    for number in self.instances:
                        self.push(record(Stats, STATS, instance=number, memory_bytes=4096))
                    reply = record(Reply, REPLY)
                    reply.head.id = head.id
                    self.push(reply)
            elif head.type in REPORTS:
                r = Report.from_buffer_copy(data)
                with self.cond:
                    self.reports.append((REPORTS[head.type], r.instance, r.text.decode()))
                    if head.type == READY and r.instance in self.instances and self.instances[r.instance].state == STARTING:
                        self.instances[r.instance].state = READY_STATE
                        self.push(self.instances[r.instance])
                    self.cond.notify_all()

    def snapshot(self):
        self.push(record(Welcome, WELCOME, **self.welcome))
        self.push(record(Settings, SETTINGS, **self.settings))
        self.push_files()
        for r in list(self.functions.values()) + list(self.instances.values()):
            self.push(r)
        self.push(Head(type=SYNCED, size=ctypes.sizeof(Head)))

    def push(self, rec):
        if self.peer:
            self.peer.send(bytes(rec))

    def push_files(self):
        for kind, name, path in self.files if self.peer else ():
            fd = os.open(path, os.O_RDONLY)
            socket.send_fds(self.peer, [bytes(File(head=Head(type=FILE, size=ctypes.sizeof(File)), kind=kind, name=name.encode()))], [fd])
            os.close(fd)
        self.push(record(Files, FILES, count=len(self.files)))

    def set_files(self, files):
        """As after a reload: these are all."""
        with self.cond:
            self.files = files
            self.push_files()

    def function(self, name, env="default", heard=True, **fields):
        number = fields.pop("number", len(self.functions) + 1)
        f = dict(state=ACTIVE, version=1, scale=1, wanted=1, port=3000, queue=100, health_threshold=3, timeout_ns=10**10, health_interval_ns=5 * 10**9, health_path=b"/ping")
        f.update(fields)
        with self.cond:
            self.functions[name] = record(Function, FUNCTION, function=number, fn=FnId(env=env.encode(), name=name.encode()), **f)
            self.push(self.functions[name])
        if heard:
            self.heard()
        return number

    def change(self, name, **fields):
        with self.cond:
            for k, v in fields.items():
                setattr(self.functions[name], k, v)
            self.push(self.functions[name])
        self.heard()

    def set(self, **settings):
        """As after a reload of the configuration."""
        with self.cond:
            self.settings.update(settings)
            self.push(record(Settings, SETTINGS, **self.settings))
        self.heard()

    def heard(self):
        """Returns when the gateway has taken what was said before. Its first thread hears us, serves the API's socket as well, and takes events in their order; what it passes on lies before its other threads when it
        answers, in front of any connection that is made from now on."""
        if self.peer:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(fndtest.PATIENCE_S)
                s.connect(API_SOCKET)
                s.sendall(b"GET /healthz HTTP/1.1\r\nHost: fnd\r\nConnection: close\r\n\r\n")
                read_response(s)

    def instance(self, function, backend, state=STARTING):
        with self.cond:
            self.names += 1
            number = self.names
            addr = int.from_bytes(socket.inet_aton(backend.host), "little")
            path = next(f.health_path for f in self.functions.values() if f.function == function)
            self.instances[number] = record(Instance, INSTANCE, instance=number, function=function, name=b"x-%06d" % number, state=state, version=1, addr=addr, port=backend.port,
                                            health_path=path)
            self.push(self.instances[number])
        self.heard()
        return number

    def state(self, number, state, text=b""):
        with self.cond:
            self.instances[number].state = state
            self.instances[number].text = text
            self.push(self.instances[number])
            if state == GONE:
                del self.instances[number]

    def wait_report(self, what, number, timeout=fndtest.PATIENCE_S):
        with self.cond:
            assert self.cond.wait_for(lambda: any(r[:2] == (what, number) for r in self.reports), timeout), f"no {what} for {number}: {self.reports}"
            found = [r for r in self.reports if r[:2] == (what, number)][-1]
        self.heard()  # what was answered to it
        return found


class Conn:
    """One connection of the gateway to a fake instance."""

    def __init__(self, sock):
        self.sock = sock
        self.buf = b""
        self.trailers = []

    def fill(self):
        data = self.sock.recv(262144)
        self.buf += data
        return bool(data)

    def read_head(self):
        while b"\r\n\r\n" not in self.buf:
            if not self.fill():
                return None
        head, self.buf = self.buf.split(b"\r\n\r\n", 1)
        return head

    def read_exactly(self, n):
        while len(self.buf) < n:
            assert self.fill(), "the end came too early"
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def read_line(self):
        while b"\r\n" not in self.buf:
            assert self.fill(), "the end came too early"
        line, self.buf = self.buf.split(b"\r\n", 1)
        return line

    def read_chunked(self):
        """Sets self.trailers too."""
        body, self.trailers = [], []
        while size := int(self.read_line(), 16):
            body.append(self.read_exactly(size + 2)[:-2])
        while line := self.read_line():
            self.trailers.append(line)
        return b"".join(body)

    def body(self, head):
        h = fields(head)
        if h.get("transfer-encoding") == "chunked":
            return self.read_chunked()
        return self.read_exactly(int(h.get("content-length", "0")))

    def send(self, data):
        self.sock.sendall(data)


def fields(head):
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}


def answer(body=b"hello", status="200 OK", extra=b""):
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n" % (status.encode(), len(body), extra) + body


class Backend:
    """A fake instance: `handler(conn, head)` answers each request; what it returns is sent; None closes the connection."""

    def __init__(self, handler=None, ping=True, listening=True, host="127.0.0.1"):
        self.handler = handler or (lambda conn, head: answer())
        self.ping = ping
        self.host = host
        self.heads, self.connections = [], 0
        self.open_conns = set()
        self.lock = threading.Condition()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, 0))
        self.port = self.listener.getsockname()[1]
        if listening:
            self.listen()

    def listen(self):
        self.listener.listen(1024)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        conn = Conn(sock)
        with self.lock:
            self.open_conns.add(sock)
        first = True
        try:
            while True:
                head = conn.read_head()
                if head is None:
                    break
                if self.ping and head.startswith(b"GET /ping "):
                    conn.send(answer(b"pong"))
                    continue
                with self.lock:
                    self.connections += first
                    first = False
                    self.heads.append(head)
                    self.lock.notify_all()
                out = self.handler(conn, head)
                if out is None:
                    break
                conn.send(out)
        except (OSError, AssertionError):
            pass
        with self.lock:
            self.open_conns.discard(sock)
            self.lock.notify_all()
        sock.close()

    def wait_heads(self, n, timeout=fndtest.PATIENCE_S):
        with self.lock:
            assert self.lock.wait_for(lambda: len(self.heads) >= n, timeout), f"{len(self.heads)} of {n} requests came"

    def kill(self):
        """As when the process dies: the port refuses, the connections are reset."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for s in self.open_conns:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                s.shutdown(socket.SHUT_RDWR)


class Deaf(Backend):
    """An instance whose port takes no connection: the queue of its listener is full, so that a SYN is dropped."""

    def __init__(self):
        super().__init__(listening=False)
        self.listener.listen(0)
        self.fill = []
        while len(self.fill) < 3:
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex((self.host, self.port))
            self.fill.append(s)


def listen_tcp():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    s.listen(4096)
    return s


class Gateway:
    def __init__(self, env=None):
        os.makedirs(RUN, exist_ok=True)
        if os.path.exists(API_SOCKET):
            os.unlink(API_SOCKET)
        self.public, self.admin, self.tls = listen_tcp(), listen_tcp(), listen_tcp()
        self.api = socket.socket(socket.AF_UNIX)
        self.api.bind(API_SOCKET)
        os.chmod(API_SOCKET, 0o777)
        self.api.listen(64)
        self.port, self.admin_port, self.tls_port = (s.getsockname()[1] for s in (self.public, self.admin, self.tls))
        self.env = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", ""), "TSAN_OPTIONS": os.environ.get("TSAN_OPTIONS", ""), "LISTEN_FDS": "4", "LISTEN_FDNAMES": "public:admin:api:tls",
                    "FND_RUNNER_SOCKET": RUNNER_SOCKET, "FND_GATEWAY_UID": str(UID), "FND_GATEWAY_GID": str(UID),
                    "FND_GATEWAY_CHILD": "1", **(env or {})}
        self.pid = self.spawn()

    def spawn(self):
        program = fndtest.BUILD + "/fnd-gateway"
        pid = os.fork()
        if pid == 0:
            try:
                high = [os.dup(s.fileno()) for s in (self.public, self.admin, self.api, self.tls)]
                high = [fd if fd > 20 else os.dup2(fd, 100 + i) for i, fd in enumerate(high)]
                for i, fd in enumerate(high):
                    os.dup2(fd, 3 + i)
                os.closerange(7, 1000)
                os.execve(program, ["fnd-gateway"], self.env)
            finally:
                os._exit(127)
        return pid

    def connect(self, port=None):
        s = socket.create_connection(("127.0.0.1", port or self.port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.settimeout(fndtest.PATIENCE_S)
        return s

    def raw(self, data, port=None, half_close=False):
        """Sends the bytes; everything that comes back until the end. Who is refused in the middle of them may not get rid of the others."""
        with self.connect(port) as s:
            try:
                s.sendall(data)
                if half_close:
                    s.shutdown(socket.SHUT_WR)
            except OSError as e:
                if e.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                    raise
            return read_all(s)

    def request(self, head, body=b"", port=None):
        """One request on a connection of its own: (status, fields, body)."""
        with self.connect(port) as s:
            s.sendall(head + body)
            return read_response(s, head.startswith(b"HEAD"))

    def get(self, path, port=None, extra=b""):
        return self.request(b"GET %s HTTP/1.1\r\nHost: t.example\r\n%s\r\n" % (path.encode(), extra), port=port)

    def status(self):
        return dict(line.split(":\t", 1) for line in open(f"/proc/{self.pid}/status", encoding="ascii").read().splitlines() if ":\t" in line)

    def rss_kb(self):
        return 0 if fndtest.SANITIZED else int(self.status()["VmRSS"].split()[0])

    def peak_kb(self):
        return 0 if fndtest.SANITIZED else int(self.status()["VmHWM"].split()[0])

    def cpu_s(self):
        f = open(f"/proc/{self.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
        return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")

    def turns(self):
        """For each thread: its state, and how often it has run."""
        out = []
        for task in sorted(os.listdir(f"/proc/{self.pid}/task")):
            lines = dict(line.split(":", 1) for line in open(f"/proc/{self.pid}/task/{task}/status", encoding="ascii").read().splitlines() if ":" in line)
            out.append((task, lines["State"].split()[0], int(lines["voluntary_ctxt_switches"]), int(lines["nonvoluntary_ctxt_switches"])))
        return out

    def sleeps(self, seconds=0.2):
        """Did no thread run for so long, nor want to? One that spins, or that is called for nothing again and again, is not seen so. (Who has work and no CPU is no sleeper either: wait_until.)"""
        if fndtest.SANITIZED:  # a runtime has a thread of its own, which wakes up again and again
            return True
        before = self.turns()
        time.sleep(seconds)  # the span that is watched
        after = self.turns()
        return before == after and all(state == "S" for _, state, _, _ in after)

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def wait(self, timeout=fndtest.PATIENCE_S):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)  # between two looks, until the deadline
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError("the gateway does not end")

    def close(self):
        for s in (self.public, self.admin, self.api, self.tls):
            s.close()
        os.unlink(API_SOCKET)


def read_all(s):
    out = b""
    while True:
        try:
            data = s.recv(262144)
        except ConnectionResetError:
            return out + b"<RESET>"
        if not data:
            return out
        out += data


def read_response(s, is_head=False, buf=b""):
    """(status, fields, body); the body None where the connection broke in it."""
    conn = Conn(s)
    conn.buf = buf
    while True:
        head = conn.read_head()
        assert head is not None, f"no answer: {conn.buf!r}"
        status = int(head.split(b" ")[1])
        if status >= 200 or status == 101:
            break
    h = fields(head)
    if is_head or status in (101, 204, 304):
        return status, h, b""
    try:
        if "transfer-encoding" in h or "content-length" in h:
            return status, h, conn.body(head)
        return status, h, conn.buf + read_all(s)
    except (AssertionError, ConnectionResetError):
        return status, h, None


ONE_THREAD = {"threads": 1}


# ---- fixtures: import them by name where a test wants them ----


@pytest.fixture
def runner(request):
    """@pytest.mark.parametrize("runner", [ONE_THREAD], indirect=True): what the gateway is told, where a test needs to know who does the work."""
    r = Runner(**getattr(request, "param", {}))
    r.open()
    yield r
    r.close()
    os.unlink(RUNNER_SOCKET)


@pytest.fixture
def gateway(runner, request):
    """@pytest.mark.parametrize("gateway", [{NAME: VALUE}], indirect=True): with more in its environment."""
    gw = Gateway(getattr(request, "param", None))
    wait_until(lambda: runner.peer, what="the gateway to call the runner")
    runner.heard()
    yield gw
    if gw.pid:
        assert gw.stop() == 0
    gw.close()


@pytest.fixture
def serve(gateway, runner):
    """serve(backend, **function): deploys a function with one READY instance; returns the instance's number."""

    def deploy(backend, name="hello", **fields):
        number = runner.instance(runner.function(name, **fields), backend)
        runner.wait_report("ready", number)
        return number

    return deploy
