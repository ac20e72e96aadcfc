#!/usr/bin/python3
"""bench_stdio.py BUILD [ROW ...]: a process for each request, beside others who do that. Run by `make bench` inside a private test host. Prints; never fails for a time. Its row is `stdio`.

The work is busybox' `cat`, statically linked, given 100 bytes.

  fork+exec+wait   two pipes, vfork, exec, wait: what is left when everything else costs nothing (stdio_yard.c)
  fnd              a function of mode stdio: gateway, fn-init, a process in a cgroup of its own with ids and filters; 1 client for the time of a request, 4 and 16 for what two processors can do
  of it, fn-init   from the head of a request to the end of its process, as X-Duration-Seconds says: of the same requests, without gateway and client
  http function    the gateway's way to a server that is there already (GET): what a process per request costs beside it
  fcgiwrap         nginx and fcgiwrap -c 4 (Debian's): fork and exec of a CGI program that copies its input, without sandbox, cgroup, limits or time limits
  fnd, its program the same program as a function: it is smaller than busybox
"""

import contextlib
import http.client
import io
import os
import shutil
import signal
import statistics
import subprocess
import tarfile
import tempfile

import benchhost
from benchhost import Daemon, build, children, forget_connections, load, pss_kb, quantile, rss_kb, wait_port

SECONDS, ROUNDS, BYTES = 4, 3, 100
CLIENTS = (1, 4, 16)
INI = "[function]\nname = {name}\nmode = stdio\ncommand = {command}\n[limits]\ncpu = 2\npids = 200\n[env]\nREQUEST_METHOD = POST\nCONTENT_LENGTH = {length}\n"


def package(path, name, command):
    """busybox with another function.ini, and the peer's program."""
    ini = INI.format(name=name, command=command, length=BYTES).encode()
    with tarfile.open(f"{build}/busybox.tar.gz") as old, tarfile.open(path, "w:gz", compresslevel=1) as new:
        for member in old:
            if os.path.basename(member.name) != "function.ini":
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
        member = tarfile.TarInfo("function.ini")
        member.size = len(ini)
        new.addfile(member, io.BytesIO(ini))
        new.add(f"{build}/bench/stdio_yard", "bin/yard")


class Wrap:
    """nginx and fcgiwrap."""

    def __init__(self):
        self.work = tempfile.mkdtemp(prefix="bench-cgi-", dir="/var/lib/fnd")
        with open(f"{benchhost.here}/peers/fcgiwrap.conf", encoding="utf-8") as f:
            text = f.read().replace("@WORK@", self.work).replace("@PROGRAM@", f"{build}/bench/stdio_yard")
        with open(f"{self.work}/nginx.conf", "w", encoding="utf-8") as f:
            f.write(text)
        self.processes = []

    def start(self):
        for command in (["fcgiwrap", "-c", "4", "-s", f"unix:{self.work}/socket"], ["nginx", "-c", f"{self.work}/nginx.conf"]):
            self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        wait_port(8896, self.processes[-1])

    def stop(self):
        for process in self.processes:
            workers = children(process.pid)
            process.terminate()
            process.wait(20)
            for pid in workers:  # fcgiwrap leaves them
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.work)


def yard():
    command = [f"{build}/bench/stdio_yard", "1000", str(BYTES), shutil.which("busybox") or "/bin/cat", "cat"]
    return [float(line) for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


def durations(path):
    """What fn-init says of 500 requests, in microseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", 8888, timeout=30)
    found = []
    for _ in range(500):
        connection.request("POST", path, b"x" * BYTES)
        response = connection.getresponse()
        response.read()
        found.append(float(response.headers["X-Duration-Seconds"]) * 1e6)
    connection.close()
    return found


def bench_stdio():
    print(f"stdio: cat of {BYTES} bytes, a process per request; microseconds (lower half of the rounds' medians), requests/s (best)", flush=True)
    wrap, d = Wrap(), Daemon(2)
    peers = {"fnd": (8888, "/fn/echo/", BYTES), "fnd, its program": (8888, "/fn/yard/", BYTES), "http function": (8888, "/fn/hello/", 0)}
    try:
        for name, command in (("echo", "cat"), ("yard", "/bin/yard")):
            package(f"{d.dir}.tar.gz", name, command)
            d.deploy(name, f"{d.dir}.tar.gz")
        d.deploy()
        try:
            wrap.start()
            peers["fcgiwrap"] = (8896, "/", BYTES)
        except (OSError, TimeoutError) as e:
            print(f"  fcgiwrap: not measured: {e}", flush=True)
        measure(d, peers)
    finally:
        wrap.stop()
        d.stop()
        os.unlink(f"{d.dir}.tar.gz")


def measure(d, peers):
    floor, own, got = [], [], {name: {n: [] for n in CLIENTS} for name in peers}
    for _ in range(ROUNDS):  # in turns: what else the machine does meets all of them
        floor.append(statistics.median(yard()))
        own.append(durations("/fn/echo/"))
        for name, (port, path, upload) in peers.items():
            for n in CLIENTS:
                got[name][n].append(load(port, path, connections=n, seconds=SECONDS, **({"upload": upload} if upload else {})))
    least = statistics.median_low(floor)
    print(f"  {'fork+exec+wait':<18} {least:8.0f} us")
    print(f"  {'of it, fn-init':<18} {statistics.median_low(statistics.median(o) for o in own):8.0f} us  p99 {min(quantile(o, 0.99) for o in own):8.0f}")
    for name, runs in got.items():
        one = runs[1]
        many = "  ".join(f"{n}: {max(r['requests'] / r['seconds'] for r in runs[n]):6.0f}/s" for n in CLIENTS)
        p50 = statistics.median_low(r["p50_us"] for r in one)
        print(f"  {name:<18} {p50:8.0f} us  p99 {min(r['p99_us'] for r in one):8.0f}  x{p50 / least:.2f} of fork+exec+wait  clients {many}  errors {sum(r['errors'] for n in CLIENTS for r in runs[n])}", flush=True)
    pid = d.instances("echo")[0]["pid"]
    print(f"  fn-init after that: {rss_kb(pid)} KB resident, {pss_kb(pid)} KB of it its own share (its program is shared by all instances)", flush=True)


if __name__ == "__main__":
    if not benchhost.rows or "stdio" in benchhost.rows:
        forget_connections()
        bench_stdio()
