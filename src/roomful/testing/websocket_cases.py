"""What a WebSocket server has to do with each kind of bytes: RFC 6455 as a table.

Every case is for an endpoint that echoes. The numbers before the names are those of the sections of the Autobahn test
suite that look at the same thing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from roomful.testing.raw_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_payload, frame

LARGE = 65_536


@dataclass(frozen=True)
class Case:
    """segments: what the client sends, each as its own TCP segment. answers: the frames that must come, in order.

    code: of the close frame that must follow; None when the connection must go on.
    """

    name: str
    segments: tuple[bytes, ...]
    answers: tuple[tuple[int, bytes], ...] = ()
    code: int | None = None

    def __str__(self) -> str:
        return self.name


def all_cases() -> list[Case]:
    return [
        *_messages(),
        *_pings(),
        *_reserved_bits(),
        *_opcodes(),
        *_headers(),
        *_fragments(),
        *_good_text(),
        *_bad_text(),
        *_closing(),
        *_close_codes(),
    ]


def deflate_cases() -> list[Case]:
    """For a connection on which permessage-deflate without context takeover was agreed on: RFC 7692.

    The answers are told as they are when inflated."""
    return [*_compressed(), *_badly_compressed()]


def chopped(data: bytes, size: int = 1) -> tuple[bytes, ...]:
    return tuple(data[at : at + size] for at in range(0, len(data), size))


def _messages() -> Iterator[Case]:
    for opcode, kind, unit in ((TEXT, "text", b"*"), (BINARY, "binary", b"\xfe")):
        for size in (0, 1, 125, 126, 127, 128, 65_535, LARGE):
            payload = unit * size
            yield Case(f"1 {kind} of {size}", (frame(opcode, payload),), ((opcode, payload),))
            if size <= 128:
                yield Case(f"1 {kind} of {size}, octet-wise", chopped(frame(opcode, payload)), ((opcode, payload),))
        payload = unit * LARGE
        yield Case(
            f"1 {kind} of {LARGE} in segments of 997", chopped(frame(opcode, payload), 997), ((opcode, payload),)
        )
    three = tuple(frame(TEXT, word) for word in (b"one", b"two", b"three"))
    echoes = ((TEXT, b"one"), (TEXT, b"two"), (TEXT, b"three"))
    yield Case("1 three messages in three segments", three, echoes)
    yield Case("1 three messages in one segment", (b"".join(three),), echoes)


def _pings() -> Iterator[Case]:
    payloads = {
        "without payload": b"",
        "with text": b"Hello, world!",
        "with bytes": b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff",
        "of 125": b"\xfe" * 125,
    }
    for name, payload in payloads.items():
        yield Case(f"2 ping {name}", (frame(PING, payload),), ((PONG, payload),))
        yield Case(f"2 ping {name}, octet-wise", chopped(frame(PING, payload)), ((PONG, payload),))
    yield Case("2 ping of 126", (frame(PING, b"\xfe" * 126),), (), 1002)
    yield Case("2 pong unasked for", (frame(PONG),))
    yield Case("2 pong unasked for, with payload", (frame(PONG, b"unsolicited"),))
    yield Case("2 pong, then ping", (frame(PONG, b"unsolicited"), frame(PING, b"ping")), ((PONG, b"ping"),))
    ten = [frame(PING, b"payload-%d" % number) for number in range(10)]
    pongs = tuple((PONG, b"payload-%d" % number) for number in range(10))
    yield Case("2 ten pings", tuple(ten), pongs)
    yield Case("2 ten pings in one segment", (b"".join(ten),), pongs)
    yield Case("2 ten pings, octet-wise", chopped(b"".join(ten)), pongs)


def _reserved_bits() -> Iterator[Case]:
    for bits in range(1, 8):
        bad = frame(TEXT, b"small", reserved=bits)
        yield Case(f"3 reserved bits {bits}", (bad,), (), 1002)
        yield Case(f"3 reserved bits {bits}, octet-wise", chopped(bad), (), 1002)
        yield Case(
            f"3 a message, then reserved bits {bits}, then a ping, in one segment",
            (frame(TEXT, b"good") + bad + frame(PING),),
            ((TEXT, b"good"),),
            1002,
        )
    for opcode, kind in ((BINARY, "binary"), (PING, "ping"), (PONG, "pong"), (CLOSE, "close")):
        yield Case(f"3 reserved bits 4 on {kind}", (frame(opcode, reserved=4),), (), 1002)


def _opcodes() -> Iterator[Case]:
    for opcode in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF):
        for name, payload in (("", b""), (" with payload", b"reserved")):
            bad = frame(opcode, payload)
            yield Case(f"4 opcode {opcode:#x}{name}", (bad,), (), 1002)
        good = frame(TEXT, b"good")
        yield Case(f"4 a message, then opcode {opcode:#x}", (good, bad, frame(PING)), ((TEXT, b"good"),), 1002)
        yield Case(f"4 a message with opcode {opcode:#x}, in one segment", (good + bad,), ((TEXT, b"good"),), 1002)


def _headers() -> Iterator[Case]:
    """Not in Autobahn's suite: what stands in the header besides."""
    yield Case("header: text without mask", (frame(TEXT, b"bare", mask=None),), (), 1002)
    yield Case("header: ping without mask", (frame(PING, mask=None),), (), 1002)
    yield Case("header: mask of zeros", (frame(TEXT, b"zeros", mask=b"\0\0\0\0"),), ((TEXT, b"zeros"),))
    yield Case("header: 16-bit length for 125", (b"\x82\xfe\x00\x7d" + b"\0" * 129,), (), 1002)
    yield Case("header: 64-bit length for 65535", (b"\x82\xff" + (65_535).to_bytes(8, "big") + b"\0" * 4,), (), 1002)
    yield Case("header: 64-bit length with the highest bit", (b"\x82\xff\x80" + b"\0" * 7 + b"\0" * 4,), (), 1002)
    yield Case("header: close of 126", (frame(CLOSE, close_payload(1000, b"*" * 124)),), (), 1002)


def _fragments() -> Iterator[Case]:
    start, middle, end = (
        frame(TEXT, b"frag", final=False),
        frame(CONTINUATION, b"ment", final=False),
        frame(CONTINUATION, b"ed"),
    )
    whole = (TEXT, b"fragmented")
    ping, pong = frame(PING, b"between"), (PONG, b"between")
    yield Case("5 ping in fragments", (frame(PING, b"a", final=False), frame(CONTINUATION, b"b")), (), 1002)
    yield Case("5 pong in fragments", (frame(PONG, b"a", final=False), frame(CONTINUATION, b"b")), (), 1002)
    yield Case("5 close in fragments", (frame(CLOSE, close_payload(1000), final=False),), (), 1002)
    orders = {
        "two fragments": ([frame(TEXT, b"fragment", final=False), end], (whole,)),
        "three fragments": ([start, middle, end], (whole,)),
        "ping between fragments": ([start, ping, middle, end], (pong, whole)),
        "pings between all fragments": ([ping, start, ping, middle, ping, end, ping], (pong, pong, pong, whole, pong)),
        "pong between fragments": ([start, frame(PONG, b"x"), middle, end], (whole,)),
        "empty first fragment": ([frame(TEXT, final=False), frame(CONTINUATION, b"fragmented")], (whole,)),
        "empty last fragment": ([frame(TEXT, b"fragmented", final=False), frame(CONTINUATION)], (whole,)),
        "empty fragments only": (
            [frame(TEXT, final=False), frame(CONTINUATION, final=False), frame(CONTINUATION)],
            ((TEXT, b""),),
        ),
        "empty fragment in the middle": ([start, frame(CONTINUATION, final=False), middle, end], (whole,)),
        "two messages of fragments": ([start, middle, end, start, middle, end], (whole, whole)),
    }
    for name, (frames, answers) in orders.items():
        yield Case(f"5 {name}", tuple(frames), answers)
        yield Case(f"5 {name}, in one segment", (b"".join(frames),), answers)
        yield Case(f"5 {name}, octet-wise", chopped(b"".join(frames)), answers)
    bad = {
        "continuation of nothing": ([end], ()),
        "unfinished continuation of nothing": ([middle, frame(TEXT, b"x")], ()),
        "continuation after a whole message": ([frame(TEXT, b"whole"), end], ((TEXT, b"whole"),)),
        "text inside fragments": ([start, frame(TEXT, b"x")], ()),
        "binary inside fragments": ([start, frame(BINARY, b"x")], ()),
        "unfinished text inside fragments": ([start, middle, start], ()),
        "close of 126 inside fragments": ([start, frame(CLOSE, b"*" * 126)], ()),
    }
    for name, (frames, answers) in bad.items():
        yield Case(f"5 {name}", tuple(frames), answers, 1002)
        yield Case(f"5 {name}, in one segment", (b"".join(frames),), answers, 1002)
    yield Case("5 close inside fragments", (start, frame(CLOSE, close_payload(1000))), (), 1000)


# Valid UTF-8: borders of each length, the characters around the surrogates, non-characters (which are valid).
_GOOD_TEXT = {
    "greek": "κόσμε",
    "mixed": "Hello-µ@ßöäüàá-UTF-8!!",
    "emoji": "👩‍👩‍👧",
    "null": "\0",
    "first of 2": "\u0080",
    "last of 2": "\u07ff",
    "first of 3": "\u0800",
    "before surrogates": "\ud7ff",
    "after surrogates": "\ue000",
    "replacement": "\ufffd",
    "non-character fffe": "\ufffe",
    "last of 3": "\uffff",
    "first of 4": "\U00010000",
    "non-character 1fffe": "\U0001fffe",
    "last of 4": "\U0010ffff",
    "byte order mark": "\ufeffbom",
}

_GOOD_PREFIX = "κόσμε".encode()

_BAD_TEXT = {
    "first continuation": b"\x80",
    "last continuation": b"\xbf",
    "six continuations": b"\x80\xbf\x80\xbf\x80\xbf",
    "lonely start of 2": b"\xc3 ",
    "lonely start of 3": b"\xe1 ",
    "lonely start of 4": b"\xf1 ",
    "2 of 3": b"\xe1\x80 ",
    "3 of 4": b"\xf1\x80\x80 ",
    "overlong 2": b"\xc0\xaf",
    "overlong 2, last": b"\xc1\xbf",
    "overlong 3": b"\xe0\x80\xaf",
    "overlong 3, last": b"\xe0\x9f\xbf",
    "overlong 4": b"\xf0\x80\x80\xaf",
    "overlong 4, last": b"\xf0\x8f\xbf\xbf",
    "overlong null": b"\xc0\x80",
    "first high surrogate": b"\xed\xa0\x80",
    "last low surrogate": b"\xed\xbf\xbf",
    "surrogate pair": b"\xed\xa0\x81\xed\xb0\x80",
    "after the last": b"\xf4\x90\x80\x80",
    "start of 5": b"\xf8\x88\x80\x80\x80",
    "start of 6": b"\xfc\x84\x80\x80\x80\x80",
    "fe": b"\xfe",
    "ff": b"\xff",
    "latin-1": b"caf\xe9 au lait",
}


def _good_text() -> Iterator[Case]:
    for name, text in _GOOD_TEXT.items():
        payload = text.encode()
        answers = ((TEXT, payload),)
        yield Case(f"6 {name}", (frame(TEXT, payload),), answers)
        yield Case(f"6 {name}, octet-wise", chopped(frame(TEXT, payload)), answers)
        for at in range(len(payload) + 1):
            halves = (frame(TEXT, payload[:at], final=False), frame(CONTINUATION, payload[at:]))
            yield Case(f"6 {name}, fragments split at {at}", halves, answers)
    payload = "κόσμε€😀".encode()
    each = [frame(CONTINUATION, payload[at : at + 1], final=at + 1 == len(payload)) for at in range(1, len(payload))]
    fragments = (frame(TEXT, payload[:1], final=False), *each)
    yield Case("6 a fragment for each octet", fragments, ((TEXT, payload),))


def _bad_text() -> Iterator[Case]:
    for name, wrong in _BAD_TEXT.items():
        payload = _GOOD_PREFIX + wrong + b"edited"
        yield Case(f"6 bad: {name}", (frame(TEXT, payload),), (), 1007)
        yield Case(f"6 bad: {name}, alone", (frame(TEXT, wrong),), (), 1007)
        yield Case(f"6 bad: {name}, octet-wise", chopped(frame(TEXT, payload)), (), 1007)
        for at in range(len(_GOOD_PREFIX), len(_GOOD_PREFIX) + len(wrong) + 1):
            halves = (frame(TEXT, payload[:at], final=False), frame(CONTINUATION, payload[at:]))
            yield Case(f"6 bad: {name}, fragments split at {at - len(_GOOD_PREFIX)}", halves, (), 1007)
        yield Case(f"6 bad: {name}, as binary", (frame(BINARY, payload),), ((BINARY, payload),))
    for name, wrong in (("2", b"\xc3"), ("3", b"\xe2\x82"), ("4", b"\xf0\x9f\x98")):
        yield Case(f"6 bad: ends inside a character of {name}", (frame(TEXT, _GOOD_PREFIX + wrong),), (), 1007)
        halves = (frame(TEXT, _GOOD_PREFIX, final=False), frame(CONTINUATION, wrong))
        yield Case(f"6 bad: last fragment ends inside a character of {name}", halves, (), 1007)
    too_high = b"\xf4\x90"
    unfinished = (frame(TEXT, _GOOD_PREFIX, final=False), frame(CONTINUATION, too_high, final=False))
    yield Case("6 bad: known before the message ends", unfinished, (), 1007)
    inside = frame(TEXT, _GOOD_PREFIX + too_high + b"\x80\x80edited")[: 6 + len(_GOOD_PREFIX) + 2]
    yield Case("6 bad: known before the frame ends", (inside,), (), 1007)
    yield Case("6 bad: known before the frame ends, octet-wise", chopped(inside), (), 1007)


def _closing() -> Iterator[Case]:
    close = frame(CLOSE, close_payload(1000))
    yield Case("7 message, then close", (frame(TEXT, b"last"), close), ((TEXT, b"last"),), 1000)
    yield Case("7 message and close in one segment", (frame(TEXT, b"last") + close,), ((TEXT, b"last"),), 1000)
    yield Case("7 two closes", (close + close,), (), 1000)
    yield Case("7 ping after close", (close + frame(PING),), (), 1000)
    yield Case("7 message after close", (close + frame(TEXT, b"too late"),), (), 1000)
    yield Case("7 garbage after close", (close + b"\xff" * 20,), (), 1000)
    yield Case("7 empty close", (frame(CLOSE),), (), 1005)
    yield Case("7 close of one octet", (frame(CLOSE, b"a"),), (), 1002)
    yield Case("7 close octet-wise", chopped(close), (), 1000)
    yield Case("7 close with reason", (frame(CLOSE, close_payload(1000, b"Hello World!")),), (), 1000)
    yield Case("7 close with reason of 123", (frame(CLOSE, close_payload(1000, b"*" * 123)),), (), 1000)
    yield Case("7 close with reason of 124", (frame(CLOSE, close_payload(1000, b"*" * 124)),), (), 1002)
    reason = "κόσμε".encode()
    yield Case("7 close with reason beyond ASCII", (frame(CLOSE, close_payload(1000, reason)),), (), 1000)
    for name, wrong in (("surrogate", b"\xed\xa0\x80"), ("unfinished", b"\xce"), ("latin-1", b"\xe9")):
        yield Case(f"7 close with bad reason: {name}", (frame(CLOSE, close_payload(1000, reason + wrong)),), (), 1007)


def _close_codes() -> Iterator[Case]:
    for code in (1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999):
        yield Case(f"7 code {code}", (frame(CLOSE, close_payload(code)),), (), code)
    for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535):
        yield Case(f"7 bad code {code}", (frame(CLOSE, close_payload(code)),), (), 1002)
        yield Case(f"7 bad code {code} with reason", (frame(CLOSE, close_payload(code, b"why")),), (), 1002)


_RSV1, _RSV2, _RSV3 = 4, 2, 1


def compressed(
    payload: bytes,
    level: int = -1,
    flush: int = zlib.Z_SYNC_FLUSH,
    strategy: int = zlib.Z_DEFAULT_STRATEGY,
    before: bytes = b"",
) -> bytes:
    """A message's payload, as RFC 7692 section 7.2.1 has it. before: what is in the window already."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -15, strategy=strategy, zdict=before)
    return (deflater.compress(payload) + deflater.flush(flush)).removesuffix(b"\x00\x00\xff\xff")


def _compressed() -> Iterator[Case]:
    text = "κόσμε€😀 café".encode() * 9
    for opcode, kind, unit in ((TEXT, "text", b"*"), (BINARY, "binary", b"\xfe\x00\x01")):
        for size in (0, 1, 127, 5000, LARGE):
            payload = (unit * size)[:size]
            message = frame(opcode, compressed(payload), reserved=_RSV1)
            yield Case(f"12 {kind} of {size}", (message,), ((opcode, payload),))
            yield Case(f"12 {kind} of {size}, octet-wise", chopped(message), ((opcode, payload),))
    whole = frame(TEXT, compressed(text), reserved=_RSV1)
    yield Case("12 beyond ASCII", (whole,), ((TEXT, text),))
    yield Case("12 the same twice, each by itself", (whole + whole,), ((TEXT, text),) * 2)
    yield Case("12 one that isn't compressed between two", (whole + frame(TEXT, text) + whole,), ((TEXT, text),) * 3)
    two_blocks = compressed(text[:40], flush=zlib.Z_FULL_FLUSH) + b"\x00\x00\xff\xff" + compressed(text[40:])
    kinds = {
        "stored": compressed(text, level=0),
        "with fixed codes": compressed(text, strategy=zlib.Z_FIXED),
        "with a last block": compressed(text, flush=zlib.Z_FINISH) + b"\x00",
        "with a last block and nothing behind": compressed(text, flush=zlib.Z_FINISH),
        "of two flushed blocks": two_blocks,
    }
    for name, data in kinds.items():
        yield Case(f"12 {name}", (frame(TEXT, data, reserved=_RSV1),), ((TEXT, text),))
    data = compressed(text)
    for at in range(0, len(data) + 1, 7):
        halves = frame(TEXT, data[:at], reserved=_RSV1, final=False), frame(CONTINUATION, data[at:])
        yield Case(f"12 fragments split at {at}", halves, ((TEXT, text),))
    between = frame(TEXT, data[:9], reserved=_RSV1, final=False), frame(PING, b"?"), frame(CONTINUATION, data[9:])
    yield Case("12 a ping between fragments", between, ((PONG, b"?"), (TEXT, text)))


def _badly_compressed() -> Iterator[Case]:
    data = compressed(b"a text that has to be long enough to be cut")
    bad = {
        "garbage": b"\xff" * 40,
        "not compressed": b"Hello, world!",
        "cut off": data[: len(data) // 2],
        "leaning on what was before": compressed(b"in the window" * 9, before=b"in the window"),
        "not UTF-8": compressed(b"caf\xe9"),
        "ends inside a character": compressed("€".encode()[:2]),
    }
    for name, payload in bad.items():
        message = frame(TEXT, payload, reserved=_RSV1)
        yield Case(f"12 bad: {name}", (message,), (), 1007)
        yield Case(f"12 bad: {name}, octet-wise", chopped(message), (), 1007)
        halves = frame(TEXT, payload[:5], reserved=_RSV1, final=False), frame(CONTINUATION, payload[5:])
        yield Case(f"12 bad: {name}, in fragments", halves, (), 1007)
    for name, size in (("one octet more than allowed", LARGE + 1), ("a bomb", 50_000_000)):
        message = frame(BINARY, compressed(b"*" * size), reserved=_RSV1)
        yield Case(f"12 {name}", (message,), (), 1009)
    for opcode, kind in ((CLOSE, "close"), (PING, "ping"), (PONG, "pong")):
        yield Case(f"12 a compressed {kind}", (frame(opcode, data, reserved=_RSV1),), (), 1002)
    start = frame(TEXT, data[:5], reserved=_RSV1, final=False)
    yield Case("12 the bit on a continuation", (start, frame(CONTINUATION, data[5:], reserved=_RSV1)), (), 1002)
    for bits in (_RSV2, _RSV3, _RSV1 | _RSV2):
        yield Case(f"12 other reserved bits: {bits}", (frame(TEXT, data, reserved=bits),), (), 1002)
