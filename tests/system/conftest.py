"""Every test runs in a private test host of its own: pytest forks before a test, the child becomes a test host (tests/testhost), runs the test with its fixtures there and sends the reports back.

What a test leaves behind in its host fails it. In CI a failed test has a second try in a new host, TRIES_AGAIN_MAX tests in a run; the first failure is printed whole at the end, and is somebody's to explain: these tests
race real processes on a machine that others use too, and one in fifty runs must not decide over the other 800 tests, nor be forgotten. What a sanitizer reports has no second try. A test marked `outside` runs in pytest's own process instead (it starts test hosts itself). In CI (CI=true) a skip is a failure.
"""

import faulthandler
import importlib.machinery
import importlib.util
import json
import os
import re
import signal
import tempfile
import time

import pytest
from _pytest.runner import runtestprotocol

import fndtest

TEST_LIMIT_S = 120
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|Sanitizer: CHECK failed|: runtime error: ")
TRIES_AGAIN_MAX = 3


def load_testhost():
    loader = importlib.machinery.SourceFileLoader("testhost", fndtest.REPO + "/tests/testhost")
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("testhost", loader))
    loader.exec_module(module)
    return module


testhost = load_testhost()


first_failures = []


def pytest_configure(config):
    config.addinivalue_line("markers", "outside: runs outside of a test host")
    config.addinivalue_line("markers", "limit(seconds): the test's time limit")


def pytest_collection_modifyitems(config, items):
    """The thread sanitizer is for the one program that has threads, the gateway: whole daemons are left to the other sanitizers."""
    if os.path.basename(fndtest.BUILD) == "tsan":
        whole = [i for i in items if {"daemon", "make_daemon"} & set(i.fixturenames)]
        items[:] = [i for i in items if i not in whole]
        config.hook.pytest_deselected(items=whole)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if item.get_closest_marker("outside"):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = reports_from_testhost(item)
    failed = [r for r in reports if r.failed]
    told = any(SANITIZER.search(str(r.longrepr)) for r in failed)
    if failed and not told and os.environ.get("CI") == "true" and len(first_failures) < TRIES_AGAIN_MAX:
        first_failures.append((item.nodeid, failed))
        reports = reports_from_testhost(item)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure in CI: {report.longrepr}"
    if report.when == "call" and report.failed:
        report.sections += fndtest.collected_logs()
    found = sanitizers_found(report) if report.when == "teardown" else None
    if found:
        report.outcome = "failed"
        report.longrepr = "a sanitizer has found something:\n" + found


def sanitizers_found(report):
    """What a program that was built with sanitizers has said, in a daemon's log or by itself; a gateway that ends of it is started anew, and the test may not have noticed."""
    for name, text in report.sections + fndtest.collected_logs(whole=True):
        match = SANITIZER.search(text)
        if match:
            return f"{name}:\n{text[max(0, match.start() - 200):match.start() + 6000]}"
    return None


def reports_from_testhost(item):
    marker = item.get_closest_marker("limit")
    limit = marker.args[0] if marker else TEST_LIMIT_S
    with tempfile.TemporaryFile("w+", encoding="utf-8") as answers, tempfile.TemporaryFile("w+", encoding="utf-8") as messages:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = testhost.run(lambda: child(item, answers, messages, limit), messages=messages)
            finally:
                os._exit(status)
        status = wait(pid, limit)
        answers.seek(0)
        messages.seek(0)
        hook = item.config.hook
        reports = [hook.pytest_report_from_serializable(config=item.config, data=json.loads(line)) for line in answers]
        trouble = messages.read()
    if status != 0 or not reports or trouble:
        reports.append(failure(item, f"test host: status {status}\n{trouble}"))
    return reports


def child(item, answers, messages, limit):
    """The test itself, in its test host."""
    faulthandler.dump_traceback_later(limit - 5, file=messages, exit=True)
    status = 1
    try:
        for report in runtestprotocol(item, log=False, nextitem=None):
            answers.write(json.dumps(item.config.hook.pytest_report_to_serializable(config=item.config, report=report)) + "\n")
        answers.flush()
        status = 0
    finally:
        os._exit(status)


def wait(pid, limit):
    deadline = time.monotonic() + limit + 15
    fd = os.pidfd_open(pid)
    try:
        if not fndtest.readable(fd, deadline - time.monotonic()):
            os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(fd)


def failure(item, text):
    return pytest.TestReport(nodeid=item.nodeid, location=item.location, keywords={}, outcome="failed", longrepr=text, when="teardown", sections=[], duration=0)


@pytest.fixture
def daemon():
    """A running fnd with its gateway; stopped, and its end checked, after the test."""
    d = fndtest.Daemon()
    d.start()
    yield d
    d.stop()


@pytest.fixture
def make_daemon():
    """Makes daemons that are not started yet; what still runs after the test is stopped."""
    made = []

    def make(**options):
        made.append(fndtest.Daemon(**options))
        return made[-1]

    yield make
    for d in made:
        if d.running():
            d.stop()


def pytest_terminal_summary(terminalreporter):
    """The last line of every kind of test: each test is one, however many of its phases failed."""
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
