"""TLS on the gateway's tls listener: versions, certificates by name, resumption, reload, and clients that do not behave."""

import os
import random
import socket
import ssl
import subprocess
import threading
import time

import pytest
from fndtest import wait_until
from gatewayhost import CERTIFICATE, KEY, Backend, answer, fields, gateway, read_all, read_response, runner, serve  # noqa: F401  pylint: disable=unused-import

GET = b"GET /fn/hello/ HTTP/1.1\r\nHost: a.example\r\n\r\n"


class Store:
    """Certificates in a directory, as a set of files that the runner passes."""

    def __init__(self, path):
        self.path = str(path)

    def make(self, name, *names, days=30, key="ec"):
        algorithm = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if key == "ec" else ["rsa:2048"]
        alternative = ",".join(f"IP:{n}" if n[0].isdigit() else f"DNS:{n}" for n in names or [name])
        subprocess.run(["openssl", "req", "-x509", "-newkey", *algorithm, "-nodes", "-keyout", f"{self.path}/{name}.key", "-out", f"{self.path}/{name}.pem", "-days", str(days),
                        "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}"], check=True, capture_output=True)
        return name

    def make_expired(self, name):
        """Of January 2020: only `openssl ca` dates back."""
        os.makedirs(self.path, exist_ok=True)
        here = f"{self.path}/{name}"
        with open(here + ".cnf", "w", encoding="ascii") as f:
            f.write(f"[ca]\ndefault_ca = c\n[c]\ndatabase = {here}.index\nrand_serial = yes\nnew_certs_dir = {self.path}\ndefault_md = sha256\npolicy = p\ncopy_extensions = copy\n[p]\ncommonName = supplied\n")
        with open(here + ".index", "w", encoding="ascii"):
            pass
        for command in (f"req -newkey rsa:2048 -nodes -keyout {here}.key -out {here}.csr -subj /CN={name} -addext subjectAltName=DNS:{name}",
                        f"ca -batch -selfsign -notext -config {here}.cnf -keyfile {here}.key -in {here}.csr -out {here}.pem -startdate 20200101000000Z -enddate 20200201000000Z"):
            subprocess.run(["openssl", *command.split()], check=True, capture_output=True)

    def files(self, *names):
        return [(kind, n, f"{self.path}/{n}.{end}") for n in sorted(names) for kind, end in ((CERTIFICATE, "pem"), (KEY, "key"))]

    def der(self, name):
        with open(f"{self.path}/{name}.pem", encoding="ascii") as f:
            return ssl.PEM_cert_to_DER_cert(f.read())


def client(**options):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    for name, value in options.items():
        setattr(ctx, name, value)
    return ctx


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def tls(gateway, runner, serve, store):
    """A gateway with a certificate for a.example and one function; connect(name) makes a connection."""
    store.make("a.example", "a.example", "*.w.example", "127.0.0.1")
    runner.set_files(store.files("a.example"))
    serve(Backend())

    def connect(name="a.example", ctx=None, session=None):
        s = (ctx or client()).wrap_socket(gateway.connect(gateway.tls_port), server_hostname=name, session=session)
        s.settimeout(30)
        return s

    wait_until(lambda: metric(gateway, "fnd_tls_reloads_total") >= 1, what="the certificate")
    return connect


def metric(gateway, family, /, **labels):
    """The sum over all series that have these labels."""
    text = gateway.get("/metrics", port=gateway.admin_port)[2].decode()
    rows = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith((family + " ", family + "{"))]
    return sum(float(v) for n, v in rows if all(f'{k}="{w}"' in n for k, w in labels.items()))


def get(s, request=GET):
    s.sendall(request)
    return read_response(s)


# ---- versions, ciphers, ALPN ----


def test_versions_and_ciphers(tls):
    with tls() as s:
        assert s.version() == "TLSv1.3" and get(s)[2] == b"hello"
    with tls(ctx=client(maximum_version=ssl.TLSVersion.TLSv1_2)) as s:
        assert s.version() == "TLSv1.2" and s.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256" and s.compression() is None
        assert get(s)[2] == b"hello"
    old = client(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        tls(ctx=old)
    for weak in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "AES128-SHA"):
        ctx = client(maximum_version=ssl.TLSVersion.TLSv1_2)
        ctx.set_ciphers(weak + ":@SECLEVEL=0")
        with pytest.raises(ssl.SSLError):
            tls(ctx=ctx)


def test_alpn(tls):
    for offered, chosen in ((["http/1.1"], "http/1.1"), (["spdy/1", "http/1.1"], "http/1.1"), ([], None)):
        ctx = client()
        if offered:
            ctx.set_alpn_protocols(offered)
        with tls(ctx=ctx) as s:
            assert s.selected_alpn_protocol() == chosen and get(s)[0] == 200
    ctx = client()
    ctx.set_alpn_protocols(["http/1.1", "h2"])
    with tls(ctx=ctx) as s:
        assert s.selected_alpn_protocol() == "h2"
    ctx.set_alpn_protocols(["acme-tls/1"])
    with pytest.raises(ssl.SSLError):
        tls(ctx=ctx)


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl(tls, serve, gateway, store, tmp_path, version):
    """The certificate is checked, as a client of the Internet would."""
    serve(Backend(lambda conn, head: answer(b"%d" % len(conn.body(head)))), name="count")
    body = tmp_path / "body"
    body.write_bytes(os.urandom(300_000))
    url = f"https://a.example:{gateway.tls_port}/fn/count/"
    out = subprocess.run(["curl", "-sS", version, "--cacert", store.path + "/a.example.pem", "--resolve", f"a.example:{gateway.tls_port}:127.0.0.1", "-w", " %{http_version} %{response_code}",
                          url, url, "--data-binary", f"@{body}"], capture_output=True, timeout=60, check=False)
    number = b" 2 200" if version == "--http2" else b" 1.1 200"
    assert out.stdout == (b"300000" + number) * 2, out


# ---- certificates by name ----


def test_server_name(tls, gateway, runner, store):
    store.make("b.example", "b.example", "*.b.example")
    store.make("rsa.example", key="rsa")
    runner.set_files(store.files("a.example", "b.example", "rsa.example"))
    wait_until(lambda: metric(gateway, "fnd_tls_reloads_total") >= 2, what="the certificates")
    cases = {"a.example": "a.example", "B.Example": "b.example", "x.b.example": "b.example", "b.w.example": "a.example", "x.y.b.example": "a.example", "rsa.example": "rsa.example",
             "unknown.example": "a.example", None: "a.example", "127.0.0.1": "a.example"}
    for asked, expected in cases.items():
        with tls(asked) as s:
            assert s.getpeercert(True) == store.der(expected), asked
            assert get(s)[0] == 200
    store.make("default", "something.else")
    runner.set_files(store.files("a.example", "b.example", "default"))
    wait_until(lambda: metric(gateway, "fnd_tls_reloads_total") >= 3, what="the certificates")
    for asked in ("unknown.example", None):
        with tls(asked) as s:
            assert s.getpeercert(True) == store.der("default")


def test_without_a_certificate(gateway, serve):
    serve(Backend())
    with pytest.raises((ssl.SSLError, ConnectionError)):
        client().wrap_socket(gateway.connect(gateway.tls_port), server_hostname="a.example")
    assert gateway.get("/fn/hello/")[0] == 200
    assert metric(gateway, "fnd_tls_handshake_failures_total", reason="no_certificate") == 1


# ---- resumption ----


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_resumption(tls, gateway, version):
    ctx = client(maximum_version=getattr(ssl.TLSVersion, version))
    with tls(ctx=ctx) as s:
        assert get(s)[0] == 200 and not s.session_reused
        session = s.session
    assert session.has_ticket and 0 < session.ticket_lifetime_hint <= 8 * 3600
    for _ in range(3):
        with tls(ctx=ctx, session=session) as s:
            assert get(s)[0] == 200 and s.session_reused
            session = s.session
    assert metric(gateway, "fnd_tls_handshakes_total", version=version.replace("_", "."), resumed="yes") == 3


def test_resumption_brings_the_next_ticket(tls, gateway, tmp_path):
    """Clients use a ticket of TLS 1.3 once: without a new one every second connection would begin anew."""
    session = tmp_path / "session"
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.tls_port}", "-servername", "a.example", "-tls1_3", "-ign_eof", "-sess_out", session]
    for more in ([], ["-sess_in", session], ["-sess_in", session]):
        session_before = session.read_bytes() if more else b""
        out = subprocess.run([*command, *more], input=GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), capture_output=True, timeout=60, check=False).stdout.decode()
        assert ("Reused, TLSv1.3" in out) == bool(more) and "Post-Handshake New Session Ticket arrived" in out, out
        assert session.read_bytes() != session_before


def test_no_early_data_and_no_renegotiation(tls, gateway, tmp_path):
    where = f"127.0.0.1:{gateway.tls_port}"
    session = tmp_path / "session"
    out = subprocess.run(["openssl", "s_client", "-connect", where, "-servername", "a.example", "-sess_out", session, "-ign_eof"], input=GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
                         capture_output=True, timeout=60, check=False).stdout.decode()
    assert "hello" in out and "Max Early Data: 0" in out, out
    out = subprocess.run(["openssl", "s_client", "-connect", where, "-tls1_2"], input=b"R\n", capture_output=True, timeout=60, check=False)
    assert b"no renegotiation" in out.stderr, out


# ---- reload ----


def test_reload_under_load(tls, gateway, runner, store):
    store.make("new")
    os.makedirs(store.path + "/2")
    second = Store(store.path + "/2")
    second.make("a.example", "a.example", key="rsa")
    sets = [store.files("a.example"), second.files("a.example"), second.files("a.example") + store.files("new")]
    stop, errors, counts = threading.Event(), [], [0, 0]

    def keep_alive():
        with tls() as s:
            while not stop.is_set():
                if get(s)[2] != b"hello":
                    errors.append("kept")
                counts[0] += 1

    def anew():
        while not stop.is_set():
            with tls() as s:
                if get(s)[2] != b"hello":
                    errors.append("new")
                counts[1] += 1

    def guarded(f):
        try:
            f()
        except Exception as e:  # pylint: disable=broad-except
            errors.append(e)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in (keep_alive, keep_alive, anew, anew)]
    for t in threads:
        t.start()
    for i in range(30):
        runner.set_files(sets[i % 3])
        time.sleep(0.01)  # so that requests come between
    wait_until(lambda: errors or min(counts) > 50, what="requests")
    stop.set()
    for t in threads:
        t.join()
    assert not errors and metric(gateway, "fnd_tls_reloads_total") >= 31, errors
    with tls() as s:
        assert s.getpeercert(True) == second.der("a.example")


def test_bad_certificates_harm_no_other(tls, gateway, runner, store):
    bad = Store(store.path + "/bad")
    os.makedirs(bad.path)
    bad.make("b.example")
    bad.make("c.example")
    store.make("b.example")
    good = store.files("a.example") + store.files("b.example")
    runner.set_files(good)
    os.replace(bad.path + "/c.example.key", bad.path + "/b.example.key")  # not the key of that certificate
    for i, broken in enumerate([bad.files("b.example"), bad.files("b.example")[:1], bad.files("b.example")[1:], [(CERTIFICATE, "b.example", "/dev/null"), (KEY, "b.example", "/dev/null")],
                                [(CERTIFICATE, "b.example", store.path + "/b.example.key"), (KEY, "b.example", store.path + "/b.example.key")]]):
        runner.set_files(store.files("a.example") + broken)
        wait_until(lambda: metric(gateway, "fnd_tls_reloads_total") >= 3 + i, what="the certificates")  # pylint: disable=cell-var-from-loop
        for name in ("a.example", "b.example"):
            with tls(name) as s:
                assert s.getpeercert(True) == store.der(name), (broken, name)
    runner.set_files(store.files("a.example"))  # taken away
    wait_until(lambda: metric(gateway, "fnd_tls_reloads_total") >= 8, what="the certificates")
    with tls("b.example") as s:
        assert s.getpeercert(True) == store.der("a.example")


def test_expired_does_not_replace_a_valid_one(tls, gateway, runner, store):
    old = Store(store.path + "/old")
    old.make_expired("a.example")
    old.make_expired("x.example")
    runner.set_files(old.files("a.example") + old.files("x.example"))
    wait_until(lambda: metric(gateway, "fnd_tls_reloads_total") >= 2, what="the certificates")
    with tls() as s:
        assert s.getpeercert(True) == store.der("a.example")
    with tls("x.example") as s:
        assert s.getpeercert(True) == old.der("x.example")
    assert metric(gateway, "fnd_tls_certificate_expiry_seconds", name="x.example") < time.time() < metric(gateway, "fnd_tls_certificate_expiry_seconds", name="a.example")


# ---- bodies, streams, the end ----


def test_large_bodies_both_ways(tls, serve):
    data = random.Random(1).randbytes(3_000_000)
    serve(Backend(lambda conn, head: answer(conn.body(head) + data)), name="big")
    with tls() as s:
        for _ in range(2):
            s.sendall(b"POST /fn/big/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % len(data))
            s.sendall(data)  # whole, before anything is read: OpenSSL's connections are not for two threads at a time
            status, _, body = read_response(s)
            assert status == 200 and body == data + data


def test_keep_alive_and_pipelining(tls):
    with tls() as s:
        for _ in range(20):
            assert get(s)[2] == b"hello"
        s.sendall(GET * 10)
        data = b""
        while data.count(b"hello") < 10:
            data += s.recv(65536)


def test_byte_by_byte(tls):
    with tls() as s:
        for byte in GET:
            s.sendall(bytes([byte]))
        assert read_response(s)[2] == b"hello"


def test_x_forwarded_proto(tls, serve):
    serve(Backend(lambda conn, head: answer(fields(head)["x-forwarded-proto"].encode())), name="proto")
    with tls() as s:
        assert get(s, GET.replace(b"hello", b"proto"))[2] == b"https"


def test_upgrade(tls, serve):
    def echo(conn, head):
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        while data := conn.sock.recv(65536):
            conn.send(data)

    serve(Backend(echo), name="echo")
    with tls() as s:
        s.sendall(b"GET /fn/echo/ HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += s.recv(1)
        assert b" 101 " in head
        for size in (1, 1000, 100000):
            data = os.urandom(size)
            s.sendall(data)
            back = b""
            while len(back) < size:
                back += s.recv(65536)
            assert back == data


def test_ends_with_close_notify(tls):
    with tls() as s:
        s.suppress_ragged_eofs = False
        s.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        data = b""
        while chunk := s.recv(65536):  # raises where the end comes without one
            data += chunk
        assert data.endswith(b"hello")


def cut(s):
    """Closes the connection below TLS, without close_notify."""
    os.close(s.detach())


def test_cut_stream_is_not_its_end(tls, serve, gateway):
    """An upgraded connection that somebody cuts: the function must not take that for the client's end."""
    ends = []

    def swallow(conn, head):
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n")
        try:
            while conn.sock.recv(65536):
                pass
            ends.append("end")
        except ConnectionResetError:
            ends.append("reset")

    serve(Backend(swallow), name="raw")
    for finish, expected in ((cut, "reset"), (lambda s: s.unwrap(), "end")):
        s = tls()
        s.sendall(b"GET /fn/raw/ HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n")
        assert b" 101 " in s.recv(1000)
        s.sendall(b"data")
        try:
            finish(s)
        except (ssl.SSLError, OSError):
            pass
        wait_until(lambda: ends, what="the end")
        assert ends.pop() == expected


def test_client_gone_without_close_notify(tls, gateway):
    for _ in range(20):
        s = tls()
        assert get(s)[0] == 200
        cut(s)
    with tls() as s:
        assert get(s)[0] == 200
    wait_until(lambda: metric(gateway, "fnd_gateway_connections") <= 2, what="the connections to be closed")


# ---- handshakes that do not end well ----


def test_plain_http_to_the_tls_port(gateway, tls):
    data = gateway.raw(GET, port=gateway.tls_port)
    assert data.startswith(b"HTTP/1.1 400 ") and b"https://" in data, data
    assert metric(gateway, "fnd_tls_handshake_failures_total", reason="plain_http") == 1
    with tls() as s:
        assert get(s)[0] == 200


def test_garbage_and_prefixes(gateway, tls):
    """Whatever comes instead of a ClientHello, and every prefix of one: the connection ends, nothing else does."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    obj = client().wrap_bio(incoming, outgoing, server_hostname="a.example")
    with pytest.raises(ssl.SSLWantReadError):
        obj.do_handshake()
    hello = outgoing.read()
    for cut_at in range(0, len(hello), 7):
        gateway.raw(hello[:cut_at], gateway.tls_port, half_close=True)
    rng = random.Random(7)
    for i in range(100):
        garbage = bytearray(hello) if i % 2 else bytearray(rng.randbytes(rng.randrange(1, 2000)))
        if i % 2:
            garbage[rng.randrange(len(garbage))] ^= 1 << rng.randrange(8)
        gateway.raw(garbage, gateway.tls_port, half_close=True)
    with tls() as s:
        assert get(s)[0] == 200


def test_slow_handshakes_end_and_hold_up_nobody(gateway, runner, tls):
    runner.set(head_timeout_ns=400 * 10**6)
    silent = [gateway.connect(gateway.tls_port) for _ in range(50)]
    for s in silent:
        s.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello

    def served():
        with tls() as s:
            return get(s)[0] == 200

    wait_until(served, what="another client to be served")  # where those 400 ms were not enough for it, it tries again
    for s in silent:
        assert read_all(s) in (b"", b"<RESET>")
        s.close()


def test_idle_connections_cost_little(gateway, tls):
    ctx = client()
    held = []
    for _ in range(20):
        held.append(tls(ctx=ctx))
        get(held[-1])
    before = gateway.rss_kb()
    for _ in range(200):
        held.append(tls(ctx=ctx))
        get(held[-1])
    each = (gateway.rss_kb() - before) / 200
    print(f"{each:.1f} KiB an idle connection")
    for s in held:
        s.close()
    assert each < 40, each
