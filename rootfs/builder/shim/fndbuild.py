"""The builder's application: unpacks the source, has each tool install what its file names, packs the result.

The tools are the modules fndTOOL.py beside this one, which has what they share; a recipe brings those of its runtime: fnddeb (packages) in all builders, fndpip, fndnpm, fndgem. Each has build(root, beside, runtime):
`root` is the source, `beside` a directory for what is no part of the package; without its file it does nothing; fndtool.Refused is the answer that names the file and the remedy.
"""
import importlib
import importlib.util
import io
import os
import shutil
import stat
import tarfile
import tempfile

from fndtool import Refused, progress

TOOLS = ("fnddeb", "fndpip", "fndnpm", "fndgem")
LOCKS = ("requirements.lock", "package-lock.json", "Gemfile.lock", "packages.lock")
PART = 1 << 20


def tools():
    return [importlib.import_module(name) for name in TOOLS if importlib.util.find_spec(name)]


# ---- the source ----


def unpack(file, root):
    """Files first, then symlinks: nothing is written through one."""
    links = []
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                path = os.path.normpath(member.name)
                if path.startswith("/") or path.split("/")[0] == "..":
                    raise Refused(f"{member.name}: leads out of the source")
                path = os.path.join(root, path)
                if member.isdir():
                    os.makedirs(path, exist_ok=True)
                elif member.issym():
                    links.append((member.linkname, path))
                elif member.isreg():
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open(path, "wb") as out:
                        shutil.copyfileobj(tar.extractfile(member), out, PART)
                    os.chmod(path, 0o755 if member.mode & 0o100 else 0o644)
                else:
                    raise Refused(f"{member.name}: neither a file nor a directory nor a symlink")
    except (tarfile.TarError, EOFError) as e:
        raise Refused(f"the source is not a tar archive: {e}") from None
    for target, path in links:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, path)


def pack(root, out):
    """Names sorted, times 0, owners 0: the same tree gives the same bytes."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for path, dirs, names in os.walk(root):
            dirs.sort()
            links = [d for d in dirs if os.path.islink(os.path.join(path, d))]
            dirs[:] = [d for d in dirs if d not in links]
            for name in sorted(dirs + names + links):
                add(tar, os.path.join(path, name), os.path.relpath(os.path.join(path, name), root))


def add(tar, path, name):
    status = os.lstat(path)
    info = tarfile.TarInfo(name)
    info.mode = 0o755 if stat.S_ISDIR(status.st_mode) or status.st_mode & 0o100 else 0o644
    if stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
    else:
        info.size = status.st_size
        with open(path, "rb") as f:
            tar.addfile(info, f)
        return
    tar.addfile(info)


# ---- the application ----


class Builder:
    def __init__(self, runtime):
        self.runtime, self.locks = runtime, {}

    def app(self, environ, start_response):
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if method == "GET" and path.startswith("/lock/"):
            found = self.locks.get(path[6:])
            start_response("200 OK" if found is not None else "404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [found if found is not None else b"there is no such lock\n"]
        if method != "POST" or path != "/":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"POST / takes the source as a tar\n"]
        try:
            out = self.build(environ["wsgi.input"])
        except Refused as e:
            progress(f"build: {e}")
            start_response("422 Unprocessable Content", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{e}\n".encode()]
        size = out.seek(0, io.SEEK_END)
        out.seek(0)
        start_response("200 OK", [("Content-Type", "application/x-tar"), ("Content-Length", str(size))])
        return environ["wsgi.file_wrapper"](out, PART)

    def build(self, source):
        self.locks = {}
        with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as beside:
            progress("build: unpacking the source")
            unpack(source, root)
            for tool in tools():
                tool.build(root, beside, self.runtime)
            for name in LOCKS:
                if os.path.exists(os.path.join(root, name)):
                    with open(os.path.join(root, name), "rb") as f:
                        self.locks[name] = f.read()
            progress("build: packing")
            out = tempfile.TemporaryFile()
            pack(root, out)
            return out
