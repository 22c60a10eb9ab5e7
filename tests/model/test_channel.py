from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.channel import (
    DEFAULT_NAMESPACE,
    ChannelOptions,
    Right,
    allowed_users,
    is_private,
    namespace_of,
    personal_channel,
)


@pytest.mark.parametrize(
    ("channel", "namespace"),
    [
        ("news", DEFAULT_NAMESPACE),
        ("$news", DEFAULT_NAMESPACE),
        ("chat:1", "chat"),
        ("$chat:1", "chat"),
        ("chat:1:2", "chat"),
        ("chat:$1", "chat"),
        ("#42", DEFAULT_NAMESPACE),
        ("people:chat:1", "people"),
        (":1", ""),
        ("", DEFAULT_NAMESPACE),
    ],
)
def test_the_namespace_stands_between_dollar_and_first_colon(channel: str, namespace: str) -> None:
    assert namespace_of(channel) == namespace


@pytest.mark.parametrize(
    ("channel", "users"),
    [
        ("dialog", None),
        ("dialog#42", {"42"}),
        ("dialog#42,43", {"42", "43"}),
        ("dialog#a#42", {"42"}),
        ("dialog#", {""}),
    ],
)
def test_users_stand_behind_the_last_boundary(channel: str, users: set[str] | None) -> None:
    assert allowed_users(channel) == users


@given(st.text(), st.sampled_from(["", "inbox"]))
def test_a_personal_channel_is_its_users_alone(user: str, namespace: str) -> None:
    channel = personal_channel(user, namespace)
    assert namespace_of(channel) == (namespace or namespace_of("#" + user))
    if "#" not in user and "," not in user:
        assert allowed_users(channel) == {user}


def test_private_channels_begin_with_a_dollar() -> None:
    assert is_private("$chat:1")
    assert not is_private("chat:$1")


@pytest.mark.parametrize(
    ("right", "nobody_in", "nobody_out", "ann_in", "ann_out"),
    [
        (Right.NOBODY, False, False, False, False),
        (Right.SUBSCRIBER, True, False, True, False),
        (Right.USER, False, False, True, True),
        (Right.CLIENT, True, True, True, True),
    ],
)
def test_rights(right: Right, nobody_in: bool, nobody_out: bool, ann_in: bool, ann_out: bool) -> None:
    assert right.allows("", subscribed=True) is nobody_in
    assert right.allows("", subscribed=False) is nobody_out
    assert right.allows("ann", subscribed=True) is ann_in
    assert right.allows("ann", subscribed=False) is ann_out


def test_who_is_slow_comes_back_from_the_log_where_there_is_one() -> None:
    assert ChannelOptions().slow_policy == "close"
    assert ChannelOptions(history_size=1, history_ttl_s=1.0).slow_policy == "resume"
    assert ChannelOptions(history_size=1, history_ttl_s=1.0, slow="latest").slow_policy == "latest"
    assert not ChannelOptions(history_size=1).has_history
    assert not ChannelOptions(history_ttl_s=1.0).retention.keeps
