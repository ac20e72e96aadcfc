"""package.json: npm installs what its `dependencies` name into node_modules/, where node looks for it.

package-lock.json is npm's own lock. Where it fits package.json, `npm ci` installs what it says; else `npm install` resolves and makes it anew. Scripts of packages are not run: what they do is mostly to
compile, for which there is no compiler here, and what they make would not be the same bytes twice. `ignore-scripts=false` in .npmrc, or NPM_CONFIG_IGNORE_SCRIPTS=false, says otherwise: then they are run when all is
installed, without what npm needed for that (fndtool.py): `npm rebuild`, and the source's own scripts that `npm ci` would run behind it. As there, an optional package whose script fails is left out.
"""
import json
import os
import re
import shutil
import subprocess

from fndtool import HARMLESS, IN_URL, Refused, alone, forget, progress, read, run, unreachable

QUIET = ("--no-update-notifier", "--no-progress", "--loglevel=error")
OPTIONS = ("--omit=dev", "--no-audit", "--no-fund", *QUIET, "--install-links=false")
GROUPS = ("dependencies", "optionalDependencies")
FILE, LOCK, PLACE, PRIVATE = "package.json", "package-lock.json", "node_modules", (".npmrc",)
LOCAL = re.compile(rb"(file|link|workspace):|\"workspaces\"|\"[~.]{0,2}/")


def setting(name, root, env):
    """What npm takes for it, from variables and .npmrc; "" where nobody has said."""
    said = subprocess.run(["npm", "config", "get", name, *QUIET], cwd=root, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip()
    return "" if said in ("undefined", "null") else said


def registry(root, env, package=""):
    scope = re.match(r"@[^/]+(?=/)", package)
    url = (scope and setting(scope[0] + ":registry", root, env)) or setting("registry", root, env) or "https://registry.npmjs.org/"
    return re.sub(r"//[^/@]*@", "//", url)


def asked_in_vain(root, env, output):
    """The registry whose URL npm names: a scope may have its own."""
    url, usual = re.search(r"request to (https?://)(?:[^/@\s]*@)?([^/\s]+)", output), registry(root, env)
    return usual if not url or usual.startswith(url[1] + url[2]) else url[1] + url[2] + "/"


def line_of(root, name):
    for number, line in enumerate(read(os.path.join(root, "package.json")).splitlines(), 1):
        if re.search(rf'"{re.escape(name)}"\s*:', line):
            return f"package.json:{number}"
    return f"package.json (something in it needs {name})"


def explain(output, root, env):
    """npm's many lines as one that names the line of the file."""
    code = re.search(r"(?:npm ERR!|npm error) code (\S+)", output)
    code = code[1] if code else ""
    missing = re.search(r"'?(@?[\w.~-]+(?:/[\w.~-]+)?)@([^'\s]*)'? is not in (?:the npm|this) registry", output)
    version = re.search(r"No matching version found for (@?[^@\s]+)@(\S+?)\.?(?:\s|$)", output)
    if missing or code == "E404":
        name = missing[1] if missing else "a package"
        return f"{line_of(root, name)}: the registry {registry(root, env, name)} has no package {name}: correct the name"
    if version:
        return f"{line_of(root, version[1])}: the registry {registry(root, env, version[1])} has no {version[1]}@{version[2]}: correct the version"
    if code == "EINTEGRITY":
        return f"package-lock.json: what the registry {registry(root, env)} has now is not what the lock says: if that is meant, remove package-lock.json and build again"
    if code == "ERESOLVE":
        asked = re.findall(r"(?:npm ERR!|npm error) (?:Could not resolve dependency:|peer (.*))", output)
        return f"package.json: the versions that are asked for contradict each other ({next((a for a in asked if a), 'see the log')}): loosen one"
    if unreachable(output):
        return f"package.json: the registry {asked_in_vain(root, env, output)} cannot be reached from the builder: see NPM_CONFIG_REGISTRY or .npmrc, and whether its egress allows it (fnctl build --egress)"
    last = [re.sub(r"^npm (?:ERR!|error) ", "", line) for line in output.splitlines() if re.match(r"npm (?:ERR!|error) (?!code|A complete|    |\s*$)", line)]
    return f"package.json: npm: {last[0].strip() if last else 'failed; its lines are in the log above'}"


def asked_for(root):
    try:
        made = json.loads(read(os.path.join(root, "package.json")))
    except ValueError as e:
        raise Refused(f"package.json: not JSON: {e}") from None
    if not isinstance(made, dict) or any(not isinstance(made.get(g, {}), dict) for g in GROUPS):
        raise Refused('package.json: an object is meant, whose "dependencies" are one: {"dependencies": {"NAME": "VERSION"}}')
    return {g: made.get(g, {}) for g in GROUPS}


def is_current(root, asked):
    """Was the lock made of these dependencies?"""
    try:
        made = json.loads(read(os.path.join(root, "package-lock.json")))
    except (OSError, ValueError):
        return False
    top = made.get("packages", {}).get("", {}) if isinstance(made, dict) and isinstance(made.get("packages"), dict) else {}
    return isinstance(top, dict) and all(top.get(g, {}) == asked[g] for g in GROUPS)


def runs_scripts(root, config):
    """The user says whether; not to is what we say."""
    return any(k.lower() == "npm_config_ignore_scripts" for k in os.environ) or "ignore-scripts" in (read(config) if os.path.exists(config) else "")


def inputs(root):
    """Scripts may write anywhere."""
    config = os.path.join(root, ".npmrc")
    return [n for n in (FILE, ".npmrc") if os.path.isfile(os.path.join(root, n))] if os.path.isfile(os.path.join(root, FILE)) and not runs_scripts(root, config) else []


# ---- scripts ----


def harmless_lines(text):
    """Of .npmrc, what is no registry and no credential."""
    lines = [line.strip() for line in text.splitlines()]
    return "".join(line + "\n" for line in lines if HARMLESS.match("npm_config_" + line.split("=")[0].strip()) and not IN_URL.search(line) and "${" not in line)


def with_scripts(root):
    """[(path, name@version, whether it is optional)] of the installed packages that have some."""
    packages = json.loads(read(os.path.join(root, "package-lock.json"))).get("packages", {})
    found = []
    for path, one in packages.items():
        if one.get("hasInstallScript") and "node_modules/" in path and os.path.isdir(os.path.join(root, path)):
            name = one.get("name") or path.split("node_modules/")[-1]
            found.append((path, f"{name}@{one['version']}" if "version" in one else name, bool(one.get("optional"))))
    return found


def run_scripts(root, beside, env):
    config = env["npm_config_userconfig"]
    kept = harmless_lines(read(config)) if os.path.exists(config) else ""
    forget(beside)
    with open(config, "w", encoding="utf-8") as f:
        f.write(kept)
    env = {**env, "npm_config_ignore_scripts": "false"}

    def npm(*command):
        return alone("npm", ["npm", *command, *QUIET], root, env)

    packages = with_scripts(root)
    optional = sorted({what for _, what, may in packages if may})
    progress("build: scripts of packages are run, without the registry's credentials")
    commands = [("rebuild", *([".", *sorted({what for _, what, may in packages if not may})] if optional else []))]
    commands += [("run", script, "--if-present") for script in ("prepublish", "prepare")]
    for what in optional:
        if npm("rebuild", what)[1]:
            continue
        progress(f"build: {what} is optional, and its script failed: it is left out")
        for path in (p for p, w, _ in packages if w == what):
            shutil.rmtree(os.path.join(root, path), ignore_errors=True)
    for command in commands:
        output, good = npm(*command)
        if not good:
            raise Refused(explain(output, root, env))


def build(root, beside, _):
    config = os.path.join(root, ".npmrc")
    env = {"HOME": beside, "npm_config_cache": os.path.join(beside, "npm"), "npm_config_userconfig": os.path.join(beside, ".npmrc")}
    if os.path.exists(config):
        shutil.move(config, env["npm_config_userconfig"])  # no part of the package: it may hold a password
    if not os.path.exists(os.path.join(root, "package.json")):
        return
    asked = asked_for(root)
    if not any(asked.values()):
        return
    scripts = runs_scripts(root, env["npm_config_userconfig"]) and setting("ignore-scripts", root, env) == "false"
    shutil.rmtree(os.path.join(root, "node_modules"), ignore_errors=True)
    current = is_current(root, asked)
    progress("build: what package-lock.json says is installed" if current else "build: a package-lock.json is made")
    output, good = run("npm", ["npm", "ci" if current else "install", *OPTIONS, "--ignore-scripts"], root, env)
    if not good:
        raise Refused(explain(output, root, env))
    if scripts:
        run_scripts(root, beside, env)
    hidden = os.path.join(root, "node_modules", ".package-lock.json")  # a record for npm's next run, which there is none of
    if os.path.exists(hidden):
        os.unlink(hidden)
