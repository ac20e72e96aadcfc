"""Root file systems for functions, made of what Debian packages have installed on this machine: files with the libraries that they load."""

import functools
import glob
import os
import re
import shutil
import subprocess

import fndtest

MERGED = ("bin", "sbin", "lib", "lib64")


@functools.lru_cache(maxsize=None)
def libraries(path):
    """What the loader would load for it, and the loader."""
    out = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", out, re.M)


def is_elf(path):
    with open(path, "rb") as f:
        return f.read(4) == b"\x7fELF"


class Root:
    """A tree with merged /usr, busybox as /bin/busybox and /bin/sh, and a user 1000."""

    def __init__(self, top):
        self.top = str(top)
        for name in MERGED:
            os.makedirs(f"{self.top}/usr/{name}")
            os.symlink("usr/" + name, f"{self.top}/{name}")
        self.write("/etc/passwd", "root:x:0:0::/:/bin/sh\nfn:x:1000:1000::/tmp:/bin/sh\n")
        self.write("/etc/group", "root:x:0:\nfn:x:1000:\n")
        self.add("/bin/busybox")
        for name in ("sh", "cat", "grep", "sed", "usleep", "echo", "env", "tail"):
            os.symlink("busybox", f"{self.top}/usr/bin/{name}")

    def place(self, path):
        """Where a path of the host lies in the tree: below /usr where the host has it in one of the merged directories."""
        first, _, rest = path.lstrip("/").partition("/")
        return f"{self.top}/usr/{first}/{rest}" if first in MERGED else self.top + path

    def write(self, path, text, mode=0o644):
        target = self.place(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(target, mode)

    def add(self, path, at=None):
        """One file, or symlink with what it leads to; of programs and libraries what they load."""
        target = self.place(at or path)
        if os.path.lexists(target):
            return
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.islink(path) and not at:
            os.symlink(os.readlink(path), target)
            further = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
            if os.path.isfile(further):
                self.add(further)
            return
        shutil.copyfile(path, target)
        os.chmod(target, os.stat(path).st_mode & 0o777)
        if is_elf(path):
            for library in libraries(path):
                self.add(library)

    def add_package(self, name, skip=r"/usr/share/(doc|man|lintian|bash-completion|locale)/|/usr/include/"):
        """Everything that a package has installed."""
        listed = subprocess.run(["dpkg", "-L", name], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        for path in listed:
            if not re.match(skip, path) and (os.path.isfile(path) or os.path.islink(path)):
                self.add(path)

    def add_installed(self, *patterns):
        """The packages with such names that are installed."""
        out = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n", *patterns], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
        names = [line.split()[1] for line in out.splitlines() if line.startswith("installed ")]
        for name in names:
            self.add_package(name)

    def source(self, name, at, mode=0o755):
        """A file of tests/system/programs."""
        with open(f"{fndtest.REPO}/tests/system/programs/{name}", encoding="utf-8") as f:
            self.write(at, f.read(), mode)


def newest(pattern):
    return sorted(glob.glob(pattern))[-1]
