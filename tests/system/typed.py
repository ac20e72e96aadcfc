"""What a manual for people says, typed as it stands there: the indented lines of a README.md, in a shell of a new user in the source tree."""

import contextlib
import os
import re
import signal
import subprocess

import fndtest
from fndtest import BUILD, REPO, wait_until

URL = re.compile(r"http://127\.0\.0\.1:([0-9]+)(/fn/[^\s]+)")
# `fnctl` is found as after `make install`; everybody here is root; what curl is answered with an error is one.
PROGRAMS = {
    "fnctl": f'exec {BUILD}/fnctl "$@"\n',
    "sudo": '[ "$1" != -u ] || shift 2\nexec "$@"\n',
    "curl": 'exec /usr/bin/curl -sSf "$@"\n',
}
# Unpacked packages, as make has kept them: what `fnctl runtime build` needs of a network.
CACHE = os.environ.get("FND_ROOTFS_CACHE", REPO + "/build/rootfs")


def commands(path, heading=None):
    """The indented lines, of one section or of all."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if heading:
        text = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^    (\S.*)$", text, re.M)


class Shell:
    def __init__(self, directory, **env):
        self.directory = directory / "tree"
        (directory / "bin").mkdir()
        self.directory.mkdir()
        for name, text in PROGRAMS.items():
            (directory / "bin" / name).write_text("#!/bin/sh\n" + text)
            (directory / "bin" / name).chmod(0o755)
        os.symlink(f"{REPO}/rootfs", self.directory / "rootfs")
        (self.directory / "build").mkdir()
        os.symlink(BUILD, self.directory / "build/release")
        self.env = {"PATH": f"{directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "FND_ROOTFS_CACHE": CACHE, **env}
        self.done = set()

    def follow(self, path, name=None, **options):
        """Everything that is to be typed, in its order; {command: what it printed}. A runtime is built once on a host, and a `fnctl run` that differs from an earlier one by the function's name alone shows nothing new."""
        said = {}
        for command in commands(path):
            form = command.replace(name, "@NAME@") if name else command
            if re.match(r"sudo fnctl run(time build)? ", command) and form in self.done:
                continue
            said[command] = self.type(command, **options)
            self.done.add(form)
        assert said, path
        return said

    def type(self, command, stdin=None):
        """One line; it must do what it is for. What it printed."""
        if re.search(r"fnctl run .*", command) and "--once" not in command:
            return self.interrupted(command, URL)
        if command.startswith("curl -N "):
            return self.interrupted(command, re.compile("."))
        result = fndtest.run("sh", "-c", command, cwd=self.directory, env=self.env, stdin=stdin, seconds=200)
        assert result.status == 0, (command, result)
        assert result.out or re.search(r" >|-o |^mkdir |^cp |^#|secret set", command), (command, result)
        return result.out

    def interrupted(self, command, pattern):
        """What goes on until ^C, which is typed when it has said that; a URL has answered before."""
        said = self.directory / "said"
        with open(said, "wb") as out, subprocess.Popen(["sh", "-c", command], cwd=self.directory, env={**os.environ, **self.env}, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True) as process:
            try:
                match = wait_until(lambda: process.poll() is not None or pattern.search(said.read_text()), 60, f"{pattern.pattern} of {command}")
                assert process.poll() is None, said.read_text()
                if pattern is URL:
                    assert fndtest.get(match[2], port=int(match[1])).status < 500
                os.killpg(process.pid, signal.SIGINT)
                assert process.wait(60) in (0, 130, -signal.SIGINT), said.read_text()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        os.unlink(said)
        return match[0]
