"""fnd-gateway by itself: how long it waits for whom, and that it lets go of the function when nobody wants the answer any more."""

import socket
import time

import fndtest
import gatewayhost as g
import pytest
from fndtest import wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401 (fixtures)

MS = 10**6
AS_CONFIGURED = 2**64 - 1
GET = b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n"


def test_connect_timeout_then_another_instance(gateway, runner):
    runner.set(connect_timeout_ns=150 * MS)
    deaf, good = g.Deaf(), g.Backend()
    f = runner.function("hello", health_interval_ns=3600 * 10**9, timeout_ns=3600 * 10**9)
    runner.instance(f, deaf, state=g.READY_STATE)
    begin = time.monotonic()
    assert gateway.get("/fn/hello/")[0] == 504
    assert time.monotonic() - begin > 0.14
    runner.wait_report("ready", runner.instance(f, good))
    slow = False
    for _ in range(200):  # until it was the deaf one's turn first
        begin = time.monotonic()
        assert gateway.get("/fn/hello/")[::2] == (200, b"hello")
        slow = slow or time.monotonic() - begin > 0.14
        if slow:
            break
    assert slow
    body = b"x" * 100000
    assert gateway.request(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n", body)[0] == 200


def test_timeout_of_the_function_is_not_longer_for_a_connect(gateway, runner):
    runner.set(connect_timeout_ns=3600 * 10**9)
    deaf, f = g.Deaf(), runner.function("hello", health_interval_ns=3600 * 10**9, timeout_ns=150 * MS)
    runner.instance(f, deaf, state=g.READY_STATE)
    assert gateway.get("/fn/hello/")[0] == 504


def test_connection_that_never_asks(gateway, runner):
    runner.set(head_timeout_ns=200 * MS, idle_timeout_ns=3600 * 10**9)
    runner.function("hello", crash_loop=1, wanted=1)
    wait_until(lambda: gateway.get("/fn/hello/")[0] == 503)  # what was set before it has come
    begin = time.monotonic()
    with gateway.connect() as s:
        assert s.recv(100) == b""
    assert time.monotonic() - begin > 0.19


def test_queue_timeout(gateway, serve, runner):
    runner.welcome["start_timeout_ms"] = 3600000  # the other limit of a wait
    runner.reopen()
    backend = g.Backend(lambda conn, head: (conn.fill(), None)[1])
    serve(backend, concurrency=1, queue_timeout_ns=200 * MS, timeout_ns=3600 * 10**9)
    with gateway.connect() as first:
        first.sendall(GET)
        backend.wait_heads(1)
        begin = time.monotonic()
        status, fields, _ = gateway.get("/fn/hello/")
        assert (status, fields["retry-after"]) == (503, "1")
        assert time.monotonic() - begin > 0.19


@pytest.mark.parametrize("start_ms,timeout_ns", [(300, 3600 * 10**9), (3600000, 300 * MS)], ids=["start", "timeout"])
def test_wait_for_an_instance_ends(gateway, runner, start_ms, timeout_ns):
    """Without a queue_timeout: as long as an instance may take to start, and no longer than the function may take to answer."""
    runner.welcome["start_timeout_ms"] = start_ms
    runner.reopen()
    runner.function("hello", timeout_ns=timeout_ns)  # the runner is about to start one
    begin = time.monotonic()
    status, fields, _ = gateway.get("/fn/hello/")
    assert (status, fields["retry-after"]) == (503, "1")
    assert time.monotonic() - begin > 0.29


PIECES = 9
LONGER = (400, 1600, 6400)  # ms: where whoever moves the stream was held up so long that it did rest, nothing has been shown, and it is tried with more


class Mover:
    """Moves a stream each quarter of `idle_ms`, and knows how long it rested at most."""

    def __init__(self, idle_ms):
        self.idle_s = idle_ms / 1000
        self.last, self.rested = time.monotonic(), 0

    def wait(self):
        time.sleep(self.idle_s / 4)  # the pace at which the stream moves is what is tried

    def moved(self):
        now = time.monotonic()
        self.last, self.rested = now, max(self.rested, now - self.last)

    @property
    def held_up(self):
        return self.rested > self.idle_s * 0.6


def stream(conn, head):
    """A response that begins, moves as often as the path says, and then rests."""
    pieces, idle_ms = map(int, head.split(b" ")[1][1:].split(b"/"))
    conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    mover = Mover(idle_ms)
    for _ in range(pieces):
        mover.wait()
        conn.send(b"2\r\nhi\r\n")
        mover.moved()
    MOVERS.append(mover)
    conn.fill()


MOVERS = []


@pytest.mark.parametrize("own", [True, False])
def test_stream_idle(gateway, serve, runner, own):
    backend = g.Backend(stream)
    for idle in LONGER:
        runner.set(stream_idle_ns=(3600 * 10**9 if own else idle * MS))
        serve(backend, name=f"f{idle}", stream_idle_ns=(idle * MS if own else AS_CONFIGURED))
        MOVERS.clear()
        begin = time.monotonic()
        out = gateway.raw(b"GET /fn/f%d/%d/%d HTTP/1.1\r\nHost: t\r\n\r\n" % (idle, PIECES, idle))
        assert out.endswith(b"<RESET>")
        if MOVERS and not MOVERS[0].held_up:
            break
    assert out.count(b"hi") == PIECES
    assert time.monotonic() - begin > idle / 1000 * (PIECES / 4 + 0.9)
    wait_until(lambda: not backend.open_conns)


def test_stream_may_rest_where_nobody_says(gateway, serve, runner):
    runner.set(stream_idle_ns=100 * MS)
    serve(g.Backend(stream), stream_idle_ns=0)
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello/0/1 HTTP/1.1\r\nHost: t\r\n\r\n")
        assert s.recv(1000).startswith(b"HTTP/1.1 200")
        s.settimeout(0.5)
        with pytest.raises(TimeoutError):
            s.recv(1)


def test_stream_idle_of_an_upgraded_connection(gateway, serve):
    def handler(conn, head):
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while conn.fill():
            conn.send(conn.buf)
            conn.buf = b""

    def moved(s, idle):
        """Did it last as long as it moved, and end when it did not? None: it did not move."""
        s.sendall(b"GET /fn/f%d/ HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" % idle)
        conn, mover = g.Conn(s), Mover(idle)
        assert conn.read_head().startswith(b"HTTP/1.1 101")
        mover.moved()
        try:
            for _ in range(PIECES):
                mover.wait()
                begin = time.monotonic()
                s.sendall(b"hello")
                lasts = conn.read_exactly(5) == b"hello"
                mover.moved()
        except (OSError, AssertionError):
            lasts = False
            mover.moved()
        if mover.held_up:
            return None
        return lasts and s.recv(1) == b"" and time.monotonic() - begin > idle / 1000 * 0.9

    backend = g.Backend(handler)
    for idle in LONGER:
        serve(backend, name=f"f{idle}", stream_idle_ns=idle * MS)
        with gateway.connect() as s:
            result = moved(s, idle)
        if result is not None:
            break
    assert result
    wait_until(lambda: not backend.open_conns)


# ---- clients that do not read ----


def endless(conn, head):
    conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        conn.send(bytes(1 << 20))


def test_client_that_takes_nothing_is_cut(gateway, serve, runner):
    runner.set(stall_timeout_ns=500 * MS)
    backend = g.Backend(endless)
    serve(backend)
    with gateway.connect() as s:
        s.sendall(GET)
        backend.wait_heads(1)
        wait_until(lambda: not backend.open_conns, what="the end of the answer")


# ---- the end of a connection whose request was refused ----


def connections(gateway):
    page = gateway.get("/metrics", port=gateway.admin_port)[2].decode()
    return int(next(line.split()[1] for line in page.splitlines() if line.startswith("fnd_gateway_connections ")))


REFUSED = b"POST /fn/none/ HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000000\r\n\r\n"


def test_rest_of_a_refused_request_is_not_waited_for_long(gateway):
    with gateway.connect() as s:
        s.sendall(REFUSED)
        assert g.read_response(s)[0] == 404 and s.recv(1) == b""
        wait_until(lambda: connections(gateway) == 1, what="the gateway to forget who sends nothing")


def test_rest_of_a_refused_request_is_bounded(gateway):
    block = bytes(1 << 20)
    with gateway.connect() as s:
        s.sendall(REFUSED)
        assert g.read_response(s)[0] == 404
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(200):
                s.sendall(block)


# ---- a client that is gone ----


def test_reset_with_further_requests_on_their_way(gateway, serve):
    """Who has sent more may have closed its half only; who has sent a reset has not."""
    backend = g.Backend(lambda conn, head: (conn.fill(), None)[1])
    serve(backend, timeout_ns=3600 * 10**9)
    s = gateway.connect()
    s.sendall(GET * 2)
    backend.wait_heads(1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()
    wait_until(lambda: not backend.open_conns, what="the instance's connection to be closed")


@pytest.mark.parametrize("body", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"])
def test_gone_with_a_body_that_was_read(gateway, serve, body):
    """The end comes in one piece with the request; then the function would compute and say nothing."""
    backend = g.Backend(lambda conn, head: g.answer() if head.startswith(b"GET") else (conn.body(head), conn.fill(), None)[2])
    serve(backend, concurrency=1, queue_timeout_ns=fndtest.PATIENCE_S * 10**9)
    assert gateway.get("/fn/hello/")[0] == 200  # so that a connection waits, and all goes out in one turn
    with gateway.connect() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        s.sendall(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\n" + body)
    assert gateway.get("/fn/hello/")[0] == 200  # its place is free


@pytest.mark.parametrize("runner", [g.ONE_THREAD], indirect=True)  # first come, first served is a thread's promise
def test_gone_while_waiting(gateway, serve):
    backend = g.Backend(lambda conn, head: (conn.fill(), None)[1])
    serve(backend, concurrency=1, queue=2)
    first = gateway.connect()
    first.sendall(GET)
    backend.wait_heads(1)
    waiting = gateway.connect()
    waiting.sendall(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc")
    patient = gateway.connect()
    patient.sendall(b"GET /fn/hello/patient HTTP/1.1\r\nHost: t\r\n\r\n")
    wait_until(lambda: gateway.get("/fn/hello/")[0] == 503, what="a full queue")
    waiting.close()  # and so its place is free
    third = gateway.connect()
    third.sendall(b"GET /fn/hello/third HTTP/1.1\r\nHost: t\r\n\r\n")
    third.settimeout(0.3)
    with pytest.raises(TimeoutError):  # it waits too
        third.recv(1)
    first.close()
    backend.wait_heads(2)
    assert backend.heads[-1].startswith(b"GET /patient ")
    patient.close()
    backend.wait_heads(3)
    assert backend.heads[-1].startswith(b"GET /third ")
    third.close()
    wait_until(lambda: not backend.open_conns)


def test_half_close_with_a_body_is_answered(gateway, serve):
    serve(g.Backend(lambda conn, head: (time.sleep(0.1), g.answer(conn.body(head)))[1]))  # the client has ended its half meanwhile
    out = gateway.raw(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", half_close=True)
    assert out.endswith(b"\r\n\r\nabc")
    out = gateway.raw(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc" b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", half_close=True)
    assert out.count(b"HTTP/1.1 200 ") == 2
