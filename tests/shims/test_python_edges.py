"""The Python shim: what is at the edges of the contracts of functions, and of HTTP."""

import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from shim import REPO, Shim, read_all, refused, wait

START = "rootfs/python/shim/start"


def serve(text, env=None, **files):
    return Shim(START, "handler.main", {"handler.py": text, **{n.replace("__", "."): t for n, t in files.items()}}, env)


# ---- context ----


def test_the_context_file_and_the_secrets_over_it(secrets):
    for name, data in (("TOKEN", b"of the secret\n\n"), ("raw", b"\xff\n")):
        with open(f"{secrets}/{name}", "wb") as f:
            f.write(data)
    os.mkdir(f"{secrets}/directory")
    text = "def main(args, context):\n    context['raw'] = ascii(context['raw'])\n    n = len(context)\n    context['more'] = 1\n    return [n, context]\n"
    with serve(text, context="# mine\n\n  \nTOKEN = 'of the file'\nA.b-C = 'single'\nESC = \"a\\tb\\nc\"\nHALF = a\"\n") as s:
        for _ in range(2):  # what one call puts into its context is not the next one's
            assert json.loads(s.get().data) == [5, {"TOKEN": "of the secret", "raw": "'\\udcff'", "A.b-C": "single", "ESC": "a\tb\nc", "HALF": 'a"', "more": 1}]
    with serve("def main(event, context):\n    context['n'] = context.get('n', 0) + 1\n    return str(context.n)\n") as s:
        assert [s.get().data, s.get().data] == [b"1", b"1"]


@pytest.mark.parametrize("line", ['A = "x', "A = 'x", 'A = "', "A B = 1", "= 1"])
def test_lines_of_the_context_file_that_are_wrong(line):
    assert "/context:2: not a line of the form" in refused(START, "handler.main", {"handler.py": "def main(args, context):\n    return 1\n", "context": f"B = 1\n{line}\n"})[-1]


# ---- what a function is given ----


def test_events():
    text = """
def main(event, context):
    assert not hasattr(event, "nothing") and not hasattr(context, "nothing")
    if event.path == "/doc":
        return context.getDoc("k")
    assert event.raw_body.decode() == event.body
    return {"statusCode": 200, "body": [event.method, event.path, event.query, event.headers["x-a"], event.headers["cookie"], event.body]}
"""
    with serve(text) as s:
        got = s.raw(b"PATCH /p%41?a=1&b=&a=2&c HTTP/1.1\r\nX-A:\t one \t\r\nX-A: two\r\nCookie: k=1\r\nCookie: l=2\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        assert json.loads(got.split(b"\r\n\r\n")[1]) == ["PATCH", "/p%41", {"a": "2", "b": "", "c": ""}, "one, two", "k=1; l=2", "hi"]
        assert s.get("/doc").status == 500
        s.says("there is no document store")


def test_arguments():
    form = "application/x-www-form-urlencoded"
    with serve("def main(args, context):\n    return args\n") as s:
        for path, body, kind, args in (
            ("/?a=1&b=", b"", "application/json", {"a": "1", "b": ""}), ("/?a=1&b=2", b'{"a": 3}', "application/json", {"a": 3, "b": "2"}), ("/", b" \r\n", "application/json", {}),
            ("/", b"a=&b=1", form + "; charset=utf-8", {"a": "", "b": "1"}), ("/", b' {"a": 1}', form, {"a": 1}), ("/", b'{"a": 1}', "text/plain", {"a": 1}), ("/", b'{"\xc3\xa4": "\\ud83d\\ude00"}', "", {"ä": "😀"}),
        ):
            assert json.loads(s.post(path, body, kind).data) == args
        for body in (b"[" * 100000, b"null", b'"a"', b"\xff", b"1" * 5000):
            assert s.post("/", body).status == 400
        got = s.raw(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n[GET /?x=1 HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 400 ") and got.endswith(b'{"x": "1"}')  # a body that is no JSON is not the end of the connection


# ---- what a function answers ----

RESULTS = """
import io
kept = []
def keep(parts):
    kept.append(parts)
    return parts
def endless():
    try:
        while True:
            yield b"x" * 65536
    finally:
        print("closed")
def fails():
    raise ValueError("at once")
    yield
def main(event, context):
    return {
        "/text": lambda: event.body, "/body": lambda: {"statusCode": 200, "body": event.body}, "/parts": lambda: iter([event.body, b"", bytearray(b"b"), memoryview(b"c")]), "/bytearray": lambda: bytearray(b"ab"),
        "/list": lambda: {"statusCode": 201, "body": [1, None]}, "/body-parts": lambda: {"statusCode": 202, "body": iter("ab"), "headers": {"content-TYPE": "text/x"}}, "/file": lambda: io.BytesIO(b"a\\nb"),
        "/headers": lambda: {"statusCode": 200, "headers": {"X-T": ("a", "b"), "X-N": 7, "Content-Length": "99", "Transfer-Encoding": "gzip", "Connection": "close", "X-U": "\\u20ac\\xe4"}, "body": bytearray(b"x")},
        "/none": lambda: {"statusCode": 204, "body": "x"}, "/same": lambda: {"statusCode": 304, "body": "x"}, "/no-parts": lambda: {"statusCode": 204, "body": endless()}, "/endless": lambda: keep(endless()), "/fails": fails,
        "/599": lambda: {"statusCode": 599}, "/empty": lambda: iter([]), "/surrogate": lambda: {"statusCode": 200, "body": ["\\ud800"]},
    }[event.path]()
"""


def test_results_as_they_are_sent():
    raw = bytes(range(256))
    with serve(RESULTS) as s:
        assert s.post("/text", raw).data == raw and s.post("/body", raw).data == raw and s.post("/parts", raw).data == raw + b"bc"
        for path, status, kind, data in (("/bytearray", 200, "application/octet-stream", b"ab"), ("/list", 201, "application/json", b"[1, null]"), ("/body-parts", 202, "text/x", b"ab"), ("/file", 200, "application/octet-stream", b"a\nb"),
                                         ("/599", 599, "text/plain; charset=utf-8", b""), ("/empty", 200, "application/octet-stream", b""), ("/surrogate", 200, "application/json", b'["\xed\xa0\x80"]')):
            answer = s.get(path)
            assert (answer.status, answer.msg.get_all("Content-Type"), answer.data) == (status, [kind], data)
        answer = s.get("/headers")
        assert (answer.msg.get_all("X-T"), answer.getheader("X-N"), answer.getheader("Content-Length"), answer.getheader("Transfer-Encoding"), answer.getheader("Connection")) == (["a", "b"], "7", "1", None, None)
        assert (answer.getheader("X-U"), answer.getheader("Content-Type")) == ("?\xe4", "application/octet-stream")


def test_answers_that_have_no_body():
    """Nothing after the head, whatever the function gave: the next answer would begin there."""
    with serve(RESULTS) as s:
        for path in ("/none", "/same", "/no-parts"):
            got = s.raw(b"GET %s HTTP/1.1\r\n\r\nGET /bytearray HTTP/1.1\r\nConnection: close\r\n\r\n" % path.encode())
            head, _, rest = got.partition(b"\r\n\r\n")
            assert rest.startswith(b"HTTP/1.1 200") and rest.endswith(b"\r\n\r\nab") and b"Content-Length" not in head and b"Transfer-Encoding" not in head
        assert s.ask("HEAD", "/endless").data == b""  # and nothing is made for who does not want it
        assert s.raw(b"HEAD /bytearray HTTP/1.1\r\n\r\nHEAD /ping HTTP/1.1\r\nConnection: close\r\n\r\n").count(b"\r\n\r\nHTTP/1.1 200 OK\r\n") == 1


def test_parts_that_fail_at_once_are_500():
    with serve(RESULTS) as s:
        assert (s.get("/fails").status, s.get("/bytearray").data) == (500, b"ab")


def test_the_generator_is_closed_when_its_client_goes():
    with serve(RESULTS) as s:
        with s.connect() as c:
            c.sendall(b"GET /endless HTTP/1.1\r\n\r\n")
            assert c.recv(100).startswith(b"HTTP/1.1 200")
        s.says("^closed$")
        assert s.get("/bytearray").data == b"ab" and "Traceback" not in s.log


@pytest.mark.parametrize("result, says", [
    ("{'statusCode': 600}", "the statusCode 600"), ("{'statusCode': '\xb200'}", "the statusCode '\xb200'"), ("{'statusCode': 199}", "the statusCode 199"), ("{'statusCode': 200, 'headers': {'A': 'b\\rc'}}", "line break"), ("{'statusCode': 200, 'headers': {'A': 'b\\0c'}}", "line break"),
    ("{'statusCode': 200, 'headers': {'': 'b'}}", "'' is not the name"), ("{'statusCode': 200, 'headers': {'A': None}}", "header 'A': None: its name and value must be texts"), ("{'statusCode': 200, 'headers': {1: 'b'}}", "header 1: 'b': its name"),
    ("iter([1])", "made a part that is int"), ("(1, 2)", "returned tuple"), ("7", "returned int"),
])
def test_results_that_cannot_be_sent(result, says):
    with serve(f"def main(event, context):\n    return {result}\n") as s:
        assert s.get().status == 500
        s.says(says)


def test_json_that_never_ends():
    with serve("a = []\na.append(a)\nb = []\nfor _ in range(100000): b = [b]\ndef main(args, context):\n    return a if args else b\n") as s:
        for path in ("/?a=1", "/"):
            assert s.get(path).status == 500
        wait(lambda: s.log.count("main returned list, which JSON cannot hold") == 2, "both in the log", s)


# ---- handlers ----


@pytest.mark.parametrize("files, handler", [
    ({"handler.py": "class F:\n    def go(self, event, context):\n        return 'good'\nf = F()\n"}, "handler:f.go"), ({"handler.py": "class F:\n    def go(self, event):\n        return 'good'\ngo = F().go\n"}, "handler.go"),
    ({"handler.py": "def main(*a):\n    return 'good' if len(a) == 2 else 'bad'\n"}, "handler.main"), ({"handler.py": "import functools\ndef f(x, event, context):\n    return x\nmain = functools.partial(f, 'good')\n"}, "handler.main"),
    ({"handler.py": "def main(event, context, more='good'):\n    return more\n"}, "handler.main"), ({"handler.py": "class F:\n    def __call__(self, args, context):\n        return b'good'\nf = F()\n"}, "handler.f"),
    ({"handler.py": "import x, y\ndef main(event, context):\n    return x.who + y.who\n", "x.py": "who = 'go'\n", "python_modules/x.py": "who = 'bad'\n", "python_modules/p.pth": "sub\n", "python_modules/sub/y.py": "who = 'od'\n"}, "handler.main"),
    ({"handler.py": "import colorsys\ndef main(event, context):\n    return colorsys.who\n", "colorsys.py": "who = 'good'\n"}, "handler.main"),
])
def test_handlers_of_more_forms(files, handler):
    with Shim(START, handler, files) as s:
        assert s.get().data == b"good", s.log


@pytest.mark.parametrize("text, env, says", [
    ("import os\nos._exit(3)\n", {}, r"handler.py:2: os._exit(3) ends the process while it is imported"), ("import os\nif os.fork() == 0:\n    x = 1\nelse:\n    os.wait(); os.abort()\n", {}, "was forked while it was imported"),
    ("", {"HANDLER_THREADS": "257"}, "HANDLER_THREADS = 257: not a number"), ("", {"HANDLER_PATIENCE": "0"}, "HANDLER_PATIENCE = 0"), ("raise KeyError('x')\n", {}, "KeyError: 'x': the handler cannot be imported"),
])
def test_more_that_cannot_be_served(text, env, says):
    log = refused(START, "handler.main", {"handler.py": text + "def main(event, context):\n    return 1\n"}, env)
    assert any(says in line for line in log), log
    if "KeyError" in says:
        assert any(line.startswith("Traceback") for line in log) and not any("fndload.py" in line for line in log), log


def test_what_a_decorator_wraps_tells_the_contract():
    with serve("import functools\ndef deco(f):\n    @functools.wraps(f)\n    def g(*a):\n        return f(*a)\n    return g\n@deco\ndef main(args, context):\n    return 'json'\n") as s:
        assert s.get().data == b'"json"'
    assert "/pkg/__init__.py: has no main" in refused(START, "pkg.main", {"pkg/__init__.py": ""})[-1]


def test_a_setting_that_is_empty_is_none_and_usage():
    with serve("def main(event, context):\n    return 'x'\n", env={"HANDLER_THREADS": ""}) as s:
        assert s.get().data == b"x"
    done = subprocess.run([os.path.join(REPO, START)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and done.stderr.startswith("fnd: usage: start HANDLER")


def test_the_line_is_the_functions_own_and_not_its_modules():
    with serve("import lib\ndef main(event, context):\n    return lib.f()\n", **{"python_modules/lib__py": "def f():\n    return 1 // 0\n"}) as s:
        assert s.get().status == 500
        s.says(r"^fnd: .*/handler\.py:3: ZeroDivisionError")


def test_async_functions_have_one_loop():
    with serve("import asyncio\nloops = set()\nasync def main(event, context):\n    loops.add(asyncio.get_running_loop())\n    return str(len(loops))\n") as s:
        assert [s.get().data for _ in range(10)] == [b"1"] * 10


# ---- calls that go wrong in worse ways ----


def test_an_error_that_cannot_be_told():
    text = """
import os, sys
class Mute(Exception):
    def __str__(self):
        raise RuntimeError
def main(event, context):
    if event.path == "/closed":
        sys.stderr.close()
        os.close(2)
    raise Mute
"""
    with serve(text) as s:
        for path in ("/", "/", "/", "/closed", "/", "/", "/"):
            assert s.get(path).status == 500
        s.says(r"handler\.py:\d+: Mute, which cannot say what it is: the call was answered with 500")


def test_the_log_is_not_where_the_function_leads_stderr():
    with serve("import sys, io\ndef main(event, context):\n    sys.stderr = io.StringIO()\n    raise ValueError('odd')\n") as s:
        assert s.get().status == 500
        s.says("ValueError: odd: the call")


@pytest.mark.parametrize("end, status", [("sys.exit(3)", 3), ("sys.exit('text')", 1), ("sys.exit()", 0)])
def test_how_a_child_ends(end, status):
    with serve(f"import os, sys\ndef main(event, context):\n    pid = os.fork()\n    if pid == 0:\n        {end}\n    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n") as s:
        assert s.get().data == str(status).encode()


# ---- the server ----


def test_connections_and_versions():
    with serve("def main(event, context):\n    if event.path == '/bad': raise ValueError\n    return 'good'\n") as s:
        bad, good, last = (b"GET %s HTTP/1.1\r\n%s\r\n" % x for x in ((b"/bad", b""), (b"/", b""), (b"/", b"Connection: foo, Close\r\n")))
        got = s.raw(good + bad + b"\r\n\r\n" + good + bad + last + good)
        assert [got[at + 9 : at + 12] for at in range(len(got)) if got.startswith(b"HTTP/1.1 ", at)] == [b"200", b"500", b"200", b"500", b"200"]
        assert got.count(b"Connection: close") == 1
        assert b"Connection: close" in s.raw(b"GET / HTTP/1.0\r\n\r\n")
        got = s.raw(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\nC: d\r\n\r\n" + last)
        assert got.count(b"HTTP/1.1 200") == 2
        got = s.raw(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n" + last)
        assert got.count(b"HTTP/1.1 200") == 2 and got.count(b"Connection: close") == 1
        assert s.post("/ping", b"").data == b"good" and s.ask("HEAD", "/ping").getheader("Content-Length") == "5"
        with socket.create_connection(("127.0.0.2", s.port), timeout=30) as c:
            c.sendall(last)
            assert read_all(c).endswith(b"good")


@pytest.mark.parametrize("data, status", [
    (b"GET  HTTP/1.1\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nA: b\r\n c: d\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\n: b\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nA: " + b"b" * 70000 + b"\r\n\r\n", b"431"),
    (b"POST / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n", b"400"), (b"POST / HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n", b"400"), (b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 16 + b"\r\n\r\n", b"400"), (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n;x\r\n\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"), (b"nonsense\r\n\r\n" + b"x" * (4 << 20), b"400"),
])
@pytest.mark.parametrize("kind", ["function", "asgi"])
def test_more_broken_requests(data, status, kind):
    asgi = "async def app(scope, receive, send):\n    await receive()\n    await send({'type': 'http.response.start', 'status': 200})\n    await send({'type': 'http.response.body', 'body': b'good'})\n"
    with serve("def main(event, context):\n    return 'good'\n") if kind == "function" else Shim(START, "handler:app", {"handler.py": asgi}) as s:
        for _ in range(3):  # more than there are threads
            assert s.raw(data).split(b" ")[1] == status
        assert s.get().data == b"good"


def test_100_continue():
    with serve("def main(event, context):\n    return event.body\n") as s, s.connect() as c:
        for framing, body in ((b"Content-Length: 2", b"hi"), (b"Transfer-Encoding: Chunked", b"2\r\nhi\r\n0\r\n\r\n")):
            c.sendall(b"POST / HTTP/1.1\r\nExpect: 100-Continue\r\n%s\r\n\r\n" % framing)
            assert c.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
            c.sendall(body)
            assert c.recv(4096).endswith(b"\r\n\r\nhi")
        for version, framing in ((b"1.1", b"Content-Length: 2"), (b"1.0", b"Content-Length: 2"), (b"1.1", b"Content-Length: 0")):
            got = s.raw(b"POST / HTTP/%s\r\nConnection: close\r\nExpect: 100-continue\r\n%s\r\n\r\nhi" % (version, framing))
            assert got.startswith(b"HTTP/1.1 200 ")


def test_connections_are_let_go():
    with serve("def main(event, context):\n    return 'good'\n") as s:
        count = lambda: len(os.listdir(f"/proc/{s.process.pid}/fd"))
        before = count()
        for data in (b"", b"GET / HT", b"GET / HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n"):
            with s.connect() as c:
                c.sendall(data)
        wait(lambda: count() <= before, "the descriptors to be as before", s)


def test_a_client_that_never_stops_sending_is_left():
    with serve("def main(event, context):\n    return 'good'\n") as s, s.connect() as c:
        begin = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - begin < 25:
                c.sendall(b"nonsense\r\n\r\n")
                time.sleep(0.2)  # slower than what would be read at once, quicker than a pause that ends it
        assert s.get().data == b"good"


def test_one_call_at_a_time_and_those_that_wait_are_answered_at_the_stop():
    with serve("def main(event, context):\n    print('begun', event.path)\n    with open('fifo') as f:\n        return f.read()\n") as s:
        os.mkfifo(s.root + "/fifo")
        with s.connect() as first, s.connect() as second:
            first.sendall(b"GET /1 HTTP/1.1\r\n\r\n")
            s.says("begun /1")
            second.sendall(b"GET /2 HTTP/1.1\r\n\r\n")
            for _ in range(10):
                assert s.get("/ping").status == 200
            assert "begun /2" not in s.log
            s.process.terminate()
            for c in (first, second):
                with open(s.root + "/fifo", "w") as f:
                    f.write("done")
                assert read_all(c).endswith(b"done")
        assert s.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_instance_stops_at_once(number):
    with serve("def main(event, context):\n    return 'good'\n") as s, s.connect() as idle:
        idle.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert idle.recv(4096).endswith(b"good")
        s.process.send_signal(number)
        assert s.ends() == 0


def test_garbage_and_every_prefix():
    """No thread is lost to it, and no memory."""
    with serve("def main(event, context):\n    return event.body\n") as s:
        assert s.feed_garbage(600, 200) < 4096
        assert s.post("/", b"good").data == b"good"
        assert len(os.listdir(f"/proc/{s.process.pid}/task")) == 3 and "Traceback" not in s.log, s.log


def test_all_threads_of_a_server_are_used():
    text = "import threading\nall_here = threading.Barrier(8)\ndef app(environ, start_response):\n    all_here.wait(25)\n    start_response('200 OK', [])\n    return [b'good']\n"
    with Shim(START, "handler:app", {"handler.py": text}) as s:
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(s.get().data)) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert answers == [b"good"] * 8
