"""The builder's application: unpacks the source, has each tool install what its file names, packs the result.

The tools are the modules fndTOOL.py beside this one, which has what they share; a recipe brings those of its runtime: fnddeb (packages) in all builders, fndpip, fndnpm, fndgem. Each has build(root, beside, runtime):
`root` is the source, `beside` a directory for what is no part of the package; without its file it does nothing; fndtool.Refused is the answer that names the file and the remedy.

A builder that is asked again (fnctl run --watch) keeps what a tool has installed (PLACE), and the lock that came of it, until one of the two that it was made of is another: inputs(root), the names of the files that the tool
reads, or the lock. Where these lead to files of the source (LOCAL), all of it counts. None: nothing is kept. PRIVATE names what is no part of the package.
"""
import importlib
import importlib.util
import io
import os
import shutil
import stat
import tarfile
import tempfile

from fndtool import Refused, digest, progress

TOOLS = ("fnddeb", "fndpip", "fndnpm", "fndgem")
LOCKS = ("requirements.lock", "package-lock.json", "Gemfile.lock", "packages.lock")
PART = 1 << 20
TWICE = "{}: is in the source twice, as two things"


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
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise Refused(TWICE.format(member.name)) from None
    for target, path in links:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.symlink(target, path)
        except (FileExistsError, NotADirectoryError):
            raise Refused(TWICE.format(os.path.relpath(path, root))) from None


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


# ---- what was installed before ----


def state_of(tool, root):
    """(key, lock) of a source as it comes, before any tool has written in it; key None: nothing is to be kept."""
    names, lock = tool.inputs(root), os.path.join(root, tool.LOCK)
    if not names:
        return None, None
    texts = [read_bytes(os.path.join(root, n)) for n in names]
    if any(tool.LOCAL.search(t) for t in texts):
        names = sorted(os.path.relpath(os.path.join(path, n), root) for path, dirs, files in os.walk(root) for n in dirs + files)
        names = [n for n in names if n not in LOCKS]
        texts = [read_bytes(os.path.join(root, n)) for n in names]
    return digest(*(part for n, t in zip(names, texts) for part in (f"{n} {len(t)}\n", t))), read_bytes(lock) if os.path.exists(lock) else None


def read_bytes(path):
    if os.path.islink(path):
        return os.readlink(path).encode(errors="surrogateescape")
    if os.path.isdir(path):
        return b""
    with open(path, "rb") as f:
        return f.read()


class Kept:
    def __init__(self):
        self.top, self.had = None, {}

    def restore(self, tool, key, lock, root):
        name, place = tool.__name__, os.path.join(root, tool.PLACE)
        had = self.had.pop(name, None)
        if had is None:
            return False
        if key is None or had != (key, lock):
            shutil.rmtree(os.path.join(self.top, name), ignore_errors=True)
            return False
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.rename(os.path.join(self.top, name), place)
        for private in tool.PRIVATE:
            if os.path.lexists(os.path.join(root, private)):
                os.unlink(os.path.join(root, private))
        return True

    def put(self, tool, key, root):
        place, lock = os.path.join(root, tool.PLACE), os.path.join(root, tool.LOCK)
        if key is None or not os.path.isdir(place) or not os.path.exists(lock):
            return
        self.top = self.top or tempfile.mkdtemp()
        os.rename(place, os.path.join(self.top, tool.__name__))
        self.had[tool.__name__] = (key, read_bytes(lock))


# ---- the application ----


class Builder:
    def __init__(self, runtime):
        self.runtime, self.locks, self.kept = runtime, {}, Kept()

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
        with tempfile.TemporaryDirectory() as root:
            progress("build: unpacking the source")
            unpack(source, root)
            states, done = {tool: state_of(tool, root) for tool in tools()}, []
            try:
                for tool, (key, lock) in states.items():
                    if self.kept.restore(tool, key, lock, root):
                        progress(f"build: {tool.FILE} has not changed: what was installed for it stays")
                    else:
                        with tempfile.TemporaryDirectory() as beside:  # each its own: one's settings are not there for what another one's packages run
                            tool.build(root, beside, self.runtime)
                    done.append(tool)
                for name in LOCKS:
                    if os.path.exists(os.path.join(root, name)):
                        self.locks[name] = read_bytes(os.path.join(root, name))
                progress("build: packing")
                out = tempfile.TemporaryFile()
                pack(root, out)
                return out
            finally:
                for tool in done:
                    self.kept.put(tool, states[tool][0], root)
