"""HTTP/2 to clients: real clients first, then frames written by hand."""

import subprocess
import threading
import time

import gatewayhost as g
import pytest
from fndtest import wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401 (fixtures)


@pytest.fixture
def h2c(gateway, runner):
    """The gateway, with HTTP/2 on its plain listener."""
    runner.set(h2c=True)
    wait_until(lambda: curl(gateway, "/healthz", check=False).stdout == b"ok", what="the setting")
    return gateway


def curl(gw, path, *args, check=True, **kw):
    out = subprocess.run(["curl", "-sS", "-m", "20", "--http2-prior-knowledge", *args, f"http://127.0.0.1:{gw.port}{path}"], capture_output=True, check=False, **kw)
    assert not check or out.returncode == 0, out
    return out


def test_off_by_default(gateway):
    assert gateway.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").startswith(b"HTTP/1.1 505 ")


def test_curl(h2c, serve):
    def handler(conn, head):
        return g.answer(head + b"\n" + conn.body(head), extra=b"X-Made-By: me\r\n")

    serve(g.Backend(handler))
    out = curl(h2c, "/fn/hello/a?b=c", "-i", "-H", "X-Test: yes", "-d", "some body").stdout
    assert out.startswith(b"HTTP/2 200 \r\n"), out
    assert b"\r\nx-made-by: me\r\n" in out and out.endswith(b"\nsome body")
    assert b"POST /a?b=c HTTP/1.1\r\n" in out and b"x-test: yes\r\n" in out
    assert b"connection" not in out.split(b"\r\n\r\n")[0].lower()


def tool(*words, seconds=60):
    out = subprocess.run(words, capture_output=True, timeout=seconds, check=False, text=True)
    assert out.returncode == 0, out
    return out.stdout


def test_nghttp_sees_the_frames(h2c, serve):
    serve(g.Backend(lambda conn, head: b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + g.answer(b"hello")))
    out = tool("nghttp", "-v", "-n", "--no-dep", f"http://127.0.0.1:{h2c.port}/fn/hello/")
    assert out.index(":status: 103") < out.index("link: </a.css>") < out.index(":status: 200")
    assert "SETTINGS_MAX_CONCURRENT_STREAMS(0x03):100" in out and "END_STREAM" in out


def test_h2load_many_streams(h2c, serve):
    serve(g.Backend(lambda conn, head: g.answer(b"x" * 5000)), scale=1)
    out = tool("h2load", "-n", "3000", "-c", "4", "-m", "80", f"http://127.0.0.1:{h2c.port}/fn/hello/")
    assert "3000 succeeded, 0 failed, 0 errored, 0 timeout" in out, out


def test_large_bodies_both_ways(h2c, serve, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * 4 * 1024 * 24)  # 24 MB

    def handler(conn, head):
        return g.answer(conn.body(head))

    serve(g.Backend(handler))
    out = curl(h2c, "/fn/hello/", "--data-binary", f"@{big}").stdout
    assert out == big.read_bytes()
    out = curl(h2c, "/fn/hello/", "-T", "-", stdin=open(big, "rb")).stdout  # of unknown length
    assert out == big.read_bytes()
    assert h2c.peak_kb() < 80 << 10
