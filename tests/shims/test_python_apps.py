"""The Python shim: WSGI and ASGI applications."""

import asyncio
import hashlib
import json
import os

import pytest
import websockets

from shim import Shim, refused

START = "rootfs/python/shim/start"


def serve(text, handler="app:app", env=None):
    return Shim(START, handler, {"app.py": text}, env)


# ---- WSGI ----


def test_wsgi_is_what_wsgiref_validates():
    text = """
from wsgiref.validate import validator
def plain(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["REQUEST_METHOD"].encode() + b" " + environ["PATH_INFO"].encode("latin-1") + b" " + body]
app = validator(plain)
"""
    with serve(text) as s:
        assert s.get("/%C3%A4?x=1").data == b"GET /\xc3\xa4 "
        assert s.post("/a", "body").data == b"POST /a body"
        assert s.ask("HEAD", "/").status == 200
        assert "AssertionError" not in s.log, s.log


def test_wsgi_environ():
    text = """
import json
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({k: v for k, v in environ.items() if isinstance(v, (str, bool))}).encode()]
"""
    with serve(text) as s:
        e = json.loads(s.get("/p/q?a=b", **{"Host": "fn.example.org:8443", "X-Forwarded-Prefix": "/fn/x", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1", "X-A-B": "c", "X_A_B": "forged"}).data)
        want = {"SCRIPT_NAME": "/fn/x", "PATH_INFO": "/p/q", "QUERY_STRING": "a=b", "SERVER_NAME": "fn.example.org", "SERVER_PORT": "8443", "wsgi.url_scheme": "https", "REMOTE_ADDR": "192.0.2.1", "HTTP_X_A_B": "c"}
        assert {k: e.get(k) for k in want} == want and e["wsgi.multithread"] is True
        assert json.loads(s.get("/", Host="[::1]").data)["SERVER_NAME"] == "[::1]"


def test_wsgi_streams_in_both_directions():
    text = """
import hashlib
def app(environ, start_response):
    write = start_response("200 OK", [])
    write(b"first ")
    h = hashlib.sha256()
    while data := environ["wsgi.input"].read(100000):
        h.update(data)
    class Parts:
        def __iter__(self):
            yield b""
            yield h.hexdigest().encode()
        def close(self):
            print("closed")
    return Parts()
"""
    body = os.urandom(5 << 20)
    with serve(text) as s:
        for sent in (body, iter([body[:1000], body[1000:]])):
            assert s.ask("POST", "/", sent).data == b"first " + hashlib.sha256(body).hexdigest().encode()
            s.says("^closed$")


def test_wsgi_that_does_not_read_its_body():
    with serve("def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'good']\n") as s:
        got = s.raw(b"POST / HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + b"x" * (2 << 20))
        assert b"Connection: close" in got and got.endswith(b"good")
        assert s.get().data == b"good" and s.ask("HEAD", "/").getheader("Content-Length") == "4"


@pytest.mark.parametrize("lines, says", [
    ("return [b'x']", "made a body before it called start_response"),
    ("start_response('200 OK', []); return ['text']", "made a part of the body that is str, not bytes"),
    ("start_response('fine', []); return []", "gave start_response the status 'fine'"),
    ("start_response('200 OK', [('A', 'b\\nc')]); return []", "the value of the header A has a line break"),
    ("start_response('200 OK', [('Connection', 'close')]); return []", "Connection is the business of the server"),
    ("start_response('200 OK', []); start_response('200 OK', []); return []", "called start_response twice"),
    ("raise ValueError('odd')", r"app\.py:2: ValueError: odd"),
    ("raise SystemExit", r"app\.py:2: app called exit"),
    ("return None", r"TypeError: 'NoneType' object is not iterable"),
])
def test_wsgi_that_goes_wrong(lines, says):
    with serve(f"def app(environ, start_response):\n    if environ['PATH_INFO'] == '/bad': {lines}\n    start_response('200 OK', [])\n    return [b'good']\n") as s:
        assert s.get("/bad").status == 500
        s.says("^fnd: .*" + says)
        assert s.get().data == b"good"


def test_wsgi_whose_length_is_wrong():
    text = "def app(environ, start_response):\n    start_response('200 OK', [('Content-Length', '4')])\n    return [b'abcdef'] if environ['PATH_INFO'] == '/long' else [b'ab', b'c']\n"
    with serve(text) as s:
        assert s.raw(b"GET /long HTTP/1.1\r\nConnection: close\r\n\r\n").endswith(b"\r\n\r\nabcd")
        assert s.raw(b"GET /short HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nabc")
        s.says("made 3 bytes of body and had said 4")


def test_wsgi_error_after_start_response():
    text = """
import sys
def app(environ, start_response):
    start_response("200 OK", [])
    try:
        raise ValueError
    except ValueError:
        start_response("409 Conflict", [("X-A", "b")], sys.exc_info())
    return [b"no"]
"""
    with serve(text) as s:
        answer = s.get()
        assert (answer.status, answer.reason, answer.getheader("X-A"), answer.data) == (409, "Conflict", "b", b"no")


# ---- ASGI ----

ASGI = """
import asyncio, json
log = []
go = None
async def app(scope, receive, send):
    global go
    if scope["type"] == "lifespan":
        go = asyncio.Event()
        assert (await receive())["type"] == "lifespan.startup"
        scope["state"]["db"] = "open"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        print("shut down")
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["type"] == "websocket":
        return await talk(scope, receive, send)
    path = scope["path"]
    if path == "/bad":
        raise ValueError("odd")
    if path == "/exit":
        raise SystemExit(1)
    if path == "/nothing":
        return
    if path == "/type":
        return await send({"type": "http.nonsense"})
    if path == "/gone":
        while (await receive())["type"] != "http.disconnect":
            pass
        print("client has gone")
        return
    if path == "/go":
        go.set()
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain"), (b"x-a", b"b")]})
    if path == "/parts":
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b"second", "more_body": True})
        return await send({"type": "http.response.body"})
    if path == "/scope":
        body = json.dumps({k: v.decode() if isinstance(v, bytes) else v for k, v in scope.items() if k not in ("headers", "client", "server", "asgi")}).encode()
    await send({"type": "http.response.body", "body": body or b"hello"})

async def talk(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/no":
        return await send({"type": "websocket.close"})
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0] if scope["subprotocols"] else None})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return print("code", message["code"])
        if message.get("text") == "close":
            return await send({"type": "websocket.close", "code": 4001})
        if message.get("text") == "raise":
            raise ValueError("odd")
        await send({"type": "websocket.send", "text": message["text"]} if message["text"] is not None else {"type": "websocket.send", "bytes": message["bytes"]})
"""


def test_asgi_http_and_lifespan():
    body = os.urandom(3 << 20)
    with serve(ASGI) as s:
        answer = s.get()
        assert (answer.status, answer.getheader("X-A"), answer.getheader("Content-Length"), answer.data) == (200, "b", "5", b"hello")
        assert s.post("/", body).data == body
        assert s.ask("POST", "/", iter([body, body])).data == body * 2
        assert s.ask("HEAD", "/").getheader("Content-Length") == "5"
        scope = json.loads(s.get("/scope?a=b", **{"X-Forwarded-Prefix": "/fn/x", "X-Forwarded-Proto": "https"}).data)
        assert scope == {"type": "http", "http_version": "1.1", "scheme": "https", "path": "/scope", "raw_path": "/scope", "query_string": "a=b", "root_path": "/fn/x", "state": {"db": "open"}, "method": "GET"}
        assert s.stop() == 0
        s.says("^shut down$")


def test_asgi_parts():
    with serve(ASGI) as s:
        s.in_parts("/parts", b"first", b"second", lambda: s.get("/go"))


@pytest.mark.parametrize("path, says", [("/bad", r"app\.py:\d+: ValueError: odd"), ("/exit", "app called exit"), ("/nothing", "returned before its answer was complete"), ("/type", "sent a message of the type http.nonsense")])
def test_asgi_that_goes_wrong(path, says):
    with serve(ASGI) as s:
        assert s.get(path).status == 500
        s.says("^fnd: .*" + says)
        assert s.get().data == b"hello"


def test_asgi_learns_that_the_client_has_gone():
    with serve(ASGI) as s:
        with s.connect() as c:
            c.sendall(b"GET /gone HTTP/1.1\r\n\r\n")
        s.says("client has gone")


def test_asgi_answers_many_requests_on_one_connection():
    with serve(ASGI) as s:
        got = s.raw(b"GET /a HTTP/1.1\r\n\r\n" * 50 + b"GET /b HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert got.count(b"hello") == 51
        assert s.raw(b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("method, framing", [("GET", "Content-Length: 34"), ("HEAD", "Content-Length: 34"), ("GET", "Transfer-Encoding: chunked")])
def test_asgi_health_check_with_a_body(method, framing):
    """Nobody reads it, and it is no request: its answer would be the next client's."""
    body = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"[:34]
    assert len(body) == 34
    with serve(ASGI) as s:
        got = s.raw(f"{method} /ping HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode() + body + b"\r\n\r\n")
        assert got.count(b"HTTP/1.1 ") == 1 and b"\r\nConnection: close\r\n" in got and b"hello" not in got, got


LENGTHS = """
async def app(scope, receive, send):
    said, *parts = scope["path"][1:].split(",")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", n.encode()) for n in said.split("+")]})
    for i, part in enumerate(parts):
        await send({"type": "http.response.body", "body": part.encode(), "more_body": i + 1 < len(parts)})
"""


@pytest.mark.parametrize("path, got", [
    ("3,abc", b"abc"), ("3,a,bc,", b"abc"), ("0,", b""), ("2,abc", None), ("4,abc", None), ("3+3,abc", None), ("3x,abc", None), ("2,a,bc,", "a"), ("4,a,bc,", "abc"),
])
def test_asgi_that_says_another_length(path, got):
    """What is too much would be the next answer, what is missing would be taken from it."""
    with serve(LENGTHS) as s:
        answer = s.raw(f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\nGET /4,next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        head, _, rest = answer.partition(b"\r\n\r\n")
        if isinstance(got, bytes):
            assert head.startswith(b"HTTP/1.1 200 ") and rest.startswith(got + b"HTTP/1.1 200 ") and rest.endswith(b"\r\n\r\nnext"), answer
        elif got:
            assert head.startswith(b"HTTP/1.1 200 ") and rest == got.encode(), answer
        else:
            assert head.startswith(b"HTTP/1.1 500 ") and b"next" not in rest, answer


def test_asgi_whose_start_fails():
    text = "async def app(scope, receive, send):\n    await receive()\n    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n"
    assert "app.py: the start of the application failed: no database" in refused(START, "app:app", {"app.py": text})[-1]


def test_asgi_websocket():
    async def client(s):
        url = f"ws://127.0.0.1:{s.port}/"
        async with websockets.connect(url, subprotocols=["chat"], max_size=None) as ws:
            assert ws.subprotocol == "chat"
            for message in ("text ä", b"\0\xff", "", "x" * 200, b"y" * 100000, b"z" * (2 << 20)):
                await ws.send(message)
                assert await ws.recv() == message
            await ws.send(["frag", "ments"])
            assert await ws.recv() == "fragments"
            await asyncio.wait_for(await ws.ping(), 30)
            await ws.send("close")
            await ws.wait_closed()
            assert ws.close_code == 4001
        async with websockets.connect(url) as ws:
            await ws.send("raise")
            await ws.wait_closed()
            assert ws.close_code == 1011
        async with websockets.connect(url) as ws:
            await ws.close(4002)
        with pytest.raises(websockets.exceptions.InvalidStatusCode, match="403"):
            await websockets.connect(url + "no")

    with serve(ASGI) as s:
        asyncio.run(client(s))
        s.says("code 4002")
        s.says("ValueError: odd")
        assert s.get().data == b"hello"


def test_asgi_websocket_ends_with_the_instance():
    async def client(s):
        async with websockets.connect(f"ws://127.0.0.1:{s.port}/") as ws:
            await ws.send("a")
            assert await ws.recv() == "a"
            s.process.terminate()
            await ws.wait_closed()
            assert ws.close_code == 1012

    with serve(ASGI) as s:
        asyncio.run(client(s))
        assert s.ends() == 0


@pytest.mark.parametrize("data, code", [(b"\x81\x01a", 1002), (b"\xc1\x80\0\0\0\0", 1002), (b"\x83\x80\0\0\0\0", 1002), (b"\x80\x80\0\0\0\0", 1002), (b"\x89\xfe\0\x80\0\0\0\0", 1002),
                                        (b"\x81\xff\0\0\0\0\x7f\0\0\0\0\0\0\0", 1009), (b"\x81\x81\0\0\0\0\xff", 1007)])
def test_asgi_websocket_frames_that_are_broken(data, code):
    with serve(ASGI) as s, s.connect() as c:
        c.sendall(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        got = b""
        while b"\r\n\r\n" not in got:
            got += c.recv(4096)
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in got
        c.sendall(data)
        got = b""
        while more := c.recv(4096):
            got += more
        assert got == b"\x88\x02" + code.to_bytes(2, "big")


def test_which_contract_an_application_has():
    for text, handler in (
        ("class App:\n    async def __call__(self, scope, receive, send):\n" + "".join(f"        {line}\n" for line in ONE_LINE_ASGI) + "app = App()\n", "app:app"),
        ("async def application(*a):\n    scope, receive, send = a\n" + "".join(f"    {line}\n" for line in ONE_LINE_ASGI), "app:application"),
        ("def f(environ, start_response):\n    start_response('200 OK', [])\n    return [b'good']\n", "app.f"),
        ("class App:\n    def __call__(self, e, s):\n        s('200 OK', [])\n        return [b'good']\napp = App()\n", "app:app"),
    ):
        with serve(text, handler) as s:
            assert s.get().data == b"good", s.log


ONE_LINE_ASGI = ("assert scope['type'] == 'http'", "await send({'type': 'http.response.start', 'status': 200})", "await send({'type': 'http.response.body', 'body': b'good'})")
