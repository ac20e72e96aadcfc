"""fnd-gateway by itself: which instance gets a request, when it is sent a second time, and which instance gets none for a while."""

import json
import os
import re
import signal
import socket
import threading
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


# ---- when a request is sent a second time ----


class Once(g.Backend):
    """Each of its connections serves one request; the second one gets what `second` says, and then the end."""

    def __init__(self, second=b""):
        def handler(conn, head):
            conn.served = getattr(conn, "served", 0) + 1
            if conn.served == 1:
                return g.answer(b"good")
            if second:
                conn.send(second)
            return None

        super().__init__(handler)


GET, POST = b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n", b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("runner", [g.ONE_THREAD], indirect=True)  # the kept connection is that of the thread that made it
@pytest.mark.parametrize("request_head,second,status", [
    (GET, b"", 200), (POST, b"", 502),  # nobody knows whether it was done
    (GET, b"HTTP/1.1 103 Early Hints\r\n\r\n", 502), (GET, b"HTTP/1.1 20", 502)], ids=["idempotent", "not idempotent", "interim", "begun"])
def test_on_a_kept_connection(gateway, serve, request_head, second, status):
    """Only what may be done twice, and of which nothing was answered."""
    backend = Once(second)
    serve(backend)
    assert gateway.request(GET)[0] == 200
    assert gateway.request(request_head)[0] == status
    assert len(backend.heads) == 1 + 1 + (status == 200)


def test_on_a_new_connection_never(gateway, runner):
    """It was no kept one that had died meanwhile: the function ends at this request. Nor is it tried on another instance."""
    backends = [g.Backend(lambda conn, head: None) for _ in range(2)]
    f = runner.function("hello", health_interval_ns=3600 * 10**9)
    for b in backends:
        runner.wait_report("ready", runner.instance(f, b))
    assert gateway.request(GET)[0] == 502
    assert sum(len(b.heads) for b in backends) == 1


@pytest.mark.parametrize("runner", [g.ONE_THREAD], indirect=True)
@pytest.mark.parametrize("request_head,reset", [(GET, True), (POST, False)], ids=["idempotent", "not idempotent"])  # after an end, unlike a reset, a request can still be sent, and is lost
def test_all_kept_connections_die_at_once(gateway, serve, request_head, reset):
    """As when the function's server starts anew. The request comes before their ends are seen: it is not tried on one after the other, and what must not be sent twice is not tried on any."""
    together = threading.Barrier(6)
    backend = g.Backend(lambda conn, head: (b"together" in head and together.wait(30), g.answer())[1])
    serve(backend)
    threads = [threading.Thread(target=gateway.get, args=("/fn/hello/together",)) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    with gateway.connect() as s:
        s.sendall(GET)
        assert g.read_response(s)[0] == 200  # its connection is taken in
        os.kill(gateway.pid, signal.SIGSTOP)
        try:
            s.sendall(request_head)
            with backend.lock:
                for sock in backend.open_conns:
                    if reset:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    sock.shutdown(socket.SHUT_RDWR)
            wait_until(lambda: not backend.open_conns)
        finally:
            os.kill(gateway.pid, signal.SIGCONT)
        assert g.read_response(s)[0] == 200


def test_goes_to_another_instance_and_not_round_about_for_ever(gateway, runner):
    """The one that did not take it is passed over, although it has the fewest requests; where none takes it there is an answer after some attempts."""
    hold = threading.Event()
    good = g.Backend(lambda conn, head: (b"hold" in head and hold.wait(60), g.answer())[1])
    runner.set(connect_timeout_ns=50 * 10**6)
    f = runner.function("hello", health_interval_ns=3600 * 10**9, timeout_ns=3600 * 10**9)
    number = runner.instance(f, good)
    runner.wait_report("ready", number)
    busy = threading.Thread(target=gateway.get, args=("/fn/hello/hold",))
    busy.start()
    good.wait_heads(1)
    deaf = [g.Deaf(), g.Deaf()]
    runner.instance(f, deaf[0], state=g.READY_STATE)
    runner.heard()
    assert gateway.request(POST)[0] == 200
    assert ejections(gateway) == 0  # it was tried once
    hold.set()
    busy.join()
    runner.instance(f, deaf[1], state=g.READY_STATE)
    runner.state(number, g.GONE)
    runner.heard()
    wait_until(lambda: gateway.request(POST)[0] == 504, what="every thread to know the deaf ones only")


# ---- kept connections ----

KEPT = 128  # IDLE_MAX


@pytest.mark.parametrize("runner", [g.ONE_THREAD], indirect=True)
def test_not_too_many_are_kept_and_none_for_long(gateway, serve):
    together = threading.Event()
    backend = g.Backend(lambda conn, head: (together.wait(60), g.answer())[1])
    serve(backend, health_interval_ns=3600 * 10**9)
    for _ in range(5):
        together.clear()
        clients = [gateway.connect() for _ in range(KEPT + 12)]
        before = len(backend.heads)
        for s in clients:
            s.sendall(GET)
        backend.wait_heads(before + len(clients))
        released = time.monotonic()
        together.set()
        assert [g.read_response(s)[0] for s in clients] == [200] * len(clients)
        for s in clients:
            s.close()
        wait_until(lambda: len(backend.open_conns) <= KEPT, what="those beyond the bound to be closed")
        left = len(backend.open_conns)
        if time.monotonic() - released < 3:  # who is held up for longer sees them age, and has shown nothing
            break
    assert left == KEPT
    wait_until(lambda: not backend.open_conns, what="those that nobody needs")


@pytest.mark.parametrize("runner", [g.ONE_THREAD], indirect=True)
def test_one_that_the_function_ends_is_closed_at_once(gateway, serve):
    took, idle = [], threading.Semaphore(0)

    def handler(conn, head):
        conn.send(g.answer())
        idle.acquire(timeout=30)
        conn.sock.shutdown(socket.SHUT_WR)
        begin = time.monotonic()
        while conn.sock.recv(100):
            pass
        took.append(time.monotonic() - begin)

    backend = g.Backend(handler)
    serve(backend)
    for n in range(5):
        assert gateway.request(GET)[0] == 200
        assert gateway.get("/healthz")[0] == 200  # the answer before is over
        idle.release()
        wait_until(lambda n=n: len(took) > n, what="the gateway's end")
        if took[-1] < 3:  # not because it has grown old
            break
    assert took[-1] < 3


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
    while len(late.heads) < FAILURES:
        assert ejections(gateway) == 0
        answers.append(gateway.get("/fn/hello/")[0])
    assert len(answers) < 200 and answers.count(504) >= FAILURES  # more where the good one was late, too
    wait_until(lambda: ejections(gateway) == 1, what="the ejection")


def test_answers_that_are_cut_count(gateway, runner):
    good, cut = g.Backend(), g.Backend(lambda conn, head: conn.send(g.answer(b"whole")[:-1]))
    f = runner.function("hello", health_interval_ns=3600 * 10**9)
    for backend in (good, cut):
        runner.wait_report("ready", runner.instance(f, backend))
    answers = []
    while answers.count(None) < FAILURES:
        assert ejections(gateway) == 0 and len(answers) < 200
        answers.append(gateway.get("/fn/hello/")[2])
    wait_until(lambda: ejections(gateway) == 1, what="the ejection")


def test_an_answer_ends_the_row(gateway, runner):
    """One that fails now and then, but never three times in a row, stays."""
    asked = []

    def handler(conn, head):
        asked.append(None)
        return g.answer() if len(asked) % FAILURES == 0 else GARBAGE

    f = runner.function("hello", health_interval_ns=3600 * 10**9)
    for backend in (g.Backend(), g.Backend(handler)):
        runner.wait_report("ready", runner.instance(f, backend))
    for _ in range(500):
        gateway.get("/fn/hello/")
        if len(asked) > 4 * FAILURES:
            break
    assert len(asked) > 4 * FAILURES and ejections(gateway) == 0


def test_who_waits_may_try_when_it_is_due(gateway, runner):
    """The other one is full, and nothing else happens; whichever thread left it out."""
    full = threading.Event()
    a, b = two(runner)
    a.bad = True
    wait_until(lambda: gateway.get("/fn/hello/")[0] == 502 and left_out("x-000001") is not None, what="it to be left out")
    a.bad = False
    b.handler = lambda conn, head: (full.set(), conn.fill(), None)[2]
    runner.change("hello", concurrency=1, timeout_ns=3600 * 10**9, queue_timeout_ns=fndtest.PATIENCE_S * 10**9)
    with gateway.connect() as first:
        first.sendall(GET)
        if full.wait(0.5):  # or it was due already, and this one was the trial
            assert gateway.get("/fn/hello/")[::2] == (200, b"a")


def test_trial_whose_client_goes_away(gateway, runner):
    """It has shown nothing: the next request is the trial."""
    a, _ = two(runner)
    a.bad = True
    wait_until(lambda: gateway.get("/fn/hello/")[0] == 502 and left_out("x-000001") is not None, what="it to be left out")
    hang, tried = threading.Event(), len(a.heads)
    a.bad, good = False, a.handler
    a.handler = lambda conn, head: (hang.set(), conn.fill(), None)[2]
    clients = []

    def trial():  # whoever it is does not wait for the answer
        clients.append(gateway.connect())
        clients[-1].sendall(GET)
        return hang.wait(0.05)

    wait_until(trial, what="the trial")
    for s in clients:
        s.close()
    wait_until(lambda: not a.open_conns, what="the trial to end")
    a.handler = good
    wait_until(lambda: gateway.get("/fn/hello/")[2] == b"a", what="it to be back")
    assert len(a.heads) > tried + 1


def test_clients_that_go_away_do_not_count(gateway, runner):
    a, b = two(runner)
    for backend in (a, b):
        backend.handler = lambda conn, head: (conn.fill(), None)[1]
    for i in range(12):
        with gateway.connect() as s:
            s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
            wait_until(lambda n=i: len(a.heads) + len(b.heads) > n)
    assert ejections(gateway) == 0
