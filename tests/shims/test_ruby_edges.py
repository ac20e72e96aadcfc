"""The Ruby shim: what is at the edges of its contract, and of HTTP."""

import json
import os
import signal
import socket
import struct
import subprocess

import pytest

from shim import REPO, Shim, read_all, refused, wait

START = "rootfs/ruby/shim/start"


def serve(text, env=None, **files):
    return Shim(START, "handler.main", {"handler.rb": text, **files}, env)


def main(body):
    return f"def main(event, context)\n  {body}\nend\n"


def test_events_and_queries():
    text = "require 'json'\n" + main("return context.getDoc('k') if event.path == '/doc'\n  event.nothing if event.path == '/nothing'\n  JSON.generate([event.method, event.path, event.query, event.headers['x-a'], event.headers['cookie'], event.body, event['raw_body'].encoding.to_s, event.query.to_a.flatten.map { |t| t.encoding.to_s }.uniq])")
    with serve(text) as s:
        got = s.raw(b"PATCH /p%41?a=1&b=&a=2&c&&%C3%A4=x+%2b HTTP/1.1\r\nX-A:\t one \t\r\nX-A: two\r\nCookie: k=1\r\nCookie: l=2\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        assert json.loads(got.split(b"\r\n\r\n")[1]) == ["PATCH", "/p%41", {"a": "2", "b": "", "c": "", "ä": "x +"}, "one, two", "k=1; l=2", "hi", "ASCII-8BIT", ["UTF-8"]]
        for query in (b"%", b"a=%zz", b"\xc3\xa4=1", b"?"):  # a client's mistake is not the function's
            assert s.raw(b"GET /?%s HTTP/1.1\r\nConnection: close\r\n\r\n" % query).startswith(b"HTTP/1.1 200 ")
        assert s.get("/doc").status == 500
        s.says("there is no document store")
        assert s.get("/nothing").status == 500
        s.says("NoMethodError: undefined method `nothing'")


def test_the_context_file_and_the_secrets_over_it(secrets):
    with open(f"{secrets}/TOKEN", "w", encoding="utf-8") as f:
        f.write("of the secret\n")
    os.mkdir(f"{secrets}/directory")
    text = "require 'json'\n" + main("n = context.size\n  context['more'] = 1\n  JSON.generate([n, context])")
    with serve(text, context='# mine\n\n  \nTOKEN = "of the file"\nA.b-C = plain text\nESC = "a\\tb\\nc\\\\"\n') as s:
        for _ in range(2):
            assert json.loads(s.get().data) == [3, {"TOKEN": "of the secret", "A.b-C": "plain text", "ESC": "a\tb\nc\\", "more": 1}]


RESULTS = main("""{
    '/headers' => -> { { statusCode: 200, headers: { 'X-T' => %w[a b], 'X-N' => 7, 'content-TYPE' => 'text/x', 'Content-Length' => '9', 'Transfer-Encoding' => 'gzip', 'Connection' => 'close', 'X-U' => "\\u00e4", 'X-B' => "\\xff".b }, body: "\\xff".b } },
    '/204' => -> { { statusCode: 204, body: 'x' } }, '/304' => -> { { statusCode: 304, body: 'x' } }, '/204-parts' => -> { { statusCode: 204, body: %w[a b].each } }, '/599' => -> { { statusCode: 599 } },
    '/endless' => -> { Enumerator.new { |y| begin; loop { y << 'x' * 65536 }; ensure; puts 'closed'; end } }, '/at-once' => -> { Enumerator.new { |_| raise 'at once' } }, '/middle' => -> { Enumerator.new { |y| y << 'one'; raise 'in the middle' } },
    '/part' => -> { [1].each }, '/empty' => -> { ['', 'a', ''].each }, '/600' => -> { { statusCode: 600 } }, '/199' => -> { { statusCode: 199 } }, '/name' => -> { { statusCode: 200, headers: { '' => 'b' } } }, '/nul' => -> { { statusCode: 200, headers: { 'A' => "b\\0" } } },
    '/two' => -> { { statusCode: 200, headers: { 'A' => ['b', "c\\rd"] } } }, '/mute' => -> { raise Class.new(StandardError) { def message = raise('mute') } }, '/octets' => -> { raise "\\xff\\n" + event.raw_body }, '/mixed' => -> { raise "\\xff".b }, '/fine' => -> { 'fine' },
  }[event.path].call""")


def test_results_as_they_are_sent():
    with serve(RESULTS) as s:
        answer = s.get("/headers")
        assert (answer.msg.get_all("X-T"), answer.getheader("X-N"), answer.msg.get_all("Content-Type"), answer.getheader("Content-Length"), answer.getheader("Transfer-Encoding"), answer.getheader("Connection")) == (["a", "b"], "7", ["text/x"], "1", None, None)
        assert (answer.getheader("X-U").encode("latin-1"), answer.getheader("X-B"), answer.data) == ("ä".encode(), "\xff", b"\xff")
        for path in (b"/204", b"/304", b"/204-parts"):
            got = s.raw(b"GET %s HTTP/1.1\r\n\r\nGET /fine HTTP/1.1\r\nConnection: close\r\n\r\n" % path)
            head, _, rest = got.partition(b"\r\n\r\n")
            assert rest.startswith(b"HTTP/1.1 200") and b"Content-Length" not in head and b"Transfer-Encoding" not in head
        assert s.get("/599").status == 599 and s.get("/empty").data == b"a" and s.get("/fine").getheader("Content-Type") == "text/plain; charset=utf-8"
        assert s.ask("HEAD", "/endless").data == b"" and "closed" not in s.log
        assert s.get("/at-once").status == 500
        assert s.raw(b"GET /middle HTTP/1.1\r\n\r\n").endswith(b"3\r\none\r\n")
        with s.connect() as c:
            c.sendall(b"GET /endless HTTP/1.1\r\n\r\n")
            assert c.recv(100).startswith(b"HTTP/1.1 200")
        s.says("^closed$")
        assert s.get("/fine").data == b"fine" and "Errno::" not in s.log, s.log


def test_results_and_errors_that_cannot_be_told():
    """However strange an error is, the thread that calls goes on."""
    with serve(RESULTS) as s:
        for path, says in (("/part", "made a part that is Integer"), ("/600", "statusCode 600"), ("/199", "statusCode 199"), ("/name", 'cannot be sent: ""'), ("/nul", 'cannot be sent: "A"'), ("/two", 'cannot be sent: "A"'), ("/mute", "which cannot say what it is"), ("/octets", "CompatibilityError: .*the call was answered with 500"), ("/mixed", "RuntimeError: .*the call was answered with 500")):
            assert s.ask("POST", path, b"\xfe\n").status == 500
            s.says(says)
            assert s.get("/fine").data == b"fine"


def test_what_an_error_leaves_in_the_log():
    """Where it came from, line by line, whatever its text is made of."""
    text = "def helper\n  raise 'mine'\nend\n" + main("event.path == '/wide' ? raise('mine'.encode('UTF-16LE')) : helper")
    with serve(text) as s:
        assert s.get().status == s.get("/wide").status == 500
        s.says(r"handler\.rb:2:in `helper': mine \(RuntimeError\)")
        s.says(r"from .*handler\.rb:5:in `main'")
        s.says(r"^fnd: .*handler\.rb:2: RuntimeError: mine: the call was answered with 500")
        s.says("^fnd: .*handler\\.rb:5: RuntimeError: m\0i\0n\0e\0: the call was answered with 500")


def test_a_body_of_json_has_one_type():
    with serve(main("{ statusCode: 200, body: { a: 1 }, headers: { '/' => {}, '/own' => { 'Content-Type' => 'text/x' }, '/lower' => { 'content-type' => 'text/x' }, '/symbol' => { 'content-type': 'text/x' } }[event.path] }")) as s:
        for path, kind in (("/", "application/json"), ("/own", "text/x"), ("/lower", "text/x"), ("/symbol", "text/x")):
            answer = s.get(path)
            assert (answer.msg.get_all("Content-Type"), answer.data) == ([kind], b'{"a":1}'), path


def test_what_start_wants():
    for words in ([], ["handler.main", "more"]):
        done = subprocess.run([os.path.join(REPO, START), *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
        assert done.returncode != 0 and done.stderr == b"fnd: usage: start HANDLER, such as handler.main\n", done


@pytest.mark.parametrize("text, handler", [("def main(event)\n  'good'\nend\n", "handler"), ("def main(*all)\n  all.size == 2 ? 'good' : 'bad'\nend\n", "handler.main"), ("def go?(event, context = 1)\n  'good'\nend\n", "handler.go?"),
                                           ("require 'deep/lib'\ndef main(event, context)\n  GOOD\nend\n", "handler.main")])
def test_handlers_of_many_forms(text, handler):
    with Shim(START, handler, {"handler.rb": text, "lib/deep/lib.rb": "GOOD = 'good'\n"}) as s:
        assert s.get().data == b"good"


@pytest.mark.parametrize("text, env, says", [
    ("exit!(3)\n", {}, r"handler.rb:1: called exit!(3), which ends the process while it is loaded"), ("require \"\\xff\\n\"\n", {}, "handler.rb:1: there is no \ufffd : put it"), ("fork and (Process.wait; exit!(1))\n", {}, "was forked while it was loaded"),
    ("", {"HANDLER_THREADS": "257"}, "HANDLER_THREADS = 257: not a number from 1 to 256"), ("", {"HANDLER_THREADS": "0"}, "HANDLER_THREADS = 0"), ("", {"HANDLER_THREADS": "2x"}, "HANDLER_THREADS = 2x"), ("", {"HANDLER_PATIENCE": "x"}, "HANDLER_PATIENCE = x"),
])
def test_more_that_cannot_be_served(text, env, says):
    log = refused(START, "handler.main", {"handler.rb": text + main("'x'")}, env)
    assert any(says in line for line in log), log


def test_an_import_that_does_not_end_is_named():
    s = Shim(START, "handler.main", {"handler.rb": "\nsleep\n"}, {"HANDLER_PATIENCE": "1"})
    try:
        assert "belongs into the method" in s.says(r"handler\.rb:2: is still being loaded")
    finally:
        s.__exit__()


def test_prints_are_the_log_and_hard_exits_are_named():
    with serve("puts 'import'\n" + main("$stdout.write('call'); system('echo child'); event.path == '/exit' ? exit!(4) : 'answer'")) as s:
        assert s.get().data == b"answer"
        for line in ("import", "call", "child"):
            s.says(line)
        assert s.raw(b"GET /exit HTTP/1.1\r\n\r\n") == b"" and s.ends() == 4
        s.says(r"handler\.rb:3: called exit!\(4\), which ends the instance")


def test_connections_and_versions():
    with serve(main("raise 'x' if event.path == '/bad'\n  event.path")) as s:
        bad, good, last = (b"GET %s HTTP/1.1\r\n%s\r\n" % x for x in ((b"/bad", b""), (b"/", b""), (b"/", b"Connection: foo, Close\r\n")))
        got = s.raw(good + bad + b"\r\n\r\n" + good + b"GET /ping HTTP/1.1\r\n\r\n" + bad + last + good)
        assert [got[at + 9 : at + 12] for at in range(len(got)) if got.startswith(b"HTTP/1.1 ", at)] == [b"200", b"500", b"200", b"200", b"500", b"200"]
        assert got.count(b"Connection: close") == 1
        assert b"Connection: close" in s.raw(b"GET / HTTP/1.0\r\n\r\n")
        assert b"Connection: close" in s.raw(b"GET /ping HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert s.post("/ping", b"").data == b"/ping" and s.ask("HEAD", "/ping").getheader("Content-Length") == "5"
        with socket.create_connection(("127.0.0.2", s.port), timeout=30) as c:
            c.sendall(last)
            assert read_all(c).endswith(b"/")
        count = lambda: len(os.listdir(f"/proc/{s.process.pid}/fd"))
        before = count()
        for data in (b"", b"GET / HT", good, b"nonsense\r\n\r\n"):
            with s.connect() as c:
                c.sendall(data)
        wait(lambda: count() <= before, "the descriptors to be as before", s)


def test_health_path():
    s = Shim(START, "handler.main", {"handler.rb": main("event.path")}, {"FND_HEALTH_PATH": "/alive"})
    try:
        wait(s.listens, "a listener", s)
        assert s.get("/ping").data == b"/ping" and s.get("/alive").data == b"pong\n"
    finally:
        s.__exit__()


@pytest.mark.parametrize("data, status", [
    (b"GET  HTTP/1.1\r\n\r\n", b"400"), (b"GET  / HTTP/1.1\r\n\r\n", b"400"), (b"GET / HTTP/1.1 x\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nA: b\r\n c: d\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\n: b\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nA: " + b"b" * 70000, b"431"), (b"POST / HTTP/1.1\r\nContent-Length: " + b"1" * 19 + b"\r\n\r\n", b"400"), (b"POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 16 + b"\r\n\r\n", b"400"), (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 5000, b"400"),
])
def test_more_broken_requests(data, status):
    with serve(main("'good'")) as s:
        got = s.raw(data)
        assert got.split(b" ")[1] == status and b"Connection: close" in got
        assert s.get().data == b"good"


def test_100_continue():
    with serve(main("event.body")) as s, s.connect() as c:
        for framing, body in ((b"Content-Length: 2", b"hi"), (b"Transfer-Encoding: Chunked", b"2\r\nhi\r\n0\r\n\r\n")):
            c.sendall(b"POST / HTTP/1.1\r\nExpect: 100-Continue\r\n%s\r\n\r\n" % framing)
            assert c.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
            c.sendall(body)
            assert c.recv(4096).endswith(b"\r\n\r\nhi")
        for version, framing in ((b"1.1", b"Content-Length: 2"), (b"1.0", b"Content-Length: 2"), (b"1.1", b"Content-Length: 0")):
            assert s.raw(b"POST / HTTP/%s\r\nConnection: close\r\nExpect: 100-continue\r\n%s\r\n\r\nhi" % (version, framing)).startswith(b"HTTP/1.1 200 ")


def test_100_continue_is_of_http_11():
    with serve(main("event.body")) as s, s.connect() as c:
        c.sendall(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert s.get("/ping").status == 200  # accepted later, so that the head has been read
        c.sendall(b"hi")
        assert read_all(c).startswith(b"HTTP/1.1 200 ")


def test_a_request_cut_anywhere():
    """Each part has been read before the next one comes: a connection that is made later is answered between them."""
    one = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nde\r\n1\r\nf\r\n0\r\nA: b\r\nC: d\r\n\r\n"
    with serve(main("event.path + event.body")) as s, s.connect() as c:
        for cut in range(1, len(one)):
            c.sendall(one[:cut])
            assert s.get("/ping").status == 200
            c.sendall(one[cut:])
            assert c.recv(4096).endswith(b"\r\n\r\n/xdef"), cut


def test_a_client_that_resets():
    with serve(main("'good'")) as s:
        with s.connect() as c:
            c.sendall(b"GET /ping HTTP/1.1\r\n\r\n")
            assert c.recv(4096).endswith(b"pong\n")
            c.sendall(b"GET / HT")
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert s.get().data == b"good" and s.log == ""


def test_who_was_given_up_before_the_timeout_goes_on():
    """The looks are every half second here; the timeout is as long as it is said in the handler."""
    with serve("FndShim.send(:remove_const, :TIMEOUT)\nFndShim::TIMEOUT = 600\n" + main("puts 'begun'; File.read('fifo')"), env={"FND_TIMEOUT": "0.2"}) as s:
        os.mkfifo(s.root + "/fifo")
        with s.connect() as gone:
            gone.sendall(b"GET / HTTP/1.1\r\n\r\n")
            s.says("begun")
        with pytest.raises(subprocess.TimeoutExpired):
            s.process.wait(1.2)  # so that there are two of them


def test_one_call_at_a_time_and_those_that_wait_are_answered_at_the_stop():
    with serve(main("puts event.path; File.read('fifo')")) as s:
        os.mkfifo(s.root + "/fifo")
        with s.connect() as first, s.connect() as second:
            first.sendall(b"GET /1 HTTP/1.1\r\n\r\n")
            s.says("^/1$")
            second.sendall(b"GET /2 HTTP/1.1\r\n\r\n")
            for _ in range(10):
                assert s.get("/ping").status == 200
            assert "/2" not in s.log
            s.process.terminate()
            for c in (first, second):
                with open(s.root + "/fifo", "w", encoding="utf-8") as f:
                    f.write("done")
                assert read_all(c).endswith(b"done")
        assert s.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_instance_stops_at_once(number):
    with serve(main("'good'")) as s, s.connect() as idle:
        idle.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert idle.recv(4096).endswith(b"good")
        s.process.send_signal(number)
        assert s.ends() == 0


def test_garbage_and_every_prefix():
    with serve(main("event.body")) as s:
        assert s.feed_garbage(900, 300) < 8192
        assert s.post("/", b"good").data == b"good" and "answered with 500" not in s.log, s.log
