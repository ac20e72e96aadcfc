"""The Node shim with HANDLER_THREADS = N: N processes that share the listening socket (rootfs/node/shim/workers.js). What one process does is in tests/system/test_node_shim.py."""

import contextlib
import os
import re
import signal

import pytest

from shim import Shim, read_all, refused, wait

START = "rootfs/node/shim/start"

MAIN = """
const fs = require('fs');
exports.main = async (event) => {
    const [, what, file] = event.path.split('/');
    switch (what) {
    case 'block': console.error(`${process.pid} is blocked`); return `${process.pid} ${fs.readFileSync(file, 'utf8')}`;
    case 'wait': console.error(`${process.pid} waits`); return fs.promises.readFile(file, 'utf8');
    case 'hang': console.error(`${process.pid} hangs`); return new Promise(() => {});
    case 'throw': throw new Error('of one request');
    case 'stdout': return fs.readlinkSync('/proc/self/fd/1');
    default: return `${process.pid}`;
    }
};
process.on('SIGUSR2', () => process.exit(5));
process.on('SIGUSR1', () => { throw new Error('of no request'); });
"""


class Workers(Shim):
    """With an end also where a test fails: a worker that is blocked does not hear that the process is gone that would kill it."""

    def __exit__(self, *_):
        if self.process.poll() is None:
            for pid in children(self):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        super().__exit__()


def serve(count, text=MAIN, env=None, handler="handler.main", **files):
    return Workers(START, handler, files or {"handler.js": text}, {"HANDLER_THREADS": str(count), **(env or {})})


def children(s):
    with open(f"/proc/{s.process.pid}/task/{s.process.pid}/children", encoding="ascii") as f:
        return {int(w) for w in f.read().split()}


def fifo(s, name):
    os.mkfifo(f"{s.root}/{name}")
    return f"{s.root}/{name}"


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def begin(stack, s, path, says):
    """A request that stays under way; the worker that has it says so."""
    c = stack.enter_context(s.connect())
    c.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    return c, int(s.says(says).split()[0])


def ended(pids):
    return all(not os.path.exists(f"/proc/{p}") for p in pids)


def closed(c):
    """A connection that has not asked: what nobody had accepted yet is reset."""
    try:
        return c.recv(1) == b""
    except ConnectionResetError:
        return True


def last(lines):
    return [line for line in lines if line.startswith("fnd: ")]


def test_workers_do_not_wait_for_one_another():
    with serve(2) as s, contextlib.ExitStack() as stack:
        first, second = fifo(s, "first"), fifo(s, "second")
        a, pid_a = begin(stack, s, "/block/first", "is blocked")
        for _ in range(10):
            assert s.get("/ping").data == b"ok\n" and int(s.get("/").data) in children(s) - {pid_a}
        assert s.get("/throw").status == 500 and s.get("/stdout").data == b"/dev/null"
        b, pid_b = begin(stack, s, "/block/second", f"^(?!{pid_a} ).*is blocked")
        assert {pid_a, pid_b} == children(s)
        write(second, "b")
        assert read_all(b).endswith(b"\r\n\r\n%d b" % pid_b)
        write(first, "a")
        assert read_all(a).endswith(b"\r\n\r\n%d a" % pid_a)
        assert s.stop() == 0, s.log
        assert not last(s.lines)


def test_workers_answer_one_request_per_connection():
    """Else the next one could wait for a worker that computes, while the other has nothing to do."""
    with serve(2) as s:
        for path in (b"/", b"/throw", b"/ping"):
            answer = s.raw(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)  # to the end of the connection
            assert answer.count(b"HTTP/1.1 ") == 1 and b"\r\nConnection: close\r\n" in answer, answer


@pytest.mark.parametrize("value", ["", "1"])
def test_one_is_the_process_itself(value):
    with serve(value) as s:
        assert int(s.get("/").data) == s.process.pid and not children(s)
        assert s.get("/").getheader("Connection") == "keep-alive"


@pytest.mark.parametrize("value", ["0", "257", "2x", "-1", "1.5"])
def test_values_that_are_none(value):
    lines = refused(START, "handler.main", {"handler.js": MAIN}, {"HANDLER_THREADS": value})
    assert lines == [f"fnd: [env] HANDLER_THREADS = {value}: not a number from 1 to 256"]


def test_classic_functions_are_refused():
    lines = refused(START, "handler", {"handler.js": "module.exports = (context, callback) => callback()"}, {"HANDLER_THREADS": "2", "HANDLER_CONTRACT": "openfaas-classic"})
    assert len(lines) == 1 and lines[0].startswith("fnd: [env] HANDLER_THREADS: openfaas-classic makes one call at a time")


def test_workers_share_the_memory():
    with serve(4, "exports.main = () => process.env.NODE_OPTIONS", {"FND_MEMORY": str(256 << 20), "NODE_OPTIONS": "--no-warnings"}) as s:
        assert s.get("/").data == b"--max-old-space-size=28 --max-semi-space-size=1 --no-warnings"


# ---- what does not start, and what ends: as one process does, and said once ----

DEATHS = {
    "syntax": {"handler.js": "let x = 1 +* 2;"}, "no export": {"handler.js": "exports.other = 1"}, "no function": {"handler.js": "exports.main = {}"}, "no file": {"other.js": ""},
    "exits": {"handler.js": "process.exit(7)"}, "never loaded": {"handler.mjs": "await new Promise(() => {})"}, "elsewhere": {"handler.js": "require('http').createServer(() => {}).listen(2999)"},
    "port taken": {"handler.js": "exports.main = () => 1; require('net').createServer(() => {}).listen(Number(process.env.PORT))"}, "killed": {"handler.js": "process.kill(process.pid, 'SIGKILL')"},
}


@pytest.mark.parametrize("kind", DEATHS)
def test_what_does_not_start(kind):
    found = []
    for count in ("1", "3"):
        s = Shim(START, "handler.main", DEATHS[kind], {"HANDLER_THREADS": count})
        try:
            found.append((s.ends(), [line.replace(str(s.port), "PORT") for line in last(s.lines)]))
        finally:
            s.__exit__()
    assert found[0] == found[1] and found[0][0] != 0 and len(found[0][1]) == (kind != "killed"), found


def test_one_of_several_that_does_not_load():
    """Nobody is answered before all are loaded; those that were end, too."""
    lines = refused(START, "handler.main", {"handler.js": MAIN + "require('fs').closeSync(require('fs').openSync(require('cluster').worker.id === 3 ? 'none/none' : 'one', 'a'));"}, {"HANDLER_THREADS": "4"})
    assert len(last(lines)) == 1 and re.match(r"fnd: handler\.js:\d+: cannot be loaded: Error: ENOENT", lines[-1]), lines


def test_one_of_several_that_is_killed_while_it_is_loaded():
    """Too little memory or too few processes for so many."""
    s = serve(3, MAIN + "if (require('cluster').worker.id === 2) process.kill(process.pid, 'SIGKILL');")
    try:
        assert s.ends() == -signal.SIGKILL
        assert re.fullmatch(r"fnd: \[env\] HANDLER_THREADS = 3: worker 2 was ended by SIGKILL while it was loaded: .*\[limits\] pids .*\[limits\] memory .*\n", s.log)
    finally:
        s.__exit__()


@pytest.mark.parametrize("number, status, says", [
    (signal.SIGUSR2, 5, r"handler\.js: main ended the process with status 5, 0 requests in flight"), (signal.SIGUSR1, 1, r"handler\.js: main: an error outside of any request ends this instance"), (signal.SIGKILL, -signal.SIGKILL, None),
])
def test_all_end_with_one(number, status, says):
    """What the others have begun is answered by 500."""
    with serve(2) as s, contextlib.ExitStack() as stack:
        pids = children(s)
        hangs, pid = begin(stack, s, "/hang", "hangs")
        (other,) = pids - {pid}
        os.kill(other, number)
        assert read_all(hangs).startswith(b"HTTP/1.1 500 ")
        assert s.ends() == status, s.log
        assert ended(pids)
        said = last(s.lines)
        assert not said if says is None else len(said) == 1 and re.search(says, said[0]), s.log


def test_one_that_computes_is_killed_when_all_end():
    """It does not hear that it is to end."""
    with serve(2) as s, contextlib.ExitStack() as stack:
        pids = children(s)
        fifo(s, "never")
        blocked, pid = begin(stack, s, "/block/never", "is blocked")
        (other,) = pids - {pid}
        os.kill(other, signal.SIGUSR2)
        assert s.ends() == 5 and closed(blocked) and ended(pids) and len(last(s.lines)) == 1, s.log


# ---- stopping ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_stop_gracefully(number):
    with serve(3) as s, contextlib.ExitStack() as stack:
        pids, gate, door = children(s), fifo(s, "gate"), fifo(s, "door")
        blocked, _ = begin(stack, s, "/block/door", "is blocked")
        busy, _ = begin(stack, s, "/wait/gate", "waits")
        silent = stack.enter_context(s.connect())
        s.process.send_signal(number)
        (idle,) = pids - {int(line.split()[0]) for line in s.lines}
        wait(lambda: ended([idle]), "the end of the one that has nothing to do", s)
        s.process.send_signal(number)  # heard already
        assert s.process.poll() is None
        write(door, "a")
        assert read_all(blocked).endswith(b" a")
        wait(lambda: not s.listens(), "the end of listening", s)
        assert s.process.poll() is None
        write(gate, "b")
        text = read_all(busy)
        assert text.startswith(b"HTTP/1.1 200 ") and text.endswith(b"\r\n\r\nb")
        assert closed(silent)
        assert s.ends() == 0 and ended(pids) and not last(s.lines), s.log


def test_stop_while_it_is_loaded():
    """By the signal, as one process that has no listener for it yet."""
    s = serve(2, "console.error(`${process.pid} loads`); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);")
    try:
        pid = int(s.says("loads").split()[0])
        assert s.stop() == -signal.SIGTERM and ended([pid]) and not last(s.lines), s.log
    finally:
        s.__exit__()


# ---- servers of the package ----

ECHO = "const s = require('http').createServer((q, r) => r.end('it')); s.on('upgrade', (q, socket) => { socket.write('HTTP/1.1 101 Go\\r\\n\\r\\n'); socket.on('data', (d) => socket.write(d)); socket.on('end', () => socket.end()); });"


def test_upgrades():
    with serve(2, ECHO + "exports.main = s;") as s, contextlib.ExitStack() as stack:
        conns = [stack.enter_context(s.connect()) for _ in range(4)]
        for c in conns:
            c.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            got = b""
            while not got.endswith(b"\r\n\r\n"):
                got += c.recv(100)
            assert got.startswith(b"HTTP/1.1 101 ")
        for c in conns:
            for word in (b"one", b"two"):
                c.sendall(word)
                assert c.recv(3) == word
        s.process.terminate()
        assert [c.recv(1) for c in conns] == [b""] * 4
        assert s.ends() == 0, s.log


@pytest.mark.parametrize("handler, files", [
    ("h.js", {"h.js": ECHO + "s.listen(process.env.PORT);"}),
    ("h", {"h.mjs": "import http from 'http'; const s = http.createServer((q, r) => r.end('it')); await new Promise((resolve) => s.listen(process.env.PORT, resolve)); export default s;"}),
])
def test_servers_that_listen_themselves(handler, files):
    with serve(2, handler=handler, **files) as s:
        assert s.get("/x").data == b"it"
        wait(lambda: len(children(s)) == 2, "both", s)
        assert s.stop() == 0 and not last(s.lines), s.log


def test_a_worker_that_is_never_loaded_is_named():
    """As one whose threads cannot be made, because pids do not suffice for them."""
    text = "const cluster = require('cluster');\nwhile (cluster.worker.id === 2);\nexports.main = () => 'good';\n"
    s = serve(3, text, {"HANDLER_PATIENCE": "1"})
    try:
        assert "worker 2 is not loaded after 1 s" in s.says(r"^fnd: \[env\] HANDLER_THREADS = 3: .*raise them, or have fewer workers$")
        assert not s.listens() and s.process.poll() is None
    finally:
        s.__exit__()
