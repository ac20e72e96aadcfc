"""The daemon's main flow: deploy, ask, scale, stop, start, restart, remove; what the command line and the API say of it."""

import contextlib
import http.client
import json
import re
import socket
import threading

import fndtest
from fndtest import api, fnctl, function, get, instances, ready_instances, request, wait_until

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_deploy_and_ask(daemon):
    fnctl("deploy", "hello")
    answer = get("/fn/hello/")
    assert answer.status == 200 and "hello" in answer.text.lower()
    assert function("hello")["version"] == 1
    assert function("hello")["ready"] == 1


def test_names_of_paths(daemon):
    fnctl("deploy", "hello")
    for path in ("/fn/hello/", "/faaso/hello/", "/function/hello/", "/fn/hello.default/", "/fn/hello/?x=1"):
        assert get(path).status == 200, path
    moved = get("/fn/hello?x=1")
    assert moved.status == 308 and moved.headers["Location"] == "/fn/hello/?x=1"
    assert get("/fn/none/").status == 404
    assert get("/fn/hello/../x").status == 400
    assert get("/fn/hello/a/..%2f..%2f..").status in (200, 400, 404)
    assert get("/healthz").status == 200
    assert get("/").status == 200
    assert get("/admin/").status != 401 and "WWW-Authenticate" not in get("/admin/api/v1/functions").headers
    assert get("/metrics").status in (403, 404)


def test_error_bodies(daemon):
    as_json = get("/fn/none/", headers={"Accept": "application/json"})
    assert as_json.json()["error"] == "not_found" and as_json.json()["message"] and "function" in as_json.json()
    as_text = get("/fn/none/")
    assert as_text.headers.get_content_type() == "text/plain" and as_text.text.count("\n") == 1


SHOW = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nexport\n"


def test_forwarded_headers(daemon, tmp_path):
    fnctl("deploy", fndtest.package(tmp_path / "f", fndtest.HTTPD.format(name="shows"), {"www/cgi-bin/show": SHOW}))
    text = get("/fn/shows/cgi-bin/show", headers={"Host": "my.example:8888", "X-Forwarded-For": "192.0.2.9", "X-Forwarded-Proto": "gopher"}).text
    seen = dict(re.findall(r"^export HTTP_X_FORWARDED_(\w+)='?([^'\n]*)", text, re.M))
    assert seen.get("PROTO") == "http", text
    assert seen["HOST"] == "my.example:8888"
    assert seen["PREFIX"] == "/fn/shows"
    assert seen["FOR"].endswith("127.0.0.1")


def echo(s, size):
    """One POST over the connection, sent and received at the same time; is the connection kept?"""
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    sender = threading.Thread(target=s.sendall, args=(b"POST /fn/hello/echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + body,))
    sender.start()
    response = http.client.HTTPResponse(s, method="POST")
    response.begin()
    assert response.status == 200
    assert response.read() == body
    sender.join()
    return response.headers.get("Connection") != "close"


def test_keep_alive(daemon):
    fnctl("deploy", "hello")
    with socket.create_connection(("127.0.0.1", 8888), timeout=30) as s:
        for size in (0, 1, 4000, 0, 3):
            assert echo(s, size)


def test_large_body_streams_both_ways(daemon):
    fnctl("deploy", "hello")
    with socket.create_connection(("127.0.0.1", 8888), timeout=30) as s:
        echo(s, 50_000_000)


def test_chunked_body(daemon):
    fnctl("deploy", "hello")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", 8888, timeout=30)) as connection:
        connection.request("POST", "/fn/hello/echo", iter([b"chunk one ", b"chunk two"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        assert connection.getresponse().read() == b"chunk one chunk two"


def test_ls_and_status(daemon):
    fnctl("deploy", "hello")
    for verb in ("ls", "list", "ps"):
        assert "hello" in fnctl(verb).out
    listed = json.loads(fnctl("ls", "--json").out)
    functions = listed["functions"] if isinstance(listed, dict) else listed
    assert [f["name"] for f in functions] == ["hello"]
    assert TIME.fullmatch(functions[0]["deployed"])
    assert "hello" in fnctl("status", "hello").out
    status = json.loads(fnctl("status", "hello", "--json").out)
    assert status["ready"] == 1 and status["instances"][0]["state"] == "ready"
    fnctl("status")


def test_second_version(daemon, tmp_path):
    fnctl("deploy", "hello")
    fnctl("deploy", "hello", "--env", "GREETING=Second")
    assert function("hello")["version"] == 2
    wait_until(lambda: [i["version"] for i in instances("hello", None)] == [2], what="the old version's instance to end")
    assert "Second" in get("/fn/hello/").text


def test_no_request_is_lost_while_versions_change(daemon):
    fnctl("deploy", "hello")
    codes, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                codes.append(get("/fn/hello/").status)
            except (OSError, http.client.HTTPException) as e:
                codes.append(repr(e))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads:
        t.start()
    for n in range(3):
        fnctl("deploy", "hello", "--env", f"N={n}")
    fnctl("restart", "hello")
    wait_until(lambda: function("hello")["starting"] == 0 and len(codes) > 50)
    stop.set()
    for t in threads:
        t.join()
    assert set(codes) == {200}, {c: codes.count(c) for c in set(codes)}


def test_failing_version_changes_nothing(daemon, tmp_path):
    fnctl("deploy", "hello")
    before = instances("hello")
    bad = fndtest.package(tmp_path / "f", "[function]\nname = hello\ncommand = /bin/sh -c 'echo oh no; exit 7'\n")
    result = fnctl("deploy", bad, status=1)
    assert "oh no" in result.err or "7" in result.err, result
    assert function("hello")["version"] == 1
    assert [i["name"] for i in instances("hello")] == [i["name"] for i in before]
    assert get("/fn/hello/").status == 200


def test_scale(daemon):
    fnctl("deploy", "hello")
    fnctl("scale", "hello", "4")
    found = ready_instances("hello", 4)
    assert len({i["address"] for i in found}) == 4 and len({i["uid"] for i in found}) == 4
    seen = set()
    wait_until(lambda: seen.add(get("/fn/hello/env").text.split("FND_INSTANCE=")[1].split("\n")[0]) or len(seen) == 4, what="all four to answer")
    fnctl("scale", "hello", "1")
    ready_instances("hello", 1)
    assert function("hello")["scale"] == 1
    fnctl("scale", "hello", "auto")
    assert function("hello")["scale"] == "auto"


def test_scale_to_zero(daemon):
    fnctl("deploy", "hello")
    fnctl("scale", "hello", "0")
    wait_until(lambda: not instances("hello", None))
    answer = get("/fn/hello/")
    assert answer.status == 503 and answer.headers["Retry-After"]
    fnctl("scale", "hello", "1")
    ready_instances("hello", 1)
    assert get("/fn/hello/").status == 200


def test_stop_and_start(daemon):
    fnctl("deploy", "hello")
    fnctl("stop", "hello")
    wait_until(lambda: not instances("hello", None))
    assert function("hello")["state"] == "stopped"
    assert get("/fn/hello/").status == 503
    fnctl("start", "hello")
    ready_instances("hello", 1)
    assert get("/fn/hello/").status == 200


def test_restart_replaces_instances(daemon):
    fnctl("deploy", "hello")
    fnctl("scale", "hello", "2")
    before = {i["name"] for i in ready_instances("hello", 2)}
    fnctl("restart", "hello")
    wait_until(lambda: len(instances("hello")) == 2 and not before & {i["name"] for i in instances("hello", None)}, what="both instances to be replaced")


def test_remove(daemon):
    fnctl("deploy", "hello")
    fnctl("rm", "hello")
    assert get("/fn/hello/").status == 404
    assert fnctl("status", "hello", status=3).err
    assert json.loads(fnctl("ls", "--json").out)["functions"] == []
    fnctl("deploy", "hello")
    assert function("hello")["version"] >= 1
    fnctl("remove", "hello")
    wait_until(lambda: not fndtest.processes("hello"))


def test_environments_are_apart(daemon):
    fnctl("deploy", "hello", "--env-name", "staging", "--env", "GREETING=Staged")
    fnctl("deploy", "hello", "--name", "other", "--env", "GREETING=Other")
    assert "Staged" in get("/fn/hello.staging/").text
    assert "Other" in get("/fn/other/").text
    assert get("/fn/hello/").status == 404
    assert {(f["name"], f["environment"]) for f in api("GET", "/functions").json()["functions"]} == {("hello", "staging"), ("other", "default")}


def test_invoke(daemon):
    fnctl("deploy", "hello")
    assert "hello" in fnctl("invoke", "hello").out.lower()
    assert fnctl("invoke", "hello", "--path", "/echo", "-d", "body").out == "body"
    assert fnctl("invoke", "hello", "--path", "/echo", stdin="piped\n").out == "piped\n"
    assert "404" in fnctl("invoke", "hello", "--path", "/nothing", status=1).err
    assert fnctl("invoke", "none", status=3).err


def test_logs(daemon, tmp_path):
    say = "[function]\nname = talks\ncommand = /bin/sh -c 'for i in 1 2 3 4 5; do echo line $i; done; echo on stderr >&2; exec /bin/httpd -f -p 3000 -h /www'\n"
    fnctl("deploy", fndtest.package(tmp_path / "f", say))
    wait_until(lambda: fnctl("logs", "talks").out == "line 1\nline 2\nline 3\nline 4\nline 5\non stderr\n", what="the log")
    assert fnctl("logs", "talks", "-n", "2").out == "line 5\non stderr\n"
    name = instances("talks")[0]["name"]
    assert "line 3" in fnctl("logs", "talks", "--instance", name).out
    assert fnctl("logs", "talks", "--instance", "talks-zzzzzz", status=3).err
    assert fnctl("logs", "none", status=3).err


def test_plan_config_version(daemon):
    fnctl("deploy", "hello")
    plan = fnctl("plan", "hello").out
    for word in ("/proc", "hello", "PORT=3000", "memory"):
        assert word in plan, plan
    config = fnctl("config", "show").out
    assert "gateway.listen" in config and "127.0.0.1:8888" in config and "/etc/fnd/fnd.ini:" in config and "default" in config
    assert re.search(r"\d+\.\d+\.\d+", fnctl("version").out)
    assert re.search(r"\d+\.\d+\.\d+", fnctl("--version").out)


def test_verbose_prints_calls(daemon):
    assert "/api/v1/functions" in fnctl("ls", "-v").err


def test_functions_and_scale_outlive_the_daemon(make_daemon):
    first = make_daemon()
    first.start()
    fnctl("deploy", "hello")
    fnctl("scale", "hello", "3")
    fnctl("deploy", "hello", "--name", "quiet")
    fnctl("stop", "quiet")
    ready_instances("hello", 3)
    first.stop()
    make_daemon().start()
    ready_instances("hello", 3)
    assert get("/fn/hello/").status == 200
    assert function("quiet")["state"] == "stopped" and get("/fn/quiet/").status == 503


def test_metrics(daemon):
    fnctl("deploy", "hello")
    for _ in range(3):
        get("/fn/hello/")
    get("/fn/unknown-name/")
    page = lambda: get("/metrics", port=8889).text
    wait_until(lambda: re.search(r'^fnd_requests_total\{[^}]*function="hello[^}]*code="200"[^}]*\} 3$', page(), re.M), what="three requests to be counted")  # a request is counted when its answer has been sent
    text = page()
    for name in ("fnd_request_duration_seconds_bucket", "fnd_instances", "fnd_starts_total", "fnd_memory_bytes", "fnd_cpu_seconds_total"):
        assert re.search(rf"^{name}\{{", text, re.M), name
    assert "unknown-name" not in text


def test_api_refuses_what_it_does_not_know(daemon):
    assert api("GET", "/nothing").status == 404
    assert api("POST", "/version").status == 405
    assert api("GET", "/functions/none").json()["error"] == "not_found"
    assert api("GET", "/version").json()["api"] == 1


def test_api_socket_is_for_root_and_its_group(daemon):
    result = fndtest.run("setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", fndtest.program("fnctl"), "ls")
    assert result.status == 4, result


def test_no_daemon():
    assert "fnd" in fnctl("ls", status=5).err


def test_usage_errors():
    assert fnctl("no-such-verb", status=2).err
    assert fnctl("scale", "hello", status=2).err
    assert fnctl("ls", "--nothing", status=2).err
    assert "deploy" in fnctl("help").out
    for verb in "run deploy ls status scale start stop restart logs invoke rm plan doctor config version help".split():
        assert verb in fnctl(verb, "-h").out


def test_doctor_is_content_here():
    assert fnctl("doctor").out


def test_daemon_stops_while_requests_run(make_daemon, tmp_path):
    slow = "#!/bin/sh\nsleep 1\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho done\n"
    d = make_daemon()
    d.start()
    fnctl("deploy", fndtest.package(tmp_path / "f", fndtest.HTTPD.format(name="slow"), {"www/cgi-bin/slow": slow}))
    assert request("GET", "/fn/slow/cgi-bin/slow").text == "done\n"
    d.stop()
