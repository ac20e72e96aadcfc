"""Gemfile: Bundler installs the gems that it names into vendor/bundle/, with a setup.rb that the runtime's shim loads: the runtime has neither rubygems nor Bundler.

Gemfile.lock is Bundler's own lock. Where there is one that fits, what it says is installed; else it is made anew.

Extensions of gems (extconf.rb ...) are code that is run when a gem is installed. Bundler does not run it here (fndapart.rb), since it has the credentials of the source; fndext.rb does afterwards, without (fndtool.py).
"""
import glob
import os
import re
import shutil

from fndtool import Refused, alone, forget, progress, read, run, unreachable

HERE = os.path.dirname(os.path.realpath(__file__))
FILE, LOCK, PLACE, PRIVATE = "Gemfile", "Gemfile.lock", "vendor/bundle", ()
LOCAL = re.compile(rb"path|gemspec|File|Dir|IO|Pathname|require|load|read|eval|open|`|%x|exec|system|Kernel")  # a Gemfile is a program


def at(root, name):
    for number, line in enumerate(read(os.path.join(root, "Gemfile")).splitlines(), 1):
        if re.search(rf"""gem\s*\(?\s*["']{re.escape(name)}["']""", line):
            return f"Gemfile:{number}"
    return f"Gemfile (something in it needs {name})"


def source(root):
    found = re.search(r"""^\s*source\s*\(?\s*["']([^"']+)["']""", read(os.path.join(root, "Gemfile")), re.M)
    return re.sub(r"//[^/@]*@", "//", found[1]) if found else "(none: say source 'https://rubygems.org' in Gemfile)"


def explain(output, root):
    """Bundler's many lines as one that names the line of the file."""
    missing = re.search(r"Could not find gem '([^' ]+)(?: \(([^)]*)\))?'?[^\n]* in ", output)
    if unreachable(output):
        return f"Gemfile: the source {source(root)} cannot be reached from the builder: see whether its egress allows it (fnctl build --egress)"
    if missing:
        asked = f" ({missing[2]})" if missing[2] else ""
        return f"{at(root, missing[1])}: the source {source(root)} has no gem {missing[1]}{asked}: correct the name or the version"
    wrong = re.search(r"There was an error parsing `Gemfile`: (.*?)(?: Bundler cannot continue|\n)", output)
    if wrong:
        return f"Gemfile: {wrong[1].strip()}"
    native = re.search(r"An error occurred while installing ([\w.-]+)", output)
    if native and "Failed to build gem native extension" in output:
        return f"{at(root, native[1])}: {native[1]} is compiled when it is installed, and the builder has no compiler: name a gem that is pure Ruby, or the Debian package ruby-{native[1]} in `packages`"
    last = [line for line in output.splitlines() if line.strip()]
    return f"Gemfile: bundler: {last[-1].strip() if last else 'failed; its lines are in the log above'}"


def inputs(root):
    return [FILE] if os.path.isfile(os.path.join(root, FILE)) else []


def build(root, beside, _):
    if not os.path.exists(os.path.join(root, "Gemfile")):
        return
    shutil.rmtree(os.path.join(root, PLACE), ignore_errors=True)
    env = {"HOME": beside, "BUNDLE_USER_HOME": os.path.join(beside, "bundle"), "BUNDLE_APP_CONFIG": os.path.join(beside, "config"), "BUNDLE_PATH": os.path.join(root, PLACE), "BUNDLE_SILENCE_ROOT_WARNING": "1",
           "BUNDLE_DISABLE_VERSION_CHECK": "1", "BUNDLE_WITHOUT": "development:test", "GEM_HOME": os.path.join(beside, "gems")}
    progress("build: what Gemfile names is installed, by Gemfile.lock where there is one")
    output, good = run("bundler", ["bundle", "install", "--standalone", "--jobs", "1", "--retry", "1"], root, {**env, "RUBYOPT": f"-r{HERE}/fndapart.rb"})
    if not good:
        raise Refused(explain(output, root))
    forget(beside)
    for home in sorted(glob.glob(os.path.join(glob.escape(os.path.join(root, PLACE)), "ruby", "*"))):
        output, good = alone("bundler", ["ruby", os.path.join(HERE, "fndext.rb")], root, {"HOME": beside, "GEM_HOME": home, "GEM_PATH": home})
        if not good:
            raise Refused(explain(output, root))
    for path, dirs, _ in os.walk(os.path.join(root, PLACE)):
        for name in ("cache", "build_info", "doc"):
            if name in dirs and re.search(r"/ruby/[^/]+$", path):
                shutil.rmtree(os.path.join(path, name))
                dirs.remove(name)
