"""Functions of OpenFaaS' templates, called as the template's own index does. Facts: their documentation and their templates' behaviour.

openfaas-classic  handle(req), lang: python3, python3-debian, python27. There it is one process a call: what the function prints is the answer, then what it returns and a line end; the request is
                  also in the environment (Http_Method, Http_Query, Http_X_Name ...). Here the process stays, so calls are made one at a time, and what a module does at its top is done once.
openfaas-http     handle(event, context), lang: python3-http, python3-http-debian: event.body (bytes), headers, method, query, path; a dict of statusCode, body, headers, or what Flask takes.
openfaas-flask    handle(req), lang: python3-flask, python3-flask-debian: req is a text (bytes with RAW_BODY=true), and what is returned is what Flask takes: a text, (body, status, headers), a Response.

The last two are applications of Flask there, and functions rely on it (`from flask import request`), so they are here: in runtime flask.
"""
import ctypes
import io
import os
import sys

import fndhttp
import fndload
import fndmain
import fndwsgi

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
TRUE = ("true", "1")


def calls(handler):
    if handler.contract == "openfaas-classic":
        return Classic(handler)
    handler.call = application(handler)
    return fndwsgi.Calls(handler)


# ---- classic ----


def text_of(value):
    """A header's value, for the environment."""
    return value.encode("latin-1").decode("utf-8", "surrogateescape")


def variables(request, length):
    """What the classic watchdog tells of a request."""
    # No client names the proxy that a program is to use (https://httpoxy.org).
    found = {"Http_" + "_".join(w.capitalize() for w in name.split("-")): text_of(value) for name, value in reversed(request.headers) if name.lower() != "proxy" and "=" not in name and "\0" not in name + value}
    length = str(-1 if request.length < 0 else length)
    found.update(Http_Method=request.method, Http_ContentLength=length, Http_Content_Length=length, Http_Path=request.path or "/")
    if request.query:
        found["Http_Query"] = request.query
    return found


class Told:
    """Variables of one call, for the function and for programs that it starts. os.environ alone would be setenv(3), which keeps each value that there ever was, and clients choose these: putenv(3) takes a text that stays ours."""

    def __init__(self):
        self.libc = ctypes.CDLL(None)
        self.lines = {}  # of the environment, by their names

    def change(self, found):
        for name in self.lines:
            self.libc.unsetenv(name)
            os.environ._data.pop(name, None)  # pylint: disable=protected-access
        self.lines = {}
        for name, value in found.items():
            name, value = os.environ.encodekey(name), os.environ.encodevalue(value)
            line = self.lines[name] = name + b"=" + value
            self.libc.putenv(ctypes.c_char_p(line))
            os.environ._data[name] = value  # pylint: disable=protected-access


class Classic:
    reads_bodies = False
    Wrong = fndmain.Wrong
    threads = 1

    def __init__(self, handler):
        self.function = handler.call
        if fndload.number("HANDLER_THREADS", 1, 1, 256) > 1:
            fndload.fail("[env] HANDLER_THREADS: openfaas-classic makes one call at a time, because the environment and what is printed are the call's: leave it out; [scale] max says how many instances there may be")
        self.told = Told()
        self.open()

    def open(self):
        self.out = sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8", errors="surrogateescape", write_through=True)

    def call(self, conn):
        request, body = conn.request, bytes(conn.framing.body)
        self.told.change(variables(request, len(body)))
        if self.out.closed:
            self.open()
        sys.stdout = self.out
        answer = self.printed(body)
        kind = os.environ.get("content_type") or request.fields.get("content-type") or "text/plain; charset=utf-8"
        why = fndhttp.bad_header("Content-Type", kind)
        if why:
            raise self.Wrong(f"has a content_type that cannot be sent: {why}")
        conn.respond(200, [("Content-Type", kind)], answer)

    def printed(self, body):
        """Standard output is a file while the call runs, that of programs which it starts too; one for each call, so that who goes on writing later is in nobody else's answer. At other times it is the log."""
        fd = os.memfd_create("answer")
        try:
            os.dup2(fd, 1)
            good = False
            try:
                self.run(body)
                good = True
            finally:
                os.dup2(2, 1)
                answer = os.pread(fd, os.fstat(fd).st_size, 0)
                if not good:
                    fndload.log(answer.decode("utf-8", "replace"))
            return answer
        finally:
            os.close(fd)

    def run(self, body):
        try:
            result = self.function(body.decode("utf-8", "surrogateescape"))
        except SystemExit as e:  # the process of the call ended well, and what it printed was the answer
            if e.code not in (None, 0):
                raise
            return
        if result is not None:
            print(result, file=self.out)


# ---- what is an application of Flask ----


def flask(handler):
    try:
        import flask as module
    except ImportError:
        fndload.fail(f"{handler.file}: [env] HANDLER_CONTRACT = {handler.contract} needs Flask: runtime = flask in function.ini has it, or a line flask in requirements.txt")
    return module


class Event:
    def __init__(self, request):
        self.body, self.headers, self.method, self.query, self.path = request.get_data(), request.headers, request.method, request.args, request.path


class Context:
    def __init__(self):
        self.hostname = os.environ.get("HOSTNAME", "localhost")


def answer_of(result, jsonify):
    """(body, status, headers) of a dict as openfaas-http has it; all else is Flask's to take."""
    if result is None:
        return "", 200
    if not isinstance(result, dict):
        return result
    body, headers = result.get("body"), result.get("headers") or []
    if isinstance(body, (dict, list)):
        body = jsonify(body)
    elif not isinstance(body, (str, bytes)):
        body = "" if body is None else str(body)
    return body, result.get("statusCode", 200), headers


def application(handler):
    module, function = flask(handler), handler.call

    class Application(module.Flask):
        def make_response(self, rv):
            try:
                return super().make_response(rv)
            except TypeError:
                what = f"({', '.join(type(v).__name__ for v in rv)})" if isinstance(rv, tuple) else type(rv).__name__
                raise fndwsgi.Wrong(f"returned {what}: a text, bytes, a dict, a Response of Flask, or (body, status, headers) is meant") from None

    app = Application("function", static_folder=None, root_path=fndload.ROOT, instance_path=fndload.ROOT + "/instance")
    app.config["PROPAGATE_EXCEPTIONS"] = True  # an error is the server's, as of every handler
    as_text = os.environ.get("RAW_BODY", "").lower() not in TRUE

    def event_and_context(path):  # pylint: disable=unused-argument
        return answer_of(function(Event(module.request), Context()), module.jsonify)

    def text(path):  # pylint: disable=unused-argument
        return function(module.request.get_data(as_text=as_text))

    view = event_and_context if handler.contract == "openfaas-http" else text
    app.add_url_rule("/", "root", view, defaults={"path": ""}, methods=METHODS)
    app.add_url_rule("/<path:path>", "path", view, methods=METHODS)
    return app
