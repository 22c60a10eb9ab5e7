"""Where Redis is: the URL in `[engine]`, taken apart.

redis://user:password@host:6379/0                      rediss:// with TLS
redis+unix:///run/redis.sock                           a socket of this machine
redis+sentinel://user:password@a:26379,b:26379/name/0  rediss+sentinel:// with TLS; name: what Sentinel calls it
    redis+cluster://user:password@a:6379,b:6379            rediss+cluster:// with TLS; some nodes of it
redis+cluster://user:password@a:6379,b:6379            rediss+cluster:// with TLS
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import unquote

import msgspec

from roomful.model.errors import ConfigError

Address = tuple[str, int]
"""Host and port; the path of a Unix socket and 0."""

Kind = Literal["single", "sentinel", "cluster"]

SCHEMES: dict[str, tuple[Kind, bool, int]] = {
    "redis": ("single", False, 6379),
    "rediss": ("single", True, 6379),
    "redis+unix": ("single", False, 0),
    "redis+sentinel": ("sentinel", False, 26379),
    "rediss+sentinel": ("sentinel", True, 26379),
    "redis+cluster": ("cluster", False, 6379),
    "rediss+cluster": ("cluster", True, 6379),
}
"""Scheme → kind, whether TLS, default port. Valkey speaks the same: write its name with these schemes."""


class RedisUrl(msgspec.Struct, frozen=True):
    """addresses: of the server, of the sentinels, or of some nodes of the cluster. service: Sentinel's name for it."""

    kind: Kind
    tls: bool
    addresses: tuple[Address, ...]
    user: str = ""
    password: str = ""
    database: int = 0
    service: str = ""

    @property
    def places(self) -> str:
        """Where that is, without the password."""
        return ", ".join(named(address) for address in self.addresses)


def named(address: Address) -> str:
    """An address as people write it."""
    host, port = address
    return f"{host}:{port}" if port else host


def parse(url: str) -> RedisUrl:
    """Raises ConfigError, without the password in it, for a URL that makes no sense."""
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        raise ConfigError(f"engine.url: no Redis is reached by {scheme!r}; there are {', '.join(SCHEMES)}")
    kind, tls, port = SCHEMES[scheme]
    login, _, place = rest.rpartition("@")
    user, _, password = login.partition(":")
    user, password = unquote(user), unquote(password)
    if scheme == "redis+unix":
        path, _, database = place.partition("?db=")
        if not path.startswith("/"):
            raise ConfigError("engine.url: redis+unix:// needs the absolute path of a socket")
        return RedisUrl(kind, tls, ((unquote(path), 0),), user, password, _number(database or "0", "database"))
    hosts, _, path = place.partition("/")
    addresses = tuple(_address(each, port) for each in hosts.split(","))
    parts = [unquote(part) for part in path.split("/") if part]
    service = ""
    if kind == "sentinel":
        if not parts:
            raise ConfigError("engine.url: redis+sentinel:// needs the name that Sentinel knows the service by")
        service = parts.pop(0)
    if kind == "single" and len(addresses) > 1:
        raise ConfigError(
            f"engine.url: {scheme}:// takes one address; several are for redis+sentinel and redis+cluster"
        )
    if kind == "cluster" and parts:
        raise ConfigError("engine.url: a Redis Cluster has database 0 only")
    if len(parts) > 1:
        raise ConfigError(f"engine.url: {'/'.join(parts)!r} is no number of a database")
    database_number = _number(parts[0], "database") if parts else 0
    return RedisUrl(kind, tls, addresses, user, password, database_number, service)


def _address(text: str, port: int) -> Address:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        given = rest.removeprefix(":")
    else:
        host, _, given = text.partition(":")
    return host or "127.0.0.1", _number(given, "port") if given else port


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise ConfigError(f"engine.url: {text!r} is no number of a {what}")
    return int(text)
