"""Functions that are called with an event and return the answer.

spotinst   main(event, context): event.query (a dict), event.body (a text); a dict with statusCode, body, headers. Also taken: a text, bytes, parts.
faaspot    main(args, context): args from the query and a JSON or form body; the answer is what the function returns, as JSON. bytes and parts are sent as they are.

Parts: a generator or another iterator of texts or bytes is sent as it goes.
"""
import os

import fndhttp
import fndload

SECRETS = "/run/secrets"


class Wrong(Exception):
    """What is wrong with what a function returned."""


def parse_context(path):
    """KEY = "VALUE" lines; quotes may be left out, \\" \\\\ \\n \\t mean what they do elsewhere, # begins a comment line."""
    found = {}
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            key, equals, value = (w.strip() for w in line.partition("="))
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            if not equals or not key.replace(".", "_").replace("-", "_").isidentifier() or (value[:1] in ("\"", "'") and not quoted):
                fndload.fail(f"{path}:{number}: not a line of the form KEY = \"VALUE\"")
            if quoted and value[0] == '"':
                pieces = value[1:-1].split("\\\\")
                value = "\\".join(p.replace('\\"', '"').replace("\\n", "\n").replace("\\t", "\t") for p in pieces)
            elif quoted:
                value = value[1:-1]
            found[key] = value
    return found


def read_context(root, secrets=SECRETS):
    """The package's `context` file, and over it the function's secrets."""
    found = {}
    if os.path.isfile(root + "/context"):
        found = parse_context(root + "/context")
    if os.path.isdir(secrets):
        for name in sorted(os.listdir(secrets)):
            if os.path.isfile(f"{secrets}/{name}"):
                with open(f"{secrets}/{name}", encoding="utf-8", errors="surrogateescape") as f:
                    found[name] = f.read().rstrip("\n")
    return found


class Event(dict):
    """event["body"] and event.body are the same."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"an event has no {name}: it has {', '.join(self)}") from None


class Context(dict):
    """What Spotinst's context offers, and the entries of the context file and the secrets."""

    __getattr__ = Event.__getattr__

    def get_doc(self, key, *_):
        raise NotImplementedError(f"context.get_doc({key!r}): there is no document store here: put the value into [env] or a secret (fnctl secret), or keep it in a [volumes] directory")

    getDoc = get_doc


def query_of(request):
    if not request.query:
        return {}
    from urllib.parse import parse_qsl

    return dict(parse_qsl(request.query, keep_blank_values=True))


def event_of(request, body):
    return Event(method=request.method, path=request.path, query=query_of(request), headers=dict(request.fields),
                 body=body.decode("utf-8", "surrogateescape"), raw_body=body)


def args_of(request, body):
    args = query_of(request)
    kind = request.fields.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded" and not body.lstrip()[:1] == b"{":
        from urllib.parse import parse_qsl

        args.update(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    elif body.strip():
        import json

        try:
            more = json.loads(body)
        except (ValueError, RecursionError) as e:
            raise fndhttp.Bad(400, f"the body is not JSON: {e}; send a JSON object or a form, or write main(event, context), which takes any body") from None
        if not isinstance(more, dict):
            raise fndhttp.Bad(400, "the body is JSON, but no object: the arguments of one call are {\"name\": value, ...}")
        args.update(more)
    return args


def to_json(value, what):
    import json

    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError) as e:
        raise Wrong(f"returned {what} which JSON cannot hold ({e}): return dict, list, str, numbers, bool and None only") from None


def is_parts(value):
    return hasattr(value, "__next__")


def encode_parts(parts):
    for part in parts:
        if isinstance(part, str):
            part = part.encode("utf-8", "surrogateescape")
        elif not isinstance(part, (bytes, bytearray, memoryview)):
            raise Wrong(f"made a part that is {type(part).__name__}: parts are bytes or str")
        yield bytes(part)


class Calls:
    reads_bodies = False
    Wrong = Wrong

    def __init__(self, handler):
        self.handler, self.function = handler, handler.call
        self.threads = fndload.number("HANDLER_THREADS", 1, 1, 256)
        self.context = read_context(fndload.ROOT)
        self.faaspot = handler.contract == "faaspot"
        self.loops = []

    def call(self, conn):
        request, body = conn.request, bytes(conn.framing.body)
        if self.faaspot:
            event, context = args_of(request, body), dict(self.context)
        else:
            event, context = event_of(request, body), Context(self.context)
        result = self.function(event, context) if self.handler.params == 2 else self.function(event)
        if hasattr(result, "__await__"):
            result = self.wait_for(result)
        if is_parts(result):
            self.send_parts(conn, 200, [("Content-Type", "application/octet-stream")], result)
        elif isinstance(result, (bytes, bytearray)):
            conn.respond(200, [("Content-Type", "application/octet-stream")], bytes(result))
        elif self.faaspot:
            conn.respond(200, [("Content-Type", "application/json")], to_json(result, f"{type(result).__name__},"))
        elif isinstance(result, str):
            conn.respond(200, [("Content-Type", "text/plain; charset=utf-8")], result.encode("utf-8", "surrogateescape"))
        else:
            self.respond(conn, result)

    def wait_for(self, awaitable):
        """async functions: a loop for each that runs at a time, kept, whichever thread has it: what a function opens belongs to its loop."""
        import asyncio

        try:
            loop = self.loops.pop()
        except IndexError:
            loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(awaitable)
        finally:
            self.loops.append(loop)

    def respond(self, conn, result):
        """The dict of Spotinst's contract."""
        if not isinstance(result, dict) or "statusCode" not in result:
            got = "a dict without statusCode" if isinstance(result, dict) else type(result).__name__
            raise Wrong(f"returned {got}: return {{\"statusCode\": 200, \"body\": ..., \"headers\": {{...}}}}, or a text")
        status, body, headers = result["statusCode"], result.get("body"), result.get("headers") or {}
        if isinstance(status, str) and status.isascii() and status.isdigit() and len(status) == 3:
            status = int(status)
        if not isinstance(status, int) or not 200 <= status <= 599:
            raise Wrong(f"returned the statusCode {status!r}: a number from 200 to 599 is meant")
        kind = "application/octet-stream" if isinstance(body, (bytes, bytearray)) else "text/plain; charset=utf-8"
        if isinstance(body, (dict, list)):
            body, kind = to_json(body, "a body"), "application/json"
        sent = self.headers(headers, kind)
        if body is None:
            body = b""
        elif isinstance(body, str):
            body = body.encode("utf-8", "surrogateescape")
        if is_parts(body):
            self.send_parts(conn, status, sent, body)
        elif isinstance(body, (bytes, bytearray)):
            conn.respond(status, sent, bytes(body))
        else:
            raise Wrong(f"returned a body that is {type(body).__name__}: str, bytes, dict, list or parts (a generator) are meant")

    def headers(self, headers, kind):
        if not isinstance(headers, dict):
            raise Wrong(f"returned headers that are {type(headers).__name__}: a dict is meant")
        sent = []
        for name, value in headers.items():
            for one in value if isinstance(value, (list, tuple)) else (value,):
                one = str(one) if isinstance(one, (int, float)) else one
                why = fndhttp.bad_header(name, one)
                if why:
                    raise Wrong(f"returned a header that cannot be sent: {why}")
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    sent.append((name, one))
        if not any(name.lower() == "content-type" for name, _ in sent):
            sent.insert(0, ("Content-Type", kind))
        return sent

    def send_parts(self, conn, status, headers, parts):
        try:
            conn.stream(status, headers, encode_parts(parts))
        finally:
            if hasattr(parts, "close"):
                parts.close()
