"""A client of HTTP/2 that sends what it is told, frame by frame, and notes what comes back. hyperframe and hpack only make and read the bytes."""

import contextlib
import socket
import time

import fndtest
from hpack import Decoder, Encoder
from hyperframe.frame import (ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, PriorityFrame, RstStreamFrame, SettingsFrame,
                              WindowUpdateFrame)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, REFUSED_STREAM, CANCEL, CALM = 0, 1, 2, 3, 5, 7, 8, 11


def frame(kind, stream=0, flags=(), **fields):
    f = kind(stream, **fields)
    for flag in flags:
        f.flags.add(flag)
    return f.serialize()


def raw_frame(kind, flags, stream, payload=b"", length=None):
    """Also those that no library would make."""
    n = len(payload) if length is None else length
    return n.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def request(path="/fn/hello/", method="GET", extra=()):
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", "t.example"), *extra]


class Stream:
    def __init__(self):
        self.heads, self.data, self.ended, self.reset = [], b"", False, None

    def fields(self, n=-1):
        return dict(self.heads[n])

    @property
    def status(self):
        return next((int(f[":status"]) for f in map(dict, reversed(self.heads)) if ":status" in f), None)


class Client:
    """acks: gives back the windows of what it reads, and answers SETTINGS and PING."""

    def __init__(self, gateway, settings=None, acks=True, begin=True):
        self.sock = gateway.connect()
        self.encoder, self.decoder = Encoder(), Decoder()
        self.streams, self.goaway, self.closed, self.settings = {}, [], False, {}
        self.window, self.windows = 65535, {}  # what we may send
        self.acks = acks
        self.next_id, self.buf, self.block = 1, b"", b""
        if begin:
            self.send(PREFACE + frame(SettingsFrame, settings=settings or {}))

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()

    def send(self, data):
        with contextlib.suppress(OSError):  # what came before the end is still to be read: step() finds it
            self.sock.sendall(data)

    def headers(self, fields, end=True, stream=None, indexed=False):
        if stream is None:
            stream, self.next_id = self.next_id, self.next_id + 2
        self.streams.setdefault(stream, Stream())
        block = self.encoder.encode([(k, v) for k, v in fields] if indexed else fields)
        return stream, frame(HeadersFrame, stream, ["END_HEADERS"] + (["END_STREAM"] if end else []), data=block)

    def open(self, fields=None, end=True, **kw):
        stream, data = self.headers(fields if fields is not None else request(), end, **kw)
        self.send(data)
        return stream

    def data(self, stream, data, end=False):
        self.send(frame(DataFrame, stream, ["END_STREAM"] if end else [], data=data))

    def reset(self, stream, code=CANCEL):
        self.send(frame(RstStreamFrame, stream, error_code=code))

    def send_body(self, stream, data, end=True):
        """By the windows."""
        while data:
            room = min(self.window, self.windows.get(stream, self.settings.get(4, 65535)), 16384)
            if room <= 0:
                self.step()
                continue
            self.data(stream, data[:room], end and len(data) <= room)
            self.window -= room if len(data) > room else len(data)
            self.windows[stream] = self.windows.get(stream, self.settings.get(4, 65535)) - min(room, len(data))
            data = data[room:]

    # ---- what comes ----

    def step(self, seconds=fndtest.PATIENCE_S):
        """One more read, and what it holds; False at the end of the connection."""
        self.sock.settimeout(seconds)
        try:
            more = self.sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            more = b""
        if not more:
            self.closed = True
            return False
        self.buf += more
        while len(self.buf) >= 9:
            f, length = Frame.parse_frame_header(memoryview(self.buf[:9]))
            if len(self.buf) < 9 + length:
                break
            f.parse_body(memoryview(self.buf[9 : 9 + length]))
            self.buf = self.buf[9 + length :]
            self.take(f)
        return True

    def take(self, f):
        s = self.streams.setdefault(f.stream_id, Stream()) if f.stream_id else None
        if isinstance(f, (HeadersFrame, ContinuationFrame)):
            self.block += f.data
            if "END_HEADERS" in f.flags:
                s.heads.append(self.decoder.decode(self.block))
                self.block = b""
        if isinstance(f, DataFrame):
            s.data += f.data
            if self.acks and f.flow_controlled_length:
                self.send(frame(WindowUpdateFrame, 0, window_increment=f.flow_controlled_length))
                if "END_STREAM" not in f.flags:
                    self.send(frame(WindowUpdateFrame, f.stream_id, window_increment=f.flow_controlled_length))
        if isinstance(f, (HeadersFrame, DataFrame)) and "END_STREAM" in f.flags:
            s.ended = True
        if isinstance(f, RstStreamFrame):
            s.reset = f.error_code
        if isinstance(f, GoAwayFrame):
            self.goaway.append((f.error_code, f.last_stream_id))
        if isinstance(f, WindowUpdateFrame):
            if f.stream_id:
                self.windows[f.stream_id] = self.windows.get(f.stream_id, self.settings.get(4, 65535)) + f.window_increment
            else:
                self.window += f.window_increment
        if isinstance(f, SettingsFrame) and "ACK" not in f.flags:
            self.settings.update(f.settings)
            if self.acks:
                self.send(frame(SettingsFrame, flags=["ACK"]))
        if isinstance(f, PingFrame) and "ACK" not in f.flags and self.acks:
            self.send(frame(PingFrame, flags=["ACK"], opaque_data=f.opaque_data))

    def told(self):
        return f"goaway {self.goaway}, streams {[(i, s.status, s.reset, s.ended) for i, s in self.streams.items()][-3:]}"

    def until(self, holds, seconds=fndtest.PATIENCE_S):
        end = time.monotonic() + seconds
        while not holds():
            left = end - time.monotonic()
            assert left > 0, f"it does not come: {self.told()}"
            try:
                if not self.step(left):
                    break
            except socket.timeout:
                continue
        assert holds(), f"the connection ended: {self.told()}"

    def answer(self, stream, seconds=fndtest.PATIENCE_S):
        """A whole answer, or a reset."""
        s = self.streams[stream]
        self.until(lambda: s.ended or s.reset is not None, seconds)
        return s

    def get(self, path="/fn/hello/"):
        return self.answer(self.open(request(path)))

    def until_closed(self, seconds=fndtest.PATIENCE_S):
        """The codes of GOAWAY frames until the end."""
        self.until(lambda: self.closed, seconds)
        return [code for code, _ in self.goaway]


__all__ = ["Client", "Stream", "frame", "raw_frame", "request", "PingFrame", "PriorityFrame", "SettingsFrame", "WindowUpdateFrame", "DataFrame", "HeadersFrame",
           "ContinuationFrame", "RstStreamFrame", "GoAwayFrame"]
