"""The hostile suite runs as a whole inside one test host (tests/testhost), with one daemon: see hostile.py. At its end the tables are printed, with what this run has shown for each row."""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "system"))

import fndtest  # noqa: E402  pylint: disable=wrong-import-position
import hostile  # noqa: E402  pylint: disable=wrong-import-position
import table  # noqa: E402  pylint: disable=wrong-import-position


@pytest.fixture(scope="session")
def whole_host():
    assert os.environ.get("FND_TESTHOST"), "to be run as `tests/testhost pytest tests/hostile` (make check-hostile)"
    h = hostile.Host()
    yield h
    h.close()


@pytest.fixture
def host(whole_host):
    """The host; what a test has deployed goes with it, and then everything else must be as it was."""
    yield whole_host
    whole_host.remove()
    whole_host.check()


@pytest.fixture(scope="session")
def shared_probe(whole_host):
    with hostile.package(hostile.ini("probe")) as path:
        fndtest.fnctl("deploy", path)
    return hostile.Probe("probe")


@pytest.fixture
def probe(shared_probe, host):  # pylint: disable=unused-argument
    """One probe for everything that does not break its instance."""
    return shared_probe


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):  # pylint: disable=unused-argument
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        report.sections += fndtest.collected_logs()


def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    failed = {r.nodeid for kind in ("failed", "error") for r in stats.get(kind, []) if hasattr(r, "nodeid")}
    passed = {r.nodeid for r in stats.get("passed", [])} - failed
    if passed or failed:
        for line in table.report({n.rsplit("::", 1)[1] for n in passed}, {n.rsplit("::", 1)[1] for n in failed}, hostile.waivers, hostile.latencies):
            terminalreporter.write_line(line)
    terminalreporter.write_line(f"{len(passed)} passed, {len(failed)} failed")
