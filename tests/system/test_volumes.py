"""Persistent data of functions: kept over instances, versions and daemons, bounded, and nobody else's."""

import os
import subprocess

import fndtest
from fndtest import fnctl, get, instances, ready_instances, wait_until

CGI = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n"
SCRIPTS = {
    "write": CGI + 'echo "$QUERY_STRING" >>/srv/data/notes && cat /srv/data/notes',
    "read": CGI + "cat /srv/data/notes 2>&1",
    "look": CGI + "grep ' /srv/data ' /proc/self/mountinfo; stat -c '%u %g %a' /srv/data; ls -a /srv/data; id -u",
    "fill": CGI + "dd if=/dev/zero of=/srv/data/full bs=1M count=64 2>&1; wc -c </srv/data/full; rm -f /srv/data/full",
    "nodes": CGI + "mknod /srv/data/null c 1 3 2>&1; cp /bin/busybox /srv/data/b && chmod 4755 /srv/data/b && stat -c %a /srv/data/b",
    "size": CGI + "df -k /srv/data | tail -1",
}


def deploy(tmp_path, size="32M", name="keeper", status=0, volume="data = /srv/data {size}"):
    files = {f"www/cgi-bin/{k}": v for k, v in SCRIPTS.items()}
    ini = fndtest.HTTPD.format(name=name) + "[volumes]\n" + volume.format(size=size) + "\n"
    return fnctl("deploy", fndtest.package(tmp_path / f"{name}-{size}", ini, files), status=status)


def cgi(what, name="keeper"):
    return get(f"/fn/{name}/cgi-bin/{what}").text


def disk(name="keeper"):
    return f"/var/lib/fnd/volumes/default/{name}/data.ext4"


def test_data_outlives_instances_versions_and_removal(daemon, tmp_path):
    deploy(tmp_path)
    assert cgi("write?one") == "one\n"
    before = ready_instances("keeper", 1)[0]["name"]
    fnctl("restart", "keeper")
    wait_until(lambda: [i["name"] for i in instances("keeper")] not in ([], [before]), what="another instance")
    assert cgi("write?two") == "one\ntwo\n"
    deploy(tmp_path)
    assert cgi("read") == "one\ntwo\n"
    done = fnctl("rm", "keeper")
    assert "1 volume of keeper is kept" in done.err, done.err
    deploy(tmp_path)
    assert cgi("read") == "one\ntwo\n"
    fnctl("rm", "--volumes", "keeper")
    assert not os.path.exists(disk())
    deploy(tmp_path)
    assert "No such file" in cgi("read")


def test_volumes_of_a_function_that_is_gone(daemon, tmp_path):
    deploy(tmp_path)
    fnctl("rm", "keeper")
    assert os.path.exists(disk())
    fnctl("rm", "--volumes", "keeper")
    assert not os.path.exists(disk())
    fnctl("rm", "--volumes", "keeper", status=3)


def test_data_outlives_a_killed_daemon(daemon, tmp_path):
    deploy(tmp_path)
    cgi("write?one")
    cgi("write?two")
    daemon.kill()
    daemon.start()
    ready_instances("keeper", 1)
    assert cgi("read") == "one\ntwo\n"


def test_it_is_bounded_and_nothing_special_works_there(daemon, tmp_path):
    deploy(tmp_path)
    look = cgi("look")
    mount, owner, *rest = look.splitlines()
    options = mount.split(" - ")[0].split()[5].split(",")
    assert {"rw", "nosuid", "nodev", "idmapped"} <= set(options) | ({"idmapped"} if "idmapped" in mount else set()), mount
    assert "/var/lib" not in mount and "/run/fnd" not in mount, mount
    assert owner == "1000 1000 755" and "lost+found" not in rest, look
    full = cgi("fill")
    assert "No space left" in full and int(full.split()[-1]) < 32 << 20, full
    assert os.stat(disk()).st_size == 32 << 20
    assert "Operation not permitted" in cgi("nodes")


def test_instances_of_a_function_share_it_and_others_do_not_see_it(daemon, tmp_path):
    deploy(tmp_path)
    deploy(tmp_path, name="other")
    cgi("write?one")
    fnctl("scale", "keeper", "2")
    ready_instances("keeper", 2)
    assert {cgi("read") for _ in range(20)} == {"one\n"}
    assert "No such file" in cgi("read", "other")
    fnctl("rm", "--volumes", "keeper")
    fnctl("rm", "--volumes", "other")


def test_it_grows_while_stopped_and_does_not_shrink(daemon, tmp_path):
    deploy(tmp_path)
    cgi("write?one")
    before = int(cgi("size").split()[1])
    busy = deploy(tmp_path, "64M", status=1)
    assert "fnctl stop keeper" in busy.err, busy.err
    fnctl("stop", "keeper")
    wait_until(lambda: not instances("keeper", None), what="no instance")
    deploy(tmp_path, "64M")
    fnctl("start", "keeper")
    ready_instances("keeper", 1)
    assert cgi("read") == "one\n"
    assert int(cgi("size").split()[1]) > 1.5 * before
    less = deploy(tmp_path, "32M", status=1)
    assert "cannot become smaller" in less.err, less.err
    assert cgi("read") == "one\n"


def test_it_grows_while_the_kernel_still_has_an_instance_s_mount(daemon, tmp_path):
    """What has ended a moment ago may hold the volume for a moment longer: played by a process that has a copy of the runner's mounts for 0.4 s."""
    deploy(tmp_path)
    fnctl("stop", "keeper")
    wait_until(lambda: not instances("keeper", None), what="no instance")
    holder = ["nsenter", "-t", str(daemon.pid), "-m", "unshare", "-m", "--propagation", "private", "sh", "-c", "echo held; exec sleep 0.4"]
    with subprocess.Popen(holder, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout.readline() == "held\n"
        deploy(tmp_path, "64M")
    assert os.stat(disk()).st_size == 64 << 20


def test_places_that_are_the_sandbox_s_own_are_refused(daemon, tmp_path):
    for n, path in enumerate(("/proc", "/dev/x", "/", "/tmp", "/etc", "/../x")):
        refused = deploy(tmp_path, f"3{n}M", status=1, volume=f"data = {path} {{size}}")
        assert path in refused.err, refused.err
    assert not os.path.exists(disk())


def test_a_link_in_the_image_leads_nowhere(daemon, tmp_path):
    """The image has a symlink where the volume goes: inside it is the volume, and what the link names is untouched (H03)."""
    files = {f"www/cgi-bin/{k}": v for k, v in SCRIPTS.items()}
    ini = fndtest.HTTPD.format(name="keeper") + "[volumes]\ndata = /srv/data 32M\n"
    package = fndtest.package(tmp_path / "link", ini, files)
    os.symlink("/etc", os.path.join(package, "srv"))
    fnctl("deploy", package)
    assert cgi("write?one") == "one\n"
    assert not os.path.exists("/etc/data")
