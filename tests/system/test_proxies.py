"""Proxies before the gateway: whose word about the client counts, and the PROXY protocol."""

import socket
import struct
import time

from fndtest import wait_until
from gatewayhost import Backend, fields, gateway, nets, read_all, read_response, runner, serve  # pylint: disable=unused-import

LINE = b"PROXY TCP4 192.0.2.7 127.0.0.1 4096 80\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n"
GET = b"GET /fn/hello/ HTTP/1.1\r\nHost: t.example\r\n\r\n"


def refused(gateway, reason):
    metrics = gateway.get("/metrics", port=gateway.admin_port)[2].decode()
    return int(next(line.split()[1] for line in metrics.splitlines() if line.startswith("fnd_gateway_refused") and f'"{reason}"' in line))


def closed(gateway, data, half_close=False):
    """The connection ends without a word."""
    try:
        return gateway.raw(data, half_close=half_close) in (b"", b"<RESET>")
    except (ConnectionResetError, BrokenPipeError):
        return True


def seen(backend):
    return fields(backend.heads[-1])["x-forwarded-for"]


def test_proxy_protocol(gateway, runner, serve):
    """The client is whom the header names, in both versions, in any pieces, and with a request right behind it."""
    runner.set(trusted_proxies=nets("127.0.0.0/8"), proxy_protocol=True)
    backend = Backend()
    serve(backend)
    v2 = V2 + b"\x21\x11" + struct.pack(">H", 12 + 4) + socket.inet_aton("192.0.2.8") + socket.inet_aton("127.0.0.1") + b"\x10\0\0\x50" + b"\x04\0\x01x"
    local = V2 + b"\x20\0\0\0"
    for header, client in ((LINE, "192.0.2.7"), (v2, "192.0.2.8"), (local, "127.0.0.1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1")):
        with gateway.connect() as s:
            s.sendall(header + GET)
            assert read_response(s)[0] == 200 and seen(backend) == client
            s.sendall(GET)  # once a connection
            assert read_response(s)[0] == 200 and seen(backend) == client
        with gateway.connect() as s:
            for i in range(len(header)):
                s.sendall(header[i:i + 1])
            s.sendall(GET)
            assert read_response(s)[0] == 200 and seen(backend) == client
    assert gateway.get("/metrics", port=gateway.admin_port)[0] == 200  # the other listener has none


def test_proxy_protocol_is_due(gateway, runner, serve):
    """Without a header, with a broken one, or too slowly: the connection ends, and nothing is said."""
    runner.set(trusted_proxies=nets("127.0.0.0/8"), proxy_protocol=True, head_timeout_ns=300 * 10**6)
    backend = Backend()
    serve(backend)
    before = len(backend.heads)
    for data in (GET, b"PROXY TCP4 1.2.3.4\r\n" + GET, b"PROXY TCP9 ", V2 + b"\x21\x11\0\x02ab" + GET, V2 + b"\x21\x11\xff\xff"):
        assert closed(gateway, data)
    assert closed(gateway, LINE[:-1], half_close=True)
    assert refused(gateway, "proxy") == 6
    for data in (b"", LINE[:-1], V2):
        begin = time.monotonic()
        assert closed(gateway, data) and time.monotonic() - begin < 3
    assert refused(gateway, "proxy") == 9
    assert len(backend.heads) == before


def test_proxy_protocol_of_strangers(gateway, runner, serve):
    runner.set(trusted_proxies=nets("192.0.2.0/24"), proxy_protocol=True)
    serve(Backend())
    assert closed(gateway, LINE + GET)
    assert refused(gateway, "proxy") == 1


def test_connections_behind_a_proxy(gateway, runner, serve):
    """They count for whom the header names, not for the proxy."""
    runner.welcome["max_connections_per_client"] = 2
    runner.set(trusted_proxies=nets("127.0.0.1"), proxy_protocol=True)
    runner.reopen()
    serve(Backend())
    kept = []
    for client in (b"1", b"2", b"3"):
        for _ in range(2):
            s = gateway.connect()
            kept.append(s)
            s.sendall(b"PROXY TCP4 192.0.2.%s 127.0.0.1 4096 80\r\n" % client + GET)
            assert read_response(s)[0] == 200
    assert closed(gateway, b"PROXY TCP4 192.0.2.3 127.0.0.1 4096 80\r\n" + GET)
    assert refused(gateway, "client") == 1
    kept[-1].close()

    def served():
        return gateway.raw(b"PROXY TCP4 192.0.2.3 127.0.0.1 4096 80\r\n" + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")

    wait_until(served, what="the place that became free")
    for s in kept:
        s.close()


def request(gateway, fields_sent=b"", backend=None):
    status, got, _ = gateway.get("/fn/hello/", extra=fields_sent)
    assert status == 200
    return fields(backend.heads[-1]), got


FORGED = b"X-Forwarded-For: 6.6.6.6, 192.0.2.1, 127.0.0.9\r\nX-Forwarded-Host: www.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 4433\r\nX-Forwarded-Prefix: /outer\r\nForwarded: for=6.6.6.6\r\n"


def test_strangers_say_nothing_about_themselves(gateway, runner, serve):
    runner.set(trusted_proxies=nets("192.0.2.0/24"))
    backend = Backend()
    serve(backend)
    got, _ = request(gateway, FORGED, backend)
    assert {k: v for k, v in got.items() if k.startswith("x-forwarded") or k == "forwarded"} == {
        "x-forwarded-for": "127.0.0.1", "x-forwarded-host": "t.example", "x-forwarded-port": "80", "x-forwarded-proto": "http", "x-forwarded-prefix": "/fn/hello",
        "forwarded": 'for=127.0.0.1;host="t.example";proto=http'}


def test_trusted_proxies_say_who_the_client_is(gateway, runner, serve):
    """The nearest address that is no trusted proxy, and nothing that stands before it; at once for the next request of a connection when the list changes."""
    runner.set(trusted_proxies=nets("127.0.0.0/8"))
    backend = Backend()
    serve(backend)
    got, _ = request(gateway, FORGED, backend)
    assert {k: v for k, v in got.items() if k.startswith("x-forwarded") or k == "forwarded"} == {
        "x-forwarded-for": "192.0.2.1, 127.0.0.9, 127.0.0.1", "x-forwarded-host": "www.example", "x-forwarded-port": "4433", "x-forwarded-proto": "https", "x-forwarded-prefix": "/outer/fn/hello",
        "forwarded": 'for=192.0.2.1;host="www.example";proto=https, for=127.0.0.9, for=127.0.0.1'}
    got, _ = request(gateway, b'Forwarded: for=6.6.6.6, for="[2001:db8::1]:99";proto=https\r\n', backend)
    assert got["x-forwarded-for"] == "2001:db8::1, 127.0.0.1" and got["x-forwarded-proto"] == "https" and got["x-forwarded-port"] == "443"
    assert request(gateway, b"", backend)[0]["x-forwarded-for"] == "127.0.0.1"


def test_connections_of_a_proxy_are_not_counted(gateway, runner, serve):
    runner.welcome["max_connections_per_client"] = 1
    runner.set(trusted_proxies=nets("127.0.0.1"))
    runner.reopen()
    serve(Backend())
    with gateway.connect() as one, gateway.connect() as two:
        for s in (one, two):
            s.sendall(GET)
            assert read_response(s)[0] == 200
