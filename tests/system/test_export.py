"""Functions as images of the container world: what podman, skopeo and umoci make of an export, and what fnd makes of it again."""

import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import tarfile
import threading

import pytest

import fndtest
import test_runtimes
from fndtest import api, fnctl, function, get, wait_until
from test_image import blob, tool

STATE = "/var/lib/fnd"
CONF = """[engine]
lock_type = "file"
tmp_dir = "{0}/tmp"
cgroup_manager = "cgroupfs"
events_logger = "none"
[containers]
cgroups = "disabled"
netns = "host"
log_driver = "k8s-file"
"""


@pytest.fixture
def podman():
    """With everything that it keeps in a directory of its own (its run root may have 50 characters), without a cgroup and a network of its own."""
    home = pathlib.Path("/tmp/podman")
    home.mkdir()
    (home / "containers.conf").write_text(CONF.format(home))
    env = {"CONTAINERS_CONF": str(home / "containers.conf"), "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}

    def run(*args):
        out = fndtest.run("podman", "--root", home / "storage", "--runroot", home / "run", "--storage-driver", "vfs", "--runtime", "crun", "--runtime-flag", f"root={home}/crun", *args, env=env)
        assert out.status == 0, out
        return out.out.strip()

    yield run
    run("rm", "--force", "--all", "--time", "0")
    # What conmon starts at a container's end does not know of crun's directory, and may still be at it.
    wait_until(lambda: not any(fndtest.processes(name) for name in ("conmon", "podman", "crun")))
    shutil.rmtree("/run/crun", ignore_errors=True)
    shutil.rmtree(home)


@contextlib.contextmanager
def running(podman, image, port=3000):
    """The exported image, run as any other; yields what asks it for a path."""
    container = podman("run", "--detach", image)

    def ask(path, method="GET", body=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=fndtest.PATIENCE_S)
        connection.request(method, path, body)
        answer = connection.getresponse()
        return fndtest.Answer(answer.status, answer.headers, answer.read())

    try:
        wait_until(lambda: ask("/").status, what=lambda: podman("logs", container))
        yield ask
    finally:
        podman("rm", "--force", "--time", "0", container)


def export(name, path, *args):
    fnctl("export", name, "-o", path, *args)
    return path


def documents(archive):
    """Configuration and manifest, by way of the index; every blob is what it is called. What makes an image of it comes last: an archive that was cut is none."""
    with tarfile.open(archive) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
    assert list(files)[-3:] == ["index.json", "manifest.json", "oci-layout"]
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert os.path.basename(name) == hashlib.sha256(data).hexdigest()
    read = lambda digest: json.loads(files["blobs/" + digest.replace(":", "/")])
    manifest = read(json.loads(files["index.json"])["manifests"][0]["digest"])
    return read(manifest["config"]["digest"]), manifest, json.loads(files["manifest.json"])[0]


def plan(name):
    """Without what says whose it is, and how it was deployed."""
    out = fnctl("plan", name).out.splitlines()
    return [line for line in out if not any(word in line for word in ("FND_FUNCTION", "FND_RUNTIME", "FND_HANDLER", "FND_HEALTH_PATH"))]


def tree(root):
    """What is below, but for times and the owner of the tree."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(directory, name)
            st = os.lstat(path)
            what = os.readlink(path) if os.path.islink(path) else hashlib.sha256(open(path, "rb").read()).hexdigest() if os.path.isfile(path) else ""
            found[os.path.relpath(path, root)] = (st.st_mode, st.st_size if os.path.isfile(path) else 0, what)
    return found


def test_round_trip(daemon, tmp_path):
    """To every form and back: the same image, limits, variables and answers; and the same bytes each time."""
    fnctl("deploy", "hello", "--set", "limits.memory=77M", "--set", "function.application=a ; b", "--env", "COLOUR=green é")
    archive = export("hello", tmp_path / "hello.tar")
    assert fnctl("export", "hello").raw == archive.read_bytes() and sorted(os.listdir(tmp_path)) == ["hello.tar"]
    config, manifest, docker = documents(archive)
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/vnd.oci.image.layer.v1.tar"]
    assert docker["RepoTags"] == ["hello:1"] and config["config"]["User"] == "1000:1000" and config["config"]["ExposedPorts"] == {"3000/tcp": {}}
    assert {"COLOUR=green é", "PORT=3000", "HOME=/tmp", "FND_FUNCTION=hello", "FND_VERSION=1"} <= set(config["config"]["Env"])
    seen = json.loads(tool("skopeo", "inspect", f"oci-archive:{archive}"))
    assert seen["Labels"]["org.opencontainers.image.version"] == "1" and "memory = 77M\n" in seen["Labels"]["fnd.function.ini"]
    tool("skopeo", "copy", "-q", f"oci-archive:{archive}", f"docker-archive:{tmp_path}/docker.tar:hello:1")
    tool("skopeo", "copy", "-q", f"docker-archive:{archive}:hello:1", f"oci:{tmp_path}/layout:latest")
    for name, source in (("plain", archive), ("docker", tmp_path / "docker.tar"), ("layout", tmp_path / "layout")):
        out = fnctl("import", source, "--name", name)
        assert "note" not in out.err
        assert plan(name) == plan("hello") and function(name)["image"] == function("hello")["image"]
        assert function(name)["application"] == "a ; b" and function(name)["limits"]["memory_bytes"] == 77 << 20
        assert get(f"/fn/{name}/").text.split(", ")[:2] == [f"Hello from {name}", "version 1"]
    fnctl("deploy", archive)
    assert function("hello")["version"] == 2
    assert documents(export("hello", tmp_path / "second.tar"))[1]["layers"] == manifest["layers"]
    assert export("hello", tmp_path / "first.tar", "--version", "1").read_bytes() == archive.read_bytes()


def test_what_others_unpack(daemon, tmp_path):
    """umoci's tree is the function's own: links, modes, names that are no text."""
    package = fndtest.package(tmp_path / "package", fndtest.HTTPD.format(name="odd"), {"a" * 90 + "/" + "b" * 90 + "/c": "deep", "www/ping": ""})
    os.link(package + "/www/ping", package + "/zz-linked")
    os.symlink("/nowhere/at all", package + "/zz-symlink")
    with open(os.fsencode(package) + b"/\xff\xfe", "wb"):
        pass
    os.chmod(package + "/www/ping", 0o640)
    fnctl("deploy", package)
    archive = export("odd", tmp_path / "odd.tar")
    assert len({m.size for m in tarfile.open(archive) if m.size > 100000}) == 1
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "layout")
    tool("umoci", "unpack", "--image", f"{tmp_path}/layout:1", tmp_path / "bundle")
    stored = f"{STATE}/images/{test_runtimes.linked(1, name='odd')}"
    assert tree(tmp_path / "bundle/rootfs") == tree(stored)
    assert os.stat(tmp_path / "bundle/rootfs/zz-linked").st_ino == os.stat(tmp_path / "bundle/rootfs/www/ping").st_ino


LOOK = test_runtimes.CGI + "pwd -P; cat /app/note /code/note /etc/below; id -u; env | grep -E '^(PORT|HOME|FND_(RUNTIME|HANDLER|FUNCTION|VERSION)|A)=' | sort\n"


def test_over_a_runtime(daemon, podman, tmp_path):
    """Two layers, of which two functions share one; podman, and fnd without the runtime, answer the same."""
    test_runtimes.runtime(tmp_path / "r", {"etc/below": "below\n"})
    ini = test_runtimes.ini("f0", "handler = app.main:x y\nuser = 1234\n[env]\nA = b c\n")
    fnctl("deploy", test_runtimes.package(tmp_path / "f0", ini, {"www/cgi-bin/look": LOOK}))
    fnctl("deploy", test_runtimes.package(tmp_path / "f1", test_runtimes.ini("F1_x", "handler = other\n"), {"note": "two\n"}))
    archive = export("f0", tmp_path / "f0.tar")
    config, manifest, docker = documents(archive)
    other = documents(export("F1_x", tmp_path / "f1.tar"))
    assert len(manifest["layers"]) == 2 and other[1]["layers"][0] == manifest["layers"][0] and other[1]["layers"][1] != manifest["layers"][1]
    assert config["config"]["Entrypoint"] == ["/usr/lib/fnd/start", "app.main:x y"] and config["config"]["WorkingDir"] == "/app" and other[2]["RepoTags"] == ["f1_x:1"]
    here = get("/fn/f0/cgi-bin/look").text
    assert "FND_HANDLER=app.main:x y\n" in here and "below\n1234\n" in here
    podman("load", "--input", archive)
    with running(podman, "f0:1") as ask:
        assert ask("/cgi-bin/look").text == here
        assert ask("/cgi-bin/started").text == get("/fn/f0/cgi-bin/started").text
    fnctl("rm", "f0")
    fnctl("runtime", "rm", "box")
    fnctl("import", archive)
    again = get("/fn/f0/cgi-bin/look").text
    assert again == here.replace("FND_HANDLER=app.main:x y\n", "").replace("FND_RUNTIME=box\n", "")
    assert get("/fn/f0/cgi-bin/started").text == "handler app.main:x y in /app\n"
    podman("load", "--input", export("f0", tmp_path / "again.tar"))
    with running(podman, "f0:1") as ask:
        assert ask("/cgi-bin/look").text == again


def test_stdio(daemon, podman, tmp_path):
    """Served elsewhere by the program that serves it here, with its variables and its limits in time; and a function of the same mode again."""
    script = "#!/bin/sh\necho said >&2\nread -r word\n[ $word != slow ] || { sleep 55 & sleep 55; }\necho $word $Http_Method $Http_Query $A\n"
    ini = "[function]\nname = words\nmode = stdio\ncommand = /bin/sh '/run it.sh'\nport = 3456\n[limits]\ntimeout = 20s\n[env]\nA = b c\nexec_timeout = 1s\n"
    fnctl("deploy", fndtest.package(tmp_path / "p", ini, {"run it.sh": script}))
    archive = export("words", tmp_path / "words.tar")
    config, manifest, _ = documents(archive)
    assert len(manifest["layers"]) == 2 and config["config"]["Entrypoint"] == ["/usr/lib/fnd/stdio"] and config["config"]["Cmd"] == ["/bin/sh", "/run it.sh"]
    podman("load", "--input", archive)
    here = fndtest.request("POST", "/fn/words/?x=1", "some\n")
    assert (here.status, here.text) == (200, "some POST x=1 b c\n")
    with running(podman, "words:1", 3456) as ask:
        there = ask("/?x=1", "POST", "some\n")
        assert (there.status, there.text, there.headers["Content-Type"]) == (here.status, here.text, here.headers["Content-Type"])
        assert ask("/_/health").status == 200
        assert ask("/", "POST", "slow\n").status == fndtest.request("POST", "/fn/words/", "slow\n").status == 408
        wait_until(lambda: not fndtest.processes("sleep"))
    fnctl("import", archive, "--name", "again")
    assert fndtest.request("POST", "/fn/again/?x=1", "some\n").text == here.text
    again = documents(export("again", tmp_path / "again.tar"))[0]["config"]
    assert again["Cmd"] == config["config"]["Cmd"] and again["Entrypoint"] == config["config"]["Entrypoint"]


def test_what_podman_keeps(daemon, podman, tmp_path):
    """The image as podman has it is the function's tree and configuration; a secret is not in it, and a volume's data is not."""
    ini = fndtest.HTTPD.format(name="kept") + "[secrets]\nnames = key\n[volumes]\ndata = /data 16M\n[limits]\nmemory = 99M\n"
    fnctl("secret", "set", "kept.staging", "key", stdin="never to be seen")
    fnctl("deploy", fndtest.package(tmp_path / "p", ini), "--env-name", "staging")
    archive = export("kept.staging", tmp_path / "kept.tar")
    podman("load", "--input", archive)
    seen = json.loads(podman("image", "inspect", "kept.staging:1"))[0]
    assert seen["Config"]["Volumes"] == {"/data": {}} and seen["Config"]["User"] == "1000:1000"
    assert seen["Config"]["Labels"]["fnd.function.ini"] == "[function]\nname = kept\n\n[limits]\nmemory = 99M\n\n[health]\npath = /ping\n\n[secrets]\nnames = key\n\n[volumes]\ndata = /data 16M\n"
    assert b"never to be seen" not in archive.read_bytes()
    container = podman("create", "kept.staging:1")
    podman("export", "--output", tmp_path / "root.tar", container)
    with tarfile.open(tmp_path / "root.tar") as tar:
        tar.extractall(tmp_path / "root")
    assert tree(tmp_path / "root/bin") == tree(f"{STATE}/images/{os.path.basename(os.readlink(STATE + '/functions/staging/kept/1/image'))}/bin")
    out = fnctl("import", archive, "--name", "other", status=3)
    assert "secret" in out.err and "key" in out.err


def test_not_exported(daemon, tmp_path):
    fnctl("deploy", "hello")
    assert "there is no function nosuch" in fnctl("export", "nosuch", "-o", tmp_path / "x", status=3).err
    assert "hello has no version 7: the current one is 1" in fnctl("export", "hello", "--version", "7", "-o", tmp_path / "x", status=3).err
    assert "no/such/directory" in fnctl("export", "hello", "-o", tmp_path / "no/such/directory", status=1).err
    fnctl("export", "hello", "--version", "0", status=2)
    fnctl("export", "hello", "-o", "/dev/full", status=1)
    fnctl("export", "hello", "-o", "/dev/null")
    fnctl("deploy", "hello", "--name", "bytes", "--env", b"A=\xff".decode("utf-8", "surrogateescape"))
    assert 'variable "A=' in fnctl("export", "bytes", "-o", tmp_path / "x", status=1).err
    assert os.listdir(tmp_path) == []


def jails():
    return [name for name in fndtest.cgroup_dirs() if "unpack-" in name]


def big(tmp_path, name="big"):
    """More than a pipe, a socket and a gateway hold together."""
    package = fndtest.package(tmp_path / name, fndtest.HTTPD.format(name=name))
    with open(package + "/blob", "wb") as f:
        f.write(os.urandom(1 << 20) * 24)
    fnctl("deploy", package)
    return name


def test_a_client_that_goes_away(daemon, tmp_path):
    """In the middle of it: nothing is left of the export, and the next one has room. More of them than may run at once."""
    big(tmp_path)
    for _ in range(6):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(fndtest.API_SOCKET)
            client.sendall(b"GET /api/v1/functions/big/export HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
            assert jails()
        wait_until(lambda: not jails())
    wait_until(lambda: "whoever asked for it went away" in daemon.output())
    documents(export("big", tmp_path / "big.tar"))


def test_head(daemon, tmp_path):
    """Answered as GET begins, and nothing more is packed: what writes the archive is ended at its first bytes."""
    big(tmp_path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(fndtest.API_SOCKET)
        client.settimeout(30)
        client.sendall(b"HEAD /api/v1/functions/big/export HTTP/1.1\r\nHost: x\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1000)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"application/x-tar" in head
        client.sendall(b"HEAD /api/v1/functions/big/export?version=9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        rest = b""
        while piece := client.recv(1000):
            rest += piece
        assert rest.startswith(b"HTTP/1.1 404 ") and rest.endswith(b"\r\n\r\n")
    wait_until(lambda: "whoever asked for it went away" in daemon.output())
    wait_until(lambda: not jails())


def test_many_at_once(daemon, tmp_path):
    """Four run, what is beyond is told so; all that come are whole and the same."""
    big(tmp_path)
    whole = export("big", tmp_path / "big.tar").read_bytes()
    clients = []
    for _ in range(4):
        client = http.client.HTTPConnection("x")
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.connect(fndtest.API_SOCKET)
        client.request("GET", "/api/v1/functions/big/export")
        clients.append((client, client.getresponse()))
    answer = api("GET", "/functions/big/export")
    assert answer.status == 409 and "4 others are under way" in answer.text
    results = [None] * 4

    def read(number):
        results[number] = clients[number][1].read()

    readers = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    for client, _ in clients:
        client.close()
    assert all(result == whole for result in results)
    wait_until(lambda: not jails())


def test_removed_meanwhile(daemon, tmp_path):
    """What was begun ends without its end: nobody takes half an image for a whole one."""
    big(tmp_path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(fndtest.API_SOCKET)
        client.sendall(b"GET /api/v1/functions/big/export HTTP/1.1\r\nHost: x\r\n\r\n")
        head = client.recv(100)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        fnctl("rm", "big")
        wait_until(lambda: not os.listdir(f"{STATE}/images") or not [n for n in os.listdir(f"{STATE}/images") if os.path.exists(f"{STATE}/images/{n}/blob")])
        rest = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(1 << 20):
                rest += piece
    assert not rest.endswith(b"0\r\n\r\n")
    wait_until(lambda: not jails())


def relabelled(archive, layout, label, value):
    """A copy as a layout, with another label."""
    with tarfile.open(archive) as tar:
        tar.extractall(layout)
    (layout / "manifest.json").unlink()
    tool("umoci", "config", "--image", f"{layout}:1", "--tag", "1", "--config.label", f"{label}={value}")
    return layout


HOSTILE = (
    ("fnd.function.ini", "[function]\nnonsense = 1\n", "fnd.function.ini: function.ini:2: [function] has no key nonsense"),
    ("fnd.function.ini", "[limits]\nmemory = 1\n", "fnd.function.ini: function.ini:2: [limits] memory"),
    ("fnd.function.ini", "[function]\nname = ../../etc\n", "is no name"),
    ("fnd.function.ini", "[function]\nruntime = box\n", "an image is a whole root by itself"),
    ("fnd.function.ini", "[sandbox]\ndevices = /dev/mem\n", "/dev/mem is given to no function"),
    ("fnd.function.ini", "x" * 200, "198"),
    ("fnd.function.set", "limits.memory", "fnd.function.set"),
    ("fnd.function.set", "limits.pids=1", "fnd.function.set: [limits] pids: 1 is too small"),
    ("fnd.function.set", "env.A=" + "x" * 2000, "more than 1023 bytes"),
    ("fnd.function.set", "function.nonsense=1", "[function] has no key nonsense"),
)


def test_hostile_labels(daemon, tmp_path):
    """They are read like any function.ini, in the jail; what is running stays."""
    fnctl("deploy", "hello")
    archive = export("hello", tmp_path / "hello.tar")
    for number, (label, value, words) in enumerate(HOSTILE):
        out = fnctl("deploy", relabelled(archive, tmp_path / str(number), label, value), status=1)
        assert words in out.err, (label, value, out)
    assert function("hello")["version"] == 1
