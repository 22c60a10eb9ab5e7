"""What a configuration that can be read may still get wrong, and what is allowed but surely not meant."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterator
from typing import NamedTuple, get_args
from urllib.parse import urlsplit

import msgspec

from roomful.auth.options import TokenOptions
from roomful.auth.tokens import TokenAuthenticator
from roomful.engines.nats_url import SCHEMES as NATS_SCHEMES
from roomful.engines.options import EngineOptions
from roomful.model.channel import DEFAULT_NAMESPACE, NAMESPACE_NAME, RESERVED_NAMESPACES, ChannelOptions
from roomful.model.errors import ConfigError
from roomful.node.rate_options import RateOptions
from roomful.rooms.rate import Rate
from roomful.server.config import ApiOptions, Config, ServerOptions
from roomful.server.webhook_options import EventName, WebhookOptions, secret_bytes
from roomful.session.options import ConnectionOptions
from roomful.transports.negotiate import TransportOptions

SECRET_MIN_BYTES = 32
"""HS256 wants a key as long as its hash. Source: RFC 7518, section 3.2."""

API_KEY_MIN_BYTES = 16

WEBHOOK_SECRET_MIN_BYTES = 24
"""Source: Standard Webhooks specification, "Signature scheme"."""

ABOVE_ZERO = {
    ("connection", "stale_s"),
    ("connection", "hook_deadline_s"),
    ("limits", "message_max_bytes"),
    ("limits", "outbox_max_bytes"),
    ("limits", "inbox_max_bytes"),
    ("limits", "channel_max_bytes"),
    ("limits", "recovery_max"),
    ("limits", "recovery_max_bytes"),
    ("revocations", "keep_s"),
    ("revocations", "max"),
    ("engine", "publish_deadline_s"),
    ("engine", "check_s"),
    ("engine", "lease_s"),
    ("engine", "renew_s"),
    ("engine", "backlog_max_bytes"),
    ("api", "body_max_bytes"),
    ("api", "body_timeout_s"),
    ("tags_filter", "max_depth"),
    ("tags_filter", "max_nodes"),
    ("tags_filter", "max_chars"),
}
"""Zero means zero, and with zero of these nothing would ever work."""

RETRIES_MAX = 5

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

OURS_IN_REQUESTS = re.compile(
    r"host|content-.*|transfer-encoding|te|trailer|connection|keep-alive|upgrade|expect|proxy-.*|accept-encoding"
    r"|roomful-.*|webhook-.*"
)
"""Headers of a webhook's request that the client's can't replace: what it is, who signed it, how it travels."""

_ORIGIN = re.compile(r"[a-z*][a-z0-9+.*-]*://[^/\sA-Z]+")


class Problem(NamedTuple):
    """path: of the key, such as ("namespaces", "chat", "recover")."""

    path: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.reason}"


def check(config: Config) -> None:
    """Raises ConfigError with one line for each problem."""
    found = problems(config)
    if found:
        raise ConfigError("\n".join(map(str, found)))


def problems(config: Config) -> list[Problem]:
    """Why a server can't run with it; none if it can."""
    return [
        *_numbers(config),
        *_server(config.server),
        *_workers(config),
        *_engine(config.engine),
        *_revocations(config),
        *_rates(config.limits.rates),
        *_connection(config.connection),
        *_personal(config),
        *_tokens(config.tokens),
        *_api(config.api),
        *(problem for name, options in config.namespaces.items() for problem in _namespace(name, options)),
        *(problem for name, webhook in config.webhooks.items() for problem in _webhook(name, webhook, config)),
    ]


def warnings(config: Config) -> list[str]:
    """What runs, but is weak or of no use; one sentence each."""
    return [*_weak_secrets(config), *_weak_webhooks(config), *_shut_doors(config), *_useless_limits(config)]


def dev_problems(config: Config) -> list[Problem]:
    """Why it can't be served with `--dev`, where everything is open: only this machine may reach it."""
    if config.server.uds is not None:
        return [Problem(("server", "uds"), "--dev opens everything, so it listens on a loopback address only")]
    if not is_loopback(config.server.host):
        reason = f"--dev opens everything, so it listens on a loopback address only, not on {config.server.host!r}"
        return [Problem(("server", "host"), reason)]
    return []


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _numbers(config: Config) -> Iterator[Problem]:
    for path, value in _values(config):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not math.isfinite(value) or value < 0:
            yield Problem(path, f"must not be {value}")
        elif value == 0 and path in ABOVE_ZERO:
            yield Problem(path, "must be more than 0")


def _values(config: Config) -> Iterator[tuple[tuple[str, ...], object]]:
    tables: list[tuple[tuple[str, ...], msgspec.Struct]] = [
        *(
            ((name,), each)
            for name in config.__struct_fields__
            if isinstance(each := getattr(config, name), msgspec.Struct)
        ),
        *((("namespaces", name), options) for name, options in config.namespaces.items()),
        *((("webhooks", name), webhook) for name, webhook in config.webhooks.items()),
    ]
    for path, table in tables:
        for name in table.__struct_fields__:
            yield (*path, name), getattr(table, name)


def _server(options: ServerOptions) -> Iterator[Problem]:
    if options.port > 65_535:
        yield Problem(("server", "port"), f"lies in 0–65535, not {options.port}")
    if not options.host and options.uds is None:
        yield Problem(("server", "host"), 'can\'t be empty; "0.0.0.0" listens on all addresses')
    if bool(options.tls_cert) != bool(options.tls_key):
        yield Problem(("server", "tls_key" if options.tls_cert else "tls_cert"), "tls_cert and tls_key go together")
    for origin in options.allowed_origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            reason = f'{origin!r} is no origin: "https://example.com", in lower case, without a path, `*` for any part'
            yield Problem(("server", "allowed_origins"), reason)
    for network in options.trusted_proxies:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            reason = f"{network!r} is neither an address nor a network"
            yield Problem(("server", "trusted_proxies"), reason)


def _revocations(config: Config) -> Iterator[Problem]:
    kept = config.engine.nats_max_age_s
    if config.engine.scheme in NATS_SCHEMES and config.revocations.keep_s >= kept:
        yield Problem(("revocations", "keep_s"), f"has to be less than engine.nats_max_age_s ({kept:g})")


def _engine(options: EngineOptions) -> Iterator[Problem]:
    if 0 < options.lease_s < 2 * options.renew_s:
        yield Problem(("engine", "renew_s"), "is at most half of lease_s, so that one renewal may be lost")
    if not re.fullmatch(r"[-A-Za-z0-9_.]+", options.prefix):
        yield Problem(("engine", "prefix"), f"{options.prefix!r} is no name: letters, digits, `-`, `_`, `.`")


def _workers(config: Config) -> Iterator[Problem]:
    path = ("server", "workers")
    if config.server.workers == 0:
        yield Problem(path, "must be more than 0")
    elif config.server.workers > 1 and config.engine.scheme == "memory":
        yield Problem(
            path,
            "the memory engine lives in one process, so other workers' clients would miss messages: take workers = 1, "
            'or an engine that they share: "local://" (a private Redis, nothing to set up), redis:// or nats://',
        )
    elif config.server.workers > 1 and config.server.uds is not None:
        reason = "workers share a port, and can't share a Unix socket: take host and port, or workers = 1"
        yield Problem(path, reason)


def _rates(options: RateOptions) -> Iterator[Problem]:
    for by, command, rate in options.configured():
        try:
            Rate.parse(rate)
        except ValueError as error:
            yield Problem(("limits", "rates", by, command), str(error))


def _connection(options: ConnectionOptions) -> Iterator[Problem]:
    if options.ping_s == 0:
        return
    if options.ping_s < 1:
        yield Problem(("connection", "ping_s"), "is at least 1, or 0 for none: clients are told whole seconds")
    if not 0 < options.pong_s < options.ping_s:
        yield Problem(("connection", "pong_s"), "lies between 0 and ping_s: a pong comes before the next ping")


def _personal(config: Config) -> Iterator[Problem]:
    options = config.connection
    if not options.personal_channel:
        if options.single_connection:
            yield Problem(("connection", "single_connection"), "needs personal_channel")
        return
    name = options.personal_namespace or DEFAULT_NAMESPACE
    namespace = config.namespaces.get(name)
    if namespace is None:
        yield Problem(("connection", "personal_channel"), f"needs a namespace, [namespaces.{name}]")
    elif options.single_connection and not namespace.presence:
        yield Problem(("connection", "single_connection"), f"needs presence in [namespaces.{name}]")


def _tokens(options: TokenOptions) -> Iterator[Problem]:
    if not options.user_claim:
        yield Problem(("tokens", "user_claim"), "can't be empty")
    if options.jwks_url and not _is_http(options.jwks_url):
        yield Problem(("tokens", "jwks_url"), "has to be an http:// or https:// address")
    try:
        TokenAuthenticator(options)
    except ConfigError as error:
        yield Problem(("tokens", "public_key"), str(error).removeprefix("tokens.public_key").lstrip(": "))


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False


def _namespace(name: str, options: ChannelOptions) -> Iterator[Problem]:
    path = ("namespaces", name)
    if name in RESERVED_NAMESPACES:
        yield Problem(path, "is a facet of every room; choose another name")
    elif name != DEFAULT_NAMESPACE and not NAMESPACE_NAME.fullmatch(name):
        yield Problem(path, "a namespace's name has at least two of: letters, digits, - _ .")
    if (options.history_size > 0) != (options.history_ttl_s > 0):
        missing = "history_size" if options.history_ttl_s > 0 else "history_ttl_s"
        yield Problem((*path, missing), "history needs both history_size and history_ttl_s")
    yield from (Problem((*path, key), reason) for key, reason in _contradictions(options))


def _api(options: ApiOptions) -> Iterator[Problem]:
    yield from (Problem(("api", "keys"), "a key can't be empty") for key in options.keys if not key)
    most = TransportOptions().body_timeout_s
    if options.body_timeout_s > most:
        yield Problem(("api", "body_timeout_s"), f"is at most {most:g}, which any request has")


def _webhook(name: str, webhook: WebhookOptions, config: Config) -> Iterator[Problem]:
    path, deadline_s = ("webhooks", name), config.connection.hook_deadline_s
    if not _is_http(webhook.url):
        yield Problem((*path, "url"), "has to be an http:// or https:// address")
    if not webhook.events:
        yield Problem((*path, "events"), f"is missing; there are {', '.join(get_args(EventName))}")
    if len(set(webhook.events)) < len(webhook.events):
        yield Problem((*path, "events"), "names an event twice")
    if webhook.channel is not None and not {"subscribe", "sub_refresh", "publish"}.intersection(webhook.events):
        yield Problem((*path, "channel"), "narrows subscribe, sub_refresh and publish, and none of them is in events")
    if webhook.method is not None and "rpc" not in webhook.events:
        yield Problem((*path, "method"), "narrows rpc, which isn't in events")
    for secret in webhook.secrets:
        try:
            secret_bytes(secret)
        except ValueError as error:
            yield Problem((*path, "secrets"), str(error))
    for header in webhook.forward_headers:
        if not HEADER_NAME.fullmatch(header) or OURS_IN_REQUESTS.fullmatch(header.lower()):
            yield Problem((*path, "forward_headers"), f"{header!r} can't be forwarded")
    for key in ("timeout_s", "connections_max"):
        if getattr(webhook, key) == 0:
            yield Problem((*path, key), "must be more than 0")
    if webhook.timeout_s >= deadline_s:
        yield Problem((*path, "timeout_s"), f"has to be less than connection.hook_deadline_s, which is {deadline_s:g}")
    if webhook.retries > RETRIES_MAX:
        yield Problem((*path, "retries"), f"is at most {RETRIES_MAX}")


def _contradictions(options: ChannelOptions) -> Iterator[tuple[str, str]]:
    for key in ("recover", "position", "delta"):
        if getattr(options, key) and not options.has_history:
            yield key, "needs history: history_size and history_ttl_s"
        if getattr(options, key) and options.slow == "latest":
            yield key, 'can\'t go with slow = "latest", which leaves publications out'
    if options.mode == "cache" and not options.has_history:
        yield "mode", '"cache" gives out the newest of the history: it needs history_size and history_ttl_s'
    if options.mode == "cache" and options.slow == "latest":
        yield "mode", '"cache" can\'t go with slow = "latest", which leaves publications out'
    if options.slow == "resume" and not options.has_history:
        yield "slow", '"resume" reads what was missed from history: it needs history_size and history_ttl_s'
    if options.channel_regex is not None:
        try:
            re.compile(options.channel_regex)
        except re.error as error:
            yield "channel_regex", f"is no regular expression: {error}"


def _weak_secrets(config: Config) -> Iterator[str]:
    for name in ("hmac_secret", "hmac_previous_secret"):
        secret = getattr(config.tokens, name)
        if secret and len(secret.encode()) < SECRET_MIN_BYTES:
            yield f"tokens.{name} is shorter than {SECRET_MIN_BYTES} bytes, so it can be guessed from any one token"
    if any(0 < len(key.encode()) < API_KEY_MIN_BYTES for key in config.api.keys):
        yield f"one of api.keys is shorter than {API_KEY_MIN_BYTES} bytes, so it can be guessed"
    url = config.tokens.jwks_url
    if url and url.startswith("http://") and not is_loopback(urlsplit(url).hostname or ""):
        yield "tokens.jwks_url is plain http: whoever sits between can hand out keys"


def _weak_webhooks(config: Config) -> Iterator[str]:
    for name, webhook in config.webhooks.items():
        least = WEBHOOK_SECRET_MIN_BYTES
        if any(len(secret_bytes(secret)) < least for secret in webhook.secrets):
            yield f"one of webhooks.{name}.secrets is shorter than {least} bytes, so it can be guessed"
        if is_loopback(urlsplit(webhook.url).hostname or ""):
            continue
        if not webhook.secrets:
            yield f"webhooks.{name} has no secrets, so its service can't tell our questions from a stranger's"
        if webhook.url.startswith("http://"):
            yield f"webhooks.{name}.url is plain http: whoever sits between reads the questions and gives the answers"


def _shut_doors(config: Config) -> Iterator[str]:
    asked = any("connect" in webhook.events for webhook in config.webhooks.values())
    if not config.tokens.has_key and not config.tokens.anonymous and not asked:
        yield "nobody can connect unless a hook lets them: [tokens] has no key, and anonymous = false"
    if not config.namespaces:
        yield "there are no channels: nothing is configured under [namespaces]"


def _useless_limits(config: Config) -> Iterator[str]:
    limits = config.limits
    for name in ("message_max_bytes", "recovery_max_bytes"):
        if getattr(limits, name) > limits.outbox_max_bytes:
            yield f"limits.{name} is more than limits.outbox_max_bytes: what is that large reaches no client"
    if 0 < limits.outboxes_max_bytes < limits.outbox_max_bytes:
        yield "limits.outboxes_max_bytes is for all clients together, and less than limits.outbox_max_bytes for one"
