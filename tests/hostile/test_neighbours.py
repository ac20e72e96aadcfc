"""H28 to H33, H45, H46, H48: what a function can see of the host and of other functions."""

import os
import re
import socket
import subprocess
import sys

import fndtest
import hostile
from fndtest import fnctl, instances, wait_until

GOLDEN = os.path.dirname(os.path.realpath(__file__)) + "/golden/"
PORTS = (22, 53, 80, 3000, 8888, 8889, 9999)


def host_addresses():
    """Every IPv4 address that the host has on a link, bridges included."""
    text = fndtest.run("ip", "-4", "-o", "addr", "show").out
    return sorted({line.split()[3].split("/")[0] for line in text.splitlines()})


def in_network_of(p, *command):
    return ["nsenter", "-t", str(p.instance["pid"]), "-n", *command]


def link_state():
    """What frames could change on the host: neighbours and forwarding entries."""
    text = fndtest.run("ip", "neigh").out + fndtest.run("bridge", "fdb").out
    held = [i for name in ("probe", "victim", "neighbour") for i in instances(name)]  # spare slots come and go
    return {line.strip() for line in text.splitlines() if any(f"vf{i['slot']:04} " in line or line.startswith(i["address"] + " ") for i in held)}


def counters():
    text = fndtest.run("nft", "list", "counters", "table", "bridge", "fn").out
    return {name: int(packets) for name, packets in re.findall(r"counter (\w+) \{\s+packets (\d+)", text)}


def test_h28_frames_of_somebody_else(host, probe):
    """Root in a slot's network sends what it is not: other addresses, other MACs, ARP, VLAN tags, router advertisements, DHCP, mDNS. Dropped at the bridge and counted; a sibling sees none of it and goes on serving."""
    victim = host.deploy("victim")
    before, counted = link_state(), counters()
    frames = os.path.join(os.path.dirname(os.path.realpath(__file__)), "frames.py")
    with hostile.Watch() as neighbour, subprocess.Popen(in_network_of(victim, sys.executable, "-B", frames, "sniff"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sniffer:
        assert sniffer.stdout.readline() == "ready\n"
        for command in (("nft", "flush", "ruleset"), ("ip", "addr", "add", victim.instance["address"] + "/32", "dev", "eth0"), ("ip", "link", "set", "eth0", "promisc", "on")):
            assert fndtest.run(*in_network_of(probe, *command)).status == 0
        sent = fndtest.run(*in_network_of(probe, sys.executable, "-B", frames, "send", probe.instance["address"], victim.instance["address"], bridge_of(probe)))
        assert sent.status == 0, sent
        for kind, number in (line.split() for line in sent.out.splitlines()):
            wait_until(lambda k=kind, n=number: counters()[k] - counted[k] >= int(n), what=f"{number} {kind}, was {counted}, is {counters()}")
        victim.run("stamp")
        seen = sniffer.communicate("")[0]
    assert seen.strip() == "0", f"the sibling has seen {seen.strip()} frames"
    neighbour.check()
    assert len(before) >= 6 and link_state() == before, link_state() ^ before
    victim.run("stamp")
    fndtest.run(*in_network_of(probe, "ip", "addr", "del", victim.instance["address"] + "/32", "dev", "eth0"))
    name = probe.instance["name"]  # its network is not what it was
    fnctl("restart", "probe")
    wait_until(lambda: [i["name"] for i in instances("probe", None)] not in ([], [name]) and len(instances("probe")) == 1)


def bridge_of(probe):
    """The bridge's address as the function knows it."""
    return re.search(r"^(\S+)\s.*\bgateway\b", probe.run("cat", "/etc/hosts"), re.M)[1]


def test_h29_nothing_can_be_reached_but_what_the_policy_opens(host, probe):
    """By no address of the host, no sibling, no metadata service, no group; with egress or mesh the gateway's port and DNS at its own bridge, without them the gateway's port alone; a mesh among those who say so."""
    closed = host.deploy("closed", limits="[network]\negress = no\n")
    meshed = [host.deploy(name, limits="[network]\negress = no\nmesh = yes\n") for name in ("mesh1", "mesh2")]
    siblings = [i["address"] for name in ("neighbour", "closed", "mesh1", "mesh2", "probe") for i in instances(name)]
    with socket.create_server(("0.0.0.0", 9999), reuse_port=True):
        for p in (probe, closed, *meshed):
            bridge, own = bridge_of(p), p.instance["address"]
            opened = [f"{bridge},8888"] + ([] if p is closed else [f"{bridge},53"])
            friends = [f"{m.instance['address']},3000" for m in meshed if p in meshed and m is not p]
            targets = [f"{a},{port}" for a in host_addresses() + siblings if a not in ("127.0.0.1", own) for port in PORTS]
            targets += [f"{a},{port}" for a in ("127.0.0.1", "127.0.0.53", "127.1.2.3", "0.0.0.0") for port in (8888, 8889, 9999, 53)]
            targets += [f"{a},80" for a in ("169.254.169.254", "169.254.1.1", "100.100.100.200", "192.0.2.1", "198.51.100.1", "10.0.0.1", "172.17.0.1", "192.168.1.1", "224.0.0.1", "255.255.255.255", "240.0.0.1")]
            targets += [f"{a},80" for a in ("fd00:ec2::254", "fe80::1", "ff02::1", "2001:db8::1", "::ffff:169.254.169.254")] + ["::1,8888", "::ffff:127.0.0.1,8888"]
            targets = [t for t in targets if t not in opened and not (t.split(",")[0] in (f.split(",")[0] for f in friends))]
            for i in range(0, len(targets), 100):
                p.run("unreachable", *targets[i : i + 100])
            p.run("reachable", *opened, *friends)


def test_h30_abstract_sockets_and_environment(probe):
    names = [f"fnd-canary-{kind}" for kind in ("dgram", "stream")]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as a, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as b:
        a.bind("\0" + names[0])
        b.bind("\0" + names[1])
        b.listen()
        probe.run("abstract", *names)
    probe.run("environment", "-NOTIFY_SOCKET", "-LISTEN_FDS", "-LISTEN_PID", "-LISTEN_FDNAMES", "-INVOCATION_ID", "-JOURNAL_STREAM", "-SUDO_USER", "-FND_TESTHOST", "-FND_BUILD", "-SSH_AUTH_SOCK", "HOME=/tmp", "FND_FUNCTION=probe")


def golden_paths():
    """{path: (what reading may give, what writing may give)}"""
    found = {}
    with open(GOLDEN + "paths.txt", encoding="ascii") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                path, read, write = line.split()
                found[path] = (read, write)
    return found


def test_h31_proc_and_sys(probe):
    """A path may always be absent: kernels differ. Nothing may give more than the golden list says."""
    golden = golden_paths()
    assert len(golden) >= 120
    paths = sorted(golden)
    seen = {}
    for i in range(0, len(paths), 60):
        for line in probe.run("paths", *paths[i : i + 60]).splitlines():
            path, read, write = line.split()
            seen[path] = (read, write)
    assert sorted(seen) == paths
    wrong = {p: (seen[p], golden[p]) for p in paths if seen[p][0] not in ("absent", *golden[p][0].split("|")) or seen[p][1] not in ("absent", *golden[p][1].split("|"))}
    assert not wrong, "\n".join(f"{p}: {a}, expected {b}" for p, (a, b) in wrong.items())


def test_h32_mountinfo_and_identity_show_no_host(host, probe):
    secrets = ["/var/lib", "/var", "fnd", "ext4", "cgroup", "images", fndtest.REPO, "lowerdir=/var", "neighbour"]
    probe.run("mounts", *secrets)
    with open(GOLDEN + "mounts.txt", encoding="ascii") as f:
        golden = [line.strip() for line in f if line.strip() and not line.startswith("#")]
    seen = hostile.normal_mounts(probe.run("cat", "/proc/self/mountinfo"))
    assert set(seen) <= set(golden), "\n".join(sorted(set(seen) - set(golden)))
    probe.run("environment", f"HOST={probe.instance['name']}", "-HOSTNAME")
    text = probe.run("cat", "/proc/self/cgroup", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname")
    assert not any(word in text for word in ("neighbour", "/var/lib", socket.gethostname(), "127.0.0.53", "fnd")), text
    assert host.neighbour not in probe.run("cat", "/proc/self/mountinfo", "/proc/self/status", "/proc/net/route", "/proc/net/arp", "/proc/net/unix")


def test_h33_users_are_apart(host, probe):
    """What the kernel counts per user id is used up in one function, and there in the other."""
    other = host.deploy("greedy", memory="128M")
    assert other.instance["uid"] != probe.instance["uid"]
    uids = {int(fndtest.process_status(fndtest.function_pid(p.instance))["Uid"].split()[0]) // 65536 for p in (probe, other)}
    assert len(uids) == 2
    other.run("exhaust")
    wait_until(lambda: "exhausted" in fnctl("logs", "greedy").out)
    probe.run("inotify")
    probe.run("threads")


def thin_package(directory):
    """Of nothing but a function.ini: the probe is the runtime's."""
    archive = hostile.Archive()
    archive.add("function.ini", hostile.ini("holder", function="runtime = probes\n").encode())
    return archive.save(str(directory / "thin.tar"))


def locks_are_apart(host, path, link, names):
    for name in names:
        fnctl("deploy", path, "--name", name)
        host.names.append(name)
    images = {os.path.realpath(f"/var/lib/fnd/functions/default/{n}/current/{link}") for n in names}
    assert len(images) == 1, images
    cold = images.pop() + "/data/cold"
    fd = os.open(cold, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    holder, other = [hostile.Probe(n) for n in names]
    holder.run("share-hold", "/data/warm")
    seen = holder.run("share-events")
    assert seen.startswith("held\n")
    other.run("share-try", "/data/warm", "/data/cold")
    assert holder.run("share-events") == seen, "the watch has seen another function"


def test_h45_locks_and_watches_on_a_shared_image(host, tmp_path):
    """Two functions of the same image, then two over the same runtime: neither sees or blocks the other's locks, leases, watches."""

    # The same archive under two names is one image on disk.
    with hostile.package(hostile.ini("holder")) as path:
        locks_are_apart(host, path, "image", ("holder", "other"))
        fnctl("runtime", "put", "probes", path)
    locks_are_apart(host, thin_package(tmp_path), "runtime", ("over-holder", "over-other"))


def test_h46_ipc_is_apart(host, probe):
    maker = host.deploy("maker")
    maker.run("ipc-make")
    probe.run("ipc-look")


def test_h48_nothing_of_an_earlier_life(host):
    p = host.deploy("lives", function="writable = yes\n")
    for _ in range(hostile.times(10, 2)):
        before = p.instance
        p.run("clean")
        p.run("litter")
        p.run("exhaust")
        fnctl("restart", "lives")
        wait_until(lambda b=before: len(instances("lives", None)) == 1 and instances("lives")[0]["name"] != b["name"], what="another instance")
    p.run("clean")
