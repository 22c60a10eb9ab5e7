"""Hooks answered by another service over HTTP.

A webhook is a hook like a function in Python: the same patterns, the same replies, the same order of who decides. A
service that is down, slow or makes no sense fails one command with error 100 and a line in the log.

Each request is signed as the Standard Webhooks specification says (headers `webhook-id`, `webhook-timestamp`,
`webhook-signature`), so that services verify it with a library that exists.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import httpx
import msgspec

from roomful.model.errors import ConfigError, InternalError
from roomful.node.hooks import HOOKS, Hooks
from roomful.node.stats import Stats
from roomful.server.webhook_options import EventName, WebhookOptions, secret_bytes
from roomful.server.webhook_words import QUESTIONS, BadAnswer, read_answer

log = logging.getLogger("roomful.webhooks")

ANSWER_MAX_BYTES = 1_048_576

KEEPALIVE_S = 2.0
"""An idle connection isn't used again after this long. Below the 5 s after which uvicorn and Node.js close theirs: a
request on one that is just being closed is lost, and a publish or an rpc can't be asked again."""

RETRY_PAUSE_S = 0.1
"""Before the first retry, then twice as long before each further one."""

PASSING = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
"""A proxy's word that the service may be back in a moment."""


class Failed(Exception):
    """One try brought no answer. before: it never reached the service. passing: the next one may fare better."""

    def __init__(self, reason: str, *, before: bool = False, passing: bool = False) -> None:
        super().__init__(reason)
        self.before = before
        self.passing = passing


class Webhooks:
    """All webhooks of a server: puts them among the hooks, and takes them away. Raises ConfigError for a second hook
    for the same event and pattern."""

    def __init__(self, options: Mapping[str, WebhookOptions], hooks: Hooks, stats: Stats) -> None:
        self._hooks = hooks
        self._services = {name: Service(name, each) for name, each in options.items()}
        self._webhooks: list[Webhook] = []
        try:
            for name, each in options.items():
                for event in each.events:
                    self._add(Webhook(self._services[name], event, stats), each)
        except ConfigError as error:
            self._detach()
            raise ConfigError(f"webhooks.{name}: {error}") from None

    async def close(self) -> None:
        """From now on nobody is asked any more."""
        self._detach()
        for service in self._services.values():
            await service.close()

    def _add(self, webhook: Webhook, options: WebhookOptions) -> None:
        narrowed_by = HOOKS[webhook.question.event].narrowed_by
        self._hooks.add(webhook.question.event, getattr(options, narrowed_by) if narrowed_by else None, webhook)
        self._webhooks.append(webhook)

    def _detach(self) -> None:
        for webhook in self._webhooks:
            self._hooks.remove(webhook)


class Webhook:
    """A hook: called with an event, answers with the reply or raises what the service refuses with."""

    def __init__(self, service: Service, name: EventName, stats: Stats) -> None:
        self.name = name
        self.question = QUESTIONS[name]
        self._service = service
        self._stats = stats

    async def __call__(self, event: Any) -> Any:
        body = msgspec.json.encode(self.question.body(event))
        # Before the connect has ended, the event itself has all headers; later only those that are forwarded are kept.
        headers = getattr(event, "headers", event.via.headers)
        try:
            answer = await self._service.ask(self.name, body, headers, self.question.deciding)
            return read_answer(self.question, answer)
        except (Failed, BadAnswer) as failure:
            self._stats.count_hook_error(type(event).__name__)
            log.warning("webhook %s, asked about a %s: %s", self._service.name, self.name, failure)
            raise InternalError from None

    def __repr__(self) -> str:
        return f"<webhook {self._service.name} for {self.name}>"


class Service:
    """The service of one webhook. clock: seconds since 1970."""

    def __init__(self, name: str, options: WebhookOptions, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self._options = options
        self._keys = [secret_bytes(secret) for secret in options.secrets]
        self._forwarded = options.headers_forwarded
        self._clock = clock
        # In front of the pool, whose own queue takes a time that grows with the square of those who wait.
        self._free = asyncio.Semaphore(options.connections_max)
        self._client = _client(options)

    async def ask(self, event: str, body: bytes, headers: Mapping[str, str], deciding: bool) -> bytes:
        """The body of the answer. deciding: may be asked twice also where it may have been understood once.

        Raises Failed.
        """
        identity = f"msg_{uuid.uuid4().hex}"  # the same in each try, so that a service may know it again
        try:
            async with asyncio.timeout(self._options.timeout_s), self._free:
                for tries_left in range(self._options.retries, -1, -1):
                    try:
                        return await self._try(event, identity, body, headers)
                    except Failed as failure:
                        if not tries_left or not (failure.before or (failure.passing and deciding)):
                            raise
                    await asyncio.sleep(RETRY_PAUSE_S * 2 ** (self._options.retries - tries_left))
        except TimeoutError:
            raise Failed(f"no answer within {self._options.timeout_s:g} s") from None
        raise AssertionError("the last try returns or raises")

    async def close(self) -> None:
        await self._client.aclose()

    async def _try(self, event: str, identity: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        sent = {
            **{name: headers[name] for name in self._forwarded if name in headers},
            "content-type": "application/json",
            "accept-encoding": "identity",
            "roomful-event": event,
            **self._signed(identity, body),
        }
        raw = [(name.encode("ascii"), value.encode("latin-1", "replace")) for name, value in sent.items()]
        try:
            async with self._client.stream("POST", self._options.url, content=body, headers=raw) as response:
                return await _answer(response)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Failed(f"can't be reached: {_reason(error)}", before=True, passing=True) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failed(f"the connection broke: {_reason(error)}", passing=True) from None

    def _signed(self, identity: str, body: bytes) -> dict[str, str]:
        timestamp = str(int(self._clock()))
        signed = {"webhook-id": identity, "webhook-timestamp": timestamp}
        content = f"{identity}.{timestamp}.".encode() + body
        signatures = [hmac.digest(key, content, hashlib.sha256) for key in self._keys]
        if signatures:
            signed["webhook-signature"] = " ".join(f"v1,{base64.b64encode(each).decode()}" for each in signatures)
        return signed


def _client(options: WebhookOptions) -> httpx.AsyncClient:
    """It follows no redirects and believes no environment: what is signed and forwarded goes to the address in the
    settings or nowhere."""
    most = options.connections_max
    return httpx.AsyncClient(
        limits=httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=KEEPALIVE_S),
        timeout=None,
        trust_env=False,
        follow_redirects=False,
        # The system's authorities, read now: that takes some 20 ms, which nobody's question should wait for.
        verify=ssl.create_default_context() if options.url.startswith("https:") else False,
    )


async def _answer(response: httpx.Response) -> bytes:
    if response.status_code != HTTPStatus.OK:
        raise Failed(f"answered with status {response.status_code}", passing=response.status_code in PASSING)
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Failed("answered in a compressed form, which it wasn't asked for")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > ANSWER_MAX_BYTES:
            raise Failed(f"answered with more than {ANSWER_MAX_BYTES} bytes")
    return bytes(body)


def _reason(error: Exception) -> str:
    """Without the URL, which may hold a password."""
    return type(error).__name__ if isinstance(error, httpx.InvalidURL) else f"{type(error).__name__} {error}".rstrip()
