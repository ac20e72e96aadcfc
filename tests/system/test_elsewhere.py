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
    """With the file that faas-cli new writes. The deploy fails with what the shim says, and the version that runs stays."""
    put("python")
    stack = write(tmp_path / "stack", {"f.yml": "provider:\n  name: openfaas\nfunctions:\n  f:\n    lang: python3\n    handler: ./f\n", "f/handler.py": "def handle(req):\n    return 'one'\n"})
    fnctl("deploy", "--all", stack)
    write(stack, {"f/handler.py": "def handle(event, context):\n    return 'two'\n"})
    assert "handle(event, context): openfaas-classic calls handle(req): [env] HANDLER_CONTRACT is to be openfaas-http" in fnctl("deploy", stack, status=1).err
    assert get("/fn/f/").text == "one\n" and function("f")["version"] == 1


def test_openfaas_template_without_a_runtime(tmp_path, daemon):
    stack = write(tmp_path / "stack", {"stack.yml": "functions:\n  f:\n    lang: java11\n    handler: ./f\n", "f/Handler.java": "class Handler {}\n"})
    said = fnctl("deploy", stack, status=1).err
    assert "stack.yml:3: lang: the template java11 is not known here" in said and "deploy its archive (fnctl deploy IMAGE)" in said


# ---- Spotinst ----

SERVERLESS = """service: new-service # NOTE: update this with your service name

provider:
  name: spotinst
  spotinst:
    environment: {Your Environment ID} # ex: env-123456

functions:
  Hello:
    runtime: nodejs8.3
    handler: handler.main
    memory: 128
    timeout: 30
    access: public
    cron:
      active: false
      value: '*/1 * * * *'
    environmentVariables: {
      accountId: "Spotinst Account ID",
      adjustment: 5
    }
  HelloPython:
    runtime: python2.7
    handler: handler.main
    memory: 128
    timeout: 30
    access: private
    environmentVariables:
      key: "a value: of it"
  HelloRuby:
    runtime: ruby2.4.1
    handler: handler.main
    cors:
      enabled: true
      origin: "http://foo.example"

plugins:
  - serverless-spotinst-functions
"""
HANDLERS = {
    "serverless.yml": SERVERLESS, "package.json": json.dumps({"name": "spotinst-nodejs", "version": "1.0.0", "devDependencies": {"serverless-spotinst-functions": "*"}}),
    "handler.js": "module.exports.main = function main (event, context, callback) {\n  callback(null, {\n    statusCode: 200,\n    body: `{\"hello\":\"${event.query.name}\",\"id\":\"${process.env['accountId']}\",\"by\":${process.env.adjustment}}`,\n"
                  "    headers: {\"Content-Type\": \"application/json\"}\n  });\n}\n",
    "handler.py": "import os\n\ndef main(event, context):\n    queryparams = event.get(\"query\", {})\n    body = event.get(\"body\", {})\n\n    return {\n        'statusCode': 200,\n        'body': '{\"hello\":\"%s\",\"key\":\"%s\"}' % (queryparams['name'], os.environ['key']),\n"
                  "        'headers': {\"Content-Type\": \"application/json\"}\n    }",
    "handler.rb": "def main(event, context)\n    queryparams = event[\"query\"]\n    body = event[\"body\"]\n\n    {\n        :statusCode => 201,\n        :body => \"{\\\"hello\\\":\\\"#{queryparams['name']}\\\"}\"\n    }\nend\n",
}


def test_spotinst_functions(tmp_path, daemon):
    put("python", "node", "ruby")
    said = fnctl("deploy", "--all", write(tmp_path / "service", HANDLERS)).err
    assert "runtime: python2.7 is taken as Debian's python" in said
    answer = get("/fn/Hello/?name=you")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json") and answer.json() == {"hello": "you", "id": "Spotinst Account ID", "by": 5}
    assert get("/fn/HelloPython/?name=you").status == 401
    token = fnctl("token", "add", "t", "--function", "HelloPython").out.strip()
    assert request("GET", "/fn/HelloPython/?name=you", headers={"Authorization": f"Bearer {token}"}).json() == {"hello": "you", "key": "a value: of it"}
    assert (lambda a: (a.status, a.text, a.headers["Access-Control-Allow-Origin"]))(request("GET", "/fn/HelloRuby/?name=you", headers={"Origin": "http://foo.example"})) == (201, '{"hello":"you"}', "http://foo.example")


# ---- FaaSO ----

FUNKO = """name: hello
runtime: flask
options:
  ship_packages: []
  devel_packages: []
  healthcheck_options: "--interval=1m --timeout=2s --start-period=2s --retries=3"
  healthcheck_command: "curl --fail http://localhost:3000/ping || exit 1"
  copy_from_build:
    - "static static"
    - "venv venv"
    - "run.sh ."
    - "funko.py ."
"""
FUNKO_FILES = {
    "funko.yml": FUNKO, "run.sh": "#!/bin/sh\nuwsgi  --plugins http,python -H venv --http 0.0.0.0:3000 --master -p 1 -w funko:app\n", "static/index.html": "<p>static\n", "requirements.txt": "# what FaaSO's has is in the runtime: flask\n",
    "funko.py": "from flask import Flask, request\n\nSECRET = open(\"/secrets/pass\").read().strip()\napp = Flask(\"hello\")\n\n@app.route('/')\ndef handle():\n    return \"Hello World from Flask! \" + request.args.get(\"names\") + SECRET\n\n@app.route('/ping')\ndef ping():\n    return \"OK\"\n",
}


def test_faaso_funko(tmp_path, daemon):
    put("flask")
    fnctl("secret", "set", "hello", "pass", stdin="s3cret")
    said = fnctl("deploy", write(tmp_path / "hello", FUNKO_FILES), "--set", "secrets.names=pass").err
    assert "funko.yml:6: healthcheck_options: not taken over" in said and "ship_packages" not in said
    assert get("/fn/hello/?names=a").text == "Hello World from Flask! as3cret"
    assert get("/fn/hello/static/index.html").text == "<p>static\n"


# ---- FaaSpot ----


def test_faaspot_function(tmp_path, daemon):
    """Its script, requirements and context have no file that says what they are: two lines of ours do."""
    files = {"function.ini": "[function]\nruntime = python\nhandler = hello-world\n", "hello-world.py": "def main(args, context):\n    return 'Hello {0}, {1}'.format(args['name'], context['access_key_is'])\n", "context": 'access_key_is = "XYZ"\n'}
    put("python")
    fnctl("deploy", write(tmp_path / "hello", files))
    assert get("/fn/hello/?name=user1").json() == "Hello user1, XYZ" and request("POST", "/fn/hello/", body='{"name": "user2"}').json() == "Hello user2, XYZ"
