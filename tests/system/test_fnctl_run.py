"""fnctl run with a daemon that a program plays: settings, signals, what is left."""

import contextlib
import json
import os
import select
import signal
import subprocess

import pytest

import fndtest
from fakeapi import FUNCTION, INSTANCE, api, begin_chunks, chunk, package  # noqa: F401 (api is a fixture)
from fndtest import run, wait_until

# ---- the private daemon: a program that plays fnd ----

FND = """#!/usr/bin/python3
import json, os, signal, socket, sys
sets = dict(a.split("=", 1) for f, a in zip(sys.argv, sys.argv[1:]) if f == "--set")
run = sets["runner.run"]
with open("/run/fnd-calls", "a") as f:
    f.write(json.dumps({"sweep": "--sweep" in sys.argv, "pid": os.getpid(), "sid": os.getsid(0), "sets": sets}) + "\\n")
if "--sweep" in sys.argv:
    import shutil
    shutil.rmtree(run, ignore_errors=True)
    sys.exit(0)
mode = open("/run/fnd-mode").read().strip()
print("fnd: a line on standard error", file=sys.stderr, flush=True)
if mode == "fails":
    print("fnd: the host has no \\x1b[31mcgroups", file=sys.stderr)
    sys.exit(1)
if mode == "subnet" and sets["runner.name"] == "fnd-run-1":
    sys.exit(3)
os.makedirs(run + "/state", exist_ok=True)
def end(*_):
    if mode == "hangs":
        return
    import shutil
    shutil.rmtree(run, ignore_errors=True)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.symlink("/run/fake.sock", run + "/fnd.sock")
if mode != "silent":
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.sendto(b"STATUS=x\\nREADY=1\\n", os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
if mode == "dies":
    signal.sigtimedwait([signal.SIGUSR1], 1)
    print("fnd: something broke", file=sys.stderr, flush=True)
    os._exit(7)
while True:
    signal.pause()
"""


@pytest.fixture
def played(api, tmp_path):
    """A copy of fnctl with a played fnd beside it; what the played one does is in /run/fnd-mode."""
    os.makedirs("/var/cache", exist_ok=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    with open(fndtest.program("fnctl"), "rb") as source, open(programs / "fnctl", "wb") as copy:
        copy.write(source.read())
    (programs / "fnd").write_text(FND)
    for name in ("fnctl", "fnd"):
        os.chmod(programs / name, 0o755)
    package(tmp_path / "fn")

    def never(handler):
        begin_chunks(handler)
        chunk(handler, b"a line of the log\n")
        with contextlib.suppress(OSError):
            select.select([handler.connection], [], [], 30)

    api({"POST /api/v1/functions": (201, FUNCTION), "GET /api/v1/functions/hello": (200, {**FUNCTION, "instances": [INSTANCE]}), "GET /api/v1/functions/hello/logs": never,
         "GET /fn/hello/": (200, b"once")})

    def command(mode, *args):
        with open("/run/fnd-mode", "w", encoding="ascii") as f:
            f.write(mode)
        return [str(programs / "fnctl"), "run", str(tmp_path / "fn"), *args]

    yield command
    for name in ("/run/fnd-mode", "/run/fnd-calls"):
        with contextlib.suppress(OSError):
            os.unlink(name)


def calls():
    with open("/run/fnd-calls", encoding="ascii") as f:
        return [json.loads(line) for line in f]


def nothing_left():
    return not [name for name in os.listdir("/run") if name.startswith("fnd-run")]


def test_run_settings(played):
    done = run(*played("works", "--once", "--admin", "9999", "--listen", "0.0.0.0"))
    assert (done.status, done.out) == (0, "once"), done
    assert "ready     2.1 ms" in done.err and "http://127.0.0.1:8888/fn/hello/ (on all addresses)" in done.err
    (call,) = calls()
    assert call["sid"] == call["pid"]
    expected = {"runner.state": "/run/fnd-run-1/state", "runner.run": "/run/fnd-run-1", "runner.images": "/var/cache/fnd/images", "runner.name": "fnd-run-1", "runner.ephemeral": "yes",
                "runner.slot_base": "32832", "runner.slots_max": "64", "network.bridge": "fr1b", "network.port": "fr1v", "network.subnet": "10.232.4.0/22",
                "gateway.listen": "0.0.0.0:8888", "gateway.admin": "127.0.0.1:9999"}
    assert expected.items() <= call["sets"].items()
    assert nothing_left()


def test_run_next_number(played):
    done = run(*played("subnet", "--once"))
    assert (done.status, done.out) == (0, "once"), done
    assert [c["sets"]["runner.name"] for c in calls() if not c["sweep"]] == ["fnd-run-1", "fnd-run-2"]
    assert nothing_left()


def test_run_daemon_that_does_not_start(played):
    done = run(*played("fails", "--once"))
    assert done.status == 1 and "the host has no ^[[31mcgroups" in done.err and done.out == ""
    assert [c["sweep"] for c in calls()] == [False, True] and nothing_left()


def test_run_daemon_that_dies(played):
    done = run(*played("dies"))
    assert done.status == 1 and "something broke" in done.err and "ended by itself" in done.err
    assert [c["sweep"] for c in calls()] == [False, True] and nothing_left()


@pytest.mark.limit(60)
def test_run_daemon_that_does_not_end(played):
    process = subprocess.Popen(played("hangs"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"a line of the log\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    process.stdout.close()
    assert [c["sweep"] for c in calls()] == [False, True] and nothing_left()


def test_run_signal_before_the_daemon_is_ready(played):
    process = subprocess.Popen(played("silent"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: os.path.lexists("/run/fnd-run-1/fnd.sock"))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0 and nothing_left()


def test_run_signal_while_nobody_reads_the_log(played):
    """A full pipe does not keep it from ending."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    process = subprocess.Popen(played("works"), stdout=write, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("url"):
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0 and nothing_left()
    process.stderr.close()
    os.close(read)
    os.close(write)


def test_run_interrupted_once_is_no_success(played):
    """Its answer was not complete."""
    process = subprocess.Popen(played("silent", "--once"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: os.path.lexists("/run/fnd-run-1/fnd.sock"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 1 and nothing_left()


def test_run_leftovers_are_swept_first(played):
    os.makedirs("/run/fnd-run-1/state", mode=0o700)
    os.chmod("/run/fnd-run-1", 0o700)
    assert run(*played("works", "--once")).status == 0
    assert [c["sweep"] for c in calls()] == [True, False] and nothing_left()


def test_run_directory_of_somebody_else(played):
    os.mkdir("/run/fnd-run-1", 0o700)
    os.chown("/run/fnd-run-1", 1000, 1000)
    done = run(*played("works", "--once"))
    assert done.status == 1 and "/run/fnd-run-1: belongs to somebody else" in done.err
    os.rmdir("/run/fnd-run-1")


def test_run_needs_root(played):
    command = played("works")
    for path in ("/tmp", os.path.dirname(command[0])):
        while path != "/":
            os.chmod(path, os.stat(path).st_mode | 0o055)
            path = os.path.dirname(path)
    done = subprocess.run(command, capture_output=True, text=True, check=False, user=65534, group=65534, extra_groups=[])
    assert done.returncode == 4 and "sudo" in done.stderr
