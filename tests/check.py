#!/usr/bin/python3
"""check.py SECTION...: runs `make SECTION` for each, one after the other, goes on after a failure, and sums up.

The last line is `N passed, N failed`: the sum of each section's own last line of that form. A section that fails without one, or reports nothing at all, counts as one failure.
"""

import os
import re
import subprocess
import sys
import time

SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed$")


def section(name):
    """Returns (passed, failed); the output goes through as it comes."""
    print(f"==== {name}", flush=True)
    last = None
    with subprocess.Popen([os.environ.get("MAKE", "make"), "--no-print-directory", name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as p:
        for line in p.stdout:
            print(line, end="", flush=True)
            last = SUMMARY.match(line.rstrip()) or last
    passed, failed = (int(last[1]), int(last[2])) if last else (0, 0)
    if (p.returncode != 0 and failed == 0) or not last:
        failed += 1
    return passed, failed


def main():
    results = []
    for name in sys.argv[1:]:
        started = time.monotonic()
        results.append((name, *section(name), time.monotonic() - started))
    print("==== summary")
    for name, passed, failed, seconds in results:
        print(f"  {name:14} {passed:5} passed {failed:5} failed {seconds:7.1f} s")
    failed = sum(r[2] for r in results)
    print(f"{sum(r[1] for r in results)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
