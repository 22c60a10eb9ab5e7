"""The fossil delta: what changed from one payload to the next, as bytes. Source: Centrifuge protocol, section 15.4.

A delta is cut only between characters: if the target is UTF-8, so is each run that it inserts, and with them the whole
delta, which travels as a string to JSON clients. Protobuf clients get the same bytes, so it is made once for all.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from roomful.model.errors import WireError

MAX_TARGET_BYTES = 16 * 1024 * 1024
"""What `apply` makes at most unless told: a few bytes of delta can ask for 4 GiB."""

RESUME_BYTES = 24
"""So many equal bytes close behind a change are taken for its end. With 16, the field names of another record pass for
the same one."""

RESUME_WITHIN = 192
"""How far behind the last copy the source is searched for the end of a change."""

RESUME_AFTER = (4, 12, 28)
"""How far the target is skipped for that; what was skipped too much, the copy takes back. In 47 KB a new time and price
cost 0.1 ms so and 0.5 by known places; a field less in every seventh record 0.9 ms and 0.8 KB, not 2.1 and 1.9."""

BLOCK = 16
"""Bytes that have to agree before a copy is considered elsewhere, and the distance between known places of the source.
A copy costs 5 to 9 bytes, and up to 3 at each end to stay between characters."""

NEAR = 4096
"""How far around the edited part of the source copies are looked for. What is added to a list resembles its neighbours;
to know all places for one small edit costs 350 µs in 47 KB."""

PATIENCE = 128
"""Misses after which the steps through the target grow by two: what has so little in common is looked at less closely.
Steps stay odd: of places 16 apart, steps of 16 would miss all or none."""

EFFORT = 32 * 1024
"""Steps that one delta may take; a copy counts as `COPY_EFFORT`, for that is what it costs. The rest is inserted."""

COPY_EFFORT = 32

DIGITS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"

_VALUES = {digit: value for value, digit in enumerate(DIGITS)}
_INTEGER = re.compile(rb"(0|[1-9A-Z_a-z~][0-9A-Z_a-z~]{0,5})([\n@,:;])")


class Copy(NamedTuple):
    """What target and source share: `size` bytes that stand at `at` in the target and at `offset` in the source."""

    at: int
    offset: int
    size: int


def create(source: bytes, target: bytes) -> bytes:
    """The delta from the source to the target. It may be longer than the target, where little is shared.

    Costs with one value changed, and with one in each record: 15 and 50 µs in 0.7 KB, 45 and 750 µs in 12 KB, 0.1 and
    3 ms in 47 KB. Whatever the bytes are, at most 0.5 µs for each, 8 ms in 64 KiB, 15 ms in 1 MiB.
    """
    parts = [_integer(len(target)), b"\n"]
    done = 0
    for copy in _copies(source, target):
        at, offset, size = _between_characters(target, copy)
        command = b"%b@%b," % (_integer(size), _integer(offset))
        if size <= len(command):
            continue  # inserted, it is no longer
        if done < at:
            parts += (_integer(at - done), b":", target[done:at])
        parts.append(command)
        done = at + size
    if done < len(target):
        parts += (_integer(len(target) - done), b":", target[done:])
    parts += (_integer(_checksum(target)), b";")
    return b"".join(parts)


def apply(source: bytes, delta: bytes, *, max_bytes: int = MAX_TARGET_BYTES) -> bytes:
    """The target. Raises WireError for a delta that is malformed, made from another source, or makes too much.

    max_bytes: longer targets are refused before anything is made. Memory is taken as the commands come, not as the
    delta announces, and stays below twice the target.
    """
    size, ending, place = _read_integer(delta, 0)
    if ending != b"\n":
        raise WireError("a delta doesn't begin with a size")
    if size > max_bytes:
        raise WireError(f"a delta makes {size} bytes, at most {max_bytes} are allowed")
    made = bytearray()
    while True:
        count, ending, place = _read_integer(delta, place)
        if ending == b";":
            break
        if len(made) + count > size:
            raise WireError("a delta makes more bytes than it announces")
        run, place = _run(source, delta, place, count, ending)
        made += run
    target = bytes(made)
    if place != len(delta) or len(target) != size:
        raise WireError("a delta ends too early, or goes on behind its end")
    if count != _checksum(target):
        raise WireError("a delta's checksum is wrong: it was made from another source")
    return target


def _run(source: bytes, delta: bytes, place: int, count: int, command: bytes) -> tuple[bytes, int]:
    """The bytes that a command makes, and the place behind it."""
    if command == b":":
        return delta[place : place + count], place + count  # too few of them: nothing stands at that place
    if command != b"@":
        raise WireError("a delta has an unknown command")
    offset, ending, place = _read_integer(delta, place)
    if ending != b",":
        raise WireError("a delta's copy doesn't end with a comma")
    if offset + count > len(source):
        raise WireError("a delta copies from behind the source's end")
    return source[offset : offset + count], place


def _copies(source: bytes, target: bytes) -> Iterator[Copy]:
    """What both share, in the target's order, without overlap in the target: beginning, parts of the middle, end."""
    most = min(len(source), len(target))
    head = _agreeing_after(source, 0, target, 0, most)
    tail = _agreeing_before(source, len(source), target, len(target), most - head)
    yield Copy(0, 0, head)
    yield from _copies_between(source, target, head, len(source) - tail, len(target) - tail)
    yield Copy(len(target) - tail, len(source) - tail, tail)


def _copies_between(source: bytes, target: bytes, start: int, source_end: int, target_end: int) -> Iterator[Copy]:
    """Copies within target[start:target_end] from the source around [start:source_end]."""
    places: dict[bytes, int] | None = None
    done = at = start  # before `done` everything is copied, between the two nothing has been found
    reached = start  # where the last copy ended in the source
    misses, effort = 0, EFFORT
    while at <= target_end - BLOCK and effort > 0:
        resumed = _resumed(source, reached, target, at, target_end) if at == done else None
        if resumed is not None:
            offset, at = resumed
        else:
            if places is None:
                places = _places(source, max(0, start - NEAR), min(len(source), source_end + NEAR))
            found = places.get(target[at : at + BLOCK])
            if found is None:
                at += 1 + misses // PATIENCE * 2
                misses += 1
                effort -= 1
                continue
            offset = found
        before = _agreeing_before(source, offset, target, at, min(at - done, offset))
        after = _agreeing_after(source, offset, target, at, min(target_end - at, len(source) - offset))
        yield Copy(at - before, offset - before, before + after)
        done = at = at + after
        reached = offset + after
        misses = 0
        effort -= COPY_EFFORT


def _resumed(source: bytes, offset: int, target: bytes, at: int, target_end: int) -> tuple[int, int] | None:
    """Where both go on alike, close behind a change at these two places: in the source, in the target."""
    for skipped in RESUME_AFTER:
        start = at + skipped
        if start + RESUME_BYTES > target_end:
            return None
        found = source.find(target[start : start + RESUME_BYTES], offset, offset + RESUME_WITHIN)
        if found >= 0:
            return found, start
    return None


def _places(source: bytes, start: int, end: int) -> dict[bytes, int]:
    """Where each block first stands in source[start:end], of those that lie one behind the other.

    Knowing every place, to take the nearest, makes no delta smaller.
    """
    return {source[place : place + BLOCK]: place for place in reversed(range(start, end - BLOCK + 1, BLOCK))}


def _agreeing_after(source: bytes, offset: int, target: bytes, at: int, most: int) -> int:
    """How many bytes agree from the two places on, at most `most`."""
    return _agreeing(
        most, "big", lambda start, end: (source[offset + start : offset + end], target[at + start : at + end])
    )


def _agreeing_before(source: bytes, offset: int, target: bytes, at: int, most: int) -> int:
    """How many bytes agree before the two places, at most `most`."""
    return _agreeing(
        most, "little", lambda start, end: (source[offset - end : offset - start], target[at - end : at - start])
    )


def _agreeing(most: int, order: Literal["big", "little"], both: Callable[[int, int], tuple[bytes, bytes]]) -> int:
    """How many bytes agree, counted from the first: longer and longer pieces, then shorter ones around the difference.

    both: the bytes from the n-th to the m-th of the two. order: in which the first weighs most.
    """
    count, step = 0, 32
    while count < most:
        step = min(step, most - count)
        ours, theirs = both(count, count + step)
        if ours == theirs:
            count += step
            step *= 2
        elif step > 64:
            step //= 2
        else:
            differing = int.from_bytes(ours, order) ^ int.from_bytes(theirs, order)
            return count + step - (differing.bit_length() + 7) // 8
    return count


def _between_characters(target: bytes, copy: Copy) -> Copy:
    """The copy without the pieces of characters at its ends: at most 3 bytes each, so that it works for any bytes."""
    start, end = copy.at, copy.at + copy.size
    while start < end and start - copy.at < 3 and target[start] & 0xC0 == 0x80:
        start += 1
    last = end - 3
    while start < end < len(target) and end > last and target[end] & 0xC0 == 0x80:
        end -= 1
    return Copy(start, copy.offset + start - copy.at, end - start)


def _integer(value: int) -> bytes:
    digits = DIGITS[value & 63 : (value & 63) + 1]
    while value := value >> 6:
        digits = DIGITS[value & 63 : (value & 63) + 1] + digits
    return digits


def _read_integer(delta: bytes, place: int) -> tuple[int, bytes, int]:
    """An integer of up to six digits, the byte that ends it, the place behind. Raises WireError if there is none."""
    found = _INTEGER.match(delta, place)
    if found is None:
        raise WireError("a delta lacks an integer")
    value = 0
    for digit in found[1]:
        value = value << 6 | _VALUES[digit]
    return value, found[2], found.end()


def _checksum(data: bytes) -> int:
    """The sum modulo 2^32 of the big-endian 32-bit words, the last one filled up with zeros.

    Summed column by column: the low half of Adler-32 is a sum of bytes modulo 65521, made in C, and 256 bytes stay
    below that. 7 µs for 4 KiB, where `sum` of an array of words takes 20.
    """
    total = 0
    for column, weight in enumerate((1 << 24, 1 << 16, 1 << 8, 1)):
        octets = data[column::4]
        for start in range(0, len(octets), 256):
            total += (zlib.adler32(octets[start : start + 256], 0) & 0xFFFF) * weight
    return total & 0xFFFFFFFF
