"""`fnctl doctor`: every line is made to fail by what would make it fail on a host, and only that is; afterwards nothing is left (the test host looks)."""

import ctypes
import errno
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile

import pytest

import fndtest
from fndtest import deny

LINES = ["configuration", "certificates", "cgroup v2", "cgroup memory", "cgroup pids", "cgroup cpu", "start in a cgroup", "sockmap", "user namespace", "room for namespaces", "idmapped mount", "overlay mount", "seccomp filter",
         "program in memory", "network slot", "firewall table", "connection tracking", "other firewalls", "subnet free", "public port", "admin port", "disk space"]

libc = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
AF_NETLINK, NETLINK_ROUTE, NETLINK_NETFILTER = 16, 0, 12


def mount(source, target, fstype, flags=0, data=""):
    if libc.mount(source.encode(), target.encode(), fstype.encode(), flags, data.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


def umount(target):
    if libc.umount2(target.encode(), 2) != 0:
        raise OSError(ctypes.get_errno(), f"umount {target}")


def doctor(*args, preexec_fn=None):
    """(status, {line: (ok, detail, remedy)})"""
    done = subprocess.run([fndtest.program("fnctl"), "doctor", "--json", *args], capture_output=True, text=True, check=False, preexec_fn=preexec_fn)
    assert done.returncode in (0, 1), done
    checks = json.loads(done.stdout)["checks"]
    assert [c["name"] for c in checks] == LINES
    return done.returncode, {c["name"]: (c["ok"], c["detail"], c.get("remedy")) for c in checks}


def check(failing, says="", **options):
    """Exactly these lines fail, each with a remedy; says is in the first one's text."""
    status, lines = doctor(*options.pop("args", ()), **options)
    failed = [name for name, (ok, _, _) in lines.items() if not ok]
    assert failed == failing and status == 1, {name: lines[name] for name in failed + failing}
    for name in failed:
        assert lines[name][1] and lines[name][2], lines[name]
    assert says in lines[failing[0]][1], lines[failing[0]]


def test_all_is_well():
    status, lines = doctor()
    assert status == 0, [(name, line) for name, line in lines.items() if not line[0]]
    out = fndtest.fnctl("doctor").out.splitlines()
    assert len(out) == len(LINES) and all(line.startswith("ok ") for line in out)


def test_text_of_a_failure():
    with socket.create_server(("127.0.0.1", 8889)):
        result = fndtest.fnctl("doctor", status=1)
    lines = [line for line in result.out.splitlines() if not line.startswith("ok ")]
    assert lines[0].startswith("FAIL  admin port") and "127.0.0.1:8889" in lines[0] and "remedy:" in lines[1] and len(lines) == 2
    assert "1 of the attempts failed" in result.err


def test_needs_root():
    done = fndtest.run_as_nobody(fndtest.program("fnctl"), "doctor")
    assert done.returncode == 4 and "sudo" in done.stderr


@pytest.mark.parametrize("text", ["[runner]\nno_such_key = 1\n", "[network]\nsubnet = 10.0.0.1/8\n", "nothing\n"])
def test_configuration(text):
    os.makedirs("/etc/fnd", exist_ok=True)
    mount("doctor", "/etc/fnd", "tmpfs")
    with open("/etc/fnd/fnd.ini", "w", encoding="ascii") as f:
        f.write(text)
    check(["configuration"], "/etc/fnd/fnd.ini:")
    umount("/etc/fnd")


def cgroup_mounts():
    """{controller or "": mount point}"""
    found = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        for line in f:
            head, tail = line.split(" - ")
            fstype, _, options = tail.split()[:3]
            if fstype == "cgroup2":
                found[""] = head.split()[4]
            elif fstype == "cgroup":
                found.update({option: head.split()[4] for option in options.split(",")})
    return found


def test_cgroup_v2_read_only():
    path = cgroup_mounts()[""]
    mount(path, path, "", MS_BIND)
    mount("", path, "", MS_REMOUNT | MS_BIND | MS_RDONLY)
    check(["cgroup v2", "cgroup memory", "cgroup pids", "cgroup cpu", "start in a cgroup"])
    umount(path)


@pytest.mark.parametrize("controller", ["memory", "pids", "cpu"])
def test_cgroup_controller(controller):
    """The limit's file cannot be written: of v1 where that has the controller, else of v2."""
    path = cgroup_mounts().get(controller)
    if path:
        mount(path, path, "", MS_BIND)
        mount("", path, "", MS_REMOUNT | MS_BIND | MS_RDONLY)
        status, lines = doctor()
        umount(path)
        assert status == 1 and not lines[f"cgroup {controller}"][0] and lines[f"cgroup {controller}"][2]
        return
    with tempfile.NamedTemporaryFile("w") as f:
        controllers = cgroup_mounts()[""] + "/cgroup.controllers"
        with open(controllers, encoding="ascii") as real:
            f.write(" ".join(c for c in real.read().split() if c != controller))
        f.flush()
        mount(f.name, controllers, "", MS_BIND)
        status, lines = doctor()
        umount(controllers)
    assert status == 1 and not lines[f"cgroup {controller}"][0] and lines[f"cgroup {controller}"][2]


def test_start_in_a_cgroup():
    """clone3 makes user namespaces, too."""
    status, lines = doctor(preexec_fn=deny("clone3", errno.ENOSYS))
    assert status == 1
    assert not lines["start in a cgroup"][0] and "clone3" in lines["start in a cgroup"][1] and lines["start in a cgroup"][2]
    assert not lines["user namespace"][0] and lines["user namespace"][2]
    assert lines["cgroup v2"][0] and lines["overlay mount"][0] is False and lines["seccomp filter"][0]


@pytest.mark.parametrize("kind", ["user", "net", "mnt"])
def test_room_for_namespaces(kind):
    path = f"/proc/sys/user/max_{kind}_namespaces"
    with tempfile.NamedTemporaryFile("w") as f:
        f.write("100\n")
        f.flush()
        mount(f.name, path, "", MS_BIND)
        check(["room for namespaces"], f"user.max_{kind}_namespaces = 100")
        umount(path)


def test_idmapped_mount():
    check(["idmapped mount", "overlay mount"], preexec_fn=deny("mount_setattr", errno.EINVAL))


def test_state_directory_noexec(tmp_path):
    mount("doctor", str(tmp_path), "tmpfs", 8)
    status, lines = doctor("--state", str(tmp_path / "state"))
    umount(str(tmp_path))
    ok, text, remedy = lines["idmapped mount"]
    assert status == 1 and not ok and remedy
    assert "noexec" in text or "idmap" in text.lower(), text  # Linux before 6.3 has no idmapped tmpfs


def test_overlay_mount():
    check(["overlay mount"], "overlay", preexec_fn=deny("mount", errno.ENODEV, arg3=MS_RDONLY | MS_NOSUID | MS_NODEV))


def test_seccomp_filter():
    check(["seccomp filter"], "filter", preexec_fn=deny("seccomp", errno.EINVAL))


def test_program_in_memory():
    check(["program in memory"], "memfd", preexec_fn=deny("memfd_create", errno.EACCES))


def test_network_slot():
    """Without rtnetlink nothing is known of the host's networks either."""
    check(["network slot", "subnet free"], preexec_fn=deny("socket", errno.EPROTONOSUPPORT, arg0=AF_NETLINK, arg2=NETLINK_ROUTE))


def test_firewall_table():
    status, lines = doctor(preexec_fn=deny("socket", errno.EPROTONOSUPPORT, arg0=AF_NETLINK, arg2=NETLINK_NETFILTER))
    assert status == 1 and not lines["firewall table"][0] and not lines["network slot"][0] and lines["firewall table"][2]
    assert not lines["connection tracking"][0] and "nf_conntrack_tcp_timeout_time_wait" in lines["connection tracking"][2]
    assert lines["subnet free"][0]


def test_what_fnd_serves_without_is_a_warning():
    """Connection tracking with times of our own: of the lines that fail without nf_tables it is the one that does not count."""
    deny_tables = deny("socket", errno.EPROTONOSUPPORT, arg0=AF_NETLINK, arg2=NETLINK_NETFILTER)
    done = subprocess.run([fndtest.program("fnctl"), "doctor"], capture_output=True, text=True, check=False, preexec_fn=deny_tables)
    levels = [line.split()[0] for line in done.stdout.splitlines() if not line.startswith((" ", "ok "))]
    assert done.returncode == 1 and f"{levels.count('FAIL')} of the attempts failed" in done.stderr, done
    assert [line for line in done.stdout.splitlines() if line.startswith("warn")][0].split()[1:3] == ["connection", "tracking"] and levels.count("warn") == 1
    listed = subprocess.run([fndtest.program("fnctl"), "doctor", "--json"], capture_output=True, text=True, check=True)
    assert [c["name"] for c in json.loads(listed.stdout)["checks"] if c["optional"]] == ["connection tracking"]


def test_subnet_in_use():
    subprocess.run(["ip", "address", "add", "10.231.77.1/24", "dev", "lo"], check=True)
    check(["subnet free"], "10.231.77.1")
    subprocess.run(["ip", "address", "del", "10.231.77.1/24", "dev", "lo"], check=True)


def test_ports():
    with socket.create_server(("127.0.0.1", 8888)):
        check(["public port"], "8888")
    with socket.create_server(("127.0.0.1", 8889)):
        check(["admin port"], "8889")


def test_other_firewalls():
    """As Docker and ufw leave it; then with a rule for our bridges."""
    subprocess.run(["nft", "add table ip filter"], check=True)
    try:
        subprocess.run(["nft", "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"], check=True)
        check(["other firewalls"], "iptables -I FORWARD -i fn+ -j ACCEPT")
        subprocess.run(["nft", "add rule ip filter FORWARD iifname \"fn*\" accept"], check=True)
        assert doctor()[0] == 0
    finally:
        subprocess.run(["nft", "delete table ip filter"], check=True)


def test_ports_of_our_own_daemon(daemon):  # pylint: disable=unused-argument
    _, lines = doctor()
    assert lines["public port"][0] and "held by fnd" in lines["public port"][1]
    assert lines["subnet free"][0]


def test_disk_space(tmp_path):
    mount("doctor", str(tmp_path), "tmpfs", 0, "size=8m")
    status, lines = doctor("--state", str(tmp_path / "deep" / "state"))
    left = os.listdir(tmp_path)
    umount(str(tmp_path))
    assert status == 1 and not lines["disk space"][0] and "No space" in lines["disk space"][1] and lines["disk space"][2]
    assert left == []


# ---- --self-test ----


def test_self_test_shows_what_a_function_can_do():
    result = fndtest.fnctl("doctor", "--self-test")
    lines = result.out.splitlines()
    assert len(lines) > 60 and all(line.startswith("ok ") for line in lines[1:]), result
    for words in ("mount  *refused  *EPERM", "write to /tmp  *works  *works", "look into /sys  *absent  *ENOENT", "connect to 169.254.169.254  *no connection"):
        assert re.search(words, result.out), words
    assert not fndtest.links() and not fndtest.cgroup_dirs() and not fndtest.processes("fnd")


def test_self_test_as_json(tmp_path):
    """Neither does a directory of the sample's name, wherever it is called, stand for the sample."""
    (tmp_path / "selftest").mkdir()
    (tmp_path / "selftest/function.ini").write_text("[function]\nname = other\n")
    rows = json.loads(fndtest.fnctl("doctor", "--self-test", "--json", cwd=tmp_path).out)["self_test"]
    assert len(rows) > 60 and all(row["ok"] for row in rows)
    assert {"attempt": "mount", "expected": "refused", "result": "EPERM", "ok": True} in rows


@pytest.mark.parametrize("report, words", [("ok\tmount\trefused\tEPERM\nFAIL\tbpf\trefused\tworks\n", "1 of 2 attempts"), ("nonsense\n", "report is broken"), ("ok\tmount\trefused\n", "report is broken"), ("\n", "report is broken")])
def test_self_test_of_a_host_that_is_weaker(tmp_path, report, words):
    for name in ("fnctl", "fnd", "fnd-gateway", "fnd-unpack", "fn-init"):
        shutil.copy(fndtest.program(name), tmp_path)
    directory = fndtest.package(tmp_path / "f", fndtest.HTTPD.format(name="selftest"), {"www/index.html": report})
    assert fndtest.run("tar", "-C", directory, "-czf", tmp_path / "selftest.tar.gz", ".").status == 0
    result = fndtest.run(tmp_path / "fnctl", "doctor", "--self-test")
    assert result.status == 1 and words in result.err, result
    assert "FAIL" not in report or "FAIL  bpf" in result.out, result


def test_self_test_that_cannot_begin(tmp_path):
    shutil.copy(fndtest.program("fnctl"), tmp_path)
    result = fndtest.run(tmp_path / "fnctl", "doctor", "--self-test")
    assert result.status == 1 and "selftest.tar.gz" in result.err, result
    assert "--state" in fndtest.fnctl("doctor", "--self-test", "--state", "/x", status=2).err
    assert fndtest.run_as_nobody(fndtest.program("fnctl"), "doctor", "--self-test").returncode == 4
