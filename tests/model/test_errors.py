from __future__ import annotations

import pytest

from roomful.model import errors
from roomful.model.errors import ApplicationError, RoomfulError

CODES = {
    "InternalError": 100,
    "Unauthorized": 101,
    "UnknownChannel": 102,
    "Forbidden": 103,
    "MethodNotFound": 104,
    "AlreadySubscribed": 105,
    "LimitExceeded": 106,
    "BadRequest": 107,
    "NotAvailable": 108,
    "TokenExpired": 109,
    "Expired": 110,
    "TooManyRequests": 111,
    "UnrecoverablePosition": 112,
    "VersionMismatch": 113,
}


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_the_codes_are_those_of_the_protocol(name: str, code: int) -> None:
    error = getattr(errors, name)()
    assert error.code == code
    assert error.message == error.text == str(error)
    assert error.temporary is (code in (100, 111))


def test_the_page_on_top_names_every_error() -> None:
    assert errors.__doc__ is not None
    for kind in RoomfulError.__subclasses__():
        assert kind.__name__ in errors.__doc__
    assert {kind.__name__ for kind in RoomfulError.__subclasses__()} == {*CODES, "ApplicationError"}


@pytest.mark.parametrize("code", [400, 1999])
def test_an_application_has_codes_of_its_own(code: int) -> None:
    error = ApplicationError(code, "out of stock", temporary=True)
    assert (error.code, error.message, error.temporary) == (code, "out of stock", True)
    assert (ApplicationError.code, ApplicationError.temporary) == (100, False)


@pytest.mark.parametrize("code", [0, 103, 399, 2000])
def test_an_application_cannot_take_ours(code: int) -> None:
    with pytest.raises(ValueError, match="400–1999"):
        ApplicationError(code, "x")
