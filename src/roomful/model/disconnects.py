"""The endings of a subscription and of a connection: code, reason, and whether the client comes back.

Clients decide by the number alone: 3500–3999 and 4500–4999 are terminal, from every other code they come back;
an unsubscribe from 2500 on makes them subscribe again. Source: Centrifuge protocol, sections 17.2 and 17.3. 4503 and
2001 are Roomful's own, from the ranges left to servers.
"""

from __future__ import annotations

REASON_MAX_BYTES = 123
"""What fits into the close frame of a WebSocket beside the code. Source: RFC 6455, section 5.5."""


class Disconnect(Exception):
    """Ends a connection. A hook may raise it too, with a code of its own in 4000–4999.

    code: the close code. reason: at most 123 bytes of UTF-8, never empty (clients need it to believe the code).
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    @property
    def reconnect(self) -> bool:
        """Whether the client comes back by itself."""
        return not (3500 <= self.code <= 3999 or 4500 <= self.code <= 4999)

    def __repr__(self) -> str:
        return f"Disconnect({self.code}, {self.reason!r})"


class Unsubscribe(Exception):
    """Ends a subscription, seen from the server. code: 2000–2999; from 2500 on the client subscribes again."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    @property
    def resubscribe(self) -> bool:
        """Whether the client subscribes again by itself."""
        return self.code >= 2500

    def __repr__(self) -> str:
        return f"Unsubscribe({self.code}, {self.reason!r})"


DISCONNECTS: dict[str, tuple[int, str]] = {
    "closed": (3000, "connection closed"),
    "shutdown": (3001, "shutdown"),
    "internal": (3004, "internal server error"),
    "expired": (3005, "connection expired"),
    "subscription_expired": (3006, "subscription expired"),
    "slow": (3008, "slow"),
    "write_error": (3009, "write error"),
    "insufficient_state": (3010, "insufficient state"),
    "force_reconnect": (3011, "force reconnect"),
    "no_pong": (3012, "no pong"),
    "too_many_requests": (3013, "too many requests"),
    "state_invalidated": (3014, "state invalidated"),
    "invalid_token": (3500, "invalid token"),
    "bad_request": (3501, "bad request"),
    "stale": (3502, "stale"),
    "force_disconnect": (3503, "force disconnect"),
    "connection_limit": (3504, "connection limit"),
    "channel_limit": (3505, "channel limit"),
    "inappropriate_protocol": (3506, "inappropriate protocol"),
    "permission_denied": (3507, "permission denied"),
    "not_available": (3508, "not available"),
    "too_many_errors": (3509, "too many errors"),
    "revoked": (4503, "access revoked"),
}

UNSUBSCRIBES: dict[str, tuple[int, str]] = {
    "server": (2000, "server unsubscribe"),
    "revoked": (2001, "access revoked"),
    "insufficient_state": (2500, "insufficient state"),
    "subscription_expired": (2501, "subscription expired"),
    "state_invalidated": (2502, "state invalidated"),
}


def disconnect(name: str) -> Disconnect:
    """The disconnect of that name in the table; KeyError for a name that isn't there."""
    return Disconnect(*DISCONNECTS[name])


def unsubscribe(name: str) -> Unsubscribe:
    """The unsubscribe of that name in the table; KeyError for a name that isn't there."""
    return Unsubscribe(*UNSUBSCRIBES[name])
