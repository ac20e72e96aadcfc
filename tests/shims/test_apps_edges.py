"""The Python shim: what is at the edges of WSGI, ASGI and websockets."""

import json
import os
import signal
import socket

import pytest

from shim import Shim, read_all, wait

START = "rootfs/python/shim/start"


def serve(text, env=None):
    return Shim(START, "app:app", {"app.py": text}, env)


def read_to(c, end):
    got = b""
    while not got.endswith(end):
        more = c.recv(65536)
        assert more, got
        got += more
    return got


# ---- WSGI ----

WSGI = """
import io, json, os, sys
class File:
    def __init__(self, data):
        self.data = data
    def read(self, n):
        data, self.data = self.data[:n], self.data[n:]
        return data
    def close(self):
        print("file closed")
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/environ":
        start_response("200 OK", [])
        return [json.dumps({k: v for k, v in environ.items() if isinstance(v, (str, bool))}).encode()]
    if path == "/file":
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](File(b"x" * 200000), 1000)
    if path == "/nothing":
        start_response("200 OK", [("X-A", "b")])
        return []
    if path == "/204":
        start_response("204 No Content", [("Content-Length", "0")])
        return [b""]
    if path == "/304":
        start_response("304 Not Modified", [("Content-Length", "5")])
        return [b"wrong"]
    if path == "/writes":
        write = start_response("200 OK", [])
        for data in (b"a", b"", b"b"):
            write(data)
        return [b"", b"c"]
    if path == "/said":
        start_response("200 OK", [("Content-Length", "2")])
        return [b"abc"]
    if path == "/late":
        write = start_response("200 OK", [("Content-Length", "9")])
        write(b"a")
        try:
            raise ValueError("late")
        except ValueError:
            start_response("500 Oops", [], sys.exc_info())
        return [b"never"]
    if path == "/length":
        start_response("200 OK", [("Content-Length", "x")])
    if path in ("/199", "/\\xc2\\xb200", "/20", "/2000"):
        start_response(path[1:].encode("latin-1").decode() + " OK", [])
    if path == "/reason":
        start_response("200 OK\\r\\nX: y", [])
    if path == "/read":
        write = start_response("200 OK", [("Content-Length", "100")])
        write(b"first ")
        return [environ["wsgi.input"].read()]
    if path == "/read-first":
        data = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [data]
    if path == "/raise":
        raise ValueError
    if path == "/blank":
        def parts():
            yield b""
            raise ValueError("behind nothing")
        start_response("200 OK", [])
        return parts()
    if path == "/fifo":
        with open("fifo", "rb") as f:
            start_response("200 OK", [])
            return [f.read()]
    if path == "/lines":
        start_response("200 OK", [])
        return [line.strip() + b";" for line in environ["wsgi.input"]]
    start_response("200 OK", [])
    return [b"good"]
"""


def environ(s, **headers):
    c = s.connect()
    c.sendall(b"GET /environ?q HTTP/1.1\r\nConnection: close\r\n" + b"".join(f"{n}: {v}\r\n".encode() for n, v in headers.items()) + b"\r\n")
    return json.loads(read_all(c).split(b"\r\n\r\n", 1)[1])


def test_wsgi_environ_at_its_edges():
    with serve(WSGI, env={"HANDLER_THREADS": "1"}) as s:
        e = environ(s, **{"X-Forwarded-Prefix": "/fn/x/", "X-Forwarded-For": "192.0.2.1, 192.0.2.2", "Content-Type": "text/x", "Content-Length": "0"})
        want = {"SCRIPT_NAME": "/fn/x", "SERVER_NAME": "localhost", "SERVER_PORT": "80", "REMOTE_ADDR": "192.0.2.1", "REQUEST_URI": "/environ?q", "CONTENT_TYPE": "text/x", "CONTENT_LENGTH": "0", "wsgi.input_terminated": True, "wsgi.multithread": False}
        assert {k: e.get(k) for k in want} == want and not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(e)
        assert environ(s, Host="a")["SERVER_PORT"] == "80" and environ(s, **{"Host": "a", "X-Forwarded-Proto": "https"})["SERVER_PORT"] == "443"


def test_wsgi_answers_at_their_edges():
    with serve(WSGI) as s:
        assert s.get("/file").data == b"x" * 200000
        s.says("^file closed$")
        answer = s.get("/nothing")
        assert (answer.getheader("Content-Length"), answer.getheader("X-A"), answer.data) == ("0", "b", b"")
        assert s.get("/204").getheader("Content-Length") is None and s.get("/304").getheader("Content-Length") == "5"
        assert s.get("/writes").data == b"abc" and s.get("/said").data == b"ab"
        got = s.raw(b"GET /304 HTTP/1.1\r\n\r\nGET /204 HTTP/1.1\r\n\r\nHEAD /writes HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert [part.split(b" ")[1] for part in got.split(b"\r\n\r\n")[:4]] == [b"304", b"204", b"200", b"200"] and got.endswith(b"\r\n\r\ngood") and b"abc" not in got
        assert s.get("/blank").status == 500  # a part of nothing does not begin the answer
        assert s.raw(b"GET /late HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\na")
        s.says("ValueError: late")
        assert s.get("/length").status == 500
        s.says("gave start_response the Content-Length 'x'")
        for path in ("/199", "/%C2%B200", "/20", "/2000", "/reason"):
            assert s.get(path).status == 500
        wait(lambda: s.log.count("gave start_response the status") == 5, "all in the log", s)
        assert s.post("/lines", b"a\nb\n" * 100000).data == b"a;b;" * 100000


def test_wsgi_reads_a_body_that_is_still_coming():
    with serve(WSGI) as s:
        with s.connect() as c:
            c.sendall(b"POST /read HTTP/1.1\r\nConnection: close\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1999000)
            read_to(c, b"first ")
            c.sendall(b"x" * 1000)
            assert read_all(c) == b"x" * 94
        with s.connect() as c:  # slowly
            c.sendall(b"POST /read-first HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
            read_to(c, b"HTTP/1.1 100 Continue\r\n\r\n")
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(100):
                c.sendall(b"8000\r\n")
                c.sendall(b"x" * 0x8000)
                c.sendall(b"\r\n")
            c.sendall(b"0\r\n\r\n")
            assert len(read_all(c)) > 100 * 0x8000


@pytest.mark.parametrize("path, first, status", [(b"/read", b"first ", None), (b"/read-first", b"", b"400")])
def test_wsgi_body_that_turns_out_to_be_broken(path, first, status):
    """Nothing is put into an answer that has begun; one that has not says that it is the connection's last."""
    with serve(WSGI) as s, s.connect() as c:
        c.sendall(b"POST " + path + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 40)
        if first:
            read_to(c, first)
        c.sendall(b"nonsense\r\n")
        got = read_all(c)
        if status:
            assert got.startswith(b"HTTP/1.1 " + status) and b"Connection: close" in got
        else:
            assert got == b""
        assert s.get().data == b"good"


def test_wsgi_stops_when_its_calls_are_answered():
    with serve(WSGI) as s:
        os.mkfifo(s.root + "/fifo")
        with s.connect() as c:
            c.sendall(b"GET /fifo HTTP/1.1\r\n\r\n")
            with open(s.root + "/fifo", "wb") as f:  # opens when the call has opened it
                s.process.terminate()
                wait(lambda: not s.listens(), "the end of listening", s)
                f.write(b"done")
            got = read_all(c)
            assert b"Connection: close" in got and got.endswith(b"done")
        assert s.ends() == 0


def test_wsgi_that_fails_without_reading_its_body_says_that_it_closes():
    with serve(WSGI) as s:
        got = s.raw(b"POST /raise HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + b"x" * (2 << 20))
        assert got.startswith(b"HTTP/1.1 500 ") and b"Connection: close" in got


# ---- ASGI ----

ASGI = """
import asyncio, json, os
go = None
async def read_all(receive):
    body, pieces = b"", 0
    while True:
        m = await receive()
        body += m["body"]
        pieces += 1
        if not m["more_body"]:
            return body
async def app(scope, receive, send):
    global go
    if scope["type"] == "lifespan":
        scope["state"]["n"] = 1
        go = asyncio.Event()
        raise RuntimeError("this application has no lifespan")
    if scope["type"] == "websocket":
        return await talk(scope, receive, send)
    path = scope["path"]
    start = lambda status=200, headers=(): send({"type": "http.response.start", "status": status, "headers": headers})
    end = lambda body=b"", more=False: send({"type": "http.response.body", "body": body, "more_body": more})
    if path == "/scope":
        scope["state"]["n"] += 1
        s = {k: scope[k] for k in ("scheme", "path", "root_path", "client", "state")}
        s["headers"] = [[a.decode(), b.decode()] for a, b in scope["headers"]]
        await start()
        return await end(json.dumps(s).encode())
    if path == "/\\xe4":
        await start()
        return await end(b"umlaut")
    if path == "/headers":
        await start(200, [(b"Content-Length", b"2"), (b"Transfer-Encoding", b"gzip"), (b"Connection", b"close"), (b"X-A", b"b")])
        return await end(b"ab")
    if path in ("/204", "/304"):
        await start(int(path[1:]))
        return await end(b"")
    if path == "/inject":
        return await start(200, [(b"a", b"b\\r\\nc: d")])
    if path == "/twice":
        await start()
        return await start()
    if path == "/status":
        return await start(99)
    if path == "/early":
        return await end(b"x")
    if path == "/after":
        await start()
        await end(b"x")
        return await end(b"y")
    if path == "/middle":
        await start()
        await end(b"one", True)
        raise ValueError("in the middle")
    if path == "/mute":
        class Mute(Exception):
            def __str__(self): raise RuntimeError
        raise Mute
    if path in ("/watch", "/leave", "/disconnect"):
        await read_all(receive)
        task = asyncio.create_task(receive())
        await asyncio.sleep(0)
        await start()
        await end(b"o", True)
        if path == "/disconnect":
            await end(b"k")
            return print("then", (await task)["type"], (await receive())["type"])
        if path == "/watch":
            await end(b"k")
            task.cancel()
            return
        return await end(b"k")
    if path == "/pieces":
        await start()
        while True:
            m = await receive()
            await end(m["body"], m["more_body"])
            if not m["more_body"]:
                return
    if path == "/flood":
        await start()
        for _ in range(200):
            await end(b"x" * (1 << 20), True)
        return print("all sent")
    if path == "/wait":
        print("waits")
        task = asyncio.create_task(receive())
        await go.wait()
        await start()
        await end(b"waited")
        return
    if path == "/gone":
        print("begun")
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if path == "/go":
        go.set()
    if path == "/unread":
        await start()
        return await end(b"unread")
    if path == "/fork":
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
    if path == "/hard":
        os._exit(4)
    body = await read_all(receive)
    await start()
    await end(body or b"good")

async def talk(scope, receive, send):
    path = scope["path"]
    if path == "/scope":
        print(scope["scheme"], scope["subprotocols"])
    if path == "/raise":
        raise ValueError("before")
    if path == "/return":
        return
    await receive()
    if path == "/inject":
        return await send({"type": "websocket.accept", "subprotocol": "a\\r\\nb: c"})
    await send({"type": "websocket.accept", "headers": [(b"x-a", b"b")]})
    if path == "/leave":
        return
    if path == "/close":
        await send({"type": "websocket.close", "code": 4001, "reason": "enough \\xe4"})
        try:
            await send({"type": "websocket.send", "text": "late"})
        finally:
            print("then", (await receive())["type"])
    while True:
        m = await receive()
        if m["type"] == "websocket.disconnect":
            return print("code", m["code"], m.get("reason"))
        await send({"type": "websocket.send", "text": m["text"]} if m["text"] is not None else {"type": "websocket.send", "bytes": m["bytes"]})
"""


def test_asgi_scope_at_its_edges():
    with serve(ASGI) as s:
        for _ in range(2):  # state is each request's own copy
            got = s.raw(b"GET /scope HTTP/1.1\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.2\r\nX-Forwarded-Prefix: /fn/x/\r\nX-A: 1\r\nx-a: 2\r\n\r\n")
            e = json.loads(got.split(b"\r\n\r\n")[1])
            assert (e["client"], e["root_path"], e["state"], e["scheme"]) == (["192.0.2.1", 0], "/fn/x", {"n": 2}, "http")
            assert e["headers"][-2:] == [["x-a", "1"], ["x-a", "2"]]
        assert s.get("/%C3%A4").data == b"umlaut"
        assert s.stop() == 0  # without a lifespan too


def test_asgi_answers_at_their_edges():
    with serve(ASGI) as s:
        answer = s.get("/headers")
        assert (answer.msg.get_all("Content-Length"), answer.getheader("Transfer-Encoding"), answer.getheader("Connection"), answer.data) == (["2"], None, None, b"ab")
        got = s.raw(b"GET /204 HTTP/1.1\r\n\r\nGET /304 HTTP/1.1\r\n\r\nHEAD /watch HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\nHEAD /ping HTTP/1.1\r\n\r\nGET /ping HTTP/1.1\r\nConnection: close\r\n\r\n")
        heads = got.split(b"\r\n\r\n")
        assert [h.split(b" ")[1] for h in heads[:6]] == [b"204", b"304", b"200", b"200", b"200", b"200"] and got.endswith(b"\r\n\r\npong\n") and got.count(b"pong") == 1 and b"good" not in got and b"\nk" not in got and b"oHTTP" not in got
        assert s.ask("HEAD", "/204").getheader("Content-Length") is None
        assert b"Content-Length" not in heads[0] + heads[1] and b"Content-Length: 4" in heads[3] and b"Content-Length: 5" in heads[4]
        for path, says in (("/inject", "line break"), ("/twice", "http.response.start twice"), ("/status", "the status 99"), ("/early", "before http.response.start"), ("/mute", "Mute, which cannot say what it is: the call was answered")):
            assert s.get(path).status == 500
            s.says(says)
        assert s.get("/after").data == b"x"
        s.says("after the end of the answer")
        got = s.raw(b"GET /middle HTTP/1.1\r\n\r\n")
        assert got.endswith(b"3\r\none\r\n") and got.count(b"HTTP/1.1") == 1
        assert s.post("/ping", b"x").data == b"x"


def test_asgi_that_waits_for_its_client_to_go_while_it_answers():
    """The connection goes on, whether the application ends what waits or leaves it."""
    with serve(ASGI) as s, s.connect() as c:
        for path in (b"/watch", b"/leave", b"/disconnect", b"/watch", b"/leave", b"/"):
            c.sendall(b"POST %s HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi" % path)
            read_to(c, b"hi" if path == b"/" else b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n")
        c.sendall(b"GET /disconnect HTTP/1.1\r\n\r\n")  # learns it from the end of its own answer
        wait(lambda: s.log.count("then http.disconnect http.disconnect") == 2, "both in the log", s)
        assert "read() called" not in s.log and "Traceback" not in s.log


def test_asgi_requests_that_arrive_while_one_waits():
    with serve(ASGI) as s, s.connect() as c:
        c.sendall(b"GET /wait HTTP/1.1\r\n\r\n")
        s.says("^waits$")
        c.sendall(b"POST / HTTP/1.1\r\nContent-Length: 4\r\nConnection: close\r\n\r\n")
        assert s.get("/ping").status == 200
        c.sendall(b"next")
        s.get("/go")
        got = read_all(c)
        assert b"waited" in got and got.endswith(b"\r\n\r\nnext")


def test_asgi_bodies():
    with serve(ASGI) as s:
        with s.connect() as c:
            c.sendall(b"POST /pieces HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
            read_to(c, b"2\r\nab\r\n")
            c.sendall(b"2\r\ncd\r\n0\r\n\r\n")
            assert read_all(c).endswith(b"0\r\n\r\n")
        with s.connect() as c:  # who does not read gets no 100, and nobody takes the body for a request
            c.sendall(b"POST /unread HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n")
            got = read_to(c, b"unread")
            assert got.startswith(b"HTTP/1.1 200") and b"Connection: close" in got
            c.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert read_all(c) == b""
        with s.connect() as c:
            c.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            assert c.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
            c.sendall(b"hi")
            read_to(c, b"hi")
        got = s.raw(b"POST /unread HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert got.endswith(b"\r\n\r\ngood") and got.count(b"Connection: close") == 1  # a small one that is here already is no reason to close
        got = s.raw(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        assert got.startswith(b"HTTP/1.1 400 ") and b"Connection: close" in got
        with s.connect() as c:  # an answer that has begun is not written into
            c.sendall(b"POST /pieces HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
            read_to(c, b"2\r\nab\r\n")
            c.sendall(b"nonsense\r\n")
            assert read_all(c) == b""


def test_asgi_is_bounded_in_both_directions():
    with serve(ASGI) as s:
        with s.connect() as c:
            c.sendall(b"GET /flood HTTP/1.1\r\n\r\n")
            assert c.recv(15) == b"HTTP/1.1 200 OK"
            assert s.get().data == b"good" and "all sent" not in s.log
        with s.connect() as c:
            c.sendall(b"GET /gone HTTP/1.1\r\n\r\n")
            s.says("^begun$")
            c.settimeout(1)  # so long nothing is taken
            with pytest.raises(TimeoutError):
                for _ in range(64):
                    c.sendall(b"x" * (1 << 20))
        assert s.get().data == b"good"


def test_asgi_children_and_hard_exits():
    with serve(ASGI) as s:
        got = s.raw(b"GET /fork HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert got.count(b"HTTP/1.1") == 1 and got.endswith(b"good")
        s.says("came back in a child that it forked")
        assert s.raw(b"GET /hard HTTP/1.1\r\n\r\n") == b"" and s.ends() == 4
        s.says(r"called os\._exit\(4\), which ends the instance")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asgi_stops_when_its_requests_are_answered(number):
    with serve(ASGI) as s, s.connect() as busy, s.connect() as other, s.connect() as idle:
        idle.sendall(b"GET / HTTP/1.1\r\n\r\n")
        read_to(idle, b"good")
        other.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi")
        read_to(other, b"hi")
        busy.sendall(b"GET /wait HTTP/1.1\r\n\r\n")
        s.says("^waits$")
        s.process.send_signal(number)
        wait(lambda: not s.listens(), "the end of listening", s)
        assert s.process.poll() is None
        other.sendall(b"GET /go HTTP/1.1\r\n\r\n")
        got = read_all(busy)
        assert b"Connection: close" in got and got.endswith(b"waited")
        assert s.ends() == 0


def test_asgi_health_path_and_applications_of_two_calls():
    text = "class App:\n    def __init__(self, scope):\n        if scope['type'] != 'http': raise ValueError\n        self.path = scope['path']\n    async def __call__(self, receive, send):\n        await send({'type': 'http.response.start', 'status': 200})\n        await send({'type': 'http.response.body', 'body': self.path.encode()})\n"
    s = Shim(START, "app:App", {"app.py": text}, {"FND_HEALTH_PATH": "/alive"})
    try:
        wait(s.listens, "a listener", s)
        assert s.get("/ping").data == b"/ping" and s.get("/alive").data == b"pong\n"
    finally:
        s.__exit__()


@pytest.mark.parametrize("line", ["return", "raise SystemExit"])
def test_asgi_lifespans_that_are_none(line):
    text = f"async def app(scope, receive, send):\n    if scope['type'] == 'lifespan': {line}\n    await send({{'type': 'http.response.start', 'status': 200}})\n    await send({{'type': 'http.response.body', 'body': b'good'}})\n"
    with serve(text) as s:
        assert s.get().data == b"good" and s.stop() == 0


def test_asgi_lifespan_that_ends_early():
    text = "async def app(scope, receive, send):\n    if scope['type'] == 'lifespan':\n        await receive()\n        return await send({'type': 'lifespan.startup.complete'})\n"
    with serve(text) as s:
        assert s.stop() == 0


# ---- websockets ----

HANDSHAKE = b"GET %s HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"


def frame(first, data, mask=b"\1\2\3\4"):
    n = len(data)
    size = bytes([0x80 | n]) if n < 126 else b"\xfe" + n.to_bytes(2, "big") if n < 65536 else b"\xff" + n.to_bytes(8, "big")
    return bytes([first]) + size + mask + (bytes(b ^ mask[i % 4] for i, b in enumerate(data)) if any(mask) else data)


def talk(s, path, data):
    """What comes behind the handshake until the end."""
    with s.connect() as c:
        c.sendall((HANDSHAKE % path) + data)
        head, _, rest = read_all(c).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ") and head.endswith(b"x-a: b")
        return rest


def test_websocket_frames():
    end, closed = frame(0x88, b"\x0f\xa2so"), b"\x88\x02\x0f\xa2"
    with serve(ASGI) as s:
        for n in (0, 1, 2, 3, 4, 5, 125, 126, 127, 65535, 65536):
            data = os.urandom(n)
            size = bytes([n]) if n < 126 else b"\x7e" + n.to_bytes(2, "big") if n < 65536 else b"\x7f" + n.to_bytes(8, "big")
            assert talk(s, b"/", frame(0x82, data) + end) == b"\x82" + size + data + closed
        assert talk(s, b"/", frame(0x89, b"abc") + frame(0x8A, b"unasked") + frame(1, b"a") + frame(0x89, b"") + frame(0, b"b") + frame(0x80, b"c") + frame(0x81, b"d") + end) == b"\x8a\3abc\x8a\0\x81\3abc\x81\1d" + closed
        s.says("^code 4002 so$")
        assert talk(s, b"/", frame(0x88, b"")) == b"\x88\0"
        s.says("^code 1005 $")
        for data, code in ((frame(0x88, b"x"), 1002), (frame(0x09, b""), 1002), (frame(0x91, b""), 1002), (frame(1, b"a") + frame(0x81, b"b"), 1002), (frame(1, b"\xff") + frame(0x80, b""), 1007),
                           (frame(2, b"x" * (9 << 20), bytes(4)) * 1 + frame(0x80, b"x" * (9 << 20), bytes(4)), 1009)):
            assert talk(s, b"/", data) == b"\x88\2" + code.to_bytes(2, "big")
        with s.connect() as c:  # byte by byte
            c.sendall(HANDSHAKE % b"/")
            read_to(c, b"\r\n\r\n")
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in frame(0x81, b"x" * 130) + end:
                c.sendall(bytes([byte]))
            assert read_all(c) == b"\x81\x7e\0\x82" + b"x" * 130 + closed
        with s.connect() as c:  # gone without a word
            c.sendall(HANDSHAKE % b"/")
            read_to(c, b"\r\n\r\n")
        s.says("^code 1006 ")


def test_websocket_ends():
    with serve(ASGI) as s:
        with s.connect() as c:
            c.sendall((HANDSHAKE % b"/scope").replace(b"Upgrade: W", b"X-Forwarded-Proto: https\r\nSec-WebSocket-Protocol: a,, b\r\nUpgrade: W"))
            read_to(c, b"\r\n\r\n")
        s.says(r"^wss \['a', 'b'\]$")
        assert talk(s, b"/leave", b"") == b"\x88\2\x03\xe8"
        assert talk(s, b"/close", b"") == b"\x88\x0b\x0f\xa1enough \xc3\xa4"
        s.says("^then websocket.disconnect$")
        for path, says in ((b"/raise", "ValueError: before"), (b"/return", "returned without websocket.accept"), (b"/inject", "has a line break")):
            got = s.raw(HANDSHAKE % path)
            assert got.startswith(b"HTTP/1.1 500 ") and got.endswith(b"says why.\n")
            s.says(says)
        for line in (b"Sec-WebSocket-Version: 13\r\n", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"):
            assert s.raw((HANDSHAKE % b"/").replace(line, b"")).startswith(b"HTTP/1.1 400 ")
        assert s.get().data == b"good"
