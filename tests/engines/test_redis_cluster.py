from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from roomful.engines.options import EngineOptions
from roomful.engines.redis import RedisEngine
from roomful.engines.redis_cluster import slot_of
from roomful.model.errors import InternalError
from roomful.model.publication import Draft
from roomful.testing.engine_contract import ALL, ANN, KEEP, EngineNode, running
from tests.engines.conftest import StartRedis
from tests.engines.redis_server import RedisCluster, RedisServer, eventually, free_port

CHANNELS = [f"a{n}" for n in range(30)]


@pytest.fixture(scope="module")
def cluster(component: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(component("redis-server"), tmp_path_factory.mktemp("cluster"), replica=True)
    asyncio.run(cluster.start())
    yield cluster
    asyncio.run(cluster.kill())


@pytest.fixture
async def node(cluster: RedisCluster) -> AsyncIterator[EngineNode]:
    async with running(RedisEngine(EngineOptions(url=cluster.url))) as node:
        await asyncio.gather(*(node.broker.subscribe(channel) for channel in CHANNELS))
        yield node


async def heard_everywhere(node: EngineNode) -> None:
    """Publishes to every channel and waits until each is heard."""
    before = {channel: len(node.heard.of(channel)) for channel in CHANNELS}
    await asyncio.gather(*(node.broker.publish(channel, Draft(b"1"), KEEP) for channel in CHANNELS))
    await node.heard.until(lambda: all(len(node.heard.of(channel)) > before[channel] for channel in CHANNELS))


async def test_1_a_master_that_dies_is_followed_by_its_replica(
    cluster: RedisCluster, node: EngineNode, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await heard_everywhere(node)
    await cluster.nodes[0].kill()
    await eventually(lambda: not node.engine.ready)
    await eventually(lambda: node.engine.ready, 30.0)
    await heard_everywhere(node)
    lapsed = {channel for channels in node.heard.lapses for channel in channels}
    assert lapsed == {channel for channel in CHANNELS if slot_of(b"." + channel.encode()) <= 5460}
    for channel in CHANNELS:
        epochs = {epoch for name, _, epoch in node.heard.publications if name == channel}
        assert len(epochs) == (2 if channel in lapsed else 1), "a replica may lack what its master had"
    assert {
        "the Redis Cluster has a new master at %s",
        "the Redis Cluster has no master at %s any more",
    } <= {record.msg for record in caplog.records}


async def test_1_a_slot_that_moves_takes_its_channels_along(cluster: RedisCluster, node: EngineNode) -> None:
    channel = next(channel for channel in CHANNELS if slot_of(b"." + channel.encode()) > 10922)
    slot = slot_of(b"." + channel.encode())
    first = (await node.broker.publish(channel, Draft(b"1"), KEEP)).position
    assert first is not None
    await node.presence.add(channel, ANN)
    await move_slot(cluster.nodes[2], cluster.nodes[1], slot)
    for data in (b"2", b"3"):
        await node.broker.publish(channel, Draft(data), KEEP)
    await eventually(lambda: bool(node.heard.lapses))
    assert [set(lapse) for lapse in node.heard.lapses] == [{channel}], "nobody else is disturbed"
    assert await node.offsets(channel, ALL) == list(range(1, first.offset + 3))
    assert dict(await node.presence.members(channel)) == {ANN.client: ANN}
    await heard_everywhere(node)


async def move_slot(source: RedisServer, target: RedisServer, slot: int) -> None:
    """As `redis-cli --cluster reshard` does."""
    source_id, target_id = await source.do("CLUSTER", "MYID"), await target.do("CLUSTER", "MYID")
    await target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    await source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    keys = await source.do("CLUSTER", "GETKEYSINSLOT", slot, 100)
    await source.do("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
    for node in (target, source):
        await node.do("CLUSTER", "SETSLOT", slot, "NODE", target_id)


async def test_an_incomplete_cluster_is_one_sentence(start_redis: StartRedis) -> None:
    lonely = await start_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    engine = RedisEngine(EngineOptions(url=f"redis+cluster://127.0.0.1:{lonely.port}"))
    with pytest.raises(InternalError, match="not complete: 16384 slots are free"):
        async with running(engine):
            pass


async def test_a_cluster_that_is_gone_is_told_and_found_again(
    start_redis: StartRedis, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    await server.do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    await eventually(lambda: server.tells(("CLUSTER", "INFO"), b"cluster_state:ok"))
    async with running(RedisEngine(EngineOptions(url=f"redis+cluster://127.0.0.1:{server.port}"))) as node:
        await server.kill()
        told = "the map of the Redis Cluster can't be had: %s"
        await eventually(lambda: told in {record.msg for record in caplog.records})
        await server.start()
        await eventually(lambda: node.engine.ready)


async def test_no_node_can_be_asked() -> None:
    engine = RedisEngine(EngineOptions(url="redis+cluster://127.0.0.1:1,127.0.0.1:2"))
    with pytest.raises(InternalError, match="no node of the Redis Cluster can be asked"):
        async with running(engine):
            pass
