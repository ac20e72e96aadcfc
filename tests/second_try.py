"""The second try of a failed test, in CI (CI=true): TRIES_AGAIN_MAX tests in a run have one, by themselves; each first failure is printed whole at the end, and is somebody's to explain. These tests race real processes on a machine that others use too, and one in fifty runs must not decide over all the
other tests, nor be forgotten. What a sanitizer reports has no second try."""

import os
import re

TRIES_AGAIN_MAX = 3
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|Sanitizer: CHECK failed|: runtime error: ")

first_failures = []


def granted(item, reports):
    """Whether the test with these reports is to be run again, once; notes its failure."""
    failed = [r for r in reports if r.failed]
    if not failed or os.environ.get("CI") != "true" or len(first_failures) >= TRIES_AGAIN_MAX or any(SANITIZER.search(str(r.longrepr)) for r in failed):
        return False
    first_failures.append((item.nodeid, failed))
    return True


def summary(terminalreporter):
    """The first failures, and the last line of every kind of test: each test is one, however many of its phases failed."""
    for nodeid, reports in first_failures:
        terminalreporter.section(f"failed at the first try: {nodeid}")
        for report in reports:
            terminalreporter.line(str(report.longrepr))
            for title, text in report.sections:
                terminalreporter.section(title, "-")
                terminalreporter.line(text)
    if first_failures:
        terminalreporter.line(f"{len(first_failures)} tests had a second try: {' '.join(n for n, _ in first_failures)}")
    stats = terminalreporter.stats
    failed = {r.nodeid for kind in ("failed", "error") for r in stats.get(kind, []) if hasattr(r, "nodeid")}
    passed = {r.nodeid for r in stats.get("passed", [])} - failed
    terminalreporter.write_line(f"{len(passed)} passed, {len(failed)} failed")
