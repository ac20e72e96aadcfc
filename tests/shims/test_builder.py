"""The builder of Python functions: pip with an index that the test serves."""

import base64
import gzip
import hashlib
import importlib
import io
import os
import subprocess
import sys
import tarfile

import pytest

from debs import Repository
from index import Index, wheel
from shim import REPO, Shim

TAR = {"Content-Type": "application/x-tar"}
ANEW = {"pip.conf": "[global]\n"}  # changes nothing but that pip is run again


@pytest.fixture(name="index")
def fixture_index():
    made = Index()
    made.add("greeting", "1.0", "text = 'old'\n")
    made.add("greeting", "1.1", "from word import word\ntext = 'hello ' + word\n", requires=("word>=2",))
    made.add("word", "1.0", "word = 'nobody'\n")
    made.add("word", "2.0", "word = 'world'\n")
    yield made
    made.close()


@pytest.fixture(name="shim_dir", scope="module")
def fixture_shim_dir(tmp_path_factory):
    """/usr/lib/fnd as the runtime python-build has it: two recipes' shims in one directory."""
    made = tmp_path_factory.mktemp("fnd")
    for recipe in ("python", "builder", "python-build"):
        subprocess.run(["cp", "-R", f"{REPO}/rootfs/{recipe}/shim/.", made], check=True)
    return str(made)


@pytest.fixture(name="builder")
def fixture_builder(shim_dir, index):
    with Shim(shim_dir + "/build", "python", {}, {"PIP_INDEX_URL": index.url, "PIP_RETRIES": "0", "PIP_TIMEOUT": "20"}) as s:
        yield s


def tar(files):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as t:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            data = text if isinstance(text, bytes) else text.encode()
            info.mode, info.size = 0o755 if name.endswith(".sh") else 0o644, len(data)
            t.addfile(info, io.BytesIO(data))
    return made.getvalue()


def build(builder, files):
    """(status, {name: bytes} or the line, the tar's bytes)"""
    answer = builder.ask("POST", "/", tar(files), TAR)
    if answer.status != 200:
        return answer.status, answer.data.decode(), answer.data
    with tarfile.open(fileobj=io.BytesIO(answer.data)) as t:
        return 200, {m.name: t.extractfile(m).read() for m in t if m.isreg()}, answer.data


HANDLER = "import greeting\ndef main(event, context):\n    return greeting.text\n"


def test_requirements_are_installed_and_locked(builder, index):
    source = {"handler.py": HANDLER, "requirements.txt": "# mine\ngreeting\n", "run.sh": "x"}
    status, files, bytes_ = build(builder, source)
    assert status == 200, builder.log
    assert files["handler.py"].decode() == HANDLER and "python_modules/word/__init__.py" in files
    assert any(n.startswith("python_modules/greeting/__pycache__/") for n in files)
    lock = files["requirements.lock"].decode()
    digests = {n.split("-")[0] + "==" + n.split("-")[1]: hashlib.sha256(d).hexdigest() for n, d in index.files.items()}
    assert lock.split("\n")[1:] == [f"{n} --hash=sha256:{digests[n]}" for n in ("greeting==1.1", "word==2.0")] + [""]
    assert builder.get("/lock/requirements.lock").data.decode() == lock and builder.get("/lock/packages.lock").status == 404
    assert "pip: Collecting greeting" in builder.log
    with Shim("rootfs/python/shim/start", "handler.main", files) as s:
        assert s.get().data == b"hello world"
    # With its lock the source gives the same bytes, though the index has something newer; without it, that.
    index.add("word", "3.0", "word = 'moon'\n")
    assert build(builder, {**source, **ANEW, "requirements.lock": lock})[2] == bytes_
    assert b"moon" in build(builder, source)[1]["python_modules/word/__init__.py"]
    changed = build(builder, {**source, "requirements.txt": "greeting==1.0\n", "requirements.lock": lock})
    assert b"old" in changed[1]["python_modules/greeting/__init__.py"] and "python_modules/word/__init__.py" not in changed[1]


def test_a_source_without_requirements_is_packed_as_it_is(builder):
    a, b = build(builder, {"handler.py": "x = 1\n", "d/run.sh": "y"}), build(builder, {"d/run.sh": "y", "handler.py": "x = 1\n"})
    assert a[1] == {"handler.py": b"x = 1\n", "d/run.sh": b"y"} and a[2] == b[2]
    with tarfile.open(fileobj=io.BytesIO(a[2])) as t:
        assert {m.name: (m.mode, m.mtime, m.uid) for m in t} == {"d": (0o755, 0, 0), "d/run.sh": (0o755, 0, 0), "handler.py": (0o644, 0, 0)}


@pytest.mark.parametrize("text, says", [
    ("greeting\n\nnosuch-thing>=1  # x\n", "requirements.txt:3: the index {url} has no package nosuch-thing for this Python (3."),
    ("greeting==9\n", "requirements.txt:1: there is no greeting==9 for this Python (3."),
    ("word\n=nothing\n", "requirements.txt:2: not a requirement: '=nothing'"),
    ("greeting==1.1\nword==1.0\n", "requirements.txt: the versions that are asked for contradict each other (The user requested word==1.0; greeting 1.1 depends on word>=2): loosen one"),
    ("-r other.txt\n", "requirements.txt: pip: Could not open requirements file:"),
])
def test_requirements_that_cannot_be_met(builder, index, text, says):
    status, line, _ = build(builder, {"requirements.txt": text})
    assert status == 422 and line.startswith(says.format(url=index.url)) and line.count("\n") == 1, line
    assert builder.get("/lock/requirements.lock").status == 404


def test_a_lock_that_does_not_fit(builder, index):
    source = {"requirements.txt": "word\n"}
    lock = build(builder, source)[1]["requirements.lock"].decode()
    index.add("word", "2.0", "word = 'forged'\n")
    status, line, _ = build(builder, {**source, **ANEW, "requirements.lock": lock})
    assert status == 422 and line.startswith("requirements.lock:2: what the index") and "remove requirements.lock" in line, line


@pytest.mark.parametrize("text, files, first", [
    ("--no-index\n--find-links wheels  # mine\nword\n", {}, ["--no-index", "--find-links wheels", "word==1.0"]),
    ("-r more/r.txt\n", {"more/r.txt": "-f ../wheels\n--no-index\nword\n"}, ["-f wheels", "--no-index", "word==1.0"]),
    ("--no-index\n./wheels/word-1.0-py3-none-any.whl\n", {}, ["--no-index", "./wheels/word-1.0-py3-none-any.whl"]),
])
def test_wheels_of_the_source(text, files, first, builder, index):
    """There is no such version on the index: only the lock's own lines lead a second build to the files."""
    name, data = wheel("word", "1.0", "word = 'mine'\n")
    source = {"requirements.txt": text, f"wheels/{name}": data, **files}
    status, files, bytes_ = build(builder, source)
    assert status == 200 and files["python_modules/word/__init__.py"] == b"word = 'mine'\n", files
    lock = files["requirements.lock"].decode()
    assert [line.split(" --hash")[0] for line in lock.splitlines()[1:]] == first
    index.files.clear()
    assert build(builder, {**source, **ANEW, "requirements.lock": lock})[2] == bytes_, builder.log
    assert "what requirements.lock says" in builder.log


def ran(builder, name="pip"):
    return builder.log.count(f"{name}: Successfully") if name == "pip" else builder.log.count("is installed") + builder.log.count("is made")


def test_what_has_not_changed_is_not_installed_anew(builder, index):
    """The lock that came of it counts, too, and so does what an option names; a refusal in between takes nothing away."""
    index.add("other", "1.0", "x = 1\n")
    source = {"handler.py": HANDLER, "requirements.txt": "greeting\n"}
    _, first, _ = build(builder, source)
    locked = {**source, "requirements.lock": first["requirements.lock"]}
    index.files.clear()
    status, files, bytes_ = build(builder, {**locked, "handler.py": "new\n", **{"pip.conf": ""}})
    assert status == 422 and ran(builder) == 1, files  # there was no pip.conf
    index.add("greeting", "1.1", "from word import word\ntext = 'hello ' + word\n", requires=("word>=2",))
    index.add("word", "2.0", "word = 'world'\n")
    status, files, _ = build(builder, locked)
    assert status == 200 and ran(builder) == 2
    index.files.clear()
    status, files, bytes_ = build(builder, {**locked, "handler.py": "new\n"})
    assert status == 200 and {**first, "handler.py": b"new\n"} == files and ran(builder) == 2, builder.log
    assert builder.get("/lock/requirements.lock").data == first["requirements.lock"]
    assert build(builder, {"packages": "No Name\n", **locked})[0] == 422 and ran(builder) == 2
    assert build(builder, {**locked, "handler.py": "new\n"})[2] == bytes_ and ran(builder) == 2
    assert build(builder, {**locked, "handler.py": "new\n", "python_modules/stale.py": "x"})[2] == bytes_ and ran(builder) == 2
    for other in ({**source}, {**locked, "requirements.lock": first["requirements.lock"] + b"# x\n"}, {**locked, "requirements.txt": "greeting>=1\n"}):
        assert build(builder, other)[0] == 422, builder.log


def test_a_kept_installation_brings_no_pip_conf_along(builder):
    source = {"requirements.txt": "word\n", "pip.conf": "[global]\n# a password\n"}
    source["requirements.lock"] = build(builder, source)[1]["requirements.lock"]
    status, files, _ = build(builder, {**source, "h.py": "1"})
    assert status == 200 and ran(builder) == 1 and "h.py" in files and "pip.conf" not in files, builder.log


def test_only_what_the_lock_says(builder):
    """Nothing without a digest, nothing that it does not name, nothing that the source brings in the place of it."""
    source = {"handler.py": HANDLER, "requirements.txt": "greeting\n", "python_modules/stale.py": "x"}
    files = build(builder, source)[1]
    made_of, *lines = files["requirements.lock"].decode().splitlines()
    assert "python_modules/stale.py" not in files and len(lines) == 2
    status, line, _ = build(builder, {**source, "requirements.lock": "\n".join([made_of, *(one.split(" ")[0] for one in lines), ""])})
    assert status == 422 and line.startswith("requirements.lock"), line
    status, files, _ = build(builder, {**source, "requirements.lock": "\n".join([made_of, *(one for one in lines if one.startswith("greeting")), ""])})
    assert status == 200 and "python_modules/greeting/__init__.py" in files and "python_modules/word/__init__.py" not in files, files


def test_what_else_is_asked(builder):
    """A lock is there until the next build; nothing else is a build; why one was refused is in the log, too."""
    assert build(builder, {"requirements.txt": "word\n"})[0] == 200 and builder.get("/lock/requirements.lock").status == 200
    assert build(builder, {"h.py": "1"})[0] == 200 and builder.get("/lock/requirements.lock").status == 404
    for method, path in (("POST", "/x"), ("GET", "/"), ("PUT", "/"), ("GET", "/lock/")):
        assert builder.ask(method, path, tar({"h.py": "1"}) if method != "GET" else None, TAR).status == 404
    assert build(builder, {"requirements.txt": "nosuch\n"})[0] == 422
    builder.says("build: requirements.txt:1: the index .* has no package nosuch")


def test_files_of_the_source_that_are_installed_count(builder):
    """Not only the list that names them."""
    name, data = wheel("word", "1.0", "word = 'mine'\n")
    for text in ("--no-index\n-f wheels\nword\n", f"./wheels/{name}\n", f"wheels/{name}\n"):
        source = {"requirements.txt": text, f"wheels/{name}": data, "h.py": "1"}
        _, files, _ = build(builder, source)
        before, source["requirements.lock"] = ran(builder), files["requirements.lock"]
        assert build(builder, source)[0] == 200 and ran(builder) == before
        assert build(builder, {**source, "h.py": "2"})[0] == 200 and ran(builder) == before + 1, text


def test_a_change_in_an_included_file_makes_a_new_lock(builder):
    source = {"requirements.txt": "-r other.txt\n", "other.txt": "word==1.0\n"}
    lock = build(builder, source)[1]["requirements.lock"].decode()
    assert "word==2.0" in build(builder, {**source, "other.txt": "word==2.0\n", "requirements.lock": lock})[1]["requirements.lock"].decode()


@pytest.mark.parametrize("retries", ["1", "0"])
def test_an_index_that_is_not_there(retries, shim_dir):
    """Also where pip tries once only, and says nothing of it."""
    with Shim(shim_dir + "/build", "python", {}, {"PIP_INDEX_URL": "http://user:secret@127.0.0.1:1/simple", "PIP_RETRIES": retries}) as s:
        for files in ({}, {"pip.conf": "[global]\nretries = 0\n"}):
            status, line, _ = build(s, {"requirements.txt": "greeting\n", **files})
            assert status == 422 and line.startswith("requirements.txt: the index http://127.0.0.1:1/simple cannot be reached"), line


BACKEND = """import base64, os
def build_wheel(directory, config_settings=None, metadata_directory=None):
    with open(os.path.join(directory, {0!r}), "wb") as f:
        f.write(base64.b64decode({1!r}))
    return {0!r}
"""


def test_a_password_that_code_could_read_is_said(shim_dir, index):
    """Wheels are only unpacked: nothing to say. What has none is built by code of its own, with what pip has."""
    name, data = wheel("built", "1.0", "text = 'built'\n")
    source = {"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n", "backend.py": BACKEND.format(name, base64.b64encode(data)), "PKG-INFO": "Metadata-Version: 2.1\nName: built\nVersion: 1.0\n"}
    index.files["built-1.0.tar.gz"] = gzip.compress(tar({f"built-1.0/{n}": text for n, text in source.items()}))
    for url, said in ((index.url, False), (index.url.replace("//", "//user:secret@"), True)):
        with Shim(shim_dir + "/build", "python", {}, {"PIP_INDEX_URL": url}) as s:
            assert build(s, {"requirements.txt": "word\n"})[0] == 200 and "could read" not in s.log
            status, files, _ = build(s, {"requirements.txt": "built\n"})
            assert status == 200 and "python_modules/built/__init__.py" in files, s.log
            assert ("build: built: no wheel, so code of its own was run, which could read the index's password" in s.log) == said and "secret@" not in s.log, s.log


def test_what_may_hold_a_credential(shim_dir):
    """What is left for the code of packages of a builder's variables and .npmrc."""
    sys.path[:0] = [shim_dir, f"{REPO}/rootfs/node-build/shim"]
    try:
        fndtool, fndnpm = importlib.import_module("fndtool"), importlib.import_module("fndnpm")
    finally:
        del sys.path[:2]
    kept = {"PATH": "/usr/bin", "FND_RUNTIME": "node", "HTTP_PROXY": "http://192.0.2.1:3128", "NPM_CONFIG_FOREGROUND_SCRIPTS": "true", "npm_config_build_from_source": "true", "BUNDLE_BUILD__PG": "--with-x", "BUNDLE_WITHOUT": "test"}
    gone = {"NPM_CONFIG_REGISTRY": "http://192.0.2.1/", "npm_config__auth": "x", "npm_config_//192.0.2.1/:_authToken": "x", "NPM_CONFIG_KEY": "x", "npm_config_https_proxy": "x", "npm_config_sharp_binary_host": "http://u:p@192.0.2.1/",
            "PIP_INDEX_URL": "http://192.0.2.1/", "pip_cert": "x", "BUNDLE_GEMS__EXAMPLE": "token", "BUNDLE_MIRROR__ALL": "http://192.0.2.1/", "APT_SOURCE_1": "deb http://192.0.2.1/ ./", "HTTPS_PROXY": "http://u:p@192.0.2.1:1", "no_proxy": "http://u:p@192.0.2.1", "all_proxy": "u:p@192.0.2.1:1", "ALL_PROXY": "u:p@192.0.2.1:1",
            "npm_config_otp": "x", "NPM_CONFIG__PASSWORD": "x", "npm_config_client_secret": "x", "NPM_CONFIG_NPM_TOKEN": "x", "npm_config_globalconfig": "/x", "npm_config_userconfig": "/x", "npm_config_username": "x", "npm_config_x509": "x", "BUNDLE_WITH__EXAMPLE__COM": "u:p", "BUNDLE_BUILD__EXAMPLE__COM": "u:p"}
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update({**kept, **gone})
        assert fndtool.bare() == kept
    finally:
        os.environ.clear()
        os.environ.update(before)
    lines = ["ignore-scripts=false", "foreground-scripts = true", "build-from-source"]
    others = ["registry=http://192.0.2.1/", "@own:registry=http://192.0.2.1/", "//192.0.2.1/:_authToken=x", "_auth=x", "email=x", "; a comment", "# another", "https-proxy=http://192.0.2.1", "cert=x", "note=${NPM_TOKEN}", "url=http://u:p@192.0.2.1/", "[section]", ""]
    assert fndnpm.harmless_lines("\n".join(lines + others)).splitlines() == lines


def test_pip_conf_is_used_and_is_no_part_of_the_package(shim_dir, index):
    with Shim(shim_dir + "/build", "python", {}, {"PIP_RETRIES": "0"}) as s:
        status, files, _ = build(s, {"requirements.txt": "word\n", "pip.conf": f"[global]\nindex-url = {index.url}\n"})
        assert status == 200 and "pip.conf" not in files and "python_modules/word/__init__.py" in files, s.log
        status, line, _ = build(s, {"requirements.txt": "greeting\n"})  # and it was that build's alone
        assert status == 422 and "the index https:" in line, line


@pytest.mark.parametrize("data, says", [(b"nonsense" * 200, "not a tar archive"), (b"", "not a tar archive")])
def test_sources_that_are_none(builder, data, says):
    answer = builder.ask("POST", "/", data, TAR)
    assert answer.status == 422 and says in answer.data.decode()


def of_kinds(*members):
    """A tar of (name, type, text: a file's content or a link's target)."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as t:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o755
            if kind == tarfile.REGTYPE:
                info.size = len(text)
                t.addfile(info, io.BytesIO(text.encode()))
            else:
                info.linkname = text
                t.addfile(info)
    return made.getvalue()


def test_sources_that_lead_out(builder):
    for name in ("/etc/x", "../x", "a/../../x"):
        answer = builder.ask("POST", "/", tar({name: "x"}), TAR)
        assert answer.status == 422 and "leads out of the source" in answer.data.decode()
    outside = os.path.dirname(builder.root)
    answer = builder.ask("POST", "/", of_kinds(("a", tarfile.SYMTYPE, outside), ("a/planted", tarfile.REGTYPE, "x")), TAR)
    assert answer.status == 422 and answer.data == b"a: is in the source twice, as two things\n"
    assert not os.path.exists(outside + "/planted")


@pytest.mark.parametrize("members, says", [
    ([("pipe", tarfile.FIFOTYPE, "")], "pipe: neither a file nor a directory nor a symlink"),
    ([("b", tarfile.REGTYPE, "x"), ("a", tarfile.LNKTYPE, "b")], "a: neither a file nor a directory nor a symlink"),
    ([("a", tarfile.REGTYPE, "x"), ("a/b", tarfile.REGTYPE, "x")], "a/b: is in the source twice, as two things"),
    ([("a/b", tarfile.REGTYPE, "x"), ("a", tarfile.REGTYPE, "x")], "a: is in the source twice, as two things"),
])
def test_sources_of_odd_kinds(members, says, builder):
    answer = builder.ask("POST", "/", of_kinds(*members), TAR)
    assert answer.status == 422 and answer.data.decode() == says + "\n"


def test_links_stay_links_and_names_are_sorted(builder):
    """So many that no file system has them in this order by itself."""
    names = [f"{d}/{n}" for d in "zbmkwdh" for n in "qcxay"]
    links = [("l", tarfile.SYMTYPE, "z"), ("b/k", tarfile.SYMTYPE, "nowhere")]
    answer = builder.ask("POST", "/", of_kinds(*((n, tarfile.REGTYPE, "x") for n in names), *links), TAR)
    with tarfile.open(fileobj=io.BytesIO(answer.data)) as t:
        members = list(t)
    assert {m.name: m.linkname for m in members if m.issym()} == {"l": "z", "b/k": "nowhere"}
    tops = [m.name for m in members if "/" not in m.name]
    assert tops == sorted(tops) and len(members) == len(names) + 9
    below = [m.name.split("/")[0] for m in members if "/" in m.name]
    assert list(dict.fromkeys(below)) == sorted(set(below))
    for d in set(below):
        inside = [m.name for m in members if m.name.startswith(d + "/")]
        assert inside == sorted(inside)


# ---- Debian packages ----


@pytest.fixture(name="debian")
def fixture_debian(tmp_path):
    """An apt repository of packages that are made here, and a builder whose runtime `box` has libold."""
    repository = Repository(tmp_path / "repository")
    repository.add("tool", "1.0", {"usr/bin/tool": "#!/bin/sh\ncat /usr/lib/x.so\n", "lib/x.so": "one\n", "usr/share/doc/tool/copyright": "x", "var/lib/tool/x": "x"}, "libnew, libold (>= 1), debconf", script="exit 1")
    repository.add("libnew", "2:1-1", {"usr/lib/new.so": "new\n", "usr/lib/link.so -> new.so": ""})
    repository.add("libold", "1.0", {"usr/lib/old.so": "never\n"})
    repository.add("unmet", "1.0", {}, "nowhere")
    repository.publish()
    made = tmp_path / "fnd"
    for recipe in ("python", "builder"):
        subprocess.run(["cp", "-R", f"{REPO}/rootfs/{recipe}/shim/.", made], check=True)
    (made / "recipes").mkdir()
    (made / "recipes/box.packages").write_text("lower # x\n-libnew\n")
    architecture = subprocess.run(["dpkg", "--print-architecture"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    stanza = "Package: {}\nStatus: install ok installed\nVersion: 1.0\nArchitecture: " + architecture + "\n{}\n"
    (made / "status").write_text(stanza.format("lower", "Depends: libold, libnew\n") + stanza.format("libold", "") + stanza.format("libnew", ""))
    with Shim(str(made / "build"), "box", {}, {"APT_SOURCE_1": repository.source}) as builder:
        yield builder, repository


def test_debian_packages_are_unpacked_and_locked(debian):
    """What the runtime has is not got again, scripts are not run, /lib is /usr/lib, documentation stays away."""
    builder, repository = debian
    source = {"packages": "# mine\ntool\n", "handler.sh": "x", "rootfs/usr/share/own": "own\n"}
    status, files, bytes_ = build(builder, source)
    assert status == 200, files + builder.log
    assert sorted(n for n in files if n.startswith("rootfs/")) == ["rootfs/usr/bin/tool", "rootfs/usr/lib/new.so", "rootfs/usr/lib/x.so", "rootfs/usr/share/own"]
    with tarfile.open(fileobj=io.BytesIO(bytes_)) as t:
        assert t.getmember("rootfs/usr/bin/tool").mode == 0o755 and t.getmember("rootfs/usr/lib/link.so").linkname == "new.so"
    lock = files["packages.lock"].decode()
    assert lock.splitlines()[1:] == [f"libnew=2:1-1 sha256:{repository.digest('libnew')}", f"tool=1.0 sha256:{repository.digest('tool')}"]
    assert builder.get("/lock/packages.lock").data.decode() == lock
    repository.add("tool", "1.1", {"usr/bin/tool": "newer\n"})
    repository.publish()
    assert build(builder, {**source, "packages.lock": lock})[2] == bytes_
    assert build(builder, source)[1]["rootfs/usr/bin/tool"] == b"newer\n"
    assert "tool=1.1 " in build(builder, {**source, "packages": "tool\nlibold\n", "packages.lock": lock})[1]["packages.lock"].decode()


def test_what_debian_packages_may_not_bring(debian):
    """A setuid bit, what is only recommended, and something in the place of what the source has itself; what maintainer scripts are for, unless it is asked for by name."""
    builder, repository = debian
    repository.add("debconf", "1.0", {"usr/share/debconf/x": "x\n"})
    repository.add("useful", "1.0", {"usr/share/useful": "x\n"})
    repository.add("odd", "1.0", {"usr/bin/setuid": "#!/bin/sh\n", "usr/share/mine": "theirs\n", "usr/share/link -> /etc/passwd": ""}, "debconf", recommends="useful")
    repository.publish()
    source = {"packages": "odd\nlibold\n", "rootfs/usr/share/mine": "mine\n", "rootfs/usr/share/link": "mine\n"}
    status, files, bytes_ = build(builder, source)
    assert status == 200, files
    assert {n: files[n] for n in files if n.startswith("rootfs/usr/share")} == {"rootfs/usr/share/mine": b"mine\n", "rootfs/usr/share/link": b"mine\n"}
    with tarfile.open(fileobj=io.BytesIO(bytes_)) as t:
        assert t.getmember("rootfs/usr/bin/setuid").mode == 0o755
    repository.add("odd", "1.1", {})
    repository.publish()
    other = build(builder, {**source, "packages": "libold\nodd\n", "packages.lock": files["packages.lock"]})[1]
    assert other["packages.lock"] == files["packages.lock"]  # the order of the list is no change of it
    assert "rootfs/usr/share/debconf/x" in build(builder, {"packages": "debconf\n"})[1]


def test_a_password_of_the_apt_source_is_not_told(debian, tmp_path):
    with Shim(str(tmp_path / "fnd/build"), "box", {}, {"APT_SOURCE_1": debian[1].source.replace("http://", "http://user:secret@")}) as builder:
        status, line, _ = build(builder, {"packages": "nosuch\n"})
        assert status == 422 and "have no package nosuch" in line and "127.0.0.1" in line and "secret" not in line, line


@pytest.mark.parametrize("text, says", [
    ("tool\n\nnosuch # x\n", "packages:3: the apt sources (http://127.0.0.1:"), ("tool\nNo Name\n", "packages:2: No Name: not the name of a Debian package"), ("unmet\n", "packages: apt: "),
    ("-o=x\n", "packages:1: -o=x: not the name"),
])
def test_debian_packages_that_cannot_be_had(text, says, debian):
    status, line, _ = build(debian[0], {"packages": text})
    assert status == 422 and line.startswith(says) and line.count("\n") == 1, line
    assert debian[0].get("/lock/packages.lock").status == 404
    if "nosuch" in text:
        assert "have no package nosuch: correct the name" in line


def test_a_packages_lock_that_does_not_fit(debian):
    builder, repository = debian
    lock = build(builder, {"packages": "libnew\n"})[1]["packages.lock"].decode()
    for was, now, says in (("libnew=", "libnew ", "packages.lock:2: NAME=VERSION"), ("libnew=2:1-1", "libnew=3", "packages.lock:2: the apt sources ("), (repository.digest("libnew"), "0" * 64, "packages.lock:2: what the apt sources")):
        status, line, _ = build(builder, {"packages": "libnew\n", "packages.lock": lock.replace(was, now)})
        assert status == 422 and line.startswith(says) and "remove packages.lock" in line, line


def test_apt_sources_that_are_not_there(debian):
    builder, repository = debian
    repository.close()
    status, line, _ = build(builder, {"packages": "tool\n"})
    assert status == 422 and "cannot be reached from the builder" in line, line
