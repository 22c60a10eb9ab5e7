from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.engines.nats_names import TOKEN_MAX, Names, message_id, token
from roomful.model.errors import ConfigError

NAMES = Names("roomful")

names = st.text() | st.text(alphabet=" .*>=\r\n\t:é$", min_size=1)


@given(names, names)
def test_a_name_is_one_token_and_no_other_name_has_it(one: str, other: str) -> None:
    assert re.fullmatch(r"[^\s.*>]+", token(one))
    assert token(one).isascii()
    assert (token(one) == token(other)) == (one == other)


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("chat:1", "chat:1"),
        ("$gossips:#42,43", "$gossips:#42,43"),
        ("a.b", "a=2eb"),
        ("*", "=2a"),
        (">", "=3e"),
        ("a b", "a=20b"),
        ("=", "=3d"),
        ("é", "=c3=a9"),
        ("", "="),
    ],
)
def test_what_is_plain_stays_readable(name: str, spelled: str) -> None:
    assert token(name) == spelled


def test_a_name_of_any_length_fits() -> None:
    long = "é" * 10_000
    assert len(token(long)) < TOKEN_MAX
    assert token(long) != token(f"{long}x")
    assert len(token("x" * TOKEN_MAX)) == TOKEN_MAX


def test_subjects_of_one_channel_differ_by_what_lies_there() -> None:
    assert (NAMES.log("a b"), NAMES.live("a b")) == ("roomful.log.a=20b", "roomful.live.a=20b")


def test_patterns_match_the_entries_and_not_the_registration() -> None:
    one = NAMES.entry("n.1", "chat:1", "c")
    for pattern in (NAMES.entries_of_node("n.1"), NAMES.entries_of_channel("chat:1")):
        shape = re.escape(pattern).replace(r"\*", "[^.]+")
        assert re.fullmatch(shape, one)
        assert not re.fullmatch(shape, NAMES.registration("n.1"))
        assert not re.fullmatch(shape, NAMES.entry("n.2", "chat:2", "c"))


@given(names, names)
def test_a_key_is_the_channels_own_and_each_of_its_lives_another(channel: str, key: str) -> None:
    ids = {message_id(channel, key, 0), message_id(channel, key, 7), message_id(f"{channel}x", key, 0)}
    ids.add(message_id(channel, f"{key}x", 0))
    assert len(ids) == 4
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)


def test_another_prefix_is_another_installation() -> None:
    one, other = vars(Names("one")), vars(Names("other"))
    assert not set(one.values()) & set(other.values())


@pytest.mark.parametrize("prefix", ["", "a.b", "a b", "*", "é", "x" * 65])
def test_a_prefix_has_to_fit_into_subjects(prefix: str) -> None:
    with pytest.raises(ConfigError, match=r"engine\.prefix"):
        Names(prefix)
