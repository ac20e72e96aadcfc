"""Functions that are wrong, of every kind, through the daemon: a deploy that cannot work gives one message that names the file and the remedy and changes nothing; a call that goes wrong is the client's 500 (or 502, or 504) and the log's
reason, and the next call is served. What each shim says of many more mistakes is in tests/shims and test_node_shim.py; what the jail refuses in tests/root.
"""

import dataclasses
import os
import re
import shutil
import threading

import pytest

import fndtest
from fndtest import fnctl, function, get, instances, wait_until

FAILED = "The function failed; its log says why.\n"


@dataclasses.dataclass
class Kind:
    """One runtime: where its handler is, one that works, what cannot be deployed, and what goes wrong in a call."""

    file: str
    handler: str
    good: str
    refused: list  # (name, {file: text}, handler, what the message has)
    calls: str  # a handler that does by path what CALLS asks
    says: dict  # path: (status, what the client gets or None, what the log has)
    ends: str  # what the log has when the function ended its own process
    env: str = ""


PYTHON_CALLS = """
import os, sys, time
def main(event, context):
    path = event.path
    if path == "/type":
        return {1, 2}
    if path == "/raise":
        raise KeyError("secret text")
    if path == "/systemexit":
        raise SystemExit(7)
    if path == "/print":
        print("printed by main"); sys.stdout.write("HTTP/1.1 299 Stray\\r\\n\\r\\n"); os.write(1, b"written to 1\\n")
    if path == "/child":
        if os.fork() == 0:
            return "from the child"
        return str(os.WEXITSTATUS(os.wait()[1]))
    if path == "/orphan":
        if os.fork() == 0:
            os.kill(os.getpid(), 9)
        return "parent"
    if path == "/shell":
        return str(os.system("echo from a shell; exit 3"))
    if path == "/exit":
        os._exit(3)
    if path == "/block":
        print("blocking", flush=True)
        while True:
            time.sleep(1)
    return "good"
"""

RUBY_CALLS = """
def main(event, context)
  case event.path
  when '/type' then 17
  when '/raise' then raise ArgumentError, 'secret text'
  when '/systemexit' then raise SystemExit
  when '/print'
    puts 'printed by main'
    STDOUT.write("HTTP/1.1 299 Stray\\r\\n\\r\\n")
    'good'
  when '/child' then pid = fork or return 'from the child'; Process.wait2(pid)[1].exitstatus.to_s
  when '/orphan' then fork { Process.kill(9, Process.pid) }; 'parent'
  when '/shell' then system('echo from a shell; exit 3'); $?.exitstatus.to_s
  when '/exit' then exit!(3)
  when '/block' then puts 'blocking'; sleep
  else 'good'
  end
end
"""

NODE_CALLS = """
const { spawnSync, spawn } = require('child_process');
exports.main = (event) => {
    switch (event.path) {
    case '/type': return Symbol('x');
    case '/raise': throw new RangeError('secret text');
    case '/print': console.log('printed by main'); process.stdout.write('HTTP/1.1 299 Stray\\r\\n\\r\\n'); return 'good';
    case '/orphan': spawn('sleep', ['300'], { detached: true }).kill('SIGKILL'); return 'parent';
    case '/shell': return String(spawnSync('sh', ['-c', 'echo from a shell; exit 3'], { stdio: 'inherit' }).status);
    case '/exit': process.exit(3); break;
    case '/block': console.log('blocking'); for (;;); break;
    default: return 'good';
    }
};
"""

FLASK_CALLS = """
import os, time
from flask import Flask
app = Flask(__name__)
@app.route("/<path:path>")
@app.route("/", defaults={"path": ""})
def all(path):
    if path == "type":
        return 17
    if path == "raise":
        raise KeyError("secret text")
    if path == "systemexit":
        raise SystemExit(7)
    if path == "print":
        print("printed by main")
    if path == "child":
        if os.fork() == 0:
            return "from the child"
        return str(os.WEXITSTATUS(os.wait()[1]))
    if path == "exit":
        os._exit(3)
    if path == "block":
        print("blocking", flush=True)
        while True:
            time.sleep(1)
    return "good"
"""

EXPRESS_CALLS = """
const app = require('express')();
app.get('/type', (req, res) => res.send(Symbol('x')));
app.get('/raise', () => { throw new RangeError('secret text'); });
app.get('/print', (req, res) => { console.log('printed by main'); res.send('good'); });
app.get('/exit', () => process.exit(3));
app.get('/block', () => { console.log('blocking'); for (;;); });
app.get('/', (req, res) => res.send('good'));
module.exports = app;
"""

GOOD_PYTHON = "def main(event, context):\n    return 'good'\n"
GOOD_RUBY = "def main(event, context)\n  'good'\nend\n"
GOOD_NODE = "exports.main = () => 'good';\n"
NODE_NEVER = "const { main } = require('./other');\nexports.main = main;\n"

# How a function says how it is started, whatever its runtime.
WAYS = [
    ("no way to start", "", {}, r"no way to start: function\.ini has neither command nor handler, .* Set handler or command in \[function\]"),
    ("two ways", "handler = handler.main\ncommand = ./run\n", {"run": "#!/bin/sh\n"}, r"function\.ini:\d+: \[function\] handler: .*command"),
    ("two programs", "", {"one": "#!/bin/sh\n", "two": "#!/bin/sh\n"}, r"no single way to start: .*2 executable files: one two|2 executable files: two one"),
    ("other machine", "command = ./run\n", {"run": "OTHER"}, r'function\.ini:\d+: \[function\] command: "\./run" is a program for (arm64|x86-64), this host is (x86-64|arm64): take one'),
    ("windows", "command = ./run\n", {"run": "#!/bin/sh\r\nexit\r\n"}, r'"\./run" has the line ends of Windows \(CR LF\).*sed'),
    ("no program", "command = ./run\n", {"run": "echo hello\n"}, r'"\./run" is neither a program nor a script: a script\'s first line is #!/bin/sh'),
]

KINDS = {
    "python": Kind(
        "handler.py", "handler.main", GOOD_PYTHON,
        [
            ("no import", {"handler.py": "import requests\n" + GOOD_PYTHON}, None, r"/app/handler\.py:1: there is no module requests: add its package to requirements\.txt"),
            ("import in another file", {"handler.py": "import other\n" + GOOD_PYTHON, "other.py": "\nimport nosuch\n"}, None, r"/app/other\.py:2: there is no module nosuch"),
            ("syntax", {"handler.py": "x = 1\ndef main(:\n"}, None, r"/app/handler\.py:2: SyntaxError: .*correct it|/app/handler\.py:2: SyntaxError: "),
            ("no such function", {}, "handler.run", r"/app/handler\.py: has no run: handler = handler\.run in function\.ini names it; it has main"),
            ("no such file", {}, "other.main", r"/app/other\.py is not there: handler = other\.main in function\.ini needs it; the package has handler\.py|/app/other\.py is not there: .*the package has handler\.py"),
            ("wrong type", {"handler.py": "main = 3\n"}, None, r"/app/handler\.py: main is int, not a function"),
            ("arguments", {"handler.py": "def main(a, b, c):\n    pass\n"}, None, r"/app/handler\.py: main\(a, b, c\): a handler takes \(event, context\)"),
            ("exits", {"handler.py": "import os\nos._exit(0)\n"}, None, r"/app/handler\.py:2: os\._exit\(0\) ends the process while it is imported: leave it out"),
            ("SystemExit", {"handler.py": "raise SystemExit\n"}, None, r"/app/handler\.py:1: ends the process while it is imported: .*__main__"),
        ],
        PYTHON_CALLS,
        {
            "/type": (500, FAILED, r"/app/handler\.py: main returned set: return \{\"statusCode\": 200"),
            "/raise": (500, FAILED, r"/app/handler\.py:8: KeyError: 'secret text': the call was answered with 500"),
            "/systemexit": (500, FAILED, r"/app/handler\.py:10: main called exit: an instance serves many calls and goes on; return the answer instead"),
            "/print": (200, "good", r"printed by main\n(.*\n)*.*HTTP/1.1 299 Stray"),
            "/child": (200, "1", r"main came back in a child that it forked, which is ended here: end it with os\._exit\(0\)"),
            "/orphan": (200, "parent", ""),
            "/shell": (200, "768", r"from a shell"),
        },
        r"/app/handler\.py:\d+: called os\._exit\(3\), which ends the instance and the calls in it: return from main instead",
    ),
    "ruby": Kind(
        "handler.rb", "handler.main", GOOD_RUBY,
        [
            ("no import", {"handler.rb": "require 'nosuch'\n" + GOOD_RUBY}, None, r"/app/handler\.rb:1: there is no nosuch: "),
            ("syntax", {"handler.rb": "x = 1\ndef main(\n"}, None, r"/app/handler\.rb:\d+: .*correct it"),
            ("no such function", {}, "handler.run", r"/app/handler\.rb: has no method run: handler = handler\.run in function\.ini names it"),
            ("no such file", {}, "other.main", r"/app/other\.rb is not there: handler = other\.main in function\.ini needs it; the package has handler\.rb"),
            ("arguments", {"handler.rb": "def main(a, b, c)\nend\n"}, None, r"/app/handler\.rb: main takes 3 arguments: a handler is def main\(event, context\)"),
            ("exits", {"handler.rb": "exit!(0)\n"}, None, r"/app/handler\.rb:1: called exit!\(0\), which ends the process while it is loaded: leave it out"),
            ("SystemExit", {"handler.rb": "raise SystemExit\n"}, None, r"/app/handler\.rb:1: ends the process while it is loaded: .*__FILE__"),
        ],
        RUBY_CALLS,
        {
            "/type": (500, FAILED, r"/app/handler\.rb: main returned Integer: return \{ statusCode: 200"),
            "/raise": (500, FAILED, r"/app/handler\.rb:5: ArgumentError: secret text: the call was answered with 500"),
            "/systemexit": (500, FAILED, r"/app/handler\.rb:6: main called exit: an instance serves many calls and goes on; return the answer instead"),
            "/print": (200, "good", r"printed by main\n(.*\n)*.*HTTP/1.1 299 Stray"),
            "/child": (200, "1", r"main came back in a child that it forked, which is ended here: end it with exit!\(0\)"),
            "/orphan": (200, "parent", ""),
            "/shell": (200, "3", r"from a shell"),
        },
        r"/app/handler\.rb:\d+: called exit!\(3\)",
    ),
    "node": Kind(
        "handler.js", "handler.main", GOOD_NODE,
        [
            ("no import", {"handler.js": "require('left-pad')\n"}, None, r"its last lines: fnd: handler\.js:1: cannot be loaded: Error: Cannot find module 'left-pad': name it in package\.json and let `fnctl build`"),
            ("syntax", {"handler.js": "let x =\n  1 +* 2;\n"}, None, r"handler\.js:2: cannot be loaded: SyntaxError: Unexpected token '\*': correct it"),
            ("no such function", {}, "handler.run", r"handler\.js exports nothing named run, but main: write `exports\.run = \.\.\.`, or change `handler = handler\.run` in function\.ini"),
            ("no such file", {}, "other.main", r"handler = other\.main: the package has no other\.js .*it has handler\.js"),
            ("wrong type", {"handler.js": "exports.main = 3;\n"}, None, r"handler\.js: main is of type number, no function"),
            ("exits", {"handler.js": "process.exit(0);\n"}, None, r"handler\.js ended the process with status 0 while it was loaded"),
        ],
        NODE_CALLS,
        {
            "/type": (500, FAILED.replace("The", "the").replace(".\n", "\n"), r"handler\.js: main gave a symbol: an answer is text, a Buffer"),
            "/raise": (500, FAILED.replace("The", "the").replace(".\n", "\n"), r"RangeError: secret text\n.*/app/handler\.js:6"),
            "/print": (200, "good", r"printed by main\n(.*\n)*.*HTTP/1.1 299 Stray"),
            "/orphan": (200, "parent", ""),
            "/shell": (200, "3", r"from a shell"),
        },
        r"handler\.js: main ended the process with status 3",
    ),
    "flask": Kind(
        "funko.py", "funko:app", "from flask import Flask\napp = Flask(__name__)\n@app.get('/')\ndef index():\n    return 'good'\n",
        [
            ("no import", {"funko.py": "import flask_nosuch\n"}, None, r"/app/funko\.py:1: there is no module flask_nosuch: add its package to requirements\.txt"),
            ("no application", {"funko.py": "x = 1\n"}, None, r"/app/funko\.py: has no app: handler = funko:app in function\.ini names it"),
            ("wrong type", {"funko.py": "app = 'flask'\n"}, None, r"/app/funko\.py: app is str, not"),
        ],
        FLASK_CALLS,
        {
            "/type": (500, None, r"TypeError: The view function did not return a valid response"),
            "/raise": (500, None, r"KeyError: 'secret text'"),
            "/systemexit": (500, FAILED, r"/app/funko\.py:13: app called exit"),
            "/print": (200, "good", r"printed by main"),
            "/child": (200, "1", r"app came back in a child that it forked"),
        },
        r"/app/funko\.py:\d+: called os\._exit\(3\)", env="HANDLER_THREADS = 1\n",
    ),
    "express": Kind(
        "funko.js", "funko.js", "const app = require('express')();\napp.get('/', (req, res) => res.send('good'));\nmodule.exports = app;\n",
        [
            ("no import", {"funko.js": "require('left-pad')\n"}, None, r"its last lines: fnd: funko\.js:1: cannot be loaded: Error: Cannot find module 'left-pad': name it in package\.json"),
            ("no application", {"funko.js": ""}, None, r"funko\.js is of type object, no function, application or http\.Server: export"),
            ("other port", {"funko.js": "require('express')().listen(8080)\n"}, None, r"funko\.js listens on port 8080: it must be process\.env\.PORT \(3000\)"),
        ],
        EXPRESS_CALLS,
        {
            "/type": (500, None, r"Symbol"),
            "/raise": (500, None, r"RangeError: secret text"),
            "/print": (200, "good", r"printed by main"),
        },
        r"funko\.js.* ended the process with status 3",
    ),
}


def other_machine():
    """The first bytes of a program for another machine than this one."""
    with open("/proc/self/exe", "rb") as f:
        head = bytearray(f.read(64))
    head[18] = 0xB7 if head[18] == 0x3E else 0x3E
    return bytes(head)


def source(directory, start, files, runtime, more=""):
    directory.mkdir(exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    for name, text in {"function.ini": f"[function]\nname = hello\nruntime = {runtime}\n{start}{more}", **files}.items():
        data = other_machine() if text == "OTHER" else text.encode()
        (directory / name).write_bytes(data)
        (directory / name).chmod(0o755 if data[:2] == b"#!" or name in ("run", "one", "two") else 0o644)
    return directory


def refused(directory, pattern):
    """Exit status 1 and one message; below it may stand the last lines of the log. What ran goes on."""
    before = function("hello")
    result = fnctl("deploy", directory, status=None)
    assert result.status == 1 and re.search(pattern, result.err), (pattern, result)
    said = [line for line in result.err.splitlines() if not line.startswith("  | ")]
    assert len(said) == 1 and said[0].startswith("fnctl: ") and result.out == "", result
    assert "(null)" not in result.err
    assert function("hello")["version"] == before["version"] and [i["version"] for i in instances("hello")] == [before["version"]]
    assert get("/fn/hello/").text == "good"


def put(runtime):
    fnctl("runtime", "put", runtime, f"{fndtest.BUILD}/runtime-{runtime}.tar")


def logged(instance, pattern):
    """In the log of that instance: without its name it would be the log of the one that follows."""
    wait_until(lambda: re.search(pattern, fnctl("logs", "hello", "-n", "2000", "--instance", instance).out), 30, f"{pattern} in the log")


@pytest.mark.parametrize("runtime", KINDS)
def test_a_runtime(daemon, tmp_path, runtime):
    """In one daemon: its image is large."""
    put(runtime)
    check_deploys(tmp_path, runtime, KINDS[runtime])
    check_calls(tmp_path, runtime, KINDS[runtime])


def check_deploys(tmp_path, runtime, kind):
    good = {kind.file: kind.good}
    fnctl("deploy", source(tmp_path / "f", f"handler = {kind.handler}\n", good, runtime))
    for name, files, handler, pattern in kind.refused:
        refused(source(tmp_path / "f", f"handler = {handler or kind.handler}\n", {**good, **files}, runtime), pattern)
    if runtime == "python":
        for name, start, files, pattern in WAYS:
            refused(source(tmp_path / "f", start, {**good, **files}, runtime), pattern)


def check_calls(tmp_path, runtime, kind):
    fnctl("deploy", source(tmp_path / "f", f"handler = {kind.handler}\n", {kind.file: kind.calls}, runtime, f"[env]\n{kind.env}"))
    instance = wait_until(lambda: [i for i in instances("hello") if i["version"] == 2], 30, "an instance of version 2")[0]["name"]
    for path, (status, text, pattern) in kind.says.items():
        answer = get("/fn/hello" + path)
        assert answer.status == status and (text is None or answer.text == text), (path, answer)
        assert "secret text" not in answer.text and "Traceback" not in answer.text and "/app/" not in answer.text, (path, answer)
        logged(instance, pattern)
        assert get("/fn/hello/").text == "good", path
    assert function("hello")["restarts"] == 0
    assert get("/fn/hello/exit").status == (500 if kind.file.endswith(".js") else 502)
    logged(instance, kind.ends)
    wait_until(lambda: get("/fn/hello/").text == "good", 30, "the instance that follows")


# ---- what blocks ----


@pytest.mark.parametrize("runtime", ["python", "ruby", "node"])
def test_a_call_that_blocks(make_daemon, tmp_path, runtime):
    """504 when its time is over; another instance answers meanwhile, and the blocked one, which hears no SIGTERM, is replaced."""
    make_daemon(settings={"runner.stop_timeout": "1s", "runner.drain_timeout": "1s"}).start()
    kind = KINDS[runtime]
    put(runtime)
    more = "[limits]\ntimeout = 4s\n[health]\ninterval = 1s\nthreshold = 2\n"
    fnctl("deploy", source(tmp_path / "f", f"handler = {kind.handler}\n", {kind.file: kind.calls}, runtime, more))
    fnctl("scale", "hello", "2")
    names = [i["name"] for i in fndtest.ready_instances("hello", 2)]
    answers = []
    asker = threading.Thread(target=lambda: answers.append(get("/fn/hello/block", seconds=60)))
    asker.start()
    wait_until(lambda: [n for n in names if "blocking" in fnctl("logs", "hello", "--instance", n).out], 30, "the call to block")
    for _ in range(5):
        said = get("/fn/hello/").text
        assert said == "good" or answers  # from then on the blocked one has no call, and may be asked until it is replaced
    asker.join(60)
    assert answers and answers[0].status == 504, answers
    blocked = next(n for n in names if "blocking" in fnctl("logs", "hello", "--instance", n).out)
    wait_until(lambda: blocked not in [i["name"] for i in instances("hello", None)] and len(instances("hello")) == 2, 60, "another instance in its place")
    if runtime != "node":  # there the health check sees it
        logged(blocked, r"/app/handler\.\w+:\d+: main has run for \d+ s, longer than \[limits\] timeout, and no other call can run: this instance ends and another takes over; give what it waits for a timeout")
    assert [get("/fn/hello/").text for _ in range(5)] == ["good"] * 5


NEVER = {
    "python": ("import threading\nthreading.Event().wait()\n", r"/app/handler\.py:2: is still being imported after 1 s.*belongs into the function"),
    "ruby": ("x = 1\nsleep\n", r"/app/handler\.rb:2: is still being loaded after 1 s.*belongs into the method"),
    "node": ("for (;;);\n", r"\(handler = handler\.main\) did not become ready: not ready after 6\.0 s \(\[runner\] start_timeout\): .*; it wrote nothing to its log"),
}


def test_a_start_that_never_ends(make_daemon, tmp_path):
    """All kinds at once: each takes the whole of start_timeout."""
    make_daemon(settings={"runner.start_timeout": "6s", "runner.stop_timeout": "1s"}).start()
    results = {}

    def deploy(runtime):
        text, _ = NEVER[runtime]
        top = source(tmp_path / runtime, "handler = handler.main\n", {KINDS[runtime].file: text}, runtime, "[env]\nHANDLER_PATIENCE = 1\n")
        results[runtime] = fnctl("deploy", top, "--name", runtime, status=1).err

    for runtime in NEVER:
        put(runtime)
    threads = [threading.Thread(target=deploy, args=(r,)) for r in NEVER]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    for runtime, (_, pattern) in NEVER.items():
        assert re.search(pattern, results.get(runtime, "")), (runtime, results)


def test_a_child_of_the_start(daemon, tmp_path):
    """It does not become a second server."""
    for runtime, text in (("python", "import os\nos.fork()\n" + GOOD_PYTHON), ("ruby", "fork\n" + GOOD_RUBY)):
        put(runtime)
        fnctl("deploy", source(tmp_path / runtime, "handler = handler.main\n", {KINDS[runtime].file: text}, runtime))
        logged(instances("hello")[0]["name"], r"/app/handler\.\w+: was forked while it was (imported|loaded), and the child is ended here")
        assert get("/fn/hello/").text == "good"


# ---- runtimes for another machine ----


def test_a_runtime_for_another_machine(daemon, tmp_path):
    """Refused when it is put; the name leads where it led before, and what runs over it goes on."""
    put("shell")
    fnctl("deploy", source(tmp_path / "f", "mode = stdio\ncommand = ./run\n", {"run": "#!/bin/sh\necho good\n"}, "shell"))
    assert get("/fn/hello/").text == "good\n"
    before = os.readlink("/var/lib/fnd/runtimes/shell")
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/sh").write_bytes(other_machine())
    (tree / "bin/sh").chmod(0o755)
    said = fnctl("runtime", "put", "shell", tree, status=1).err
    assert re.search(r'"/bin/sh" is a program for (arm64|x86-64), this host is (x86-64|arm64): take one', said) and len(said.splitlines()) == 1, said
    assert os.readlink("/var/lib/fnd/runtimes/shell") == before and get("/fn/hello/").text == "good\n"


# ---- programs that are whole functions ----

PROGRAM = "[function]\nname = hello\ncommand = {}\n"
# A package of busybox whose program is no server, or cannot be executed.
PROGRAMS = {
    "ends": ("/bin/true", {}, r"version 2 \(/bin/true\) did not become ready: exited with status 0 \(a function is a server that stays; what answers one request and ends is mode = stdio\); it wrote nothing"),
    "fails": ("/start", {"start": "#!/bin/sh\necho no configuration >&2\nexit 3\n"}, r"exited with status 3; its last lines: no configuration$"),
    "long": ("/start", {"start": "#!/bin/sh\nfor i in 1 2 3 4; do echo $i; head -c 200 /dev/zero | tr '\\0' x; done; echo; echo the reason\nexit 3\n"}, r"its last lines: [x4|]{290}the reason$"),
    "listens elsewhere": ("/bin/httpd -f -p 8080 -h /www", {}, r"not ready after 5\.0 s .*port 3000: Connection refused \(it must listen on 0\.0\.0\.0 and the port that the variable PORT says; else \[function\] port"),
    "loader": ("/start", {"start": "#!/lib/loader\n"}, r"cannot execute /start: its interpreter or loader is not in the image \(link it statically, or package what `ldd` or its first line names\)"),
    "no path": ("start", {"start": "#!/bin/sh\n"}, r"cannot execute start: No such file or directory \(looked for in PATH; a program of the package is written with a '/', as \./NAME\)"),
    "handler": ("/bin/true\nhandler = a.b", {}, r"function\.ini:4: \[function\] handler: it needs a runtime"),
    "cut": ("/start", {"start": "\x7fELF\2\1\1"}, r'function\.ini:3: .*"/start" is only the beginning of a program: was it copied whole\?'),
}


def test_programs(make_daemon, tmp_path):
    make_daemon(settings={"runner.start_timeout": "5s"}).start()
    fnctl("deploy", fndtest.package(tmp_path / "good", PROGRAM.format("/bin/httpd -f -p 3000 -h /www"), {"www/index.html": "good"}))
    for name, (command, files, pattern) in PROGRAMS.items():
        top = fndtest.package(tmp_path / name, PROGRAM.format(command), files)
        if "start" in files:
            os.chmod(f"{top}/start", 0o755)
        refused(top, pattern)


def test_static_files(daemon, tmp_path):
    put("static")
    top = tmp_path / "f"
    (top / "public").mkdir(parents=True)
    (top / "public/index.html").write_text("good")
    (top / "function.ini").write_text("[function]\nname = hello\nruntime = static\nhandler = public\n")
    fnctl("deploy", top)
    os.rename(top / "public", top / "files")
    refused(top, r"fnd: handler = public: the package has no such directory: `handler` in function\.ini names the directory of the files \(`\.`: the whole package\)$")
    (top / "function.ini").write_text("[function]\nname = hello\nruntime = static\n")
    refused(top, r"no way to start: .* only: files/\. Set handler or command in \[function\]$")
    (top / "index.html").write_text("good")
    refused(top, r"Set handler or command in \[function\]; for index\.html: handler = \.$")


# What a directory without a word about itself is told: {file: what the message says of it}. The surest sign counts, and of several files the first by name.
SIGNS = {
    ("main.py", "b.js"): r"for main\.py: runtime = python, handler = main\.FUNCTION",
    ("b.py", "a.py", "c.py"): r"for a\.py: runtime = python, handler = a\.FUNCTION",
    ("app.rb",): r"for app\.rb: runtime = ruby, handler = app\.METHOD",
    ("x.mjs", "package.json"): r"for x\.mjs: runtime = node, handler = x\.EXPORT",
    ("do.sh",): r"for do\.sh: runtime = shell, mode = stdio, command = \./do\.sh \(after chmod \+x\)",
    ("Dockerfile", "my.index.html"): r"of a Dockerfile: build the image elsewhere, and deploy what `podman save` or `docker save` writes",
    (".py",): r"Set command in \[function\]",
}


def test_signs(daemon, tmp_path):
    """A directory with code and no function.ini: the message says what would be in one."""
    for n, (files, pattern) in enumerate(SIGNS.items()):
        top = tmp_path / str(n)
        top.mkdir()
        for name in files:
            (top / name).write_text("x\n")
        said = fnctl("deploy", top, "--name", "signs", status=1).err
        assert re.search(r"no way to start: there is no function\.ini, .*" + pattern + r" \(`fnctl new NAME --runtime R` makes all of it\)$", said.strip()), said
        (top / "function.ini").write_text("[function]\nname = signs\n")
        said = fnctl("deploy", top, status=1).err
        assert re.search(r"no way to start: function\.ini has no command, .*" + pattern + "$", said.strip()), said


# ---- mode = stdio ----

STDIO = {
    "not there": ("command = ./none\n", {}, r'function\.ini:5: \[function\] command: "\./none" is not in the package'),
    "not executable": ("command = ./plain\n", {"plain": "text"}, r'function\.ini:5: .*"\./plain" is not an executable file: chmod \+x'),
    "two ways": ("command = ./run\n[env]\nfprocess = cat\n", {}, r"two ways to start: command = \./run, and the variable fprocess=cat"),
    "other machine": ("command = ./run\n", {"run": "OTHER"}, r'function\.ini:5: .*"\./run" is a program for'),
    "windows": ("command = ./run\n", {"run": "#!/bin/sh\r\ncat\r\n"}, r'function\.ini:5: .*"\./run" has the line ends of Windows'),
    "quote": ("command = ./run 'x\n", {}, r"function\.ini:5: \[function\] command: .*quote"),
    "quote of a watchdog": ("[env]\nfprocess = ./run 'x\n", {}, r"fnctl: variable fprocess: the quote ' is not closed$"),
    "not executable, by a watchdog": ("[env]\nfprocess = /app/plain\n", {"plain": "text"}, r'fnctl: variable fprocess: "/app/plain" is not an executable file: chmod \+x'),
    "not in PATH": ("command = plain\n", {"plain": "text"}, r"cannot execute plain: No such file or directory \(looked for in PATH; a program of the package is written with a '/', as \./NAME\)"),
    "handler": ("handler = h.main\ncommand = ./run\n", {}, r"function\.ini:5: \[function\] handler"),
}


def test_fprocess_without_its_mode(daemon, tmp_path):
    top = fndtest.package(tmp_path / "f", "[function]\nname = f\n[env]\nfprocess = cat\n", {"notes": "x", "conf": "x"})
    for name in ("bin", "www"):
        shutil.rmtree(f"{top}/{name}", ignore_errors=True)
    assert re.search(r"no way to start: .*\. Set mode = stdio in \[function\]: the variable fprocess counts there alone$", fnctl("deploy", top, status=1).err.strip())
    for mode in ("streaming", "serializing"):
        with open(f"{top}/function.ini", "w", encoding="utf-8") as f:
            f.write(f"[function]\nname = f\nmode = {mode}\n[env]\nfprocess = cat\n")
        assert f"function.ini:3: [function] mode: {mode} is a variable's: say mode = stdio here, and mode = {mode} in [env]" in fnctl("deploy", top, status=1).err


def test_stdio(daemon, tmp_path):
    put("shell")
    good = {"run": "#!/bin/sh\ncase $Http_Path in /fail) echo half; exit 3;; /kill) kill -9 $$;; /err) echo to the log >&2;; /orphan) sleep 300 & ;; esac\nprintf good\n"}
    fnctl("deploy", source(tmp_path / "f", "mode = stdio\ncommand = ./run\n", good, "shell"))
    for start, files, pattern in STDIO.values():
        refused(source(tmp_path / "f", "mode = stdio\n" + start, {**good, **files}, "shell"), pattern)
    name = instances("hello")[0]["name"]
    answer = get("/fn/hello/fail")
    assert answer.status == 500 and answer.text == "exit status 3\nhalf\n", answer
    assert get("/fn/hello/kill").status == 500
    assert get("/fn/hello/err").text == "good"
    logged(name, "to the log")
    assert get("/fn/hello/orphan", seconds=60).text == "good"
    assert get("/fn/hello/").text == "good" and function("hello")["restarts"] == 0
