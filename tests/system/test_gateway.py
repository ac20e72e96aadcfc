"""fnd-gateway by itself: what clients and functions see of it, good and bad."""

import json
import os
import socket
import threading
import time

import gatewayhost as g
import pytest
from fndtest import wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401 (fixtures)

MB = 1 << 20


# ---- the process ----


def test_confined(gateway):
    wait_until(lambda: gateway.status()["Seccomp"].strip() == "2", what="the filter")
    status = gateway.status()
    assert status["Uid"].split() == [str(g.UID)] * 4
    assert status["Groups"].strip() == ""
    assert all(int(status[c], 16) == 0 for c in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    assert status["NoNewPrivs"].strip() == "1"
    root = f"/proc/{gateway.pid}/root"
    assert set(os.listdir(root)) <= {"etc", "usr", "run"}
    assert os.listdir(root + "/run/fnd") == ["gw"]
    assert not os.path.exists(root + "/etc/passwd") and not os.path.exists(root + "/proc")
    with pytest.raises(OSError):
        open(root + "/file", "w", encoding="ascii").close()


def test_before_the_snapshot_and_without_runner():
    os.makedirs(g.RUN + "/gw", exist_ok=True)
    gw = g.Gateway()
    assert gw.get("/healthz")[0] == 200
    status, fields, _ = gw.get("/fn/hello/")
    assert (status, fields["retry-after"]) == (503, "1")
    runner = g.Runner()
    runner.open()
    backend = g.Backend()
    runner.wait_report("ready", runner.instance(runner.function("hello"), backend))
    assert gw.get("/fn/hello/")[0] == 200
    runner.close()
    wait_until(lambda: gw.get("/fn/hello/")[0] == 200)  # goes on while the runner is away
    again = g.Runner()
    again.function("other")
    again.open()
    wait_until(lambda: gw.get("/fn/hello/")[0] == 404, what="what was not heard again is dropped")
    assert gw.stop() == 0
    gw.close()
    again.close()
    os.unlink(g.RUNNER_SOCKET)


def test_stop_lets_requests_finish(gateway, serve):
    go = threading.Event()
    backend = g.Backend(lambda conn, head: (go.wait(30), g.answer(b"late"))[1])
    serve(backend)
    idle = gateway.connect()
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
        backend.wait_heads(1)
        os.kill(gateway.pid, g.signal.SIGTERM)
        assert idle.recv(1) == b""
        go.set()
        status, fields, body = g.read_response(s)
        assert (status, body, fields["connection"]) == (200, b"late", "close")
    assert gateway.wait() == 0


# ---- paths ----


def test_paths(gateway, serve, runner):
    backend = g.Backend()
    serve(backend)
    assert gateway.get("/healthz")[2] == b"ok"
    assert gateway.get("/")[0] == 200
    for prefix in ("/fn", "/faaso", "/function"):
        status, fields, _ = gateway.get(f"{prefix}/hello?a=b&c=%20")
        assert (status, fields["location"]) == (308, f"{prefix}/hello/?a=b&c=%20")
        assert gateway.get(f"{prefix}/hello/a%2Fb//c?x=/../y")[0] == 200
        line = backend.heads[-1].split(b"\r\n")[0]
        assert line == b"GET /a%2Fb//c?x=/../y HTTP/1.1"
        assert g.fields(backend.heads[-1])["x-forwarded-prefix"] == f"{prefix}/hello"
    assert gateway.get("/fn/HELLO/")[0] == 200  # names ignore case
    for path in ("/fn/none/", "/fn/none", "/fn/", "/fn", "/nothing", "/fn/a..b/", "/fn/hello.other/"):
        assert gateway.get(path)[0] == 404, path
    for path in ("/fn/hello/..", "/fn/hello/../x", "/fn/hello/a/../../x", "/fn/hello/%2e%2E/x", "/fn/hello/.%2e/", "/fn/hello/a%2f..%2f../x", "/fn/hello/a\\..\\..\\x"):
        assert gateway.get(path)[0] == 400, path
    assert gateway.get("/fn/hello/a/../b")[0] == 200
    for path in ("/api/v1/functions", "/admin/", "/metrics"):
        status, _, body = gateway.get(path)
        assert status == 403 and body.count(b"\n") == 1, path
    assert gateway.get("/fn/hello/", port=gateway.admin_port)[0] == 403
    assert gateway.get("/metrics", port=gateway.admin_port)[0] == 200


def test_error_forms(gateway, runner):
    runner.function("off", state=g.STOPPED)
    wait_until(lambda: gateway.get("/fn/off/")[0] == 503)
    status, fields, body = gateway.get("/fn/off/", extra=b"Accept: text/html, application/json;q=0.5\r\n")
    assert (status, fields["content-type"]) == (503, "application/json")
    assert json.loads(body)["error"] == "stopped" and json.loads(body)["function"] == "off"
    assert int(fields["retry-after"]) > 0
    status, fields, body = gateway.get("/fn/off/")
    assert fields["content-type"].startswith("text/plain") and body.count(b"\n") == 1


def test_instances_do_not_reach_the_api(gateway, runner):
    """Neither by their bridge nor by another address of the host's."""
    runner.wait_report("ready", runner.instance(runner.function("hello"), g.Backend(host="127.0.0.5")))

    def ask(source, port):
        with socket.create_connection(("127.0.0.1", port), source_address=(source, 0)) as s:
            s.sendall(b"GET /admin/api/v1/functions HTTP/1.1\r\nHost: t\r\n\r\n")
            return g.read_response(s)[0]

    for port in (gateway.port, gateway.admin_port):
        assert [ask("127.0.0.5", port), ask("127.0.0.6", port)] == [403, 401]


def test_api_socket(gateway, serve):
    serve(g.Backend())
    for path, status in (("/fn/hello/", 200), ("/healthz", 200), ("/metrics", 200), ("/api/v1/version", 200)):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(g.API_SOCKET)
            s.sendall(b"GET %s HTTP/1.1\r\nHost: fnd\r\n\r\n" % path.encode())
            assert g.read_response(s)[0] == status, path


# ---- proxying ----


def test_fields(gateway, serve):
    backend = g.Backend(lambda conn, head: g.answer(extra=b"Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"))
    serve(backend)
    sent = (b"Connection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 3\r\nTE: trailers\r\nProxy: evil\r\nX-Forwarded-For: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\n"
            b"X-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nContent_Length: 7\r\nX-Kept:  a  b \r\n")
    status, fields, body = gateway.get("/fn/hello/x?y=1", extra=sent)
    assert (status, body) == (200, b"hello")
    got = g.fields(backend.heads[-1])
    assert got["host"] == got["x-forwarded-host"] == "t.example"
    assert got["x-forwarded-for"] == "127.0.0.1" and got["x-forwarded-proto"] == "http" and got["x-forwarded-prefix"] == "/fn/hello"
    assert got["forwarded"] == 'for=127.0.0.1;host="t.example";proto=http'
    assert got["connection"] == "TE" and got["te"] == "trailers"
    assert got["x-kept"] == "a  b"
    for name in ("x-secret", "keep-alive", "proxy", "x_forwarded_for", "content_length"):
        assert name not in got, name
    assert fields["x-end"] == "2" and "date" in fields
    for name in ("x-hop", "keep-alive", "connection"):
        assert name not in fields, name


def test_keep_alive_and_pipelining(gateway, serve):
    backend = g.Backend(lambda conn, head: g.answer(head.split(b" ")[1]))
    serve(backend)
    with gateway.connect() as s:
        for i in range(20):
            s.sendall(b"GET /fn/hello/%d HTTP/1.1\r\nHost: t\r\n\r\n" % i)
            assert g.read_response(s)[2] == b"/%d" % i
    assert backend.connections == 1
    out = gateway.raw(b"".join(b"POST /fn/hello/%d HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n" % i for i in range(9)) +
                      b"GET /fn/hello/last HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
    assert out.count(b"HTTP/1.1 200") == 10 and out.endswith(b"/last")
    assert [out.index(b"\r\n\r\n/%d" % i) for i in range(9)] == sorted(out.index(b"\r\n\r\n/%d" % i) for i in range(9))


def test_http10(gateway, serve):
    def handler(conn, head):
        if b"/open" in head:
            conn.send(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
            return None
        if b"/chunked" in head:
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        return g.answer()

    serve(g.Backend(handler))
    assert gateway.raw(b"GET /fn/hello/ HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nhello")
    out = gateway.raw(b"GET /fn/hello/chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert out.endswith(b"\r\n\r\nhello") and b"chunked" not in out.lower()
    with gateway.connect() as s:
        for _ in range(3):
            s.sendall(b"GET /fn/hello/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert g.read_response(s)[1]["connection"] == "keep-alive"
    status, fields, body = gateway.get("/fn/hello/open")
    assert (status, fields["transfer-encoding"], body) == (200, "chunked", b"until the end")


def test_heads_without_body(gateway, serve):
    def handler(conn, head):
        path = head.split(b" ")[1]
        if path == b"/204":
            return b"HTTP/1.1 204 No Content\r\n\r\n"
        if path == b"/304":
            return b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: x\r\n\r\n"
        if path == b"/early":
            return b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + g.answer()
        return b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"  # HEAD

    backend = g.Backend(handler)
    serve(backend)
    with gateway.connect() as s:
        s.sendall(b"HEAD /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
        status, fields, _ = g.read_response(s, is_head=True)
        assert (status, fields["content-length"]) == (200, "99")
        s.sendall(b"GET /fn/hello/204 HTTP/1.1\r\nHost: t\r\n\r\n")
        assert g.read_response(s)[0] == 204
        s.sendall(b"GET /fn/hello/304 HTTP/1.1\r\nHost: t\r\n\r\n")
        status, fields, _ = g.read_response(s)
        assert (status, fields["content-length"]) == (304, "77")
        s.sendall(b"GET /fn/hello/early HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        out = g.read_all(s)
    assert out.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK") and b" 100 " not in out
    assert backend.connections == 3  # none behind HEAD, and behind a 304 that names a length: some functions send a body after all


def test_bodies_behind_answers_that_have_none(gateway, serve):
    """They come late, when their answer has ended: no other request gets them for its answer."""

    def handler(conn, head):
        if head.startswith(b"HEAD"):
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
            time.sleep(0.01)  # so that the body comes when its answer has ended
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            return None
        return g.answer(b"good")

    serve(g.Backend(handler))
    for _ in range(30):
        with gateway.connect() as s:
            s.sendall(b"HEAD /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
            assert g.read_response(s, is_head=True)[0] == 200
            for _ in range(4):
                s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
                assert g.read_response(s)[2] == b"good"


def test_request_bodies(gateway, serve):
    def handler(conn, head):
        return g.answer(conn.body(head))

    backend = g.Backend(handler)
    serve(backend)
    assert gateway.request(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\n", b"ping")[2] == b"ping"
    chunked = b"4;ext=1\r\nwiki\r\n005\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\nTrailer-Field: x\r\n\r\n"
    assert gateway.request(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: Chunked\r\n\r\n", chunked)[2] == b"wikipedia in\r\n\r\nchunks."
    with gateway.connect() as s:  # a byte at a time
        for byte in b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked:
            s.sendall(bytes([byte]))
        assert g.read_response(s)[2] == b"wikipedia in\r\n\r\nchunks."
    with gateway.connect() as s:
        s.sendall(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert s.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"body")
        assert g.read_response(s)[2] == b"body"
    assert g.fields(backend.heads[-1])["expect"] == "100-continue"


def test_too_large(gateway, serve, runner):
    runner.welcome["max_body_bytes"] = 1000
    runner.reopen()
    serve(g.Backend(lambda conn, head: g.answer(conn.body(head))))
    assert gateway.request(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n", b"x" * 1000)[0] == 200
    assert gateway.request(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n", b"x" * 1001)[0] == 413
    assert gateway.request(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n", b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n")[0] == 413


def pattern(n):
    block = bytes(range(251)) * 4096
    return (block * (n // len(block) + 1))[:n]


@pytest.mark.parametrize("chunked", [False, True])
def test_large_bodies_in_little_memory(gateway, serve, chunked):
    size = 64 * MB
    data = pattern(size)

    def handler(conn, head):
        if head.startswith(b"POST"):
            return g.answer(b"same" if conn.body(head) == data else b"different")
        if not chunked:
            return g.answer(data)
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n" % (MB - 1) + data[i:i + MB - 1] + b"\r\n" for i in range(0, size - MB, MB - 1)) + b"0\r\n\r\n"

    serve(g.Backend(handler), timeout_ns=60 * 10**9)
    before = gateway.peak_kb()
    _, _, body = gateway.get("/fn/hello/")
    assert body == data[:len(body)] and len(body) > size - 2 * MB
    if chunked:
        head, sent = b"Transfer-Encoding: chunked\r\n\r\n", b"".join(b"%x\r\n" % MB + data[i:i + MB] + b"\r\n" for i in range(0, size, MB)) + b"0\r\n\r\n"
    else:
        head, sent = b"Content-Length: %d\r\n\r\n" % size, data
    assert gateway.request(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\n" + head, sent)[2] == b"same"
    assert gateway.peak_kb() - before < size // 8 // 1024


def test_slow_reader_holds_the_function_back(gateway, serve):
    sent = []

    def handler(conn, head):
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 * MB))
        for _ in range(256):
            conn.send(bytes(MB))
            sent.append(1)
        return None

    serve(g.Backend(handler))
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
        assert s.recv(100)
        last = -1
        while last != len(sent):  # until it is held
            last = len(sent)
            time.sleep(0.3)  # between two looks: a writer that has not moved is held
        assert last < 64
        assert gateway.peak_kb() < 16 * 1024
        wait_until(gateway.sleeps, what="the gateway to sleep")
        assert gateway.get("/healthz")[0] == 200
        left = 256 * MB
        while left > 200 * MB:
            left -= len(s.recv(MB))


def test_stream_comes_at_once(gateway, serve):
    go = threading.Event()

    def handler(conn, head):
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        return b"6\r\nsecond\r\n0\r\n\r\n" if go.wait(60) else None  # never, before the first was seen

    serve(g.Backend(handler))
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
        conn = g.Conn(s)
        conn.read_head()
        assert conn.read_exactly(10) == b"5\r\nfirst\r\n"
        go.set()
        assert conn.read_exactly(16) == b"6\r\nsecond\r\n0\r\n\r\n"


def test_upgrade(gateway, serve):
    def handler(conn, head):
        if "upgrade" not in g.fields(head):
            return g.answer(b"plain")
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi")
        while True:
            data = conn.buf or conn.sock.recv(65536)
            conn.buf = b""
            if not data:
                conn.send(b"bye")
                return None
            conn.send(data)

    backend = g.Backend(handler)
    serve(backend)
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello/ws HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
        conn = g.Conn(s)
        head = conn.read_head()
        assert head.startswith(b"HTTP/1.1 101") and g.fields(head)["upgrade"] == "echo" and g.fields(head)["connection"].lower() == "upgrade"
        assert conn.read_exactly(7) == b"hiearly"
        big = pattern(3 * MB)
        threading.Thread(target=s.sendall, args=(big,), daemon=True).start()
        assert conn.read_exactly(len(big)) == big
        s.shutdown(socket.SHUT_WR)
        assert conn.read_exactly(3) == b"bye" and not conn.fill()
    assert gateway.get("/fn/hello/", extra=b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n")[2] == b"plain"


def test_early_answer(gateway, serve):
    serve(g.Backend(lambda conn, head: b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno" if b"/no" in head else g.answer()))
    with gateway.connect() as s:
        s.sendall(b"POST /fn/hello/no HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % (100 * MB))
        status, fields, body = g.read_response(s)
        assert (status, body, fields["connection"]) == (401, b"no", "close")


# ---- strictness ----

BAD = {
    "CL and TE": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "TE and CL": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "two CL": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "two equal CL": b"Content-Length: 5\r\nContent-Length: 5\r\n",
    "CL list": b"Content-Length: 5, 5\r\n",
    "CL sign": b"Content-Length: +5\r\n",
    "CL negative": b"Content-Length: -5\r\n",
    "CL empty": b"Content-Length:\r\n",
    "CL hex": b"Content-Length: 0x5\r\n",
    "CL inner space": b"Content-Length: 1 2\r\n",
    "TE gzip": b"Transfer-Encoding: gzip\r\n",
    "TE list": b"Transfer-Encoding: gzip, chunked\r\n",
    "TE twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "TE chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "TE identity": b"Transfer-Encoding: identity\r\n",
    "TE quoted": b'Transfer-Encoding: "chunked"\r\n',
    "TE vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
    "TE empty": b"Transfer-Encoding:\r\n",
    "space before colon": b"Content-Length : 5\r\n",
    "tab before colon": b"Transfer-Encoding\t: chunked\r\n",
    "obs-fold": b"X-A: b\r\n c\r\n",
    "obs-fold of TE": b"Transfer-Encoding:\r\n chunked\r\n",
    "bare LF": b"X-A: b\n",
    "bare LF before CL": b"X-A: b\nContent-Length: 5\r\n",
    "bare CR": b"X-A: b\rContent-Length: 5\r\n",
    "NUL in value": b"X-A: b\0c\r\n",
    "NUL in name": b"X-\0A: b\r\n",
    "control character": b"X-A: b\x01\r\n",
    "DEL": b"X-A: b\x7f\r\n",
    "no colon": b"X-A\r\n",
    "empty name": b": b\r\n",
    "name with parenthesis": b"X(A): b\r\n",
    "name with high byte": b"X\xc3\xa4: b\r\n",
    "Host twice": b"Host: u\r\n",
}


def test_smuggling_table(gateway, serve):
    backend = g.Backend()
    serve(backend)
    for name, lines in BAD.items():
        out = gateway.raw(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\n" + lines + b"\r\n0\r\n\r\nGET /fn/hello/smuggled HTTP/1.1\r\nHost: t\r\n\r\n")
        assert out.startswith(b"HTTP/1.1 400 "), f"{name}: {out[:80]!r}"
        assert out.count(b"HTTP/1.1 ") == 1 and b"Connection: close" in out, name
    assert backend.heads == []


LINES = {
    b"GET /fn/hello/ HTTP/1.1\r\n\r\n": 400,  # no Host
    b"GET /fn/hello/\r\n\r\n": 400,  # HTTP/0.9
    b"GET  /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n": 400,
    b"GET /fn/hello/ HTTP/1.1 \r\nHost: t\r\n\r\n": 400,
    b"GET /fn/hello/ http/1.1\r\nHost: t\r\n\r\n": 400,
    b"GET /fn/hello/ HTTP/1.2\r\nHost: t\r\n\r\n": 505,
    b"GET /fn/hello/ HTTP/2.0\r\nHost: t\r\n\r\n": 505,
    b"GET /fn/hello/ HTTP/0.9\r\nHost: t\r\n\r\n": 400,
    b"G@T /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n": 400,
    b"GET fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n": 400,
    b"GET /fn/hello/#x HTTP/1.1\r\nHost: t\r\n\r\n": 400,
    b"GET /fn/hello/\xc3\xa4 HTTP/1.1\r\nHost: t\r\n\r\n": 400,
    b"GET /fn/hello/\x01 HTTP/1.1\r\nHost: t\r\n\r\n": 400,
    b"\r\n\r\nGET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n": 400,
    b" GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n": 400,
    b"\x16\x03\x01\x02\x00": 400,  # TLS
    b"GET /fn/hello/ HTTP/1.1\r\nHost: a/b\r\n\r\n": 400,
    b"GET /fn/hello/ HTTP/1.1\r\nHost: user@t\r\n\r\n": 400,
    b"GET /fn/hello/ HTTP/1.1\r\nHost: a b\r\n\r\n": 400,
    b"GET http://u/fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n": 400,
    b"GET http://t@u/fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n": 400,
    b"CONNECT t:80 HTTP/1.1\r\nHost: t\r\n\r\n": 405,
    b"TRACE /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n": 405,
    b"POST /fn/hello/ HTTP/1.0\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nExpect: more\r\n\r\n": 417,
    b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: t\r\n\r\n": 414,
    b"GET /" + b"x" * 9000: 414,
    b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\nX: " + b"x" * 17000 + b"\r\n\r\n": 431,
    b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(120)) + b"\r\n": 431,
    b"\r\nGET /fn/hello/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n": 200,
    b"GET http://T/fn/hello/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n": 200,
    b"OPTIONS * HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n": 200,
}


def test_request_lines(gateway, serve):
    serve(g.Backend())
    for data, status in LINES.items():
        out = gateway.raw(data)
        assert out.startswith(b"HTTP/1.1 %d " % status), f"{data[:60]!r}: {out[:80]!r}"


CHUNKS = [b"g\r\n", b"-1\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n", b" 5\r\nhello\r\n", b"5 \r\nhello\r\n", b"5\nhello\n0\n\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n",
          b"ffffffffffffffff\r\n", b"10000000000000000\r\n", b"\r\n", b"5;a=\x00\r\nhello\r\n0\r\n\r\n", b"5;a\n\r\nhello\r\n0\r\n\r\n", b"0\r\nbad trailer\r\n\r\n", b"0\r\nX: y\nZ: 1\r\n\r\n",
          b"5;" + b"x" * 300 + b"\r\nhello\r\n0\r\n\r\n"]


def test_broken_chunks(gateway, serve):
    def handler(conn, head):
        conn.body(head)
        return g.answer()

    serve(g.Backend(handler))
    for body in CHUNKS:
        out = gateway.raw(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        assert out.startswith(b"HTTP/1.1 400 "), f"{body!r}: {out[:80]!r}"
        assert out.count(b"HTTP/1.1 ") == 1


BROKEN_ANSWERS = {
    "not HTTP": b"hello\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "CL and TE": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two CL": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "TE gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    "status 99": b"HTTP/1.1 099 No\r\n\r\n",
    "status 999": b"HTTP/1.1 999 No\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "fold": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "NUL": b"HTTP/1.1 200 OK\r\nX: a\0\r\nContent-Length: 0\r\n\r\n",
    "204 with body": b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc",
    "101 unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "huge head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000 + b"\r\n\r\n",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "bad chunk at once": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


def test_broken_answers(gateway, serve):
    now = []

    def handler(conn, head):
        conn.send(now[0])
        return None

    serve(g.Backend(handler))
    for name, text in BROKEN_ANSWERS.items():
        now[:] = [text]
        assert gateway.get("/fn/hello/")[0] == 502, name


def test_bytes_behind_an_answer_poison_nothing(gateway, serve):
    backend = g.Backend(lambda conn, head: g.answer(b"one") + g.answer(b"evil"))
    serve(backend)
    with gateway.connect() as s:
        for _ in range(5):
            s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
            assert g.read_response(s)[2] == b"one"
    assert backend.connections == 5
