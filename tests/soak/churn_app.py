"""The application of `churn.py`, served as `roomful serve churn_app:app`: a tenth of its hooks' calls raise something.

`/api/rpc` with method `report` tells what it has counted, and what lives in the process.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter
from pathlib import Path
from typing import Any

from roomful import (
    ConnectEvent,
    ConnectReply,
    DisconnectEvent,
    DocumentOpenEvent,
    Forbidden,
    MessageEvent,
    PublishEvent,
    Roomful,
    RpcEvent,
    RpcReply,
    ServerRpcEvent,
    SubscribeEvent,
    UnsubscribeEvent,
)
from roomful.model.disconnects import Disconnect

app = Roomful()
chance = random.Random(18)
counted: Counter[str] = Counter()
here: set[str] = set()
"""Clients that a connect hook was asked about, and whose end wasn't told yet."""

RAISED: tuple[type[BaseException], ...] = (
    *(ValueError, Forbidden, StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError),
    *(BaseException, RecursionError, MemoryError),
)


def stumble() -> None:
    counted["calls"] += 1
    if chance.random() < 0.1:
        counted["raised"] += 1
        if chance.random() < 0.1:
            raise Disconnect(4000 + chance.randrange(1000), "the hook says so")
        raise chance.choice(RAISED)()


def memory_in_use() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024


@app.on(ConnectEvent)
async def connect(event: ConnectEvent) -> ConnectReply:
    counted["connects"] += 1
    here.add(event.client)
    if chance.random() < 0.5:
        await asyncio.sleep(0)
    stumble()
    return ConnectReply(user=f"user-{chance.randrange(50)}", subs=["room:server"])


@app.on(DisconnectEvent)
async def disconnect(event: DisconnectEvent) -> None:
    counted["ends"] += 1
    if event.client in here:
        here.remove(event.client)
    else:
        counted["unexpected ends"] += 1
    stumble()


@app.on(SubscribeEvent)
async def subscribe(event: SubscribeEvent) -> None:
    await asyncio.sleep(0)
    stumble()


@app.on(UnsubscribeEvent)
async def unsubscribe(event: UnsubscribeEvent) -> None:
    stumble()


@app.on(PublishEvent)
async def publish(event: PublishEvent) -> None:
    stumble()


@app.on(MessageEvent)
async def message(event: MessageEvent) -> None:
    stumble()


@app.on(RpcEvent)
def rpc(event: RpcEvent) -> RpcReply:
    """In a thread."""
    stumble()
    return RpcReply(event.data)


@app.on(DocumentOpenEvent)
async def open_document(event: DocumentOpenEvent) -> None:
    stumble()


@app.on(ServerRpcEvent, method="report")
async def report(event: ServerRpcEvent) -> RpcReply:
    gc.collect()
    kinds = Counter(type(each).__name__ for each in gc.get_objects())
    found: dict[str, Any] = {
        "counted": dict(counted),
        "here": len(here),
        "tasks": len(asyncio.all_tasks()),
        "objects": sum(kinds.values()),
        "kinds": dict(kinds),
        "rss_bytes": memory_in_use(),
        "connections": len(app.live.node.connections),
        "channels": len(app.live.node.hub),
    }
    return RpcReply(found)
