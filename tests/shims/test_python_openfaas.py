"""The Python shim: functions of OpenFaaS' templates, as their users have them."""

import json
import os
import re

import pytest

from shim import Shim, refused

START = "rootfs/python/shim/start"


def serve(text, contract, env=None, **files):
    return Shim(START, "handler.handle", {"handler.py": text, **{f"{name}.py": lines for name, lines in files.items()}}, {"HANDLER_CONTRACT": f"openfaas-{contract}", **(env or {})})


# ---- lang: python3 ----


def test_classic_takes_a_text_and_its_answer_is_printed():
    with serve("def handle(req):\n    assert type(req) is str\n    return req.upper()\n", "classic") as s:
        answer = s.post("/", "body ä".encode(), "text/x-mine")
        assert (answer.status, answer.data, answer.getheader("Content-Type")) == (200, "BODY Ä\n".encode(), "text/x-mine")
        plain = s.get()
        assert (plain.data, plain.getheader("Content-Type")) == (b"\n", "text/plain; charset=utf-8")


@pytest.mark.parametrize("lines, data", [
    ("return None", b""), ("return {'a': 1}", b"{'a': 1}\n"), ("print('printed')", b"printed\n"), ("print('first')\n    return 'then'", b"first\nthen\n"),
    ("import sys; sys.stdout.buffer.write(bytes([0, 255]))", b"\0\xff"), ("import os; os.system('echo of a program')", b"of a program\n"), ("import sys; print('out'); sys.exit(0)", b"out\n"),
])
def test_what_a_classic_function_prints_is_the_answer(lines, data):
    with serve(f"def handle(req):\n    {lines}\n", "classic") as s:
        assert (s.get().data, s.get().status) == (data, 200)  # of one call only
        assert data not in s.log.encode() or not data


def test_classic_tells_the_request_in_the_environment():
    text = "import json, os\ndef handle(req):\n    return json.dumps({k: v for k, v in os.environ.items() if k.startswith('Http_')})\n"
    with serve(text, "classic") as s:
        told = json.loads(s.ask("POST", "/p?a=b", b"four", {"X-My-Name": "ä".encode(), "Host": "h"}).data)
        assert told["Http_Method"] == "POST" and told["Http_Path"] == "/p" and told["Http_Query"] == "a=b" and told["Http_Content_Length"] == told["Http_ContentLength"] == "4"
        assert told["Http_X_My_Name"] == "ä" and told["Http_Host"] == "h"
        later = json.loads(s.get("/").data)
        assert "Http_X_My_Name" not in later and "Http_Query" not in later and later["Http_Method"] == "GET" and later["Http_Content_Length"] == "0"
        assert json.loads(s.ask("POST", "/", iter([b"x"])).data)["Http_ContentLength"] == "-1"


HOSTILE = {"PrOxY": "http://192.0.2.1:1", "Path": "/tmp", "Ld-Preload": "/tmp/x.so", "LD_PRELOAD": "/tmp/x.so", "PYTHONPATH": "/tmp", "Method": "FORGED", "Contentlength": "7", "Content_Length": "7", "X-Bytes": b"\xe9\xff=\t()", "X-Empty": ""}


def test_no_client_sets_a_variable_of_its_choice():
    """All begins with Http_, and the proxy of a program is not the client's to name (httpoxy), not even for urllib, which takes any case; as many headers as a head holds are told, and forgotten again."""
    text = "import json, os, subprocess, urllib.request\ndef handle(req):\n    new = {k: os.environ[k] for k in os.environ if BEFORE.get(k) != os.environ[k]}\n    return json.dumps([new, urllib.request.getproxies(), subprocess.run(['/usr/bin/env'], capture_output=True).stdout.decode('latin-1')])\nBEFORE = dict(os.environ)\n"
    with serve(text, "classic") as s:
        new, proxies, seen = json.loads(s.ask("GET", "/own", None, HOSTILE).data)
        assert proxies == {} and all(k.startswith("Http_") for k in new) and not any(k.lower() == "http_proxy" for k in new), new
        assert (new["Http_Method"], new["Http_Path"], new["Http_ContentLength"], new["Http_X_Empty"]) == ("GET", "/own", "0", "") and "Http_X_Bytes=\xe9\xff=\t()\n" in seen
        many = {f"X-{i}": "v" * 50 for i in range(900)}
        assert len([k for k in json.loads(s.ask("GET", "/", None, many).data)[0] if k.startswith("Http_X_")]) == 900
        assert not [k for k in json.loads(s.get().data)[0] if k.startswith("Http_X_")]
        got = s.raw(b"GET / HTTP/1.1\r\nX-A: a\0b\r\nX-Good: g\r\nConnection: close\r\n\r\n")
        assert b"Http_X_A" not in got and (b"Http_X_Good" in got or b" 400 " in got[:20]), got


def test_classic_of_several_headers_of_one_name_the_first_counts():
    with serve("import json, os\ndef handle(req):\n    return json.dumps({k: v for k, v in os.environ.items() if k.startswith('Http_')})\n", "classic") as s:
        head, _, told = s.raw(b"GET ?a=b HTTP/1.1\r\nX-Two: first\r\nx-two: second\r\nX-E=f: g\r\nConnection: close\r\n\r\n").partition(b"\r\n\r\n")
        told = json.loads(told)
        assert head.startswith(b"HTTP/1.1 200") and (told["Http_X_Two"], told["Http_Path"], told["Http_Query"]) == ("first", "/", "a=b") and not any(k.startswith("Http_X_E") for k in told)


def test_classic_content_type_that_is_none():
    with serve("def handle(req):\n    return req\n", "classic", {"content_type": "text/plain\r\nX-Mine: 1"}) as s:
        answer = s.get()
        assert answer.status == 500 and answer.getheader("X-Mine") is None
        s.says("handle has a content_type that cannot be sent: the value of the header Content-Type has a line break in it")


def test_classic_content_type():
    with serve("def handle(req):\n    return req\n", "classic", {"content_type": "application/json"}) as s:
        assert s.post("/", "{}", "text/plain").getheader("Content-Type") == "application/json"


def test_a_classic_function_that_fails():
    text = "import sys\ndef handle(req):\n    print('before')\n    if req == 'exit': sys.exit(3)\n    if req == 'close': sys.stdout.close()\n    if req == 'raise': raise KeyError('mine')\n    return 'good'\n"
    with serve(text, "classic") as s:
        bad = s.post("/", "raise")
        assert bad.status == 500 and b"mine" not in bad.data and b"before" not in bad.data
        s.says(r"^before$")
        s.says(r"^fnd: .*/handler\.py:6: KeyError: 'mine'")
        assert s.post("/", "exit").status == 500
        s.says(r"^fnd: .*/handler\.py:4: handle called exit")
        s.post("/", "close")
        assert s.post("/", "x").data == b"before\ngood\n"


def test_classic_reads_from_any_bytes():
    with serve("def handle(req):\n    import sys; sys.stdout.write(req)\n", "classic") as s:
        assert s.post("/", bytes(range(256))).data == bytes(range(256))


# ---- what the package is ----


@pytest.mark.parametrize("files", [{}, {"__init__": "MINE = 'init'\n"}])
def test_the_directory_is_the_package_function(files):
    text = "from .more import A\nfrom function.more import A as B\nimport function\ndef handle(req):\n    return A + B + getattr(function, 'MINE', 'none')\n"
    with serve(text, "classic", None, more="A = 'a'\n", **files) as s:
        assert s.get().data == (b"aainit\n" if files else b"aanone\n")


def test_a_module_of_the_package_does_not_hide_pythons():
    with serve("import string\ndef handle(req):\n    return string.digits\n", "classic", None, string="digits = 'mine'\n") as s:
        assert s.get().data == b"0123456789\n"


# ---- lang: python3-http ----


EVENT = """
from flask import Response
def handle(event, context):
    kinds = {
        "/event": lambda: {"statusCode": 201, "body": {"m": event.method, "b": str(event.body), "q": event.query["k"], "all": event.query.getlist("k"), "h": event.headers.get("X-Mine"), "x": "x-mine" in event.headers, "p": event.path, "host": context.hostname}},
        "/text": lambda: {"body": "text"}, "/list": lambda: {"statusCode": 200, "body": [1]}, "/bytes": lambda: {"statusCode": 200, "body": b"\\0\\xff"}, "/number": lambda: {"statusCode": 200, "body": 5},
        "/headers": lambda: {"statusCode": 302, "body": "", "headers": {"Location": "https://www.example.com/", "X-A": "b"}}, "/pairs": lambda: {"statusCode": 200, "headers": [("X-A", "b")]},
        "/none": lambda: None, "/string": lambda: "string", "/tuple": lambda: ("made", 201, {"X-A": "b"}), "/response": lambda: Response("r", 418), "/nobody": lambda: {"statusCode": 204},
        "/static/handler.py": lambda: "no file", "/raise": lambda: 1 / 0, "/wrong": lambda: 5, "/exit": lambda: exit(1),
    }
    return kinds[event.path]()
"""


def test_http_has_an_event():
    with serve(EVENT, "http", {"HOSTNAME": "h1"}) as s:
        answer = s.ask("PATCH", "/event?k=v&k=w", b"body", {"X-Mine": "m"})
        assert answer.status == 201 and answer.getheader("Content-Type") == "application/json"
        assert json.loads(answer.data) == {"m": "PATCH", "b": "b'body'", "q": "v", "all": ["v", "w"], "h": "m", "x": True, "p": "/event", "host": "h1"}


@pytest.mark.parametrize("path, status, data, headers", [
    ("text", 200, b"text", {"Content-Type": "text/html; charset=utf-8"}), ("list", 200, b"[1]\n", {"Content-Type": "application/json"}), ("bytes", 200, b"\0\xff", {}), ("number", 200, b"5", {}),
    ("headers", 302, b"", {"Location": "https://www.example.com/", "X-A": "b"}), ("pairs", 200, b"", {"X-A": "b"}), ("none", 200, b"", {}), ("string", 200, b"string", {}),
    ("tuple", 201, b"made", {"X-A": "b"}), ("response", 418, b"r", {}), ("nobody", 204, b"", {}), ("static/handler.py", 200, b"no file", {}),
])
def test_http_answers(path, status, data, headers):
    with serve(EVENT, "http") as s:
        answer = s.get("/" + path)
        assert (answer.status, answer.data, {k: answer.getheader(k) for k in headers}) == (status, data, headers), s.log


def test_http_that_fails():
    with serve(EVENT, "http") as s:
        for path, says in (("raise", r"handler\.py:\d+: ZeroDivisionError"), ("wrong", "handler.py: handle returned int: a text, bytes, a dict, a Response"), ("exit", r"handler\.py:\d+: handle called exit")):
            answer = s.get("/" + path)
            assert answer.status == 500 and b"Zero" not in answer.data
            s.says("^fnd: .*" + says)
        assert s.get("/text").status == 200 and s.ask("OPTIONS", "/text").status == 200


# ---- lang: python3-flask ----


@pytest.mark.parametrize("result, status, data, headers", [
    ("req", 200, "body ä".encode(), {"Content-Type": "text/html; charset=utf-8"}), ("('made', 201, {'X-A': 'b'})", 201, b"made", {"X-A": "b"}), ("('made', 202)", 202, b"made", {}),
    ("{'type': type(req).__name__}", 200, b'{"type":"str"}\n', {"Content-Type": "application/json"}), ("Response((c for c in 'abc'), mimetype='text/event-stream')", 200, b"abc", {}),
    ("request.headers['X-Mine'] + request.args['k']", 200, b"mv", {}), ("abort(403)", 403, None, {}),
])
def test_flask_takes_a_text(result, status, data, headers):
    with serve(f"from flask import request, Response, abort\ndef handle(req):\n    return {result}\n", "flask") as s:
        answer = s.ask("POST", "/p?k=v", "body ä".encode(), {"X-Mine": "m"})
        assert (answer.status, answer.data if data is not None else None, {k: answer.getheader(k) for k in headers}) == (status, data, headers), s.log


def test_flask_with_the_raw_body():
    with serve("def handle(req):\n    return type(req).__name__\n", "flask", {"RAW_BODY": "True"}) as s:
        assert s.post("/", "x").data == b"bytes"


def test_flask_that_returns_nothing():
    with serve("def handle(req):\n    pass\n", "flask") as s:
        assert s.get().status == 500
        s.says("^fnd: .*/handler.py: handle returned NoneType: a text, bytes, a dict")


# ---- what is wrong ----


@pytest.mark.parametrize("contract, text, env, says", [
    ("classic", "def handle(event, context):\n    pass\n", {}, r"handle\(event, context\): openfaas-classic calls handle\(req\): \[env\] HANDLER_CONTRACT is to be openfaas-http \(lang: python3-http\)"),
    ("http", "def handle(req):\n    pass\n", {}, r"handle\(req\): openfaas-http calls handle\(event, context\): \[env\] HANDLER_CONTRACT is to be openfaas-classic or openfaas-flask"),
    ("flask", "def handle(a, b, c):\n    pass\n", {}, r"handle\(a, b, c\): openfaas-flask calls handle\(req\)$"), ("flask", "def handle():\n    pass\n", {}, r"handle\(\): openfaas-flask calls handle\(req\)$"),
    ("classic", "def handle(req):\n    pass\n", {"HANDLER_THREADS": "2"}, "HANDLER_THREADS: openfaas-classic makes one call at a time"),
    ("classic", "from .gone import x\n", {}, r"handler\.py:1: there is no module function\.gone"), ("classic", "def handel(req):\n    pass\n", {}, r"handler\.py: has no handle: .* it has handel"),
    ("grpc", "", {}, "HANDLER_CONTRACT = openfaas-grpc: not known: .*openfaas-classic, openfaas-http, openfaas-flask"),
    ("flask", "import sys\nsys.modules['flask'] = None\ndef handle(req):\n    pass\n", {}, "HANDLER_CONTRACT = openfaas-flask needs Flask: runtime = flask"),
])
def test_functions_of_another_form(contract, text, env, says):
    last = refused(START, "handler.handle", {"handler.py": text}, {"HANDLER_CONTRACT": f"openfaas-{contract}", **env})[-1]
    assert re.match(r"fnd: .*" + says, last), last


@pytest.mark.parametrize("text", ["def handle(req, more=1):\n    return 'x'\n", "def handle(*args):\n    return 'x'\n", "handle = lambda req: 'x'\n"])
def test_functions_that_can_be_called_so(text):
    with serve(text, "classic") as s:
        assert s.get().data == b"x\n"


def test_errors_in_the_package_are_named():
    last = refused(START, "handler.handle", {"handler.py": "", "__init__.py": "1 / 0\n"}, {"HANDLER_CONTRACT": "openfaas-classic"})[-1]
    assert re.match(r"fnd: .*/__init__\.py:1: ZeroDivisionError", last), last
