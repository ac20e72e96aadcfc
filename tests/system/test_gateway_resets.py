"""Connections that break at every byte, on both sides, and many slow ones: afterwards nothing is under way, nothing has leaked, and the next request is served."""

import socket
import struct
import threading

import fndtest
import gatewayhost as g
from fndtest import wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401 (fixtures)

RESET = struct.pack("ii", 1, 0)
REQUEST = b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nX-Cut: 1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\n\r\n"
ANSWERS = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n5\r\npedia\r\n0\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwikipedia")
GET = b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n"
OTHER = b"GET /fn/hello/next HTTP/1.1\r\nHost: t\r\n\r\n"


def gauges(gateway):
    lines = gateway.get("/metrics", port=gateway.admin_port)[2].decode().splitlines()
    return {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith(("fnd_gateway_connections ", "fnd_requests_in_flight"))}


def nothing_is_left(gateway, backend, kept=4):
    """The connection that asks is the only one; of those to the function only kept ones are there."""
    wait_until(lambda: gauges(gateway) == {"fnd_gateway_connections": 1, 'fnd_requests_in_flight{function="hello"}': 0}, what="all requests and connections to end")
    assert gateway.get("/fn/hello/next")[2] == b"next"
    wait_until(lambda: len(backend.open_conns) <= kept, what="the function to hear of the ends")


def end(s, reset):
    if reset:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    s.close()


def read_body(conn, head):
    return b"next" if b" /next " in head else conn.body(head)


def test_clients_break_off_at_every_byte_of_a_request(gateway, serve):
    backend = g.Backend(lambda conn, head: g.answer(read_body(conn, head)))
    serve(backend)
    for reset in (False, True):
        for n in range(len(REQUEST) + 1):
            s = gateway.connect()
            s.sendall(REQUEST[:n])
            end(s, reset)
    nothing_is_left(gateway, backend)


def test_clients_break_off_at_every_byte_of_an_answer(gateway, serve):
    body = bytes(range(97, 97 + 26)) * 3
    backend = g.Backend(lambda conn, head: g.answer(b"next" if b" /next " in head else body))
    serve(backend)
    whole = len(gateway.raw(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))) - len(b"Connection: close\r\n")
    for reset in (False, True):
        for n in range(1, whole, 2):
            s = gateway.connect()
            s.sendall(GET)
            got = 0
            while got < n:
                data = s.recv(n - got)
                if not data:
                    break
                got += len(data)
            end(s, reset)
    nothing_is_left(gateway, backend)


def test_functions_break_off_at_every_byte_of_an_answer(gateway, serve):
    plan = {}

    def handler(conn, head):
        if b" /next " in head:
            return g.answer(b"next")
        conn.send(plan["answer"][:plan["cut"]])
        if plan["reset"]:
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return None

    backend = g.Backend(handler)
    serve(backend)
    for answer in ANSWERS:
        for reset in (False, True):
            for cut in range(len(answer)):
                plan.update(answer=answer, cut=cut, reset=reset)
                with gateway.connect() as s:
                    s.sendall(GET + OTHER)
                    out = g.read_all(s) if cut >= answer.index(b"200 OK") + 40 else g.read_response(s)
                # An error that says so, or a beginning of the answer and the end; never something whole.
                if isinstance(out, tuple):
                    assert out[0] == 502 or out[2] is None, (cut, reset, out)
                else:
                    assert out.startswith(b"HTTP/1.1 502 ") or out.endswith(b"<RESET>"), (cut, reset, out)
                    assert b"\r\n0\r\n" not in out and not (b"Content-Length: 9\r\n" in out and b"wikipedia" in out), (cut, reset, out)
    nothing_is_left(gateway, backend)


def test_functions_break_off_at_every_byte_of_a_request(gateway, serve):
    plan = {}

    def handler(conn, head):
        if b" /next " in head:
            return g.answer(b"next")
        conn.read_exactly(plan["cut"])
        if plan["reset"]:
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return None

    backend = g.Backend(handler)
    serve(backend)
    body = b"0123456789" * 4
    for reset in (False, True):
        for cut in range(len(body) + 1):
            plan.update(cut=cut, reset=reset)
            with gateway.connect() as s:
                s.sendall(b"POST /fn/hello/ HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:cut])
                wait_until(lambda: len(backend.heads) > 0)
                s.sendall(body[cut:])
                assert g.read_response(s)[0] == 502, (cut, reset)
    nothing_is_left(gateway, backend)


def test_slow_clients_do_not_hold_fast_ones_up(gateway, runner, serve):
    """300 connections that send a byte now and then, in the head or in the body, and 100 that take a byte now and then; meanwhile others are served as if they were alone."""
    big = bytes(200_000)
    backend = g.Backend(lambda conn, head: g.answer(b"next") if b" /next " in head else g.answer(big) if head.startswith(b"GET") else g.answer(conn.body(head)))
    serve(backend)
    runner.set(head_timeout_ns=3600 * 10**9, stall_timeout_ns=3600 * 10**9)
    slow = [gateway.connect() for _ in range(300)]
    start = REQUEST.index(b"\r\n\r\n") + 4
    at = [0 if i % 2 else start for i in range(len(slow))]
    for s, n in zip(slow, at):
        s.sendall(REQUEST[:n])
    readers = []
    for _ in range(100):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", gateway.port))
        s.settimeout(30)
        s.sendall(GET)
        readers.append(s)
    stop = threading.Event()

    def trickle():
        while not stop.wait(0.1):
            for i, s in enumerate(slow):
                if at[i] < len(REQUEST) - 1:
                    s.sendall(REQUEST[at[i]:at[i] + 1])
                    at[i] += 1
            for s in readers:
                s.recv(1)

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    watch = fndtest.Stopwatch()
    for _ in range(200):
        assert gateway.get("/fn/hello/next")[2] == b"next"
    assert watch.own < 20, watch.own
    stop.set()
    thread.join()
    assert gateway.peak_kb() < 64 * 1024
    for i, s in enumerate(slow):
        s.sendall(REQUEST[at[i]:])
    assert [g.read_response(s)[2] for s in slow] == [b"wikipedia"] * len(slow)
    for s in slow + readers:
        s.close()
    nothing_is_left(gateway, backend, kept=256)  # 128 a thread


def test_slow_functions_do_not_hold_fast_ones_up(gateway, serve):
    """100 answers that come a byte at a time, beside a function that answers at once."""
    answer = g.answer(b"slow")
    go = threading.Event()

    def trickle(conn, head):
        for byte in answer[:-1]:
            conn.send(bytes([byte]))
            go.wait(0.03)
        go.wait(90)
        return answer[-1:]

    serve(g.Backend(trickle), "slow", timeout_ns=3600 * 10**9)
    fast = g.Backend(lambda conn, head: g.answer(b"next"))
    serve(fast)
    waiting = [gateway.connect() for _ in range(100)]
    for s in waiting:
        s.sendall(GET.replace(b"hello", b"slow"))
    watch = fndtest.Stopwatch()
    for _ in range(200):
        assert gateway.get("/fn/hello/next")[2] == b"next"
    assert watch.own < 20, watch.own
    go.set()
    assert [g.read_response(s)[2] for s in waiting] == [b"slow"] * len(waiting)
    for s in waiting:
        s.close()
    wait_until(lambda: gauges(gateway)["fnd_gateway_connections"] == 1 and not any(v for k, v in gauges(gateway).items() if "in_flight" in k), what="all requests to end")
