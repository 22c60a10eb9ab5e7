"""The values that can be shared, and their one spelling.

The domain is JSON as every language holds it exactly: null, booleans, strings without lone surrogates, arrays, objects
with string keys, and numbers that are IEEE 754 doubles. A number without a fraction is an integer when it lies within
±(2^53 - 1), so 1.0 is 1 and -0.0 is 0. A Python int outside that range is refused and not rounded.

Inside the toolkit values are *frozen*: arrays are tuples, objects are dicts sorted by code point that are never handed
out. The same frozen value has the same bytes in every language: MessagePack in its shortest forms, and JSON without
spaces whose numbers are written as ECMAScript writes them (RFC 8785, section 3.2.2.3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from roomful.crdt.errors import InvalidValue

MAX_SAFE = 2**53 - 1
"""The largest integer that is exact in a double."""

MAX_DEPTH = 32
"""Arrays and objects inside each other in one value."""

Frozen: TypeAlias = Any
"""A frozen value; its shape depends on who made it."""

Element: TypeAlias = str | int | float | tuple[Any, ...]
"""What a set holds: strings, numbers, and tuples of elements. No objects, no booleans (Python takes True for 1)."""


def freeze(value: object, depth: int = MAX_DEPTH) -> Frozen:
    """The frozen copy of a value. Raises InvalidValue outside the domain. Costs the size of the value."""
    kind = type(value)
    if kind is str:
        return _text(value)  # type: ignore[arg-type]  # mypy doesn't narrow by `type(x) is`
    if value is None or kind is bool:
        return value
    if isinstance(value, int) and kind is int:
        if not -MAX_SAFE <= value <= MAX_SAFE:
            raise InvalidValue("an integer beyond ±(2^53 - 1) isn't exact in every language")
        return value
    if isinstance(value, float):
        return number(value)
    if depth == 0:
        raise InvalidValue("nested too deep")
    if isinstance(value, (list, tuple)):
        return tuple([freeze(each, depth - 1) for each in value])
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                raise InvalidValue(f"an object's key is a string, not {type(key).__name__}")
        return {_text(key): freeze(value[key], depth - 1) for key in sorted(value)}
    raise InvalidValue(f"not a JSON value: {kind.__name__}")


def freeze_element(value: object) -> Element:
    """The frozen form of a set's element, which can be hashed. Raises InvalidValue."""
    frozen: Element = freeze(value)
    if not is_element(frozen):
        raise InvalidValue("a set holds strings, numbers and tuples of them")
    return frozen


def is_element(frozen: Frozen) -> bool:
    """Whether a frozen value can be in a set."""
    kind = type(frozen)
    if kind is tuple:
        return all(is_element(each) for each in frozen)
    return kind is str or kind is int or kind is float


def thaw(frozen: Frozen) -> Any:
    """A copy for a reader, with lists and dicts of its own."""
    if type(frozen) is tuple:
        return [thaw(each) for each in frozen]
    if type(frozen) is dict:
        return {key: thaw(each) for key, each in frozen.items()}
    return frozen


def number(value: float) -> int | float:
    """The one form of a number. Raises InvalidValue for what isn't finite."""
    if not math.isfinite(value):
        raise InvalidValue("a number is finite")
    return int(value) if value.is_integer() and abs(value) <= MAX_SAFE else value


def _text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidValue("a string without lone surrogates is wanted") from None
    return value


packed = msgspec.msgpack.Encoder().encode
"""A frozen value's MessagePack."""


def written(frozen: Frozen) -> bytes:
    """A frozen value's JSON."""
    return msgspec.json.encode(_spelled(frozen))


def _spelled(frozen: Frozen) -> Any:
    if type(frozen) is float:
        return msgspec.Raw(_ecmascript(frozen).encode())
    if type(frozen) is tuple or type(frozen) is list:
        return [_spelled(each) for each in frozen]
    if type(frozen) is dict:
        return {key: _spelled(each) for key, each in frozen.items()}
    return frozen


def _ecmascript(value: float) -> str:
    """Number.prototype.toString: Python finds the same shortest digits and places point and exponent differently."""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    if 0 < point <= 21:
        text = digits.ljust(point, "0") if len(digits) <= point else f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        text = digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{point - 1:+d}"
    return "-" + text if value < 0 else text
