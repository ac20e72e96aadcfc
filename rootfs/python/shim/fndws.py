"""The websocket part of ASGI: the handshake and the frames of RFC 6455, without extensions."""
import asyncio
import base64
import hashlib
import struct

import fndasgi
import fndhttp

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MESSAGE_MAX = 16 << 20
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Closed(Exception):
    """The connection ends with this code."""

    def __init__(self, code, reason=""):
        super().__init__(code)
        self.code, self.reason = code, reason


def frame(opcode, data):
    n = len(data)
    if n < 126:
        return struct.pack("!BB", 0x80 | opcode, n) + data
    if n < 65536:
        return struct.pack("!BBH", 0x80 | opcode, 126, n) + data
    return struct.pack("!BBQ", 0x80 | opcode, 127, n) + data


def unmask(data, mask):
    """XOR with the mask repeated, as one large number."""
    n = len(data)
    whole = (mask * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "little") ^ int.from_bytes(whole, "little")).to_bytes(n, "little")


def take_frame(buf):
    """(opcode, fin, data) of the first frame in buf, which loses it; None: more is needed."""
    if len(buf) < 2:
        return None
    first, second = buf[0], buf[1]
    opcode, fin, n, at = first & 15, first & 128, second & 127, 2
    if first & 0x70 or not second & 128 or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG) or (opcode >= CLOSE and (not fin or n > 125)):
        raise Closed(1002)
    if n >= 126:
        size = 2 if n == 126 else 8
        if len(buf) < at + size:
            return None
        n, at = int.from_bytes(buf[at : at + size], "big"), at + size
    if n > MESSAGE_MAX:
        raise Closed(1009)
    if len(buf) < at + 4 + n:
        return None
    data = unmask(bytes(buf[at + 4 : at + 4 + n]), bytes(buf[at : at + 4]))
    del buf[: at + 4 + n]
    return opcode, fin, data


class Socket:
    """receive() and send() of the application, and what becomes of the handshake."""

    def __init__(self, conn, request):
        self.conn, self.request = conn, request
        self.state = "new"  # connecting, open, closed
        self.parts, self.kind = bytearray(), None

    async def receive(self):
        if self.state == "new":
            self.state = "connecting"
            return {"type": "websocket.connect"}
        if self.state == "connecting":
            await self.conn.gone_or(lambda: self.state != "connecting")
        if self.state != "open":
            return {"type": "websocket.disconnect", "code": 1006}
        try:
            return await self.message()
        except Closed as e:
            return await self.disconnected(e.code, e.reason)
        except (fndasgi.Gone, ConnectionError):
            self.state = "closed"
            return {"type": "websocket.disconnect", "code": 1006}

    async def message(self):
        while True:
            taken = take_frame(self.conn.buf)
            if not taken:
                await self.conn.read()
                continue
            opcode, fin, data = taken
            if opcode == PING:
                await self.conn.send(frame(PONG, data))
            elif opcode == CLOSE:
                if len(data) == 1:
                    raise Closed(1002)
                raise Closed(int.from_bytes(data[:2], "big") if data else 1005, data[2:].decode("utf-8", "replace"))
            elif opcode != PONG:
                whole = self.join(opcode, fin, data)
                if whole:
                    return whole

    def join(self, opcode, fin, data):
        if (opcode == CONTINUATION) != (self.kind is not None):
            raise Closed(1002)
        self.kind = self.kind if self.kind is not None else opcode
        self.parts += data
        if len(self.parts) > MESSAGE_MAX:
            raise Closed(1009)
        if not fin:
            return None
        whole, kind = bytes(self.parts), self.kind
        self.parts.clear()
        self.kind = None
        if kind == BINARY:
            return {"type": "websocket.receive", "bytes": whole, "text": None}
        try:
            return {"type": "websocket.receive", "text": whole.decode(), "bytes": None}
        except UnicodeDecodeError:
            raise Closed(1007) from None

    async def disconnected(self, code, reason, said=""):
        if self.state == "open":
            self.state = "closed"
            try:
                await self.conn.send(frame(CLOSE, b"" if code == 1005 else struct.pack("!H", code) + said.encode()))
            except fndasgi.Gone:
                pass
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    async def send(self, message):
        kind = message["type"]
        if kind == "websocket.accept" and self.state in ("new", "connecting"):
            await self.accept(message)
        elif kind == "websocket.send" and self.state == "open":
            text = message.get("text")
            await self.conn.send(frame(BINARY, bytes(message["bytes"])) if text is None else frame(TEXT, text.encode()))
        elif kind == "websocket.close" and self.state == "open":
            await self.disconnected(message.get("code", 1000) or 1000, "", message.get("reason") or "")
        elif kind == "websocket.close" and self.state in ("new", "connecting"):
            self.state = "closed"
            await self.conn.send(fndhttp.head(403, [("Content-Length", "0")], True))
            self.conn.wake()
        elif self.state == "closed":
            raise fndasgi.Gone
        else:
            raise fndasgi.Wrong(f"sent {kind} while the connection is {self.state}")

    async def accept(self, message):
        key = self.request.fields.get("sec-websocket-key", "").encode("latin-1")
        headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key + MAGIC).digest()).decode())]
        if message.get("subprotocol"):
            headers += fndasgi.sendable([(b"Sec-WebSocket-Protocol", message["subprotocol"].encode())])
        self.state = "open"
        await self.conn.send(fndhttp.head(101, headers + fndasgi.sendable(message.get("headers", ())), False, "Switching Protocols"))
        self.conn.wake()


async def serve(conn, request, scope):
    """The whole life of a websocket; the connection is closed afterwards."""
    if request.fields.get("sec-websocket-version") != "13" or not request.fields.get("sec-websocket-key"):
        raise fndhttp.Bad(400, "a websocket of version 13 is what is spoken here")
    socket = Socket(conn, request)
    server = conn.server
    stopping = asyncio.ensure_future(server.stopped.wait())
    running = asyncio.ensure_future(server.app(scope, socket.receive, socket.send))
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():  # the daemon ends this instance: clients learn it by 1012, service restart
            await socket.disconnected(1012, "")
            running.cancel()
        await running
        if socket.state in ("new", "connecting"):
            raise fndasgi.Wrong("returned without websocket.accept or websocket.close")
    except (fndasgi.Gone, asyncio.CancelledError):
        pass
    except BaseException as e:
        server.failed(e)
        if socket.state in ("new", "connecting"):
            await conn.send(fndhttp.head(500, [("Content-Length", str(len(fndhttp.FAILED)))], True) + fndhttp.FAILED)
        else:
            await socket.disconnected(1011, "")
        return
    finally:
        stopping.cancel()
    if socket.state == "open":
        await socket.disconnected(1000, "")
