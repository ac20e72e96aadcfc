"""`fnctl run`: a function served without a daemon. That nothing is left afterwards is asserted by the test host after every test."""

import array
import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import tarfile
import termios
import zipfile

import pytest

import fndtest
from fndtest import BUILD, fnctl, get, wait_until

URL = re.compile(r"http://([0-9.]+):([0-9]+)(/fn/[^\s]+)")


class Run:
    """A `fnctl run` that goes on until it is ended."""

    def __init__(self, *args, ignore=(), **options):
        self.err = f"/var/lib/run.err.{len(fndtest.logs)}"
        self.out = self.err.replace(".err.", ".out.")
        fndtest.logs += [self.err, self.out]

        def prepare():
            for s in ignore:
                signal.signal(s, signal.SIG_IGN)

        with open(self.err, "wb") as err, open(self.out, "wb") as out:
            self.process = subprocess.Popen([fndtest.program("fnctl"), "run", *args], stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True, preexec_fn=prepare, **options)

    def said(self):
        with open(self.err, encoding="utf-8", errors="replace") as f:
            return f.read()

    def url(self):
        """(port, path) once it serves."""

        def condition():
            assert self.process.poll() is None, f"fnctl run ended: {self.said()}"
            return URL.search(self.said())

        match = wait_until(condition, 30, "the URL")
        return int(match[2]), match[3]

    def get(self, path="", **options):
        port, base = self.url()
        return get(base.rstrip("/") + "/" + path, port=port, **options)

    def end(self, number=signal.SIGTERM, group=False):
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return self.process.wait(30)


@contextlib.contextmanager
def run(*args, **options):
    r = Run(*args, **options)
    try:
        yield r
    finally:
        if r.process.poll() is None:
            assert r.end() == 0, r.said()


def test_strangers_descriptors_are_not_kept():
    """The notify socket has no permissions: whoever sends to it, what comes along must not fill fnctl's table of descriptors."""
    with run("hello") as r:
        r.url()
        with open("/proc/net/unix", encoding="ascii") as f:
            names = {b"\0" + line.split()[7][1:].encode() for line in f if len(line.split()) > 7 and line.split()[7].startswith("@")}
        table = f"/proc/{r.process.pid}/fd"
        before, sent = len(os.listdir(table)), 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            for name in names:
                for _ in range(5):
                    with contextlib.suppress(OSError):
                        s.sendmsg([b"READY=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [s.fileno()] * 8))], 0, name)
                        sent += 1
            assert sent > 0
            wait_until(lambda: fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)) == bytes(4), what="the datagrams to be taken")
        wait_until(lambda: len(os.listdir(table)) == before, what="what came along to be closed")


def test_once_says_hello():
    result = fnctl("run", "hello", "--once")
    assert "hello" in result.out.lower()
    assert "hello" in result.err


def test_once_prints_the_body_and_nothing_else_on_stdout():
    result = fnctl("run", "hello", "--once", "--path", "/echo", "-d", "exactly this")
    assert result.out == "exactly this"


def test_once_body_from_a_file_byte_for_byte(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "body").write_bytes(data)
    assert fnctl("run", "hello", "--once", "--path", "/echo", "-d", f"@{tmp_path}/body").raw == data


def test_once_body_from_stdin():
    assert fnctl("run", "hello", "--once", "--path", "/echo", "-d", "-", stdin=b"from \0 stdin\n").raw == b"from \0 stdin\n"


def test_once_status_that_is_no_success():
    result = fnctl("run", "hello", "--once", "--path", "/no/such/page", status=1)
    assert "404" in result.err


def test_once_method_header_and_query(tmp_path):
    cgi = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho \"$REQUEST_METHOD|$QUERY_STRING|$HTTP_X_TEST\"\n"
    directory = fndtest.package(tmp_path / "f", fndtest.HTTPD.format(name="shows"), {"www/cgi-bin/show": cgi})
    result = fnctl("run", directory, "--once", "-X", "POST", "-H", "X-Test: a b", "--path", "/cgi-bin/show?x=1&y=%20", "-d", "")
    assert result.out == "POST|x=1&y=%20|a b\n"


def test_environment():
    lines = fnctl("run", "hello", "--env", "GREETING=Good day", "--env", "EMPTY=", "--env", "EQ=a=b", "--once", "--path", "/env").out.splitlines()
    assert {"GREETING=Good day", "EMPTY=", "EQ=a=b", "PORT=3000", "HOME=/tmp", "FND_FUNCTION=hello"} <= set(lines), lines


def test_serves_and_tells_what():
    with run("hello") as r:
        assert "hello" in r.get().text.lower()
        assert re.search(r"[0-9.]+ ms", r.said()), r.said()
        assert r.url()[0] == 8888


def archives(tmp_path):
    """A package over a runtime as `fnctl build` makes it, and as a zip, with the directory it is made of."""
    fnctl("new", "site", "--runtime", "static", cwd=tmp_path)
    site = tmp_path / "site"
    (site / "public" / "index.html").write_text("from the package\n")
    fnctl("build", "./site", "-o", "site.tar.gz", cwd=tmp_path)
    with zipfile.ZipFile(tmp_path / "site.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for path in ("function.ini", "public/index.html"):
            z.write(site / path, path)
    return site, tmp_path / "site.tar.gz", tmp_path / "site.zip"


def test_the_runtime_of_a_package(tmp_path):
    """It lies beside fnctl: an archive finds it as its directory does, also where the command line names it; a name that nobody has is explained, once, also where the archive says it."""
    for source in archives(tmp_path):
        result = fnctl("run", source, "--once")
        assert result.out == "from the package\n" and "not here" not in result.err, result
    os.unlink(tmp_path / "site" / "function.ini")
    fnctl("build", "./site", "-o", "bare.tar.gz", cwd=tmp_path)
    sets = ("--set", "function.runtime=static", "--set", "function.handler=public", "--name", "other")
    for source in ("./site", "./bare.tar.gz"):
        assert fnctl("run", source, "--once", *sets, cwd=tmp_path).out == "from the package\n"
    result = fnctl("run", "./site.zip", "--once", "--set", "function.runtime=nosuch", cwd=tmp_path, status=1)
    said = [line for line in result.err.splitlines() if line.startswith("fnctl: ")]
    assert len(said) == 1 and said[0].startswith("fnctl: runtime nosuch is not here, and there is no recipe of that name: `fnctl runtime build` makes: "), result
    assert "runtime statics is not here, and there is no recipe of that name: did you mean static? " in fnctl("run", "./site", "--once", "--set", "function.runtime=statics", cwd=tmp_path, status=1).err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("group", [False, True], ids=["alone", "group"])
def test_signal_ends_it(number, group):
    with run("hello") as r:
        r.url()
        assert r.end(number, group) == 0, r.said()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_it_even_if_inherited_ignored(number):
    with run("hello", ignore=[number]) as r:
        r.url()
        assert r.end(number) == 0, r.said()


def test_signal_at_once():
    """Before it serves, too, an end is a clean end."""
    with run("hello") as r:
        assert r.end(signal.SIGTERM) in (0, -signal.SIGTERM)


def private_processes():
    return [p for name in ("fnd", "fnd-gateway", "fn-init", "hello") for p in fndtest.processes(name) if fndtest.alive(p)]


def test_kill_of_fnctl_ends_the_private_daemon():
    with run("hello") as r:
        r.url()
        r.process.kill()
        r.process.wait(30)
        wait_until(lambda: not private_processes(), what="the end of the private daemon")
    wait_until(lambda: not fndtest.links() and not fndtest.cgroup_dirs(), what="links and cgroups to vanish")
    fnctl("run", "hello", "--once")  # removes the lock file, the only thing that is left


def kill_daemon():
    for pid in fndtest.processes("fnd"):
        with contextlib.suppress(ProcessLookupError):  # its helper that makes the first password has ended
            os.kill(pid, signal.SIGKILL)


def test_kill_of_the_private_daemon_ends_fnctl_and_leaves_nothing():
    with run("hello") as r:
        r.url()
        kill_daemon()
        assert r.process.wait(30) == 1
        wait_until(lambda: not private_processes(), what="the end of what it started")


def test_the_next_run_sweeps_what_two_kills_left():
    with run("hello") as r:
        r.url()
        r.process.kill()
        kill_daemon()
        r.process.wait(30)
        wait_until(lambda: not [pid for pid in fndtest.processes("fnd") if fndtest.alive(pid)], what="the daemon to be dead: it lets its lock go when its last file is closed")
    assert "hello" in fnctl("run", "hello", "--once").out.lower()
    wait_until(lambda: not private_processes(), what="the first run's processes to end")


def test_next_free_port():
    with socket.create_server(("127.0.0.1", 8888)), run("hello") as r:
        port, _ = r.url()
        assert port != 8888
        assert r.get().status == 200


def test_explicit_port_in_use_is_an_error():
    with socket.create_server(("127.0.0.1", 8890)):
        result = fnctl("run", "hello", "--port", "8890", status=1)
        assert "8890" in result.err
        assert "in use" in result.err


def test_listen_address():
    with run("hello", "--listen", "127.0.0.2", "--port", "9000") as r:
        r.url()
        assert get("/fn/hello/", host="127.0.0.2", port=9000).status == 200
        with pytest.raises(OSError):
            get("/fn/hello/", port=9000)


def test_admin_port():
    with run("hello", "--admin", "9001") as r:
        r.url()
        r.get()
        wait_until(lambda: "fnd_requests_total{" in get("/metrics", port=9001).text, what="the request to be counted")
        first = wait_until(lambda: re.search(r"^password  (/\S+/auth/initial) ", r.said(), re.MULTILINE), what="its path")[1]
        wait_until(lambda: os.path.exists(first), what="the first password")
    with run("hello") as r:
        r.url()
        with pytest.raises(OSError):
            get("/metrics", port=8889)


def test_scale():
    with run("hello", "--scale", "3") as r:
        seen = set()
        wait_until(lambda: seen.add(r.get("env").text.split("FND_INSTANCE=")[1].split("\n")[0]) or len(seen) == 3, what="three instances to answer")


def test_two_at_once():
    with run("hello") as a, run("hello") as b:
        assert a.url()[0] != b.url()[0]
        assert a.get().status == 200 and b.get().status == 200


def test_beside_a_daemon(daemon):
    fnctl("deploy", "hello")
    assert "hello" in fnctl("run", "hello", "--once").out.lower()
    wait_until(lambda: all(name.startswith(("fn", "vf")) for name in fndtest.links()), what="the private daemon's links to vanish")
    assert get("/fn/hello/").status == 200


def test_directory_as_path(tmp_path):
    directory = fndtest.package(tmp_path / "here", fndtest.HTTPD.format(name="here"), {"www/index.html": "a page\n"})
    assert fnctl("run", directory, "--once").out == "a page\n"
    assert fnctl("run", ".", "--once", cwd=directory).out == "a page\n"
    assert fnctl("run", "./here", "--once", cwd=tmp_path).out == "a page\n"
    assert fnctl("run", "here", "--once", cwd=tmp_path).out == "a page\n"


@pytest.mark.parametrize("compression", ["", "gz", "xz", "zst"])
def test_archive(tmp_path, compression):
    directory = fndtest.package(tmp_path / "tree", fndtest.HTTPD.format(name="packed"), {"www/index.html": "packed page\n"})
    name = f"{tmp_path}/packed.tar" + ("." + compression if compression else "")
    if compression == "zst":
        subprocess.run(f"tar -C {directory} -c . | zstd -q >{name}", shell=True, check=True)
    else:
        with tarfile.open(name, "w:" + compression) as archive:
            archive.add(directory, ".")
    assert fnctl("run", name, "--once").out == "packed page\n"


def test_only_executable_at_the_root_is_the_command(tmp_path):
    """And the directory's name is the function's: nothing needs to be written down."""
    with tarfile.open(f"{BUILD}/hello.tar.gz") as archive:
        archive.extract("./hello", tmp_path / "greet")
    (tmp_path / "greet" / "README").write_text("not executable")
    result = fnctl("run", "./greet", "--once", cwd=tmp_path)
    assert "from greet" in result.out, result
    assert "named" in fnctl("run", "./greet", "--name", "named", "--once", cwd=tmp_path).out


def test_log_on_stdout(tmp_path):
    directory = fndtest.package(tmp_path / "f", "[function]\nname = talks\ncommand = /bin/sh -c 'echo a line of the log; exec /bin/httpd -f -p 3000 -h /www'\n")
    with run(directory) as r:
        r.url()
        wait_until(lambda: "a line of the log" in open(r.out, encoding="utf-8").read(), what="the function's log on stdout")


def test_keeps_only_the_image_cache():
    fnctl("run", "hello", "--once")
    assert os.listdir("/var/lib/fnd") == []
    assert os.listdir("/etc/fnd") == []
    assert os.listdir("/var/cache/fnd") != []


def test_unknown_name():
    result = fnctl("run", "no-such-thing", "--once", status=None)
    assert result.status in (1, 3)
    assert "no-such-thing" in result.err, result


def test_function_that_exits_at_once(tmp_path):
    directory = fndtest.package(tmp_path / "f", "[function]\nname = dies\ncommand = /bin/sh -c 'echo its last words; exit 3'\n")
    result = fnctl("run", directory, "--once", status=1, seconds=60)
    assert "its last words" in result.err + result.out and "3" in result.err, result


def test_function_that_never_listens(tmp_path):
    directory = fndtest.package(tmp_path / "f", "[function]\nname = mute\ncommand = /bin/sh -c 'echo started; exec sleep 1000'\n")
    result = fnctl("run", directory, "--once", status=1, seconds=60)
    assert "3000" in result.err, result


def test_needs_root():
    result = fndtest.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", fndtest.program("fnctl"), "run", "hello", "--once")
    assert result.status in (1, 4), result
    assert "root" in result.err, result


def test_usage():
    assert fnctl("run", status=2).err
    assert "--no-such" in fnctl("run", "hello", "--no-such", status=2).err
    assert "--once" in fnctl("run", "-h").out
