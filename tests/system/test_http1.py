"""HTTP/1.1 by the book, byte by byte on both sides of the gateway: what RFC 9110 and 9112 ask of a proxy."""

import re

import pytest

from gatewayhost import Backend, answer, fields, gateway, nets, read_all, read_response, runner, serve  # pylint: disable=unused-import

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
