"""fnd-gateway by itself: which instance gets a request, when it is sent a second time, and which instance gets none for a while."""

import os
import signal
import socket

import gatewayhost as g
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
