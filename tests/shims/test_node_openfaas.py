"""The Node shim: functions of OpenFaaS' templates, as their users have them. The rest of the shim's tests are in tests/system/test_node_shim.py."""

import json
import re

import pytest

from shim import Shim, refused

START = "rootfs/node/shim/start"


def serve(text, contract="http", env=None, handler="handler", **files):
    return Shim(START, handler, {"handler.js": text, **files}, {"HANDLER_CONTRACT": f"openfaas-{contract}", **(env or {})})


# ---- lang: node12 and later ----


HTTP = """'use strict'
const kinds = {
    event: async (event, context) => context.status(201).headers({ 'X-A': 'b' }).succeed({ body: event.body, kind: typeof event.body, type: event.headers['content-type'], m: event.method, q: event.query, p: event.path }),
    text: async (event, context) => context.succeed('<p>ä'), list: async (event, context) => context.succeed([1]), bytes: async (event, context) => context.succeed(Buffer.from([0, 255])),
    json: async (event, context) => context.headers({ 'content-type': 'application/json' }).succeed({ a: 1 }), nothing: async () => {}, returned: async () => ({ a: 1 }), returned_text: () => 'x',
    later: (event, context) => { setTimeout(() => context.status(202).succeed('later'), 20); }, callback: (event, context, callback) => callback(undefined, { status: 'done' }),
    number: async (event, context) => context.succeed(7), own: async (event, context) => context.succeed(String(context.status())), get: async (event, context) => { context.headers({ 'X-A': 'b' }); return context.headers(); },
    fail: async (event, context) => context.fail('Missing .url'), fail_status: async (event, context) => context.status(401).fail('Unauthorized'), fail_error: (event, context) => context.fail(new Error('mine')),
    fail_callback: (event, context, callback) => callback(new Error('called')), fail_nothing: async (event, context) => context.fail(),
    threw: () => { throw new Error('I threw'); }, rejected: async () => { throw new Error('I rejected'); }, status: async (event, context) => context.status(42).succeed('x'),
    twice: async (event, context) => { context.succeed('first'); context.succeed('second'); },
    framed: async (event, context) => context.headers({ 'Content-Length': '1', 'transfer-encoding': 'gzip', Connection: 'close', 'X-A': 'b', 'X-None': null }).succeed('text'),
    late: async (event, context) => { context.succeed('first'); throw new Error('too late'); },
    charset: async (event, context) => context.headers({ 'Content-Type': 'text/html; Charset=iso-8859-1' }).succeed('text'),
    raw: async (event, context) => context.headers({ 'Content-Type': 'application/octet-stream' }).succeed(Buffer.isBuffer(event.body) ? event.body : 'no Buffer'),
};
module.exports = async (event, context, callback) => kinds[event.path.slice(1)](event, context, callback);
"""
ASKED = HTTP.replace("module.exports = async (", "module.exports = (")  # what a function gives that is not async
HTML = "text/html; charset=utf-8"


@pytest.mark.parametrize("kind, sent, want", [
    ("application/json", '{"n": [1]}', ("object", {"n": [1]})), ("application/json; charset=utf-8", "[]", ("object", [])), ("text/plain", '{"n": 1}', ("string", '{"n": 1}')),
    ("application/x-www-form-urlencoded", "a=1&b=x+y&a=2", ("object", {"a": ["1", "2"], "b": "x y"})), ("image/png", "x", ("object", {})), ("application/json", "", ("object", {})),
])
def test_http_parses_bodies(kind, sent, want):
    with serve(HTTP) as s:
        answer = s.post("/event?k=v", sent, kind)
        got = json.loads(answer.data)
        assert (got["kind"], got["body"]) == want and (answer.status, answer.getheader("X-A")) == (201, "b")
        assert (got["type"], got["m"], got["q"], got["p"]) == (kind, "POST", {"k": "v"}, "/event")


def test_http_without_type_and_without_body():
    with serve(HTTP) as s:
        got = json.loads(s.ask("PUT", "/event", b"text").data)
        assert (got["body"], got["type"]) == ("text", "text/plain")
        assert json.loads(s.get("/event").data)["body"] == {}


@pytest.mark.parametrize("path, status, kind, data", [
    ("text", 200, HTML, "<p>ä".encode()), ("list", 200, HTML, b"[1]"), ("bytes", 200, "application/octet-stream", b"\0\xff"), ("json", 200, "application/json; charset=utf-8", b'{"a":1}'),
    ("nothing", 200, None, b""), ("returned", 200, HTML, b'{"a":1}'), ("number", 200, "application/json", b"7"), ("own", 200, HTML, b"200"), ("get", 200, HTML, b'{"X-A":"b"}'),
    ("callback", 200, HTML, b'{"status":"done"}'), ("fail", 500, HTML, b"Missing .url"), ("fail_status", 401, HTML, b"Unauthorized"), ("fail_callback", 500, HTML, b"Error: called"), ("fail_nothing", 500, HTML, b"failed"),
    ("twice", 200, HTML, b"first"),
])
def test_http_answers(path, status, kind, data):
    with serve(HTTP) as s:
        answer = s.get("/" + path)
        assert (answer.status, answer.getheader("Content-Type"), answer.data) == (status, kind, data), s.log


@pytest.mark.parametrize("path, status, data", [("later", 202, b"later"), ("callback", 200, b'{"status":"done"}'), ("returned_text", 200, b"x"), ("fail_error", 500, b"Error: mine"), ("text", 200, "<p>ä".encode())])
def test_http_functions_that_are_not_async(path, status, data):
    with serve(ASKED) as s:
        assert (lambda a: (a.status, a.data))(s.get("/" + path)) == (status, data)


def test_http_that_fails():
    with serve(HTTP) as s:
        for path, says in (("threw", "I threw"), ("rejected", "I rejected"), ("status", r"context\.status\(42\): a number from 200 to 599")):
            answer = s.get("/" + path)
            assert answer.status == 500 and b"I " not in answer.data
            s.says(says)
        s.get("/fail")
        s.says("Missing .url")
        assert s.get("/text").status == 200


def test_http_bodies_that_are_refused():
    with serve(HTTP, env={"MAX_JSON_SIZE": "1kb"}) as s:
        assert s.post("/event", '{"n":').status == 400 and s.post("/event", "5").status == 400
        assert s.post("/event", "[" + " " * 1022 + "]").status == 201 and s.post("/event", "[" + " " * 1023 + "]").status == 413
        assert s.post("/event", "x" * 2000, "text/plain").status == 201


def test_http_sizes_as_they_are_written():
    for size, fits in (("0.01mb", 10485), ("9 KB", 9216), ("10000", 10000), (" 10000B ", 10000)):
        with serve(HTTP, env={"MAX_JSON_SIZE": size}) as s:
            assert [s.post("/event", "[" + " " * (n - 2) + "]").status for n in (fits, fits + 1)] == [201, 413], size


def test_http_headers_of_the_function():
    """How an answer is framed is the server's to say; a charset that is said stays."""
    with serve(HTTP) as s:
        answer = s.get("/framed")
        assert (answer.data, answer.getheader("Content-Length"), answer.getheader("Transfer-Encoding"), answer.getheader("Connection"), answer.getheader("X-A"), answer.getheader("X-None")) == (b"text", "4", None, "keep-alive", "b", None)
        assert s.get("/charset").msg.get_all("Content-Type") == ["text/html; Charset=iso-8859-1"]
        assert s.get("/twice").data == b"first"
        s.says("answered GET /twice twice; the first answer holds")
        assert s.get("/late").data == b"first"
        s.says("failed after its answer: Error: too late")
        assert s.post("/raw", bytes(range(256)), "application/octet-stream").data == bytes(range(256))


def test_http_with_the_raw_body():
    with serve(HTTP, env={"RAW_BODY": "true", "MAX_RAW_SIZE": "300"}) as s:
        assert s.post("/raw", bytes(range(256))).data == bytes(range(256)) and s.post("/raw", b"x" * 301).status == 413


def test_http_of_a_function_that_returns_nothing():
    with serve("module.exports = (event) => {};\n") as s:
        assert (s.get().status, s.get().data) == (200, b"")


def test_http_calls_run_at_once():
    text = "const waiting = [];\nmodule.exports = async (event) => { await new Promise((r) => { waiting.push(r); if (waiting.length === 3) waiting.forEach((w) => w()); }); return event.path; };\n"
    with serve(text) as s:
        assert sorted(s.get_at_once(["/0", "/1", "/2"])) == [b"/0", b"/1", b"/2"]


def test_a_package_with_modules_and_data():
    files = {"handler/index.js": "const more = require('../more');\nmodule.exports = async () => more + require('fs').readFileSync(require('path').join(__dirname, '../data.json'));\n", "more.js": "module.exports = 'm';\n", "data.json": "{}"}
    with Shim(START, "handler", files, {"HANDLER_CONTRACT": "openfaas-http"}) as s:
        assert s.get().data == b"m{}"


# ---- lang: node ----


@pytest.mark.parametrize("body, data", [
    ("callback(undefined, {status: 'done'})", b'{"status":"done"}\n'), ("callback(undefined, context + '!')", b"body!"), ("callback()", b""), ("callback(null, Buffer.from([0, 255]))", b"\0\xff"),
    ("setTimeout(() => { console.log('printed'); callback(null, 'given'); }, 5)", b"printed\ngiven"), ("return Promise.resolve([1])", b"[1]\n"), ("process.stdout.write('a', () => callback(null, 'b'))", b"ab"),
])
def test_classic_takes_a_text_and_a_callback(body, data):
    with serve(f"module.exports = (context, callback) => {{ {body} }}\n", "classic") as s:
        answer = s.post("/", "body", "text/x-mine")
        assert (answer.status, answer.data, answer.getheader("Content-Type")) == (200, data, "text/x-mine")
        assert s.post("/", "body").data == data and "printed" not in s.log


def test_classic_tells_the_request_in_the_environment():
    text = "module.exports = async (context) => Object.fromEntries(Object.entries(process.env).filter(([k]) => k.startsWith('Http_')))\n"
    with serve(text, "classic") as s:
        told = json.loads(s.ask("POST", "/p?a=b", b"four", {"X-My-Name": "ä".encode(), "Host": "h"}).data)
        assert {k: told.get(k) for k in ("Http_Method", "Http_Path", "Http_Query", "Http_Content_Length", "Http_ContentLength", "Http_X_My_Name", "Http_Host")} == {
            "Http_Method": "POST", "Http_Path": "/p", "Http_Query": "a=b", "Http_Content_Length": "4", "Http_ContentLength": "4", "Http_X_My_Name": "ä", "Http_Host": "h"}
        later = json.loads(s.get("/").data)
        assert "Http_X_My_Name" not in later and "Http_Query" not in later and later["Http_Content_Length"] == "0"
        assert json.loads(s.ask("POST", "/?", iter([b"x"])).data)["Http_ContentLength"] == "-1" and "Http_Query" not in json.loads(s.get("/?").data)
        head, _, told = s.raw(b"GET / HTTP/1.1\r\nHost: h\r\nX-Two: first\r\nx-two: second\r\nConnection: close\r\n\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200") and b'"Http_X_Two":"first"' in told


def test_no_client_sets_a_variable_of_its_choice():
    """All begins with Http_, and the proxy of a program is not the client's to name (httpoxy)."""
    hostile = {"PrOxY": "http://192.0.2.1:1", "Path": "/tmp", "Ld-Preload": "/tmp/x.so", "LD_PRELOAD": "/tmp/x.so", "NODE_OPTIONS": "-r x", "__proto__": "x", "Method": "FORGED", "Contentlength": "7", "Content_Length": "7", "X-Bytes": "ä=\t()".encode(), "X-Empty": ""}
    text = "const before = { ...process.env };\nmodule.exports = async (context) => [Object.fromEntries(Object.entries(process.env).filter(([k, v]) => before[k] !== v)), require('child_process').execFileSync('/usr/bin/env').toString()]\n"
    with serve(text, "classic") as s:
        new, seen = json.loads(s.ask("GET", "/own", None, hostile).data)
        assert all(k.startswith("Http_") for k in new) and not any(k.lower() == "http_proxy" for k in new), new
        assert (new["Http_Method"], new["Http_Path"], new["Http_ContentLength"], new["Http_X_Empty"]) == ("GET", "/own", "0", "") and "Http_X_Bytes=ä=\t()\n" in seen
        many = {f"X-{i}": "v" * 10 for i in range(600)}
        assert len([k for k in json.loads(s.ask("GET", "/", None, many).data)[0] if k.startswith("Http_X_")]) == 600
        assert not [k for k in json.loads(s.get().data)[0] if k.startswith("Http_X_")]


def test_classic_without_a_callback_and_with_a_type():
    with serve("module.exports = (context) => { console.log('{}'); };\n", "classic", {"content_type": "application/json"}) as s:
        answer = s.post("/", "body", "text/plain")
        assert (answer.data, answer.getheader("Content-Type")) == (b"{}\n", "application/json")


def test_classic_prints_behind_its_answer_to_the_log():
    heard = "process.stdout.write = (...all) => process.stderr.write(...all);\n"  # the test hears the second alone
    with serve(heard + "module.exports = (context, callback) => { callback(null, 'answer'); console.log('behind it'); setTimeout(() => console.log('later'), 1); }\n", "classic") as s:
        assert s.get().data == b"answer"
        s.says("^behind it$")
        s.says("^later$")


def test_classic_calls_are_made_one_after_the_other():
    text = "let running = 0;\nmodule.exports = (context, callback) => { running++; const n = running; setTimeout(() => { running--; callback(null, `${n}${process.env.Http_Path}`); }, 30); }\n"
    with serve(text, "classic") as s:
        assert sorted(s.get_at_once(["/0", "/1", "/2"])) == [b"1/0", b"1/1", b"1/2"]


def test_classic_that_never_answers_does_not_keep_others():
    text = "module.exports = (context, callback) => { if (context !== 'never') return callback(null, 'good'); console.error('waits'); setInterval(() => { console.log('late'); console.error('went on'); }, 20); }\n"
    with serve(text, "classic") as s:
        with s.connect() as c:
            c.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nnever")
            s.says("^waits$")
        assert s.post("/", "x").data == b"good"
        s.says("^went on$")
        assert [s.post("/", "x").data for _ in range(20)] == [b"good"] * 20  # what goes on printing is in nobody's answer


def test_classic_that_fails():
    text = "module.exports = (context, callback) => { console.log('before'); if (context === 'throw') throw new Error('I threw'); callback(context === 'err' ? 'said' : undefined, context === 'wrong' ? 5 : 'good'); }\n"
    with serve(text, "classic") as s:
        for body, says in (("throw", "I threw"), ("err", "'?said'?"), ("wrong", "the callback was given a number")):
            answer = s.post("/", body)
            assert answer.status == 500 and b"said" not in answer.data and b"before" not in answer.data
            s.says(says)
        assert s.post("/", "x").data == b"before\ngood"
        s.says("^before$")


# ---- what is wrong ----


@pytest.mark.parametrize("contract, text, env, says", [
    ("openfaas-http", "module.exports = (context, callback) => callback(null, 1)\n", {}, r"its second parameter is callback, and openfaas-http calls \(event, context\): \[env\] HANDLER_CONTRACT is to be openfaas-classic"),
    ("openfaas-classic", "module.exports = async (event, context) => 1\n", {}, r"its second parameter is context, and openfaas-classic calls \(context, callback\): \[env\] HANDLER_CONTRACT is to be openfaas-http"),
    ("openfaas-http", "exports.handle = async () => 1\n", {}, "handler.js is of type object, no function"), ("openfaas-http", "module.exports = class {}\n", {}, "handler.js is a class"),
    ("openfaas-grpc", "", {}, "HANDLER_CONTRACT = openfaas-grpc in .* is not known: spotinst, openfaas-http, openfaas-classic"),
    ("openfaas-http", "module.exports = async () => 1\n", {"MAX_JSON_SIZE": "much"}, r"MAX_JSON_SIZE = much in \[env\]: a size such as"),
])
def test_functions_of_another_form(contract, text, env, says):
    last = refused(START, "handler", {"handler.js": text}, {"HANDLER_CONTRACT": contract, **env})[-1]
    assert re.match("fnd: .*" + says, last), last


def test_spotinst_said_outright():
    """Whatever its parameters are called."""
    with Shim(START, "handler.main", {"handler.js": "exports.main = (event, res, done) => done(null, {statusCode: 201, body: event.query.k})\n"}, {"HANDLER_CONTRACT": "spotinst"}) as s:
        assert (lambda a: (a.status, a.data))(s.get("/?k=v")) == (201, b"v")
