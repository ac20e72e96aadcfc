"""Secrets: files that the function alone can read, and that nothing else ever shows."""

import glob
import hashlib
import json
import os

import pytest

import fndtest
from fndtest import fnctl, get, ready_instances, wait_until

CGI = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n"
VALUE = "hunter2 \t\"'$(x)"
SCRIPTS = {
    "show": CGI + 'for f in /run/secrets /secrets /var/openfaas/secrets; do cat "$f/db-password"; echo; done',
    "look": CGI + "stat -c '%a %u' /run/secrets/db-password; ls /run/secrets; grep ' /run/secrets ' /proc/self/mountinfo",
    "spoil": CGI + "echo x >/run/secrets/db-password; echo x >/run/secrets/more; rm -f /run/secrets/db-password; mv /run/secrets /run/s; rm -rf /run/secrets; umount /run/secrets; cat /run/secrets/db-password",
    "sum": CGI + "sha256sum /run/secrets/key",
}


def package(tmp_path, name="teller", names="db-password"):
    files = {f"www/cgi-bin/{k}": v for k, v in SCRIPTS.items()}
    return fndtest.package(tmp_path / name, fndtest.HTTPD.format(name=name) + f"[secrets]\nnames = {names}\n", files)


def cgi(what, name="teller"):
    return get(f"/fn/{name}/cgi-bin/{what}").text


def put(key, value, name="teller"):
    return fnctl("secret", "set", name, key, stdin=value)


def test_secret_must_be_there_before_the_deploy(daemon, tmp_path):
    result = fnctl("deploy", package(tmp_path), status=None)
    assert result.status != 0 and "fnctl secret set teller db-password" in result.err
    assert "teller" not in fnctl("ls").out
    put("db-password", VALUE)
    fnctl("deploy", package(tmp_path))
    assert cgi("show") == (VALUE + "\n") * 3
    mode, names, mount = cgi("look").split("\n", 2)
    assert mode == "400 1000" and names == "db-password" and " ro," in mount and "fnd" not in mount


def test_function_cannot_change_them(daemon, tmp_path):
    put("db-password", VALUE)
    fnctl("deploy", package(tmp_path))
    assert cgi("spoil") == VALUE


def test_values_are_shown_nowhere(daemon, tmp_path):
    put("db-password", VALUE)
    fnctl("deploy", package(tmp_path))
    listed = json.loads(fnctl("secret", "ls", "--json").out)["secrets"]
    assert [(s["function"], s["environment"], s["name"], s["bytes"]) for s in listed] == [("teller", "default", "db-password", len(VALUE))]
    texts = [fnctl(*args).out for args in (("plan", "teller"), ("status", "teller"), ("status", "teller", "--json"), ("secret", "ls"), ("logs", "teller"))]
    with open("/var/lib/fnd/audit.log", encoding="utf-8") as f:
        texts.append(f.read())
    texts.append(daemon.output())
    assert not any("hunter2" in t for t in texts)
    assert "secret-set" in texts[-2]
    path = "/var/lib/fnd/secrets/default/teller/db-password"
    assert os.stat(path).st_mode & 0o7777 == 0o600 and os.stat(os.path.dirname(path)).st_mode & 0o7777 == 0o700
    assert not any("hunter2" in open(p, "rb").read().decode("latin-1") for p in glob.glob("/var/lib/fnd/functions/default/teller/*/spec"))


def test_new_value_is_for_new_instances(daemon, tmp_path):
    put("db-password", "one")
    fnctl("deploy", package(tmp_path))
    before = ready_instances("teller", 1)[0]["name"]
    assert "fnctl restart teller" in put("db-password", "two\n").err
    assert cgi("show") == "one\n" * 3
    fnctl("restart", "teller")
    wait_until(lambda: [i["name"] for i in ready_instances("teller", 1)] != [before], 30, "another instance")
    assert cgi("show") == "two\n" * 3


def test_any_bytes_and_bounds(daemon, tmp_path):
    value = tmp_path / "key.der"
    value.write_bytes(bytes(range(256)) * 127 + b"\n")
    fnctl("secret", "set", "teller", "key", "--from", value)
    fnctl("deploy", package(tmp_path, names="key"))
    assert cgi("sum").split()[0] == hashlib.sha256(value.read_bytes()).hexdigest()
    value.write_bytes(b"x" * 32769)
    assert "32768" in fnctl("secret", "set", "teller", "key", "--from", value, status=None).err
    assert "1 to 32768 bytes" in fnctl("secret", "set", "teller", "empty", stdin="\n", status=None).err
    assert "letters, digits" in fnctl("secret", "set", "teller", "../up", stdin="x", status=None).err


def test_all_together_are_bounded(daemon, tmp_path):
    for key in ("a", "b"):
        put(key, "x" * 30000)
    result = fnctl("deploy", package(tmp_path, names="a, b"), status=None)
    assert result.status != 0 and "60000 bytes together" in result.err


def test_removed_and_kept(daemon, tmp_path):
    put("db-password", VALUE)
    put("other", "x", name="teller.staging")
    fnctl("deploy", package(tmp_path))
    fnctl("rm", "teller")
    fnctl("deploy", package(tmp_path))  # they belong to the name
    fnctl("secret", "rm", "teller", "db-password")
    assert cgi("show") == (VALUE + "\n") * 3  # what runs keeps what it has
    assert "no secret db-password" in fnctl("secret", "rm", "teller", "db-password", status=None).err
    assert [line.split()[:3] for line in fnctl("secret", "ls").out.splitlines()[1:]] == [["teller", "staging", "other"]]
    assert fnctl("secret", "ls", "teller").out.count("\n") == 1


def test_other_functions_do_not_see_them(daemon, tmp_path):
    put("db-password", VALUE)
    fnctl("deploy", package(tmp_path))
    put("db-password", "mine", name="thief")
    fnctl("deploy", package(tmp_path, name="thief"))
    assert cgi("show", "thief") == "mine\n" * 3


def test_run_takes_them_from_files(tmp_path):
    value = tmp_path / "value"
    value.write_text("from a file")
    args = ("run", package(tmp_path), "--once", "--path", "/cgi-bin/show", "--secret", f"db-password={value}")
    assert "--name" in fnctl(*args, status=None).err
    assert fnctl(*args, "--name", "teller").out == "from a file\n" * 3
    assert "No such file" in fnctl(*args, "--name", "teller", "--secret", "more=/nowhere", status=None).err


def test_their_number_is_bounded(daemon):
    put("first", "x")
    for n in range(4095):
        path = f"/var/lib/fnd/secrets/env{n % 7}/fn{n % 100}"
        os.makedirs(path, exist_ok=True)
        with open(f"{path}/key{n}", "w", encoding="utf-8") as f:
            f.write("x")
    assert "4096 secrets already" in fnctl("secret", "set", "teller", "second", stdin="x", status=None).err
    assert "4096 secrets already" in fnctl("secret", "set", "other", "first", stdin="x", status=None).err
    put("first", "another")
    fnctl("secret", "rm", "teller", "first")
    assert not os.path.exists("/var/lib/fnd/secrets/default")  # the last one there
    put("second", "x", name="other")


# What a handler is given: {runtime: (files, handler)}; its package's file `context` has GREETING and key, the secret key lies over it.
HANDLERS = {
    "faaspot": ("python", "handler.py", "def main(args, context):\n    return [args['name'], context['GREETING'], context['key']]\n"),
    "spotinst-python": ("python", "handler.py", "import json\ndef main(event, context):\n"
                        "    return {'statusCode': 200, 'headers': {'X-Form': 'parts'}, 'body': json.dumps([json.loads(event['body'])['name'], context['GREETING'], context['key']])}\n"),
    "spotinst-ruby": ("ruby", "handler.rb", "require 'json'\ndef main(event, context)\n"
                      "  {statusCode: 200, headers: {'X-Form' => 'parts'}, body: JSON.generate([JSON.parse(event['body'])['name'], context['GREETING'], context['key']])}\nend\n"),
    "spotinst-node": ("node", "handler.js", "const read = (name) => require('fs').readFileSync('/run/secrets/' + name, 'utf8');\nexports.main = (event, context, callback) => callback(null, "
                      "{statusCode: 200, headers: {'X-Form': 'parts'}, body: JSON.stringify([JSON.parse(event.body).name, process.env.GREETING, read('key')])});\n"),
}


@pytest.mark.parametrize("form", sorted(HANDLERS))
def test_what_handlers_are_given(daemon, tmp_path, form):
    runtime, file, text = HANDLERS[form]
    fnctl("runtime", "put", runtime, f"{fndtest.BUILD}/runtime-{runtime}.tar")
    top = tmp_path / "f"
    top.mkdir()
    (top / "function.ini").write_text(f"[function]\nname = teller\nruntime = {runtime}\nhandler = handler.main\n[secrets]\nnames = key\n[env]\nGREETING = Hello\n")
    (top / "context").write_text('GREETING = "Hello"\nkey = "of the file"\n')
    (top / file).write_text(text)
    put("key", VALUE)
    fnctl("deploy", top)
    answer = fndtest.request("POST", "/fn/teller/", body=b'{"name": "you"}', headers={"Content-Type": "application/json"})
    assert answer.status == 200 and answer.json() == ["you", "Hello", VALUE], answer
    assert answer.headers["X-Form"] == (None if form == "faaspot" else "parts")
    assert VALUE not in fnctl("logs", "teller").out
