"""`GET /events`: an event stream for a native EventSource, or for whatever reads lines."""

from __future__ import annotations

import logging
from functools import partial

from roomful.model.disconnects import DISCONNECTS, Disconnect
from roomful.model.errors import BadRequest, RoomfulError
from roomful.model.order import SubscribeOrder
from roomful.node import eager
from roomful.node.connection_log import about
from roomful.seams.transport import Receiver, Request
from roomful.session.event_stream import EventStream
from roomful.session.session import Context, Session
from roomful.transports.credentials import token_of
from roomful.transports.following import of_followers, parameters, positions
from roomful.transports.http_errors import refused
from roomful.transports.negotiate import Refused
from roomful.transports.stream import Stream, StreamRoute
from roomful.wire.event_stream import EVENTS, EVENTS_MANY, retry

log = logging.getLogger("roomful.transports")

PATH = "/events"
CONTENT_TYPE = "text/event-stream; charset=utf-8"

RETRY_MIN_MS, RETRY_SPREAD_MS = 1_000, 2_000
"""How long a client waits before it comes back; spread, because many may be sent away at once."""


def events_route(context: Context) -> StreamRoute:
    """The route. Instead of pings its streams have a heartbeat."""
    context = of_followers(context, {SubscribeOrder: _keep_channels})
    return StreamRoute(PATH, partial(_open, context), kind="events", opens_while_draining=True)


def _open(context: Context, stream: Stream, request: Request) -> Receiver | Refused:
    try:
        asked = parameters(request)
        known = request.headers.get("last-event-id") or asked.get("lastEventId", [""])[-1]
        since = positions(asked.get("channel", []), known)
    except BadRequest as error:
        return refused(error)
    dialect = EVENTS if len(since) == 1 else EVENTS_MANY
    start = partial(stream.start, CONTENT_TYPE, heartbeat=dialect.ping())
    retry_ms = RETRY_MIN_MS + int(context.random() * RETRY_SPREAD_MS)
    session = EventStream(context, stream, dialect, request, since, partial(start, first=retry(retry_ms)))
    if stream.draining:
        session.end(*DISCONNECTS["shutdown"])
    elif stream.overloaded:
        session.end(*DISCONNECTS["too_many_requests"])
    else:
        eager.start(_follow(session, stream, token_of(request)))
    return session


async def _follow(session: EventStream, stream: Stream, token: str) -> None:
    """An EventSource never comes back after another status than 200: that is for what must not be tried again."""
    try:
        await session.follow(token)
    except RoomfulError as error:
        session.refused("events", error)
        if error.temporary:
            if error.retry_after_s is not None:  # the stream begins with it, and ends
                retry_ms = int(error.retry_after_s * 1000 + session.context.random() * RETRY_SPREAD_MS)
                stream.start(CONTENT_TYPE, first=retry(max(RETRY_MIN_MS, retry_ms)))
            session.end(*DISCONNECTS["too_many_requests" if error.code == 111 else "internal"])
        else:
            stream.refuse(refused(error))
    except Disconnect as ending:
        if ending.reconnect:
            session.end(ending.code, ending.reason)
        else:
            stream.refuse(refused(ending))
    except Exception:
        about(log, session).exception("an event stream could not be served")
        session.end(*DISCONNECTS["internal"])


async def _keep_channels(session: Session, order: SubscribeOrder) -> None:
    about(log, session).info("an event stream has the channels of its request: %r is not added", order.channel)
