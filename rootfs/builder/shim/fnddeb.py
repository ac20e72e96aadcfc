"""packages: Debian packages that the function needs besides what its runtime has, a name a line, unpacked into rootfs/, which is laid over the runtime's root.

apt resolves and fetches with directories of its own and the sources that the variables APT_SOURCE_N say (lines of sources.list; fnctl sends those of its host). Scripts of packages are not run, and what only
they call is not got. packages.lock is kept with the source: NAME=VERSION and a digest a line; while `packages` has not changed, that is what is installed.
"""
import glob
import hashlib
import io
import os
import re
import shutil
import tarfile
import urllib.parse

import fndtool
from fndtool import Refused, progress, read, run, unreachable

HERE = os.path.dirname(os.path.realpath(__file__))
MADE_OF = "# made of packages "
FILE, LOCK, PLACE, PRIVATE = "packages", "packages.lock", "rootfs", ()
LOCAL = re.compile(rb"(?!)")
SCRIPTS_ONLY = ("adduser", "cdebconf", "debconf", "dpkg", "init-system-helpers", "install-info", "ucf")
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
USELESS = re.compile(r"(usr/share/(doc|doc-base|man|info|locale|lintian|bug|menu|bash-completion|zsh|applications|pixmaps)|usr/include|usr/lib/(systemd|tmpfiles\.d|sysusers\.d|fnd|[^/]+/gconv)|etc/(init\.d|cron[^/]*|logrotate\.d|default)|"
                     r"var|boot|home|media|mnt|root|run|srv|sys|tmp|dev|proc|app|code)(/|$)")


def asked_for(root):
    """{name: line}"""
    asked = {}
    for number, line in enumerate(read(os.path.join(root, "packages")).splitlines(), 1):
        name = line.split("#")[0].strip()
        if name and not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name):
            raise Refused(f"packages:{number}: {name[:60]}: not the name of a Debian package: one a line is meant")
        if name:
            asked[name] = number
    return asked


# ---- what the runtime has ----


def recipe(name):
    """The lines of a recipe's lists and of those it stands on."""
    base, lines = os.path.join(HERE, "recipes", name + ".base"), []
    for lower in read(base).split() if os.path.exists(base) else []:
        lines += recipe(lower)
    path = os.path.join(HERE, "recipes", name + ".packages")
    return lines + [w for w in (line.split("#")[0].strip() for line in (read(path).splitlines() if os.path.exists(path) else [])) if w]


def stanzas():
    found = {}
    for text in read(os.path.join(HERE, "status")).split("\n\n"):
        fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
        if "Package" in fields:
            found[fields["Package"]] = fields
    return found


def names_in(text):
    return [re.sub(r"[:( ].*", "", one.strip()) for one in re.split(r"[,|]", text) if one.strip()]


def status(runtime, asked, architecture):
    """What apt is to take for installed: of this image what the runtime has too, without what those depend on, since that was decided when it was made."""
    here, listed = stanzas(), recipe(runtime)
    wanted = [w for w in listed if not w.startswith("-")]
    without = {w[1:] for w in listed if w.startswith("-")} - set(wanted)
    provided = {}
    for name, fields in here.items():
        for virtual in names_in(fields.get("Provides", "")):
            provided.setdefault(virtual, []).append(name)
    have, rest = {}, list(wanted)
    while rest:
        name = rest.pop()
        if name in have or name in without:
            continue
        have[name] = here.get(name)
        for other in names_in(have[name].get("Pre-Depends", "") + "," + have[name].get("Depends", "")) if have[name] else []:
            rest += [o for o in [other, *provided.get(other, [])] if o in here]
    made = ""
    for name in sorted(set(have) | {n for n in SCRIPTS_ONLY if n not in asked}):
        fields = have.get(name) or {"Version": "9999:1", "Architecture": architecture, "Multi-Arch": "foreign"}
        kept = "".join(f"{key}: {fields[key]}\n" for key in ("Version", "Architecture", "Multi-Arch", "Provides") if key in fields)
        made += f"Package: {name}\nStatus: install ok installed\n{kept}Maintainer: none\nDescription: none\n\n"
    return made


# ---- apt ----


class Apt:
    def __init__(self, beside, runtime, asked):
        self.top = os.path.join(beside, "apt")
        self.debs = os.path.join(self.top, "debs")
        for d in ("state/lists/partial", "cache/archives/partial", "etc", "debs"):
            os.makedirs(os.path.join(self.top, d))
        here = stanzas()
        architecture = next((f["Architecture"] for f in here.values() if f.get("Architecture", "all") != "all"), "amd64")
        sources = [v for k, v in sorted(os.environ.items()) if k.startswith("APT_SOURCE_")]
        if not sources:
            raise Refused("packages: the builder was told no apt source: the host of fnctl has none for its own release, and no variable APT_SOURCE_1 is set (a line of sources.list)")
        self.sources = ", ".join(re.sub(r"^deb (\[[^]]*\] )?|//[^/@ ]*@", lambda m: "//" if m[0].startswith("//") else "", s) for s in sources)
        self.write("status", status(runtime, asked, architecture))
        self.write("sources.list", "\n".join(sources) + "\n")
        self.write("apt.conf", f'Dir "{self.top}";\nDir::State "state";\nDir::State::status "{self.top}/status";\nDir::Cache "cache";\nDir::Etc "etc";\nDir::Etc::sourcelist "{self.top}/sources.list";\n'
                   'Dir::Etc::sourceparts "/dev/null";\nDir::Etc::trusted "/usr/share/keyrings/debian-archive-keyring.gpg";\nDir::Etc::trustedparts "/dev/null";\nDir::Etc::parts "/dev/null";\nDir::Bin::dpkg "/bin/true";\n'
                   f'APT::Architecture "{architecture}";\nAPT::Architectures {{ "{architecture}"; }};\nAPT::Install-Recommends "false";\nAPT::Sandbox::User "";\nAPT::Get::Assume-Yes "true";\nAPT::Update::Error-Mode "any";\n'
                   'Acquire::Languages "none";\nAcquire::Retries "1";\nAcquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";\nDebug::NoLocking "true";\nDPkg::Use-Pty "false";\n')

    def write(self, name, text):
        with open(os.path.join(self.top, name), "w", encoding="utf-8") as f:
            f.write(text)

    def run(self, *arguments):
        return run("apt", ["apt-get", "-q", *arguments], self.debs, {"APT_CONFIG": os.path.join(self.top, "apt.conf"), "LC_ALL": "C", "TMPDIR": self.top})

    def explain(self, output, file, lines):
        missing = re.search(r"Unable to locate package (\S+)|Package '?(\S+?)'? has no installation candidate", output)
        version = re.search(r"Version '(\S+)' for '(\S+)' was not found", output)
        if missing:
            name = missing[1] or missing[2]
            return f"{file}:{lines.get(name, 1)}: the apt sources ({self.sources}) have no package {name}: correct the name (apt-cache search finds it), or add the source that has it"
        if version:
            return f"{file}:{lines.get(version[2], 1)}: the apt sources ({self.sources}) no longer have {version[2]} {version[1]}: remove packages.lock and build again"
        if unreachable(output) or "Failed to fetch" in output:
            return f"{file}: the apt sources ({self.sources}) cannot be reached from the builder: see the log, and whether its egress allows it (fnctl build --egress)"
        said = [line[3:].strip() for line in output.splitlines() if line.startswith("E: ")] or [line.strip() for line in output.splitlines() if " : " in line]
        return f"{file}: apt: {said[0] if said else 'failed; its lines are in the log above'}"


def resolve(apt, asked):
    output, good = apt.run("install", "--print-uris", "--no-remove", *asked)
    if not good:
        raise Refused(apt.explain(output, "packages", asked))
    found = []
    for file in re.findall(r"^'[^']*' (\S+\.deb) \d+", output, re.M):
        name, version, _ = file.split("_")
        found.append((name, urllib.parse.unquote(version)))
    return sorted(found)


def locked(lock):
    """[(name, version, digest)] and {name: line}"""
    found, lines = [], {}
    for number, line in enumerate(read(lock).splitlines(), 1):
        if line.startswith("#") or not line.strip():
            continue
        match = re.fullmatch(r"([a-z0-9][a-z0-9+.-]+)=(\S+) sha256:([0-9a-f]{64})", line.strip())
        if not match:
            raise Refused(f"packages.lock:{number}: NAME=VERSION sha256:DIGEST is meant: remove packages.lock and build again")
        found.append(match.groups())
        lines[match[1]] = number
    return found, lines


def fetch(apt, wanted, file, lines):
    """{name: path of the .deb}"""
    if not wanted:
        return {}
    output, good = apt.run("download", *(f"{name}={version}" for name, version in wanted))
    if not good:
        raise Refused(apt.explain(output, file, lines))
    return {os.path.basename(p).split("_")[0]: p for p in glob.glob(os.path.join(apt.debs, "*.deb"))}


# ---- unpacking ----


def data_of(path):
    """The data.tar of a package, which is an ar archive (deb(5))."""
    with open(path, "rb") as f:
        good = f.read(8) == b"!<arch>\n"
        while good:
            head = f.read(60)
            if len(head) < 60:
                break
            size = int(head[48:58])
            if head.startswith(b"data.tar"):
                return io.BytesIO(f.read(size))
            f.seek(size + size % 2, 1)
    raise Refused(f"packages: {os.path.basename(path)} is no Debian package")


def place(name):
    """Where a file of a package goes below rootfs/, or None."""
    path = os.path.normpath(name.lstrip("/"))
    if path == "." or path.split("/")[0] == "..":
        return None
    if path.split("/")[0] in MERGED:
        path = "usr/" + path if "/" in path else None
    return None if path is None or USELESS.match(path) else path


def unpack(deb, top):
    """Files first, then hard links, then symlinks: nothing is written through one. What the source has itself stays."""
    links = []
    try:
        with tarfile.open(fileobj=data_of(deb), mode="r:*") as tar:
            for member in tar:
                path = place(member.name)
                target = path and os.path.join(top, path)
                if not path or (os.path.lexists(target) and not member.isdir()):
                    continue
                if member.isdir():
                    os.makedirs(target, exist_ok=True)
                    continue
                os.makedirs(os.path.dirname(target), exist_ok=True)
                if member.issym():
                    links.append((member.linkname, target))
                elif member.isreg() or member.islnk():
                    with open(target, "wb") as out:
                        shutil.copyfileobj(tar.extractfile(member), out)
                    os.chmod(target, 0o755 if member.mode & 0o100 else 0o644)
    except (tarfile.TarError, EOFError, ValueError) as e:
        raise Refused(f"packages: {os.path.basename(deb)} cannot be unpacked: {e}") from None
    return links


def install(root, beside, runtime, asked):
    lock, top = os.path.join(root, "packages.lock"), os.path.join(root, "rootfs")
    made_of = MADE_OF + fndtool.digest("\n".join(sorted(asked)))
    apt = Apt(beside, runtime, asked)
    output, good = apt.run("update")
    if not good:
        raise Refused(apt.explain(output, "packages", asked))
    if os.path.exists(lock) and read(lock).split("\n", 1)[0] == made_of:
        progress("build: what packages.lock says is installed")
        wanted, lines = locked(lock)
        debs = fetch(apt, [w[:2] for w in wanted], "packages.lock", lines)
    else:
        progress("build: a packages.lock is made")
        wanted, lines = [(*w, None) for w in resolve(apt, asked)], asked
        debs = fetch(apt, [w[:2] for w in wanted], "packages", asked)
    text, links = made_of + "\n", []
    for name, version, expected in wanted:
        with open(debs[name], "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        if expected not in (None, digest):
            raise Refused(f"packages.lock:{lines[name]}: what the apt sources ({apt.sources}) have as {name} {version} now is not what the lock says: if that is meant, remove packages.lock and build again")
        text += f"{name}={version} sha256:{digest}\n"
        links += unpack(debs[name], top)
    for target, path in links:
        if not os.path.lexists(path):
            os.symlink(target, path)
    with open(lock, "w", encoding="utf-8") as f:
        f.write(text)


def inputs(root):
    """With a rootfs/ of the source's own, that is not what was installed alone."""
    return [FILE] if os.path.isfile(os.path.join(root, FILE)) and not os.path.lexists(os.path.join(root, PLACE)) else []


def build(root, beside, runtime):
    if os.path.isfile(os.path.join(root, "packages")):
        asked = asked_for(root)
        if asked:
            install(root, beside, runtime, asked)
