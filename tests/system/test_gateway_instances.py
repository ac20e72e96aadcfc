"""fnd-gateway by itself: instances that come, go, break, are late, are full."""

import os
import resource
import socket
import threading
import time

import gatewayhost as g
import pytest
from fndtest import wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401 (fixtures)

MB = 1 << 20


# ---- instances ----


def test_ready_when_the_port_and_the_path_answer(gateway, runner):
    good = []
    backend = g.Backend(lambda conn, head: g.answer(status="200 OK" if good else "503 Not yet") if b"/ping" in head else g.answer(), ping=False, listening=False)
    number = runner.instance(runner.function("hello"), backend)
    results = []
    threads = [threading.Thread(target=lambda: results.append(gateway.get("/fn/hello/")[0])) for _ in range(5)]
    for t in threads:
        t.start()
    time.sleep(0.1)  # the gateway tries a port where nobody listens yet
    backend.listen()
    backend.wait_heads(3)
    assert results == [] and runner.reports == []
    good.append(1)
    runner.wait_report("ready", number)
    for t in threads:
        t.join()
    assert results == [200] * 5


def test_not_ready_in_time(gateway, runner):
    runner.welcome["start_timeout_ms"] = 300
    runner.reopen()
    backend = g.Backend(lambda conn, head: g.answer(status="500 No"), ping=False)
    number = runner.instance(runner.function("hello", health_path=b"/health"), backend)
    wait_until(lambda: gateway.get("/fn/hello/")[0] == 503)
    report = runner.wait_report("unhealthy", number)
    assert "0.3 s" in report[2] and "GET /health: status 500" in report[2]
    silent = g.Backend(listening=False)
    report = runner.wait_report("unhealthy", runner.instance(runner.function("mute"), silent))
    assert "Connection refused" in report[2]


def test_without_health_path(gateway, runner):
    backend = g.Backend(listening=False)
    number = runner.instance(runner.function("hello", health_path=b""), backend)
    time.sleep(0.05)  # the same
    assert runner.reports == []
    backend.listen()
    runner.wait_report("ready", number)
    assert backend.heads == []


def test_unhealthy_later(gateway, runner):
    bad = []
    backend = g.Backend(lambda conn, head: g.answer(status="500 No" if bad else "200 OK"), ping=False)
    number = runner.instance(runner.function("hello", health_interval_ns=50 * 10**6, health_threshold=3), backend)
    runner.wait_report("ready", number)
    n = len(backend.heads)
    backend.wait_heads(n + 5)
    assert len(runner.reports) == 1
    bad.append(1)
    n = len(backend.heads)
    assert "status 500" in runner.wait_report("unhealthy", number)[2]
    assert 2 <= len(backend.heads) - n <= 4


def test_instance_dies(gateway, serve, runner):
    backend = g.Backend(lambda conn, head: (backend.kill(), None)[1] if b"/die" in head else g.answer())
    number = serve(backend)
    assert gateway.get("/fn/hello/")[0] == 200
    assert gateway.get("/fn/hello/die")[0] == 502
    assert gateway.get("/fn/hello/")[0] == 502  # refused, and nobody has said yet that it is gone
    runner.change("hello", wanted=0)
    runner.state(number, g.GONE, b"killed")
    wait_until(lambda: gateway.get("/fn/hello/")[0] == 503)


def test_gone_while_requests_run(gateway, serve, runner):
    started = threading.Barrier(3)

    def handler(conn, head):
        if b"/half" in head:
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        started.wait(30)
        conn.fill()

    number = serve(g.Backend(handler))
    results = {}
    threads = [threading.Thread(target=lambda p=p: results.update({p: gateway.get(f"/fn/hello/{p}")})) for p in ("none", "half")]
    for t in threads:
        t.start()
    started.wait(30)
    runner.state(number, g.GONE)
    for t in threads:
        t.join(30)
    assert results["none"][0] == 502
    assert results["half"][0] == 200 and results["half"][2] is None


def test_refused_before_100_continue(gateway, serve):
    backend = g.Backend()
    serve(backend)
    backend.kill()
    with gateway.connect() as s:
        s.sendall(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert g.read_response(s)[0] == 502


def test_many_pipelined(gateway):
    n = 3000
    one = b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"
    with gateway.connect() as s:
        threading.Thread(target=s.sendall, args=(one * n,), daemon=True).start()
        conn = g.Conn(s)
        for _ in range(n):
            assert conn.body(conn.read_head()) == b"ok"


def test_timeout(gateway, serve):
    serve(g.Backend(lambda conn, head: (conn.fill(), None)[1]), timeout_ns=200 * 10**6)
    began = time.monotonic()
    assert gateway.get("/fn/hello/")[0] == 504
    assert time.monotonic() - began > 0.19


@pytest.mark.parametrize("runner", [g.ONE_THREAD], indirect=True)  # so that the floods are where the others are
def test_endless_interim_answers(gateway, serve):
    """100 Continue after 100 Continue, as fast as they are read: nothing of it goes to the client, and still others get their turn and the time limit holds."""
    flood = b"HTTP/1.1 100 Continue\r\n\r\n" * 40000

    def handler(conn, head):
        pid = os.fork()
        if pid == 0:
            try:
                while True:
                    conn.send(flood)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

    serve(g.Backend(handler), name="flood", timeout_ns=2 * 10**9)
    serve(g.Backend())
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(gateway.get("/fn/flood/")[0]), daemon=True) for _ in range(4)]
    for t in threads:
        t.start()
    served = 0
    while not answers and served < 500:  # who has to wait for the floods' end is not served before their first 504
        assert gateway.get("/fn/hello/")[0] == 200
        served += 1
    for t in threads:
        t.join(30)
    assert answers == [504] * 4
    assert served >= 5


def test_full_house_leaves_the_api_open(runner):
    """Strangers may use up the connections that there are for strangers; whoever looks after the host still gets in."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    gw = g.Gateway()
    wait_until(lambda: runner.peer, what="the gateway to call the runner")
    conns = []
    for _ in range(600):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", gw.port))
        conns.append(s)
    wait_until(lambda: len(os.listdir(f"/proc/{gw.pid}/fd")) > 440, what="the house to be full")
    assert gw.get("/healthz", port=gw.admin_port)[0] == 200
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(g.API_SOCKET)
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert g.read_all(s).startswith(b"HTTP/1.1 200 ")
    with socket.create_connection(("127.0.0.1", gw.port)) as s:  # and it is full
        s.settimeout(1)
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(TimeoutError):
            s.recv(1)
    for s in conns:
        s.close()
    wait_until(lambda: gw.get("/healthz")[0] == 200, what="the public listener to take connections again")
    assert gw.stop() == 0
    gw.close()


def test_client_gone(gateway, serve):
    backend = g.Backend(lambda conn, head: (conn.fill(), None)[1])
    serve(backend, timeout_ns=3600 * 10**9)
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
        backend.wait_heads(1)
    wait_until(lambda: not backend.open_conns, what="the instance's connection to be closed")


def test_half_close_is_answered(gateway, serve):
    serve(g.Backend(lambda conn, head: (time.sleep(0.1), g.answer())[1]))  # the client has ended its half meanwhile
    out = gateway.raw(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", half_close=True)
    assert out.endswith(b"hello")


@pytest.mark.parametrize("runner", [g.ONE_THREAD], indirect=True)  # the kept connection is that of the thread that made it
def test_retry_of_a_kept_connection(gateway, serve):
    def handler(conn, head):
        conn.served = getattr(conn, "served", 0) + 1
        return g.answer(b"x") if conn.served == 1 else None  # the second request on a connection is never answered

    backend = g.Backend(handler)
    serve(backend)
    for _ in range(5):
        assert gateway.get("/fn/hello/")[0] == 200
    post = b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\n"
    assert gateway.request(post, b"a")[0] == 502  # may have been done: not a second time
    assert gateway.request(post, b"a")[0] == 200


def test_concurrency_and_queue(gateway, serve, runner):
    go, lock, now, most = threading.Semaphore(0), threading.Lock(), [0], [0]

    def handler(conn, head):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        go.acquire(timeout=30)
        with lock:
            now[0] -= 1
        return g.answer(head.split(b" ")[1])

    backend = g.Backend(handler)
    serve(backend, concurrency=2, queue=3)
    results = []

    def until_served():
        while (status := gateway.get("/fn/hello/")[0]) == 503:  # the probe below may have had the last place
            time.sleep(0.01)  # before it is asked again
        results.append(status)

    threads = [threading.Thread(target=until_served) for _ in range(5)]
    for t in threads:
        t.start()
    wait_until(lambda: now[0] == 2, what="both places to be taken")
    wait_until(lambda: gateway_refuses(gateway), what="a full queue")
    for _ in range(100):
        go.release()
    for t in threads:
        t.join()
    assert results == [200] * 5 and most[0] == 2


def gateway_refuses(gateway):
    with gateway.connect() as s:
        s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
        s.settimeout(0.2)
        try:
            data = s.recv(4096)
        except TimeoutError:
            return False
        return data.startswith(b"HTTP/1.1 503") and b"Retry-After: " in data


def test_fewest_in_flight(gateway, runner):
    hold = threading.Event()
    backends = [g.Backend(lambda conn, head: (hold.wait(30), g.answer())[1], host=f"127.0.0.{i + 2}") for i in range(4)]
    f = runner.function("hello")
    for b in backends:
        runner.wait_report("ready", runner.instance(f, b))
    threads = [threading.Thread(target=gateway.get, args=("/fn/hello/",)) for _ in range(8)]
    for i, t in enumerate(threads):
        t.start()
        wait_until(lambda n=i + 1: sum(len(b.heads) for b in backends) == n)
    hold.set()
    for t in threads:
        t.join()
    assert [len(b.heads) for b in backends] == [2, 2, 2, 2]


def test_another_instance_when_one_refuses(gateway, runner):
    good, bad = g.Backend(), g.Backend(host="127.0.0.2")
    f = runner.function("hello")
    for b in (good, bad):
        runner.wait_report("ready", runner.instance(f, b))
    bad.kill()
    assert [gateway.get("/fn/hello/")[0] for _ in range(10)] == [200] * 10


def test_draining(gateway, serve, runner):
    go = threading.Event()
    backend = g.Backend(lambda conn, head: (b"slow" in head and go.wait(30), g.answer())[1])  # what a worker sends there before it has heard is answered at once
    number = serve(backend)
    results = []
    t = threading.Thread(target=lambda: results.append(gateway.get("/fn/hello/slow")[0]))
    t.start()
    backend.wait_heads(1)
    runner.change("hello", wanted=0)
    runner.state(number, g.DRAINING)
    wait_until(lambda: gateway.get("/fn/hello/")[0] == 503)
    assert all(r[0] != "idle" for r in runner.reports)
    go.set()
    t.join()
    assert results == [200]
    runner.wait_report("idle", number)


def closes_soon(drain):
    """Is what drain() lets go of closed at once, and not only after the 4 s for which a connection is kept? Where the machine was slow, it is tried again."""
    for _ in range(5):
        begin = drain()
        if time.monotonic() - begin < 2:
            return True
    return False


def test_draining_closes_kept_connections(gateway, runner):
    """One that rests, and one whose request has ended meanwhile."""

    def drain(busy):
        name = f"fn{len(runner.functions)}"
        go = threading.Event()
        backend = g.Backend(lambda conn, head: (b"slow" in head and go.wait(30), g.answer())[1])
        number = runner.instance(runner.function(name, health_interval_ns=3600 * 10**9), backend)
        runner.wait_report("ready", number)
        with gateway.connect() as s:
            s.sendall(f"GET /fn/{name}/{'slow' if busy else ''} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
            if busy:
                backend.wait_heads(1)
            else:
                assert g.read_response(s)[0] == 200
            runner.change(name, wanted=0)
            runner.state(number, g.DRAINING)
            wait_until(lambda: gateway.get(f"/fn/{name}/")[0] == 503)
            begin = time.monotonic()
            go.set()
            if busy:
                assert g.read_response(s)[0] == 200
            wait_until(lambda: not backend.open_conns, what="the end of its connections")
        return begin

    assert closes_soon(lambda: drain(False)) and closes_soon(lambda: drain(True))


def test_crash_loop_is_told_at_once(gateway, runner):
    """Nobody waits for an instance that will not come."""
    runner.welcome["start_timeout_ms"] = 3600000
    runner.reopen()
    runner.function("hello", crash_loop=1, wanted=1, timeout_ns=3600 * 10**9)
    assert gateway.get("/fn/hello/")[0] == 503


def test_drain_timeout_cuts(gateway, serve, runner):
    runner.welcome["drain_timeout_ms"] = 1000
    runner.reopen()
    backend = g.Backend(lambda conn, head: (conn.fill(), None)[1])
    number = serve(backend)
    results = []
    t = threading.Thread(target=lambda: results.append(gateway.get("/fn/hello/")[0]))
    t.start()
    backend.wait_heads(1)
    runner.state(number, g.DRAINING)
    t.join(30)
    assert results == [503]
    runner.wait_report("idle", number)


def test_metrics_say_whether_the_runner_is_there(gateway, runner):
    def says(value):
        return b"\nfnd_runner_up %d\n" % value in gateway.get("/metrics", port=gateway.admin_port)[2]

    assert says(1)
    runner.close()
    wait_until(lambda: says(0))
    runner.open()
    wait_until(lambda: says(1))


def test_metrics_count(gateway, serve):
    serve(g.Backend())
    for _ in range(3):
        gateway.get("/fn/hello/")
    gateway.get("/fn/unknown/")

    def page():
        return gateway.get("/metrics", port=gateway.admin_port)[2].decode()

    # A request is counted when its answer has been sent.
    wait_until(lambda: any(line.startswith("fnd_requests_total{") and 'function="hello"' in line and line.endswith(" 3") for line in page().splitlines()), what="three requests")
    assert "unknown" not in page()


def test_idle_connections_cost_little(gateway, serve):
    def crowd(n):
        conns = [gateway.connect() for _ in range(n)]
        for s in conns:
            s.sendall(b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n")
        for s in conns:
            assert g.read_response(s)[0] == 200
        return conns

    serve(g.Backend())
    for s in crowd(20):  # what every thread takes once is none of theirs
        s.close()
    before = gateway.rss_kb()
    conns = crowd(500)
    # 8 KB each: those that kept a buffer would have taken twice that.
    wait_until(lambda: gateway.rss_kb() - before < 500 * 8, what="what the burst needed to be given back")
    for s in conns:
        s.close()
