"""From code to a function: `fnctl new`, samples, packages, other systems' project files."""

import contextlib
import hashlib
import io
import os
import re
import select
import signal
import subprocess
import tarfile
import threading
import urllib.parse

import pytest

import fakeapi
import fndtest
from fakeapi import FUNCTION, api, begin_chunks, chunk  # noqa: F401 (api is a fixture)
from fndtest import BUILD, fnctl


def templates(kind="templates"):
    return sorted(os.listdir(f"{BUILD}/{kind}"))


def ini_of(path):
    with open(f"{path}/function.ini", encoding="utf-8") as f:
        return f.read()


# ---- new ----

def test_new_list_needs_no_daemon():
    out = fnctl("new", "--list").out
    for name in templates():
        assert f"\n{name} " in out, (name, out)
    for name in ["hello", "busybox", *templates("examples")]:
        assert f"\nsample:{name} " in out, (name, out)
    assert "selftest" not in out
    first = [line.split()[0] for line in out.partition("\n\n")[0].splitlines()[1:]]
    assert first == sorted(first) and re.search(r"^python +- ", out, re.M), out
    for line in filter(None, out.splitlines()):
        assert len(line.split(None, 1)) == 2, f"nothing is said about {line}"


@pytest.mark.parametrize("name", templates())
def test_every_template_is_a_function(name, tmp_path):
    """Its own text is what it says, and it names what it needs."""
    result = fnctl("new", "greet", "--runtime", name, cwd=tmp_path)
    assert "greet/README.md" in result.out
    made = sorted(os.path.relpath(os.path.join(p, f), tmp_path / "greet") for p, _, files in os.walk(tmp_path / "greet") for f in files)
    assert {"function.ini", "README.md", "request.txt"} <= set(made)
    for path in made:
        data = (tmp_path / "greet" / path).read_bytes()
        assert b"@NAME@" not in data or b"\0" in data, path
    assert "name = greet" in ini_of(tmp_path / "greet")
    assert (tmp_path / "greet/README.md").read_text().startswith("# greet: ")
    assert fnctl("new", "--list").out.count(f"\n{name} ") == 1


def test_new_c_runs_at_once(tmp_path):
    fnctl("new", "greet", "--runtime", "c", cwd=tmp_path)
    result = fnctl("run", "./greet", "--once", "--request-file", "greet/request.txt", cwd=tmp_path)
    assert result.out == "you\n", result
    assert fnctl("run", "./greet", "--once", cwd=tmp_path).out == "Hello from C\n"


def test_new_c_can_be_made_again(tmp_path):
    """Its Makefile and sources are all there."""
    fnctl("new", "greet", "--runtime", "c", cwd=tmp_path)
    os.unlink(tmp_path / "greet/server")
    done = subprocess.run(["make", "-C", "greet"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "warning" not in done.stderr and os.access(tmp_path / "greet/server", os.X_OK), done


def test_new_overwrites_nothing(tmp_path):
    (tmp_path / "greet").mkdir()
    (tmp_path / "greet/function.ini").write_text("mine")
    result = fnctl("new", "greet", "--runtime", "c", cwd=tmp_path, status=1)
    assert "greet: is there already" in result.err and os.listdir(tmp_path / "greet") == ["function.ini"] and ini_of(tmp_path / "greet") == "mine"
    os.symlink("nowhere", tmp_path / "link")
    assert "is there already" in fnctl("new", "link", "--runtime", "c", cwd=tmp_path, status=1).err and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("args, status, message", [
    (["greet"], 2, "say --runtime R, one of:"), (["greet", "--runtime", "cobol"], 3, "there is no template of that name; there are:"), ([], 2, "a name is needed"),
    (["-greet", "--runtime", "c"], 2, "option"), (["a b", "--runtime", "c"], 2, "is no name"), (["--list", "x"], 2, "takes no name"), (["no/such/x", "--runtime", "c"], 1, "no/such/x: the directory that it is to be made in is not there"),
    (["greet", "--runtime", "../templates/c"], 3, "no template"),
])
def test_new_refuses(args, status, message, tmp_path):
    result = fnctl("new", *args, status=status, cwd=tmp_path)
    assert message in result.err and os.listdir(tmp_path) == [], result


# ---- samples ----

def test_sample(tmp_path):
    assert fnctl("run", "sample:hello", "--once", "--path", "/echo", "-d", "some text").out == "some text"
    result = fnctl("run", "sample:nothing", "--once", status=1)
    assert "sample:nothing: there is no such sample" in result.err and "fnctl new --list" in result.err
    result = fnctl("run", "sample:../hello", "--once", status=1)
    assert "there is no such sample" in result.err


# ---- what is sent ----

def test_fndignore(tmp_path, daemon):
    fndtest.package(tmp_path / "fn", fndtest.HTTPD.format(name="fn"), {"www/seen": "seen", "www/unseen.log": "unseen", ".fndignore": "*.log\n"})
    fnctl("deploy", tmp_path / "fn")
    assert fnctl("invoke", "fn", "--path", "/seen").out == "seen"
    assert fndtest.get("/fn/fn/unseen.log").status == 404
    (tmp_path / "fn/.fndignore").write_text("*.log\n../x\n")
    assert f"{tmp_path}/fn/.fndignore:2: " in fnctl("deploy", tmp_path / "fn", status=1).err


def test_run_says_where_function_ini_is_wrong(tmp_path):
    fndtest.package(tmp_path / "fn", "[function]\nname = x\nspeed = 3\n")
    assert f"{tmp_path}/fn/function.ini:3: [function] has no key speed" in fnctl("run", f"{tmp_path}/fn", "--once", status=1).err


# ---- a request from a file ----

def test_request_file(tmp_path, daemon):
    fnctl("deploy", "hello")
    ask = tmp_path / "request.txt"
    ask.write_text("POST /echo HTTP/1.1\r\nX-One: 1\r\n\r\nline\n@not a file\n")
    assert fnctl("invoke", "hello", "--request-file", ask).out == "line\n@not a file\n"
    ask.write_text("GET /ping\n")
    assert fnctl("invoke", "hello", "--request-file", ask).out == "OK\n"
    for text, message in (("", ":1: METHOD /PATH"), ("GET\n", ":1: METHOD /PATH"), ("GET http://x/\n", ":1: METHOD /PATH"), ("GET /\nbad header\n", "'NAME: VALUE' is needed"),
                          ("GET /\nContent-Length: 3\n\nabc", "fnctl sets it"), ("G T /x\n", ":1: METHOD"), ("GET /\0", "is no text")):
        ask.write_text(text)
        assert message in fnctl("invoke", "hello", "--request-file", ask, status=2).err, text
    ask.write_text("GET /ping\n")
    assert "leave out -X" in fnctl("invoke", "hello", "--request-file", ask, "-X", "PUT", status=2).err


# ---- build: a directory as one file ----

def code(directory, **files):
    """A directory with a static server, a function.ini, and what else is said."""
    fndtest.package(directory, "[function]\nname = greet\ncommand = /hello\n", base="hello")
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return directory


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_build_is_reproducible_and_deploys(tmp_path, daemon):
    code(tmp_path / "a", notes__md="x", __fndignore="*.md\n")
    out = fnctl("build", "./a", cwd=tmp_path).out.split()
    assert out[:2] == [digest(tmp_path / "greet.tar.gz"), "greet.tar.gz"]
    with tarfile.open(tmp_path / "greet.tar.gz") as archive:
        entries = archive.getmembers()
    assert [e.name for e in entries] == [".fndignore", "function.ini", "hello"] and all((e.uid, e.gid, e.mtime) == (0, 0, 0) for e in entries)
    assert [e.mode for e in entries] == [0o644, 0o644, 0o755]

    # elsewhere, by somebody else, at another time, with another umask
    code(tmp_path / "b", __fndignore="*.md\n")
    for path in (tmp_path / "b").iterdir():
        os.utime(path, (1, 1))
        os.chown(path, 1234, 1234)
        os.chmod(path, path.stat().st_mode | 0o020)
    assert fnctl("build", "./b", "-o", "b.tar.gz", cwd=tmp_path).out.split()[0] == out[0]
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o644

    fnctl("deploy", tmp_path / "greet.tar.gz")
    assert fnctl("invoke", "greet", "--path", "/ping").out == "OK\n"


def test_build_again_in_its_own_directory(tmp_path):
    """The package that is made there is no part of the next one."""
    code(tmp_path / "a")
    first = fnctl("build", ".", cwd=tmp_path / "a").out
    assert first == fnctl("build", ".", cwd=tmp_path / "a").out and sorted(os.listdir(tmp_path / "a")) == ["function.ini", "greet.tar.gz", "hello"]


@pytest.mark.parametrize("name", ["x.tar", "x.tgz", "x.tar.xz", "x.tar.zst"])
def test_build_formats(name, tmp_path):
    code(tmp_path / "a")
    result = fnctl("build", "./a", "-o", name, cwd=tmp_path)
    assert result.err == ""
    assert fnctl("run", f"./{name}", "--once", "--path", "/ping", cwd=tmp_path).out == "OK\n"


@pytest.mark.parametrize("args, status, message", [
    (["./a", "-o", "x.zip"], 1, "the file's name says how it is compressed"), (["./nothing"], 1, "No such file"), (["./bad"], 1, "./bad/function.ini:3: [limits] memory"),
    (["./a", "-o", "no/such/x.tar.gz"], 1, "No such file"), (["./a/hello"], 1, "is no archive"), (["hello"], 2, "is a package already"),
])
def test_build_refuses(args, status, message, tmp_path):
    code(tmp_path / "a")
    code(tmp_path / "bad", function__ini="[function]\n[limits]\nmemory = 1\n")
    result = fnctl("build", *args, status=status, cwd=tmp_path)
    assert message in result.err and sorted(os.listdir(tmp_path)) == ["a", "bad"], result


def test_build_that_fails_keeps_the_file(tmp_path):
    code(tmp_path / "a")
    fnctl("build", "./a", cwd=tmp_path)
    before = digest(tmp_path / "greet.tar.gz")
    os.mkfifo(tmp_path / "a/pipe")
    assert "./a/pipe: is a FIFO" in fnctl("build", "./a", cwd=tmp_path, status=1).err
    assert digest(tmp_path / "greet.tar.gz") == before and sorted(os.listdir(tmp_path)) == ["a", "greet.tar.gz"]


def test_build_progress_only_on_a_terminal(tmp_path):
    code(tmp_path / "a", data="x" * 3000000)
    assert fnctl("build", "./a", cwd=tmp_path).err == ""
    done = subprocess.run(["script", "-qec", f"{fndtest.program('fnctl')} build ./a", "/dev/null"], cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0 and "packing" in done.stdout and "100%" in done.stdout and "#" * 32 in done.stdout and "\x1b[K" in done.stdout, done


# ---- dependencies: the builder's part of the contract (rootfs/README.md), played by an API ----

PYTHON = "[function]\nname = greet\nruntime = python\nhandler = handler:app\n"


class Builder:
    """A daemon with a builder in it that answers as told; what it was sent is kept."""

    def __init__(self, api, status=200, answer=b"package", locks=None):
        self.status, self.answer, self.locks, self.sent, self.deployed, self.gone = status, answer, locks or {}, None, [], threading.Event()
        self.fake = api({"POST /api/v1/functions": self.deploy})
        self.rules = self.fake.rules

    def deploy(self, handler):
        query = dict(urllib.parse.parse_qsl(handler.path.partition("?")[2]))
        with tarfile.open(fileobj=io.BytesIO(handler.body())) as archive:
            files = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}
        name = query.get("name", "greet")
        self.deployed.append((name, files))
        if name.startswith("build-"):
            self.rules[f"POST /fn/{name}/"] = self.build
            self.rules[f"DELETE /api/v1/functions/{name}"] = self.remove
            self.rules[f"GET /api/v1/functions/{name}/logs"] = self.log
            for lock, text in self.locks.items():
                self.rules[f"GET /fn/{name}/lock/{lock}"] = (200, text)
        handler.answer(201, {**FUNCTION, "name": name})

    def log(self, handler):
        begin_chunks(handler)
        chunk(handler, b"installing flask\n")
        self.gone.wait(30)
        with contextlib.suppress(OSError):
            chunk(handler, b"the last words\n")
            chunk(handler, b"")

    def remove(self, handler):
        handler.answer(200, {})
        self.gone.set()

    def build(self, handler):
        self.sent = handler.body()
        handler.answer(self.status, self.answer, "application/x-tar")

    def removed(self):
        return [path for method, path, _, _ in self.fake.requests if method == "DELETE"]


def package_of(text):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        info = tarfile.TarInfo("made")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    return data.getvalue()


def project(directory, requirements="flask\n", **files):
    directory.mkdir()
    (directory / "function.ini").write_text(PYTHON)
    (directory / "handler.py").write_text("x = 1\n")
    (directory / "requirements.txt").write_text(requirements)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return directory


def test_deploy_has_dependencies_built(api, tmp_path):
    project(tmp_path / "p")
    os.chown(tmp_path / "p", 1234, 1234)
    builder = Builder(api, answer=package_of(b"result"), locks={"requirements.lock": b"flask==2.2.2\n"})
    result = fakeapi.fnctl("deploy", tmp_path / "p", "--egress", "192.0.2.1:80", env={"FND_SOCKET": fakeapi.SOCKET, "PIP_INDEX_URL": "https://index.example/simple", "HTTP_PROXYX": "no", "APT_SOURCE_1": "deb http://apt.example/ ./"})
    (name, files), (last, made) = builder.deployed
    assert name.startswith("build-") and len(name) == 22 and list(files) == ["function.ini"]
    ini = files["function.ini"].decode()
    assert "runtime = python-build\ncommand = /usr/lib/fnd/build python\n" in ini and "egress = 192.0.2.1:80\n" in ini and "\nPIP_INDEX_URL=https://index.example/simple\n" in ini
    assert "HTTP_PROXYX" not in ini and [line for line in ini.splitlines() if line.startswith("APT_")] == ["APT_SOURCE_1=deb http://apt.example/ ./"]
    with tarfile.open(fileobj=io.BytesIO(builder.sent)) as archive:
        assert sorted(archive.getnames()) == ["function.ini", "handler.py", "requirements.txt"]
    assert (last, made) == ("greet", {"made": b"result"})
    lock = tmp_path / "p/requirements.lock"
    assert lock.read_text() == "flask==2.2.2\n" and lock.stat().st_uid == 1234
    assert builder.removed() == [f"/api/v1/functions/{name}"] and "greet version 3 is ready" in result.out


def test_deploy_shows_what_the_builder_says(api, tmp_path):
    project(tmp_path / "p")
    said = threading.Event()
    builder = Builder(api, answer=package_of(b"x"))
    err = tmp_path / "err"

    def build(handler):
        builder.sent = handler.body()
        fndtest.wait_until(lambda: "installing flask" in err.read_text(), 30)
        said.set()
        handler.answer(200, builder.answer)

    builder.build = build
    with open(err, "wb") as f:
        done = subprocess.run([fndtest.program("fnctl"), "deploy", tmp_path / "p"], stdin=subprocess.DEVNULL, stderr=f, env={**os.environ, "FND_SOCKET": fakeapi.SOCKET}, timeout=60, check=False)
    assert done.returncode == 0 and said.is_set() and "the last words" in err.read_text(), err.read_text()


@pytest.mark.parametrize("status, answer, message", [
    (422, b"requirements.txt:1: no package flask: is it spelt right?\nmore\n", "p: requirements.txt:1: no package flask: is it spelt right?\n"),
    (500, b"Traceback\n", "p/requirements.txt: the builder python-build answered with status 500: Traceback\n"), (422, b"", "p: \n"), (204, b"", "answered with status 204"),
])
def test_builder_that_refuses(status, answer, message, api, tmp_path):
    project(tmp_path / "p")
    builder = Builder(api, status, answer)
    result = fakeapi.fnctl("deploy", tmp_path / "p", status=1)
    assert message in result.err and "more" not in result.err, result
    assert len(builder.deployed) == 1 and len(builder.removed()) == 1
    assert not (tmp_path / "p/requirements.lock").exists()


def test_builder_that_is_not_there(api, tmp_path):
    project(tmp_path / "p")
    fake = api({"POST /api/v1/functions": (409, {"error": "no_runtime", "message": "runtime python-build is not here: `fnctl runtime build python-build`"})})
    result = fakeapi.fnctl("deploy", tmp_path / "p", status=None)
    assert result.status != 0 and "fnctl runtime build python-build" in result.err and "requirements.txt names what is to be installed" in result.err
    assert not [r for r in fake.requests if r[0] == "DELETE"]


HERE = (200, {"runtimes": [{"name": "python"}, {"name": "flask"}]})


def test_a_runtime_that_is_not_there_is_said_before_anything_is_sent(api, tmp_path):
    project(tmp_path / "p", requirements="")
    fake = api({"POST /api/v1/functions": (201, FUNCTION), "GET /api/v1/runtimes": (200, {"runtimes": [{"name": "ruby"}, {"name": "node\x1b[31m"}]})})
    said = fakeapi.fnctl("deploy", tmp_path / "p", status=1).err
    assert said == "fnctl: runtime python is not here: make it by `fnctl runtime build python`, or put a tree by `fnctl runtime put python ARCHIVE`; here are: ruby node?[31m\n", said
    assert [r[:2] for r in fake.requests] == [("GET", "/api/v1/runtimes")]
    fake.rules["GET /api/v1/runtimes"] = (200, {"runtimes": []})
    assert "; here is none\n" in fakeapi.fnctl("deploy", tmp_path / "p", status=1).err
    assert "runtime other is not here, and there is no recipe of that name" in fakeapi.fnctl("deploy", tmp_path / "p", "--set", "function.runtime=other", status=1).err
    assert [r[0] for r in fake.requests] == ["GET"] * 3


@pytest.mark.parametrize("name, meant", [
    ("python3", "python"), ("python3.11", None), ("python-3", "python"), ("node18", "node"), ("nodejs", "node"), ("ruby3", "ruby"), ("flsk", "flask"),
    ("static2", "static"), ("mine2", "mine"), ("python-postgresql-15", "python-postgresql"), ("java", None), ("node-builds", "node"),
])
def test_a_runtime_that_nobody_knows(name, meant, api, tmp_path):
    """What there is, and what is meant by it; never a command that cannot work."""
    project(tmp_path / "p", requirements="")
    fake = api({"GET /api/v1/runtimes": (200, {"runtimes": [{"name": "mine"}]}), "POST /api/v1/functions": (400, {"error": "invalid", "message": "the daemon's"})})
    said = fakeapi.fnctl("deploy", tmp_path / "p", "--set", f"function.runtime={name}", status=1).err
    if "." in name:  # no name at all: the daemon's to refuse
        assert said == "fnctl: the daemon's\n"
        return
    between = f"did you mean {meant}? " if meant else ""
    assert said.startswith(f"fnctl: runtime {name} is not here, and there is no recipe of that name: {between}`fnctl runtime build` makes: "), said
    made = said.split("makes: ", 1)[1]
    assert made == "express flask imagemagick node python python-postgresql ruby shell static; here are: mine\n", said
    assert [r[0] for r in fake.requests] == ["GET"]
    # an archive: the daemon is the first who knows
    fake.rules["POST /api/v1/functions"] = (409, {"error": "no_runtime", "message": f"runtime {name} is not here: make it by `fnctl runtime build {name}`"})
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        archive.add(tmp_path / "p", ".")
    assert fakeapi.fnctl("deploy", tmp_path / "p.tar", status=1).err == said
    fake.rules["GET /api/v1/runtimes"] = (403, {"error": "not_allowed", "message": "no"})
    assert fakeapi.fnctl("deploy", tmp_path / "p.tar", status=1).err == f"fnctl: runtime {name} is not here (fnctl runtime ls)\n"


@pytest.mark.parametrize("status, code, message, named", [
    (400, "invalid", "layer 1 of 2 of the image: damaged", True), (422, "bad_archive", "no tar archive", True), (422, "not_supported", "function.ini:2: [x]", True),
    (413, "too_large", "larger than 2G", True), (400, "invalid", "--set function.port: no", False), (400, "invalid", "function.ini with --set: no", False),
    (400, "invalid", "deploy: environment name", False), (400, "invalid", "the function has no name: set name", False), (400, "invalid", "replicas=", False),
    (409, "exists", "another has the host", False), (422, "deploy_failed", "f: version 1", False), (503, "overloaded", "no more", False),
])
def test_what_is_wrong_with_an_archive_names_it(status, code, message, named, api, tmp_path):
    """Its file, or what it was fetched from; not where the command line or the daemon is the reason, and no directory."""
    api({"POST /api/v1/functions": (status, {"error": code, "message": message}), "GET /api/v1/runtimes": HERE})
    project(tmp_path / "p", requirements="")
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        archive.add(tmp_path / "p", ".")
    expected = "fnctl: " + (f"{tmp_path}/p.tar: " if named else "") + message + "\n"
    assert fakeapi.fnctl("deploy", tmp_path / "p.tar", status=None).err == expected
    assert fakeapi.fnctl("import", tmp_path / "p.tar", status=None).err == expected
    assert fakeapi.fnctl("deploy", tmp_path / "p", status=None).err == f"fnctl: {message}\n"
    (tmp_path / "skopeo").write_text(f"#!/bin/sh\nexec /bin/cp {tmp_path}/p.tar \"${{3#oci-archive:}}\"\n")
    (tmp_path / "skopeo").chmod(0o755)
    fetched = fakeapi.fnctl("import", "docker://registry.example/web", status=None, env={"FND_SOCKET": fakeapi.SOCKET, "PATH": str(tmp_path)}).err
    assert fetched == "fnctl: " + ("docker://registry.example/web: " if named else "") + message + "\n"


@pytest.mark.parametrize("answer", [HERE, (200, b"no JSON"), (200, {}), (403, {"error": "not_allowed", "message": "no"}), (404, {"error": "not_found", "message": "no"})])
def test_the_daemon_decides_about_runtimes(answer, api, tmp_path):
    """Whatever it says first, or where it says nothing; a runtime may go in between."""
    project(tmp_path / "p", requirements="")
    fake = api({"GET /api/v1/runtimes": answer, "POST /api/v1/functions": (409, {"error": "no_runtime", "message": "runtime python is not here: `fnctl runtime build python`"})})
    assert fakeapi.fnctl("deploy", tmp_path / "p", status=None).err == "fnctl: runtime python is not here: `fnctl runtime build python`\n"
    assert [r[0] for r in fake.requests] == ["GET", "POST"]


def test_builder_is_removed_after_a_signal(api, tmp_path):
    project(tmp_path / "p")
    builder, asked = Builder(api), threading.Event()

    def build(handler):
        asked.set()
        with contextlib.suppress(OSError):
            select.select([handler.connection], [], [], 30)

    builder.build = build
    with subprocess.Popen([fndtest.program("fnctl"), "deploy", tmp_path / "p"], stdin=subprocess.DEVNULL, env={**os.environ, "FND_SOCKET": fakeapi.SOCKET}) as process:
        assert asked.wait(30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) != 0
    assert len(builder.removed()) == 1


@pytest.mark.parametrize("files", [
    {"requirements__txt": "# nothing\n\n"}, {"requirements__txt": "", "package__json": '{"name": "x"}'}, {"requirements__txt": "", "package__json": '{"dependencies": {}}'},
    {"function__ini": "[function]\nname = greet\ncommand = /x\n"}, {"function__ini": "[function]\nname = greet\nruntime = static\n"},
])
def test_no_builder_where_nothing_is_asked_for(files, api, tmp_path):
    project(tmp_path / "p", **files)
    builder = Builder(api)
    fakeapi.fnctl("deploy", tmp_path / "p")
    assert [name for name, _ in builder.deployed] == ["greet"]


@pytest.mark.parametrize("files", [{"requirements__txt": "", "package__json": '{"dependencies": {"express": "4"}}'}, {"requirements__txt": "", "packages": "imagemagick\n"}, {"requirements__txt": "", "Gemfile": "gem 'rack'\n"}])
def test_other_files_that_ask(files, api, tmp_path):
    project(tmp_path / "p", **files)
    builder = Builder(api, answer=package_of(b"x"))
    fakeapi.fnctl("deploy", tmp_path / "p")
    assert len(builder.deployed) == 2 and builder.deployed[1][1] == {"made": b"x"}


# ---- other systems' files ----

STACK = """provider: {name: openfaas}
functions:
  one:
    image: hub.example/one
    handler: ./first
    environment: {GREETING: Moin}
    limits: {memory: 32Mi}
    constraints: [a]
  two:
    handler: ./second
    labels: {com.openfaas.scale.min: 1}
"""


def stack(directory, text=STACK):
    for name in ("first", "second"):
        fndtest.package(directory / name, "", base="hello")
        os.unlink(directory / name / "function.ini")
    (directory / "stack.yml").write_text(text)
    return directory


def test_stack_yml_deploys(tmp_path, daemon):
    stack(tmp_path / "s")
    result = fnctl("deploy", tmp_path / "s", status=1)
    assert f"{tmp_path}/s/stack.yml has several functions, say which with --name, or --all: one two" in result.err
    result = fnctl("deploy", tmp_path / "s", "--name", "one")
    assert f"{tmp_path}/s/stack.yml:8: constraints: not taken over: there is one host" in result.err
    assert fnctl("invoke", "one").out.startswith("Moin from one") and fndtest.function("one")["limits"]["memory_bytes"] == 32 << 20
    fnctl("deploy", "--all", tmp_path / "s")
    assert fndtest.function("one")["version"] == 2 and fndtest.function("two")["version"] == 1
    assert "no function three; there are: one two" in fnctl("deploy", tmp_path / "s", "--name", "three", status=1).err


def test_stack_yml_runs_and_builds(tmp_path):
    stack(tmp_path / "s")
    assert fnctl("run", "s", "--name", "one", "--once", cwd=tmp_path).out.startswith("Moin from one")
    fnctl("build", "s", "--name", "one", cwd=tmp_path)
    assert fnctl("run", "./one.tar.gz", "--once", cwd=tmp_path).out.startswith("Moin from one")


@pytest.mark.parametrize("name, text, ini, note", [
    ("funko.yml", "name: hi\nruntime: flask\noptions: {healthcheck_command: x}\n", "[function]\nname = hi\nruntime = flask\nhandler = funko:app\n", "funko.yml:3: healthcheck_command: not taken over"),
    ("serverless.yml", "service: x\nprovider: {name: spotinst}\nfunctions:\n  hi:\n    runtime: python3.6\n    handler: h.main\n", "[function]\nname = hi\nruntime = python\nhandler = h.main\n",
     "serverless.yml:5: runtime: python3.6 is taken as Debian's python"),
    ("function.ini", "[function]\nname = mine\n", "[function]\nname = mine\n", ""),
])
def test_print_ini(name, text, ini, note, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / name).write_text(text)
    result = fnctl("deploy", tmp_path / "p", "--print-ini")
    assert result.out.startswith(ini) and note in result.err, result


def test_function_ini_wins(tmp_path):
    stack(tmp_path / "s", "functions: [broken\n")
    assert "stack.yml:2: " in fnctl("deploy", tmp_path / "s", status=1).err
    (tmp_path / "s/function.ini").write_text("[function]\nname = mine\ncommand = /first/hello\n")
    assert fnctl("deploy", tmp_path / "s", "--print-ini").out.startswith("[function]\nname = mine\n")


@pytest.mark.parametrize("args, message", [
    (["--all", "--name", "x", "."], "--all and --name"), (["--all", "sample:hello"], "--all: "), (["--print-ini", "hello"], "is no directory"),
])
def test_deploy_options_that_do_not_go_together(args, message, tmp_path):
    assert message in fnctl("deploy", *args, status=2, cwd=tmp_path).err
