"""What functions look up, and what they can reach afterwards. The resolver is a thread of the test; "the Internet" is a namespace with public addresses, reached over a default route of the test host."""

import contextlib
import re
import shutil
import socket
import struct
import subprocess
import threading

import pytest

import fndtest
from fndtest import Daemon, fnctl, get, wait_until

PORT = 5300
HERE, THERE, OTHER = "93.184.216.1", "93.184.216.34", "93.184.216.35"
CGI = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n"
# A static busybox has a resolver of its own in nslookup alone: the others want glibc's libraries.
FETCH = """case $QUERY_STRING in
[0-9]*) host=$QUERY_STRING ;;
*) name=${QUERY_STRING%%[:/]*}; a=$(nslookup -type=a "$name" 2>&1 | awk '/^Name:/ { n = 1 } n && /^Address: / { print $2; exit }')
   [ "$a" ] || { echo "no address"; exit; }
   host=$a${QUERY_STRING#"$name"} ;;
esac
port=${host#*:} path=/${host#*/}
[ "$port" = "$host" ] && port=80
[ "$path" = "/$host" ] && path=/
printf 'GET %s HTTP/1.0\\r\\n\\r\\n' "$path" | nc -w 3 "${host%%[:/]*}" "${port%%/*}" 2>&1 | tail -n 1 | grep . || echo failed
"""
BIG = r"""printf '\0\035\0\01\01\0\0\01\0\0\0\0\0\0\03big\07example\0\0\01\0\01' | nc -w 3 $(awk '/^nameserver/ { print $2 }' /etc/resolv.conf) 53 | wc -c
"""
SCRIPTS = {
    "lookup": CGI + 'nslookup -type=a "$QUERY_STRING" 2>&1\n',
    "fetch": CGI + FETCH,
    "tcp": CGI + BIG,
    "conf": CGI + "cat /etc/resolv.conf\n",
    "address": CGI + "hostname -i\n",
}


class Resolver:
    """Answers type A by `names`; a name that is not there does not exist. `big` is cut over UDP. Silent when asked to be."""

    def __init__(self):
        self.names = {"www.example": [THERE], "other.example": [OTHER], "inside.example": ["10.1.2.3", "127.0.0.1"], "big.example": [THERE] * 90}
        self.asked = []
        self.silent = False
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", PORT))
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind(("127.0.0.1", PORT))
        self.tcp.listen()
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self.serve_udp, self.serve_tcp)]
        for t in self.threads:
            t.start()

    def answer(self, query, how):
        end, labels = 12, []
        while query[end]:
            labels.append(query[end + 1 : end + 1 + query[end]].decode())
            end += 1 + query[end]
        name, question, kind = ".".join(labels), query[12 : end + 5], query[end + 2]
        self.asked.append((name, kind, how))
        if self.silent:
            return b""
        addresses = self.names.get(name)
        records = addresses if addresses and kind == 1 else []
        cut = how == "udp" and len(records) > 50
        flags = 0x8180 | (0 if addresses else 3) | (0x200 if cut else 0)
        data = b"" if cut else b"".join(struct.pack(">HHHIH4s", 0xC00C, 1, 1, 60, 4, socket.inet_aton(a)) for a in records)
        return struct.pack(">2sHHHHH", query[:2], flags, 1, 0 if cut else len(records), 0, 0) + question + data

    def serve_udp(self):
        with contextlib.suppress(OSError):
            while True:
                query, peer = self.udp.recvfrom(4096)
                if not query:  # shut down
                    return
                data = self.answer(query, "udp")
                if data:
                    self.udp.sendto(data, peer)

    def serve_tcp(self):
        with contextlib.suppress(OSError):
            while True:
                conn, _ = self.tcp.accept()
                with conn, contextlib.suppress(OSError, struct.error):
                    (n,) = struct.unpack(">H", conn.recv(2, socket.MSG_WAITALL))
                    query = conn.recv(n, socket.MSG_WAITALL)
                    if len(query) < n:  # gave up
                        continue
                    data = self.answer(query, "tcp")
                    conn.sendall(struct.pack(">H", len(data)) + data)

    def close(self):
        for s in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
        for t in self.threads:
            t.join(30)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def resolver():
    r = Resolver()
    yield r
    r.close()


@pytest.fixture
def world(tmp_path):
    """Two web servers at public addresses, behind the default route."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www/index.html").write_text("the world\n")
    ip("netns", "add", "world")
    servers = []
    try:
        ip("link", "add", "w0", "type", "veth", "peer", "name", "eth0", "netns", "world")
        ip("addr", "add", HERE + "/24", "dev", "w0")
        ip("link", "set", "w0", "up")
        for address in (THERE, OTHER):
            ip("-n", "world", "addr", "add", address + "/24", "dev", "eth0")
        ip("-n", "world", "link", "set", "eth0", "up")
        ip("route", "add", "default", "via", THERE)
        servers.append(subprocess.Popen(["ip", "netns", "exec", "world", "busybox", "httpd", "-f", "-p", "80", "-h", str(tmp_path / "www")]))
        wait_until(lambda: b"the world" in fetch_here(THERE))
        yield
    finally:
        for s in servers:
            s.kill()
            s.wait()
        ip("netns", "del", "world")
        subprocess.run(["ip", "link", "del", "w0"], check=False, capture_output=True)
        subprocess.run(["umount", "/run/netns"], check=True)


def fetch_here(address):
    with socket.create_connection((address, 80), timeout=2) as s:
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return s.recv(4096) + s.recv(4096)


@pytest.fixture
def daemon(resolver):
    d = Daemon(settings={"network.dns": f"127.0.0.1:{PORT}"}).start()
    yield d
    d.stop()


def deploy(tmp_path, name, network):
    fnctl("deploy", fndtest.package(tmp_path / name, fndtest.HTTPD.format(name=name) + "[network]\n" + network, {f"www/cgi-bin/{k}": v for k, v in SCRIPTS.items()}))


def ask(name, what, of, seconds=30):
    return get(f"/fn/{name}/cgi-bin/{what}?{of}", seconds=seconds).text


def addresses(text):
    """Of nslookup's output, those behind the name."""
    return re.findall(r"^Address: (\S+)$", text.split("Name:", 1)[-1], re.M) if "Name:" in text else []


def counted(result):
    return int(re.search(rf'^fnd_dns_queries_total\{{result="{result}"\}} (\d+)$', get("/metrics", port=8889).text, re.M)[1])


def test_internet(resolver, world, daemon, tmp_path):
    deploy(tmp_path, "web", "egress = internet\n")
    text = ask("web", "lookup", "www.example")
    assert addresses(text) == [THERE], text
    assert ask("web", "fetch", "www.example") == "the world\n"
    assert "NXDOMAIN" in ask("web", "lookup", "nobody.example")
    assert addresses(ask("web", "lookup", "inside.example")) == []
    assert addresses(ask("web", "lookup", "big.example")) == []  # cut: over UDP this client takes 512 bytes
    assert ask("web", "tcp", "").strip() == str(2 + 29 + 90 * 16)
    assert ("big.example", 1, "tcp") in resolver.asked
    assert ask("web", "fetch", "gateway.fnd.internal:8888").startswith("fnd"), ask("web", "fetch", "gateway.fnd.internal:8888")
    assert "NXDOMAIN" in ask("web", "lookup", "web.fnd.internal")
    assert not [a for a in resolver.asked if a[0].endswith("internal")]
    assert counted("forwarded") >= 3 and counted("cached") >= 1 and counted("local") >= 2


def test_list_is_open_once_it_is_told_and_not_before(resolver, world, daemon, tmp_path):
    deploy(tmp_path, "picky", "egress = www.example:80\n")
    assert ask("picky", "fetch", THERE) != "the world\n"
    assert ask("picky", "fetch", "www.example") == "the world\n"
    assert ask("picky", "fetch", THERE) == "the world\n"
    assert ask("picky", "fetch", OTHER) != "the world\n"
    assert "NXDOMAIN" in ask("picky", "lookup", "other.example")
    assert ask("picky", "fetch", "other.example") == "no address\n"
    assert {a[0] for a in resolver.asked} == {"www.example"}
    assert counted("refused") >= 1


def test_no_resolver_answers(resolver, world, daemon, tmp_path):
    deploy(tmp_path, "web", "egress = internet\n")
    resolver.silent = True
    watch = fndtest.Stopwatch()
    text = ask("web", "lookup", "www.example", seconds=60)
    assert "SERVFAIL" in text, text
    assert watch.own < 8, watch.own  # 4.5 on a machine that has nothing else to do
    resolver.silent = False
    assert addresses(ask("web", "lookup", "other.example")) == [OTHER]
    assert counted("failed") >= 1


def test_no_egress_no_names(resolver, daemon, tmp_path):
    deploy(tmp_path, "closed", "egress = no\n")
    assert "nameserver" not in ask("closed", "conf", "")
    assert addresses(ask("closed", "lookup", "www.example")) == []
    assert not resolver.asked


def test_mesh(resolver, daemon, tmp_path):
    for name, mesh in (("front", "yes"), ("back", "yes"), ("alone", "no")):
        deploy(tmp_path, name, f"mesh = {mesh}\n")
    assert addresses(ask("front", "lookup", "back.fnd.internal")) == [ask("back", "address", "").split()[0]]
    assert ask("front", "fetch", "back.default.fnd.internal:3000/cgi-bin/address") != "failed\n"
    assert "NXDOMAIN" in ask("front", "lookup", "alone.fnd.internal")
    assert "NXDOMAIN" in ask("alone", "lookup", "back.fnd.internal")
    assert not resolver.asked


def test_mesh_without_egress(resolver, daemon, tmp_path):
    """Its names, and no others."""
    for name in ("front", "back"):
        deploy(tmp_path, name, "mesh = yes\negress = no\n")
    assert addresses(ask("front", "lookup", "back.fnd.internal")) == [ask("back", "address", "").split()[0]]
    assert ask("front", "fetch", "back.fnd.internal:3000/cgi-bin/address") != "failed\n"
    assert addresses(ask("front", "lookup", "www.example")) == []
    assert not resolver.asked


def test_gateway_starts_again(resolver, world, daemon, tmp_path):
    """The sockets are the runner's: a new gateway gets them, and what was opened is open."""
    deploy(tmp_path, "picky", "egress = www.example:80\n")
    assert ask("picky", "fetch", "www.example") == "the world\n"
    old = daemon.gateway_pid
    subprocess.run(["kill", "-9", str(old)], check=True)
    wait_until(lambda: daemon.gateway_pid not in (None, old) and get("/healthz").status == 200)
    wait_until(lambda: ask("picky", "fetch", "www.example") == "the world\n")


def test_flood_of_queries_is_its_own(resolver, daemon, tmp_path):
    """Who sends queries as fast as he can keeps no neighbour at the same bridge from getting answers."""
    deploy(tmp_path, "calm", "egress = internet\n")
    files = {"www/cgi-bin/flood": CGI + "/bin/probe queries 6\n"}
    package = fndtest.package(tmp_path / "loud", fndtest.HTTPD.format(name="loud") + "[limits]\ncpu = 2\n[network]\negress = internet\n", files)
    shutil.copy(fndtest.BUILD + "/tests/probe", package + "/bin/probe")
    fnctl("deploy", package)
    said = []
    flood = threading.Thread(target=lambda: said.append(get("/fn/loud/cgi-bin/flood", seconds=60).text))
    flood.start()
    wait_until(lambda: counted("dropped") > 100)
    took = []
    for i in range(20):
        resolver.names[f"n{i}.example"] = [THERE]
        watch = fndtest.Stopwatch()
        text = ask("calm", "lookup", f"n{i}.example")
        took.append(watch.own)
        assert addresses(text) == [THERE], text
    flood.join()
    assert max(took) < 2, took  # a query that is lost is asked again after 2.5 s, by nslookup
    sent, refused = map(int, re.match(r"(\d+) sent, (\d+) refused", said[0]).groups())
    assert sent <= 1000 * 8 and refused > sent, said  # 1000 a second, in the slot, before anybody else pays for it
