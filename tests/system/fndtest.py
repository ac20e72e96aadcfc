"""What system tests are written with: programs, a daemon, fnctl, HTTP, and waiting for conditions. Everything here runs inside a test host."""

import base64
import contextlib
import dataclasses
import ctypes
import errno
import http.client
import importlib.machinery
import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
BUILD = os.environ.get("FND_BUILD", REPO + "/build/release")
API_SOCKET = "/run/fnd/fnd.sock"
# Programs with sanitizers (make check-system-asan, check-tsan) need memory and time of their own: what is measured of them says nothing, and is 0. All else that a test asserts holds for them too.
SANITIZED = os.path.basename(BUILD) in ("asan", "tsan")

# How long a test waits for what must come: no statement about how fast it comes. What a test promises in time is measured with a Stopwatch.
PATIENCE_S = int(os.environ.get("FND_PATIENCE", "30"))  # more where the processor is emulated

# Log files of daemons that this test has started, and outputs worth showing when it fails.
logs = []


def program(name):
    return f"{BUILD}/{name}"


def load_testhost():
    """tests/testhost as a module."""
    loader = importlib.machinery.SourceFileLoader("testhost", REPO + "/tests/testhost")
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("testhost", loader))
    loader.exec_module(module)
    return module


def run_as_nobody(path, *args):
    """Runs a copy of the program as user and group 65534: the repository may lie where only root can go."""
    directory = tempfile.mkdtemp(dir="/tmp")
    try:
        os.chmod(directory, 0o755)
        copy = shutil.copy(path, directory)
        return subprocess.run([copy, *args], capture_output=True, text=True, check=False, user=65534, group=65534, extra_groups=[])
    finally:
        shutil.rmtree(directory)


def readable(fd, seconds):
    """Waits until fd is readable; false when it is not after that time."""
    return bool(select.select([fd], [], [], max(0, seconds))[0])


def listens(address, port):
    try:
        socket.create_connection((address, port), timeout=30).close()
        return True
    except (ConnectionRefusedError, ConnectionResetError):  # reset: closed with this connection in its queue
        return False


def read_all(sock):
    """All that comes until the other side closes."""
    got = b""
    while piece := sock.recv(65536):
        got += piece
    return got


def wait_until(condition, seconds=PATIENCE_S, what=None):
    """Waits for condition() to be true and returns its value. An exception in it counts as false, and is shown if it was the last state."""
    deadline = time.monotonic() + seconds
    pause = 0.002
    while True:
        last = None
        try:
            value = condition()
            if value:
                return value
        except (OSError, AssertionError, KeyError, IndexError, ValueError, http.client.HTTPException) as e:
            last = e
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what or condition}" + (f": {last!r}" if last else ""))
        time.sleep(pause)  # between two looks, until the deadline
        pause = min(pause * 1.5, 0.05)


def collected_logs(whole=False):
    sections = []
    for path in logs:
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as f:
            sections.append((f"log {path}", "".join(f.readlines()[0 if whole else -120:])))
    return sections


@dataclasses.dataclass
class Result:
    status: int
    out: str
    err: str
    raw: bytes = b""

    def __str__(self):
        return f"status {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def run(*command, stdin=None, seconds=60, env=None, cwd=None):
    """Runs a command to its end."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    options = {"input": data} if data is not None else {"stdin": subprocess.DEVNULL}
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds, env={**os.environ, **(env or {})}, cwd=cwd, check=False, **options)
    return Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"), done.stdout)


def fnctl(*args, status=0, **options):
    """Runs fnctl; status is the exit status that it must have (None: any)."""
    result = run(program("fnctl"), *args, **options)
    assert status is None or result.status == status, f"fnctl {' '.join(map(str, args))}: {result}"
    return result


@dataclasses.dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)


def stalled():
    """The seconds of this machine's life in which some task waited for a CPU, for memory or for a disk (the kernel's pressure stall information); 0 where that is not counted."""
    total = 0
    for resource in ("cpu", "memory", "io"):
        with contextlib.suppress(OSError), open("/proc/pressure/" + resource, encoding="ascii") as f:
            total += int(f.readline().rpartition("total=")[2])
    return total / 1e6


class Stopwatch:
    """How long something takes, for a promise that is made in time: `own` leaves out what the machine was too busy for, so that it says little where many tasks run, and never anything wrong."""

    def __init__(self):
        self.began, self.stalled = time.monotonic(), stalled()

    @property
    def wall(self):
        return time.monotonic() - self.began

    @property
    def own(self):
        # The kernel takes the mean of all CPUs; that where we stood may have been the busiest.
        return 0 if SANITIZED else max(0, self.wall - (stalled() - self.stalled) * os.cpu_count())


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def request(method, path, body=None, headers=None, port=8888, host="127.0.0.1", unix=None, seconds=30):
    """One request on a connection of its own."""
    connection = UnixConnection(unix, seconds) if unix else http.client.HTTPConnection(host, port, timeout=seconds)
    with contextlib.closing(connection):
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())


def get(path, **options):
    return request("GET", path, **options)


def api(method, path, body=None, **options):
    """A call of the API on the daemon's socket; JSON in and out. The caller looks at the status."""
    data = json.dumps(body) if isinstance(body, (dict, list)) else body
    return request(method, "/api/v1" + path, body=data, unix=API_SOCKET, **options)


def function(name):
    """What the API says of a function."""
    answer = api("GET", "/functions/" + name)
    assert answer.status == 200, answer
    return answer.json()


def instances(name, state="ready"):
    answer = api("GET", f"/functions/{name}/instances")
    assert answer.status == 200, answer
    return [i for i in answer.json()["instances"] if state is None or i["state"] == state]


def children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
            found += [int(p) for p in f.read().split()]
    return found


def process_status(pid):
    """/proc/PID/status as a dictionary."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return {k: v.strip() for k, v in (line.split(":", 1) for line in f)}


def processes(comm=None):
    """The pids of this test host, or those with that name."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            if comm is None or f.read().strip() == comm:
                found.append(int(pid))
    return sorted(found)


def alive(pid):
    """Is there such a process, and is it more than a zombie?"""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def links():
    return sorted(name for _, name in socket.if_nameindex() if name != "lo")


def cgroup_dirs():
    """Every cgroup of this test host but the one that it runs in, by path."""
    found = []
    for path, dirs, _ in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(path, d) for d in dirs]
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        tops = {line.split(" ")[4] for line in f}
    return sorted(p for p in found if p not in tops and os.path.basename(p) != "command")


def mounts_below(*tops):
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        points = [line.split(" ")[4] for line in f]
    return [p for p in points if any(p.startswith(t + "/") for t in tops)]


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def deny(call, error=errno.EPERM, **args):
    """For preexec_fn: system calls that fail as on a host that does not have them. args: argument number -> value, as arg0=..."""
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    compares = (Compare * len(args))(*[Compare(int(name[3:]), 4, value, 0) for name, value in args.items()])

    def apply():
        ctx = ctypes.c_void_p(lib.seccomp_init(0x7FFF0000))
        assert lib.seccomp_rule_add_array(ctx, 0x00050000 | error, lib.seccomp_syscall_resolve_name(call.encode()), len(args), compares) == 0
        assert lib.seccomp_load(ctx) == 0

    return apply


class Daemon:
    """One fnd, started in the foreground with its gateway as a child, ready when it says so (sd_notify)."""

    def __init__(self, settings=None, args=(), config="/etc/fnd/fnd.ini"):
        """settings: {"section.key": value}, written into the configuration file."""
        self.settings = {"gateway.listen": "127.0.0.1:8888", "gateway.admin": "127.0.0.1:8889", "gateway.spawn": "yes", **(settings or {})}
        self.args = args
        self.config = config
        self.process = None
        self.preexec_fn = None
        self.log = f"/var/lib/fnd.log.{len(logs)}"
        logs.append(self.log)

    def write_config(self):
        os.makedirs(os.path.dirname(self.config), exist_ok=True)
        sections = {}
        for key, value in self.settings.items():
            section, name = key.split(".", 1)
            sections.setdefault(section, []).append(f"{name} = {value}\n")
        with open(self.config, "w", encoding="utf-8") as f:
            for section, lines in sections.items():
                f.write(f"[{section}]\n" + "".join(lines))

    def start(self, seconds=2 * PATIENCE_S):
        self.write_config()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify, open(self.log, "ab") as log:
            notify.bind(f"\0fnd-test-{os.getpid()}-{id(self)}-{time.monotonic_ns()}")
            address = "@" + notify.getsockname()[1:].decode()
            self.process = subprocess.Popen([program("fnd"), "--config", self.config, *self.args], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "NOTIFY_SOCKET": address}, preexec_fn=self.preexec_fn)
            self.wait_ready(notify, seconds)
        return self

    def wait_ready(self, notify, seconds):
        deadline = time.monotonic() + seconds
        pidfd = os.pidfd_open(self.process.pid)
        try:
            while True:
                ready, _, _ = select.select([notify, pidfd], [], [], max(0, deadline - time.monotonic()))
                if notify in ready and "READY=1" in notify.recv(4096).decode("utf-8", "replace").splitlines():
                    return
                if pidfd in ready and notify not in ready:
                    raise AssertionError(f"fnd ended at its start with status {self.process.wait()}:\n{self.output()}")
                if not ready:
                    self.process.kill()
                    self.process.wait()
                    raise AssertionError(f"fnd was not ready after {seconds} s:\n{self.output()}")
        finally:
            os.close(pidfd)

    def refuses(self, seconds=2 * PATIENCE_S):
        """Starts a daemon that must not start: returns its exit status and what it said."""
        self.write_config()
        result = run(program("fnd"), "--config", self.config, *self.args, seconds=seconds)
        return result.status, result.out + result.err

    def running(self):
        return self.process is not None and self.process.poll() is None

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    @property
    def pid(self):
        return self.process.pid

    @property
    def gateway_pid(self):
        """The gateway that runs now."""
        found = [p for p in processes("fnd-gateway") if alive(p)]
        return found[0] if found else None

    def kill(self):
        """kill -9, without a chance to tidy up."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self, seconds=PATIENCE_S):
        """SIGTERM; the end must be clean and in time."""
        self.process.terminate()
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            raise AssertionError(f"fnd did not stop within {seconds} s:\n{self.output()}") from None
        assert status == 0, f"fnd ended with status {status}:\n{self.output()}"


AUTH = "/var/lib/fnd/auth"


def with_first_password(daemon):
    """The daemon, once its first password can be used: it is made beside the start."""
    wait_until(lambda: "first password made" in daemon.output(), what="the first password")
    basic = {"Authorization": "Basic " + base64.b64encode(f"admin:{first_password()}".encode()).decode()}
    wait_until(lambda: request("GET", "/admin/api/v1/whoami", headers=basic).status == 200, what="the gateway to have heard of it")
    return daemon


def first_password():
    with open(AUTH + "/initial", encoding="utf-8") as f:
        return f.read().strip()


def package(directory, ini, files=None, base="busybox"):
    """A function's package: a sample's files, another function.ini, and files of one's own ({path: text}; below cgi-bin they are executable)."""
    with tarfile.open(f"{BUILD}/{base}.tar.gz") as archive:
        archive.extractall(directory)
    for path, text in {"function.ini": ini, **(files or {})}.items():
        target = os.path.join(directory, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="utf-8") as f:
            f.write(text)
        if "/cgi-bin/" in path:
            os.chmod(target, 0o755)
    return str(directory)


HTTPD = "[function]\nname = {name}\ncommand = /bin/httpd -f -p 3000 -h /www\n"


def function_pid(instance):
    """The function's own process: fn-init's child."""
    return wait_until(lambda: children(instance["pid"]), what="fn-init's child")[0]


def ready_instances(name, count, seconds=PATIENCE_S):
    """Waits until exactly so many instances are ready, and none else is there."""

    def condition():
        found = instances(name, state=None)
        return len(found) == count and all(i["state"] == "ready" for i in found)

    wait_until(condition, seconds, f"{count} ready instances of {name}")
    return instances(name)
