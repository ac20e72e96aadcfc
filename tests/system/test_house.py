"""What is said about the programs: manual pages, completion, example configuration, the Makefile's targets, the README."""

import glob
import os
import re
import shutil
import subprocess

import pytest

import fndtest
import typed
from fndtest import REPO, fnctl
from test_run import run

pytestmark = pytest.mark.limit(180)


def read(path):
    with open(f"{REPO}/{path}", encoding="utf-8") as f:
        return f.read()


def manual(page):
    """The page as a person reads it, on one line, without hyphenation."""
    return " ".join(fndtest.run("man", "-l", f"{REPO}/contrib/man/{page}", env={"MANWIDTH": "2000", "LC_ALL": "C.UTF-8", "MANROFFOPT": "-rHY=0"}).out.replace("−", "-").split())


def verbs():
    return re.findall(r"^  ([a-z]+) ", fnctl("help").out.split("\noptions")[0], re.M)


def options(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))


# ---- manual pages ----

@pytest.mark.parametrize("page", ["fnctl.1", "fnd.8"])
def test_manual_has_no_warnings(page):
    result = fndtest.run("man", "--warnings", "-l", f"{REPO}/contrib/man/{page}")
    assert result.status == 0 and result.err == "" and len(result.out) > 1000


def test_manual_has_every_verb_alias_and_option():
    text = manual("fnctl.1")
    assert len(verbs()) == len(re.findall(r'^    {"\w+"', read("runner/ctl/ctl_verbs.c").split("ctl_verbs[] =")[1].split("{0},\n};")[0], re.M)) >= 25
    for verb in verbs():
        assert re.search(rf" {verb} ", text), verb
        said = fnctl("help", verb).out
        for option in options(said):
            assert option in text, (verb, option)
        aliases = re.search(r"^also: (.*)$", said, re.M)
        for alias in aliases[1].split(", ") if aliases else ():
            assert re.search(rf"\b{alias}\b", text), alias


def options_in_the_manual():
    """{verb: its options}, and the verbs that have --json."""
    text = read("contrib/man/fnctl.1").split("\nThe verbs are:\n", 1)[1]
    verbs_part, common = text.split("\nOptions of all verbs:\n", 1)
    found, like = {}, {}
    for block in re.split(r"^\.It Cm ", verbs_part, flags=re.M)[1:]:
        verb = block.split()[0]
        found.setdefault(verb, set()).update("--" + name for line in (".It " + block).splitlines() if line.startswith(".It ") for name in re.findall(r"Fl -([a-z][a-z-]*)", line))
        other = re.search(r"takes the options of\n\.Cm (\w+)(?: \.\n|\nbut\n\.Fl -(\S+)\nand\n\.Fl -(\S+) \.\n)", block) or re.search(r"^The same as\n\.Cm (\w+)()() ", block, re.M)
        if other:
            like[verb] = (other[1], {f"--{name}" for name in other.groups()[1:] if name})
    for verb, (other, but) in like.items():
        found[verb] |= found[other] - but
    return found, set(re.findall(r"\w+", re.search(r"^\.It Fl -json\n.*\n\.Pq Cm (.*)", common, re.M)[1]))


def test_manual_and_help_give_every_verb_the_same_options():
    """Each option stands where the verb is described, and nothing stands there that the verb does not take."""
    found, json = options_in_the_manual()
    common = options(fnctl("help").out.split("options of every verb", 1)[1])
    assert set(found) == set(verbs()) and len(common) == 7
    for verb in verbs():
        listed = set(re.findall(r"^  (?:-\w, |    )(--[a-z-]+)", fnctl("help", verb).out.split("\noptions:\n", 1)[1], re.M))
        own = listed - (common - {"--version"} if verb == "export" else common)
        assert own - {"--json"} == found[verb] - {"--json"}, verb
        assert ("--json" in own) == (verb in json), verb
        assert listed <= complete("fnctl", verb, "--"), verb


def test_help_says_every_runtime_and_verb_in_columns():
    """Those that a template or an example needs are named where one learns how they are made; the overview's right column is one."""
    said = fnctl("help", "runtime").out
    needed = {m[1] for path in [f"{REPO}/rootfs/{kind}/{name}/function.ini" for kind in ("templates", "examples") for name in os.listdir(f"{REPO}/rootfs/{kind}")] if (m := re.search(r"^runtime = (\S+)$", read(os.path.relpath(path, REPO)), re.M))}
    assert len(needed) >= 8
    for runtime in needed:
        assert re.search(rf"\b{runtime}\b", said) and re.search(rf"\b{runtime}\b", manual("fnctl.1").split(" build makes the tree", 1)[1].split(" put takes")[0]), runtime
    overview = fnctl("help").out.split("\n\n", 2)[2].split("\n\noptions", 1)[0].splitlines()
    assert len(overview) > len(verbs())
    for line in overview:
        assert re.match(r"  [a-z].{32} \S|  [a-z].{34,}$| {36}\S", line), line


def test_what_the_manual_shows_can_be_typed():
    """mdoc moves a full stop that stands alone to the word before it."""
    assert "fnctl deploy --print-ini . >function.ini" in manual("fnctl.1")
    for page in ("fnctl.1", "fnd.8"):
        for line in re.findall(r"^\.Dl (.*)$", read(f"contrib/man/{page}"), re.M):
            assert line.replace("\\&", "").replace("\\e", "\\") in manual(page), line


def test_manual_has_no_option_that_is_not_there():
    known = set().union(*(options(fnctl("help", verb).out) for verb in verbs()))
    assert options(manual("fnctl.1")) <= known | {"--port"}
    said = options(fndtest.run(fndtest.program("fnd"), "--help").out)
    of_others = known | {"--now", "--webroot", "--deploy-hook", "--only-binary"}  # fnctl's, systemctl's, certbot's, pip's
    assert options(manual("fnd.8")) - said <= of_others and said <= options(manual("fnd.8"))


def config_rows():
    """{key: default}"""
    return {line.split()[0]: line.split(" default ", 1)[1].rsplit(" default", 1)[0].strip() for line in fndtest.run(fndtest.program("fnd"), "--check").out.splitlines()}


def test_manual_has_every_key_of_the_configuration_with_its_default():
    text = manual("fnd.8")
    rows = config_rows()
    assert len(rows) >= 25
    for key, default in rows.items():
        assert f"{key} ({default or 'empty'})" in text, (key, default)
    assert set(re.findall(r" ((?:runner|gateway|host|network)\.\w+) \(", text)) == set(rows)


def test_example_configuration_has_every_key_with_its_default(tmp_path):
    """Uncommented as a whole it is what no configuration is."""
    text = re.sub(r"^#(\w+ =.*)$", r"\1", read("contrib/fnd.ini"), flags=re.M)
    (tmp_path / "fnd.ini").write_text(text)
    result = fndtest.run(fndtest.program("fnd"), "--config", tmp_path / "fnd.ini", "--check")
    assert result.status == 0, result
    rows = result.out.splitlines()
    assert all("fnd.ini:" in row for row in rows), [row for row in rows if "fnd.ini:" not in row]
    assert [row.split(" default ")[0] for row in rows] == [row.split(" default ")[0] for row in fndtest.run(fndtest.program("fnd"), "--check").out.splitlines()]


def test_manual_has_every_key_of_function_ini():
    """Those that do something in this version; the table is in the source."""
    section = manual("fnctl.1").split("FUNCTION.INI", 1)[1].split(" EXIT STATUS", 1)[0]
    table = re.findall(r'^    (?:TEXT|NUMBER|ONLY)\("(\w+)", "(\w+)"', read("runner/unpack/function_ini.c"), re.M)
    assert len(table) >= 25
    for group, key in table:
        assert f"[{group}]" in section and re.search(rf"\b{key}\b", section.split(f"[{group}]", 2)[-1]), (group, key)


# ---- completion ----

def complete(*words):
    script = f'source {REPO}/contrib/completion/fnctl.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _fnctl; printf "%s\\n" "${{COMPREPLY[@]}}"'
    return set(fndtest.run("bash", "-c", script, "bash", *words, env={"PATH": f"{fndtest.BUILD}:{os.environ['PATH']}"}).out.split())


def test_manual_has_every_variable_and_contract_of_handlers():
    """Those by which the shims of runtimes are set; who has fnd installed has no other place to read of them."""
    shims = "".join(read(os.path.relpath(path, REPO)) for path in sorted(glob.glob(f"{REPO}/rootfs/[enpr]*/shim/*")) if os.path.isfile(path))
    variables = set(re.findall(r"\b(?:HANDLER|FUNCTION_SIGNATURE)_[A-Z]+\b", shims))
    assert len(variables) == 4, variables
    section = read("contrib/man/fnctl.1").split(".Ss Handlers\n", 1)[1].split("\n.Ss ", 1)[0]
    for word in variables:
        assert f".It Ev {word}\n" in section, word
    for contract in re.search(r"^CONTRACTS = \((.*)\)$", shims, re.M)[1].replace('"', "").split(", "):
        assert contract in section or f"Ta {contract}\n" in read("contrib/man/fnctl.1"), contract


def test_completion(daemon):
    assert set(verbs()) <= complete("fnctl", "")
    assert complete("fnctl", "dep") == {"deploy"}
    assert complete("fnctl", "deploy", "--env") == {"--env", "--env-name"}
    assert complete("fnctl", "config", "") == {"show"}
    assert {"python", "static"} <= complete("fnctl", "runtime", "build", "") and "c" not in complete("fnctl", "runtime", "build", "")
    fnctl("deploy", "hello")
    fnctl("deploy", "hello", "--env-name", "staging")
    assert complete("fnctl", "status", "") == {"hello", "hello.staging"}
    assert complete("fnctl", "rm", "hello.") == {"hello.staging"}


# ---- the Makefile ----

def make(*args, cwd=REPO):
    return fndtest.run("make", "--no-print-directory", *args, cwd=cwd, seconds=120)


def test_help_lists_every_target():
    listed = re.findall(r"^  ([a-z-]+) ", make("help").out, re.M)
    for target in "deps deps-check all run check check-vm bench install uninstall lint format clean help".split():
        assert target in listed, target


def copy_of_the_makefiles(directory):
    for path in ("Makefile", "rootfs/rootfs.mk", "tests/tests.mk", "contrib/install.mk"):
        os.makedirs(os.path.dirname(directory / path), exist_ok=True)
        shutil.copy(f"{REPO}/{path}", directory / path)
    return directory


def test_clean_keeps_the_image_of_the_vm(tmp_path):
    copy_of_the_makefiles(tmp_path)
    for name in ("release/fnd", "debug/fnd", "asan/fnd", "vm/image"):
        os.makedirs(os.path.dirname(tmp_path / "build" / name))
        (tmp_path / "build" / name).write_text("x")
    assert make("clean", cwd=tmp_path).status == 0
    assert os.listdir(tmp_path / "build") == ["vm"] and os.listdir(tmp_path / "build/vm") == ["image"]


def files_below(top):
    return {os.path.relpath(os.path.join(path, name), top) for path, _, names in os.walk(top) for name in names}


@pytest.fixture(name="built")
def fixture_built(tmp_path):
    """The makefiles, and what they install, as if it had just been built: nothing is built here."""
    copy_of_the_makefiles(tmp_path / "copy")
    shutil.copytree(f"{REPO}/contrib", tmp_path / "copy/contrib", dirs_exist_ok=True)
    for name in ("templates", "examples"):
        shutil.copytree(f"{fndtest.BUILD}/{name}", tmp_path / "copy/build/release" / name)
    (tmp_path / "copy/build/release/.shared").touch()
    programs = [fndtest.program(name) for name in ("fnd", "fnd-gateway", "fnd-unpack", "fn-init", "fnctl", "hello.tar.gz", "busybox.tar.gz", "selftest.tar.gz", "runtime-static.tar")]
    for program in programs:
        shutil.copy(program, tmp_path / "copy/build/release")
    with open(tmp_path / "copy/Makefile", "a", encoding="utf-8") as f:
        f.write("\nOBJ :=\n")
    return tmp_path / "copy"


def install(built, target, destination):
    """Everything that is already there counts as up to date."""
    old = [f"--old-file=build/release/{name}" for name in ("fnd", "fnd-gateway", "fnd-unpack", "fn-init", "fnctl", "hello.tar.gz", "busybox.tar.gz", "selftest.tar.gz", "runtime-static.tar", ".shared")]
    result = make(*old, target, f"DESTDIR={destination}", cwd=built)
    assert result.status == 0, result
    return result


def test_install_and_uninstall(built, tmp_path):
    destination = tmp_path / "destination"
    install(built, "install", destination)
    found = files_below(destination)
    for path in ("usr/local/sbin/fnd", "usr/local/bin/fnctl", "usr/local/lib/fnd/fnd-gateway", "usr/local/lib/fnd/fnd-unpack", "usr/local/lib/fnd/fn-init", "usr/local/share/fnd/hello.tar.gz", "usr/local/share/fnd/runtime-static.tar", "usr/local/share/fnd/templates/c/server",
                 "usr/local/share/man/man1/fnctl.1", "usr/local/share/man/man8/fnd.8", "usr/local/share/bash-completion/completions/fnctl", "usr/lib/systemd/system/fnd.service",
                 "usr/lib/systemd/system/fnd-gateway.service", "usr/lib/systemd/system/fnd-instances.service", "usr/lib/systemd/system/fnd.socket", "etc/fnd/fnd.ini"):
        assert path in found, (path, found)
    for path in found:
        if path.endswith((".service", ".conf")):
            assert not re.search("@[A-Z]+@", (destination / path).read_text()), path
    (destination / "etc/fnd/fnd.ini").write_text("# mine\n")
    install(built, "install", destination)
    assert (destination / "etc/fnd/fnd.ini").read_text() == "# mine\n"
    install(built, "uninstall", destination)
    assert files_below(destination) == {"etc/fnd/fnd.ini"}
    assert not (destination / "usr/local/lib/fnd").exists() and not (destination / "usr/local/share/fnd").exists()


def test_paths_are_those_of_the_last_make(tmp_path):
    """`make`, then `make install PREFIX=/usr`: what has a path compiled in is made anew, and nothing else."""
    copy_of_the_makefiles(tmp_path)
    (tmp_path / "include").mkdir()
    (tmp_path / "runner/base").mkdir(parents=True)
    sources = {"with": 'const char *where = FND_LIBEXEC " " FND_SHARE " " FND_SYSCONF;\n', "without": "int nothing;\n"}
    for name, text in sources.items():
        (tmp_path / f"runner/base/{name}.c").write_text(text)
    objects = {name: tmp_path / f"build/release/obj/runner/base/{name}.o" for name in sources}

    def made(*args):
        assert make(*(os.path.relpath(path, tmp_path) for path in objects.values()), *args, cwd=tmp_path).status == 0
        return {name: path.stat().st_mtime_ns for name, path in objects.items()}

    first = made()
    assert b"/usr/local/lib/fnd /usr/local/share/fnd /etc/fnd\0" in objects["with"].read_bytes()
    assert made() == first
    second = made("PREFIX=/opt/x", "SYSCONFDIR=/opt/etc")
    assert second["without"] == first["without"] and b"/opt/x/lib/fnd /opt/x/share/fnd /opt/etc/fnd\0" in objects["with"].read_bytes()
    assert made("PREFIX=/opt/x", "SYSCONFDIR=/opt/etc") == second


# ---- the README ----

def readme_commands(heading):
    section = read("README.md").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^    (\S.*)$", section, re.M)


def test_readme_write_a_function(tmp_path):
    """Its commands as they stand there, in a directory that looks like a fresh clone."""
    os.makedirs(tmp_path / "build")
    os.symlink(fndtest.BUILD, tmp_path / "build/release")
    commands = readme_commands("Write a function")
    shell = [c for c in commands if c.startswith(("mkdir", "cp "))]
    assert len(shell) == 2
    for command in shell:
        assert fndtest.run("sh", "-c", command, cwd=tmp_path).status == 0, command
    once = [c for c in commands if c.endswith("--once") or "--once " in c]
    assert len(once) >= 2
    for command in once:
        result = fndtest.run("sh", "-c", command, cwd=tmp_path)
        assert result.status == 0 and result.out, (command, result)
    ini = "\n".join(c for c in commands if c.startswith("[") or " = " in c) + "\n"
    (tmp_path / "greet/function.ini").write_text(ini)
    with run("./greet", cwd=tmp_path) as r:
        assert r.url()[1] == "/fn/greet/" and r.get().status == 200
        assert "GREETING=good morning" in r.get("env").text


@pytest.mark.limit(300)
def test_readme_your_own_function(daemon, tmp_path):
    """Everything that is to be typed there, in its order; what stands there as function.ini is one."""
    shell = typed.Shell(tmp_path)
    tools = [("umoci", "init", "--layout", "oci"), ("umoci", "new", "--image", "oci:web"), ("umoci", "insert", "--image", "oci:web", f"{fndtest.BUILD}/rootfs/hello/hello", "/server"),
             ("umoci", "config", "--image", "oci:web", "--config.entrypoint", "/server"), ("tar", "-C", "oci", "-cf", shell.directory / "web.tar", ".")]
    for tool in tools:
        result = fndtest.run(*tool, cwd=tmp_path)
        assert result.status == 0, result
    lines = typed.commands(f"{REPO}/README.md", "Your own function, from code")
    commands = [line for line in lines if line.startswith(("sudo ", "fnctl "))]
    assert len(commands) >= 10 and "runtime build shell" in read("README.md")
    for command in commands:
        shell.type(command, stdin="a password\n" if "secret set" in command else None)
    for name in ("greet", "web"):
        assert fndtest.get(f"/fn/{name}/").status == 200, name
    (shell.directory / "wordcount").mkdir()
    (shell.directory / "wordcount/function.ini").write_text("\n".join(line for line in lines if line not in commands) + "\n")
    shell.type("sudo fnctl runtime build shell")
    assert shell.type("sudo fnctl run ./wordcount --once -d 'two words'").split() == ["0", "2", "9"]


def test_readme_try_it():
    assert {"make run", "curl http://127.0.0.1:8888/fn/hello/", "make check"} <= set(readme_commands("Try it"))
    with run("hello") as r:
        assert r.url() == (8888, "/fn/hello/")
        assert fndtest.run("curl", "-sSf", "http://127.0.0.1:8888/fn/hello/").status == 0


def test_readme_service_commands(daemon):
    """Those of fnctl, with the daemon that a test has."""
    commands = [c.split("#")[0].removeprefix("sudo ").split() for c in readme_commands("Install it as a service") if c.startswith("sudo fnctl")]
    assert [c[1] for c in commands] == ["doctor", "doctor", "deploy", "scale", "status", "logs", "invoke", "rm"]
    for command in commands:
        text = " ".join(command[1:])
        result = fndtest.run("sh", "-c", f"{fndtest.program('fnctl')} {text}")
        assert result.status == 0, result


def test_check_says_how_many():
    """What runs the README's test command prints one line at the end."""
    assert "exec make check" in read(".ci/run") and os.access(f"{REPO}/.ci/run", os.X_OK)
    assert "make check" in read("README.md")
    assert subprocess.run(["sh", "-n", f"{REPO}/.ci/run"], check=False).returncode == 0
