from __future__ import annotations

from binascii import crc_hqx

from hypothesis import given
from hypothesis import strategies as st

from roomful.engines.redis_names import CONTROL, NODES, Names

NAMES = Names("roomful")
CHANNEL = st.text("a.:{}#1", max_size=8)


def slot(name: bytes) -> int:
    """As the Redis Cluster specification has it."""
    begin = name.find(b"{")
    if begin >= 0:
        end = name.find(b"}", begin + 1)
        if end > begin + 1:
            name = name[begin + 1 : end]
    return crc_hqx(name, 0) % 16384


@given(CHANNEL, st.binary(max_size=8))
def test_whatever_a_script_touches_lies_together(channel: str, key: bytes) -> None:
    tag = NAMES.tag(channel)
    names = [NAMES.meta(tag), NAMES.log(tag), NAMES.mark(tag, key), NAMES.pubsub(tag), NAMES.present(tag)]
    assert len({slot(name) for name in names}) == 1


@given(CHANNEL, CHANNEL, st.text("a.:{}1", max_size=6), st.text("a.:{}1", max_size=6))
def test_nothing_is_taken_for_something_else(one: str, other: str, key: str, other_key: str) -> None:
    def all_of(channel: str, key: str) -> list[bytes]:
        tag = NAMES.tag(channel)
        return [NAMES.meta(tag), NAMES.log(tag), NAMES.pubsub(tag), NAMES.present(tag), NAMES.mark(tag, key.encode())]

    names = all_of(one, key) + (all_of(other, other_key) if one != other else [])
    own = [NAMES.leases, NAMES.held("n#0"), NAMES.reaping("n#0"), NAMES.meta(CONTROL), NAMES.log(CONTROL)]
    assert len({*names, *own}) == len(names) + len(own)
    if key != other_key:
        tag = NAMES.tag(one)
        assert NAMES.mark(tag, key.encode()) != NAMES.mark(tag, other_key.encode())


@given(CHANNEL)
def test_a_name_tells_its_tag(channel: str) -> None:
    tag = NAMES.tag(channel)
    assert NAMES.tag_of(NAMES.pubsub(tag)) == tag
    assert tag not in (CONTROL, NODES)


def test_installations_with_other_prefixes_dont_meet() -> None:
    assert Names("a").meta(b".1") != Names("b").meta(b".1")
