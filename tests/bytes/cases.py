"""cases.py: the byte table as data. The *.cases files are the table; their form:

    class NAME: why this matters           a class; what follows belongs to it
    case NAME                              a case of it
    frame                                  lines of a case in which <1>, <2> stand for ...
    row NAME | TEXT 1 | TEXT 2             ... these; each row is a case (ends with the next case, frame or class)
    C> TEXT     C end                      what the client sends, line by line; `C end`: then it closes its sending side
    F< TEXT     F cut|begins               what the function gets, exactly; none: not a byte. `F cut`: nothing if the bytes come at once, else any beginning of it; `F begins`: any beginning
    F> TEXT     F close|reset|early|waits  what the function answers (else 200 with the body `ok`), and how it goes on; `early`: behind the request's head already
    C< TEXT                                what the client gets, exactly
    = STATUS AFTER TEXT                    the same in one line: an error of the gateway with this text ...
    = ok AFTER    = none AFTER    = AFTER  ... the function's `ok`; not a byte; what the C< lines say
    upstream kept|closed|any               the function's connection afterwards (kept, unless the function closes it)
    splits                                 cut at every position, not only byte by byte
    nginx OUTCOME: reason                  where a peer differs (see differential.py); for the class, or for the case
    own                                    a class that has no meaning before a peer

A line of TEXT has a CRLF behind it unless it ends with \\. In it are \\r \\n \\t \\0 \\\\ \\xHH, and {8192*a} repeats. A line `@` (or `@ /prefix`) stands for the fields that the gateway makes. AFTER: the client's connection is
`kept`, `closed` or `reset`; with a slash the second one is what may happen too when the bytes come in pieces, and so is a text behind `|`. `Date` and `X-Request-Id` are compared as `*`.
"""

import dataclasses
import glob
import os
import re

HERE = os.path.dirname(os.path.realpath(__file__))
ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})|\\(.)|\{(\d+)\*((?:\\.|[^\\}])+)\}", re.DOTALL)
PLAIN = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}

STATUS = {200: "OK", 308: "Permanent Redirect", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 413: "Content Too Large", 414: "URI Too Long",
          417: "Expectation Failed", 431: "Request Header Fields Too Large", 502: "Bad Gateway", 503: "Service Unavailable", 505: "HTTP Version Not Supported"}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REQUEST = b"GET /fn/t/ HTTP/1.1\r\nHost: t\r\n\r\n"
CLIENT = b"127.0.0.1"


def made(host, prefix):
    """The fields that the gateway makes for the function: the one place that says so."""
    port = re.search(rb":(\d*)$", host)
    lines = [b"X-Forwarded-For: " + CLIENT]
    if host:
        lines += [b"X-Forwarded-Host: " + host, b"X-Forwarded-Port: " + (port[1] if port and port[1] else b"80")]
    lines += [b"X-Forwarded-Proto: http", b"X-Forwarded-Prefix: " + prefix]
    lines += [b"Forwarded: for=" + CLIENT + (b';host="%s"' % host if host else b"") + b";proto=http", b"X-Request-Id: *"]
    return b"".join(line + b"\r\n" for line in lines)


def normalised(data):
    """What differs from run to run becomes `*`."""
    return re.sub(rb"(?m)^(Date|X-Request-Id): [^\r]*\r$", rb"\1: *\r", data)


def answered(data):
    """Of the client's side: without the line that every answer has but those to heads that are none."""
    return re.sub(rb"(?m)^X-Request-Id: \*\r\n", b"", normalised(data))


def unescape(text):
    def one(m):
        if m[1]:
            return bytes([int(m[1], 16)])
        if m[2]:
            return PLAIN[m[2]]
        return unescape(m[4]) * int(m[3])

    return ESCAPE.sub(one, text)


def line_of(text):
    """The bytes of one line of TEXT."""
    whole = re.search(rb"\\*$", text)[0]
    if len(whole) % 2:
        return unescape(text[:-1])
    return unescape(text) + b"\r\n"


@dataclasses.dataclass
class Klass:
    name: str
    why: str
    reasons: dict
    own: bool = False


@dataclasses.dataclass
class Case:
    klass: Klass
    name: str
    where: str
    sends: bytes = b""
    gets: bytes = b""
    answers: bytes = b""
    reads: bytes = b""
    ends: bool = False
    cut: bool = False
    begins: bool = False
    finish: str = ""  # how the function goes on: "", close, reset, early, waits
    what: str = ""  # of the client's answer: a status, ok, none, or "" (what the C< lines say)
    after: str = ""
    later: str = ""  # after, when the bytes came in pieces
    text: str = ""
    upstream: str = ""
    splits: bool = False
    reasons: dict = dataclasses.field(default_factory=dict)

    @property
    def title(self):
        return f"{self.klass.name} / {self.name}"

    @property
    def of_function(self):
        """Is the function the hostile one?"""
        return bool(self.answers or self.finish)

    @property
    def is_head(self):
        return self.sends.startswith(b"HEAD ")

    @property
    def expects(self):
        return b"100-continue" in self.sends.lower()

    def client_reads(self, after, late=False):
        """Exactly, normalised; `after` says whether the answer closes; late: with the text for bytes in pieces."""
        if not self.what:
            return self.reads
        if self.what == "none":
            return b""
        close = b"Connection: close\r\n" if after != "kept" else b"Connection: keep-alive\r\n" if b" HTTP/1.0\r\n" in self.sends else b""
        if self.what == "ok":
            return b"HTTP/1.1 200 OK\r\nDate: *\r\nContent-Length: 2\r\n" + close + b"\r\n" + (b"" if self.is_head else b"ok")
        return error(int(self.what), self.text.split("|")[-late].encode(), close, self.is_head)


def error(status, text, close, is_head):
    extra = b"Retry-After: 1\r\n" if status == 503 else b""
    head = b"HTTP/1.1 %d %s\r\nDate: *\r\nContent-Type: text/plain; charset=utf-8\r\n" % (status, STATUS[status].encode())
    return head + extra + close + b"Content-Length: %d\r\n\r\n" % (len(text) + 1) + (b"" if is_head else text + b"\n")


class Bad(Exception):
    pass


class Reader:
    """One file. Lines are bytes: the table may hold any."""

    def __init__(self, path):
        self.path = os.path.basename(path)
        self.klass, self.case, self.frame = None, None, None
        self.found, self.classes = [], []
        with open(path, "rb") as f:
            for number, line in enumerate(f.read().split(b"\n"), 1):
                self.number = number
                if line and not line.startswith(b"#"):
                    self.one(line)
        self.finish()

    def bad(self, text):
        raise Bad(f"{self.path}:{self.number}: {text}")

    def one(self, line):
        word, _, rest = line.partition(b" ")
        if self.frame is not None and not self.case and word not in (b"class", b"case", b"frame", b"row"):
            self.frame.append(line)
        elif word in (b"C>", b"F<", b"F>", b"C<"):
            self.text(word, rest)
        elif word == b"class":
            self.finish()
            name, _, why = rest.decode().partition(": ")
            self.klass = Klass(name, why, {})
            self.classes.append(self.klass)
        elif word == b"case":
            self.start(rest)
        elif line == b"frame":
            self.finish()
            self.frame = []
        elif word == b"row":
            self.row(rest)
        elif line == b"own":
            self.klass.own = True
        elif word in (b"nginx", b"haproxy"):
            outcome, _, why = rest.decode().partition(": ")
            (self.case or self.klass).reasons.setdefault(word.decode(), {})[outcome] = why
        else:
            self.of_case(word, rest.decode())

    def start(self, name):
        self.finish()
        self.case = Case(self.klass, name.decode(), f"{self.path}:{self.number}")

    def row(self, rest):
        name, *texts = re.split(rb" \|(?: |$)", rest)
        frame = self.frame
        self.start(name)
        for line in frame:
            for n, text in enumerate(texts, 1):
                line = line.replace(b"<%d>" % n, text)
            self.one(line)
        self.finish()
        self.frame = frame

    def text(self, word, rest):
        c = self.case
        if word == b"F<" and re.fullmatch(rb"@(?: /\S*)?", rest):
            c.gets += made(re.findall(rb"\r\nHost: ([^\r]*)\r\n", c.gets)[-1], rest[2:] or b"/fn/t")
            return
        name = {b"C>": "sends", b"F<": "gets", b"F>": "answers", b"C<": "reads"}[word]
        setattr(c, name, getattr(c, name) + line_of(rest))

    def of_case(self, word, rest):
        c = self.case
        if word == b"=":
            words = rest.split(" ", 2)
            if not re.match("kept|closed|reset", words[0]):
                c.what, words = words[0], words[1:]
            c.after, _, c.later = words[0].partition("/")
            c.later = c.later or c.after
            c.text = " ".join(words[1:])
        elif word == b"C" and rest == "end":
            c.ends = True
        elif word == b"F" and rest == "cut":
            c.cut = True
        elif word == b"F" and rest == "begins":
            c.begins = True
        elif word == b"F" and rest in ("close", "reset", "early", "waits"):
            c.finish = rest
        elif word == b"upstream":
            c.upstream = rest
        elif word == b"splits":
            c.splits = True
        else:
            self.bad(f"what is `{word.decode()}`?")

    def finish(self):
        c, self.case, self.frame = self.case, None, None
        if not c:
            return
        if not c.after:
            self.bad(f"{c.name}: no outcome")
        c.upstream = c.upstream or ("closed" if c.finish in ("close", "reset") else "kept")
        if c.of_function and not c.sends:
            c.sends = REQUEST
            c.gets = b"GET / HTTP/1.1\r\nHost: t\r\n" + made(b"t", b"/fn/t") + b"\r\n"
        self.found.append(c)


def load(kind="*"):
    """Every case, in the order of the files."""
    found = []
    for path in sorted(glob.glob(f"{HERE}/{kind}.cases")):
        found += Reader(path).found
    names = [c.title for c in found]
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise Bad(f"twice in the table: {twice}")
    return found
