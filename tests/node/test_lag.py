"""A loop that is held up is noticed while it is, and the function that holds it up is named."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading

import pytest

from roomful.node.lag import LagMonitor, culprit

DEADLINE_S = 10.0


class Told(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.templates: list[str] = []
        self.lines: list[str] = []
        self.some = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.templates.append(record.msg)
        self.lines.append(record.getMessage())
        self.some.set()


@pytest.fixture
def told() -> Told:
    return Told()


def a_handler_that_blocks(until: threading.Event) -> None:
    assert until.wait(DEADLINE_S)


async def test_who_holds_up_the_loop_is_named_once(told: Told) -> None:
    logger = logging.getLogger("roomful.lag")
    logger.addHandler(told)
    monitor = LagMonitor(beat_s=0.01, stall_s=0.05)
    monitor.start()
    try:
        a_handler_that_blocks(told.some)  # goes on as soon as it was told on
        async with asyncio.timeout(DEADLINE_S):
            while not monitor.stalls:  # noqa: ASYNC110  # a counter, which tells nobody
                await asyncio.sleep(0.01)
    finally:
        monitor.stop()
        logger.removeHandler(told)
    assert told.templates == ["the event loop has been held up for %.1f s by %s"]
    assert "a_handler_that_blocks" in told.lines[0]
    assert len(monitor.lag) >= 1


def test_machinery_is_named_only_where_there_is_nothing_else() -> None:
    assert "test_machinery_is_named" in culprit(sys._getframe())
