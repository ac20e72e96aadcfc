"""The server of the runtime static (rootfs/static), run beside the test: which file, which part of it, and nothing beyond its directory."""

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess

import pytest

from fndtest import BUILD, listens, process_status, processes, read_all, request, run, wait_until

SERVER = f"{BUILD}/rootfs/static/usr/lib/fnd/start"
PORT = 3000
LARGE = b"".join(b"%07d\n" % i for i in range(1 << 20))
WHEN = 1_600_000_000
WHEN_TEXT = "Sun, 13 Sep 2020 12:26:40 GMT"


@pytest.fixture
def site(tmp_path):
    """A directory that is served, beside a file that is not."""
    top = tmp_path / "app/public"
    (top / "sub dir/deep").mkdir(parents=True)
    (top / ".well-known").mkdir()
    (tmp_path / "app/outside.txt").write_text("secret")
    for name, text in {"index.html": "<p>", "style.css": "p {}", "sub dir/index.html": "sub", "sub dir/a+b.txt": "ab", ".env": "KEY=1", ".well-known/x": "known", "empty": "", "UPPER.PNG": "png", "ten": "0123456789"}.items():
        (top / name).write_text(text)
    (top / "large.bin").write_bytes(LARGE)
    os.utime(top / "ten", (WHEN, WHEN))
    os.utime(top / "empty", (0, 0))
    os.symlink("ten", top / "inner")
    os.symlink("../outside.txt", top / "up")
    os.symlink("/etc/passwd", top / "absolute")
    os.symlink("..", top / "parent")
    os.mkfifo(top / "fifo")
    process = subprocess.Popen([SERVER, "public"], cwd=tmp_path / "app", env={"PORT": str(PORT), "FND_VERSION": "3"})
    wait_until(lambda: ask("/ping").status == 200, 30)
    yield top
    process.terminate()
    assert process.wait(30) == 0


def ask(path, headers=None, method="GET"):
    return request(method, path, headers=headers, port=PORT)


def test_static_files(site):
    for path, status, kind, body in [
        ("/", 200, "text/html; charset=utf-8", b"<p>"), ("/index.html", 200, "text/html; charset=utf-8", b"<p>"), ("/style.css?v=1", 200, "text/css; charset=utf-8", b"p {}"), ("/UPPER.PNG", 200, "image/png", b"png"),
        ("/sub%20dir/", 200, "text/html; charset=utf-8", b"sub"), ("/sub%20dir/a+b.txt", 200, "text/plain; charset=utf-8", b"ab"), ("/sub%20dir/%61%2Bb.txt", 200, "text/plain; charset=utf-8", b"ab"), ("/%2e%77ell-known/x", 200, "application/octet-stream", b"known"),
        ("/empty", 200, "application/octet-stream", b""), ("/inner", 200, "application/octet-stream", b"0123456789"), ("/large.bin", 200, "application/octet-stream", LARGE), ("//ten", 200, "application/octet-stream", b"0123456789"),
    ]:
        answer = ask(path)
        assert (answer.status, answer.headers["Content-Type"], answer.body) == (status, kind, body), path
        head = ask(path, method="HEAD")
        assert (head.status, head.headers["Content-Length"], head.body) == (status, str(len(body)), b""), path
    assert ask("/", method="POST").status == 405 and ask("/", method="POST").headers["Allow"] == "GET, HEAD"


def test_static_keeps_no_descriptors(site):
    """Of files, of what is no file, and of those that are not sent."""
    pid = server_pid()
    opened = lambda: sum("/app/" in os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd"))
    before, tag = opened(), ask("/ten").headers["ETag"]
    for path, headers, method, status in (("/ten", {}, "GET", 200), ("/ten", {}, "HEAD", 200), ("/ten", {"If-None-Match": tag}, "GET", 304), ("/ten", {"Range": "bytes=99-"}, "GET", 416), ("/sub%20dir", {}, "GET", 308), ("/fifo", {}, "GET", 404), ("/none", {}, "GET", 404)):
        assert ask(path, headers, method).status == status
    wait_until(lambda: opened() == before, 30, "the files to be closed")


def test_static_nothing_else(site):
    """No way out, no hidden file, nothing that is no file; and a FIFO holds nobody up."""
    for path in ("/none", "/.env", "/up", "/absolute", "/parent/outside.txt", "/parent/", "/../outside.txt", "/%2e%2e/outside.txt", "/..%2foutside.txt", "/sub%20dir/../../outside.txt", "/.", "/./ten", "/fifo", "/ten/", "/ten/x", "/sub%20dir/deep/",
                 "/ten%00.html", "/ten%0a", "/%", "/%4", "/%zz", "/" + "a" * 5000, "/" + "a/" * 4000, "/%2fetc/passwd", "//etc/passwd"):
        assert ask(path).status == 404, path


RENAMES = """
import os, sys
a, b = sys.argv[1:]
open(a, "w").close()
print("begun", flush=True)
for _ in range(30000000):
    os.rename(a, b)
    os.rename(b, a)
"""


def test_static_links_while_others_rename(site, tmp_path):
    """A link with ".." in it: the kernel says EAGAIN where anything on the host is renamed meanwhile."""
    os.symlink("sub dir/../sub dir/../ten", site / "dots")
    with subprocess.Popen(["python3", "-c", RENAMES, tmp_path / "a", tmp_path / "b"], stdout=subprocess.PIPE) as renames, contextlib.closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)) as c:
        try:
            assert renames.stdout.readline() == b"begun\n"
            for turn in range(8000):
                c.request("GET", "/dots")
                answer = c.getresponse()
                assert (answer.status, answer.read()) == (200, b"0123456789"), turn
        finally:
            renames.kill()


def test_static_directories_are_redirected_relatively(site):
    """The client may know the place by another prefix."""
    for path, place in (("/sub%20dir", "./sub%20dir/"), ("/sub%20dir/deep", "./deep/"), ("/sub%20dir/deep?x=1", "./deep/")):
        answer = ask(path)
        assert (answer.status, answer.headers["Location"]) == (308, place), path


def test_static_conditions(site):
    first = ask("/ten")
    tag, modified = first.headers["ETag"], first.headers["Last-Modified"]
    assert modified == WHEN_TEXT and tag.startswith('"3-')
    for headers, status in [
        ({"If-None-Match": tag}, 304), ({"If-None-Match": f'"x", W/{tag}'}, 304), ({"If-None-Match": "*"}, 304), ({"If-None-Match": '"x"'}, 200), ({"If-None-Match": tag[:-2] + '"'}, 200), ({"If-None-Match": ""}, 200), ({"If-None-Match": '"x' + tag}, 200), ({"If-None-Match": tag + "x"}, 200),
        ({"If-Modified-Since": WHEN_TEXT}, 304), ({"If-Modified-Since": WHEN_TEXT.replace("12:26:40", "12:26:39")}, 200), ({"If-Modified-Since": WHEN_TEXT.replace("2020", "2030")}, 304),
        ({"If-Modified-Since": "yesterday"}, 200), ({"If-Modified-Since": WHEN_TEXT + "x"}, 200), ({"If-Modified-Since": WHEN_TEXT.replace("GMT", 10 * " " + "GMT") + "x"}, 200), ({"If-None-Match": '"x"', "If-Modified-Since": WHEN_TEXT}, 200),
    ]:
        answer = ask("/ten", headers)
        assert (answer.status, answer.body) == (status, b"" if status == 304 else b"0123456789"), headers
        assert answer.headers["ETag"] == tag and answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Content-Length"] == (None if status == 304 else "10")
    assert ask("/empty").headers["Last-Modified"] is None  # a time of 0 is none: packages are made with it
    (site / "ten").write_text("9876543210")
    os.utime(site / "ten", (WHEN, WHEN))
    assert ask("/ten").headers["ETag"] != tag


def model_range(text, size):
    """RFC 9110 14: status and slice."""
    unit, _, spec = text.partition("=")
    first, dash, last = spec.partition("-")
    if unit.lower() != "bytes" or not dash or not all(p == "" or (p.isascii() and p.isdigit()) for p in (first, last)) or first == last == "":
        return 200, slice(None)
    if first == "":
        return (206, slice(max(0, size - int(last)), size)) if int(last) else (416, None)
    if last and int(last) < int(first):
        return 200, slice(None)
    return (206, slice(int(first), int(last) + 1 if last else size)) if int(first) < size else (416, None)


def test_static_ranges(site):
    body = b"0123456789"
    chance = random.Random(7)
    texts = ["bytes=0-0", "bytes=0-", "bytes=-3", "bytes=-30", "bytes=-0", "bytes=9-", "bytes=10-", "bytes=3-2", "bytes=2-99999999999999999999999", "bytes=99999999999999999999999-", "bytes=18446744073709551619-", "bytes=-18446744073709551619", "bytes=2-18446744073709551617", "BYTES=1-2", "bytes=1-2,4-5", "bytes=", "bytes=-", "bytes", "lines=1-2", "bytes=a-b", "bytes= 1-2", "bytes=1-2x"]
    texts += ["bytes=" + "".join(chance.choice("0123456789-") for _ in range(chance.randrange(5))) for _ in range(200)]
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)) as c:
        for text in texts:
            status, part = model_range(text, len(body))
            c.request("GET", "/ten", headers={"Range": text})
            answer = c.getresponse()
            data = answer.read()
            assert answer.status == status, text
            if status == 206:
                start, stop = part.start, min(part.stop, len(body))
                assert (data, answer.headers["Content-Range"]) == (body[part], f"bytes {start}-{stop - 1}/10"), text
            elif status == 416:
                assert (data, answer.headers["Content-Range"]) == (b"", "bytes */10"), text
            else:
                assert data == body, text
    tag = ask("/ten").headers["ETag"]
    for value, status in ((tag, 206), (WHEN_TEXT, 206), ('"x"', 200), ("W/" + tag, 200), (WHEN_TEXT.replace("40", "41"), 200)):
        assert ask("/ten", {"Range": "bytes=1-2", "If-Range": value}).status == status, value
    assert ask("/empty", {"Range": "bytes=0-"}).status == 416
    head = ask("/ten", {"Range": "bytes=1-2"}, "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, "10")
    far = ask("/large.bin", {"Range": f"bytes={len(LARGE) - 5}-"})
    assert far.body == LARGE[-5:]


def test_static_pipelined_and_slow_readers(site):
    """Answers come in their order; who does not read his holds nobody up, and costs no memory of the file's size."""
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as slow, socket.create_connection(("127.0.0.1", PORT), timeout=30) as c:
        slow.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        assert slow.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
        c.sendall(b"HEAD /ten HTTP/1.1\r\nHost: x\r\n\r\n" + b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % p for p in (b"/ten", b"/large.bin", b"/none", b"/ten")))
        reader = c.makefile("rb")
        assert reader.readline().startswith(b"HTTP/1.1 200") and http.client.parse_headers(reader)["Content-Length"] == "10"
        for expected in (b"0123456789", LARGE, b"there is no such file\n", b"0123456789"):
            assert reader.readline().startswith(b"HTTP/1.1 ")
            assert reader.read(int(http.client.parse_headers(reader)["Content-Length"])) == expected
        pid = server_pid()
        assert int(process_status(pid)["VmRSS"].split()[0]) < 4096


def test_static_file_that_shrinks(site):
    """What was promised does not come: the connection ends, so that nobody takes the next answer for the rest."""
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as c:
        c.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\nGET /ten HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
        os.truncate(site / "large.bin", 0)
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := c.recv(1 << 20):
                data += piece
        assert len(data) < len(LARGE) and b"HTTP/1.1" not in data
    assert ask("/ten").status == 200


def test_static_gone_clients(site):
    """A reader that goes away in the middle of a file leaves the server (no SIGPIPE) and its descriptors as they were."""
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", PORT), timeout=30) as c:
            c.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            c.recv(100)
    pid = server_pid()
    wait_until(lambda: sum(os.readlink(f"/proc/{pid}/fd/{n}").endswith("large.bin") for n in os.listdir(f"/proc/{pid}/fd")) == 0, 30, "the files to be closed")
    assert ask("/ten").body == b"0123456789"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_static_stops_gracefully(site, number):
    """Connections between requests are closed and nobody else is accepted at once; the others get what they have begun, and are told that it is the last."""
    pid = server_pid()
    with contextlib.ExitStack() as stack:
        silent, idle, half = (stack.enter_context(socket.create_connection(("127.0.0.1", PORT), timeout=30)) for _ in range(3))
        busy, alone = (stack.enter_context(slow_reader()) for _ in range(2))
        idle.sendall(b"GET /ten HTTP/1.1\r\n\r\n")
        assert idle.recv(4096).endswith(b"0123456789")
        half.sendall(b"GET /ten HTTP/1.1\r\n\r\nGET /t")
        assert half.recv(4096).endswith(b"0123456789")
        busy.sendall(b"GET /large.bin HTTP/1.1\r\n\r\nGET /ten HTTP/1.1\r\n\r\n")
        alone.sendall(b"GET /large.bin HTTP/1.1\r\n\r\n")
        for c in (busy, alone):
            assert c.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
        os.kill(pid, number)
        assert idle.recv(1) == b"" and silent.recv(1) == b""
        wait_until(lambda: not listens("127.0.0.1", PORT), 30, "the end of listening")
        assert server_pid() == pid
        half.sendall(b"en HTTP/1.1\r\n\r\n")
        got = read_all(half)
        assert got.startswith(b"HTTP/1.1 200") and b"Connection: close" in got and got.endswith(b"0123456789"), got
        head, _, rest = read_all(busy).partition(b"\r\n\r\n")
        assert b"Connection" not in head and rest[: len(LARGE)] == LARGE
        assert read_all(alone).partition(b"\r\n\r\n")[2] == LARGE
        last = rest[len(LARGE) :]
        assert last.startswith(b"HTTP/1.1 200") and b"Connection: close" in last and last.endswith(b"0123456789"), last


def slow_reader():
    c = socket.socket()
    c.settimeout(30)
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # what is on its way is less than the file
    c.connect(("127.0.0.1", PORT))
    return c


def server_pid():
    return processes("start")[0]


def test_static_health_path_and_bad_handlers(tmp_path):
    (tmp_path / "file").write_text("x")
    for handler, text in (("none", "the package has no such directory"), ("file", "this is a file, no directory")):
        result = run(SERVER, handler, cwd=tmp_path, env={"PORT": str(PORT)})
        assert result.status == 1 and f"fnd: handler = {handler}: {text}: `handler` in function.ini names the directory" in result.err
    process = subprocess.Popen([SERVER, ""], cwd=tmp_path, env={"PORT": str(PORT), "FND_HEALTH_PATH": "/alive"})
    try:
        wait_until(lambda: ask("/alive").text == "OK\n", 30)
        assert ask("/ping").status == 404 and ask("/file").text == "x"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_static_requests_at_their_edges(site):
    """Where a request ends must be sure: the next begins there."""

    def raw(data):
        with socket.create_connection(("127.0.0.1", PORT), timeout=30) as c:
            c.sendall(data)
            c.shutdown(socket.SHUT_WR)
            got = b""
            while piece := c.recv(65536):
                got += piece
            return got

    for lines, status in ((b"Content-Length: 1\r\nContent-Length: 1", b"400"), (b"Content-Length: 1\r\nTransfer-Encoding: chunked", b"400"), (b"A: b\rC: d", b"400"), (b"A: b\nC: d", b"400"), (b"A: b\rxC: d", b"400"), (b"A : b", b"400"), (b"A b: c", b"400"), (b"Transfer-Encoding: gzip", b"501")):
        got = raw(b"GET /ten HTTP/1.1\r\n" + lines + b"\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 " + status) and b"Connection: close" in got, lines
    for head in (b"GET /ten HTTP/1.1\r\nA: " + b"b" * 20000, b"GET /" + b"a" * 20000):
        got = raw(head)
        assert got.startswith(b"HTTP/1.1 431 ") and b"Connection: close" in got
    assert raw(b"GET /ten HTTP/1.1\r\nContent-Length: 18446744073709551621\r\n\r\nhello").startswith(b"HTTP/1.1 400 ")  # 2^64 + 5
    for version, lines, answers in ((b"1.0", b"", 1), (b"1.0", b"Connection: keep-alive\r\n", 2), (b"1.1", b"", 2), (b"1.1", b"Connection: close\r\n", 1)):
        got = raw(b"GET /ten HTTP/%s\r\n%s\r\nGET /empty HTTP/1.1\r\n\r\n" % (version, lines))
        assert got.count(b"HTTP/1.1 200") == answers and (b"Connection: close" in got) == (answers == 1), (version, lines)
    for size, answers in ((b"5", 2), (b"005", 2), (b"10000000000000005", 1), (b"g", 1), (b"", 1), (b"-5", 1)):  # of a chunk: 2^64 + 5 is not 5
        got = raw(b"GET /ten HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\nhello\r\n0\r\n\r\nGET /empty HTTP/1.1\r\n\r\n" % size)
        assert got.count(b"HTTP/1.1 200") == answers, size
    got = raw(b"POST /ten HTTP/1.1\r\nexpect: 100-Continue\r\ncontent-LENGTH: 5\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 405 ")
    got = raw(b"GET /ten HTTP/1.1\r\ncontent-LENGTH: 5\r\n\r\nGET /GET /empty HTTP/1.1\r\nrange: bytes=0-\r\n\r\n")  # a body is skipped
    assert got.count(b"HTTP/1.1 ") == 2 and b"HTTP/1.1 416 " in got
