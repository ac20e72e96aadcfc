"""What the configuration says about time reaches the gateway, and holds."""

import re
import socket
import threading
import time

import fndtest
from fndtest import fnctl, function, get


def ended(s, seconds=10):
    """What came until the other end closed, and after how long."""
    begin, data = time.monotonic(), b""
    s.settimeout(seconds)
    try:
        while chunk := s.recv(65536):
            data += chunk
    except ConnectionResetError:
        data += b"<RESET>"
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


STREAM = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho first\nexec sleep 20\n"
SLOW = "#!/bin/sh\nsleep 2\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho done\n"


def deploy(tmp_path, name, limits):
    files = {"www/cgi-bin/stream": STREAM, "www/cgi-bin/slow": SLOW}
    fnctl("deploy", fndtest.package(tmp_path / name, fndtest.HTTPD.format(name=name) + "[limits]\n" + limits, files))


def stream(name):
    with socket.create_connection(("127.0.0.1", 8888)) as s:
        s.sendall(b"GET /fn/%s/cgi-bin/stream HTTP/1.1\r\nHost: t\r\n\r\n" % name.encode())
        answer, after = ended(s, 15)
    assert answer.startswith(b"HTTP/1.1 200 ") and b"first" in answer and answer.endswith(b"<RESET>"), answer
    return after


def test_of_functions(make_daemon, tmp_path):
    """From function.ini, and from the configuration where that says nothing, to the gateway."""
    make_daemon(settings={"gateway.stream_idle": "2s"}).start()
    deploy(tmp_path, "own", "stream_idle = 400ms\nqueue_timeout = 300ms\nconcurrency = 1\n")
    deploy(tmp_path, "common", "")
    assert function("own")["limits"]["stream_idle"] == 0.4 and function("own")["limits"]["queue_timeout"] == 0.3
    status = fnctl("status", "own").out
    assert re.search(r"^ *requests +1 at once per instance, 100 may wait, for 300ms$", status, re.M) and re.search(r"^ *stream idle +400ms$", status, re.M), status
    assert function("common")["limits"]["stream_idle"] is None and function("common")["limits"]["queue_timeout"] is None
    assert 0.3 < stream("own") < 1.9
    assert 1.9 < stream("common") < 8
    first = threading.Thread(target=get, args=("/fn/own/cgi-bin/slow",))
    first.start()
    fndtest.wait_until(lambda: function("own")["instances"][0]["in_flight"] == 1)
    begin = time.monotonic()
    assert get("/fn/own/cgi-bin/slow").status == 503
    assert time.monotonic() - begin < 1.5
    first.join()
