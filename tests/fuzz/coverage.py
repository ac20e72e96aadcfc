#!/usr/bin/python3
"""coverage.py COMPILER_FLAGS...: replays seeds and corpora of the parsers' fuzz targets and prints which part of their lines that covers; less than 90 % of one file is a failure. What the flags name besides is linked."""

import glob
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
HTTP = "runner/gateway/http/"
TARGETS = ("request", "response", "chunked", "target", "proxy")
HELD = ("head", "field", "request", "authority", "chunked", "response", "rewrite", "proxy_header")
ENOUGH = 90


def run(*command, **options):
    return subprocess.run(command, cwd=REPO, stdin=subprocess.DEVNULL, check=True, **options)


def build(name, directory, flags):
    program = f"{directory}/{name}"
    sources = [f"tests/fuzz/fuzz_{name}.c", *(f"{HTTP}{stem}.c" for stem in HELD)]
    run("clang", "-std=gnu17", "-O0", "-g", "-fprofile-instr-generate", "-fcoverage-mapping", "-fsanitize=fuzzer", "-Itests/fuzz", "-o", program, *sources, *flags)
    return program


def replay(name, program, directory):
    seeds = f"{directory}/seeds-{name}"
    os.mkdir(seeds)
    run(sys.executable, "-B", HERE + "/seeds.py", name, seeds)
    files = glob.glob(seeds + "/*") + glob.glob(f"{HERE}/corpus/fuzz_{name}/*")
    run(program, "-verbosity=0", *files, env={**os.environ, "LLVM_PROFILE_FILE": program + ".raw"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return len(files)


def main():
    flags = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        programs = {name: build(name, directory, flags) for name in TARGETS}
        files = sum(replay(name, program, directory) for name, program in programs.items())
        run("llvm-profdata", "merge", "-o", directory + "/all", *(p + ".raw" for p in programs.values()))
        first, *others = programs.values()
        text = run("llvm-cov", "export", "-summary-only", "-instr-profile", directory + "/all", first, *(w for p in others for w in ("-object", p)), *(f"{REPO}/{HTTP}{stem}.c" for stem in HELD),
                   capture_output=True, text=True).stdout
    found = {os.path.basename(f["filename"]): f["summary"]["lines"] for f in json.loads(text)["data"][0]["files"]}
    poor = 0
    for stem in HELD:
        lines = found.get(stem + ".c", {"count": 0, "covered": 0, "percent": 0})
        poor += lines["percent"] < ENOUGH
        print(f"  {stem + '.c':16} {lines['percent']:6.1f} % of {lines['count']} lines{'' if lines['percent'] >= ENOUGH else f': less than {ENOUGH} %'}")
    print(f"  from {files} inputs of {len(TARGETS)} targets")
    print(f"{len(HELD) - poor} passed, {poor} failed")
    return 1 if poor else 0


if __name__ == "__main__":
    sys.exit(main())
