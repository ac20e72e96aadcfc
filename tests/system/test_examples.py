"""Every example (rootfs/examples) and every template of a runtime: what its README.md says is typed as it stands there, and it is asked what its request.txt says."""

import base64
import concurrent.futures
import contextlib
import hashlib
import os
import re
import socket
import urllib.parse
import zlib

import pytest

import database
import fndtest
from fndtest import REPO, fnctl, get, request, wait_until
from typed import Shell, commands

EXAMPLES = REPO + "/rootfs/examples"

# What the request.txt of each gets: {runtime: {name: (content type, pattern of the whole body)}}.
ANSWERS = {
    "node": {
        "hello-node": ("text/plain; charset=utf-8", r"Hello you, from Node\n"),
        "nodeinfo": ("application/json", r'\{"hostname":"nodeinfo-\w{6}","platform":"linux","architecture":"\w+","cpus":\d+,"uptime":\d+,"node":"v\d+\.\d+\.\d+"\}'),
        "webhook-stash": ("text/plain; charset=utf-8", r"Stashing request: \d{19}\.txt\n"),
        "markdown": ("text/html; charset=utf-8",
                     r'<h1>Title</h1>\n<p>Some <em>text</em> with <code>code</code> &amp; &lt;b&gt;\.</p>\n<ul>\n<li>one</li>\n<li><a href="https://example\.org/">two</a></li>\n</ul>\n'),
        "clock": ("text/event-stream", r"(id: \d\nevent: tick\ndata: \d{4}-\d\d-\d\dT[\d:.]+Z\n\n){3}"),
        "chat": ("text/html; charset=utf-8", r"(?s)<!DOCTYPE html>\n<title>chat</title>.*"),
    },
    "python": {"hello-python": ("text/plain; charset=utf-8", r"Hello you, from Python\n")},
    "shell": {
        "echo": ("text/plain", r"some text\n"),
        "wordcount": ("text/plain", r"\s*1\s+3\s+14\s*\n"),
        "base64": ("text/plain", r"c29tZSB0ZXh0Cg==\n"),
        "decodebase64": ("text/plain", r"some text\n"),
        "sha512": ("text/plain", re.escape(hashlib.sha512(b"some text\n").hexdigest()) + r"  -\n"),
        "hello-shell": ("text/plain; charset=utf-8", r"Hello you, from a shell\n"),
    },
    "static": {"website": ("text/html; charset=utf-8", r"(?s).*<h1>website</h1>.*")},
    "express": {"express": ("text/html; charset=utf-8", r"Hello you\n")},
    "flask": {"flask": ("application/json", r'\{"signed":"you"\}\n')},
    "imagemagick": {"resize": ("image/x-portable-pixmap", r"P6\n2 1\n255\n(?s:.{6})")},
    "python-postgresql": {"postgresql": ("application/json", r'\{"name": "you", "visits": \d\}\n')},
}
# What the templates' request.txt get.
TEMPLATES = {
    "c": r"you\n",
    "python": r"Hello you!\n",
    "flask": r'\{"text":"Hello you!"\}\n',
    "ruby": r"Hello you!\n",
    "node": r"Hello you, from greet\n",
    "shell": r"Hello you\n",
    "static": r"(?s).*<h1>greet</h1>.*",
    "express": r"Hello you\n",
}
# A red JPEG, 64x48.
PHOTO = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAFA3PEY8MlBGQUZaVVBfeMiCeG5uePWvuZHI////////////////////////////////////////////////////2wBDAVVaWnhpeOuCguv//////////////////////////////////////////////////////////////"
    "///////////wAARCAAwAEADASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAP/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QAFgEBAQEAAAAAAAAAAAAAAAAAAAME/8QAFBEBAAAAAAAAAAAAAAAAAAAAAP/aAAwDAQACEQMRAD8AkAm2AAAAAAAAAAAAAAAAAAAAAAP/2Q=="
)


def parse_request(path):
    """(method, path, headers, body): rootfs/README.md, Templates and examples."""
    with open(path, "rb") as f:
        head, _, body = f.read().partition(b"\n\n")
    first, *fields = head.decode().rstrip("\n").split("\n")
    return (*first.split(" "), dict(field.split(": ", 1) for field in fields), body or None)


def ask(name, directory):
    method, path, headers, body = parse_request(directory + "/request.txt")
    return request(method, f"/fn/{name}{path}", body=body, headers=headers)


def test_all_are_in_the_tables():
    """Nothing is there that is not tried, and each says how it is used."""
    assert sorted(os.listdir(EXAMPLES)) == sorted(name for names in ANSWERS.values() for name in names)
    assert sorted(os.listdir(f"{REPO}/rootfs/templates")) == sorted(TEMPLATES)
    for name in os.listdir(EXAMPLES):
        text = "\n".join(commands(f"{EXAMPLES}/{name}/README.md"))
        assert f"fnctl deploy sample:{name}" in text and f"fnctl run sample:{name} --" in text and "--once" in text, name
    for name in TEMPLATES:
        text = "\n".join(commands(f"{REPO}/rootfs/templates/{name}/README.md"))
        if os.path.isdir(f"{REPO}/rootfs/{name}-build"):
            with open(f"{REPO}/rootfs/templates/{name}/README.md", encoding="utf-8") as f:
                assert f"fnctl runtime build {name}-build" in f.read(), f"{name}: how dependencies are installed"
        assert "fnctl run ./@NAME@ --once --request-file @NAME@/request.txt" in text and re.search(r"fnctl run ./@NAME@( --watch)? +#", text), name


def check_examples(runtime, shell):
    for name, (kind, pattern) in ANSWERS.get(runtime, {}).items():
        shell.follow(f"{EXAMPLES}/{name}/README.md", name)
        answer = ask(name, f"{EXAMPLES}/{name}")
        assert (answer.status // 100, answer.headers["Content-Type"]) == (2, kind) and re.fullmatch(pattern, answer.body.decode("latin-1")), (name, answer.status, answer.headers, answer.text)


@pytest.mark.limit(300)
@pytest.mark.parametrize("runtime", sorted({**ANSWERS, **TEMPLATES}))
def test_examples(make_daemon, tmp_path, runtime):
    """In one daemon for each runtime: its image is large."""
    shell = Shell(tmp_path)
    with SURROUNDINGS.get(runtime, lambda _: contextlib.nullcontext())(shell) as what:
        make_daemon().start()
        if runtime in TEMPLATES:
            check_template(runtime, shell)
        check_examples(runtime, shell)
        for check in MORE.get(runtime, ()):
            check(what or tmp_path)


def check_template(runtime, shell):
    shell.type(f"fnctl new greet --runtime {runtime}")
    greet = f"{shell.directory}/greet"
    said = shell.follow(f"{greet}/README.md")
    once = said["sudo fnctl run ./greet --once --request-file greet/request.txt"]
    assert re.fullmatch(TEMPLATES[runtime], once), once
    if runtime == "c":
        shell.type("sudo fnctl deploy ./greet")
    answer = ask("greet", greet)
    assert answer.status == 200 and re.fullmatch(TEMPLATES[runtime], answer.text), answer.text


def check_stash(_):
    """It keeps what it got."""
    name = ask("webhook-stash", EXAMPLES + "/webhook-stash").text.split()[-1]
    assert name in get("/fn/webhook-stash/").text.splitlines()
    assert get("/fn/webhook-stash/" + name).body == b'{"event": "push"}\n'
    assert get("/fn/webhook-stash/1.txt").status == 404 and get("/fn/webhook-stash/%2e.txt").status == 404


class Chatter:
    """A client of the WebSocket chat; short texts only."""

    def __init__(self):
        self.sock = socket.create_connection(("127.0.0.1", 8888), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall(f"GET /fn/chat/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        self.reader = self.sock.makefile("rb")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.reader.readline()
            assert line, head
            head += line
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        assert head.startswith(b"HTTP/1.1 101 ") and b"Sec-WebSocket-Accept: " + accept in head, head

    def say(self, text, opcode=1):
        mask = os.urandom(4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(text.encode()))
        size = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
        self.sock.sendall(bytes([0x80 | opcode]) + size + mask + data)

    def hear(self):
        first, size = self.reader.read(2)
        if size == 126:
            size = int.from_bytes(self.reader.read(2), "big")
        return first & 0x0F, self.reader.read(size).decode("utf-8", "replace")

    def close(self):
        self.reader.close()
        self.sock.close()


def check_chat(_):
    with contextlib.closing(Chatter()) as a, contextlib.closing(Chatter()) as b:
        a.say("ping", 9)  # answered when the server knows of this one
        b.say("ping", 9)
        assert a.hear() == b.hear() == (10, "ping")
        for who, text in ((a, "hello"), (b, "x" * 300), (a, "ü")):
            who.say(text)
            assert a.hear() == b.hear() == (1, text)
        b.say("", 8)
        assert b.hear()[0] == 8
        a.say("still here")
        assert a.hear() == (1, "still here")


HEAP = """
const v8 = require('v8');
const kept = [];
exports.main = (event) => {
    if (event.path === '/eat')
        for (;;) kept.push(new Array(1000).fill(kept.length));
    return { limit: v8.getHeapStatistics().heap_size_limit, app: process.cwd(), type: typeof fetch };
};
"""


def check_node_in_its_sandbox(directory):
    """The heap fits the memory limit: node ends by itself before the kernel kills it. What does not start is refused with the log's last lines, and the version that runs goes on."""
    top = directory / "heap"
    top.mkdir()
    (top / "function.ini").write_text("[function]\nname = heap\nruntime = node\nhandler = h.main\n[limits]\nmemory = 96M\ntimeout = 100s\n")
    (top / "h.js").write_text(HEAP)
    fnctl("deploy", str(top))
    seen = get("/fn/heap/").json()
    assert 32 << 20 < seen["limit"] < 64 << 20 and seen["app"] == "/app" and seen["type"] == "function"
    assert get("/fn/heap/eat", seconds=120).status == 502
    wait_until(lambda: get("/fn/heap/").status == 200, 60, "another instance")
    wait_until(lambda: "ended: killed by signal 6" in fnctl("logs", "heap").out, 30, "why it ended in the log")
    (top / "h.js").write_text("exports.main = (e) => ;\n")
    failed = fnctl("deploy", str(top), status=None)
    assert failed.status != 0 and "h.js:1: cannot be loaded: SyntaxError" in failed.out + failed.err, failed
    assert get("/fn/heap/").json()["app"] == "/app" and fndtest.function("heap")["version"] == 1
    check_node_workers(directory)


WORKERS = """
const fs = require('fs');
exports.main = (event) => {
    if (event.path === '/block') {
        console.log('it blocks');
        while (!fs.existsSync('/tmp/go'));
    } else {
        fs.writeFileSync('/tmp/go', '');
    }
    return { pid: process.pid };
};
"""


def check_node_workers(directory):
    """While one computes the other answers."""
    top = directory / "workers"
    top.mkdir()
    ini = "[function]\nname = workers\nruntime = node\nhandler = h.main\n[env]\nHANDLER_THREADS = 2\n"
    (top / "function.ini").write_text(ini)
    (top / "h.js").write_text(WORKERS)
    fnctl("deploy", str(top))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(get, "/fn/workers/block", seconds=60)
        wait_until(lambda: "it blocks" in fnctl("logs", "workers").out, 30, "the call that blocks")
        other = get("/fn/workers/").json()["pid"]
        assert blocked.result(60).json()["pid"] != other


def check_guest_book(_):
    page = get("/fn/flask/").text
    assert page.count("<li>you</li>") == 2 and 'href="/fn/flask/static/style.css"' in page and 'action="/fn/flask/sign"' in page
    assert get("/fn/flask/static/style.css").status == 200
    assert request("POST", "/fn/flask/sign", body=b"name=%3Cb%3E", headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}).headers["Location"] == "/fn/flask/"
    assert "<li>&lt;b&gt;</li>" in get("/fn/flask/").text and request("POST", "/fn/flask/sign", body=b"").status == 400


def check_resize(directory):
    tree = directory / "tree"
    assert (tree / "small.ppm").read_bytes().startswith(b"P6\n2 1\n") and (tree / "half.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    assert jpeg_size((tree / "half.jpg").read_bytes()) == (32, 24) and jpeg_size((tree / "small.jpg").read_bytes()) == (64, 48)
    assert request("POST", "/fn/resize/?size=1%20-write", body=b"x").status == 500
    # What is no image that it takes, or one that would be too large unpacked, is refused, and nothing else happens.
    for body, why in ((b"<svg xmlns='http://www.w3.org/2000/svg'/>", "security policy `SVG'"), (b"%!PS\n", "no decode delegate for this image format `PS'"), (b"what is this?\n", "no decode delegate for this image format `'"),
                      (white(12000, 12000), "no images defined")):
        assert request("POST", "/fn/resize/", body=body).status == 500, why
        wait_until(lambda: why in fnctl("logs", "resize").out, 30, f"{why} in the log")  # pylint: disable=cell-var-from-loop
    assert request("POST", "/fn/resize/", body=white(4000, 3000), seconds=60).status == 200
    assert fndtest.function("resize")["restarts"] == 0


def white(width, height):
    """A PNG of one bit for each pixel."""
    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    rows = zlib.compress((b"\0" + b"\xff" * ((width + 7) // 8)) * height, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\1\0\0\0\0") + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg_size(data):
    """(width, height) by the first start of frame."""
    at = 2
    while data[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")


def check_visits(db):
    """The name stays a value, the connection is kept, and a database that goes away is told and found again."""
    def sessions():
        return db.ask("select pid from pg_stat_activity where application_name = 'visits'")

    before = sessions()
    assert before.isdigit(), before
    name = "x'; drop table visits; --"
    for n in range(1, 4):
        assert get("/fn/postgresql/?" + urllib.parse.urlencode({"name": name})).json() == {"name": name, "visits": n}
    assert sessions() == before and db.ask("select number from visits where name = 'you'", "visits") == "3"
    db.stop()
    answer = get("/fn/postgresql/")
    assert (answer.status, answer.text) == (503, "the database does not answer\n") and answer.headers["Retry-After"] == "3"
    wait_until(lambda: "the database does not answer: connection to server at" in fnctl("logs", "postgresql").out, 30, "the reason in the log")
    db.start()
    assert get("/fn/postgresql/").json() == {"name": "world", "visits": 1}
    assert fndtest.function("postgresql")["restarts"] == 0 and "a good one" not in fnctl("logs", "postgresql").out + fnctl("plan", "postgresql").out


MORE = {"node": (check_stash, check_chat, check_node_in_its_sandbox), "flask": (check_guest_book,), "imagemagick": (check_resize,), "python-postgresql": (check_visits,)}


@contextlib.contextmanager
def with_a_photo(shell):
    (shell.directory / "photo.jpg").write_bytes(base64.b64decode(PHOTO))
    yield None


@contextlib.contextmanager
def with_a_database(shell):
    with database.made("192.0.2.7") as db:
        shell.env.update(db.env)
        yield db


SURROUNDINGS = {"imagemagick": with_a_photo, "python-postgresql": with_a_database}
