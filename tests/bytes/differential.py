#!/usr/bin/python3
"""differential.py [WORD...]: sends the requests of the byte table to fnd-gateway, nginx and HAProxy, all in front of the same function, and prints where they differ and why. Inside a test host.

Every request is followed by a sentinel on the same connection. The outcome of one is in words: the statuses that the client reads; `kept` when the sentinel is answered behind an error; `closed` or `waits` when there is
no answer; then what of the function's side is not as behind fnd-gateway: `method`, `target`, `body`, `fields`, `more` or `less` requests, `some` where fnd-gateway lets none through. Each difference has its reason in
the table, at the case or at its class, under the peer's outcome; one without a reason, or a reason without a difference, is a failure.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [HERE, HERE + "/../system"]

import cases as table  # noqa: E402
import run  # noqa: E402
import wire  # noqa: E402
from fndtest import wait_until  # noqa: E402

SENTINEL = b"GET /fn/t/sentinel HTTP/1.1\r\nHost: good\r\n\r\n"
QUIET_S = (1, 10)  # who says nothing for so long waits; where that decides, it is tried with more
# Which fields say what the peers' configurations say as well, each in its way.
OWN = {"host", "connection", "content-length", "transfer-encoding", "x-request-id", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-forwarded-prefix", "expect", "te"}
COMMANDS = {"nginx": ["nginx", "-p", "@DIR@", "-e", "stderr", "-c", "@DIR@/nginx.conf"], "haproxy": ["haproxy", "-q", "-f", "@DIR@/haproxy.cfg"]}


class Peer:
    def __init__(self, name, backend, directory):
        self.name, self.pid = name, None
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        file = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[name]
        with open(f"{HERE}/{file}", encoding="utf-8") as f:
            text = f.read()
        for word, value in (("@PORT@", self.port), ("@BACKEND@", backend), ("@DIR@", directory)):
            text = text.replace(word, str(value))
        with open(f"{directory}/{file}", "w", encoding="utf-8") as f:
            f.write(text)
        self.process = subprocess.Popen([w.replace("@DIR@", directory) for w in COMMANDS[name]], stdin=subprocess.DEVNULL)
        wait_until(self.answers, what=f"{name} to listen")

    def answers(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)


class Seen:
    """What came of one case."""

    def __init__(self, client, log):
        self.statuses = re.findall(rb"HTTP/1\.[01] (\d{3})", client.buf)
        self.requests = [parsed(data) for data in log]
        self.sentinel = [r for r in self.requests if r[1] == b"/sentinel"]
        self.requests = [r for r in self.requests if r[1] != b"/sentinel"]
        answered = client.buf.endswith(b"sentinel")
        if answered:
            self.statuses.pop()
        words = [s.decode() for s in self.statuses if s != b"100"]
        if not words:
            words = ["no head" if client.buf else "waits" if client.end == "timeout" else "kept" if answered else "closed"]
        elif answered and int(words[-1]) >= 400:
            words.append("kept")
        self.words = words

    def outcome(self, ours, case):
        """In words, beside what it was behind fnd-gateway."""
        more = []
        if self is not ours and not case.begins:  # how much has come until then is a matter of time
            if self.requests and not ours.requests:
                more.append("some")
            elif len(self.requests) != len(ours.requests):
                more.append("more" if len(self.requests) > len(ours.requests) else "less")
            else:
                for n, word in enumerate(("method", "target", "body", "fields")):
                    if any(a[n] != b[n] for a, b in zip(self.requests, ours.requests)):
                        more.append(word)
        return " ".join(self.words + more)


def parsed(data):
    """(method, target without the prefix, body, the fields that are not the proxy's)"""
    end = wire.head_end(data)
    head = data[:end] if end >= 0 else data
    line, *lines = head.rstrip(b"\r\n").split(b"\r\n")
    words = line.split(b" ")
    body = b""
    if end >= 0:
        chunked = wire.field(head, b"Transfer-Encoding")
        body = wire.chunks_end(data, end)[0] if chunked else data[end:]
    fields = [(name.lower().decode("latin-1"), value.strip(b" \t")) for name, _, value in (x.partition(b":") for x in lines)]
    target = words[1] if len(words) > 1 else b""
    target = re.sub(rb"^(?i:http://[^/]*)?/fn/t/", b"/", target)
    return words[0], target, body, sorted(f for f in fields if f[0] not in OWN)


def send(port, function, case, quiet_s):
    function.play(None)
    with wire.Client(port) as client:
        client.send(case.sends + SENTINEL)
        client.read(lambda buf: buf.endswith(b"sentinel"), quiet_s)
    function.rest()
    with function.cond:
        return Seen(client, [data for _, data in function.log])


def compare(bench, peers, chosen):
    """[(peer, case, ours, outcome, reason or None)] of the differences, and the reasons that were used."""
    found, used = [], set()
    for case in chosen:
        first = send(bench.gateway.port, bench.function, case, QUIET_S[0])
        for peer in peers:
            ours, where = first, None
            for quiet_s in QUIET_S:
                if quiet_s != QUIET_S[0]:
                    ours = send(bench.gateway.port, bench.function, case, quiet_s)
                theirs = send(peer.port, bench.function, case, quiet_s).outcome(ours, case)
                same = theirs == ours.outcome(ours, case)
                where = next((w for w in (case, case.klass) if theirs in w.reasons.get(peer.name, {})), None)
                if (where and not same) or (same and peer.name not in case.reasons):  # as it is known
                    break
            if same:
                continue
            if where:
                used.add((id(where), peer.name, theirs))
            found.append((peer.name, case, ours.outcome(ours, case), theirs, where and where.reasons[peer.name][theirs]))
    return found, used


def print_table(found):
    rows = {}
    for peer, case, ours, theirs, reason in found:
        rows.setdefault((case.klass.name, peer, ours, theirs, reason), []).append(case.name)
    klass = None
    for (name, peer, ours, theirs, reason), names in rows.items():
        if name != klass:
            print(f"\n  {name}")
            klass = name
        what = names[0] if len(names) == 1 else f"{len(names)} cases"
        print(f"    {peer:8} {theirs:18} fnd {ours:9} {what:32} {reason or 'WHY?'}")
    print()


def main():
    words = sys.argv[1:]
    chosen = [c for c in table.load("request_*") if not c.ends and not c.klass.own and (not words or any(w in c.title for w in words))]
    bench = run.Bench()
    with tempfile.TemporaryDirectory() as directory:
        peers = [Peer(name, bench.function.port, directory) for name in COMMANDS]
        try:
            found, used = compare(bench, peers, chosen)
        finally:
            for peer in peers:
                peer.stop()
    bench.close()
    print_table(found)
    unexplained = [f"{case.where}: {case.title}: {peer} {theirs}: why?" for peer, case, _, theirs, reason in found if not reason]
    stale = {f"{where.name}: {peer} {outcome}: no such difference" for c in chosen for where in (c, c.klass) for peer, reasons in where.reasons.items() for outcome in reasons
             if (id(where), peer, outcome) not in used} if not words else set()
    for text in unexplained + sorted(stale):
        print(f"  {text}")
    print(f"  {len(chosen)} cases, {len(found)} differences")
    print(f"{len(chosen)} passed, {len(unexplained) + len(stale)} failed")
    return 1 if unexplained or stale else 0


if __name__ == "__main__":
    sys.exit(main())
