"""The server for functions that are called and return: threads that share one epoll.

HANDLER_THREADS (1; 8 for WSGI) calls run at once. There is one thread more than that, so that somebody answers the health check while all calls are running, and
the main thread, which only takes signals. Each thread waits in the same epoll and does all of a request itself: no queue and no second thread is in the way of
a request. A socket is armed once (EPOLLONESHOT), so that one thread has it; what arrives when all calls are taken waits in `pending`, and whoever ends a call goes on
with that. Bodies are read here, without blocking, before a call begins; only an application that reads its body itself (WSGI) gets one that is large and still coming.
"""
import collections
import os
import select
import signal
import socket
import sys
import threading
import time

import fndhttp
import fndload

TIMEOUT = float(os.environ.get("FND_TIMEOUT") or 0)  # [limits] timeout; 0: not known
ARMED = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT
LINGER = 2  # seconds
BUFFERED = 1 << 20  # of a body that the call reads itself


class Gone(Exception):
    """The client's connection is closed."""


class Conn:
    """A connection and the request that it has; sent: the head of the answer is on its way."""

    __slots__ = ("sock", "fd", "buf", "request", "framing", "sent", "close", "since", "thread", "told")
    last = False  # every answer is the last of its connection: the server stops
    forked = None  # in a child that a call has forked: what ends it before it answers too

    def __init__(self, sock):
        self.sock, self.fd, self.buf = sock, sock.fileno(), bytearray()
        self.request = self.framing = None
        self.sent = self.close = self.told = False
        self.since = self.thread = 0

    def send(self, data):
        if Conn.forked:
            Conn.forked()
        try:
            self.sock.sendall(data)
        except OSError as e:
            raise Gone from e

    def respond(self, status, headers, body, reason=None):
        """A whole answer in one write."""
        request = self.request
        self.close = self.close or request.close or Conn.last or not self.framing.done
        self.sent = True
        if fndhttp.has_body(request.method, status):
            headers = headers + [("Content-Length", str(len(body)))]
        elif request.method == "HEAD" and status != 204 and status != 304:
            headers, body = headers + [("Content-Length", str(len(body)))], b""
        else:
            body = b""
        self.send(fndhttp.head(status, headers, self.close, reason) + body)

    def stream(self, status, headers, parts, reason=None):
        """An answer whose length is not known before; parts are bytes, and each is sent when it is there. The head goes with the first, so that what fails before it is a 500. None is made for who wants the head only: they may be endless."""
        request = self.request
        self.close = self.close or request.close or Conn.last
        body = fndhttp.has_body(request.method, status)
        before = fndhttp.head(status, headers + [("Transfer-Encoding", "chunked")] if body else headers, self.close, reason)
        for part in parts if body else ():
            self.sent = True
            if before or part:
                self.send(before + (b"%x\r\n%b\r\n" % (len(part), part) if part else b""))
            before = b""
        self.sent = True
        self.send(before + b"0\r\n\r\n" if body else before)

    def more(self):
        """Blocks until more of the body is there; False at its end."""
        if self.framing.done:
            return False
        try:
            data = self.sock.recv(fndhttp.READ)
        except OSError as e:
            raise Gone from e
        if not data:
            raise Gone
        self.buf += data
        self.framing.feed(self.buf)
        return True


class Server:
    def __init__(self, handler, calls, port, threads):
        self.handler, self.calls, self.threads = handler, calls, threads
        self.listener = fndhttp.listener(port)
        self.listener.setblocking(False)
        self.health = os.environ.get("FND_HEALTH_PATH", "/ping")
        self.epoll = select.epoll()
        self.epoll.register(self.listener.fileno(), select.EPOLLIN)
        self.conns = {}
        self.lock = threading.Lock()
        self.running = {}
        self.pending = collections.deque()
        self.stopping = False
        self.quiet = threading.Event()

    # ---- connections ----

    def work(self):
        poll, accepting = self.epoll.poll, self.listener.fileno()
        while True:
            try:
                events = poll(fndload.PATIENCE, 1)
            except InterruptedError:
                continue
            if not events:
                self.look_at_calls()
            for fd, _ in events:
                if fd == accepting:
                    self.accept()
                elif fd in self.conns:
                    self.readable(self.conns[fd])

    def accept(self):
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return
        sock.setblocking(True)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn = Conn(sock)
        self.conns[conn.fd] = conn
        self.epoll.register(conn.fd, ARMED)

    def drop(self, conn):
        self.conns.pop(conn.fd, None)
        conn.sock.close()

    def linger(self, conn):
        """Closes a connection on which more is coming: without reading that, the kernel would send a reset, and the client lose the answer."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            end = time.monotonic() + LINGER
            while (left := end - time.monotonic()) > 0:
                conn.sock.settimeout(left)
                if not conn.sock.recv(fndhttp.READ):
                    break
        except OSError:
            pass
        self.drop(conn)

    def arm(self, conn):
        try:
            self.epoll.modify(conn.fd, ARMED)
        except (OSError, ValueError):
            self.drop(conn)

    def readable(self, conn):
        try:
            data = conn.sock.recv(fndhttp.READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self.arm(conn)
            return
        except OSError:
            data = b""
        if not data:
            self.drop(conn)
            return
        conn.buf += data
        self.advance(conn)

    def advance(self, conn):
        """Goes on with what was received, and with what became free to go on because of it."""
        todo = [conn]
        while todo:
            self.step(todo.pop(), todo)

    def step(self, conn, todo):
        """Waits for more, or has a whole request and answers it."""
        try:
            ready = self.whole(conn)
        except fndhttp.Bad as e:
            self.refuse(conn, e)
            return
        except Gone:
            self.drop(conn)
            return
        if not ready:
            self.arm(conn)
            return
        if conn.request.path == self.health and conn.request.method in ("GET", "HEAD"):
            again = self.answered(conn, self.pong)
        elif self.enter(conn):
            again = self.answered(conn, self.call)
            self.leave(conn, todo)
        else:
            return
        if not again:
            (self.drop if conn.framing.done else self.linger)(conn)
            return
        conn.request = conn.framing = None
        conn.sent = conn.told = False
        conn.since = 0
        if conn.buf:
            todo.append(conn)
        else:
            self.arm(conn)

    def refuse(self, conn, bad):
        text = bad.text.encode() + b"\n"
        try:
            conn.send(fndhttp.head(bad.status, [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))], True) + text)
        except Gone:
            pass
        self.linger(conn)

    def whole(self, conn):
        if conn.request is None:
            conn.request = fndhttp.take_head(conn.buf)
            if conn.request is None:
                return False
            conn.framing = fndhttp.Framing(conn.request.length)
            if conn.request.expects and not conn.buf:
                conn.send(fndhttp.CONTINUE)
        framing = conn.framing
        if not framing.done:
            framing.feed(conn.buf)
        return framing.done or (self.calls.reads_bodies and len(framing.body) > BUFFERED)

    def pong(self, conn):
        conn.respond(200, [("Content-Type", "text/plain")], b"pong\n")

    # ---- calls ----

    def enter(self, conn):
        """One more call may run; False: it waits."""
        with self.lock:
            if conn.fd not in self.running:
                if len(self.running) >= self.threads:
                    self.pending.append(conn)
                    return False
                self.running[conn.fd] = conn
        conn.since, conn.thread = time.monotonic(), threading.get_ident()
        return True

    def leave(self, conn, todo):
        with self.lock:
            del self.running[conn.fd]
            if self.pending:
                following = self.pending.popleft()
                self.running[following.fd] = following
                todo.append(following)
            elif self.stopping and not self.running:
                self.quiet.set()

    def answered(self, conn, answer):
        """Answers; True if the connection can have another request."""
        try:
            answer(conn)
        except Gone:
            return False
        return conn.framing.done and not conn.close and not self.stopping

    def call(self, conn):
        """One call, whatever it does."""
        try:
            self.calls.call(conn)
        except Gone:
            raise
        except fndhttp.Bad as e:
            if conn.sent:
                raise Gone from e
            conn.respond(e.status, [("Content-Type", "text/plain; charset=utf-8")], e.text.encode() + b"\n")
        except BaseException as e:
            self.failed(conn, e)

    def failed(self, conn, error):
        end_of_child(error)
        fndload.failed(error, self.handler, self.calls.Wrong, "return the answer")
        if conn.sent:
            conn.close = True
            raise Gone from error  # the end is missing: that is how the client sees it
        conn.respond(500, [("Content-Type", "text/plain")], fndhttp.FAILED)

    def look_at_calls(self):
        """Says once of each call that it still runs though nobody waits for its answer."""
        with self.lock:
            running = list(self.running.values())
        for conn in running:
            if not conn.told and self.abandoned(conn, fndload.PATIENCE):
                conn.told = True
                fndload.say(f"{self.place(conn)} and its client has gone: give what it waits for a timeout, raise [limits] timeout, or [env] HANDLER_THREADS so that others need not wait")

    def abandoned(self, conn, seconds):
        """Has it run for longer, and nobody waits for its answer?"""
        if not conn.since or time.monotonic() - conn.since < seconds:
            return False
        poll = select.poll()
        poll.register(conn.fd, select.POLLRDHUP)
        return bool(poll.poll(0))

    def place(self, conn):
        """Where in the function a call is, and since when."""
        frame, at = sys._current_frames().get(conn.thread), self.handler.file
        while frame and not frame.f_code.co_filename.startswith(fndload.ROOT + "/"):
            frame = frame.f_back
        if frame:
            at = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        return f"{at}: {self.handler.name} has run for {time.monotonic() - conn.since:.0f} s"

    def end_if_blocked(self):
        """In the main thread: where no call can run any more, because those that do were given up by their clients and by [limits] timeout, there is nothing to wait for: another instance takes over."""
        with self.lock:
            running = list(self.running.values())
        if len(running) < self.threads or self.stopping or not all(self.abandoned(c, TIMEOUT) for c in running):
            return
        fndload.say(f"{self.place(running[0])}, longer than [limits] timeout, and no other call can run: this instance ends and another takes over; give what it waits for a timeout, or raise [limits] timeout")
        fndload.EXIT(1)

    # ---- the end ----

    def stop(self, *_):
        """In the main thread: no more connections; calls that run, and those that wait for them, are finished."""
        if self.stopping:
            return
        self.stopping = Conn.last = True
        try:
            self.epoll.unregister(self.listener.fileno())
            self.listener.close()
        except OSError:
            pass
        self.quiet_if_idle()

    def quiet_if_idle(self):
        # Not with the lock: the main thread holds no lock, but a signal may come while it waits for one.
        if not self.running and not self.pending:
            self.quiet.set()


def children(handler):
    """A child that a call has forked ends where it would answer its parent's client."""

    def end():
        fndload.say(f"{handler.file}: {handler.name} came back in a child that it forked, which is ended here: end it with os._exit(0), or use subprocess")
        fndload.EXIT(1)

    def born():
        Conn.forked = end

    os.register_at_fork(after_in_child=born)


def end_of_child(error):
    """sys.exit() in a child that a call has forked ends it."""
    if Conn.forked and isinstance(error, SystemExit):
        fndload.EXIT(error.code if isinstance(error.code, int) else 1 if error.code else 0)


def exit_that_says_so(handler):
    """os._exit ends the instance: the log says who did it."""
    pid = os.getpid()

    def exit_now(code):
        if os.getpid() == pid:
            frame = sys._getframe(1)
            fndload.say(f"{frame.f_code.co_filename}:{frame.f_lineno}: called os._exit({code}), which ends the instance and the calls in it: return from {handler.name} instead")
        fndload.EXIT(code)

    os._exit = exit_now


def serve(handler, calls):
    server = Server(handler, calls, fndload.number("PORT", 3000, 1, 65535), calls.threads)
    children(handler)
    exit_that_says_so(handler)
    signal.signal(signal.SIGTERM, server.stop)
    signal.signal(signal.SIGINT, server.stop)
    for i in range(calls.threads + 1):
        threading.Thread(target=server.work, name=f"fnd-{i}", daemon=True).start()
    while not server.quiet.wait(max(0.5, min(TIMEOUT, 5)) if TIMEOUT else None):
        server.end_if_blocked()
    sys.stdout.flush()
    sys.stderr.flush()
