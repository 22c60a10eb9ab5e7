"""What all tests share: components that may be missing, and the rule that CI skips nothing but what can't be had."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from hypothesis import settings

from tests.components import UNPACKAGED, find

pytest_plugins = ["tests.served"]

settings.register_profile("roomful", deadline=None)  # a crowded machine is no fault of what is tested
settings.load_profile("roomful")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails the run")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [report for report in reporter.stats.get("skipped", []) if not _cant_be_had(report)] if reporter else []
    if session.config.getoption("--no-skips") and skipped:
        reporter.write_line(f"\n{len(skipped)} skipped, and --no-skips allows none", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _cant_be_had(report: pytest.TestReport) -> bool:
    """Whether the reason is that this system has no package of a component (which is printed like every reason)."""
    return any(f"{name} isn't installed: {why}" in str(report.longrepr) for name, why in UNPACKAGED.items())


@pytest.fixture(autouse=True)
def logging_stays_as_it_was() -> Iterator[None]:
    """A command that is tested sets logging up for its process, which is the one of all tests that follow."""
    root = logging.getLogger()
    handlers, level = tuple(root.handlers), root.level
    yield
    for handler in set(root.handlers).difference(handlers):
        root.removeHandler(handler)
    root.setLevel(level)


@cache
def _packaged(name: str) -> bool:
    """Whether this system could install a component that not every system has."""
    return subprocess.run(("apt-cache", "show", name), capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def component() -> Callable[[str], str]:
    """The path of a program in `tests/components.py`; skips the test that asks for one that isn't installed."""

    def path(name: str) -> str:
        why = f": {UNPACKAGED[name]}" if name in UNPACKAGED and not _packaged(name) else ""
        return find(name) or pytest.skip(f"{name} isn't installed{why}")

    return path
