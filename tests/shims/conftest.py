"""The shims of the runtimes, without sandbox and daemon: the suite runs as a whole inside one test host (make check-shims), for a network of its own."""

import os
import shutil

import pytest

SECRETS = "/run/secrets"  # as an instance has it

assert os.environ.get("FND_TESTHOST"), "to be run as `tests/testhost pytest tests/shims` (make check-shims)"


@pytest.fixture
def secrets():
    assert not os.path.exists(SECRETS)
    os.makedirs(SECRETS)
    yield SECRETS
    shutil.rmtree(SECRETS)


def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    failed = {r.nodeid for kind in ("failed", "error") for r in stats.get(kind, []) if hasattr(r, "nodeid")}
    passed = {r.nodeid for r in stats.get("passed", [])} - failed
    terminalreporter.write_line(f"{len(passed)} passed, {len(failed)} failed")
