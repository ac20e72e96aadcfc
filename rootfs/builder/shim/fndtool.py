"""What all the builder's tools have in common: how they run a program, what they say, how they know whether a lock is current.

Strangers' code and the credentials of indexes. Where a tool can install first and run the code of packages afterwards (npm's scripts, extensions of gems), the second is run by alone(): without the variables that may hold
credentials, when the files that may are gone (forget()), and nothing that it started is there when the next program runs. This process, whose variables they are, cannot be looked into (undumpable()), though it has the same
uid. pip cannot part the two: rootfs/README.md.
"""
import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys

PR_SET_DUMPABLE = 4  # prctl(2)
IN_URL = re.compile(r"//[^/\s]*@")
SETTINGS = re.compile(r"(?i)(pip|npm_config|bundle|apt_source)_")
HARMLESS = re.compile(r"(?i)bundle_(build__\w+|force_ruby_platform|with|without)$|npm_config_(?!.*(auth|cert|key|mail|otp|pass|proxy|registr|secret|token|user|globalconfig))[a-z_-]+$")


class Refused(Exception):
    """One line: what is wrong with the source, and what to do."""


def progress(text):
    sys.stderr.write(text + "\n")


def undumpable():
    """/proc/self/environ and the memory of this process are root's from now on, and it cannot be traced; programs that it executes are as usual."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


def is_harmless(name, value):
    """BUNDLE_BUILD__NAME is options of the gem NAME, or the credentials of a host build.name."""
    return HARMLESS.match(name) and (not name.upper().startswith("BUNDLE_BUILD__") or value.startswith("-"))


def bare():
    """The variables without those that may hold credentials."""
    return {k: v for k, v in os.environ.items() if not (SETTINGS.match(k) and not is_harmless(k, v)) and not IN_URL.search(v) and not (k.lower().endswith("_proxy") and "@" in v)}


def forget(directory):
    """What a program has left in a directory beside the source: its cache, its settings."""
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def end_strangers():
    """Whatever the code of packages has started. In the sandbox all is ours but the first process, whose child this is; a signal to -1 leaves out the two."""
    if os.getppid() == 1 and os.getuid() != 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)


def alone(what, command, root, env=None):
    """As run(), for the code of strangers."""
    try:
        return run(what, command, root, env, bare())
    finally:
        end_strangers()


def run(what, command, root, env=None, base=None):
    """Runs a program in the source, its lines to the log; the whole output and whether it went well."""
    output = []
    with subprocess.Popen(command, cwd=root, env={**(os.environ if base is None else base), **(env or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as p:
        for line in p.stdout:
            output.append(line)
            progress(f"{what}: " + line.rstrip("\n"))
    return "".join(output), p.returncode == 0


def digest(*texts):
    made = hashlib.sha256()
    for text in texts:
        made.update(text if isinstance(text, bytes) else text.encode())
    return "sha256:" + made.hexdigest()


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def unreachable(output):
    """Do a program's lines say that what it asks did not answer?"""
    said = ("NewConnectionError", "name resolution", "ConnectTimeoutError", "Max retries exceeded", "Connection refused", "Network is unreachable", "ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "ENETUNREACH",
            "Could not connect to", "Failed to open TCP connection", "Could not reach host", "Could not resolve", "Unable to connect to")
    return any(s in output for s in said)


def where(file, what, egress=True):
    return f"{file}: {what} cannot be reached from the builder{', or its egress does not allow it (fnctl build --egress)' if egress else ''}"
