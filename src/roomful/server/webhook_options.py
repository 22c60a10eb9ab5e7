"""What may be set about a webhook: a `[webhooks.<name>]` table."""

from __future__ import annotations

import base64
import re
from typing import Literal, TypeAlias

import msgspec

SECRET_PREFIX = "whsec_"
"""Before the base64 of a secret. Source: Standard Webhooks specification, "Signature scheme"."""

EventName: TypeAlias = Literal["connect", "refresh", "subscribe", "sub_refresh", "publish", "rpc"]

_PASSWORD_IN_URL = re.compile(r"(?<=://)[^/@]*@")


class WebhookOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hooks that another service answers over HTTP, in place of functions in Python.

    url: where it is asked, by POST.
    events: what it is asked about.
    channel: for subscribe, sub_refresh and publish: only channels that match; `*` stands for any text.
    method: for rpc: only methods that match.
    secrets: sign each request, "whsec_" and base64; several while a new one takes over.
    forward_headers: of the client's HTTP request, such as "cookie"; no other one is handed on.
    timeout_s: for an answer, with everything that it takes; less than connection.hook_deadline_s.
    retries: further tries where asking twice is harmless.
    connections_max: to the service at once; further questions wait.
    """

    url: str = ""
    events: tuple[EventName, ...] = ()
    channel: str | None = None
    method: str | None = None
    secrets: tuple[str, ...] = ()
    forward_headers: tuple[str, ...] = ()
    timeout_s: float = 5.0
    retries: int = 1
    connections_max: int = 64

    @property
    def shown_url(self) -> str:
        """The URL without a password."""
        return _PASSWORD_IN_URL.sub("***@", self.url)

    @property
    def headers_forwarded(self) -> frozenset[str]:
        """In lower case."""
        return frozenset(name.lower() for name in self.forward_headers)

    def __rich_repr__(self) -> list[tuple[str, object]]:
        shown = {"url": self.shown_url, "secrets": tuple("***" for _ in self.secrets)}
        return [(name, shown.get(name, getattr(self, name))) for name in self.__struct_fields__]

    def __repr__(self) -> str:
        return f"WebhookOptions({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


def secret_bytes(secret: str) -> bytes:
    """The key of a signature. Raises ValueError with a reason that doesn't tell the secret."""
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(f'a secret begins with "{SECRET_PREFIX}"')
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        raise ValueError(f'a secret is base64 behind "{SECRET_PREFIX}"') from None
