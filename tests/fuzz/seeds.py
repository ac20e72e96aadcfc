#!/usr/bin/python3
"""seeds.py TARGET DIRECTORY: writes what the fuzz target of that name begins with, made from the byte table (tests/bytes), beside its corpus in tests/fuzz/corpus/. Nothing for a target that has no seeds."""

import base64
import hashlib
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE + "/../bytes")

import cases  # noqa: E402

SEED_MAX = 20000
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4, V6 = bytes(range(12)), bytes(range(36))


def bodies(data):
    """What stands behind the first head that says chunked."""
    head, _, rest = data.partition(b"\r\n\r\n")
    return [rest] if b"chunked" in head.lower() else []


def request():
    return [c.sends for c in cases.load("request_*")]


def stdio():
    return request()


def response():
    return [bytes([c.is_head | (b"pgrade" in c.sends) << 1]) + c.answers for c in cases.load("response_*")]


def chunked():
    return [b for c in cases.load() for b in bodies(c.sends) + bodies(c.answers)]


def target():
    found = []
    for c in cases.load("request_*"):
        words = c.sends.split(b"\r\n")[0].split(b" ")
        host = [line.partition(b":")[2].strip() for line in c.sends.split(b"\r\n") if line.lower().startswith(b"host:")]
        if len(words) == 3:
            found.append(words[1] + b"\n" + (host[0] if host else b""))
    return found


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def proxy():
    lines = [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\n", b"PROXY TCP6 2001:db8::1 ::1 1 2\r\nGET", b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN a b c\r\n", b"PROXY TCP4 256.0.0.1 1.1.1.1 1 2\r\n", b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 2\r\n",
             b"PROXY TCP4 1.1.1.1 1.1.1.1 1x 2\r\n", b"PROXY TCP4 1.1.1.1 1.1.1.1 01 2\r\n", b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", b"PROXY TCP4 1.1.1.1 1.1.1.1 1 2 \r\n", b"PROXY TCP4 1.1.1.1 1.1.1.1 1 2\rx", b"PROXY " + b"x" * 120,
             b"PROXY TCP4 ::1 1.1.1.1 1 2\r\n"]
    tls = b"\x20\0\x05\x01\0\0\0\0"
    binary = [b"\x20\0\0\0", b"\x21\x11\0\x0c" + V4, b"\x21\x21\0\x24" + V6, b"\x21\x31\0\xd8" + bytes(216), b"\x21\x11\0\x14" + V4 + tls, b"\x21\x12\0\x0c" + V4, b"\x21\x11\0\x0b" + V4, b"\x21\0\0\x03\x04\0\0", b"\x22\0\0\0",
              b"\x21\x11\0\x10" + V4 + b"\x04\0\x02x", b"\x21\x11\xff\xff" + V4]
    checked = SIGNATURE + b"\x21\x11\0\x13" + V4 + b"\3\0\4" + bytes(4)
    binary += [b"\x21\x11\0\x0e" + V4 + b"\4\0", b"\x21\x11\0\x0f" + V4 + b"\4\0\1"]
    lines += [checked, checked[:-4] + crc32c(checked).to_bytes(4, "big")]
    return lines + [SIGNATURE + b for b in binary] + [c.sends for c in cases.load("request_line") if "PROXY" in c.klass.name]


def authorization():
    pairs = [b"admin:secret", b"admin:", b":secret", b"admin", b"a:b:c", b"admin:\x00", "admin:\u00e4".encode(), b"a" * 63 + b":" + b"b" * 72, b"a" * 64 + b":b"]
    basic = [b"Basic " + base64.b64encode(p) for p in pairs]
    return basic + [b"basic YTpi", b"BASIC  YTpi", b"Basic YTpi=", b"Basic YTp=", b"Basic", b"Bearer", b"Bearer fnd_" + b"A" * 43, b"bearer a.b-c_d~e=", b"Bearer a b", b"Digest a=b", b"Bearer " + b"x" * 300, b"Basic YT\xffpi"]


def h2():
    def pair(name, value):
        return bytes([len(name)]) + name + bytes([len(value)]) + value

    found = []
    for c in cases.load("request_*"):
        line, *lines = c.sends.partition(b"\r\n\r\n")[0].split(b"\r\n")
        words = line.split(b" ")
        if len(words) != 3 or len(c.sends) > 1000:
            continue
        pairs = [(b":method", words[0]), (b":scheme", b"https"), (b":path", words[1])]
        for text in lines:
            name, _, value = text.partition(b":")
            pairs.append((b":authority" if name.lower() == b"host" else name.lower(), value.strip()))
        found.append(bytes([len(found) & 1]) + b"".join(pair(n[:255], v[:255]) for n, v in pairs))
    return found + [b"\2" + pair(b"x-sum", b"1"), b"\1" + pair(b":method", b"GET") + pair(b":scheme", b"http") + pair(b":path", b"/") + pair(b"cookie", b"a=b") + pair(b"cookie", b"c=d") + pair(b"te", b"trailers")]


def der(pem):
    return base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))


def self_signed(algorithm, names):
    """A certificate and its key, in PEM."""
    with tempfile.TemporaryDirectory() as where:
        command = ["openssl", "req", "-x509", "-newkey", *algorithm, "-nodes", "-days", "3650", "-subj", "/CN=common.example", "-keyout", where + "/key", "-out", where + "/certificate"]
        subprocess.run(command + (["-addext", "subjectAltName=" + names] if names else []), check=True, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        with open(where + "/certificate", encoding="ascii") as certificate, open(where + "/key", encoding="ascii") as key:
            return certificate.read(), key.read()


def certificate():
    def join(flags, first, second):
        return bytes([flags]) + len(first).to_bytes(2, "big") + first + second

    names = [None, "DNS:a.example", "DNS:*.A.example,DNS:a.example.,DNS:*,IP:192.0.2.1,IP:2001:db8::1", "email:a@a.example", ",".join(f"DNS:h{i}.example" for i in range(40))]
    ec = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    pairs = [self_signed(ec, n) for n in names] + [self_signed(["ed25519"], names[1])]
    found = [join(3 | twice, der(c), der(k)) for c, k in pairs for twice in (0, 8)] + [join(0, c.encode(), k.encode()) for c, k in pairs]
    found += [join(7, der(c), b"") for c, _ in pairs[:2]] + [join(3, der(pairs[0][0]), der(pairs[1][1])), join(0, (pairs[1][0] + pairs[0][0]).encode(), pairs[1][1].encode())]
    listings = [b"a.pem\0a.key", b"a/\0b.pem\0.pem\0.x.pem\0c.key", b"default.pem\0" + b"n" * 251 + b".pem\0" + b"m" * 255 + b"/\0" + b"o" * 255]
    return found + [b"\x80" + text for text in listings]


STACK = """version: 1.0
provider: {name: openfaas, gateway: http://127.0.0.1:8080}
x: &common {LEVEL: "3", "two words": ' a '}
functions:
  wc:
    skip_build: true
    lang: python3-http
    fprocess: wc -l
    handler: ./words/
    environment:
      <<: *common
      write_debug: true
      exec_timeout: 10s
      C: ${D}
    environment_file: [a.yml]
    limits: {memory: 64m, cpu: 500m}
    labels:
      com.openfaas.scale.min: "2"
      com.openfaas.scale.max: 4
    annotations: {topic: x, schedule: "* * * * *"}
    secrets: [one, two]
    constraints: ["node.role == worker"]
    readonly_root_filesystem: false
  f: {lang: dockerfile, image: x/b}
"""
SERVERLESS = """service: s
provider:
  name: spotinst
  spotinst: {environment: env-1}
functions:
  f:
    runtime: nodejs8.3
    handler: handler.main
    memory: 128
    timeout: 30
    access: private
    cron: {active: no, value: '*/5 * * * *'}
    cors:
      enabled: true
      methods: [GET, PUT]
    environmentVariables:
      K: >-
        folded
        text
    activeVersions:
      - {version: $LATEST, percentage: 100}
plugins: [serverless-spotinst-functions]
"""
FUNKO = "name: greet\nruntime: flask\noptions:\n  ship_packages: [a]\n  devel_packages: []\n  healthcheck_command: x\ncolour: red\n"


def laughs(depth, each):
    lines = ["a0: &a0 [lol, lol]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * each)}]" for i in range(1, depth)]
    return "\n".join(lines) + "\n"


def project():
    """As fuzz_project.c has it: 0 funko.yml, 1 stack.yml, 2 serverless.yml, 3 .fndignore and paths, 4 request.txt."""
    yaml = [laughs(10, 9), "functions: " + "[" * 400, "? " * 200, "functions:\n  f:\n    handler: " + "x" * 5000 + "\n", "functions: {f: {}}\n---\na: 1\n...\n", "%YAML 1.1\n%TAG ! tag:x,2000:\n---\nfunctions: {f: !!map {environment: {A: !y 1, B: !!binary aGk=}}}\n",
            "functions: {f: {environment: {A: 1, A: 2}}}\n", "functions: &f {f: *f}\n", 'functions: {f: {environment: {"A\\nB": c, D: "\\u2028\\x85"}}}\n', "functions:\n  f:\n    environment:\n      T: |\n        lines\n        more\n"]
    texts = [(0, FUNKO), (1, STACK), (2, SERVERLESS)] + [(kind, text) for text in yaml for kind in (1, 2)]
    found = [bytes([kind]) + text.encode() for kind, text in texts]
    found += [bytes([1]) + STACK.encode(code) for code in ("utf-16-le", "utf-16-be", "utf-16", "utf-8-sig", "latin-1")]
    rules = ["*.o\n!keep.o\n/a/**/z\ndoc/\n[a-c]?\\*\n", "\\#x\n\\!x  \r\n**/x/**\n", "[[:alpha:]]*\n[!a]\n[]a]\n[a\n"]
    paths = "a/b/z\nkeep.o\nb\ndoc\n#x\na//b\n/\nq/x/y"
    found += [bytes([3]) + (text + "\0" + paths).encode() for text in rules]
    asks = ["POST /?name=you HTTP/1.1\r\nX-One: 1\r\n\r\nbody\n", "GET /ping\n", "PUT /x\nA;\n\n", "G T /x\n", "GET /\nContent-Length: 3\n\nabc"]
    return found + [bytes([4]) + text.encode() for text in asks]


def main():
    name, directory = sys.argv[1:]
    make = {f.__name__: f for f in (request, stdio, response, chunked, target, proxy, authorization, h2, certificate, project)}.get(name.removeprefix("fuzz_"), list)
    for data in {d for d in make() if len(d) <= SEED_MAX}:
        with open(f"{directory}/{hashlib.sha1(data).hexdigest()}", "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main()
