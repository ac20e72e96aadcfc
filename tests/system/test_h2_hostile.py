"""HTTP/2 frames that a client in good faith does not send: each is answered as it should be, costs little, and the neighbour is served."""

import threading
import time

import fndtest
import gatewayhost as g
import h2frames as h
import pytest
from fndtest import wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401 (fixtures)
from h2frames import frame, raw_frame, request


@pytest.fixture
def h2c(gateway, runner):
    """The gateway, with HTTP/2 on its plain listener."""

    def speaks():
        with h.Client(gateway) as c:
            c.step()
            return c.settings

    runner.set(h2c=True)
    wait_until(speaks, what="the setting")
    return gateway


def metric(gw, name):
    page = gw.get("/metrics", port=gw.admin_port)[2].decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name))


def floods(gw):
    return metric(gw, 'fnd_gateway_refused_total{reason="flood"}')


def in_flight(gw):
    return metric(gw, "fnd_requests_in_flight")


def rapid_reset(c):
    for _ in range(2000):
        stream, data = c.headers(request())
        c.send(data + frame(h.RstStreamFrame, stream, error_code=h.CANCEL))


def provoked_resets(c):
    """CVE-2025-8671: the gateway resets, the client opens the next."""
    for _ in range(2000):
        stream, data = c.headers(request(method="POST"), end=False)
        c.send(data + raw_frame(8, 0, stream, b"\x7f\xff\xff\xff"))  # more window than there is


def malformed_requests(c):
    for _ in range(2000):
        c.open(request(extra=[("connection", "close")]))


def refused_streams(c):
    for _ in range(3000):
        c.open(request("/fn/slow/"))


def settings(c):
    c.send(frame(h.SettingsFrame, settings={4: 65535}) * 3000)


def pings(c):
    c.send(frame(h.PingFrame, opaque_data=b"12345678") * 3000)


def window_updates(c):
    c.send(frame(h.WindowUpdateFrame, 0, window_increment=1) * 3000)


def priorities(c):
    c.send(frame(h.PriorityFrame, 1, depends_on=0, stream_weight=1) * 3000)


def empty_data(c):
    stream = c.open(request("/fn/slow/", "POST"), end=False)
    c.send(frame(h.DataFrame, stream) * 3000)


def padded_empty_data(c):
    stream = c.open(request("/fn/slow/", "POST"), end=False)
    c.send(raw_frame(0, 8, stream, b"\0") * 3000)


def continuations(c):
    c.send(raw_frame(1, 1, 1, c.encoder.encode(request())) + raw_frame(9, 0, 1, b"\0\1x\1y") * 3000)


def empty_continuations(c):
    c.send(raw_frame(1, 1, 1, c.encoder.encode(request())) + raw_frame(9, 0, 1) * 3000)


def header_bomb(c):
    """4 KB in the table, then a byte for each use of it."""
    c.send(frame(h.HeadersFrame, 1, ["END_STREAM"], data=c.encoder.encode([("x", "v" * 3900)]) + b"\xbe" * 10000) + frame(h.ContinuationFrame, 1, ["END_HEADERS"], data=b"\xbe" * 16000))


FLOODS = [rapid_reset, provoked_resets, malformed_requests, refused_streams, settings, pings, window_updates, priorities, empty_data, padded_empty_data,
          continuations, empty_continuations, header_bomb]


def test_floods_meet_goaway(h2c, runner, serve):
    release = threading.Event()
    serve(g.Backend())
    serve(g.Backend(lambda conn, head: (release.wait(60), g.answer())[1]), name="slow")
    with h.Client(h2c) as neighbour:
        for n, flood in enumerate(FLOODS):
            with h.Client(h2c) as c:
                flood(c)
                codes = c.until_closed()
                assert codes == [h.CALM], (flood.__name__, codes, c.streams.get(1) and c.streams[1].reset)
            assert neighbour.get().data == b"hello", flood.__name__
            wait_until(lambda n=n: floods(h2c) == n + 1, what=flood.__name__)
        assert neighbour.goaway == []
    wait_until(lambda: in_flight(h2c) == 0, what="nothing in flight")
    release.set()


# ---- requests that are none ----

BAD_HEADS = [
    request()[:3],  # no host
    [("x", "y")],
    request()[:3] + [("x", "y"), (":authority", "t")],
    request(extra=[("X-Upper", "y")]),
    request(extra=[("connection", "close")]),
    request(extra=[("transfer-encoding", "chunked")]),
    request(extra=[("te", "gzip")]),
    request(extra=[("host", "other")]),
    request(extra=[("x", "a\r\nb: c")]),
    request(extra=[("x", "a\nb")]),
    request(extra=[("x", "a\0b")]),
    request(extra=[("x\r\ny", "a")]),
    request(extra=[("x: y\r\nz", "a")]),
    request(extra=[("content-length", "5")]),
    request(extra=[("content-length", "0"), ("content-length", "0")]),
    request(extra=[(":path", "/")]),
    request(extra=[(":status", "200")]),
    request("/fn/hello/ HTTP/1.1\r\nX: y"),
    request("/fn/hello/\x7f"),
    request("/fn/he llo/"),
    request(""),
    request("http://t.example/fn/hello/"),
    request(method="GET /fn/hello/ HTTP/1.1\r\nHost: x\r\n\r\nGET"),
    request(method="CONNECT", extra=[(":protocol", "websocket")]),
]
# What has a meaning in HTTP/1.1 gets the answer that it gets there.
ANSWERED = [
    (request(method="CONNECT")[:1] + [(":authority", "t:443")], 405),
    (request(method="TRACE"), 405),
    (request()[:3] + [(":authority", "user@host")], 400),
    (request()[:3] + [("host", "t.example")], 200),
    (request("/fn/none/"), 404),
    (request("/healthz"), 200),
    (request(extra=[("expect", "something")]), 417),
    (request(extra=[("x", "y" * 17000)]), 431),
    (request(extra=[(f"x{i}", "y") for i in range(110)]), 431),
    (request("/" + "a" * 9000), 414),
]


def test_malformed_requests_end_their_stream_only(h2c, serve):
    backend = g.Backend(lambda conn, head: (conn.body(head), g.answer())[1])
    serve(backend)
    with h.Client(h2c) as c:
        for fields in BAD_HEADS:
            s = c.answer(c.open(fields))
            assert (s.reset, s.heads) == (h.PROTOCOL_ERROR, []), (fields, s.heads, s.reset)
        for fields, status in ANSWERED:
            assert c.answer(c.open(fields)).status == status, (fields, status)
        # More, and less, than content-length announced.
        for body in (b"abc", b"a"):
            stream = c.open(request(method="POST", extra=[("content-length", "2")]), end=False)
            c.data(stream, body, end=True)
            assert c.answer(stream).reset == h.PROTOCOL_ERROR
        stream = c.open(request(method="POST"), end=False)
        c.send(c.headers([(":path", "/")], stream=stream)[1])
        assert c.answer(stream).reset == h.PROTOCOL_ERROR
        assert c.get().data == b"hello" and c.goaway == []
    assert len(backend.heads) <= 2 + 3  # good ones, and those whose body was wrong


def test_connection_errors(h2c, serve):
    serve(g.Backend())
    for data, code in [
        (raw_frame(0, 0, 1, b"x"), h.PROTOCOL_ERROR),  # DATA of a stream that is idle
        (raw_frame(4, 0, 0, b"12345"), 6),  # FRAME_SIZE_ERROR
        (raw_frame(1, 4, 2, b"\x82"), h.PROTOCOL_ERROR),  # an even stream
        (raw_frame(1, 4, 1, b"\xff\xff\xff\xff\xff"), 9),  # COMPRESSION_ERROR
        (raw_frame(8, 0, 0, b"\x7f\xff\xff\xff"), h.FLOW_CONTROL_ERROR),
        (raw_frame(0, 0, 1, length=1 << 20), 6),
        (raw_frame(5, 4, 1, b"\0\0\0\2\x82"), h.PROTOCOL_ERROR),  # PUSH_PROMISE of a client
    ]:
        with h.Client(h2c) as c:
            c.send(data)
            assert c.until_closed() == [code], data
    assert h2c.raw(h.PREFACE + b"GET / HTTP/1.1\r\n\r\n").count(b"HTTP/1.1") == 0
    assert h2c.raw(h.PREFACE[:-1] + b"x").startswith(b"HTTP/1.1 505 ")
    assert h2c.raw(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n" + h.PREFACE).count(b"HTTP/1.1 505 ") == 1  # only at the beginning


# ---- the end of streams ----


def test_reset_at_every_stage_leaves_nothing(h2c, runner, serve):
    go = threading.Event()

    def handler(conn, head):
        path = head.split(b" ")[1]
        if path == b"/late":
            go.wait(30)
        if path == b"/half":
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 300000)
            return b"" if conn.fill() else None
        if path == b"/body":
            conn.body(head)
        return g.answer()

    backend = g.Backend(handler)
    number = serve(backend, concurrency=3, queue=100)
    runner.change("hello", timeout_ns=60 * 10**9)
    with h.Client(h2c) as c:
        late = [c.open(request("/fn/hello/late")) for _ in range(6)]  # three of them wait
        wait_until(lambda: in_flight(h2c) == 3, what="three at work")
        for stream in late:
            c.reset(stream)
        wait_until(lambda: in_flight(h2c) == 0, what="those that were given up")
        go.set()
        half = c.open(request("/fn/hello/half"))
        c.until(lambda: len(c.streams[half].data) > 100000)
        c.reset(half)
        body = c.open(request("/fn/hello/body", "POST", [("content-length", "100000")]), end=False)
        c.data(body, b"x" * 5000)
        wait_until(lambda: in_flight(h2c) == 1, what="the one whose body comes")
        c.reset(body)
        early, data = c.headers(request("/fn/hello/"))
        c.send(data + frame(h.RstStreamFrame, early, error_code=h.CANCEL))
        wait_until(lambda: in_flight(h2c) == 0, what="nothing")
        assert c.get().data == b"hello"
        c.open(request("/fn/hello/half"))
        wait_until(lambda: in_flight(h2c) == 1, what="one more")
    wait_until(lambda: in_flight(h2c) == 0, what="the connection's end")
    wait_until(lambda: len(backend.open_conns) <= 3, what="the function's connections")
    assert number


def test_function_that_breaks_off(h2c, serve):
    seen = threading.Event()

    def handler(conn, head):
        if b"/nothing" in head:
            return None
        conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        seen.wait(30)
        if b"/garbage" in head:
            conn.send(b"zz\r\n")
        return None

    serve(g.Backend(handler))
    with h.Client(h2c) as c:
        assert c.get("/fn/hello/nothing").status == 502
        for path in ("/fn/hello/cut", "/fn/hello/garbage"):
            s = c.streams[c.open(request(path))]
            c.until(lambda: s.data == b"abc")
            seen.set()
            c.until(lambda: s.ended or s.reset is not None)
            assert (s.reset, s.ended) == (h.INTERNAL_ERROR, False), path
            seen.clear()
        assert c.goaway == []


def test_early_answer_stops_the_body(h2c, serve):
    serve(g.Backend(lambda conn, head: g.answer(b"enough")))
    with h.Client(h2c) as c:
        stream = c.open(request(method="POST"), end=False)
        c.data(stream, b"x" * 1000)
        s = c.answer(stream)
        c.until(lambda: s.reset is not None)
        assert (s.status, s.data, s.ended, s.reset) == (200, b"enough", True, h.NO_ERROR)
        assert c.get().data == b"enough"
        stream = c.open(request("/fn/none/", "POST", [("content-length", "1000000000000")]), end=False)
        assert c.answer(stream).status == 404


# ---- slow ones ----


def test_windows_that_stay_shut(h2c, runner, serve):
    """A stream whose window is not opened ends, however busy the others are; so does a connection that takes nothing."""
    runner.set(stall_timeout_ns=700 * 10**6)
    serve(g.Backend(lambda conn, head: g.answer(conn.body(head) + b"x" * 100000)))
    with h.Client(h2c, settings={4: 0}) as c:
        stalled = c.open()
        end = time.monotonic() + fndtest.PATIENCE_S
        while c.streams[stalled].reset is None and time.monotonic() < end:
            busy, data = c.headers(request())
            c.send(data + frame(h.WindowUpdateFrame, busy, window_increment=200000))  # in one piece: it is never shut
            assert len(c.answer(busy).data) == 100000
        assert c.streams[stalled].reset == h.INTERNAL_ERROR and c.goaway == []
    alone = metric(h2c, "fnd_gateway_connections ")
    with h.Client(h2c, settings={4: 1 << 30}) as c:
        c.send(frame(h.WindowUpdateFrame, 0, window_increment=1 << 30))
        c.step()  # what the gateway says first: so it counts the connection
        for _ in range(90):
            c.open()
        wait_until(lambda: metric(h2c, "fnd_gateway_connections ") == alone, what="the connection's end")
        wait_until(lambda: in_flight(h2c) == 0, what="its requests'")
    with h.Client(h2c) as c:
        c.step()
        stream = c.open(request(method="POST"), end=False)  # and the body never comes
        assert c.answer(stream).status == 408


def test_memory_is_bounded_by_windows(h2c, serve):
    """A function that does not read, and a client that does not: what is under way is bounded on both sides."""
    go = threading.Event()
    serve(g.Backend(lambda conn, head: (go.wait(60), g.answer(str(len(conn.body(head))).encode()))[1]))
    serve(g.Backend(lambda conn, head: g.answer(b"x" * (8 << 20))), name="big")
    before = h2c.rss_kb()
    with h.Client(h2c) as c:
        c.step()
        window = c.window
        streams = [c.open(request(method="POST", extra=[("content-length", "2000000")]), end=False) for _ in range(4)]
        for stream in streams:
            while c.window > 0 and c.windows.get(stream, c.settings[4]) > 0:
                n = min(16384, c.window, c.windows.get(stream, c.settings[4]))
                c.data(stream, b"x" * n)
                c.window -= n
                c.windows[stream] = c.windows.get(stream, c.settings[4]) - n
        assert window <= 2 << 20
        assert c.open(request("/healthz"))
        go.set()
        assert c.answer(c.next_id - 2).data == b"ok"
    with h.Client(h2c, acks=False) as c:
        for _ in range(50):
            c.open(request("/fn/big/"))
        wait_until(lambda: in_flight(h2c) == 50, what="fifty answers")
        assert h2c.rss_kb() - before < 16 << 10
    wait_until(lambda: in_flight(h2c) == 0, what="the end")


def test_deadlines_of_the_connection(h2c, runner, serve):
    serve(g.Backend())
    runner.set(head_timeout_ns=1000 * 10**6, idle_timeout_ns=1000 * 10**6)
    with h.Client(h2c) as c:  # idle; its PINGs do not count
        c.step()
        c.send(frame(h.PingFrame, opaque_data=b"12345678"))
        assert c.get().data == b"hello"
        assert c.until_closed() == [h.NO_ERROR]
    with h.Client(h2c, acks=False) as c:  # a head that does not end
        c.send(raw_frame(1, 1, 1, c.encoder.encode(request())))
        assert c.until_closed() == [h.CALM]
    with h.Client(h2c, begin=False, acks=False) as c:  # nothing behind the preface
        c.send(h.PREFACE)
        assert c.until_closed() == [h.CALM]
    with h.Client(h2c, begin=False) as c:
        c.send(h.PREFACE[:10])
        c.until_closed()


# ---- memory ----


def test_memory_stays_flat_under_resets(h2c, runner, serve):
    runner.set(h2_resets=0, h2_idle_frames=0, h2_requests=0)
    serve(g.Backend())

    def thousands(n):
        with h.Client(h2c) as c:
            for _ in range(n):
                out = b""
                for _ in range(100):
                    stream, data = c.headers(request())
                    out += data + frame(h.RstStreamFrame, stream, error_code=h.CANCEL)
                    del c.streams[stream]
                c.send(out)
            assert c.get().data == b"hello"

    thousands(20)
    before = h2c.rss_kb()
    for _ in range(5):
        thousands(200)  # 100,000 in all
    assert h2c.rss_kb() - before < 4 << 10, (before, h2c.rss_kb())
    assert in_flight(h2c) == 0
