"""From code to a function: `fnctl new`, samples, packages, other systems' project files."""

import os
import subprocess

import pytest

import fndtest
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
    (["-greet", "--runtime", "c"], 2, "option"), (["a b", "--runtime", "c"], 2, "is no name"), (["--list", "x"], 2, "takes no name"), (["no/such/x", "--runtime", "c"], 1, "No such file"),
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
