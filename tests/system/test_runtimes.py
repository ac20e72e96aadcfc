"""Runtimes: trees with a name that packages lie over; which image a version keeps, and what becomes of images."""

import json
import os

import fndtest
from fndtest import api, fnctl, function, get

CGI = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n"
LOOK = CGI + "cd /app && pwd -P && cat note && cat /code/note && ls -d /bin/sh /www/index.html && env | grep ^FND_ | sort"
SERVER = "#!/bin/sh\nexec httpd -f -p $PORT -h /app/www\n"
STATE = "/var/lib/fnd"


def package(directory, ini, files=None):
    """A package without a root of its own: a server, a script that looks around, a note."""
    everything = {"function.ini": ini, "note": "one\n", "www/ping": "ok", "www/cgi-bin/look": LOOK, **(files or {})}
    for path, text in everything.items():
        target = os.path.join(directory, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(target, 0o755 if text.startswith("#!") else 0o644)
    return str(directory)


def ini(name, more=""):
    return f"[function]\nname = {name}\nruntime = box\n{more}"


def put(name="box", what="busybox", status=0):
    return fnctl("runtime", "put", name, f"{fndtest.BUILD}/{what}.tar.gz", status=status)


def digest(version, link="image", name="hello"):
    return os.path.basename(os.readlink(f"{STATE}/functions/default/{name}/{version}/{link}"))


def test_a_package_over_a_runtime(daemon, tmp_path):
    put()
    fnctl("deploy", package(tmp_path / "f", ini("hello"), {"serve": SERVER}))
    seen = get("/fn/hello/cgi-bin/look").text.splitlines()
    assert seen[:5] == ["/app", "one", "one", "/bin/sh", "/www/index.html"]
    assert {"FND_RUNTIME=box", "FND_HEALTH_PATH=/ping", "FND_VERSION=1"} <= set(seen)
    assert digest(1, "runtime") != digest(1)
    assert sorted(os.listdir(f"{STATE}/images/{digest(1)}")) == ["app", "code"]
