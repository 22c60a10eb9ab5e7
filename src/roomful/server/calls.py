"""What an application asks of its rooms, in Python and over HTTP alike: publish, subscribe, disconnect, look.

`Roomful` has these methods; `/api` calls the same ones, so that there is one way to do each thing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec

from roomful.model.client import ClientInfo, Grant, Override
from roomful.model.disconnects import DISCONNECTS, REASON_MAX_BYTES, UNSUBSCRIBES
from roomful.model.document import Rights
from roomful.model.errors import BadRequest, MethodNotFound, RoomfulError, UnrecoverablePosition
from roomful.model.event import RpcReply, ServerRpcEvent
from roomful.model.order import DisconnectOrder, DocumentRightsOrder, RefreshOrder, SubscribeOrder, UnsubscribeOrder
from roomful.model.publication import Draft, HistoryFilter, Page, Position
from roomful.model.reply import PresenceStatsResult
from roomful.node.documents import CutOut
from roomful.node.live_document import LiveDocument
from roomful.node.node import ChannelsInUse, Node, NodesInfo, Whereabouts
from roomful.node.state_rooms import StateRooms
from roomful.rooms.document_content import BadEdit, Kind, Operation, read, write_text
from roomful.rooms.document_content import patch as apply_patch
from roomful.rooms.people import Person
from roomful.rooms.update_walker import Malformed
from roomful.seams.store import Described, Rescue
from roomful.server.room_state import RoomState
from roomful.server.wiring import Live
from roomful.session.payload import check_payload, to_client

AS_CONFIGURED = Override()

WHERE_MAX = 1_000
"""Users that one call may ask for: every node answers it at once."""


class Broadcasted(msgspec.Struct, frozen=True):
    """What came of one channel of a broadcast: its position (None without history), or the error."""

    channel: str
    position: Position | None = None
    error: RoomfulError | None = None


class PeopleOfRoom(msgspec.Struct, frozen=True):
    """online, away: how many are, also beyond the limit."""

    people: list[Person]
    online: int
    away: int


class Calls(ABC):
    """Calls from any task of the process. Each raises the RoomfulError that says why it can't."""

    @property
    @abstractmethod
    def live(self) -> Live:
        """The live objects."""

    @abstractmethod
    async def start(self) -> None:
        """Does nothing when it is running."""

    async def publish(
        self,
        channel: str,
        data: Any,
        *,
        tags: dict[str, str] | None = None,
        exclude: Iterable[str] = (),
        idempotency_key: str = "",
        skip_history: bool = False,
    ) -> Position | None:
        """Publishes to the channel on all nodes; its position, or None in a channel without history.

        data: what JSON can say, or bytes as they are. exclude: ids of clients that don't get it, live or by recovery,
        while their position moves on. idempotency_key: the same key within `[engine] idempotency_ttl_s` publishes once
        and answers with the first one's position, so that a retry is harmless. skip_history: only whoever is there now
        gets it; the log never has it. Raises UnknownChannel, BadRequest, or what the engine raises.
        """
        node, payload = await self._node(), b"null" if data is None else to_client(data)
        check_payload(payload, node.namespaces.of(channel).data_format)
        ttl_s = self.live.config.engine.idempotency_ttl_s
        draft = Draft(payload, None, tags, frozenset(exclude), idempotency_key, ttl_s)
        return (await node.publish(channel, draft, skip_history=skip_history)).position

    async def broadcast(
        self,
        channels: Iterable[str],
        data: Any,
        *,
        tags: dict[str, str] | None = None,
        exclude: Iterable[str] = (),
        idempotency_key: str = "",
        skip_history: bool = False,
    ) -> list[Broadcasted]:
        """Publishes the same to several channels; what came of each, in their order. Arguments as for `publish`."""
        results: list[Broadcasted] = []
        excluded = frozenset(exclude)
        for channel in channels:
            try:
                position = await self.publish(
                    channel,
                    data,
                    tags=tags,
                    exclude=excluded,
                    idempotency_key=idempotency_key,
                    skip_history=skip_history,
                )
                results.append(Broadcasted(channel, position))
            except RoomfulError as error:
                results.append(Broadcasted(channel, error=error))
        return results

    async def subscribe(
        self,
        user: str,
        channel: str,
        *,
        client: str = "",
        session: str = "",
        info: Any = None,
        data: Any = None,
        expires_at: float | None = None,
        recover_since: Position | None = None,
        override: Override = AS_CONFIGURED,
    ) -> None:
        """Subscribes a user's connections to a channel, on all nodes; it succeeds also where the user has none.

        user: "" for the anonymous ones. client, session: the one connection that is meant. info: becomes `chan_info`.
        data: goes to the client. expires_at: seconds since 1970; then SubRefreshEvent renews it, or the connection ends
        with 3006. recover_since: what was published since then follows. override: settings in place of the namespace's.
        Raises UnknownChannel, BadRequest.
        """
        node = await self._node()
        options = node.namespaces.of(channel)
        if expires_at is not None and expires_at <= node.wall_clock():
            raise BadRequest("expires_at lies in the past")
        payload = to_client(data)
        if payload:
            check_payload(payload, "binary" if options.data_format == "binary" else "json")
        grant = Grant(_info(info), payload, expires_at, override, server_refresh=expires_at is not None)
        await node.order(SubscribeOrder(user, channel, client, session, grant, recover_since))

    async def unsubscribe(
        self,
        user: str,
        channel: str,
        *,
        client: str = "",
        session: str = "",
        code: int = UNSUBSCRIBES["server"][0],
        reason: str = UNSUBSCRIBES["server"][1],
    ) -> None:
        """Ends the subscriptions of a user's connections to a channel, to every channel for "".

        user, client, session: as for `subscribe`. code: 2000–2999; from 2500 on the client subscribes again by itself.
        Raises BadRequest for another code.
        """
        if not 2000 <= code <= 2999:
            raise BadRequest(f"an unsubscribe code lies in 2000–2999, got {code}")
        await (await self._node()).order(UnsubscribeOrder(user, channel, client, session, code, reason))

    async def disconnect(
        self,
        user: str,
        *,
        client: str = "",
        session: str = "",
        code: int = DISCONNECTS["force_disconnect"][0],
        reason: str = DISCONNECTS["force_disconnect"][1],
        whitelist: Collection[str] = (),
    ) -> None:
        """Closes a user's connections, except those whose client ids are in the whitelist.

        user, client, session: as for `subscribe`. code: 3000–4999; 3500–3999 and 4500–4999 tell the client not to come
        back. reason: 1 to 123 bytes. Raises BadRequest for another code or reason.
        """
        if not 3000 <= code <= 4999:
            raise BadRequest(f"a disconnect code lies in 3000–4999, got {code}")
        if not 0 < len(reason.encode()) <= REASON_MAX_BYTES:
            raise BadRequest(f"a disconnect reason has 1 to {REASON_MAX_BYTES} bytes")
        await (await self._node()).order(DisconnectOrder(user, client, session, code, reason, list(whitelist)))

    async def refresh(
        self,
        user: str,
        *,
        client: str = "",
        session: str = "",
        expired: bool = False,
        expires_at: float | None = None,
        info: Any = None,
    ) -> None:
        """Gives a user's connections a new expiry (seconds since 1970; None: never), and new info unless it is None.

        user, client, session: as for `subscribe`. expired: closes them with 3005 instead. Raises BadRequest for info
        that isn't JSON.
        """
        new_info = None if info is None else _info(info)
        await (await self._node()).order(RefreshOrder(user, client, session, expired, expires_at, new_info))

    async def revoke(
        self,
        *,
        user: str = "",
        session: str = "",
        token: str = "",
        room: str = "",
        document: str = "",
        keep_s: float | None = None,
    ) -> None:
        """Takes back what was granted until now, on all nodes: connections end with 4503, subscriptions with 2001.

        Say one. user: all that is, or comes, with a token of the user issued by now. token: one token, by its `jti`.
        session: one connection, by its client id or session id, and the token that it came with. room, document: what
        tokens issued by now, and connections opened by now, may do there; a hook may let them in again. keep_s: for how
        long tokens are refused, as long as they may be valid; at most and by default `[revocations] keep_s`.
        Raises BadRequest; LimitExceeded when too much is revoked already.
        """
        said = {"user": user, "session": session, "token": token, "room": room, "document": document}
        given = [(kind, name) for kind, name in said.items() if name]
        if len(given) != 1:
            raise BadRequest(f"say one of {', '.join(said)}")
        await (await self._node()).revocations.revoke(*given[0], keep_s)

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Who is in the channel, by client id. Raises NotAvailable where presence isn't kept."""
        return await (await self._node()).presence(channel)

    async def presence_stats(self, channel: str) -> PresenceStatsResult:
        """How many connections and users are in the channel. Raises NotAvailable where presence isn't kept."""
        return PresenceStatsResult(*await (await self._node()).presence_counts(channel))

    async def people(self, channel: str, *, limit: int | None = None) -> PeopleOfRoom:
        """Who is in a room, over all their connections. Raises NotAvailable where presence isn't kept.

        limit: so many of them at most, and all are counted; None: everybody.
        """
        roster = await (await self._node()).room_people(channel)
        return PeopleOfRoom(roster.some(limit), roster.online, roster.away)

    async def where(self, users: Collection[str]) -> Whereabouts:
        """In which rooms these users are, and since when, in one call for all of them; `people` has each of them.

        Nodes that don't answer in time are named in `missing`. Raises BadRequest for more than 1,000 users.
        """
        if isinstance(users, str) or len(users) > WHERE_MAX:
            raise BadRequest(f"one call asks for a list of at most {WHERE_MAX} users")
        return await (await self._node()).where(users)

    async def set_status(self, channel: str, user: str, status: Any) -> None:
        """What a user is shown to say of itself in a room as long as it is there: any JSON, None for nothing.

        The rpc method `people.status` is the same for clients. Raises NotAvailable where presence isn't kept,
        LimitExceeded beyond `[people] status_max_bytes`.
        """
        value = b"null" if status is None else to_client(status)
        check_payload(value, "json")
        await (await self._node()).set_status(channel, user, value)

    async def history(
        self, channel: str, *, limit: int | None = 0, since: Position | None = None, reverse: bool = False
    ) -> Page:
        """Publications kept (limit 0: only the position; None: all) and the head. Raises NotAvailable without history.

        since: only those after it, or before it with `reverse`, which gives the newest first. Raises
        UnrecoverablePosition when `since` is of another epoch, BadRequest for `reverse` from offset 0.
        """
        if since is not None and reverse and since.offset == 0:
            raise BadRequest("nothing lies before offset 0")
        page = await (await self._node()).history(channel, HistoryFilter(limit, since, reverse))
        if since is not None and since.epoch and since.epoch != page.head.epoch:
            raise UnrecoverablePosition
        return page

    async def remove_history(self, channel: str) -> None:
        """Drops a channel's publications; epoch and offset go on. Raises NotAvailable without history."""
        await (await self._node()).remove_history(channel)

    async def channels(self, pattern: str = "*") -> ChannelsInUse:
        """Channels that have subscribers on any node, with how many; `*` and `?` in the pattern are wild."""
        return await (await self._node()).all_channels(pattern)

    async def info(self) -> NodesInfo:
        """The nodes in figures."""
        return await (await self._node()).all_info()

    @asynccontextmanager
    async def document(self, name: str, *, author: str = "") -> AsyncIterator[Any]:
        """The live document (a `pycrdt.Doc`) while people edit it: `async with app.document("notes") as doc`.

        Each transaction in the block is stored, and then reaches the clients; when the block ends, all of it is stored.
        author: whose edits they are, in the log. Positions in a pycrdt text count UTF-8 bytes.
        Raises BadRequest for a bad name, NotAvailable for a deleted document, InternalError where the store fails.
        """
        await self.start()
        async with self.live.documents.edit(name, author) as doc:
            yield doc

    async def document_content(self, name: str, root: str, kind: Kind) -> tuple[Any, int]:
        """What stands in a root of a document (text and XML as text, else as JSON has it), and its version.

        Raises NotAvailable where there is no such document.
        """
        await self.start()
        return await self.live.documents.read(name, lambda live: read(live.room.live(), root, kind))

    async def document_bytes(self, name: str) -> tuple[bytes, int]:
        """The whole document as an update (Yjs format v1), and its version. Raises NotAvailable."""
        await self.start()
        return await self.live.documents.read(name, lambda live: live.room.diff())

    async def update_document(
        self, name: str, update: bytes, *, author: str = "", if_version: int | None = None
    ) -> int:
        """Merges an update into a document, which is made if it isn't there; its version then, when it is stored.

        if_version: only if it is at this version (0: not there). Raises BadRequest for bytes that are no update,
        VersionMismatch.
        """
        await self.start()

        def make(live: LiveDocument) -> None:
            try:
                live.edit(update, None, author, None, lambda _: None)
            except Malformed as error:
                raise BadRequest(f"the bytes are no update: {error}") from None

        return await self.live.documents.change(name, author, if_version, make)

    async def write_document(
        self,
        name: str,
        root: str,
        *,
        text: str | None = None,
        patch: Sequence[Operation] = (),
        kind: Literal["map", "array"] = "map",
        author: str = "",
        if_version: int | None = None,
    ) -> int:
        """Makes a text root this text, or patches a map or an array (JSON Patch); its version then, when it is stored.

        Written as the difference from what stands there, so that what people type at the same time stays. Raises
        BadRequest for a patch that doesn't fit, of which nothing is done; VersionMismatch.
        """
        await self.start()

        def make(live: LiveDocument) -> None:
            doc, end = live.room.watch(lambda update: live.edited_here(update, author))
            try:
                if text is not None:
                    write_text(doc, root, text)
                else:
                    apply_patch(doc, root, kind, patch)
            except BadEdit as error:
                raise BadRequest(str(error)) from None
            finally:
                end()

        return await self.live.documents.change(name, author, if_version, make)

    async def delete_document(self, name: str) -> bool:
        """Deletes a document; its clients are told (4404), and nobody can make it anew for `deleted_s`."""
        await self.start()
        return await self.live.documents.delete(name)

    async def cut_out_author(self, name: str, author: str) -> CutOut:
        """Takes everything that a user wrote in a document within `raw_keep_s` out of it, as if it had never been.

        What others wrote stays; what leans on the cut edits goes with them, and is counted. Everybody is sent away, and
        has to open the document without an old copy: it has another history then.
        """
        await self.start()
        return await self.live.documents.cut_out(name, author)

    async def documents(self, prefix: str = "", *, after: str = "", limit: int = 100) -> list[Described]:
        """Stored documents by name, with their sizes: those that begin with `prefix`, behind `after`."""
        await self.start()
        # Behind names that begin with a control character: those of rooms' states, and of no document.
        return await self.live.documents.store.described(prefix, max(after, "\x1f"), limit)

    async def document_rescues(self, name: str) -> list[Rescue]:
        """What clients with another history of the document held, oldest first."""
        await self.start()
        return await self.live.documents.store.rescues(name)

    async def set_document_rights(self, user: str, document: str, rights: Rights) -> None:
        """What a user's open connections may do with a document from now on, on all nodes; its next connection is asked
        anew."""
        self.live.documents.check_name(document)
        await (await self._node()).order(DocumentRightsOrder(user, document, Rights(rights).value))

    def state(self, channel: str) -> RoomState:
        """What the room shares: `await app.state("chat:1").counter("likes").increment()`. channel: the room's own.

        Raises BadRequest and UnknownChannel where it is used.
        """
        return RoomState(channel, self._state_of)

    async def _state_of(self, channel: str) -> StateRooms:
        node = await self._node()
        node.namespaces.of(f"state:{channel}")
        return self.live.state

    async def rpc(self, method: str, data: Any = None) -> Any:
        """What the hook for ServerRpcEvent and that method replies. Raises MethodNotFound, or what the hook raises."""
        hooks = (await self._node()).hooks
        if hooks.find(ServerRpcEvent, method) is None:
            raise MethodNotFound
        reply: RpcReply | None = await hooks.call(ServerRpcEvent(method, data), method)
        return reply.data if reply else None

    async def _node(self) -> Node:
        await self.start()
        return self.live.node


def _info(value: Any) -> bytes:
    """What others see of a client, as JSON text. Raises BadRequest: bytes of another kind would end whoever sees it."""
    info = to_client(value)
    if info:
        check_payload(info, "json")
    return info
