"""fnd-gateway by itself: which instance gets a request, when it is sent a second time, and which instance gets none for a while."""

import json
import os
import re
import signal
import socket
import time

import fndtest
import gatewayhost as g
import pytest
from fndtest import wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401 (fixtures)

RESET = b"\1\0\0\0\0\0\0\0"


def test_not_sent_again_when_a_part_of_the_body_is_gone(gateway, serve):
    """The kept connection dies in the same moment in which the body is read: nobody could send that part a second time."""
    got = []

    def handler(conn, head):
        if head.startswith(b"GET"):
            return g.answer()
        if not got:
            got.append(None)  # the head only; then the connection is reset while the gateway stands still
            os.kill(gateway.pid, signal.SIGSTOP)
            client.sendall(b"x" * 1000)
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            conn.sock.close()
            os.kill(gateway.pid, signal.SIGCONT)
            return None
        got.append(conn.body(head))
        return g.answer()

    serve(g.Backend(handler))
    assert gateway.get("/fn/hello/")[0] == 200
    with gateway.connect() as client:
        client.sendall(b"PUT /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n")
        assert g.read_response(client)[0] == 502
    assert got == [None]


@pytest.mark.parametrize("runner", [g.ONE_THREAD], indirect=True)  # the kept connection is that of the thread that made it
def test_sent_again_as_long_as_the_body_is_whole(gateway, serve):
    """The head alone went out on a kept connection, which dies: the body goes to another one."""
    got = []

    def handler(conn, head):
        if head.startswith(b"GET"):
            return g.answer()
        if not got:
            got.append(None)
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return None
        got.append(conn.body(head))
        return g.answer()

    backend = g.Backend(handler)
    serve(backend)
    assert gateway.get("/fn/hello/")[0] == 200
    with gateway.connect() as client:
        client.sendall(b"PUT /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n")
        backend.wait_heads(3)
        client.sendall(b"x" * 1000)
        assert g.read_response(client)[0] == 200
    assert got == [None, b"x" * 1000]


# ---- instances whose requests fail ----

GARBAGE = b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n"
FAILURES = 3  # EJECT_FAILURES


class Moody(g.Backend):
    """Answers its name, or garbage while it is bad."""

    def __init__(self, name):
        super().__init__(lambda conn, head: GARBAGE if self.bad else g.answer(name))
        self.bad = False


def ejections(gateway):
    page = gateway.get("/metrics", port=gateway.admin_port)[2].decode()
    return int(re.search(r'^fnd_ejections_total\{function="hello"\} (\d+)$', page, re.M)[1])


def two(runner):
    a, b = Moody(b"a"), Moody(b"b")
    f = runner.function("hello", health_interval_ns=3600 * 10**9)
    for backend in (a, b):
        runner.wait_report("ready", runner.instance(f, backend))
    return a, b


def left_out(name):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(g.API_SOCKET)
        s.sendall(b"GET /api/v1/instances HTTP/1.1\r\nHost: fnd\r\n\r\n")
        return next(i["ejected"] for i in json.loads(g.read_response(s)[2])["instances"] if i["name"] == name)


def test_an_instance_that_fails_is_left_out_and_comes_back(gateway, runner):
    a, b = two(runner)
    assert {gateway.get("/fn/hello/")[2] for _ in range(20)} == {b"a", b"b"}
    a.bad = True
    watch = fndtest.Stopwatch()
    answers = []
    while answers.count(502) < FAILURES:
        begin = time.monotonic()
        answers.append(gateway.get("/fn/hello/")[0])
    assert len(answers) < 100
    asked = []

    def trial():  # which fails
        asked.append(time.monotonic())
        return gateway.get("/fn/hello/")[0] == 502

    wait_until(trial, what="the trial")
    assert asked[-1] - begin > 0.5 and watch.own < 5
    left = left_out("x-000001")
    assert time.monotonic() - asked[-1] > 1.5 or 0 < left <= 2  # it is over soon
    assert left_out("x-000002") is None
    a.bad = False
    wait_until(lambda: gateway.get("/fn/hello/")[2] == b"a", what="it to be back")
    assert time.monotonic() - asked[-1] > 1.5
    wait_until(lambda: left_out("x-000001") is None, what="it to be in again")
    wait_until(lambda: ejections(gateway) == 2, what="two ejections")
    assert {gateway.get("/fn/hello/")[2] for _ in range(20)} == {b"a", b"b"}


def test_the_last_instance_is_never_left_out(gateway, runner):
    a, b = two(runner)
    a.bad = b.bad = True
    out = []

    def one_is_out():
        assert [gateway.get("/fn/hello/")[0] for _ in range(6)] == [502] * 6
        out[:] = [n for n in (1, 2) if left_out(f"x-00000{n}") is not None]
        return out

    for _ in range(5):
        wait_until(one_is_out, what="one to be left out")
        assert len(out) == 1
    out = out[0]
    runner.state(3 - out, g.GONE)  # nobody is in now
    a.bad = b.bad = False
    wait_until(lambda: gateway.get("/fn/hello/")[2] == (b"a" if out == 1 else b"b"))
    wait_until(lambda: left_out(f"x-00000{out}") is None)


def test_dead_ports_are_left_out(gateway, runner):
    """The request itself goes on to another instance, and soon nobody tries the dead one."""
    a, b = two(runner)
    a.kill()
    assert [gateway.get("/fn/hello/")[::2] for _ in range(20)] == [(200, b"b")] * 20
    wait_until(lambda: ejections(gateway) >= 1, what="an ejection")  # and again when the machine was slow, behind each trial


def test_timeouts_count(gateway, runner):
    good, late = g.Backend(), g.Backend(lambda conn, head: (conn.fill(), None)[1])
    f = runner.function("hello", timeout_ns=600 * 10**6, health_interval_ns=3600 * 10**9)
    for backend in (good, late):
        runner.wait_report("ready", runner.instance(f, backend))
    answers = []
    while answers.count(504) < FAILURES:
        assert ejections(gateway) == 0
        answers.append(gateway.get("/fn/hello/")[0])
    assert len(answers) < 200 and len(late.heads) == FAILURES
    wait_until(lambda: ejections(gateway) == 1, what="the ejection")


def test_clients_that_go_away_do_not_count(gateway, runner):
    a, b = two(runner)
    for backend in (a, b):
        backend.handler = lambda conn, head: (conn.fill(), None)[1]
    for i in range(12):
        with gateway.connect() as s:
            s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
            wait_until(lambda n=i: len(a.heads) + len(b.heads) > n)
    assert ejections(gateway) == 0
