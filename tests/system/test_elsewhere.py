"""Functions of other systems, with the files that their users have and not a line more, by `fnctl deploy DIR` and `fnctl run DIR`. What the shims make of each form is in tests/shims, what each key becomes in tests/unit."""

import json

import fndtest
from fndtest import fnctl, function, get, request


def put(*runtimes):
    for name in runtimes:
        fnctl("runtime", "put", name, f"{fndtest.BUILD}/runtime-{name}.tar")


def write(directory, files):
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def ask(name, path="/", body=None, **headers):
    return request("GET" if body is None else "POST", f"/fn/{name}{path}", body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


# ---- OpenFaaS ----

STACK = """version: 1.0
provider:
  name: openfaas
  gateway: http://127.0.0.1:8080
functions:
  py:
    lang: python3
    handler: ./py
    image: py:latest
  py-http:
    lang: python3-http
    handler: ./py-http
    image: ${DOCKER_USER:-exampleco}/py-http:0.2
    environment:
      GREETING: Moin
    secrets:
      - token
  py-flask:
    lang: python3-flask-debian
    handler: ./py-flask
    image: py-flask:latest
  js:
    lang: node
    handler: ./js
    image: js:latest
  js-http:
    lang: node22
    handler: ./js-http
    image: js-http:latest
  rb:
    lang: ruby
    handler: ./rb
    image: rb:latest
  rb-http:
    lang: ruby-http
    handler: ./rb-http
    image: rb-http:latest
configuration:
  templates:
    - name: python3-http
"""
REQUIREMENTS = {f"{name}/requirements.txt": "" for name in ("py", "py-http", "py-flask")}
PACKAGES = {f"{name}/package.json": json.dumps({"name": "function", "version": "1.0.0", "main": "handler.js", "scripts": {"test": "exit 0"}}) for name in ("js", "js-http")}
FUNCTIONS = {
    "stack.yml": STACK, "py/__init__.py": "", **REQUIREMENTS, **PACKAGES, "rb/Gemfile": "# source 'https://rubygems.org'\n",
    "py/handler.py": 'import os\nfrom .words import GREETING\n\n\ndef handle(req):\n    """handle a request to the function"""\n    with open("function/data.txt") as f:\n        return GREETING + req + f.read() + os.environ["Http_Query"]\n',
    "py/words.py": "GREETING = 'Moin '\n", "py/data.txt": " data ",
    "py-http/handler.py": 'import os\n\n\ndef handle(event, context):\n    with open("/var/openfaas/secrets/token") as f:\n        return {"statusCode": 201, "body": {"said": event.body.decode(), "at": event.path, "by": event.headers.get("X-Who"), '
                          '"q": event.query["q"], "greeting": os.environ["GREETING"], "token": f.read().strip()}, "headers": {"X-Mine": "yes"}}\n',
    "py-flask/handler.py": 'from flask import request\n\n\ndef handle(req):\n    return req.upper(), 202, {"X-Method": request.method}\n',
    "js/handler.js": '"use strict"\n\nmodule.exports = async (context, callback) => {\n    return {status: context}\n}\n',
    "js-http/handler.js": "'use strict'\nconst fs = require('fs').promises\n\nmodule.exports = async (event, context) => {\n  if (!event.body.n) {\n    return context.status(400).fail('Missing n')\n  }\n"
                          "  return context\n    .status(201)\n    .headers({'X-Mine': (await fs.readFile('/home/app/function/data.txt', 'utf8')).trim()})\n    .succeed({n: event.body.n, q: event.query.q, p: event.path})\n}\n",
    "js-http/data.txt": "yes\n",
    "rb/handler.rb": "class Handler\n  def run(req)\n    return \"#{req.upcase} #{ENV['Http_Method']}\"\n  end\nend\n",
    "rb-http/handler.rb": "class Handler\n  def run(body, headers)\n    status_code = 202\n    response_headers = {\"content-type\" => \"text/plain\"}\n    return body.read + headers['HTTP_X_WHO'], response_headers, status_code\n  end\nend\n",
}


def test_openfaas_templates(tmp_path, daemon):
    """Each has its answer as its own index would make it; the notes say what was taken for what."""
    put("python", "flask", "node", "ruby")
    fnctl("secret", "set", "py-http", "token", stdin="s3cret")
    said = fnctl("deploy", "--all", write(tmp_path / "stack", FUNCTIONS)).err
    for line, text in ((7, "python3 is taken as Debian's: runtime = python, handler = handler.handle, [env] HANDLER_CONTRACT = openfaas-classic, which calls handle(req)"), (27, "node22 is taken as Debian's: runtime = node")):
        assert f"/stack.yml:{line}: lang: {text}" in said, said
    answer = ask("py", "/?a=b", "body", Content_Type="text/mine")
    assert (answer.status, answer.text, answer.headers["Content-Type"]) == (200, "Moin body data a=b\n", "text/mine")
    answer = ask("py-http", "/x?q=1", "body", X_Who="me")
    assert (answer.status, answer.headers["X-Mine"]) == (201, "yes") and answer.json() == {"said": "body", "at": "/x", "by": "me", "q": "1", "greeting": "Moin", "token": "s3cret"}
    answer = ask("py-flask", "/", "body")
    assert (answer.status, answer.text, answer.headers["X-Method"]) == (202, "BODY", "POST")
    assert ask("js", "/", "body").text == '{"status":"body"}\n'
    answer = ask("js-http", "/x?q=1", '{"n": 1}', Content_Type="application/json")
    assert (answer.status, answer.headers["X-Mine"]) == (201, "yes") and answer.json() == {"n": 1, "q": "1", "p": "/x"}
    assert (lambda a: (a.status, a.text))(get("/fn/js-http/")) == (400, "Missing n")
    assert ask("rb", "/", "body").text == "BODY POST\n"
    answer = ask("rb-http", "/", "body ", X_Who="me")
    assert (answer.status, answer.text, answer.headers["Content-Type"]) == (202, "body me", "text/plain")


def test_openfaas_template_runs(tmp_path):
    """In a daemon of its own, with the runtime that make has built."""
    assert fnctl("run", write(tmp_path / "stack", FUNCTIONS), "--name", "rb", "--once").out == " GET\n"


def test_openfaas_handler_of_another_form(tmp_path, daemon):
    """The deploy fails with what the shim says, and the version that runs stays."""
    put("python")
    stack = write(tmp_path / "stack", {"stack.yml": "functions:\n  f:\n    lang: python3\n    handler: ./f\n", "f/handler.py": "def handle(req):\n    return 'one'\n"})
    fnctl("deploy", stack)
    write(stack, {"f/handler.py": "def handle(event, context):\n    return 'two'\n"})
    assert "handle(event, context): openfaas-classic calls handle(req): [env] HANDLER_CONTRACT is to be openfaas-http" in fnctl("deploy", stack, status=1).err
    assert get("/fn/f/").text == "one\n" and function("f")["version"] == 1


def test_openfaas_template_without_a_runtime(tmp_path, daemon):
    stack = write(tmp_path / "stack", {"stack.yml": "functions:\n  f:\n    lang: java11\n    handler: ./f\n", "f/Handler.java": "class Handler {}\n"})
    said = fnctl("deploy", stack, status=1).err
    assert "stack.yml:3: lang: the template java11 is not known here" in said and "deploy its archive (fnctl deploy IMAGE)" in said
