"""Kernels that lack a mechanism: the start fails with its name before anything is made, unless the configuration says that it may be missing."""

import errno
import os
import subprocess

import pytest

import fndtest
from fndtest import deny, fnctl, get, instances

NAMESPACES = {
    "time namespaces": 0x00000080, "cgroup namespaces": 0x02000000, "ipc namespaces": 0x08000000, "uts namespaces": 0x04000000, "network namespaces": 0x40000000,
    "mount namespaces": 0x00020000, "pid namespaces": 0x20000000, "user namespaces": 0x10000000,
}


def refused(*args, preexec_fn):
    done = subprocess.run([fndtest.program("fnd"), *args], capture_output=True, text=True, timeout=30, check=False, preexec_fn=preexec_fn)
    assert done.returncode == 1, done
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert os.listdir("/var/lib/fnd") == [] and not fndtest.links() and not fndtest.cgroup_dirs()
    return done.stderr


@pytest.mark.parametrize("name", [n for n in NAMESPACES if n != "mount namespaces"])  # without those the daemon has none of its own either, and says so
def test_missing_namespace_is_named(name):
    text = refused(preexec_fn=deny("unshare", errno.EINVAL, arg0=NAMESPACES[name]))
    assert name in text and ("CONFIG_" in text or "user.max" in text), text


def test_missing_filter_is_named():
    text = refused(preexec_fn=deny("seccomp", errno.EINVAL, arg0=2))
    assert "seccomp filters" in text and "CONFIG_SECCOMP_FILTER" in text, text


def test_time_namespace_may_be_missing(make_daemon):
    daemon = make_daemon(settings={"runner.may_lack": "time-namespace"})
    daemon.preexec_fn = deny("unshare", errno.EINVAL, arg0=NAMESPACES["time namespaces"])
    daemon.start()
    assert "missing=time-namespace" in daemon.output(), daemon.output()
    fnctl("deploy", "hello")
    assert get("/fn/hello/").status == 200
    pid = instances("hello")[0]["pid"]
    assert os.stat(f"/proc/{pid}/ns/time").st_ino == os.stat("/proc/self/ns/time").st_ino


def test_what_is_not_missing_is_used(make_daemon):
    daemon = make_daemon(settings={"runner.may_lack": "time-namespace"}).start()
    assert "missing=" not in daemon.output(), daemon.output()
    fnctl("deploy", "hello")
    pid = instances("hello")[0]["pid"]
    assert os.stat(f"/proc/{pid}/ns/time").st_ino != os.stat("/proc/self/ns/time").st_ino


def test_other_words_are_refused(make_daemon):
    status, text = make_daemon(settings={"runner.may_lack": "seccomp"}).refuses()
    assert status == 1 and "may_lack" in text and "time-namespace" in text, text
