"""A configuration in plain words, for `roomful check`: what is open to whom. Never shows a secret."""

from __future__ import annotations

from collections.abc import Iterator

from roomful.auth.options import TokenOptions
from roomful.model.channel import DEFAULT_NAMESPACE, ChannelOptions, Right
from roomful.node.document_options import DocumentOptions
from roomful.node.rate_options import RateOptions
from roomful.server.config import ApiOptions, Config, ServerOptions, without_password
from roomful.server.config_check import warnings
from roomful.server.webhook_options import WebhookOptions

WHO = {
    Right.NOBODY: "whom a token or a hook lets",
    Right.SUBSCRIBER: "subscribers of the channel",
    Right.USER: "every user",
    Right.CLIENT: "everybody, anonymous too",
}


def explain(config: Config) -> str:
    """Lines for people: addresses, doors, each namespace, and what is probably not meant."""
    return "\n".join([*_server(config), *_webhooks(config), "", *_namespaces(config), *_warnings(config)])


def address(options: ServerOptions) -> str:
    """Where it listens, as a URL or as the path of a socket."""
    if options.uds is not None:
        return f"unix:{options.uds}"
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{'https' if options.tls_cert else 'http'}://{host}:{options.port}"


def _server(config: Config) -> Iterator[str]:
    yield f"Listens on   {address(config.server)}"
    yield f"Web pages    {', '.join(config.server.allowed_origins) or 'none (allowed_origins is empty)'}"
    yield f"Tokens       {', '.join(_keys(config.tokens)) or 'no key, so none is accepted'}"
    yield f"No token     {'may connect, anonymously' if config.tokens.anonymous else 'may connect if a hook says so'}"
    yield f"API          {_api(config.api)}"
    yield f"Metrics      {_metrics(config)}"
    yield f"Engine       {without_password(config.engine.url)}"
    yield from _rates(config.limits.rates)
    yield f"Documents    {_documents(config.documents)}"


def _rates(options: RateOptions) -> Iterator[str]:
    """A line for each of those who are counted: `Rates        each user: publish 10/s burst 30, connect 6/min`."""
    by_whom: dict[str, list[str]] = {}
    for by, command, rate in options.configured():
        by_whom.setdefault(by, []).append(f"{command} {rate}")
    for number, (by, rates) in enumerate(by_whom.items()):
        yield f"{'' if number else 'Rates':12} each {by}: {', '.join(rates)}"
    if not by_whom:
        yield "Rates        none: commands may come as fast as they do"


def _metrics(config: Config) -> str:
    if config.metrics.open:
        return "open to everybody"
    return "with a key" if config.metrics.keys or config.api.keys or config.api.key_files else "closed, no key is set"


def _documents(options: DocumentOptions) -> str:
    who = WHO[Right(options.access)]
    allowed = "" if options.access == "nobody" else f" ({options.rights})"
    return f"opened by {who}{allowed}; kept in {without_password(options.store)}"


def _webhooks(config: Config) -> Iterator[str]:
    for name, webhook in sorted(config.webhooks.items()):
        yield ""
        yield f"[webhooks.{name}] {webhook.shown_url}"
        yield f"  decides      {', '.join(_narrowed(webhook))}"
        yield f"  is told      {', '.join(sorted(webhook.headers_forwarded)) or 'no headers'} of the client's request"
        yield f"  signed       {'with ' + _count(len(webhook.secrets), 'secret') if webhook.secrets else 'no'}"
        tries = f"{webhook.timeout_s:g} s, {webhook.retries + 1} tries at most; publish and rpc once"
        yield f"  waits        {tries if webhook.retries else f'{webhook.timeout_s:g} s'}"


def _narrowed(webhook: WebhookOptions) -> Iterator[str]:
    for event in webhook.events:
        match event:
            case "subscribe" | "sub_refresh" | "publish" if webhook.channel is not None:
                yield f"{event} ({webhook.channel})"
            case "rpc" if webhook.method is not None:
                yield f"rpc ({webhook.method})"
            case _:
                yield event


def _api(options: ApiOptions) -> str:
    parts = [_count(len(options.keys), "key")] if options.keys else []
    if options.key_files:
        parts.append(f"those in {', '.join(options.key_files)}")
    return " and ".join(parts) or "closed, no key is set"


def _keys(options: TokenOptions) -> Iterator[str]:
    if options.hmac_secret:
        yield "hmac_secret (HS256, HS384, HS512)"
    if options.hmac_previous_secret:
        yield "hmac_previous_secret"
    if options.public_key:
        yield "public_key"
    if options.jwks_url:
        yield f"keys of {without_password(options.jwks_url)}"


def _namespaces(config: Config) -> Iterator[str]:
    if not config.namespaces:
        yield "No namespaces, so no channels."
    for name, options in sorted(config.namespaces.items()):
        example = "channels without a namespace" if name == DEFAULT_NAMESPACE else f"channels {name}:…"
        yield f"[namespaces.{name}] {example}"
        yield f"  subscribe    {WHO[Right(options.subscribe)]}"
        yield f"  publish      {WHO[options.publish]}"
        yield f"  history      {_history(options)}"
        yield f"  presence     {_presence(options)}"
        yield f"  slow client  {SLOW[options.slow_policy]}"
        if on_request := ", ".join(text for option, text in ON_REQUEST.items() if getattr(options, option)):
            yield f"  on request   {on_request}"


ON_REQUEST = {
    "delta": "what changed instead of all of it",
    "tags_filter": "only what has certain tags",
    "compact": "a number in place of the channel's name",
}

SLOW = {
    "resume": "reads from history what it missed, or is told of the gap",
    "latest": "gets the newest publication of each key",
    "close": "is disconnected",
}


def _history(options: ChannelOptions) -> str:
    if not options.has_history:
        return "none"
    recovery = "recovery for all" if options.recover else "positions for all" if options.position else "on request"
    if options.mode == "cache":
        recovery = "the newest at once for all"
    kept = f"{options.history_size} publications, {options.history_ttl_s:g} s"
    return f"{kept}; {recovery}; read by {WHO[options.history]}"


def _presence(options: ChannelOptions) -> str:
    told = {False: "", True: "; join and leave to whoever asks", "all": "; join and leave to all"}
    kept = f"kept; seen by {WHO[options.see_presence]}" if options.presence else "not kept"
    return kept + told[options.join_leave]


def _warnings(config: Config) -> Iterator[str]:
    found = warnings(config)
    if found:
        yield ""
        yield from (f"Warning: {warning}." for warning in found)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
