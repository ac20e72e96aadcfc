#!/usr/bin/python3
"""run.py [--suite hostile]: boots Debian 12 with what `make install` installs, and reports what tests/vm/guest.sh says in there.

The base image (image.sh) is opened with snapshot=on and never changes. What is tested travels as a second cpio archive behind the initramfs, which copies it over the root file system before systemd starts. The guest has
two serial ports: the first is the console (build/vm/console.log), the second carries the report, in TAP's form: a plan `1..N`, then `ok I - NAME` or `not ok I - NAME` with `# ` lines behind it. A missing plan or
result, a kernel panic, or no end within the time limit is a failure.
"""

import argparse
import os
import re
import selectors
import shutil
import subprocess
import sys
import tarfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
VM = REPO + "/build/vm"
GUEST_DIR = "/opt/fnd-tests"
PROGRAMS = ("fnd", "fnd-gateway", "fnd-unpack", "fn-init", "fnctl", "hello.tar.gz", "busybox.tar.gz", "selftest.tar.gz")
# They travel on a disk of their own: the initramfs is held in memory.
RUNTIMES = ("shell", "static", "python", "ruby", "node")
# Bounds of time and bytes that no kernel version changes: minutes on an emulated CPU for nothing new.
NOT_HERE = {"test_unpack_limits"}
# Without a line from the guest. How long all of it takes is the machine's affair: where eight suites share two CPUs, 44 tests of one or two minutes each were stopped in their midst.
SILENCE_S = 300
PANIC = re.compile(rb"Kernel panic|initramfs: |Out of memory: Killed process \d+ \(systemd\)")
RESULT = re.compile(r"(ok|not ok) (\d+) - (.*?)(?: # \d+ s)?")


def stage(build):
    """Fills build/vm/stage with what goes over the guest's root, and returns the path of the cpio archive."""
    top = VM + "/stage"
    shutil.rmtree(top, ignore_errors=True)
    overlay = top + "/tree/overlay"
    os.makedirs(overlay + GUEST_DIR)
    # make's own flags and job server are not for this call.
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")}
    subprocess.run(["make", "--no-print-directory", "-C", REPO, "install", "DESTDIR=" + overlay, "MODE=" + os.path.basename(build)], check=True, stdout=subprocess.DEVNULL, env=environment)
    shutil.copy2(HERE + "/guest.sh", overlay + GUEST_DIR)
    # The programs of tests/root look for what they test where it lies in a build directory: beside their own.
    guest_build = overlay + GUEST_DIR + "/build/release"
    os.makedirs(guest_build + "/tests")
    os.makedirs(overlay + GUEST_DIR + "/tests")
    shutil.copy2(REPO + "/tests/testhost", overlay + GUEST_DIR + "/tests")
    shutil.copytree(REPO + "/tests/hostile", overlay + GUEST_DIR + "/tests/hostile", ignore=shutil.ignore_patterns("__pycache__"))
    os.makedirs(overlay + GUEST_DIR + "/tests/system")
    shutil.copy2(REPO + "/tests/system/fndtest.py", overlay + GUEST_DIR + "/tests/system")
    for name in PROGRAMS:
        shutil.copy2(f"{build}/{name}", guest_build)
    for name in sorted(os.listdir(REPO + "/tests/root")):
        if name.startswith("test_") and name.endswith(".c") and name[:-2] not in NOT_HERE:
            shutil.copy2(f"{build}/tests/{name[:-2]}", guest_build + "/tests")
    for name in ("probe", "tests/probe"):
        if os.path.isfile(f"{build}/{name}"):
            shutil.copy2(f"{build}/{name}", f"{guest_build}/{name}")
    units = overlay + "/etc/systemd/system"
    os.makedirs(units + "/multi-user.target.wants")
    shutil.copy2(HERE + "/fnd-vm-test.service", units)
    os.symlink("../fnd-vm-test.service", units + "/multi-user.target.wants/fnd-vm-test.service")
    strip(overlay)
    archive = top + "/overlay.cpio"
    with open(archive, "wb") as out:
        names = subprocess.run(["find", ".", "-print0"], cwd=top + "/tree", check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["cpio", "--null", "--quiet", "--create", "--format=newc", "--owner=+0:+0"], cwd=top + "/tree", input=names, stdout=out, check=True)
    return archive


def strip(tree):
    """Debugging information is three quarters of the programs, and the guest copies every byte through an emulated CPU."""
    for directory, _, files in os.walk(tree):
        for name in files:
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                with open(path, "rb") as f:
                    if f.read(4) != b"\x7fELF":
                        continue
                subprocess.run(["strip", "--strip-debug", path], check=True)


def initrd(image, archive):
    path = VM + "/stage/initrd"
    with open(path, "wb") as out:
        for part in (image + "/initrd", archive):
            with open(part, "rb") as f:
                shutil.copyfileobj(f, out)
            out.write(b"\0" * (-out.tell() % 4))
    return path


def disk(build):
    """The images of runtimes, a tar archive as /dev/vdb."""
    path = VM + "/stage/runtimes.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in RUNTIMES:
            tar.add(f"{build}/runtime-{name}.tar", f"runtime-{name}.tar")
    return path


def qemu(image, ram, second, options):
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048",
        "-kernel", image + "/vmlinuz", "-initrd", ram, "-append", "console=ttyS0 panic=-1 quiet loglevel=4 systemd.show_status=false systemd.log_target=console fnd.suite=" + options.suite + (" fnd.only=" + options.only if options.only else ""),
        "-drive", f"file={image}/root.ext4,format=raw,if=virtio,snapshot=on", "-drive", f"file={second},format=raw,if=virtio,readonly=on", "-serial", f"file:{VM}/console.log", "-serial", "stdio", "-nic", "none",
    ]


class Report:
    """What the guest has said so far."""

    def __init__(self):
        self.plan = None
        self.passed = []
        self.failed = []
        self.finished = False

    def line(self, text):
        match = RESULT.fullmatch(text)
        if re.fullmatch(r"1\.\.\d+", text):
            self.plan = int(text[3:])
        elif text == "end":
            self.finished = True
            return
        elif match:
            (self.passed if match[1] == "ok" else self.failed).append(match[3])
        print("  " + text, flush=True)

    def verdict(self, why):
        """A list of what is wrong with the report as a whole."""
        wrong = [why] if why else []
        if self.plan is None:
            wrong.append("the guest sent no plan")
        elif self.plan == 0 or len(self.passed) + len(self.failed) != self.plan:
            wrong.append(f"{len(self.passed) + len(self.failed)} results for a plan of {self.plan}")
        if not self.finished and not why:
            wrong.append("the guest did not get to its end")
        return wrong


def boot(command, limit):
    """Runs the machine; returns the report and, if it did not end by itself, why not."""
    report = Report()
    heard = time.monotonic()
    why = None
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as vm, selectors.DefaultSelector() as ready:
        ready.register(vm.stdout, selectors.EVENT_READ)
        rest = b""
        while True:
            if time.monotonic() - heard > limit:
                why = f"no word for {limit} s"
                break
            if not ready.select(timeout=1):
                if panicked():
                    why = "the guest's kernel or initramfs gave up"
                    break
                continue
            data = os.read(vm.stdout.fileno(), 65536)
            if not data:
                break
            heard = time.monotonic()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                report.line(line.decode("utf-8", "replace").rstrip("\r"))
        if why:
            vm.kill()
    return report, why


def panicked():
    try:
        with open(VM + "/console.log", "rb") as f:
            return PANIC.search(f.read()) is not None
    except FileNotFoundError:
        return False


def main():
    options = argparse.ArgumentParser(description="the VM suite")
    options.add_argument("--build", default=REPO + "/build/release", help="directory of the built programs")
    options.add_argument("--limit", type=int, default=SILENCE_S, help="seconds without a word until the machine is stopped")
    options.add_argument("--suite", default="main", choices=("main", "hostile"), help="what the guest runs: guest.sh's own tests and those of tests/root, or tests/hostile")
    options.add_argument("--only", metavar="TEST,TEST", help="these tests of guest.sh alone, and in its order (root/test_NAME: those of tests/root)")
    args = options.parse_args()
    image = subprocess.run([HERE + "/image.sh", VM], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    started = time.monotonic()
    build = os.path.realpath(args.build)
    ram = initrd(image, stage(build))
    if os.path.exists(VM + "/console.log"):
        os.unlink(VM + "/console.log")
    report, why = boot(qemu(image, ram, disk(build), args), args.limit)
    wrong = report.verdict(why)
    for text in wrong:
        print(f"vm: {text}")
    if wrong:
        with open(VM + "/console.log", encoding="utf-8", errors="replace") as f:
            print("vm: the end of the console:\n" + "".join("  | " + line for line in f.readlines()[-40:]))
    for name in report.failed:
        print(f"vm: FAILED {name}")
    print(f"vm: {time.monotonic() - started:.0f} s")
    print(f"{len(report.passed)} passed, {len(report.failed) + len(wrong)} failed")
    return 1 if report.failed or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
