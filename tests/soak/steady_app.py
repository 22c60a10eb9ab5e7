"""The application of `steady.py`, served as `roomful serve steady_app:app`: hooks that only let everybody through.

`/api/rpc` with method `report` tells what lives in the process.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

from roomful import (
    ConnectEvent,
    DisconnectEvent,
    DocumentOpenEvent,
    PublishEvent,
    Roomful,
    RpcEvent,
    RpcReply,
    ServerRpcEvent,
    SubscribeEvent,
    UnsubscribeEvent,
)

app = Roomful()
here: set[str] = set()
"""Clients whose end wasn't told yet."""


@app.on(ConnectEvent)
async def connect(event: ConnectEvent) -> None:
    here.add(event.client)
    await asyncio.sleep(0)


@app.on(DisconnectEvent)
async def disconnect(event: DisconnectEvent) -> None:
    here.discard(event.client)


@app.on(SubscribeEvent)
async def subscribe(event: SubscribeEvent) -> None:
    await asyncio.sleep(0)


@app.on(UnsubscribeEvent)
async def unsubscribe(event: UnsubscribeEvent) -> None:
    pass


@app.on(PublishEvent)
async def publish(event: PublishEvent) -> None:
    pass


@app.on(RpcEvent)
def rpc(event: RpcEvent) -> RpcReply:
    """In a thread."""
    return RpcReply(event.data)


@app.on(DocumentOpenEvent)
async def open_document(event: DocumentOpenEvent) -> None:
    pass


@app.on(ServerRpcEvent, method="report")
async def report(event: ServerRpcEvent) -> RpcReply:
    gc.collect()
    kinds = Counter(type(each).__name__ for each in gc.get_objects())
    return RpcReply({"here": len(here), "tasks": len(asyncio.all_tasks()), "kinds": dict(kinds)})
