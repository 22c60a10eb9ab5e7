"""Configuration → live objects. The only place that picks an engine by its name."""

from __future__ import annotations

import os
import random
import secrets
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from starlette.types import ASGIApp

from roomful.auth.tokens import TokenAuthenticator
from roomful.engines.memory import MemoryEngine
from roomful.engines.nats_url import SCHEMES as NATS_SCHEMES
from roomful.engines.options import EngineOptions
from roomful.engines.redis_url import SCHEMES as REDIS_SCHEMES
from roomful.model.channel import ChannelOptions, Right
from roomful.model.errors import ConfigError
from roomful.node.admission import Admission
from roomful.node.document_bus import DocumentBus
from roomful.node.document_options import DocumentOptions
from roomful.node.documents import Documents
from roomful.node.hooks import Hooks
from roomful.node.lag import LagMonitor
from roomful.node.measured import MeasuredEngine
from roomful.node.namespaces import Namespaces
from roomful.node.node import Node
from roomful.node.rates import Rates
from roomful.node.state_rooms import StateRooms
from roomful.node.stats import Stats
from roomful.node.wheel import Wheel
from roomful.seams.document_dialect import DocumentDialect
from roomful.seams.engine import Engine
from roomful.seams.store import DocumentStore
from roomful.seams.transport import Receiver, Request, Transport
from roomful.server.api_keys import ApiKeys
from roomful.server.config import ApiOptions, Config, without_password
from roomful.server.settings import SQLITE, absolute_store, data_directory
from roomful.session.catch_up import read_page
from roomful.session.dispatch import HANDLERS, ORDERS
from roomful.session.document_access import Gate
from roomful.session.document_session import DocumentContext, DocumentSession
from roomful.session.options import LimitOptions
from roomful.session.refresh import on_expiry
from roomful.session.session import Context, InForce, Session
from roomful.session.unrevoked import UnrevokedTokens
from roomful.stores.memory import MemoryStore
from roomful.stores.sqlite import SqliteStore
from roomful.transports.emulation import EMULATION_PATH, EmulationEndpoint
from roomful.transports.events import events_route
from roomful.transports.http_stream import http_stream, uni_http_stream
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from roomful.transports.poll import PATH as POLL_PATH
from roomful.transports.poll import PollEndpoint
from roomful.transports.sse import sse, uni_sse
from roomful.transports.stream import StreamRoute, Streams
from roomful.transports.uni_websocket import uni_websocket
from roomful.wire import hocuspocus, y_websocket
from roomful.wire.dialect import SUBPROTOCOLS, choose

if TYPE_CHECKING:
    from roomful.server.webhooks import Webhooks

ROOMS_PATH = "/connection/websocket"
Y_WEBSOCKET_PATH = "/yjs/"
"""Everything behind it is the document's name."""
HOCUSPOCUS_PATH = "/hocuspocus"

DEV_OPTIONS = ChannelOptions(
    history_size=100,
    history_ttl_s=300.0,
    recover=True,
    delta=True,
    tags_filter=True,
    presence=True,
    join_leave=True,
    subscribe="client",
    publish=Right.CLIENT,
    history=Right.CLIENT,
    see_presence=Right.CLIENT,
)
"""What every namespace can do under `--dev`, beside what its own table says."""


@dataclass(frozen=True, slots=True)
class Live:
    """The live objects of one server process."""

    config: Config
    node: Node
    documents: Documents
    state: StateRooms
    context: Context
    authenticator: UnrevokedTokens
    api_keys: ApiKeys
    metrics_keys: ApiKeys
    lag: LagMonitor
    websocket_routes: tuple[WebSocketRoute, ...]
    transport_options: TransportOptions
    streams: Streams
    http_endpoints: Mapping[str, ASGIApp]
    """By path: what is answered by our transports, and neither streamed nor of `routes.py`."""
    webhooks: Webhooks | None = None


def wire(
    config: Config,
    *,
    dev: bool,
    hooks: Hooks,
    stats: Stats,
    more_routes: tuple[WebSocketRoute, ...] = (),
    more_streams: tuple[StreamRoute, ...] = (),
) -> Live:
    """Puts a server together; nothing runs yet. Raises ConfigError for an engine that isn't there."""
    hooks.deadline_s = config.connection.hook_deadline_s
    wheel = Wheel()
    node = Node(
        id=str(uuid.uuid4()),
        name=f"{socket.gethostname()}_{os.getpid()}",
        version=f"Roomful {version('roomful')}",
        engine=MeasuredEngine(_engine(config.engine), stats),
        namespaces=_namespaces(config, dev),
        hooks=hooks,
        stats=stats,
        wheel=wheel,
        check_s=config.engine.check_s,
        admission=_admission(config.limits, stats, wheel, dev),
        revocations=config.revocations,
        rates=None if dev else Rates(stats, wheel.now, config.limits.rates),
        outboxes_max_bytes=config.limits.outboxes_max_bytes,
        people=config.people,
        lease_s=config.engine.lease_s,
        renew_s=config.engine.renew_s,
    )
    authenticator = UnrevokedTokens(TokenAuthenticator(config.tokens), node.revocations)
    context = Context(
        node=node,
        authenticator=authenticator,
        options=config.connection,
        in_force=InForce(config.limits, anonymous=config.tokens.anonymous),
        handlers=HANDLERS,
        orders=ORDERS,
        on_expiry=on_expiry,
        read_page=read_page,
        insecure=dev,
        new_id=lambda: str(uuid.uuid4()),
        random=random.random,
        filters=config.tags_filter,
        kept_headers=frozenset().union(*(webhook.headers_forwarded for webhook in config.webhooks.values())),
    )

    def open_room(transport: Transport, request: Request) -> Receiver:
        dialect = choose(request.query, request.subprotocol, transport.framed, request.deflate)
        return Session(context, transport, dialect, request)

    rooms = WebSocketRoute(
        ROOMS_PATH, open_room, config.limits.message_max_bytes, SUBPROTOCOLS, deflate=config.server.deflate
    )
    documents = Documents(
        _store(config.documents),
        config.documents,
        node.wheel,
        hooks,
        DocumentBus(node, alone=config.engine.scheme == "memory"),
        new_client_id=lambda: secrets.randbits(32),
    )
    state = StateRooms(
        documents.store,
        node.engine.broker,
        node.hub,
        node.wheel,
        config.state,
        owner=node.id,
        new_replica=lambda: f"/{secrets.token_urlsafe(8)}",
    )
    node.facets.add("state", state)
    gate = Gate(
        authenticator=authenticator,
        options=config.documents,
        hooks=hooks,
        insecure=dev,
        revoked=node.revocations.revoked,
        wall_clock=node.wall_clock,
    )
    document_context = DocumentContext(node=node, documents=documents, gate=gate, new_id=lambda: str(uuid.uuid4()))
    transport_options = TransportOptions(
        allowed_origins=config.server.allowed_origins,
        trusted_proxies=config.server.trusted_proxies,
        loopback_origins=dev,
    )
    streamed = (
        http_stream(context),
        sse(context),
        uni_http_stream(context),
        uni_sse(context),
        events_route(context),
    )
    streams = Streams((*streamed, *more_streams), transport_options, node.wheel, node.admission)
    return Live(
        config=config,
        node=node,
        documents=documents,
        state=state,
        context=context,
        authenticator=authenticator,
        api_keys=ApiKeys(config.api),
        metrics_keys=ApiKeys(keys_of_metrics(config)),
        lag=LagMonitor(),
        websocket_routes=(rooms, uni_websocket(context), *_document_routes(document_context), *more_routes),
        transport_options=transport_options,
        streams=streams,
        http_endpoints={
            POLL_PATH: PollEndpoint(context, streams),
            EMULATION_PATH: EmulationEndpoint(node.relay, transport_options, config.limits.message_max_bytes),
        },
        webhooks=_webhooks(config, hooks, stats),  # last: if anything before raises, no hook was added
    )


def keys_of_metrics(config: Config) -> ApiOptions:
    """Those that open `/metrics`."""
    return msgspec.structs.replace(config.api, keys=(*config.metrics.keys, *config.api.keys))


def _webhooks(config: Config, hooks: Hooks, stats: Stats) -> Webhooks | None:
    if not config.webhooks:
        return None
    # Here, because nobody else needs httpx, which takes a tenth of a second to load.
    from roomful.server.webhooks import Webhooks

    return Webhooks(config.webhooks, hooks, stats)


def _document_routes(context: DocumentContext) -> tuple[WebSocketRoute, WebSocketRoute]:
    max_bytes = context.documents.options.message_max_bytes

    def open_one(transport: Transport, request: Request) -> Receiver:
        dialect: DocumentDialect = y_websocket.FRAMED if transport.framed else y_websocket.BARE
        return DocumentSession(context, transport, dialect, request, request.path.removeprefix(Y_WEBSOCKET_PATH))

    def open_many(transport: Transport, request: Request) -> Receiver:
        dialect: DocumentDialect = hocuspocus.FRAMED if transport.framed else hocuspocus.BARE
        return DocumentSession(context, transport, dialect, request, None)

    return (
        WebSocketRoute(Y_WEBSOCKET_PATH, open_one, max_bytes, ("*",), below=True),
        WebSocketRoute(HOCUSPOCUS_PATH, open_many, max_bytes, ("*",)),
    )


def _store(options: DocumentOptions) -> DocumentStore:
    url = absolute_store(options.store, data_directory())
    if url == "memory://":
        return MemoryStore()
    if url.startswith(SQLITE) and url != SQLITE:
        return SqliteStore(Path(url.removeprefix(SQLITE)))
    if url.startswith(("postgresql://", "postgres://")):
        # Here, because nobody else needs its library, which is an extra.
        from roomful.stores.postgres import PostgresStore

        return PostgresStore(url)
    shown = without_password(url)
    raise ConfigError(f'documents.store: {shown!r} is none of "sqlite:///file.db", "postgresql://…", "memory://"')


def _engine(options: EngineOptions) -> Engine:
    if options.scheme == "memory":
        return MemoryEngine(options)
    if options.scheme in REDIS_SCHEMES:
        from roomful.engines.redis import RedisEngine  # only here: its library comes with an extra

        return RedisEngine(options)
    if options.scheme in NATS_SCHEMES:
        from roomful.engines.nats import NatsEngine  # likewise

        return NatsEngine(options)
    if options.scheme == "local":
        raise ConfigError("engine.url: local:// is for `roomful serve`, which runs that engine; take redis:// here")
    known = ", ".join(f"{scheme}://" for scheme in ("memory", "local", *REDIS_SCHEMES, *NATS_SCHEMES))
    raise ConfigError(f"engine.url: there is no engine {options.scheme!r}; this version has {known}")


def _admission(limits: LimitOptions, stats: Stats, wheel: Wheel, dev: bool) -> Admission:
    if dev:
        return Admission(stats, wheel.now)
    return Admission(
        stats,
        wheel.now,
        handshakes_per_s=limits.handshakes_per_s,
        per_address_max=limits.unauthenticated_per_address_max,
    )


def _namespaces(config: Config, dev: bool) -> Namespaces:
    if not dev:
        return Namespaces(config.namespaces, config.limits.channel_max_bytes)
    opened = {name: _opened(options) for name, options in config.namespaces.items()}
    return Namespaces(opened, config.limits.channel_max_bytes, others=DEV_OPTIONS)


def _opened(options: ChannelOptions) -> ChannelOptions:
    """A configured namespace under `--dev`: its own shape, with every right and what `--dev` promises."""
    keeps = options.has_history
    return msgspec.structs.replace(
        DEV_OPTIONS,
        history_size=options.history_size if keeps else DEV_OPTIONS.history_size,
        history_ttl_s=options.history_ttl_s if keeps else DEV_OPTIONS.history_ttl_s,
        history_meta_ttl_s=options.history_meta_ttl_s,
        recover=options.slow != "latest",
        mode=options.mode,
        compact=options.compact,
        join_leave=options.join_leave or DEV_OPTIONS.join_leave,
        exclude_self=options.exclude_self,
        channel_regex=options.channel_regex,
        data_format=options.data_format,
        slow=options.slow,
    )
