"""lib0: integers of variable length, strings and byte strings, as all Yjs protocols spell them.

Source: Yjs protocols, section 2.
"""

from __future__ import annotations

from roomful.model.errors import WireError

_MAX_SHIFT = 49  # eight groups of seven bits: 2^53 - 1 needs no more


def uint(value: int) -> bytes:
    """A number of 0 to 2^53 - 1: seven bits a byte, the lowest first, bit 7 set on all but the last."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def byte_string(value: bytes) -> bytes:
    """Length and bytes."""
    return uint(len(value)) + value


def string(value: str) -> bytes:
    """Length in bytes and UTF-8."""
    return byte_string(value.encode())


class Reader:
    """Reads a message from its beginning. Every method raises WireError where the bytes end too early."""

    __slots__ = ("_data", "at")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self.at

    def uint(self) -> int:
        """Also raises WireError above 2^53 - 1."""
        value = shift = 0
        data, at = self._data, self.at
        while True:
            if at >= len(data):
                raise WireError("a number is cut off")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > _MAX_SHIFT:
                raise WireError("a number of more than 53 bits")
        if value >> 53:
            raise WireError("a number of more than 53 bits")
        self.at = at
        return value

    def byte_string(self) -> bytes:
        size = self.uint()
        if size > self.left:
            raise WireError("a byte string is cut off")
        start, self.at = self.at, self.at + size
        return self._data[start : self.at]

    def string(self) -> str:
        """Also raises WireError for what isn't UTF-8."""
        try:
            return self.byte_string().decode()
        except UnicodeDecodeError:
            raise WireError("a string isn't UTF-8") from None
