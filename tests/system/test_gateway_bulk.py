"""fnd-gateway by itself: large bodies, which go through pipes (splice) where they can. Not a byte is lost or doubled, whatever happens on the way, and memory does not grow."""

import contextlib
import ctypes
import fcntl
import os
import random
import resource
import signal
import socket
import threading
import time

import gatewayhost as g
import pytest
from fndtest import wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401 (fixtures)

MB = 1 << 20
F_SETPIPE_SZ = 1031
PIECE = random.Random(1).randbytes(MB + 4093)  # no multiple of a page, so that a doubled or missing page changes what follows


class Tape:
    """The same endless bytes for who sends and who checks."""

    def __init__(self):
        self.at = 0

    def take(self, n):
        at = self.at % len(PIECE)
        data = PIECE[at:at + n]
        self.at += len(data)
        return data

    def check(self, data):
        data = memoryview(data)
        while data:
            want = self.take(len(data))
            assert data[:len(want)] == want, f"byte {self.at - len(want)} or behind it is another"
            data = data[len(want):]


def play(conn, size, piece=MB):
    tape = Tape()
    while tape.at < size:
        conn.send(tape.take(min(piece, size - tape.at)))


def hear(conn, size=None):
    """Checks what comes, `size` bytes or until the end; how many bytes came."""
    tape = Tape()
    tape.check(conn.buf)
    conn.buf = b""
    room = bytearray(MB)
    while size is None or tape.at < size:
        n = conn.sock.recv_into(room, MB if size is None else min(MB, size - tape.at))
        if n == 0:
            break
        tape.check(memoryview(room)[:n])
    return tape.at


def pipes(gateway):
    out = 0
    for fd in os.listdir(f"/proc/{gateway.pid}/fd"):
        try:
            out += os.readlink(f"/proc/{gateway.pid}/fd/{fd}").startswith("pipe:")
        except OSError:
            pass
    return out


def handler(conn, head):
    """POST: checks the body and says how long it was. GET /N: N bytes, framed as the path goes on."""
    h = g.fields(head)
    if head.startswith(b"POST"):
        if "content-length" in h:
            return g.answer(b"%d" % hear(conn, int(h["content-length"])))
        body = conn.read_chunked()
        Tape().check(body)
        return g.answer(b"%d" % len(body))
    _, size, framing = head.split(b" ")[1].decode().split("/")
    size = int(size)
    if framing == "length":
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        play(conn, size)
        return b""
    if framing == "close":
        conn.send(b"HTTP/1.1 200 OK\r\n\r\n")
        play(conn, size)
        return None
    conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    tape = Tape()
    while tape.at < size:
        data = tape.take(min(int(framing), size - tape.at))
        conn.send(b"%x\r\n%s\r\n" % (len(data), data))
    return b"0\r\n\r\n"


def get(gateway, path, version=b"1.1", size=None):
    """How many good bytes came, and whether the end was clean."""
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello%s HTTP/%s\r\nHost: t\r\nConnection: close\r\n\r\n" % (path.encode(), version))
        conn = g.Conn(s)
        h = g.fields(conn.read_head())
        if h.get("transfer-encoding") == "chunked":
            body = conn.read_chunked()
            Tape().check(body)
            return len(body)
        return hear(conn, size)


@pytest.mark.parametrize("path,version", [("/%d/length", b"1.1"), ("/%d/close", b"1.1"), ("/%d/close", b"1.0"), ("/%d/3000000", b"1.1"), ("/%d/70000", b"1.1"), ("/%d/1000", b"1.0")])
def test_down(gateway, serve, path, version):
    serve(g.Backend(handler))
    sizes = (100 * MB, 65535, 65536, 65537, MB + 1) if "length" in path else (20 * MB, 100001)
    for size in sizes:
        assert get(gateway, path % size, version) == size
    assert gateway.peak_kb() < 40000


def test_up(gateway, serve):
    serve(g.Backend(handler))
    for size in (100 * MB, 65537, 300001):
        with gateway.connect() as s:
            s.sendall(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % size)
            play(g.Conn(s), size)
            assert g.read_response(s)[2] == b"%d" % size
            s.sendall(b"GET /fn/hello/10/length HTTP/1.1\r\nHost: t\r\n\r\n")  # the connection goes on behind the body's last byte
            assert g.read_response(s)[2] == PIECE[:10]
    with gateway.connect() as s:
        s.sendall(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        tape = Tape()
        for n in (200000, 1, 1000, 3 * MB, 70000, 65536, 5):
            data = b""
            while len(data) < n:
                data += tape.take(n - len(data))
            s.sendall(b"%x\r\n%s\r\n" % (n, data))
        s.sendall(b"0\r\n\r\n")
        assert g.read_response(s)[2] == b"%d" % tape.at
    assert gateway.peak_kb() < 40000


def test_both_ways_at_once_in_a_tunnel(gateway, serve):
    def echo(conn, head):
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" + conn.buf)
        while data := conn.sock.recv(MB):
            conn.send(data)

    serve(g.Backend(echo))
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        conn = g.Conn(s)
        assert conn.read_head().startswith(b"HTTP/1.1 101")
        writer = threading.Thread(target=lambda: (play(g.Conn(s), 100 * MB), s.shutdown(socket.SHUT_WR)), daemon=True)
        writer.start()
        wait_until(lambda: pipes(gateway) > 0, what="it to be spliced")
        assert hear(conn) == 100 * MB  # and behind a half-closed side comes all that is still on its way
        writer.join()
    assert gateway.peak_kb() < 40000


@pytest.mark.parametrize("runner", [g.ONE_THREAD], indirect=True)  # how many pipes there are is a thread's share
def test_slow_readers(gateway, serve):
    """More of them than there are pipes: the others copy. Nobody's bytes get into another's."""
    n = 40
    serve(g.Backend(handler), timeout_ns=60 * 10**9)
    clients = []
    for _ in range(n):
        s = gateway.connect()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        s.sendall(b"GET /fn/hello/%d/length HTTP/1.1\r\nHost: t\r\n\r\n" % (8 * MB))
        clients.append(s)
    wait_until(lambda: pipes(gateway) == 48, what="all pipes to be in use")
    wait_until(gateway.sleeps, what="the gateway to have nothing to do")
    assert pipes(gateway) == 48 and gateway.peak_kb() < 40000
    assert get(gateway, "/3000000/length") == 3000000
    for s in clients[1::2]:
        s.close()
    for s in clients[::2]:
        conn = g.Conn(s)
        conn.read_head()
        assert hear(conn, 8 * MB) == 8 * MB
        s.close()
    wait_until(lambda: pipes(gateway) == 0, what="pipes to go back to the kernel")


def test_slow_function_holds_the_client_back(gateway, serve):
    """It takes the head and nothing else: what waits is in the kernel and in one pipe, and the client stands still."""
    go = threading.Event()
    backend = g.Backend(lambda conn, head: (go.wait(30), g.answer(b"%d" % hear(conn, 200 * MB)))[1])
    serve(backend, timeout_ns=60 * 10**9)
    with gateway.connect() as s:
        s.sendall(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % (200 * MB))
        sent = Tape()

        class Counting:  # pylint: disable=too-few-public-methods
            def send(self, data):
                s.sendall(data)
                sent.at += len(data)

        writer = threading.Thread(target=play, args=(Counting(), 200 * MB), daemon=True)
        writer.start()
        last = -1
        while last != sent.at:  # until it is held
            last = sent.at
            time.sleep(0.2)  # between two looks: a writer that has not moved is held
        assert last < 40 * MB and gateway.peak_kb() < 40000
        wait_until(gateway.sleeps, what="the gateway to have nothing to do")
        go.set()
        assert g.read_response(s)[2] == b"%d" % (200 * MB)
        writer.join()


def test_early_answer_while_a_large_body_comes(gateway, serve):
    """The function answers behind the first bytes of the body, and takes the rest or does not: the answer comes whole, and where the rest is not taken the connection ends behind it."""
    def early(conn, head):
        conn.read_exactly(300000)
        conn.send(g.answer(b"enough" * 50000))
        if b"/all" in head:
            left = 20 * MB - 300000 - len(conn.buf)
            while left > 0:
                left -= len(conn.sock.recv(min(left, MB)))
            return b""
        conn.sock.shutdown(socket.SHUT_WR)
        done.wait(30)
        return None

    done = threading.Event()
    serve(g.Backend(early))
    for path in ("all", "some"):
        with gateway.connect() as s:
            s.sendall(b"POST /fn/hello/%s HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % (path.encode(), 20 * MB))

            def send(to=s):
                try:
                    play(g.Conn(to), 20 * MB)
                except OSError:
                    pass

            writer = threading.Thread(target=send, daemon=True)
            writer.start()
            status, _, body = g.read_response(s)
            assert (status, body) == (200, b"enough" * 50000), path
            writer.join(30)
    done.set()
    assert gateway.get("/healthz")[0] == 200


@pytest.mark.parametrize("runner", [g.ONE_THREAD], indirect=True)  # the kept connection is that of the thread that made it
def test_connection_with_half_a_request_is_not_used_again(gateway, serve):
    """The function has answered what it has not read: the next request there would be the rest of that body."""
    backend = g.Backend()
    serve(backend)
    with gateway.connect() as s:
        s.sendall(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nabc")
        status, fields, _ = g.read_response(s)
        assert (status, fields["connection"]) == (200, "close")
        assert gateway.get("/fn/hello/next")[0] == 200
    assert backend.connections == 2 and backend.heads[-1].startswith(b"GET /next ")


@pytest.mark.parametrize("runner", [g.ONE_THREAD], indirect=True)  # in the order in which it is told
def test_answer_of_a_function_that_takes_no_more(gateway, serve):
    """It answers and closes at once, while more of the body comes: what it said is read although the body cannot be sent."""
    stopped, sent = threading.Event(), threading.Event()

    def early(conn, head):
        conn.read_exactly(3)
        os.kill(gateway.pid, signal.SIGSTOP)
        stopped.set()
        sent.wait(30)
        conn.send(g.answer(b"enough"))
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        conn.sock.close()
        os.kill(gateway.pid, signal.SIGCONT)

    serve(g.Backend(early))
    with gateway.connect() as s:
        s.sendall(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nabc")
        assert stopped.wait(30)
        s.sendall(b"x" * 500)
        sent.set()
        assert g.read_response(s)[::2] == (200, b"enough")


def test_no_delay_on_either_side(gateway, serve):
    """TCP_NODELAY is set on the client's connection and on the one to the instance: small pieces go at once."""
    libc = ctypes.CDLL(None, use_errno=True)
    backend = g.Backend()
    serve(backend)
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
        assert g.read_response(s)[0] == 200
        ours, pidfd = {s.getsockname()[1]: "client"}, os.pidfd_open(gateway.pid)
        seen = {}
        for fd in os.listdir(f"/proc/{gateway.pid}/fd"):
            copy = libc.syscall(438, pidfd, int(fd), 0)  # pidfd_getfd(2)
            if copy < 0:
                continue
            try:
                with socket.socket(fileno=copy) as peek:
                    if peek.family == socket.AF_INET and peek.type == socket.SOCK_STREAM:
                        port = peek.getpeername()[1]
                        seen[ours.get(port, "instance" if port == backend.port else "other")] = peek.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            except OSError:  # no socket, or one that listens
                pass
        os.close(pidfd)
    assert seen == {"client": 1, "instance": 1}


def test_ends_at_random_places(gateway, serve):
    """Clients and instances that end at any place, by a reset or a close: the other side hears of it, what it got until then is right, and the next request is served."""
    rnd = random.Random(7)
    reset = b"\1\0\0\0\0\0\0\0"
    seen = []

    def breaking(conn, head):
        h = g.fields(head)
        cut = int(h["x-cut"])
        if head.startswith(b"POST"):
            got = hear(conn, cut or int(h["content-length"]))
            if not cut:
                seen.append(got)
                return g.answer(b"%d" % got)
        else:
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (6 * MB))
            play(conn, cut or 6 * MB)
            if not cut:
                return b""
        if cut % 2:
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        return None

    backend = g.Backend(breaking)
    serve(backend)

    def one(i):
        here = rnd.randrange(2)
        cut = rnd.randrange(1, 6 * MB)
        with gateway.connect() as s:
            if i % 2:
                s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\nX-Cut: %d\r\n\r\n" % (0 if here else cut))
                conn = g.Conn(s)
                if conn.read_head() is None:
                    return
                try:
                    got = hear(conn, cut if here else 6 * MB)
                except ConnectionResetError:
                    got = 0
                assert got == cut if here else got < 6 * MB
            else:
                s.sendall(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nX-Cut: %d\r\nContent-Length: %d\r\n\r\n" % (0 if here else cut, 6 * MB))
                try:
                    play(g.Conn(s), cut if here else 6 * MB)
                    if not here:
                        assert g.read_response(s)[0] == 502
                except (ConnectionResetError, BrokenPipeError, AssertionError):
                    pass
            if cut % 2:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)

    for i in range(60):
        one(i)
    wait_until(lambda: not backend.open_conns, what="the instances' connections to be closed")
    assert seen and max(seen) < 6 * MB  # a body that was cut short never looked whole
    rss = gateway.rss_kb()
    for i in range(60):
        one(i)
    assert gateway.rss_kb() < rss + 1000
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\nX-Cut: 0\r\nConnection: close\r\n\r\n")
        conn = g.Conn(s)
        conn.read_head()
        assert hear(conn) == 6 * MB


def take_all_pipe_pages(uid, say):
    """As that user, in a child: pipes as large as they may be until none can be made larger; then says so and stays."""
    os.setresuid(uid, uid, uid)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    hold = []
    for size in (MB, MB >> 2, MB >> 4, MB >> 6, MB >> 8):
        with contextlib.suppress(OSError):
            while True:
                hold.append(os.pipe())
                fcntl.fcntl(hold[-1][1], F_SETPIPE_SZ, size)
    os.write(say, b"x")
    signal.pause()


# Pages are counted by user, over all namespaces: nobody else's tests have this one.
@pytest.mark.parametrize("gateway", [{"FND_GATEWAY_UID": str(random.SystemRandom().randrange(1 << 20, 1 << 30))}], indirect=True, ids=["own user"])
def test_without_pipes(gateway, serve):
    """Another process of the same user has used up the pages that pipes may have."""
    uid = int(gateway.env["FND_GATEWAY_UID"])
    full, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            take_all_pipe_pages(uid, say)
        finally:
            os._exit(1)
    os.close(say)
    try:
        assert os.read(full, 1) == b"x"
        serve(g.Backend(handler))
        assert get(gateway, "/%d/length" % (20 * MB)) == 20 * MB
        assert pipes(gateway) == 0
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    wait_until(lambda: get(gateway, "/%d/length" % (20 * MB)) == 20 * MB and pipes(gateway) > 0, what="a pipe, once there are some")
