"""Functions of OpenFaaS' classic templates, whose environment has the request and whose output is the answer: what is the same for each language."""

import os

import pytest

from shim import Shim, wait

FUNCTIONS = {
    "python": ("handler.handle", "handler.py", "import os\ndef handle(req):\n    os.system('env')\n    return os.environ.get('Http_X_One')\n"),
    "node": ("handler", "handler.js", "const { env } = process;\nmodule.exports = (context, callback) => callback(null, require('child_process').execSync('env') + (env.Http_X_One ?? ''));\n"),
    "ruby": ("handler.Handler", "handler.rb", "class Handler\n  def run(req)\n    system('env')\n    ENV['Http_X_One']\n  end\nend\n"),
}
QUIET = {
    "python": "def handle(req):\n    return 'good'\n",
    "node": "module.exports = (context, callback) => callback(null, 'good');\n",
    "ruby": "class Handler\n  def run(req)\n    'good'\n  end\nend\n",
}
LATER = {
    "python": "import io, os, sys, threading\ndef later():\n    open('fifo').read()\n    os.write(1, b'later\\n')\ndef handle(req):\n    print('printed')\n    if req == 'later': threading.Thread(target=later).start()\n    sys.stdout = io.StringIO()\n",
    "ruby": "class Handler\n  def run(req)\n    puts 'printed'\n    Thread.new { File.read('fifo'); STDOUT.syswrite(\"later\\n\") } if req == 'later'\n    $stdout = StringIO.new\n    ''\n  end\nend\n",
}
# setenv(3) would keep these values: 32 MB.
TURNS, VALUE, MORE_KB = 4000, 8000, 12_000


def serve(language, text):
    handler, file, _ = FUNCTIONS[language]
    return Shim(f"rootfs/{language}/shim/start", handler, {file: text}, {"HANDLER_CONTRACT": "openfaas-classic"})


@pytest.mark.parametrize("language", FUNCTIONS)
def test_programs_see_the_request_and_no_proxy_of_a_client(language):
    with serve(language, FUNCTIONS[language][2]) as s:
        lines = s.ask(path="/p?q", headers={"X-One": "first", "Proxy": "192.0.2.1:3128"}).data.decode().splitlines()
        assert {"Http_X_One=first", "Http_Path=/p", "Http_Query=q", "Http_Method=GET"} <= set(lines) and lines[-1] == "first", lines
        assert not [line for line in lines if line.lower().startswith("http_proxy=")]
        later = s.get("/").data.decode().splitlines()
        assert not [line for line in later if line.startswith(("Http_X_One=", "Http_Query="))] and "Http_Path=/" in later, later


@pytest.mark.parametrize("language", FUNCTIONS)
def test_headers_of_clients_do_not_add_up(language):
    with serve(language, QUIET[language]) as s, s.connect() as c, c.makefile("rb") as answers:

        def ask(turn):
            c.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: %0*d\r\n\r\n" % (VALUE, turn))
            length = 0
            while (line := answers.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            assert answers.read(length).rstrip() == b"good", s.log

        for turn in range(TURNS // 4):
            ask(turn)
        settled = s.resident_kb()
        for turn in range(TURNS):
            ask(turn + TURNS)
        assert s.resident_kb() - settled < MORE_KB


@pytest.mark.parametrize("language", LATER)
def test_what_is_printed_between_calls_is_the_log(language):
    """One call's file is closed with it, and what it made of its standard output is its own."""
    printed = b"printed\n" + (b"\n" if language == "ruby" else b"")  # which puts what run returns
    with serve(language, LATER[language]) as s:
        os.mkfifo(s.root + "/fifo")
        assert s.post("/", "later").data == printed
        with open(s.root + "/fifo", "w", encoding="utf-8"):
            pass
        s.says("^later$")
        count = lambda: len(os.listdir(f"/proc/{s.process.pid}/fd"))
        before = count()
        for _ in range(20):
            assert s.post("/", "x").data == printed
        wait(lambda: count() <= before, "the answers' files to be closed", s)
