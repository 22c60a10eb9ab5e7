"""The tree of errors.

RoomfulError                  answers one command or call; has `code` and `temporary`
├── InternalError        100  ours; temporary
├── Unauthorized         101
├── UnknownChannel       102  its namespace doesn't exist
├── Forbidden            103
├── MethodNotFound       104
├── AlreadySubscribed    105
├── LimitExceeded        106
├── BadRequest           107
├── NotAvailable         108
├── TokenExpired         109
├── Expired              110
├── TooManyRequests      111  temporary
├── UnrecoverablePosition 112
├── VersionMismatch      113  a conditional edit of a document that has changed
└── ApplicationError     400–1999, a hook's own
InvalidToken                  a token that can never be accepted (bad signature, claims, audience …)
WireError                     the peer's bytes make no sense
Unencodable                   a payload can't be spelled in this client's encoding
ConfigError                   the configuration makes no sense

The endings of a subscription (`Unsubscribe`) and of a connection (`Disconnect`) stand in `disconnects.py`.
Source of the codes: Centrifuge protocol, section 17.1.
"""

from __future__ import annotations

from typing import ClassVar


class RoomfulError(Exception):
    """Answers one command with its code; costs nothing else.

    The sentence given to the constructor is for people; the code is for programs.
    """

    code: int = 100
    temporary: bool = False
    text: ClassVar[str] = "internal server error"

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        self.message = message or self.text
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


class InternalError(RoomfulError):
    code, temporary, text = 100, True, "internal server error"


class Unauthorized(RoomfulError):
    code, text = 101, "unauthorized"


class UnknownChannel(RoomfulError):
    code, text = 102, "unknown channel"


class Forbidden(RoomfulError):
    code, text = 103, "permission denied"


class MethodNotFound(RoomfulError):
    code, text = 104, "method not found"


class AlreadySubscribed(RoomfulError):
    code, text = 105, "already subscribed"


class LimitExceeded(RoomfulError):
    code, text = 106, "limit exceeded"


class BadRequest(RoomfulError):
    code, text = 107, "bad request"


class NotAvailable(RoomfulError):
    code, text = 108, "not available"


class TokenExpired(RoomfulError):
    """user: whom the signed token names, where that is known; for who looks into it, not for the client."""

    code, text = 109, "token expired"
    user = ""


class Expired(RoomfulError):
    code, text = 110, "expired"


class TooManyRequests(RoomfulError):
    code, temporary, text = 111, True, "too many requests"


class UnrecoverablePosition(RoomfulError):
    code, text = 112, "unrecoverable position"


class VersionMismatch(RoomfulError):
    code, text = 113, "version mismatch"


class ApplicationError(RoomfulError):
    """An error of the application's own, raised by a hook; the client gets code and message as they are.

    Raises ValueError for a code outside 400–1999.
    """

    text = "application error"

    def __init__(self, code: int, message: str, *, temporary: bool = False) -> None:
        if not 400 <= code <= 1999:
            raise ValueError(f"an application's error code lies in 400–1999, got {code}")
        super().__init__(message)
        self.code = code
        self.temporary = temporary


class InvalidToken(Exception):
    """A token that can never be accepted. The message is for the log and never holds the token."""


class WireError(Exception):
    """The peer sent bytes that aren't its protocol. Its own mistake: it ends the connection with 3501."""


class Unencodable(Exception):
    """A payload that this client's encoding can't carry (not JSON, for a JSON client): ends it with 3506."""


class ConfigError(Exception):
    """The configuration can't be used. The message names where, the key and why, on one line."""
