"""The shim of the node runtime (rootfs/node/shim), run by this machine's node beside the test: what each kind of handler gets and gives, and what each that does not work is told."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess

import pytest

import fndtest
from fndtest import request, wait_until

START = fndtest.REPO + "/rootfs/node/shim/start.js"
PORT = 3000


class Shim:
    """One process of it; its log is a file."""

    def __init__(self, directory, files, handler, env=None):
        self.directory = directory
        os.makedirs(directory)
        for name, text in files.items():
            os.makedirs(os.path.dirname(f"{directory}/{name}"), exist_ok=True)
            with open(f"{directory}/{name}", "w", encoding="utf-8") as f:
                f.write(text)
        self.path = f"{directory}.log"
        environment = {"PATH": os.environ["PATH"], "HOME": "/tmp", "PORT": str(PORT), "FND_MEMORY": str(16 << 20), "FND_FUNCTION": "shop", "FND_VERSION": "7", **(env or {})}
        with open(self.path, "wb") as log:
            self.process = subprocess.Popen(["node", START, handler], cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        fndtest.logs.append(self.path)

    def log(self):
        with open(self.path, encoding="utf-8") as f:
            return f.read()

    def wait_ready(self):
        wait_until(lambda: self.process.poll() is not None or request("GET", "/ping", port=PORT).status == 200, 60, "the shim to answer or to end")
        assert self.process.poll() is None, self.log()
        return self

    def wait_end(self):
        return self.process.wait(60)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait_end()


@pytest.fixture
def shim(tmp_path):
    made = []

    def make(files, handler, env=None):
        made.append(Shim(f"{tmp_path}/app{len(made)}", files, handler, env))
        return made[-1]

    yield make
    for s in made:
        if s.process.poll() is None:
            s.process.kill()
            s.process.wait(30)


def ask(path="/", body=None, headers=None, method=None):
    return request(method or ("GET" if body is None else "POST"), path, body=body, headers=headers, port=PORT)


# ---- what handlers give ----

KINDS = """
const { Readable } = require('stream');
const kinds = {
    text: () => 'text',
    json: async (event) => ({ a: [1, event.query.n] }),
    list: () => [1, 2],
    number: () => 7,
    no: () => false,
    nothing: () => {},
    bytes: () => Buffer.from([0, 255, 10]),
    view: () => new Uint16Array([0x4142, 0x4344]),
    answer: () => ({ statusCode: 201, headers: { 'X-Mine': 'yes', 'Content-Type': 'text/html', 'Content-Length': '9999', 'Transfer-Encoding': 'nonsense' }, body: '<p>' }),
    object: () => ({ statusCode: 404, body: { none: 1 } }),
    base64: () => ({ statusCode: 200, body: 'AAEC', isBase64Encoded: true }),
    cookies: () => ({ statusCode: 200, headers: { 'Set-Cookie': ['a=1', 'b=2'] } }),
    stream: () => Readable.from(['one ', 'two']),
    pieces: async function* () { yield 'x'; yield Buffer.from('y'); },
    streamed: () => ({ statusCode: 202, headers: { 'Content-Type': 'text/plain' }, body: Readable.from(['s']) }),
    environment: (event, context) => [context.functionName, context.functionVersion, context.memoryLimitInMB],
    event: (event) => ({ ...event, headers: event.headers['x-mine'] }),
    raw: (event) => event.rawBody,
    threw: () => { throw new Error('I threw'); },
    rejected: async () => { throw new Error('I rejected'); },
    threw_nothing: () => { throw undefined; },
    least: () => ({ statusCode: 199 }),
    most: () => ({ statusCode: '599' }),
    teapots: () => ({ statusCode: 600 }),
    nulls: () => ({ statusCode: 200, headers: { 'X-A': null, 'X-B': undefined, 'X-C': 7, 'content-TYPE': 'text/x', Connection: 'close' }, body: null }),
    same: () => ({ statusCode: 304, body: 'x' }),
    none: () => ({ statusCode: 204, body: 'x' }),
    none_streamed: () => ({ statusCode: 204, body: Readable.from(['x']) }),
    raw_shown: (event) => Object.keys(event),
    shared: (event, context) => { context.n = (context.n ?? 0) + 1; return context.n; },
    octets: () => new Uint8Array([1, 2]).buffer,
    middle: () => Readable.from((async function* () { yield 'one'; throw new Error('in the middle'); })()),
    web: () => new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode('web')); c.close(); } }),
    left: () => ({ statusCode: 200, headers: { 'X-Left': 'b', 'a b': 'c' } }),
    rejected_nothing: () => Promise.reject(),
    big: () => Readable.from(Array(64).fill(Buffer.alloc(65536))),
    symbol: () => Symbol('x'),
    circle: () => { const c = {}; c.c = c; return c; },
    deep_bigint: () => [{ n: 1n }],
    status: () => ({ statusCode: 'teapot' }),
    header: () => ({ statusCode: 200, headers: { 'a b': 'c' } }),
    split: () => ({ statusCode: 200, headers: { a: 'b\\r\\nc: d' } }),
    broken: () => Readable.from((async function* () { throw new Error('I broke'); })()),
    wrong: () => Readable.from([{ an: 'object' }]),
    endless: () => new Readable({ read() { this.push('x'.repeat(65536)); }, destroy(error, done) { console.log('destroyed'); done(); } }),
    silent: () => new Readable({ read() { if (!this.begun) this.push('x'); this.begun = true; }, destroy(error, done) { console.log('let go'); done(); } }),
    printed: () => { console.log('to the log'); process.stdout.write('and this\\n'); return 'ok'; },
};
exports.main = (event, context) => kinds[event.path.slice(1)](event, context);
"""

OCTETS = "application/octet-stream"
GIVEN = [
    ("text", 200, "text/plain; charset=utf-8", b"text"), ("json?n=5", 200, "application/json", b'{"a":[1,"5"]}'), ("list", 200, "application/json", b"[1,2]"), ("number", 200, "application/json", b"7"),
    ("no", 200, "application/json", b"false"), ("nothing", 204, None, b""), ("bytes", 200, OCTETS, b"\x00\xff\n"), ("view", 200, OCTETS, b"BADC"),
    ("answer", 201, "text/html", b"<p>"), ("object", 404, "application/json", b'{"none":1}'), ("base64", 200, "text/plain; charset=utf-8", None), ("stream", 200, OCTETS, b"one two"), ("pieces", 200, OCTETS, b"xy"),
    ("streamed", 202, "text/plain", b"s"), ("environment", 200, "application/json", b'["shop","7","16"]'), ("printed", 200, "text/plain; charset=utf-8", b"ok"),
]
FAILURES = [("threw", "I threw"), ("rejected", "I rejected"), ("threw_nothing", "threw undefined"), ("rejected_nothing", "rejected with undefined"), ("symbol", "gave a symbol"), ("circle", "handler.js: main gave an object that JSON cannot hold (Converting circular structure to JSON): return plain"), ("deep_bigint", "main gave an object that JSON cannot hold (Do not know how to serialize a BigInt)"), ("status", "statusCode is 'teapot'"), ("header", "handler.js: main: the answer's header 'a b' cannot be sent: Header name must be"),
            ("split", "handler.js: main: the answer's header 'a' cannot be sent: Invalid character in header"), ("broken", "I broke"), ("wrong", "streams pieces of type object"), ("unknown", "is not a function")]


def test_node_what_handlers_give(shim):
    s = shim({"handler.js": KINDS}, "handler.main").wait_ready()
    for path, status, kind, body in GIVEN:
        if path == "base64":
            kind, body = OCTETS, b"\x00\x01\x02"
        answer = ask("/" + path)
        assert (answer.status, answer.headers["Content-Type"], answer.body) == (status, kind, body), path
    assert ask("/answer").headers["X-Mine"] == "yes"
    assert ask("/cookies").headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    head = ask("/text", method="HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, "4", b"")
    assert "to the log\nand this\n" in s.log()
    assert s.stop() == 0


def test_node_events(shim):
    shim({"handler.js": KINDS}, "handler.main").wait_ready()
    event = ask("/event?a=1&b=x%20y&a=2&__proto__=z", '{"n": 1}', {"X-Mine": "yes"}).json()
    assert event == {"method": "POST", "path": "/event", "query": {"a": ["1", "2"], "b": "x y", "__proto__": "z"}, "headers": "yes", "body": '{"n": 1}'}
    assert ask("/event").json()["body"] == ""
    octets = bytes(range(256)) * 1000
    assert ask("/raw", octets).body == octets
    chunked = ask("/raw", iter([b"in ", b"chunks"]))
    assert chunked.body == b"in chunks"


def test_node_body_that_is_too_large(shim):
    """An eighth of the memory; the connection and the process go on."""
    shim({"handler.js": KINDS}, "handler.main").wait_ready()
    refused = ask("/raw", b"x" * (2 << 20) + b"x")
    assert refused.status == 413 and "raise [limits] memory" in refused.text
    assert len(ask("/raw", b"x" * (2 << 20)).body) == 2 << 20


def test_node_failures_are_500_and_a_stack_in_the_log(shim):
    s = shim({"handler.js": KINDS}, "handler.main").wait_ready()
    for path, text in FAILURES:
        answer = ask("/" + path)
        assert (answer.status, answer.text) == (500, "the function failed; its log says why\n"), path
        wait_until(lambda t=text, p=path: re.search(rf"GET /{p}: .*{re.escape(t)}", s.log()), 30, f"{path} in the log")
    assert "at Object.threw" in s.log() or "at threw" in s.log() or "handler.js:" in s.log()
    assert s.process.poll() is None
    assert s.stop() == 0


def test_node_stream_whose_client_goes_away(shim):
    """It is destroyed, and was read no further than its client had."""
    s = shim({"handler.js": KINDS}, "handler.main").wait_ready()
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as c:
        c.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.recv(4096).startswith(b"HTTP/1.1 200")
        assert ask("/text").text == "text" and "destroyed" not in s.log()
    wait_until(lambda: "destroyed" in s.log(), 30, "the stream's end")
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as c:  # one that nothing comes from any more
        c.sendall(b"GET /silent HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.recv(4096).startswith(b"HTTP/1.1 200")
        assert ask("/text").text == "text" and "let go" not in s.log()
    wait_until(lambda: "let go" in s.log(), 30, "the silent stream's end")
    assert ask("/text").text == "text"


def answers(data):
    """All that comes on one connection, whose last request asks for its end."""
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as c:
        got = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # refused, with bytes of it unread
            c.sendall(data)
            while piece := c.recv(65536):
                got += piece
        return got


def test_node_answers_at_their_edges(shim):
    s = shim({"handler.js": KINDS}, "handler.main").wait_ready()
    for path, text in (("/least", "statusCode is 199"), ("/teapots", "statusCode is 600")):
        assert ask(path).status == 500
        wait_until(lambda t=text: t in s.log(), 30, text)
    left = ask("/left")
    assert (left.status, left.headers["X-Left"]) == (500, None)  # nothing of an answer that could not be sent
    assert ask("/most").status == 599 and ask("/octets").body == b"\x01\x02" and ask("/web").body == b"web"
    assert len(ask("/big").body) == 64 * 65536
    assert ask("/raw_shown").json() == ["method", "path", "query", "headers", "body"] and [ask("/shared").json(), ask("/shared").json()] == [1, 1]
    nulls = ask("/nulls").headers
    assert (nulls["X-A"], nulls["X-B"], nulls["X-C"], nulls.get_all("Content-Type"), nulls["Content-Length"]) == (None, None, "7", ["text/x"], "0") and nulls["Connection"] != "close"
    end = b"GET /text HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for path in (b"/none", b"/same", b"/none_streamed"):
        got = answers(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n%s" % (path, end))
        head, _, rest = got.partition(b"\r\n\r\n")
        assert rest.startswith(b"HTTP/1.1 200") and rest.endswith(b"\r\n\r\ntext") and b"Content-Length" not in head and b"Transfer-Encoding" not in head
    got = answers(b"HEAD /endless HTTP/1.1\r\nHost: x\r\n\r\n" + end)  # nothing is made for who does not want it
    assert got.count(b"HTTP/1.1 200 ") == 2 and got.endswith(b"text")
    wait_until(lambda: "destroyed" in s.log(), 30, "the stream's end")
    got = answers(b"GET /middle HTTP/1.1\r\nHost: x\r\n\r\n")
    assert got.endswith(b"3\r\none\r\n") and got.count(b"HTTP/1.1") == 1  # the end is missing: that is how the client sees it
    got = answers(b"POST /raw HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ") and got.endswith(b"hi")
    assert ask("/ping?x=1").text == "ok\n" and ask("/ping", method="HEAD").headers["Content-Length"] == "3" and ask("/ping", "x").status == 500 and ask("/pings").status == 500
    for data in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"b" * 70000 + b"\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"):
        assert answers(data).startswith(b"HTTP/1.1 4")
    assert ask("/text").text == "text"


CALLBACKS = """
exports.main = (event, context, callback) => {
    switch (event.path) {
    case '/ok': return callback(null, { statusCode: 200, body: JSON.stringify({ got: JSON.parse(event.body).x }), headers: { 'Content-Type': 'application/json' } });
    case '/later': setTimeout(callback, 1, null, 'later'); return undefined;
    case '/error': return callback(new Error('I was told'));
    case '/twice': callback(null, 'first'); return callback(null, 'second');
    case '/document': return context.getDoc('key', callback);
    case '/never': return undefined;
    default: return callback();
    }
};
exports.promise = async (event, context) => context.getDoc('key');
"""


def test_node_callbacks(shim):
    s = shim({"handler.js": CALLBACKS}, "handler.main").wait_ready()
    answer = ask("/ok", '{"x": [1]}')
    assert (answer.json(), answer.headers["Content-Type"]) == ({"got": [1]}, "application/json")
    assert ask("/later").text == "later" and ask("/none").status == 204
    assert ask("/error").status == 500 and ask("/document").status == 500
    assert ask("/twice").text == "first"
    wait_until(lambda: "Error: I was told" in s.log() and "getDoc: there is no store of documents here" in s.log() and "GET /twice twice" in s.log(), 30)
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as never:  # waits as long as the client does, and holds nobody up
        never.sendall(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ask("/later").text == "later"
        never.setblocking(False)
        with pytest.raises(BlockingIOError):
            never.recv(1)


def test_node_listeners(shim):
    """(req, res): what an async one rejects is its request's failure alone. Connections have no end of their own: the gateway's are kept."""
    text = "exports.main = async (req, res) => { if (req.url === '/bad') throw new Error('of one'); const s = req.socket.server; res.end(JSON.stringify([s.keepAliveTimeout, s.headersTimeout, s.requestTimeout, s.timeout])) }"
    s = shim({"h.js": text}, "h.main").wait_ready()
    assert ask("/bad").status == 500
    assert ask().json() == [0, 0, 0, 0]
    wait_until(lambda: "Error: of one" in s.log(), 30)
    assert s.stop() == 0


def test_node_keeps_connections(shim):
    shim({"handler.js": KINDS}, "handler.main").wait_ready()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)) as c:
        for path, body in (("/text", None), ("/raw", b"abc"), ("/threw", None), ("/stream", None), ("/ping", None), ("/nothing", None)):
            c.request("GET" if body is None else "POST", path, body=body)
            first = c.sock
            c.getresponse().read()
            assert c.sock is first and first is not None, path


# ---- contracts ----

CONTRACTS = [
    # files, handler, environment
    ({"h.js": "exports.main = (req, res) => res.end('it')"}, "h.main", {}),
    ({"h.js": "exports.main = async function main(request, /* the answer */ response) { response.end('it') }"}, "h.main", {}),
    ({"h.js": "exports.main = (a, b) => b.end('it')"}, "h.main", {"FUNCTION_SIGNATURE_TYPE": "http"}),
    ({"h.js": "exports.main = (q, res) => 'it'"}, "h.main", {"FUNCTION_SIGNATURE_TYPE": "event"}),
    ({"h.mjs": "export async function main(event) { return 'it' }"}, "h.main", {}),
    ({"h.mjs": "await 0; export default { main: () => 'it' }"}, "h.main", {}),
    ({"h.js": "import fs from 'node:fs'; export const main = () => fs ? 'it' : ''", "package.json": '{"type": "module"}'}, "h.main", {}),
    ({"src/h/index.cjs": "exports.main = () => 'it'"}, "src/h.main", {}),
    ({"h.js": "module.exports = () => 'it'"}, "h.js", {}),
    ({"h.mjs": "export default () => 'it'"}, "h", {}),
    ({"h.js": "class Shop { name = 'it'; answer() { return this.name } } const s = new Shop(); exports.main = s.answer.bind(s)"}, "h.main", {}),
    ({"h.js": "function app(a, b, next) { app.handle(a, b) } app.handle = (a, b) => b.end('it'); module.exports = app"}, "h.js", {}),
    ({"h.js": "module.exports = { middleware: [], callback() { return (a, b) => b.end('it') } }"}, "h.js", {}),
    ({"h.js": "const routing = (a, b) => b.end('it'); module.exports = { routing, ready: async () => {} }"}, "h.js", {}),
    ({"h.js": "exports.server = require('http').createServer((a, b) => b.end('it'))"}, "h.server", {}),
    ({"h.js": "exports.server = require('http').createServer((a, b) => b.end('it')).listen(process.env.PORT)"}, "h.server", {}),
    ({"h.js": "require('http').createServer((a, b) => b.end('it')).listen(process.env.PORT)"}, "h.js", {}),
]


@pytest.mark.parametrize("number", range(len(CONTRACTS)))
def test_node_contracts(shim, number):
    files, handler, env = CONTRACTS[number]
    s = shim(files, handler, env).wait_ready()
    assert ask("/x").text == "it", s.log()
    assert ask("/ping").text == "ok\n"
    assert s.stop() == 0, s.log()


def test_node_health_path(shim):
    shim({"h.js": "exports.main = (e) => 'own ' + e.path"}, "h.main", {"FND_HEALTH_PATH": "/alive"})
    wait_until(lambda: ask("/alive").text == "ok\n", 60)
    assert ask("/ping").text == "own /ping" and ask("/alive", "x").text == "own /alive"


# ---- what does not work ----

DEATHS = [
    ({}, "h.main", r"fnd: handler = h\.main: the package has no h\.js .*FILE\.EXPORT$"),
    ({"a.js": ""}, "h.main", r"it has a\.js"),
    ({"h.ts": ""}, "h.main", r"h\.ts is TypeScript.*npx tsc"),
    ({"h.js": "exports.other = 1"}, "h.main", r"h\.js exports nothing named main, but other: write `exports\.main = \.\.\.`"),
    ({"h.js": ""}, "h.main", r"h\.js exports nothing named main"),
    ({"h.js": "exports.main = {}"}, "h.main", r"h\.js: main is of type object, no function"),
    ({"h.js": "exports.main = 'x'"}, "h.main", r"h\.js: main is of type string, no function"),
    ({"h.js": "exports.main = class X {}"}, "h.main", r"h\.js: main is a class"),
    ({"h.js": "let x =\n  1 +* 2;"}, "h.main", r"h\.js:2: cannot be loaded: SyntaxError: Unexpected token '\*': correct it"),
    ({"h.js": "export const main = 1"}, "h.main", r"h\.js:1: cannot be loaded: SyntaxError: .*name the file \.mjs|main is of type number"),
    ({"h.mjs": "module.exports = 1"}, "h.main", r"h\.mjs:1: cannot be loaded: ReferenceError: .*name the file \.cjs"),
    ({"h.js": "\nnull.x"}, "h.main", r"h\.js:2: cannot be loaded: TypeError: Cannot read properties of null"),
    ({"h.js": "throw 'a text'"}, "h.main", r"h\.js: cannot be loaded: 'a text'"),
    ({"h.js": "require('left-pad')"}, "h.main", r"h\.js:1: cannot be loaded: Error: Cannot find module 'left-pad': name it in package\.json and let `fnctl build`"),
    ({"h.mjs": "import 'left-pad'"}, "h.main", r"cannot be loaded: Error: Cannot find package 'left-pad'.*: name it in package\.json"),
    ({"h.js": "require('./other')"}, "h.main", r"h\.js:1: cannot be loaded: Error: Cannot find module '\./other': is the file in the package\?"),
    ({"h.js": "process.exit(0)"}, "h.main", r"h\.js ended the process with status 0 while it was loaded"),
    ({"h.mjs": "await new Promise(() => {})"}, "h.main", r"h\.mjs never finished loading"),
    ({"h.js": "exports.main = () => 1; Promise.reject(new Error('early')); setTimeout(() => {}, 60000)"}, "h.main", r"cannot be loaded: Error: early|a rejected promise that nobody awaits"),
    ({"h.js": "require('http').createServer(() => {}).listen(3999)"}, "h.js", r"h\.js listens on port 3999: it must be process\.env\.PORT \(3000\)"),
    ({"h.js": "require('http').createServer(() => {}).listen(3000, '127.0.0.1')"}, "h.js", r"h\.js listens on 127\.0\.0\.1, where only the function itself can connect"),
    ({"h.js": "exports.main = () => 1; require('net').createServer(() => {}).listen(3000)"}, "h.main", r"h\.js: main: the port 3000 is taken"),
    ({"h.js": "exports.main = (a, b) => 1"}, "h.main", r"FUNCTION_SIGNATURE_TYPE = cloudevent in \[env\]"),
    ({"h.js": "exports.main = (a, b) => 1"}, "", r"there is no handler: `handler = FILE\.EXPORT`"),
]


@pytest.mark.parametrize("number", range(len(DEATHS)))
def test_node_what_does_not_start(shim, number):
    """One line, the log's last, names the file and the remedy; the process ends with a status that is not 0."""
    files, handler, text = DEATHS[number]
    s = shim(files, handler, {"FUNCTION_SIGNATURE_TYPE": "cloudevent"} if "cloudevent" in text else {})
    status = s.wait_end()
    last = s.log().rstrip("\n").rsplit("\n", 1)[-1]
    assert last.startswith("fnd: ") and re.search(text, last), s.log()
    assert status != 0


LATE = """
exports.main = (event, context, callback) => {
    switch (event.path) {
    case '/exit': return process.exit(5);
    case '/timer': setTimeout(() => { throw new Error('in a timer'); }, 1); return undefined;
    case '/promise': Promise.reject(new Error('of nobody')); return undefined;
    default: return undefined;
    }
};
"""


@pytest.mark.parametrize("path, status, text", [
    ("/exit", 5, r"h\.js: main ended the process with status 5, 2 requests in flight; another instance is started"),
    ("/timer", 1, r"h\.js: main: an error outside of any request ends this instance"),
    ("/promise", 1, r"h\.js: main: a rejected promise that nobody awaits ends this instance"),
])
def test_node_ends_with_answers(shim, path, status, text):
    """A process that ends in the middle answers what it has begun."""
    s = shim({"h.js": LATE}, "h.main").wait_ready()
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as waits:
        waits.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + b"")
        # the second request is sent when the first has arrived: one connection is read in order, and the process is single: an answer to a third shows it
        assert ask("/ping").status == 200
        assert ask(path).status == 500
        assert waits.recv(65536).startswith(b"HTTP/1.1 500 ")
    assert s.wait_end() == status
    last = s.log().rstrip("\n").rsplit("\n", 1)[-1]
    assert re.search(text, last), s.log()


SLOW = """
const fs = require('fs');
exports.main = async () => { console.log('waiting'); return fs.promises.readFile('gate', 'utf8'); };
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => console.log('stopping'));
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_node_stops_gracefully(shim, number):
    """Idle connections are closed and nobody else is accepted at once, the request in flight is answered, those that have not asked yet are closed after it, and the status is 0. The function's own listener is called, too."""
    s = shim({"h.js": SLOW}, "h.main").wait_ready()
    os.mkfifo(f"{s.directory}/gate")
    with contextlib.ExitStack() as stack:
        silent, idle, busy = (stack.enter_context(socket.create_connection(("127.0.0.1", PORT), timeout=30)) for _ in range(3))
        idle.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        busy.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: "waiting" in s.log(), 30)
        s.process.send_signal(number)
        assert idle.recv(1) == b""
        wait_until(lambda: not fndtest.listens("127.0.0.1", PORT), 30, "the end of listening")
        assert s.process.poll() is None
        with open(f"{s.directory}/gate", "w", encoding="ascii") as gate:
            gate.write("done")
        text = fndtest.read_all(busy)
        assert text.startswith(b"HTTP/1.1 200") and text.endswith(b"done") and b"Connection: close" in text
        assert silent.recv(1) == b""
    assert s.wait_end() == 0
    assert "stopping" in s.log()


def test_node_stops_though_connections_were_upgraded(shim):
    """A WebSocket would last for ever: it is ended, and the process does not wait for its client."""
    s = shim({"h.js": "const s = require('http').createServer((q, r) => r.end()); s.on('upgrade', (q, socket) => socket.write('HTTP/1.1 101 Go\\r\\n\\r\\n')); exports.server = s"}, "h.server").wait_ready()
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as c:
        c.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        assert c.recv(100).startswith(b"HTTP/1.1 101")
        s.process.send_signal(signal.SIGTERM)
        assert s.wait_end() == 0
        assert c.recv(100) == b""


def test_node_tells_upgraded_connections(shim):
    """They see the end at once, and may answer it before they are cut: here the time for that never ends."""
    text = "globalThis.setTimeout = () => ({ unref() {} }); const s = require('http').createServer((q, r) => r.end()); s.on('upgrade', (q, socket) => socket.write('HTTP/1.1 101 Go\\r\\n\\r\\n')); exports.server = s"
    s = shim({"h.js": text}, "h.server").wait_ready()
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as c:
        c.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        assert c.recv(100).startswith(b"HTTP/1.1 101")
        s.process.send_signal(signal.SIGTERM)
        assert c.recv(100) == b""
        assert s.process.poll() is None
    assert s.wait_end() == 0
