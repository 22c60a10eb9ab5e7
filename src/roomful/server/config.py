"""The tree of settings. Each table is the options of one component; no component sees the whole tree."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from roomful.auth.options import TokenOptions
from roomful.engines.options import EngineOptions
from roomful.model.channel import ChannelOptions
from roomful.node.document_options import DocumentOptions
from roomful.node.people_options import PeopleOptions
from roomful.node.revocations import RevocationOptions
from roomful.node.state_options import StateOptions
from roomful.rooms.tags_filter import FilterLimits
from roomful.server.webhook_options import WebhookOptions
from roomful.session.options import ConnectionOptions, LimitOptions

_PASSWORD_IN_URL = re.compile(r"(?<=://)[^/@]*@")


class ServerOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[server]` table: where it listens, and which pages may come.

    host, port: the address to listen on; port 0: any free one.
    uds: path of a Unix socket, in place of host and port.
    workers: how many processes serve.
    allowed_origins: web pages that may connect, such as "https://example.com" or "https://*.example.com"; "*" allows
    all. Clients that send no `Origin` (which are no browsers) always may.
    trusted_proxies: addresses and networks of our own proxies: what these say about a client's address is believed.
    deflate: WebSocket messages are compressed (permessage-deflate) for clients of rooms that offer it: once for all its
    receivers, which costs the processor 5 to 10 µs a message. Under a foreign server compression is that server's.
    tls_cert, tls_key: PEM files; both or none.
    drain_s: how long clients may take to leave when the server stops.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    uds: str | None = None
    workers: int = 1
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    deflate: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    drain_s: float = 10.0


class ApiOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[api]` table.

    keys: whoever sends one of these may do everything; without any the API is closed.
    key_files: files with more keys, one a line; read at the start.
    body_max_bytes: of one request. body_timeout_s: how long its body may take to arrive.
    """

    keys: tuple[str, ...] = ()
    key_files: tuple[str, ...] = ()
    body_max_bytes: int = 1_048_576
    body_timeout_s: float = 10.0

    def __rich_repr__(self) -> list[tuple[str, object]]:
        hidden = tuple("***" for _ in self.keys)
        return [(name, hidden if name == "keys" else getattr(self, name)) for name in self.__struct_fields__]

    def __repr__(self) -> str:
        return f"ApiOptions({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class MetricsOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[metrics]` table: who may read `/metrics`.

    keys: whoever sends one of these, as `Authorization: apikey …` or `X-API-Key`; keys of the API open it, too. Without
    any it is closed.
    open: everybody may read them; for servers that only machines of yours can reach.
    """

    keys: tuple[str, ...] = ()
    open: bool = False

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("keys", tuple("***" for _ in self.keys)), ("open", self.open)]

    def __repr__(self) -> str:
        return f"MetricsOptions({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of a server: `Config(namespaces={"chat": ChannelOptions(presence=True)})`.

    Its text form is safe to print: secrets, and passwords in URLs, are left out.
    """

    server: ServerOptions = ServerOptions()
    connection: ConnectionOptions = ConnectionOptions()
    tokens: TokenOptions = TokenOptions()
    revocations: RevocationOptions = RevocationOptions()
    api: ApiOptions = ApiOptions()
    metrics: MetricsOptions = MetricsOptions()
    engine: EngineOptions = EngineOptions()
    documents: DocumentOptions = DocumentOptions()
    state: StateOptions = StateOptions()
    people: PeopleOptions = PeopleOptions()
    limits: LimitOptions = LimitOptions()
    tags_filter: FilterLimits = FilterLimits()
    webhooks: dict[str, WebhookOptions] = {}
    namespaces: dict[str, ChannelOptions] = {}

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        engine = msgspec.structs.replace(self.engine, url=without_password(self.engine.url))
        documents = msgspec.structs.replace(self.documents, store=without_password(self.documents.store))
        shown = {"engine": engine, "documents": documents}
        return [(name, shown.get(name, getattr(self, name))) for name in self.__struct_fields__]

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    return _PASSWORD_IN_URL.sub("***@", url)
