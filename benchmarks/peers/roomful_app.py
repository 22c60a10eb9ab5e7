"""Roomful with one hook: `echo` answers with what it is called with."""

from __future__ import annotations

from roomful import Roomful, RpcEvent, RpcReply

app = Roomful()


@app.on(RpcEvent, method="echo")
async def echo(event: RpcEvent) -> RpcReply:
    return RpcReply(event.data)
