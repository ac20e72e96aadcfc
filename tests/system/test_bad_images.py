"""Images that are wrong, through the daemon: a deploy gives one message that names the archive and the remedy, and changes nothing. Each layer and document of an image is in tests/root/test_image*.c."""

import gzip
import hashlib
import io
import json
import os
import re
import tarfile

import fndtest
from fndtest import fnctl, function, get, wait_until
from test_bad_functions import other_machine

OCI = "application/vnd.oci.image."


def blob(archive, data):
    digest = hashlib.sha256(data).hexdigest()
    archive[f"blobs/sha256/{digest}"] = data
    return {"digest": f"sha256:{digest}", "size": len(data)}


def image(path, entrypoint=("/bin/httpd", "-f", "-p", "3000", "-h", "/www"), architecture=None, layer=None, change=None, program=None):
    """An OCI archive of busybox; what is said otherwise is wrong. change(files, layer's name) has the last word."""
    made = io.BytesIO()
    with tarfile.open(f"{fndtest.BUILD}/busybox.tar.gz") as base, tarfile.open(fileobj=made, mode="w") as t:
        for member in base:
            if os.path.normpath(member.name) != "function.ini":
                t.addfile(member, base.extractfile(member) if member.isfile() else None)
        if program:
            info = tarfile.TarInfo("server")
            info.size, info.mode = len(program), 0o755
            t.addfile(info, io.BytesIO(program))
    tar = layer or made.getvalue()
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    packed = blob(files, gzip.compress(tar, 1, mtime=0))
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    config = {"architecture": architecture or machine, "os": "linux", "config": {"Entrypoint": list(entrypoint)} if entrypoint else {},
              "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]}}
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": {"mediaType": OCI + "config.v1+json", **blob(files, json.dumps(config).encode())},
                "layers": [{"mediaType": OCI + "layer.v1.tar+gzip", **packed}]}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [{"mediaType": OCI + "manifest.v1+json", **blob(files, json.dumps(manifest).encode())}]}).encode()
    if change:
        change(files, "blobs/sha256/" + packed["digest"][7:])
    with tarfile.open(path, "w") as out:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


def other_bytes(files, layer):
    files[layer] = files[layer][:4] + b"\1\2\3\4" + files[layer][8:]  # gzip's time: only the digest differs


def cut_short(files, layer):
    files[layer] = files[layer][: len(files[layer]) // 2]


def left_out(files, layer):
    del files[layer]


OTHER = {"x86_64": "arm64", "aarch64": "amd64"}[os.uname().machine]
# What is wrong with it, and what the message has: the file of the archive where one is wrong.
IMAGES = {
    "architecture": ({"architecture": OTHER}, rf"the image is for {OTHER}, this host is (x86-64|arm64): "),
    "no way to start": ({"entrypoint": None}, r"no way to start: the image has neither Entrypoint nor Cmd: say --set function\.command="),
    "program is not there": ({"entrypoint": ["/nothing"]}, r'"/nothing", which the image\'s configuration starts, is not in the image: say another by --set function\.command='),
    "program of another machine": ({"entrypoint": ["/server"], "program": "OTHER"}, r'"/server" is a program for (arm64|x86-64), this host is'),
    "digest": ({"change": other_bytes}, r"blobs/sha256/[0-9a-f]{64} of the image has another digest, sha256:[0-9a-f]{64}, than it should have .*: the archive is damaged, save it again"),
    "layer cut short": ({"change": cut_short}, r"layer 1 of 1 of the image \([0-9a-f]{20}\.\.\.\): .*the archive is damaged, or cut off \(make it again\)"),
    "layer left out": ({"change": left_out}, r"blobs/sha256/[0-9a-f]{64}"),
    "corrupt layer": ({"layer": b"no tar at all" * 100}, r"layer 1 of 1 of the image \([0-9a-f]{20}\.\.\.\): .*"),
}


def test_images(daemon, tmp_path):
    fnctl("deploy", image(tmp_path / "good.tar"), "--name", "hello")
    good = get("/fn/hello/")
    for name, (wrong, pattern) in IMAGES.items():
        if "program" in wrong:
            wrong = {**wrong, "program": other_machine()}
        result = fnctl("deploy", image(tmp_path / "bad.tar", **wrong), "--name", "hello", status=1)
        assert re.match(rf"fnctl: {tmp_path}/bad\.tar: .*{pattern}", result.err) and len(result.err.splitlines()) == 1, (name, result)
        assert function("hello")["version"] == 1 and get("/fn/hello/").body == good.body, name
    wait_until(lambda: [n for n in os.listdir("/var/lib/fnd/images") if n.startswith(".staging")] == [], 30, "the staging directories to vanish")
