"""HTTP/2 to clients: real clients first, then frames written by hand."""

import subprocess
import threading

import gatewayhost as g
import h2frames as h
import pytest
from fndtest import fnctl, wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401 (fixtures)


@pytest.fixture
def h2c(gateway, runner):
    """The gateway, with HTTP/2 on its plain listener."""
    runner.set(h2c=True)
    wait_until(lambda: curl(gateway, "/healthz", check=False).stdout == b"ok", what="the setting")
    return gateway


def curl(gw, path, *args, check=True, **kw):
    out = subprocess.run(["curl", "-sS", "-m", "20", "--http2-prior-knowledge", *args, f"http://127.0.0.1:{gw.port}{path}"], capture_output=True, check=False, **kw)
    assert not check or out.returncode == 0, out
    return out


def test_off_by_default(gateway):
    assert gateway.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").startswith(b"HTTP/1.1 505 ")


def test_curl(h2c, serve):
    def handler(conn, head):
        return g.answer(head + b"\n" + conn.body(head), extra=b"X-Made-By: me\r\n")

    serve(g.Backend(handler))
    out = curl(h2c, "/fn/hello/a?b=c", "-i", "-H", "X-Test: yes", "-d", "some body").stdout
    assert out.startswith(b"HTTP/2 200 \r\n"), out
    assert b"\r\nx-made-by: me\r\n" in out and out.endswith(b"\nsome body")
    assert b"POST /a?b=c HTTP/1.1\r\n" in out and b"x-test: yes\r\n" in out
    assert b"connection" not in out.split(b"\r\n\r\n")[0].lower()


def tool(*words, seconds=60):
    out = subprocess.run(words, capture_output=True, timeout=seconds, check=False, text=True)
    assert out.returncode == 0, out
    return out.stdout


def test_nghttp_sees_the_frames(h2c, serve):
    serve(g.Backend(lambda conn, head: b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + g.answer(b"hello")))
    out = tool("nghttp", "-v", "-n", "--no-dep", f"http://127.0.0.1:{h2c.port}/fn/hello/")
    assert out.index(":status: 103") < out.index("link: </a.css>") < out.index(":status: 200")
    assert "SETTINGS_MAX_CONCURRENT_STREAMS(0x03):100" in out and "END_STREAM" in out


def test_h2load_many_streams(h2c, serve):
    serve(g.Backend(lambda conn, head: g.answer(b"x" * 5000)), scale=1)
    out = tool("h2load", "-n", "3000", "-c", "4", "-m", "80", f"http://127.0.0.1:{h2c.port}/fn/hello/")
    assert "3000 succeeded, 0 failed, 0 errored, 0 timeout" in out, out


def test_large_bodies_both_ways(h2c, serve, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * 4 * 1024 * 24)  # 24 MB

    def handler(conn, head):
        return g.answer(conn.body(head))

    serve(g.Backend(handler))
    out = curl(h2c, "/fn/hello/", "--data-binary", f"@{big}").stdout
    assert out == big.read_bytes()
    out = curl(h2c, "/fn/hello/", "-T", "-", stdin=open(big, "rb")).stdout  # of unknown length
    assert out == big.read_bytes()
    assert h2c.peak_kb() < 80 << 10


def test_beside_http1(h2c, serve):
    """One listener, one function, both versions; what is counted is counted alike."""
    serve(g.Backend(lambda conn, head: g.answer(b"x" * 100)))
    with h2c.connect() as s, h.Client(h2c) as c:
        for _ in range(20):
            streams = [c.open() for _ in range(10)]
            s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n" * 10)
            conn = g.Conn(s)
            for _ in range(10):
                assert g.fields(conn.read_head())["content-length"] == "100"
                conn.read_exactly(100)
            assert [c.answer(i).data for i in streams] == [b"x" * 100] * 10
    page = h2c.get("/metrics", port=h2c.admin_port)[2].decode()
    assert 'fnd_requests_total{function="hello",code="200"} 400' in page, page


def test_what_the_function_sees(h2c, serve):
    """The same of the client and of the target as from HTTP/1.1."""
    serve(g.Backend(lambda conn, head: g.answer(head)))
    extra = [("cookie", "a=1"), ("cookie", "b=2"), ("x-forwarded-for", "9.9.9.9"), ("content_length", "7"), ("te", "trailers")]
    with h.Client(h2c) as c:
        two = c.answer(c.open(h.request("/fn/hello/x?y", extra=extra))).data
    one = h2c.get("/fn/hello/x?y", extra=b"cookie: a=1; b=2\r\nX-Forwarded-For: 9.9.9.9\r\ncontent_length: 7\r\nTE: trailers\r\nConnection: TE\r\n")[2]
    varying = (b"host:", b"x-request-id:")

    def lines(head):
        return sorted(line.lower() for line in head.split(b"\r\n") if not line.lower().startswith(varying))

    assert lines(two) == lines(one)
    assert b"X-Forwarded-Host: t.example" in two and b"GET /x?y HTTP/1.1" in two


def test_trailers(h2c, serve):
    """Both ways; those of a body whose length was announced have no place in HTTP/1.1."""
    seen = []

    def handler(conn, head):
        if b"chunked" in head:
            while not conn.buf.endswith(b"\r\n\r\n"):
                conn.fill()
        else:
            conn.body(head)
        seen.append(conn.buf)
        conn.buf = b""
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 2\r\n\r\n"

    serve(g.Backend(handler))
    with h.Client(h2c) as c:
        for extra, body in (([], b"data"), ([("content-length", "4")], b"data"), ([], b"")):
            stream = c.open(h.request(method="POST", extra=[("te", "trailers"), *extra]), end=False)
            if body:
                c.data(stream, body)
            c.send(c.headers([("x-sum", "1")], stream=stream)[1])
            s = c.answer(stream)
            assert s.data == b"body" and s.heads[-1] == [("x-sum", "2")], (s.heads, s.data)
    assert b"4\r\ndata\r\n" in seen[0] and seen[0].lower().endswith(b"0\r\nx-sum: 1\r\n\r\n")
    assert seen[2].lower() == b"0\r\nx-sum: 1\r\n\r\n"


def test_expect_continue(h2c, serve):
    serve(g.Backend(lambda conn, head: g.answer(conn.body(head))))
    with h.Client(h2c) as c:
        stream = c.open(h.request(method="POST", extra=[("expect", "100-continue")]), end=False)
        c.until(lambda: c.streams[stream].heads)
        assert c.streams[stream].status == 100
        c.data(stream, b"body", end=True)
        assert (c.answer(stream).status, c.streams[stream].data) == (200, b"body")


@pytest.mark.parametrize("method,status,extra", [("HEAD", "200 OK", b""), ("GET", "204 No Content", b""), ("GET", "304 Not Modified", b"ETag: x\r\n")])
def test_answers_without_a_body(h2c, serve, method, status, extra):
    body = b"" if status.startswith("204") else b"Content-Length: 5\r\n"
    serve(g.Backend(lambda conn, head: b"HTTP/1.1 " + status.encode() + b"\r\n" + body + extra + b"\r\n"))
    with h.Client(h2c) as c:
        s = c.answer(c.open(h.request(method=method)))
        assert (s.status, s.data, s.ended) == (int(status[:3]), b"", True)
        assert s.fields().get("content-length") == ("5" if body else None)
        assert c.answer(c.open(h.request("/healthz"))).data == b"ok"


def test_endless_interim_answers(h2c, serve):
    """A function that sends no end of them, to a client that reads nothing: it is made to wait."""
    sent, seen = [0], []

    def handler(conn, head):
        for _ in range(4000):
            conn.send(b"HTTP/1.1 103 Early Hints\r\nX: " + b"y" * 8000 + b"\r\n\r\n")
            sent[0] += 8000
        return g.answer()

    def waits():
        seen.append(sent[0])
        return len(seen) > 8 and len(set(seen[-8:])) == 1 and sent[0] > 0

    serve(g.Backend(handler))
    before = h2c.rss_kb()
    with h.Client(h2c, acks=False) as c:
        for _ in range(10):
            c.open()
        wait_until(waits, what="the function to wait")
        assert h2c.rss_kb() - before < 8 << 10


# ---- the end of a connection ----


def test_requests_of_a_connection(h2c, runner, serve):
    serve(g.Backend())
    runner.set(h2_requests=5)
    with h.Client(h2c) as c:
        for _ in range(5):
            assert c.get().status == 200
        assert c.until_closed() == [h.NO_ERROR, h.NO_ERROR]
        assert [last for _, last in c.goaway] == [2**31 - 1, 9]


def test_stop_lets_streams_finish(h2c, serve):
    go = threading.Event()
    backend = g.Backend(lambda conn, head: (go.wait(30), g.answer(b"late"))[1])
    serve(backend)
    with h.Client(h2c) as c, h.Client(h2c) as idle, h.Client(h2c, acks=False) as deaf:
        stream, other = c.open(), deaf.open()
        idle.step()
        backend.wait_heads(2)
        stopped = []
        thread = threading.Thread(target=lambda: stopped.append(h2c.stop()))
        thread.start()
        c.until(lambda: c.goaway)
        assert idle.until_closed() == [h.NO_ERROR]
        go.set()
        assert c.answer(stream).data == b"late" and deaf.answer(other).data == b"late"
        assert c.until_closed() == [h.NO_ERROR, h.NO_ERROR] and c.goaway[-1][1] == stream
        thread.join()
    assert stopped == [0]


def test_clients_share(h2c, runner, serve):
    """Connections count, streams do not."""
    serve(g.Backend())
    runner.welcome["max_connections_per_client"] = 3
    runner.reopen()
    with h.Client(h2c) as a, h.Client(h2c) as b:
        for c in (a, b):
            for i in [c.open() for _ in range(50)]:
                assert c.answer(i).status == 200
        with h.Client(h2c) as third, h.Client(h2c) as fourth:
            assert third.get().status == 200
            fourth.until_closed()
            assert fourth.goaway == []


# ---- behind TLS ----


@pytest.fixture
def h2s(gateway, runner, serve, tmp_path):
    """The gateway, with a certificate: the port for HTTP/2 by ALPN."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{tmp_path}/a.key", "-out", f"{tmp_path}/a.pem", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    runner.set_files([(g.CERTIFICATE, "a", f"{tmp_path}/a.pem"), (g.KEY, "a", f"{tmp_path}/a.key")])
    serve(g.Backend(lambda conn, head: g.answer(conn.body(head) + head)))
    wait_until(lambda: secure(gateway, "/healthz").returncode == 0, what="the certificate")
    return gateway


def secure(gw, path, *args, **kw):
    return subprocess.run(["curl", "-sS", "-k", "-m", "20", "-o", "-", "-w", "%{http_version} %{http_code}", *args, f"https://127.0.0.1:{gw.tls_port}{path}"], capture_output=True, check=False, **kw)


def test_by_alpn(h2s, runner, tmp_path):
    out = secure(h2s, "/fn/hello/", "-d", "x=y").stdout
    assert out.startswith(b"x=y") and out.endswith(b"2 200") and b"X-Forwarded-Proto: https" in out
    assert secure(h2s, "/fn/hello/", "--http1.1").stdout.endswith(b"1.1 200")
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * 4 * 1024 * 8)
    assert secure(h2s, "/fn/hello/", "--data-binary", f"@{big}").stdout.startswith(big.read_bytes())
    out = tool("h2load", "-n", "1000", "-c", "3", "-m", "50", f"https://127.0.0.1:{h2s.tls_port}/fn/hello/")
    assert "1000 succeeded, 0 failed, 0 errored, 0 timeout" in out and "Application protocol: h2" in out, out
    runner.set(h2=False)
    wait_until(lambda: secure(h2s, "/fn/hello/").stdout.endswith(b"1.1 200"), what="the setting")


def test_of_a_whole_daemon(make_daemon):
    """From the configuration to a sandbox."""
    d = make_daemon(settings={"gateway.h2c": "yes", "gateway.h2_streams": "7"})
    d.start()
    fnctl("deploy", "hello")
    out = tool("nghttp", "-v", "--no-dep", "http://127.0.0.1:8888/fn/hello/")
    assert "SETTINGS_MAX_CONCURRENT_STREAMS(0x03):7]" in out and ":status: 200" in out, out
