"""fnctl against an API that does what the test wants: calls, exit codes, output forms, uploads, answers that come early."""

import json
import os
import pty
import re
import socket
import subprocess
import tarfile
import threading
import time

import pytest

import fndtest
from fakeapi import FUNCTION, INSTANCE, SOCKET, api, begin_chunks, chunk, fnctl, package  # noqa: F401 (api is a fixture)


# ---- verbs, calls, exit codes ----


@pytest.mark.parametrize(("args", "call", "body"), [
    (["start", "hello"], "POST /api/v1/functions/hello/start", b""),
    (["stop", "hello.staging"], "POST /api/v1/functions/hello.staging/stop", b""),
    (["restart", "hello.default"], "POST /api/v1/functions/hello/restart", b""),
    (["scale", "hello", "3"], "PUT /api/v1/functions/hello/scale", {"replicas": 3}),
    (["scale", "hello", "auto"], "PUT /api/v1/functions/hello/scale", {"replicas": "auto"}),
    (["rm", "hello"], "DELETE /api/v1/functions/hello", b""),
    (["delete", "hello"], "DELETE /api/v1/functions/hello", b""),
])
def test_simple_verbs(api, args, call, body):
    fake = api({call: (200, FUNCTION)})
    result = fnctl(*args)
    assert result.out == "" and result.err == ""
    method, path, _, sent = fake.requests[-1]
    assert f"{method} {path}" == call
    assert (json.loads(sent) if sent else sent) == body


@pytest.mark.parametrize(("code", "answer", "exit_status"), [
    (404, {"error": "not_found", "message": "no function hello"}, 3),
    (403, {"error": "not_allowed", "message": "only root and the group fnd may"}, 4),
    (400, {"error": "invalid", "message": "the scale is above the limit"}, 1),
    (409, {"error": "busy", "message": "a deploy is under way"}, 1),
    (503, {"error": "no_runner", "message": "the runner is away"}, 5),
    (500, b"Internal trouble\nmore", 1),
])
def test_errors_of_the_api(api, code, answer, exit_status):
    api({"POST /api/v1/functions/hello/start": (code, answer)})
    result = fnctl("start", "hello", status=exit_status)
    assert result.out == ""
    assert (answer["message"] if isinstance(answer, dict) else "Internal trouble") in result.err


def test_no_daemon_says_what_to_do():
    result = fnctl("ls", status=5)
    assert SOCKET in result.err and "systemctl start fnd" in result.err and "fnctl run" in result.err
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(SOCKET)
    stale.close()
    assert "systemctl start fnd" in fnctl("ls", status=5).err
    os.unlink(SOCKET)


def test_socket_not_allowed(api):
    api()
    os.chmod(SOCKET, 0o600)
    result = fndtest.run_as_nobody(fndtest.program("fnctl"), "--socket", SOCKET, "ls")
    assert result.returncode == 4 and "group fnd" in result.stderr


def test_socket_option_wins(api):
    api({"GET /api/v1/functions": (200, {"functions": []})})
    assert fnctl("--socket", SOCKET, "ls", env={"FND_SOCKET": "/nowhere"}).status == 0
    assert fnctl("ls", "--socket=" + SOCKET, env={"FND_SOCKET": "/nowhere"}).status == 0
    assert "107" in fnctl("ls", "--socket", "/" + "x" * 200, status=2).err


@pytest.mark.parametrize("args", [
    [], ["nothing"], ["ls", "x"], ["ls", "--nothing"], ["start"], ["start", "a", "b"], ["start", "no/name"], ["start", "-hello-"], ["scale", "hello"], ["scale", "hello", "many"],
    ["scale", "hello", "1.5"], ["logs", "hello", "-n", "x"], ["logs", "hello", "--instance", "../x"], ["config"], ["config", "edit"], ["invoke", "hello", "--path", "x"],
    ["invoke", "hello", "--path", "/a b"], ["invoke", "hello", "--path", "/a#b"], ["invoke", "hello", "-H", "novalue"], ["invoke", "hello", "-H", "A: b\r\nC: d"],
    ["invoke", "hello", "-H", "Content-Length: 3"], ["invoke", "hello", "-X", "GE T"], ["help", "nothing"], ["run", "hello", "-d", "x"], ["run", "hello", "--port", "0"],
    ["run", "hello", "--port", "65536"], ["run", "hello", "--scale", "0"], ["run", "hello", "--listen", "localhost"], ["run", "hello", "--env", "A"], ["run", "hello", "--name", "a b"], ["run", "hello", "--name", "a.b"], ["doctor", "--state", "relative"],
    ["deploy", "hello", "--name", "a b"], ["deploy", "hello", "--name", "a.b", "--env-name", "c"], ["deploy", "hello", "--env", "A"], ["deploy", "hello", "--env", "1=2"],
])
def test_usage_errors(api, args):
    api()
    result = fnctl(*args, status=2)
    assert result.err.startswith("fnctl: ") or not args, result


def test_help_of_every_verb():
    listed = [line.split()[0] for line in fnctl("help").out.splitlines() if re.match("  [a-z]", line)]
    assert {"run", "deploy", "ls", "status", "scale", "start", "stop", "restart", "logs", "invoke", "rm", "plan", "doctor", "config", "version", "help"} <= set(listed)
    for verb in listed:
        by_option = fnctl(verb, "-h").out
        assert by_option == fnctl("help", verb).out == fnctl(verb, "--help").out
        assert by_option.startswith(f"usage: fnctl {verb}")


def test_unknown_verb_is_guessed():
    assert 'did you mean "logs"' in fnctl("lgos", status=2).err


def test_option_of_a_verb_before_it():
    """Who puts it first is told where it belongs."""
    for options in (["--json", "ls"], ["-e", "A=b", "run", "hello"]):
        err = fnctl(*options, status=2).err
        assert f"unknown option {options[0]}: the options of a verb stand behind it, as in: fnctl ls --json" in err


def test_sample_as_request_file(api):
    """The request that lies in an example, wherever it is installed; what has none is told."""
    fake = api({"POST /fn/hello/": echo})
    assert fnctl("invoke", "hello", "--request-file", "sample:echo").out == "POST /fn/hello/|some text\n" and fake.requests[-1][2]["Content-Type"] == "text/plain"
    for name in ("hello", "no-such", "../templates/c", ""):
        assert f"--request-file sample:{name}: No such file" in fnctl("invoke", "hello", "--request-file", f"sample:{name}", status=1).err


def test_import_of_a_bare_name(api):
    """As docker users type it."""
    for name in ("nginx", "registry.example/shop/web:1.2"):
        assert "an image of a registry is docker://REGISTRY/NAME, as docker://docker.io/library/nginx" in fnctl("import", name, status=1).err


def test_versions(api):
    assert fnctl("version").status == 0
    api()
    assert "9.8.7" in fnctl("version").out
    assert json.loads(fnctl("version", "--json").out)["fnd"] == "9.8.7"
    assert fnctl("--version").out.startswith("fnctl ")


def test_verbose_shows_calls(api):
    api({"POST /api/v1/functions/hello/stop": (200, FUNCTION)})
    for args in (["-v", "stop", "hello"], ["stop", "hello", "-v"]):
        err = fnctl(*args).err.split()
        assert err[:3] == ["POST", "/api/v1/functions/hello/stop", "200"] and float(err[3]) >= 0 and err[4] == "ms"


def test_broken_answers(api):
    def cut(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        handler.close_connection = True

    api({"GET /api/v1/functions": cut, "GET /api/v1/config": (200, b"[1, 2]"), "GET /api/v1/functions/hello/plan": (200, b"mount\x1b[2J\n")})
    assert "broke off" in fnctl("ls", status=1).err
    assert "JSON" in fnctl("config", "show", status=1).err
    assert fnctl("plan", "hello").out == "mount?[2J\n"


# ---- lists ----

def test_ls(api):
    other = {**FUNCTION, "name": "a-rather-long-name", "environment": "staging", "scale": 12, "state": "crash-loop"}
    api({"GET /api/v1/functions": (200, {"functions": [FUNCTION, other]})})
    lines = fnctl("ls").out.splitlines()
    assert lines[0].split() == ["NAME", "ENV", "STATE", "VERSION", "READY", "SCALE", "RESTARTS", "IMAGE", "AGE", "URL"]
    assert len({line.index("/fn/") for line in lines[1:]}) == 1
    assert fnctl("ps").out == fnctl("list").out
    assert json.loads(fnctl("ls", "--json").out) == {"functions": [FUNCTION, other]}


def test_status(api):
    api({"GET /api/v1/functions/hello": (200, {**FUNCTION, "instances": [INSTANCE]}), "GET /api/v1/functions": (200, {"functions": [FUNCTION]}),
         "GET /api/v1/instances": (200, {"instances": [INSTANCE]}),
         "GET /api/v1/host": (200, {"memory_used_bytes": 1 << 20, "memory_budget_bytes": 3 << 30, "cpu_promised": 0.5, "disk_used_bytes": 5 << 20})})
    out = fnctl("status", "hello").out
    for text in ("active", "version", "3, deployed 2026-01-02T03:04:05.678Z", "1.0M of 128M", "2 of 64", "exited with status 1", "hello-abc123", "| first ^[[31mline", "hello-x3k9ab", "2.1 ms"):
        assert text in out or text.replace("1.0M", "1M") in out, (text, out)
    daemon = fnctl("status").out
    for text in ("hello-x3k9ab", "of 3G", "0.5 CPUs", "5M"):
        assert text in daemon or text.replace("5M", "5.0M") in daemon, (text, daemon)
    assert json.loads(fnctl("status", "--json").out)["instances"] == [INSTANCE]
    assert json.loads(fnctl("status", "hello", "--json").out)["instances"] == [INSTANCE]
    assert fnctl("status", "other", status=3).out == ""


def test_status_of_a_crash_loop(api):
    """With the time until the next start; where that is past, none."""
    looping = {**FUNCTION, "state": "crash-loop", "instances": []}
    later = time.strftime("%Y-%m-%dT%H:%M:%S.500Z", time.gmtime(time.time() + 100))
    api({"GET /api/v1/functions/hello": (200, {**looping, "next_start": later}), "GET /api/v1/functions/past": (200, {**looping, "next_start": None})})
    assert re.search(r"^ +state +crash-loop, next start in (9\d|100)s$", fnctl("status", "hello").out, re.M)
    assert re.search(r"^ +state +crash-loop$", fnctl("status", "past").out, re.M)


def test_config(api):
    rows = [{"key": "runner.state", "value": "/var/lib/fnd", "default": "/var/lib/fnd", "origin": "default"}, {"key": "a.b", "value": "1", "default": "2", "origin": "/etc/fnd/fnd.ini:3"}]
    api({"GET /api/v1/config": (200, {"config": rows})})
    lines = fnctl("config", "show").out.splitlines()
    assert lines[0].split() == ["KEY", "VALUE", "DEFAULT", "ORIGIN"] and lines[2].split() == ["a.b", "1", "2", "/etc/fnd/fnd.ini:3"]
    assert json.loads(fnctl("config", "show", "--json").out) == {"config": rows}


def test_closed_output_is_a_failure(api):
    api({"GET /api/v1/functions": (200, {"functions": [FUNCTION]})})
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([fndtest.program("fnctl"), "--socket", SOCKET, "ls"], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 1 and "Broken pipe" in done.stderr


# ---- logs ----

def test_logs_follow_line_by_line(api):
    go_on = threading.Event()

    def stream(handler):
        begin_chunks(handler)
        chunk(handler, b"first\x1b[1m\n")
        assert go_on.wait(30)
        chunk(handler, b"second\n")
        chunk(handler, b"")

    fake = api({"GET /api/v1/functions/hello/logs": stream})
    process = subprocess.Popen([fndtest.program("fnctl"), "--socket", SOCKET, "logs", "hello", "-f", "-n", "5", "--instance", "hello-abc123"], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"first\x1b[1m\n"  # raw into a pipe, and at once
    go_on.set()
    assert process.stdout.read() == b"second\n" and process.wait(30) == 0
    assert fake.requests[0][1] == "/api/v1/functions/hello/logs?lines=5&follow=1&instance=hello-abc123"


def test_logs_on_a_terminal_are_harmless(api):
    api({"GET /api/v1/functions/hello/logs": (200, b"a\x1b]0;title\x07b \xc3\xa4\xc2\x9b\n", "text/plain")})
    control, terminal = pty.openpty()
    done = subprocess.run([fndtest.program("fnctl"), "--socket", SOCKET, "logs", "hello"], stdout=terminal, check=False)
    os.close(terminal)
    shown = os.read(control, 1000)
    os.close(control)
    assert done.returncode == 0 and shown == b"a^[]0;title^Gb \xc3\xa4?\r\n"


def test_logs_of_no_function(api):
    api()
    assert "no function" in fnctl("logs", "other", status=3).err


# ---- deploy ----

def test_deploy_directory(api, tmp_path):
    fake = api({"POST /api/v1/functions": (201, FUNCTION)})
    directory = package(tmp_path / "fn")
    out = fnctl("deploy", directory, "--name", "hello", "--env-name", "staging", "--env", "A=b c&d", "--env", "B=").out
    assert "hello" in out and "version 3" in out
    method, path, headers, body = fake.requests[-1]
    assert (method, path) == ("POST", "/api/v1/functions?name=hello&environment=staging&var=A%3Db%20c%26d&var=B%3D")
    assert headers["Transfer-Encoding"] == "chunked" and "Expect" not in headers
    (tmp_path / "sent.tar").write_bytes(body)
    with tarfile.open(tmp_path / "sent.tar") as archive:
        assert archive.getnames() == ["function.ini", "sub", "sub/data"]
        assert archive.extractfile("sub/data").read() == (directory / "sub" / "data").read_bytes()
    assert json.loads(fnctl("deploy", directory, "--json").out) == FUNCTION


def test_deploy_archive_as_it_is(api, tmp_path):
    fake = api({"POST /api/v1/functions": (201, FUNCTION)})
    data = b"\x28\xb5\x2f\xfd" + os.urandom(2_000_000)
    (tmp_path / "x.tar.zst").write_bytes(data)
    fnctl("deploy", tmp_path / "x.tar.zst")
    assert fake.requests[-1][1] == "/api/v1/functions" and fake.requests[-1][2]["Content-Length"] == str(len(data)) and fake.requests[-1][3] == data


def test_deploy_name_of_the_directory(api, tmp_path):
    fake = api({"POST /api/v1/functions": (201, FUNCTION)})
    (tmp_path / "my tool").mkdir()
    (tmp_path / "my tool" / "server").write_text("#!/bin/sh\n")
    fnctl("deploy", ".", cwd=tmp_path / "my tool")
    assert fake.requests[-1][1] == "/api/v1/functions?name=my-tool"


def test_deploy_refuses_before_it_sends(api, tmp_path):
    fake = api()
    directory = package(tmp_path / "fn")
    os.mkfifo(directory / "sub" / "pipe")
    assert "sub/pipe" in fnctl("deploy", directory, status=1).err
    assert "no-such" in fnctl("deploy", "no-such", status=1).err
    assert fake.requests == []


def test_deploy_unreadable_file_names_it(api, tmp_path):
    fake = api()
    directory = package(tmp_path / "fn")
    os.chmod(directory / "sub" / "data", 0)
    for parent in [tmp_path, *tmp_path.parents]:
        os.chmod(parent, os.stat(parent).st_mode | 0o055)
    done = fndtest.run_as_nobody(fndtest.program("fnctl"), "--socket", SOCKET, "deploy", directory)
    assert done.returncode == 1 and "sub/data" in done.stderr and "Permission denied" in done.stderr and fake.requests == []


def test_deploy_failure_shows_the_last_lines(api, tmp_path):
    error = {"error": "deploy_failed", "message": "hello: the instance exited with status 7", "function": "hello"}
    api({"POST /api/v1/functions": (422, error), "GET /api/v1/functions/hello/logs": (200, b"starting\ncannot open /data\n", "text/plain")})
    result = fnctl("deploy", package(tmp_path / "fn"), status=1)
    assert "status 7" in result.err and "  | starting\n  | cannot open /data\n" in result.err and result.out == ""


def early(linger, status=b"413 Content Too Large", chunked=False):
    """An answer before the body was read; then the connection is closed, at once or after a while."""
    body = json.dumps({"error": "too_large", "message": "the archive is larger than 2G"}).encode()

    def rule(handler):
        if chunked:
            answer = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        else:
            answer = b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        handler.connection.sendall(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n" + answer)
        time.sleep(linger)  # a server that closes late
        handler.connection.close()
        handler.close_connection = True

    return rule


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("linger", [0, 0.3])
def test_deploy_answer_that_comes_early(api, tmp_path, linger, chunked):
    api({"POST /api/v1/functions": early(linger, chunked=chunked)})
    with open(tmp_path / "big.tar.gz", "wb") as f:
        f.write(b"\x1f\x8b")
        f.truncate(1 << 30)
    for _ in range(10):  # who wins the race differs
        assert "larger than 2G" in fnctl("deploy", tmp_path / "big.tar.gz", status=1).err


def test_deploy_takes_bounded_memory(api, tmp_path):
    """The answer comes late, the server reads slowly: what is not sent yet may not pile up."""
    def slow(handler):
        while size := int(handler.rfile.readline(), 16):
            handler.rfile.read(size + 2)
        handler.rfile.readline()
        handler.answer(201, FUNCTION)

    api({"POST /api/v1/functions": slow})
    directory = tmp_path / "fn"
    directory.mkdir()
    with open(directory / "hole", "wb") as f:
        f.truncate(1 << 30)
    (directory / "function.ini").write_text("")
    process = subprocess.Popen([fndtest.program("fnctl"), "--socket", SOCKET, "deploy", directory], stdout=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    process.stdout.close()
    # Of 1 GB; the figure begins with what this process had when it made that one: execve(2) keeps the maximum.
    assert os.waitstatus_to_exitcode(status) == 0 and usage.ru_maxrss < 200_000, usage.ru_maxrss


# ---- invoke ----

def echo(handler):
    data = handler.body()
    handler.answer(200, f"{handler.command} {handler.path}|".encode() + data, "application/octet-stream")


def test_invoke_forms(api, tmp_path):
    api({f"{m} /fn/hello{p}": echo for m in ("GET", "POST", "PUT", "HEAD") for p in ("/", "/a/../b%20c")})
    (tmp_path / "body").write_bytes(bytes(range(256)))
    assert fnctl("invoke", "hello").out == "GET /fn/hello/|"
    assert fnctl("invoke", "hello", "--path", "/a/../b%20c?x=1&y=%2f").out == "GET /fn/hello/a/../b%20c?x=1&y=%2f|"
    assert fnctl("invoke", "hello", "-d", "").out == "POST /fn/hello/|"
    assert fnctl("invoke", "hello", "-d", "a=b", "-X", "PUT").out == "PUT /fn/hello/|a=b"
    assert fnctl("invoke", "hello", "-d", f"@{tmp_path}/body").raw == b"POST /fn/hello/|" + bytes(range(256))
    assert fnctl("invoke", "hello", "-d", "-", stdin=b"\0x").raw == b"POST /fn/hello/|\0x"
    assert fnctl("invoke", "hello", "-X", "HEAD").out == ""
    assert "no-file" in fnctl("invoke", "hello", "-d", "@no-file", status=1).err


def test_invoke_standard_input(api, tmp_path):
    """What is piped is the body; a terminal, /dev/null and an empty pipe are none."""
    api({f"{m} /fn/hello/": echo for m in ("GET", "POST", "DELETE")})
    data = os.urandom(3_000_000)
    assert fnctl("invoke", "hello", stdin=data).raw == b"POST /fn/hello/|" + data
    assert fnctl("invoke", "hello", stdin=b"").out == "GET /fn/hello/|"
    assert fnctl("invoke", "hello", "-X", "DELETE", stdin=b"x").out == "DELETE /fn/hello/|x"
    assert fnctl("invoke", "hello", "-X", "GET", stdin=b"x").out == "GET /fn/hello/|"
    (tmp_path / "file").write_bytes(b"skipped:rest")
    with open(tmp_path / "file", "rb", buffering=0) as f:
        f.seek(8)
        done = subprocess.run([fndtest.program("fnctl"), "--socket", SOCKET, "invoke", "hello"], stdin=f, capture_output=True, check=True)
    assert done.stdout == b"POST /fn/hello/|rest"
    control, terminal = pty.openpty()
    done = subprocess.run([fndtest.program("fnctl"), "--socket", SOCKET, "invoke", "hello"], stdin=terminal, capture_output=True, check=True)
    os.close(terminal)
    os.close(control)
    assert done.stdout == b"GET /fn/hello/|"
    done = subprocess.run(["/bin/sh", "-c", f"exec {fndtest.program('fnctl')} --socket {SOCKET} invoke hello <&-"], capture_output=True, check=True)
    assert done.stdout == b"GET /fn/hello/|"


def test_invoke_says_that_it_waits_for_a_pipe(api):
    api({"GET /fn/hello/": echo})
    process = subprocess.Popen([fndtest.program("fnctl"), "--socket", SOCKET, "invoke", "hello"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"standard input" in process.stderr.readline()
    out, _ = process.communicate()
    assert out == b"GET /fn/hello/|"


def test_invoke_headers(api):
    fake = api({"GET /fn/hello/": (200, b"ok")})
    fnctl("invoke", "hello", "-H", "X-One: a: b", "-H", "Accept: text/css", "-H", "Host: other.example")
    headers = fake.requests[-1][2]
    assert headers["X-One"] == "a: b" and headers.get_all("Accept") == ["text/css"] and headers.get_all("Host") == ["other.example"]


def test_invoke_status(api):
    api({"GET /fn/hello/": (418, b"\0teapot", "text/plain"), "GET /fn/hello/moved": (302, b"", "text/plain")})
    result = fnctl("invoke", "hello", status=1)
    assert result.raw == b"\0teapot" and "418" in result.err
    assert "302" in fnctl("invoke", "hello", "--path", "/moved", status=1).err
    assert fnctl("invoke", "hello", "--path", "/none", status=1).err == "fnctl: GET /fn/hello/none: status 404\n"  # the function's own
    assert fnctl("invoke", "other", status=3).out == ""  # no such function


def test_invoke_streams(api):
    go_on = threading.Event()

    def stream(handler):
        begin_chunks(handler)
        chunk(handler, b"one")
        assert go_on.wait(30)
        chunk(handler, b"two")
        chunk(handler, b"")

    api({"GET /fn/hello/": stream})
    process = subprocess.Popen([fndtest.program("fnctl"), "--socket", SOCKET, "invoke", "hello"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert os.read(process.stdout.fileno(), 100) == b"one"
    go_on.set()
    assert process.stdout.read() == b"two" and process.wait(30) == 0


def test_invoke_answer_that_does_not_wait_for_the_body(api):
    """While standard input is still open and silent."""
    def at_once(handler):
        handler.answer(429, b"too many", "text/plain", Connection="close")
        handler.close_connection = True

    api({"POST /fn/hello/": at_once})
    process = subprocess.Popen([fndtest.program("fnctl"), "--socket", SOCKET, "invoke", "hello"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(b"begin")
    process.stdin.flush()
    assert process.wait(30) == 1
    assert process.stdout.read() == b"too many" and b"429" in process.stderr.read()
    process.stdin.close()


def test_invoke_early_success(api):
    """A function need not read what it is sent."""
    def at_once(handler):
        handler.answer(200, b"done", "text/plain", Connection="close")
        handler.close_connection = True

    api({"POST /fn/hello/": at_once})
    for _ in range(10):
        assert fnctl("invoke", "hello", stdin=b"x" * 5_000_000).out == "done"
