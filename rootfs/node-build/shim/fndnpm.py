"""package.json: npm installs what its `dependencies` name into node_modules/, where node looks for it.

package-lock.json is npm's own lock. Where it fits package.json, `npm ci` installs what it says; else `npm install` resolves and makes it anew. Scripts of packages are not run: what they do is mostly to
compile, for which there is no compiler here, and what they make would not be the same bytes twice. `ignore-scripts=false` in .npmrc, or NPM_CONFIG_IGNORE_SCRIPTS=false, says otherwise.
"""
import json
import os
import re
import shutil

from fndtool import Refused, progress, read, run, unreachable

OPTIONS = ("--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--no-progress", "--loglevel=error", "--install-links=false")
GROUPS = ("dependencies", "optionalDependencies")
FILE, LOCK, PLACE, PRIVATE = "package.json", "package-lock.json", "node_modules", (".npmrc",)
LOCAL = re.compile(rb"(file|link|workspace):|\"workspaces\"|\"[~.]{0,2}/")


def registry():
    url = next((v for k, v in os.environ.items() if k.lower() == "npm_config_registry"), "https://registry.npmjs.org/")
    return re.sub(r"//[^/@]*@", "//", url)


def line_of(root, name):
    for number, line in enumerate(read(os.path.join(root, "package.json")).splitlines(), 1):
        if re.search(rf'"{re.escape(name)}"\s*:', line):
            return f"package.json:{number}"
    return f"package.json (something in it needs {name})"


def explain(output, root):
    """npm's many lines as one that names the line of the file."""
    code = re.search(r"(?:npm ERR!|npm error) code (\S+)", output)
    code = code[1] if code else ""
    missing = re.search(r"'?(@?[\w.~-]+(?:/[\w.~-]+)?)@([^'\s]*)'? is not in (?:the npm|this) registry", output)
    version = re.search(r"No matching version found for (@?[^@\s]+)@(\S+?)\.?(?:\s|$)", output)
    if missing or code == "E404":
        name = missing[1] if missing else "a package"
        return f"{line_of(root, name)}: the registry {registry()} has no package {name}: correct the name"
    if version:
        return f"{line_of(root, version[1])}: the registry {registry()} has no {version[1]}@{version[2]}: correct the version"
    if code == "EINTEGRITY":
        return f"package-lock.json: what the registry {registry()} has now is not what the lock says: if that is meant, remove package-lock.json and build again"
    if code == "ERESOLVE":
        asked = re.findall(r"(?:npm ERR!|npm error) (?:Could not resolve dependency:|peer (.*))", output)
        return f"package.json: the versions that are asked for contradict each other ({next((a for a in asked if a), 'see the log')}): loosen one"
    if unreachable(output):
        return f"package.json: the registry {registry()} cannot be reached from the builder: see NPM_CONFIG_REGISTRY or .npmrc, and whether its egress allows it (fnctl build --egress)"
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
    if not runs_scripts(root, env["npm_config_userconfig"]):
        env["npm_config_ignore_scripts"] = "true"
    shutil.rmtree(os.path.join(root, "node_modules"), ignore_errors=True)
    current = is_current(root, asked)
    progress("build: what package-lock.json says is installed" if current else "build: a package-lock.json is made")
    output, good = run("npm", ["npm", "ci" if current else "install", *OPTIONS], root, env)
    if not good:
        raise Refused(explain(output, root))
    hidden = os.path.join(root, "node_modules", ".package-lock.json")  # a record for npm's next run, which there is none of
    if os.path.exists(hidden):
        os.unlink(hidden)
