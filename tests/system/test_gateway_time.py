"""fnd-gateway by itself: how long it waits for whom, and that it lets go of the function when nobody wants the answer any more."""

import socket
import time

import gatewayhost as g
import pytest
from fndtest import wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401 (fixtures)

MS = 10**6
AS_CONFIGURED = 2**64 - 1
GET = b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n"


class Deaf(g.Backend):
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


def test_connect_timeout_then_another_instance(gateway, runner):
    runner.set(connect_timeout_ns=150 * MS)
    deaf, good = Deaf(), g.Backend()
    f = runner.function("hello", health_interval_ns=3600 * 10**9)
    runner.instance(f, deaf, state=g.READY_STATE)
    begin = time.monotonic()
    assert gateway.get("/fn/hello/")[0] == 504
    assert 0.14 < time.monotonic() - begin < 3
    runner.wait_report("ready", runner.instance(f, good))
    slow = 0
    for _ in range(8):
        begin = time.monotonic()
        assert gateway.get("/fn/hello/")[::2] == (200, b"hello")
        slow += time.monotonic() - begin > 0.14
    assert slow > 0
    body = b"x" * 100000
    assert gateway.request(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n", body)[0] == 200


def test_timeout_of_the_function_is_not_longer_for_a_connect(gateway, runner):
    deaf, f = Deaf(), runner.function("hello", health_interval_ns=3600 * 10**9, timeout_ns=150 * MS)
    runner.instance(f, deaf, state=g.READY_STATE)
    begin = time.monotonic()
    assert gateway.get("/fn/hello/")[0] == 504
    assert time.monotonic() - begin < 2


def test_queue_timeout(gateway, serve):
    serve(g.Backend(lambda conn, head: (conn.fill(), None)[1]), concurrency=1, queue_timeout_ns=200 * MS)
    with gateway.connect() as first:
        first.sendall(GET)
        begin = time.monotonic()
        status, fields, _ = gateway.get("/fn/hello/")
        assert (status, fields["retry-after"]) == (503, "1")
        assert 0.19 < time.monotonic() - begin < 1.5  # start_timeout of the fake runner is 2 s


def stream(conn, head):
    """A response that begins, moves as often as the path says, 100 ms apart, and then rests."""
    conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(int(head.split(b" ")[1][1:])):
        time.sleep(0.1)
        conn.send(b"2\r\nhi\r\n")
    conn.fill()


@pytest.mark.parametrize("own", [True, False])
def test_stream_idle(gateway, serve, runner, own):
    runner.set(stream_idle_ns=(3600 * 10**9 if own else 400 * MS))
    backend = g.Backend(stream)
    serve(backend, stream_idle_ns=(400 * MS if own else AS_CONFIGURED))
    begin = time.monotonic()
    out = gateway.raw(b"GET /fn/hello/9 HTTP/1.1\r\nHost: t\r\n\r\n")
    assert out.count(b"hi") == 9 and out.endswith(b"<RESET>")
    assert 1.25 < time.monotonic() - begin < 4
    wait_until(lambda: not backend.open_conns)


def test_stream_may_rest_where_nobody_says(gateway, serve, runner):
    runner.set(stream_idle_ns=100 * MS)
    serve(g.Backend(stream), stream_idle_ns=0)
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello/0 HTTP/1.1\r\nHost: t\r\n\r\n")
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

    backend = g.Backend(handler)
    serve(backend, stream_idle_ns=300 * MS)
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        conn = g.Conn(s)
        assert conn.read_head().startswith(b"HTTP/1.1 101")
        for _ in range(5):
            time.sleep(0.1)
            s.sendall(b"hello")
            assert conn.read_exactly(5) == b"hello"
        begin = time.monotonic()
        assert s.recv(1) == b""
        assert 0.25 < time.monotonic() - begin < 3
    wait_until(lambda: not backend.open_conns)


# ---- a client that is gone ----


@pytest.mark.parametrize("body", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"])
def test_gone_with_a_body_that_was_read(gateway, serve, body):
    """The end comes in one piece with the request; then the function would compute and say nothing."""
    backend = g.Backend(lambda conn, head: g.answer() if head.startswith(b"GET") else (conn.body(head), conn.fill(), None)[2])
    serve(backend, concurrency=1, queue_timeout_ns=3 * 10**9)
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
    serve(g.Backend(lambda conn, head: (time.sleep(0.1), g.answer(conn.body(head)))[1]))
    out = gateway.raw(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", half_close=True)
    assert out.endswith(b"\r\n\r\nabc")
    out = gateway.raw(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc" b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", half_close=True)
    assert out.count(b"HTTP/1.1 200 ") == 2
