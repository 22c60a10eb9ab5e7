from __future__ import annotations

import asyncio
import math

import pytest

from roomful.model.document import AwarenessEntry
from roomful.model.event import AwarenessEvent, DocumentChangeEvent, DocumentStoreEvent, DocumentUnloadEvent
from roomful.node.document_hooks import LONGEST_S, QUIET_S, DocumentHooks
from roomful.node.hooks import Hooks
from roomful.node.live_document import Edit
from roomful.node.stats import Stats
from roomful.seams.store import Entry


def edit(text: str, author: str = "ann") -> Edit:
    return Edit(text.encode(), Entry(text.encode(), author), None, None)


@pytest.fixture
def hooks() -> Hooks:
    return Hooks(Stats())


@pytest.fixture
def notes(hooks: Hooks) -> DocumentHooks:
    return DocumentHooks(hooks, "notes")


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_changes_are_told_in_order_one_call_at_a_time(hooks: Hooks, notes: DocumentHooks) -> None:
    told: list[DocumentChangeEvent] = []
    go_on = asyncio.Event()

    async def hear(event: DocumentChangeEvent) -> None:
        told.append(event)
        await go_on.wait()

    hooks.add(DocumentChangeEvent, "notes", hear)
    notes.edited([edit("1")], 0.0)
    await settle()
    notes.edited([edit("2", "bob")], 0.0)
    notes.edited([edit("3")], 0.0)
    await settle()
    assert told == [DocumentChangeEvent("notes", [b"1"], ["ann"])]
    go_on.set()
    await settle()
    assert told[1:] == [DocumentChangeEvent("notes", [b"2", b"3"], ["bob", "ann"])]


async def test_awareness_is_told_as_values(hooks: Hooks, notes: DocumentHooks) -> None:
    told: list[AwarenessEvent] = []

    async def hear(event: AwarenessEvent) -> None:
        told.append(event)

    hooks.add(AwarenessEvent, None, hear)
    notes.aware([AwarenessEntry(1, 1, b'{"a":1}'), AwarenessEntry(2, 5, None)])
    await settle()
    assert told == [AwarenessEvent("notes", {1: {"a": 1}, 2: None})]


async def test_it_is_time_to_store_when_people_pause_or_go_on_for_long(hooks: Hooks, notes: DocumentHooks) -> None:
    notes.edited([edit("1")], 0.0)
    assert notes.store_due == math.inf, "nobody wants to know"
    told: list[DocumentStoreEvent] = []

    async def hear(event: DocumentStoreEvent) -> None:
        told.append(event)

    hooks.add(DocumentStoreEvent, None, hear)
    notes.edited([edit("1")], 100.0)
    assert notes.store_due == 100.0 + QUIET_S
    for second in range(101, 115):
        notes.edited([edit("x")], float(second))
    assert notes.store_due == 100.0 + LONGEST_S

    async def whole() -> bytes | None:
        return b"whole"

    assert not notes.is_due(109.9)
    assert notes.is_due(110.0)
    await notes.store(whole)
    assert told == [DocumentStoreEvent("notes", b"whole")]
    assert notes.store_due == math.inf

    async def not_ours() -> bytes | None:
        return None

    await notes.store(not_ours)
    assert len(told) == 1


async def test_its_end_is_told(hooks: Hooks, notes: DocumentHooks) -> None:
    told: list[DocumentUnloadEvent] = []

    async def hear(event: DocumentUnloadEvent) -> None:
        told.append(event)

    hooks.add(DocumentUnloadEvent, None, hear)
    await notes.unloaded()
    assert told == [DocumentUnloadEvent("notes")]


async def test_a_hook_that_fails_stops_nothing(hooks: Hooks, notes: DocumentHooks) -> None:
    calls: list[int] = []

    async def fail(event: DocumentChangeEvent) -> None:
        calls.append(1)
        raise ValueError("a mistake of the application")

    hooks.add(DocumentChangeEvent, None, fail)
    for _ in range(3):
        notes.edited([edit("1")], 0.0)
        await settle()
    assert len(calls) == 3
