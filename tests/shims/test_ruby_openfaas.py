"""The Ruby shim: functions of OpenFaaS' templates, as their users have them."""

import json
import re

import pytest

from shim import Shim, refused

START = "rootfs/ruby/shim/start"


def serve(text, contract="classic", env=None, **files):
    return Shim(START, "handler.Handler", {"handler.rb": text, **files}, {"HANDLER_CONTRACT": f"openfaas-{contract}", **(env or {})})


def run(body, args="req"):
    return f"class Handler\n  def run({args})\n    {body}\n  end\nend\n"


# ---- lang: ruby ----


@pytest.mark.parametrize("body, data", [
    ("return req.upcase", "BODY Ä\n".encode()), ("'line\n'", b"line\n"), ("nil", b"\n"), ("[1, 2]", b"1\n2\n"), ("puts 'printed'; 'then'", b"printed\nthen\n"), ("system('echo of a program'); ''", b"of a program\n\n"),
    ("$stdout.binmode; $stdout.write([0, 255].pack('C*')); exit", b"\0\xff"), ("$stdout = StringIO.new; 'mine'", b"mine\n"),
])
def test_classic_takes_a_text_and_puts_its_answer(body, data):
    with serve(run(body)) as s:
        for _ in range(2):  # each has its own
            answer = s.post("/", "body ä".encode(), "text/x-mine")
            assert (answer.status, answer.data, answer.getheader("Content-Type")) == (200, data, "text/x-mine"), s.log
        assert "printed" not in s.log and "of a program" not in s.log


def test_classic_has_a_handler_for_each_call():
    with serve("class Handler\n  def run(req)\n    @n = @n.to_i + 1\n  end\nend\n") as s:
        assert (s.get().data, s.get().data) == (b"1\n", b"1\n") and s.get().getheader("Content-Type") == "text/plain; charset=utf-8"


def test_classic_tells_the_request_in_the_environment():
    with serve("require 'json'\n" + run("JSON.generate(ENV.select { |k, _| k.start_with?('Http_') })")) as s:
        told = json.loads(s.ask("POST", "/p?a=b", b"four", {"X-My-Name": "ä".encode(), "Host": "h"}).data)
        want = {"Http_Method": "POST", "Http_Path": "/p", "Http_Query": "a=b", "Http_Content_Length": "4", "Http_ContentLength": "4", "Http_X_My_Name": "ä", "Http_Host": "h"}
        assert {k: told.get(k) for k in want} == want
        later = json.loads(s.get("/").data)
        assert "Http_X_My_Name" not in later and "Http_Query" not in later and later["Http_Content_Length"] == "0"
        assert json.loads(s.ask("POST", "/", iter([b"x"])).data)["Http_ContentLength"] == "-1"


def test_no_client_sets_a_variable_of_its_choice():
    """All begins with Http_, and the proxy of a program is not the client's to name (httpoxy)."""
    hostile = {"PrOxY": "http://192.0.2.1:1", "Path": "/tmp", "Ld-Preload": "/tmp/x.so", "LD_PRELOAD": "/tmp/x.so", "RUBYOPT": "-rx", "Method": "FORGED", "Contentlength": "7", "Content_Length": "7", "X-Bytes": b"\xe9\xff=\t()", "X-Empty": ""}
    text = "require 'json'\nBEFORE = ENV.to_h\n" + run("new = ENV.to_h.reject { |k, v| BEFORE[k] == v }; JSON.generate([new.transform_values { |v| v.b.force_encoding('UTF-8').scrub }, `/usr/bin/env`.b.unpack('C*')])")
    with serve(text) as s:
        new, seen = json.loads(s.ask("GET", "/own", None, hostile).data)
        assert all(k.startswith("Http_") for k in new) and not any(k.lower() == "http_proxy" for k in new), new
        assert (new["Http_Method"], new["Http_Path"], new["Http_ContentLength"], new["Http_X_Empty"]) == ("GET", "/own", "0", "") and b"Http_X_Bytes=\xe9\xff=\t()\n" in bytes(seen)
        many = {f"X-{i}": "v" * 50 for i in range(900)}
        assert len([k for k in json.loads(s.ask("GET", "/", None, many).data)[0] if k.startswith("Http_X_")]) == 900
        assert not [k for k in json.loads(s.get().data)[0] if k.startswith("Http_X_")]
        got = s.raw(b"GET / HTTP/1.1\r\nX-A: a\0b\r\nX-Good: g\r\nConnection: close\r\n\r\n")
        assert b"Http_X_A" not in got and b"Http_X_Good" in got, got


def test_a_classic_function_that_fails():
    with serve(run("puts 'before'; exit 3 if req == 'exit'; raise 'mine' if req == 'raise'; 'good'")) as s:
        bad = s.post("/", "raise")
        assert bad.status == 500 and b"mine" not in bad.data and b"before" not in bad.data
        s.says("^before$")
        s.says(r"^fnd: .*/handler\.rb:3: RuntimeError: mine")
        assert s.post("/", "exit").status == 500
        s.says(r"^fnd: .*/handler\.rb:3: Handler#run called exit")
        assert s.post("/", "x").data == b"before\ngood\n"


def test_classic_of_a_target_without_a_path():
    with serve(run("[ENV['Http_Path'], ENV['Http_Query'], ENV['Http_X_E']].inspect")) as s:
        assert s.raw(b"GET ?a=b HTTP/1.1\r\nX-E=f: g\r\nConnection: close\r\n\r\n").endswith(b'["/", "a=b", nil]\n')


def test_classic_content_type():
    with serve(run("'{}'"), env={"content_type": "application/json"}) as s:
        assert s.post("/", "", "text/plain").getheader("Content-Type") == "application/json"


# ---- lang: ruby-http ----


def test_http_takes_a_body_and_headers():
    text = "require 'json'\n" + run("@n = @n.to_i + 1\n    return JSON.generate([body.read, headers['REQUEST_METHOD'], headers['HTTP_X_MINE'], headers['QUERY_STRING'], headers['PATH_INFO'], headers['CONTENT_TYPE'], @n]), "
                                    "{ 'content-type' => 'application/json', 'X-A' => 'b' }, 201", "body, headers")
    with serve(text, "http") as s:
        answer = s.ask("PUT", "/p?a=b", "body ä".encode(), {"X-Mine": "m", "Content-Type": "text/x"})
        assert (answer.status, answer.getheader("Content-Type"), answer.getheader("X-A")) == (201, "application/json", "b")
        assert json.loads(answer.data) == ["body ä", "PUT", "m", "a=b", "/p", "text/x", 1]
        assert json.loads(s.get("/").data)[-1] == 2  # one Handler serves all


def test_what_the_gateway_tells_http():
    """And no client tells it in other words."""
    with serve("require 'json'\n" + run("JSON.generate(%w[SCRIPT_NAME REMOTE_ADDR HTTP_X_MINE HTTP_X_OTHER SERVER_NAME SERVER_PORT rack.url_scheme].map { |k| headers[k] })", "body, headers"), "http") as s:
        asked = {"X-Forwarded-Prefix": "/fn/x/", "X-Forwarded-For": "192.0.2.1, 198.51.100.2", "X-Forwarded-Proto": "https", "X-Mine": "m", "X_Mine": "forged", "X_Other": "forged", "Host": "example.com:444"}
        assert json.loads(s.get("/", **asked).data) == ["/fn/x", "192.0.2.1", "m", None, "example.com", "444", "https"]


@pytest.mark.parametrize("body, status, data", [
    ("'text'", 200, b"text"), ("return 'x', {}", 200, b"x"), ("return %w[a b], {}, 202", 202, b"ab"), ("nil", 200, b""), ("return %w[a b].each, {}, 200", 200, b"ab"), ("return { a: 1 }, { 'Content-Type' => 'text/html;charset=utf-8' }", 200, b'{"a":1}'),
])
def test_http_answers(body, status, data):
    with serve(run(body, "body, headers"), "http") as s:
        answer = s.get()
        assert (answer.status, answer.data, answer.getheader("Content-Type")) == (status, data, "text/html;charset=utf-8"), s.log


@pytest.mark.parametrize("body, says", [("raise 'mine'", r"handler\.rb:3: RuntimeError: mine"), ("return 'x', {}, 42", "Handler#run returned the statusCode 42"), ("return 'x', 201", "returned headers that are Integer: run returns body, headers, status"),
                                        ("return 5, {}", "returned a body that is Integer")])
def test_http_that_fails(body, says):
    with serve(run(body, "body, headers"), "http") as s:
        assert (lambda a: (a.status, b"mine" in a.data))(s.get()) == (500, False)
        s.says("^fnd: .*" + says)


# ---- what is wrong, and what is decided without a word ----


@pytest.mark.parametrize("args, data", [("req", b"body\n"), ("body, headers", b"body")])
def test_a_class_without_a_contract(args, data):
    with Shim(START, "handler.Handler", {"handler.rb": run("req" if args == "req" else "body.read", args)}) as s:
        assert s.post("/", "body").data == data


@pytest.mark.parametrize("handler, contract, text, env, says", [
    ("handler.Handler", "openfaas-classic", run("1", "body, headers"), {}, r"Handler#run takes 2 arguments, and openfaas-classic calls run\(req\): \[env\] HANDLER_CONTRACT is to be openfaas-http \(lang: ruby-http\)"),
    ("handler.Handler", "openfaas-http", run("1"), {}, r"Handler#run takes 1 arguments, and openfaas-http calls run\(body, headers\): \[env\] HANDLER_CONTRACT is to be openfaas-classic"),
    ("handler.Handler", "openfaas-classic", run("1", "a, b, c"), {}, r"Handler#run takes 3 arguments, and openfaas-classic calls run\(req\)$"),
    ("handler.Handler", "openfaas-classic", run("1", "a, b, *c"), {}, r"Handler#run takes 2 or more arguments, and openfaas-classic calls run\(req\)$"),
    ("handler.Handler", "openfaas-classic", run("1"), {"HANDLER_THREADS": "2"}, "HANDLER_THREADS: openfaas-classic makes one call at a time"),
    ("handler.Handler", "openfaas-classic", "class Handler\nend\n", {}, r"handler\.rb: has no class Handler with a method run"), ("handler.Handler", "openfaas-classic", "Handler = 1\n", {}, "has no class Handler"),
    ("handler.Handler", "openfaas-http", "class Handler\n  def initialize\n    raise 'mine'\n  end\n  def run(a, b)\n  end\nend\n", {}, r"handler\.rb:3: RuntimeError: mine: Handler\.new failed"),
    ("handler.Handler", "spotinst", run("1"), {}, "HANDLER_CONTRACT = spotinst and handler = handler.Handler"), ("handler.main", "openfaas-http", "", {}, "HANDLER_CONTRACT = openfaas-http and handler = handler.main"),
    ("handler.main", "wsgi", "", {}, "HANDLER_CONTRACT = wsgi: not known: spotinst, openfaas-classic, openfaas-http"),
])
def test_functions_of_another_form(handler, contract, text, env, says):
    last = refused(START, handler, {"handler.rb": text}, {"HANDLER_CONTRACT": contract, **env})[-1]
    assert re.match("fnd: .*" + says, last), last


def test_classic_that_takes_what_it_gets():
    with serve(run("req.size", "*req")) as s:
        assert s.get().data == b"1\n"
