"""What changes while fnd runs: its configuration, and its gateway. No connection is refused, and none is dropped that need not be."""

import http.client
import os
import signal
import socket
import threading

from fndtest import fnctl, get, wait_until

GET = b"GET /fn/hello/ HTTP/1.1\r\nHost: t\r\n\r\n"


def put(size):
    conn = http.client.HTTPConnection("127.0.0.1", 8888, timeout=30)
    conn.request("PUT", "/fn/hello/", b"x" * size)
    status = conn.getresponse().status
    conn.close()
    return status


def connections_until_refused(most):
    """Opens connections until one is reset, as a client's with more than its share is: how many were taken."""
    taken = []
    try:
        for _ in range(most):
            s = socket.create_connection(("127.0.0.1", 8888), timeout=30)
            taken.append(s)
            if ask(s) != b"HTTP/1.1 200 OK":
                return len(taken) - 1
        return most
    except ConnectionError:
        return len(taken) - 1
    finally:
        for s in taken:
            s.close()


def ask(s):
    s.sendall(GET)
    return s.recv(65536).split(b"\r\n")[0]


def test_reload(make_daemon):
    d = make_daemon(settings={"gateway.max_body": "1M", "gateway.threads": "3"}).start()
    fnctl("deploy", "hello")
    assert put(5000) != 413
    kept = [socket.create_connection(("127.0.0.1", 8888)) for _ in range(8)]
    assert all(ask(s) == b"HTTP/1.1 200 OK" for s in kept)
    gateway = d.gateway_pid
    d.settings.update({"gateway.max_body": "2K", "gateway.threads": "2", "gateway.max_connections_per_client": "20", "network.gateway_port": "9999"})
    d.write_config()
    out = fnctl("reload").out
    assert "read anew" in out and "gateway.threads takes effect when fnd is restarted" in out and "network.gateway_port takes effect" in out and "max_body" not in out
    assert [put(5000) for _ in range(8)] == [413] * 8  # every thread
    shown = fnctl("config", "show").out
    assert any(line.split()[:2] == ["gateway.max_body", "2K"] for line in shown.splitlines())
    assert any(line.split()[:2] == ["gateway.threads", "3"] for line in shown.splitlines())
    assert all(ask(s) == b"HTTP/1.1 200 OK" for s in kept)  # on the connections from before
    assert d.gateway_pid == gateway
    assert 20 - len(kept) >= connections_until_refused(40) > 0  # what put() closed may still count for a moment
    for s in kept:
        s.close()


def test_broken_configuration_is_refused(make_daemon):
    d = make_daemon(settings={"gateway.max_body": "2K"}).start()
    fnctl("deploy", "hello")
    with open(d.config, "a", encoding="utf-8") as f:
        f.write("[gateway]\nno_such_key = 1\n")
    result = fnctl("reload", status=None)
    assert result.status != 0 and "fnd.ini:" in result.err and "no_such_key" in result.err
    assert put(5000) == 413
    os.kill(d.pid, signal.SIGHUP)
    wait_until(lambda: d.output().count("what was configured before stays") == 2, what="SIGHUP to be answered in the log")
    d.settings["gateway.max_body"] = "1M"
    d.write_config()
    os.kill(d.pid, signal.SIGHUP)
    wait_until(lambda: put(5000) != 413, what="the new limit")


class Caller:
    """A client that connects, asks and leaves, again and again. Refused connections are what must not be."""

    def __init__(self):
        self.over, self.refused, self.broken, self.early, self.served = threading.Event(), 0, 0, 0, 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", 8888), timeout=30) as s:
                    status = ask(s)
                    self.served += status == b"HTTP/1.1 200 OK"
                    self.early += status == b"HTTP/1.1 503 Service Unavailable"
                    self.broken += status == b""
            except ConnectionRefusedError:
                self.refused += 1
            except OSError:
                self.broken += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        self.thread.join()


def restarted(d, how):
    old = d.gateway_pid
    os.kill(old, how)
    wait_until(lambda: d.gateway_pid not in (None, old), what="the next gateway")
    assert get("/fn/hello/").status in (200, 503)


def test_no_connection_is_refused_while_the_gateway_is_killed(make_daemon):
    d = make_daemon(settings={"gateway.threads": "3"}).start()
    fnctl("deploy", "hello")
    with Caller() as a, Caller() as b:
        for _ in range(3):
            restarted(d, signal.SIGKILL)
        served = a.served + b.served
        wait_until(lambda: a.served + b.served > served + 20, what="requests to be served again")
    assert a.refused + b.refused == 0
    assert a.broken + b.broken < 20  # what was accepted by those that were killed


def test_graceful_restart_breaks_nothing(make_daemon):
    d = make_daemon(settings={"gateway.threads": "2"}).start()
    fnctl("deploy", "hello")
    with Caller() as a, Caller() as b:
        restarted(d, signal.SIGTERM)
        served = a.served + b.served
        wait_until(lambda: a.served + b.served > served + 20, what="requests to be served again")
    assert a.refused + b.refused == 0
    assert a.broken + b.broken == 0  # some may hear 503: a new gateway knows no function until the runner has told it
