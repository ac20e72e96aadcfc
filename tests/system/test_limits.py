"""What a function may not do and not use up, seen from inside and from outside."""

import contextlib
import os
import re
import shutil
import socket
import threading
import time

import pytest

import fndtest
from fndtest import fnctl, function, get, instances, ready_instances, wait_until

CGI = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n"
EAT = "#!/bin/sh\nexec /bin/awk 'BEGIN { x = \"0123456789abcdef\"; while (1) x = x x }'\n"
WORK = CGI + "i=0\nwhile [ $i -lt 300000 ]; do i=$((i + 1)); done\necho done\n"
UNTIL_GO = "#!/bin/sh\nwhile [ ! -e /tmp/go ]; do sleep 0.05; done\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho done\n"
FORK = CGI + "i=0\nwhile [ $i -lt 300 ]; do /bin/sleep 30 </dev/null >/dev/null 2>&1 & i=$((i + 1)); done\necho survived\n"


def hog(tmp_path, limits, scripts, name="hog"):
    files = {f"www/cgi-bin/{k}": v for k, v in scripts.items()}
    fnctl("deploy", fndtest.package(tmp_path / name, fndtest.HTTPD.format(name=name) + "[limits]\n" + limits, files))


def test_memory_hog_hurts_only_itself(daemon, tmp_path):
    """1,000 requests to the neighbour all get 200, the eater's caller gets 502, and its instance is replaced within 2 s."""
    fnctl("deploy", "hello")
    hog(tmp_path, "memory = 32M\ntimeout = 30s\n", {"eat": EAT})
    before = instances("hog")[0]["name"]
    codes, eaten = [], []

    def eat():
        answer = get("/fn/hog/cgi-bin/eat", seconds=60)
        eaten.append((answer.status, fndtest.Stopwatch()))

    eater = threading.Thread(target=eat)
    eater.start()
    for _ in range(1000):
        codes.append(get("/fn/hello/").status)
    eater.join()
    assert codes == [200] * 1000
    assert eaten[0][0] == 502
    wait_until(lambda: [i["name"] for i in instances("hog")] not in ([], [before]), what="a new instance")
    assert eaten[0][1].own < 2 or ready_after(before) < 2
    assert "memory" in function("hog")["last_failure"].lower() or "oom" in function("hog")["last_failure"].lower()
    assert get("/fn/hog/").status == 200


def ready_after(_):
    """Seconds from the last start to ready, by the daemon's own clock; with the 100 ms of patience before it."""
    return instances("hog")[0]["ready_ms"] / 1000 + 0.1


def test_pids_limit(daemon, tmp_path):
    hog(tmp_path, "pids = 20\n", {"fork": FORK})
    get("/fn/hog/cgi-bin/fork")
    stats = wait_until(lambda: [i for i in instances("hog", None) if i["pids"] > 10])[0]
    assert stats["pids"] <= 20 + 2, stats


def test_cpu_limit(daemon, tmp_path):
    hog(tmp_path, "cpu = 0.2\ntimeout = 60s\n", {"spin": CGI + "exec 3>&1\nt=$(cut -d. -f1 /proc/uptime)\nwhile [ $(($(cut -d. -f1 /proc/uptime) - t)) -lt 3 ]; do :; done\necho done\n"})
    before = instances("hog")[0]["cpu_seconds"]
    started = time.monotonic()
    assert get("/fn/hog/cgi-bin/spin", seconds=60).status == 200
    used, passed = instances("hog")[0]["cpu_seconds"] - before, time.monotonic() - started
    assert used / passed < 0.3, (used, passed)


def test_temporary_space_is_limited(daemon, tmp_path):
    fill = CGI + "dd if=/dev/zero of=/tmp/full bs=1M count=64 2>&1\nwc -c </tmp/full\nrm -f /tmp/full\n"
    hog(tmp_path, "memory = 128M\ntmp = 8M\n", {"fill": fill})
    text = get("/fn/hog/cgi-bin/fill").text
    assert "No space left" in text, text
    assert int(text.split()[-1]) <= 8 << 20


def test_request_that_takes_too_long(daemon, tmp_path):
    hog(tmp_path, "timeout = 1s\n", {"slow": "#!/bin/sh\nsleep 60\n"})
    assert get("/fn/hog/cgi-bin/slow").status == 504
    assert get("/fn/hog/").status == 200


def test_no_privilege_inside(daemon, tmp_path):
    hog(tmp_path, "", {"status": CGI + "cat /proc/self/status\n"})
    inside = dict(re.findall(r"^(\w+):\s+(.*)$", get("/fn/hog/cgi-bin/status").text, re.M))
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(inside[capabilities], 16) == 0, capabilities
    assert inside["NoNewPrivs"] == "1"
    assert inside["Seccomp"] == "2"
    assert "0" not in inside["Uid"].split()
    assert inside["Groups"].strip() == "" or "0" not in inside["Groups"].split()


def test_unprivileged_uid_of_its_own_outside(daemon):
    fnctl("deploy", "hello")
    fnctl("scale", "hello", "2")
    uids = set()
    for i in ready_instances("hello", 2):
        status = fndtest.process_status(fndtest.function_pid(i))
        uid = int(status["Uid"].split()[0])
        assert uid >= 0x70000000 and uid == i["uid"]
        assert len(set(status["Uid"].split())) == 1
        uids.add(uid)
        # fn-init keeps the function's uid as its real one, so that it may signal it; what counts when somebody wants to touch fn-init are the others.
        init = fndtest.process_status(i["pid"])
        assert int(init["CapEff"], 16) == 0 and init["NoNewPrivs"] == "1" and init["Seccomp"] == "2"
        assert all(int(u) >= 0x70000000 and int(u) != uid for u in init["Uid"].split()[1:])
    assert len(uids) == 2


def test_root_is_read_only_and_host_is_hidden(daemon, tmp_path):
    look = CGI + "touch /x 2>&1; touch /tmp/y && echo tmp writable; cat /proc/1/environ 2>&1 | head -c 1; ls /sys 2>&1 | head -n 1; hostname; ls /dev; cat /proc/mounts\n"
    hog(tmp_path, "", {"look": look})
    text = get("/fn/hog/cgi-bin/look").text
    assert "Read-only file system" in text and "tmp writable" in text
    assert instances("hog")[0]["name"] in text
    assert "/var/lib" not in text, text
    assert fndtest.REPO not in text


def test_no_network_but_answers(daemon, tmp_path):
    reach = CGI + "\n".join(f"(nc -w 2 {a} {p} </dev/null && echo reached {a}) 2>&1" for a, p in (("10.231.0.1", 8888), ("10.231.0.1", 9999), ("10.231.0.3", 3000), ("127.0.0.1", 8888), ("169.254.169.254", 80), ("192.0.2.1", 80))) + "\n"
    hog(tmp_path, "timeout = 40s\n", {"reach": reach})
    fnctl("deploy", "hello")
    fnctl("scale", "hello", "3")
    others = [i["address"] for i in ready_instances("hello", 3)]
    script = reach + "".join(f"(nc -w 2 {a} 3000 </dev/null && echo reached {a}) 2>&1\n" for a in others)
    hog(tmp_path, "timeout = 60s\n", {"reach": script}, name="reaches")
    text = get("/fn/reaches/cgi-bin/reach", seconds=60).text
    assert text.count("reached") == 1 and "reached 10.231.0.1\n" in text, text  # the gateway, at its bridge


def test_gateway_has_no_privilege(daemon):
    status = fndtest.process_status(daemon.gateway_pid)
    assert "0" not in status["Uid"].split() and "0" not in status["Gid"].split()
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[capabilities], 16) == 0, capabilities
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"


def test_queue_is_bounded(daemon, tmp_path):
    """One request at once, two that wait: of eight at once, the rest is refused with 503 and Retry-After."""
    hog(tmp_path, "concurrency = 1\nqueue = 2\ntimeout = 60s\nqueue_timeout = 60s\n", {"slow": UNTIL_GO})
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(get("/fn/hog/cgi-bin/slow", seconds=60))) for _ in range(8)]
    for t in threads:
        t.start()
    wait_until(lambda: len(answers) == 5, what="five refusals")
    fnctl("exec", "hog", "touch", "/tmp/go")
    for t in threads:
        t.join()
    codes = sorted(a.status for a in answers)
    assert codes.count(200) == 3 and codes.count(503) == 5, codes
    assert all(a.headers["Retry-After"] for a in answers if a.status == 503)


def hits(name):
    return function(name)["limit_hits"]


def metric(name, **labels):
    """The value of one sample of the admin listener's /metrics."""
    wanted = ",".join(f'{k}="{v}"' for k, v in labels.items())
    for line in get("/metrics", port=8889).text.splitlines():
        if line.startswith(f"{name}{{{wanted}}} ") or (not labels and line.startswith(name + " ")):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no sample {name} {wanted}")


def test_hits_are_counted_and_named(daemon, tmp_path):
    """Each limit that was hit is in the status, in the metrics and in the log; counters outlive the instance that was killed, and its successor's log says how it ended."""
    hog(tmp_path, "memory = 32M\npids = 20\ncpu = 0.2\ntimeout = 30s\n", {"fork": FORK, "eat": EAT, "work": WORK})
    get("/fn/hog/cgi-bin/work", seconds=60)
    get("/fn/hog/cgi-bin/fork")
    wait_until(lambda: hits("hog")["pids"] > 0)
    wait_until(lambda: "pids: a process or thread was refused" in fnctl("logs", "hog").out)
    wait_until(lambda: (get("/fn/hog/cgi-bin/work", seconds=60), hits("hog")["cpu"] > 0)[1])  # on a busy machine it may not have got its share at the first try
    before = instances("hog")[0]["name"]
    status = fnctl("status", "hog").out
    assert "limits hit" in status and "refused a process" in status, status
    assert get("/fn/hog/cgi-bin/eat", seconds=60).status == 502
    wait_until(lambda: [i["name"] for i in instances("hog")] not in ([], [before]), what="a new instance")
    assert hits("hog")["memory"] == 1
    assert metric("fnd_limit_hits_total", function="hog", limit="memory") == 1
    assert metric("fnd_limit_hits_total", function="hog", limit="pids") >= 1
    old, new = fnctl("logs", "hog", "--instance", before).out, fnctl("logs", "hog").out
    assert re.search(r"\[fnd \S+Z: memory: it was killed at its limit of 32M", old), old
    assert f"the instance before, {before}, ended: out of memory" in new, new


def test_quiet_function_hits_nothing(daemon):
    fnctl("deploy", "hello")
    ready_instances("hello", 1)
    for _ in range(50):
        assert get("/fn/hello/").status == 200
    assert {k: v for k, v in hits("hello").items() if k != "cpu"} == {"memory": 0, "memory_high": 0, "pids": 0}
    notes = [line for line in fnctl("logs", "hello").out.splitlines() if line.startswith("[fnd ")]
    assert not [line for line in notes if "Z: cpu: " not in line], notes  # a slow machine may run out of CPU at the start


def test_limits_that_the_host_lacks_are_named(daemon, tmp_path):
    """memory_high and io are held where cgroup v2 has the controller; where not, every start says so in the log, and the function runs."""
    hog(tmp_path, "memory = 64M\nmemory_high = 48M\nio = 100M\n", {})
    text = fnctl("logs", "hog").out
    tree = [c for c in fndtest.cgroup_dirs() if re.search(r"/fnd/s\d+$", c)]
    assert tree
    high = [c for c in tree if os.path.exists(c + "/memory.high")]
    with contextlib.ExitStack() as stack:
        values = [stack.enter_context(open(c + "/memory.high", encoding="ascii")).read().strip() for c in high]
    assert ("memory_high (" in text) == (not high), text
    assert not high or str(48 << 20) in values
    io = [c for c in tree if os.path.exists(c + "/io.max")]
    if not io:
        assert "io (" in text, text


def test_refused_limits(daemon, tmp_path):
    """What cannot be meant is refused before anything has changed, with what, where and why."""
    for limits, words in (("memory_high = 128M\n", "is not below memory"), ("io = 1\n", "at least 64K")):
        package = fndtest.package(tmp_path / "bad", fndtest.HTTPD.format(name="bad") + "[limits]\n" + limits, {})
        error = fnctl("deploy", package, status=None)
        assert error.status != 0 and words in error.err, error
    assert api_functions() == []


def api_functions():
    return fndtest.api("GET", "/functions").json()["functions"]


@pytest.mark.parametrize("key, value, limits", [("host.memory", "64M", "memory = 48M\n"), ("host.cpu", "0.5", "cpu = 0.4\n")])
def test_budget_refuses_what_exceeds_it(make_daemon, tmp_path, key, value, limits):
    """One instance fits, a second does not: scale and deploy say what is used up and how to get more, before anything has changed."""
    d = make_daemon(settings={key: value, key + "_overcommit": "1"})
    d.start()
    hog(tmp_path, limits, {})
    for refused in (fnctl("scale", "hog", "2", status=None), fnctl("deploy", "hello", status=None)):
        assert refused.status != 0 and f"{key} is used up" in refused.err and "fnd.ini" in refused.err, refused
    assert function("hog")["scale"] == "auto" and len(instances("hog")) == 1
    assert [f["name"] for f in api_functions()] == ["hog"]
    host = fndtest.api("GET", "/host").json()
    if key == "host.memory":
        assert host["memory_budget_bytes"] == 64 << 20 and host["memory_promised_bytes"] == 48 << 20 and host["memory_used_bytes"] > 0, host
        assert metric("fnd_host_memory_bytes", kind="budget") == 64 << 20
    else:
        assert host["cpu_budget"] == 0.5 and host["cpu_promised"] == 0.4, host
    status = fnctl("status").out
    assert "host memory" in status and "host cpu" in status and "host disk" in status, status
    fnctl("rm", "hog")


def test_all_together_are_held(make_daemon, tmp_path):
    """Promised more than there is: three eaters below one budget never take more than it together, the neighbour answers, and who was killed for others is told so."""
    d = make_daemon(settings={"host.memory": "96M", "host.memory_overcommit": "10"})
    d.start()
    fnctl("deploy", "hello")
    for name in ("a", "b", "c"):
        hog(tmp_path, "memory = 80M\ntimeout = 20s\n", {"eat": EAT}, name=name)
    most = 0

    def eat(name):
        get(f"/fn/{name}/cgi-bin/eat", seconds=60)

    threads = [threading.Thread(target=eat, args=(n,)) for n in ("a", "b", "c")]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        most = max(most, fndtest.api("GET", "/host").json()["memory_used_bytes"])
    for t in threads:
        t.join()
    assert most <= 96 << 20, most
    wait_until(lambda: get("/fn/hello/").status == 200)
    failures = wait_until(lambda: [f for n in ("a", "b", "c") if (f := function(n)["last_failure"])], what="a kill to be known")  # their clients may hear of it first
    assert all("memory" in f for f in failures), failures


def test_disk_budget(make_daemon, tmp_path):
    d = make_daemon(settings={"host.disk": "64M"})
    d.start()
    fnctl("deploy", "hello")
    with open("/var/lib/fnd/logs/default/hello/filler", "wb") as f:
        f.truncate(64 << 20)
    refused = fnctl("deploy", "hello", status=None)
    assert refused.status != 0 and "host.disk is used up" in refused.err, refused
    assert function("hello")["version"] == 1
    with open("/var/lib/fnd/logs/default/hello/filler", "wb") as f:
        f.truncate(58 << 20)
    package = fndtest.package(tmp_path / "big", fndtest.HTTPD.format(name="big"), {})
    with open(tmp_path / "big/blob", "wb") as f:
        f.write(os.urandom(8 << 20))
    refused = fnctl("deploy", package, status=None)
    assert refused.status != 0 and "host.disk leaves only" in refused.err, refused
    assert [f["name"] for f in api_functions()] == ["hello"]
    wait_until(lambda: not [name for name in os.listdir("/var/lib/fnd/images") if name.startswith(".staging")], what="the end of what was unpacked")
    os.unlink("/var/lib/fnd/logs/default/hello/filler")
    fnctl("deploy", package)


def connect(source, port=8888):
    s = socket.socket()
    s.settimeout(30)
    s.bind((source, 0))
    with contextlib.suppress(ConnectionResetError):
        s.connect(("127.0.0.1", port))
    return s


def is_open(s):
    """Does the other end still hold this connection?"""
    try:
        return not fndtest.readable(s.fileno(), 0) or bool(s.recv(1))
    except OSError:
        return False


def test_flood_of_connections_from_one_client(make_daemon):
    """All that one client gets is its share; what exceeds it is reset and counted, and others are served as before. Without the share the flood would take all 100 places."""
    d = make_daemon(settings={"gateway.max_connections": "100", "gateway.max_connections_per_client": "20", "gateway.head_timeout": "1h"})
    d.start()
    fnctl("deploy", "hello")
    with contextlib.ExitStack() as stack:
        flood = [stack.enter_context(connect("127.0.0.2")) for _ in range(300)]
        wait_until(lambda: sum(map(is_open, flood)) == 20, what="all but the share to be reset")
        for _ in range(50):
            assert get("/fn/hello/").status == 200
        wait_until(lambda: metric("fnd_gateway_refused_total", reason="client") == 280, what="the refusals to be counted")
        assert metric("fnd_gateway_refused_total", reason="full") == 0
        assert metric("fnd_gateway_connections") >= 20
    wait_until(lambda: metric("fnd_gateway_connections") <= 3, what="the flood to be forgotten")
    with connect("127.0.0.2") as again:
        again.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert again.recv(100).startswith(b"HTTP/1.1 200")


def test_slow_function_leaves_connections_to_others(make_daemon, tmp_path):
    """Requests of one function hold half of the connections at most: the rest gets 503 at once, and its neighbour answers."""
    d = make_daemon(settings={"gateway.max_connections": "40", "gateway.max_connections_per_client": "0"})
    d.start()
    fnctl("deploy", "hello")
    hog(tmp_path, "timeout = 60s\npids = 200\n", {"slow": UNTIL_GO})
    request = b"GET /fn/hog/cgi-bin/slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect("127.0.0.1")) for _ in range(30)]
        for s in slow:
            s.sendall(request)
        wait_until(lambda: metric("fnd_gateway_refused_total", reason="function") == 10)
        assert get("/fn/hello/").status == 200
        fnctl("exec", "hog", "touch", "/tmp/go")
        codes = [s.recv(100).split()[1] for s in slow]
    assert sorted(codes) == [b"200"] * 20 + [b"503"] * 10, codes


def probe(tmp_path, limits, function_keys=""):
    """A function that runs the probe's verbs at /run/VERB?ARGUMENT&ARGUMENT."""
    directory = tmp_path / "probing"
    os.makedirs(directory)
    shutil.copy(fndtest.BUILD + "/tests/probe", directory / "probe")
    with open(directory / "function.ini", "w", encoding="ascii") as f:
        f.write(f"[function]\nname = probing\ncommand = /probe serve\n{function_keys}[limits]\n{limits}")
    fnctl("deploy", directory)


def test_flood_of_connections_from_an_instance(make_daemon, tmp_path):
    """H27: a function turns on the gateway that it may reach. It gets its share of connections, however often it tries; others, and it itself, are served."""
    d = make_daemon(settings={"gateway.max_connections": "100", "gateway.max_connections_per_client": "20"})
    d.start()
    fnctl("deploy", "hello")
    probe(tmp_path, "timeout = 30s\n")
    flood = []
    attacker = threading.Thread(target=lambda: flood.append(get("/fn/probing/run/crowd?10.231.0.1&8888&200&3", seconds=30)))
    attacker.start()
    wait_until(lambda: metric("fnd_gateway_refused_total", reason="client") > 200, what="the flood")
    for _ in range(50):
        assert get("/fn/hello/").status == 200
    assert metric("fnd_gateway_connections") <= 30
    assert metric("fnd_gateway_refused_total", reason="full") == 0
    attacker.join()
    assert flood[0].status == 200 and "#exit 0" in flood[0].text, flood[0].text
    standing, opened = re.search(r"standing (\d+) opened (\d+)", flood[0].text).groups()
    assert int(opened) > 220, flood[0].text


def test_writable_root_is_bounded(daemon, tmp_path):
    """`writable = yes` is memory within `tmp`: what fills it is told that there is no space, the host's disk has lost nothing, and the next instance begins with the image."""
    fill = CGI + "cd /data && dd if=/dev/zero of=full bs=64k count=2000 2>&1; ls -l /data/full; df -k /data | tail -n 1\n"
    look = CGI + "ls /data 2>&1\n"
    files = {"www/cgi-bin/fill": fill, "www/cgi-bin/look": look, "data/old": "from the image\n"}
    package = fndtest.package(tmp_path / "fills", "[function]\nname = fills\nuser = 1000\nwritable = yes\ncommand = /bin/httpd -f -p 3000 -h /www\n[limits]\nmemory = 64M\ntmp = 8M\n", files)
    os.chmod(tmp_path / "fills/data", 0o777)
    fnctl("deploy", package)
    image = os.path.realpath("/var/lib/fnd/functions/default/fills/current/image")
    before = sorted(os.listdir(image + "/data"))
    text = get("/fn/fills/cgi-bin/fill").text
    assert "No space left" in text, text
    sizes = [int(line.split()[4]) for line in text.splitlines() if line.startswith("-") and line.endswith("/data/full")]
    assert sizes and 4 << 20 < sizes[0] <= 8 << 20, text
    assert sorted(os.listdir(image + "/data")) == before
    assert get("/fn/fills/").status in (200, 404)
    fnctl("restart", "fills")
    wait_until(lambda: "full" not in get("/fn/fills/cgi-bin/look").text)
    assert "old" in get("/fn/fills/cgi-bin/look").text
