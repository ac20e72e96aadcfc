"""The Ruby shim."""

import os
import re
import subprocess
import threading

import pytest

from shim import Shim, refused, wait

START = "rootfs/ruby/shim/start"


def serve(text, env=None, **files):
    return Shim(START, "handler.main", {"handler.rb": text, **files}, env)


def main(body):
    return f"def main(event, context)\n  {body}\nend\n"


def test_an_event_and_its_answer():
    text = "require 'json'\n" + main("{ statusCode: 201, body: JSON.generate([event.query, JSON.parse(event.body), event['path'], context['TOKEN']]), headers: { 'X-A' => 'b' } }")
    with serve(text, context='# mine\nTOKEN = "a \\"b\\""\n') as s:
        answer = s.post("/p?k=v+w", '{"a": 1}')
        assert (answer.status, answer.getheader("X-A"), answer.data) == (201, "b", b'[{"k":"v w"},{"a":1},"/p","a \\"b\\""]')


@pytest.mark.parametrize("result, data", [
    ("'text ä'", "text ä".encode()), ("{ 'statusCode' => 200, 'body' => 'x' }", b"x"), ("{ statusCode: '200', body: { a: 1 } }", b'{"a":1}'), ("{ statusCode: 200 }", b""),
    ("%w[a b c].each", b"abc"), ("{ statusCode: 200, body: [1, nil] }", b"[1,null]"),
])
def test_results(result, data):
    with serve(main(result)) as s:
        assert (lambda a: (a.status, a.data))(s.get()) == (200, data)


@pytest.mark.parametrize("status, method", [(204, "GET"), (304, "GET"), (200, "HEAD")])
def test_answers_without_body(status, method):
    """Parts of such an answer would be the next one on the connection."""
    with serve(main(f"event.path == '/b' ? 'b' : {{ statusCode: {status}, body: %w[a b].each }}")) as s:
        got = s.raw(f"{method} /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        first, _, rest = got.partition(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 %d " % status) and (method == "HEAD" or b"chunked" not in first) and rest.startswith(b"HTTP/1.1 200 OK\r\n"), got


def test_gems_of_the_builder_are_found():
    """As `bundle install --standalone` leaves them, for a Ruby without rubygems."""
    files = {"vendor/bundle/bundler/setup.rb": '$:.unshift File.expand_path("#{__dir__}/../gems/hello-1.0/lib")\n', "vendor/bundle/gems/hello-1.0/lib/hello.rb": "HELLO = 'from a gem'\n"}
    with serve("require 'hello'\n" + main("HELLO"), **files) as s:
        assert s.get().data == b"from a gem"


def test_binary_bodies_come_back():
    body = bytes(range(256)) * 5000
    with serve(main("event.raw_body")) as s:
        assert s.post("/", body).data == body
        assert s.ask("POST", "/", iter([body, body])).data == body * 2


def test_requests_in_one_piece_and_byte_by_byte():
    one = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    last = b"POST /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nde\r\n1\r\nf\r\n0\r\nTrailer: x\r\n\r\n"
    with serve(main("event.path + event.body")) as s:
        got = s.raw(one * 50 + last)
        assert got.count(b"/xabc") == 50 and got.endswith(b"\r\n\r\n/ydef")
        with s.connect() as c:
            for i in range(len(last)):
                c.sendall(last[i : i + 1])
            got = b""
            while more := c.recv(65536):
                got += more
        assert got.endswith(b"\r\n\r\n/ydef")
        assert s.raw(b"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n").endswith(b"Content-Length: 1\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("data, status", [
    (b"GET /\r\n\r\n", b"400"), (b"GET / HTTP/2.0\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"), (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", b"400"), (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n", b"400"),
])
def test_broken_requests(data, status):
    with serve(main("'good'")) as s:
        assert s.raw(data).split(b" ")[1] == status
        assert s.get().data == b"good"


def test_the_health_check_is_answered_while_a_call_runs_and_sigterm_waits_for_it():
    with serve(main("puts 'begun'; File.read('fifo')")) as s:
        os.mkfifo(s.root + "/fifo")
        with s.connect() as c:
            c.sendall(b"GET / HTTP/1.1\r\n\r\n")
            s.says("begun")
            assert s.get("/ping").data == b"pong\n"
            s.process.terminate()
            wait(lambda: not s.listens(), "the end of listening", s)
            with open(s.root + "/fifo", "w") as f:
                f.write("done")
            got = b""
            while more := c.recv(4096):
                got += more
            assert b"Connection: close" in got and got.endswith(b"done")
        assert s.ends() == 0


def test_an_instance_in_which_no_call_can_run_any_more_ends():
    """Not as long as one of the calls has a client, or is younger than [limits] timeout."""
    with serve(main("event.path == '/turn' ? (loop {}) : File.read('fifo')"), env={"FND_TIMEOUT": "0.2", "HANDLER_THREADS": "2"}) as s:
        os.mkfifo(s.root + "/fifo")
        with s.connect() as waits:
            waits.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with s.connect() as gone:
                gone.sendall(b"GET /turn HTTP/1.1\r\n\r\n")
            with pytest.raises(subprocess.TimeoutExpired):
                s.process.wait(1.2)
            assert s.get("/ping").data == b"pong\n"
        assert s.ends() == 1
        assert re.search(r"fnd: .*handler\.rb:2: main has run for \d+ s, longer than \[limits\] timeout, and no other call can run: this instance ends", s.log), s.log


def test_threads():
    text = "LOCK = Mutex.new\n$here = 0\n" + main("LOCK.synchronize { $here += 1 }; sleep 0.01 until $here > 1; $here.to_s")
    with serve(text, env={"HANDLER_THREADS": "2"}) as s:
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(s.get().data)) for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert answers == [b"2", b"2"]


@pytest.mark.parametrize("body, says", [
    ("puts 'out'; raise ArgumentError, 'odd'", r"handler\.rb:3: ArgumentError: odd: the call was answered with 500"), ("exit 3", r"handler\.rb:3: main called exit: .* return the answer instead"),
    ("return nil", r"main returned NilClass: return \{ statusCode"), ("return({ body: 'x' })", "main returned the statusCode nil"), ("return({ statusCode: 200, body: 7 })", "a body that is Integer"),
    ("return({ statusCode: 200, headers: { 'A' => \"b\\nc\" } })", "a header that cannot be sent"), ("return({ statusCode: 200, headers: [1] })", "headers that are Array"),
    ("context.get_doc('k')", "there is no document store here"),
])
def test_calls_that_go_wrong(body, says):
    with serve(f"def main(event, context)\n  return 'good' unless event.path == '/bad'\n  {body}\nend\n") as s:
        answer = s.get("/bad")
        assert (answer.status, answer.data) == (500, b"The function failed; its log says why.\n")
        s.says("^fnd: .*" + says)
        assert s.get("/").data == b"good"


def test_a_fork_and_a_hard_exit():
    with serve(main("pid = fork or return 'child'\n  event.path == '/exit' ? exit!(4) : Process.wait2(pid)[1].exitstatus.to_s")) as s:
        got = s.raw(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert got.count(b"HTTP/1.1") == 1 and got.endswith(b"\r\n\r\n1")
        s.says("main came back in a child that it forked")


@pytest.mark.parametrize("end, status", [("raise 'odd'", b"1"), ("exit 3", b"3")])
def test_how_a_child_ends(end, status):
    """The answer is its parent's alone."""
    with serve(main(f"pid = fork or {end}\n  Process.wait2(pid)[1].exitstatus.to_s")) as s:
        got = s.raw(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert got.count(b"HTTP/1.1") == 1 and got.endswith(b"\r\n\r\n" + status), got


GOOD = "def main(event, context)\n  'x'\nend\n"


@pytest.mark.parametrize("handler, files, says", [
    ("handler.main", {}, r"/handler\.rb is not there: .*no \.rb file"), ("handler.main", {"index.rb": GOOD}, r"the package has index\.rb"), ("handler.rb", {"handler.rb": GOOD}, "names a file"),
    ("handler.run", {"handler.rb": GOOD}, r"handler\.rb: has no method run"), ("handler.puts", {"handler.rb": GOOD}, r"handler\.rb: has no method puts"), ("handler.main", {"handler.rb": "def main(a, b, c)\nend\n"}, r"handler\.rb: main takes 3 arguments"),
    ("handler.main", {"handler.rb": "x = 1\ndef main(\n"}, r"handler\.rb:\d+: .*correct it"), ("handler.main", {"handler.rb": "\nrequire 'nosuch'\n"}, r"handler\.rb:2: there is no nosuch"),
    ("handler.main", {"handler.rb": "exit\n"}, r"handler\.rb:1: ends the process while it is loaded"), ("handler.main", {"handler.rb": "\nraise 'odd'\n"}, r"handler\.rb:2: RuntimeError: odd: the handler cannot be loaded"),
    ("handler.main", {"handler.rb": GOOD, "context": "A = 1\nB\n"}, r"/context:2: not a line"), ("rm -rf /", {"handler.rb": GOOD}, "not the name of a Ruby method"),
])
def test_what_cannot_be_served(handler, files, says):
    lines = refused(START, handler, files)
    assert lines[-1].startswith("fnd: ") and re.search(says, lines[-1]), lines
