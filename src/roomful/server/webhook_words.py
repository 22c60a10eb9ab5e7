"""What a service is asked for each event, and what it may answer, as JSON.

The shapes are those of Centrifugo's HTTP proxy, so that a service written for it answers here as well. Beyond them, a
connect tells `user` and `token_claims` of a valid token and the client's `address`, a subscribe `granted` and
`token_claims`, and the answer to a publish may have `tags` and `exclude`. A field of an answer that isn't here is an
error: a misspelled `expire_at` must not become a connection without end.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from roomful.model.client import Override
from roomful.model.disconnects import REASON_MAX_BYTES, Disconnect
from roomful.model.errors import ApplicationError, BadRequest, RoomfulError
from roomful.model.event import (
    ConnectEvent,
    ConnectReply,
    PublishEvent,
    PublishReply,
    RefreshEvent,
    RefreshReply,
    RpcEvent,
    RpcReply,
    SubRefreshEvent,
    SubRefreshReply,
    SubscribeEvent,
    SubscribeReply,
    SubscriptionOptions,
)
from roomful.server.api_words import OverrideWords, Payload, optional
from roomful.server.webhook_options import EventName
from roomful.session.payload import check_payload


class BadAnswer(Exception):
    """The service's answer makes no sense; the message says why, for the log."""


class Question(NamedTuple):
    """One event as a service is asked about it.

    deciding: the answer is a decision and nothing else, so asking twice is harmless; other events may do something.
    result: what stands in `result`. reply: that as the reply of a hook; None for no opinion.
    """

    event: type
    deciding: bool
    body: Callable[[Any], dict[str, Any]]
    result: type[Any]
    reply: Callable[[Any], Any]


class _Error(msgspec.Struct, frozen=True):
    code: int
    message: str = ""
    temporary: bool = False


class _Disconnect(msgspec.Struct, frozen=True):
    code: int
    reason: str = ""


class _Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: _Error | None = None
    disconnect: _Disconnect | None = None


class _Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A null counts as absent."""


class _Informed(_Result, frozen=True, kw_only=True):
    info: Payload = UNSET
    b64info: str | None = None
    expire_at: float | None = None

    @property
    def info_bytes(self) -> bytes | None:
        info = optional(self.info, self.b64info)
        if info is not None:
            check_payload(info, "json")  # others see it, whatever their encoding
        return info


class _Granting(_Informed, frozen=True, kw_only=True):
    data: Payload = UNSET
    b64data: str | None = None
    override: OverrideWords | None = None

    def options(self) -> SubscriptionOptions:
        override = self.override.override() if self.override else Override()
        return SubscriptionOptions(self.info_bytes, optional(self.data, self.b64data), self.expire_at or None, override)


class _Connected(_Informed, frozen=True, kw_only=True):
    user: str | None = None
    data: Payload = UNSET
    b64data: str | None = None
    channels: list[str] | None = None
    subs: dict[str, _Granting] | None = None
    meta: dict[str, Any] | None = None

    def reply(self) -> ConnectReply:
        subs = dict.fromkeys(self.channels or (), SubscriptionOptions())
        subs |= {channel: granting.options() for channel, granting in (self.subs or {}).items()}
        data = optional(self.data, self.b64data)
        return ConnectReply(self.user, self.info_bytes, data, self.expire_at or None, subs, self.meta or {})


_LONG_AGO = 1.0


class _Refreshed(_Informed, frozen=True, kw_only=True):
    expired: bool | None = None

    def reply(self, kind: type[RefreshReply] | type[SubRefreshReply]) -> RefreshReply | SubRefreshReply:
        return kind(_LONG_AGO) if self.expired else kind(self.expire_at or None, self.info_bytes)


class _Published(_Result, frozen=True, kw_only=True):
    data: Payload = UNSET
    b64data: str | None = None
    skip_history: bool | None = None
    tags: dict[str, str] | None = None
    exclude: list[str] | None = None

    def reply(self) -> PublishReply:
        data = optional(self.data, self.b64data)
        return PublishReply(data, self.tags, frozenset(self.exclude or ()), self.skip_history or False)


class _Returned(_Result, frozen=True, kw_only=True):
    data: Payload = UNSET
    b64data: str | None = None


def _granted(result: _Granting) -> SubscribeReply:
    options = result.options()
    return SubscribeReply(options.info, options.data, options.expires_at, options.override)


def _connect(event: ConnectEvent) -> dict[str, Any]:
    return _common(event, event.data) | _filled(
        user=event.user,
        token_claims=event.token_claims,
        name=event.name,
        version=event.version,
        channels=event.channels,
        address=event.address,
    )


def _refresh(event: RefreshEvent) -> dict[str, Any]:
    return _known(event) | _filled(periodic=event.periodic)


def _of_channel(event: SubscribeEvent | PublishEvent | SubRefreshEvent) -> dict[str, Any]:
    known = _known(event) | {"channel": event.channel}
    if isinstance(event, SubscribeEvent):
        known |= _filled(granted=event.granted, token_claims=event.token_claims)
    return known


def _rpc(event: RpcEvent) -> dict[str, Any]:
    return _known(event) | {"method": event.method}


def _known(event: Any) -> dict[str, Any]:
    """Of an event of a connected client."""
    return _common(event, getattr(event, "data", None)) | {"user": event.user} | _filled(meta=event.meta)


def _common(event: Any, data: Any) -> dict[str, Any]:
    binary = isinstance(data, bytes)
    payload = {"b64data": base64.b64encode(data).decode()} if binary else {"data": data}
    return {
        "client": event.client,
        "transport": event.via.transport,
        "protocol": event.via.protocol,
        "encoding": "binary" if binary else "json",
        **({} if data is None else payload),
    }


def _filled(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


QUESTIONS: dict[EventName, Question] = {
    "connect": Question(ConnectEvent, True, _connect, _Connected, _Connected.reply),
    "refresh": Question(RefreshEvent, True, _refresh, _Refreshed, lambda result: result.reply(RefreshReply)),
    "subscribe": Question(SubscribeEvent, True, _of_channel, _Granting, _granted),
    "sub_refresh": Question(SubRefreshEvent, True, _of_channel, _Refreshed, lambda r: r.reply(SubRefreshReply)),
    "publish": Question(PublishEvent, False, _of_channel, _Published, _Published.reply),
    "rpc": Question(RpcEvent, False, _rpc, _Returned, lambda r: RpcReply(optional(r.data, r.b64data))),
}
"""Everything that a service may be asked about."""


def read_answer(question: Question, body: bytes) -> Any:
    """The hook's reply that the answer stands for, None for no opinion (`{}`).

    Raises what the service refuses with (RoomfulError, Disconnect), or BadAnswer.
    """
    try:
        body.decode()  # msgspec doesn't look into the strings that it skips
        answer = msgspec.json.decode(body, type=_Answer)
        if answer.disconnect is not None:
            raise _disconnect(answer.disconnect)
        if answer.error is not None:
            raise _error(answer.error)
        result = msgspec.json.decode(answer.result, type=question.result | None)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(str(error)) from None
    try:
        return None if result is None else question.reply(result)
    except BadRequest as error:
        raise BadAnswer(error.message) from None


def _disconnect(said: _Disconnect) -> Disconnect:
    if not 4000 <= said.code <= 4999:
        raise BadAnswer(f"a disconnect code of a service lies in 4000–4999, got {said.code}")
    if not 0 < len(said.reason.encode()) <= REASON_MAX_BYTES:
        raise BadAnswer(f"a disconnect reason has 1 to {REASON_MAX_BYTES} bytes")
    return Disconnect(said.code, said.reason)


def _error(said: _Error) -> RoomfulError:
    known = next((kind for kind in RoomfulError.__subclasses__() if kind.code == said.code), None)
    if known is not None and known is not ApplicationError:
        return known(said.message)
    try:
        return ApplicationError(said.code, said.message or ApplicationError.text, temporary=said.temporary)
    except ValueError as error:
        raise BadAnswer(str(error)) from None
