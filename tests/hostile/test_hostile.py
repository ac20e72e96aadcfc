"""H01 to H20, H40 to H44, H47: ways out. Each test's expectation is its row in table.py; what must hold after every test is Host.check in hostile.py."""

import os
import resource
import tarfile
import time

import fndtest
import hostile
from fndtest import api, fnctl, instances, ready_instances, wait_until
from hostile import CANARY, sha256, times

GOLDEN = os.path.dirname(os.path.realpath(__file__)) + "/golden/"
UID_BASE = 0x70000000


def core_limit():
    """What the plan asks for, where this host does not hold it lower still."""
    return min(1, resource.getrlimit(resource.RLIMIT_CORE)[1] % 2**64)


# ---- H01 to H07: what a runtime does with the files that it is given ----


def test_h01_runtime_cannot_be_overwritten(host, probe):
    probe.run("self-exe")
    for kind in ("script", "link"):

        def entry(archive, kind=kind):
            if kind == "script":
                archive.add("entry", b"#!/proc/self/exe serve\n", mode=0o755)
            else:
                archive.add("entry", kind=tarfile.SYMTYPE, target="/proc/self/exe")

        text = hostile.ini(kind).replace("command = /probe serve", "command = /entry")
        with hostile.package(text, entry) as path:
            result = fnctl("deploy", path, status=1)
        assert result.err.strip() and not api("GET", f"/functions/{kind}").status == 200, result
    assert sha256(fndtest.program("fn-init")) == host.programs["fn-init"]
    host.restart()
    probe.run("stamp")


def test_h02_descriptors_and_working_directory(host, probe):
    probe.run("fds")
    for cwd in ("/proc/self/fd/7", "/proc/1/cwd", "/proc/self/fd/3", "/nowhere"):
        with hostile.package(hostile.ini("cwd", function=f"cwd = {cwd}\n")) as path:
            assert "cwd" in fnctl("deploy", path, status=1).err
    assert not [i for i in instances("probe", None) if i["state"] == "failed"]


def test_h02b_init_cannot_be_looked_into(probe):
    probe.run("init")
    probe.run("absent", "/proc/1/fd/0", "/proc/1/cwd/etc/shadow", "/proc/1/root/etc/shadow", "/proc/1/environ", "/proc/1/mem", "/proc/1/maps")


def test_h02c_exec_brings_nothing_in(probe):
    """What `fnctl exec` starts in a sandbox is confined as the function is, and sees no more."""
    verbs = ["fds", "init", "proc", "calls", "sockets", "foreign", "self-exe", "cgroups", "walk", "nodes", "oom-score", "image /data/warm", f"powers 1000 1000 {core_limit()}", f"mounts {CANARY} /var/lib fnd cgroup", f"absent {CANARY}/secret /etc/shadow"]
    for verb in verbs:
        fnctl("exec", "probe", "--", "/probe", *verb.split())


def bad_places(archive, kind, names):
    for name in names:
        if "/" in name:
            archive.directory(os.path.dirname(name))
        if kind in ("absolute", "relative"):
            target = CANARY if kind == "absolute" else "../" * 12 + CANARY[1:]
            archive.add(name, kind=tarfile.SYMTYPE, target=target + ("/secret" if name.startswith("etc/") else ""))
        else:
            archive.add(name, b"planted\n" if kind == "file" else b"", kind=tarfile.FIFOTYPE if kind == "fifo" else tarfile.REGTYPE)


def test_h03_places_of_the_plan_are_something_else_in_the_image(host):
    started = 0
    for names in (("dev", "proc", "sys", "tmp", "etc", "run"), ("etc/resolv.conf", "etc/hosts", "etc/hostname", "dev/null", "dev/pts", "dev/shm", "proc/self", "tmp/x")):
        for kind in ("absolute", "relative", "file", "fifo"):
            p = host.deploy(f"places-{kind}", lambda a, k=kind, n=names: bad_places(a, k, n), deployed=None)
            if p:
                started += 1
                p.run("dev")
                p.run("proc")
                p.run("mounts", CANARY, "canary")
            host.remove()
            assert hostile.tree(CANARY) == host.canaries, (names, kind)
    assert started >= 3


def test_h05_h06_h07_planted_nodes_and_proc(host):
    """CVE-2025-31133, CVE-2025-52565, CVE-2025-52881: what masks are made of, and where the runtime itself writes."""

    def plant(archive):
        for name in ("dev", "dev/pts", "proc", "proc/self", "proc/self/attr", "proc/thread-self", "proc/sys", "proc/sys/kernel"):
            archive.directory(name)
        archive.add("dev/null", kind=tarfile.SYMTYPE, target="/proc/sys/kernel/core_pattern")
        for name, target in (("dev/console", "/proc/sysrq-trigger"), ("dev/pts/0", "/proc/sys/kernel/core_pattern"), ("dev/zero", CANARY + "/secret"), ("proc/uptime", "/etc/passwd")):
            archive.add(name, kind=tarfile.SYMTYPE, target=target)
        for name in ("proc/self/attr/exec", "proc/self/uid_map", "proc/self/oom_score_adj", "proc/sys/kernel/core_pattern", "proc/sysrq-trigger"):
            archive.add(name, b"planted\n", mode=0o666)

    p = host.deploy("plants", plant)
    p.run("dev")
    p.run("proc")
    pid = fndtest.function_pid(p.instance)
    assert hostile.read(f"/proc/{pid}/uid_map").split() == ["0", str(p.instance["uid"] - 1000), "65536"]
    assert hostile.read(f"/proc/{pid}/oom_score_adj").strip() == "0"
    limits = {line[:25].strip(): line[25:].split()[:2] for line in hostile.read(f"/proc/{pid}/limits").splitlines()}
    assert limits["Max locked memory"] == ["65536", "65536"] and limits["Max realtime priority"] == ["0", "0"], limits
    assert int(limits["Max core file size"][1]) <= 1 and int(limits["Max open files"][1]) <= 16384, limits


# ---- H08 to H20: calls and nodes ----


def test_h08_cgroup_files(probe):
    probe.run("cgroups")


def test_h09_namespaces_refused_threads_work(probe):
    probe.run("calls", "namespaces")
    probe.run("threads")


def test_h10_signals_stay_inside(host):
    p = host.deploy("kills")
    strangers = [host.daemon.pid, host.daemon.gateway_pid, os.getpid(), p.instance["pid"]] + [i["pid"] for i in instances("neighbour")]
    p.run("kill-pids", *strangers)
    before = p.instance["name"]
    p.outcome("kill-all")
    wait_until(lambda: [i["name"] for i in instances("kills")] not in ([], [before]), what="another instance")
    assert all(fndtest.alive(pid) for pid in strangers if pid != strangers[3])


def test_h11_device_nodes(host, probe):
    probe.run("nodes")

    def nodes(archive):
        for name, kind in (("dev-mem", tarfile.CHRTYPE), ("dev-sda", tarfile.BLKTYPE)):
            archive.add(name, kind=kind, mode=0o666)

    p = host.deploy("nodes", nodes, deployed=None)
    if p:
        p.run("absent", "/dev-mem", "/dev-sda")


def test_h12_handles_chroot_and_walks(probe):
    probe.run("walk")
    probe.run("calls", "ids")
    probe.run("absent", CANARY + "/secret", "/var/lib/fnd", "/run/fnd", "/etc/shadow", fndtest.REPO)
    probe.run("powers", "1000", "1000", core_limit())


def test_h13_mounts(probe):
    probe.run("calls", "mounts")  # mount, umount2, fsopen, open_tree, move_mount, mount_setattr, each by name


def test_h14_setuid_and_file_capabilities(host):
    # vfs_cap_data of capabilities(7), revision 2: everything permitted and effective
    capable = b"\x01\x00\x00\x02" + b"\xff\xff\xff\xff" * 2 + b"\xff\x01\x00\x00" * 2

    def privileged(archive):
        with open(hostile.PROBE, "rb") as f:
            program = f.read()
        archive.add("suid", program, mode=0o4755)
        archive.add("sgid", program, mode=0o2755)
        archive.add("capable", program, mode=0o755, pax={"SCHILY.xattr.security.capability": capable.decode("utf-8", "surrogateescape")})

    p = host.deploy("suid", privileged)
    for name in ("suid", "sgid", "capable"):
        p.run("exec-as", "/" + name, "1000", "1000", core_limit())
    for path, _, files in os.walk("/var/lib/fnd/images"):
        for f in files:
            st = os.lstat(os.path.join(path, f))
            assert not st.st_mode & 0o6000 and "security.capability" not in os.listxattr(os.path.join(path, f), follow_symlinks=False), f


def test_h15_only_tmp_run_and_shm_can_be_written(host):
    host.deploy("files", tmp="2M").run("files", 2 << 20)


def test_h16_keys(probe):
    probe.run("calls", "processes")  # add_key, request_key, keyctl
    assert " empty " in probe.run("paths", "/proc/keys") or " absent " in probe.run("paths", "/proc/keys")


def test_h17_terminal_injection(probe):
    probe.run("calls", "arguments")  # TIOCSTI and TIOCLINUX, with garbage above the low 32 bits too


def test_h18_socket_families(probe):
    probe.run("sockets")
    with open(GOLDEN + "families.txt", encoding="ascii") as f:
        golden = {line.split("#")[0].strip() for line in f} - {""}
    assert set(probe.run("families").split("\n")) - {""} <= golden


def test_h19_foreign_calls(probe):
    probe.run("foreign")


def test_h20_kernel_interfaces(probe):
    probe.run("calls", "kernel")
    probe.run("calls", "arguments")  # personality


# ---- H40 to H47 ----


def test_h40_odd_lives(host):
    p = host.deploy("odd", function="writable = yes\n", tmp="4M")
    assert p.outcome("memory", "tmpfs", 16).good  # fills all writable space, which is the upper layer as well
    assert p.run("stamp")
    text = hostile.ini("gone").replace("/probe serve", "/probe stamp")
    with hostile.package(text) as path:
        result = fnctl("deploy", path, status=1)
    assert "exit" in result.err and "0" in result.err, result
    text = hostile.ini("daemon").replace("/probe serve", "/probe unkillable plain")
    with hostile.package(text) as path:
        fnctl("deploy", path, status=1)
    wait_until(lambda: not api("GET", "/functions/daemon").status == 200)


def test_h41_oom_score(probe):
    probe.run("oom-score")


def test_h43_namespaces_are_not_the_hosts(host, probe):
    names = ("mnt", "pid", "uts", "ipc", "net", "user", "cgroup", "time")
    probe.run("namespaces", *(f"{n}={os.readlink(f'/proc/self/ns/{n}')}" for n in names))
    other = host.deploy("other")
    pids = [fndtest.function_pid(p.instance) for p in (probe, other)]
    for n in names:
        assert len({os.readlink(f"/proc/{pid}/ns/{n}") for pid in pids}) == 2, n


def test_h44_shared_image_cannot_be_written(host, probe):
    image = os.path.realpath("/var/lib/fnd/functions/default/probe/current/image")
    before = {p: sha256(p) for path, _, files in os.walk(image) for p in (os.path.join(path, f) for f in files) if not os.path.islink(p)}
    assert len(before) >= 3
    for name in ("/data/warm", "/probe", "/data/cold"):
        probe.run("image", name)
    assert {p: sha256(p) for p in before} == before


def test_h47_clocks(probe):
    probe.run("clocks")


# ---- H36: ends ----


def test_h36_unkillable(host):
    """Deaf to SIGTERM, stopped, in vfork, frozen: gone within 100 ms (on a busy machine: 500) of cgroup.kill, and `rm` does it."""
    for kind in ("plain", "stopped", "vfork", "frozen"):
        p = host.deploy("ends-" + kind, command="serve stubborn")
        p.run("unkillable", "plain" if kind == "frozen" else kind)
        group, pid = p.group(), p.instance["pid"]
        if kind == "frozen":
            with open(group + "/cgroup.freeze", "w", encoding="ascii") as f:
                f.write("1")
        watch = fndtest.Stopwatch()
        with open(group + "/cgroup.kill", "w", encoding="ascii") as f:
            f.write("1")
        wait_until(lambda g=group: not os.path.exists(g) or "populated 0" in hostile.read(g + "/cgroup.events"), what=f"the end of {kind}")
        assert watch.own < 0.5 / hostile.SCALE, kind
        wait_until(lambda n=pid: not fndtest.alive(n))
        host.remove()


def test_h04_names_are_swapped_while_instances_start(host):
    """In a volume that all instances share, one swaps a directory and a link to the host as fast as it can, while others start on it. Volumes inside one another, where that would matter, are refused."""
    volume = "[volumes]\nshared = /data/vol 16M\n"
    with hostile.package(hostile.ini("nested", limits=volume + "inner = /data/vol/here 16M\n")) as path:
        assert "lie in each other" in fnctl("deploy", path, status=1).err
    p = host.deploy("swaps", limits=volume, cpu=2)
    starts, began = 0, time.monotonic()
    while starts < times(1000, 7):
        p.run("swap", "/data/vol", "../" * 12 + CANARY[1:], 5)
        fnctl("scale", "swaps", "8")
        starts += 7
        for i in ready_instances("swaps", 8, 60):
            mounts = hostile.read(f"/proc/{i['pid']}/mountinfo")
            assert [m for m in hostile.normal_mounts(mounts) if m.endswith(" /data/vol ext4 nodev,nosuid,rw")] and CANARY not in mounts, mounts
        fnctl("scale", "swaps", "1")
        ready_instances("swaps", 1, 60)
    print(f"{starts} starts in {time.monotonic() - began:.1f} s")
    fnctl("rm", "swaps", "--volumes")
    host.names.remove("swaps")
