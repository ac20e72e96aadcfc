"""requirements.txt: pip installs what it names into python_modules/.

requirements.lock is kept with the source: exact versions with digests, from where (the options of requirements.txt that say so), and the digest of the requirements.txt that
it was made of, with the files that it includes. While that has not changed, what the lock says is installed and nothing else. Without it pip resolves, and its report becomes the lock.

A wheel is only unpacked. What has none is built by code of its own, which pip runs while it resolves, with all that it has itself: that code can read the index's password, and pip offers no way to part the two. The log
says so when it has happened.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse

import fndtool
from fndtool import IN_URL, Refused, end_strangers, progress, run, unreachable

MODULES = "python_modules"
FILE, LOCK, PLACE, PRIVATE = "requirements.txt", "requirements.lock", MODULES, ("pip.conf",)
LOCAL = re.compile(rb"(?m)^\s*(-[ef]|--editable|--find-links)|(^|[\s=@])(\.{1,2}/|/|file:)|\.(whl|zip|tar)\b|^[^\s#:]*/")
MADE_OF = "# made of requirements.txt "
INCLUDES = re.compile(r"(?:-r|--requirement|-c|--constraint)[ =]*(\S+)")
ORIGINS = re.compile(r"(--no-index|--pre|--prefer-binary)$|(-f|-i|--find-links|--index-url|--extra-index-url|--trusted-host|--no-binary|--only-binary)[ =]*(\S+)$")


def requirements(path, seen=None):
    """(file, text) of a requirements.txt and of those of the source that it includes, each once."""
    seen = set() if seen is None else seen
    path = os.path.normpath(path)
    if path in seen or not os.path.isfile(path):
        return
    seen.add(path)
    with open(path, encoding="utf-8", errors="replace") as f:
        text = f.read()
    yield path, text
    for line in text.splitlines():
        found = INCLUDES.match(line.strip())
        if found:
            yield from requirements(os.path.join(os.path.dirname(path), found[1]), seen)


def digest(path):
    return fndtool.digest(*(text for _, text in requirements(path)))


def origins(path):
    """The options that say where from, as lines for a file in the directory of `path`."""
    top, lines = os.path.dirname(path), []
    for file, text in requirements(path):
        for line in text.splitlines():
            found = ORIGINS.match(re.sub(r"(^|\s)#.*", "", line).strip())
            if not found:
                continue
            beside = found[3] and os.path.join(os.path.dirname(file), found[3])
            lines.append(found[1] or f"{found[2]} {os.path.relpath(beside, top) if os.path.exists(beside) else found[3]}")
    return list(dict.fromkeys(lines))


def line_of(path, name):
    """NUMBER of the line that asks for a project, or None."""
    wanted = re.sub(r"[-_.]+", "-", name).lower()
    with open(path, encoding="utf-8", errors="replace") as f:
        for number, line in enumerate(f, 1):
            found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line)
            if found and re.sub(r"[-_.]+", "-", found[1]).lower() == wanted:
                return number
    return None


def explain(output, source):
    """pip's many lines as one that names the line of the file."""
    file = os.path.basename(source)

    def at(name):
        number = line_of(source, name)
        return f"{file}:{number}" if number else f"{file} (something in it needs {name})"

    missing = re.search(r"satisfies the requirement (([A-Za-z0-9._-]+)[^(]*?) ?(?:\(from [^v][^)]*\) ?)?\(from versions: ([^)]*)\)", output)
    mismatch = re.search(r"DO NOT MATCH THE HASHES.*?\n\s+([A-Za-z0-9._-]+)==", output, re.S)
    invalid = re.search(r"[Ii]nvalid requirement: (.*?)(?: \(from line (\d+) of|\n|$)", output)
    if (unreachable(output) and (not missing or missing[3] == "none")) or (missing and missing[3] == "none" and is_silent(missing[2], source)):
        return f"{file}: the index {index()} cannot be reached from the builder: see PIP_INDEX_URL or pip.conf, and whether its egress allows it (fnctl build --egress)"
    if missing and missing[3] == "none":
        return f"{at(missing[2])}: the index {index()} has no package {missing[2]} for this Python ({version()}): correct the name"
    if missing:
        return f"{at(missing[2])}: there is no {missing[1].strip()} for this Python ({version()}); the index {index()} has {missing[3]}: correct the version"
    if mismatch:
        return f"{at(mismatch[1])}: what the index {index()} has as {mismatch[1]} now is not what the lock says: if that is meant, remove requirements.lock and build again"
    if invalid:
        return f"{file}{':' + invalid[2] if invalid[2] else ''}: not a requirement: {invalid[1].strip()}: NAME, or NAME==VERSION, is meant"
    if "ResolutionImpossible" in output or "conflicting dependencies" in output:
        asked = re.findall(r"^ +(.* depends on .*|The user requested .*)$", output, re.M)
        return f"{file}: the versions that are asked for contradict each other ({'; '.join(a.strip() for a in asked[:4])}): loosen one"
    built = re.search(r"(?:Failed building wheel for|Failed to build) ([A-Za-z0-9._-]+)", output)
    if built or "metadata-generation-failed" in output or "subprocess-exited-with-error" in output:
        name = built[1] if built else "something"
        return f"{at(name) if built else file}: {name} has no wheel for this Python ({version()}), and the builder has no compiler: ask for a version that has one"
    last = [line for line in output.splitlines() if line.startswith("ERROR: ")]
    return f"{file}: pip: {last[-1][7:] if last else 'failed; its lines are in the log above'}"


def is_silent(name, source):
    """pip says only when it tries again that an index does not answer; where it never does (retries = 0), it is as if the index had nothing of that name. So it is asked once more for that name alone."""
    options = [word for line in origins(source) if line.startswith(("-i ", "--index-url ", "--extra-index-url ", "--trusted-host ", "--no-index", "-f ", "--find-links ")) for word in line.split()]
    asked = subprocess.run([sys.executable, "-m", "pip", "index", "versions", "--retries", "1", "--disable-pip-version-check", "--no-input", *options, name], cwd=os.path.dirname(source), stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    return unreachable(asked.stdout)


def index():
    found = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip()
    url = os.environ.get("PIP_INDEX_URL") or found or "https://pypi.org/simple"
    return re.sub(r"//[^/@]*@", "//", url)


def version():
    return f"{sys.version_info.major}.{sys.version_info.minor}, {os.uname().machine}"


def pip(root, *arguments):
    command = [sys.executable, "-m", "pip", "install", "--target", os.path.join(root, MODULES), "--no-compile", "--no-cache-dir", "--no-input", "--progress-bar", "off", "--no-warn-script-location",
               "--disable-pip-version-check", "--root-user-action", "ignore", *arguments]
    try:
        output, good = run("pip", command, root)
    finally:
        end_strangers()
    if re.search(r"Preparing metadata|Getting requirements to build|Building wheel", output) and has_password():
        built = sorted(set(re.findall(r"Building wheel for ([A-Za-z0-9._-]+)", output))) or ["a package"]
        progress(f"build: {', '.join(built)}: no wheel, so code of its own was run, which could read the index's password: `--only-binary :all:` in requirements.txt refuses such a package")
    return output, good


def has_password():
    config = os.environ.get("PIP_CONFIG_FILE")
    return any(IN_URL.search(v) for k, v in os.environ.items() if k.startswith("PIP_")) or bool(config and IN_URL.search(fndtool.read(config)))


def lock_of(report, asked, made_of):
    """The lock of what pip says to have installed."""
    lines = [MADE_OF + made_of, *origins(asked)]
    here = f"file://{os.path.dirname(asked)}/"
    for one in sorted(report["install"], key=lambda i: i["metadata"]["name"].lower()):
        archive = one["download_info"].get("archive_info", {})
        digests = archive.get("hashes") or dict([archive["hash"].split("=", 1)] if "hash" in archive else [])
        name = one["metadata"]["name"]
        if "sha256" not in digests:
            raise Refused(f"requirements.txt: {name} comes from {one['download_info'].get('url', '?')}, for which there is no digest: name a release, or the URL of an archive")
        exact = f"{name}=={one['metadata']['version']}"
        if one.get("is_direct"):
            url = one["download_info"]["url"]
            exact = "./" + urllib.parse.unquote(url[len(here):]) if url.startswith(here) else f"{name} @ {url}"
        lines.append(f"{exact} --hash=sha256:{digests['sha256']}")
    return "\n".join(lines) + "\n"


def install(root):
    asked, lock, modules = (os.path.join(root, n) for n in ("requirements.txt", "requirements.lock", MODULES))
    made_of = digest(asked)
    shutil.rmtree(modules, ignore_errors=True)
    if os.path.exists(lock):
        with open(lock, encoding="utf-8", errors="replace") as f:
            current = f.readline().rstrip("\n") == MADE_OF + made_of
        if current:
            progress("build: what requirements.lock says is installed")
            output, good = pip(root, "--require-hashes", "--no-deps", "-r", lock)
            if not good:
                raise Refused(explain(output, lock))
            return
        progress("build: requirements.txt has changed: a new requirements.lock is made")
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        output, good = pip(root, "--report", report.name, "-r", asked)
        if not good:
            raise Refused(explain(output, asked))
        text = lock_of(json.load(report), asked, made_of)
    with open(lock, "w", encoding="utf-8") as f:
        f.write(text)


def settle(root):
    """What differs between a first installation and one from the lock goes; the rest is compiled, since an instance cannot keep what it compiles."""
    modules = os.path.join(root, MODULES)
    if not os.path.isdir(modules):
        return
    for name in sorted(os.listdir(modules)):
        record = os.path.join(modules, name, "RECORD")
        for file in ("REQUESTED", "direct_url.json"):
            if name.endswith(".dist-info") and os.path.exists(os.path.join(modules, name, file)):
                os.unlink(os.path.join(modules, name, file))
        if os.path.exists(record):
            with open(record, encoding="utf-8") as f:
                lines = sorted(line for line in f if not line.split(",")[0].endswith((".dist-info/REQUESTED", ".dist-info/direct_url.json")))
            with open(record, "w", encoding="utf-8") as f:
                f.writelines(lines)
    progress("build: compiling")
    subprocess.run([sys.executable, "-m", "compileall", "-qq", "-s", root, "-p", "/app", "--invalidation-mode", "unchecked-hash", modules], env={**os.environ, "PYTHONHASHSEED": "0"},
                   stdout=subprocess.DEVNULL, check=False)


def inputs(root):
    found = [os.path.relpath(path, root) for path, _ in requirements(os.path.join(root, FILE))]
    return found + [n for n in PRIVATE if found and os.path.isfile(os.path.join(root, n))]


def build(root, beside, _):
    config = os.path.join(root, "pip.conf")
    os.environ.pop("PIP_CONFIG_FILE", None)
    if os.path.exists(config):
        os.environ["PIP_CONFIG_FILE"] = shutil.move(config, beside)  # no part of the package: it may hold a password
    if os.path.exists(os.path.join(root, "requirements.txt")):
        install(root)
        settle(root)
