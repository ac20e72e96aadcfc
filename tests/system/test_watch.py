"""`fnctl run --watch`: what is in the directory is what runs. Moments and the order of changes are in tests/unit/test_rerun.c."""

import contextlib
import os

import pytest

import fndtest
import test_run
from fndtest import fnctl
from test_project import code


@contextlib.contextmanager
def watching(directory, *args):
    with test_run.run(str(directory), "--watch", *args) as r:
        r.url()
        yield r


def greeting(directory, text, path="function.ini"):
    """Put there as editors do: beside it, then renamed over it."""
    (directory / (path + "~")).write_text(f"[function]\nname = greet\ncommand = /hello\n[env]\nGREETING = {text}\n")
    os.rename(directory / (path + "~"), directory / path)


def answers(r, text, path=""):
    fndtest.wait_until(lambda: r.get(path).text.startswith(text), 30, f"{text} in the answer; {r.said()}")


def test_watch_deploys_what_changes(tmp_path):
    code(tmp_path / "fn")
    greeting(tmp_path / "fn", "One")
    with watching(tmp_path / "fn") as r:
        answers(r, "One")
        greeting(tmp_path / "fn", "Two")
        answers(r, "Two")
        with open(tmp_path / "fn/function.ini", "a", encoding="ascii") as f:
            f.write("MORE = more\n")
        fndtest.wait_until(lambda: "MORE=more" in r.get("env").text, 30, r.said())
        # a directory, with a variable in a file of it; then one that is added to it
        (tmp_path / "fn/env").mkdir()
        (tmp_path / "fn/env/FIRST").write_text("1")
        fndtest.wait_until(lambda: "FIRST=1" in r.get("env").text, 30, r.said())
        (tmp_path / "fn/env/SECOND").write_text("2")
        fndtest.wait_until(lambda: "SECOND=2" in r.get("env").text, 30, r.said())
        os.unlink(tmp_path / "fn/env/FIRST")
        fndtest.wait_until(lambda: "FIRST=1" not in r.get("env").text, 30, r.said())


def test_watch_keeps_what_runs(tmp_path):
    """What is wrong is said, each time, and what was there goes on."""
    code(tmp_path / "fn")
    greeting(tmp_path / "fn", "One")
    with watching(tmp_path / "fn") as r:
        answers(r, "One")
        (tmp_path / "fn/function.ini").write_text("[function]\nspeed = 3\n")
        fndtest.wait_until(lambda: "function.ini:2: [function] has no key speed" in r.said() and "the version before goes on" in r.said(), 30)
        answers(r, "One")
        (tmp_path / "fn/function.ini").write_text("[function]\nname = greet\ncommand = /not-there\n")
        fndtest.wait_until(lambda: "\"/not-there\" is not in the package" in r.said() and r.said().count("the version before goes on") == 2, 30)
        answers(r, "One")
        greeting(tmp_path / "fn", "Three")
        answers(r, "Three")


def test_watch_waits_for_the_first_that_runs(tmp_path):
    """What is there at the beginning cannot be read, then is refused, then does not start: each is said and waited for. What no change cures ends it."""
    fndtest.package(tmp_path / "fn", "")
    code(tmp_path / "fn")
    (tmp_path / "fn/function.ini").write_text("[function]\nspeed = 3\n")
    with test_run.run(str(tmp_path / "fn"), "--watch") as r:

        def waits(times, text):
            fndtest.wait_until(lambda: r.said().count(f"waiting for the next change of {tmp_path}/fn\n") >= times and text in r.said(), 30, text)
            assert r.process.poll() is None, r.said()

        waits(1, "function.ini:2: [function] has no key speed")
        (tmp_path / "fn/function.ini").write_text("[function]\ncommand = /not-there\n")
        waits(2, "\"/not-there\" is not in the package")
        (tmp_path / "fn/function.ini").write_text("[function]\ncommand = /bin/busybox true\n")
        waits(3, "exited with status 0")
        assert "the version before" not in r.said() and "url " not in r.said(), r.said()
        greeting(tmp_path / "fn", "One")
        answers(r, "One")
        greeting(tmp_path / "fn", "Two")
        answers(r, "Two")
        assert "changed " in r.said(), r.said()
    result = fnctl("run", "./not-there", "--watch", status=1, cwd=tmp_path)
    assert "not-there" in result.err and "waiting" not in result.err, result


def test_watch_that_never_ran_is_interrupted(tmp_path):
    """As one that did: no error, and without --watch it ends by itself."""
    code(tmp_path / "fn")
    (tmp_path / "fn/function.ini").write_text("[function]\nspeed = 3\n")
    with test_run.run(str(tmp_path / "fn"), "--watch") as r:
        fndtest.wait_until(lambda: "waiting for the next change" in r.said(), 30, r.said())
    assert "waiting" not in fnctl("run", "./fn", status=1, cwd=tmp_path).err


def test_watch_does_not_mind_what_is_no_part(tmp_path):
    """What .fndignore names and what editors leave for a moment start nothing: the next version is the second."""
    code(tmp_path / "fn", __fndignore="*.log\nskipped/\n")
    greeting(tmp_path / "fn", "One")
    (tmp_path / "fn/skipped").mkdir()
    with watching(tmp_path / "fn") as r:
        answers(r, "One")
        for path in ("a.log", "skipped/b", ".hello.swp", "4913", "x~"):
            (tmp_path / "fn" / path).write_text("x")
        greeting(tmp_path / "fn", "Two")
        answers(r, "Two")
        assert "version 2," in r.get().text and r.said().count("changed ") == 1, r.said()


@pytest.mark.parametrize("args, message", [(["./fn", "--watch", "--once"], "leave out one"), (["hello", "--watch"], "is no directory")])
def test_watch_refuses(args, message, tmp_path):
    code(tmp_path / "fn")
    assert message in fnctl("run", *args, status=2, cwd=tmp_path).err
