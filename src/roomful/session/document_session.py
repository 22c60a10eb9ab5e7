"""One connection of a Yjs client: one document (y-websocket) or many (Hocuspocus), its keep-alive, its end.

What happens to a document on it stands in `attachment.py`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from roomful.model import document as d
from roomful.model.client import ANONYMOUS_PREFIX
from roomful.model.disconnects import DISCONNECTS
from roomful.model.document import Rights
from roomful.model.errors import NotAvailable, RoomfulError, TooManyRequests, WireError
from roomful.model.event import DocumentOpenEvent
from roomful.model.order import DisconnectOrder, DocumentRightsOrder, Order
from roomful.model.trace_context import HEADER, trace_id
from roomful.node.connection_log import about
from roomful.node.documents import Documents
from roomful.node.node import Node
from roomful.rooms.revoked import Revoked
from roomful.seams.document_dialect import DocumentDialect
from roomful.seams.transport import Request, Transport
from roomful.session.attachment import Attachment, State, close_code
from roomful.session.document_access import Access, Gate, token_of
from roomful.session.outbox import Outbox, SingleMessages

log = logging.getLogger("roomful.documents")

NEVER = math.inf
NO_AWARENESS = d.AwarenessUpdate(())
"""Keeps every version of every client alive, and means nothing to it."""

CODES = {
    DISCONNECTS["shutdown"][0]: (1012, "service restart"),
    DISCONNECTS["slow"][0]: (1013, "reads too slowly"),
    DISCONNECTS["force_disconnect"][0]: (4403, "Forbidden"),
    DISCONNECTS["force_reconnect"][0]: (1013, "try again later"),
    DISCONNECTS["revoked"][0]: (4403, "access revoked"),
    DISCONNECTS["expired"][0]: (4501, "token expired"),
}
"""Room disconnects as Yjs clients understand them; others become 4000 to 4999 as they are, or 4500."""

RATED = {
    d.SyncStep1: "sync",
    d.QueryAwareness: "sync",
    d.SyncStep2: "edit",
    d.SyncUpdate: "edit",
    d.AwarenessUpdate: "awareness",
    d.Stateless: "stateless",
}
"""Whose rate a message counts for."""

RESET = (4205, "Reset Connection")
MALFORMED = (4400, "malformed")

SESSION_MARK = "\0"
"""Parts a document's name from a session id in a Hocuspocus routing key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentContext:
    """What all document connections of a node share."""

    node: Node
    documents: Documents
    gate: Gate
    new_id: Callable[[], str]


class DocumentSession:
    """A connection, from its opening to its end.

    It is a `seams.transport.Receiver`, a `node.directory.Member` and a `node.wheel.Timed`.

    single: the document's name where the wire has one; None: messages name theirs.
    """

    __slots__ = (
        "_admitted",
        "_allowance",
        "_attachments",
        "_auth_due",
        "_closed",
        "_end_due",
        "_expiry_due",
        "_heard",
        "_keepalive_due",
        "_outbox",
        "_ping_due",
        "_sent",
        "_transport",
        "_waiting",
        "_waiting_bytes",
        "client",
        "context",
        "dialect",
        "named",
        "request",
        "secret",
        "user",
        "validated_at",
        "wheel_slot",
    )

    def __init__(
        self,
        context: DocumentContext,
        transport: Transport,
        dialect: DocumentDialect,
        request: Request,
        single: str | None,
    ) -> None:
        node, options = context.node, context.documents.options
        self.context = context
        self.dialect = dialect
        self.request = request
        self.client = context.new_id()
        self._allowance = node.rates.allowance(self.client, request.address)
        self.user = ""
        self.secret = ""
        self.named = False
        self.wheel_slot = 0
        self._transport = transport
        kind = Outbox if dialect.joins else SingleMessages
        self._outbox = kind(transport, dialect, node.flusher, node.stats, options.outbox_max_bytes, node.backlog)
        self._attachments: dict[str, Attachment] = {}
        self._waiting = self._waiting_bytes = 0
        self._closed = False
        self._admitted = False
        self._sent = False
        now = node.wheel.now()
        self.validated_at = now
        self._heard = now
        self._auth_due = now + options.auth_s
        self._keepalive_due = now + options.keepalive_s
        self._ping_due = now + options.ping_s
        self._expiry_due = self._end_due = NEVER
        node.stats.connections += 1
        node.connections.add(self)
        node.admission.arrived(request.address)
        node.wheel.schedule(self, self._next_due())
        if single is not None:
            self._attach("", single).begin(token_of(request), "")

    # What the transport calls

    def on_message(self, data: bytes, binary: bool) -> None:
        if self._closed or self._end_due < NEVER:
            return
        stats = self.context.node.stats
        stats.messages_in += 1
        stats.bytes_in += len(data)
        self._heard = self.context.node.wheel.now()
        if not binary:
            self.end(1003, "only binary messages are understood")
            return
        try:
            messages = self.dialect.decode(data)
        except WireError as error:
            about(log, self).info("no message of documents was sent: %s", error)
            self.end(*MALFORMED)
            return
        size = len(data)
        for key, message in messages:
            if isinstance(message, d.Ping):
                self.send(self.dialect.encode("", d.Pong()))
            elif not isinstance(message, d.Pong):
                self._route(key, message, size)
            size = 0

    def on_pong(self) -> None:
        self._heard = self.context.node.wheel.now()

    def on_writable(self) -> None:
        self._outbox.flush()
        if self._outbox.has_room:
            for attachment in tuple(self._attachments.values()):
                if attachment.stale:
                    attachment.tell_awareness()

    def on_close(self, code: int, _reason: str) -> None:
        self._depart(code)

    # What attachments call (session.attachment.Socket)

    @property
    def trace(self) -> str:
        """By what its log lines are found together."""
        return trace_id(self.request.headers.get(HEADER, "")) or self.client.replace("-", "")

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def kind(self) -> str:
        return self._transport.kind

    @property
    def queued_bytes(self) -> int:
        return self._outbox.queued_bytes

    @property
    def owed_bytes(self) -> int:
        return self._outbox.owed

    def event(self, document: str, provider: str) -> DocumentOpenEvent:
        request = self.request
        return DocumentOpenEvent(
            document=document,
            client=self.client,
            headers=request.headers,
            query=request.query,
            address=request.address,
            wire=self.dialect.name,
            provider=provider,
        )

    def send(self, frame: bytes) -> None:
        if self._closed:
            return
        self._sent = True
        if not self._outbox.put(frame):
            self.end(*DISCONNECTS["slow"])

    def send_awareness(self, frame: bytes, attachment: Attachment) -> None:
        if self._transport.paused:
            attachment.stale = True
        else:
            self.send(frame)

    def spend(self, size: int) -> bool:
        options = self.context.documents.options
        self._waiting += 1
        self._waiting_bytes += size
        if self._waiting > options.queue_max or self._waiting_bytes > options.queue_max_bytes:
            self.end(*RESET)
        return not self._closed

    def regain(self, size: int) -> None:
        self._waiting -= 1
        self._waiting_bytes -= size

    def charge(self, command: str, room: str = "") -> bool:
        allowance = self._allowance
        if allowance is None or self._closed:
            return not self._closed
        try:
            if room:
                allowance.spend_rooms(command, (room,))
            else:
                allowance.spend(command)
        except TooManyRequests as error:
            self._come_back(error)
        return not self._closed

    def admitted(self, _attachment: Attachment, access: Access) -> None:
        if not self._admitted:
            self._admitted = True
            self._auth_due = NEVER
            self.user = access.user
            self._happens("connected", transport=self._transport.kind, trace=self.trace)
            self.context.node.admission.settled(self.request.address)
            self.context.node.directory.add(self)
        if self._allowance is not None:
            try:
                self._allowance.belongs_to(access.user or ANONYMOUS_PREFIX + self.client, "open")
            except TooManyRequests as error:
                self._come_back(error)
                return
        self._watch_expiry()

    def drop(self, attachment: Attachment) -> None:
        attachment.leave()
        if self._attachments.get(attachment.key) is attachment:
            del self._attachments[attachment.key]

    def refuse(self, attachment: Attachment, error: RoomfulError) -> None:
        about(log, self).info("document %r is refused: %s", attachment.name, error)
        self._happens("refused", code=error.code, reason=f"document {attachment.name}: {error.message}")
        if not self.dialect.acknowledges:
            attachment.say(d.PermissionDenied(error.message))
            self.end(*close_code(error))
            return
        was_open = attachment.state is State.OPEN
        self.drop(attachment)
        attachment.say(d.PermissionDenied(_reason(error)))
        if was_open and attachment.provider:
            attachment.say(d.Close("Forbidden"))
        if not any(other.state is not State.WAITING for other in self._attachments.values()):
            self._auth_due = self.context.node.wheel.now() + self.context.documents.options.auth_s
            self.context.node.wheel.schedule(self, self._auth_due)

    def reject(self, user: str) -> None:
        wheel, documents = self.context.node.wheel, self.context.documents
        if not self.dialect.acknowledges:
            self.end(*MALFORMED)  # keeps such a client away
            return
        delay = documents.refusals.delay(user or self.request.address, wheel.now())
        if not delay:
            self.end(*RESET)
            return
        for attachment in tuple(self._attachments.values()):
            attachment.leave()
        self._attachments.clear()
        self._end_due = wheel.now() + delay
        wheel.schedule(self, self._end_due)

    # What the node calls (node.directory.Member, node.wheel.Timed)

    def watch_in(self, channel: str) -> int:
        return 0  # documents are in no channel

    def obey(self, order: Order) -> None:
        if isinstance(order, DisconnectOrder):
            self.end(order.code, order.reason)
        elif isinstance(order, DocumentRightsOrder):
            for attachment in tuple(self._attachments.values()):
                if attachment.name == order.document and attachment.user == order.user:
                    attachment.set_rights(Rights(order.rights))

    @property
    def tokens(self) -> frozenset[str]:
        return frozenset(attachment.token for attachment in self._attachments.values() if attachment.token)

    def review(self, revoked: Revoked, rooms: Collection[str]) -> None:
        for attachment in tuple(self._attachments.values()):
            attachment.review()

    def end(self, code: int, reason: str) -> None:
        """Closes the connection; what is queued goes out first."""
        if self._closed:
            return
        if code in CODES:
            code, reason = CODES[code]
        elif not 4000 <= code <= 4999 and code not in (1003, 1009, 1011, 1012, 1013):
            code = 4500
        self._outbox.flush()
        self._depart(code)
        self._transport.close(code, reason)

    def on_due(self, now: float) -> float | None:
        if self._closed:
            return None
        options = self.context.documents.options
        if now >= self._end_due:
            self.end(*RESET)
            return None
        if now >= self._auth_due:
            self.end(4408, "Connection Timeout")
            return None
        if now >= self._keepalive_due:
            self._keepalive_due = now + options.keepalive_s
            self._keep_alive()
        if now >= self._ping_due:
            if self._transport.framed and now - self._heard >= options.ping_s + options.dead_s - options.ping_s:
                self.end(4408, "Connection Timeout")
                return None
            self._ping_due = now + options.ping_s
            self._transport.ping()
        if now >= self._expiry_due:
            self._on_expiry(now)
        return None if self._closed else self._next_due()

    # Inside

    def _next_due(self) -> float:
        return min(self._auth_due, self._keepalive_due, self._ping_due, self._expiry_due, self._end_due)

    def _route(self, key: str, message: d.FromClient, size: int) -> None:
        attachment = self._attachments.get(key)
        if attachment is None:
            if isinstance(message, d.Close) or self._closed or self._end_due < NEVER:
                return
            attachment = self._new(key, key.partition(SESSION_MARK)[0])
            if attachment is None:
                return
        command = RATED.get(type(message)) if self._allowance is not None else None
        if command is None or self.charge(command):
            attachment.receive(message, size)

    def _happens(self, event: str, **more: Any) -> None:
        """Tells those who trace this connection (`model.tracing`)."""
        tracer = self.context.node.tracer
        if tracer.on:
            tracer.note(event, client=self.client, user=self.user, **more)

    def _come_back(self, error: TooManyRequests) -> None:
        """These wires have no error for one message. Nothing is lost: the client brings all that it holds again."""
        about(log, self).info("a connection to documents is sent away: %s", error)
        self.end(*(RESET if self.dialect.acknowledges else (1013, error.message)))

    def _new(self, key: str, name: str) -> Attachment | None:
        options = self.context.documents.options
        pending = sum(attachment.state is not State.OPEN for attachment in self._attachments.values())
        if len(self._attachments) >= options.documents_max or pending >= options.pending_max:
            self.end(*RESET)
            return None
        return self._attach(key, name)

    def _attach(self, key: str, name: str) -> Attachment:
        context = self.context
        attachment = Attachment(self, self.dialect, key, name, context.documents, context.gate, context.node.hooks)
        self._attachments[key] = attachment
        return attachment

    def _keep_alive(self) -> None:
        """Something for clients that got nothing: they count messages, not pings."""
        if not self._sent:
            for attachment in self._attachments.values():
                if attachment.state in (State.OPEN, State.OPENING):
                    attachment.say(NO_AWARENESS)
                    break
        self._sent = False

    def _watch_expiry(self) -> None:
        clock, wheel = self.context.node.wall_clock, self.context.node.wheel
        ends = [a.expires_at for a in self._attachments.values() if a.expires_at is not None]
        self._expiry_due = wheel.now() + max(0.0, min(ends) - clock()) if ends else NEVER
        wheel.schedule(self, self._expiry_due if ends else None)

    def _on_expiry(self, now: float) -> None:
        """Who can is asked for a new token, and has some time to answer; the others are to come back with one."""
        wall, grace = self.context.node.wall_clock(), self.context.documents.options.expired_grace_s
        for attachment in tuple(self._attachments.values()):
            if attachment.expires_at is None or attachment.expires_at > wall:
                continue
            if not self.dialect.acknowledges or wall >= attachment.expires_at + grace:
                self.end(*(RESET if self.dialect.acknowledges else (4501, "token expired")))
                return
            if not attachment.asked:
                attachment.ask_for_token()
        waiting = [a.expires_at for a in self._attachments.values() if a.expires_at is not None]
        ends = [end if end > wall else end + grace for end in waiting]
        self._expiry_due = now + max(0.1, min(ends) - wall) if ends else NEVER

    def _depart(self, code: int) -> None:
        if self._closed:
            return
        self._closed = True
        node = self.context.node
        node.stats.count_disconnect(code)
        node.connections.discard(self)
        if not self._admitted:
            node.admission.settled(self.request.address)
        node.directory.remove(self)
        node.wheel.forget(self)
        self._happens("closed", code=code, transport=self._transport.kind)
        for attachment in tuple(self._attachments.values()):
            attachment.leave()
        self._attachments.clear()
        self._outbox.clear()


def _reason(error: RoomfulError) -> str:
    """What the application of a Hocuspocus client gets to see."""
    if isinstance(error, NotAvailable):
        return "not-found"
    return error.message if error.message != type(error).text else "permission-denied"
