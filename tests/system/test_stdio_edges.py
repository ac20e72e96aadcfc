"""mode = stdio: processes that do not behave: those that leave things behind, use things up, or attack the server and each other's requests. And what the server does for itself, without the gateway before it."""

import contextlib
import glob
import os
import re
import signal
import socket

from test_stdio import busy, deploy, hear, leftover, logged, script

import fndtest
from fndtest import get, instances, request, wait_until


def test_output_and_input_ends(daemon, tmp_path):
    """The end of an invocation is its process's, not that of what it has closed; a body that nobody reads is no error."""
    text = """case $Http_Query in
    closed) echo early; exec >&-; echo late 2>/dev/null; sleep 0.3; exit 3;;
    unread) exit 0;;
    half) head -c 10; exit 5;;
    deaf) exec <&-; head -c 300000 /dev/zero;;
    errors) exec 2>&-; echo lost >&2; echo said;;
    deafer) exec <&-; echo deafer >&2; until [ -e /tmp/go ]; do sleep 0.02; done; echo gone;;
    go) touch /tmp/go;;
esac
"""
    script(tmp_path, "ends", text)  # its sleep: long enough that who takes the closing for the end answers 200
    large = b"x" * (32 << 20)  # more than sockets hold
    assert (a := get("/fn/ends/?closed")).status == 500 and a.text == "exit status 3\nearly\n", a
    assert (a := request("POST", "/fn/ends/?unread", large)).status == 200 and a.body == b"", a
    assert (a := request("POST", "/fn/ends/?half", large)).status == 500 and a.text == "exit status 5\nxxxxxxxxxx", a
    assert (a := request("POST", "/fn/ends/?deaf", b"x" * (1 << 20))).status == 200 and len(a.body) == 300000, a
    assert get("/fn/ends/?errors").text == "said\n"
    with socket.create_connection(("127.0.0.1", 8888), timeout=30) as s:
        s.sendall(f"POST /fn/ends/?deafer HTTP/1.1\r\nHost: t\r\nContent-Length: {len(large)}\r\n\r\n".encode())
        wait_until(lambda: "deafer" in logged("ends"), 30)
        s.sendall(large)  # the rest of it is taken while the process goes on
        assert get("/fn/ends/?go").status == 200
        hear(s, b"gone\n")


def half_a_body(name):
    """A client that has sent only the beginning of what it announced."""
    s = socket.create_connection(("127.0.0.1", 8888), timeout=30)
    s.sendall(f"POST /fn/{name}/?wait HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n".encode() + b"x" * 1000)
    return s


def test_client_gone_within_its_body(daemon, tmp_path):
    """What runs for it dies, and its place among max_inflight is free again: also where the process waits for the whole body."""
    text = "[ \"$Http_Query\" = wait ] && { sleep 300 & cat >/dev/null; sleep 300; }\necho fine\n"
    script(tmp_path, "gone", text, env="max_inflight = 1\n")
    with half_a_body("gone"):
        wait_until(lambda: len(busy()) == 1, 30)
        assert get("/fn/gone/").status == 429
    wait_until(lambda: not busy() and not leftover(), 30)
    wait_until(lambda: get("/fn/gone/").text == "fine\n", 30)
    assert "the client has gone away" in wait_until(lambda: "gone away" in logged("gone") and logged("gone"), 30)
    script(tmp_path, "whole", text, env="mode = serializing\nmax_inflight = 1\n")
    with half_a_body("whole"):
        wait_until(lambda: get("/fn/whole/").status == 429, 30)
        assert not busy()
    wait_until(lambda: get("/fn/whole/").text == "fine\n", 30)


def children(pid):
    """Of one process: zombies too."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return f.read().split()


def test_what_is_left_behind(daemon, tmp_path):
    """Sessions of their own, deaf ones, zombies, fork bombs: gone with their request, by its timeout or at its end, and the next request works."""
    text = """case $Http_Query in
    sessions) trap '' TERM HUP INT; setsid sh -c 'trap "" TERM HUP INT; setsid sleep 300 & sleep 300' & (setsid setsid sleep 300 &); exec sleep 300;;
    zombies) (true & true & exec sleep 0.1); for i in 1 2 3 4; do (true &); done; echo dead;;
    orphans) for i in 1 2 3 4 5 6 7 8; do (sleep 300 &); done; kill -9 -1;;
    full) while :; do sleep 300 & done;;
    bomb) bomb() { bomb | bomb & }; bomb 2>/dev/null; exec sleep 300;;
    *) echo fine;;
esac
"""
    script(tmp_path, "left", text, limits="pids = 40\n")
    server = instances("left")[0]["pid"]
    before = descriptors(server)
    for what, status in (("sessions", 408), ("zombies", 200), ("orphans", 200), ("full", 500), ("bomb", 408)):
        answer = get("/fn/left/?" + what, headers={"X-Timeout": "1s"} if status == 408 else {})
        assert answer.status == status, (what, answer)
        assert get("/fn/left/").text == "fine\n", what
        wait_until(lambda: not busy() and not leftover() and children(server) == [], 30, what)
    assert instances("left")[0]["pid"] == server
    for _ in range(10):  # pipes are made four pairs at a time
        get("/fn/left/")
    wait_until(lambda: descriptors(server) <= before + 20, 30, "descriptors")
    wait_until(lambda: len(groups()) <= 2, 30, "groups that were killed are removed, the others used again")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def groups():
    return [p for p in fndtest.cgroup_dirs() if re.search(r"/s\d+/r\d+$", p)]


def test_flood_of_errors(daemon, tmp_path):
    """Standard error without end neither grows the log nor holds up other requests."""
    text = """case $Http_Query in
    much) head -c 20000000 /dev/zero >&2; echo done;;
    endless) echo begun >&2; yes >&2;;
    *) echo fine;;
esac
"""
    script(tmp_path, "flood", text)
    assert get("/fn/flood/?much").text == "done\n"
    with socket.create_connection(("127.0.0.1", 8888), timeout=60) as s:
        s.sendall(b"GET /fn/flood/?endless HTTP/1.1\r\nHost: t\r\n\r\n")
        wait_until(lambda: "y\ny\n" in logged("flood"), 30)
        for _ in range(5):
            assert get("/fn/flood/").text == "fine\n"
        assert len(fndtest.processes("yes")) == 1
    wait_until(lambda: not fndtest.processes("yes") and not leftover(), 30)
    assert get("/fn/flood/").text == "fine\n"
    files = glob.glob("/var/lib/fnd/logs/default/flood/*")
    assert files and max(os.stat(f).st_size for f in files) <= (1 << 20) + 8192, files


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return f.read().rpartition(")")[2].split()[0]


def test_all_that_it_wrote(daemon, tmp_path):
    """A process that has ended before anything of its output was read: the answer is whole."""
    script(tmp_path, "last", "sleep 1; echo written; exit 3\n")  # its sleep: the server is stopped within it, where the machine lets us
    server = instances("last")[0]["pid"]
    with socket.create_connection(("127.0.0.1", 8888), timeout=30) as s:
        s.sendall(b"GET /fn/last/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        wait_until(lambda: children(server), 30)
        os.kill(server, signal.SIGSTOP)
        try:
            wait_until(lambda: all(state(p) == "Z" for p in children(server)), 30)
        finally:
            os.kill(server, signal.SIGCONT)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 500 ") and answer.endswith(b"\r\n\r\nexit status 3\nwritten\n"), answer


def test_what_a_process_starts_with(daemon, tmp_path):
    """Nothing of the server, and nothing of the request before it."""
    text = """grep -E '^(Sig(Blk|Ign|Cgt)|Cap...|NoNewPrivs|Umask|Uid|Gid|Groups):' /proc/self/status
pwd; tr '\\000' '|' </proc/$$/cmdline; echo; tr '\\000' '\n' </proc/$$/environ
"""
    script(tmp_path, "plain", text, more="user = 1234\n")
    first = request("POST", "/fn/plain/a?b", b"x", {"X-Secret": "of-one", "Authorization": "Basic of-one"}).text
    lines = get("/fn/plain/").text.splitlines()
    status = dict(line.split(":", 1) for line in lines if re.match(r"[A-Z][A-Za-z]+:", line))
    assert {status[k].strip() for k in ("SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}, status
    assert status["Uid"].split() == status["Gid"].split() == ["1234"] * 4 and status["NoNewPrivs"].strip() == "1" and status["Umask"].strip() == "0022" and not status["Groups"].strip(), status
    assert "/" in lines and "/bin/sh|/bin/run|" in lines, lines
    assert "Http_X_Secret=of-one" in first and "Http_Query=b" in first
    assert not [line for line in lines if "of-one" in line or line.startswith(("Http_Query", "=", "FND_KEY"))], lines
    deploy(tmp_path, "named", env="fprocess = sh -c 'tr \"\\000\" \"|\" </proc/$$/cmdline; echo $0' first\n")
    assert get("/fn/named/").text.startswith("sh|-c|") and get("/fn/named/").text.endswith("|first|first\n")


def direct(name):
    """A connection to the server itself: the gateway would drop, complete or answer some of what is sent."""
    return socket.create_connection((instances(name)[0]["address"], 3000), timeout=60)


def exchange(name, data):
    """The answer to these bytes, until the server closes."""
    with direct(name) as s:
        s.sendall(data)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
        return answer


def test_odd_fields(daemon, tmp_path):
    """No client names the proxy of a program (httpoxy), whatever the case; values arrive whole, byte by byte, in one variable each; those with an underscore come last."""
    deploy(tmp_path, "odd", "env -0", env="Http_Method = forged\nHttp_Own = forged\n")  # not through a shell, which would leave one of two away
    long = "v" * 8000
    odd = ["pRoXy: http://evil/", "PROXY: http://evil/", "proxy: http://evil/", "X-Odd!#$&'*+.^|~: token", "X-Bytes: \xe9\xff=\t()", f"X-Long: {long}", "X-Empty:", "X-Twice: first", "X-Twice: second",
           "X-Shell: () { :;}; echo", "X_1: forged", "X-1: real", "X_Under: score", "Path: forged"]
    answer = exchange("odd", ("GET /p?q HTTP/1.1\r\nHost: t\r\nConnection: close\r\n" + "\r\n".join(odd) + "\r\n\r\n").encode("latin-1"))
    head, _, body = answer.partition(b"\r\n\r\n")
    seen = body.split(b"\0")
    assert head.startswith(b"HTTP/1.1 200 "), answer
    assert not [v for v in seen if v.upper().startswith((b"HTTP_PROXY=", b"HTTPS_PROXY=", b"ALL_PROXY="))], seen
    for expected in (b"Http_X_Bytes=\xe9\xff=\t()", b"Http_X_Long=" + long.encode(), b"Http_X_Empty=", b"Http_X_Twice=first", b"Http_X_Shell=() { :;}; echo", b"Http_X_1=real", b"Http_X_under=score", b"Http_Path=/p", b"Http_Method=GET"):
        assert seen.count(expected) == 1, (expected, seen)
    names = [v.partition(b"=")[0] for v in seen]
    assert len(names) == len(set(names)), seen
    after = exchange("odd", b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").partition(b"\r\n\r\n")[2]
    assert [v for v in after.split(b"\0") if v.startswith(b"Http_")] == [b"Http_Method=GET", b"Http_Host=t", b"Http_ContentLength=0", b"Http_Content_Length=0", b"Http_Path=/", b"Http_Connection=close"]
    for bad in (b"X: a\0b", b"X: a\x01b", b"X: a\x7fb", b"X Y: a", b"X=Y: a"):
        refused = exchange("odd", b"GET / HTTP/1.1\r\nHost: t\r\n" + bad + b"\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 400 "), (bad, refused)


def test_deadlines(daemon, tmp_path):
    """Of a body that does not come, of an answer that is not taken, and of a time limit that the gateway forgot; a client may only shorten them."""
    script(tmp_path, "late", "sleep 300\n", env="exec_timeout = 300ms\n")
    assert get("/fn/late/", headers={"X-Timeout": "100s"}).status == 408
    script(tmp_path, "body", "cat\n", env="read_timeout = 300ms\n")
    answer = exchange("body", b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nx")
    assert answer.startswith(b"HTTP/1.1 408 ") and b"read_timeout" in answer, answer
    script(tmp_path, "taken", "cat /dev/zero\n", env="write_timeout = 500ms\nmode = streaming\n")
    with direct("taken") as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        wait_until(lambda: "not taken within write_timeout" in logged("taken"), 30)
    script(tmp_path, "limit", "sleep 300\n", limits="timeout = 300ms\n")
    assert exchange("limit", b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 408 ")
    wait_until(lambda: not busy() and not leftover(), 30)


def test_connections(daemon, tmp_path):
    """A client that waits for 100 Continue; one that is answered before it has sent all, and must not lose the answer to a reset; and idle ones that take all places."""
    deploy(tmp_path, "echo", "cat")
    with direct("echo") as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert s.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"ok")
        assert s.recv(65536).startswith(b"HTTP/1.1 200 ")
    for target in (b"/", b"/_/health"):  # a body behind it would be the next answer
        answer = exchange("echo", b"HEAD " + target + b" HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 405 ") and b"\r\nContent-Length: 54\r\n" in answer and answer.endswith(b"\r\n\r\n"), answer
    answer = exchange("echo", b"PURGE / HTTP/1.1\r\nHost: t\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 400000)
    assert answer.startswith(b"HTTP/1.1 405 ") and answer.endswith(b"DELETE.\n"), answer
    idle = [direct("echo") for _ in range(300)]
    assert request("POST", "/fn/echo/", b"fine").text == "fine"
    for s in idle:
        s.close()


def test_who_waits_is_served_in_order(daemon, tmp_path):
    """Requests for which there is no room for one more process: each that ends lets the one start that has waited longest."""
    script(tmp_path, "queue", "echo \"run $Http_Query.\" >&2; read line; echo \"$line\"\n", limits="pids = 4\n")
    started = lambda: sorted(int(n) for n in re.findall(r"run (\d+)\.", logged("queue")))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(direct("queue")) for _ in range(9)]
        beside = stack.enter_context(direct("queue"))
        for c in reversed(clients):  # all are accepted, and the first to ask is not the first that came
            is_well(c)
        for n, c in enumerate(clients):
            c.sendall(b"POST /?%d HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n" % n)
            is_well(beside)  # answered in a turn that saw the other, too: the next comes later
        wait_until(lambda: started() == [0, 1, 2], 30)
        for n, c in enumerate(clients):
            c.sendall(b"ok\n")
            hear(c, b"ok\n")
            wait_until(lambda n=n: len(started()) == min(n + 4, 9), 30)
            assert started() == list(range(min(n + 4, 9)))


def is_well(c):
    c.sendall(b"GET /_/health HTTP/1.1\r\nHost: t\r\n\r\n")
    hear(c, b"\r\n\r\nOK")


def test_what_the_gateway_does_not_send(daemon, tmp_path):
    """Requests one behind the other, a body that breaks, HTTP/1.0, and the server's own paths by another method."""
    script(tmp_path, "odd", "if [ \"$Http_Query\" = long ]; then head -c 300000 /dev/zero; else echo \"$Http_Method $Http_Path\"; cat; fi\n")
    one = b"POST /%d HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n%d\n"
    last = b"POST /_/health HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nConnection: close\r\n\r\nend\n"
    answer = exchange("odd", one % (1, 1) + one % (2, 2) + one % (3, 3) + last)
    assert re.findall(rb"\r\n\r\n(POST .*\n.*\n)", answer) == [b"POST /1\n1\n", b"POST /2\n2\n", b"POST /3\n3\n", b"POST /_/health\nend\n"], answer
    answer = exchange("odd", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naX")
    assert answer.startswith(b"HTTP/1.1 400 ") and b"POST /" not in answer, answer
    with direct("odd") as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        wait_until(lambda: children(instances("odd")[0]["pid"]), 30)
        s.sendall(b"X")
        assert s.recv(65536).startswith(b"HTTP/1.1 400 ")
    answer = exchange("odd", b"GET /?long HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert b"chunked" not in answer[0] and answer[2] == bytes(300000), answer[0]


def test_attacks_on_the_server(daemon, tmp_path):
    """From inside a request: signals to PID 1, every one of its places taken by half-sent heads, and others' processes stopped. The server goes on; what it promises of one request to another is what one user's processes can be kept from."""
    text = """case $Http_Query in
    signals) for s in TERM INT HUP CHLD USR1 STOP KILL; do kill -$s 1; done; echo sent;;
    crowd) i=0; while [ $i -lt 300 ]; do (printf 'GET / HTTP/1.1\\r\\n'; exec sleep 300) | exec nc 127.0.0.1 3000 >/dev/null 2>&1 & i=$((i+1)); done; echo full >&2; read line; echo $line;;
    wait) echo waits >&2; sleep 300;;
    stop) kill -STOP -1; echo stopped;;
    group) kill -TERM 0;;
    *) echo fine;;
esac
"""
    script(tmp_path, "bad", text, limits="pids = 1000\n")
    server = instances("bad")[0]["pid"]
    assert get("/fn/bad/?signals").text == "sent\n"
    assert get("/fn/bad/").text == "fine\n" and instances("bad")[0]["pid"] == server
    with socket.create_connection(("127.0.0.1", 8888), timeout=60) as s:
        s.sendall(b"POST /fn/bad/?crowd HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n")
        wait_until(lambda: "full" in logged("bad"), 30)
        s.sendall(b"ok\n")
        assert s.recv(65536).endswith(b"ok\n")
    wait_until(lambda: not leftover() and children(server) == [], 30)
    wait_until(lambda: get("/fn/bad/").text == "fine\n", 30)
    with socket.create_connection(("127.0.0.1", 8888), timeout=60) as s:
        s.sendall(b"GET /fn/bad/?wait HTTP/1.1\r\nHost: t\r\n\r\n")
        wait_until(lambda: "waits" in logged("bad") and busy(), 30)
        assert get("/fn/bad/?group").text == "signal: terminated\n"
        assert busy()
        assert get("/fn/bad/?stop").text == "stopped\n"
    wait_until(lambda: not busy() and not leftover(), 30)  # stopped, and dies all the same
    assert get("/fn/bad/").text == "fine\n" and instances("bad")[0]["pid"] == server
