"""Documents on a node in memory: Yjs clients that speak the wires byte by byte, and a clock that the test moves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from pycrdt import Doc, Text

from roomful.auth.options import TokenOptions
from roomful.auth.tokens import TokenAuthenticator, sign
from roomful.engines.memory import MemoryEngine
from roomful.model import document as d
from roomful.node.document_bus import DocumentBus
from roomful.node.document_options import DocumentOptions
from roomful.node.documents import Documents
from roomful.node.hooks import Hooks
from roomful.node.namespaces import Namespaces
from roomful.node.node import Node
from roomful.node.rate_options import RateOptions
from roomful.node.rates import NO_RATES, Rates
from roomful.node.stats import Stats
from roomful.node.wheel import Wheel
from roomful.seams.document_dialect import DocumentDialect
from roomful.seams.transport import Request
from roomful.session.document_access import Gate
from roomful.session.document_session import DocumentContext, DocumentSession
from roomful.session.unrevoked import UnrevokedTokens
from roomful.testing.clock import VirtualClock
from roomful.wire import hocuspocus, y_websocket
from roomful.wire.lib0 import string, uint
from tests.node.slow_store import SlowStore

HookT = TypeVar("HookT", bound=Callable[..., Any])

WALL_AT_START = 1_700_000_000.0
LINEAGES = itertools.count(9_000_001)
"""No two worlds draw the same."""
TOKENS = TokenOptions(hmac_secret="s" * 32)


class DocumentWorld:
    """options: in place of `[documents]`, open to everybody by default. store: of a world before this one."""

    def __init__(
        self,
        *,
        insecure: bool = False,
        rates: RateOptions = NO_RATES,
        store: SlowStore | None = None,
        **options: Any,
    ) -> None:
        self.clock = VirtualClock(1_000.0)
        self.stats = Stats()
        self.hooks = Hooks(self.stats)
        self.store = store or SlowStore()
        self.errors: list[dict[str, Any]] = []
        self.node = Node(
            id="node-1",
            version="Roomful test",
            engine=MemoryEngine(clock=self.clock),
            namespaces=Namespaces({}, 255),
            hooks=self.hooks,
            stats=self.stats,
            wheel=Wheel(self.clock),
            rates=Rates(self.stats, self.clock, rates),
            wall_clock=self.wall,
        )
        self.options = DocumentOptions(**{"access": "client", **options})
        numbers = itertools.count(1)
        self.documents = Documents(
            self.store,
            self.options,
            self.node.wheel,
            self.hooks,
            DocumentBus(self.node, alone=True),
            new_client_id=lambda: next(LINEAGES),
            wall_clock=self.wall,
        )
        revocations = self.node.revocations
        gate = Gate(
            authenticator=UnrevokedTokens(TokenAuthenticator(TOKENS, clock=self.wall), revocations),
            options=self.options,
            hooks=self.hooks,
            insecure=insecure,
            revoked=revocations.revoked,
            wall_clock=self.wall,
        )
        self.context = DocumentContext(
            node=self.node, documents=self.documents, gate=gate, new_id=lambda: f"client-{next(numbers)}"
        )

    async def start(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: self.errors.append(context))
        await self.node.start()

    async def stop(self) -> None:
        self.store.failing = False
        self.store.release()
        await self.settle()
        await self.node.stop()
        await self.documents.stop()
        assert not self.node.connections
        assert not self.errors, self.errors

    def wall(self) -> float:
        return WALL_AT_START + self.clock() - 1_000.0

    async def settle(self, turns: int = 30) -> None:
        """Lets everything happen that needs no time."""
        for _ in range(turns):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            self.node.wheel.advance()
            await self.settle(5)

    def on(self, event: type, document: str | None = None) -> Callable[[HookT], HookT]:
        def add(hook: HookT) -> HookT:
            self.hooks.add(event, document, hook)
            return hook

        return add

    def token(self, user: str = "ann", ttl_s: float | None = None, **claims: Any) -> str:
        return sign(TOKENS, claims, user=user, now=self.wall(), ttl_s=ttl_s)

    def y_websocket(self, name: str = "notes", token: str = "", **request: Any) -> Peer:
        query = {"token": token} if token else {}
        return Peer(self, y_websocket.BARE, Request(path=f"/yjs/{name}", query=query, **request), name)

    def hocuspocus(self, **request: Any) -> Peer:
        return Peer(self, hocuspocus.BARE, Request(path="/hocuspocus", **request), None)


class Peer:
    """One connection from the client's end (`seams.transport.Transport`).

    said: messages of the server, as bytes, since the last look. ever: all of them.

    doc: its replica; `hear` applies what the server has said of it since.
    """

    kind = "websocket"
    framed = False

    def __init__(self, world: DocumentWorld, dialect: DocumentDialect, request: Request, single: str | None) -> None:
        self.world = world
        self.dialect = dialect
        self.paused = False
        self.said: list[bytes] = []
        self.ever: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.pings = 0
        self.doc: Doc[Any] = Doc()
        self.session = DocumentSession(world.context, self, dialect, request, single)

    # Transport

    def write(self, data: bytes, binary: bool) -> None:
        assert binary
        self.said.append(data)
        self.ever.append(data)

    def ping(self) -> None:
        self.pings += 1

    def close(self, code: int, reason: str) -> None:
        if self.closed is None:
            self.closed = (code, reason)
            asyncio.get_running_loop().call_soon(lambda: self.session.on_close(code, reason))  # not made yet, maybe

    def pause_reading(self) -> None:
        """Never paused here."""

    def resume_reading(self) -> None:
        """Never paused here."""

    # What a test does

    @property
    def key(self) -> str:
        return "notes" if self.dialect.acknowledges else ""

    def send(self, message: d.FromClient, key: str | None = None) -> None:
        key = self.key if key is None else key
        if isinstance(message, d.Authenticate):
            version = string(message.version) if message.version else b""
            self.send_bytes(string(key) + b"\x02\x00" + string(message.token) + version)
        elif isinstance(message, d.QueryAwareness):
            self.send_bytes((string(key) if self.dialect.acknowledges else b"") + b"\x03")
        else:
            self.send_bytes(self.dialect.encode(key, message))  # type: ignore[arg-type]

    def send_bytes(self, data: bytes) -> None:
        self.session.on_message(data, True)

    async def open(self, token: str = "", version: str = "4.8.0", key: str | None = None) -> Peer:
        """Everything that a provider does until it is synced."""
        if self.dialect.acknowledges:
            self.send(d.Authenticate(token, version), key)
        self.send(d.SyncStep1(self.doc.get_state()), key)
        await self.world.settle()
        self.hear(key)
        self.send(d.SyncStep2(self.doc.get_update(b"\x00")), key)
        await self.world.settle()
        return self

    def type(self, text: str, key: str | None = None) -> bytes:
        """Types at the end and sends the update."""
        before = self.doc.get_state()
        content = self.doc.get("t", type=Text)
        content += text
        update = self.doc.get_update(before)
        self.send(d.SyncUpdate(update), key)
        return update

    def heard(self, key: str | None = None) -> list[d.FromClient]:
        """What the server said since the last call, as far as both sides may say it, and the rest as `Unknown`."""
        said, self.said = self.said, []
        return [message for data in said for _, message in self.dialect.decode(data)]

    def hear(self, key: str | None = None) -> list[d.FromClient]:
        """The same, and applied to the replica."""
        messages = self.heard(key)
        for message in messages:
            if isinstance(message, d.SyncStep2 | d.SyncUpdate):
                self.doc.apply_update(message.update)
        return messages

    def expects(self, *messages: d.ToClient, key: str | None = None) -> None:
        """Exactly these have been said since the last look."""
        said, self.said = self.said, []
        spelled = [self.dialect.encode(self.key if key is None else key, message) for message in messages]
        assert said == spelled

    def was_ever_said(self, message: d.ToClient) -> bool:
        return self.dialect.encode(self.key, message) in self.ever

    def was_said(self, message: d.ToClient, key: str | None = None) -> bool:
        return self.dialect.encode(self.key if key is None else key, message) in self.said

    @property
    def text(self) -> str:
        self.hear()
        return str(self.doc.get("t", type=Text))

    def cut(self) -> None:
        """The connection breaks."""
        self.closed = (1006, "")
        self.session.on_close(1006, "")


def json_of(text: str) -> Any:
    return msgspec.json.decode(text)


def malformed_update() -> bytes:
    return uint(1) + b"\xff\xff"
