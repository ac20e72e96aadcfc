"""fnctl exec and shell: a command beside a function, with its restrictions and nothing else, for as long as its client and its instance are there."""

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time

import fcntl

import fndtest
from fndtest import alive, api, children, fnctl, function_pid, instances, process_status, processes, program, run_as_nobody, wait_until

NAMESPACES = ["mnt", "pid", "net", "uts", "ipc", "cgroup", "user", "time"]


def deploy(tmp_path, name="box", limits="", files=None):
    fnctl("deploy", fndtest.package(tmp_path / name, fndtest.HTTPD.format(name=name) + "[limits]\n" + limits, files))
    return instances(name)[0]


@contextlib.contextmanager
def session(*args, **options):
    """fnctl exec in the background."""
    with subprocess.Popen([program("fnctl"), "exec", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **{"stdin": subprocess.DEVNULL, **options}) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def command(name, instance):
    """The pid of the command of that name in the instance's sandbox that is not the function's child."""

    def found():
        inside = os.stat(f"/proc/{instance['pid']}/ns/pid").st_ino
        return [p for p in processes(name) if os.stat(f"/proc/{p}/ns/pid").st_ino == inside and p not in children(instance["pid"])]

    return wait_until(found, what=f"command {name}")[0]


def no_zombies(daemon):
    wait_until(lambda: all(alive(p) for p in children(daemon.pid)), what="the runner to reap")


# ---- what it is ----


def test_it_is_as_the_function(daemon, tmp_path):
    """Ids, capabilities, filters, namespaces, root, limits, environment and cgroup, compared from outside."""
    instance = deploy(tmp_path)
    own = function_pid(instance)
    with session("box", "sleep", "1000"):
        pid = command("sleep", instance)
        ours, its = process_status(own), process_status(pid)
        for field in ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Umask", "SigBlk", "Cpus_allowed"]:
            assert its[field] == ours[field], field
        assert its["SigIgn"] == "0" * 16 and its["CapBnd"] == "0" * 16 and its["NoNewPrivs"] == "1" and its["Seccomp"] == "2"
        for ns in NAMESPACES:
            assert os.stat(f"/proc/{pid}/ns/{ns}").st_ino == os.stat(f"/proc/{own}/ns/{ns}").st_ino, ns
        for link in ["root", "cwd"]:
            one, other = os.stat(f"/proc/{pid}/{link}"), os.stat(f"/proc/{own}/root")
            assert (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino), link
        for name in ["limits", "cgroup", "oom_score_adj", "environ", "mountinfo", "timens_offsets"]:
            with open(f"/proc/{pid}/{name}", "rb") as one, open(f"/proc/{own}/{name}", "rb") as other:
                assert one.read() == other.read(), name
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
        relay = int(its["PPid"])
        for field in ["CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"]:
            assert process_status(relay)[field] == ours[field], field
        assert int(process_status(relay)["Seccomp_filters"]) == int(ours["Seccomp_filters"])
        assert process_status(relay)["Name"] == "fn-exec"
    no_zombies(daemon)


def test_loosened_as_the_function(daemon, tmp_path):
    """[sandbox] allow is the function's, and the command's with it, and nobody else's."""
    for name, allow in (("loose", "[sandbox]\nallow = numa\n"), ("tight", "")):
        directory = fndtest.package(tmp_path / name, fndtest.HTTPD.format(name=name) + allow)
        shutil.copy(program("tests/probe"), directory)
        fnctl("deploy", directory)
        result = fnctl("exec", name, "/probe", "allow", "numa", status=None)
        assert (result.status == 0) == (name == "loose"), result


def test_it_counts(daemon, tmp_path):
    """The command's memory is the instance's."""
    instance = deploy(tmp_path, limits="memory = 32M\n")
    result = fnctl("exec", "box", "--", "awk", 'BEGIN { x = "0123456789abcdef"; while (1) x = x x }', status=None)
    assert result.status == 137, result
    wait_until(lambda: [i for i in instances("box") if i["name"] != instance["name"]], what="a new instance")


def test_streams_and_exit_codes(daemon, tmp_path):
    deploy(tmp_path, files={"plain": "no program\n", "script": "#!/nowhere\n"})
    result = fnctl("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7", status=7)
    assert (result.out, result.err) == ("out\n", "err\n")
    assert fnctl("exec", "box", "echo", "-n", "-i", "two words").out == "-i two words"
    assert fnctl("exec", "box", "true").status == 0
    assert fnctl("exec", "box", "cat").out == ""  # no -i: its input is empty
    fnctl("exec", "box", "--", "sh", "-c", "kill -9 $$", status=137)
    fnctl("exec", "box", "--", "sh", "-c", "kill -TERM $$", status=143)
    assert "nothing: not found in the image" in fnctl("exec", "box", "nothing", status=127).err
    assert "/plain: cannot be executed: Permission denied" in fnctl("exec", "box", "/plain", status=126).err
    assert "cannot be executed" in fnctl("exec", "box", "/www", status=126).err
    no_zombies(daemon)


def test_default_is_a_shell(daemon, tmp_path):
    deploy(tmp_path)
    fnctl("deploy", "hello")
    assert fnctl("exec", "-i", "box", stdin="echo shell $0; exit 3\n", status=3).out == "shell /bin/sh\n"
    result = fnctl("exec", "hello", status=127)
    assert result.err == "fnctl: hello has no shell: name a command that is in the image\n"


def test_ten_megabytes(daemon, tmp_path):
    deploy(tmp_path)
    data = os.urandom(10 << 20)
    result = fnctl("exec", "-i", "box", "cat", stdin=data)
    assert result.raw == data
    result = fnctl("exec", "-i", "box", "md5sum", stdin=data)
    assert fnctl("exec", "-i", "box", "--", "sh", "-c", "head -c 1000 >/dev/null; echo enough", stdin=data).out == "enough\n"
    no_zombies(daemon)


def test_which_one(daemon, tmp_path):
    instance = deploy(tmp_path)
    fnctl("scale", "box", "2")
    fndtest.ready_instances("box", 2)
    assert fnctl("exec", "box", "hostname").out.strip() == instance["name"]  # the oldest
    for i in instances("box"):
        assert fnctl("exec", i["name"], "hostname").out.strip() == i["name"]
        assert fnctl("exec", "--instance", i["name"], "box", "hostname").out.strip() == i["name"]
    assert "there is no function nobody" in fnctl("exec", "nobody", "true", status=3).err
    assert "there is no function box-aaaaaa" in fnctl("exec", "box-aaaaaa", "true", status=3).err
    assert "has no instance box-aaaaaa" in fnctl("exec", "--instance", "box-aaaaaa", "box", "true", status=3).err
    fnctl("stop", "box")
    wait_until(lambda: not instances("box", None))
    assert "no instance that is ready" in fnctl("exec", "box", "true", status=3).err


def test_who_may(daemon, tmp_path):
    deploy(tmp_path)
    result = run_as_nobody(program("fnctl"), "exec", "box", "true")
    assert result.returncode == 4, result
    assert "group fnd" in result.stderr
    for port in (8888, 8889):
        answer = fndtest.request("POST", "/api/v1/functions/box/exec?arg=true", headers={"Connection": "Upgrade", "Upgrade": "fnd-exec/1"}, port=port)
        assert answer.status in (403, 404), answer


def test_audit(daemon, tmp_path):
    instance = deploy(tmp_path)
    fnctl("exec", "box", "echo", "a secret")
    line = re.search(r"exec function=box .*", daemon.output()).group()
    assert f"instance={instance['name']} uid=0 terminal=0 command=\"echo\"" in line
    assert "a secret" not in daemon.output()


def test_bad_requests(daemon, tmp_path):
    deploy(tmp_path)
    upgrade = {"Connection": "Upgrade", "Upgrade": "fnd-exec/1"}
    cases = [
        ("?arg=true", {}, 400, "Upgrade"),
        ("?arg=true", {"Connection": "Upgrade", "Upgrade": "websocket"}, 400, "Upgrade"),
        ("", upgrade, 400, "no command"),
        ("?arg=", upgrade, 400, "empty"),
        ("?arg=true&terminal=x", upgrade, 400, "terminal"),
        ("?arg=true&terminal=1&term=a%20b", upgrade, 400, "terminal"),
        ("?arg=true&term=" + "x" * 64, upgrade, 400, "term"),
        ("?arg=true&what=1", upgrade, 400, "what"),
        ("?arg=" + "x" * 17000, upgrade, 414, "too long"),
        ("?" + "&".join(["arg=x"] * 300), upgrade, 400, "words"),
        ("?arg=true&instance=box-aaaaaa", upgrade, 404, "box-aaaaaa"),
    ]
    for query, headers, status, text in cases:
        with contextlib.closing(fndtest.UnixConnection(fndtest.API_SOCKET, 30)) as connection:
            connection.putrequest("POST", "/api/v1/functions/box/exec" + query)  # without a Content-Length
            for header in headers.items():
                connection.putheader(*header)
            connection.endheaders()
            answer = connection.getresponse()
            message = answer.read().decode()
            assert answer.status == status and text in message, (query[:60], answer.status, message)
    assert "longer than 8 KB" in fnctl("exec", "box", "echo", "x" * 9000, status=2).err
    assert fnctl("exec", "box", "echo", "x" * 7000).out == "x" * 7000 + "\n"


# ---- limits ----


def test_no_process_more(daemon, tmp_path):
    instance = deploy(tmp_path, limits="pids = 12\n")
    with contextlib.ExitStack() as stack:
        fork = "i=0; while [ $i -lt 8 ]; do sleep 1000 & i=$((i + 1)); done; wait"  # with fn-init, the function, relay and shell: 12
        stack.enter_context(session("box", "--", "sh", "-c", fork))
        wait_until(lambda: instances("box", None)[0]["pids"] >= 12)
        result = fnctl("exec", "box", "true", status=None)
        assert result.status not in (0, 127), result
        assert f"{instance['name']}: no further process can be started in it: its limit ([limits] pids) is reached" in result.err
    wait_until(lambda: fnctl("exec", "box", "true", status=None).status == 0 or fnctl("exec", "box", "--", "kill", "-9", "-1", status=None))
    no_zombies(daemon)


def test_no_session_more(daemon, tmp_path):
    instance = deploy(tmp_path, limits="pids = 200\n")
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(session("box", "sleep", "1000"))
        wait_until(lambda: len(processes("sleep")) == 16)
        assert f"{instance['name']}: 16 commands are running in it already" in fnctl("exec", "box", "true", status=1).err
    wait_until(lambda: fnctl("exec", "box", "true", status=None).status == 0)
    no_zombies(daemon)


# ---- signals and ends ----


def test_signals_are_passed_on(daemon, tmp_path):
    instance = deploy(tmp_path)
    trap = "trap 'echo interrupted; exit 5' INT; trap 'echo ended; exit 6' TERM; echo ready; while :; do sleep 0.05; done"
    for sig, text, status in ((signal.SIGINT, b"interrupted\n", 5), (signal.SIGTERM, b"ended\n", 6)):
        with session("box", "--", "sh", "-c", trap) as process:
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(sig)
            assert process.stdout.read() == text
            assert process.wait(30) == status
    # A command that does not read, with more on its way than there is room for: the signal does not wait behind it.
    with session("-i", "box", "sleep", "1000", stdin=subprocess.PIPE) as process:
        pid = command("sleep", instance)
        os.set_blocking(process.stdin.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(process.stdin.fileno(), bytes(65536))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        wait_until(lambda: not alive(pid))
    no_zombies(daemon)


def test_client_gone(daemon, tmp_path):
    """SIGHUP first; who does not mind it is killed."""
    instance = deploy(tmp_path)
    with session("box", "sleep", "1000") as process:
        pid = command("sleep", instance)
        process.kill()
        wait_until(lambda: not alive(pid), what="the command's end")
    with session("box", "--", "sh", "-c", "trap 'echo hung up >/tmp/said; exit' HUP; sleep 1000 & wait") as process:
        command("sleep", instance)
        process.kill()
        wait_until(lambda: fnctl("exec", "box", "cat", "/tmp/said").out == "hung up\n", what="SIGHUP")
        fnctl("exec", "box", "killall", "sleep", status=None)
    with session("box", "--", "sh", "-c", "trap '' HUP; sleep 1000; sleep 1000") as process:
        pid = command("sleep", instance)
        process.kill()
        wait_until(lambda: not alive(pid) and not processes("fn-exec"), what="the command's end")
    no_zombies(daemon)


def test_instance_gone(daemon, tmp_path):
    instance = deploy(tmp_path)
    with session("box", "sleep", "1000") as process:
        command("sleep", instance)
        os.kill(instance["pid"], signal.SIGKILL)
        assert process.wait(30) == 137
        assert instance["name"] + " has ended" in process.stderr.read().decode()
    instance = wait_until(lambda: [i for i in instances("box") if i["name"] != instance["name"]])[0]
    with session("box", "sleep", "1000") as process:
        command("sleep", instance)
        fnctl("rm", "box")
        assert process.wait(30) == 137
    no_zombies(daemon)


def test_outlives_the_gateway(daemon, tmp_path):
    """No byte of a session passes through it."""
    deploy(tmp_path)
    with session("-i", "box", "cat", stdin=subprocess.PIPE) as process:
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"one\n"
        gateway = daemon.gateway_pid
        os.kill(gateway, signal.SIGKILL)
        wait_until(lambda: daemon.gateway_pid not in (None, gateway) and api("GET", "/functions/box").status == 200)
        process.stdin.write(b"two\n")
        process.stdin.close()
        assert process.stdout.read() == b"two\n"
        assert process.wait(30) == 0


def test_early_bytes(daemon, tmp_path):
    """What comes while the runner is still asked is the session's: the gateway reads none of it, and closes no half of the connection."""
    deploy(tmp_path)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(fndtest.API_SOCKET)
        s.settimeout(30)
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            s.sendall(b"POST /api/v1/functions/box/exec?arg=echo&arg=hello HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: fnd-exec/1\r\n\r\n")
            wait_until(lambda: fcntl.ioctl(s, termios.TIOCOUTQ, b"\0" * 4) == b"\0" * 4, what="the gateway to read the head")
            s.sendall(bytes([1, 0, 4, 0, 0, 0, 0, 0, 2, 0, 0, 0]))
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        answer = b""
        while data := s.recv(4096):
            answer += data
    # Who does not wait may hear the command, or the beginning of what it says, before the answer; nothing is lost.
    head = re.search(rb"HTTP/1\.1 101 .*?\r\n\r\n", answer, re.S)
    said = bytes([5, 0, 6, 0]) + b"hello\n" + bytes([8, 0, 4, 0, 0, 0, 0, 0])
    assert head and said in answer[: head.start()] + answer[head.end() :], answer


def test_nonsense_from_the_client(daemon, tmp_path):
    """The relay takes nothing that is not a frame, and goes; so it does when nothing comes at all."""
    deploy(tmp_path)
    head = b"POST /api/v1/functions/box/exec?arg=sleep&arg=1000 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: fnd-exec/1\r\n\r\n"
    start = bytes([1, 0, 4, 0, 0, 0, 0, 0])
    for data in (b"\xff" * 100, start[:3], b"", start + start, start + bytes([2, 0, 255, 255]), start + bytes([5, 0, 1, 0, 65]), start + bytes([4, 0, 1, 0, 0])):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(fndtest.API_SOCKET)
            s.sendall(head)
            s.settimeout(30)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += s.recv(1)
            assert answer.startswith(b"HTTP/1.1 101 ") and b"\r\nUpgrade: fnd-exec/1\r\n" in answer
            s.sendall(data)
    wait_until(lambda: not processes("fn-exec") and not processes("sleep"), what="the relays' end")
    no_zombies(daemon)


# ---- terminals ----


class Terminal:
    """fnctl on a terminal of its own."""

    def __init__(self, *args, rows=30, cols=100):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "vt100"
            os.execv(program("fnctl"), ["fnctl", *args])
        self.text = ""
        self.resize(rows, cols)

    def resize(self, rows, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def send(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, seconds=fndtest.PATIENCE_S):
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} did not come: {self.text!r}"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    self.text += os.read(self.fd, 4096).decode("utf-8", "replace")
                except OSError:
                    raise AssertionError(f"{pattern!r} did not come before the end: {self.text!r}") from None
        self.text = self.text[found.end() :]
        return found

    def raw(self):
        return not termios.tcgetattr(self.fd)[3] & termios.ICANON

    def wait(self, seconds=fndtest.PATIENCE_S):
        wait_until(lambda: not alive(self.pid), seconds, "fnctl's end")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self):
        os.close(self.fd)


def test_terminal(daemon, tmp_path):
    """Both ends are terminals, so the command gets one, without an option: echo, size, keys that make signals, the exit status, and a terminal that is as it was."""
    instance = deploy(tmp_path)
    t = Terminal("exec", "box")
    t.expect(r"\$ ")
    assert t.raw()
    t.send("echo a$((1 + 1))b\r")
    t.expect(r"echo a\$")  # echoed by the sandbox's terminal
    t.expect("a2b")
    t.send("stty size; echo $TERM\r")
    t.expect(r"30 100\s+vt100")
    t.resize(40, 120)
    wait_until(lambda: resized(t, "40 120"))
    t.send("sleep 1000\r")
    pid = command("sleep", instance)
    t.send("\x03")
    wait_until(lambda: not alive(pid))
    t.expect(r"\$ ")
    t.send("exit 9\r")
    assert t.wait() == 9
    assert not t.raw()
    t.close()
    no_zombies(daemon)


def resized(t, size):
    t.send("stty size\r")
    return t.expect(r"\n(\d+ \d+)\r").group(1) == size


def test_shell(daemon, tmp_path):
    instance = deploy(tmp_path)
    t = Terminal("shell", instance["name"])
    t.expect(r"\$ ")
    t.send("hostname; exit 0\r")
    t.expect(instance["name"])
    assert t.wait() == 0
    t.close()


def test_shell_without_a_terminal(daemon, tmp_path):
    """A script from a pipe is run to its end, without a prompt, and then that is the end."""
    deploy(tmp_path)
    assert fnctl("shell", "box", stdin="echo $0\ntty -s || exit 3", status=3).out == "/bin/sh\n"
    assert fnctl("shell", "box", stdin="").out == ""
    no_zombies(daemon)


def test_terminal_is_restored(daemon, tmp_path):
    """By a signal, by the instance's end, by an error."""
    instance = deploy(tmp_path)
    t = Terminal("exec", "box")
    t.expect(r"\$ ")
    pid = command("sh", instance)
    os.kill(t.pid, signal.SIGTERM)
    assert t.wait() == 128 + signal.SIGTERM
    assert not t.raw()
    wait_until(lambda: not alive(pid), what="the shell's end")
    t.close()
    t = Terminal("exec", "-it", "box", "nothing")
    t.expect("not found in the image")
    assert t.wait() == 127
    assert not t.raw()
    t.close()
    t = Terminal("exec", "box")
    t.expect(r"\$ ")
    os.kill(instance["pid"], signal.SIGKILL)
    t.expect("has ended")
    assert t.wait() == 137
    assert not t.raw()
    t.close()


def test_terminal_without_one(daemon, tmp_path):
    """-t from a script: the command has a terminal, both outputs are one, there is no input. What is no terminal cannot be typed into one: nothing is run."""
    deploy(tmp_path)
    result = fnctl("exec", "-t", "box", "--", "sh", "-c", "test -t 0 && test -t 1 && echo yes; echo err >&2", stdin="typed\n")
    assert sorted(result.out.replace("\r", "").split()) == ["err", "yes"]
    assert result.err == ""
    (tmp_path / "file").write_text("echo typed\n")
    with open(tmp_path / "file", encoding="ascii") as f, open("/dev/null", encoding="ascii") as null:
        for source in (f, null):
            p = subprocess.run([fndtest.program("fnctl"), "exec", "-it", "box"], stdin=source, capture_output=True, text=True, timeout=30, check=False)
            assert p.returncode == 2 and p.stdout == "" and p.stderr.startswith("fnctl: exec -it: the input device is not a TTY: a file or a pipe is passed on by -i alone"), p


def test_hangup_reaches_the_foreground(daemon, tmp_path):
    """Job control: what runs in the foreground is in another process group than the shell."""
    instance = deploy(tmp_path)
    t = Terminal("exec", "box")
    t.expect(r"\$ ")
    t.send("sleep 1000\r")
    pid = command("sleep", instance)
    os.kill(t.pid, signal.SIGKILL)
    t.wait()
    t.close()
    wait_until(lambda: not alive(pid) and not processes("fn-exec"), what="the end of all")
    no_zombies(daemon)
