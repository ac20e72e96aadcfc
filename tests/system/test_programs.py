"""Real programs run under the filter: interpreters, what compilers make, servers and databases, each as a function and doing what it is known for.

What breaks here is mended in runner/sandbox/syscalls.c, with the reason, or is a program that nobody may expect to work. The programs are those of the Debian packages named in DEPS_CHECK; sources of the
functions are in programs/.
"""

import json
import os
import re
import subprocess

import pytest
import rootcopy

import fndtest
from fndtest import fnctl, get

INI = "[function]\nname = {name}\ncommand = {command}\n[limits]\nmemory = {memory}\npids = 256\ncpu = 2\ntmp = 192M\ntimeout = 60s\n[health]\npath = {health}\n[sandbox]\nallow = {allow}\n"


def deploy(root, name, command, memory="512M", health="/", allow=""):
    root.write("/function.ini", INI.format(name=name, command=command, memory=memory, health=health, allow=allow))
    fnctl("deploy", root.top, seconds=100)


def check(path, want=None):
    """Every check that the function knows must hold."""
    answer = get(path, seconds=60)
    assert answer.status == 200, (answer.status, answer.text)
    result = json.loads(answer.text)
    assert len(result) >= 4, result
    if want:
        assert result == want
    else:
        assert all(v is True for v in result.values()), result


@pytest.fixture
def root(tmp_path):
    return rootcopy.Root(tmp_path / "root")


def test_python(daemon, root):
    root.add("/usr/bin/python3")
    root.add_installed("python3.*-minimal", "libpython3.*-minimal", "libpython3.*-stdlib")
    root.source("server.py", "/app/server.py")
    deploy(root, "python", "/usr/bin/python3 -B /app/server.py", memory="1G")
    check("/fn/python/check")


def test_node(daemon, root):
    root.add("/usr/bin/node")
    # Debian's node reads parts of its library from files.
    root.add_installed("node-acorn", "node-cjs-module-lexer", "node-undici", "node-busboy", "node-xtend")
    root.source("server.js", "/app/server.js")
    deploy(root, "node", "/usr/bin/node /app/server.js", memory="1G")
    check("/fn/node/check")
    # The one thing that a runtime needs netlink for, and the word for it.
    assert get("/fn/node/interfaces").json() == {"interfaces": False}
    deploy(root, "node", "/usr/bin/node /app/server.js", memory="1G", allow="netlink-route")
    assert get("/fn/node/interfaces").json() == {"interfaces": True}


@pytest.mark.limit(240)
def test_go(daemon, root, tmp_path):
    # Debian has no compiled library for Go: making it takes most of a minute, once.
    env = {**os.environ, "GOCACHE": fndtest.BUILD + "/tests/go-cache", "HOME": str(tmp_path), "GOFLAGS": "-trimpath", "GOTOOLCHAIN": "local", "GO111MODULE": "off"}
    os.makedirs(root.top + "/app")
    subprocess.run(["/usr/bin/go", "build", "-o", root.top + "/app/server", f"{fndtest.REPO}/tests/system/programs/server.go"], env=env, check=True)
    for library in rootcopy.libraries(root.top + "/app/server"):
        root.add(library)
    deploy(root, "go", "/app/server")
    check("/fn/go/check")


def test_rust(daemon, root):
    os.makedirs(root.top + "/app")
    subprocess.run(["/usr/bin/rustc", "--edition", "2021", "-o", root.top + "/app/server", f"{fndtest.REPO}/tests/system/programs/server.rs"], check=True)
    for library in rootcopy.libraries(root.top + "/app/server"):
        root.add(library)
    deploy(root, "rust", "/app/server")
    check("/fn/rust/check")


def test_java(daemon, root):
    java = os.path.realpath("/usr/bin/java")
    package = subprocess.run(["dpkg", "-S", java], stdout=subprocess.PIPE, text=True, check=True).stdout.split(":")[0]
    root.add_package(package)
    root.source("Server.java", "/app/Server.java")
    deploy(root, "java", f"{java} -Xmx256m /app/Server.java", memory="1G")
    check("/fn/java/check")


def test_nginx(daemon, root):
    root.add("/usr/sbin/nginx")
    root.source("nginx.conf", "/app/nginx.conf", 0o644)
    root.write("/www/index.html", "index\n")
    root.write("/www/large", "0123456789abcdef" * 65536)
    os.makedirs(root.top + "/var/lib/nginx", exist_ok=True)
    os.makedirs(root.top + "/var/log/nginx", exist_ok=True)
    deploy(root, "nginx", "/usr/sbin/nginx -e /dev/stderr -c /app/nginx.conf")
    assert get("/fn/nginx/").text == "index\n"
    for path in ("large", "threads"):
        answer = get("/fn/nginx/" + path)
        assert answer.status == 200 and len(answer.body) == 1 << 20, (path, answer.status, len(answer.body))
    assert get("/fn/nginx/proxy/").text == "inner\n"


def test_redis(daemon, root):
    # The server is the same program under another name; the package redis-server would start one on this machine.
    root.add(os.path.realpath("/usr/bin/redis-check-rdb"), at="/usr/bin/redis-server")
    root.add("/usr/bin/redis-cli")
    root.source("redis.sh", "/app/start")
    root.source("redis-check.sh", "/www/cgi-bin/check")
    root.write("/www/index.html", "index\n")
    deploy(root, "redis", "/app/start")
    check("/fn/redis/cgi-bin/check", {"set": "OK", "get": "1", "incr": "2", "script": "3", "save": "OK", "bgsave": "ok", "rewrite": "ok"})


def test_postgres(daemon, root):
    top = rootcopy.newest("/usr/lib/postgresql/*/bin").rpartition("/")[0]
    version = top.rpartition("/")[2]
    for name in ("initdb", "postgres", "psql"):
        root.add(f"{top}/bin/{name}")
    root.add_package(f"postgresql-{version}", skip=r"/usr/share/(doc|man|lintian|locale)/|.*/bitcode/|.*llvmjit")
    root.add_package("tzdata", skip=r"/usr/share/(doc|lintian)/|/usr/share/zoneinfo/(right|posix)/")
    root.source("postgres.sh", "/app/start")
    root.source("postgres-check.sh", "/www/cgi-bin/check")
    root.write("/www/index.html", "index\n")
    deploy(root, "postgres", "/app/start")
    want = {"sum": "200010000", "index": "777", "parallel": "20000", "vacuum": "", "checkpoint": "", "function": "42"}
    check("/fn/postgres/cgi-bin/check", want)


def test_plan_says_how_many(daemon):
    """Fewer system calls than the default profile of Docker allows (306 of 385)."""
    fnctl("deploy", "hello")
    found = re.search(r"^system calls: (\d+) of (\d+), and 3 more for fn-init alone$", fnctl("plan", "hello").out, re.M)
    assert found and int(found[1]) <= 230 and int(found[2]) > 290, found
