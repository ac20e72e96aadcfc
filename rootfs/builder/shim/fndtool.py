"""What all the builder's tools have in common: how they run a program, what they say, how they know whether a lock is current."""
import hashlib
import os
import subprocess
import sys


class Refused(Exception):
    """One line: what is wrong with the source, and what to do."""


def progress(text):
    sys.stderr.write(text + "\n")


def run(what, command, root, env=None):
    """Runs a program in the source, its lines to the log; the whole output and whether it went well."""
    output = []
    with subprocess.Popen(command, cwd=root, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as p:
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
