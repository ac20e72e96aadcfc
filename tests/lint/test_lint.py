"""One violation of each rule of lint.py, planted in a copy of the tree, is named with its file, its line and its rule; the reasons that lift a rule do; what only looks like a violation is none."""

import os
import re
import shutil

import pytest

import lint

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

# rule, file, text: the line with the violation ends with `//!` in here (it is planted without that).
PLANTS = [
    ("wall-netns", "netns/planted.c", '#include "spec.h" //!'),
    ("wall-netns", "netns/planted.c", '#include "cgroup.h" //!'),
    ("wall-netns", "netns/planted.h", '#include "../runner/gateway/gateway.h" //!'),
    ("wall-cgroups", "cgroups/planted.c", '#include "store.h" //!'),
    ("wall-cgroups", "cgroups/planted.c", '#include "netns.h" //!'),
    ("wall-sandbox", "runner/sandbox/planted.c", '#include "../gateway/http/http.h" //!'),
    ("wall-gateway", "runner/gateway/planted.c", '#include "sandbox.h" //!'),
    ("wall-gateway", "runner/gateway/http/planted.c", '#include "netns.h" //!'),
    ("wall-gateway", "runner/gateway/api/planted.h", '#include "cgroup.h" //!'),
    ("wall-private", "runner/instance/planted.c", '#include "../store/store_internal.h" //!'),
    ("wall-archive-read", "runner/store/planted.c", "void f(void)\n{\n    archive_read_new(); //!\n}"),
    ("wall-archive-write", "runner/unpack/planted.c", "void f(void)\n{\n    archive_write_new(); //!\n}"),
    ("library", "runner/instance/planted.c", "#include <netlink/netlink.h> //!"),
    ("library", "runner/planted.c", "#include <nftables/libnftables.h> //!"),
    ("library", "runner/gateway/planted.c", "#include <curl/curl.h> //!"),
    ("library", "runner/gateway/http/planted.c", "#include <jansson.h> //!"),
    ("library", "runner/init/planted.c", "#include <seccomp.h> //!"),
    ("library", "runner/store/planted.c", "#include <ini.h> //!"),
    *(("call", "runner/base/planted.c", f"void f(char *p)\n{{\n    {name}(p); //!\n}}") for name in "strcpy strcat sprintf vsprintf gets atoi atol system popen strtok alloca signal".split()),
    ("call", "tests/unit/test_planted.c", "void f(char *p)\n{\n    strcpy (p, p); //!\n}"),
    *(("cloexec", "runner/base/planted.c", f"void f(void)\n{{\n    int fd = {call}; //!\n}}") for call in [
        'open("/", O_RDONLY)', 'openat(d, "x", O_RDONLY | O_NOFOLLOW)', "socket(AF_UNIX, SOCK_STREAM, 0)", "socketpair(AF_UNIX, SOCK_STREAM, 0, p)", "accept4(s, NULL, NULL, SOCK_NONBLOCK)", "accept(s, NULL, NULL)",
        "pipe2(p, O_NONBLOCK)", "pipe(p)", "epoll_create1(0)", "eventfd(0, EFD_NONBLOCK)", "signalfd(-1, &m, 0)", "timerfd_create(CLOCK_MONOTONIC, 0)", 'memfd_create("CLOEXEC", 0)', "dup(0)", "dup2(a, b)",
        "dup3(a, b, 0)", 'fopen("/etc/hosts", "r")',
    ]),
    ("cloexec", "runner/base/planted.c", 'int g(void)\n{\n    int flags = O_CLOEXEC;\n}\n\nvoid f(int flags)\n{\n    int fd = open("/", flags); //!\n}'),
    ("cloexec", "runner/base/planted.c", 'void f(void)\n{\n    int fd = openat(dir, name(a, b), //!\n                    O_RDONLY);\n}'),
    ("file-size", "runner/base/planted.c", "\n" * (lint.FILE_LINES - 3) + "//!\n\n"),
    ("function-size", "runner/base/planted.c", "void f(void)\n{ //!\n" + "    ;\n" * lint.FUNCTION_LINES + "}"),
    ("typedef", "runner/base/planted.h", "typedef struct planted planted; //!"),
    ("typedef", "include/planted.h", "typedef enum { A } planted; //!"),
    *(("mutable", "runner/base/planted.c", text + " //!") for text in [
        "int count;", "static int count = 1;", "static const char *name;", "static const char *names[] = {NULL};", "static struct thing things[3];", "struct { int a; } anonymous;", "static int (*handler)(int);",
        "static _Thread_local int mine;", "volatile sig_atomic_t stop;", "static char *const *p;",
    ]),
    ("mutable", "runner/base/planted.c", "int f(void)\n{\n    static int calls; //!\n\n    return ++calls;\n}"),
    ("mutable", "runner/base/planted.h", "static int count; //!"),
    ("unfinished", "runner/base/planted.c", "/* TO" "DO: later */ //!"),
    ("stem", "runner/store/clock.c", "//!"),
    ("symbol", "runner/store/planted.c", "int diag_set(int a,\n             int b)\n{ //!\n    return a + b;\n}"),
]

CLEAN = [
    ("runner/base/planted.c", '#define X "strcpy(a)"\n/* calls system(3) never */\nvoid f(struct o *o)\n{\n    o->system(1);\n    my_signal(2);\n    signal(SIGPIPE, SIG_IGN);\n}'),
    ("runner/base/planted.c", 'void f(void)\n{\n    int fd = open("/", O_RDONLY | O_CLOEXEC), e = epoll_create1(EPOLL_CLOEXEC);\n    FILE *x = fopen("x", "re");\n    dup2(fd, STDOUT_FILENO);\n}'),
    ("runner/base/planted.c", 'void f(void)\n{\n    const int flags = O_RDONLY | O_CLOEXEC;\n    int fd = open("/", flags);\n}'),
    ("runner/base/planted.c", "void f(void)\n{\n    int fd = dup(0); /* no CLOEXEC: the child's standard input */\n\n    /* no CLOEXEC: the same */\n    fd = dup(0);\n}"),
    ("runner/base/planted.c", "static int level; /* mutable: set once at start */\n"),
    ("runner/base/planted.c", "static const int a = 1;\nstatic const char *const names[] = {\"a\", NULL};\nstatic int (*const fn)(int) = 0;\nextern int other;\nstruct x { int a; };\nenum y { A, B };\nstruct x;\nint f(int a);\n"
     "static const struct { int a; } t[] = {{1}};\nstatic_assert(sizeof(int) == 4, \"\");\nint g(void) __attribute__((pure));\n\nint f(int a)\n{\n    static const int b = 1;\n    struct x y = {a};\n\n    return b + y.a;\n}"),
    ("runner/base/planted.c", "void f(void)\n{\n" + "    ;\n" * (lint.FUNCTION_LINES - 2) + "}"),
    ("runner/gateway/http/planted.c", '#include "../gateway.h"\n#include "http.h"\n#include "record.h"\n#include <netinet/in.h>'),
    ("netns/planted.c", '#include "netns.h"\n#include "diag.h"\n#include <netlink/netlink.h>'),
    ("runner/store/planted.c", "static int diag_set(int a)\n{\n    return a;\n}"),
    ("runner/base/planted.h", "typedef int planted_fn(int);\nplanted_fn one, two;"),
]


@pytest.fixture(scope="session")
def copy(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for top in lint.EVERYTHING:
        if os.path.isdir(os.path.join(REPO, top)):
            shutil.copytree(os.path.join(REPO, top), root / top, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def messages_with(copy, path, text):
    """What lint says of that file in a copy of the tree."""
    target = copy / path
    assert not target.exists()
    os.makedirs(target.parent, exist_ok=True)
    target.write_text("/* planted */\n" + text + "\n")
    try:
        return lint.lint(copy, only=path)
    finally:
        target.unlink()


@pytest.mark.parametrize("rule, path, text", PLANTS, ids=[f"{i}-{p[0]}" for i, p in enumerate(PLANTS)])
def test_violation_is_named(copy, rule, path, text):
    lines = ("/* planted */\n" + text).split("\n")
    marked = next(i for i, line in enumerate(lines, 1) if line.endswith("//!"))
    found = messages_with(copy, path, text.replace(" //!", "").replace("//!", ""))
    # A wall between two rooms is also a wall around the private headers of each.
    found = [m for m in found if rule == "wall-private" or ": wall-private: " not in m]
    assert len(found) == 1, found
    match = re.fullmatch(r"(\S+):(\d+): (\S+): .+", found[0])
    assert (match[1], match[3]) == (path, rule), found
    assert int(match[2]) == marked or rule in ("file-size", "stem"), found


@pytest.mark.parametrize("path, text", CLEAN, ids=[str(i) for i in range(len(CLEAN))])
def test_no_false_alarm(copy, path, text):
    assert messages_with(copy, path, text) == []


def test_every_rule_has_its_plant():
    assert {r.name for r in lint.RULES} == {p[0] for p in PLANTS}


def test_exit_status(copy, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lint.py", str(copy)])
    clean = lint.main()
    assert clean == (1 if capsys.readouterr().out else 0)
    (copy / "runner/base/planted.c").write_text("/* planted */\nint count;\n")
    try:
        assert lint.main() == 1
        assert "runner/base/planted.c:2: mutable: count" in capsys.readouterr().out
    finally:
        (copy / "runner/base/planted.c").unlink()
