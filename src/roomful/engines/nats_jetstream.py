"""JetStream's API as far as Roomful needs it: streams, publish with a condition, reading by place, purging.

It works with servers from 2.9 on: no consumers (each would cost the server, and a cluster a vote), but direct reads,
as many as one likes in one round trip. Source: NATS documentation, JetStream wire API reference; ADR-8, ADR-28, ADR-31.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from roomful.engines.nats_link import Link, LinkDown, NotSent, Reply
from roomful.model.errors import InternalError

API = "$JS.API"
VERSION_MIN = (2, 9)

WRONG_LAST_SEQUENCE = 10071
NAME_IN_USE = 10058
SUBJECTS_OVERLAP = 10065
NO_STREAM = 10059

ATTEMPTS = 20

EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence"
MESSAGE_ID = "Nats-Msg-Id"


_AnswerT = TypeVar("_AnswerT")


class JetStreamError(InternalError):
    """The server refused. code: its error code."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"NATS JetStream: {description}")
        self.error_code = code


class StreamState(msgspec.Struct, frozen=True):
    last_seq: int = 0
    subjects: dict[str, int] | None = None


class StreamInfo(msgspec.Struct, frozen=True):
    """created: names one life of the stream."""

    created: str = ""
    state: StreamState = StreamState()
    config: dict[str, Any] = {}
    total: int = 0


class Ack(msgspec.Struct, frozen=True):
    """Where a message lies; duplicate: it had been there already."""

    seq: int = 0
    duplicate: bool = False


class Message:
    """A stored message. time_ms: when the server stored it."""

    __slots__ = ("_reply", "data", "sequence", "subject", "time_ms")

    def __init__(self, sequence: int, subject: str, stored_at: str, reply: Reply) -> None:
        self.sequence = sequence
        self.subject = subject
        self.time_ms = _ms(stored_at)
        self.data = reply.data
        self._reply = reply

    def header(self, name: str) -> str | None:
        return self._reply.header(name)


class JetStream:
    """timeout_s: for each single request. replicas: above 1, reads ask the leader, who alone knows the newest."""

    def __init__(self, link: Link, timeout_s: float, replicas: int) -> None:
        self._link = link
        self._timeout_s = timeout_s
        self._replicas = replicas
        self._ahead_ms = 0

    # Time

    def now_ms(self) -> int:
        """The server's clock, so that deadlines mean the same on all nodes."""
        return int(time.time() * 1000) + self._ahead_ms

    def set_clock(self, server_ms: int) -> None:
        """It is now that time at the server."""
        self._ahead_ms = server_ms - int(time.time() * 1000)

    def unique_id(self) -> str:
        """A message id that nobody else has: what is published with it may be tried again."""
        return secrets.token_hex(12)

    # Streams

    async def ensure(self, name: str, config: dict[str, Any]) -> StreamInfo:
        """Makes the stream, or brings an existing one up to the configuration. Raises JetStreamError."""
        config = {"name": name, "num_replicas": self._replicas, "allow_direct": True, **config}
        payload = msgspec.json.encode(config)
        for attempt in range(ATTEMPTS):
            try:
                return await self._call(f"STREAM.CREATE.{name}", payload, StreamInfo)
            except JetStreamError as error:
                if error.error_code == NAME_IN_USE:
                    break
                # Another node is just making this very stream: its subjects are taken before its name is.
                if error.error_code != SUBJECTS_OVERLAP or attempt == ATTEMPTS - 1:
                    raise
            await asyncio.sleep(0.05)
        return await self._call(f"STREAM.UPDATE.{name}", payload, StreamInfo)

    async def remove(self, stream: str) -> None:
        """Removes a stream with all that is in it."""
        await self._call(f"STREAM.DELETE.{stream}", b"", _Purged)

    async def subjects(self, stream: str, pattern: str) -> dict[str, int]:
        """Subjects of a stream that have messages, with how many. A server tells 100,000 in one answer."""
        found: dict[str, int] = {}
        while True:
            payload = msgspec.json.encode({"subjects_filter": pattern, "offset": len(found)})
            info = await self._call(f"STREAM.INFO.{stream}", payload, StreamInfo)
            page = info.state.subjects or {}
            found.update(page)
            if not page or len(found) >= info.total:
                return found

    # Writing

    async def publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> Ack:
        """Raises JetStreamError when it wasn't stored, LinkDown when that can't be said."""
        return self._answer(await self._link.request(subject, payload, headers, self._timeout_s), Ack)

    async def purge(self, stream: str, **which: Any) -> None:
        """which: filter (a subject), seq (those before it), keep (so many)."""
        await self._call(f"STREAM.PURGE.{stream}", msgspec.json.encode(which), _Purged)

    def purge_soon(self, stream: str, **which: Any) -> None:
        """The same without waiting. Raises LinkDown."""
        self._link.post_and_forget(f"{API}.STREAM.PURGE.{stream}", msgspec.json.encode(which))

    # Reading

    async def last(self, stream: str, subject: str) -> Message | None:
        """The newest message of a subject."""
        return (await self.lasts(stream, [subject]))[0]

    async def lasts(self, stream: str, subjects: Iterable[str]) -> list[Message | None]:
        """The newest message of each subject, in one round trip."""
        return await self._get(stream, [{"last_by_subj": subject} for subject in subjects])

    async def at(self, stream: str, sequences: Iterable[int]) -> list[Message | None]:
        """The messages with these sequences, in one round trip."""
        return await self._get(stream, [{"seq": sequence} for sequence in sequences])

    async def next(self, stream: str, subject: str, sequence: int) -> Message | None:
        """The first message of a subject from that sequence on; the subject may be a pattern."""
        return (await self._get(stream, [{"seq": max(1, sequence), "next_by_subj": subject}]))[0]

    async def _get(self, stream: str, wanted: list[dict[str, Any]]) -> list[Message | None]:
        direct = self._replicas == 1
        subject = f"{API}.DIRECT.GET.{stream}" if direct else f"{API}.STREAM.MSG.GET.{stream}"
        try:
            async with asyncio.timeout(self._timeout_s):
                answers = [self._link.post(subject, msgspec.json.encode(each)) for each in wanted]
                replies = await asyncio.gather(*answers)
        except TimeoutError:
            raise LinkDown(f"NATS didn't answer within {self._timeout_s:g} s") from None
        return [self._direct(reply) if direct else self._stored(reply) for reply in replies]

    def _direct(self, reply: Reply) -> Message | None:
        match reply.status:
            case 0:
                place, subject = reply.header("Nats-Sequence"), reply.header("Nats-Subject")
                return Message(int(place or 0), subject or "", reply.header("Nats-Time-Stamp") or "", reply)
            case 404:
                return None
            case status:
                self._missing(status)
                raise JetStreamError(status, f"a read was refused with {status}")

    def _stored(self, reply: Reply) -> Message | None:
        try:
            found = self._answer(reply, _Got).message
        except JetStreamError as error:
            if error.error_code == 10037:
                return None
            raise
        block = base64.b64decode(found.hdrs)
        return Message(found.seq, found.subject, found.time, Reply(base64.b64decode(found.data), block))

    # Answers

    async def _call(self, method: str, payload: bytes, kind: type[_AnswerT]) -> _AnswerT:
        return self._answer(await self._link.request(f"{API}.{method}", payload, timeout_s=self._timeout_s), kind)

    def _answer(self, reply: Reply, kind: type[_AnswerT]) -> _AnswerT:
        self._missing(reply.status)
        try:
            error = msgspec.json.decode(reply.data, type=_Answer).error
            if error is None:
                return msgspec.json.decode(reply.data, type=kind)
        except msgspec.DecodeError as failure:
            raise JetStreamError(0, f"an answer makes no sense: {failure}") from failure
        if error.err_code == NO_STREAM:
            self._link.renew()
        raise JetStreamError(error.err_code, error.description)

    def _missing(self, status: int) -> None:
        """Nobody answers for that stream: it was removed, or JetStream is off. A new connection makes it anew."""
        if status == 503:
            if self._link.is_open:
                self._link.renew()
            raise NotSent("NATS doesn't have our streams (is JetStream on? start it with -js)")


class _Error(msgspec.Struct, frozen=True):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    error: _Error | None = None


class _Purged(msgspec.Struct, frozen=True):
    purged: int = 0


class _Stored(msgspec.Struct, frozen=True):
    subject: str
    seq: int
    time: str
    hdrs: str = ""
    data: str = ""


class _Got(msgspec.Struct, frozen=True):
    message: _Stored


def _ms(stored_at: str) -> int:
    return int(datetime.fromisoformat(stored_at).timestamp() * 1000) if stored_at else 0
