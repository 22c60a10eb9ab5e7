"""An error or an ending as an HTTP answer, for endpoints whose answer is not a connection.

{"error": {"code": 102, "message": "unknown channel"}}
"""

from __future__ import annotations

import math

from roomful.model.disconnects import DISCONNECTS, Disconnect
from roomful.model.errors import (
    Expired,
    Forbidden,
    InternalError,
    LimitExceeded,
    RoomfulError,
    TooManyRequests,
    Unauthorized,
)
from roomful.transports.negotiate import Refused

STATUS = {
    **{100: 500, 101: 401, 102: 404, 103: 403, 104: 404, 105: 400, 106: 400, 107: 400, 108: 404, 109: 401, 110: 401},
    **{111: 429, 112: 416, 113: 409},
}
"""By the codes of `model/errors.py`."""

OVERLOADED, APPLICATION = 503, 400

_ENDINGS: dict[str, type[RoomfulError]] = {
    "internal": InternalError,
    "expired": Expired,
    "subscription_expired": Expired,
    "too_many_requests": TooManyRequests,
    "invalid_token": Unauthorized,
    "revoked": Unauthorized,
    "bad_request": Unauthorized,  # so the rooms' protocol ends a client without credentials
    "connection_limit": TooManyRequests,
    "channel_limit": LimitExceeded,
    "permission_denied": Forbidden,
    "force_disconnect": Forbidden,
}
_ERROR_OF = {DISCONNECTS[name][0]: error for name, error in _ENDINGS.items()}


def refused(reason: RoomfulError | Disconnect) -> Refused:
    """The answer to a request that failed with this."""
    error = _of_ending(reason) if isinstance(reason, Disconnect) else reason
    retry_after_s = None if error.retry_after_s is None else math.ceil(error.retry_after_s)
    return Refused(_status(error), error.code, error.message, retry_after_s=retry_after_s)


def _status(error: RoomfulError) -> int:
    status = STATUS.get(error.code)
    if status is None:
        return OVERLOADED if error.temporary else APPLICATION
    return status


def _of_ending(ending: Disconnect) -> RoomfulError:
    kind = _ERROR_OF.get(ending.code)
    if kind is not None:
        return kind(ending.reason)
    return TooManyRequests(ending.reason, retry_after_s=1) if ending.reconnect else Forbidden(ending.reason)
