"""Functions in Python in their sandbox: handlers and applications; their builder is tested in test_builders.py, the shim by itself in tests/shims."""

import os

import fndtest
from fndtest import fnctl, get, instances, request


def put(runtime):
    fnctl("runtime", "put", runtime, f"{fndtest.BUILD}/runtime-{runtime}.tar")


def source(directory, files, handler="handler.main", runtime="python", more=""):
    for name, text in {"function.ini": f"[function]\nname = hello\nruntime = {runtime}\nhandler = {handler}\n{more}", **files}.items():
        os.makedirs(os.path.dirname(directory / name), exist_ok=True)
        (directory / name).write_text(text)
    return directory


HANDLER = """
import json, os, sys
count = 0
def main(event, context):
    global count
    count += 1
    print("call", count)
    if event.path == "/raise":
        raise ValueError("odd")
    if event.path == "/exit":
        os._exit(3)
    return json.dumps([count, event.method, event.query, event.body, os.getcwd(), os.environ["HOME"], sys.flags.dont_write_bytecode])
"""


def test_a_handler(daemon, tmp_path):
    put("python")
    fnctl("deploy", source(tmp_path / "f", {"handler.py": HANDLER}))
    assert get("/fn/hello/?a=b").json() == [1, "GET", {"a": "b"}, "", "/app", "/tmp", 1]
    assert request("POST", "/fn/hello/x", body="ä".encode()).json()[:4] == [2, "POST", {}, "ä"]
    assert get("/fn/hello/raise").status == 500
    assert get("/fn/hello/").json()[0] == 4
    log = fndtest.wait_until(lambda: (lambda t: t if "ValueError: odd" in t else None)(fnctl("logs", "hello").out), 30, "the traceback in the log")
    assert "call 1" in log and "/app/handler.py:9: ValueError: odd: the call was answered with 500" in log
    name = instances("hello")[0]["name"]
    assert get("/fn/hello/exit").status == 502
    fndtest.wait_until(lambda: "/app/handler.py:11: called os._exit(3)" in fnctl("logs", "hello", "--instance", name).out, 30, "the end in the log")
    # What cannot be started is refused with the handler's own words, and what runs goes on.
    fndtest.wait_until(lambda: get("/fn/hello/").status == 200, 30, "the instance that follows")
    for files, handler, says in (
        ({"handler.py": "import requests\n"}, "handler.main", "/app/handler.py:1: there is no module requests: add its package to requirements.txt"),
        ({"handler.py": "def main(:\n"}, "handler.main", "/app/handler.py:1: SyntaxError"),
        ({"handler.py": HANDLER}, "handler.run", "/app/handler.py: has no run: handler = handler.run in function.ini names it; it has main"),
    ):
        assert says in fnctl("deploy", source(tmp_path / "f", files, handler), status=1).err
    assert fndtest.function("hello")["version"] == 1
    assert get("/fn/hello/").status == 200


def test_an_application_behind_its_prefix(daemon, tmp_path):
    put("flask")
    text = "from flask import Flask, url_for\napp = Flask(__name__)\n@app.get('/where')\ndef where():\n    return url_for('where', _external=True)\n"
    fnctl("deploy", source(tmp_path / "f", {"funko.py": text, "static/a.txt": "static\n"}, "funko:app", "flask"))
    assert get("/fn/hello/where").text.endswith("/fn/hello/where")
    assert get("/fn/hello/static/a.txt").text == "static\n"
    assert get("/fn/hello/nothing").status == 404


def test_run_takes_what_make_has_built(tmp_path):
    """runtime-python.tar beside fnctl. All templates: test_examples.py."""
    fnctl("new", "greet", "--runtime", "python", cwd=tmp_path)
    assert fnctl("run", "./greet", "--once", "--request-file", "greet/request.txt", cwd=tmp_path).out == "Hello you!\n"
