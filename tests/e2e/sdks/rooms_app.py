"""The application that the SDKs talk to, served as `roomful serve rooms_app:app`.

By the rpc `call` an operator has the server's own API; the other hooks do what the tests of the SDKs need done.
"""

from __future__ import annotations

from typing import Any

import msgspec

from roomful import (
    ApplicationError,
    ConnectEvent,
    ConnectReply,
    Disconnect,
    Forbidden,
    MessageEvent,
    Position,
    PublishEvent,
    PublishReply,
    Roomful,
    RpcEvent,
    RpcReply,
    SubscribeEvent,
    SubscribeReply,
)

app = Roomful()

OPERATOR = "operator"


@app.on(ConnectEvent)
async def connect(event: ConnectEvent) -> ConnectReply | None:
    match event.data:
        case {"refused": True}:
            raise Forbidden("not you")
        case {"end": [code, reason]}:
            raise Disconnect(code, reason)
        case {"welcome": who}:
            return ConnectReply(info={"name": who}, data={"hello": who})
    return None


@app.on(SubscribeEvent, channel="closed:*")
async def subscribe(event: SubscribeEvent) -> SubscribeReply | None:
    match event.data:
        case {"password": "sesame"}:
            return SubscribeReply(info={"seat": 7}, data={"topic": "caves"})
    return None


@app.on(PublishEvent, channel="moderated:*")
async def publish(event: PublishEvent) -> PublishReply | None:
    match event.data:
        case {"rude": True}:
            raise Forbidden("mind your words")
        case {"to_others": text}:
            return PublishReply(data={"text": text}, tags={"by": "hook"}, exclude=frozenset({event.client}))
    return None


@app.on(MessageEvent)
async def message(event: MessageEvent) -> None:
    await app.publish(f"room:messages-{event.user}", {"got": event.data})


@app.on(RpcEvent, method="echo")
async def echo(event: RpcEvent) -> RpcReply:
    return RpcReply(event.data)


@app.on(RpcEvent, method="who")
def who(event: RpcEvent) -> RpcReply:
    return RpcReply({"user": event.user, "client": event.client})


@app.on(RpcEvent, method="refuse")
async def refuse(event: RpcEvent) -> None:
    raise ApplicationError(1000, "the kettle is empty", temporary=True)


@app.on(RpcEvent, method="crash")
async def crash(event: RpcEvent) -> None:
    raise LookupError("a crash that the tests want")


@app.on(RpcEvent, method="end")
async def end(event: RpcEvent) -> None:
    raise Disconnect(*event.data)


@app.on(RpcEvent, method="call")
async def call(event: RpcEvent) -> RpcReply:
    """`[method, positional arguments, named arguments]` of the application object."""
    if event.user != OPERATOR:
        raise Forbidden
    method, positional, named = event.data
    if "recover_since" in named:
        named["recover_since"] = msgspec.convert(named["recover_since"], Position)
    result: Any = await getattr(app, method)(*positional, **named)
    return RpcReply({"result": msgspec.to_builtins(result)})


@app.on(RpcEvent, method="publish_numbers")
async def publish_numbers(event: RpcEvent) -> None:
    """Publishes `{"n": first}` … `{"n": last}` to a channel, one after the other, each with that much padding."""
    if event.user != OPERATOR:
        raise Forbidden
    channel, first, last, padding_bytes = event.data
    padding = {"padding": "x" * padding_bytes} if padding_bytes else {}
    for number in range(first, last + 1):
        await app.publish(channel, {"n": number} | padding)
