"""Bad input is refused before anything has changed, with one message that says what, where, why and the remedy."""

import io
import os
import socket
import stat
import tarfile

import pytest

import fndtest
from fndtest import api, fnctl, get

CONFIGURATIONS = {
    "unknown key": ("[runner]\nnothing = 1\n", ["fnd.ini:2", "nothing"]),
    "unknown section": ("[nothing]\nx = 1\n", ["fnd.ini:2", "nothing"]),
    "duplicate key": ("[gateway]\nlisten = none\nlisten = none\n", ["fnd.ini:3", "listen"]),
    "no number": ("[runner]\nslots_ready = many\n", ["fnd.ini:2", "slots_ready", "many"]),
    "number out of bounds": ("[runner]\nslots_max = 99999999\n", ["fnd.ini:2", "slots_max"]),
    "no address": ("[gateway]\nlisten = nowhere\n", ["fnd.ini:2", "listen", "nowhere"]),
    "no path": ("[runner]\nstate = relative/path\n", ["fnd.ini:2", "state"]),
    "no subnet": ("[network]\nsubnet = 10.0.0.0/30\n", ["fnd.ini:2", "subnet"]),
    "no ini": ("what is this\n", ["fnd.ini:1"]),
    "long line": ("[runner]\nstate = /" + "x" * 300 + "\n", ["fnd.ini:2"]),
    "indented line": ("[runner]\nstate = /var/lib/fnd\n  run = /run/fnd\n", ["fnd.ini:3"]),
}


@pytest.mark.parametrize("text, words", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_configuration(text, words):
    os.makedirs("/etc/fnd", exist_ok=True)
    with open("/etc/fnd/fnd.ini", "w", encoding="utf-8") as f:
        f.write(text)
    for args in (("--check",), ()):
        result = fndtest.run(fndtest.program("fnd"), "--config", "/etc/fnd/fnd.ini", *args, seconds=20)
        assert result.status != 0, result
        for word in words:
            assert word in result.err, result
        assert len(result.err.strip().splitlines()) == 1, result
    unchanged()


def unchanged():
    assert os.listdir("/var/lib/fnd") == []
    assert not fndtest.links() and not fndtest.cgroup_dirs()


def test_missing_configuration():
    result = fndtest.run(fndtest.program("fnd"), "--config", "/etc/fnd/none.ini", seconds=20)
    assert result.status != 0 and "/etc/fnd/none.ini" in result.err
    unchanged()


def test_port_in_use(make_daemon):
    with socket.create_server(("127.0.0.1", 8888)):
        status, text = make_daemon().refuses()
    assert status == 3 and "8888" in text and "in use" in text, text
    assert not fndtest.links() and not fndtest.cgroup_dirs()


def test_subnet_in_use(make_daemon):
    fndtest.run("ip", "link", "add", "other0", "type", "bridge")
    fndtest.run("ip", "addr", "add", "10.231.77.1/24", "dev", "other0")
    fndtest.run("ip", "link", "set", "other0", "up")
    try:
        status, text = make_daemon().refuses()
        assert status == 3 and "10.231.0.0/16" in text and "other0" in text, text
        assert fndtest.links() == ["other0"] and not fndtest.cgroup_dirs()
    finally:
        fndtest.run("ip", "link", "del", "other0")


def test_foreign_link_of_our_name(make_daemon):
    fndtest.run("ip", "link", "add", "fn0", "type", "bridge")
    try:
        status, text = make_daemon().refuses()
        assert status != 0 and "fn0" in text, text
        assert fndtest.links() == ["fn0"]
    finally:
        fndtest.run("ip", "link", "del", "fn0")


def test_second_daemon_on_the_same_state(daemon, make_daemon):
    fnctl("deploy", "hello")
    status, text = make_daemon(settings={"gateway.listen": "127.0.0.1:9888", "gateway.admin": "none"}, config="/etc/fnd/second.ini").refuses()
    assert status != 0 and text, text
    assert get("/fn/hello/").status == 200


def test_not_root():
    result = fndtest.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", fndtest.program("fnd"), seconds=20)
    assert result.status != 0 and "root" in result.err, result


def test_newer_store_is_refused(make_daemon):
    d = make_daemon()
    d.start()
    d.stop()
    with open("/var/lib/fnd/format", "w", encoding="utf-8") as f:
        f.write("999\n")
    status, text = make_daemon().refuses()
    assert status != 0 and "999" in text, text
    assert not fndtest.links() and not fndtest.cgroup_dirs()


INI = {
    "unknown key": ("[function]\nname = f\nnonsense = 1\n", ["3", "nonsense"]),
    "unknown section": ("[nonsense]\na = 1\n", ["2", "nonsense"]),
    "duplicate key": ("[function]\nname = f\nname = g\n", ["3", "name"]),
    "bad name": ("[function]\nname = -f-\n", ["2", "name"]),
    "bad size": ("[function]\nname = f\ncommand = /bin/httpd\n[limits]\nmemory = much\n", ["5", "memory"]),
    "bad duration": ("[function]\nname = f\ncommand = /bin/httpd\n[limits]\ntimeout = soon\n", ["5", "timeout"]),
    "zero memory": ("[function]\nname = f\ncommand = /bin/httpd\n[limits]\nmemory = 0\n", ["5", "memory"]),
    "root user": ("[function]\nname = f\ncommand = /bin/httpd\nuser = 0\n", ["4", "user"]),
    "unknown user": ("[function]\nname = f\ncommand = /bin/httpd\nuser = nobody-there\n", ["4", "user"]),
    "bad port": ("[function]\nname = f\ncommand = /bin/httpd\nport = 70000\n", ["4", "port"]),
    "long line": ("[function]\nname = f\n[env]\nX = " + "y" * 400 + "\n", ["4", "env_file"]),
    "port as a variable": ("[function]\nname = f\n[env]\nPORT = 8080\n", ["4", "PORT", "port = N"]),
    "variable of ours": ("[function]\nname = f\n[env]\nFND_VERSION = 8\n", ["4", "FND_VERSION"]),
    "inline comment": ("[function]\nname = f\n[env]\nX = a ; b\n", ["4"]),
    "later feature": ("[function]\nname = f\ncommand = /bin/httpd\n[scale]\ntarget = 8\n", ["target", "later version"]),
    "later section": ("[function]\nname = f\ncommand = /bin/httpd\n[cron nightly]\nschedule = 0 3 * * *\n", ["later version"]),
    "open quote": ("[function]\nname = f\ncommand = /bin/sh -c 'never closed\n", ["3", "command"]),
    "missing command": ("[function]\nname = f\ncommand = /not/there\n", ["/not/there"]),
    "no way to start": ("[function]\nname = f\n", ["command"]),
}


def snapshot():
    """What a refused deploy must not change."""
    images = sorted(os.listdir("/var/lib/fnd/images")) if os.path.isdir("/var/lib/fnd/images") else []
    functions = sorted(path for path, _, _ in os.walk("/var/lib/fnd/functions"))
    return images, functions, [f["name"] for f in api("GET", "/functions").json()["functions"]]


@pytest.mark.parametrize("ini, words", INI.values(), ids=INI.keys())
def test_function_ini(daemon, tmp_path, ini, words):
    before = snapshot()
    result = fnctl("deploy", fndtest.package(tmp_path / "f", ini), status=1)
    for word in words:
        assert word in result.err, result
    fndtest.wait_until(lambda: snapshot() == before, what="the staging directory to vanish")


def member(name, data=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


REFUSED = {
    "climbing name": [member("../../../../tmp/escaped", b"x")],
    "through a symlink": [member("link", type=tarfile.SYMTYPE, linkname="/tmp"), member("link/escaped", b"x")],
    "hard link out": [member("hard", type=tarfile.LNKTYPE, linkname="../../../../etc/passwd")],
    "same file as a directory": [member("x", b"1"), member("x/y", b"2")],
}
# Either refused or made harmless: what must not happen is the same.
HARMLESS = {
    "absolute name": [member("/tmp/escaped", b"x")],
    "device": [member("dev/sda", type=tarfile.BLKTYPE, devmajor=8, devminor=0)],
    "character device": [member("x-mem", type=tarfile.CHRTYPE, devmajor=1, devminor=1)],
    "fifo": [member("x-fifo", type=tarfile.FIFOTYPE)],
    "symlink out": [member("x-link", type=tarfile.SYMTYPE, linkname="/etc/shadow")],
}


def hello_with(path, members):
    """The sample's archive with further members behind its own."""
    with tarfile.open(f"{fndtest.BUILD}/hello.tar.gz") as sample, tarfile.open(path, "w") as archive:
        for info in sample:
            archive.addfile(info, sample.extractfile(info) if info.isfile() else None)
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))


def test_the_harmless_original_is_deployed(daemon, tmp_path):
    hello_with(tmp_path / "a.tar", [])
    fnctl("deploy", f"{tmp_path}/a.tar")


@pytest.mark.parametrize("members", REFUSED.values(), ids=REFUSED.keys())
def test_hostile_archive_is_refused(daemon, tmp_path, members):
    before = snapshot()
    hello_with(tmp_path / "a.tar", members)
    assert members[-1][0].name in fnctl("deploy", f"{tmp_path}/a.tar", status=1).err
    assert not os.path.exists("/tmp/escaped")
    fndtest.wait_until(lambda: snapshot() == before, what="the staging directory to vanish")


@pytest.mark.parametrize("members", HARMLESS.values(), ids=HARMLESS.keys())
def test_hostile_archive_does_no_harm(daemon, tmp_path, members):
    hello_with(tmp_path / "a.tar", members)
    fnctl("deploy", f"{tmp_path}/a.tar", status=None)
    assert not os.path.exists("/tmp/escaped")
    assert daemon.running()
    for path, _, files in os.walk("/var/lib/fnd/images"):
        for name in files:
            mode = os.lstat(os.path.join(path, name)).st_mode
            assert stat.S_ISREG(mode) or stat.S_ISLNK(mode), name


def test_setuid_is_stripped(daemon, tmp_path):
    directory = fndtest.package(tmp_path / "f", fndtest.HTTPD.format(name="suid"))
    os.chmod(directory + "/bin/busybox", 0o6755)
    os.chown(directory + "/bin/busybox", 0, 0)
    subprocess_tar(directory, tmp_path / "a.tar")
    fnctl("deploy", f"{tmp_path}/a.tar")
    images = [entry.path for entry in os.scandir("/var/lib/fnd/images") if entry.is_dir()]
    assert images
    for path, _, files in (step for image in images for step in os.walk(image)):
        for name in files:
            status = os.lstat(os.path.join(path, name))
            assert not status.st_mode & 0o6000 and status.st_uid != 0 and status.st_gid != 0, name


def subprocess_tar(directory, path):
    assert fndtest.run("tar", "-C", directory, "-cf", path, ".").status == 0


ARCHIVES = {
    "empty": b"",
    "text": b"this is no archive at all\n" * 100,
    "zeros": b"\0" * 10240,
    "random": bytes((i * 7919 + 13) % 251 for i in range(5000)),
}


@pytest.mark.parametrize("data", ARCHIVES.values(), ids=ARCHIVES.keys())
def test_no_archive(daemon, tmp_path, data):
    before = snapshot()
    (tmp_path / "a.tar.gz").write_bytes(data)
    result = fnctl("deploy", f"{tmp_path}/a.tar.gz", "--name", "f", status=1)
    assert result.err.startswith(f"fnctl: {tmp_path}/a.tar.gz: ") and "(null)" not in result.err, result
    fndtest.wait_until(lambda: snapshot() == before, what="the staging directory to vanish")


def test_truncated_archive(daemon, tmp_path):
    before = snapshot()
    with open(f"{fndtest.BUILD}/busybox.tar.gz", "rb") as f:
        data = f.read()
    for part in (10, 1000, len(data) // 2, len(data) - 5):
        (tmp_path / "a.tar.gz").write_bytes(data[:part])
        result = fnctl("deploy", f"{tmp_path}/a.tar.gz", status=1)
        assert result.err.strip() and "(null)" not in result.err, result
    fndtest.wait_until(lambda: snapshot() == before, what="the staging directories to vanish")


def test_client_that_goes_away(daemon):
    """A deploy whose connection ends in the middle leaves nothing."""
    before = snapshot()
    with open(f"{fndtest.BUILD}/busybox.tar.gz", "rb") as f:
        data = f.read()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(fndtest.API_SOCKET)
        s.sendall(f"POST /api/v1/functions?name=f HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data[: len(data) // 2])
    fndtest.wait_until(lambda: snapshot() == before and not fndtest.processes("fnd-unpack"), what="the rest of the deploy to vanish")
    fnctl("deploy", "hello")


@pytest.mark.parametrize("name", ["", "-x", "x-", "a b", "a/b", "..", "a.b.c", "x" * 58, "ä", "a\nb"])
def test_names(daemon, name):
    result = fnctl("deploy", "hello", "--name", name, status=None)
    assert result.status in (1, 2), result
    assert api("GET", "/functions").json()["functions"] == []


@pytest.mark.parametrize("scale", ["-1", "x", "1.5", "999999999", ""])
def test_scales(daemon, scale):
    fnctl("deploy", "hello")
    result = fnctl("scale", "hello", "--", scale, status=None)
    assert result.status in (1, 2), result
    assert fndtest.function("hello")["scale"] == "auto"


BODIES = ['{"replicas": -1}', '{"replicas": "many"}', '{"replicas": 1.5}', '{"replicas": 1, "x": 2', "", "[]", '{"replicas": 1e99}', '{"replica": 1}', "\x00"]


@pytest.mark.parametrize("body", BODIES)
def test_api_bodies(daemon, body):
    fnctl("deploy", "hello")
    answer = api("PUT", "/functions/hello/scale", body)
    assert answer.status == 400, answer
    assert answer.json()["message"]


RAW = {
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no version": b"GET /fn/hello/\r\n\r\n",
    "two lengths": b"POST /fn/hello/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunked": b"POST /fn/hello/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": b"POST /fn/hello/echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "space before colon": b"GET /fn/hello/ HTTP/1.1\r\nHost : x\r\n\r\n",
    "folded header": b"GET /fn/hello/ HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "no host": b"GET /fn/hello/ HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /fn/hello/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "nul in a header": b"GET /fn/hello/ HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "bare cr": b"GET /fn/hello/ HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
    "bad chunk size": b"POST /fn/hello/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "huge head": b"GET /fn/hello/ HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    "climbing path": b"GET /fn/hello/%2e%2e/%2e%2e/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("data", RAW.values(), ids=RAW.keys())
def test_raw_requests(daemon, data):
    """A 4xx (or nothing), the connection is closed, and the next client is served."""
    fnctl("deploy", "hello")
    with socket.create_connection(("127.0.0.1", 8888), timeout=30) as s:
        answer = b""
        try:
            s.sendall(data)
            while part := s.recv(65536):
                answer += part
        except ConnectionError:
            pass
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:300]
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert get("/fn/hello/").status == 200
