from __future__ import annotations

import asyncio
from typing import Any

from roomful.engines.nats_expiry import EACH_TIDY, Expiry
from roomful.engines.nats_link import NotSent
from roomful.engines.nats_names import Names
from roomful.engines.nats_record import Record
from roomful.model.publication import Draft, Retention
from roomful.testing.engine_contract import KEEP, running
from tests.engines.nats_server import CHANNEL, NatsServer, engine_at

NAMES = Names("roomful")


class Purges:
    """A JetStream that notes what it is asked to purge."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.away = False

    def purge_soon(self, stream: str, **which: Any) -> None:
        if self.away:
            raise NotSent("away")
        self.asked.append((which["filter"], which["seq"]))


def record(sequence: int, expires_ms: int, ends_ms: int) -> Record:
    return Record("p", "e", 3, 0, expires_ms, ends_ms, "me", (), sequence)


def expiry(purges: Purges) -> Expiry:
    return Expiry(purges, NAMES)  # type: ignore[arg-type]  # one method is all that it uses


def test_first_the_publications_go_and_then_the_rest() -> None:
    purges = Purges()
    agenda = expiry(purges)
    agenda.note("a", record(7, 100, 200))
    agenda.tidy(99)
    assert purges.asked == []
    agenda.tidy(100)
    agenda.tidy(150)
    assert purges.asked == [(NAMES.log("a"), 7)]
    agenda.tidy(200)
    assert purges.asked == [(NAMES.log("a"), 7), (NAMES.log("a"), 8)]
    assert len(agenda) == 0


def test_a_newer_record_puts_it_off() -> None:
    purges = Purges()
    agenda = expiry(purges)
    agenda.note("a", record(7, 100, 200))
    agenda.note("a", record(9, 180, 300))
    agenda.tidy(100)
    assert purges.asked == []
    agenda.tidy(180)
    assert purges.asked == [(NAMES.log("a"), 9)]


def test_a_server_that_is_away_is_asked_again() -> None:
    purges = Purges()
    agenda = expiry(purges)
    agenda.note("a", record(7, 100, 200))
    purges.away = True
    agenda.tidy(100)
    purges.away = False
    agenda.tidy(101)
    assert purges.asked == [(NAMES.log("a"), 7)]


def test_one_call_asks_for_a_bounded_number() -> None:
    purges = Purges()
    agenda = expiry(purges)
    for number in range(EACH_TIDY + 1):
        agenda.note(str(number), record(number + 1, 100, 200))
    agenda.tidy(100)
    assert len(purges.asked) == EACH_TIDY
    agenda.tidy(100)
    assert len(purges.asked) == EACH_TIDY + 1


async def test_what_has_expired_leaves_the_server(nats: NatsServer) -> None:
    engine = engine_at(nats.url)
    async with running(engine) as node:
        for n in range(5):
            await node.broker.publish(CHANNEL, Draft(str(n).encode()), Retention(10, 0.2, 0.2))
        await node.broker.publish("chat:2", Draft(b"stays"), KEEP)

        async def left() -> dict[str, int]:
            return await engine.jetstream.subjects("ROOMFUL_LOG", "roomful.log.>")

        async with asyncio.timeout(10):
            while await left() != {"roomful.log.chat:2": 1}:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
