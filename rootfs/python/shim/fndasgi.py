"""ASGI 3 applications: FastAPI, Starlette, Quart, Django. http, lifespan and websocket, on one asyncio loop.

A connection is a task that reads requests one after the other; the application runs as a task of its own per request, so that its receive() learns when the client has
gone. What is read ahead is bounded by the stream's limit, what is sent waits in drain().
"""
import asyncio
import os
import signal
import sys
from urllib.parse import unquote_to_bytes

import fndhttp
import fndload
import fndserver
import fndws

VERSIONS = {"version": "3.0", "spec_version": "2.3"}
PART = 65536


class Wrong(Exception):
    """The application broke the protocol."""


class Gone(Exception):
    """The client's connection is closed."""


def scope_of(kind, request, reader, writer, state):
    fields = request.fields
    scheme = fields.get("x-forwarded-proto", "http")
    if kind == "websocket":
        scheme = "wss" if scheme == "https" else "ws"
    client = fields.get("x-forwarded-for", "").partition(",")[0].strip()
    scope = {
        "type": kind, "asgi": VERSIONS, "http_version": "1.1", "scheme": scheme, "path": unquote_to_bytes(request.path).decode("utf-8", "replace"),
        "raw_path": request.path.encode("latin-1"), "query_string": request.query.encode("latin-1"), "root_path": fields.get("x-forwarded-prefix", "").rstrip("/"),
        "headers": [(n.encode("latin-1"), v.encode("latin-1")) for n, v in request.headers], "client": (client, 0) if client else None,
        "server": writer.get_extra_info("sockname"), "state": state.copy(),
    }
    if kind == "http":
        scope["method"] = request.method
    else:
        scope["subprotocols"] = [p.strip() for p in fields.get("sec-websocket-protocol", "").split(",") if p.strip()]
    return scope


def sendable(headers):
    sent = []
    for name, value in headers:
        name, value = bytes(name).decode("latin-1"), bytes(value).decode("latin-1")
        why = fndhttp.bad_header(name, value)
        if why:
            raise Wrong(f"sent a header that cannot be sent: {why}")
        if name.lower() not in ("transfer-encoding", "connection"):
            sent.append((name, value))
    return sent


class Http:
    """One request: receive() and send() of its application."""

    def __init__(self, conn, request, framing):
        self.conn, self.request, self.framing = conn, request, framing
        self.close = request.close
        self.begun = self.ended = self.chunked = self.body_given = self.asked = False
        self.length, self.sent, self.head = None, 0, None

    async def receive(self):
        if not self.body_given:
            framing = self.framing
            if self.request.expects and not self.asked and not self.begun and not self.conn.buf:
                await self.conn.send(fndhttp.CONTINUE)
            self.asked = True
            while not framing.done and not framing.body:
                await self.conn.fill(framing)
            body = bytes(framing.body)
            framing.body.clear()
            self.body_given = framing.done
            return {"type": "http.request", "body": body, "more_body": not framing.done}
        if not self.ended:
            await self.conn.gone_or(lambda: self.ended)
        return {"type": "http.disconnect"}

    async def send(self, message):
        kind = message["type"]
        if kind == "http.response.start":
            if self.head:
                raise Wrong("sent http.response.start twice")
            status = message["status"]
            if not isinstance(status, int) or not 200 <= status <= 599:
                raise Wrong(f"sent the status {status!r}")
            self.head = (status, sendable(message.get("headers", ())))
            said = [v for n, v in self.head[1] if n.lower() == "content-length"]
            if len(said) > 1 or (said and not (said[0].isascii() and said[0].isdigit())):
                raise Wrong(f"sent the Content-Length {', '.join(said)}")
            self.length = int(said[0]) if said else None
        elif kind == "http.response.body":
            if not self.head or self.ended:
                raise Wrong("sent http.response.body " + ("after the end of the answer" if self.ended else "before http.response.start"))
            await self.part(message.get("body", b""), message.get("more_body", False))
        else:
            raise Wrong(f"sent a message of the type {kind}, which an http answer does not have")

    async def part(self, data, more):
        out = b""
        status, headers = self.head
        body = fndhttp.has_body(self.request.method, status)
        self.sent += len(data)
        if body and self.length is not None and (self.sent > self.length or (self.sent < self.length and not more)):
            raise Wrong(f"sent {self.sent} bytes of body and had said {self.length} in Content-Length")  # the rest would be taken from the next answer
        if not self.begun:
            if not self.framing.done:  # a body that nobody reads is the end of the connection, unless it is here already
                self.framing.feed(self.conn.buf)
            self.close = self.close or self.conn.stopping() or not self.framing.done
            self.begun = True
            if self.length is None and (body or self.request.method == "HEAD") and status not in (204, 304):
                self.chunked = more and body
                if not more:
                    headers = headers + [("Content-Length", str(len(data)))]
                elif body:
                    headers = headers + [("Transfer-Encoding", "chunked")]
            out = fndhttp.head(status, headers, self.close)
        if body and data:
            out += b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else bytes(data)
        if not more:
            self.ended = True
            out += b"0\r\n\r\n" if self.chunked else b""
        await self.conn.send(out)
        if self.ended:
            self.conn.wake()


class Conn:
    def __init__(self, server, reader, writer):
        self.server, self.reader, self.writer = server, reader, writer
        self.buf = bytearray()
        self.woken = asyncio.Event()
        self.busy = False
        self.reading = None

    def stopping(self):
        return self.server.stopped.is_set()

    def wake(self):
        self.woken.set()

    def received(self):
        """The task that reads. There is one at most, and who does not wait for it any longer leaves it to the next: a stream has one reader, and one that is cancelled holds it for a while."""
        if not self.reading:
            self.reading = asyncio.ensure_future(self.reader.read(PART))
        return self.reading

    def taken(self, reading):
        """Has what was read been taken, by this or by another who waited? False at the end."""
        if self.reading is not reading:
            return True
        self.reading = None
        data = reading.result()
        self.buf += data
        return bool(data)

    async def read(self):
        reading = self.received()
        await asyncio.wait({reading})
        if not self.taken(reading):
            raise Gone

    async def fill(self, framing):
        if not self.buf:
            await self.read()
        framing.feed(self.buf)
        while not framing.done and not framing.body:
            await self.read()
            framing.feed(self.buf)

    async def gone_or(self, ended):
        """Until the client has gone, or the answer is ended. What the client sends meanwhile is kept, within bounds."""
        while not ended() and not self.reader.at_eof():
            self.woken.clear()
            waking = asyncio.ensure_future(self.woken.wait())
            reading = self.received() if len(self.buf) < fndhttp.HEAD_MAX else None
            try:
                done, _ = await asyncio.wait({t for t in (reading, waking) if t}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waking.cancel()
            if reading in done and not self.taken(reading):
                return

    async def send(self, data):
        if fndserver.Conn.forked:
            fndserver.Conn.forked()
        if self.writer.is_closing():
            raise Gone
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError as e:
            raise Gone from e

    async def request(self):
        while True:
            request = fndhttp.take_head(self.buf)
            if request:
                return request
            await self.read()

    async def serve(self):
        try:
            while not self.stopping():
                request = await self.request()
                self.busy = True
                if not await self.answer(request):
                    break
                self.busy = False
        except (Gone, ConnectionError, asyncio.IncompleteReadError):
            pass
        except fndhttp.Bad as e:
            text = e.text.encode() + b"\n"
            self.writer.write(fndhttp.head(e.status, [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))], True) + text)
        finally:
            await self.linger()
            self.busy = False
            self.writer.close()
            if self.reading:
                self.reading.cancel()

    async def linger(self):
        """What is still coming is read, for a while: else the kernel would send a reset, and the client lose the answer."""
        try:
            self.writer.write_eof()
            async with asyncio.timeout(fndserver.LINGER):
                while True:
                    self.buf.clear()
                    await self.read()
        except (Gone, OSError, asyncio.TimeoutError):
            pass

    async def answer(self, request):
        """True if the connection can have another request."""
        if request.path == self.server.health and request.method in ("GET", "HEAD"):
            close = request.close or request.length != 0  # a body that nobody has read would be the next request, and its answer somebody else's
            await self.send(fndhttp.head(200, [("Content-Type", "text/plain"), ("Content-Length", "5")], close) + (b"" if request.method == "HEAD" else b"pong\n"))
            return not close
        if request.fields.get("upgrade", "").lower() == "websocket":
            await fndws.serve(self, request, scope_of("websocket", request, self.reader, self.writer, self.server.state))
            return False
        exchange = Http(self, request, fndhttp.Framing(request.length))
        await self.server.run(self, exchange, scope_of("http", request, self.reader, self.writer, self.server.state))
        return exchange.ended and exchange.framing.done and not exchange.close and not self.stopping()


class Server:
    def __init__(self, handler):
        self.handler, self.app = handler, handler.call
        if handler.params == 1:  # ASGI 2: app(scope)(receive, send)
            self.app = lambda scope, receive, send: handler.call(scope)(receive, send)
        self.health = os.environ.get("FND_HEALTH_PATH", "/ping")
        self.stopped = asyncio.Event()
        self.state, self.conns = {}, set()

    async def run(self, conn, exchange, scope):
        """The application on one request; what it leaves undone is said and answered."""
        try:
            await self.app(scope, exchange.receive, exchange.send)
            if not exchange.ended:
                raise Wrong("returned before its answer was complete")
        except (Gone, asyncio.CancelledError):
            raise
        except fndhttp.Bad as e:
            if exchange.begun:
                raise Gone from e
            raise
        except BaseException as e:
            self.failed(e)
            if exchange.begun:
                raise Gone from e
            exchange.ended, exchange.close = True, True
            await conn.send(fndhttp.head(500, [("Content-Type", "text/plain"), ("Content-Length", str(len(fndhttp.FAILED)))], True) + fndhttp.FAILED)

    def failed(self, error):
        fndserver.end_of_child(error)
        fndload.failed(error, self.handler, Wrong, "send the answer")

    async def connected(self, reader, writer):
        conn = Conn(self, reader, writer)
        self.conns.add(conn)
        try:
            await conn.serve()
        finally:
            self.conns.discard(conn)

    async def serve(self):
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopped.set)
        life = Lifespan(self)
        await life.start()
        listener = await asyncio.start_server(self.connected, sock=fndhttp.listener(fndload.number("PORT", 3000, 1, 65535)), limit=PART)
        await self.stopped.wait()
        listener.close()
        while any(c.busy for c in self.conns):
            await asyncio.sleep(0.02)
        await life.stop()


class Lifespan:
    """lifespan.startup before the first request, lifespan.shutdown after the last; an application that knows neither is none the worse."""

    def __init__(self, server):
        self.server, self.inbox, self.outbox, self.task = server, asyncio.Queue(), asyncio.Queue(), None

    async def run(self):
        scope = {"type": "lifespan", "asgi": VERSIONS, "state": self.server.state}
        try:
            await self.server.app(scope, self.inbox.get, self.outbox.put)
            await self.outbox.put({"type": "returned"})
        except BaseException as e:
            await self.outbox.put({"type": "unsupported", "error": e})

    async def start(self):
        self.task = asyncio.ensure_future(self.run())
        await self.inbox.put({"type": "lifespan.startup"})
        said = await self.outbox.get()
        if said["type"] == "lifespan.startup.failed":
            fndload.fail(f"{self.server.handler.file}: the start of the application failed: {said.get('message', '') or 'it gave no reason'}")
        if said["type"] != "lifespan.startup.complete":
            self.task = None

    async def stop(self):
        if self.task:
            await self.inbox.put({"type": "lifespan.shutdown"})
            await self.outbox.get()


def serve(handler):
    fndserver.children(handler)
    fndserver.exit_that_says_so(handler)

    async def run():
        await Server(handler).serve()

    asyncio.run(run())
    sys.stdout.flush()
