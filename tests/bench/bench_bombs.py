#!/usr/bin/python3
"""bench_bombs.py BUILD [ROW ...]: what a neighbour notices of functions that use up what they can. Run by `make bench` inside a private test host. Prints; never fails for a time. Its row is `bombs`.

For each bomb: the neighbour's median and 99th percentile (one request at a time, each on a connection of its own) in quiet times just before, during the bomb, and their ratio; and how the daemons' resident memory changed.
"""

import contextlib
import os
import sys
import threading
import time

here = os.path.dirname(os.path.abspath(__file__))
os.environ["FND_BUILD"] = os.path.abspath(sys.argv[1])
sys.path[:0] = [os.path.join(here, "../system"), os.path.join(here, "../hostile")]

import fndtest  # noqa: E402  pylint: disable=wrong-import-position
import hostile  # noqa: E402  pylint: disable=wrong-import-position

SECONDS = 5

# Name, settings of its function, verb and arguments; repeated until the time is over.
BOMBS = (
    ("fork", {"pids": 64}, ("forks", 500)),
    ("memory", {"memory": "64M"}, ("memory", "anonymous", 96)),
    ("CPU", {"cpu": 1}, ("spin", 4, 1)),
    ("disk (tmp)", {"memory": "64M", "tmp": "16M"}, ("memory", "tmpfs", 32)),
    ("log", {"cpu": 1}, ("flood", "lines", 200)),
    ("connections", {"cpu": 1}, ("crowd", "127.0.0.1", 3000, 500, 2)),
)


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def rss_kb(pid):
    return int(fndtest.process_status(pid)["VmRSS"].split()[0])


def ask(seconds, stop=None):
    """Milliseconds of the neighbour's answers, and how many were not 200."""
    took, bad, end = [], 0, time.monotonic() + seconds
    while time.monotonic() < end and not (stop and stop.is_set()):
        began = time.monotonic()
        try:
            bad += fndtest.get("/fn/neighbour/").status != 200
        except OSError:
            bad += 1
        took.append((time.monotonic() - began) * 1000)
        time.sleep(0.002)  # the pace of who is disturbed
    return took, bad


def explode(name, verb, args, end):
    """Again and again; what the function answers is the tests' business."""
    p = hostile.Probe(name)
    while time.monotonic() < end:
        with contextlib.suppress(AssertionError):
            p.outcome(verb, *args, seconds=20)
        time.sleep(0.01)  # the pace of explosions


def flood_gateway(end):
    """A client that opens connections as fast as it can, and holds what it gets."""
    held = []
    while time.monotonic() < end:
        s = fndtest.socket.socket()
        s.settimeout(1)
        with contextlib.suppress(OSError):
            s.bind(("127.0.0.2", 0))
            s.connect(("127.0.0.1", 8888))
            held.append(s)
        if len(held) > 2000:
            held.pop(0).close()
    for s in held:
        s.close()


def main():
    print(f"what a neighbour notices (one request at a time, {SECONDS} s quiet, {SECONDS} s under the bomb)", flush=True)
    host = hostile.Host()
    ask(1)
    for title, options, (verb, *args) in (*BOMBS, ("connections to the gateway", None, ("", ))):
        if options is not None:
            host.deploy("bomb", **options)
        pids = {"runner": host.daemon.pid, "gateway": host.daemon.gateway_pid}
        before = {n: rss_kb(p) for n, p in pids.items()}
        quiet, _ = ask(SECONDS)
        end = time.monotonic() + SECONDS
        bomb = threading.Thread(target=explode, args=("bomb", verb, args, end)) if options is not None else threading.Thread(target=flood_gateway, args=(end,))
        bomb.start()
        under, bad = ask(SECONDS)
        after = {n: rss_kb(p) for n, p in pids.items()}
        bomb.join()
        print(f"  {title:<26} median {quantile(quiet, 0.5):6.2f} -> {quantile(under, 0.5):6.2f} ms   p99 {quantile(quiet, 0.99):6.2f} -> {quantile(under, 0.99):6.2f} ms (x{quantile(under, 0.99) / quantile(quiet, 0.99):.2f})   "
              f"not 200: {bad} of {len(under)}   " + "  ".join(f"{n} {before[n] / 1024:.1f} -> {after[n] / 1024:.1f} MB" for n in pids), flush=True)
        host.remove()
    host.close()


if not sys.argv[2:] or "bombs" in sys.argv[2:]:
    main()
