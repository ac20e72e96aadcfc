"""What the configuration says about time reaches the gateway, and holds."""

import socket
import time

from fndtest import fnctl


def ended(s, seconds=10):
    """What came until the other end closed, and after how long."""
    begin, data = time.monotonic(), b""
    s.settimeout(seconds)
    while chunk := s.recv(65536):
        data += chunk
    return data, time.monotonic() - begin


def test_of_clients(make_daemon):
    d = make_daemon(settings={"gateway.head_timeout": "600ms", "gateway.idle_timeout": "300ms"})
    d.start()
    fnctl("deploy", "hello")
    with socket.create_connection(("127.0.0.1", 8888)) as s:
        s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n")
        answer, after = ended(s)
    assert answer.startswith(b"HTTP/1.1 408 ") and 0.5 < after < 5, (answer, after)
    with socket.create_connection(("127.0.0.1", 8888)) as s:
        s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
        answer, after = ended(s)
    assert answer.startswith(b"HTTP/1.1 200 ") and 0.2 < after < 5, (answer, after)
