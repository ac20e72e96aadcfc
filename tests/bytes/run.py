#!/usr/bin/python3
"""run.py [WORD...]: sends the byte table (cases.py says its form) to fnd-gateway, between a fake runner and a function that records; inside a test host. WORDs choose the cases whose titles have one of them.

Each case is sent in one write, byte by byte (the gateway has taken each before the next is sent), behind a good request and, where the connection goes on, before one; a part of them cut at every position. Then, each
time, a request on a new connection must be served, and the function must have got what the table says and nothing more.
"""

import os
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [HERE, HERE + "/../system"]

import cases as table  # noqa: E402
import gatewayhost  # noqa: E402
import wire  # noqa: E402
from fndtest import wait_until  # noqa: E402

MAX_BODY = 100000
BYTEWISE_MAX = 1500  # longer cases are cut at some places only
CUTS = 10
ONE_READ = 16384  # what is longer may come in several
GOOD_GOT = b"GET /good HTTP/1.1\r\nHost: good\r\n" + table.made(b"good", b"/fn/t") + b"\r\n"
GOOD_READS = b"HTTP/1.1 200 OK\r\nDate: *\r\nContent-Length: 2\r\n\r\nok"


class Bench:
    """The gateway, and a connection that says when it has taken what was sent before: one worker takes events in their order."""

    def __init__(self):
        self.runner = gatewayhost.Runner(max_body_bytes=MAX_BODY, **gatewayhost.ONE_THREAD)
        self.runner.open()
        self.function = wire.Function()
        self.gateway = gatewayhost.Gateway()
        wait_until(lambda: self.runner.peer, what="the gateway to call the runner")
        self.runner.set(idle_timeout_ns=10**15)  # a slow machine must not lose the connections that tick
        number = self.runner.function("t", health_interval_ns=10**15, timeout_ns=10**10)
        self.runner.wait_report("ready", self.runner.instance(number, self.function))
        self.ticks = {}

    def tick(self, who="client"):
        """Returns when the gateway has taken what was sent before. The client and the function have a connection each; one that has rested too long is made anew."""
        for _ in range(2):
            ticks = self.ticks.setdefault(who, None) or wire.Client(self.gateway.port)
            self.ticks[who] = ticks
            ticks.buf = b""
            ticks.send(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
            ticks.read(lambda buf: buf.endswith(b"ok"))
            if not ticks.end:
                return
            self.ticks[who] = None
        raise AssertionError("the gateway is gone")

    def close(self):
        for ticks in self.ticks.values():
            ticks.close()
        status = self.gateway.stop()
        self.gateway.close()
        self.runner.close()
        os.unlink(gatewayhost.RUNNER_SOCKET)
        return status


class Mismatch(Exception):
    pass


def expect(what, got, wanted):
    if got != wanted:
        raise Mismatch(f"{what}:\n      got      {got!r}\n      expected {wanted!r}")


class Mode:
    """How a case is sent."""

    def __init__(self, name, pieces=None, before=False, behind=False):
        self.name, self.pieces, self.before, self.behind = name, pieces, before, behind


def modes(case):
    yield Mode("one write")
    data = case.answers if case.of_function else case.sends
    if not case.ends:  # or the end might be seen before the good one's answer
        yield Mode("behind a good request", behind=True)
    if case.after == "kept" and not case.ends:
        yield Mode("before a good request", before=True)
    if len(data) <= BYTEWISE_MAX:
        yield Mode("byte by byte", pieces=1)
        for n in range(1, len(data), 1 if case.splits else len(data) // CUTS + 1):
            yield Mode(f"cut at {n}", pieces=(n,))
    else:
        for n in (1, len(data) // 2, len(data) - 1):
            yield Mode(f"cut at {n}", pieces=(n,))


def play(bench, case, mode):
    """One case in one mode. Raises Mismatch."""
    f, gateway = bench.function, bench.gateway
    in_pieces = mode.pieces is not None or len(case.sends) > ONE_READ
    after = case.later if in_pieces else case.after
    f.play(case, mode.pieces if case.of_function else None, (lambda: bench.tick("function")) if mode.pieces and case.of_function else None)
    with wire.Client(gateway.port) as client:
        sent = (wire.GOOD if mode.behind else b"") + case.sends + (wire.GOOD if mode.before else b"")
        client.send(sent, None if case.of_function else mode.pieces, bench.tick if mode.pieces and not case.of_function else None)
        if case.ends:
            bench.tick()
            client.half_close()
        outcome = read(bench, client, case, mode, after, in_pieces)
    got, connections = next_request(bench)
    check_function(case, mode, got, connections, in_pieces, outcome)


def read(bench, client, case, mode, after, in_pieces):
    """What the client gets. Returns how its connection went on: the table's first or second word."""

    def tidy(data):
        data = table.answered(data)
        if in_pieces:
            data = wire.joined(data.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"") if case.expects else data)
        return data

    def whole(end, late):
        return tidy((GOOD_READS if mode.behind else b"") + case.client_reads(end, late) + (GOOD_READS if mode.before and end == "kept" else b""))

    wanted = {end: [whole(end, late) for late in {False, in_pieces}] for end in {case.after, after}}
    buf = client.read(lambda b: any(len(b) >= len(w) and tidy(b) == w for w in wanted.get("kept", ())))
    bench.function.rest()
    if not client.end:  # whole, and open: does it take another one?
        client.buf = b""
        client.send(wire.GOOD)
        extra = table.answered(client.read(lambda b: len(table.answered(b)) >= len(GOOD_READS)))
        expect("the next request on the connection", extra, GOOD_READS)
        return "kept"
    buf = tidy(buf)
    if client.end == "reset" and case.reads and case.what and in_pieces:  # too late for an error
        if not tidy(case.reads).startswith(buf.rstrip(b">")):
            raise Mismatch(f"client:\n      got      {buf!r}\n      expected a beginning of {tidy(case.reads)!r}")
        return "reset"
    if client.end not in wanted or buf not in wanted[client.end]:
        raise Mismatch(f"client: the connection ended with `{client.end}`, expected {' or '.join(wanted)}\n      got      {buf[-2000:]!r}\n      expected {wanted[after][-1]!r}")
    return client.end


def next_request(bench):
    """A new connection is served. Returns what the function had got before that, and the connections, of this one last."""
    with wire.Client(bench.gateway.port) as client:
        client.send(wire.GOOD.replace(b"/good", b"/next"))
        buf = table.answered(client.read(lambda b: len(table.answered(b)) >= len(GOOD_READS)))
        expect("the next connection", buf, GOOD_READS)
    got, connections = bench.function.got()
    got = table.normalised(got)
    last = GOOD_GOT.replace(b"/good", b"/next")
    if not got.endswith(last):
        raise Mismatch(f"function: the next request should be last: {got!r}")
    return got[:-len(last)], connections


def check_function(case, mode, got, connections, in_pieces, outcome):
    wanted = (GOOD_GOT if mode.behind else b"") + case.gets
    if mode.before and outcome == "kept":
        wanted += GOOD_GOT
    if outcome == "kept" and got.endswith(GOOD_GOT):
        got, connections = got[:-len(GOOD_GOT)], connections[:-2] + connections[-1:]
    if in_pieces:
        got, wanted = wire.joined(got), wire.joined(wanted)
    if case.cut or case.begins:
        if not in_pieces and not case.begins:
            expect("function", got, GOOD_GOT if mode.behind else b"")
        elif not wanted.startswith(got):
            raise Mismatch(f"function:\n      got      {got!r}\n      expected a beginning of {wanted!r}")
        return
    expect("function", got, wanted)
    if case.gets and case.upstream != "any" and not mode.before:
        reused = connections[-1] == connections[-2]
        if reused != (case.upstream == "kept"):
            raise Mismatch(f"the function's connection was {'kept' if reused else 'closed'}, expected {case.upstream}")


def main():
    words = sys.argv[1:]
    chosen = [c for c in table.load() if not words or any(w in c.title for w in words)]
    bench = Bench()
    started, sent, failed, slow = time.monotonic(), 0, [], []
    for case in chosen:
        begun = time.monotonic()
        wrong = None
        for mode in modes(case):
            sent += 1
            try:
                play(bench, case, mode)
            except Mismatch as e:
                wrong = f"{case.where}: {case.title}, {mode.name}: {e}"
                break
        if wrong:
            failed.append(wrong)
            print(f"  {wrong}", flush=True)
        slow.append((time.monotonic() - begun, case.title))
    status = bench.close()
    if status != 0:
        failed.append(f"the gateway ended with {status}")
        print(f"  {failed[-1]}")
    classes = {c.klass.name for c in chosen}
    print(f"  {len(chosen)} cases of {len(classes)} classes, sent {sent} times in {time.monotonic() - started:.1f} s")
    if os.environ.get("SLOWEST"):
        print("\n".join(f"  {s:6.2f} s {t}" for s, t in sorted(slow)[-10:]))
    if not words and (len(chosen) < 300 or len(classes) < 60):
        failed.append("the table has shrunk")
        print("  the table has less than 300 cases or less than 60 classes")
    print(f"{max(0, len(chosen) - len(failed))} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
