"""HTTP/1.1 by the book, byte by byte on both sides of the gateway: what RFC 9110 and 9112 ask of a proxy."""

import os
import re
import threading

from gatewayhost import Backend, Conn, answer, fields, gateway, nets, read_all, read_response, runner, serve  # pylint: disable=unused-import

CLOSE = b"Connection: close\r\n"


def line(backend):
    return backend.heads[-1].split(b"\r\n")[0]


def test_absolute_targets(gateway, serve):
    """A function gets origin-form, and one host."""
    backend = Backend()
    serve(backend)
    for target, got in ((b"http://t.example/fn/hello/a?b", b"GET /a?b HTTP/1.1"), (b"HTTPS://T.example/fn/hello/", b"GET / HTTP/1.1")):
        assert gateway.request(b"GET %s HTTP/1.1\r\nHost: t.example\r\n\r\n" % target)[0] == 200
        assert line(backend) == got and fields(backend.heads[-1])["host"] == "t.example"
    assert gateway.request(b"GET http://old.example:81/fn/hello/x HTTP/1.0\r\n\r\n")[0] == 200
    assert line(backend) == b"GET /x HTTP/1.1" and fields(backend.heads[-1])["host"] == "old.example:81"
    assert gateway.raw(b"GET http://t.example HTTP/1.1\r\nHost: t.example\r\n" + CLOSE + b"\r\n").startswith(b"HTTP/1.1 200")
    assert gateway.raw(b"OPTIONS http://t.example HTTP/1.1\r\nHost: t.example\r\n" + CLOSE + b"\r\n").startswith(b"HTTP/1.1 200")


def test_sizes_are_configured(gateway, runner, serve):
    """413 is for bodies (max_body), 414 for targets, 431 for heads and for many fields; what just fits is served."""
    runner.set(max_head_bytes=1024, max_target_bytes=128, max_fields=8)
    serve(Backend())
    begin = b"GET /fn/hello/%s HTTP/1.1\r\nHost: t\r\n" + CLOSE

    def status(head):
        return gateway.raw(head + b"\r\n").split(b" ")[1]

    assert status(begin % (b"a" * 118)) == b"200" and status(begin % (b"a" * 119)) == b"414"
    assert status(begin % b"" + b"X: y\r\n" * 6) == b"200" and status(begin % b"" + b"X: y\r\n" * 7) == b"431"
    fill = 1024 - len(begin % b"") - len(b"X: \r\n\r\n")
    assert status(begin % b"" + b"X: %s\r\n" % (b"a" * fill)) == b"200" and status(begin % b"" + b"X: %s\r\n" % (b"a" * (fill + 1))) == b"431"


def test_request_ids(gateway, serve):
    """One name on both sides, the sender's where it is a name; the function cannot change it."""
    backend = Backend(lambda conn, head: answer(extra=b"X-Request-Id: the-function\r\n"))
    serve(backend)

    def ids(sent=b""):
        status, got, _ = gateway.get("/fn/hello/", extra=sent)
        assert status == 200 and backend.heads[-1].lower().count(b"x-request-id") == 1
        assert got["x-request-id"] == fields(backend.heads[-1])["x-request-id"]
        return got["x-request-id"]

    assert ids(b"X-Request-Id: a1/b2=\r\n") == "a1/b2=" and ids(b"x-request-ID: %s\r\n" % (b"x" * 128)) == "x" * 128
    made = {ids(bad) for bad in (b"", b"X-Request-Id: a b\r\n", b"X-Request-Id: %s\r\n" % (b"x" * 129), b"X-Request-Id: a\r\nX-Request-Id: b\r\n", b"X-Request-Id:\r\n")}
    assert len(made) == 5 and all(re.fullmatch("[0-9a-f]{32}", one) for one in made)
    assert gateway.get("/fn/nobody/", extra=b"X-Request-Id: mine\r\n")[1]["x-request-id"] == "mine"  # what the gateway answers itself has it too


EXPECTS = b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_function_asks_for_the_body(gateway, serve):
    """Its 100 is the client's, once; the body comes after it."""
    asked = threading.Event()

    def handler(conn, head):
        assert conn.buf == b"" and asked.wait(30)
        conn.send(CONTINUE * 3)
        return answer(conn.body(head))

    serve(Backend(handler))
    with gateway.connect() as s:
        s.sendall(EXPECTS)
        asked.set()
        assert s.recv(4096) == CONTINUE
        s.sendall(b"body")
        assert read_response(s)[2] == b"body"
        s.sendall(EXPECTS)  # the connection goes on
        assert s.recv(4096) == CONTINUE


def test_function_does_not_want_the_body(gateway, serve):
    """The client gets the final status and no 100, and is not asked for what nobody reads."""
    backend = Backend(lambda conn, head: answer(b"no", status="401 Unauthorized"))
    serve(backend)
    got = gateway.raw(EXPECTS)
    assert got.startswith(b"HTTP/1.1 401 ") and b"100 Continue" not in got and b"\r\nConnection: close\r\n" in got
    assert fields(backend.heads[-1])["expect"] == "100-continue"


def test_function_that_knows_no_expectations(gateway, serve):
    """The gateway asks in its place."""
    serve(Backend(lambda conn, head: answer(conn.body(head))))
    with gateway.connect() as s:
        s.sendall(EXPECTS)
        assert s.recv(4096) == CONTINUE
        s.sendall(b"body")
        assert read_response(s)[2] == b"body"


def test_client_that_does_not_wait(gateway, serve):
    """... hears of no 100."""
    serve(Backend(lambda conn, head: CONTINUE + answer(conn.body(head))))
    assert gateway.raw(EXPECTS.replace(b"\r\n\r\n", b"\r\n" + CLOSE + b"\r\n") + b"body").startswith(b"HTTP/1.1 200 OK")


def test_client_that_never_sends_the_body(gateway, runner, serve):
    """408 after the time for that, which begins with the 100."""
    runner.set(stall_timeout_ns=500 * 10**6)
    serve(Backend(lambda conn, head: answer(conn.body(head))))
    got = gateway.raw(EXPECTS)
    assert got.startswith(CONTINUE + b"HTTP/1.1 408 ")


def test_interim_answers(gateway, serve):
    """Each goes on as it comes, but not to HTTP/1.0, and the time limit of the function goes on."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n"
    go = threading.Event()

    def handler(conn, head):
        conn.send(hints + b"HTTP/1.1 102 Processing\r\n\r\n")
        assert go.wait(30)
        return answer()

    serve(Backend(handler))
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
        want, got = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n", b""
        while len(got) < len(want):
            got += s.recv(4096)
        assert got == want
        go.set()
        assert read_response(s)[0] == 200
    assert gateway.raw(b"GET /fn/hello/ HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK")


def test_trailers_through_real_parsers(gateway, serve):
    """Large bodies, which are spliced, have trailers too."""
    data = os.urandom(300000)
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (data[:1], data[1:200000], data[200000:])) + b"0\r\nX-Sum: a\r\nSet-Cookie: b\r\n\r\n"
    seen = []

    def handler(conn, head):
        seen.append((conn.read_chunked(), conn.trailers))
        return b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n" + body

    serve(Backend(handler))
    with gateway.connect() as s:
        s.sendall(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        conn = Conn(s)
        assert fields(conn.read_head())["trailer"] == "X-Sum"
        assert conn.read_chunked() == data and conn.trailers == [b"X-Sum: a"]
    assert seen == [(data, [b"X-Sum: a"])]
