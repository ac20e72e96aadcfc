"""The access log: a line a request, whatever became of it."""

import contextlib
import json
import os
import re
import shlex
import socket
import stat

import pytest

import fndtest
from fndtest import fnctl, get, wait_until

LOG = "/run/fnd-test-access.log"


@pytest.fixture(autouse=True)
def log_file():
    yield
    with contextlib.suppress(FileNotFoundError):
        os.unlink(LOG)


def lines():
    with open(LOG, encoding="ascii") as f:
        return f.read().splitlines()


def parsed():
    return [dict(word.split("=", 1) for word in shlex.split(line)) for line in lines()]


def only(seen, **what):
    """The one line with these values; between threads their order is no matter."""
    found = [x for x in seen if all(x.get(k) == v for k, v in what.items())]
    assert len(found) == 1, (what, seen)
    return found[0]


def raw(data):
    with socket.create_connection(("127.0.0.1", 8888)) as s:
        s.sendall(data)
        s.settimeout(30)
        answer = b""
        while chunk := s.recv(65536):
            answer += chunk
    return answer


def test_text(make_daemon):
    d = make_daemon(settings={"gateway.access_log": LOG})
    d.start()
    assert stat.S_IMODE(os.stat(LOG).st_mode) == 0o640
    fnctl("deploy", "hello")
    instance = fndtest.instances("hello")[0]["name"]
    raw(b'POST /fn/hello/a?b=%20 HTTP/1.1\r\nHost: a.example\r\nUser-Agent: x"\\\r\nReferer: http://r/\r\nContent-Length: 5\r\nConnection: close\r\n\r\n12345')
    size = len(get("/fn/hello/").body)
    get("/fn/nobody/")
    assert raw(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: x\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(b"\x16\x03\x01nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    ours = lambda: [x for x in parsed() if "/api/" not in x.get("target", "")]  # without those of fnctl
    seen = wait_until(lambda: len(ours()) >= 5 and ours())
    first = only(seen, target="/fn/hello/a?b=%20")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"]) and first["client"] == "127.0.0.1"
    assert (first["method"], first["host"], first["target"], first["protocol"]) == ("POST", "a.example", "/fn/hello/a?b=%20", "HTTP/1.1")
    assert first["function"] == "hello" and first["instance"] == instance and first["request_bytes"] == "5" and first["referer"] == "http://r/"
    assert re.search(r'user_agent="x\\x22\\x5c"', lines()[[x.get("host") for x in parsed()].index("a.example")])
    assert 0 < float(first["duration_ms"]) < 10000
    assert only(seen, target="/fn/hello/", status="200")["response_bytes"] == str(size)
    nobody = only(seen, target="/fn/nobody/")
    assert nobody["status"] == "404" and "function" not in nobody
    assert only(seen, target="/fn/hello/", status="400")["method"] == "GET"
    assert only(seen, target=None)["status"] == "400"


def test_json(make_daemon):
    d = make_daemon(settings={"gateway.access_log": LOG, "gateway.access_log_json": "yes"})
    d.start()
    fnctl("deploy", "hello")
    get("/fn/hello/", headers={"User-Agent": "\xe9\x01".encode("latin-1").decode("latin-1").replace("\x01", "!")})
    seen = wait_until(lambda: [x for x in map(json.loads, lines()) if x.get("target") == "/fn/hello/"])
    assert seen[0]["status"] == 200 and seen[0]["user_agent"] == "\xe9!" and isinstance(seen[0]["duration_ms"], float)


def test_client_that_went_away(make_daemon, tmp_path):
    d = make_daemon(settings={"gateway.access_log": LOG})
    d.start()
    files = {"www/cgi-bin/slow": "#!/bin/sh\nsleep 20\n", "www/ping": "ok"}
    fnctl("deploy", fndtest.package(tmp_path / "slow", "[function]\nname = slow\ncommand = /bin/httpd -f -p 3000 -h /www\n", files))
    with socket.create_connection(("127.0.0.1", 8888)) as s:
        s.sendall(b"GET /fn/slow/cgi-bin/slow HTTP/1.1\r\nHost: t\r\n\r\n")
        wait_until(lambda: fndtest.instances("slow")[0]["in_flight"] == 1)
    line = wait_until(lambda: [x for x in parsed() if x.get("function") == "slow" and x["status"] == "499"])
    assert line[0]["response_bytes"] == "0"


def test_refused_when_it_cannot_be_written(make_daemon, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.symlink("/run/elsewhere", tmp_path / "link")
    for path in tmp_path / "pipe", tmp_path / "link", tmp_path, tmp_path / "no/such":
        result = fndtest.run(fndtest.program("fnd"), "--set", f"gateway.access_log={path}", "--set", f"runner.state={tmp_path}/state", "--set", "gateway.listen=127.0.0.1:7070")
        assert result.status != 0 and "gateway.access_log" in result.err and str(path) in result.err, (path, result)
    assert not os.path.exists("/run/elsewhere")
