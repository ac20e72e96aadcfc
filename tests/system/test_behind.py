"""The gateway behind nginx and Caddy, with the files of contrib/proxies as they are but for names, ports and certificates: who the client is, streams, upgrades, large bodies."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading

import pytest
import yaml

import fndtest
import gatewayhost as g
from fndtest import wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401 (fixtures)

SITE = "functions.example.org"
PROXIES = os.path.join(fndtest.REPO, "contrib/proxies")


def certificate(directory):
    key, cert = directory / "key.pem", directory / "cert.pem"
    fndtest.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={SITE}", "-addext", f"subjectAltName=DNS:{SITE}", "-days", "2",
                "-keyout", key, "-out", cert)
    return key, cert


def nginx(directory, port, key, cert):
    with open(PROXIES + "/nginx.conf", encoding="utf-8") as f:
        site = f.read()
    site = site.replace("127.0.0.1:8888", f"127.0.0.1:{port}").replace("listen 443", "listen 127.0.0.1:7443").replace("listen 80", "listen 127.0.0.1:7080")
    site = site.replace(f"/etc/letsencrypt/live/{SITE}/fullchain.pem", str(cert)).replace(f"/etc/letsencrypt/live/{SITE}/privkey.pem", str(key))
    temp = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(directory / "nginx.conf", "w", encoding="utf-8") as f:
        f.write(f"daemon off;\nuser root;\nworker_processes 1;\npid {directory}/pid;\nerror_log {directory}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{temp}{site}}}\n")
    return ["nginx", "-e", directory / "error.log", "-p", directory, "-c", directory / "nginx.conf"]


def caddy(directory, port, key, cert):
    with open(PROXIES + "/Caddyfile", encoding="utf-8") as f:
        site = f.read()
    site = site.replace("127.0.0.1:8888", f"127.0.0.1:{port}").replace(SITE + " {", f"https://{SITE}:7443 {{\n\tbind 127.0.0.1\n\ttls {cert} {key}")
    with open(directory / "Caddyfile", "w", encoding="utf-8") as f:
        f.write(f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\tstorage file_system {directory}/storage\n}}\n{site}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", directory / "Caddyfile"]


def handler(conn, head):
    fields = g.fields(head)
    path = head.split()[1]
    if path == b"/ws":
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi")
        while data := conn.buf or conn.sock.recv(65536):
            conn.buf = b""
            conn.send(data)
        return None
    if path == b"/events":
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nb\r\ndata: one\n\n\r\n")
        conn.server_event.wait(30)
        conn.send(b"b\r\ndata: two\n\n\r\n0\r\n\r\n")
        return None
    if path == b"/length":
        return g.answer(str(len(conn.body(head))).encode())
    told = "\n".join(f"{k}: {v}" for k, v in sorted(fields.items()) if k.startswith("x-forwarded") or k in ("host", "forwarded"))
    return g.answer(told.encode())


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def front(request, gateway, runner, serve, tmp_path):
    """A proxy of that kind before the gateway; connect() makes a TLS connection to it."""
    event = threading.Event()
    g.Conn.server_event = event
    runner.set(trusted_proxies=g.nets("127.0.0.1/32"))
    serve(g.Backend(handler))
    key, cert = certificate(tmp_path)
    with open(tmp_path / "out", "wb") as out:
        process = subprocess.Popen(request.param(tmp_path, gateway.port, key, cert), stdout=out, stderr=out, env={**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)})
    context = ssl.create_default_context(cafile=cert)

    class Front:
        said = event

        def connect(self, source="127.0.0.9"):
            s = socket.create_connection(("127.0.0.1", 7443), source_address=(source, 0))
            s.settimeout(30)
            return context.wrap_socket(s, server_hostname=SITE)

        def ask(self, head, body=b""):
            with self.connect() as s:
                s.sendall(head + b"\r\n" + body)
                return g.read_response(s)

    try:
        wait_until(lambda: Front().connect().close() or True, what=f"the proxy: {open(tmp_path / 'out', 'rb').read()!r}")
        yield Front()
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(tmp_path, ignore_errors=True)


def request_head(path, extra=b""):
    return b"GET %s HTTP/1.1\r\nHost: functions.example.org\r\n%s" % (path, extra)


def body_of(answer):
    return answer[2]


def test_the_function_sees_the_client(front):
    told = body_of(front.ask(request_head(b"/fn/hello/told", b"X-Forwarded-For: 192.0.2.66\r\nForwarded: for=192.0.2.67\r\n"))).decode()
    assert "x-forwarded-for: 127.0.0.9, 127.0.0.1\n" in told + "\n" and "x-forwarded-proto: https\n" in told + "\n", told
    assert f"x-forwarded-host: {SITE}\n" in told + "\n" and "x-forwarded-prefix: /fn/hello\n" in told + "\n", told
    assert "192.0.2.66" not in told and "192.0.2.67" not in told, told  # what the client claims of itself
    assert front.ask(request_head(b"/admin/api/v1/functions"))[0] == 404


def test_streams_and_upgrades(front):
    with front.connect() as s:
        s.sendall(request_head(b"/fn/hello/events") + b"\r\n")
        data = b""
        while b"data: one" not in data:  # it comes although the answer goes on
            data += s.recv(65536)
        front.said.set()
        while b"data: two" not in data:
            data += s.recv(65536)
    with front.connect() as s:
        s.sendall(request_head(b"/fn/hello/ws", b"Connection: Upgrade\r\nUpgrade: echo\r\n") + b"\r\n")
        data = b""
        while not data.endswith(b"hi"):
            data += s.recv(65536)
        assert data.startswith(b"HTTP/1.1 101 "), data
        s.sendall(b"ping")
        assert s.recv(65536) == b"ping"


def test_large_body(front):
    size = 20 << 20
    head = b"POST /fn/hello/length HTTP/1.1\r\nHost: functions.example.org\r\nContent-Length: %d\r\n" % size
    assert body_of(front.ask(head, bytes(size))) == str(size).encode()


def test_traefik_is_valid():
    """Debian has no Traefik to try: the file is at least what its documentation describes."""
    with open(PROXIES + "/traefik.yml", encoding="utf-8") as f:
        http = yaml.safe_load(f)["http"]
    router = http["routers"]["fnd"]
    assert SITE in router["rule"] and router["service"] in http["services"]
    assert http["services"]["fnd"]["loadBalancer"]["servers"] == [{"url": "http://127.0.0.1:8888"}]
