"""centrifuge-python, unmodified."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import centrifuge

from roomful import Position
from tests.e2e.sdks.sdk import (
    RECONNECT_S,
    Client,
    Event,
    GetState,
    GetToken,
    History,
    Info,
    Log,
    Publication,
    Sdk,
    SdkError,
    Subscription,
    packed,
    unpacked,
)


class PythonSdk(Sdk):
    can_send = False
    tells_version = True
    stops_at_1009 = False
    reads_numbers = True
    counts_deltas = False

    def __init__(self, protobuf: bool) -> None:
        super().__init__(protobuf)
        self._clients: list[centrifuge.Client] = []

    async def client(
        self,
        url: str,
        *,
        token: str = "",
        get_token: GetToken | None = None,
        data: Any = None,
        max_ping_delay_s: float = 10.0,
    ) -> Client:
        client = PythonClient(url)
        client.sdk = centrifuge.Client(
            url,
            events=Recorder(client.log),
            token=token,
            get_token=get_token,
            use_protobuf=self.protobuf,
            data=data if data is None else packed(data, self.protobuf),
            max_server_ping_delay=max_ping_delay_s,
            min_reconnect_delay=RECONNECT_S[0],
            max_reconnect_delay=RECONNECT_S[1],
            proxy=None,
        )
        client.protobuf = self.protobuf
        self._clients.append(client.sdk)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.disconnect()


class Recorder:
    """Both kinds of event handlers of the SDK: whatever happens goes into the log."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Callable[[Any], Awaitable[None]]:
        async def record(context: Any) -> None:
            self._log.add(_event(name.removeprefix("on_"), context))

        return record


class PythonClient(Client):
    sdk: centrifuge.Client
    protobuf: bool
    _connecting: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        self._connecting = asyncio.create_task(self.sdk.connect())
        await asyncio.sleep(0)  # until it has begun: a disconnect that follows at once is to find it connecting

    async def disconnect(self) -> None:
        await self.sdk.disconnect()

    async def subscription(
        self,
        channel: str,
        *,
        token: str = "",
        get_token: GetToken | None = None,
        get_state: GetState | None = None,
        data: Any = None,
        positioned: bool = False,
        recoverable: bool = False,
        join_leave: bool = False,
        delta: bool = False,
        tags_filter: Mapping[str, Any] | None = None,
    ) -> Subscription:
        async def token_of(_channel: str) -> str:
            assert get_token is not None
            return await get_token()

        async def state_of(_channel: str) -> centrifuge.StreamPosition:
            assert get_state is not None
            position = await get_state()
            return centrifuge.StreamPosition(position.offset, position.epoch)

        subscription = PythonSubscription(channel)
        subscription.sdk = self.sdk.new_subscription(
            channel,
            events=Recorder(subscription.log),
            token=token,
            get_token=token_of if get_token else None,
            get_state=state_of if get_state else None,
            data=data if data is None else packed(data, self.protobuf),
            min_resubscribe_delay=RECONNECT_S[0],
            max_resubscribe_delay=RECONNECT_S[1],
            positioned=positioned,
            recoverable=recoverable,
            join_leave=join_leave,
            delta=centrifuge.DeltaType.FOSSIL if delta else None,
            tags_filter=tags_filter and centrifuge.FilterNode(dict(tags_filter)),
        )
        return subscription

    async def publish(self, channel: str, data: Any) -> None:
        await _answer(self.sdk.publish(channel, packed(data, self.protobuf)))

    async def history(
        self, channel: str, *, limit: int = 0, since: Position | None = None, reverse: bool = False
    ) -> History:
        place = None if since is None else centrifuge.StreamPosition(since.offset, since.epoch)
        result = await _answer(self.sdk.history(channel, limit, place, reverse))
        publications = [Publication(unpacked(p.data), p.offset, _info(p.info), p.tags) for p in result.publications]
        return History(publications, result.epoch, result.offset)

    async def presence(self, channel: str) -> dict[str, Info]:
        result = await _answer(self.sdk.presence(channel))
        return {client: _known(info) for client, info in result.clients.items()}

    async def presence_stats(self, channel: str) -> tuple[int, int]:
        result = await _answer(self.sdk.presence_stats(channel))
        return result.num_clients, result.num_users

    async def rpc(self, method: str, data: Any = None) -> Any:
        return unpacked((await _answer(self.sdk.rpc(method, packed(data, self.protobuf)))).data)

    async def send(self, data: Any) -> None:
        raise NotImplementedError("centrifuge-python has no send")


class PythonSubscription(Subscription):
    sdk: centrifuge.Subscription

    async def payloads(self) -> tuple[int, int]:
        raise NotImplementedError("centrifuge-python doesn't count them")

    async def subscribe(self) -> None:
        await self.sdk.subscribe()

    async def unsubscribe(self) -> None:
        await self.sdk.unsubscribe()


async def _answer(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except centrifuge.ReplyError as error:
        raise SdkError(error.code, error.message, error.temporary) from error
    except centrifuge.CentrifugeError as error:
        raise SdkError(0, str(error), True) from error


def _event(name: str, context: Any) -> Event:
    said = dict(vars(context))
    publication, error = said.pop("pub", None), said.pop("error", None)
    if publication is not None:
        said |= {part: getattr(publication, part) for part in ("data", "offset", "info", "tags")}
    if isinstance(error, centrifuge.ReplyError):
        said |= {"code": error.code, "reason": error.message}
    elif error is not None:
        said["reason"] = str(error)
    place = said.get("stream_position")
    if place is not None:
        said["stream_position"] = Position(place.epoch, place.offset)
    said |= {"data": unpacked(said.get("data")), "info": _info(said.get("info"))}
    return Event(name=name, **said)


def _info(info: centrifuge.ClientInfo | None) -> Info | None:
    return info and _known(info)


def _known(info: centrifuge.ClientInfo) -> Info:
    return Info(info.user, info.client, unpacked(info.conn_info), unpacked(info.chan_info))
