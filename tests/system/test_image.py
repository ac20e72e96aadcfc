"""Images of the container world, made by umoci and skopeo without a network: imported, exported, and asked."""

import json
import os
import shutil
import subprocess

import pytest

import fndtest
from fndtest import fnctl, get

SERVE = ["busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]


def tool(*args, **options):
    out = fndtest.run(*args, **options)
    assert out.status == 0, out
    return out.out


def insert(layout, image, tag, tree, at="/"):
    tool("umoci", "insert", "--image", f"{layout}:{image}", "--tag", tag, str(tree), at)


@pytest.fixture
def layout(tmp_path):
    """Two layers: the second takes a file away and brings others."""
    path, low, high = tmp_path / "layout", tmp_path / "low", tmp_path / "high"
    (low / "bin").mkdir(parents=True)
    (low / "www").mkdir()
    (low / "etc").mkdir()
    shutil.copy("/bin/busybox", low / "bin/busybox")
    (low / "www/index.html").write_text("from the image\n")
    (low / "www/old.html").write_text("old\n")
    (low / "etc/passwd").write_text("root:x:0:0::/:\nweb:x:55:56::/:\n")
    high.mkdir()
    (high / "new.html").write_text("new\n")
    tool("umoci", "init", "--layout", str(path))
    tool("umoci", "new", "--image", f"{path}:web")
    insert(path, "web", "web", low)
    tool("umoci", "insert", "--image", f"{path}:web", "--tag", "web", "--whiteout", "/www/old.html")
    insert(path, "web", "web", high, "/www")
    tool("umoci", "config", "--image", f"{path}:web", "--tag", "web", "--config.user", "web", "--config.exposedports", "8080", "--config.workingdir", "/www",
         "--config.env", "COLOUR=green", *[f"--config.entrypoint={word}" for word in SERVE[:1]], *[f"--config.cmd={word}" for word in SERVE[1:]])
    return path


def check_web(name):
    assert get(f"/fn/{name}/index.html").text == "from the image\n"
    assert get(f"/fn/{name}/new.html").text == "new\n"
    assert get(f"/fn/{name}/old.html").status == 404
    plan = fnctl("plan", name).out
    assert "COLOUR=green" in plan


def test_import_in_every_form(daemon, layout, tmp_path):
    oci, docker, packed = tmp_path / "oci.tar", tmp_path / "docker.tar", tmp_path / "docker.tar.gz"
    tool("skopeo", "copy", "-q", f"oci:{layout}:web", f"oci-archive:{oci}:web")
    tool("skopeo", "copy", "-q", f"oci:{layout}:web", f"docker-archive:{docker}:web:latest")
    packed.write_bytes(tool_bytes("gzip", "-1c", str(docker)))
    images = set()
    for name, source in (("dir", layout), ("oci", oci), ("docker", docker), ("packed", packed)):
        fnctl("deploy", str(source), "--name", name)
        check_web(name)
        images.add(fndtest.function(name)["image"])
    assert len(images) == 1 # however it came
    assert "web version 1 is ready" in fnctl("deploy", docker).out # its RepoTags
    fnctl("rm", "web")
    out = fnctl("import", f"oci:{layout}:web", "--set", "limits.memory=77M", "--name", "fetched", env={**os.environ, "TMPDIR": str(tmp_path)})
    check_web("fetched")
    assert fndtest.function("fetched")["limits"]["memory_bytes"] == 77 << 20
    assert "fetched version 1 is ready" in out.out
    assert not [name for name in os.listdir(tmp_path) if name.startswith("fnctl-import")]


def tool_bytes(*args):
    return subprocess.run(args, check=True, capture_output=True).stdout


def test_what_is_not_taken_over_is_said(daemon, layout):
    tool("umoci", "config", "--image", f"{layout}:web", "--tag", "web", "--config.user", "root", "--config.stopsignal", "SIGINT", "--config.volume", "/data")
    out = fnctl("deploy", str(layout), "--name", "web")
    assert "fnctl: note: the image runs as root: here as user 1000" in out.err
    assert "StopSignal SIGINT" in out.err and "Volumes (/data)" in out.err
    assert "note" in daemon.output()


def blob(layout, descriptor):
    return layout / "blobs" / descriptor["digest"].replace(":", "/")


def test_refused_and_the_running_version_stays(daemon, layout, tmp_path):
    fnctl("deploy", str(layout), "--name", "web")
    manifest = blob(layout, json.loads((layout / "index.json").read_text())["manifests"][0])
    config = blob(layout, json.loads(manifest.read_text())["config"])
    config.write_bytes(config.read_bytes().replace(b"green", b"black"))
    out = fnctl("deploy", str(layout), "--name", "web", status=1)
    assert f"blobs/sha256/{config.name}" in out.err and "another digest" in out.err
    assert fndtest.function("web")["version"] == 1
    check_web("web")
    out = fnctl("import", "docker://no.such.registry.invalid/web", status=1, env={"PATH": str(tmp_path), "HOME": "/root"})
    assert "skopeo, which fetches images, is not installed" in out.err
    out = fnctl("import", f"oci:{tmp_path}/none:web", "--name", "web", status=1)
    assert "skopeo could not fetch it" in out.err
