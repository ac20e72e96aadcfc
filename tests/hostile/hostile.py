"""The host's side of the hostile suite: the probe as a function, canaries, and what must be the same before and after every attack.

All tests share one test host (tests/testhost), one daemon and one neighbour, a `hello` that must never notice anything. `Host.check` is called after every test; the test host itself finds what is left at the end.
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import re
import shutil
import stat
import tarfile
import tempfile
import threading
import time

import fndtest
from fndtest import fnctl, get, instances, wait_until

PROBE = fndtest.BUILD + "/tests/probe"
PROGRAMS = ("fnd", "fnd-gateway", "fnd-unpack", "fn-init", "fnctl")
CANARY = "/var/lib/canary"
SYSCTLS = ("kernel/core_pattern", "kernel/sysrq", "kernel/hostname", "kernel/domainname", "kernel/modprobe", "kernel/randomize_va_space", "vm/overcommit_memory", "vm/drop_caches", "fs/suid_dumpable", "net/ipv4/conf/all/rp_filter",
           "kernel/printk", "kernel/ngroups_max", "vm/swappiness", "vm/panic_on_oom")
# How much of what is counted: 1 natively; an emulated processor is ten times as slow.
SCALE = float(os.environ.get("FND_HOSTILE_SCALE", "1"))

waivers = {}
latencies = {}


def times(count, least=1):
    return max(least, int(count * SCALE))


def waive(what, shown_by):
    """An expectation that cannot hold on this host or in this version: `shown_by` says what the run-time probe has seen. Printed at the end."""
    waivers[what] = shown_by


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def tree(top):
    """Everything of a directory tree that an attack could change, the access times too (so nothing here reads before it has looked)."""
    found = {}
    for path, dirs, files in os.walk(top):
        for name in [".", *files]:
            p = os.path.join(path, name)
            st = os.lstat(p)
            found[p] = (st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns, st.st_ctime_ns, None if stat.S_ISDIR(st.st_mode) else st.st_atime_ns)
        dirs.sort()
    return found


def make_canaries():
    os.makedirs(CANARY + "/below")
    for name in ("secret", "below/null", "below/pts"):
        with open(f"{CANARY}/{name}", "w", encoding="ascii") as f:
            f.write("the host's\n")
    os.chmod(CANARY + "/secret", 0o666)


def normal_mounts(text):
    """`POINT TYPE OPTION,...` of mountinfo, without what differs from host to host."""
    found = []
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        fields, kind = head.split(" "), tail.split(" ")[0]
        options = set(fields[5].split(",")) & {"ro", "rw", "nosuid", "nodev", "noexec"}
        found.append(f"{fields[3]} {fields[4]} {kind} {','.join(sorted(options))}")
    return found


# ---- packages ----

INI = "[function]\nname = {name}\ncommand = /probe {command}\n{function}[limits]\nmemory = {memory}\ntmp = {tmp}\npids = {pids}\ncpu = {cpu}\n{limits}"


def ini(name, command="serve", function="", memory="64M", tmp="2M", pids=64, cpu=1, limits=""):
    return INI.format(name=name, command=command, function=function, memory=memory, tmp=tmp, pids=pids, cpu=cpu, limits=limits)


class Archive:
    """A package as a tar, member by member, in the order in which they are added."""

    def __init__(self):
        self.data = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.data, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name, data=b"", kind=tarfile.REGTYPE, mode=0o644, target="", owner=0, pax=None):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.linkname, info.uid, info.gid = kind, mode, target, owner, owner
        info.size = len(data)
        info.pax_headers = pax or {}
        self.tar.addfile(info, io.BytesIO(data))

    def directory(self, name, owner=0, mode=0o755):
        self.add(name, kind=tarfile.DIRTYPE, owner=owner, mode=mode)

    def probe(self, text):
        """What every package has: the probe, a shell, data of root and of the function, function.ini."""
        with open(PROBE, "rb") as f:
            program = f.read()
        self.add("probe", program, mode=0o755)
        self.directory("bin")
        self.add("bin/sh", kind=tarfile.SYMTYPE, target="/probe")
        self.directory("data", owner=1000)
        self.add("data/warm", b"warm\n" * 1000)
        self.add("data/cold", b"cold\n" * 1000)
        self.add("function.ini", text.encode())
        return self

    def save(self, path):
        self.tar.close()
        with open(path, "wb") as f:
            f.write(self.data.getvalue())
        return path


@contextlib.contextmanager
def package(text, extra=None):
    """The path of an archive; extra(archive) adds to it."""
    directory = tempfile.mkdtemp(dir="/var/lib")
    try:
        archive = Archive()
        if extra:
            extra(archive)
        yield archive.probe(text).save(directory + "/package.tar")
    finally:
        shutil.rmtree(directory)


# ---- the probe as a function ----


@dataclasses.dataclass
class Outcome:
    text: str
    how: str  # "exit", "signal", or "" when the answer broke off
    status: int

    @property
    def good(self):
        return self.how == "exit" and self.status == 0


class Probe:
    """One deployed probe."""

    def __init__(self, name):
        self.name = name

    def outcome(self, verb, *args, seconds=60):
        assert not any(c in str(a) for a in args for c in "&#? %"), args
        query = "?" + "&".join(map(str, args)) if args else ""
        try:
            answer = get(f"/fn/{self.name}/run/{verb}{query}", seconds=seconds)
        except (OSError, ValueError, fndtest.http.client.HTTPException) as e:
            return Outcome(str(e), "", 0)
        match = re.search(r"\n?#(exit|signal) (\d+)\n$", answer.text)
        if answer.status != 200 or not match:
            return Outcome(f"status {answer.status}: {answer.text}", "", answer.status)
        return Outcome(answer.text[: match.start()], match[1], int(match[2]))

    def run(self, verb, *args, seconds=60):
        """The verb must find nothing; returns what it printed."""
        done = self.outcome(verb, *args, seconds=seconds)
        assert done.good, f"{verb}: {done.how} {done.status}\n{done.text}"
        return done.text

    @property
    def instance(self):
        return wait_until(lambda: instances(self.name), what=f"an instance of {self.name}")[0]

    def group(self, controller=""):
        """The directory of its instance's cgroup: v2's, or that of a v1 controller."""
        return group_of(self.instance["pid"], controller)

    def counter(self, controller, v2, v1, key=None):
        """A number from the instance's cgroup, wherever this host keeps it."""
        path, name = self.group(), v2
        if not os.path.exists(f"{path}/{v2}"):
            path, name = self.group(controller), v1
        text = read(f"{path}/{name}")
        return int(dict(line.split() for line in text.splitlines())[key] if key else text)


def group_of(pid, controller=""):
    own = {}
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            own[name] = path
    for line in read("/proc/self/mountinfo").splitlines():
        head, _, tail = line.partition(" - ")
        fstype, _, options = tail.split(" ", 2)
        point = head.split(" ")[4]
        if (fstype == "cgroup2" and not controller) or (fstype == "cgroup" and controller in options.split(",")):
            return point + own[controller]
    raise AssertionError(f"no cgroup of {pid} for {controller!r}")


# ---- the host ----


class Host:
    def __init__(self):
        make_canaries()
        self.programs = {name: sha256(fndtest.program(name)) for name in PROGRAMS}
        self.canaries = tree(CANARY)
        self.sysctls = self.read_sysctls()
        self.start()
        fnctl("deploy", "hello", "--name", "neighbour")
        self.neighbour = instances("neighbour")[0]["name"]
        self.names = []

    def start(self):
        """Who is deaf to SIGTERM is not waited for as long as by default."""
        self.daemon = fndtest.Daemon(settings={"runner.stop_timeout": "2s"})
        self.daemon.start()

    @staticmethod
    def read_sysctls():
        found = {}
        for name in SYSCTLS:
            with contextlib.suppress(OSError):
                found[name] = read("/proc/sys/" + name)
        return found

    def deploy(self, name, extra=None, deployed=True, **options):
        """A probe that lives until the test's end. deployed=None: it may be refused, then None is returned."""
        with package(ini(name, **options), extra) as path:
            result = fnctl("deploy", path, status=0 if deployed else None)
        if result.status != 0:
            assert result.err.strip(), result
            return None
        self.names.append(name)
        return Probe(name)

    def remove(self):
        """What the test has deployed. A cgroup is named after its slot: another one may have that name at once."""
        names, self.names = self.names, []
        for name in names:
            groups = []
            for i in instances(name, None):
                if not i["pid"] or not fndtest.alive(i["pid"]):
                    continue
                with contextlib.suppress(OSError, KeyError):  # one that ends by itself meanwhile
                    group = group_of(i["pid"])
                    groups.append((group, os.stat(group).st_ino))
            fnctl("rm", name)
            for group, inode in groups:
                wait_until(lambda g=group, i=inode: not os.path.exists(g) or os.stat(g).st_ino != i, what=f"{group} to go")

    def check(self):
        """After every test: whatever has been tried, the host is as before, and the neighbour has not noticed."""
        assert tree(CANARY) == self.canaries, "the canaries have been touched"
        assert {name: sha256(fndtest.program(name)) for name in PROGRAMS} == self.programs, "a program has been changed"
        assert self.read_sysctls() == self.sysctls, "a sysctl has been changed"
        assert self.daemon.running() and self.daemon.gateway_pid, "a daemon is gone"
        answer = get("/fn/neighbour/")
        assert answer.status == 200 and [i["name"] for i in instances("neighbour")] == [self.neighbour], "the neighbour has suffered"
        for pid in (self.daemon.pid, self.daemon.gateway_pid):
            assert int(fndtest.process_status(pid)["VmRSS"].split()[0]) < 100_000, "a daemon has grown"

    def restart(self):
        self.daemon.stop()
        self.start()
        self.neighbour = wait_until(lambda: instances("neighbour"), what="the neighbour")[0]["name"]

    def close(self):
        self.daemon.stop()
        shutil.rmtree(CANARY)


class Watch:
    """The neighbour's latencies while something goes on; none of its answers may be lost."""

    def __init__(self):
        self.ms, self.bad, self.over = [], [], threading.Event()
        self.thread = threading.Thread(target=self.ask)

    def ask(self):
        while not self.over.is_set():
            began = time.monotonic()
            try:
                status = get("/fn/neighbour/").status
            except OSError as e:
                status = repr(e)
            self.ms.append((time.monotonic() - began) * 1000)
            if status != 200:
                self.bad.append(status)
            self.over.wait(0.002)

    def __enter__(self):
        self.thread.start()
        wait_until(lambda: len(self.ms) > 3)
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def percentile(self, part):
        return sorted(self.ms)[int(len(self.ms) * part)]

    def check(self, bound_ms=1000):
        """The bound is for a busy machine, and not for one of a hundred, which may have met anything; `make bench` prints what a neighbour really notices."""
        latencies[os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0]] = (self.percentile(0.99), len(self.ms))
        assert not self.bad, self.bad
        assert self.percentile(0.9) < bound_ms / SCALE, f"90th percentile {self.percentile(0.9):.0f} ms of {len(self.ms)}"
