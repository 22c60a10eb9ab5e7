"""One document that one connection has open, or wants to: from the token to the last edit.

    WAITING ──token──▶ OPENING ──admitted and loaded──▶ OPEN ──▶ ENDED
       ▲                  │ refused (Hocuspocus: the socket stays, another token may come)
       └──────────────────┘

What a client sends before the document is open waits in order; it is bounded over all documents of the connection.
"""

from __future__ import annotations

import json
import logging
from enum import Enum, auto
from typing import Protocol

from roomful.model import document as d
from roomful.model.disconnects import Disconnect
from roomful.model.document import FromClient, Rights, ToClient
from roomful.model.errors import Forbidden, InternalError, NotAvailable, RoomfulError, Unauthorized
from roomful.model.event import (
    DocumentCloseEvent,
    DocumentOpenEvent,
    ForeignHistoryEvent,
    StatelessEvent,
    StatelessReply,
)
from roomful.node import eager
from roomful.node.connection_log import about
from roomful.node.documents import Documents
from roomful.node.hooks import Hooks
from roomful.node.live_document import LiveDocument
from roomful.rooms.document import NO_STATE, Broken
from roomful.rooms.update_walker import NOTHING, Malformed, Walked, read_state_vector, walk
from roomful.seams.document_dialect import DocumentDialect
from roomful.session.document_access import Access, Gate

log = logging.getLogger("roomful.documents")

WARN_AT = 0.8
"""A document that has grown to this part of its limit is warned of, once."""


class State(Enum):
    WAITING = auto()
    OPENING = auto()
    OPEN = auto()
    ENDED = auto()


class Socket(Protocol):
    """What an attachment needs of its connection."""

    client: str
    named: bool
    """It has said who it is, with a token: it goes on as nobody only if it asks for that."""

    @property
    def closed(self) -> bool: ...

    def event(self, document: str, provider: str) -> DocumentOpenEvent:
        """What a hook is told of this connection."""
        ...

    def send(self, frame: bytes) -> None: ...

    def send_awareness(self, frame: bytes, attachment: Attachment) -> None:
        """Leaves it out while the client doesn't read, and has the attachment tell everything later."""
        ...

    def spend(self, size: int) -> bool:
        """A message of that size waits now. False: too much does; the connection has ended."""
        ...

    def regain(self, size: int) -> None:
        """A message of that size doesn't wait any more."""
        ...

    def charge(self, command: str, room: str = "") -> bool:
        """One more of these, or, if a room is named, in that room. False: too many; the connection has ended."""
        ...

    def admitted(self, attachment: Attachment, access: Access) -> None:
        """A document was opened, or its token renewed."""
        ...

    def drop(self, attachment: Attachment) -> None:
        """The attachment is over."""
        ...

    def refuse(self, attachment: Attachment, error: RoomfulError) -> None:
        """It may not be opened, or not any longer: says so in the way of this wire."""
        ...

    def reject(self, user: str) -> None:
        """What the user sent can't be taken: the connection ends, the later the more often that happens."""
        ...

    def end(self, code: int, reason: str) -> None: ...


class Attachment:
    """key: its routing key. name: the document's. user, rights: as decided."""

    __slots__ = (
        "_access",
        "_foreign",
        "_live",
        "_queue",
        "_working",
        "asked",
        "dialect",
        "documents",
        "expires_at",
        "gate",
        "hooks",
        "key",
        "name",
        "provider",
        "rights",
        "send",
        "socket",
        "stale",
        "state",
        "user",
    )

    def __init__(
        self,
        socket: Socket,
        dialect: DocumentDialect,
        key: str,
        name: str,
        documents: Documents,
        gate: Gate,
        hooks: Hooks,
    ) -> None:
        self.socket = socket
        self.send = socket.send  # one call less for each delivery
        self.dialect = dialect
        self.key = key
        self.name = name
        self.documents = documents
        self.gate = gate
        self.hooks = hooks
        self.state = State.WAITING
        self.user = ""
        self.rights = Rights.NONE
        self.provider = ""
        self.expires_at: float | None = None
        self.asked = False
        """It was asked for a new token."""
        self.stale = False
        """It missed awareness while it didn't read."""
        self._access: Access | None = None
        self._live: LiveDocument | None = None
        self._queue: list[tuple[FromClient, int]] = []  # a deque has 760 bytes, and this is mostly empty
        self._working = False
        self._foreign = False

    # What its connection calls

    def receive(self, message: FromClient, size: int) -> None:
        """A message for this document, or about it. size: what it costs to keep it waiting."""
        if self.state is State.ENDED:
            return
        if self.state is State.OPEN and not self._queue and not self._working and self._ready:
            self._take(message)
            return
        if self.state is State.WAITING and isinstance(message, d.Authenticate):
            self.begin(message.token, message.version)
            return
        if not self.socket.spend(size):
            return
        self._queue.append((message, size))
        open_to_all = self.gate.options.access == "client" or self.gate.insecure
        if self.state is State.WAITING and open_to_all and not self.socket.named:
            self.begin("", "")  # an old provider without a token doesn't say so
        if self.state is State.OPEN:
            self._work_on()

    def begin(self, token: str, provider: str) -> None:
        """Asks for admission."""
        if self.state is State.WAITING:
            self.state = State.OPENING
            self.socket.named = self.socket.named or token != ""
            self.provider = provider
            eager.start(self._open(token))

    def leave(self) -> None:
        """Ends it from our side; nothing is said to the client."""
        if self.state is State.ENDED:
            return
        was_open = self.state is State.OPEN
        self.state = State.ENDED
        for _, size in self._queue:
            self.socket.regain(size)
        self._queue.clear()
        if self._live is not None:
            self._live.leave(self, self.documents.now())
            self._live = None
        if was_open and self.hooks.has(DocumentCloseEvent):
            eager.later(self.hooks.tell(DocumentCloseEvent(self.name, self.user, self.socket.client), self.name))

    def set_rights(self, rights: Rights) -> None:
        """Other rights from now on; the client is told where its wire can."""
        if self.state is not State.OPEN:
            return
        self.rights = rights
        if not rights.may_read:
            self.socket.refuse(self, _forbidden())
        elif self.dialect.acknowledges:
            self.say(d.Authenticated(rights.may_write))

    @property
    def token(self) -> str:
        """The id of the token that it was opened with."""
        return self._access.token if self._access is not None else ""

    def review(self) -> None:
        """Ends it if the right to be here was revoked."""
        access, is_here = self._access, self.state in (State.OPENING, State.OPEN)
        if is_here and access is not None and self.gate.is_over(access, self.name):
            self.socket.refuse(self, Forbidden("access was revoked"))

    def tell_awareness(self) -> None:
        """Everything that the client should see of the others."""
        self.stale = False
        entries = self._live.awareness.entries() if self._live is not None else []
        if entries:
            self.say(d.AwarenessUpdate(tuple(entries)))

    def ask_for_token(self) -> None:
        """Its access has come to its end."""
        self.asked = True
        self.say(d.TokenRequest())

    @property
    def live(self) -> LiveDocument | None:
        return self._live

    # What the document calls (node.live_document.Attached)

    def send_awareness(self, frame: bytes) -> None:
        self.socket.send_awareness(frame, self)

    def lose(self, code: int, reason: str) -> None:
        self.socket.end(code, reason)

    def say(self, message: ToClient) -> None:
        self.socket.send(self.dialect.encode(self.key, message))

    # Opening

    async def _open(self, token: str) -> None:
        try:
            self.documents.check_name(self.name)
            if not self.socket.charge("open"):
                return
            access = await self.gate.admit(self.socket.event(self.name, self.provider), token)
            if self.state is not State.OPENING:
                return
            self._adopt(access)
            if not self.socket.charge("open", self.name):
                return
            if self.dialect.acknowledges:
                self.say(d.Authenticated(access.rights.may_write))
            live = await self.documents.open(self.name)
        except Disconnect as ending:
            self.socket.end(ending.code, ending.reason)
        except RoomfulError as error:
            self._refused(error)
        except Exception:
            about(log, self.socket).exception("document %r could not be opened", self.name)
            self._refused(InternalError())
        else:
            self._enter(live)

    def _enter(self, live: LiveDocument) -> None:
        now = self.documents.now()
        if self.state is not State.OPENING or live.failed:  # it went away meanwhile
            live.release(now)
            if live.failed:
                self.socket.end(1013, "the document can't be served")
            return
        self._live = live
        self.state = State.OPEN
        live.awareness.join(self, self.user, now)
        live.enter(self)
        self.tell_awareness()
        self._work_on()

    def _adopt(self, access: Access) -> None:
        self._access = access
        self.user, self.rights, self.expires_at = access.user, access.rights, access.expires_at
        self.asked = False
        self.socket.admitted(self, access)

    def _refused(self, error: RoomfulError) -> None:
        if self.state is not State.ENDED:
            self.socket.refuse(self, error)

    async def _renew(self, token: str) -> None:
        """A token for a document that is open already: a refresh, asked for or not."""
        try:
            access = await self.gate.admit(self.socket.event(self.name, self.provider), token)
        except Disconnect as ending:
            self.socket.end(ending.code, ending.reason)
        except RoomfulError as error:
            self._refused(error)
        else:
            if self.state is State.OPEN:
                self._adopt(access)
                self.say(d.Authenticated(access.rights.may_write))
        finally:
            self._working = False
            self._work_on()

    # Messages, one after the other

    @property
    def _ready(self) -> bool:
        return self._live is not None and self._live.ready

    def _work_on(self) -> None:
        """Takes what waits, until something has to be waited for."""
        live = self._live
        while self._queue and self.state is State.OPEN and not self._working and live is not None:
            if not live.ready:
                live.when_ready(self._work_on)
                return
            message, size = self._queue.pop(0)
            self.socket.regain(size)
            self._take(message)

    def _take(self, message: FromClient) -> None:
        match message:
            case d.SyncUpdate(update):
                self._edit(update, answers=False)
            case d.SyncStep2(update):
                self._edit(update, answers=True)
            case d.AwarenessUpdate(entries):
                self._take_awareness(entries)
            case d.SyncStep1(vector):
                self._sync(vector)
            case d.QueryAwareness():
                self.tell_awareness()
            case d.Stateless(payload):
                self._take_stateless(payload)
            case d.Authenticate(token, _):
                if self.socket.charge("refresh"):
                    self._working = True
                    eager.start(self._renew(token))
            case d.Close():
                self.socket.drop(self)
                self.say(d.Close("provider_initiated"))
            case d.Violation(reason, malformed):
                self._violate(reason, malformed)
            case _:
                return  # an unknown kind of message means nothing

    def _violate(self, reason: str, malformed: bool) -> None:
        about(log, self.socket).info("nonsense was sent for document %r: %s", self.name, reason)
        if self.dialect.acknowledges and not malformed and self.provider:
            self.socket.drop(self)
            self.say(d.Close("Reset Connection"))  # older providers don't survive this message
        else:
            self.socket.reject(self.user)

    def _sync(self, vector: bytes) -> None:
        live = self._live
        assert live is not None
        try:
            clocks = read_state_vector(vector)
            if self._is_foreign(clocks, live):
                self._foreign = True
                self.say(d.SyncStep1(NO_STATE))  # all that it holds is to be kept
                return
            mine, missing = live.room.state_vector(), live.room.diff(vector)
        except Malformed as error:
            self._violate(str(error), malformed=True)
            return
        except Broken:
            self.documents.reload(live)
            self._put_back(d.SyncStep1(vector))
            return

        def answer() -> None:
            if self.state is State.OPEN:
                self.say(d.SyncStep1(mine))
                self.say(d.SyncStep2(missing))
                live.listen(self)

        live.after_pending(answer)

    def _is_foreign(self, clocks: dict[int, int], live: LiveDocument) -> bool:
        """Whether a client holds another history: something of several authors without our mark.

        Who has only its own client id has typed before it was connected for the first time, which is welcome.
        """
        if not live.lineage or live.lineage in clocks or len(clocks) < 2:
            return False
        return live.room.clients > 1

    def _edit(self, update: bytes, answers: bool) -> None:
        live = self._live
        assert live is not None
        try:
            walked = walk(update, self.documents.options.clients_max)
            if self._foreign:
                self._take_foreign(update, answers)
            elif update == NOTHING:
                self._acknowledge(True)
            elif not self.rights.may_write:
                self._acknowledge(answers and live.room.contains(walked))
            elif self._too_large(live, update, walked):
                self._acknowledge(False)
                self.socket.end(*self._too_large_code())
            else:
                live.edit(update, walked, self.user, self, self._acknowledge, answers=answers)
        except Malformed as error:
            about(log, self.socket).warning(
                "a bad update for document %r: %s; it begins with %s", self.name, error, update[:32].hex()
            )
            self._acknowledge(False)
            self.socket.reject(self.user)
        except Broken as error:
            about(log, self.socket).error("an update broke document %r, it is loaded anew: %s", self.name, error)
            self.documents.reload(live)
            self._acknowledge(False)
            self.socket.reject(self.user)

    def _acknowledge(self, stored: bool) -> None:
        if self.dialect.acknowledges and self.state is State.OPEN:
            self.say(d.SyncStatus(stored))

    def _too_large(self, live: LiveDocument, update: bytes, walked: Walked) -> bool:
        options = self.documents.options
        size = live.snapshot_bytes + live.log_bytes + len(update)
        if size > WARN_AT * options.document_max_bytes:
            size = live.measure() + len(update)  # the log counts what has been deleted since, too
            if not live.warned and size > WARN_AT * options.document_max_bytes:
                live.warned = True
                about(log, self.socket).warning(
                    "document %r has %d bytes, at most %d are allowed", self.name, size, options.document_max_bytes
                )
        clients = live.room.clients + sum(not live.room.knows(client) for client in walked.structs)
        return size > options.document_max_bytes or clients > options.clients_max

    def _too_large_code(self) -> tuple[int, str]:
        return (1009, "Message Too Big") if self.dialect.acknowledges else (4413, "the document is too large")

    def _take_foreign(self, update: bytes, answers: bool) -> None:
        if not answers:
            self._acknowledge(False)
        elif not self._working:
            self._working = True
            eager.start(self._rescue(update))

    async def _rescue(self, update: bytes) -> None:
        """Keeps what a client with another history holds, and sends it away with the number of what is kept."""
        rescue: int | None = None
        try:
            if self.rights.may_write:
                rescue = await self.documents.rescue(self.name, update, self.user)
                about(log, self.socket).warning(
                    "another history of document %r, %s",
                    self.name,
                    "not kept: it has too many rescues" if rescue is None else f"kept as rescue {rescue}",
                )
        except RoomfulError as error:
            about(log, self.socket).error("what a client holds of document %r could not be kept: %s", self.name, error)
        if self.state is not State.OPEN:
            return
        if rescue is not None and self.hooks.has(ForeignHistoryEvent):
            eager.later(
                self.hooks.tell(ForeignHistoryEvent(self.name, self.user, self.socket.client, rescue), self.name)
            )
        if self.dialect.acknowledges:
            self._acknowledge(False)
            self.say(d.Stateless(json.dumps({"type": "foreign-history", "rescue": rescue})))
            self.say(d.PermissionDenied("foreign-history"))
            self.socket.drop(self)
        else:
            self.socket.end(4409, "foreign history" if rescue is None else f"foreign history, kept as rescue {rescue}")

    def _take_awareness(self, entries: tuple[d.AwarenessEntry, ...]) -> None:
        live = self._live
        assert live is not None
        if live.members:
            live.announce(live.awareness.receive(self, entries, self.documents.now()))

    def _take_stateless(self, payload: str) -> None:
        if len(payload.encode()) > self.documents.options.stateless_max_bytes:
            self._violate("a stateless message that is too long", malformed=False)
        elif self.rights.may_comment and self.hooks.has(StatelessEvent):
            self._working = True
            eager.start(self._ask_stateless(payload))

    async def _ask_stateless(self, payload: str) -> None:
        try:
            event = StatelessEvent(self.name, self.user, self.socket.client, payload)
            reply: StatelessReply | None = await self.hooks.call(event, self.name)
            if reply is not None and self._live is not None:
                if reply.payload is not None:
                    self.say(d.Stateless(reply.payload))
                if reply.broadcast is not None:
                    self.documents.say(self._live, reply.broadcast)
        except Disconnect as ending:
            self.socket.end(ending.code, ending.reason)
        except RoomfulError as error:
            self._refused(error)
        finally:
            self._working = False
            self._work_on()

    def _put_back(self, message: FromClient) -> None:
        self._queue.insert(0, (message, 0))
        if self._live is not None:
            self._live.when_ready(self._work_on)


def _forbidden() -> RoomfulError:
    return Unauthorized("access was revoked")


def close_code(error: RoomfulError) -> tuple[int, str]:
    """How y-websocket is told why a document can't be opened: 44xx stops its newer clients, others come back."""
    if isinstance(error, NotAvailable):
        return 4404, error.message
    if error.temporary:
        return 1013, error.message
    if error.code in (101, 109, 110):
        return 4401, error.message
    return 4403, error.message
