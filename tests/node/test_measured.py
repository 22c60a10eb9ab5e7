"""A measured engine keeps the engine's contract, and counts every operation of it."""

from __future__ import annotations

import inspect

import pytest

from roomful.engines.memory import MemoryEngine
from roomful.model.errors import NotAvailable
from roomful.model.publication import Draft, HistoryFilter, Retention
from roomful.node.measured import OPERATIONS, MeasuredEngine
from roomful.node.stats import Stats
from roomful.seams.engine import Broker, Control, PresenceStore
from roomful.testing.engine_contract import Recorder

KEEP = Retention(10, 60.0)


def test_every_operation_of_the_seam_is_measured() -> None:
    engine = MeasuredEngine(MemoryEngine(), Stats())
    asked = 0
    for part, seam in ((engine.broker, Broker), (engine.presence, PresenceStore), (engine.control, Control)):
        names = [name for name, _ in inspect.getmembers(seam, inspect.isfunction) if not name.startswith("_")]
        assert all(name in vars(type(part)) for name in names)
        asked += len(names)
    assert asked == len(OPERATIONS) == len(set(OPERATIONS))


async def test_calls_are_timed_and_failures_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = Stats()
    engine = MeasuredEngine(MemoryEngine(), stats)
    await engine.start(Recorder(), "n")
    assert engine.ready
    published = await engine.broker.publish("a", Draft(b"1"), KEEP)
    page = await engine.broker.history("a", HistoryFilter(limit=None), KEEP)
    assert page.head == published.position

    async def fail(*_: object) -> None:
        raise NotAvailable("gone")

    monkeypatch.setattr(engine.inner.broker, "publish", fail)
    with pytest.raises(NotAvailable, match="gone"):
        await engine.broker.publish("a", Draft(b"2"), KEEP)
    assert {name: len(each) for name, each in stats.engine.items()} == {"publish": 2, "history": 1}
    assert stats.engine_errors == {"publish": 1}
    await engine.stop()
