"""The Python shim: functions. Applications are in test_python_apps.py."""

import json
import os
import re
import subprocess
import threading

import pytest

from shim import Shim, refused, wait

START = "rootfs/python/shim/start"


def serve(text, handler="handler.main", env=None, **files):
    return Shim(START, handler, {"handler.py": text, **{n.replace("__", "."): t for n, t in files.items()}}, env)


# ---- contracts ----


def test_faaspot():
    text = "def main(args, context):\n    return {'args': args, 'context': context}\n"
    with serve(text, context='# mine\nTOKEN = "a \\"b\\" \\\\n"\nPLAIN = x y\n') as s:
        answer = s.get("/?a=1&b=x+y&b=z")
        assert answer.getheader("Content-Type") == "application/json"
        assert json.loads(answer.data) == {"args": {"a": "1", "b": "z"}, "context": {"TOKEN": 'a "b" \\n', "PLAIN": "x y"}}
        assert json.loads(s.post("/?a=1", '{"a": [1, null], "n": 2.5}').data)["args"] == {"a": [1, None], "n": 2.5}
        assert json.loads(s.post("/", "a=1&b=%C3%A4", "application/x-www-form-urlencoded").data)["args"] == {"a": "1", "b": "ä"}
        for body in ("[1]", "{", "nope"):
            answer = s.post("/", body)
            assert answer.status == 400 and b"the body is" in answer.data
        assert s.post("/", b"\xff", "application/octet-stream").data.endswith(b"send a JSON object or a form, or write main(event, context), which takes any body\n")


@pytest.mark.parametrize("value, sent", [("None", "null"), ("'ä'", '"ä"'), ("[1, 2.5, True]", "[1, 2.5, true]"), ("{}", "{}"), ("0", "0")])
def test_faaspot_answers_with_json(value, sent):
    with serve(f"def main(args, context):\n    return {value}\n") as s:
        assert s.get().data.decode() == sent


def test_spotinst():
    text = """
import json
def main(event, context):
    body = json.loads(event.body) if event["body"] else None
    return {"statusCode": 201, "body": json.dumps({"query": event.query, "body": body, "path": event.path}), "headers": {"Content-Type": "application/json", "X-Two": ["a", "b"]}}
"""
    with serve(text) as s:
        answer = s.ask("POST", "/p?k=v", '{"a": 1}')
        assert answer.status == 201 and answer.msg.get_all("X-Two") == ["a", "b"]
        assert json.loads(answer.data) == {"query": {"k": "v"}, "body": {"a": 1}, "path": "/p"}


def test_get_doc_says_what_to_do():
    with serve("def main(event, context):\n    return context.get_doc('k')\n") as s:
        assert s.get().status == 500
        assert "no document store" in s.says("^fnd: .*handler.py:2: NotImplementedError")


@pytest.mark.parametrize("result, kind, data", [
    ("'text ä'", "text/plain; charset=utf-8", "text ä".encode()),
    ("bytes(range(256))", "application/octet-stream", bytes(range(256))),
    ("{'statusCode': '200', 'body': bytes([0, 255])}", "application/octet-stream", b"\0\xff"),
    ("{'statusCode': 200, 'body': {'a': 1}}", "application/json", b'{"a": 1}'),
    ("{'statusCode': 200}", "text/plain; charset=utf-8", b""),
    ("(p for p in ['a', b'b', 'c'])", "application/octet-stream", b"abc"),
    ("event.raw_body", "application/octet-stream", b""),
])
def test_results(result, kind, data):
    with serve(f"def main(event, context):\n    return {result}\n") as s:
        answer = s.get()
        assert (answer.status, answer.getheader("Content-Type"), answer.data) == (200, kind, data)


def test_binary_bodies_come_back():
    body = bytes(range(256)) * 5000
    with serve("def main(event, context):\n    assert event.body.encode('utf-8', 'surrogateescape') == event.raw_body\n    return event.raw_body\n") as s:
        assert s.post("/", body).data == body
        assert s.ask("POST", "/", iter([body, body])).data == body * 2


@pytest.mark.parametrize("files, handler", [
    ({"handler.py": "def main(event):\n    return 'good'\n"}, "handler"),
    ({"hello-world.py": "def main(args, context):\n    return b'good'\n"}, "hello-world"), ({"hello-world.py": "def main(event):\n    return 'good'\n"}, "hello-world.main"),
    ({"handler.py": "async def main(event, context):\n    return 'good'\n"}, "handler.main"),
    ({"handler.py": "class F:\n    def __call__(self, event, context):\n        return 'good'\nf = F()\n"}, "handler.f"),
    ({"handler.py": "import functools\ndef deco(f):\n    @functools.wraps(f)\n    def g(*a):\n        return f(*a)\n    return g\n@deco\ndef main(args, context):\n    return b'good'\n"}, "handler.main"),
    ({"pkg/__init__.py": "", "pkg/deep.py": "from . import other\nmain = other.f\n", "pkg/other.py": "def f(event, context):\n    return 'good'\n"}, "pkg.deep.main"),
    ({"handler.py": "import lib\ndef main(event, context):\n    return lib.x\n", "python_modules/lib.py": "x = 'good'\n"}, "handler.main"),
])
def test_handlers_of_many_forms(files, handler):
    with Shim(START, handler, files) as s:
        assert s.get().data == b"good", s.log


def test_the_contract_can_be_said():
    with serve("def main(args, x):\n    return 'plain'\n", env={"HANDLER_CONTRACT": "spotinst"}) as s:
        assert s.get().data == b"plain"


# ---- the server ----


def test_one_interpreter_serves_a_connection_many_times():
    with serve("n = 0\ndef main(event, context):\n    global n\n    n += 1\n    return str(n)\n") as s, s.connect() as c:
        f = c.makefile("rb")
        for i in range(1, 101):
            c.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert f.readline() == b"HTTP/1.1 200 OK\r\n"
            while f.readline() != b"\r\n":
                pass
            assert f.read(len(str(i))) == str(i).encode()
        f.close()


def test_requests_in_one_piece_and_byte_by_byte():
    one = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    last = b"POST /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nde\r\n1\r\nf\r\n0\r\nTrailer: x\r\n\r\n"
    with serve("def main(event, context):\n    return event.path + event.body\n") as s:
        assert [line for line in s.raw(one * 300 + last).split(b"\r\n") if b"/" in line and b"HTTP" not in line and b":" not in line][-1] == b"/ydef"
        with s.connect() as c:
            for i in range(len(last)):
                c.sendall(last[i : i + 1])
            got = b""
            while more := c.recv(65536):
                got += more
        assert got.endswith(b"\r\n\r\n/ydef")


@pytest.mark.parametrize("data, status", [
    (b"GET /\r\n\r\n", b"400"), (b"\0\r\n\r\n", b"400"), (b"GET / HTTP/2.0\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", b"400"), (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"), (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", b"400"), (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", b"400"), (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 5000, b"400"),
    (b"GET / HTTP/1.1\r\nA: " + b"b" * 70000, b"431"),
])
def test_broken_requests_are_answered_and_the_next_connection_is_served(data, status):
    with serve("def main(event, context):\n    return 'good'\n") as s:
        assert s.raw(data).split(b" ")[1] == status
        assert s.get().data == b"good"


def test_connections_that_end_early():
    whole = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    with serve("def main(event, context):\n    return 'good'\n") as s:
        for i in range(len(whole)):
            with s.connect() as c:
                c.sendall(whole[:i])
        assert s.get().data == b"good"


def test_head_has_no_body():
    with serve("def main(event, context):\n    return (p for p in 'ab') if event.path == '/parts' else 'four'\n") as s:
        assert s.raw(b"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n").endswith(b"Content-Length: 4\r\nConnection: close\r\n\r\n")
        assert s.raw(b"HEAD /parts HTTP/1.1\r\nConnection: close\r\n\r\n").endswith(b"Connection: close\r\n\r\n")


def test_parts_are_sent_when_they_are_there():
    text = """
import subprocess
import threading
go = threading.Event()
def main(event, context):
    if event.path == "/go":
        go.set()
        return "ok"
    def parts():
        yield "first"
        go.wait()
        yield "second"
    return parts()
"""
    with serve(text, env={"HANDLER_THREADS": "2"}) as s:
        s.in_parts("/", b"first", b"second", lambda: s.get("/go"))


def test_calls_run_one_at_a_time_unless_threads_are_asked_for():
    text = """
import subprocess
import threading
lock, inside, most = threading.Lock(), 0, 0
both = threading.Barrier(2)
def main(event, context):
    global inside, most
    with lock:
        inside += 1
        most = max(most, inside)
    if event.path == "/both":
        both.wait(25)
    with lock:
        inside -= 1
    return str(most)
"""

    def ask_all(s, path, n):
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(s.get(path).data)) for _ in range(n)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return answers

    with serve(text) as s:
        assert set(ask_all(s, "/", 20)) == {b"1"}
    with serve(text, env={"HANDLER_THREADS": "2"}) as s:
        assert ask_all(s, "/both", 2) == [b"2", b"2"]
        assert set(ask_all(s, "/", 20)) <= {b"2"}


def test_the_health_check_is_answered_while_all_calls_are_running():
    text = "import os\ndef main(event, context):\n    with open('fifo') as f:\n        return f.read()\n"
    with serve(text) as s:
        os.mkfifo(s.root + "/fifo")
        with s.connect() as busy, s.connect() as waiting:
            busy.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            waiting.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            for _ in range(5):
                assert s.get("/ping").data == b"pong\n"
            for c in (busy, waiting):
                with open(s.root + "/fifo", "w") as f:
                    f.write("done")
                got = b""
                while more := c.recv(4096):
                    got += more
                assert got.endswith(b"done")


def test_health_path():
    with Shim(START, "handler.main", {"handler.py": "def main(event, context):\n    return event.path\n"}) as s:
        assert s.get("/_/health").data == b"/_/health"
    s = Shim(START, "handler.main", {"handler.py": "def main(event, context):\n    return event.path\n"}, {"FND_HEALTH_PATH": "/_/health"})
    try:
        wait(s.listens, "a listener", s)
        assert s.get("/_/health").data == b"pong\n" and s.get("/ping").data == b"/ping"
    finally:
        s.__exit__()


def test_a_call_in_progress_is_finished_on_sigterm():
    text = "import os\ndef main(event, context):\n    print('begun')\n    with open('fifo') as f:\n        return f.read()\n"
    with serve(text) as s:
        os.mkfifo(s.root + "/fifo")
        with s.connect() as c:
            c.sendall(b"GET / HTTP/1.1\r\n\r\n")
            s.says("begun")
            s.process.terminate()
            wait(lambda: not s.listens(), "the end of listening", s)
            with open(s.root + "/fifo", "w") as f:
                f.write("done")
            got = b""
            while more := c.recv(4096):
                got += more
            assert b"Connection: close" in got and got.endswith(b"done")
        assert s.ends() == 0


def test_a_call_whose_client_has_gone_is_named():
    text = "import os\ndef main(event, context):\n    with open('fifo') as f:\n        return f.read()\n"
    with serve(text, env={"HANDLER_PATIENCE": "1"}) as s:
        os.mkfifo(s.root + "/fifo")
        with s.connect() as c:
            c.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert "[limits] timeout" in s.says(r"handler\.py:3: main has run for \d+ s and its client has gone")


def test_an_instance_in_which_no_call_can_run_any_more_ends():
    """Not as long as one of the calls has a client, or is younger than [limits] timeout."""
    text = "import os\ndef main(event, context):\n    with open('fifo') as f:\n        return f.read()\n"
    with serve(text, env={"FND_TIMEOUT": "0.2", "HANDLER_THREADS": "2"}) as s:
        os.mkfifo(s.root + "/fifo")
        with s.connect() as waits:
            waits.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with s.connect() as gone:
                gone.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises(subprocess.TimeoutExpired):
                s.process.wait(1.2)
            assert s.get("/ping").data == b"pong\n"
        assert s.ends() == 1
        assert re.search(r"fnd: .*handler\.py:3: main has run for \d+ s, longer than \[limits\] timeout, and no other call can run: this instance ends", s.log), s.log


# ---- what goes wrong in a call: 500, the log says why, the next call is served ----

CALLS = [
    ("print('out'); raise ValueError('odd')", r"handler\.py:2: ValueError: odd: the call was answered with 500"),
    ("import sys; sys.exit(3)", r"handler\.py:2: main called exit: .* return the answer instead"),
    ("exit()", r"handler\.py:2: main called exit"),
    ("return {1}", r"handler\.py: main returned set: return \{\"statusCode\""),
    ("return None", r"handler\.py: main returned NoneType"),
    ("return {'body': 'x'}", r"main returned a dict without statusCode"),
    ("return {'statusCode': 99}", r"main returned the statusCode 99: a number from 200 to 599"),
    ("return {'statusCode': 200, 'body': 7}", r"main returned a body that is int"),
    ("return {'statusCode': 200, 'headers': []+['a']}", r"main returned headers that are list"),
    ("return {'statusCode': 200, 'headers': {'A': 'b\\nc: d'}}", r"cannot be sent: the value of the header A has a line break"),
    ("return {'statusCode': 200, 'headers': {'A b': 'c'}}", r"cannot be sent: 'A b' is not the name of a header"),
    ("return {'statusCode': 200, 'body': {'a': {1}}}", r"main returned a body which JSON cannot hold \(.*\): return dict"),
]


@pytest.mark.parametrize("line, says", CALLS)
def test_calls_that_go_wrong(line, says):
    with serve(f"def main(event, context):\n    if event.path == '/bad': {line}\n    return 'good'\n") as s:
        answer = s.get("/bad")
        assert (answer.status, answer.data) == (500, b"The function failed; its log says why.\n")
        s.says("^fnd: .*" + says)
        assert s.get("/").data == b"good"


@pytest.mark.parametrize("value", ["{1}", "object()", "float('nan')", "{(1, 2): 3}"])
def test_what_json_cannot_hold(value):
    with serve(f"def main(args, context):\n    return {value}\n") as s:
        assert s.get().status == 500
        assert "which JSON cannot hold" in s.says(r"^fnd: .*handler\.py: main returned")


def test_prints_are_the_log_and_not_the_answer():
    with serve("import os, subprocess\nprint('import')\ndef main(event, context):\n    print('call')\n    subprocess.run(['echo', 'child'])\n    os.write(1, b'raw\\n')\n    return 'answer'\n") as s:
        assert s.get().data == b"answer"
        for line in ("import", "call", "child", "raw"):
            s.says(f"^{line}$")


def test_the_traceback_is_in_the_log():
    with serve("def inner():\n    return 1 // 0\ndef main(event, context):\n    return inner()\n") as s:
        assert s.get().status == 500
        s.says(r"handler\.py:2: ZeroDivisionError")
        assert s.log.index("in main") < s.log.index("in inner") < s.log.index("ZeroDivisionError: ") and "fndserver" not in s.log


def test_an_answer_that_breaks_off():
    with serve("def main(event, context):\n    def parts():\n        yield 'one'\n        raise ValueError('later')\n    return parts()\n") as s:
        got = s.raw(b"GET / HTTP/1.1\r\n\r\n")
        assert got.endswith(b"3\r\none\r\n")  # no last chunk
        s.says("ValueError: later")


@pytest.mark.parametrize("end, says", [("return 'child'", "main came back in a child that it forked"), ("raise ValueError('x')", "main came back in a child"), ("os._exit(0)", None), ("raise SystemExit(0)", None)])
def test_a_fork(end, says):
    with serve(f"import os\ndef main(event, context):\n    pid = os.fork()\n    if pid == 0:\n        {end}\n    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n") as s:
        got = s.raw(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert got.count(b"HTTP/1.1") == 1 and got.endswith(b"\r\n\r\n" + (b"1" if says else b"0"))
        if says:
            s.says(says)


def test_os_exit_is_named():
    with serve("import os\ndef main(event, context):\n    os._exit(4)\n") as s:
        assert s.raw(b"GET / HTTP/1.1\r\n\r\n") == b""
        assert s.ends() == 4
        s.says(r"handler\.py:3: called os\._exit\(4\), which ends the instance")


# ---- what cannot be served: one line that names the file and the remedy ----

GOOD = "def main(event, context):\n    return 1\n"
REFUSED = [
    ("handler.main", {}, r"/handler\.py is not there: handler = handler\.main .*no \.py file"),
    ("handler.main", {"index.py": GOOD}, r"/handler\.py is not there: .* the package has index\.py"),
    ("handler.py", {"handler.py": GOOD}, r"names a file: .*handler = handler\.main"),
    ("handler.run", {"handler.py": GOOD}, r"handler\.py: has no run: .* it has main"),
    ("handler.main", {"handler.py": "main = 3\n"}, r"handler\.py: main is int, not a function"),
    ("handler.main", {"handler.py": "def main():\n    pass\n"}, r"handler\.py: main\(\): a handler takes \(event, context\)"),
    ("handler.main", {"handler.py": "def main(a, b, c):\n    pass\n"}, r"handler\.py: main\(a, b, c\): a handler takes"),
    ("handler.main", {"handler.py": "x = 1\ndef main(:\n"}, r"handler\.py:2: SyntaxError: "),
    ("handler.main", {"handler.py": "import requests\n"}, r"handler\.py:1: there is no module requests: add its package to requirements\.txt"),
    ("handler.main", {"handler.py": "import other\n", "other.py": "\nimport nosuch.deep\n"}, r"other\.py:2: there is no module nosuch"),
    ("handler.main", {"handler.py": "import sys\nsys.exit(0)\n"}, r"handler\.py:2: ends the process while it is imported"),
    ("handler.main", {"handler.py": "\n\nopen('/nowhere')\n"}, r"handler\.py:3: FileNotFoundError: .*cannot be imported"),
    ("handler.main", {"handler.py": GOOD.replace("event", "args"), "context": "A = 1\nB\n"}, r"/context:2: not a line of the form KEY = \"VALUE\""),
    ("rm -rf /", {"handler.py": GOOD}, r"handler = rm -rf /: not the name of a Python function"),
    ("", {"handler.py": GOOD}, r"handler = : not the name"),
]


@pytest.mark.parametrize("handler, files, says", REFUSED)
def test_what_cannot_be_served(handler, files, says):
    lines = refused(START, handler, files)
    assert lines[-1].startswith("fnd: ") and re.search(says, lines[-1]), lines


@pytest.mark.parametrize("env, says", [
    ({"HANDLER_CONTRACT": "lambda"}, "HANDLER_CONTRACT = lambda: not known: faaspot, spotinst, wsgi, asgi"), ({"HANDLER_THREADS": "many"}, "HANDLER_THREADS = many: not a number from 1 to 256"),
    ({"HANDLER_THREADS": "0"}, "HANDLER_THREADS = 0: not a number from 1 to 256"),
])
def test_settings_that_are_wrong(env, says):
    assert says in refused(START, "handler.main", {"handler.py": GOOD}, env)[-1]


def test_an_import_that_does_not_end_is_named():
    s = Shim(START, "handler.main", {"handler.py": "import threading\nthreading.Event().wait()\n" + GOOD}, {"HANDLER_PATIENCE": "1"})
    try:
        assert "belongs into the function" in s.says(r"handler\.py:2: is still being imported")
    finally:
        s.__exit__()
