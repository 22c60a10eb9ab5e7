"""Who is in which channel: one entry a client in a stream kept in memory, valid while its node's lease is renewed.

The lease is a message that the server itself drops in time. A node that died leaves its registration and its entries;
one of the others claims them, by a conditional publish on the registration, and announces each leave once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

import msgspec

from roomful.engines.nats_jetstream import EXPECTED_LAST, JetStream, JetStreamError
from roomful.engines.nats_names import Names, token
from roomful.model.client import ClientInfo
from roomful.model.errors import RoomfulError

logger = logging.getLogger("roomful.engines.nats")

LOOK_S = 1.0
"""How often a node looks whether another's lease has ended."""

SETTLE_S = 5.0
"""After a connection was made others may still be on their way: nobody is taken for dead so soon."""

Announce = Callable[[str, ClientInfo], Awaitable[None]]


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    node: str
    channel: str
    info: tuple[str, str, bytes, bytes]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Entry).decode


class NatsPresence:
    """Presence of all nodes. join, leave: announce in a channel. renew_s: how often the lease is renewed."""

    def __init__(self, jetstream: JetStream, names: Names, renew_s: float, join: Announce, leave: Announce) -> None:
        self._js = jetstream
        self._names = names
        self._renew_s = renew_s
        self._join = join
        self._leave = leave
        self._node = ""
        self._own: dict[tuple[str, str], ClientInfo] = {}
        self._lease = 0
        self._stream = ""
        self._renewed_at = 0.0
        self._bury_from = 0.0

    # What the node asks for

    async def add(self, channel: str, info: ClientInfo) -> None:
        self._own[channel, info.client] = info
        await self._write(channel, info)

    async def remove(self, channel: str, client: str) -> None:
        self._own.pop((channel, client), None)
        await self._js.purge(self._names.here_stream, filter=self._names.entry(self._node, channel, client))

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        here = self._js.subjects(self._names.here_stream, self._names.entries_of_channel(channel))
        subjects, living = await asyncio.gather(here, self._living())
        wanted = [name for name in subjects if name.split(".")[2] in living]
        messages = await self._js.lasts(self._names.here_stream, wanted)
        entries = [_decode(message.data) for message in messages if message is not None]
        return {found.info[1]: ClientInfo(*found.info) for found in entries}

    async def counts(self, channel: str) -> tuple[int, int]:
        members = await self.members(channel)
        return len(members), len({info.user for info in members.values()})

    async def nodes(self) -> Collection[str]:
        """The ids of the nodes whose lease holds."""
        leases = await self._leases()
        messages = await self._js.lasts(self._names.leases_stream, leases)
        return {message.data.decode() for message in messages if message is not None}

    async def _leases(self) -> Collection[str]:
        return await self._js.subjects(self._names.leases_stream, self._names.every("lease"))

    async def _living(self) -> Collection[str]:
        """The nodes whose lease holds, as parts of subjects."""
        return {name.rpartition(".")[2] for name in await self._leases()}

    # Its life

    async def begin(self, node: str, stream: str) -> None:
        """The node is connected (again). stream: when presence's stream was made; another one has forgotten us."""
        forgotten = bool(self._stream) and stream != self._stream
        self._node, self._stream = node, stream
        self._bury_from = asyncio.get_running_loop().time() + SETTLE_S
        if forgotten:
            self._lease = 0
        await self._renew()
        if forgotten:
            await self._add_all_again(announced=False)

    async def look_after(self) -> None:
        """Renews the lease and looks after the dead, until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                if loop.time() - self._renewed_at >= self._renew_s:
                    await self._renew()
                await self._bury_the_dead()
            except RoomfulError as error:
                logger.info("presence is looked after later: %s", error)
            except Exception:  # without its lease the node would be taken for dead
                logger.exception("something about presence could not be looked after; going on")

    async def end(self) -> None:
        """Takes everything of this node away."""
        self._own.clear()
        self._lease, self._stream = 0, ""
        await self._js.purge(self._names.leases_stream, filter=self._names.lease(self._node))
        await self._js.purge(self._names.here_stream, filter=self._names.entries_of_node(self._node))
        await self._js.purge(self._names.here_stream, filter=self._names.registration(self._node))

    async def _renew(self) -> None:
        """Prolongs the lease under the condition that it hasn't ended, and begins a new one if it has."""
        payload, lost = self._node.encode(), False
        while True:
            try:
                ack = await self._js.publish(self._names.lease(self._node), payload, {EXPECTED_LAST: str(self._lease)})
                break
            except JetStreamError:
                # It ended, or a renewal was stored whose answer was lost: then the newest is ours all the same.
                found = await self._js.last(self._names.leases_stream, self._names.lease(self._node))
                lost = lost or found is None
                self._lease = found.sequence if found else 0
        self._lease = ack.seq
        self._renewed_at = asyncio.get_running_loop().time()
        stored = (await self._js.at(self._names.leases_stream, [ack.seq]))[0]
        if stored is not None:
            self._js.set_clock(stored.time_ms)
        if not await self._register() or lost:
            await self._add_all_again(announced=lost)

    async def _register(self) -> bool:
        """Whether our registration stood there unclaimed; else it does from now on."""
        subject = self._names.registration(self._node)
        found = await self._js.last(self._names.here_stream, subject)
        if found is not None and not found.data:
            return True
        expected = {EXPECTED_LAST: str(found.sequence if found else 0)}
        await self._js.publish(subject, b"", expected)
        return False

    async def _add_all_again(self, announced: bool) -> None:
        if not self._own:
            return
        logger.warning("adding %d entries of presence again: the server had lost them, or our lease", len(self._own))
        for (channel, client), info in list(self._own.items()):
            if (channel, client) in self._own:
                await self._write(channel, info)
                if announced:
                    await self._join(channel, info)

    async def _write(self, channel: str, info: ClientInfo) -> None:
        fields = (info.user, info.client, info.conn_info, info.chan_info)
        payload = _encode(_Entry(self._node, channel, fields))
        await self._js.publish(self._names.entry(self._node, channel, info.client), payload, {})

    # The dead

    async def _bury_the_dead(self) -> None:
        if asyncio.get_running_loop().time() < self._bury_from:
            return
        registrations = self._js.subjects(self._names.here_stream, self._names.registrations())
        registered, living = await asyncio.gather(registrations, self._living())
        for subject in registered:
            if subject.rpartition(".")[2] not in living and (claimed := await self._claim(subject, living)):
                await self._bury(subject, claimed)

    async def _claim(self, subject: str, living: Collection[str]) -> int:
        """The sequence of our claim if it is ours to announce this dead node's leaves, else 0."""
        found = await self._js.last(self._names.here_stream, subject)
        claimer = found.data.decode() if found else ""
        if found is None or (claimer not in ("", self._node) and token(claimer) in living):
            return 0
        try:
            ack = await self._js.publish(subject, self._node.encode(), {EXPECTED_LAST: str(found.sequence)})
        except JetStreamError:
            return 0
        return ack.seq

    async def _bury(self, subject: str, claimed: int) -> None:
        """Announces the leaves. What is newer than the claim belongs to a node that wasn't dead after all."""
        sequence = 1
        while (message := await self._js.next(self._names.here_stream, f"{subject}.*.*", sequence)) is not None:
            if message.sequence > claimed:
                break
            sequence = message.sequence + 1
            left = _decode(message.data)
            await self._leave(left.channel, ClientInfo(*left.info))
            await self._js.purge(self._names.here_stream, filter=message.subject, seq=sequence)
        await self._js.purge(self._names.here_stream, filter=subject, seq=claimed + 1)
