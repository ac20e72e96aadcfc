"""A gateway that was taken over: a program takes its place at the runner's socket, with its ids, and sends what it can think of. The runner must be the same process afterwards, and serve the next gateway.

The seed of a run is printed; HOSTILE_SEED repeats one, HOSTILE_SECONDS makes it longer.
"""

import os
import re
import signal

import fndtest
from fndtest import fnctl, get, process_status, ready_instances, run, wait_until

SECONDS = int(os.environ.get("HOSTILE_SECONDS", "6"))
STATE = {"acme", "audit.log", "audit.log.1", "auth", "format", "lock", "functions", "images", "logs", "volumes", "runtimes", "secrets"}
SLACK_FDS = 8
SLACK_KB = 48 << 10


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_kb(pid):
    return 0 if fndtest.SANITIZED else int(process_status(pid)["VmRSS"].split()[0])


def quiet(daemon):
    """All that was started has ended: no jail, no staging directory, no function but hello."""
    names = [f["name"] for f in fndtest.api("GET", "/functions").json()["functions"]]
    staging = [n for n in os.listdir("/var/lib/fnd/images") if n.startswith(".staging")]
    groups = [p for p in fndtest.cgroup_dirs() if os.path.basename(p).startswith("unpack-")]
    return set(names) <= {"hello"} and not staging and not groups and not fndtest.processes("fnd-unpack")


def fresh_gateway(daemon, old):
    """Ends the gateway that was held, waits for the next one, and serves hello with it."""
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: daemon.gateway_pid not in (None, old), what="a fresh gateway")
    wait_until(lambda: get("/healthz").status == 200, what="the fresh gateway's answer")
    if fndtest.api("GET", "/functions/hello").status != 200:
        wait_until(lambda: fnctl("deploy", "hello", status=None).status == 0, what="a deploy")
    fnctl("scale", "hello", "1", status=None)
    fnctl("start", "hello", status=None)
    ready_instances("hello", 1, 40)
    wait_until(lambda: get("/fn/hello/").status == 200, what="hello")


def test_hostile_gateway(make_daemon):
    daemon = make_daemon(settings={"runner.slots_ready": "2", "runner.slots_max": "6", "runner.unpack_stall": "2s"}).start()
    fnctl("deploy", "hello")
    gateway = daemon.gateway_pid
    fresh_gateway(daemon, gateway)
    wait_until(lambda: quiet(daemon), what="quiet before")
    files, memory = open_files(daemon.pid), resident_kb(daemon.pid)

    gateway = daemon.gateway_pid
    ids = [process_status(gateway)[k].split()[0] for k in ("Uid", "Gid")]
    os.kill(gateway, signal.SIGSTOP)
    seed = os.environ.get("HOSTILE_SEED", str(int.from_bytes(os.urandom(6), "big")))
    result = run(f"{fndtest.BUILD}/tests/hostile-gateway", "/run/fnd/gw/runner.sock", *ids, seed, SECONDS, seconds=SECONDS + 60)
    print(result.out)
    assert result.status == 0, result
    assert daemon.running(), f"seed {seed}: {daemon.output()[-3000:]}"

    fresh_gateway(daemon, gateway)
    wait_until(lambda: quiet(daemon), 30, f"quiet after (seed {seed})")
    wait_until(lambda: open_files(daemon.pid) <= files + SLACK_FDS, what=f"descriptors given back, {files} before (seed {seed})")
    assert resident_kb(daemon.pid) <= memory + SLACK_KB, (seed, memory, resident_kb(daemon.pid))
    assert set(os.listdir("/var/lib/fnd")) <= STATE, (seed, os.listdir("/var/lib/fnd"))
    assert set(os.listdir("/var/lib/fnd/functions")) <= {"default"}, seed
    for names in os.listdir("/var/lib/fnd/runtimes"), *(d + f for _, d, f in os.walk("/var/lib/fnd/secrets")):
        assert all(re.fullmatch("[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?", n) for n in names), (seed, names)
    for name in ("Assertion", "AddressSanitizer", "runtime error"):
        assert name not in daemon.output(), f"seed {seed}: {daemon.output()[-3000:]}"
    daemon.stop(40)
