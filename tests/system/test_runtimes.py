"""Runtimes: trees with a name that packages lie over; which image a version keeps, and what becomes of images."""

import io
import json
import os
import re
import tarfile
import threading

import fndtest
from fndtest import api, fnctl, function, get, instances, wait_until

CGI = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n"
LOOK = CGI + "cd /app && pwd -P && cat note && cat /code/note && ls -d /bin/sh /www/index.html && env | grep ^FND_ | sort"
SERVER = "#!/bin/sh\nexec httpd -f -p $PORT -h /app/www\n"
START = '#!/bin/sh\necho "handler $1 in $(pwd)" >/tmp/started\nexec httpd -f -p $PORT -h /app/www\n'
STATE = "/var/lib/fnd"


def package(directory, ini, files=None):
    """A package without a root of its own: scripts and a note."""
    everything = {"function.ini": ini, "note": "one\n", "www/ping": "ok", "www/cgi-bin/look": LOOK, "www/cgi-bin/started": CGI + "cat /tmp/started", **(files or {})}
    for path, text in everything.items():
        target = os.path.join(directory, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(target, 0o755 if text.startswith("#!") else 0o644)
    return str(directory)


def ini(name, more=""):
    return f"[function]\nname = {name}\nruntime = box\n{more}"


def runtime(directory, files=None, name="box"):
    """busybox with a starter for handlers, put from a directory."""
    everything = {"usr/lib/fnd/start": START, **(files or {})}
    fndtest.package(directory, "[function]\nnonsense = yes\n", everything)
    os.chmod(f"{directory}/usr/lib/fnd/start", 0o755)
    return fnctl("runtime", "put", name, directory)


def put(name="box", status=0):
    return fnctl("runtime", "put", name, f"{fndtest.BUILD}/busybox.tar.gz", status=status)


def linked(version, link="image", name="hello"):
    return os.path.basename(os.readlink(f"{STATE}/functions/default/{name}/{version}/{link}"))


def images_on_disk():
    return {n for n in os.listdir(f"{STATE}/images") if len(n) == 64}


def test_a_package_over_a_runtime(daemon, tmp_path):
    put()
    fnctl("deploy", package(tmp_path / "f", ini("hello"), {"serve": SERVER}))
    seen = get("/fn/hello/cgi-bin/look").text.splitlines()
    assert seen[:5] == ["/app", "one", "one", "/bin/sh", "/www/index.html"]
    assert {"FND_RUNTIME=box", "FND_HEALTH_PATH=/ping", "FND_VERSION=1"} <= set(seen)
    assert linked(1, "runtime") != linked(1)
    assert sorted(os.listdir(f"{STATE}/images/{linked(1)}")) == ["app", "code"]
    assert "lowerdir=/w/generated:/image:/runtime" in fnctl("plan", "hello").out


def test_ways_to_start(daemon, tmp_path):
    """A handler, a command with a path of the package, one that the runtime has; and what starts nothing."""
    runtime(tmp_path / "r")
    for number, how in enumerate(("handler = app.main:x y\n", "command = ./start app.main:x\\ y\n", "command = /app/start 'app.main:x y'\n", "command = /code/start 'app.main:x y'\n")):
        files = {} if "handler" in how else {"start": START}
        fnctl("deploy", package(tmp_path / f"f{number}", ini(f"f{number}", how), files))
        assert get(f"/fn/f{number}/cgi-bin/started").text == "handler app.main:x y in /app\n", how
    fnctl("deploy", package(tmp_path / "g", ini("g", "command = httpd -f -p 3000 -h www\n")))
    assert get("/fn/g/note").status == 404 and get("/fn/g/ping").text == "ok"
    assert "FND_HANDLER=app.main:x y" in get("/fn/f0/cgi-bin/look").text
    for number, (how, files, words) in enumerate(
        (
            ("", {}, "neither command nor handler, and there is no executable file at the package's root"),
            ("", {"a": "#!/bin/sh\n", "b": "#!/bin/sh\n"}, "2 executable files"),
            ("command = ./missing\n", {}, "is not in the package"),
            ("command = /app/note\n", {}, "chmod +x"),
            ("handler = a\ncommand = ./b\n", {}, "function.ini:4: [function] handler"),
            ("user = nobody\nhandler = a\n", {}, "function.ini:4: [function] user"),
        )
    ):
        assert words in fnctl("deploy", package(tmp_path / f"bad{number}", ini("bad", how), files), status=1).err, words
    assert "function bad" in fnctl("status", "bad", status=3).err


def test_a_runtime_that_is_not_here(daemon, tmp_path):
    """Refused before anything has changed."""
    fnctl("deploy", fndtest.package(tmp_path / "old", fndtest.HTTPD.format(name="hello")))
    before = images_on_disk()
    path = package(tmp_path / "f", ini("hello", "command = httpd -f -p 3000 -h www\n"))
    said = fnctl("deploy", path, status=1).err
    assert "runtime box is not here, and there is no recipe of that name" in said and " python " in said and "here is none" in said, said
    put("other")
    assert "here are: other" in fnctl("deploy", path, status=1).err
    assert function("hello")["version"] == 1 and os.listdir(f"{STATE}/functions/default/hello").count("2") == 0
    assert images_on_disk() == before and get("/fn/hello/").status == 200  # the runtime has the content of the function's own root
    fnctl("deploy", path, "--name", "new", status=1)
    assert not os.path.exists(f"{STATE}/functions/default/new")


def restarted(name="hello"):
    old = [i["name"] for i in instances(name)]
    fnctl("restart", name)
    wait_until(lambda: [i["name"] for i in instances(name, None)] not in ([], old) and len(instances(name, None)) == 1, 30, "another instance")


def test_a_runtime_that_came_with_the_programs(make_daemon, tmp_path):
    """It has no recipe: what `fnctl runtime build` is asked for is there."""
    said = fnctl("runtime", "build", "static").err
    assert f"runtime static is in {fndtest.BUILD}/runtime-static.tar" in said and "no daemon answers" in said, said
    make_daemon().start()
    assert fnctl("runtime", "build", "static").out.startswith("runtime static is here (")
    listed = fnctl("new", "--list").out
    assert re.search(r"^static +yes ", listed, re.M) and re.search(r"^python +no ", listed, re.M) and re.search(r"^c +needs none ", listed, re.M), listed
    fnctl("new", "site", "--runtime", "static", cwd=tmp_path)
    fnctl("deploy", "./site", cwd=tmp_path)
    assert get("/fn/site/").status == 200
    assert "there is no recipe statics; there are: " in fnctl("runtime", "build", "statics", status=1).err


def test_a_version_keeps_its_runtime(daemon, tmp_path):
    """A new tree of the name is for later deploys; the name may go; the image goes with its last user."""
    runtime(tmp_path / "r1", {"www/which": "first"})
    which = {"www/cgi-bin/which": CGI + "cat /www/which"}
    path = package(tmp_path / "f", ini("hello", "handler = h\n"), which)
    fnctl("deploy", path)
    first = linked(1, "runtime")
    runtime(tmp_path / "r2", {"www/which": "second"})
    restarted()
    assert get("/fn/hello/cgi-bin/which").text == "first"
    fnctl("deploy", path, "--name", "late")
    assert get("/fn/late/cgi-bin/which").text == "second"
    assert linked(1, name="late") == linked(1) and linked(1, "runtime", "late") != first
    assert os.path.basename(os.readlink(f"{STATE}/runtimes/box")) == linked(1, "runtime", "late")
    fnctl("runtime", "rm", "box")
    assert "box" in fnctl("runtime", "rm", "box", status=3).err
    daemon.stop()
    daemon.start()
    texts = lambda: [get(f"/fn/{name}/cgi-bin/which").text for name in ("hello", "late")]
    wait_until(lambda: not [t for t in texts() if "is starting" in t], what="all of the gateway's threads to know the functions")
    assert texts() == ["first", "second"]
    fnctl("rm", "late")
    assert images_on_disk() == {first, linked(1)}
    fnctl("rm", "hello")
    assert images_on_disk() == set() and [n for n in os.listdir(f"{STATE}/images") if n.startswith(".about")] == []


def test_lists_and_prune(daemon, tmp_path):
    assert "no runtime yet" in fnctl("runtime", "ls").err
    put()
    put("same")
    fnctl("deploy", package(tmp_path / "f", ini("hello", "command = httpd -f -p 3000 -h www\n")))
    image, layer = linked(1), linked(1, "runtime")
    rows = {r["name"]: r for r in json.loads(fnctl("runtime", "ls", "--json").out)["runtimes"]}
    assert rows["box"] == {"name": "box", "image": layer, "bytes": rows["same"]["bytes"], "entries": rows["same"]["entries"], "versions": 1} and rows["box"]["bytes"] > 500000
    found = {i["digest"]: i for i in api("GET", "/images").json()["images"]}
    me = [{"function": "hello", "environment": "default", "version": 1}]
    assert found[image]["versions"] == me and found[layer]["layers_of"] == me and sorted(found[layer]["runtimes"]) == ["box", "same"]
    assert set(found) == {image, layer} == images_on_disk()
    assert "hello:1" in fnctl("images").out and "box" in fnctl("images").out and layer[:12] in fnctl("runtime", "ls").out
    nobody = f"{STATE}/images/" + "e" * 64  # as a kill between image and version leaves it
    os.mkdir(nobody)
    os.mkdir(f"{STATE}/images/.staging-left")
    assert "e" * 12 in fnctl("images").out
    assert "1 images removed" in fnctl("prune").out
    wait_until(lambda: set(os.listdir(f"{STATE}/images")) == {image, layer, f".about-{image}", f".about-{layer}"}, 30, "what nobody uses to go")
    assert api("POST", "/prune").json() == {"images": 0, "bytes": 0}
    assert get("/fn/hello/ping").text == "ok"


def audited():
    with open(f"{STATE}/audit.log", encoding="utf-8") as f:
        return {line[line.index("what=") :].strip() for line in f}


def test_refused_runtimes(daemon, tmp_path):
    """Each is one message, and the name leads where it led before."""
    put()
    before = os.readlink(f"{STATE}/runtimes/box")
    for name in ("..", "a/b", "%2e%2e", ".hidden", "x" * 58, ""):
        assert api("PUT", f"/runtimes/{name}", body=b"x").status in (400, 404), name
    assert api("PUT", "/runtimes/box", body=b"").status == 400
    broken = api("PUT", "/runtimes/box", body=b"no archive" * 100)
    assert broken.status == 400 and broken.json()["message"], broken
    with open(f"{fndtest.BUILD}/busybox.tar.gz", "rb") as f:
        half = f.read()[:100000]
    assert api("PUT", "/runtimes/box", body=half).status == 400
    assert api("GET", "/runtimes/box").status == 405 and api("DELETE", "/runtimes/none").status == 404
    assert os.readlink(f"{STATE}/runtimes/box") == before and len(images_on_disk()) == 1
    assert sorted(os.listdir(f"{STATE}/runtimes")) == ["box"]
    wait_until(lambda: not [n for n in os.listdir(f"{STATE}/images") if n.startswith(".staging")], 30, "staging directories to go")
    wait_until(lambda: {"what=runtime-put target=box status=201", "what=runtime-remove target=none status=404"} <= audited(), 30, "the lines of audit.log")


def test_an_upload_that_stops_is_taken_back(daemon):
    with open(f"{fndtest.BUILD}/busybox.tar.gz", "rb") as f:
        data = f.read()
    client = fndtest.UnixConnection(fndtest.API_SOCKET, 30)
    client.putrequest("PUT", "/api/v1/runtimes/box")
    client.putheader("Content-Length", str(len(data)))
    client.endheaders(data[: len(data) // 2])
    wait_until(lambda: os.listdir(f"{STATE}/images"), 30, "a staging directory")
    client.close()
    wait_until(lambda: not os.listdir(f"{STATE}/images"), 30, "it to go")
    assert os.listdir(f"{STATE}/runtimes") == []


def add(tar, name, kind=tarfile.REGTYPE, target="", data=b"", mode=0o644, pax=None):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode, info.pax_headers = kind, target, len(data), mode, pax or {}
    tar.addfile(info, io.BytesIO(data))


def test_names_that_mean_something_to_us(daemon, tmp_path):
    """app, code and overlayfs's own attributes in a package are a package's; a runtime's /app and /code give way."""
    runtime(tmp_path / "r", {"app/below": "runtime\n", "app/note": "hidden", "code": "a file"})
    path = str(tmp_path / "p.tar")
    opaque = {f"SCHILY.xattr.{n}.overlay.{k}": v for n in ("trusted", "user") for k, v in (("opaque", "y"), ("redirect", "/etc"))}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "function.ini", data=ini("odd", "command = httpd -f -p 3000 -h www\n").encode())
        add(tar, "app", tarfile.SYMTYPE, "/etc")
        add(tar, "code", tarfile.SYMTYPE, "..")
        add(tar, "layer", tarfile.SYMTYPE, "/")
        add(tar, "sub", tarfile.DIRTYPE, mode=0o755, pax=opaque)
        add(tar, "note", data=b"mine\n", pax=opaque)
        add(tar, "www", tarfile.DIRTYPE, mode=0o755)
        add(tar, "www/ping", data=b"ok")
        script = CGI + "cd /app; ls -d app code layer sub; readlink app; readlink code; cat note /code/note below; ls /bin/sh /etc/passwd"
        add(tar, "www/cgi-bin/x", data=script.encode(), mode=0o755)
    fnctl("deploy", path)
    assert get("/fn/odd/cgi-bin/x").text.split() == "app code layer sub /etc .. mine mine runtime /bin/sh /etc/passwd".split()
    tree = f"{STATE}/images/{linked(1, name='odd')}"
    assert os.readlink(f"{tree}/app/app") == "/etc" and os.readlink(f"{tree}/code") == "app"
    assert [n for d in ("app/sub", "app/note", "app") for n in os.listxattr(f"{tree}/{d}") if "overlay" in n] == []


def test_rootfs_of_a_package_is_laid_over_the_runtimes_root(daemon, tmp_path):
    """Files where programs look for them, beside the runtime's; a file or symlink of that name is the package's own."""
    runtime(tmp_path / "r", {"usr/share/both/theirs": "theirs\n", "usr/share/both/x": "old\n", "etc/of-runtime": "kept\n"})
    files = {
        "rootfs/usr/bin/tool": "#!/bin/sh\necho tool\n", "rootfs/usr/lib/x.so": "lib\n", "rootfs/usr/share/both/x": "new\n", "rootfs/etc/added": "added\n", "rootfs/srv/README": "top\n",
        "www/cgi-bin/x": CGI + "/usr/bin/tool; cat /usr/lib/x.so /usr/share/both/x /usr/share/both/theirs /etc/of-runtime /etc/added /srv/README /app/note; test -e /app/rootfs || echo gone; ls -d /code/www /usr/lib/fnd/start",
    }
    fnctl("deploy", package(tmp_path / "f", ini("hello", "handler = h\n"), files))
    assert get("/fn/hello/cgi-bin/x").text.split() == "tool lib new theirs kept added top one gone /code/www /usr/lib/fnd/start".split()
    assert sorted(os.listdir(f"{STATE}/images/{linked(1)}")) == ["app", "code", "etc", "srv", "usr"]
    for number, text in enumerate(("a file", None)):
        path = package(tmp_path / f"g{number}", ini("g", "handler = h\n"), {"rootfs": text} if text else {})
        if not text:
            os.symlink("/usr", f"{path}/rootfs")
        fnctl("deploy", path)
        tree = f"{STATE}/images/{linked(number + 1, name='g')}"
        assert sorted(os.listdir(tree)) == ["app", "code"] and os.path.lexists(f"{tree}/app/rootfs")


def test_rootfs_that_would_hide_what_is_needed(daemon, tmp_path):
    runtime(tmp_path / "r")
    fnctl("deploy", package(tmp_path / "f", ini("hello", "handler = h\n")))
    for number, (name, words) in enumerate((
        ("app/x", "rootfs/app is in the package"), ("code", "rootfs/code is in"), ("usr/lib/fnd/start", "rootfs/usr/lib/fnd is in the package, which is laid over the runtime's /: the runtime has there what starts"),
        ("bin/x", "put programs into rootfs/usr/bin"), ("lib64/x", "put libraries into rootfs/usr/lib64"), ("tmp/x", "rootfs/tmp is in"), ("dev/x", "rootfs/dev is in"), ("usr", "rootfs/usr is in"),
        ("etc", "it must be a directory"), ("usr/lib", "rootfs/usr/lib is in"),
    )):
        assert words in fnctl("deploy", package(tmp_path / f"bad{number}", ini("hello", "handler = h\n"), {f"rootfs/{name}": "x"}), status=1).err, name
    for number, (name, target) in enumerate((("usr", "app"), ("usr/lib", "/usr/lib/../../app"), ("usr/bin", "../app"), ("etc", "."))):
        path = package(tmp_path / f"link{number}", ini("hello", "handler = h\n"), {"rootfs/srv/x": "x"})
        os.makedirs(os.path.dirname(f"{path}/rootfs/{name}"), exist_ok=True)
        os.symlink(target, f"{path}/rootfs/{name}")
        assert f"rootfs/{name} is in the package" in fnctl("deploy", path, status=1).err, name
    assert function("hello")["version"] == 1 and get("/fn/hello/ping").text == "ok"
    assert [n for n in images_on_disk() if os.path.exists(f"{STATE}/images/{n}/srv")] == []


def test_volumes_and_writing_over_a_runtime(daemon, tmp_path):
    runtime(tmp_path / "r")
    files = {"www/cgi-bin/w": CGI + "echo kept >data/x; cat /code/data/x; echo new >/tmp/t && cat /tmp/t; touch /app/y /usr/y 2>&1"}
    text = ini("hello", "handler = h\n") + "[volumes]\ndata = {} 16M\n"
    assert "is where the package is" in fnctl("deploy", package(tmp_path / "bad", text.format("/code/x")), status=1).err
    fnctl("deploy", package(tmp_path / "f", text.format("/app/data"), {**files, "www/cgi-bin/w": files["www/cgi-bin/w"].replace("data/x;", "/app/data/x;", 1)}))
    said = get("/fn/hello/cgi-bin/w").text
    assert said.startswith("kept\nnew\n") and said.count("Read-only file system") == 2, said


# ---- images that know nothing of fnd ----

FOREIGN = "[function]\nname = foreign\nport = {port}\ncommand = /bin/httpd -f -p {port} -h /site\n[health]\npath = {path}\n"


SITE = {"site/index.html": "from elsewhere", "site/up": "yes"}


def test_a_server_without_our_page_is_refused(make_daemon, tmp_path):
    make_daemon(settings={"runner.start_timeout": "2s"}).start()
    for path, status in (("/ping", "404"), ("/sub", "302")):  # a directory without its slash is sent on: no 2xx
        said = fnctl("deploy", fndtest.package(tmp_path / status, FOREIGN.format(port=8080, path=path), {**SITE, "site/sub/index.html": "x"}), status=None)
        assert said.status == 1 and status in said.err, said


def test_a_server_with_a_port_and_a_page_of_its_own(daemon, tmp_path):
    for number, (port, path) in enumerate(((8080, "/up"), (80, "/"), (5000, "none"))):
        ini = FOREIGN.format(port=port, path=path)
        if port == 5000:  # it is in the environment too
            ini = ini.replace("/bin/httpd -f -p 5000 -h /site", "/bin/sh -c 'exec httpd -f -p $PORT -h /site'")
        fnctl("deploy", fndtest.package(tmp_path / f"f{number}", ini, SITE))
        assert get("/fn/foreign/").text == "from elsewhere" and function("foreign")["port"] == port


GRACEFUL = """#!/bin/sh
httpd -f -p $PORT -h /www &
trap 'echo asked to stop; kill $!; exit 0' TERM
while :; do wait; done
"""


def test_what_runs_keeps_its_image(daemon, tmp_path):
    """A version that is one too many goes with its last instance, whatever is deployed or pruned before."""
    slow = CGI + "touch /tmp/here; until [ -e /tmp/go ]; do sleep 0.05; done; cat /www/which"
    ini_text = "[function]\nname = calm\nkeep = 1\ncommand = /www/cgi-bin/serve\n"
    fnctl("deploy", fndtest.package(tmp_path / "a", ini_text, {"www/cgi-bin/serve": GRACEFUL, "www/cgi-bin/slow": slow, "www/which": "first\n"}))
    old, image = instances("calm")[0]["name"], linked(1, name="calm")
    answers = []
    asker = threading.Thread(target=lambda: answers.append(get("/fn/calm/cgi-bin/slow", seconds=60)))
    asker.start()
    wait_until(lambda: fnctl("exec", old, "--", "ls", "/tmp/here", status=None).status == 0, 30, "the request to arrive")
    fnctl("deploy", fndtest.package(tmp_path / "b", ini_text, {"www/cgi-bin/serve": GRACEFUL, "www/which": "second\n"}))
    fnctl("prune")
    assert linked(1, name="calm") == image and image in images_on_disk()
    fnctl("exec", old, "--", "touch", "/tmp/go")
    asker.join(60)
    assert answers and answers[0].text == "first\n", answers
    wait_until(lambda: images_on_disk() == {linked(2, name="calm")} and not os.path.exists(f"{STATE}/functions/default/calm/1"), 30, "version 1 and its image to go")


def test_a_stop_is_graceful(daemon, tmp_path):
    """The request in flight is answered by the instance that is leaving, and only then is that one asked to end."""
    wait_cgi = CGI + "touch /tmp/here; until [ -e /tmp/go ]; do sleep 0.05; done; echo answered"
    fnctl("deploy", fndtest.package(tmp_path / "f", "[function]\nname = calm\ncommand = /www/cgi-bin/serve\n", {"www/cgi-bin/serve": GRACEFUL, "www/cgi-bin/slow": wait_cgi}))
    old = instances("calm")[0]["name"]
    answers = []
    asker = threading.Thread(target=lambda: answers.append(get("/fn/calm/cgi-bin/slow", seconds=60)))
    asker.start()
    wait_until(lambda: fnctl("exec", old, "--", "ls", "/tmp/here", status=None).status == 0, 30, "the request to arrive")
    fnctl("restart", "calm")
    wait_until(lambda: {i["name"]: i["state"] for i in instances("calm", None)}.get(old) == "draining", 30, "the old instance to drain")
    assert "asked to stop" not in fnctl("logs", "--instance", old, "calm").out and not answers
    fnctl("exec", old, "--", "touch", "/tmp/go")
    asker.join(60)
    assert answers and answers[0].text == "answered\n"
    wait_until(lambda: old not in [i["name"] for i in instances("calm", None)], 30, "the old instance to end")
    assert "asked to stop" in fnctl("logs", "--instance", old, "calm").out
