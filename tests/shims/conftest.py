"""The shims of the runtimes, without sandbox and daemon: the suite runs as a whole inside one test host (make check-shims), for a network of its own."""

import os
import shutil
import sys

import pytest
from _pytest.runner import runtestprotocol

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

import second_try  # noqa: E402  pylint: disable=wrong-import-position

SECRETS = "/run/secrets"  # as an instance has it

assert os.environ.get("FND_TESTHOST"), "to be run as `tests/testhost pytest tests/shims` (make check-shims)"


@pytest.fixture
def secrets():
    assert not os.path.exists(SECRETS)
    os.makedirs(SECRETS)
    yield SECRETS
    shutil.rmtree(SECRETS)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if second_try.granted(item, reports):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter):
    second_try.summary(terminalreporter)
