"""HOT WebSocket frames: the bytes of a client in, whole messages and control frames out. Pure; RFC 6455 section 5 and,
where permessage-deflate was agreed on, RFC 7692 section 6."""

from __future__ import annotations

import codecs

try:
    from websockets.speedups import apply_mask
except ImportError:  # no C function for this platform: the same in Python, ten times slower at 60 KB
    from websockets.utils import apply_mask

from roomful.model.errors import WireError
from roomful.wire.deflate import TooLong, inflated

TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

_FINAL = 0x80
_CONTROL = 0x08
_COMPRESSED = 0x40
_OPCODE = 0x0F
_FIRST_BYTES = frozenset({0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A})
_FIRST_BYTES_DEFLATE = _FIRST_BYTES | {0x41, 0x42, 0xC1, 0xC2}
_REASON_MAX_BYTES = 123

_REGISTERED_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
"""Below 3000, those that may stand in a close frame. Source: RFC 6455 section 7.4 and the registry that it opens."""

INFLATED_RATIO, INFLATED_MESSAGES = 16, 8

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class Violation(Exception):
    """The peer broke the protocol. code: the close code to answer with. reason: what it did, short."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class FrameReader:
    """Reads one client's frames, however TCP has cut them.

    Between messages it holds nothing; in the middle of one, what has come of it. A message longer than
    `max_message_bytes`, over all its fragments, is a violation (1009) as soon as a header announces it; text that isn't
    UTF-8 (1007) as soon as the wrong byte is here.

    deflate: messages may be compressed. The limit then holds for both of their lengths, and what doesn't inflate is
    1007, when the message is whole. Nor may what comes at once inflate to more than `INFLATED_RATIO` times as much and
    `INFLATED_MESSAGES` of the largest messages: else 256 KiB of bombs, each within the limit, would take 170 MB.
    """

    __slots__ = (
        "_compressed",
        "_deaf",
        "_final",
        "_first_bytes",
        "_inflatable",
        "_mask",
        "_max_bytes",
        "_message",
        "_missing",
        "_opcode",
        "_rest",
        "_utf8",
        "violation",
    )

    def __init__(self, max_message_bytes: int, deflate: bool = False) -> None:
        self._max_bytes = max_message_bytes
        self._first_bytes = _FIRST_BYTES_DEFLATE if deflate else _FIRST_BYTES
        self._rest = b""  # a header, or a control frame, that isn't whole yet
        self._message: bytearray | None = None  # what has come of a message that isn't whole yet
        self._opcode = 0  # the kind of that message
        self._compressed = False  # whether it is
        self._inflatable = 0  # bytes that may still come of what is being read
        self._utf8: codecs.IncrementalDecoder | None = None  # checks it, if it is text
        self._missing = 0  # bytes to come of the frame that is being read
        self._mask = b""
        self._final = False  # whether that frame is the message's last
        self._deaf = False
        self.violation: Violation | None = None

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """(TEXT | BINARY | PING | PONG | CLOSE, payload) of all that became whole, in order.

        After a violation, `violation` is set. After one, and after a close frame, everything is ignored.
        """
        frames: list[tuple[int, bytes]] = []
        if not self._deaf:
            self._inflatable = INFLATED_RATIO * len(data) + INFLATED_MESSAGES * self._max_bytes
            try:
                self._read(data, frames)
            except Violation as violation:
                self.violation = violation
                self._ignore_the_rest()
        return frames

    def _read(self, data: bytes, frames: list[tuple[int, bytes]]) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        end = len(data)
        at = self._payload(data, 0, frames) if self._missing else 0
        while end - at >= 2:
            first = data[at]
            length = data[at + 1] - 128
            if first not in self._first_bytes or length < 0 or (first & _CONTROL and length > 125):
                raise _bad_header(first, length)
            body = at + 6
            if length > 125:
                body += 2 if length == 126 else 8
                if end < body - 4:
                    break
                length = _long_length(data[at + 2 : body - 4])
            if first & _CONTROL:
                if end < body + length:
                    break
                self._control(first & _OPCODE, apply_mask(data[body : body + length], data[body - 4 : body]), frames)
                at = end if self._deaf else body + length
            elif first > _FINAL and self._message is None and body + length <= end and length <= self._max_bytes:
                payload = apply_mask(data[body : body + length], data[body - 4 : body])
                if first & _COMPRESSED:
                    payload = self._inflated(payload)
                if first & TEXT and not payload.isascii():
                    _check_utf8(payload)
                frames.append((first & _OPCODE, payload))
                at = body + length
            else:
                self._check_order_and_size(first, length)
                if end < body:
                    break
                self._begin(first, length, data[body - 4 : body])
                at = self._payload(data, body, frames)
        if at < end:
            self._rest = data[at:]

    def _control(self, opcode: int, payload: bytes, frames: list[tuple[int, bytes]]) -> None:
        if opcode == CLOSE:
            parse_close(payload)
            self._ignore_the_rest()
        frames.append((opcode, payload))

    def _check_order_and_size(self, first: int, length: int) -> None:
        if self._message is None and not first & _OPCODE:
            raise Violation(1002, "a continuation of nothing")
        if self._message is not None and first & _OPCODE:
            raise Violation(1002, "a new message inside another one")
        if len(self._message or b"") + length > self._max_bytes:
            raise Violation(1009, f"message longer than {self._max_bytes} bytes")

    def _begin(self, first: int, length: int, mask: bytes) -> None:
        """A frame that isn't whole, or not a whole message, starts here."""
        if self._message is None:
            self._message = bytearray()
            self._opcode = first & _OPCODE
            self._compressed = bool(first & _COMPRESSED)
            self._utf8 = _Utf8Decoder() if first & TEXT and not self._compressed else None
        self._missing = length
        self._mask = mask
        self._final = first >= _FINAL

    def _payload(self, data: bytes, at: int, frames: list[tuple[int, bytes]]) -> int:
        """Takes what there is of the frame's payload; where it ends."""
        assert self._message is not None
        masked = data[at : at + self._missing]
        size = len(masked)
        self._missing -= size
        payload = apply_mask(masked, self._mask)
        self._mask = self._mask[size % 4 :] + self._mask[: size % 4]
        self._message += payload
        whole = self._final and not self._missing
        if self._utf8 is not None:
            _check_utf8(payload, self._utf8, whole)
        if whole:
            message = bytes(self._message)
            if self._compressed:
                message = self._inflated(message)
                if self._opcode == TEXT:
                    _check_utf8(message)
            frames.append((self._opcode, message))
            self._message = self._utf8 = None
        return at + size

    def _inflated(self, data: bytes) -> bytes:
        try:
            message = inflated(data, self._max_bytes)
        except TooLong:
            raise Violation(1009, f"message longer than {self._max_bytes} bytes") from None
        except WireError:
            raise Violation(1007, "what is compressed can't be read") from None
        self._inflatable -= len(message)
        if self._inflatable < 0:
            raise Violation(1009, "too much comes at once when it is inflated")
        return message

    def _ignore_the_rest(self) -> None:
        self._deaf = True
        self._message = self._utf8 = None
        self._rest = b""
        self._missing = 0


def control_frame(opcode: int, payload: bytes = b"") -> bytes:
    """An unmasked control frame of a server. payload: at most 125 bytes."""
    return bytes((_FINAL | opcode, len(payload))) + payload


def close_frame(code: int, reason: str) -> bytes:
    """A server's close frame."""
    return control_frame(CLOSE, code.to_bytes(2, "big") + close_reason(reason).encode())


def close_reason(reason: str) -> str:
    """The reason, cut at a character to what fits into a close frame."""
    return reason.encode("utf-8", "replace")[:_REASON_MAX_BYTES].decode("utf-8", "ignore")


def parse_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a close frame; 1005 and "" for an empty one. Raises Violation."""
    if not payload:
        return 1005, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (3000 <= code <= 4999 or code in _REGISTERED_CODES):
        raise Violation(1002, "invalid close code")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise Violation(1007, "close reason isn't UTF-8") from None


def _check_utf8(payload: bytes, decoder: codecs.IncrementalDecoder | None = None, last: bool = True) -> None:
    try:
        if decoder is None:
            payload.decode()
        else:
            decoder.decode(payload, last)
    except UnicodeDecodeError:
        raise Violation(1007, "text isn't UTF-8") from None


def _bad_header(first: int, length: int) -> Violation:
    """Why the first two bytes of a frame can't be; length: of the second byte, negative without a mask."""
    if first & 0x70:
        return Violation(1002, "reserved bits are set")
    if first & _OPCODE not in (0x0, TEXT, BINARY, CLOSE, PING, PONG):
        return Violation(1002, "unknown opcode")
    if length < 0:
        return Violation(1002, "frame without mask")
    return Violation(1002, "control frame in fragments" if first < _FINAL else "control frame longer than 125 bytes")


def _long_length(field: bytes) -> int:
    """The length in 2 or 8 bytes; the shortest form is a must."""
    length = int.from_bytes(field, "big")
    if length < (126 if len(field) == 2 else 65_536) or length >> 63:
        raise Violation(1002, "invalid payload length")
    return length
