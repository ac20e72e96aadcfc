"""The daemons themselves: what they have given up, seen from outside."""

import contextlib
import os
import socket
import time

import fndtest
import pytest
from fndtest import cgroup_dirs, fnctl, function, get, process_status, wait_until

# SYS_ADMIN NET_ADMIN SETUID SETGID SETPCAP CHOWN DAC_OVERRIDE FOWNER KILL MKNOD SYS_CHROOT NET_BIND_SERVICE
RUNNER_CAPABILITIES = sum(1 << n for n in (21, 12, 7, 6, 8, 0, 1, 3, 5, 27, 18, 10))


def test_runner_is_bounded(daemon):
    """A capability set and a filter; what it starts under them works."""
    status = process_status(daemon.pid)
    assert status["Seccomp"] == "2" and int(status["Seccomp_filters"]) >= 1
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[name], 16) & ~RUNNER_CAPABILITIES == 0, (name, status[name])
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert int(process_status(daemon.gateway_pid)["Seccomp_filters"]) >= 2
    fnctl("deploy", "hello")


def test_runner_cannot_tune_the_host(daemon):
    """Through its own /proc, that is: root's writes ask for no capability there."""
    for path in ("sys/kernel/core_pattern", "sys/kernel/modprobe", "sysrq-trigger", "sys/vm/overcommit_memory"):
        inside, outside = f"/proc/{daemon.pid}/root/proc/{path}", f"/proc/{path}"
        if not os.path.exists(outside):
            continue
        with pytest.raises(OSError, match="Read-only"):
            os.close(os.open(inside, os.O_WRONLY))
    os.close(os.open(f"/proc/{daemon.pid}/root/proc/sys/net/ipv4/conf/lo/forwarding", os.O_WRONLY))  # no more than opened


def test_ready_waits_for_the_gateway_but_not_for_ever(make_daemon):
    """Started by a service manager (gateway.spawn = no): ready when the gateway has come, so that whoever started the service finds an API; or after a while, with a word."""
    started = time.monotonic()
    daemon = make_daemon(settings={"gateway.spawn": "no"}).start()
    assert time.monotonic() - started > 4
    assert "no gateway has connected" in daemon.output(), daemon.output()


JAIL_FILES = {"memory.max": "memory", "memory.limit_in_bytes": "memory", "pids.max": "pids", "cpu.max": "quota", "cpu.cfs_quota_us": "quota", "cpu.weight": "weight", "cpu.shares": "weight"}


def jail_groups():
    return [path for path in cgroup_dirs() if os.path.basename(path).startswith("unpack-")]


def half_upload():
    """A deploy whose archive stops in the middle; the caller closes the connection."""
    with open(f"{fndtest.BUILD}/hello.tar.gz", "rb") as f:
        data = f.read()
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    s.connect(fndtest.API_SOCKET)
    s.sendall(f"POST /api/v1/functions?name=half HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data[: len(data) // 2])
    return s


def test_upload_that_stands_still(make_daemon):
    """The jail runs in a group of its own, and is ended when nothing moves; nothing is left of it."""
    daemon = make_daemon(settings={"runner.unpack_stall": "4s"}).start()
    with half_upload() as s:
        jail = wait_until(lambda: fndtest.processes("fnd-unpack"), what="the jail")[0]
        with open(f"/proc/{jail}/cgroup", encoding="ascii") as f:
            assert "/unpack-1" in f.read()
        assert [os.path.basename(path) for path in jail_groups()] == ["unpack-1"] * len(jail_groups()) != []
        limits = {}
        for group in jail_groups():
            for name, limit in JAIL_FILES.items():
                with contextlib.suppress(OSError), open(f"{group}/{name}", encoding="ascii") as f:
                    limits[limit] = f.read().split()[0]
        # Two processors where they are idle, and the share of one where they are not: the kernels' defaults.
        assert limits.pop("weight") in ("100", "1024")
        assert limits == {"memory": str(1 << 30), "pids": "3", "quota": "200000"}  # the jail and its thread for digests, which compute, and what flushes
        answer = s.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 504 ") and "stood still" in answer and "runner.unpack_stall" in answer
    wait_until(lambda: not jail_groups() and not fndtest.processes("fnd-unpack"), what="the jail's end")
    assert os.listdir("/var/lib/fnd/images") == []
    fnctl("deploy", "hello")
    wait_until(lambda: not jail_groups(), what="the second jail's end")
    daemon.stop()


def test_killed_daemon_leaves_no_jail(make_daemon):
    daemon = make_daemon().start()
    with half_upload():
        wait_until(lambda: fndtest.processes("fnd-unpack"), what="the jail")
        daemon.kill()
        wait_until(lambda: not fndtest.processes("fnd-unpack"), what="the jail's end")
    assert jail_groups()
    daemon.start()
    assert not jail_groups() and os.listdir("/var/lib/fnd/images") == []
    fnctl("deploy", "hello")
    assert function("hello")["ready"] == 1


def test_gateway_may_make_the_calls_that_its_metrics_need(daemon):
    """Its list of calls is short: what a page needs must be on it."""
    text = wait_until(lambda: get("/metrics", port=8889).text)
    for metric in ("process_cpu_seconds_total", "fnd_gateway_resident_memory_max_bytes"):
        assert any(line.startswith(metric + " ") for line in text.splitlines()), metric
