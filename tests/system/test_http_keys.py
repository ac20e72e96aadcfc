"""[http] of function.ini: hosts, paths, CORS, rates, and the largest body, as a client meets them."""

import base64
import http.client
import socket
import time

import fndtest
from fndtest import fnctl, get, request, wait_until

CGI = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n"
ENV = CGI + "\\r\\n'\nenv\n"
OWN_CORS = CGI + "Access-Control-Allow-Origin: https://function.example\\r\\nX-Own: 1\\r\\n\\r\\n'\necho own\n"
EAT = CGI + "\\r\\n'\nwc -c\n"
FILES = {"www/cgi-bin/env": ENV, "www/cgi-bin/own": OWN_CORS, "www/cgi-bin/eat": EAT, "www/ping": "ok"}


def deploy(tmp_path, name, keys, status=0):
    """A function of that name with [http] keys."""
    ini = f"[function]\nname = {name}\ncommand = /bin/httpd -f -p 3000 -h /www\n{keys}"
    return fnctl("deploy", fndtest.package(tmp_path / name, ini, FILES), status=status)


def env_of(answer):
    assert answer.status == 200, answer
    return dict(line.split("=", 1) for line in answer.text.splitlines() if "=" in line)


def test_hosts_and_paths(daemon, tmp_path):
    deploy(tmp_path, "shop", "[http]\nhosts = Shop.example.org *.shop.example\n")
    deploy(tmp_path, "part", "[http]\nhosts = shop.example.org\npaths = GET POST /cgi-bin/own\n")
    deploy(tmp_path, "loose", "[http]\npaths = GET /cgi-bin/env\n")
    for host in "shop.example.org", "SHOP.EXAMPLE.ORG:8888", "shop.example.org.", "a.shop.example":
        seen = env_of(get("/cgi-bin/env?x=%41", headers={"Host": host}))
        assert seen["HTTP_HOST"] == host and seen["QUERY_STRING"] == "x=%41" and "HTTP_X_FORWARDED_PREFIX" not in seen
    assert get("/cgi-bin/own", headers={"Host": "shop.example.org"}).text == "own\n"
    part = fndtest.instances("part")[0]["name"]
    fnctl("stop", "part")
    wait_until(lambda: get("/cgi-bin/own", headers={"Host": "shop.example.org"}).status == 503)
    assert get("/cgi-bin/env", headers={"Host": "shop.example.org"}).status == 200 and part
    assert env_of(get("/cgi-bin/env", headers={"Host": "nobody.example"}))["HTTP_HOST"] == "nobody.example"
    refused = request("POST", "/cgi-bin/env", body=b"x", headers={"Host": "nobody.example"})
    assert refused.status == 405 and refused.headers["Allow"] == "GET, HEAD"
    assert get("/cgi-bin/other", headers={"Host": "nobody.example"}).status == 404
    assert get("/cgi-bin/env/../../x", headers={"Host": "nobody.example"}).status == 400
    # Who has a host has all of it; elsewhere the gateway's own paths stay what they are.
    assert get("/healthz", headers={"Host": "shop.example.org"}).text != "ok"
    assert get("/healthz").text == "ok"
    # But for what credentials are sent to, and what certificates are given for.
    for path in "/admin/api/v1/functions", "/admin", "/.well-known/acme-challenge/x":
        answer = get(path, headers={"Host": "shop.example.org", "Authorization": "Bearer x"})
        assert answer.status in (401, 403, 404) and "<HTML>" not in answer.text.upper(), (path, answer)
    assert env_of(get("/fn/shop/cgi-bin/env"))["HTTP_X_FORWARDED_PREFIX"] == "/fn/shop"
    assert fndtest.function("part")["hosts"] == ["shop.example.org"] and fndtest.function("part")["paths"] == ["GET HEAD POST /cgi-bin/own"]
    assert "shop.example.org, *.shop.example" in fnctl("status", "shop").out


def test_claims_are_refused_before_anything_changes(daemon, tmp_path):
    deploy(tmp_path, "first", "[http]\nhosts = a.example\n")
    result = deploy(tmp_path, "second", "[http]\n\nhosts = b.example a.example\n", status=None)
    assert result.status != 0 and "a.example belongs to the function first" in result.err and "function.ini:6" in result.err, result
    assert fndtest.api("GET", "/functions/second").status == 404
    fnctl("rm", "first")
    assert get("/cgi-bin/env", headers={"Host": "a.example"}).status == 404
    deploy(tmp_path, "second", "[http]\nhosts = a.example\n")
    assert get("/cgi-bin/env", headers={"Host": "a.example"}).status == 200
    deploy(tmp_path, "second", "[http]\nhosts = c.example\n")  # a new version claims anew
    assert get("/cgi-bin/env", headers={"Host": "a.example"}).status == 404
    assert get("/cgi-bin/env", headers={"Host": "c.example"}).status == 200


def test_cors(daemon, tmp_path):
    deploy(tmp_path, "any", "[http]\ncors = *\n")
    deploy(tmp_path, "some", "[http]\ncors = https://a.example http://b.example:8080\ncors_methods = GET PUT\ncors_headers = X-Mine\ncors_credentials = yes\n")
    deploy(tmp_path, "none", "")
    asks = {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}
    answer = request("OPTIONS", "/fn/any/cgi-bin/env", headers=asks)
    assert answer.status == 204 and answer.headers["Access-Control-Allow-Origin"] == "*" and not answer.body
    assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type, Authorization" and "PATCH" in answer.headers["Access-Control-Allow-Methods"]
    answer = request("OPTIONS", "/fn/some/cgi-bin/env", headers=asks)
    assert answer.status == 204 and answer.headers["Access-Control-Allow-Origin"] == "https://a.example" and answer.headers["Vary"] == "Origin"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, PUT" and answer.headers["Access-Control-Allow-Headers"] == "X-Mine"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true" and answer.headers["Access-Control-Max-Age"] == "600"
    answer = get("/fn/some/cgi-bin/own", headers={**asks, "Access-Control-Request-Headers": "X-Mine"})  # no preflight
    assert answer.status == 200 and answer.text == "own\n"
    answer = request("OPTIONS", "/fn/some/cgi-bin/env", headers={**asks, "Origin": "https://evil.example"})
    assert answer.status == 403 and "Access-Control-Allow-Origin" not in answer.headers
    # The answers themselves, the gateway's too; what the function says of it is not doubled.
    answer = get("/fn/some/cgi-bin/own", headers={"Origin": "http://b.example:8080"})
    assert answer.headers.get_all("Access-Control-Allow-Origin") == ["http://b.example:8080"] and answer.headers["X-Own"] == "1" and answer.text == "own\n"
    answer = get("/fn/some/cgi-bin/own", headers={"Origin": "https://evil.example"})
    assert answer.status == 200 and "Access-Control-Allow-Origin" not in answer.headers and answer.headers["Vary"] == "Origin"
    fnctl("stop", "some")
    wait_until(lambda: get("/fn/some/").status == 503)
    assert get("/fn/some/", headers={"Origin": "https://a.example"}).headers["Access-Control-Allow-Origin"] == "https://a.example"
    # Without the key everything is the function's.
    assert get("/fn/none/cgi-bin/own").headers["Access-Control-Allow-Origin"] == "https://function.example"
    assert request("OPTIONS", "/fn/none/cgi-bin/env", headers=asks).status != 204


def metric(name):
    text = get("/metrics", port=8889).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def test_rates(daemon, tmp_path):
    deploy(tmp_path, "all", "[http]\nrate = 60/m burst 5\n")
    deploy(tmp_path, "each", "[http]\nrate_client = 1/h burst 3\n")
    begin = time.monotonic()
    answers = [get("/fn/all/ping") for _ in range(20)]
    passed = sum(a.status == 200 for a in answers)
    assert 5 <= passed <= 5 + (time.monotonic() - begin) + 1, [a.status for a in answers]
    refused = [a for a in answers if a.status != 200]
    assert {a.status for a in refused} == {429} and all(a.headers["Retry-After"] == "1" for a in refused)
    wait_until(lambda: get("/fn/all/ping").status == 200, what="the bucket to be filled again")

    def each(source):
        connection = http.client.HTTPConnection("127.0.0.1", 8888, timeout=30, source_address=(source, 0))
        connection.request("GET", "/fn/each/ping")
        answer = connection.getresponse()
        connection.close()
        return answer.status, answer.headers["Retry-After"]

    assert [each("127.0.0.2")[0] for _ in range(5)] == [200, 200, 200, 429, 429]
    assert each("127.0.0.3")[0] == 200
    assert 3590 <= int(each("127.0.0.2")[1]) <= 3600
    assert metric('fnd_gateway_refused_total{reason="rate"}') >= len(refused) + 3


def test_rate_of_the_client_behind_a_proxy(make_daemon, tmp_path):
    """... is its own, not the proxy's; and nobody has another one for the asking."""
    d = make_daemon(settings={"gateway.trusted_proxies": "127.0.0.1/32"}).start()
    deploy(tmp_path, "each", "[http]\nrate_client = 1/h burst 1\n")

    def ask(client):
        return get("/fn/each/ping", headers={"X-Forwarded-For": client}).status

    assert [ask("192.0.2.1"), ask("192.0.2.1"), ask("192.0.2.2"), ask("192.0.2.1, 192.0.2.2"), ask("192.0.2.3")] == [200, 429, 200, 429, 200]
    assert d.pid


def test_largest_body(daemon, tmp_path):
    deploy(tmp_path, "small", "[limits]\nbody = 1K\n")
    assert request("POST", "/fn/small/cgi-bin/eat", body=b"x" * 1024).text.strip() == "1024"
    assert request("POST", "/fn/small/cgi-bin/eat", body=b"x" * 1025).status == 413
    with socket.create_connection(("127.0.0.1", 8888), timeout=30) as s, s.makefile("rb") as answer:  # in one piece: busybox' httpd answers what has no length as soon as it has the head
        s.sendall(b"POST /fn/small/cgi-bin/eat HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + 3 * (b"258\r\n" + b"x" * 600 + b"\r\n") + b"0\r\n\r\n")
        assert answer.readline().startswith(b"HTTP/1.1 413 ")


def token(name, **what):
    answer = fndtest.api("POST", "/tokens", {"name": name, **what})
    assert answer.status == 201, answer
    return answer.json()["token"]


def test_private(daemon, tmp_path):
    deploy(tmp_path, "secret", "access = private\n[http]\nhosts = secret.example\nrate = 1/h burst 6\ncors = https://a.example\n")
    deploy(tmp_path, "open", "")
    one, other, every = token("one", scope="function", function="secret"), token("other", scope="function", function="open"), token("every", scope="invoke")

    def ask(credential, path="/fn/secret/cgi-bin/env", **more):
        return get(path, headers={**({"Authorization": credential} if credential else {}), **more})

    for wrong in None, "", "Bearer", "Bearer " + other, "Bearer " + one[:-1], "Bearer " + one + "x", "Basic " + one, "Token " + one:
        answer = ask(wrong)
        assert answer.status == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer"), (wrong, answer)
    assert ask(None, "/cgi-bin/env", Host="secret.example").status == 401
    seen = env_of(ask("Bearer " + one))  # none of those above has used up the rate
    assert "HTTP_AUTHORIZATION" not in seen and one not in str(seen)
    assert ask("bearer " + every).status == 200
    assert ask("Bearer " + one, "/cgi-bin/env", Host="secret.example").status == 200
    assert ask("Basic " + base64.b64encode(b"x:" + one.encode()).decode()).status == 200
    # A page of an origin that may use it can ask before it has the token, and read that it needs one.
    origin = {"Origin": "https://a.example"}
    assert request("OPTIONS", "/fn/secret/", headers={**origin, "Access-Control-Request-Method": "GET"}).status == 204
    assert get("/fn/secret/", headers=origin).headers["Access-Control-Allow-Origin"] == "https://a.example"
    # Who may use the API's socket needs none; a function that is public sees what is sent to it.
    assert request("GET", "/fn/secret/cgi-bin/env", unix=fndtest.API_SOCKET).status == 200
    assert get("/fn/open/cgi-bin/env", headers={"Authorization": "Bearer mine"}).status == 200
    assert fndtest.function("secret")["access"] == "private"
    assert fndtest.api("DELETE", "/tokens/one").status in (200, 204)
    wait_until(lambda: ask("Bearer " + one).status == 401, what="the token to be gone")


def test_printed_urls(make_daemon):
    """What is printed is what somebody outside can open."""
    d = make_daemon(settings={"gateway.public_url": "https://functions.example.org"})
    d.start()
    url = "https://functions.example.org/fn/hello/"
    assert url in fnctl("deploy", "hello").out
    assert url in fnctl("status", "hello").out and url in fnctl("ls").out and fndtest.function("hello")["url"] == url
