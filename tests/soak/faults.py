"""What may happen to a fleet's broker and nodes. Each does its harm for a while, and returns when it is mended."""

from __future__ import annotations

import asyncio
import signal
import time

from tests.engines.redis_server import RedisServer, eventually
from tests.soak.fleet import Fleet, SharedT

UNREADY_S = 10.0
"""A deaf node says that it isn't ready within this."""


async def nothing(fleet: Fleet[SharedT], seconds: float) -> None:
    """To compare with."""
    await asyncio.sleep(seconds)


async def killed_listeners(fleet: Fleet[RedisServer], seconds: float, every_s: float = 2.0) -> None:
    """`CLIENT KILL TYPE pubsub`, again and again."""
    for _ in range(max(1, round(seconds / every_s))):
        await fleet.shared.do("CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(every_s)


async def crash(fleet: Fleet[SharedT], seconds: float) -> None:
    """`kill -9` of the shared server, which comes back after a while with what its persistence has."""
    await fleet.shared.kill()
    await asyncio.sleep(seconds)
    await fleet.shared.start()


async def large_messages(fleet: Fleet[RedisServer], seconds: float) -> None:
    """An output limit of 1 MB for listeners, and 2 MB at once for all of them."""
    await fleet.shared.do("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
    for _ in range(max(1, round(seconds))):
        for channel in fleet.channels:
            await fleet.shared.do("PUBLISH", f"roomful:c:{{.{channel}}}", b"x" * 2_000_000)
        await asyncio.sleep(1.0)


async def mute_link(fleet: Fleet[SharedT], seconds: float) -> None:
    """The first node's link to the shared server is open but mute: it finds out and says so in time."""
    node = fleet.nodes[0]
    node.proxy.hole()
    begun = time.monotonic()
    await eventually(lambda: _unready(fleet), UNREADY_S)
    unready = time.monotonic()
    fleet.notes.append(f"not ready after {unready - begun:.1f} s")
    await asyncio.sleep(begun + seconds - unready)
    node.proxy.heal()
    await eventually(node.ready, 30.0)


async def _unready(fleet: Fleet[SharedT]) -> bool:
    return not await fleet.nodes[0].ready()


async def slow_link(fleet: Fleet[SharedT], seconds: float, delay_s: float = 3.0) -> None:
    """Everything that the first node tells the shared server arrives late."""
    node = fleet.nodes[0]
    node.proxy.up.delay_s = delay_s
    await asyncio.sleep(seconds)
    node.proxy.heal()
    await eventually(node.ready, 30.0)


async def frozen_node(fleet: Fleet[SharedT], seconds: float) -> None:
    """SIGSTOP of a node, and SIGCONT."""
    fleet.nodes[0].signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    fleet.nodes[0].signal(signal.SIGCONT)
    await eventually(fleet.nodes[0].ready, 30.0)


async def changing_nodes(fleet: Fleet[SharedT], seconds: float, every_s: float = 5.0) -> None:
    """Every few seconds one more node, with clients, and the one before it is killed (`kill -9`)."""
    before = None
    for _ in range(max(1, round(seconds / every_s))):
        begun = time.monotonic()
        node = await fleet.add_node()
        fleet.follow(node, len(fleet.channels))
        await fleet.all_subscribed()
        if before is not None:
            before.signal(signal.SIGKILL)
        before = node
        await asyncio.sleep(max(0.0, begun + every_s - time.monotonic()))
    if before is not None:
        before.signal(signal.SIGKILL)


async def killed_node(fleet: Fleet[SharedT], seconds: float) -> None:
    """`kill -9` of a node: its clients go to the others."""
    fleet.nodes[-1].signal(signal.SIGKILL)
    await asyncio.sleep(seconds)
