"""The gateway's threads: each serves, and what must hold over all of them holds: concurrency, queues, counters, the end of an instance, what the runner says."""

import contextlib
import os
import signal
import socket
import threading
import time

import fndtest
import gatewayhost as g
import pytest
from fndtest import wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401  fixtures

THREADS = 4


@pytest.fixture
def runner():  # noqa: F811
    r = g.Runner(threads=THREADS, metrics_public=1)
    r.open()
    yield r
    r.close()
    os.unlink(g.RUNNER_SOCKET)


def tasks(gw):
    return sorted(int(t) for t in os.listdir(f"/proc/{gw.pid}/task"))


def descriptors(gw):
    links = []
    for fd in os.listdir(f"/proc/{gw.pid}/fd"):
        try:
            links.append(os.readlink(f"/proc/{gw.pid}/fd/{fd}"))
        except FileNotFoundError:
            pass
    return links


def cpu_ticks(gw, task):
    f = open(f"/proc/{gw.pid}/task/{task}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
    return int(f[11]) + int(f[12])


class Crowd:
    """Clients on connections of their own, each asking again and again."""

    def __init__(self, gw, n, path="/fn/hello/"):
        self.gw, self.path = gw, path
        self.counts, self.failures = [0] * n, []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(n)]

    def run(self, i):
        while not self.over.is_set():
            with self.gw.connect() as s:  # a new one now and then: which thread gets it is for the kernel to choose
                for _ in range(20):
                    s.sendall(b"GET %s HTTP/1.1\r\nHost: t.example\r\n\r\n" % self.path.encode())
                    status = g.read_response(s)[0]
                    if status == 200:
                        self.counts[i] += 1
                    else:
                        self.failures.append(status)
                    if self.over.is_set():
                        break

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        for t in self.threads:
            t.join()


def test_every_thread_serves(gateway, runner, serve):  # noqa: F811
    serve(g.Backend())
    wait_until(lambda: len(tasks(gateway)) >= THREADS, what="the threads")
    with Crowd(gateway, 32) as crowd:
        wait_until(lambda: sum(cpu_ticks(gateway, t) >= 2 for t in tasks(gateway)) >= THREADS, what="work for every thread")
        wait_until(lambda: min(crowd.counts) > 0, what="an answer for each")
    assert not crowd.failures
    samples = (f'fnd_requests_total{{function="hello",code="200"}} {sum(crowd.counts)}\n', f'fnd_request_duration_seconds_count{{function="hello"}} {sum(crowd.counts)}\n',
               'fnd_requests_in_flight{function="hello"} 0\n')

    def counted():  # when their answers have been sent
        page = gateway.get("/metrics", port=gateway.admin_port)[2].decode()
        return all(s in page for s in samples)

    wait_until(counted, what=samples)


@pytest.mark.parametrize("limit", [1, 3])
def test_concurrency_is_strict(gateway, runner, serve, limit):  # noqa: F811
    """No instance ever has one request more than its limit, whoever sends it; and nobody who waits is forgotten."""
    lock, now, most = threading.Lock(), [0], [0]

    def handler(conn, head):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.002)  # so that requests overlap
        with lock:
            now[0] -= 1
        return g.answer()

    serve(g.Backend(handler), concurrency=limit, queue=100)
    with Crowd(gateway, 24) as crowd:
        wait_until(lambda: sum(crowd.counts) > 400 and min(crowd.counts) > 2, what="requests of every client")
    assert not crowd.failures  # who is forgotten gets 503 when the queue's time is over
    assert most[0] == limit


def test_place_wakes_another_thread(gateway, runner, serve):  # noqa: F811
    """One place, two clients that never ask at once: whoever waits gets it as soon as it is free, although another thread frees it."""
    serve(g.Backend(lambda conn, head: (time.sleep(0.02), g.answer())[1]), concurrency=1)  # a slow function
    for _ in range(12):
        watch = fndtest.Stopwatch()
        with Crowd(gateway, 3) as crowd:
            wait_until(lambda: min(crowd.counts) >= 2, what="two answers for each")
        assert not crowd.failures and watch.own < 2


def test_queue_counts_all_threads(gateway, runner, serve):  # noqa: F811
    go = threading.Event()
    backend = g.Backend(lambda conn, head: (go.wait(30), g.answer())[1])
    serve(backend, concurrency=1, queue=3)
    conns = [gateway.connect() for _ in range(13)]
    try:
        conns[0].sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t.example\r\n\r\n")
        backend.wait_heads(1)
        for s in conns[1:]:
            s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t.example\r\n\r\n")
        refused = []
        for s in conns[1:]:
            s.setblocking(False)

        def look():
            for s in conns[1:]:
                if s in refused:
                    continue
                try:
                    assert s.recv(65536).startswith(b"HTTP/1.1 503 ")
                    refused.append(s)
                except BlockingIOError:
                    pass
            return len(refused) == 9

        wait_until(look, what="nine refusals")
        go.set()
        for s in conns:
            if s not in refused:
                s.setblocking(True)
                s.settimeout(30)
                assert g.read_response(s)[0] == 200
    finally:
        go.set()
        for s in conns:
            s.close()


def test_idle_when_no_thread_has_a_request(gateway, runner, serve):  # noqa: F811
    events = [threading.Event() for _ in range(12)]

    def handler(conn, head):
        events[int(head.split(b" ")[1].rsplit(b"/", 1)[1])].wait(30)
        return g.answer()

    backend = g.Backend(handler)
    runner.welcome["drain_timeout_ms"] = 20000
    runner.reopen()
    number = serve(backend)
    answers = []
    clients = [threading.Thread(target=lambda i=i: answers.append(gateway.get(f"/fn/hello/{i}")[0])) for i in range(len(events))]
    for t in clients:
        t.start()
    backend.wait_heads(len(events))
    runner.state(number, g.DRAINING)
    for e, t in zip(events, clients):
        assert all(r[0] != "idle" for r in runner.reports)
        e.set()
        t.join()
    assert answers == [200] * len(events)
    runner.wait_report("idle", number)


def test_metrics_from_every_thread(gateway, runner, serve):  # noqa: F811
    """Threads without a link ask the runner over the one that has it."""
    serve(g.Backend())
    good = bad = 0
    while good < 40:
        status, _, page = gateway.get("/metrics")
        assert status == 200 and b"fnd_runner_up 1\n" in page
        found = b'fnd_memory_bytes{function="hello"} 4096\n' in page
        good, bad = good + found, bad + (not found)
        assert bad < 20  # a runner that is slow is not waited for long: threads that never hear of it would be three of four
        time.sleep(0.005)  # the pace of a scraper
    assert runner.stats_gets > 1


def test_runner_that_goes_and_comes(gateway, runner, serve):  # noqa: F811
    """Every thread goes on with what was said last, and hears what the next runner says."""
    serve(g.Backend())
    serve(g.Backend(), name="other")
    with Crowd(gateway, 16) as crowd:
        for _ in range(5):
            runner.close()
            runner.open()
            wait_until(lambda: runner.peer, what="the gateway to call again")
        wait_until(lambda: min(crowd.counts) > 0, what="an answer for each")
    assert not crowd.failures
    with runner.cond:
        del runner.functions["other"]
        runner.instances = {n: i for n, i in runner.instances.items() if i.function == 1}
    runner.reopen()
    wait_until(lambda: all(gateway.get("/fn/other/")[0] == 404 for _ in range(16)), what="every thread to forget it")
    assert all(gateway.get("/fn/hello/")[0] == 200 for _ in range(16))


def test_many_changes(gateway, runner, serve):  # noqa: F811
    """Thousands of records while requests run: all threads end with the same picture."""
    serve(g.Backend())
    with Crowd(gateway, 8) as crowd:
        for n in range(1500):
            runner.function(f"f{n % 300}", heard=False, number=1000 + n, wanted=0)
    assert not crowd.failures
    runner.function("last", number=9999, wanted=0)
    wait_until(lambda: all(gateway.get("/fn/last/x")[0] == 503 for _ in range(16)), what="the last one in every thread")
    assert all(gateway.get(f"/fn/f{n}/x")[0] == 503 for n in range(0, 300, 7))


def test_unhealthy_one_is_left_out_by_every_thread(gateway, runner, serve):  # noqa: F811
    """Before the runner has done anything about it."""
    sick = threading.Event()
    a = g.Backend(lambda conn, head: g.answer(b"a"))
    b = g.Backend(lambda conn, head: g.answer(b"b", status="500 No" if sick.is_set() and b"/ping" in head else "200 OK"), ping=False)
    f = runner.function("hello", health_interval_ns=50 * 10**6)
    numbers = [runner.instance(f, backend) for backend in (a, b)]
    for n in numbers:
        runner.wait_report("ready", n)
    assert {gateway.get("/fn/hello/")[2] for _ in range(40)} == {b"a", b"b"}
    sick.set()
    runner.wait_report("unhealthy", numbers[1])
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(gateway.connect()) for _ in range(8 * THREADS)]  # dealt out, to whoever has the fewest
        for s in conns:
            s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t.example\r\n\r\n")
        assert {g.read_response(s)[2] for s in conns} == {b"a"}


def test_settings_reach_every_thread(gateway, runner, serve):  # noqa: F811
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(gateway.connect()) for _ in range(8 * THREADS)]  # dealt out, to whoever has the fewest
        request = b"GET /healthz HTTP/1.1\r\nHost: t.example\r\nX: " + b"y" * 2000 + b"\r\n\r\n"
        for s in conns:
            s.sendall(request)
            assert g.read_response(s)[0] == 200
        runner.set(max_head_bytes=1024)
        for s in conns:
            s.sendall(request)
        assert [g.read_response(s)[0] for s in conns] == [431] * len(conns)


def test_stop_waits_for_every_thread(gateway, runner, serve):  # noqa: F811
    """One after the other ends; those that are left are not cut when the first thread has none any more."""
    go = [threading.Event() for _ in range(12)]
    backend = g.Backend(lambda conn, head: (go[int(head.split(b" ")[1][1:])].wait(30), g.answer())[1])
    serve(backend)
    answers = []
    clients = [threading.Thread(target=lambda i=i: answers.append(gateway.get(f"/fn/hello/{i}")[0])) for i in range(len(go))]
    for t in clients:
        t.start()
    backend.wait_heads(len(clients))
    os.kill(gateway.pid, signal.SIGTERM)
    listener = f"socket:[{os.fstat(gateway.public.fileno()).st_ino}]"
    wait_until(lambda: listener not in descriptors(gateway), what="every thread to accept no more")
    late = socket.create_connection(("127.0.0.1", gateway.port))  # stays in the backlog, for the next gateway
    for e, t in zip(go, clients):
        e.set()
        t.join()
    assert answers == [200] * len(clients)
    assert gateway.wait() == 0
    gateway.pid = gateway.spawn()
    late.sendall(b"GET /healthz HTTP/1.1\r\nHost: t.example\r\n\r\n")
    assert g.read_response(late)[0] == 200
    late.close()


def test_stop_serves_who_has_just_come(gateway, runner, serve):  # noqa: F811
    """A connection that was accepted and has not asked yet is not cut: it gets its one answer. One that has had its answers is."""
    serve(g.Backend())
    for _ in range(10):
        fresh, used = [gateway.connect() for _ in range(8)], gateway.connect()
        used.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t.example\r\n\r\n")
        assert g.read_response(used)[0] == 200
        wait_until(lambda: b"\nfnd_gateway_connections 10\n" in gateway.get("/metrics", port=gateway.admin_port)[2], what="the connections to be accepted")
        told = time.monotonic()
        os.kill(gateway.pid, signal.SIGTERM)
        assert used.recv(1) == b""
        answers = []
        with contextlib.suppress(OSError, AssertionError):
            for s in fresh[:4]:
                s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t.example\r\n\r\n")
            answers = [g.read_response(s)[:2] for s in fresh[:4]]
        assert [status for status, _ in answers] in ([], [200] * 4)
        # Where one of the two is held up for longer, who asks may be too late; and a thread that hears of the stop behind its answer has not said that it closes. That has shown nothing.
        if all(fields.get("connection") == "close" for _, fields in answers) and (answers or time.monotonic() - told < 0.8):
            break
        for s in fresh + [used]:
            s.close()
        assert gateway.wait() == 0
        gateway.pid = gateway.spawn()
        wait_until(lambda: gateway.get("/fn/hello/")[0] == 200, what="the next gateway")
    assert [(status, fields.get("connection")) for status, fields in answers] == [(200, "close")] * 4
    assert all(s.recv(1) == b"" for s in fresh)  # the silent ones after a second
    assert gateway.wait() == 0
