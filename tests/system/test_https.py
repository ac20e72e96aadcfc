"""What comes with TLS: the way to https, Strict-Transport-Security, the ACME challenges, and the whole way of a certificate from its file to a client."""

import json
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


# ---- the whole way: a file, the daemon, a client ----

TLS = "127.0.0.1", 8443


def served(name):
    """The certificate that a client is shown."""
    try:
        with client().wrap_socket(socket.create_connection(TLS, timeout=30), server_hostname=name) as s:
            return s.getpeercert(True)
    except (OSError, ssl.SSLError):
        return None


def test_certificate_of_its_own_in_one_command(make_daemon):
    d = make_daemon(settings={"gateway.tls_listen": "127.0.0.1:8443", "gateway.https_redirect": "yes", "gateway.hsts": "600"})
    d.start()
    fnctl("deploy", "hello")
    made = fnctl("cert", "self-signed", "fnd.test", "*.fnd.test", "127.0.0.1")
    assert made.status == 0 and "/etc/fnd/tls/fnd.test.pem" in made.out and "SHA-256" in made.out, made
    assert os.stat("/etc/fnd/tls/fnd.test.key").st_mode & 0o777 == 0o600 and os.stat("/etc/fnd/tls/fnd.test.pem").st_mode & 0o777 == 0o600
    der = ssl.PEM_cert_to_DER_cert(open("/etc/fnd/tls/fnd.test.pem", encoding="ascii").read())
    wait_until(lambda: served("fnd.test") == der, what="the certificate")  # nobody told the daemon
    for name in ("fnd.test", "x.fnd.test", "127.0.0.1"):
        out = subprocess.run(["curl", "-sS", "-i", "--cacert", "/etc/fnd/tls/fnd.test.pem", "--resolve", f"{name}:8443:127.0.0.1", f"https://{name}:8443/fn/hello/"], capture_output=True, timeout=60, check=False)
        assert b"200" in out.stdout.split(b"\r\n")[0] and b"max-age=600" in out.stdout.lower(), out
    out = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{redirect_url}", "http://127.0.0.1:8888/fn/hello/x?y"], capture_output=True, timeout=60, check=False)
    assert out.stdout == b"https://127.0.0.1:8443/fn/hello/x?y"
    again = fnctl("cert", "self-signed", "fnd.test", status=1)
    assert again.status == 1 and "not overwritten" in again.err
    assert [(c["name"], c["hosts"], c["error"]) for c in json.loads(fnctl("cert", "ls", "--json").out)] == [("fnd.test", ["fnd.test", "*.fnd.test", "127.0.0.1"], "")]
    for bad in ("-x.example", "a..b", "a b", "a,DNS:b", "x" * 64 + ".example", "*.*.example", ""):
        assert fnctl("cert", "self-signed", "--", bad, status=None).status == 2, bad


def test_acme_flow(make_daemon, tmp_path):
    """What certbot --webroot does: a challenge is put there and fetched; the hook brings the certificate; so does it when it is renewed, while a client stays connected."""
    make_daemon(settings={"gateway.tls_listen": "127.0.0.1:8443"}).start()
    fnctl("deploy", "hello")
    os.makedirs("/var/lib/fnd/acme/.well-known/acme-challenge")
    with open("/var/lib/fnd/acme/.well-known/acme-challenge/tok", "w", encoding="ascii") as f:
        f.write("tok.thumbprint")
    with socket.create_connection(("127.0.0.1", 8888)) as s:
        s.sendall(b"GET /.well-known/acme-challenge/tok HTTP/1.1\r\nHost: acme.test\r\n\r\n")
        assert read_response(s)[::2] == (200, b"tok.thumbprint")
    live = tmp_path / "live/acme.test"
    live.mkdir(parents=True)
    issued, kept = Store(tmp_path), None
    for _ in range(2):
        issued.make("acme.test")
        (live / "fullchain.pem").write_bytes((tmp_path / "acme.test.pem").read_bytes())
        (live / "privkey.pem").write_bytes((tmp_path / "acme.test.key").read_bytes())
        subprocess.run([fndtest.REPO + "/contrib/certbot/fnd-deploy-hook"], env={**os.environ, "RENEWED_LINEAGE": str(live)}, check=True)
        wait_until(lambda: served("acme.test") == issued.der("acme.test"), what="the certificate")
        assert os.listdir("/etc/fnd/tls") and os.stat("/etc/fnd/tls/acme.test.key").st_mode & 0o777 == 0o600
        kept = kept or client().wrap_socket(socket.create_connection(TLS, timeout=30), server_hostname="acme.test")
        assert get(kept, GET)[0] == 200
    kept.close()


def test_bad_certificates_are_named_before_they_are_served(make_daemon, tmp_path):
    d = make_daemon(settings={"gateway.tls_listen": "127.0.0.1:8443"})
    d.write_config()
    for name in ("good", "other", "readable"):
        fnctl("cert", "self-signed", f"{name}.test")
    check = lambda: fndtest.run(fndtest.program("fnd"), "--config", d.config, "--check")  # noqa: E731
    assert check().status == 0
    os.replace("/etc/fnd/tls/other.test.key", "/etc/fnd/tls/good.test.key")
    os.chmod("/etc/fnd/tls/readable.test.key", 0o644)
    checked = check()
    assert checked.status == 1 and "good.test: the key does not belong to the certificate" in checked.err and "other.test: other.test.key" in checked.err, checked
    assert "readable.test.key has mode 0644" in checked.err and "chmod 0600" in checked.err
    listed = fnctl("cert", "ls", status=None)
    assert listed.status == 1 and "does not belong" in listed.out and "chmod 0600" in listed.out
    doctor = fnctl("doctor", "--json", status=None)
    assert "good.test" in doctor.out and "does not belong" in doctor.out
    d.start()  # no certificate can be used: everything else is served
    fnctl("deploy", "hello")
    assert "name=good.test" in d.output() and "name=readable.test" in d.output()
    assert served("good.test") is None
    os.chmod("/etc/fnd/tls/readable.test.key", 0o600)
    wait_until(lambda: served("readable.test"), what="the certificate that was mended")


def test_redirect_that_leads_nowhere(make_daemon):
    status, said = make_daemon(settings={"gateway.https_redirect": "yes"}).refuses()
    assert status == 1 and "leads nowhere" in said and "tls_listen" in said
    for bad in ("example.org", "ftp://example.org", "https://example.org/path", "https://u@example.org", "https://", "https://example.org:0", "https://example.org:99999", "https://[::1"):
        status, said = make_daemon(settings={"gateway.public_url": bad}).refuses()
        assert status == 1 and "gateway.public_url" in said, bad
