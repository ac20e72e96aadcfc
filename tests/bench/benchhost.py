"""What the benchmarks share: a daemon in directories of its own, the processes of peers, and what /proc says of both."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

build = os.path.abspath(sys.argv[1])
here = os.path.dirname(os.path.abspath(__file__))
rows = sys.argv[2:]  # none: all


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("fnd", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Daemon:
    """fnd with its gateway, in directories of its own."""

    def __init__(self, slots_ready, **more):
        """more: further keys, `gateway__threads=1`."""
        self.dir = tempfile.mkdtemp(prefix="bench-", dir="/var/lib/fnd")
        self.run = tempfile.mkdtemp(prefix="fnd-bench-", dir="/run")
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(f"{self.run}/notify")
        notify.settimeout(20)
        sets = {
            "runner.state": self.dir, "runner.run": f"{self.run}/r", "runner.name": "fnd-bench", "runner.slots_ready": slots_ready, "runner.ephemeral": "yes",
            "gateway.listen": "127.0.0.1:8888", "gateway.admin": "none", **{k.replace("__", "."): v for k, v in more.items()},
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

    def deploy(self, name="hello", package=f"{build}/hello.tar.gz"):
        with open(package, "rb") as f:
            self.call("POST", f"/functions?name={name}", f.read())

    def instances(self, name="hello"):
        return [i for i in self.call("GET", f"/functions/{name}/instances")["instances"] if i["state"] == "ready" and i["ready_ms"] is not None]

    def scale(self, n, wait=True):
        self.call("PUT", "/functions/hello/scale", json.dumps({"replicas": n}))
        deadline = time.monotonic() + 60
        while wait and len(self.instances()) != n:
            if time.monotonic() > deadline:
                raise SystemExit(f"scale {n}: {len(self.instances())} ready after 60 s")
            time.sleep(0.002)  # between two looks

    def gateway_pid(self):
        return int(subprocess.run(["pgrep", "-P", str(self.process.pid), "fnd-gateway"], capture_output=True, text=True, check=True).stdout)

    def said(self):
        with open(f"{self.run}/log", encoding="utf-8") as f:
            return f.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        for path in (f"{self.run}/notify", f"{self.run}/log"):
            os.unlink(path)
        os.rmdir(self.run)


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
        time.sleep(0.5)  # between two looks
        now = meminfo_kb("MemAvailable")
        if abs(now - last) < 256:
            break
        last = now
    return now




def knows_key(setting):
    """Does this fnd have the key? "gateway.threads=1"."""
    return subprocess.run([f"{build}/fnd", "--check", "--set", setting], capture_output=True, check=False).returncode == 0


def cpu_s(pids):
    """What all threads of these processes have run, in seconds."""
    total = 0
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
    return total / 1e9


TRACKED = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait"


def forget_connections():
    """
    fnd's tables look at the state of connections, so the kernel remembers each one of this test host for 120 s after its end, those of the peers as well. 20,000 a second would fill its table (262,144 here) within 12 s, and
    then it drops what begins one: answers came 1, 3, 7 and 15 s late, of whichever proxy's turn it was.
    """
    if os.path.exists(TRACKED):
        with open(TRACKED, "w", encoding="ascii") as f:
            f.write("1")


def untracked_drops():
    """How many packets were dropped because that table was full."""
    try:
        with open("/proc/net/stat/nf_conntrack", encoding="ascii") as f:
            head, *cpus = (line.split() for line in f)
    except FileNotFoundError:
        return 0
    return sum(int(c[head.index("drop")], 16) for c in cpus)


def pss_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M).group(1))


def children(pid):
    return [int(p) for p in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()]


def make_certificate(certificate, key):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    os.chmod(key, 0o600)


class Peers:
    """nginx and HAProxy with the configurations in peers/, in front of the same instances."""

    def __init__(self, hello, bulk):
        self.work = tempfile.mkdtemp(prefix="bench-peers-", dir="/var/lib/fnd")
        make_certificate(f"{self.work}/cert.pem", f"{self.work}/key.pem")
        self.processes, self.pids = [], {}
        for name, command, config, port in (("nginx", ["nginx", "-c"], "nginx.conf", 8890), ("haproxy", ["haproxy", "-db", "-f"], "haproxy.cfg", 8893)):
            try:
                process = self.start(command, config, port, hello, bulk)
            except (OSError, TimeoutError) as e:
                print(f"{name}: not measured: {e}", flush=True)
                continue
            self.pids[name] = children(process.pid) or [process.pid]

    def start(self, command, name, port, hello, bulk):
        with open(f"{here}/peers/{name}", encoding="utf-8") as f:
            text = f.read().replace("@WORK@", self.work).replace("@HELLO@", hello).replace("@BULK@", bulk)
        with open(f"{self.work}/{name}", "w", encoding="utf-8") as f:
            f.write(text)
        process = subprocess.Popen([*command, f"{self.work}/{name}"], stdout=subprocess.DEVNULL)
        self.processes.append(process)
        wait_port(port, process)
        return process

    def stop(self):
        for process in self.processes:
            process.terminate()
            process.wait(20)
        shutil.rmtree(self.work)


def wait_port(port, process):
    for _ in range(500):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            raise OSError(f"it ended with status {process.returncode}")
        time.sleep(0.01)  # between two looks
    raise TimeoutError(f"nobody listens on port {port} after 5 s")


def load(port, path, **options):
    """One run of load.c: its figures."""
    args = [f"{k}={v}" for k, v in options.items()]
    out = subprocess.run([f"{build}/bench/load", str(port), path, *args], capture_output=True, text=True, check=True).stdout
    return json.loads(out)


@contextlib.contextmanager
def held(port, path, kind, count):
    """So many idle or slow connections, from processes of 2500 each."""
    processes = []
    errors = 0
    try:
        for at in range(0, count, 2500):
            n = min(2500, count - at)
            p = subprocess.Popen([f"{build}/bench/load", str(port), path, f"connections={n}", f"hold={kind}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            processes.append(p)
            errors += int((p.stdout.readline() or "ready 1").split()[1])
        yield errors
    finally:
        for p in processes:
            p.stdin.close()
            p.wait(30)
            p.stdout.close()
