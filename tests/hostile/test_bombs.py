"""H22 to H27, H35: what uses things up. Each bomb is bounded by its own arguments as well, and by the cgroup of the test host."""

import contextlib
import os
import re
import threading
import time

import fndtest
import hostile
from fndtest import fnctl, function, get, instances, wait_until
from hostile import times

MIB = 1 << 20


def replaced(name, before, seconds=30):
    wait_until(lambda: [i["name"] for i in instances(name)] not in ([], [before]), seconds, f"another instance of {name}")


def hits(name, limit):
    """How often the metrics say that a function has met a limit."""
    return int(re.search(rf'^fnd_limit_hits_total\{{function="{name}",limit="{limit}"\}} (\d+)$', get("/metrics", port=8889).text, re.M)[1])


def memory_used():
    """By all that runs in this test host: the machine's own numbers are everybody's."""
    try:
        group, keys = hostile.group_of(os.getpid(), "memory"), ("total_rss", "total_shmem")
    except AssertionError:
        group, keys = hostile.group_of(os.getpid()), ("anon", "shmem", "kernel")
    stat = dict(line.split() for line in hostile.read(os.path.dirname(group) + "/memory.stat").splitlines())
    return sum(int(stat.get(k, 0)) for k in keys)


def test_h22_fork_bomb(host):
    p = host.deploy("forks", pids=40)
    with hostile.Watch() as neighbour:
        done = p.outcome("forks", 500)
        assert done.good, done
        assert int(done.text.split()[1]) <= 40
        assert p.instance["pids"] <= 41
        wait_until(lambda: hits("forks", "pids") > 0, what="the refusals to be counted")
        group, before = p.group(), p.instance["name"]
        watch = fndtest.Stopwatch()
        with open(group + "/cgroup.kill", "w", encoding="ascii") as f:
            f.write("1")
        wait_until(lambda: not os.path.exists(group) or "populated 0" in hostile.read(group + "/cgroup.events"))
        assert watch.own < 1 / hostile.SCALE
        replaced("forks", before)
    neighbour.check()


def test_h23_memory_bombs(host):
    """By every kind of memory there is: the instance meets its limit and dies as a whole, or is told that there is no more; the host has lost no more than the limit."""
    limit = 32 * MIB
    kinds = ("anonymous", "tmpfs", "memfd", "shm", "pipes", "sockets", "inodes", "dentries", "epoll", "queues")
    p = host.deploy("eats", memory="32M", tmp="16M")
    killed = []
    used = memory_used()
    with hostile.Watch() as neighbour:
        for kind in kinds:
            before = p.instance
            done = p.outcome("memory", kind, 96, seconds=120)
            now = [i for i in instances("eats", None) if i["name"] == before["name"]]
            if done.how != "exit":
                killed.append(kind)
                replaced("eats", before["name"])
                wait_until(lambda b=before: not fndtest.alive(b["pid"]), what="the whole instance to end")
                assert "32M" in function("eats")["last_failure"], function("eats")
            elif now:
                assert now[0]["memory_bytes"] <= limit * 1.1, (kind, now)
    neighbour.check(2000)
    assert {"anonymous", "memfd", "shm"} <= set(killed), killed
    wait_until(lambda: hits("eats", "memory") >= len(killed), what="the kills to be counted")
    wait_until(lambda: memory_used() - used < limit * 1.1 + 64 * MIB, what="the memory of the last one to be given back")


def test_h24_processor(host):
    """Four threads that spin get their quota and no more; no real-time class, no better nice value."""
    p = host.deploy("spins", cpu=0.5)
    p.run("priority")
    seconds = 3
    with hostile.Watch() as neighbour:
        began = time.monotonic()
        used = int(p.run("spin", 4, seconds).split()[1])
        passed = (time.monotonic() - began) * 1000
    assert used <= passed * 0.5 * 1.05 + 100, (used, passed)  # one period of 100 ms may begin just before the end
    wait_until(lambda: hits("spins", "cpu") > 0, what="the throttling to be counted")
    neighbour.check()


def test_h25_crashes_dump_nothing(host):
    """What wait(2) says is what counts: a handler that the host has set would run in the host's own pid namespace."""
    p = host.deploy("crashes", memory="128M", cpu=1)
    before = p.instance["cpu_seconds"]
    p.run("segv", times(64, 8), times(20, 2), seconds=120)
    assert p.instance["cpu_seconds"] - before < 60
    image = os.path.realpath("/var/lib/fnd/functions/default/crashes/current/image")
    assert not [f for _, _, files in os.walk(image) for f in files if f.startswith("core")]


def rss(pid):
    return int(fndtest.process_status(pid)["VmRSS"].split()[0])


def file_size(path):
    with contextlib.suppress(FileNotFoundError):  # the last lines may still be written, and a full file get its next name
        return os.stat(path).st_size
    return 0


def test_h26_log_floods(host):
    """Without an end of line, binary, and as lines: the log is bounded, the daemons do not grow, and the function gets its writes through."""
    p = host.deploy("floods", cpu=2)
    before = {pid: rss(pid) for pid in (host.daemon.pid, host.daemon.gateway_pid)}
    with hostile.Watch() as neighbour:
        for kind in ("endless", "binary", "lines"):
            assert "written" in p.run("flood", kind, times(200, 8), seconds=120)
    with os.scandir("/var/lib/fnd/logs/default/floods") as files:
        assert sum(file_size(f.path) for f in files) < 2 * MIB
    assert fnctl("logs", "floods", "-n", "3").out
    for pid, size in before.items():
        assert rss(pid) < size + 8192, (pid, size, rss(pid))
    neighbour.check()


def test_h27_descriptors_and_connections(host):
    """The function's own limit, and a crowd of clients that hold the function's connections: others are still served."""
    p = host.deploy("holds", pids=64)
    p.run("descriptors")
    held = []
    try:
        with hostile.Watch() as neighbour:
            for _ in range(times(300, 50)):
                s = fndtest.socket.create_connection(("127.0.0.1", 8888), timeout=30)
                s.sendall(b"GET /fn/holds/run/stamp HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                held.append(s)
            time.sleep(0.3)  # the span for which the neighbour is watched
        neighbour.check()
        assert fndtest.api("GET", "/functions").status == 200
    finally:
        for s in held:
            s.close()
    wait_until(lambda: p.outcome("stamp").good)


def test_h27b_connections_from_inside(host):
    """The gateway's port is what every function can reach: one that takes all the connections it can get keeps nobody else from being served, by another function or from outside."""
    p, friend = host.deploy("floods", cpu=2, memory="128M"), host.deploy("friend")
    bridge = re.search(r"^(\S+)\s.*\bgateway\b", p.run("cat", "/etc/hosts"), re.M)[1]
    with hostile.Watch() as neighbour:
        text = p.run("connect-flood", f"{bridge},8888", 8000)
        assert int(text.split()[1]) > 0, text
        friend.run("reachable", f"{bridge},8888")
        assert fndtest.api("GET", "/functions").status == 200
        time.sleep(1)  # the same
    neighbour.check()


def test_h35_orphans_are_reaped(host):
    p = host.deploy("orphans", pids=64)
    p.run("orphan-crowd", times(10000, 500), seconds=120)
    wait_until(lambda: p.instance["pids"] <= 4, what="no zombies")
    p.run("orphans")


def test_h40b_crowd_of_starts_and_kills(host):
    """An instance that is killed as soon as it is there, again and again: the daemon's table of slots does not fill up."""
    p = host.deploy("dies")
    stop = threading.Event()

    def kill():
        while not stop.is_set():
            for i in instances("dies"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(i["pid"], 9)
            stop.wait(0.05)

    with hostile.Watch() as neighbour:
        killer = threading.Thread(target=kill)
        killer.start()
        time.sleep(2)  # the span for which instances are killed
        stop.set()
        killer.join()
    neighbour.check()
    fnctl("start", "dies")
    wait_until(lambda: p.outcome("stamp").good, 30)
