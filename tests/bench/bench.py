#!/usr/bin/python3
"""bench.py BUILD [ROW ...]: figures of fnd beside a peer, on the same work in the same run. Run by `make bench` inside a private test host. Prints; never fails for a time.

  start     an instance of `hello` from the plan being sent to its first 200 (as the gateway saw it), back to back and one per 50 ms, slots ready; beside fork + exec of the same binary without a sandbox
  isolation the same start with everything on, and with one part of the isolation left out, in turns
            and `scale hello 50` from none, slots made on the way
  memory    resident memory of runner and gateway; what the host's available memory (MemAvailable) loses per idle instance, slot included
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

import benchhost
from benchhost import Daemon, available_kb, build, quantile, rss_kb

PACED_STARTS, PACE_S = 60, 0.050
HAMMERED_STARTS = 50
ISOLATION_ROUNDS = 60
MEMORY_WARM, MEMORY_INSTANCES = 100, 200

server = f"{build}/rootfs/hello/hello"


def show(what, values, unit="ms", yard=None):
    line = f"  {what:<44} median {statistics.median(values):8.3f}  p99 {quantile(values, 0.99):8.3f} {unit}"
    if yard:
        line += f"   x{statistics.median(values) / statistics.median(yard):.2f} of fork+exec"
    print(line, flush=True)


def yard(count, pace_ms):
    out = subprocess.run([f"{build}/bench/spawn_yard", str(count), str(pace_ms), server], capture_output=True, text=True, check=True).stdout
    return [float(x) / 1000 for x in out.split()]


def own_cgroup():
    """This test host's group in the v2 hierarchy."""
    with open("/proc/self/cgroup", encoding="ascii") as f:
        path = next(line.split(":", 2)[2].strip() for line in f if line.startswith("0::"))
    with open("/proc/self/mountinfo", encoding="ascii") as f:
        mount = next(line.split()[4] for line in f if " - cgroup2 " in line)
    return mount + path


def bench_isolation():
    print("what isolation costs on the path of a start, one start per 20 ms", flush=True)
    work = tempfile.mkdtemp(prefix="bench-", dir="/var/lib/fnd")
    group = f"{own_cgroup()}/isolation"
    os.mkdir(group)
    out = subprocess.run([f"{build}/bench/isolation_yard", str(ISOLATION_ROUNDS), f"{build}/fn-init", server, group, work], capture_output=True, text=True, check=True).stdout
    for _ in range(100):  # busy until the last process has been accounted for
        try:
            os.rmdir(group)
            break
        except OSError:
            time.sleep(0.01)  # between two looks
    shutil.rmtree(work)
    took = {}
    for line in out.splitlines():
        variant, us = line.split()
        took.setdefault(variant, []).append(float(us) / 1000)
    for variant, values in took.items():
        show(f"fnd, {variant.replace('-', ' ')}", values)
        if variant != "everything":
            print(f"  {'':<44} which costs {statistics.median(took['everything']) - statistics.median(values):7.3f} ms", flush=True)


def bench_start():
    print("start to first 200", flush=True)
    hammer_yard, paced_yard = yard(100, 0), yard(PACED_STARTS, 50)
    show("fork+exec of the server, back to back", hammer_yard)
    show("fork+exec of the server, one per 50 ms", paced_yard)
    d = Daemon(HAMMERED_STARTS + 10)
    d.deploy()
    d.scale(0)
    time.sleep(1.0)  # the pool fills up: that is what "slots ready" means
    paced = []
    for n in range(1, PACED_STARTS + 1):
        begin = time.monotonic()
        d.scale(n, wait=False)
        time.sleep(max(0, PACE_S - (time.monotonic() - begin)))  # the pace
    d.scale(PACED_STARTS)
    paced = [i["ready_ms"] for i in d.instances()]
    show("fnd, one per 50 ms, slots ready", paced, yard=paced_yard)
    d.scale(0)
    time.sleep(2.0)  # the pool fills up
    begin = time.monotonic()
    d.scale(HAMMERED_STARTS)
    took = (time.monotonic() - begin) * 1000
    hammered = [i["ready_ms"] for i in d.instances()]
    show(f"fnd, {HAMMERED_STARTS} at once, slots ready", hammered, yard=hammer_yard)
    print(f"  {'scale hello %d, slots ready: all ready after' % HAMMERED_STARTS:<44} {took:15.1f} ms", flush=True)
    d.stop()
    d = Daemon(8)
    d.deploy()
    d.scale(0)
    time.sleep(1.0)  # the small pool fills up
    begin = time.monotonic()
    d.scale(HAMMERED_STARTS)
    print(f"  {'scale hello %d, 8 slots ready: all ready after' % HAMMERED_STARTS:<44} {(time.monotonic() - begin) * 1000:15.1f} ms", flush=True)
    d.stop()


def bench_memory():
    print("memory", flush=True)
    d = Daemon(0)
    d.deploy()
    d.scale(1)
    runner, gateway = rss_kb(d.process.pid), rss_kb(d.gateway_pid())
    print(f"  {'runner and gateway, resident':<44} {runner / 1024:.1f} + {gateway / 1024:.1f} = {(runner + gateway) / 1024:.1f} MB", flush=True)
    d.scale(MEMORY_WARM)  # uses up what earlier slots have left in the kernel's caches
    before = available_kb()
    d.scale(MEMORY_WARM + MEMORY_INSTANCES)
    per = (before - available_kb()) / MEMORY_INSTANCES
    print(f"  {'per idle instance, slot included':<44} {per:.0f} KB ({MEMORY_INSTANCES} more instances after {MEMORY_WARM})", flush=True)
    d.stop()


def main():
    table = {"start": bench_start, "isolation": bench_isolation, "memory": bench_memory}
    for name in [n for n in table if not benchhost.rows or n in benchhost.rows]:
        table[name]()


main()
