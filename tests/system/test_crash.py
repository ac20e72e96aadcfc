"""kill -9 of an instance, of the gateway, of the daemon; functions that do not live. No function and no configuration is lost, and what a killed daemon left is gone after its next start."""

import os
import signal
import time

import fndtest
from fndtest import fnctl, function, get, instances, ready_instances, wait_until


def test_killed_instance_is_replaced(daemon):
    fnctl("deploy", "hello")
    fnctl("scale", "hello", "2")
    victim = ready_instances("hello", 2)[0]
    os.kill(victim["pid"], signal.SIGKILL)
    watch = fndtest.Stopwatch()
    wait_until(lambda: victim["name"] not in [i["name"] for i in instances("hello", None)] and len(instances("hello")) == 2, what="a replacement")
    assert watch.own < 3
    assert get("/fn/hello/").status == 200
    assert function("hello")["restarts"] == 1


def test_killed_function_is_replaced(daemon):
    fnctl("deploy", "hello")
    victim = instances("hello")[0]
    os.kill(fndtest.function_pid(victim), signal.SIGKILL)
    wait_until(lambda: [i["name"] for i in instances("hello")] not in ([], [victim["name"]]), what="a replacement")
    assert "signal 9" in function("hello")["last_failure"].lower() or "kill" in function("hello")["last_failure"].lower()


def test_requests_survive_the_loss_of_one_instance(daemon):
    fnctl("deploy", "hello")
    fnctl("scale", "hello", "3")
    victim = ready_instances("hello", 3)[0]
    os.kill(victim["pid"], signal.SIGKILL)
    codes = [get("/fn/hello/").status for _ in range(200)]
    assert codes.count(200) >= 198, {c: codes.count(c) for c in set(codes)}
    assert set(codes) <= {200, 502}


def test_killed_gateway_comes_back(daemon):
    fnctl("deploy", "hello")
    before = [(i["name"], i["pid"]) for i in instances("hello")]
    gateway = daemon.gateway_pid
    os.kill(gateway, signal.SIGKILL)
    wait_until(lambda: get("/fn/hello/").status == 200, what="an answer after the gateway was killed")
    assert daemon.gateway_pid != gateway
    assert daemon.running()
    wait_until(lambda: [(i["name"], i["pid"]) for i in instances("hello")] == before, what="the same instances")


def test_gateway_killed_again_and_again(daemon):
    fnctl("deploy", "hello")
    for _ in range(3):
        gateway = wait_until(lambda: daemon.gateway_pid)
        os.kill(gateway, signal.SIGKILL)
        wait_until(lambda: daemon.gateway_pid not in (None, gateway), what="a new gateway")
        wait_until(lambda: get("/fn/hello/").status == 200, what="an answer")


def test_killed_daemon_loses_nothing(make_daemon):
    first = make_daemon()
    first.start()
    fnctl("deploy", "hello")
    fnctl("scale", "hello", "2")
    fnctl("deploy", "hello", "--env-name", "staging")
    old = [i["pid"] for i in ready_instances("hello", 2)] + [i["pid"] for i in instances("hello.staging")]
    links = fndtest.links()
    first.kill()
    make_daemon().start()
    now = ready_instances("hello", 2)
    assert get("/fn/hello/").status == 200 and get("/fn/hello.staging/").status == 200
    wait_until(lambda: not [p for p in old if fndtest.alive(p)], what="the old instances to end")
    assert not set(old) & {i["pid"] for i in now}
    wait_until(lambda: len(fndtest.links()) <= len(links) + 2, what="left links to vanish")
    wait_until(lambda: len(fndtest.processes("fnd-gateway")) == 1, what="the old gateway's end")


def test_killed_daemon_leaves_nothing_after_its_next_stop(make_daemon):
    """The test host asserts the rest."""
    first = make_daemon()
    first.start()
    fnctl("deploy", "hello")
    fnctl("scale", "hello", "3")
    first.kill()
    second = make_daemon()
    second.start()
    ready_instances("hello", 3)
    second.stop()
    assert not fndtest.links() and not fndtest.cgroup_dirs()
    assert not fndtest.mounts_below("/run/fnd", "/var/lib/fnd")


def test_daemon_killed_while_it_deploys(make_daemon, tmp_path):
    """At many instants: the old version or the new one, never none, and no staging left."""
    first = make_daemon()
    first.start()
    fnctl("deploy", "hello", "--env", "GREETING=v1")
    first.stop()
    for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2):
        d = make_daemon()
        d.start()
        ready_instances("hello", 1)
        before = function("hello")["version"]
        process = fndtest.subprocess.Popen([fndtest.program("fnctl"), "deploy", "hello"], stdout=fndtest.subprocess.DEVNULL, stderr=fndtest.subprocess.DEVNULL)
        time.sleep(delay)  # the instant of the kill is the test's parameter
        d.kill()
        process.wait(30)
        d = make_daemon()
        d.start()
        ready_instances("hello", 1)
        assert function("hello")["version"] >= before  # a number that a killed deploy took is not used again
        assert get("/fn/hello/").status == 200
        d.stop()


def test_function_that_exits_at_once_is_explained(daemon, tmp_path):
    ini = "[function]\nname = dies\ncommand = /bin/sh -c 'echo its last words; exit 3'\n"
    result = fnctl("deploy", fndtest.package(tmp_path / "f", ini), status=1)
    assert "its last words" in result.err + result.out, result


def test_function_that_begins_to_die_is_a_crash_loop(daemon, tmp_path):
    """The first instance lives; the later ones find what it has left and die. Its image is the same, so the sign is a request."""
    die = "#!/bin/sh\nkill -9 $(pidof httpd)\n"
    fnctl("deploy", fndtest.package(tmp_path / "f", fndtest.HTTPD.format(name="dies"), {"www/cgi-bin/die": die}))

    def ask_to_die():
        if instances("dies"):
            get("/fn/dies/cgi-bin/die")
        return function("dies")["state"] == "crash-loop"

    wait_until(ask_to_die, 40, "a crash loop")
    wait_until(lambda: (ask_to_die(), "crash" in fnctl("status", "dies").out)[1], what="the crash loop in the status")
    wait_until(lambda: instances("dies"), 40, "the next start after the pause")


def test_function_that_never_listens_is_explained(make_daemon, tmp_path):
    make_daemon(settings={"runner.start_timeout": "2s"}).start()
    ini = "[function]\nname = mute\ncommand = /bin/sh -c 'echo started but mute; exec sleep 1000'\n"
    result = fnctl("deploy", fndtest.package(tmp_path / "f", ini), status=1)
    assert "3000" in result.err and "started but mute" in result.err + result.out, result


def test_function_that_fails_its_health_check_is_explained(make_daemon, tmp_path):
    make_daemon(settings={"runner.start_timeout": "2s"}).start()
    ini = fndtest.HTTPD.format(name="ill") + "[health]\npath = /not/there\n"
    result = fnctl("deploy", fndtest.package(tmp_path / "f", ini), status=1)
    assert "/not/there" in result.err and "404" in result.err, result


def test_function_that_becomes_unhealthy_is_replaced(daemon, tmp_path):
    """The health page answers 500 as soon as a file says so."""
    ping = "#!/bin/sh\n[ -e /tmp/ill ] && exit 1\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho ok\n"
    ill = "#!/bin/sh\ntouch /tmp/ill\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho ill\n"
    ini = fndtest.HTTPD.format(name="ill") + "[health]\npath = /cgi-bin/health\ninterval = 200ms\nthreshold = 2\n"
    fnctl("deploy", fndtest.package(tmp_path / "f", ini, {"www/cgi-bin/health": ping, "www/cgi-bin/ill": ill}))
    before = instances("ill")[0]["name"]
    get("/fn/ill/cgi-bin/ill")
    wait_until(lambda: [i["name"] for i in instances("ill")] not in ([], [before]), what="a replacement")
    assert "/cgi-bin/health" in function("ill")["last_failure"]


def test_logs_of_the_dead(daemon, tmp_path):
    say = "[function]\nname = talks\ncommand = /bin/sh -c 'echo I am $FND_INSTANCE; exec /bin/httpd -f -p 3000 -h /www'\n"
    fnctl("deploy", fndtest.package(tmp_path / "f", say))
    victim = instances("talks")[0]
    os.kill(victim["pid"], signal.SIGKILL)
    wait_until(lambda: [i["name"] for i in instances("talks")] not in ([], [victim["name"]]))
    assert fnctl("logs", "talks", "--instance", victim["name"]).out == f"I am {victim['name']}\n"
