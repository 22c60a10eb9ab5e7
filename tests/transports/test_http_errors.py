from __future__ import annotations

import pytest

from roomful.model import errors
from roomful.model.disconnects import DISCONNECTS, Disconnect
from roomful.model.errors import ApplicationError, RoomfulError, TooManyRequests
from roomful.transports.http_errors import STATUS, refused


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (errors.InternalError(), 500, 100),
        (errors.Unauthorized(), 401, 101),
        (errors.UnknownChannel(), 404, 102),
        (errors.Forbidden("mind your words"), 403, 103),
        (errors.LimitExceeded(), 400, 106),
        (errors.BadRequest(), 400, 107),
        (errors.NotAvailable(), 404, 108),
        (errors.TokenExpired(), 401, 109),
        (errors.Expired(), 401, 110),
        (errors.TooManyRequests(), 429, 111),
        (errors.UnrecoverablePosition(), 416, 112),
        (errors.VersionMismatch(), 409, 113),
        (ApplicationError(410, "gone"), 400, 410),
        (ApplicationError(410, "busy", temporary=True), 503, 410),
        (Disconnect(*DISCONNECTS["invalid_token"]), 401, 101),
        (Disconnect(*DISCONNECTS["bad_request"]), 401, 101),
        (Disconnect(*DISCONNECTS["permission_denied"]), 403, 103),
        (Disconnect(*DISCONNECTS["force_disconnect"]), 403, 103),
        (Disconnect(*DISCONNECTS["connection_limit"]), 429, 111),
        (Disconnect(*DISCONNECTS["expired"]), 401, 110),
        (Disconnect(*DISCONNECTS["force_reconnect"]), 429, 111),
        (Disconnect(4000, "later"), 429, 111),
        (Disconnect(4500, "never"), 403, 103),
    ],
)
def test_statuses(reason: RoomfulError | Disconnect, status: int, code: int) -> None:
    answer = refused(reason)
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["Content-Type"] == "application/json"
    assert b'"code":%d' % code in answer.body


def test_every_error_of_the_table_has_a_status() -> None:
    kinds = [kind for kind in RoomfulError.__subclasses__() if kind is not ApplicationError]
    assert {kind.code for kind in kinds} == set(STATUS)


def test_when_to_try_again() -> None:
    answer = refused(TooManyRequests(retry_after_s=1.2))
    assert answer.headers["Retry-After"] == "2"
    assert b'"retry_after":2' in answer.body
