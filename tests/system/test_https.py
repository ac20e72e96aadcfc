"""What comes with TLS: the way to https, Strict-Transport-Security, the ACME challenges, and the whole way of a certificate from its file to a client."""

import os
import socket
import ssl
import subprocess

import fndtest
import pytest
from fndtest import fnctl, wait_until
from gatewayhost import ACME, Backend, answer, gateway, nets, read_response, runner, serve  # noqa: F401  pylint: disable=unused-import
from test_tls import GET, Store, client, get, metric, store, tls  # noqa: F401  pylint: disable=unused-import


# ---- redirect, HSTS ----


@pytest.fixture
def redirecting(tls, gateway, runner):
    runner.set(https_redirect=True, https_port=8443)
    wait_until(lambda: gateway.get("/fn/hello/")[0] == 308, what="the settings")
    return gateway


def test_redirect(redirecting, tls, runner):
    cases = {(b"/fn/hello/a%20b?x=1&y", b"a.example:8888"): "https://a.example:8443/fn/hello/a%20b?x=1&y", (b"/fn/hello", b"a.example"): "https://a.example:8443/fn/hello",
             (b"/function/hello/", b"[::1]:8888"): "https://[::1]:8443/function/hello/"}
    for (path, host), expected in cases.items():
        status, fields, _ = redirecting.request(b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (path, host))
        assert (status, fields["location"]) == (308, expected)
    status, fields, _ = redirecting.request(b"POST /fn/hello/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\n", b"body")
    assert status == 308 and fields["location"] == "https://a.example:8443/fn/hello/"
    assert redirecting.get("/healthz")[0] == 200 and redirecting.get("/metrics", port=redirecting.admin_port)[0] == 200
    assert redirecting.get("/fn/nobody/")[0] == 404
    with tls() as s:
        assert get(s)[0] == 200
    runner.set(https_port=443)
    wait_until(lambda: redirecting.get("/fn/hello/")[1].get("location") == "https://t.example/fn/hello/", what="the settings")


def test_no_redirect_behind_a_proxy_that_speaks_tls(redirecting, runner):
    forwarded = b"X-Forwarded-Proto: https\r\n"
    assert redirecting.get("/fn/hello/", extra=forwarded)[0] == 308  # anybody can say that
    runner.set(trusted_proxies=nets("127.0.0.1/32"))
    wait_until(lambda: redirecting.get("/fn/hello/", extra=forwarded)[0] == 200, what="the settings")
    assert redirecting.get("/fn/hello/")[0] == 308
    assert redirecting.get("/fn/hello/", extra=b"X-Forwarded-Proto: http\r\n")[0] == 308


def test_hsts(tls, gateway, runner):
    with tls() as s:
        assert "strict-transport-security" not in get(s)[1]
        runner.set(hsts_s=31536000)
        wait_until(lambda: get(s)[1].get("strict-transport-security") == "max-age=31536000", what="the settings")
        assert get(s, GET.replace(b"/fn/hello/", b"/fn/nobody/"))[1]["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in gateway.get("/fn/hello/")[1]


# ---- ACME ----


def test_acme(tls, gateway, runner, store, tmp_path):
    root = tmp_path / "acme"
    below = root / ".well-known/acme-challenge"
    below.mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (below / "token-_9").write_text("token-_9.thumb")
    (below / "with.dot").write_text("no token")
    (below / "large").write_bytes(b"x" * 5000)
    (below / "link").symlink_to(tmp_path / "secret")
    (below / "inner").symlink_to("token-_9")
    (below / "directory").mkdir()
    os.mkfifo(below / "fifo")
    os.chmod(tmp_path, 0o755)
    path = "/.well-known/acme-challenge/"
    assert gateway.get(path + "token-_9")[0] == 404
    runner.set_files(store.files("a.example") + [(ACME, "acme", str(root))])
    wait_until(lambda: gateway.get(path + "token-_9")[0] == 200, what="the directory")
    status, fields, body = gateway.get(path + "token-_9")
    assert (status, body, fields["content-type"]) == (200, b"token-_9.thumb", "application/octet-stream")
    for bad in ("", "missing", "with.dot", "large", "link", "inner", "directory", "fifo", "..", "../../../secret", "..%2f..%2fsecret", "%2e%2e/", "token-_9/", "token-_9%00", "a" * 200, "directory/x"):
        assert gateway.get(path + bad)[0] in (400, 404), bad
    assert gateway.get(path + "token-_9", port=gateway.admin_port)[0] in (403, 404)
    assert gateway.request(b"POST %stoken-_9 HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n" % path.encode())[0] == 404
    runner.set(https_redirect=True, https_port=8443)
    wait_until(lambda: gateway.get("/fn/hello/")[0] == 308, what="the settings")
    assert gateway.get(path + "token-_9")[2] == b"token-_9.thumb" and gateway.get(path + "missing")[0] == 404
    (below / "later").write_text("later.thumb")
    assert gateway.get(path + "later")[2] == b"later.thumb"
    runner.set_files(store.files("a.example"))
    wait_until(lambda: gateway.get(path + "later")[0] == 404, what="the directory to go")
