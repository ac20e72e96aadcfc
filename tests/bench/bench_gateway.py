#!/usr/bin/python3
"""bench_gateway.py BUILD [ROW ...]: fnd-gateway beside nginx and HAProxy, in one run, in front of the same instances. Run by `make bench` inside a private test host. Prints; never fails for a time.

  small   keep-alive requests of a few bytes: CPU per request of the proxy, requests per second
  sockmap the same with gateway.sockmap = auto (runner/sockmaps.c), by a daemon of its own, nginx and HAProxy again
  close   the same, each on a connection of its own
  bulk    answers of 1 MB and 100 MB, uploads of 100 MB: CPU per GB, GB/s
  idle    connections that have had one answer and wait: memory of the proxy, and of the kernel for both ends
  slow    1,000 clients that send a byte a second, beside 100 that wait for their answers: 99th percentile of those, with and without the slow ones
  tail    half of the load that the slowest of the three can bear, at even distances: 99th and 99.9th percentile
  tls     TLS 1.3, a connection per request, new and resumed: CPU per request

Everybody has one worker, keeps connections on both sides (peers/) and writes no log. CPU is what the scheduler says that the proxy's threads have run (schedstat): the kernel's work on loopback and veth is in it,
the client's and the function's is not. Rounds are short and go in turns, so that a neighbour of this machine disturbs all; figures are medians, and ratios are medians of each round's own ratio.
"""

import os
import shutil
import statistics
import subprocess
import tempfile
import time

import benchhost
from benchhost import build, cpu_s, held, load, meminfo_kb, pss_kb

ROUNDS, SECONDS = 15, 1
SMALL = {"connections": 32, "seconds": SECONDS}
IDLE = 9000  # of 10,000: the gateway keeps a second descriptor for each connection, and 20,000 is all that root may have on the machine where this was written
PORTS = {"fnd": 8888, "nginx": 8890, "haproxy": 8893}
BULK_PORTS = {"fnd": (8888, "fnd"), "nginx": (8890, "nginx"), "nginx, sendfile": (8891, "nginx"), "nginx, unbuffered": (8892, "nginx"), "haproxy": (8893, "haproxy"), "haproxy, splice": (8894, "haproxy")}
HELLO, BULK = "/fn/hello/ping", "/fn/bulk"

summary = []  # (work, what, fnd's, best peer's name and value, ratio, aim)


class World:
    """The daemon with both functions, and the peers."""

    def __init__(self, **settings):
        more = {**settings, "gateway__max_connections_per_client": 0, "gateway__max_requests_per_function": 0, "gateway__max_body": "4G"}
        if benchhost.knows_key("gateway.threads=1"):
            more["gateway__threads"] = 1
        self.tls = tempfile.mkdtemp(prefix="bench-tls-", dir="/var/lib/fnd")
        if benchhost.knows_key("gateway.tls_listen=none"):
            benchhost.make_certificate(f"{self.tls}/localhost.pem", f"{self.tls}/localhost.key")
            more.update(gateway__tls_listen="127.0.0.1:8896", gateway__tls_dir=self.tls)
        self.daemon = benchhost.Daemon(3, **more)
        self.daemon.deploy()
        self.daemon.deploy("bulk", self.pack_bulk())
        wait_ready(self.daemon, "hello")
        wait_ready(self.daemon, "bulk")
        self.peers = benchhost.Peers(*(self.daemon.instances(n)[0]["address"] for n in ("hello", "bulk")))
        self.pids = {"fnd": [self.daemon.gateway_pid()], **self.peers.pids}
        benchhost.forget_connections()
        self.ports = {n: port for n, port in PORTS.items() if n in self.pids}
        self.bulk_ports = {n: port for n, port in BULK_PORTS.items() if port[1] in self.pids}

    @staticmethod
    def pack_bulk():
        with tempfile.TemporaryDirectory(dir="/var/lib/fnd") as work:
            with open(f"{work}/function.ini", "w", encoding="utf-8") as f:
                f.write("[function]\nname = bulk\ncommand = /bulk\n[limits]\ncpu = 2\n")
            subprocess.run(["cp", f"{build}/bench/bulk", work], check=True)
            package = f"{build}/bench/bulk.tar.gz"
            subprocess.run(["tar", "-C", work, "--owner=0", "--group=0", "-czf", package, "."], check=True)
            return package

    def stop(self):
        self.peers.stop()
        self.daemon.stop()
        shutil.rmtree(self.tls)


def wait_ready(daemon, name):
    deadline = time.monotonic() + 20
    while not daemon.instances(name):
        if time.monotonic() > deadline:
            raise SystemExit(f"{name}: no instance after 20 s")
        time.sleep(0.01)  # between two looks


def tell(name, text):
    print(f"  {name:<20} {text}", flush=True)


def conclude(work, what, values, aim, best=min, ratios=None):
    """values: by proxy; what is `better` is said by best. ratios: of fnd's to each peer's, where they are more than the values'."""
    peers = {n: v for n, v in values.items() if n != "fnd"}
    if not peers or not values.get("fnd"):
        return
    name = best(peers, key=peers.get)
    summary.append((work, what, values["fnd"], name, peers[name], ratios[name] if ratios else values["fnd"] / peers[name], aim))


def measure(world, name, port, path, **options):
    """One run: its figures, with the proxy's CPU."""
    pids = world.pids[name]
    before = cpu_s(pids)
    r = load(port, path, **options)
    r["cpu_s"] = cpu_s(pids) - before
    if r["errors"] or not r["requests"]:
        tell(name, f"{r['errors']} errors, {r['requests']} answers")
    if "requests" not in options and r["seconds"] > options["seconds"] + 1:
        tell(name, f"the last answer came {r['seconds'] - options['seconds']:.1f} s late; {benchhost.untracked_drops()} packets dropped for want of room in the table of connections")
    return r


def turns(world, ports, path, rounds=ROUNDS, **options):
    runs = {n: [] for n in ports}
    for i in range(rounds):
        names = list(ports)
        for name in names[i % len(names):] + names[:i % len(names)]:
            port, owner = ports[name] if isinstance(ports[name], tuple) else (ports[name], name)
            runs[name].append(measure(world, owner, port, path, **options))
    return runs


def median_of(runs, figure):
    return {n: statistics.median(figure(r) for r in rs if r["requests"]) for n, rs in runs.items() if any(r["requests"] for r in rs)}


def ratios_of(runs, name, figure):
    """name's figure to each other's, in the median of the rounds."""
    pairs = {n: [(a, b) for a, b in zip(runs[name], rs) if a["requests"] and b["requests"]] for n, rs in runs.items()}
    return {n: statistics.median(figure(a) / figure(b) for a, b in ps) for n, ps in pairs.items() if ps}


def cpu_us(r):
    return r["cpu_s"] * 1e6 / r["requests"]


def rate_of(r):
    return r["requests"] / r["seconds"]


def per_request(world, work, runs, aim_cpu):
    cpu, rate, p99 = median_of(runs, cpu_us), median_of(runs, rate_of), median_of(runs, lambda r: r["p99_us"])
    for n in cpu:
        beside = f"x{ratios_of(runs, n, cpu_us)['nginx']:.2f} of nginx's" if "nginx" in cpu else ""
        tell(n, f"{cpu[n]:8.2f} us CPU/request   {rate[n]:9.0f} requests/s   p99 {p99[n]:9.0f} us   CPU {beside}")
    conclude(work, "us CPU/request", cpu, aim_cpu, ratios=ratios_of(runs, "fnd", cpu_us))
    conclude(work, "requests/s", rate, "first", max, ratios=ratios_of(runs, "fnd", rate_of))


def bench_small(world):
    print(f"small: GET {HELLO}, 32 connections, keep-alive", flush=True)
    per_request(world, "small, keep-alive", turns(world, world.ports, HELLO, **SMALL), "0.85 of nginx's")


def bench_sockmap(world):
    print("sockmap: small, with gateway.sockmap = auto", flush=True)
    per_request(world, "small, sockmap", turns(world, world.ports, HELLO, **SMALL), "0.72 of nginx's")


def bench_close(world):
    print(f"close: GET {HELLO}, a connection per request, 32 at a time", flush=True)
    per_request(world, "connection per request", turns(world, world.ports, HELLO, close=1, **SMALL), "first")


def bulk_row(world, work, path, rounds, **options):
    print(f"bulk: {work}", flush=True)
    runs = turns(world, world.bulk_ports, path, rounds=rounds, seconds=60, **options)
    cpu = median_of(runs, lambda r: r["cpu_s"] * 1e9 / r["bytes"])
    speed = median_of(runs, lambda r: r["bytes"] / r["seconds"] / 1e9)
    for n in cpu:
        tell(n, f"{cpu[n]:8.3f} s CPU/GB   {speed[n]:6.2f} GB/s   CPU x{cpu[n] / cpu.get('nginx, unbuffered', cpu[n]):.2f} of nginx's, unbuffered")
    conclude(work, "s CPU/GB", cpu, "first, 0.5 of nginx's")


def bench_bulk(world):
    bulk_row(world, "1 MB answers", f"{BULK}/bytes/1000000", 3, connections=4, requests=600)
    bulk_row(world, "100 MB answers", f"{BULK}/bytes/100000000", 3, connections=2, requests=6)
    bulk_row(world, "100 MB uploads", f"{BULK}/upload", 3, connections=2, requests=6, upload=100000000)


def bench_idle(world):
    print(f"idle: {IDLE} connections after one answer each", flush=True)
    user, kernel = {}, {}
    for name, port in world.ports.items():
        with held(port, HELLO, "idle", 200):  # what it allocates once is not counted
            pass
        before = (sum(map(pss_kb, world.pids[name])), meminfo_kb("Slab"))
        with held(port, HELLO, "idle", IDLE) as errors:
            time.sleep(2.5)  # the gateway gives buffers back after 2 s
            after = (sum(map(pss_kb, world.pids[name])), meminfo_kb("Slab"))
        user[name], kernel[name] = ((a - b) * 1024 / IDLE for a, b in zip(after, before))
        tell(name, f"{user[name]:8.0f} bytes of its own per connection, {kernel[name]:6.0f} of the kernel (both ends)" + (f"; {errors} errors" if errors else ""))
        time.sleep(1.0)  # so that memory is read at rest
    conclude("idle connections", "bytes each", user, "less than nginx's")


def bench_slow(world):
    print("slow: 100 connections that want an answer every 20 ms each, beside 1,000 that send a byte a second", flush=True)
    fast = {"connections": 100, "rate": 5000, "seconds": 3}
    quiet, beside = {}, {}
    for name, port in world.ports.items():
        alone = [measure(world, name, port, HELLO, **fast)["p99_us"] for _ in range(3)]
        with held(port, HELLO, "slow", 1000):
            both = [measure(world, name, port, HELLO, **fast)["p99_us"] for _ in range(3)]
        quiet[name], beside[name] = statistics.median(alone), statistics.median(both)
        tell(name, f"p99 {quiet[name]:8.1f} us alone, {beside[name]:8.1f} us beside them: x{beside[name] / quiet[name]:.2f}")
    conclude("1,000 slow clients", "p99 to p99 without", {n: beside[n] / v for n, v in quiet.items()}, "1.10")


def bench_tail(world):
    saturation = {n: statistics.median(measure(world, n, p, HELLO, **SMALL)["requests"] / SECONDS for _ in range(3)) for n, p in world.ports.items()}
    rate = int(min(saturation.values()) / 2)
    print(f"tail: {rate} requests/s at even distances over 32 connections, half of what the slowest bears", flush=True)
    runs = turns(world, world.ports, HELLO, rounds=7, connections=32, seconds=2, rate=rate)
    p99, p999 = median_of(runs, lambda r: r["p99_us"]), median_of(runs, lambda r: r["p999_us"])
    for n in p999:
        tell(n, f"p99 {p99[n]:8.1f} us   p99.9 {p999[n]:8.1f} us")
    conclude("half load", "p99.9 us", p999, "lower")


def bench_tls(world):
    ports = {n: p for n, p in {"fnd": 8896, "nginx": 8895}.items() if n in world.pids}
    if not benchhost.knows_key("gateway.tls_listen=none"):
        print("tls: not measured: this fnd-gateway has no TLS", flush=True)
        return
    for kind, tls in (("new", 1), ("resumed", 2)):
        print(f"tls: GET {HELLO}, TLS 1.3 (P-256), a connection per request, {kind}, 16 at a time", flush=True)
        runs = turns(world, ports, HELLO, close=1, tls=tls, connections=16, seconds=SECONDS)
        for n, rs in runs.items():
            if tls == 2 and sum(r["resumed"] for r in rs) < 0.9 * sum(r["requests"] for r in rs):
                tell(n, f"only {sum(r['resumed'] for r in rs)} of {sum(r['requests'] for r in rs)} handshakes were resumed")
        per_request(world, f"TLS 1.3, {kind}", runs, "no slower than nginx")


def table():
    if not summary:
        return
    print(f"{'':<24} {'':<20} {'fnd':>10} {'best peer':>10}  ratio  aim", flush=True)
    for work, what, own, name, peer, ratio, aim in summary:
        print(f"{work:<24} {what:<20} {own:10.4g} {peer:10.4g} x{ratio:5.2f}  {aim} (peer: {name})", flush=True)


def run(names, benches, settings):
    world = World(**settings)
    try:
        if settings and "by TCP only" in world.daemon.said():
            print("sockmap: not measured: " + world.daemon.said().split("by TCP only", 1)[1].split("\n", 1)[0].strip(), flush=True)
            return
        for name in names:
            benches[name](world)
    finally:
        world.stop()


def main():
    benches = {"small": bench_small, "sockmap": bench_sockmap, "close": bench_close, "bulk": bench_bulk, "idle": bench_idle, "slow": bench_slow, "tail": bench_tail, "tls": bench_tls}
    wanted = [n for n in benches if not benchhost.rows or n in benchhost.rows]
    if not wanted:
        return
    with open("/proc/version", encoding="ascii") as f:
        print(f"the gateway, on {f.read().split()[2]}, {os.cpu_count()} cores, load average before {os.getloadavg()[0]:.1f}", flush=True)
    for settings in ({}, {"gateway__sockmap": "auto"}):
        names = [n for n in wanted if (n == "sockmap") == bool(settings)]
        if names:
            run(names, benches, settings)
    table()


if __name__ == "__main__":
    main()
