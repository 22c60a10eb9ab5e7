"""A node with sessions in memory, and a clock that the test moves."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from roomful.auth.options import TokenOptions
from roomful.auth.tokens import TokenAuthenticator, sign
from roomful.engines.memory import MemoryEngine
from roomful.model.channel import ChannelOptions, Right
from roomful.model.publication import Draft, Position
from roomful.node.hooks import Hooks
from roomful.node.namespaces import Namespaces
from roomful.node.node import Node
from roomful.node.rates import Rates
from roomful.node.revocations import RevocationOptions
from roomful.node.stats import Stats
from roomful.node.wheel import Wheel
from roomful.rooms.tags_filter import FilterLimits
from roomful.seams.transport import Request
from roomful.session.catch_up import read_page
from roomful.session.dispatch import HANDLERS, ORDERS
from roomful.session.options import ConnectionOptions, LimitOptions
from roomful.session.refresh import on_expiry
from roomful.session.session import FILTER_LIMITS, Context, InForce, Session
from roomful.session.unrevoked import UnrevokedTokens
from roomful.testing.client import Client, Closed, CommandError, MemoryTransport
from roomful.testing.clock import VirtualClock
from roomful.wire.dialect import choose
from tests.session.slow_engine import SlowEngine

HookT = TypeVar("HookT", bound=Callable[..., Any])

WALL_AT_START = 1_700_000_000.0
TICK_S = 0.1

TOKENS = TokenOptions(hmac_secret="s" * 32)

OPEN = ChannelOptions(subscribe="client", publish=Right.CLIENT)
LOG = ChannelOptions(subscribe="client", publish=Right.CLIENT, history_size=100, history_ttl_s=300.0, recover=True)
ROOM = ChannelOptions(
    subscribe="client",
    publish=Right.CLIENT,
    history_size=100,
    history_ttl_s=300.0,
    recover=True,
    presence=True,
    join_leave=True,
)
NAMESPACES = {"default": OPEN, "log": LOG, "room": ROOM}


class World:
    """options, limits: of the sessions. namespaces: beside or in place of NAMESPACES.

    Everything that reaches the loop's exception handler is an error of ours: `stop` fails on it, and on whatever the
    sessions left behind.
    """

    def __init__(
        self,
        *,
        options: ConnectionOptions | None = None,
        limits: LimitOptions | None = None,
        tokens: TokenOptions = TOKENS,
        anonymous: bool = True,
        insecure: bool = False,
        filters: FilterLimits = FILTER_LIMITS,
        revocations: RevocationOptions | None = None,
        **namespaces: ChannelOptions,
    ) -> None:
        self.clock = VirtualClock(1_000.0)
        self.stats = Stats()
        self.hooks = Hooks(self.stats)
        self.memory = MemoryEngine(clock=self.clock)
        self.engine = SlowEngine(self.memory)
        self.errors: list[dict[str, Any]] = []
        self.hang = asyncio.Event()
        """What a hook waits for that hangs for as long as the test lasts."""
        self._clients: list[Client] = []
        limits = limits or LimitOptions()
        self.node = Node(
            id="node-1",
            version="Roomful test",
            engine=self.engine,
            namespaces=Namespaces(NAMESPACES | namespaces, limits.channel_max_bytes),
            hooks=self.hooks,
            stats=self.stats,
            wheel=Wheel(self.clock),
            rates=Rates(self.stats, self.clock, limits.rates),
            wall_clock=self.wall,
            revocations=revocations,
            outboxes_max_bytes=limits.outboxes_max_bytes,
        )
        self.context = Context(
            node=self.node,
            authenticator=UnrevokedTokens(TokenAuthenticator(tokens, clock=self.wall), self.node.revocations),
            options=options or ConnectionOptions(),
            in_force=InForce(limits, anonymous=anonymous),
            handlers=HANDLERS,
            orders=ORDERS,
            on_expiry=on_expiry,
            read_page=read_page,
            insecure=insecure,
            new_id=lambda: str(uuid.uuid4()),
            random=lambda: 0.5,
            filters=filters,
        )

    async def start(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: self.errors.append(context))
        await self.node.start()

    async def stop(self) -> None:
        """Everybody goes, and then nothing may be left."""
        await self.engine.rush()
        for client in self._clients:
            client.cut()
        self.hang.set()
        await self.settle(50)
        await self.pass_time(100.0, 20.0)  # the grace of who was lost
        self.assert_empty()
        await self.node.stop()
        assert not self.errors, self.errors

    def assert_empty(self) -> None:
        """No session has left anything behind."""
        node = self.node
        assert len(node.hub) == 0, list(node.hub.channels())
        assert (len(node.directory), node.directory.users, len(node.connections)) == (0, 0, 0)
        assert (node.backlog.bytes, node.backlog.debtors) == (0, 0)
        assert (node.relay._takers, node.relay._last, node.relay._waiting) == ({}, {}, {})
        interest = node._interest
        assert (interest._heard, interest._changing) == (set(), {})
        assert len(self.memory.presence) == 0
        assert self.memory.broker._subscribed == set()

    # Time

    def wall(self) -> float:
        return WALL_AT_START + self.clock()

    async def pass_time(self, seconds: float, step_s: float = TICK_S) -> None:
        """Time passes, step by step, and what is due happens."""
        end = self.clock() + seconds
        while self.clock() < end - 1e-9:
            self.clock.advance(min(step_s, end - self.clock()))
            self.node.wheel.advance()
            await asyncio.sleep(0)
        await self.settle()

    async def settle(self, turns: int = 12) -> None:
        """The loop turns until all that happens at once has happened."""
        for _ in range(turns):
            await asyncio.sleep(0)

    # Clients

    def open(self, query: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> Client:
        """A connection that hasn't said `connect`."""
        transport = MemoryTransport()
        request = Request("/connection/websocket", query or {}, headers or {}, "192.0.2.1")
        session = Session(self.context, transport, choose(request.query, "", False), request)
        transport.receiver = session
        client = Client(transport, session)
        self._clients.append(client)
        return client

    async def client(self, user: str = "", **fields: Any) -> Client:
        """A connected one. user: by a token."""
        client = self.open()
        if user:
            fields["token"] = self.token(user)
        await client.connect(**fields)
        return client

    def token(self, user: str = "ann", *, ttl_s: float | None = None, **claims: Any) -> str:
        return sign(TOKENS, claims, user=user, now=self.wall(), ttl_s=ttl_s)

    def channel_token(self, user: str, channel: str, *, ttl_s: float | None = None, **claims: Any) -> str:
        return self.token(user, ttl_s=ttl_s, channel=channel, **claims)

    # The application

    def on(self, event: type, pattern: str | None = None) -> Callable[[HookT], HookT]:
        def add(hook: HookT) -> HookT:
            self.hooks.add(event, pattern, hook)
            return hook

        return add

    async def publish(
        self,
        channel: str,
        data: bytes = b"{}",
        *,
        tags: dict[str, str] | None = None,
        exclude: frozenset[str] = frozenset(),
    ) -> Position | None:
        return (await self.node.publish(channel, Draft(data, None, tags, exclude))).position

    async def head(self, channel: str) -> Position:
        return await self.node.position(channel)


class SlowHook:
    """A hook that takes its time, and then replies. asked: its event has come. answers: set it, and the hook does."""

    def __init__(self, world: World, event: type, reply: Any = None) -> None:
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

        @world.on(event)
        async def hook(_event: Any) -> Any:
            self.asked.set()
            await self.answers.wait()
            return reply


def session_of(client: Client) -> Session:
    """The session behind a client."""
    session = client.transport.receiver
    assert isinstance(session, Session)
    return session


async def outcome(client: Client, channel: str, token: str = "") -> str | int:
    """What becomes of a subscribe: "in", or the code of its refusal or of the connection's end."""
    try:
        await client.subscribe(channel, **({"token": token} if token else {}))
    except CommandError as error:
        return error.code
    except Closed as closed:
        return closed.code
    return "in"
