"""What the system promises beyond the main flow: what restarts, loads, kills, hosts and settings must not change."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

import pytest

import fndtest
from fndtest import api, fnctl, function, get, instances, ready_instances, request, wait_until
from test_fnctl_doctor import deny
from test_run import run

CGI = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n"


@contextlib.contextmanager
def load(path, threads=4):
    """Requests one after the other from several threads while the block runs; yields the list of their status codes (0: no answer)."""
    codes, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                codes.append(get(path).status)
            except (OSError, ValueError):
                codes.append(0)

    workers = [threading.Thread(target=ask) for _ in range(threads)]
    for w in workers:
        w.start()
    try:
        yield codes
    finally:
        stop.set()
        for w in workers:
            w.join()


def more(codes):
    """Until the load has gone on for a while, however slow the machine is."""
    before = len(codes)
    wait_until(lambda: len(codes) >= before + 20, what="more requests")


def count(codes):
    return {c: codes.count(c) for c in set(codes)}


# ---- versions and instances, under load ----

def test_restart_is_one_by_one_and_loses_no_request(daemon):
    fnctl("deploy", "hello")
    fnctl("scale", "hello", "3")
    before = {i["name"] for i in ready_instances("hello", 3)}
    most, least = 0, 3
    with load("/fn/hello/") as codes:
        more(codes)
        fnctl("restart", "hello")

        def replaced():
            nonlocal most, least
            found = instances("hello", None)
            serving = [i for i in found if i["state"] in ("ready", "busy")]
            most, least = max(most, len([i for i in found if i["state"] != "draining"])), min(least, len(serving))
            return len(found) == 3 and len(serving) == 3 and not before & {i["name"] for i in found}

        wait_until(replaced, 30, "three other instances")
        more(codes)
    assert least >= 3 and most <= 4, (least, most)
    assert set(codes) == {200}, count(codes)


def test_deploy_under_load_loses_no_request(daemon):
    """Each answer is of one version or the other, and none of the old one comes after the old instances are gone."""
    fnctl("deploy", "hello", "--env", "GREETING=One")
    fnctl("scale", "hello", "2")
    ready_instances("hello", 2)
    with load("/fn/hello/") as codes:
        more(codes)
        fnctl("deploy", "hello", "--env", "GREETING=Two")
        wait_until(lambda: {i["version"] for i in instances("hello", None)} == {2}, 30, "the old version's instances to end")
        assert "Two" in get("/fn/hello/").text
        more(codes)
    assert set(codes) == {200}, count(codes)
    assert len(ready_instances("hello", 2)) == 2


def test_failing_deploy_under_load_is_not_noticed(daemon, tmp_path):
    fnctl("deploy", "hello")
    before = [i["name"] for i in instances("hello")]
    bad = fndtest.package(tmp_path / "f", "[function]\nname = hello\ncommand = /bin/sh -c 'echo starting; echo the disk is upside down; exit 7'\n")
    with load("/fn/hello/") as codes:
        result = fnctl("deploy", bad, status=1)
    assert "the disk is upside down" in result.err and "7" in result.err and result.out == "", result
    assert set(codes) == {200}, count(codes)
    assert function("hello")["version"] == 1 and [i["name"] for i in instances("hello", None)] == before
    assert os.listdir("/var/lib/fnd/functions/default/hello").count("2") == 0
    assert os.readlink("/var/lib/fnd/functions/default/hello/current") == "1"


def test_old_versions_are_removed(daemon, tmp_path):
    """keep = 2: the two newest stay, and the images that nothing names any more go."""
    for n in range(1, 5):
        ini = fndtest.HTTPD.format(name="kept") + "keep = 2\n"
        fnctl("deploy", fndtest.package(tmp_path / f"v{n}", ini, {"www/index.html": f"version {n}\n"}))
        assert get("/fn/kept/").text == f"version {n}\n"

    def versions():
        return sorted(v for v in os.listdir("/var/lib/fnd/functions/default/kept") if v.isdigit())

    wait_until(lambda: versions() == ["3", "4"], what="the older ones to go")  # after the deploy's reply
    wanted = {os.path.basename(os.path.realpath(f"/var/lib/fnd/functions/default/kept/{v}/image")) for v in versions()}
    wait_until(lambda: set(os.listdir("/var/lib/fnd/images")) == wanted | {".about-" + w for w in wanted}, what="the other images to go")


def test_desired_scale_holds_over_deploys_and_restarts(make_daemon):
    first = make_daemon().start()
    fnctl("deploy", "hello")
    fnctl("scale", "hello", "3")
    fnctl("deploy", "hello", "--name", "zero")
    fnctl("scale", "zero", "0")
    fnctl("deploy", "hello", "--env", "N=2")
    wait_until(lambda: [i["version"] for i in instances("hello", None)] == [2, 2, 2], what="three of version 2")
    first.stop()
    second = make_daemon().start()
    ready_instances("hello", 3)
    assert function("zero")["scale"] == 0 and not instances("zero", None)
    answer = get("/fn/zero/")
    assert answer.status == 503 and answer.headers["Retry-After"]
    fnctl("scale", "hello", "auto")
    ready_instances("hello", 1)
    second.kill()
    make_daemon().start()
    ready_instances("hello", 1)
    assert function("hello")["scale"] == "auto" and function("zero")["scale"] == 0


def test_stopped_function_stays_stopped(daemon):
    fnctl("deploy", "hello")
    fnctl("scale", "hello", "2")
    ready_instances("hello", 2)
    fnctl("stop", "hello")
    wait_until(lambda: not instances("hello", None))
    answer = get("/fn/hello/", headers={"Accept": "application/json"})
    assert answer.status == 503 and answer.json()["function"] == "hello"
    assert fnctl("restart", "hello", status=1).err
    fnctl("start", "hello")
    ready_instances("hello", 2)
    assert get("/fn/hello/").status == 200


def test_crash_loop_is_shown_with_its_delay(daemon):
    """Somebody kills each instance as soon as it is there."""
    fnctl("deploy", "hello")
    seen = []

    def killed():
        f = function("hello")
        if f["next_start"]:
            seen.append(f["next_start"])
        for i in instances("hello"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(i["pid"], signal.SIGKILL)
        return f["state"] == "crash-loop" and f["next_start"]

    wait_until(killed, 40, "a crash loop")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", seen[-1])
    said = lambda *args: (killed(), fnctl(*args).out)[1]  # the next start may be near
    wait_until(lambda: re.search(r"state +crash-loop, next start in \d+s", text := said("status", "hello")) and re.search(r"last failure +hello-\w{6}: ", text), what="the crash loop in the status")
    wait_until(lambda: "crash-loop" in said("ls"), what="the crash loop in the list")
    fnctl("start", "hello")  # a person need not wait
    ready_instances("hello", 1)


# ---- logs ----

def test_logs_follow_across_restarts(daemon, tmp_path):
    say = "[function]\nname = talks\ncommand = /bin/sh -c 'echo I am $FND_INSTANCE; exec /bin/httpd -f -p 3000 -h /www'\n"
    fnctl("deploy", fndtest.package(tmp_path / "f", say))
    first = instances("talks")[0]
    with open(tmp_path / "log", "wb") as out:
        follow = subprocess.Popen([fndtest.program("fnctl"), "logs", "talks", "-f"], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: f"I am {first['name']}" in (tmp_path / "log").read_text(), what="the first instance's line")
        fnctl("restart", "talks")
        wait_until(lambda: [i["name"] for i in instances("talks", None)] not in ([], [first["name"]]) and len(instances("talks", None)) == 1)
        second = instances("talks")[0]
        wait_until(lambda: f"I am {second['name']}" in (tmp_path / "log").read_text(), what="the second one's")
        os.kill(second["pid"], signal.SIGKILL)
        third = wait_until(lambda: [i for i in instances("talks") if i["name"] != second["name"]])[0]
        wait_until(lambda: f"I am {third['name']}" in (tmp_path / "log").read_text(), what="the third one's")
        assert follow.poll() is None
        assert (tmp_path / "log").read_text().count("I am ") == 3
    finally:
        follow.terminate()
        follow.wait(30)


def test_log_is_bounded_and_the_last_eight_stay(daemon, tmp_path):
    flood = CGI + "i=0; while [ $i -lt 40 ]; do dd if=/dev/zero bs=64k count=1 2>/dev/null | tr '\\0' x >&2; i=$((i + 1)); done; echo the end >&2; echo done\n"
    fnctl("deploy", fndtest.package(tmp_path / "f", fndtest.HTTPD.format(name="floods"), {"www/cgi-bin/flood": flood}))
    assert get("/fn/floods/cgi-bin/flood").text == "done\n"
    directory = "/var/lib/fnd/logs/default/floods"
    wait_until(lambda: "the end" in fnctl("logs", "floods", "-n", "1").out[-200:], what="the last line")
    for name in os.listdir(directory):
        assert os.stat(f"{directory}/{name}").st_size <= (1 << 20) + 65536
    for _ in range(11):
        before = {i["name"] for i in ready_instances("floods", 1)}
        fnctl("restart", "floods")
        wait_until(lambda: len(instances("floods", None)) == 1 and not before & {i["name"] for i in instances("floods")})
    assert len(os.listdir(directory)) <= 10, os.listdir(directory)  # eight that were dead at the last start, the one that died since, and the living


# ---- kills ----

def test_gateway_killed_under_load_comes_back_and_loses_no_function(daemon):
    fnctl("deploy", "hello")
    fnctl("deploy", "hello", "--name", "other", "--env-name", "staging")
    fnctl("scale", "hello", "2")
    before = {i["pid"] for i in ready_instances("hello", 2)}
    with load("/fn/hello/", 2) as codes:
        os.kill(daemon.gateway_pid, signal.SIGKILL)
        wait_until(lambda: get("/fn/hello/").status == 200, what="an answer")
        good = len(codes)
        wait_until(lambda: codes[good:].count(200) > 20, what="more answers")
    wait_until(lambda: {i["pid"] for i in instances("hello")} == before, what="the same instances")
    assert get("/fn/other.staging/").status == 200
    assert {(f["name"], f["environment"]) for f in api("GET", "/functions").json()["functions"]} == {("hello", "default"), ("other", "staging")}


def test_eater_is_replaced_within_two_seconds(daemon, tmp_path):
    """By the clock of somebody who watches: from the 502 to the next 200 of the same function."""
    eat = "#!/bin/sh\nexec /bin/awk 'BEGIN { x = \"0123456789abcdef\"; while (1) x = x x }'\n"
    fnctl("deploy", fndtest.package(tmp_path / "f", fndtest.HTTPD.format(name="hog") + "[limits]\nmemory = 32M\n", {"www/cgi-bin/eat": eat}))
    fnctl("deploy", "hello")
    with load("/fn/hello/", 2) as codes:
        assert get("/fn/hog/cgi-bin/eat", seconds=60).status == 502
        watch = fndtest.Stopwatch()
        wait_until(lambda: get("/fn/hog/").status == 200, what="the next instance")
        assert watch.own < 2
    assert set(codes) == {200}, count(codes)
    assert "32M" in function("hog")["last_failure"]
    assert "32M" in fnctl("status", "hog").out


# ---- hosts ----

def add_address(address, link="other0"):
    fndtest.run("ip", "link", "add", link, "type", "bridge")
    assert fndtest.run("ip", "addr", "add", address, "dev", link).status == 0
    fndtest.run("ip", "link", "set", link, "up")


def test_private_daemon_takes_the_next_subnet():
    """The one that it would take is in use by somebody else."""
    with run("hello") as r:
        r.url()
        used = re.search(r"10\.232\.\d+\.\d+", fndtest.run("ip", "-4", "addr").out)[0]
    wait_until(lambda: not fndtest.links())
    add_address(f"{used}/24")
    try:
        with run("hello") as r:
            assert r.get().status == 200
            addresses = re.findall(r"10\.232\.\d+\.\d+", fndtest.run("ip", "-4", "addr", "show", "to", "10.232.0.0/16").out)
            assert len({a.split(".")[2] for a in addresses if not a.endswith(".255")}) == 2, addresses
    finally:
        fndtest.run("ip", "link", "del", "other0")


@pytest.fixture
def foreign_directory():
    """On an overlay, which has no idmapped mounts."""
    path = "/var/lib/elsewhere"
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_state_directory_without_idmapped_mounts(make_daemon, foreign_directory):
    status, text = make_daemon(settings={"runner.state": foreign_directory}).refuses()
    assert status == 1 and len(text.strip().splitlines()) == 1, text
    assert foreign_directory in text and "idmapped" in text and "ext4" in text, text
    assert not fndtest.links() and not fndtest.cgroup_dirs()


def test_state_directory_that_is_noexec(make_daemon):
    assert fndtest.run("mount", "--bind", "/var/lib/fnd", "/var/lib/fnd").status == 0
    assert fndtest.run("mount", "-o", "remount,bind,noexec", "/var/lib/fnd").status == 0
    try:
        status, text = make_daemon().refuses()
        assert status == 1 and "/var/lib/fnd" in text and "noexec" in text, text
    finally:
        fndtest.run("umount", "/var/lib/fnd")


WITHOUT_PIDS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int ends(const char *path, const char *with)
{
    size_t a = strlen(path), b = strlen(with);

    return a >= b && strcmp(path + a - b, with) == 0;
}

/* Of mountinfo the lines of a v1 hierarchy with pids, of the lists of controllers the word. */
static int filtered(int fd, int lines)
{
    static char text[1 << 20], *at = text;
    int copy = memfd_create("filtered", MFD_CLOEXEC);
    ssize_t n = 0, len = 0;

    while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
        len += n;
    text[len] = '\0';
    close(fd);
    for (char *p = text, *end; *p; p = end) {
        end = p + strcspn(p, lines ? "\n" : " \n");
        end += *end != '\0';
        if (lines ? !memmem(p, end - p, " - cgroup ", 10) || !memmem(p, end - p, "pids", 4) : strncmp(p, "pids", 4) != 0)
            write(copy, p, end - p);
    }
    lseek(copy, 0, SEEK_SET);
    return copy;
}

int openat(int dir, const char *path, int flags, ...)
{
    int (*real)(int, const char *, int, ...) = dlsym(RTLD_NEXT, "openat");
    va_list ap;
    int fd;

    va_start(ap, flags);
    fd = real(dir, path, flags, flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0);
    va_end(ap);
    if (fd < 0 || (flags & O_ACCMODE) != O_RDONLY)
        return fd;
    if (ends(path, "/mountinfo"))
        return filtered(fd, 1);
    return ends(path, "cgroup.controllers") || ends(path, "cgroup.subtree_control") ? filtered(fd, 0) : fd;
}
int __openat_2(int dir, const char *path, int flags) { return openat(dir, path, flags); }
int __open_2(const char *path, int flags) { return openat(AT_FDCWD, path, flags); }
int open(const char *path, int flags, ...)
{
    va_list ap;
    int fd;

    va_start(ap, flags);
    fd = openat(AT_FDCWD, path, flags, flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0);
    va_end(ap);
    return fd;
}
"""


def test_limit_that_cannot_be_held(make_daemon, tmp_path, monkeypatch):
    """On a host that shows no pids controller. Refused by name, with the remedy; with limits = best-effort the function runs, and the daemon says so."""
    done = fndtest.run("gcc", "-w", "-shared", "-fPIC", "-o", tmp_path / "shim.so", "-xc", "-", stdin=WITHOUT_PIDS)
    assert done.status == 0, done
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "shim.so"))
    status, text = make_daemon().refuses()
    assert status == 1 and "pids" in text and "best-effort" in text and "fnctl doctor" in text, text
    assert not fndtest.links() and not fndtest.cgroup_dirs()
    d = make_daemon(settings={"runner.limits": "best-effort"}).start()
    monkeypatch.delenv("LD_PRELOAD")
    fnctl("deploy", "hello")
    assert get("/fn/hello/").status == 200
    assert re.search("limit not held.*pids", d.output()), d.output()


def test_host_on_which_the_gateway_cannot_be_confined(make_daemon):
    """No client may wait for ever at a listener whom nobody serves: the daemon ends, and says what to do."""
    d = make_daemon()
    d.write_config()
    done = subprocess.run([fndtest.program("fnd"), "--config", d.config], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=30, check=False, preexec_fn=deny("pivot_root", errno.EINVAL))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "fnd-gateway" in last and "fnctl doctor" in last, done.stderr
    assert not fndtest.links() and not fndtest.cgroup_dirs()


def test_host_on_which_no_slot_can_be_made(make_daemon):
    """The deploy says what failed, and leaves nothing."""
    d = make_daemon()
    d.write_config()
    with open("/tmp/log", "wb") as log:
        process = subprocess.Popen([fndtest.program("fnd"), "--config", d.config], stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=deny("setns", errno.EPERM))
    try:
        wait_until(lambda: get("/healthz").status == 200)
        wait_until(lambda: api("GET", "/config").status == 200, what="the runner behind the gateway")
        result = fnctl("deploy", "hello", status=1)
        assert "could not be started" in result.err and "network namespace" in result.err, result
        assert api("GET", "/functions").json()["functions"] == []
    finally:
        process.terminate()
        assert process.wait(30) == 0
        os.unlink("/tmp/log")


# ---- fnd and its configuration ----

def test_check_prints_every_key_and_changes_nothing(tmp_path):
    (tmp_path / "fnd.ini").write_text("# a comment\n[runner]\nslots_ready = 3\nlimits = best-effort\n")
    result = fndtest.run(fndtest.program("fnd"), "--config", tmp_path / "fnd.ini", "--set", "gateway.max_body=5M", "--check")
    assert result.status == 0 and result.err == "", result
    rows = {line.split()[0]: line for line in result.out.splitlines()}
    assert re.fullmatch(r"runner\.slots_ready +3 +default 8 +\S+/fnd\.ini:3", rows["runner.slots_ready"])
    assert re.fullmatch(r"runner\.limits +best-effort +default strict +\S+/fnd\.ini:4", rows["runner.limits"])
    assert re.fullmatch(r"gateway\.max_body +5M +default 1G +command line", rows["gateway.max_body"])
    assert re.fullmatch(r"network\.subnet +10\.231\.0\.0/16 +default 10\.231\.0\.0/16 +default", rows["network.subnet"])
    assert os.listdir("/var/lib/fnd") == [] and not fndtest.links() and not fndtest.cgroup_dirs()


def test_check_needs_no_root():
    assert fndtest.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", fndtest.program("fnd"), "--check").status == 0


# ---- what the lists print ----

def test_json_of_everything_that_lists(daemon):
    deployed = json.loads(fnctl("deploy", "hello", "--json").out)
    assert deployed["name"] == "hello" and deployed["version"] == 1 and deployed["environment"] == "default"
    listed = json.loads(fnctl("ls", "--json").out)["functions"]
    assert [f["name"] for f in listed] == ["hello"] and listed[0]["url"] == "/fn/hello/" and listed[0]["state"] == "active"
    status = json.loads(fnctl("status", "hello", "--json").out)
    assert status["limits"]["memory_bytes"] > 0 and status["instances"][0]["function"] == "hello"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", status["instances"][0]["started"])
    whole = json.loads(fnctl("status", "--json").out)
    assert len(whole["functions"]) == 1 and len(whole["instances"]) == 1 and whole["version"]
    config = {row["key"]: row for row in json.loads(fnctl("config", "show", "--json").out)["config"]}
    assert config["gateway.listen"]["value"] == "127.0.0.1:8888" and config["gateway.listen"]["default"] == "0.0.0.0:8888"
    assert "/etc/fnd/fnd.ini:" in config["gateway.listen"]["origin"] and config["runner.limits"]["origin"] == "default"
    assert json.loads(fnctl("version", "--json").out)
    assert json.loads(fnctl("doctor", "--json").out)


def test_metrics_have_the_promised_names_and_labels(daemon):
    fnctl("deploy", "hello", "--env-name", "staging")
    get("/fn/hello.staging/")
    get("/fn/hello.staging/nothing/here")
    get("/fn/no-such-function/")
    text = get("/metrics", port=8889).text
    for line in ('fnd_requests_total{function="hello.staging",code="200"} 1', 'fnd_requests_total{function="hello.staging",code="404"} 1',
                 'fnd_instances{function="hello.staging",state="ready"} 1', 'fnd_starts_total{function="hello.staging"} 1',
                 'fnd_request_duration_seconds_count{function="hello.staging"} 2'):
        assert re.search("^" + re.escape(line) + "$", text, re.M), (line, text)
    memory = wait_until(lambda: int(re.search(r'^fnd_memory_bytes\{function="hello.staging"\} (\d+)$', get("/metrics", port=8889).text, re.M)[1]), what="memory")
    assert memory > 50_000
    assert re.search(r'^fnd_cpu_seconds_total\{function="hello.staging"\} 0\.\d+$', text, re.M)
    assert "no-such-function" not in text
    for line in filter(None, text.splitlines()):
        assert re.fullmatch(r"# (HELP|TYPE) \S+ .*|\w+(\{[^}]*\})? \S+", line), line


# ---- the inside ----

def test_environment_inside(daemon, tmp_path):
    """What every function finds, a port below 1024, and a user by name."""
    ini = "[function]\nname = inside\ncommand = /bin/httpd -f -p 80 -h /www\nport = 80\nuser = www\n[env]\nMINE = yes\n"
    show = CGI + "export; id; cat /proc/sys/kernel/hostname; touch $HOME/x /run/y /dev/shm/z && echo all writable; pwd\n"
    fnctl("deploy", fndtest.package(tmp_path / "f", ini, {"www/cgi-bin/show": show, "etc/passwd": "root:x:0:0::/:/bin/sh\nwww:x:33:33::/:/bin/sh\n"}), "--env-name", "staging")
    name = instances("inside.staging")[0]["name"]
    text = get("/fn/inside.staging/cgi-bin/show").text
    seen = dict(re.findall(r"^export (\w+)='?([^'\n]*)", text, re.M))
    expected = {"PORT": "80", "FND_FUNCTION": "inside", "FND_ENVIRONMENT": "staging", "FND_VERSION": "1", "FND_INSTANCE": name, "HOME": "/tmp", "MINE": "yes"}
    assert {k: seen.get(k) for k in expected} == expected, text
    assert "uid=33(www)" in text and f"\n{name}\n" in text and "all writable" in text, text


def test_writable_root_is_bounded_and_forgotten(daemon, tmp_path):
    ini = fndtest.HTTPD.format(name="writes") + "writable = yes\n[limits]\nmemory = 64M\ntmp = 8M\n"
    write = CGI + "echo mine >/www/new && cat /www/new; dd if=/dev/zero of=/www/full bs=1M count=32 2>&1; rm -f /www/full\n"
    directory = fndtest.package(tmp_path / "f", ini, {"www/cgi-bin/write": write})
    os.chown(f"{directory}/www", 1000, 1000)  # the function's user; the rest is its root's
    fnctl("deploy", directory)
    text = get("/fn/writes/cgi-bin/write").text
    assert text.startswith("mine\n") and "No space left" in text, text
    assert get("/fn/writes/new").text == "mine\n"
    before = instances("writes")[0]["name"]
    fnctl("restart", "writes")
    wait_until(lambda: [i["name"] for i in instances("writes", None)] not in ([], [before]) and len(instances("writes", None)) == 1)
    assert get("/fn/writes/new").status == 404


def test_env_file_and_health_by_connection(daemon, tmp_path):
    ini = "[function]\nname = quiet\ncommand = /bin/httpd -f -p 3000 -h /www\nenv_file = conf/.env\n[health]\npath = none\n"
    files = {"conf/.env": "LONG=" + "x" * 3000 + "\nQUOTED=\"a ; b\"\n", "www/cgi-bin/show": CGI + "echo ${#LONG} $QUOTED\n"}
    fnctl("deploy", fndtest.package(tmp_path / "f", ini, files))
    assert get("/fn/quiet/cgi-bin/show").text == "3000 a ; b\n"


def test_names_are_unique_ignoring_case(daemon):
    fnctl("deploy", "hello", "--name", "Shop")
    assert get("/fn/Shop/").status == 200
    result = fnctl("deploy", "hello", "--name", "shop", status=None)
    assert [f["name"] for f in api("GET", "/functions").json()["functions"]] == ["Shop"], result
    fnctl("deploy", "hello", "--name", "a" * 57)
    assert get(f"/fn/{'a' * 57}/").status == 200
    assert fnctl("deploy", "hello", "--name", "a" * 58, status=None).status in (1, 2)


# ---- fnctl run ----

@pytest.mark.parametrize("group", [False, True], ids=["alone", "group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_run_ends_with_all_signals_inherited_ignored(number, group):
    with run("hello", ignore=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP]) as r:
        assert r.get().status == 200
        assert r.end(number, group) == 0, r.said()
    assert not fndtest.links() and not fndtest.cgroup_dirs() and not fndtest.processes("fn-init")


def test_run_says_all_that_is_promised():
    with run("hello", "--name", "greets") as r:
        port, path = r.url()
        text = r.said()
        assert path == "/fn/greets/" and f"http://127.0.0.1:{port}{path}" in text, text
        for words in (r"^function +greets$", r"^version +1$", r"^image +\d+K$", r"^ready +[0-9.]+ ms$"):
            assert re.search(words, text, re.M), (words, text)
        assert port == 8888


def test_hello_is_under_one_megabyte():
    sizes = [int(line.split()[2]) for line in fndtest.run("tar", "-tzvf", f"{fndtest.BUILD}/hello.tar.gz").out.splitlines()]
    assert 0 < sum(sizes) < 1_000_000


def test_deploy_of_an_environment(daemon):
    fnctl("deploy", "hello", "--env-name", "staging")
    text = get("/fn/hello.staging/").text
    assert get("/fn/hello/").status == 404 and get("/faaso/hello.staging/").status == 200 and text
    assert fnctl("status", "hello.staging").out and fnctl("status", "hello", status=3).err
    assert fnctl("invoke", "hello.staging").out == text or "hello" in fnctl("invoke", "hello.staging").out
    fnctl("rm", "hello.staging")
    assert get("/fn/hello.staging/").status == 404
    wait_until(lambda: not os.path.exists("/var/lib/fnd/functions/staging/hello"))


def test_public_listener_has_no_administration(daemon):
    answer = request("GET", "/admin/api/v1/functions")
    assert answer.status in (401, 403, 404) and "WWW-Authenticate" not in answer.headers
    with socket.create_connection(("127.0.0.1", 8888)) as s:
        s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert s.recv(100).split()[1] == b"403"


# ---- bad input ----

def test_variables_of_our_own_are_refused_before_anything_changes(daemon):
    for variable in ("PORT=1", "FND_VERSION=7"):
        result = fnctl("deploy", "hello", "--env", variable, status=1)
        assert variable.split("=", maxsplit=1)[0] in result.err, result
    assert api("GET", "/functions").json()["functions"] == [] and os.listdir("/var/lib/fnd/images") == []


def test_exit_codes_and_messages(daemon):
    fnctl("deploy", "hello")
    for status, args, words in (
        (1, ["scale", "hello", "5000"], ["5000", "1000", "runner.slots_max"]), (2, ["scale", "hello", "x"], ["a number", "auto"]), (2, ["scale", "hello", "-1"], ["-1"]),
        (1, ["deploy", "/nonexistent"], ["/nonexistent", "No such file"]), (1, ["deploy", "nosuch"], ["nosuch", "hello", "./nosuch"]), (2, ["deploy", "hello", "--name", "a b"], ["a b", "letters"]),
        (2, ["deploy", "hello", "--env", "NOEQ"], ["NOEQ", "KEY=VALUE"]), (1, ["deploy", "/etc/passwd"], ["/etc/passwd", "tar"]), (3, ["status", "nosuch"], ["nosuch"]),
        (3, ["rm", "hello.staging"], ["hello.staging"]), (3, ["logs", "hello", "--instance", "hello-zzzzzz"], ["hello-zzzzzz"]), (2, ["config", "set"], ["show"]), (2, ["frobnicate"], ["frobnicate"]),
        (2, ["run", "hello", "--scale", "0"], ["1 to 60"]), (2, ["run", "hello", "--listen", "::1"], ["IPv4"]), (2, ["invoke", "hello", "--path", "x"], ["'/'"]),
    ):
        result = fnctl(*args, status=status)
        assert result.out == "" and all(w in result.err for w in words), (args, result)
    assert function("hello")["version"] == 1 and function("hello")["scale"] == "auto"


def test_metrics_public(make_daemon):
    make_daemon(settings={"gateway.metrics_public": "yes"}).start()
    assert "fnd_runner_up 1" in get("/metrics").text


def test_what_a_name_stands_for(tmp_path):
    """A directory with a function.ini, an archive, then a sample; a path only with a '/'."""
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello/README").write_text("no function.ini here")
    assert "hello from hello" in fnctl("run", "hello", "--once", cwd=tmp_path).out.lower()
    fndtest.package(tmp_path / "hello", fndtest.HTTPD.format(name="mine"), {"www/index.html": "mine\n"})
    assert fnctl("run", "hello", "--once", cwd=tmp_path).out == "mine\n"
    assert fnctl("run", ".", "--once", cwd=tmp_path / "hello").out == "mine\n"
    with open(tmp_path / "busybox", "wb") as f:
        f.write(fndtest.run("tar", "-C", tmp_path / "hello", "-c", ".").raw)
    assert fnctl("run", "busybox", "--once", cwd=tmp_path).out == "mine\n"
