#!/usr/bin/python3
"""run.py SECONDS PROGRAM...: runs each libFuzzer program for so long, from its corpus and its seeds (seeds.py), and sums up. An input that breaks one is left in build/fuzz/ and named; it becomes a test."""

import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))


def fuzz(program, seconds):
    name = os.path.basename(program)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        corpus = [scratch + "/corpus", scratch + "/seeds", f"{HERE}/corpus/{name}"]
        os.mkdir(corpus[0])
        os.mkdir(corpus[1])
        subprocess.run([sys.executable, "-B", HERE + "/seeds.py", name, corpus[1]], check=True)
        largest = max((entry.stat().st_size for entry in os.scandir(corpus[1])), default=0)
        options = [f"-max_total_time={seconds}", f"-max_len={max(1024, largest)}", "-rss_limit_mb=2048", "-timeout=20", f"-artifact_prefix={os.path.dirname(program)}/{name}-", "-verbosity=0", "-print_final_stats=1"]
        done = subprocess.run([program, *options, *(d for d in corpus if os.path.isdir(d))], env={**os.environ, "TMPDIR": scratch}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    # The last: a child of a played sandbox that is ended early reports too.
    runs = ([line.split()[1] for line in done.stdout.splitlines() if line.startswith("stat::number_of_executed_units")] or ["?"])[-1]
    print(f"  {name:24} {'passed' if done.returncode == 0 else 'FAILED'}, {runs} inputs ({time.monotonic() - started:.1f} s)", flush=True)
    if done.returncode != 0:
        print("\n".join("  | " + line for line in done.stdout.splitlines()[-60:]))
    return done.returncode == 0


def main():
    good = [fuzz(os.path.abspath(p), int(sys.argv[1])) for p in sys.argv[2:]]
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
