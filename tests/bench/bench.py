#!/usr/bin/python3
"""bench.py BUILD: figures of fnd beside a peer, on the same work in the same run. Run by `make bench` inside a private test host. Prints; never fails for a time.

  start     an instance of `hello` from the plan being sent to its first 200 (as the gateway saw it), back to back and one per 50 ms, slots ready; beside fork + exec of the same binary without a sandbox
  isolation the same start with everything on, and with one part of the isolation left out, in turns
  scale     `scale hello 50` from none, slots made on the way
  requests  GET /ping through fnd-gateway and through nginx to the same instance: keep-alive on both sides, one worker, no log
  memory    resident memory of runner and gateway; what the host's available memory (MemAvailable) loses per idle instance, slot included
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PACED_STARTS, PACE_S = 60, 0.050
HAMMERED_STARTS = 50
ISOLATION_ROUNDS = 60
LOAD_ROUNDS, LOAD_S, LOAD_CONNECTIONS = 5, 4, 32
MEMORY_WARM, MEMORY_INSTANCES = 100, 200

build = os.path.abspath(sys.argv[1])
here = os.path.dirname(os.path.abspath(__file__))
server = f"{build}/rootfs/hello/hello"


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def show(what, values, unit="ms", yard=None):
    line = f"  {what:<44} median {statistics.median(values):8.3f}  p99 {quantile(values, 0.99):8.3f} {unit}"
    if yard:
        line += f"   x{statistics.median(values) / statistics.median(yard):.2f} of fork+exec"
    print(line, flush=True)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("fnd", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Daemon:
    """fnd with its gateway, in directories of its own."""

    def __init__(self, slots_ready):
        self.dir = tempfile.mkdtemp(prefix="bench-", dir="/var/lib/fnd")
        self.run = tempfile.mkdtemp(prefix="fnd-bench-", dir="/run")
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(f"{self.run}/notify")
        notify.settimeout(20)
        sets = {
            "runner.state": self.dir, "runner.run": f"{self.run}/r", "runner.name": "fnd-bench", "runner.slots_ready": slots_ready, "runner.ephemeral": "yes",
            "gateway.listen": "127.0.0.1:8888", "gateway.admin": "none",
        }
        args = [a for k, v in sets.items() for a in ("--set", f"{k}={v}")]
        self.log = open(f"{self.run}/log", "w")
        self.process = subprocess.Popen([f"{build}/fnd", *args], env={**os.environ, "NOTIFY_SOCKET": f"{self.run}/notify"}, stderr=self.log)
        while b"READY=1" not in notify.recv(4096):
            pass
        self.socket = f"{self.run}/r/fnd.sock"

    def call(self, method, path, body=None):
        c = UnixConnection(self.socket)
        c.request(method, "/api/v1" + path, body=body)
        r = c.getresponse()
        data = r.read()
        c.close()
        if r.status >= 300:
            raise SystemExit(f"{method} {path}: {r.status} {data.decode()}")
        return json.loads(data) if data else None

    def deploy(self):
        with open(f"{build}/hello.tar.gz", "rb") as f:
            self.call("POST", "/functions?name=hello", f.read())

    def instances(self):
        return [i for i in self.call("GET", "/functions/hello/instances")["instances"] if i["state"] == "ready" and i["ready_ms"] is not None]

    def scale(self, n, wait=True):
        self.call("PUT", "/functions/hello/scale", json.dumps({"replicas": n}))
        deadline = time.monotonic() + 60
        while wait and len(self.instances()) != n:
            if time.monotonic() > deadline:
                raise SystemExit(f"scale {n}: {len(self.instances())} ready after 60 s")
            time.sleep(0.002)

    def gateway_pid(self):
        return int(subprocess.run(["pgrep", "-P", str(self.process.pid), "fnd-gateway"], capture_output=True, text=True, check=True).stdout)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        for path in (f"{self.run}/notify", f"{self.run}/log"):
            os.unlink(path)
        os.rmdir(self.run)


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
            time.sleep(0.01)
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
        time.sleep(max(0, PACE_S - (time.monotonic() - begin)))
    d.scale(PACED_STARTS)
    paced = [i["ready_ms"] for i in d.instances()]
    show("fnd, one per 50 ms, slots ready", paced, yard=paced_yard)
    d.scale(0)
    time.sleep(2.0)
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
    time.sleep(1.0)
    begin = time.monotonic()
    d.scale(HAMMERED_STARTS)
    print(f"  {'scale hello %d, 8 slots ready: all ready after' % HAMMERED_STARTS:<44} {(time.monotonic() - begin) * 1000:15.1f} ms", flush=True)
    d.stop()


def cpu_s(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/schedstat") as f:
            total += int(f.read().split()[0])
    return total / 1e9


def wrk(url):
    out = subprocess.run(["wrk", "-t1", f"-c{LOAD_CONNECTIONS}", f"-d{LOAD_S}s", url], capture_output=True, text=True, check=True).stdout
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    errors = re.search(r"(Non-2xx.*|Socket errors.*)", out)
    if errors:
        print("  " + errors.group(1))
    return requests


def nginx_start(work, addr):
    with open(f"{work}/nginx.conf", "w") as f:
        f.write(f"""
worker_processes 1; daemon off; pid {work}/nginx.pid; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {work}/a; proxy_temp_path {work}/b; fastcgi_temp_path {work}/c; uwsgi_temp_path {work}/d; scgi_temp_path {work}/e;
  keepalive_requests 100000000;
  upstream hello {{ server {addr}:3000; keepalive 64; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:8890; location /fn/hello/ {{ proxy_pass http://hello/; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}""")
    p = subprocess.Popen(["nginx", "-c", f"{work}/nginx.conf"], stderr=subprocess.DEVNULL)
    for _ in range(500):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", 8890)) == 0:
                break
        time.sleep(0.01)
    worker = subprocess.run(["pgrep", "-P", str(p.pid)], capture_output=True, text=True, check=True).stdout.split()
    return p, worker


def bench_requests():
    print(f"requests ({LOAD_CONNECTIONS} connections, keep-alive, {LOAD_ROUNDS} rounds of {LOAD_S} s each, in turns)", flush=True)
    d = Daemon(2)
    d.deploy()
    d.scale(1)
    work = tempfile.mkdtemp(prefix="bench-nginx-", dir="/var/lib/fnd")
    nginx, workers = nginx_start(work, d.instances()[0]["address"])
    peers = {"fnd-gateway": ("http://127.0.0.1:8888/fn/hello/ping", [d.gateway_pid()]), "nginx": ("http://127.0.0.1:8890/fn/hello/ping", workers)}
    rates, costs = {n: [] for n in peers}, {n: [] for n in peers}
    for _ in range(LOAD_ROUNDS):
        for name, (url, pids) in peers.items():
            before = cpu_s(pids)
            n = wrk(url)
            rates[name].append(n / LOAD_S)
            costs[name].append((cpu_s(pids) - before) * 1e6 / n)
    for name in peers:
        print(f"  {name:<14} median {statistics.median(rates[name]):9.0f} requests/s   {statistics.median(costs[name]):6.2f} us CPU/request", flush=True)
    print(f"  fnd-gateway to nginx: requests x{statistics.median(rates['fnd-gateway']) / statistics.median(rates['nginx']):.2f}, "
          f"CPU x{statistics.median(costs['fnd-gateway']) / statistics.median(costs['nginx']):.2f}", flush=True)
    nginx.terminate()
    nginx.wait()
    subprocess.run(["rm", "-rf", work], check=True)
    d.stop()


def meminfo_kb(key):
    with open("/proc/meminfo") as f:
        return int(re.search(rf"^{key}:\s+(\d+)", f.read(), re.M).group(1))


def rss_kb(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"^VmRSS:\s+(\d+)", f.read(), re.M).group(1))


def available_kb():
    """Once it has come to rest: namespaces, cgroups and RCU give memory back late."""
    last = meminfo_kb("MemAvailable")
    for _ in range(30):
        time.sleep(0.5)
        now = meminfo_kb("MemAvailable")
        if abs(now - last) < 256:
            break
        last = now
    return now


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
    with open("/proc/version") as f:
        print(f"{f.read().split()[2]}, {os.cpu_count()} cores, cgroups: " + ("hybrid" if os.path.isdir("/sys/fs/cgroup/unified") else "v2"), flush=True)
    for bench in (bench_start, bench_isolation, bench_requests, bench_memory):
        bench()


main()
