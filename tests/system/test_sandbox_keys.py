"""[sandbox] allow and devices: asked for by function.ini, decided by the administrator, named when refused."""

import os
import re
import subprocess

import pytest

import fndtest
from fndtest import fnctl, get

INI = "[function]\nname = {name}\ncommand = /bin/httpd -f -p 3000 -h /www\n[sandbox]\n{keys}\n"
LOOK = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nstat -c '%F %t:%T %a' /dev/dri/renderD128\nls /dev\n"
RENDER = "/dev/dri/renderD128"


def package(tmp_path, name, keys):
    return fndtest.package(tmp_path / name, INI.format(name=name, keys=keys), {"www/cgi-bin/look": LOOK})


def refused(tmp_path, keys, *words):
    result = fnctl("deploy", package(tmp_path, "asks", keys), status=None)
    assert result.status not in (0, None)
    for word in words:
        assert word in result.err, result.err
    assert fndtest.api("GET", "/functions/asks").status == 404


@pytest.fixture
def own_dev():
    """A /dev of this test host's own, with a render node; the host's own is not touched."""
    nodes = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "dri/renderD128": (226, 128), "harmless": (1, 1)}
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/dev"], check=True)
    os.makedirs("/dev/dri")
    os.makedirs("/dev/shm")
    for name, (major, minor) in nodes.items():
        os.mknod("/dev/" + name, 0o20600, os.makedev(major, minor))
        os.chmod("/dev/" + name, 0o666)
    yield
    subprocess.run(["umount", "-l", "/dev"], check=True)


def test_words_that_the_host_does_not_permit(daemon, tmp_path):
    refused(tmp_path, "allow = io_uring ptrace", "does not permit io_uring", "runner.allow")
    refused(tmp_path, "allow = iouring", "iouring", "known words are netlink-route ptrace io_uring")
    fnctl("deploy", package(tmp_path, "debugs", "allow = ptrace"))
    plan = fnctl("plan", "debugs").out
    assert re.search(r"^  ptrace +.*; price: ", plan, re.M) and "allow  debugging" in plan and "EPERM  io_uring" in plan


def test_words_that_the_configuration_permits(make_daemon, tmp_path):
    daemon = make_daemon(settings={"runner.allow": "io_uring, aio"})
    daemon.start()
    fnctl("deploy", package(tmp_path, "rings", "allow = io_uring"))
    assert "allow  io_uring" in fnctl("plan", "rings").out
    refused(tmp_path, "allow = ptrace", "does not permit ptrace")


def test_stricter_configuration_stops_a_function(make_daemon, tmp_path):
    """What was permitted at the deploy is asked again at every start."""
    daemon = make_daemon()
    daemon.start()
    fnctl("deploy", package(tmp_path, "debugs", "allow = ptrace"))
    daemon.stop()
    daemon.settings["runner.allow"] = ""
    daemon.start()
    fndtest.wait_until(lambda: "does not permit ptrace" in (fndtest.function("debugs")["last_failure"] or ""))
    assert fndtest.instances("debugs") == []


def test_devices_that_are_refused(daemon, tmp_path):
    refused(tmp_path, "devices = " + RENDER, "does not permit " + RENDER, "runner.devices")
    refused(tmp_path, "devices = /dev/mem", "/dev/mem is given to no function")
    refused(tmp_path, "devices = /dev/../etc/passwd", "no name of a device")


def test_device(own_dev, make_daemon, tmp_path):
    daemon = make_daemon(settings={"runner.devices": RENDER + " /dev/harmless /dev/nvidia0"})
    daemon.start()
    fnctl("deploy", package(tmp_path, "draws", "devices = " + RENDER))
    lines = get("/fn/draws/cgi-bin/look").text.splitlines()
    assert lines[0] == "character special file e2:80 666", lines
    assert sorted(lines[1:]) == ["dri", "fd", "full", "null", "random", "shm", "stderr", "stdin", "stdout", "urandom", "zero"]
    assert f"mknod        {RENDER} mode 0666 char 226:128" in fnctl("plan", "draws").out
    refused(tmp_path, "devices = /dev/nvidia0", "/dev/nvidia0 is not on this host")
    refused(tmp_path, "devices = /dev/harmless", "character device 1:1 is given to no function")
