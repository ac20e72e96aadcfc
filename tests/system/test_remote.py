"""fnctl against a daemon elsewhere: login, profiles, the environment, tokens, the password; what it refuses to do with credentials."""

import http.server
import os
import pty
import re
import select
import signal
import socket
import ssl
import stat
import subprocess
import threading

import pytest

import fndtest
from fndtest import AUTH, first_password, fnctl, program, run, wait_until

URL = "http://127.0.0.1:8888"


@pytest.fixture
def daemon(daemon):
    return fndtest.with_first_password(daemon)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of its own; the socket is nowhere, so that what works goes over the network."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "FND_URL", "FND_TOKEN", "FND_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def login(*args, secret=None, **options):
    return fnctl("login", URL, *args, stdin=(secret or first_password()) + "\n", **options)


def profile(home, name):
    return home / ".config/fnd/profiles" / name


def test_every_verb_works_elsewhere(daemon, home, tmp_path):
    """The socket is taken away; deploying, following logs, calling, changing, removing."""
    assert "as admin; profile there" in login("there").out
    os.rename("/run/fnd/fnd.sock", "/run/fnd/away")
    assert "hello version 1 is ready" in fnctl("deploy", "hello").out
    assert fnctl("ls").out.splitlines()[1].split()[0] == "hello" and "hello" in fnctl("status", "hello").out and fnctl("status").out
    assert fnctl("invoke", "hello", "--path", "/echo", "-d", "some text").out == "some text"
    fnctl("scale", "hello", "2")
    for verb in ("stop", "start", "restart"):
        fnctl(verb, "hello")
    assert "mounts" in fnctl("plan", "hello").out or fnctl("plan", "hello").out
    assert "gateway.listen" in fnctl("config", "show").out
    assert "not running" not in fnctl("version").out
    refused = fnctl("exec", "hello", "--", "true", status=2)
    assert "unix socket" in refused.err and "ssh" in refused.err
    follow = subprocess.Popen([program("fnctl"), "logs", "-f", "-n", "1000", "hello"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert fndtest.readable(follow.stdout.fileno(), 10) and os.read(follow.stdout.fileno(), 4096)
        assert follow.poll() is None
    finally:
        follow.send_signal(signal.SIGINT)
        follow.communicate(timeout=30)
    fnctl("rm", "hello")
    assert fnctl("status", "hello", status=3).err
    os.rename("/run/fnd/away", "/run/fnd/fnd.sock")


def test_public_url(home):
    """Logged in at the admin listener, functions are called where the daemon says that they are."""
    d = fndtest.Daemon({"gateway.public_url": URL}).start()
    wait_until(lambda: "first password made" in d.output(), what="the first password")
    fnctl("login", "http://127.0.0.1:8889", "admin", stdin=first_password() + "\n")
    fnctl("deploy", "hello")
    assert fnctl("invoke", "hello", "--path", "/echo", "-d", "some text").out == "some text"
    d.stop()


def test_profiles(daemon, home):
    """Which one counts; what lies on disk; what is refused when others could read it."""
    login()
    assert stat.S_IMODE(os.stat(home / ".config/fnd").st_mode) == 0o700
    path = profile(home, "127-0-0-1")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600 and first_password() in path.read_text()
    listed = fnctl("profile", "ls").out
    assert re.search(r"^\* +127-0-0-1 +http://127.0.0.1:8888 +password$", listed, re.MULTILINE) and first_password() not in listed
    fnctl("profile", "use", "local")
    assert re.search(r"^\* +local ", fnctl("profile", "ls").out, re.MULTILINE)
    verbose = fnctl("ls", "-v", "--profile", "127-0-0-1")
    assert "401" not in verbose.err
    fnctl("ls", "--profile", "127-0-0-1", "--socket", "/run/fnd/fnd.sock", status=2)
    fnctl("profile", "use", "none-such", status=3)
    assert "fnctl login" in fnctl("ls", "--profile", "none-such", status=2).err
    fnctl("profile", "use", "127-0-0-1")
    for target, mode in ((path, 0o640), (path.parent, 0o755), (path.parent.parent, 0o711)):
        before = stat.S_IMODE(os.stat(target).st_mode)
        os.chmod(target, mode)
        refused = fnctl("ls", status=2)
        assert "can be read or written by others" in refused.err, refused
        os.chmod(target, before)
    os.chown(path, 12345, -1)
    assert "somebody else" in fnctl("ls", status=2).err
    os.chown(path, 0, -1)
    path.write_text("url = nonsense\n")
    os.chmod(path, 0o600)
    assert "no URL" in fnctl("ls", status=2).err
    fnctl("profile", "rm", "127-0-0-1")
    fnctl("profile", "rm", "127-0-0-1", status=3)


def test_login_tries_first(daemon, home):
    """Nothing is kept of what does not open the API."""
    invoke = fnctl("token", "add", "caller", "--invoke").out.strip()
    for secret, status in (("wrong password", 4), (invoke, 4), ("fnd_" + "A" * 43, 4)):
        login("x", secret=secret, status=status)
    assert "standard input" in fnctl("login", URL, stdin="", status=1).err
    assert not profile(home, "x").exists()
    assert "no daemon answers at http://127.0.0.1:1" in fnctl("login", "http://127.0.0.1:1", "x", stdin="abc\n", status=5).err
    for url in ("ftp://x", "http://", "http://a:b@x/", "https://x/?a", "https://x/#a", "not a url"):
        assert fnctl("login", url, "x", stdin="abc\n", status=2).err
    assert fnctl("login", URL, "local", stdin="abc\n", status=2).err
    assert fnctl("login", URL, "a/b", stdin="abc\n", status=2).err


def test_no_proxy_for_plain_http(daemon, home):
    """What is plain because it stays on this host does not leave it by way of the environment."""
    for name in ("http_proxy", "all_proxy", "ALL_PROXY"):
        with socket.create_server(("127.0.0.1", 0)) as proxy:
            login("p", env={name: f"http://127.0.0.1:{proxy.getsockname()[1]}"})
            assert not fndtest.readable(proxy.fileno(), 0)


def test_plain_http_to_others(home):
    """Neither a password nor a token goes where everybody on the way can read it."""
    for url in ("http://192.0.2.1:8888", "http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://[2001:db8::1]/"):
        refused = fnctl("login", url, "x", stdin="abc\n", status=2)
        assert "plain http" in refused.err and "--insecure" in refused.err
    token = "fnd_" + "A" * 43
    assert "token would go over plain http" in fnctl("ls", env={"FND_URL": "http://192.0.2.1", "FND_TOKEN": token}, status=2).err
    assert "not a token" in fnctl("ls", env={"FND_URL": "https://192.0.2.1", "FND_TOKEN": "secret"}, status=2).err
    assert "FND_TOKEN is not" in fnctl("ls", env={"FND_URL": "https://192.0.2.1"}, status=2).err


def test_environment_and_tokens(daemon, home):
    """FND_URL with FND_TOKEN; a removed token stops working at once; no secret is in an argv or a list."""
    made = fnctl("token", "add", "ci", "--admin", "--expires", "90d")
    token = made.out.strip()
    assert re.fullmatch("fnd_[A-Za-z0-9_-]{43}", token) and "this once" in made.err
    env = {"FND_URL": URL, "FND_TOKEN": token, "FND_SOCKET": "/nowhere"}
    assert "hello version 1" in fnctl("deploy", "hello", env=env).out
    fnctl("token", "add", "web", "--function", "hello", env=env)
    listed = fnctl("token", "ls", env=env).out
    assert re.search(r"^ci +admin +- +\d{4}-\d\d-\d\d +\d{4}-", listed, re.MULTILINE) and re.search(r"^web +function +hello +\S+ +never$", listed, re.MULTILINE) and token not in listed
    for args in ((), ("--admin", "--invoke"), ("--function", "x", "--admin"), ("--admin", "--expires", "soon"), ("--admin", "--expires", "0")):
        assert fnctl("token", "add", "x", *args, status=2).err
    assert fnctl("token", "add", "ci", "--admin", status=1).err
    assert fnctl("token", "add", "../x", "--admin", status=2).err
    fnctl("token", "rm", "ci", env=env)
    assert "not known, or was removed" in fnctl("ls", env=env, status=4).err
    fnctl("token", "rm", "ci", status=3)


def test_passwd(daemon, home):
    """From a pipe, over the network: the first one's file goes, the profile has the new one."""
    login("here")
    assert fnctl("passwd", stdin="short\n", status=1).err
    fnctl("passwd", stdin="a much better one\n")
    assert not os.path.exists(AUTH + "/initial") and "a much better one" in profile(home, "here").read_text()
    fnctl("ls")
    fnctl("passwd", "--socket", "/run/fnd/fnd.sock", stdin="and another one\n")
    assert "wrong password" in fnctl("ls", status=4).err


def on_terminal(args, lines):
    """Runs fnctl on a terminal; what that showed, and the exit status. A line is typed when ": " is there."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(program("fnctl"), ["fnctl", *args])
    shown = b""
    while True:
        if not select.select([fd], [], [], fndtest.PATIENCE_S)[0]:
            break
        try:
            piece = os.read(fd, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
        if shown.endswith(b": ") and lines:
            os.write(fd, lines.pop(0))
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_typed_secrets_are_not_shown(daemon, home):
    shown, status = on_terminal(["passwd"], [b"typed secret\n", b"typed secret\n"])
    assert status == 0 and "typed secret" not in shown
    shown, status = on_terminal(["passwd"], [b"one thing here\n", b"another thing\n"])
    assert status == 1 and "differ" in shown and "thing here" not in shown
    shown, status = on_terminal(["login", URL, "t"], [b"typed secret\n"])
    assert status == 0 and "as admin" in shown and "typed secret" not in shown
    shown, status = on_terminal(["login", URL, "t"], [b"half\x03"])
    assert status == -signal.SIGINT


def tls_front(directory):
    """A TLS listener with a certificate of its own in front of the public one."""
    key, cert = str(directory / "key.pem"), str(directory / "cert.pem")
    made = run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    assert made.status == 0, made
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve():
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                front = context.wrap_socket(raw, server_side=True)
            except (ssl.SSLError, OSError):
                continue
            back = socket.create_connection(("127.0.0.1", 8888))
            threading.Thread(target=pump, args=(front, back), daemon=True).start()
            threading.Thread(target=pump, args=(back, front), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1], cert


def test_https(daemon, home, tmp_path):
    """Certificates are checked; one of one's own is named."""
    port, cert = tls_front(tmp_path)
    url = f"https://localhost:{port}"
    refused = fnctl("login", url, "tls", stdin=first_password() + "\n", status=4)
    assert "--cacert" in refused.err and not profile(home, "tls").exists()
    fnctl("login", url, "tls", "--cacert", cert, stdin=first_password() + "\n")
    assert "hello version 1" in fnctl("deploy", "hello").out
    assert fnctl("invoke", "hello", "--path", "/echo", "-d", "x").out == "x"
    assert fnctl("login", f"https://127.0.0.1:{port}", "other", "--cacert", cert, stdin=first_password() + "\n", status=4).err


def test_functions_do_not_get_the_credentials(home):
    """The API's calls carry them, a request to a function does not."""
    seen = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen[self.path] = self.headers["Authorization"]
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        token = "fnd_" + "x" * 43
        fnctl("invoke", "hello", env={"FND_URL": f"http://127.0.0.1:{server.server_port}/below/", "FND_TOKEN": token})
        server.shutdown()
    assert seen == {"/below/admin/api/v1/functions/hello": "Bearer " + token, "/below/fn/hello/": None}
