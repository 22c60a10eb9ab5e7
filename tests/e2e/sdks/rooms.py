"""The servers that the SDKs talk to: their configurations, and what a test may ask of a running one."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import centrifuge
import jwt
import msgspec

from roomful import Position
from roomful.testing.fault_proxy import FaultProxy
from tests.served import Server

SECRET = "a secret for the tests of the official clients"

OPEN = """
subscribe = "client"
publish = "subscriber"
"""

HISTORY = """
history_size = 100
history_ttl_s = 300
recover = true
"""

SOCIAL = """
presence = true
join_leave = "all"
"""

ROOMS = f"""
[tokens]
hmac_secret = "{SECRET}"
anonymous = true

[connection]
personal_channel = true
personal_namespace = "personal"

[limits]
channels_max = 600

[namespaces.default]
{OPEN}{HISTORY}{SOCIAL}
[namespaces.room]
{OPEN}{HISTORY}{SOCIAL}
[namespaces.personal]
{HISTORY}{SOCIAL}
[namespaces.short]
{OPEN}history_size = 2
history_ttl_s = 300
recover = true
[namespaces.long]
{OPEN}history_size = 2000
history_ttl_s = 300
recover = true
[namespaces.full]
{OPEN}{HISTORY}delta = true
tags_filter = true
compact = true
join_leave = "all"
[namespaces.numbered]
{OPEN}{HISTORY}compact = "all"
join_leave = "all"
[namespaces.last]
{OPEN}{HISTORY}mode = "cache"
delta = true
tags_filter = true
[namespaces.optional]
{OPEN}history_size = 100
history_ttl_s = 300
presence = true
join_leave = true
[namespaces.bare]
{OPEN}
[namespaces.objects]
{OPEN}data_format = "json_object"
[namespaces.binary]
{OPEN}{HISTORY}data_format = "binary"
[namespaces.echoless]
{OPEN}{HISTORY}exclude_self = true
[namespaces.moderated]
{OPEN}{HISTORY}
[namespaces.dialog]
{HISTORY}user_limited = true
[namespaces.closed]
{HISTORY}{SOCIAL}
"""
"""With hooks, everything allowed somewhere, and a namespace for each way to be configured."""

STRICT = f"""
[tokens]
hmac_secret = "{SECRET}"

[connection]
ping_s = 1
pong_s = 0.5
expired_grace_s = 0.5

[namespaces.room]
{OPEN}{HISTORY}{SOCIAL}
"""
"""Without hooks and with the default limits; nobody comes in without a token, and nothing is waited for long."""


def url_of(port: int, prefix: str = "") -> str:
    """Where rooms are, at a port of loopback. prefix: of a mounted application."""
    return f"ws://127.0.0.1:{port}{prefix}/connection/websocket"


def token(user: str, ttl_s: float = 3600.0, **claims: Any) -> str:
    """As an application's backend signs it; for a subscription with the claim `channel`."""
    return jwt.encode({"sub": user, "exp": time.time() + ttl_s, **claims}, SECRET, "HS256")


def new_name() -> str:
    """Tests share servers, so each has users and channels of its own."""
    return uuid4().hex[:12]


class Rooms:
    """A running server, and its operator, who may call the API of its application."""

    def __init__(self, server: Server, prefix: str = "") -> None:
        self.server = server
        self._prefix = prefix
        self.url = url_of(server.port, prefix)
        self._operator = centrifuge.Client(self.url, token=token("operator"), proxy=None)

    async def open(self) -> None:
        await self._operator.connect()
        await self._operator.ready()

    async def close(self) -> None:
        await self._operator.disconnect()
        await self.server.stop()

    def via(self, proxy: FaultProxy) -> str:
        """The URL that leads through a proxy."""
        return url_of(proxy.port, self._prefix)

    async def call(self, method: str, *positional: Any, **named: Any) -> Any:
        """A method of the application object, with arguments that JSON can say."""
        return (await self._operator.rpc("call", [method, positional, named])).data.get("result")

    async def publish(self, channel: str, data: Any, **named: Any) -> Position:
        return msgspec.convert(await self.call("publish", channel, data, **named), Position)

    async def publish_numbers(self, channel: str, first: int, last: int, *, padding_bytes: int = 0) -> None:
        """`{"n": first}` … `{"n": last}`, with padding if there is to be some."""
        await self._operator.rpc("publish_numbers", [channel, first, last, padding_bytes], timeout=30.0)
