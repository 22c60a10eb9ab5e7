"""New settings while the server runs: keys, limits and TLS files change, and no connection notices.

What can't change without a new start keeps its old value, and is named.
"""

from __future__ import annotations

import dataclasses
import logging
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from roomful.auth.tokens import TokenAuthenticator
from roomful.model.errors import ConfigError
from roomful.server.api_keys import ApiKeys
from roomful.server.config import Config
from roomful.server.config_check import check
from roomful.server.wiring import Live, keys_of_metrics

log = logging.getLogger("roomful.server")

RELOADED = frozenset({"tokens", "api", "metrics", "limits", "server.tls_cert", "server.tls_key"})
"""Tables and keys that are put into force while it runs."""

NEEDS_START = frozenset({"limits.message_max_bytes"})
"""Of these tables: what the routes and the transports were made with."""


def reload(live: Live, config: Config) -> tuple[Live, list[str]]:
    """Puts into force what can be; the live objects, and the keys that have changed and need a new start.

    Raises ConfigError for a configuration that can't be used; then nothing has changed.
    """
    check(config)
    authenticator = TokenAuthenticator(config.tokens)
    api_keys, metrics_keys = ApiKeys(config.api), ApiKeys(keys_of_metrics(config))  # all that can fail has its turn
    changed = [key for key in _differences(live.config, config) if key in NEEDS_START or not _is_reloaded(key)]

    node, limits, in_force = live.node, config.limits, live.context.in_force
    live.authenticator.believe(authenticator)
    in_force.limits, in_force.anonymous = limits, config.tokens.anonymous
    node.namespaces.limit(limits.channel_max_bytes)
    if not live.context.insecure:
        node.rates.take_over(limits.rates)
        node.admission.limit(
            handshakes_per_s=limits.handshakes_per_s, per_address_max=limits.unauthenticated_per_address_max
        )
    node.backlog.max_bytes = limits.outboxes_max_bytes
    kept = _without(config, live.config, changed)
    return dataclasses.replace(live, config=kept, api_keys=api_keys, metrics_keys=metrics_keys), changed


def on_hangup(reread: Callable[[], Config], take: Callable[[Config], list[str]], tls: ssl.SSLContext | None) -> bool:
    """Reads the settings anew and has them taken; whether that went well. If not, the log says why, and all stays.

    tls: the context of the server's sockets, which gets the new certificate.
    """
    try:
        config = reread()
        server = config.server
        if tls is not None and server.tls_cert is not None:
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), server.tls_cert, server.tls_key)  # may fail half way
        changed = take(config)
        if tls is not None and server.tls_cert is not None:
            _load(tls, server.tls_cert, server.tls_key)
        if (tls is None) != (server.tls_cert is None):
            changed.append("server.tls_cert")
    except ConfigError as error:
        for line in str(error).splitlines():
            log.error("the settings were not reloaded, the old ones stay in force: %s", line)
        return False
    log.info("the settings were reloaded")
    for key in sorted(changed):
        log.warning("%s has changed, which needs a new start; the old value stays in force", key)
    return True


def _load(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    try:
        context.load_cert_chain(cert, key)
    except OSError as failure:  # an SSLError is one, too
        raise ConfigError(f"server.tls_cert, tls_key: can't use them: {failure.strerror or failure}") from failure


def _is_reloaded(key: str) -> bool:
    return key in RELOADED or key.partition(".")[0] in RELOADED


def _differences(old: Config, new: Config) -> Iterator[str]:
    """The keys in which they differ: "server.port", "namespaces.chat"."""
    for table in old.__struct_fields__:
        before, after = getattr(old, table), getattr(new, table)
        if before == after:
            continue
        keys = before.keys() | after.keys() if isinstance(before, dict) else before.__struct_fields__
        yield from (f"{table}.{key}" for key in keys if _value(before, key) != _value(after, key))


def _value(table: Any, key: str) -> Any:
    return table.get(key) if isinstance(table, dict) else getattr(table, key)


def _without(new: Config, old: Config, changed: list[str]) -> Config:
    """The new configuration with the old values of what has not been put into force."""
    for table in {key.partition(".")[0] for key in changed}:
        before, after = getattr(old, table), getattr(new, table)
        keys = [key.partition(".")[2] for key in changed if key.startswith(f"{table}.")]
        if isinstance(before, dict):
            kept: Any = before
        else:
            kept = msgspec.structs.replace(after, **{key: getattr(before, key) for key in keys})
        new = msgspec.structs.replace(new, **{table: kept})
    return new
