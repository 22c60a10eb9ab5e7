"""What all tests share: components that may be missing, and the rule that CI skips nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.components import find

pytest_plugins = ["tests.served"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails the run")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if session.config.getoption("--no-skips") and skipped:
        reporter.write_line(f"\n{len(skipped)} skipped, and --no-skips allows none", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def component() -> Callable[[str], str]:
    """The path of a program in `tests/components.py`; skips the test that asks for one that isn't installed."""

    def path(name: str) -> str:
        return find(name) or pytest.skip(f"{name} isn't installed")

    return path
