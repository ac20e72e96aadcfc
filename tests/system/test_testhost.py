"""The test host itself: what it gives, what it passes on, and that each of its leak checks can fail."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest

import fndtest

pytestmark = pytest.mark.outside

TESTHOST = fndtest.REPO + "/tests/testhost"
STATUS_LEFT = 90


def in_host(*command, **options):
    return fndtest.run(TESTHOST, "--", *command, **options)


def shell(script, **options):
    return in_host("/bin/bash", "-c", script, **options)


def test_clean_command_passes():
    result = shell("echo out; echo err >&2")
    assert (result.status, result.out, result.err) == (0, "out\n", "err\n")


@pytest.mark.parametrize("status", [1, 3, 77])
def test_exit_status_is_passed_through(status):
    assert shell(f"exit {status}").status == status


def test_death_by_signal_is_passed_through():
    assert shell("kill -KILL $$").status == 128 + signal.SIGKILL


def test_unknown_command():
    assert in_host("/no/such/program").status == 127


def test_no_command_is_a_usage_error():
    assert fndtest.run(TESTHOST).status == 2


def test_namespaces_are_its_own():
    kinds = ("mnt", "pid", "net", "ipc", "uts", "cgroup")
    inside = shell(" ".join(["readlink"] + [f"/proc/self/ns/{k}" for k in kinds])).out.split()
    assert len(inside) == len(kinds)
    for kind, link in zip(kinds, inside):
        assert link != os.readlink(f"/proc/self/ns/{kind}"), kind


def test_loopback_is_up_and_the_only_link():
    result = shell("ip -o link; ls /sys/class/net")
    assert "lo" in result.out and "UP" in result.out
    assert result.out.split("\n")[1:] in (["lo", ""], ["bonding_masters", "lo", ""]), result.out


def test_bridge_netfilter_is_off():
    result = shell("for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ -e $f ] && cat $f; done; true")
    assert set(result.out.split()) <= {"0"}


def test_state_directories_are_fresh_and_private():
    result = shell("ls -A /etc/fnd /var/lib/fnd /var/cache/fnd /run/fnd 2>&1; touch /etc/fnd/x /var/lib/fnd/x /var/cache/fnd/x /etc/fnd-test-stray /var/lib/fnd-test-stray; stat -f -c %T /var/lib/fnd")
    assert result.status == 0, result
    assert result.out.splitlines()[-1] not in ("tmpfs", "overlayfs")
    for path in ("/etc/fnd/x", "/var/lib/fnd/x", "/var/cache/fnd/x", "/etc/fnd-test-stray", "/var/lib/fnd-test-stray"):
        assert not os.path.exists(path)


def test_cgroup_root_is_its_own():
    result = shell("cat /proc/self/cgroup")
    own = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in result.out.splitlines()}
    assert own[""] == "/command"
    for controllers, path in own.items():
        if {"memory", "pids", "cpu"} & set(controllers.split(",")):
            assert path == "/command", controllers


def test_mounts_do_not_reach_the_host():
    before = open("/proc/self/mountinfo", encoding="utf-8").read()
    shell("mount -t tmpfs none /mnt; umount -l /proc; true")
    assert open("/proc/self/mountinfo", encoding="utf-8").read() == before


LEAKS = {
    "process": ("sleep 1000 >/dev/null 2>&1 &", "process"),
    "orphan": ("setsid -f sleep 1000 >/dev/null 2>&1", "sleep 1000"),
    "mount": ("mount -t tmpfs none /mnt", "mount /mnt"),
    "bind mount": ("mount --bind /etc /var/lib/fnd", "mount /var/lib/fnd"),
    "network namespace": ("ip netns add leak", "mount /run/netns/leak"),
    "link": ("ip link add leak0 type veth peer name leak1", "link leak0"),
    "bridge": ("ip link add leakbr type bridge", "link leakbr"),
    "table": ("nft add table inet leak", "table inet leak"),
    "file in run": ("mkdir -p /run/fnd && touch /run/fnd/leak.sock", "/run/fnd/leak.sock"),
    "directory in run": ("mkdir -p /run/fnd/instances/default.leak", "/run/fnd/instances/default.leak"),
    "file in tmp": ("touch /tmp/leak", "/tmp/leak"),
    "shared memory": ("touch /dev/shm/leak", "/dev/shm/leak"),
    "cgroup v2": ("mkdir $(findmnt -n -o TARGET -t cgroup2 | tail -n 1)/leak", "cgroup leak"),
    "cgroup below its own": ("mkdir $(findmnt -n -o TARGET -t cgroup2 | tail -n 1)/command/leak", "cgroup command/leak"),
}


@pytest.mark.parametrize("script, named", LEAKS.values(), ids=LEAKS.keys())
def test_leak_is_named(script, named):
    result = shell(script, env={"FND_TESTHOST_GRACE": "0.2"})
    assert result.status == STATUS_LEFT, result
    assert named in result.err, result
    assert "status 0" in result.err


def test_leak_in_a_v1_hierarchy_is_named():
    """On a host that has one; on pure v2 the hierarchy is not there and nothing can leak in it."""
    result = shell("""set -- $(findmnt -n -o TARGET -t cgroup); [ $# -gt 0 ] || { echo none; exit; }; mkdir "$1/leak" """, env={"FND_TESTHOST_GRACE": "0.2"})
    if result.out != "none\n":
        assert result.status == STATUS_LEFT and "cgroup leak" in result.err, result


def test_what_a_leak_held_is_removed():
    result = shell("mkdir /sys/fs/cgroup/unified/leak 2>/dev/null || mkdir /sys/fs/cgroup/leak; echo $FND_TESTHOST; sleep 1000 >/dev/null 2>&1 &", env={"FND_TESTHOST_GRACE": "0.2"})
    assert result.status == STATUS_LEFT
    host = result.out.strip()
    assert host and not os.path.exists(f"{fndtest.REPO}/build/testhost/{host}")
    assert not find_cgroups(host)


def find_cgroups(host):
    return [path for path, dirs, _ in os.walk("/sys/fs/cgroup") if os.path.basename(path) == "fnd-test-" + host]


def test_asynchronous_end_is_waited_for():
    assert shell("sleep 0.3 >/dev/null 2>&1 &").status == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_is_passed_on(number):
    with start("trap 'echo got; exit 5' INT TERM HUP; echo ready; while :; do sleep 0.05; done") as p:
        assert p.stdout.readline() == "ready\n"
        p.send_signal(number)
        assert p.stdout.readline() == "got\n"
        assert p.wait(30) == 5


def test_signal_reaches_who_the_command_waits_for():
    """make(1) is told to end, and waits for what it has started: as under a terminal's ^C all of them hear it."""
    with start("trap : INT; bash -c 'trap \"echo got; exit 5\" INT; echo ready; while :; do sleep 0.05; done'") as p:
        assert p.stdout.readline() == "ready\n"
        p.send_signal(signal.SIGINT)
        assert p.stdout.readline() == "got\n"
        assert p.wait(30) == 5


def start(script, **env):
    return subprocess.Popen([TESTHOST, "/bin/bash", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env={**os.environ, **env})


def test_killed_test_host_takes_all_along_and_the_next_one_sweeps():
    with start("echo $FND_TESTHOST; exec sleep 1000") as p:
        host = p.stdout.readline().strip()
        assert find_cgroups(host)
        p.kill()
        p.wait(30)
        # The pipe's last writer was the command itself.
        assert p.stdout.read() == ""
    # Its lock goes when its last process has come to its end.
    fndtest.wait_until(lambda: shell("true").status == 0 and not find_cgroups(host) and not os.path.exists(f"{fndtest.REPO}/build/testhost/{host}"), what="the sweep")


def test_groups_of_killed_test_hosts_are_swept_though_their_directories_are_gone():
    """Those of another checkout, which nobody has a note of any more."""
    with tempfile.TemporaryDirectory(dir=fndtest.BUILD) as base, start("echo $FND_TESTHOST; exec sleep 1000", FND_TESTHOST_DIR=base) as p:
        host = p.stdout.readline().strip()
        assert find_cgroups(host)
        p.kill()
        p.wait(30)
        assert p.stdout.read() == ""
    fndtest.wait_until(lambda: shell("true").status == 0 and not find_cgroups(host), what="the sweep")


NO_PID = 4194305  # above any kernel's pid_max


@pytest.fixture
def make_group():
    """Makes empty groups as test hosts do, in the v2 hierarchy; at the end they go."""
    hierarchy = next(h for h in fndtest.load_testhost().hierarchies() if h.v2)
    hierarchy.choose_parent()
    made = []

    def make(owner):
        path = pathlib.Path(hierarchy.parent, f"fnd-test-{owner}-{os.urandom(3).hex()}")
        (path / "command").mkdir(parents=True)
        made.append(path)
        return path

    yield make
    for path in made:
        for directory in (path / "command", path):
            with contextlib.suppress(FileNotFoundError):
                directory.rmdir()


def test_sweep_takes_empty_groups_of_the_dead_alone(make_group):
    dead, held, of_the_living, of_nobody, busy = (make_group(owner) for owner in (NO_PID, NO_PID, os.getpid(), "other", NO_PID))
    fd = os.open(held, os.O_RDONLY | os.O_CLOEXEC)
    process = subprocess.Popen(["sleep", "1000"])
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        (busy / "command/cgroup.procs").write_text(str(process.pid))
        assert shell("true").status == 0
        assert not dead.exists()
        assert all((path / "command").exists() for path in (held, of_the_living, of_nobody, busy)) and process.poll() is None
    finally:
        process.kill()
        process.wait()
        os.close(fd)
    fndtest.wait_until(lambda: shell("true").status == 0 and not held.exists() and not busy.exists(), what="the sweep of what has died since")
    assert of_the_living.exists() and of_nobody.exists()


def test_two_at_once_do_not_meet():
    script = "mkdir -p /run/fnd; echo $$ >/run/fnd/x; ip link add same0 type bridge; echo ready; read line; [ $(cat /run/fnd/x) = $$ ] && rm /run/fnd/x && ip link del same0"
    hosts = [subprocess.Popen([TESTHOST, "/bin/bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for h in hosts:
        assert h.stdout.readline() == "ready\n"
    for h in hosts:
        h.communicate("go\n", timeout=60)
        assert h.returncode == 0


def test_needs_root():
    done = fndtest.run_as_nobody(TESTHOST, "true")
    assert done.returncode == 91 and "needs root" in done.stderr


def test_is_fast():
    """Every system test pays for one: far below what a second test host per second would cost."""
    watch = fndtest.Stopwatch()
    assert shell("true").status == 0
    assert watch.own < 5


@pytest.fixture
def below_tmp():
    """Not tmp_path: what pytest remembers of it in this process, tests in their own hosts would look for in theirs."""
    with tempfile.TemporaryDirectory() as path:
        yield pathlib.Path(path)


def test_repository_below_tmp(below_tmp):
    """Private /tmp, and yet the repository is where it was."""
    for path in ("tests/testhost",):
        os.makedirs(below_tmp / "clone" / os.path.dirname(path))
        shutil.copy2(f"{fndtest.REPO}/{path}", below_tmp / "clone" / path)
    result = fndtest.run(below_tmp / "clone/tests/testhost", "/bin/sh", "-c", f"cat {below_tmp}/clone/tests/testhost | wc -l; touch here", cwd=below_tmp / "clone")
    assert (result.status, result.err) == (0, ""), result
    assert int(result.out) > 100 and (below_tmp / "clone/here").exists()
    (below_tmp / "program").write_text("#!/bin/sh\necho seen\n")
    (below_tmp / "program").chmod(0o755)
    assert fndtest.run(TESTHOST, below_tmp / "program").out == "seen\n"


# ---- the second try of CI (tests/second_try.py) ----

TRIES = """
import os
def fails(times):
    with open(os.environ["TRIES"], "ab+") as f:
        f.write(b"x")
        assert f.tell() > times, "the reason"
def test_race(): fails(1)
"""


def tried(source, ci, *options, suite="system", **more):
    with tempfile.TemporaryDirectory(dir=fndtest.BUILD) as directory:
        path = pathlib.Path(directory, "test_tries.py")
        path.write_text(source, encoding="utf-8")
        env = {"TRIES": directory + "/count", "PYTHONPATH": f"{fndtest.REPO}/tests/{suite}", "CI": "true" if ci else "", "FND_TESTHOST": "this", **more}
        result = fndtest.run("/usr/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "conftest", "--noconftest", f"--rootdir={directory}", *options, path, env=env)
        count = pathlib.Path(directory, "count")
        return result, count.stat().st_size if count.exists() else 0


@pytest.mark.parametrize("suite", ["system", "shims"])
def test_second_try_is_told(suite):
    result, tries = tried(TRIES, ci=True, suite=suite)
    assert tries == 2 and result.status == 0, result
    assert "failed at the first try: test_tries.py::test_race" in result.out and "the reason" in result.out and "1 tests had a second try" in result.out


@pytest.mark.parametrize("suite", ["system", "shims"])
def test_second_try_is_the_last_and_ci_alone_has_it(suite):
    assert tried(TRIES.replace("fails(1)", "fails(2)"), ci=True, suite=suite)[0].status == 1
    result, tries = tried(TRIES, ci=False, suite=suite)
    assert tries == 1 and result.status == 1


def test_second_tries_are_few():
    source = TRIES.split("def test_race")[0] + "".join(f"def test_{i}(): assert False\n" for i in range(4)) + "def test_race(): fails(1)\n"
    result, tries = tried(source, ci=True)
    assert tries == 1 and result.status == 1 and "3 tests had a second try" in result.out


MEETING = """
import os, time
def meets(me, other):
    open(os.environ["TRIES"] + me, "w").close()
    for _ in range(3000):
        if os.path.exists(os.environ["TRIES"] + other):
            break
        time.sleep(0.01)  # between two looks
    else:
        raise AssertionError("nobody came")
    print("said by", me)
    assert False, me + " has met " + other
def test_a(): meets("a", "b")
def test_b(): meets("b", "a")
def test_c(): assert False, "begun"
"""


def test_two_run_at_a_time_and_each_has_its_output():
    out = tried(MEETING, False, FND_TESTS_AT_ONCE="2")[0].out
    a, b = out.index("a has met b"), out.index("b has met a")
    assert a < b and "said by a" in out[a:b] and "said by b" in out[b:] and "said by b" not in out[:b] and "0 passed, 3 failed" in out


def test_first_failure_ends_a_run_that_says_so():
    result = tried(MEETING, False, "-x", FND_TESTS_AT_ONCE="2")[0]
    assert "a has met b" in result.out and "begun" not in result.out and result.status != 0 and "\n0 passed, 1 failed\n" in result.out, result.out
