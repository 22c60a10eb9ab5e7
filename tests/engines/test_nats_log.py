from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from roomful.engines.nats import NatsEngine
from roomful.engines.nats_jetstream import StreamInfo
from roomful.engines.nats_link import LinkDown
from roomful.model.errors import RoomfulError
from roomful.model.publication import Draft, HistoryFilter, Look, Position, Published, Retention
from roomful.testing.engine_contract import ALL, KEEP, TOP, running
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.nats_server import CHANNEL, Component, NatsServer, engine_at, until


async def test_a_page_anywhere_in_a_long_history(nats: NatsServer) -> None:
    keep = Retention(400, 60.0)
    async with running(engine_at(nats.url)) as node:
        for n in range(1, 501):
            await node.broker.publish(CHANNEL, Draft(str(n).encode()), keep)
            if n % 50 == 0:
                await node.broker.publish(f"{CHANNEL}:b", Draft(b"between"), keep)
        head = (await node.broker.history(CHANNEL, TOP, keep)).head
        assert head.offset == 500
        assert await node.offsets(CHANNEL, ALL, keep) == list(range(101, 501))
        for since in (0, 100, 101, 150, 333, 467, 499, 500):
            wanted = HistoryFilter(10, Position(head.epoch, since))
            first = max(101, since + 1)
            assert await node.offsets(CHANNEL, wanted, keep) == list(range(first, min(first + 10, 501)))
        assert await node.offsets(CHANNEL, HistoryFilter(3, Position(head.epoch, 200), True), keep) == [199, 198, 197]


async def test_the_server_holds_little_more_than_the_size(nats: NatsServer) -> None:
    keep = Retention(10, 60.0)
    engine = engine_at(nats.url)
    async with running(engine) as node:
        for n in range(200):
            await node.broker.publish(CHANNEL, Draft(str(n).encode()), keep)
        await node.broker.history(CHANNEL, TOP, keep)
        assert await stored(engine) <= 10 + 16 + 16


async def test_a_trim_that_finds_no_connection_is_told_and_done_later(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(stream: str, **which: Any) -> None:
        raise LinkDown("the connection is lost")

    caplog.set_level("INFO", "roomful")
    keep, engine = Retention(1, 60.0), engine_at(nats.url)
    async with running(engine) as node:
        with monkeypatch.context() as patch:
            patch.setattr(engine.jetstream, "purge_soon", gone)
            for n in range(16):
                await node.broker.publish(CHANNEL, Draft(str(n).encode()), keep)
        assert [record.msg for record in caplog.records] == ["%r is trimmed later: NATS isn't connected"]
        assert await stored(engine) == 16
        for n in range(16, 48):
            await node.broker.publish(CHANNEL, Draft(str(n).encode()), keep)
        assert await node.offsets(CHANNEL, ALL, keep) == [48]
        assert await stored(engine) < 48


async def stored(engine: NatsEngine) -> int:
    """How many publications the server holds."""
    return sum((await engine.jetstream.subjects("ROOMFUL_LOG", "roomful.log.>")).values())


async def test_a_key_whose_publication_was_trimmed_still_publishes_once(nats: NatsServer) -> None:
    keep = Retention(1, 60.0)
    async with running(engine_at(nats.url)) as node:
        await node.broker.publish(CHANNEL, Draft(b"1", key="k"), keep)
        await node.broker.remove_history(CHANNEL)
        assert await node.broker.publish(CHANNEL, Draft(b"1", key="k"), keep) == Published(None, repeated=True)
        assert await node.offsets(CHANNEL, ALL, keep) == []


async def test_a_publish_whose_answer_was_lost_is_in_the_log_once(nats: NatsServer) -> None:
    async with FaultProxy(nats.port) as proxy, running(engine_at(f"nats://127.0.0.1:{proxy.port}")) as node:
        await node.broker.publish(CHANNEL, Draft(b"0"), KEEP)
        for n in range(1, 6):
            proxy.down.hole()  # the server hears us, and we don't hear the server
            publishing = asyncio.create_task(node.broker.publish(CHANNEL, Draft(str(n).encode()), KEEP))
            async with running(engine_at(nats.url)) as other:
                async with asyncio.timeout(5.0):
                    while len(await other.offsets(CHANNEL, ALL)) <= n:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
            proxy.cut()
            proxy.heal()
            position = (await publishing).position
            assert position is not None
            assert position.offset == n + 1
        page = await node.broker.history(CHANNEL, ALL, KEEP)
        assert [(p.offset, p.data) for p in page.publications] == [(n + 1, str(n).encode()) for n in range(6)]


@pytest.mark.parametrize("others_first", [False, True], ids=["as it was", "written to by others"])
async def test_1_a_server_from_a_backup_begins_anew(
    component: Component, tmp_path: Path, others_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What was stored after the backup is gone, and its offsets come again: nobody may take them for the same."""
    storage, backup = tmp_path / "storage", tmp_path / "backup"
    storage.mkdir()
    nats = NatsServer(component("nats-server"), storage)
    await nats.start()
    try:
        async with FaultProxy(nats.port) as proxy, running(engine_at(f"nats://127.0.0.1:{proxy.port}")) as node:
            for n in range(5):
                before = (await node.broker.publish(CHANNEL, Draft(str(n).encode()), KEEP)).position
                if n == 2:
                    await nats.kill()
                    shutil.copytree(storage, backup)
                    await nats.start()
            proxy.refusing = True
            await nats.kill()
            await until(lambda: not node.engine.ready)
            shutil.rmtree(storage)
            shutil.copytree(backup, storage)
            await nats.start()
            if others_first:
                async with running(engine_at(nats.url)) as other:
                    for n in range(5):
                        await other.broker.publish(CHANNEL, Draft(f"other {n}".encode()), KEEP)
            proxy.heal()
            await until(lambda: node.engine.ready)
            assert before is not None
            [head] = await node.broker.heads([Look(CHANNEL, KEEP, before)])
            assert head.epoch not in ("", before.epoch)
            assert (await node.broker.publish(CHANNEL, Draft(b"x"), KEEP)).position == Position(head.epoch, 1)
    finally:
        await nats.kill()
    assert "NATS has lost publications, so all epochs begin anew: its log of %s ends at %d, and we saw %d" in {
        record.msg for record in caplog.records
    }


async def test_9_what_others_publish_while_a_node_comes_back_is_no_loss(nats: NatsServer) -> None:
    """The log's end, asked for at once, is older than what is heard until the answer is looked at."""
    engine = engine_at(nats.url)
    async with running(engine) as node, running(engine_at(nats.url)) as other:
        await node.broker.subscribe(CHANNEL)
        before = (await other.broker.publish(CHANNEL, Draft(b"1"), KEEP)).position
        await node.settled(CHANNEL)
        ensure = engine.jetstream.ensure

        async def overtaken(name: str, config: dict[str, Any]) -> StreamInfo:
            info = await ensure(name, config)
            if name == "ROOMFUL_LOG":
                await other.broker.publish(CHANNEL, Draft(b"2"), KEEP)
                await until(
                    lambda: engine.logs.newest is not None and engine.logs.newest.sequence > info.state.last_seq
                )
            return info

        engine.jetstream.ensure = overtaken  # type: ignore[method-assign]
        lapses = len(node.heard.lapses)
        engine.jetstream._link.renew()
        await node.heard.until(lambda: len(node.heard.lapses) > lapses)
        assert before is not None
        assert await node.broker.heads([Look(CHANNEL, KEEP, before)]) == [Position(before.epoch, 2)]


async def test_nothing_that_was_confirmed_is_lost_by_kills(nats: NatsServer) -> None:
    """`kill -9` again and again while two nodes publish: what has an answer is in the log, once and in order."""
    keep = Retention(100_000, 600.0)
    answers: dict[bytes, int] = {}
    async with running(engine_at(nats.url)) as node, running(engine_at(nats.url)) as other:
        done = asyncio.Event()

        async def publish(each: object, name: str) -> None:
            n = 0
            while not done.is_set():
                n += 1
                data = f"{name} {n}".encode()
                try:
                    position = (await each.broker.publish(CHANNEL, Draft(data), keep)).position  # type: ignore[attr-defined]
                    answers[data] = position.offset
                except RoomfulError:
                    await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publish(node, "a"))
            tasks.create_task(publish(other, "b"))
            for _ in range(4):
                count = len(answers)
                await until(lambda count=count: len(answers) > count + 50)  # type: ignore[misc]
                await nats.restart()
            await until(lambda: len(answers) > 250)
            done.set()
        log = (await node.broker.history(CHANNEL, ALL, keep)).publications
    assert [p.offset for p in log] == list(range(1, len(log) + 1))
    stored = {p.data: p.offset for p in log}
    assert len(stored) == len(log)
    assert {data: stored.get(data) for data in answers} == answers
