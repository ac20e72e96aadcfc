"""Every test runs in a private test host of its own: pytest forks before a test, the child becomes a test host (tests/testhost), runs the test with its fixtures there and sends the reports back.

Several run at a time (FND_TESTS_AT_ONCE). What a test leaves behind in its host fails it. A test marked `outside` runs in pytest's own process instead (it starts test hosts itself), when no other does. In CI (CI=true) a skip is a failure.

In CI a failed test may have a second try, in a new host (tests/second_try.py).
"""

import collections
import faulthandler
import json
import os
import signal
import sys
import tempfile
import time

import pytest
from _pytest.runner import runtestprotocol

import fndtest

sys.path.insert(0, fndtest.REPO + "/tests")

import second_try  # noqa: E402  pylint: disable=wrong-import-position

TEST_LIMIT_S = 120
# Two thirds of a test's time are waits: for a deadline that it tries, and for the kernel to take its namespaces down.
AT_ONCE = int(os.environ.get("FND_TESTS_AT_ONCE", str(min(os.cpu_count() or 1, 4))))


testhost = fndtest.load_testhost()


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
def pytest_runtestloop(session):
    """As pytest's own, but with AT_ONCE test hosts at a time. They are reported in their order."""
    if session.testsfailed and not session.config.option.continue_on_collection_errors:
        raise session.Interrupted(f"{session.testsfailed} errors during collection")
    if session.config.option.collectonly:
        return True
    running = collections.deque()
    try:
        for item in session.items:
            outside = item.get_closest_marker("outside")
            while running and (outside or len(running) >= AT_ONCE):
                finish(session, running.popleft(), running)
            if outside:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
                stop_if_asked(session)
            else:
                item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
                running.append(Attempt(item))
        while running:
            finish(session, running.popleft(), running)
    finally:
        for attempt in running:
            attempt.kill()
    return True


def stop_if_asked(session):
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)


def finish(session, attempt, others):
    item, reports = attempt.item, attempt.reports()
    if second_try.granted(item, reports):
        for other in others:  # by itself
            other.reports()
        reports = Attempt(item).reports()
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    stop_if_asked(session)


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
        match = second_try.SANITIZER.search(text)
        if match:
            return f"{name}:\n{text[max(0, match.start() - 200):match.start() + 6000]}"
    return None


class Attempt:
    """One run of a test, in a test host of its own."""

    def __init__(self, item):
        self.item, self.done = item, None
        marker = item.get_closest_marker("limit")
        limit = marker.args[0] if marker else TEST_LIMIT_S
        self.deadline = time.monotonic() + limit + 15
        self.answers, self.messages = (tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(2))  # pylint: disable=consider-using-with
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                status = testhost.run(lambda: child(item, self.answers, self.messages, limit), messages=self.messages)
            finally:
                os._exit(status)
        self.fd = os.pidfd_open(self.pid)

    def reports(self):
        """Waits for its end, once."""
        if self.done is None:
            if not fndtest.readable(self.fd, self.deadline - time.monotonic()):
                os.kill(self.pid, signal.SIGKILL)
            self.done = self.read(os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]))
            os.close(self.fd)
        return self.done

    def read(self, status):
        with self.answers, self.messages:
            self.answers.seek(0)
            self.messages.seek(0)
            hook = self.item.config.hook
            reports = [hook.pytest_report_from_serializable(config=self.item.config, data=json.loads(line)) for line in self.answers]
            trouble = self.messages.read()
        if status != 0 or not reports or trouble:
            reports.append(failure(self.item, f"test host: status {status}\n{trouble}"))
        return reports

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.reports()


def child(item, answers, messages, limit):
    """The test itself, in its test host."""
    faulthandler.dump_traceback_later(limit - 5, file=messages, exit=True)
    # The file that takes its output would be that of the tests beside it, too.
    capture = item.config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    status = 1
    try:
        for report in runtestprotocol(item, log=False, nextitem=None):
            answers.write(json.dumps(item.config.hook.pytest_report_to_serializable(config=item.config, report=report)) + "\n")
        answers.flush()
        status = 0
    finally:
        os._exit(status)


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
    second_try.summary(terminalreporter)
