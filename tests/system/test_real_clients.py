"""WebSocket and server-sent events between real programs: Python's `websockets` and Node's `ws` on both sides of the gateway; curl and wrk."""

import asyncio
import contextlib
import http
import json
import os
import subprocess
import threading

import gatewayhost as g
import pytest
import websockets
from fndtest import wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401 (fixtures)

NODE_PATH = "/usr/share/nodejs"
NODE_SERVER = """
const http = require('http'), { WebSocketServer } = require('ws');
const server = http.createServer((request, response) => response.end('pong'));
const wss = new WebSocketServer({ server, handleProtocols: names => [...names][0] });
wss.on('connection', socket => {
    socket.on('message', (data, binary) => binary ? socket.send(data, { binary }) : data == 'bye' ? socket.close(4321, 'as you like') : socket.send('node: ' + data));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""
NODE_CLIENT = """
const WebSocket = require('ws'), crypto = require('crypto');
const big = crypto.randomBytes(300000), said = [];
const socket = new WebSocket(process.argv[1], ['first', 'second']);
socket.on('open', () => { socket.send('hello'); });
socket.on('pong', data => { said.push('pong ' + data); socket.send(big); });
socket.on('message', (data, binary) => {
    if (binary) { said.push('same ' + (Buffer.compare(data, big) === 0)); socket.send('bye'); }
    else { said.push('' + data); socket.ping('are you there'); }
});
socket.on('close', (code, reason) => { console.log(JSON.stringify({ said, code, reason: '' + reason, protocol: socket.protocol })); });
socket.on('error', error => { console.log('' + error); process.exit(1); });
"""


def node(script, *args):
    return subprocess.Popen(["node", "-e", script, *args], env={**os.environ, "NODE_PATH": NODE_PATH}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


class Instance:
    """A program that listens, as the fake runner wants one."""

    host = "127.0.0.1"

    def __init__(self, port):
        self.port = port


@contextlib.contextmanager
def python_server(closed):
    """websockets' server in a loop of its own thread; what its connections ended with goes to `closed`."""
    loop = asyncio.new_event_loop()

    async def talk(socket):
        try:
            async for data in socket:
                if data == "bye":
                    await socket.close(4321, "as you like")
                else:
                    await socket.send(data if isinstance(data, bytes) else "python: " + data)
        except websockets.ConnectionClosed:
            pass
        closed.append(socket.close_code)

    async def health(path, _):
        return (http.HTTPStatus.OK, [], b"pong") if path == "/ping" else None

    async def start():
        return await websockets.serve(talk, "127.0.0.1", 0, process_request=health, subprotocols=["second"], max_size=1 << 24)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    yield Instance(server.sockets[0].getsockname()[1])
    server.close()
    asyncio.run_coroutine_threadsafe(server.wait_closed(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@contextlib.contextmanager
def node_server(_):
    process = node(NODE_SERVER)
    yield Instance(int(process.stdout.readline()))
    process.terminate()
    process.wait(30)
    process.stdout.close()


SERVERS = {"python": python_server, "node": node_server}


@pytest.mark.parametrize("name", SERVERS)
def test_websocket_python_client(gateway, serve, name):
    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{gateway.port}/fn/hello/a?b=c", subprotocols=["second"], max_size=1 << 24) as socket:
            assert socket.subprotocol == "second"
            assert "permessage-deflate" in socket.response_headers.get("Sec-WebSocket-Extensions", "") or name == "node"
            await socket.send("h\u00e9llo")
            assert await socket.recv() == name + ": h\u00e9llo"
            big = os.urandom(2_000_000)
            await socket.send([big[i:i + 100_000] for i in range(0, len(big), 100_000)])  # in fragments
            assert await socket.recv() == big
            await asyncio.wait_for(await socket.ping(), 10)
            await socket.send("bye")
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
            assert (socket.close_code, socket.close_reason) == (4321, "as you like")

    async def many():
        async def one(n):
            async with websockets.connect(f"ws://127.0.0.1:{gateway.port}/fn/hello/") as socket:
                for i in range(5):
                    await socket.send(f"{n} {i}")
                    assert await socket.recv() == f"{name}: {n} {i}"

        await asyncio.gather(*(one(n) for n in range(40)))

    closed = []
    with SERVERS[name](closed) as instance:
        serve(instance)
        asyncio.run(talk())
        asyncio.run(many())
    assert name == "node" or sorted(set(closed)) == [1000, 4321]


@pytest.mark.parametrize("name", SERVERS)
def test_websocket_node_client(gateway, serve, name):
    with SERVERS[name]([]) as instance:
        serve(instance)
        client = node(NODE_CLIENT, f"ws://127.0.0.1:{gateway.port}/fn/hello/")
        out = client.communicate(timeout=30)[0]
    assert client.returncode == 0, out
    told = json.loads(out)
    assert told == {"said": [name + ": hello", "pong are you there", "same true"], "code": 4321, "reason": "as you like", "protocol": "first" if name == "node" else "second"}


def test_websocket_client_that_vanishes(gateway, serve):
    """The function is told by the end of its connection."""
    closed = []
    with python_server(closed) as instance:
        serve(instance)
        client = node("const s = new (require('ws'))(process.argv[1]); s.on('open', () => console.log('open'))", f"ws://127.0.0.1:{gateway.port}/fn/hello/")
        assert client.stdout.readline() == "open\n"
        client.kill()
        client.wait()
        client.stdout.close()
        wait_until(lambda: closed == [1006], what="the function to notice")


NODE_EVENTS = """
(async () => {
    const response = await fetch(process.argv[1], { headers: { accept: 'text/event-stream' } });
    console.log(response.headers.get('content-type'));
    for await (const piece of response.body) console.log(JSON.stringify(Buffer.from(piece).toString()));
})();
"""


@pytest.mark.parametrize("client", ["node", "curl"])
def test_events_come_one_by_one(gateway, serve, client):
    """Each event is sent when the client has shown the one before: nothing between them waits for more."""
    turn = threading.Semaphore(0)

    def handler(conn, head):
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n")
        for n in range(5):
            event = b"id: %d\ndata: event %d\n\n" % (n, n)
            conn.send(b"%x\r\n%s\r\n" % (len(event), event))
            assert turn.acquire(timeout=30)
        return b"0\r\n\r\n"

    serve(g.Backend(handler))
    url = f"http://127.0.0.1:{gateway.port}/fn/hello/events"
    process = node(NODE_EVENTS, url) if client == "node" else subprocess.Popen(["curl", "-sSN", url], stdout=subprocess.PIPE, text=True)
    if client == "node":
        assert process.stdout.readline() == "text/event-stream\n"
    for n in range(5):
        if client == "node":
            assert json.loads(process.stdout.readline()) == f"id: {n}\ndata: event {n}\n\n"
        else:
            assert [process.stdout.readline() for _ in range(3)] == [f"id: {n}\n", f"data: event {n}\n", "\n"]
        turn.release()
    assert process.stdout.read() == ""
    assert process.wait(30) == 0
    process.stdout.close()


def curl(gateway, path, *args, **options):
    done = subprocess.run(["curl", "-sS", "-m", "20", *args, f"http://127.0.0.1:{gateway.port}{path}"], capture_output=True, check=False, **options)
    assert done.returncode == 0, done
    return done.stdout


def test_curl(gateway, serve, tmp_path):
    backend = g.Backend(lambda conn, head: g.answer(conn.body(head) or b"hello"))
    serve(backend)
    big = os.urandom(3_000_000)
    (tmp_path / "big").write_bytes(big)
    assert curl(gateway, "/fn/hello/a?b=c") == b"hello"
    assert curl(gateway, "/fn/hello/", "--http1.0") == b"hello"
    assert curl(gateway, "/fn/hello/", "-X", "DELETE", "-H", "Connection: close") == b"hello"
    assert curl(gateway, "/fn/hello/", "-d", "a=b") == b"a=b"
    assert curl(gateway, "/fn/hello/", "--data-binary", f"@{tmp_path}/big") == big  # asks first: Expect, which the function answers
    assert curl(gateway, "/fn/hello/", "-T", "-", input=big) == big  # of unknown length: chunked
    assert curl(gateway, "/fn/hello/", "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", "-I") == b"200"
    many = curl(gateway, "/fn/hello/[1-50]", "-w", "%{num_connects}\n")
    assert many.count(b"hello") == 50 and many.count(b"hello1") == 1  # over one connection
    assert g.fields(backend.heads[4])["expect"] == "100-continue"


def test_wrk(gateway, serve):
    serve(g.Backend(lambda conn, head: g.answer(b"x" * 100)))
    done = subprocess.run(["wrk", "-t1", "-c20", "-d1s", f"http://127.0.0.1:{gateway.port}/fn/hello/"], capture_output=True, text=True, check=True)
    assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout
    assert int(done.stdout.split(" requests in ")[0].split()[-1]) > 100, done.stdout
