"""The API over the network: who gets in, how often one may be wrong, what opens what, and that the description says what is served."""

import base64
import concurrent.futures
import io
import itertools
import json
import os
import re
import socket
import stat
import tarfile
import threading
import time

import jsonschema
import pytest

import fndtest
from fndtest import AUTH, api, first_password, fnctl, request, wait_until

PUBLIC, ADMIN = 8888, 8889
AUDIT = "/var/lib/fnd/audit.log"


@pytest.fixture
def daemon(daemon):
    return fndtest.with_first_password(daemon)


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def basic(password, user="admin"):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token):
    return {"Authorization": "Bearer " + token}


def call(path, headers=None, port=PUBLIC, method="GET", body=None, **options):
    return request(method, "/admin/api/v1" + path, body=body, headers=headers, port=port, **options)


def again(daemon):
    """Starts it anew: no password has been checked."""
    daemon.stop()
    daemon.start()


def soon(*args, **more):
    """A call right after a start. The gateway may hear of the password while it is already checked, and does not believe that check then (429, Retry-After 1)."""
    return wait_until(lambda: (answer := call(*args, **more)).status != 429 and answer, what="the gateway to have heard of the password")


def token(name, scope="admin", **fields):
    answer = api("POST", "/tokens", {"name": name, "scope": scope, **fields})
    assert answer.status == 201, answer
    return answer.json()["token"]


def raw(data, port=PUBLIC):
    """Sends the bytes; what comes back until the end, and whether an end came."""
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.settimeout(30)
        s.sendall(data)
        got = b""
        while True:
            piece = s.recv(65536)
            if not piece:
                return got
            got += piece


def test_first_password(daemon):
    """It is on disk for root alone, opens the API on both listeners, and its path is said."""
    for path, mode in ((AUTH, 0o700), (AUTH + "/initial", 0o600), (AUTH + "/password", 0o600), (AUTH + "/tokens", 0o700)):
        status = os.stat(path)
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (mode, 0), path
    password = first_password()
    assert len(password) == 24 and password not in read(AUTH + "/password") and read(AUTH + "/password").startswith("$y$")
    assert AUTH + "/initial" in daemon.output() and password not in daemon.output()
    for port in (PUBLIC, ADMIN):
        answer = call("/whoami", basic(password), port)
        assert (answer.status, answer.json()) == (200, {"who": "admin", "scope": "admin"})
    daemon.stop()
    daemon.start()
    assert first_password() == password and call("/whoami", basic(password)).status == 200


def test_challenges(daemon):
    """No answer on the public listener makes a browser ask for a password; on the admin listener that is right."""
    for port, dialogue in ((PUBLIC, False), (ADMIN, True)):
        for headers in (None, basic("wrong password"), bearer("fnd_wrong")):
            answer = call("/functions", headers, port)
            assert answer.status == 401 and answer.json()["error"] == "unauthorized"
            assert answer.headers.get_all("WWW-Authenticate") == (['Basic realm="fnd", charset="UTF-8"'] if dialogue else None)
    assert request("GET", "/admin/").status == 403
    assert "/admin/api/v1/" in request("GET", "/admin/").text


def test_browsers_and_functions_are_refused(daemon):
    good = basic(first_password())
    for extra in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:8888"}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = call("/functions", {**good, **extra})
        assert answer.status == 403 and not any(h.lower().startswith("access-control") for h in answer.headers)
        assert call("/functions", extra, method="OPTIONS").status == 403
    assert call("/functions", {**good, "Origin": "http://evil.example"}, ADMIN, "POST").status == 403
    assert call("/functions", {**good, "Sec-Fetch-Site": "cross-site"}, ADMIN).status == 403
    assert call("/functions", {**good, "Origin": "http://127.0.0.1:8889", "Sec-Fetch-Site": "same-origin"}, ADMIN).status == 200
    secret = token("t")
    fnctl("deploy", "busybox", "--name", "box")
    wget = f"wget -q -S -O - --header 'Authorization: Bearer {secret}' http://gateway:8888/admin/api/v1/functions 2>&1; true"
    assert "403" in fnctl("exec", "box", "--", "sh", "-c", wget).out


def test_no_credentials_no_body(daemon):
    """A body is not asked for, not waited for and not read before it is known who sends it."""
    for authorization in (b"", b"Authorization: Basic YWRtaW46d3Jvbmcgb25l\r\n", b"Authorization: Bearer x\r\n"):
        head = b"POST /admin/api/v1/functions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n" + authorization + b"\r\n"
        answer = raw(head)
        assert answer.startswith(b"HTTP/1.1 401 ") and b"100 Continue" not in answer and b"Connection: close" in answer
    huge = raw(b"GET /admin/api/v1/functions HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + b"A" * 100000 + b"\r\n\r\n")
    assert huge.startswith(b"HTTP/1.1 431 ")
    twice = b"Authorization: Basic %s\r\n" % base64.b64encode(b"admin:" + first_password().encode())
    assert raw(b"GET /admin/api/v1/functions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + twice + b"\r\n").startswith(b"HTTP/1.1 200 ")
    assert raw(b"GET /admin/api/v1/functions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + twice + twice + b"\r\n").startswith(b"HTTP/1.1 401 ")
    good = basic(first_password())
    assert call("/functions/x/scale", good, method="PUT", body="x" * 70000).status in (404, 413)
    assert call("/password", good, method="PUT", body="x" * 70000).status == 413


def test_deploy_waits_for_the_password(daemon):
    """The body of a call whose password is being checked is taken afterwards, all of it, also an empty one."""
    with open(fndtest.BUILD + "/hello.tar.gz", "rb") as f:
        archive = f.read()
    again(daemon)
    answer = soon("/functions", basic(first_password()), method="POST", body=archive)
    assert answer.status == 201 and answer.json()["name"] == "hello"
    fnctl("rm", "hello")
    again(daemon)
    assert soon("/functions", basic(first_password()), method="POST", body=b"").status == 400
    again(daemon)
    assert soon("/functions", basic(first_password()), method="POST", body=iter([])).status in (400, 422)
    answer = call("/functions", bearer(token("d")), ADMIN, "POST", iter([archive[:1000], archive[1000:]]))
    assert answer.status == 201


def test_changed_password(daemon):
    """The old one is void at once, remembered or not; the file with the first one goes."""
    old, new = first_password(), "correct horse \u00e4\u00f6 battery"
    assert call("/whoami", basic(old)).status == 200
    assert call("/password", basic(old), method="PUT", body=json.dumps({"password": "short"})).status == 400
    assert call("/password", basic(old), method="PUT", body=json.dumps({"password": new})).status == 200
    assert call("/whoami", basic(old)).status == 401
    assert call("/whoami", basic(new)).status == 200
    assert not os.path.exists(AUTH + "/initial") and new not in read(AUTH + "/password")
    again(daemon)
    assert soon("/whoami", basic(new)).status == 200 and call("/whoami", basic(old)).status == 401


def test_tokens(daemon):
    """What each opens; removed ones open nothing from that moment; only their hashes are on disk."""
    admin, invoke, one = token("ci", "admin"), token("caller", "invoke"), token("web", "function", function="hello")
    began = time.monotonic()
    short = token("short", "admin", expires_seconds=3)
    assert call("/whoami", bearer(admin)).json()["who"] == "token:ci"
    assert call("/whoami", basic(admin, "anybody")).status == 200
    assert call("/whoami", bearer(short)).status == 200 or time.monotonic() - began > 2  # of three seconds, the first of which has begun before
    for other in (invoke, one):
        answer = call("/functions", bearer(other))
        assert answer.status == 403 and answer.json()["error"] == "forbidden"
    for broken in (admin[:-1], admin + "A", admin.swapcase(), "fnd_" + "A" * 43, admin[4:], ""):
        assert call("/functions", bearer(broken)).status == 401
    files = {name: read(f"{AUTH}/tokens/{name}") for name in os.listdir(AUTH + "/tokens")}
    assert sorted(files) == ["caller", "ci", "short", "web"] and not any(secret[4:] in text for secret in (admin, invoke, one) for text in files.values())
    assert all(stat.S_IMODE(os.stat(f"{AUTH}/tokens/{name}").st_mode) == 0o600 for name in files)
    listed = call("/tokens", bearer(admin)).json()["tokens"]
    assert {t["name"]: (t["scope"], t["function"]) for t in listed} == {"ci": ("admin", None), "caller": ("invoke", None), "web": ("function", "hello"), "short": ("admin", None)}
    assert admin not in json.dumps(listed)
    assert api("POST", "/tokens", {"name": "ci", "scope": "invoke"}).status == 409
    wait_until(lambda: call("/whoami", bearer(short)).status == 401, what="the end of a token")
    daemon.stop()
    daemon.start()
    assert call("/whoami", bearer(admin)).status == 200 and call("/functions", bearer(one)).status == 403
    assert call("/tokens/ci", bearer(admin), method="DELETE").status == 200
    assert call("/whoami", bearer(admin)).status == 401
    assert api("DELETE", "/tokens/ci").status == 404
    assert not os.path.exists(AUTH + "/tokens/ci")


@pytest.mark.parametrize("body", [{}, {"name": "a"}, {"name": "../x", "scope": "admin"}, {"name": "a", "scope": "root"}, {"name": "a", "scope": "function"}, {"name": "a", "scope": "admin", "function": "f"},
                                  {"name": "a", "scope": "admin", "more": 1}, {"name": "a", "scope": "admin", "expires_seconds": -1}, {"name": "a", "scope": "function", "function": "../x"}, "nothing", [], {"name": 1, "scope": "admin"}])
def test_bad_tokens(daemon, body):
    assert api("POST", "/tokens", body).status == 400
    assert os.listdir(AUTH + "/tokens") == []


def test_guessing_is_slow(daemon):
    """Who is wrong waits longer and longer; who is right already, tokens, and the unix socket do not. A flood starts few helpers and is over soon."""
    good, secret = first_password(), token("t")
    assert call("/whoami", basic(good)).status == 200
    statuses = [call("/whoami", basic(f"wrong {i}")).status for i in range(8)]
    assert statuses[:3] == [401] * 3 and set(statuses[3:]) == {429}, statuses
    answer = call("/whoami", basic("wrong"))
    assert answer.status == 429 and int(answer.headers["Retry-After"]) >= 1
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        seen = set()
        flood = [pool.submit(lambda i=i: call("/whoami", basic(f"flood {i}")).status) for i in range(500)]
        while not all(f.done() for f in flood):
            seen.add(len(fndtest.processes("fnd")))
            assert call("/whoami", basic(good)).status == 200 and call("/whoami", bearer(secret)).status == 200 and api("GET", "/whoami").status == 200
        assert {f.result() for f in flood} <= {401, 429}
    assert max(seen) <= 4 + len(fndtest.processes("fnd")), seen


def test_helper_has_nothing(daemon):
    """What checks a password is nobody, with no descriptors but one, no capability, and a filter of its own beside the runner's. There is one for a moment at each wrong password, so that these come until one has been looked at."""
    ends, filters = threading.Event(), int(fndtest.process_status(daemon.pid)["Seccomp_filters"])

    def watch():
        deadline = time.monotonic() + fndtest.PATIENCE_S
        while time.monotonic() < deadline:
            for pid in fndtest.children(daemon.pid):
                try:
                    status = fndtest.process_status(pid)
                    if int(status["Seccomp_filters"]) > filters and status["Uid"].split()[0] == "65534" and status["Name"] == "fnd":
                        yield status, os.listdir(f"/proc/{pid}/fd")
                        return
                except OSError:
                    continue

    def guess():
        for i in itertools.count():
            if ends.is_set():
                return
            call("/whoami", basic(f"wrong {i}"), port=ADMIN)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        work = pool.submit(guess)
        try:
            found = next(watch(), None)
        finally:
            ends.set()
        work.result()
    assert found, "no helper was seen"
    status, fds = found
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0 and status["NoNewPrivs"] == "1" and set(status["Gid"].split()) == {"65534"} and status["Groups"].strip() == ""
    assert fds in (["0"], [])


def test_audit(daemon):
    """Changing calls: who, from where, what, with which result. Reading calls leave none; no secret is in it, nor a line that a client made up."""
    good = first_password()
    secret = token("ci")
    assert call("/tokens", bearer(secret), method="POST", body=json.dumps({"name": "more", "scope": "invoke"})).status == 201
    assert call("/functions/no-such/stop", basic(good), method="POST").status == 404
    assert call("/functions", basic(good)).status == 200
    assert call("/password", basic(good), method="PUT", body=json.dumps({"password": "a new secret one"})).status == 200
    lines = wait_until(lambda: (found := read(AUDIT).splitlines()) and len(found) == 4 and found, what="four lines")
    assert stat.S_IMODE(os.stat(AUDIT).st_mode) == 0o600
    fields = [dict(word.split("=", 1) for word in line.split()[1:]) for line in lines]
    assert [(f["who"], f["from"], f["what"], f["status"]) for f in fields] == [
        ("uid:0", "unix", "token-add", "201"), ("token:ci", "127.0.0.1", "token-add", "201"), ("admin", "127.0.0.1", "stop", "404"), ("admin", "127.0.0.1", "password", "200")]
    assert fields[2]["target"] == "no-such"
    text = read(AUDIT) + daemon.output()
    assert not any(word in text for word in (good, secret, "a new secret one"))


# ---- the description ----

def described():
    with open(fndtest.REPO + "/contrib/openapi.json", encoding="utf-8") as f:
        return json.load(f)


def strict(schema):
    """The same, with every object closed: what is not described is missed."""
    if isinstance(schema, dict):
        closed = {k: strict(v) for k, v in schema.items()}
        if "properties" in schema and schema.get("type") == "object":
            closed["additionalProperties"] = False
        return closed
    return [strict(v) for v in schema] if isinstance(schema, list) else schema


def validate(document, operation, answer):
    """An answer against what its status promises."""
    said = operation["responses"].get(str(answer.status))
    assert said, f"{operation['operationId']}: status {answer.status} is not described: {answer.text}"
    kind = answer.headers["Content-Type"].split(";")[0]
    schema = said["content"][kind]["schema"]
    if kind == "application/json":
        value = answer.json()
        jsonschema.Draft202012Validator({**strict(schema), "components": strict(document["components"])}, format_checker=jsonschema.FormatChecker()).validate(value)


def test_description_and_routes_are_the_same():
    with open(fndtest.REPO + "/runner/gateway/api/api.c", encoding="utf-8") as f:
        rows = re.findall(r'^    \{"([A-Z]+)", "(/[^"]*)", api_\w+, API_\w+, \w+, "([^"]*)"', f.read(), re.MULTILINE)
    table = {(method.lower(), path): set(params.replace("*", "").split()) for method, path, params in rows}
    described_ones = {}
    for path, item in described()["paths"].items():
        plain = path.replace("{function}", "*").replace("{token}", "+").replace("{runtime}", "+")
        for method in set(item) - {"parameters"}:
            described_ones[method, plain] = {p["name"] for p in item[method].get("parameters", [])}
    assert described_ones == table and len(table) > 20


def failing(directory):
    """An archive whose function ends at once."""
    fndtest.package(directory, "[function]\nname = failing\ncommand = /bin/sh -c 'exit 3'\n")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(directory, ".")
    return out.getvalue()


def test_answers_are_as_described(daemon, tmp_path):
    document = described()
    assert document == call("/openapi.json", basic(first_password())).json()
    headers = bearer(token("t"))
    seen = {}

    def ask(method, path, at=None, status=200, body=None, headers=headers, port=PUBLIC):
        answer = call(at or path, headers, port, method, body)
        assert answer.status == status, f"{method} {at or path}: {answer.status} {answer.text}"
        operation = document["paths"][path][method.lower()]
        validate(document, operation, answer)
        seen.setdefault(operation["operationId"], set()).add(status)

    with open(fndtest.BUILD + "/hello.tar.gz", "rb") as f:
        archive = f.read()
    ask("POST", "/functions", status=201, body=archive)
    ask("POST", "/functions", "/functions?name=hello&environment=staging&replicas=2&var=A=1", 201, archive)
    ask("POST", "/functions", status=400, body=b"no archive")
    ask("POST", "/functions", status=422, body=failing(tmp_path))
    ask("POST", "/functions", "/functions?name=-", 400, archive)
    for path in ("/version", "/config", "/host", "/functions", "/instances", "/whoami", "/openapi.json", "/tokens", "/runtimes", "/images"):
        ask("GET", path)
        ask("GET", path, path + "?no=such", 400)
        ask("GET", path, status=401, headers=None)
        ask("GET", path, status=403, headers={**headers, "Origin": "http://x"})
    ask("POST", "/reload")
    ask("POST", "/reload", status=401, headers=None)
    ask("GET", "/functions/{function}/export", "/functions/hello/export?version=9", 404)
    ask("GET", "/functions/{function}/export", "/functions/hello/export?version=0", 400)
    for rest in ("", "/instances", "/logs", "/plan", "/export"):
        ask("GET", "/functions/{function}" + rest, "/functions/hello" + rest)
        ask("GET", "/functions/{function}" + rest, "/functions/no-such" + rest, 404)
        ask("GET", "/functions/{function}" + rest, "/functions/-" + rest, 400)
    for verb in ("stop", "start", "restart"):
        ask("POST", "/functions/{function}/" + verb, "/functions/hello/" + verb)
        ask("POST", "/functions/{function}/" + verb, "/functions/no-such/" + verb, 404)
    ask("PUT", "/functions/{function}/scale", "/functions/hello/scale", body='{"replicas": "auto"}')
    ask("PUT", "/functions/{function}/scale", "/functions/hello/scale", 400, '{"replicas": -1}')
    ask("PUT", "/functions/{function}/secrets", "/functions/hello/secrets?name=key", body="value")
    ask("PUT", "/functions/{function}/secrets", "/functions/hello/secrets", 400, "value")
    ask("PUT", "/functions/{function}/secrets", "/functions/hello/secrets?name=key", 413, "x" * 70000)
    ask("GET", "/functions/{function}/secrets", "/functions/hello/secrets")
    ask("GET", "/secrets")
    ask("DELETE", "/functions/{function}/secrets", "/functions/hello/secrets?name=key")
    ask("DELETE", "/functions/{function}/secrets", "/functions/hello/secrets?name=key", 404)
    ask("POST", "/functions/{function}/exec", "/functions/hello/exec?arg=ls", 422)
    ask("PUT", "/runtimes/{runtime}", "/runtimes/box", 201, archive)
    ask("PUT", "/runtimes/{runtime}", "/runtimes/box", 400, b"no archive")
    ask("GET", "/runtimes")
    ask("GET", "/images")
    ask("DELETE", "/runtimes/{runtime}", "/runtimes/box")
    ask("DELETE", "/runtimes/{runtime}", "/runtimes/box", 404)
    ask("POST", "/prune")
    ask("DELETE", "/functions/{function}", "/functions/hello")
    ask("DELETE", "/functions/{function}", "/functions/hello", 404)
    ask("POST", "/tokens", status=201, body=json.dumps({"name": "a", "scope": "function", "function": "hello.staging", "expires_seconds": 60}))
    ask("POST", "/tokens", status=409, body=json.dumps({"name": "a", "scope": "invoke"}))
    ask("POST", "/tokens", status=400, body="{}")
    ask("GET", "/tokens")
    ask("DELETE", "/tokens/{token}", "/tokens/a")
    ask("DELETE", "/tokens/{token}", "/tokens/a", 404)
    ask("PUT", "/password", body='{"password": "a good one"}')
    ask("PUT", "/password", status=400, body='{"password": ""}')
    ask("PUT", "/password", status=413, body="x" * 70000)
    for i in range(3):
        ask("GET", "/whoami", status=401, headers=basic(f"wrong {i}"))
    ask("GET", "/whoami", status=429, headers=basic("wrong"))
    assert set(seen) == {item[m]["operationId"] for item in document["paths"].values() for m in set(item) - {"parameters"}}
