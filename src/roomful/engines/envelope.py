"""What nodes send each other through a broker, as bytes: compact, and the same for every engine.

    placed  = offset " " epoch " " body          a publication in its place; "0  " in front of one without
    body    = version kind msgpack               one byte each; the values of the kind's struct as an array

The place stands before the body as text, so that a broker's own script can write it without understanding the rest.
A body of another version raises WireError: nodes of two versions that don't understand each other say so in the log.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from roomful.model.client import ClientInfo
from roomful.model.errors import WireError
from roomful.model.order import (
    Answer,
    BurialOrder,
    CommandsOrder,
    DisconnectOrder,
    DocumentRightsOrder,
    Order,
    PersonStatusOrder,
    RefreshOrder,
    RevokeOrder,
    SubscribeOrder,
    Survey,
    UnsubscribeOrder,
)
from roomful.model.publication import Draft, Publication

VERSION = b"1"

PUBLICATION, JOIN, LEAVE, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, REFRESH = b"pjlsudr"
SURVEY, ANSWER, COMMANDS, DOCUMENT, REVOKE, PERSON, BURIAL = b"qacDRPB"

NOWHERE = b"0  "
"""The place of what isn't in a stream."""

Info: TypeAlias = tuple[str, str, bytes, bytes]
"""The fields of a ClientInfo, in their order."""


class _Content(msgspec.Struct, frozen=True, array_like=True):
    """A draft without what concerns the broker only."""

    data: bytes
    info: Info | None
    tags: dict[str, str] | None
    exclude: frozenset[str]


class Join(msgspec.Struct, frozen=True):
    info: ClientInfo


class Leave(msgspec.Struct, frozen=True):
    info: ClientInfo


Message: TypeAlias = Publication | Join | Leave | Order | Survey | Answer

_KINDS: dict[type, int] = {
    SubscribeOrder: SUBSCRIBE,
    UnsubscribeOrder: UNSUBSCRIBE,
    DisconnectOrder: DISCONNECT,
    RefreshOrder: REFRESH,
    Survey: SURVEY,
    Answer: ANSWER,
    CommandsOrder: COMMANDS,
    DocumentRightsOrder: DOCUMENT,
    RevokeOrder: REVOKE,
    PersonStatusOrder: PERSON,
    BurialOrder: BURIAL,
}
_TYPES: dict[int, type[Order | Survey | Answer]] = {kind: type for type, kind in _KINDS.items()}

_encode = msgspec.msgpack.Encoder().encode
_decode_content = msgspec.msgpack.Decoder(_Content).decode
_decode_info = msgspec.msgpack.Decoder(Info).decode
_decoders = {kind: msgspec.msgpack.Decoder(type).decode for kind, type in _TYPES.items()}


def _head(kind: int) -> bytes:
    return VERSION + bytes((kind,))


_HEAD_OF_PUBLICATION = _head(PUBLICATION)


def encode_draft(draft: Draft) -> bytes:
    """The body of what will be a publication once the broker has numbered it."""
    info = draft.info
    return _HEAD_OF_PUBLICATION + _encode(
        _Content(draft.data, None if info is None else info_fields(info), draft.tags, draft.exclude)
    )


def encode(message: Join | Leave | Order | Survey | Answer) -> bytes:
    """The body of anything else."""
    if isinstance(message, Join | Leave):
        return _head(JOIN if isinstance(message, Join) else LEAVE) + _encode(info_fields(message.info))
    return _head(_KINDS[type(message)]) + _encode(message)


def decode(body: bytes | memoryview, offset: int = 0) -> Message:
    """What the body says; offset: the place of a publication. Raises WireError for bytes that aren't a body."""
    if len(body) < 2 or body[0] != VERSION[0]:
        raise WireError(f"not a message of version {VERSION.decode()}: {bytes(body[:8])!r}")
    kind = body[1]
    try:
        if kind == PUBLICATION:
            content = _decode_content(memoryview(body)[2:])
            info = None if content.info is None else ClientInfo(*content.info)
            return Publication(content.data, offset, info, content.tags, content.exclude)
        if kind in (JOIN, LEAVE):
            who = ClientInfo(*_decode_info(memoryview(body)[2:]))
            return Join(who) if kind == JOIN else Leave(who)
        if kind in _decoders:
            return _decoders[kind](memoryview(body)[2:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"a message of kind {chr(kind)!r} doesn't hold together: {error}") from None
    raise WireError(f"no message is of kind {chr(kind)!r}")


def place(offset: int, epoch: str, body: bytes) -> bytes:
    """A body in its place."""
    return b"%d %s %s" % (offset, epoch.encode(), body)


def open_placed(data: bytes) -> tuple[int, str, bytes]:
    """Offset, epoch and body. Raises WireError for bytes that aren't placed."""
    try:
        offset, epoch, body = data.split(b" ", 2)
        return int(offset), epoch.decode(), body
    except ValueError:
        raise WireError(f"no place stands in front: {data[:16]!r}") from None


def info_fields(info: ClientInfo) -> Info:
    return info.user, info.client, info.conn_info, info.chan_info
