#!/usr/bin/python3
"""lint.py [ROOT]: the rules of this repository that no other tool knows: walls between rooms, forbidden calls, descriptors without CLOEXEC, sizes, mutable variables.

RULES below is the whole list. A message is `FILE:LINE: RULE: text`; the exit status is 1 if there was one. Where a rule has a `reason` word, a comment on the line or on the line before lifts it there:

    int fd = dup(0); /* no CLOEXEC: the child's standard input */
    static int level; /* mutable: the log level, set once at start */
    strcpy(a, b); /* lint: the reason */
"""

import os
import re
import sys

PROGRAMS = ("runner/", "netns/", "cgroups/", "include/")
PRODUCT = PROGRAMS + ("rootfs/",)
EVERYTHING = PRODUCT + ("tests/",)
# What netns/ and cgroups/ may take from runner/: the part of it that knows nothing of functions.
BASE = {"clock.h", "diag.h", "fd.h", "log.h", "loop.h", "names.h", "str.h", "tree.h"}
LOG_LEVEL = ("runner/base/log.c", "log_level")
FILE_LINES = 600
FUNCTION_LINES = 100


class Source:
    """One file: its lines as they are; the same without comments; the same without comments and strings."""

    def __init__(self, root, path):
        self.path = path
        with open(os.path.join(root, path), encoding="utf-8") as f:
            text = f.read()
        self.lines = text.split("\n")
        self.commentless = blank(text, strings=False).split("\n")
        self.code_text = blank(text, strings=True)
        self.code = self.code_text.split("\n")

    def line_of(self, offset):
        return self.code_text.count("\n", 0, offset) + 1

    def excused(self, line, reason):
        """Is there a comment with the rule's reason on this line or on the one before?"""
        pattern = re.compile(r"/\* " + re.escape(reason) + r": \S.*\*/")
        return any(pattern.search(self.lines[i]) for i in (line - 1, line - 2) if i >= 0)

    def includes(self):
        """(line, name, quoted) of each #include."""
        for number, line in enumerate(self.commentless, 1):
            match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if match:
                yield number, match[2], match[1] == '"'

    def functions(self):
        """(line, name, length) of each function: its brace stands alone in the first column."""
        start = None
        for number, line in enumerate(self.code, 1):
            if line == "{":
                start = number
            elif line.startswith("}") and start:
                yield start, function_name(self.code, start)[0], number - start + 1
                start = None

    def exported(self):
        """(line, name) of each function that other files can see."""
        for number, line in enumerate(self.code, 1):
            if line == "{":
                name, head = function_name(self.code, number)
                if not re.match(r"\s*(static|inline)\b", head):
                    yield number, name


def function_name(code, brace):
    """The name before a function's brace, and all of its head."""
    head = ""
    for line in reversed(code[: brace - 1]):
        if not line.strip() or line.startswith(("}", "#", "{")):
            break
        head = line + " " + head
        if not line[0].isspace():
            break
    match = re.search(r"(\w+)\s*\(", head)
    return match[1] if match else "?", head


TOKEN = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)


def blank(text, strings):
    """Replaces comments (and the insides of strings) by blanks; every character stays where it is."""

    def replace(match):
        token = match[0]
        if token[0] == "/":
            return re.sub(r"[^\n]", " ", token)
        return token[0] + " " * (len(token) - 2) + token[-1] if strings else token

    return TOKEN.sub(replace, text)


def arguments(code, start):
    """The text between the parenthesis at `start` and its partner, and the offset behind it."""
    depth = 0
    for i in range(start, len(code)):
        if code[i] == "(":
            depth += 1
        elif code[i] == ")":
            depth -= 1
            if depth == 0:
                return code[start + 1 : i], i
    return code[start + 1 :], len(code)


class Rule:
    """A name, where it holds, where it does not, and the word of a comment that lifts it."""

    reason = None

    def __init__(self, name, where, text, but=()):
        self.name, self.where, self.text, self.but = name, where, text, but

    def applies(self, path):
        return path.startswith(self.where) and not (self.but and path.startswith(self.but))

    def run(self, source, tree):
        for line, what in self.find(source, tree):
            if not (self.reason and source.excused(line, self.reason)):
                yield f"{source.path}:{line}: {self.name}: {self.text.format(what)}"


class Includes(Rule):
    """No file of `where` includes what `forbidden(resolved path)` says."""

    def __init__(self, name, where, forbidden, text, but=()):
        super().__init__(name, where, text, but)
        self.forbidden = forbidden

    def find(self, source, tree):
        for line, name, quoted in source.includes():
            path = tree.resolve(source.path, name) if quoted else "<" + name + ">"
            if self.forbidden(path):
                yield line, name


def room(path):
    """netns/, cgroups/, runner/NAME/; runner/ itself for what lies directly in it."""
    parts = path.split("/")
    return "/".join(parts[:2] if parts[0] in ("runner", "rootfs") and len(parts) > 2 else parts[:1]) + "/"


class PrivateHeaders(Rule):
    """A header outside include/ belongs to its room; rootfs/hello/http_server.h is what samples in C share."""

    def find(self, source, tree):
        for line, name, quoted in source.includes():
            path = tree.resolve(source.path, name) if quoted else None
            shared = path == "rootfs/hello/http_server.h" and source.path.startswith("rootfs/")
            if path and path.startswith(PRODUCT) and not path.startswith("include/") and not source.path.startswith(room(path)) and not shared:
                yield line, path


class Words(Rule):
    """No match of a pattern in the code."""

    reason = "lint"

    def __init__(self, name, where, pattern, text, but=()):
        super().__init__(name, where, text, but)
        self.pattern = re.compile(pattern)

    def find(self, source, tree):
        for line, code in enumerate(source.code, 1):
            for match in self.pattern.finditer(code):
                yield line, match[1]


class Comments(Words):
    """No match of a pattern anywhere, comments included."""

    reason = None

    def find(self, source, tree):
        for line, text in enumerate(source.lines, 1):
            for match in self.pattern.finditer(text):
                yield line, match[1]


class Cloexec(Rule):
    """Calls that make a descriptor name a CLOEXEC flag; those that have no such flag are not called, but for a dup2 to 0, 1 or 2, which is made to be inherited."""

    reason = "no CLOEXEC"
    FLAGGED = "open openat socket socketpair accept4 pipe2 epoll_create1 eventfd signalfd timerfd_create memfd_create dup3 inotify_init1 fanotify_init open_tree fsopen fsmount fspick".split()
    FLAGLESS = "accept pipe epoll_create dup dup2 inotify_init creat".split()
    CALL = re.compile(r"(?<![\w.>])(" + "|".join(FLAGGED + FLAGLESS + ["fopen"]) + r")\s*\(")

    def find(self, source, tree):
        raw = "\n".join(source.commentless)
        for match in self.CALL.finditer(source.code_text):
            name = match[1]
            inside, end = arguments(source.code_text, match.end() - 1)
            if re.match(r"\s*(?:const\s+)?(?:int|char|struct|unsigned)\b", inside):
                continue  # a declaration of that name
            if name == "fopen":
                good = re.search(r',\s*"[^"]*e[^"]*"\s*$', raw[match.end() : end])
            else:
                good = name in self.FLAGGED and re.search(r"\w*CLOEXEC\b", inside) or name in ("dup2", "dup3") and re.search(r"\bSTD(IN|OUT|ERR)_FILENO\b", inside)
            if not good and not (name in self.FLAGGED and self.from_variable(source.code_text[: match.start()], inside)):
                yield source.line_of(match.start()), name

    @staticmethod
    def from_variable(before, inside):
        """Is one of the arguments a variable of this function that was given a CLOEXEC flag?"""
        body = before[before.rfind("\n{\n") :]
        return any(re.search(rf"\b{word}\s*=[^;]*CLOEXEC\b", body) for word in re.findall(r"[A-Za-z_]\w*", inside))


class FileSize(Rule):
    def find(self, source, tree):
        if len(source.lines) - 1 > FILE_LINES:
            yield FILE_LINES, str(len(source.lines) - 1)


class FunctionSize(Rule):
    def find(self, source, tree):
        for line, name, length in source.functions():
            if length > FUNCTION_LINES:
                yield line, f"{name} has {length}"


class Mutable(Rule):
    """Variables that outlive a call are const: at file scope, and `static` inside functions."""

    reason = "mutable"

    def find(self, source, tree):
        for offset, statement in file_scope(source.code_text):
            name = mutable_name(statement)
            # In a header, only `static` makes a definition that a compiler would not find twice.
            if name and (source.path.endswith(".c") or statement.startswith("static")) and (source.path, name) != LOG_LEVEL:
                yield source.line_of(offset), name
        for match in re.finditer(r"^[ \t]+((?:static|_Thread_local|__thread)\s[^;={(]*)[;=]", source.code_text, re.M):
            if inside_function(source, match.start(1)):
                name = mutable_name(match[1])
                if name:
                    yield source.line_of(match.start(1)), name


def inside_function(source, offset):
    before = source.code_text[:offset]
    return before.rfind("\n{\n") > before.rfind("\n}")


def file_scope(code):
    """(offset, text) of each statement outside of braces, without preprocessor lines; the insides of braces are left out."""
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m[0]), code, flags=re.M)
    depth, start, text = 0, None, ""
    for i, c in enumerate(code):
        if c == "{":
            depth += 1
            text += "{}" if depth == 1 else ""
        elif c == "}":
            depth -= 1
            # A function's end (its brace stands in the first column) ends the statement without a semicolon.
            if depth == 0 and (i == 0 or code[i - 1] == "\n") and "=" not in text and not re.match(r"\s*(?:typedef|struct|union|enum)\b[^()]*\{\}", text):
                start, text = None, ""
        elif depth == 0:
            if c == ";":
                if start is not None:
                    yield start, text.strip()
                start, text = None, ""
            elif start is not None or not c.isspace():
                start = i if start is None else start
                text += c


def mutable_name(statement):
    """The name of the variable that a declaration defines, if something can change it; else None."""
    head = statement.split("=", 1)[0]
    head = re.sub(r"__attribute__\s*\(\(.*?\)\)|_Alignas\([^)]*\)", " ", head)
    if re.match(r"(typedef|extern|static_assert|_Static_assert|__asm__)\b", head):
        return None
    head = re.sub(r"\b(struct|union|enum)\s+(\w+\s*)?\{\}", r"\1 x", head)
    if "(" in head:
        # A prototype, unless it is a pointer to a function.
        match = re.search(r"\(\s*\*\s*(const\s+)?(\w+)", head)
        return match[2] if match and not match[1] and re.match(r"[\w\s*]*\(\s*\*", head) else None
    match = re.search(r"(\w+)\s*((?:\[[^\]]*\]\s*)*)$", head)
    if not match or not head[: match.start()].strip() or re.fullmatch(r"\s*(static\s+)?(const\s+)?(struct|union|enum)\s+\w+\s*", head):
        return None
    before = head[: match.start()]
    const = re.search(r"\bconst\b", before.rsplit("*", 1)[1] if "*" in before else before)
    return None if const else match[1]


class Stems(Rule):
    """Objects go into one archive, where two of one name hide each other."""

    def find(self, source, tree):
        stem = os.path.basename(source.path)
        if stem.endswith(".c"):
            first = tree.stems[stem]
            if first != source.path:
                yield 1, first


class Symbols(Rule):
    """Two exported functions of one name: the archive's first is taken, silently, until a program needs both files."""

    def find(self, source, tree):
        for line, name in source.exported():
            other = tree.exported()[name] if source.path.endswith(".c") and name != "main" else source.path
            if other != source.path:
                yield line, f"{name}() is also in {other}"


def starts(*prefixes):
    return lambda path: path.startswith(prefixes)


def only_base(*own):
    """Anything of ours but the room itself, its contract and the base."""
    return lambda path: not path.startswith(("<", *own)) and os.path.basename(path) not in BASE


def library(header, where, *but):
    pattern = re.compile(r"<(" + header + r")>")
    return Includes("library", where, lambda path: bool(pattern.fullmatch(path)), "<{}> is only for " + " ".join(but), but=but)


RULES = [
    # Walls between rooms.
    Includes("wall-netns", ("netns/",), only_base("netns/", "include/netns.h"), '"{}": netns/ takes nothing from runner/ but the base'),
    Includes("wall-cgroups", ("cgroups/",), only_base("cgroups/", "include/cgroup.h"), '"{}": cgroups/ takes nothing from runner/ but the base'),
    Includes("wall-sandbox", ("runner/sandbox/",), starts("runner/gateway/"), '"{}": the sandbox knows nothing of HTTP'),
    Includes("wall-gateway", ("runner/gateway/",), starts("include/sandbox.h", "include/netns.h", "include/cgroup.h", "netns/", "cgroups/", "runner/sandbox/"), '"{}": the gateway knows nothing of namespaces, cgroups and sandboxes'),
    PrivateHeaders("wall-private", PRODUCT, "{} belongs to another room: contracts are in include/"),
    Words("wall-archive-read", PRODUCT, r"\b(archive_read_\w+)", "{}: archives are read only in the unpack jail", but=("runner/unpack/",)),
    Words("wall-archive-write", PRODUCT, r"\b(archive_write_\w+)", "{}: archives are written only by fnctl, and by exports in the unpack jail", but=("runner/ctl/", "runner/unpack/image_export.c", "runner/unpack/image_pack.c")),
    library(r"netlink/.*", PRODUCT, "netns/"),
    library(r"nftables/.*|libnftnl/.*|libmnl/.*", PRODUCT, "netns/", "runner/ctl/ctl_check_net.c"),
    library(r"curl/.*", PRODUCT, "runner/ctl/"),
    library(r"nghttp2/.*", PRODUCT, "runner/gateway/h2/"),
    library(r"yaml\.h", PRODUCT, "runner/ctl/project/yaml_tree"),
    library(r"jansson\.h", PRODUCT, "runner/gateway/api/", "runner/ctl/", "runner/unpack/image"),
    library(r"seccomp\.h", PRODUCT, "runner/sandbox/", "runner/unpack/", "runner/gateway/confine", "runner/privileges_calls", "runner/logins"),
    library(r"ini\.h", PRODUCT, "runner/base/inifile.c"),
    # Calls.
    Words("call", EVERYTHING, r"(?<![\w.>])(strcpy|strcat|stpcpy|strncat|sprintf|vsprintf|gets|atoi|atol|atoll|system|popen|strtok|alloca|mktemp|tmpnam|signal(?!\s*\([^;]*\bSIG_(?:IGN|DFL)\)))\s*\(", "{}() is not used here (str.h, strtol, posix_spawn, sigaction)"),
    Cloexec("cloexec", PRODUCT, "{}() makes a descriptor that a program started at this moment inherits: give it the CLOEXEC flag"),
    # Sizes.
    FileSize("file-size", EVERYTHING, "{} lines, at most " + str(FILE_LINES)),
    FunctionSize("function-size", EVERYTHING, "{} lines, at most " + str(FUNCTION_LINES)),
    # Shape.
    Words("typedef", EVERYTHING, r"\btypedef\s+(struct|union|enum)\b", "no typedef of a {}"),
    Mutable("mutable", PROGRAMS, "{} can be changed: what outlives a call is const, or lives in an object"),
    Comments("unfinished", EVERYTHING, r"\b(TODO|FIXME|XXX|HACK)\b", "{}: finish it, or open an issue"),
    Stems("stem", PRODUCT, "another file has the same name: {}"),
    Symbols("symbol", PROGRAMS, "{}: all objects share one archive"),
]


class Tree:
    """The repository: which files it has."""

    def __init__(self, root):
        self.root = root
        self.files = sorted(self.find())
        self.known = set(self.files)
        self.symbols = None
        self.stems = {os.path.basename(path): path for path in reversed([f for f in self.files if f.startswith(PRODUCT)])}

    def exported(self):
        """Which file exports a function of that name first."""
        if self.symbols is None:
            self.symbols = {}
            for path in self.files:
                if path.endswith(".c") and path.startswith(PROGRAMS):
                    for _, name in Source(self.root, path).exported():
                        self.symbols.setdefault(name, path)
        return self.symbols

    def find(self):
        for top in EVERYTHING:
            for path, dirs, files in os.walk(os.path.join(self.root, top)):
                dirs.sort()
                for name in files:
                    if name.endswith((".c", ".h")):
                        yield os.path.relpath(os.path.join(path, name), self.root)

    def resolve(self, source, name):
        """Where a quoted include leads, as the compiler looks for it."""
        beside = os.path.normpath(os.path.join(os.path.dirname(source), name))
        for path in (beside, "include/" + name):
            if path in self.known:
                return path
        return beside


def lint(root, only=None):
    tree = Tree(root)
    messages = []
    for path in [only] if only else tree.files:
        source = Source(root, path)
        for rule in RULES:
            if rule.applies(path):
                messages += rule.run(source, tree)
    return messages


def main():
    messages = lint(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))
    for message in messages:
        print(message)
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
