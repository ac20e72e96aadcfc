"""Where a function's connections go: what [network] opens, and that nothing else is. Each test has a world of its own around its host (world.py)."""

import contextlib
import os
import re
import socket
import threading

import pytest

import fndtest
import world as surroundings
from fndtest import fnctl, function, get, ready_instances, run, wait_until
from test_run import Run
from world import BRIDGE, CGNAT, HOST_DUMMY, HOST_PORT, HOST_PRIVATE, HOST_PUBLIC, METADATA, METADATA6, OTHER, PORT, PRIVATE, PUBLIC, PUBLIC6, Probe

# This host, at each of its addresses and at its daemon's ports; none but the gateway's port and the forwarder's at the bridge is a function's to reach.
HOST = [f"{a},{HOST_PORT}" for a in (HOST_PUBLIC, HOST_PRIVATE, HOST_DUMMY, BRIDGE, "127.0.0.1")] + [f"{BRIDGE},8889", "127.0.0.1,8889", "127.0.0.1,8888", f"{HOST_PUBLIC},8888", f"{BRIDGE},22"]
NEVER = [METADATA, METADATA6, "0.0.0.0", "224.0.0.1", "255.255.255.255"]


@pytest.fixture
def world():
    with surroundings.made() as w:
        yield w


@pytest.fixture
def daemon(world):
    d = fndtest.Daemon(settings={"network.dns": PUBLIC})
    d.start()
    yield d
    d.stop()


def test_by_default_the_internet_and_nothing_else(daemon, tmp_path):
    fnctl("deploy", "hello")
    sibling = fndtest.instances("hello")[0]["address"]
    probe = Probe(tmp_path, "probe")
    said = probe.connect(PUBLIC, OTHER)
    assert said[PUBLIC] == f"{PUBLIC}<-{HOST_PUBLIC}", said  # masqueraded
    assert said[OTHER] == f"{OTHER}<-{HOST_PUBLIC}", said
    assert probe.reached(*HOST, *NEVER, PRIVATE, CGNAT, PUBLIC6, f"{sibling},3000", f"{sibling},22", f"fd66:6e0a:e700::1,{HOST_PORT}") == set()
    assert probe.lookup("api.example") == ["rcode", "0", PUBLIC]
    assert probe.lookup("nowhere.example") == ["rcode", "3"]
    for name in ("trap.example", "host.example", "sibling.example", "db.example"):  # what a name leads to is not opened by it
        assert probe.lookup(name)[2:] == [], name
    assert function("probe")["network"] == "internet"
    assert "  network       internet\n" in fnctl("status", "probe").out
    assert fnctl("plan", "probe").out.endswith("network\n  internet\n")


def test_the_gateway_from_inside(daemon, tmp_path):
    """http://gateway:8888/fn/NAME/ whatever the egress; the public paths alone. A gateway that was started anew gets its sockets again."""
    fnctl("deploy", "hello")
    probe = Probe(tmp_path, "probe", "egress = no")
    hosts = probe.run("cat", "/etc/hosts")
    assert f"{BRIDGE}\tgateway" in hosts, hosts
    answer = probe.run("fetch", f"{BRIDGE},8888", "/fn/hello/")
    assert answer.startswith("HTTP/1.1 200 "), answer
    for path in ("/api/v1/functions", "/admin/api/v1/functions", "/metrics", "/admin/"):
        answer = probe.run("fetch", f"{BRIDGE},8888", path)
        assert answer.startswith("HTTP/1.1 403 "), (path, answer)
    before = daemon.gateway_pid
    os.kill(before, 9)
    wait_until(lambda: daemon.gateway_pid not in (None, before), what="a new gateway")
    wait_until(lambda: probe.run("fetch", f"{BRIDGE},8888", "/fn/hello/").startswith("HTTP/1.1 200 "), what="the gateway from inside")


@pytest.mark.parametrize(
    ("egress", "reached", "names"),
    [("no", set(), False), ("internet", {PUBLIC, OTHER}, True), ("lan", {PUBLIC, OTHER, PRIVATE, CGNAT}, True), (f"{PRIVATE}:{PORT}", {PRIVATE}, False), (f"{OTHER}:{PORT} {PRIVATE}:1", {OTHER}, False)],
)
def test_egress(daemon, tmp_path, egress, reached, names):
    probe = Probe(tmp_path, "probe", f"egress = {egress}")
    assert probe.reached(*HOST, *NEVER, PUBLIC, OTHER, PRIVATE, CGNAT, f"{PRIVATE},1") == reached
    assert (probe.lookup("api.example") == ["rcode", "0", PUBLIC]) == names
    assert ("nameserver" in probe.run("cat", "/etc/resolv.conf")) == (egress != "no")


def test_list_of_names(daemon, tmp_path):
    """A name is opened when it is asked for, for its function's instances, at its port; what stands in no list is neither found nor open. Slots that are made later know it too."""
    probe = Probe(tmp_path, "probe", f"egress = api.example:{PORT} db.example:{PORT} trap.example:{PORT} host.example:{HOST_PORT}")
    other = Probe(tmp_path, "other", f"egress = db.example:{PORT}")
    assert probe.reached(PUBLIC, PRIVATE, OTHER) == set()
    assert probe.lookup("API.example") == ["rcode", "0", PUBLIC]
    assert probe.reached(PUBLIC, PRIVATE, OTHER) == {PUBLIC}
    assert probe.lookup("db.example") == ["rcode", "0", PRIVATE]
    assert probe.reached(PUBLIC, PRIVATE, OTHER, f"{PUBLIC},53") == {PUBLIC, PRIVATE}
    assert other.reached(PUBLIC, PRIVATE) == set()
    assert other.lookup("api.example")[1] in ("3", "5")
    for name in ("trap.example", "sibling.example", "nowhere.example"):
        assert probe.lookup(name)[2:] == [], name
    probe.lookup("host.example")  # stands in the list, has a private address: which is this host's
    assert probe.reached(*HOST, *NEVER) == set()
    fnctl("scale", "probe", 2)
    ready_instances("probe", 2)
    for _ in range(8):  # whichever of the two answers
        assert probe.reached(PUBLIC, PRIVATE) == {PUBLIC, PRIVATE}


def test_services(daemon, tmp_path):
    probe = Probe(tmp_path, "probe", f"egress = no\nservices = db={PRIVATE}:{PORT} cache={OTHER}:1")
    hosts = probe.run("cat", "/etc/hosts").split("\n")
    assert f"{PRIVATE}\tdb" in hosts and f"{OTHER}\tcache" in hosts, hosts
    assert probe.reached(*HOST, *NEVER, PUBLIC, OTHER, PRIVATE) == {PRIVATE}
    assert function("probe")["network"] == f"no egress; services db={PRIVATE}:{PORT} cache={OTHER}:1"


def test_mesh_needs_both(daemon, tmp_path):
    one, two = Probe(tmp_path, "one", "mesh = yes"), Probe(tmp_path, "two", "mesh = yes")
    loner = Probe(tmp_path, "loner")
    one_at, two_at, loner_at = (f"{p.address},3000" for p in (one, two, loner))
    assert one.reached(two_at, loner_at) == {two_at}
    assert two.reached(one_at, loner_at) == {one_at}
    assert loner.reached(one_at, two_at) == set()


def test_ipv6_where_asked_for(daemon, tmp_path):
    probe = Probe(tmp_path, "probe", "ipv6 = yes")
    assert probe.reached(PUBLIC, PUBLIC6, METADATA6, f"2a00:1:2:3::1,{HOST_PORT}", f"fe80::1,{HOST_PORT}", f"::1,{HOST_PORT}", *HOST) == {PUBLIC, PUBLIC6}
    assert "::1\tlocalhost" in probe.run("cat", "/etc/hosts")


def test_slots_are_made_ahead_for_each_policy(daemon, tmp_path):
    """The second instance of a function with a policy of its own does not wait for a network to be made."""
    Probe(tmp_path, "probe", f"egress = no\nservices = db={PRIVATE}:{PORT}")
    wait_until(lambda: len([n for n in fndtest.links() if n.startswith("vf")]) >= 8 + 1 + 2, what="slots of both policies")
    fnctl("scale", "probe", 3)
    ready_instances("probe", 3)


def rules_are_there():
    return "chain" in run("nft", "list", "table", "inet", "fn").out


def nothing_but(words, allowed):
    return [w for w in words if "<-" in w and not w.startswith(allowed)]


def test_flush_under_traffic(daemon, tmp_path):
    """`nft flush ruleset`, again and again while a function tries: it never gets to the host or to a sibling, and the rules are back: within 1.5 s as a function sees it (tests/root/test_netns_watch.c holds them to one second)."""
    fnctl("deploy", "hello")
    sibling = fndtest.instances("hello")[0]["address"]
    probe = Probe(tmp_path, "probe")
    found, over = [], threading.Event()

    def attack():
        while not over.is_set():
            found.extend(f"{t} {w}" for t, w in probe.connect(*HOST, METADATA, PRIVATE, f"{sibling},3000").items() if "<-" in w or w == "open")

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        for _ in range(5):
            run("nft", "flush", "ruleset")
            watch = fndtest.Stopwatch()
            wait_until(rules_are_there, what="the rules")
            assert watch.own < 1.5, "rules came back late"
    finally:
        over.set()
        attacker.join()
    assert found == [], found
    wait_until(lambda: probe.reached(PUBLIC, PRIVATE) == {PUBLIC}, what="the internet again")
    metrics = get("/metrics", port=8889).text
    assert int(re.search(r"^fnd_network_rules_restored_total (\d+)$", metrics, re.M)[1]) >= 1
    assert "network rules restored" in daemon.output()


def from_inside(pid, address, port):
    """Connects as the function would, without a daemon between: what the rules alone let through."""

    def work():
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as s:
            s.settimeout(1.5)
            try:
                s.connect((address, port))
            except OSError:
                return False
            return True

    return surroundings.inside(f"/proc/{pid}/ns/net", work)


def test_rules_outlive_a_killed_daemon(daemon, tmp_path):
    fnctl("deploy", "hello")
    sibling = fndtest.instances("hello")[0]["address"]
    pid = fndtest.function_pid(Probe(tmp_path, "probe").instance)
    wait_until(lambda: from_inside(pid, PUBLIC, PORT))
    daemon.kill()
    for address, port in ((HOST_PUBLIC, HOST_PORT), (BRIDGE, HOST_PORT), (HOST_DUMMY, HOST_PORT), (PRIVATE, PORT), (METADATA, PORT), (sibling, 3000)):
        assert not from_inside(pid, address, port), (address, port)
    wait_until(lambda: from_inside(pid, PUBLIC, PORT))
    daemon.start()
    ready_instances("probe", 1)


def test_what_is_refused_is_counted(daemon, tmp_path):
    probe = Probe(tmp_path, "probe")
    probe.connect(*HOST, PRIVATE, CGNAT)
    metrics = get("/metrics", port=8889).text
    drops = {m[1]: int(m[2]) for m in re.finditer(r'^fnd_network_dropped_total\{reason="(\w+)"\} (\d+)$', metrics, re.M)}
    assert set(drops) == {"spoofed", "arp", "frames", "to_host", "egress", "mesh", "from_outside", "connections"}, metrics


def test_from_outside_there_is_no_way_in(world, daemon, tmp_path):
    """A neighbour on the host's network who has a route to the functions' one."""
    address = Probe(tmp_path, "probe").address
    world.shell(f"ip route add 10.231.0.0/16 via {HOST_PUBLIC}")
    for target, port in ((address, 3000), (BRIDGE, 8888), (BRIDGE, 53)):
        assert not surroundings.inside(world.path, lambda t=target, p=port: connects(t, p)), (target, port)


def connects(address, port):
    with contextlib.closing(socket.socket()) as s:
        s.settimeout(1.5)
        return s.connect_ex((address, port)) == 0


def test_private_daemon(world, tmp_path):
    """fnctl run: the public listener is at a loopback port, and the gateway is at its place inside all the same."""
    probe = Probe(tmp_path, "probe", deploy=False)
    served = Run(str(probe.directory))
    port, _ = served.url()
    hosts = probe.run("cat", "/etc/hosts", port=port)
    gateway = re.search(r"^([0-9.]+)\tgateway$", hosts, re.M)[1]
    answer = probe.run("fetch", f"{gateway},8888", "/fn/probe/ping", port=port)
    assert answer.startswith("HTTP/1.1 200 "), answer
    assert probe.reached(PUBLIC, PRIVATE, METADATA, f"{gateway},{HOST_PORT}", f"{HOST_PUBLIC},{HOST_PORT}", port=port) == {PUBLIC}
    assert served.end() == 0


def test_private_daemon_beside_the_service(world, make_daemon, tmp_path):
    """The service listens on all addresses; each gateway is the one of its own functions all the same. Two daemons cannot have the same listener."""
    service = make_daemon(settings={"gateway.listen": "0.0.0.0:8888"})
    service.start()
    status, text = make_daemon(settings={"gateway.listen": "0.0.0.0:8888", "network.bridge": "zz", "network.port": "zy", "network.subnet": "10.99.0.0/16", "runner.state": "/var/lib/two", "runner.run": "/run/two"}).refuses()
    assert status == 3 and "gateway.listen" in text, text
    probe, other = Probe(tmp_path, "probe"), Probe(tmp_path, "private", deploy=False)
    served = Run(str(other.directory))
    port, _ = served.url()
    gateway = re.search(r"^([0-9.]+)\tgateway$", other.run("cat", "/etc/hosts", port=port), re.M)[1]
    assert gateway != BRIDGE
    assert other.run("fetch", f"{gateway},8888", "/fn/private/ping", port=port).startswith("HTTP/1.1 200 ")
    assert other.run("fetch", f"{gateway},8888", "/fn/probe/ping", port=port).startswith("HTTP/1.1 404 ")
    assert probe.run("fetch", f"{BRIDGE},8888", "/fn/probe/ping").startswith("HTTP/1.1 200 ")
    # The service has switched forwarding on at the uplink, for itself: answers to what others have sent pass there all the same.
    assert other.reached(PUBLIC, PRIVATE, port=port) == probe.reached(PUBLIC, PRIVATE) == {PUBLIC}
    assert served.end() == 0


def test_gateway_port_that_is_taken(world, make_daemon, tmp_path):
    """A stranger listens on all addresses: the warning names the remedy, functions start, and another port works."""
    with contextlib.closing(surroundings.listener(8888)):
        daemon = make_daemon(settings={"gateway.listen": "127.0.0.1:9999"})
        daemon.start()
        probe = Probe(tmp_path, "probe")
        assert probe.run("connect", f"{BRIDGE},53", port=9999)
        assert "cannot listen at a bridge" in daemon.output() and "network.gateway_port" in daemon.output(), daemon.output()
        daemon.stop()
        daemon = make_daemon(settings={"gateway.listen": "127.0.0.1:9999", "network.gateway_port": "8000"})
        daemon.start()
        ready_instances("probe", 1)
        assert probe.run("fetch", f"{BRIDGE},8000", "/fn/probe/ping", port=9999).startswith("HTTP/1.1 200 ")
        daemon.stop()


def write_resolv_conf(text):
    with open("/etc/resolv.conf.new", "w", encoding="ascii") as f:
        f.write(text)
    os.rename("/etc/resolv.conf.new", "/etc/resolv.conf")


def test_resolvers_of_the_host(world, make_daemon, tmp_path):
    """They are those of resolv.conf, and a change is noticed; the function's own file names the bridge alone."""
    write_resolv_conf(f"nameserver {OTHER}\n")  # nobody answers there
    make_daemon().start()
    probe = Probe(tmp_path, "probe")
    assert OTHER not in probe.run("cat", "/etc/resolv.conf")
    write_resolv_conf(f"nameserver {PUBLIC}\n")
    wait_until(lambda: probe.lookup("api.example") == ["rcode", "0", PUBLIC], 30, "the new resolver's answer")


def test_listeners_of_systemd(world, make_daemon, tmp_path):
    """The gateway's listeners come from elsewhere (fnd.socket, with ReusePort): the runner's own is at the bridge, whatever gateway.listen says."""
    with contextlib.closing(socket.socket()) as public:
        public.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        public.bind(("0.0.0.0", 8888))
        public.listen()
        make_daemon(settings={"gateway.listen": "0.0.0.0:8888", "gateway.spawn": "no"}).start()
        listening = wait_until(lambda: [line for line in run("ss", "-Hltn").out.splitlines() if f" {BRIDGE}%" in line or f" {BRIDGE}:8888" in line], what="the listener at the bridge")
        assert any(":8888 " in line for line in listening), listening


def test_closed_connections(world, make_daemon, tmp_path):
    """The rules know where the gateway listens, whoever made the listeners: the kernel forgets connections there soon after their end (tests/root/test_netns_tracking.c looks at the times)."""
    make_daemon(settings={"gateway.listen": "0.0.0.0:8888", "gateway.tls_listen": "none"}).start()
    Probe(tmp_path, "probe")
    ports = wait_until(lambda: re.findall(r"\b\d{4,}\b", run("nft", "list", "set", "inet", "fn", "listeners").out), 30, "the listeners' ports")
    assert sorted(ports) == ["8888", "8889"], ports
    assert "short_tcp" in run("nft", "list", "chain", "inet", "fn", "strangers").out


def test_no_names(world, make_daemon, tmp_path):
    make_daemon(settings={"network.dns": "none"}).start()
    probe = Probe(tmp_path, "probe")
    assert "nameserver" not in probe.run("cat", "/etc/resolv.conf")
    assert probe.reached(PUBLIC, f"{BRIDGE},53") == {PUBLIC}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("egress = everywhere", 'function.ini:7: [network] egress: "everywhere" is not known: say internet, lan, no, or HOST:PORT'),
        ("egress = 169.254.169.254:80", "[network] egress: 169.254.169.254 is link-local and cannot be opened"),
        ("services = db=127.0.0.1:5432", "[network] services: 127.0.0.1 is the loopback's and cannot be opened"),
        ("services = gateway=192.0.2.1:1", "[network] services: gateway is the function's own name: choose another"),
    ],
)
def test_bad_keys(daemon, tmp_path, keys, message):
    probe = Probe(tmp_path, "probe", keys, deploy=False)
    result = fnctl("deploy", probe.directory, status=None)
    assert result.status != 0 and message in result.err, result
