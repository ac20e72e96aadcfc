#!/usr/bin/python3
"""run.py [--only NAME]... -- CPPFLAGS...: all static checks: our linter and its test, clang-format, shellcheck, cppcheck, clang-tidy. Each file (or tool, where it takes all files at once) is one check.

The last line is `N passed, N failed`.
"""

import argparse
import concurrent.futures
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
PRODUCT = ("runner", "netns", "cgroups", "include", "rootfs")
SCRIPTS = ("rootfs", "tests", "contrib", ".ci")
SHELLS = (b"#!/bin/sh", b"#!/bin/bash", b"#!/bin/busybox sh", b"#!/usr/bin/env bash")


def files(tops, *endings):
    found = []
    for top in tops:
        for path, dirs, names in os.walk(os.path.join(REPO, top)):
            dirs[:] = sorted(d for d in dirs if d != "__pycache__")
            found += [os.path.relpath(os.path.join(path, n), REPO) for n in sorted(names) if n.endswith(endings)]
    return found


def tool(*command):
    """(good, output)"""
    done = subprocess.run(command, cwd=REPO, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    return done.returncode == 0, done.stdout


def lint(_):
    yield "lint.py", tool(sys.executable, "-B", HERE + "/lint.py")


def lint_test(_):
    yield "test_lint.py", tool(sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE)


def clang_format(_):
    for path in files(PRODUCT + ("tests",), ".c", ".h"):
        yield path, lambda p=path: (tool("clang-format", "--dry-run", "-Werror", p)[0], p + ": not in the format of .clang-format: make format")


def is_shell(path):
    with open(os.path.join(REPO, path), "rb") as f:
        return f.readline().rstrip().startswith(SHELLS)


def shellcheck(_):
    scripts = [p for p in files(SCRIPTS, "") if os.path.isfile(os.path.join(REPO, p)) and is_shell(p)]
    yield "shellcheck", tool("shellcheck", *scripts)


def cppcheck(flags):
    definitions = [f for f in flags if f.startswith(("-D", "-Iinclude"))]
    yield "cppcheck", tool(
        "cppcheck", "--quiet", f"-j{os.cpu_count() or 1}", "--std=c11", "--enable=warning,performance,portability", "--inline-suppr", "--error-exitcode=1", "--template={file}:{line}: {id}: {message}",
        f"--suppressions-list={HERE}/cppcheck.suppressions", "--library=gnu", "-D__x86_64__", "-Djson_array_foreach(a,i,v)=for(i=0;i<json_array_size(a)&&(v=json_array_get(a,i));i++)",
        "-Djson_object_foreach(o,k,v)=for(;k&&v;)", *definitions, "runner", "netns", "cgroups", "rootfs",
    )


def clang_tidy(flags):
    # The largest first, so that the last one does not run alone for long.
    sources = sorted(files(PRODUCT, ".c"), key=lambda p: -os.path.getsize(os.path.join(REPO, p)))
    for path in sources:
        # rootfs/hello: what the template c is put together with
        yield path, lambda p=path: quiet(tool("clang-tidy", "--quiet", p, "--", "-std=gnu17", "-Irootfs/hello", *flags))


def quiet(result):
    """The findings alone; the analyzer's steps to them are shown by clang-tidy itself."""
    good, output = result
    found = "".join(line for line in output.splitlines(True) if ": error: " in line or ": warning: " in line)
    return good, found or output


CHECKS = {"lint": lint, "lint-test": lint_test, "format": clang_format, "shellcheck": shellcheck, "cppcheck": cppcheck, "clang-tidy": clang_tidy}


def main():
    options = argparse.ArgumentParser(description="static checks")
    options.add_argument("--only", action="append", choices=CHECKS, help="run only this one")
    options.add_argument("flags", nargs="*", help="the compiler's -D and -I")
    args = options.parse_args()
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for name in args.only or CHECKS:
            started = time.monotonic()
            bad = 0
            units = list(CHECKS[name](args.flags))
            for _, (good, output) in zip(units, pool.map(lambda u: u[1]() if callable(u[1]) else u[1], units)):
                if not good:
                    bad += 1
                    print(output.replace(REPO + "/", ""), end="" if output.endswith("\n") else "\n")
            passed += len(units) - bad
            failed += bad
            print(f"  {name:12} {len(units) - bad} passed, {bad} failed ({time.monotonic() - started:.1f} s)", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
