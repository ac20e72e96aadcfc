#!/usr/bin/python3
"""run.py SECONDS PROGRAM...: runs each libFuzzer program for so long, from an empty corpus, and sums up. An input that breaks one is left in build/fuzz/ and named; it becomes a test."""

import os
import subprocess
import sys
import tempfile
import time


def fuzz(program, seconds):
    name = os.path.basename(program)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        options = [f"-max_total_time={seconds}", "-max_len=1024", "-rss_limit_mb=2048", "-timeout=20", f"-artifact_prefix={os.path.dirname(program)}/{name}-", "-verbosity=0", "-print_final_stats=1"]
        done = subprocess.run([program, *options, scratch], env={**os.environ, "TMPDIR": scratch}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
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
