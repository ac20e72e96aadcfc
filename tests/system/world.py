"""A world around the test host: a namespace behind one link, with public, private and metadata addresses, where somebody answers on every address, and a DNS server. And the probe as a function that says what it can reach."""

import contextlib
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import threading

import fndtest
from fndtest import fnctl, get

PORT = 4000
HOST_PORT = 7000
PUBLIC, PRIVATE, CGNAT, METADATA, OTHER = "11.22.33.44", "192.168.77.2", "100.64.3.4", "169.254.169.254", "11.22.44.55"
PUBLIC6, METADATA6 = "2a00:1:2:3::2", "fd00:ec2::254"
HOST_PUBLIC, HOST_PRIVATE, HOST_DUMMY, BRIDGE = "11.22.33.1", "192.168.77.1", "192.168.99.99", "10.231.0.1"
NAMES = {"api.example": PUBLIC, "db.example": PRIVATE, "trap.example": METADATA, "host.example": HOST_PRIVATE, "sibling.example": "10.231.0.2"}

AT_HOME = f"""
ip link add ext type veth peer name far netns WORLD
ip link set ext up
ip addr add {HOST_PUBLIC}/24 dev ext
ip addr add {HOST_PRIVATE}/24 dev ext
ip addr add {HOST_DUMMY}/32 dev lo
ip -6 addr add 2a00:1:2:3::1/64 dev ext nodad
"""
FAR_AWAY = f"""
ip link set lo up
ip link set far up
ip addr add {PUBLIC}/24 dev far
ip addr add {PRIVATE}/24 dev far
ip addr add {CGNAT}/32 dev far
ip addr add {METADATA}/32 dev far
ip addr add {OTHER}/32 dev far
ip -6 addr add {PUBLIC6}/64 dev far nodad
ip -6 addr add {METADATA6}/128 dev far nodad
"""
ROUTES = f"ip route add default via {PUBLIC}\nip -6 route add default via {PUBLIC6}\n"

libc = ctypes.CDLL(None, use_errno=True)


def shell(text):
    subprocess.run(["sh", "-ec", text], check=True, stdin=subprocess.DEVNULL)


def inside(path, work):
    """work() with the network namespace at this path, in a thread of its own (a thread has one, not a process)."""
    result = []

    def enter():
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(fd, 0x40000000) == 0:
                result.append(work())
        finally:
            os.close(fd)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert result, f"cannot work in {path}"
    return result[0]


def listener(port):
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    s.listen(512)
    return s


def plain(address):
    return address.removeprefix("::ffff:")


def greet(s):
    """Says to everybody which address was reached, and from where: "11.22.33.44<-11.22.33.1"."""
    while True:
        try:
            c, peer = s.accept()
        except OSError:
            return
        with contextlib.suppress(OSError), contextlib.closing(c):
            c.sendall(f"{plain(c.getsockname()[0])}<-{plain(peer[0])}\n".encode())


def dns_answer(query):
    """RFC 1035: the address of a name that is known, else NXDOMAIN; nothing for other types."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
        at += query[at] + 1
    kind = struct.unpack(">H", query[at + 1 : at + 3])[0]
    address = NAMES.get(".".join(labels))
    records = [address] if address and kind == 1 else []
    head = struct.pack(">HHHHHH", struct.unpack(">H", query[:2])[0], 0x8180 | (0 if address else 3), 1, len(records), 0, 0)
    return head + query[12 : at + 5] + b"".join(struct.pack(">HHHIH", 0xC00C, 1, 1, 30, 4) + socket.inet_aton(r) for r in records)


def serve_names(s):
    while True:
        try:
            query, peer = s.recvfrom(2048)
        except OSError:
            return
        with contextlib.suppress(OSError, IndexError, struct.error, UnicodeDecodeError):
            s.sendto(dns_answer(query), peer)


def name_server():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((PUBLIC, 53))
    return s


class World:
    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 1000"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        self.path = f"/proc/{self.holder.pid}/ns/net"
        self.sockets = []

    def shell(self, text):
        """Commands out there."""
        run = ["nsenter", "-n", "-t", str(self.holder.pid), "sh", "-ec", text]
        subprocess.run(run, check=True, stdin=subprocess.DEVNULL)

    def build(self):
        shell(AT_HOME.replace("WORLD", str(self.holder.pid)))
        self.shell(FAR_AWAY)
        shell(ROUTES)
        if not os.path.exists("/proc/sys/net/ipv6/conf/all/force_forwarding"):  # before Linux 6.17: one switch for all, which is the administrator's
            with open("/proc/sys/net/ipv6/conf/all/forwarding", "w", encoding="ascii") as f:
                f.write("1")
        self.sockets += [inside(self.path, lambda: listener(PORT)), inside(self.path, name_server), listener(HOST_PORT)]
        for s, work in zip(self.sockets, (greet, serve_names, greet)):
            threading.Thread(target=work, args=(s,), daemon=True).start()

    def end(self):
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
        shell(f"ip addr del {HOST_DUMMY}/32 dev lo\nip link del ext\n")
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


@contextlib.contextmanager
def made():
    """The world; everything of it is gone at the end."""
    w = World()
    try:
        w.build()
        yield w
    finally:
        w.end()


class Probe:
    """The probe as a function."""

    def __init__(self, tmp_path, name, network="", deploy=True):
        self.name = name
        self.directory = tmp_path / name
        os.makedirs(self.directory, exist_ok=True)
        shutil.copy(fndtest.BUILD + "/tests/probe", self.directory / "probe")
        (self.directory / "function.ini").write_text(f"[function]\nname = {name}\ncommand = /probe serve\n[limits]\nmemory = 64M\n[network]\n{network}\n")
        if deploy:
            fnctl("deploy", self.directory)

    def run(self, verb, *args, port=8888, seconds=60):
        text = get(f"/fn/{self.name}/run/{verb}?" + "&".join(map(str, args)), port=port, seconds=seconds).text
        body, _, last = text.rstrip("\n").rpartition("\n")
        assert last == "#exit 0", text
        return body

    def connect(self, *targets, **options):
        """{target: what came of it}"""
        targets = [f"{t},{PORT}" if "," not in t else t for t in targets]
        lines = dict(line.split(" ", 1) for line in self.run("connect", *targets, **options).split("\n") if line)
        return {t.removesuffix(f",{PORT}"): lines[t] for t in targets}

    def reached(self, *targets, **options):
        """Those that answered, or took the connection at least."""
        return {t for t, word in self.connect(*targets, **options).items() if "<-" in word or word == "open"}

    def lookup(self, name):
        return self.run("lookup", name).split()

    @property
    def instance(self):
        return fndtest.ready_instances(self.name, 1)[0]

    @property
    def address(self):
        return self.instance["address"]
