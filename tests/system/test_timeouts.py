"""What the configuration says about time reaches the gateway, and holds."""

import re
import socket
import threading
import time

import fndtest
from fndtest import fnctl, function, get


def exchange(request):
    """What came until the other end closed, and after how long: never too short, but as long as the machine makes it."""
    begin, data = time.monotonic(), b""
    s = socket.create_connection(("127.0.0.1", 8888), timeout=fndtest.PATIENCE_S)
    s.sendall(request)
    try:
        while chunk := s.recv(65536):
            data += chunk
    except ConnectionResetError:
        data += b"<RESET>"
    s.close()
    return data, time.monotonic() - begin


def test_of_clients(make_daemon):
    d = make_daemon(settings={"gateway.head_timeout": "600ms", "gateway.idle_timeout": "300ms"})
    d.start()
    fnctl("deploy", "hello")
    answer, after = exchange(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ") and after > 0.59, (answer, after)
    answer, after = exchange(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ") and after > 0.29, (answer, after)


STREAM = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho first\nexec sleep 60\n"
SLOW = "#!/bin/sh\nsleep 4\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho done\n"


def deploy(tmp_path, name, limits):
    files = {"www/cgi-bin/stream": STREAM, "www/cgi-bin/slow": SLOW}
    fnctl("deploy", fndtest.package(tmp_path / name, fndtest.HTTPD.format(name=name) + "[limits]\n" + limits, files))


def stream(name):
    answer, after = exchange(b"GET /fn/%s/cgi-bin/stream HTTP/1.1\r\nHost: t\r\n\r\n" % name.encode())
    assert answer.startswith(b"HTTP/1.1 200 ") and b"first" in answer and answer.endswith(b"<RESET>"), answer
    return after


def test_of_functions(make_daemon, tmp_path):
    """From function.ini, and from the configuration where that says nothing, to the gateway."""
    d = make_daemon(settings={"gateway.stream_idle": "1h"}).start()
    deploy(tmp_path, "own", "stream_idle = 400ms\nqueue_timeout = 300ms\nconcurrency = 1\n")
    deploy(tmp_path, "common", "")
    assert function("own")["limits"]["stream_idle"] == 0.4 and function("own")["limits"]["queue_timeout"] == 0.3
    status = fnctl("status", "own").out
    assert re.search(r"^ *requests +1 at once per instance, 100 may wait, for 300ms$", status, re.M) and re.search(r"^ *stream idle +400ms$", status, re.M), status
    assert function("common")["limits"]["stream_idle"] is None and function("common")["limits"]["queue_timeout"] is None
    assert stream("own") > 0.39
    d.settings["gateway.stream_idle"] = "1500ms"
    d.write_config()
    fnctl("reload")
    assert stream("common") > 1.49
    first = threading.Thread(target=get, args=("/fn/own/cgi-bin/slow",))
    first.start()
    fndtest.wait_until(lambda: function("own")["instances"][0]["in_flight"] == 1)
    assert get("/fn/own/cgi-bin/slow").status == 503  # who waits for longer gets 200
    first.join()
