"""What the official clients do, without their timers: keep positions, come back, recover, believe what they are told.

Everything that arrives is noted in the ledger in the order of arrival, so a push before its reply, a repetition or a
silent hole is a fault.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from centrifuge.codecs import _JsonCodec, _ProtobufCodec

from roomful.testing.client import Client
from roomful.testing.ledger import Ledger
from tests.session.world import World

FINE_ENDINGS = {1006, 3001, 3008, 3010, 3503}
"""How a connection of a client that behaves may end: never with a violation, never with an error of ours."""


LETTERS = "éè😀"
"""Each payload ends in one of them, by its number, so that deltas lie between characters of one, two and four bytes."""

ODD = {"key": "odd", "cmp": "eq", "val": "1"}
"""The filter of a client that wants every other publication."""


class Wanted:
    """A channel that the application wants. state: "out", "asked" or "in".

    server_side: asked for in the connect command. by_order: the server subscribed it, the connection's end ends it.
    """

    def __init__(self, fields: dict[str, Any], *, server_side: bool = False, by_order: bool = False) -> None:
        self.fields = fields
        self.server_side = server_side
        self.by_order = by_order
        self.state = "out"
        self.recoverable = False
        self.epoch = ""
        self.offset = 0

    def request(self) -> dict[str, Any]:
        """The subscribe request: from the position on, if it can be recovered."""
        if not self.recoverable:
            return self.fields
        return self.fields | {"recover": True, "epoch": self.epoch, "offset": self.offset}


class Sdk:
    """A client's application: `user` through all its connections."""

    def __init__(self, world: World, ledger: Ledger, user: str, *, protobuf: bool = False) -> None:
        self.user = user
        self._protobuf = protobuf
        self._codec: Any = _ProtobufCodec if protobuf else _JsonCodec
        self.wanted: dict[str, Wanted] = {}
        self.not_for_it: dict[tuple[str, str, int], str] = {}
        """(channel, writer, number) → the client id that is excluded from it."""
        self._filtered: set[tuple[str, str, int]] = set()
        """Those that its filter left out when they were written."""
        self.members: dict[str, set[str]] = {}
        """As joins and leaves say, by channel."""
        self.client: Client | None = None
        self.id = ""
        """Its present client id, once it is connected."""
        self._world = world
        self._reader = ledger.reader(user)
        self._newest: dict[tuple[str, str], int] = {}
        self._asked: dict[int, tuple[str, Wanted | None]] = {}
        """What was asked about a channel, and by id; None: to be unsubscribed."""
        self._last_id = 0
        self._at = 0
        self._overtaken: dict[str, Wanted] = {}
        """What was asked for when the server subscribed it by itself: the answer is still to come."""
        self._told: dict[str, dict[str, Any]] = {}
        """The last subscribe result of a channel."""
        self._bases: dict[str, bytes] = {}
        """The last payload of a channel with deltas; as in the real ones it outlives connections."""

    # What the application does

    def connect(self) -> None:
        if self.client is not None:
            return
        self.client = self._world.open({"cf_protocol": "protobuf"} if self._protobuf else {})
        self.id, self._asked, self._last_id, self._at, self._told = "", {}, 1, 0, {}
        subs = {channel: wanted.request() for channel, wanted in self.wanted.items() if wanted.server_side}
        for channel in subs:
            self.wanted[channel].state = "asked"
        self._send({"id": 1, "connect": {"token": self._world.token(self.user), "subs": subs}}, *self._subscribes())

    def subscribe(self, channel: str, *, server_side: bool = False, **fields: Any) -> None:
        """server_side: from the next connection on."""
        if channel not in self.wanted:
            self.wanted[channel] = Wanted(fields, server_side=server_side)
            self._catch_on()

    def unsubscribe(self, channel: str) -> None:
        self._overtaken.pop(channel, None)
        if self.wanted.pop(channel, None) is not None and self.client is not None:
            self._send({"id": self._next_id(channel, None), "unsubscribe": {"channel": channel}})

    def cut(self) -> None:
        if self.client is not None:
            self.client.cut()
            self._gone()

    # What the client does by itself

    def pump(self) -> None:
        """Takes in everything that has arrived, and does what follows from it."""
        if self.client is None:
            return
        written = self.client.transport.written
        while self._at < len(written):
            self._at += 1
            piece = written[self._at - 1]
            for message in self._codec.decode_replies(piece if self._protobuf else piece.decode()):
                self._take(_as_in_json(message) if self._protobuf else message)
        if self.client.transport.closed is not None:
            assert self.client.transport.closed[0] in FINE_ENDINGS, self.client.transport.closed
            self._gone()
        else:
            self._catch_on()

    def _catch_on(self) -> None:
        """Asks for every wanted channel that it isn't in."""
        if self.client is not None and self.id and (commands := self._subscribes()):
            self._send(*commands)

    def _send(self, *commands: dict[str, Any]) -> None:
        assert self.client is not None
        data = self._codec.encode_commands(commands)
        self.client.send_bytes(data if self._protobuf else data.encode())

    def _subscribes(self) -> list[dict[str, Any]]:
        commands = []
        for channel, wanted in self.wanted.items():
            if wanted.state == "out" and not wanted.server_side:
                wanted.state = "asked"
                request = {"channel": channel, **wanted.request()}
                commands.append({"id": self._next_id(channel, wanted), "subscribe": request})
        return commands

    def _next_id(self, channel: str, wanted: Wanted | None) -> int:
        self._last_id += 1
        self._asked[self._last_id] = (channel, wanted)
        return self._last_id

    def _gone(self) -> None:
        self.client = None
        for channel, _ in self._asked.values():
            self._out(channel)
        for channel in tuple(self.wanted):
            self._out(channel)
            if self.wanted[channel].by_order:
                del self.wanted[channel]
        for channel, wanted in self._overtaken.items():
            wanted.state = "out"
            self.wanted[channel] = wanted
        self._overtaken.clear()

    def _out(self, channel: str) -> None:
        self._reader.unsubscribed(channel)
        self.members.pop(channel, None)
        if channel in self.wanted:
            self.wanted[channel].state = "out"

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("id") == 1:
            self.id = message["connect"]["client"]
            for channel, result in message["connect"].get("subs", {}).items():
                wanted = self.wanted.get(channel)
                if wanted is not None and wanted.server_side and wanted.state == "asked":
                    self._subscribed(channel, result)
                else:
                    self._enter(channel, result, recovered=False)  # it has changed its mind
            assert all(wanted.state != "asked" for wanted in self.wanted.values() if wanted.server_side)
        elif "id" in message:
            channel, asked = self._asked.pop(message["id"])
            if asked is None:
                self._reader.unsubscribed(channel)
                self.members.pop(channel, None)
            elif "error" in message:
                assert message["error"]["code"] == 105, message  # the server was faster
                self._overtaken.pop(channel, None)
            elif asked is self.wanted.get(channel):
                self._subscribed(channel, message["subscribe"])
            else:  # it has changed its mind: an unsubscribe is under way
                self._enter(channel, message["subscribe"], recovered=False)
        elif "push" in message:
            self._pushed(message["push"])

    def _subscribed(self, channel: str, result: dict[str, Any]) -> None:
        wanted = self.wanted[channel]
        assert wanted.state == "asked", (channel, wanted.state)
        recovered = result.get("recovered", False)
        assert not recovered or wanted.recoverable
        assert result.get("was_recovering", False) == wanted.recoverable
        assert not recovered or (result["epoch"], result.get("offset", 0)) == (wanted.epoch, wanted.offset)
        self._in(channel, result, recovered)
        for publication in result.get("publications", ()):
            self._read(channel, publication)

    def _in(self, channel: str, told: dict[str, Any], recovered: bool = False) -> None:
        wanted = self.wanted[channel]
        wanted.state = "in"
        wanted.recoverable = told.get("recoverable", False)
        wanted.epoch, wanted.offset = told.get("epoch", ""), told.get("offset", 0)
        self._enter(channel, told, recovered)

    def _enter(self, channel: str, told: dict[str, Any], recovered: bool) -> None:
        self._told[channel] = told
        self._reader.subscribed(channel, recovered=recovered)
        if channel.startswith("room:"):
            self.members[channel] = set(self._world.memory.presence._presence.members(channel))

    def _pushed(self, push: dict[str, Any]) -> None:
        channel = push.get("channel") or self._channel_of(push["id"])
        if "pub" in push:
            self._read(channel, push["pub"])
        elif "unsubscribe" in push:
            self._unsubscribed(channel, comes_back=push["unsubscribe"]["code"] >= 2500)
        elif "subscribe" in push:
            wanted = self.wanted.get(channel)
            if wanted is not None and wanted.state == "asked":
                self._overtaken[channel] = wanted
            self.wanted[channel] = Wanted({}, server_side=True, by_order=True)
            self._in(channel, push["subscribe"])
        elif "join" in push:
            self.members[channel].add(push["join"]["info"]["client"])
        else:
            self.members[channel].discard(push["leave"]["info"]["client"])

    def _channel_of(self, number: int) -> str:
        (channel,) = (channel for channel, told in self._told.items() if told.get("id") == number)
        return channel

    def _unsubscribed(self, channel: str, comes_back: bool) -> None:
        wanted = self.wanted.get(channel)
        if wanted is not None and wanted.state == "asked":
            self._reader.unsubscribed(channel)  # the one before; what is asked for comes behind it
            return
        self._out(channel)
        if wanted is not None and (not comes_back or wanted.server_side):
            del self.wanted[channel]
        if channel in self._overtaken:
            self.wanted[channel] = self._overtaken.pop(channel)

    def _read(self, channel: str, publication: dict[str, Any]) -> None:
        data = publication["data"]
        if self._told[channel].get("delta"):
            word = SimpleNamespace(data=data, delta=publication.get("delta", False))
            data, self._bases[channel] = self._codec.apply_delta_if_needed(self._bases.get(channel), word)
        if isinstance(data, bytes):
            data = json.loads(data)
        writer, number = data["writer"], data["number"]
        assert data["text"][-1] == LETTERS[number % 3]
        wanted = self.wanted.get(channel)
        if wanted is not None and wanted.epoch:
            assert publication["offset"] > wanted.offset, (channel, publication["offset"], wanted.offset)
            wanted.offset = publication["offset"]
        excluded = self.not_for_it.get((channel, writer, number))
        if excluded is not None:
            assert excluded != self.id, "it was excluded"
            return  # a later connection of the same user may have it
        if channel.startswith("last:"):
            for passed_over in range(self._newest.get((channel, writer), 0) + 1, number):
                self._reader.hidden(channel, passed_over, writer)  # a newer one took its place
            self._newest[channel, writer] = number
        if wanted is not None and wanted.state == "in" and "tf" in wanted.fields:
            assert number % 2, "its filter leaves it out"
        if (channel, writer, number) in self._filtered:
            return  # it was on its way, and came when the subscription was another one, without filter
        self._reader.read(channel, number, writer)

    def published(self, channel: str, writer: str, number: int) -> None:
        """Whoever filters won't get it, now or by recovery."""
        wanted = self.wanted.get(channel)
        if number % 2 == 0 and wanted is not None and "tf" in wanted.fields:
            self._filtered.add((channel, writer, number))
            self._reader.hidden(channel, number, writer)

    def exclude(self, channel: str, writer: str, number: int) -> frozenset[str]:
        """The client ids to exclude, so that its present connection doesn't get this one."""
        if self.client is None or not self.id:
            return frozenset()  # nobody to exclude
        self.not_for_it[channel, writer, number] = self.id
        self._reader.hidden(channel, number, writer)
        return frozenset({self.id})


def _as_in_json(message: Any) -> Any:
    """A message of Protobuf with its numbers as numbers and its payloads as bytes."""
    if isinstance(message, list):
        return [_as_in_json(item) for item in message]
    if not isinstance(message, dict):
        return message
    read: dict[str, Callable[[Any], Any]] = {"id": int, "offset": int, "data": base64.b64decode}
    return {name: read.get(name, _as_in_json)(value) for name, value in message.items()}
