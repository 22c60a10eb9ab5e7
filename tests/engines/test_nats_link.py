from __future__ import annotations

import asyncio
import contextlib

import pytest

from roomful.engines import nats_link
from roomful.engines.nats_link import Link, NotSent, Reply
from roomful.model.errors import InternalError
from roomful.model.publication import Draft
from roomful.testing.engine_contract import KEEP, NO_HISTORY, running
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.nats_server import CHANNEL, NatsServer, engine_at, free_port, until


async def test_a_mute_link_is_told_and_made_anew(nats: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    async with FaultProxy(nats.port) as proxy, running(engine_at(f"nats://127.0.0.1:{proxy.port}")) as node:
        await node.broker.subscribe(CHANNEL)
        proxy.hole()
        begun = asyncio.get_running_loop().time()
        with pytest.raises(InternalError):
            await node.broker.publish(CHANNEL, Draft(b"1"), NO_HISTORY)
        await until(lambda: not node.engine.ready, 10.0)
        assert asyncio.get_running_loop().time() - begun < 10.0
        proxy.heal()
        await until(lambda: node.engine.ready)
        await node.heard.until(lambda: bool(node.heard.lapses))
        await node.broker.publish(CHANNEL, Draft(b"2"), KEEP)
        assert [p.data for p in await node.settled(CHANNEL)][-1] == b"2"
    assert "the link to NATS is mute: %s" in {record.msg for record in caplog.records}


async def test_a_frozen_server_holds_up_nothing_here(nats: NatsServer) -> None:
    async with running(engine_at(nats.url, publish_deadline_s=0.3)) as node:
        await nats.freeze()
        try:
            with pytest.raises(InternalError):
                await node.broker.publish(CHANNEL, Draft(b"1"), KEEP)
        finally:
            nats.thaw()
        await until(lambda: node.engine.ready)
        assert (await node.broker.publish(CHANNEL, Draft(b"2"), KEEP)).position is not None


async def test_what_waits_for_a_lost_connection_goes_nowhere_and_the_loss_is_told(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """uvloop's transport, unlike asyncio's, raises when one writes to it after its end."""
    lost = asyncio.Event()

    async def prepare() -> None: ...

    def closed(data: object) -> None:
        raise RuntimeError("the handler is closed")

    link = Link([nats.url], "test", 1_000_000, prepare, lost.set)
    await link.start()
    connection = link._connection
    assert connection is not None
    connection._transport.writelines = closed  # type: ignore[union-attr]
    link.tell("to nobody")
    await asyncio.wait({connection._flusher_task})  # type: ignore[type-var]
    link.renew()
    await lost.wait()
    await link.stop()
    assert [record for record in caplog.records if record.exc_info] == []


async def test_it_stops_also_when_the_library_loses_the_cancellation(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `asyncio.wait_for` does before Python 3.12, when it comes together with what is waited for."""
    connecting = asyncio.Event()

    async def prepare() -> None: ...

    async def lose(connection: object, **options: object) -> None:
        connecting.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        raise OSError("reset")

    link = Link([nats.url], "test", 1_000_000, prepare, lambda: None)
    await link.start()
    monkeypatch.setattr(nats_link._Connection, "connect", lose)
    link.renew()
    await connecting.wait()
    async with asyncio.timeout(10):
        await link.stop()


async def test_no_server_is_one_sentence() -> None:
    port = free_port()
    with pytest.raises(InternalError, match=f"can't reach NATS at nats://127.0.0.1:{port}: .*refused"):
        async with running(engine_at(f"nats://ann:secret@127.0.0.1:{port}")):
            pass


async def test_nobody_uses_a_connection_before_it_is_prepared(nats: NatsServer) -> None:
    told: list[str] = []
    prepares, looked = asyncio.Event(), asyncio.Event()

    async def prepare() -> None:
        await link.request("$JS.API.INFO")
        await asyncio.create_task(link.request("$JS.API.INFO"))
        told.append("prepared")
        prepares.set()
        await looked.wait()

    async def use() -> None:
        await prepares.wait()
        with pytest.raises(NotSent):
            link.tell("too early")
        told.append("refused")
        looked.set()

    link = Link([nats.url], "test", 1_000_000, prepare, lambda: told.append("down"))
    user = asyncio.create_task(use())
    await link.start()
    await user
    link.tell("now")
    await link.confirm()
    assert told == ["prepared", "refused"]
    await link.stop()
    assert told[2:] == ["down"]
    with pytest.raises(NotSent):
        link.tell("too late")


async def test_what_a_server_does_not_take_is_refused_when_it_is_too_much(nats: NatsServer) -> None:
    async def prepare() -> None: ...

    link = Link([nats.url], "test", 100_000, prepare, lambda: None)
    await link.start()
    for _ in range(9):
        link.tell("much", b"x" * 10_000)
    with pytest.raises(NotSent, match="doesn't take"):
        link.tell("much", b"x" * 10_000)
    await link.confirm()
    link.tell("again")
    await link.confirm()
    await link.stop()


async def test_a_handler_that_fails_costs_one_message(nats: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    async def prepare() -> None: ...

    heard: list[int] = []
    link = Link([nats.url], "test", 100_000, prepare, lambda: None)
    await link.start()
    link.listen("numbers", lambda reply: heard.append(int(reply.data)))
    for data in (b"1", b"two", b"3"):
        link.tell("numbers", data)
    await link.confirm()
    await link.stop()
    assert heard == [1, 3]
    told = "a message on %s was not understood; going on with the next"
    assert [record.msg for record in caplog.records] == [told]


async def test_a_server_that_isnt_reached_again_is_told(nats: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    async def prepare() -> None: ...

    async with FaultProxy(nats.port) as proxy:
        link = Link([f"nats://127.0.0.1:{proxy.port}"], "test", 100_000, prepare, lambda: None)
        await link.start()
        proxy.refusing = True
        proxy.cut()
        await until(lambda: "no connection to NATS: %s" in {record.msg for record in caplog.records})
        assert not link.is_open
        proxy.heal()
        await until(lambda: link.is_open)
        await link.stop()


async def test_a_connection_that_cant_be_prepared_is_told_and_followed_by_another(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    prepared: list[int] = []

    async def prepare() -> None:
        prepared.append(len(prepared))
        if len(prepared) == 2:
            raise ValueError("nobody has thought of that")

    link = Link([nats.url], "test", 100_000, prepare, lambda: None)
    await link.start()
    link.renew()
    await until(lambda: len(prepared) == 3 and link.is_open)
    await link.stop()
    told = "a new connection to NATS could not be used; trying again"
    assert [record.msg for record in caplog.records if record.exc_info] == [told]


@pytest.mark.parametrize(
    ("block", "status", "value"),
    [
        (b"NATS/1.0\r\nName: x: y \r\nOther:z\r\n\r\n", 0, "x: y"),
        (b"NATS/1.0 404 Message Not Found\r\n\r\n", 404, None),
        (b"NATS/1.0 503\r\n\r\n", 503, None),
        (b"", 0, None),
    ],
)
def test_headers(block: bytes, status: int, value: str | None) -> None:
    reply = Reply(b"", block)
    assert (reply.status, reply.header("Name")) == (status, value)
