#!/usr/bin/python3
"""bench_deploy.py BUILD [ROW ...]: how long it takes until code runs. Run by `make bench` inside a private test host. Prints; never fails for a time. Its row is `deploy`.

  runtime   150 MB put as a runtime; the first function over it; then more of them, whose packages are one file
  import    500 MB of files (12,500, in a Debian tree's mix of sizes, as four layers) by `fnctl deploy`, beside `tar xf` of the same files to the same file system, in turns: as a plain tar, as docker save writes it, as an
            OCI layout, and that with the layers compressed (beside `tar xzf` of these)

Wall time until the function is ready, and CPU time (user + sys) of fnctl, gateway, runner and jail together. A deploy ends when all of it is on disk, `tar xf` when it is in the cache: `tar xf, and sync` is there too.

State, and what tar writes, are on an ext4 of their own in memory, new for each command: the disk of a machine that others use measures these others, and ext4 passes over inodes that were freed within the last minutes, one by
one, so that the second round of whatever makes and removes files would measure the removal of the first. All of its memory, and as much as page cache will take, is written to before: a virtual machine that gives free memory
back to its host (free page reporting of virtio_balloon) pays five times as much for the first touch, 1.6 s instead of 0.3 s for 512 MB here, and whatever ran last in a round paid it. 5 GB of memory are needed.
"""

import contextlib
import hashlib
import io
import json
import mmap
import os
import random
import resource
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time

import benchhost
from benchhost import Daemon, build

ROUNDS = 3
IMAGE_MB, RUNTIME_MB = 500, 150
LAYERS = 4
FUNCTIONS = 20
DISK_MB = 2048
CACHE_MB = 1536  # of what is read and written by one command
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def touch(megabytes):
    """Has so much memory from the host, and frees it; it goes back only after some seconds."""
    with mmap.mmap(-1, megabytes << 20) as memory:
        for at in range(0, megabytes << 20, mmap.PAGESIZE):
            memory[at] = 1


class Disk:
    """A new ext4 in a file."""

    def __enter__(self):
        fd, self.file = tempfile.mkstemp(prefix="bench-disk-", dir="/dev/shm")
        with open(fd, "wb") as f:
            for _ in range(DISK_MB):
                f.write(bytes(1 << 20))
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", self.file], check=True)
        self.point = tempfile.mkdtemp(prefix="bench-", dir="/var/lib/fnd")
        subprocess.run(["mount", "-o", "loop", self.file, self.point], check=True)
        return self.point

    def __exit__(self, *_):
        subprocess.run(["umount", self.point], check=True)
        os.rmdir(self.point)
        os.unlink(self.file)


# ---- what is deployed ----


def fill(tar, top, megabytes, seed):
    """Regular files as a Debian tree has them: most are small, most bytes in large ones; half of each compresses."""
    r = random.Random(seed)
    noise, text = r.randbytes(1 << 20), b"the same words again and again, as programs and their texts have them\n" * 8000
    left, n, seen = megabytes << 20, 0, set()
    while left > 0:
        size = min(left, int(min(64 << 20, max(100, r.lognormvariate(8.7, 2.0)))))
        path = f"{top}/p{n % 40}/m{n // 400}"
        for directory in (path.rsplit("/", 1)[0], path):
            if directory not in seen:
                seen.add(directory)
                add(tar, directory, None, 0o755)
        at = r.randrange(1 << 18)
        piece = noise[at:at + (1 << 16)] + text[at:at + (1 << 16)]
        add(tar, f"{path}/f{n}", (piece * (size // len(piece) + 1))[:size], 0o644)
        left -= size
        n += 1
    return n


def add(tar, name, data, mode):
    info = tarfile.TarInfo(name)
    info.mode = mode
    info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
    info.size = len(data or b"")
    tar.addfile(info, io.BytesIO(data or b""))


def hello(tar):
    with open(f"{build}/rootfs/hello/hello", "rb") as f:
        add(tar, "hello", f.read(), 0o755)


def write_tar(path, maker):
    with tarfile.open(path, "w") as tar:
        maker(tar)
    return path


def sha256_of(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]


def blob(data):
    return hashlib.sha256(data).hexdigest(), data


def config_of(diff_ids):
    return json.dumps({"architecture": ARCH, "os": "linux", "config": {"Entrypoint": ["/hello"], "ExposedPorts": {"3000/tcp": {}}},
                       "rootfs": {"type": "layers", "diff_ids": ["sha256:" + d for d in diff_ids]}}).encode()


class Image:
    """One image in the forms that tools write, the layers once and in their order in the archive; each round has another last layer, so that none is there already."""

    def __init__(self, directory, compressed=False):
        self.directory, self.compressed = directory, compressed
        self.layers = []
        for i in range(LAYERS):
            path = f"{directory}/layer{i}.tar"
            self.layers.append({"path": path, "diff_id": sha256_of(path), "digest": sha256_of(path)})
            if compressed:
                subprocess.run(["gzip", "-1", "-n", "-k", "-f", path], check=True)
                self.layers[-1].update(path=path + ".gz", digest=sha256_of(path + ".gz"))

    def last_layer(self, text):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            add(tar, "round", text.encode(), 0o644)
        return blob(out.getvalue())

    def add_layers(self, tar, name_of):
        for layer in sorted(self.layers, key=lambda layer: layer["digest"]):
            with open(layer["path"], "rb") as f:
                info = tarfile.TarInfo(name_of(layer))
                info.size = os.path.getsize(layer["path"])
                tar.addfile(info, f)

    def oci(self, path, text):
        last = self.last_layer(text)
        config = blob(config_of([layer["diff_id"] for layer in self.layers] + [last[0]]))
        kind = "application/vnd.oci.image.layer.v1.tar"
        layers = [{"mediaType": kind + ("+gzip" if self.compressed else ""), "digest": "sha256:" + layer["digest"], "size": os.path.getsize(layer["path"])} for layer in self.layers]
        manifest = blob(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                                    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + config[0], "size": len(config[1])},
                                    "layers": layers + [{"mediaType": kind, "digest": "sha256:" + last[0], "size": len(last[1])}]}).encode())
        index = json.dumps({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + manifest[0], "size": len(manifest[1])}]})
        with tarfile.open(path, "w") as tar:
            self.add_layers(tar, lambda layer: "blobs/sha256/" + layer["digest"])
            for digest, data in (last, config, manifest):
                add(tar, "blobs/sha256/" + digest, data, 0o644)
            add(tar, "index.json", index.encode(), 0o644)
            add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}', 0o644)
        return path

    def docker(self, path, text):
        last = self.last_layer(text)
        config = blob(config_of([layer["diff_id"] for layer in self.layers] + [last[0]]))
        manifest = [{"Config": config[0] + ".json", "RepoTags": ["bench:latest"], "Layers": [layer["diff_id"] + ".tar" for layer in self.layers] + [last[0] + ".tar"]}]
        with tarfile.open(path, "w") as tar:
            self.add_layers(tar, lambda layer: layer["diff_id"] + ".tar")
            add(tar, last[0] + ".tar", last[1], 0o644)
            add(tar, config[0] + ".json", config[1], 0o644)
            add(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)
        return path


def make_layer(i):
    def maker(tar):
        fill(tar, f"usr/lib{i}", IMAGE_MB // LAYERS, i)
        if i == 0:
            hello(tar)
    return maker


def plain(path, text):
    def maker(tar):
        add(tar, "function.ini", b"[function]\nname = plain\ncommand = /hello\n", 0o644)
        add(tar, "round", text.encode(), 0o644)
        for i in range(LAYERS):
            make_layer(i)(tar)
    return write_tar(path, maker)


# ---- measuring ----


def daemon_cpu(d):
    """Of runner, gateway, and what the runner has waited for: the jail."""
    total = 0
    for pid in (d.process.pid, d.gateway_pid()):
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            total += sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:15])
    return total / os.sysconf("SC_CLK_TCK")


def children_cpu():
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return u.ru_utime + u.ru_stime


class Figures:
    def __init__(self):
        self.wall, self.cpu = {}, {}

    def run(self, name, command, d=None):
        before = children_cpu() + (daemon_cpu(d) if d else 0)
        begin = time.monotonic()
        p = subprocess.run(command, capture_output=True, text=True, check=False)
        self.wall.setdefault(name, []).append((time.monotonic() - begin) * 1000)
        self.cpu.setdefault(name, []).append((children_cpu() + (daemon_cpu(d) if d else 0) - before) * 1000)
        if p.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: {p.stderr}{d.said() if d else ''}")

    def show(self, name, yard=None):
        wall, cpu = statistics.median(self.wall[name]), statistics.median(self.cpu[name])
        line = f"  {name:<44} median {wall:8.0f} ms  CPU {cpu:8.0f} ms"
        if yard:
            line += f"   {statistics.median(self.wall[yard]) / wall:.2f} of the speed of {yard}"
        print(line, flush=True)


def fnctl(d, *args):
    return [f"{build}/fnctl", "--socket", d.socket, *args]


@contextlib.contextmanager
def daemon(disk):
    d = Daemon(4, runner__state=f"{disk}/state")
    try:
        yield d
    finally:
        d.stop()


def import_round(f, archives, image, gz, n):
    path = f"{archives}/archive.tar"

    def untar(name, command):
        with Disk() as disk:
            os.mkdir(f"{disk}/t")
            os.sync()
            touch(CACHE_MB)
            f.run(name, ["sh", "-c", command.format(to=f"{disk}/t")])

    def deploy(name):
        with Disk() as disk, daemon(disk) as d:
            os.sync()
            touch(CACHE_MB)
            f.run(name, fnctl(d, "deploy", path, "--name", name.replace(" ", "").replace(",", "")), d)

    plain(path, str(n))
    untar("tar xf", f"tar -C {{to}} -xf {path}")
    untar("tar xf, and sync", f"tar -C {{to}} -xf {path} && sync -f {{to}}")
    deploy("plain tar")
    for name, make in (("docker save", image.docker), ("OCI", image.oci), ("OCI, gzip", gz.oci)):
        make(path, f"{name} {n}")
        deploy(name)
    untar("tar xzf", "for t in " + " ".join(layer["path"] for layer in gz.layers) + "; do tar -C {to} -xzf $t; done")


def bench_import():
    archives = tempfile.mkdtemp(prefix="archives-", dir="/var/lib/fnd")
    f = Figures()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, archives)
        for i in range(LAYERS):
            write_tar(f"{archives}/layer{i}.tar", make_layer(i))
        image, gz = Image(archives), Image(archives, compressed=True)
        for n in range(ROUNDS):
            import_round(f, archives, image, gz, n)
    print(f"import: {IMAGE_MB} MB in {LAYERS} layers, {ROUNDS} rounds in turns", flush=True)
    for name in f.wall:
        f.show(name, {"tar xf": None, "tar xf, and sync": None, "tar xzf": None, "OCI, gzip": "tar xzf"}.get(name, "tar xf"))


def bench_runtime():
    work = tempfile.mkdtemp(prefix="archives-", dir="/var/lib/fnd")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, work)
        d = stack.enter_context(daemon(stack.enter_context(Disk())))
        tree = write_tar(f"{work}/runtime.tar", lambda tar: (hello(tar), fill(tar, "usr/lib", RUNTIME_MB, 7)))
        f = Figures()
        os.sync()
        f.run(f"runtime of {RUNTIME_MB} MB put", fnctl(d, "runtime", "put", "big", tree), d)
        for n in range(FUNCTIONS + 1):
            def thin(tar, n=n):
                add(tar, "function.ini", f"[function]\nname = f{n}\nruntime = big\ncommand = /hello\n".encode(), 0o644)
                add(tar, "note", str(n).encode(), 0o644)
            path = write_tar(f"{work}/thin.tar", thin)
            f.run("first function" if n == 0 else "further functions", fnctl(d, "deploy", path), d)
        print(f"runtime: {FUNCTIONS} further functions", flush=True)
        for name in f.wall:
            f.show(name)
        print(f"  {'further functions, quickest and slowest':<44} {min(f.wall['further functions']):.0f} and {max(f.wall['further functions']):.0f} ms", flush=True)


if not benchhost.rows or "deploy" in benchhost.rows:
    bench_runtime()
    bench_import()
