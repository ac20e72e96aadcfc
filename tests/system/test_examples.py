"""Every example (rootfs/examples) and every template of a runtime: deployed, and asked what its request.txt says."""

import base64
import contextlib
import hashlib
import os
import re
import socket

import pytest

import fndtest
from fndtest import BUILD, REPO, fnctl, get, request, wait_until

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
}
TEMPLATE_ANSWERS = {
    "node": r"Hello you, from greet\n",
    "shell": r"Hello you\n",
    "static": r"(?s).*<h1>greet</h1>.*",
    "express": r"Hello you\n",
}


def parse_request(path):
    """(method, path, headers, body): rootfs/README.md, Templates and examples."""
    with open(path, "rb") as f:
        head, _, body = f.read().partition(b"\n\n")
    first, *fields = head.decode().rstrip("\n").split("\n")
    return (*first.split(" "), dict(field.split(": ", 1) for field in fields), body or None)


def ask(name, directory):
    method, path, headers, body = parse_request(directory + "/request.txt")
    return request(method, f"/fn/{name}{path}", body=body, headers=headers)


def test_examples_are_all_in_the_table():
    """And say how they are used."""
    assert sorted(os.listdir(EXAMPLES)) == sorted(name for names in ANSWERS.values() for name in names)
    for name in os.listdir(EXAMPLES):
        with open(f"{EXAMPLES}/{name}/README.md", encoding="utf-8") as f:
            text = f.read()
        assert text.startswith(f"# {name}: ") and f"fnctl deploy sample:{name}" in text and f"fnctl run sample:{name} --once" in text


def check_examples(runtime):
    for name, (kind, pattern) in ANSWERS[runtime].items():
        fnctl("deploy", f"sample:{name}")
        answer = ask(name, f"{EXAMPLES}/{name}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, kind) and re.fullmatch(pattern, answer.text), (name, answer.status, answer.headers, answer.text)


def check_template(runtime, directory):
    fnctl("new", "greet", "--runtime", runtime, cwd=directory)
    fnctl("deploy", "./greet", cwd=directory)
    answer = ask("greet", f"{directory}/greet")
    assert answer.status == 200 and re.fullmatch(TEMPLATE_ANSWERS[runtime], answer.text), answer.text


@pytest.mark.limit(300)
@pytest.mark.parametrize("runtime", sorted(ANSWERS))
def test_examples(daemon, tmp_path, runtime):
    """In one daemon for each runtime: its image is large."""
    fnctl("runtime", "put", runtime, f"{BUILD}/runtime-{runtime}.tar", seconds=200)
    check_examples(runtime)
    if runtime in TEMPLATE_ANSWERS:
        check_template(runtime, tmp_path)
    for check in MORE.get(runtime, ()):
        check(tmp_path)


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
    assert "ended: killed by signal 6" in fnctl("logs", "heap").out
    (top / "h.js").write_text("exports.main = (e) => ;\n")
    failed = fnctl("deploy", str(top), status=None)
    assert failed.status != 0 and "h.js:1: cannot be loaded: SyntaxError" in failed.out + failed.err, failed
    assert get("/fn/heap/").json()["app"] == "/app" and fndtest.function("heap")["version"] == 1


MORE = {"node": (check_stash, check_chat, check_node_in_its_sandbox)}
