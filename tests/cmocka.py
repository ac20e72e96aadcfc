#!/usr/bin/python3
"""cmocka.py [--testhost] [--jobs N] PROGRAM...: runs cmocka test programs, each in a process group of its own with a time limit, prints the output of those that fail, and a last line `N passed, N failed`.

With --testhost each program runs in a private test host (tests/testhost), and what it leaves behind fails it. A program that ends without a result, or that runs no test, has failed. A skipped test is a failure in CI.
"""

import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
LIMIT_S = 120
RAN = re.compile(r"^\[==========\] (?:tests: |.*?: )?(\d+) test\(s\) run\.$", re.M)
PASSED = re.compile(r"^\[  PASSED  \] (\d+) test\(s\)\.", re.M)
SKIPPED = re.compile(r"^\[  SKIPPED \] .*?(\d+) test\(s\)", re.M)


def run(program, testhost):
    """Returns (program, passed, failed, output, seconds)."""
    started = time.monotonic()
    command = ([HERE + "/testhost", "--"] if testhost else []) + [program]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as p:
        try:
            data, _ = p.communicate(timeout=LIMIT_S)
            note = ""
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            data, _ = p.communicate()
            note = f"no end after {LIMIT_S} s\n"
    output = data.decode("utf-8", "replace") + note
    ran = sum(map(int, RAN.findall(output)))
    passed = sum(map(int, PASSED.findall(output)))
    skipped = sum(map(int, SKIPPED.findall(output)))
    failed = ran - passed - (0 if os.environ.get("CI") == "true" else skipped)
    if (p.returncode != 0 and failed == 0) or ran == 0:
        failed += 1
        output += f"{program}: status {p.returncode}, {ran} tests run\n"
    return program, passed, failed, output, time.monotonic() - started


def main():
    options = argparse.ArgumentParser(description="runs cmocka test programs")
    options.add_argument("--testhost", action="store_true")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options.add_argument("programs", nargs="*")
    args = options.parse_args()
    all_passed = all_failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for program, passed, failed, output, seconds in pool.map(lambda p: run(p, args.testhost), args.programs):
            all_passed += passed
            all_failed += failed
            print(f"  {os.path.basename(program):28} {passed} passed, {failed} failed ({seconds:.1f} s)" if failed else f"  {os.path.basename(program):28} {passed} passed ({seconds:.1f} s)", flush=True)
            if failed:
                print("".join(f"  | {line}\n" for line in output.splitlines() if not re.match(r"\[ (RUN     |      OK) \]", line)), end="", flush=True)
    print(f"{all_passed} passed, {all_failed} failed")
    return 1 if all_failed else 0


if __name__ == "__main__":
    sys.exit(main())
