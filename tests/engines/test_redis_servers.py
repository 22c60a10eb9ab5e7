from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from roomful.engines import redis_servers
from roomful.engines.redis_link import Server
from roomful.engines.redis_servers import OneServer, Setup
from roomful.engines.redis_url import parse
from roomful.model.errors import InternalError
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.conftest import StartRedis
from tests.engines.redis_server import LOGIN, RedisServer, eventually, free_port


class Watch:
    """What an engine would be told."""

    def __init__(self) -> None:
        self.lapses: list[set[bytes]] = []
        self.servers: list[Server] = []
        self.setup = Setup(
            LOGIN, 1.0, 1_000_000, self.servers.append, lambda name, data: None, self.lapses.append, bytes
        )


@pytest.fixture
async def proxy(start_redis: StartRedis) -> AsyncIterator[FaultProxy]:
    server = await start_redis()
    async with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_servers, "PROBE_S", 0.1)
    monkeypatch.setattr(redis_servers, "DEAF_S", 0.3)


@pytest.mark.usefixtures("quick_probes")
async def test_1_a_listener_that_hears_nothing_finds_out_by_itself(
    proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    watch, servers = Watch(), OneServer(parse(f"redis://127.0.0.1:{proxy.port}"))
    await servers.start(watch.setup)
    assert servers.ready
    await servers.listener(b"a").subscribe(b"a")
    listening = proxy.links[1]
    listening.hole()  # open, but mute; commands still get through
    await eventually(lambda: not servers.ready)
    await eventually(lambda: servers.ready)
    assert watch.lapses == [{b"a"}]
    await servers.stop()
    assert "the listener doesn't hear what Redis has published: its connection is given up" in {
        record.msg for record in caplog.records
    }


@pytest.mark.usefixtures("quick_probes")
async def test_1_a_node_whose_whole_link_is_mute_is_not_ready_and_comes_back(proxy: FaultProxy) -> None:
    watch, servers = Watch(), OneServer(parse(f"redis://127.0.0.1:{proxy.port}"))
    await servers.start(watch.setup)
    proxy.hole()
    await eventually(lambda: not servers.ready)
    proxy.heal()
    await eventually(lambda: servers.ready)
    await servers.stop()


def test_1_a_deaf_node_is_not_ready_within_ten_seconds() -> None:
    assert redis_servers.PROBE_S + redis_servers.DEAF_S < 8.0
    assert redis_servers.PROBE_S + 5.0 < 8.0, "a mute link is found by the deadline of the probe"


async def test_a_failed_start_leaves_nothing(start_redis: StartRedis) -> None:
    servers = OneServer(parse(f"redis://127.0.0.1:{free_port()}"))
    with pytest.raises(InternalError, match="can't be used"):
        await servers.start(Watch().setup)
    assert not servers.ready
    with pytest.raises(InternalError, match="isn't running"):
        servers.link(b"a")


async def linked(replica: RedisServer) -> bool:
    return b"master_link_status:up" in await replica.do("INFO", "replication")


@pytest.fixture
async def sentinel(
    component: Callable[[str], str], start_redis: StartRedis, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[RedisServer, RedisServer, RedisServer]]:
    """A sentinel, a master and its replica."""
    master = await start_redis()
    replica = await start_redis("--replicaof", "127.0.0.1", str(master.port))
    await eventually(lambda: linked(replica))
    directory = tmp_path_factory.mktemp("sentinel")
    config = directory / "sentinel.conf"
    config.write_text(
        f"sentinel monitor main 127.0.0.1 {master.port} 1\nsentinel down-after-milliseconds main 500\n"
        "sentinel failover-timeout main 2000\n"
    )
    sentinel = RedisServer(component("redis-server"), directory, "--sentinel", config=str(config))
    await sentinel.start()
    await eventually(lambda: sentinel.do("SENTINEL", "REPLICAS", "main"))
    yield sentinel, master, replica
    await sentinel.kill()


async def test_1_sentinel_leads_to_the_new_master_and_to_another_life(
    sentinel: tuple[RedisServer, RedisServer, RedisServer],
) -> None:
    observer, master, replica = sentinel
    watch = Watch()
    servers = OneServer(parse(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{observer.port}/main"))
    await servers.start(watch.setup)
    await servers.listener(b"a").subscribe(b"a")
    await servers.link(b"a").call("SET", "x", "1", again=True)
    await master.kill()
    await eventually(lambda: bool(watch.lapses) and servers.ready, 30.0)
    assert watch.lapses == [{b"a"}]
    assert len({server.life for server in watch.servers}) == 2
    assert await servers.link(b"a").call("SET", "y", "1", again=True) == b"OK"
    assert await replica.do("GET", "y") == b"1"
    await servers.stop()


async def test_a_service_that_no_sentinel_knows(sentinel: tuple[RedisServer, RedisServer, RedisServer]) -> None:
    servers = OneServer(parse(f"redis+sentinel://127.0.0.1:{sentinel[0].port}/other"))
    with pytest.raises(InternalError, match="doesn't know 'other'"):
        await servers.start(Watch().setup)
