"""What builders install, with the real tools in their sandbox: npm, Bundler, pip and apt against registries of tiny packages that the test serves outside. Each both ways: `fnctl build` in a private daemon, `fnctl deploy` on a server.

The tools by themselves, without a sandbox: tests/shims/test_builder.py. The builder's part of the contract, played by a fake: test_project.py.
"""

import base64
import contextlib
import os
import re
import subprocess
import sys

import pytest

import fndtest
import test_run
import world as surroundings
from fndtest import api, fnctl, get
from test_python import put

sys.path.insert(0, fndtest.REPO + "/tests/shims")
from debs import Repository  # noqa: E402  pylint: disable=wrong-import-position
from index import Index, wheel  # noqa: E402  pylint: disable=wrong-import-position
from registries import Gems, Npm, Shelf  # noqa: E402  pylint: disable=wrong-import-position

PORT = 8000
URL = f"http://{surroundings.PUBLIC}:{PORT}"
REACH = ("--egress", f"{surroundings.PUBLIC}:{PORT}")


@pytest.fixture(autouse=True)
def fixture_no_index_of_the_host(monkeypatch):
    """What whoever runs the tests has configured for tools of their own would reach the builder."""
    for name in os.environ:
        if re.match(r"(?i)(pip|npm_config|bundle|apt_source)_|(http|https|no)_proxy$", name):
            monkeypatch.delenv(name)


class Kind:
    def more(self, directory):
        pass


class NodeKind(Kind):
    runtime, handler, lock, file, installed = "node", "handler.main", "package-lock.json", "package.json", "node_modules"
    env = {"NPM_CONFIG_REGISTRY": URL + "/"}
    files = {"handler.js": "const greeting = require('greeting');\nexports.main = async () => greeting;\n", "package.json": '{\n  "dependencies": {\n    "greeting": "^1.0.0"\n  }\n}\n'}
    unknown = ('{\n  "dependencies": {\n    "greeting": "^1.0.0",\n    "no-such-thing": "1"\n  }\n}\n', f"package.json:4: the registry {URL}/ has no package no-such-thing: correct the name")

    def __init__(self, listener, _):
        self.registry = Shelf(listener)
        self.npm = Npm(self.registry, URL)

    def add(self, version, word):
        self.npm.add("word", version, f"module.exports = '{word}';\n")
        self.npm.add("greeting", version, "module.exports = 'hello ' + require('word');\n", dependencies={"word": version})


class RubyKind(Kind):
    runtime, handler, lock, file, installed = "ruby", "handler.main", "Gemfile.lock", "Gemfile", "vendor"
    env = {}
    files = {"handler.rb": "require 'greeting'\ndef main(event, context)\n  GREETING\nend\n", "Gemfile": f"source '{URL}'\n\ngem 'greeting'\n"}
    unknown = (f"source '{URL}'\n\ngem 'greeting'\ngem 'no-such-thing', '~> 1'\n", f"Gemfile:4: the source {URL} has no gem no-such-thing (~> 1): correct the name or the version")

    def __init__(self, listener, _):
        self.registry = Shelf(listener)
        self.gems = Gems(self.registry)

    def add(self, version, word):
        self.gems.add("word", version, f"WORD = '{word}'\n")
        self.gems.add("greeting", version, "require 'word'\nGREETING = 'hello ' + WORD\n", requires=("word",))


class PythonKind(Kind):
    runtime, handler, lock, file, installed = "python", "handler.main", "requirements.lock", "requirements.txt", "python_modules"
    env = {"PIP_INDEX_URL": URL + "/simple/", "PIP_TRUSTED_HOST": surroundings.PUBLIC}
    files = {"handler.py": "import greeting\ndef main(event, context):\n    return greeting.text\n", "requirements.txt": "greeting\n"}
    unknown = ("greeting\nno-such-thing\n", f"requirements.txt:2: the index {URL}/simple/ has no package no-such-thing for this Python")

    def __init__(self, listener, _):
        self.registry = Index(listener)

    def add(self, version, word):
        self.registry.add("greeting", version, f"text = 'hello {word}'\n")

    def more(self, directory):
        """No index anywhere: the lock keeps --find-links, which leads the second build to the same wheel, though there is a newer one."""
        (directory / "requirements.txt").write_text("--no-index\n--find-links wheels\ngreeting\n")
        os.mkdir(directory / "wheels")
        for version in ("2.0", "2.1"):
            name, data = wheel("greeting", version, f"text = 'hello {version}'\n")
            (directory / "wheels" / name).write_bytes(data)
            fnctl("deploy", directory, "--egress", "no")
            assert get("/fn/hello/").text == "hello 2.0"
        assert [line.split(" --hash")[0] for line in (directory / "requirements.lock").read_text().splitlines()[1:]] == ["--no-index", "--find-links wheels", "greeting==2.0"]


def host_libraries(program):
    """{path: bytes} of the loader and the libraries of a program of this host, where it looks for them."""
    said = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = {}
    for path in re.findall(r"(/\S+)", said):
        with open(path, "rb") as f:
            found[path.lstrip("/")] = f.read()
    return found


class ShellKind(Kind):
    """The program is dynamically linked, in a runtime that has no libraries: its package brings them, and the loader's link, as Debian's libc6 does."""

    runtime, handler, lock, file, installed = "shell", None, "packages.lock", "packages", "rootfs"
    files = {"handler.sh": "#!/bin/sh\nexec greet \"$(cat /usr/share/greet)\"\n", "packages": "greet\n"}
    unknown = ("greet\nno-such-thing\n", f"packages:2: the apt sources ({URL}/ ./) have no package no-such-thing: correct the name")

    def __init__(self, listener, directory):
        self.registry = Repository(directory, listener, surroundings.PUBLIC)
        self.env = {"APT_SOURCE_1": self.registry.source}
        libraries = host_libraries("/usr/bin/printf")
        loader = next(p for p in libraries if "/ld-" in "/" + p)
        links = {p: b for p, b in libraries.items() if p != loader}
        self.registry.add("libc6", "2.0", {**links, "lib/own-loader.so": libraries[loader], f"{loader} -> /lib/own-loader.so": ""})

    def add(self, version, word):
        with open("/usr/bin/printf", "rb") as f:
            self.registry.add("greet", version, {"usr/bin/greet": f.read(), "usr/share/greet": f"hello {word}"}, "libc6")
        self.registry.publish()


KINDS = {"npm": NodeKind, "Bundler": RubyKind, "pip": PythonKind, "apt": ShellKind}


def function(directory, kind, name="hello"):
    for path, text in kind.files.items():
        os.makedirs(directory, exist_ok=True)
        (directory / path).write_text(text)
        if path.endswith(".sh"):
            os.chmod(directory / path, 0o755)
    way = f"handler = {kind.handler}\n" if kind.handler else "mode = stdio\ncommand = /app/handler.sh\n"
    (directory / "function.ini").write_text(f"[function]\nname = {name}\nruntime = {kind.runtime}\n{way}")
    return directory


@contextlib.contextmanager
def outside(make_daemon, kind, tmp_path):
    """A registry in the world around the test host; a daemon with the runtime and its builder."""
    with surroundings.made() as world:
        make_daemon().start()
        put(kind.runtime)
        put(kind.runtime + "-build")
        served = kind(surroundings.inside(world.path, lambda: surroundings.listener(PORT)), tmp_path / "registry")
        try:
            yield served
        finally:
            served.registry.close()


def build(directory, kind, out, **options):
    return fnctl("build", directory, "-o", out, *REACH, env=kind.env, **options)


@pytest.mark.limit(300)  # eight deploys, and images of up to 156 MB twice
@pytest.mark.parametrize("name", KINDS)
def test_what_is_installed_and_locked(name, make_daemon, tmp_path):
    with outside(make_daemon, KINDS[name], tmp_path) as kind:
        kind.add("1.0.0", "world")
        directory = function(tmp_path / "f", kind)
        build(directory, kind, tmp_path / "a.tar.gz")
        lock = (directory / kind.lock).read_bytes()
        assert sorted(os.listdir(directory)) == sorted([*kind.files, "function.ini", kind.lock])
        fnctl("deploy", tmp_path / "a.tar.gz")
        assert get("/fn/hello/").text == "hello world"
        # What the lock says, though there is something newer: the same tree, made on the server.
        kind.add("1.1.0", "moon")
        image = fndtest.function("hello")["image"]
        fnctl("deploy", directory, *REACH, env=kind.env)
        assert get("/fn/hello/").text == "hello world" and (directory / kind.lock).read_bytes() == lock
        assert (fndtest.function("hello")["version"], fndtest.function("hello")["image"]) == (2, image)
        os.unlink(directory / kind.lock)
        fnctl("deploy", directory, *REACH, env=kind.env)
        assert get("/fn/hello/").text == "hello moon" and (directory / kind.lock).read_bytes() != lock
        # A name that nobody has: file, line, name, remedy; nothing has changed.
        lock = (directory / kind.lock).read_bytes()
        (directory / kind.file).write_text(kind.unknown[0])
        result = fnctl("deploy", directory, *REACH, env=kind.env, status=1)
        said = [line for line in result.err.splitlines() if line.startswith("fnctl: ")]
        assert len(said) == 1 and said[0].startswith(f"fnctl: {directory}: {kind.unknown[1]}"), result
        assert get("/fn/hello/").text == "hello moon" and (directory / kind.lock).read_bytes() == lock
        assert [(f["name"], f["version"]) for f in api("GET", "/functions").json()["functions"]] == [("hello", 3)]
        kind.more(directory)


@pytest.mark.limit(300)  # images of up to 156 MB, and four builds
def test_watch_installs_what_has_changed(tmp_path):
    """The list, not the code; what cannot be had keeps what runs, and says what, where and why. A private daemon alone, and one builder in it all the time."""
    with surroundings.made() as world:
        kind = NodeKind(surroundings.inside(world.path, lambda: surroundings.listener(PORT)), None)
        try:
            watch(kind, tmp_path / "f")
        finally:
            kind.registry.close()


def watch(kind, directory):
    kind.add("1.0.0", "world")
    function(directory, kind)

    def change(path, text):
        (directory / "new~").write_text(text)
        os.rename(directory / "new~", directory / path)

    with test_run.run(str(directory), "--watch", *REACH, env={**os.environ, **kind.env}) as r:
        fndtest.wait_until(lambda: r.get().text == "hello world", 60, r.said)
        fndtest.wait_until(lambda: "npm: added 2 packages" in r.said(), 60, r.said)
        asked = len(kind.registry.asked)
        change("handler.js", kind.files["handler.js"].replace("=> greeting", "=> greeting + '!'"))
        fndtest.wait_until(lambda: r.get().text == "hello world!", 60, r.said)
        fndtest.wait_until(lambda: "package.json has not changed: what was installed for it stays" in r.said(), 60, r.said)
        assert len(kind.registry.asked) == asked
        change("package.json", kind.unknown[0])
        fndtest.wait_until(lambda: f"fnctl: {directory}: {kind.unknown[1]}" in r.said() and "the version before goes on" in r.said(), 60, r.said)
        assert r.get().text == "hello world!"
        kind.npm.add("no-such-thing", "1.0.0", "module.exports = 'other';\n")
        change("package.json", kind.unknown[0] + "\n")
        fndtest.wait_until(lambda: r.said().count("changed ") >= 2, 60, r.said)
        change("handler.js", "exports.main = async () => require('no-such-thing');\n")
        fndtest.wait_until(lambda: r.get().text == "other", 60, r.said)
        fndtest.wait_until(lambda: r.said().count("is made") == 3, 60, r.said)
        assert "no-such-thing" in (directory / kind.lock).read_text()


# ---- fnctl runtime build ----


def test_runtime_build(daemon, tmp_path):
    """The real script, from the packages that the suite has fetched before: built, kept, given to the daemon, and a function runs over it."""
    result = fnctl("runtime", "build", "shell", env={"FND_ROOTFS_CACHE": os.environ["FND_ROOTFS_CACHE"]}, seconds=100)
    assert "runtime shell is here" in result.out and os.listdir("/var/cache/fnd/runtimes") == ["runtime-shell.tar"], result
    with open("/var/cache/fnd/runtimes/runtime-shell.tar", "rb") as made, open(f"{fndtest.BUILD}/runtime-shell.tar", "rb") as other:
        assert made.read() == other.read()
    directory = function(tmp_path / "f", ShellKind)
    os.unlink(directory / "packages")
    (directory / "handler.sh").write_text("#!/bin/sh\necho hello\n")
    fnctl("deploy", directory)
    assert get("/fn/hello/").text == "hello\n"


def without(tmp_path, program):
    """A PATH that has everything but that."""
    made = tmp_path / "bin"
    made.mkdir()
    for top in ("/usr/bin", "/usr/sbin"):
        for name in os.listdir(top):
            if name != program and not os.path.lexists(made / name):
                os.symlink(f"{top}/{name}", made / name)
    return str(made)


def test_runtime_build_that_cannot_be(daemon, tmp_path):
    (tmp_path / "work").mkdir()
    nothing = {"FND_ROOTFS_CACHE": "", "TMPDIR": str(tmp_path / "work")}
    for name, env, says in (
        ("shell", {**nothing, "PATH": without(tmp_path, "mmdebstrap")}, "build-runtime: mmdebstrap is missing: apt-get install mmdebstrap\n"),
        ("nosuch", nothing, "build-runtime: there is no recipe nosuch; there are: "),
        ("shell", nothing, "mmdebstrap could not get the packages (above): without network there is no runtime to be built: try apt-get update\n"),
    ):
        assert says in fnctl("runtime", "build", name, env=env, status=1, seconds=100).err
        assert api("GET", "/runtimes").json()["runtimes"] == [] and os.listdir("/var/cache/fnd/runtimes") == [] and os.listdir(tmp_path / "work") == []
    assert "runtime build ../x: letters, digits" in fnctl("runtime", "build", "../x", status=2).err


# ---- scripts of strangers ----

SCRIPT = """
const { spawn } = require('child_process'), fs = require('fs'), net = require('net');
const log = (text) => fs.writeSync(2, text + '\\n');
const tries = {
    reach: () => new Promise((done) => {
        const s = net.connect({ host: '%s', port: %d, timeout: 5000 });
        s.on('connect', () => done('connected')).on('error', (e) => done(e.code)).on('timeout', () => done('silence'));
    }),
    disk: () => {
        const { blocks, bsize } = fs.statfsSync('/tmp');
        try {
            fs.writeFileSync('/usr/lib/planted', 'x');
            return 'written';
        } catch (e) { return `${e.code} ${blocks * bsize / (1 << 20)}M`; }
    },
    fork: () => new Promise((done) => {
        let n = 0;
        const next = () => {
            const p = spawn('/usr/bin/sleep', ['600'], { stdio: 'ignore', detached: true });
            p.on('error', (e) => done(`${e.code} after ${n < 600 ? 'less than 600' : n}`)).on('spawn', () => { n++; n < 2000 ? next() : done('no end'); });
        };
        next();
    }),
};
(async () => {
    for (const [name, work] of Object.entries(tries)) log(`script ${name}: ${await work()}`);
    process.exit(0);
})();
"""


@pytest.mark.limit(300)  # an image of 156 MB, and scripts that go to their limits
def test_what_bounds_the_scripts_of_packages(make_daemon, tmp_path):
    """They run only where the user says so; then in the builder's sandbox, with its limits and its egress alone; what they have begun ends with it, and another function does not notice."""
    with outside(make_daemon, NodeKind, tmp_path) as kind:
        for name, script in (("hostile", SCRIPT % (surroundings.PUBLIC, surroundings.PORT)), ("broken", "process.exit(3);\n")):
            kind.npm.add(name, "1.0.0", "module.exports = 'installed';\n", script=script, scripts={"install": "node script.js"})
        directory = function(tmp_path / "f", kind)
        (directory / "handler.js").write_text("const text = require('hostile');\nexports.main = async () => text;\n")
        (directory / "package.json").write_text('{ "dependencies": { "hostile": "1" } }\n')
        fnctl("deploy", directory, *REACH, env=kind.env)
        assert get("/fn/hello/").text == "installed"
        before = len(fndtest.processes("sleep"))
        (directory / ".npmrc").write_text("ignore-scripts=false\nforeground-scripts=true\n")
        said = fnctl("deploy", directory, *REACH, env=kind.env, seconds=200).err
        assert re.search(r"script reach: (ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EACCES|silence)\n", said) and "script disk: EROFS 1536M\n" in said and "script fork: EAGAIN after less than 600\n" in said, said
        fndtest.wait_until(lambda: len(fndtest.processes("sleep")) == before, what="the end of what the script has begun")
        assert get("/fn/hello/").text == "installed" and fndtest.function("hello")["version"] == 2
        (directory / "package.json").write_text('{ "dependencies": { "broken": "1" } }\n')
        said = fnctl("deploy", directory, *REACH, env=kind.env, status=1).err
        assert f"fnctl: {directory}: package.json: npm: " in said, said
        assert get("/fn/hello/").text == "installed" and [f["name"] for f in api("GET", "/functions").json()["functions"]] == ["hello"]


# ---- credentials ----

SECRET = "only-the-index-may-know"

# Whatever a process of this uid can read: variables and commands of all processes, all files of the directories that are not the image's.
THIEF = """
const fs = require('fs'), path = require('path'), { spawn } = require('child_process');
const found = [], secret = '%s'.split('').reverse().join('');
const look = (file) => {
    try {
        const text = fs.readFileSync(file, 'latin1');
        if (text.includes(secret)) found.push(file + ': ' + text.slice(Math.max(0, text.indexOf(secret) - 60), text.indexOf(secret)).replace(/[^ -~]/g, '|'));
        return true;
    } catch (e) { return false; }
};
const walk = (directory, depth) => {
    let entries = [];
    try { entries = fs.readdirSync(directory, { withFileTypes: true }); } catch (e) { return; }
    for (const e of entries) {
        if (e.isDirectory() && depth < 12) walk(path.join(directory, e.name), depth + 1);
        else if (e.isFile()) look(path.join(directory, e.name));
    }
};
const memory = (pid) => {
    if (/^(node|npm)/.test(fs.readFileSync(`/proc/${pid}/comm`, 'latin1'))) return;
    try {
        const fd = fs.openSync(`/proc/${pid}/mem`), maps = fs.readFileSync(`/proc/${pid}/maps`, 'latin1');
        for (const [, begin, end] of maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) rw/gm)) {
            const at = parseInt(begin, 16), all = Buffer.alloc(Math.min(parseInt(end, 16) - at, 1 << 26));
            try { fs.readSync(fd, all, 0, all.length, at); } catch (e) { continue; }
            if (all.includes(secret)) found.push(`/proc/${pid}/mem`);
        }
    } catch (e) { return; }
};
let seen = 0;
for (const pid of fs.readdirSync('/proc').filter((n) => /^[0-9]+$/.test(n))) {
    for (const file of ['environ', 'cmdline']) seen += look(`/proc/${pid}/${file}`);
    memory(pid);
}
for (const directory of ['/app', '/code', '/etc', '/run', '/tmp', '/var', process.env.HOME]) walk(directory, 0);
spawn('/usr/bin/sleep', ['600'], { stdio: 'ignore', detached: true }).unref();
fs.writeSync(2, `thief: ${seen > 2 ? '' : 'SAW NOTHING AT ALL '}${found.length ? found.join(' ; ') : 'not found'}\\n`);
""" % SECRET[::-1]


@pytest.mark.limit(300)  # an image of 156 MB
def test_scripts_of_packages_cannot_read_the_credentials(tmp_path):
    """npm has them, in .npmrc and in variables, and so may the other tools; the scripts, which run behind it, have nothing, and leave nothing behind in a builder that stays."""
    with surroundings.made() as world:
        kind = NodeKind(surroundings.inside(world.path, lambda: surroundings.listener(PORT)), None)
        try:
            kind.npm.add("thief", "1.0.0", "module.exports = require('fs').readFileSync(__dirname + '/made', 'utf8');\n", script=THIEF + "fs.writeFileSync(__dirname + '/made', 'by the script');\n", scripts={"postinstall": "node script.js"})
            kind.npm.add("frail", "1.0.0", "", script="process.exit(3);\n", scripts={"install": "node script.js"})
            directory = function(tmp_path / "f", kind)
            (directory / "handler.js").write_text("const text = require('thief');\nexports.main = async () => `${text} ${require('fs').existsSync('/app/node_modules/frail')} ${require('fs').readFileSync('/app/own', 'utf8')}`;\n")
            (directory / "package.json").write_text('{ "dependencies": { "thief": "1" }, "optionalDependencies": { "frail": "1" }, "scripts": { "postinstall": "printf mine >own" } }\n')
            (directory / ".npmrc").write_text(f"ignore-scripts=false\nforeground-scripts=true\nregistry={URL}/\n//{surroundings.PUBLIC}:{PORT}/:_authToken={SECRET}\n")
            env = {"PIP_INDEX_URL": f"https://user:{SECRET}@192.0.2.1/simple", "APT_SOURCE_1": f"deb http://user:{SECRET}@192.0.2.1/debian stable main", "NPM_CONFIG_KEY": SECRET}
            before = len(fndtest.processes("sleep"))
            with test_run.run(str(directory), "--watch", *REACH, env={**os.environ, **env}) as r:
                fndtest.wait_until(lambda: re.search("^(npm: thief|fnctl): ", r.said(), re.M), 100, r.said)
                assert re.search(r"thief: not found$", r.said(), re.M), r.said()
                fndtest.wait_until(lambda: r.get().text == "by the script false mine", 60, r.said)
                assert "frail@1.0.0 is optional, and its script failed: it is left out" in r.said() and len(fndtest.processes("sleep")) == before
                assert kind.registry.given == {f"Bearer {SECRET}"}
        finally:
            kind.registry.close()


# The same in Ruby, told by the failure: only then Bundler shows what an extension says.
EXTENSION = """
secret = '%s'.reverse
found = ENV.to_h.select { |_, v| v.include?(secret) }.keys
files = Dir['/proc/[0-9]*/{environ,cmdline}'] + Dir.glob('/{app,code,etc,run,tmp,var}/**/*', File::FNM_DOTMATCH).select { |f| File.file?(f) }
readable = files.count { |f| (File.binread(f).include?(secret) && found << f) || true rescue false }
abort "thief: #{readable > 3 ? '' : 'SAW NOTHING AT ALL '}#{found.empty? ? 'not found' : found.join(' ')}"
""" % SECRET[::-1]


@pytest.mark.limit(300)  # an image of 78 MB
def test_extensions_of_gems_cannot_read_the_credentials(tmp_path):
    """Bundler has them in a variable; extensions are built behind it, after those of gems that they need. Without a compiler that fails, as it did within Bundler."""
    with surroundings.made() as world:
        kind = RubyKind(surroundings.inside(world.path, lambda: surroundings.listener(PORT)), None)
        try:
            kind.gems.add("thief", "1.0.0", "THIEF = 1\n", extensions={"ext/extconf.rb": EXTENSION})
            kind.gems.add("above", "1.0.0", "require 'thief'\n", requires=("thief",), extensions={"ext/extconf.rb": "abort 'too early'\n"})
            directory = function(tmp_path / "f", kind)
            (directory / "Gemfile").write_text(f"source '{URL}'\n\ngem 'above'\ngem 'thief'\n")
            env = {"BUNDLE_" + surroundings.PUBLIC.replace(".", "__"): f"user:{SECRET}", "NPM_CONFIG_KEY": SECRET}
            said = fnctl("build", directory, "-o", tmp_path / "x.tar", *REACH, env=env, status=1).err
            assert re.search(r"thief: not found$", said, re.M) and "too early" not in said, said
            assert f"fnctl: {directory}: Gemfile:4: thief is compiled when it is installed, and the builder has no compiler" in said and not (tmp_path / "x.tar").exists(), said
            assert "Basic " + base64.b64encode(f"user:{SECRET}".encode()).decode() in kind.registry.given
        finally:
            kind.registry.close()
