"""The short way between gateway and instance (gateway.sockmap): that it is taken, and that nobody notices but the packet counters. What the programs themselves promise is in tests/root/test_sockmaps.c."""

import http.client
import os
import signal
import threading

import fndtest
import pytest
from fndtest import fnctl, instances, wait_until

REQUESTS = 200


@pytest.fixture(name="short")
def fixture_short():
    daemon = fndtest.Daemon({"gateway.sockmap": "auto"}).start()
    yield daemon
    daemon.stop()


def packets(link):
    with open(f"/sys/class/net/{link}/statistics/tx_packets", encoding="ascii") as f:
        return int(f.read())


def exchange(conn, method, path, body=None, **more):
    conn.request(method, path, body=body, **more)
    answer = conn.getresponse()
    return answer.status, answer.read()


def packets_of_requests():
    """To the instance, for REQUESTS requests on a connection that is there."""
    conn = http.client.HTTPConnection("127.0.0.1", 8888, timeout=30)
    link = [name for name in os.listdir("/sys/class/net") if name.startswith("vf")]
    assert exchange(conn, "GET", "/fn/hello/ping") == (200, b"OK\n")
    before = sum(map(packets, link))
    for _ in range(REQUESTS):
        assert exchange(conn, "GET", "/fn/hello/ping") == (200, b"OK\n")
    conn.close()
    return sum(map(packets, link)) - before


@pytest.mark.parametrize("setting", ["auto", "no"])
def test_small_requests_leave_no_packets(make_daemon, setting):
    daemon = make_daemon(settings={"gateway.sockmap": setting, "runner.slots_ready": 0}).start()
    fnctl("deploy", "hello")
    count = packets_of_requests()
    if setting == "auto":
        assert count < REQUESTS / 2, daemon.output()  # health checks, and connections that have lived for 4 s
    else:
        assert count >= REQUESTS


def mixed(seed, failures):
    """Requests on both sides of every bound, in another order each; what comes back is what went there."""
    conn = http.client.HTTPConnection("127.0.0.1", 8888, timeout=30)
    sizes = [0, 1, 700, 8000, 15900, 16384, 16385, 40000, 300000]
    for i in range(60):
        size = sizes[(i * 7 + seed * 3) % len(sizes)]
        data = bytes((seed + j * 31) & 255 for j in range(256)) * (size // 256 + 1)
        data = data[:size]
        kind = (i + seed) % 3
        if kind == 0:
            got, want = exchange(conn, "GET", "/fn/hello/ping"), (200, b"OK\n")
        elif kind == 1:
            got, want = exchange(conn, "POST", "/fn/hello/echo", data), (200, data)
        else:
            pieces = (data[at:at + 3000] for at in range(0, len(data), 3000))
            got, want = exchange(conn, "POST", "/fn/hello/echo", pieces, headers={"Transfer-Encoding": "chunked"}, encode_chunked=True), (200, data)
        if got != want:
            failures.append((seed, i, kind, size, got[0], len(got[1])))
    conn.close()


@pytest.mark.usefixtures("short")
def test_all_sizes_beside_each_other():
    fnctl("deploy", "hello")
    failures = []
    threads = [threading.Thread(target=mixed, args=(seed, failures)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_an_instance_that_is_killed(short):
    fnctl("deploy", "hello")
    conn = http.client.HTTPConnection("127.0.0.1", 8888, timeout=30)
    assert exchange(conn, "GET", "/fn/hello/ping")[0] == 200
    first = instances("hello")[0]
    os.kill(fndtest.function_pid(first), signal.SIGKILL)
    wait_until(lambda: [i["name"] for i in instances("hello")] not in ([], [first["name"]]), what="another instance")
    assert exchange(conn, "GET", "/fn/hello/ping") == (200, b"OK\n")
    os.kill(short.gateway_pid, signal.SIGKILL)
    conn.close()
    wait_until(lambda: fndtest.get("/fn/hello/ping").status == 200, what="another gateway")
