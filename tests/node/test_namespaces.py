"""Channel names: which namespace, or why it isn't one. Source: Centrifuge protocol, section 21.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.channel import RESERVED_NAMESPACES, ChannelOptions
from roomful.model.errors import BadRequest, UnknownChannel
from roomful.model.facet import OPTIONS
from roomful.node.namespaces import Namespaces

DEFAULT = ChannelOptions()
CHAT = ChannelOptions(presence=True)
NUMBERED = ChannelOptions(channel_regex=r"[0-9]+")
ANYTHING = ChannelOptions(channel_regex=".*")
OTHERS = ChannelOptions(join_leave=True)

CONFIGURED = {"default": DEFAULT, "chat": CHAT, "numbered": NUMBERED, "any": ANYTHING}
MAX = 20


@pytest.fixture
def namespaces() -> Namespaces:
    return Namespaces(CONFIGURED, MAX)


@pytest.fixture
def dev() -> Namespaces:
    return Namespaces(CONFIGURED, MAX, others=OTHERS)


@pytest.mark.parametrize(
    ("channel", "options"),
    [
        ("news", DEFAULT),
        ("$news", DEFAULT),
        ("#ann", DEFAULT),
        ("chat:1", CHAT),
        ("$chat:1", CHAT),
        ("chat:", CHAT),
        ("chat:a:b", CHAT),
        ("chat:#ann,bob", CHAT),
        ("numbered:17", NUMBERED),
        ("$numbered:17", NUMBERED),
        ("any:über", ANYTHING),
        ("x" * MAX, DEFAULT),
    ],
)
def test_the_options_of_a_name(namespaces: Namespaces, channel: str, options: ChannelOptions) -> None:
    assert namespaces.of(channel) is options


@pytest.mark.parametrize(
    ("channel", "error"),
    [
        ("", BadRequest),
        ("x" * (MAX + 1), BadRequest),
        ("chat:" + "x" * MAX, BadRequest),
        ("über", BadRequest),
        ("chat:über", BadRequest),
        ("numbered:x", BadRequest),
        ("numbered:1x", BadRequest),
        ("numbered:", BadRequest),
        ("any:" + "ü" * 9, BadRequest),  # 22 bytes
        ("other:1", UnknownChannel),
        (":1", UnknownChannel),
        ("$:1", UnknownChannel),
        ("a$chat:1", UnknownChannel),
        ("Chat:1", UnknownChannel),
        ("$typing:chat:1", UnknownChannel),
        ("typing:other:1", UnknownChannel),
        ("typing:chat:über", BadRequest),
        ("typing:typing:chat:1", BadRequest),
    ],
)
def test_names_that_are_none(namespaces: Namespaces, channel: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        namespaces.of(channel)


def test_a_regex_of_the_default_namespace_matches_the_whole_name() -> None:
    namespaces = Namespaces({"default": NUMBERED}, MAX)
    assert namespaces.of("17") is NUMBERED
    with pytest.raises(BadRequest):
        namespaces.of("x17")


def test_nothing_is_configured() -> None:
    for channel in ("news", "chat:1"):
        with pytest.raises(UnknownChannel):
            Namespaces({}, MAX).of(channel)


@pytest.mark.parametrize("channel", ["other:1", "$other:1", "a-b.c_d:1"])
def test_under_dev_every_namespace_is_there(dev: Namespaces, channel: str) -> None:
    assert dev.of(channel) is OTHERS
    assert dev.of("chat:1") is CHAT


def test_under_dev_also_names_without_a_namespace() -> None:
    assert Namespaces({}, MAX, others=OTHERS).of("news") is OTHERS


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_room_has_facets(namespaces: Namespaces, kind: str) -> None:
    assert namespaces.of(f"{kind}:chat:1") is OPTIONS[kind]


@pytest.mark.parametrize(
    "channel", ["x:1", ":1", "a b:1", "typing:x:1", *(f"${name}:chat:1" for name in sorted(RESERVED_NAMESPACES))]
)
def test_under_dev_a_namespace_is_still_a_namespace(dev: Namespaces, channel: str) -> None:
    with pytest.raises(UnknownChannel):
        dev.of(channel)


@given(st.text())
def test_any_text_has_options_or_is_refused(channel: str) -> None:
    for namespaces in (Namespaces(CONFIGURED, MAX), Namespaces(CONFIGURED, MAX, others=OTHERS)):
        try:
            options = namespaces.of(channel)
        except (BadRequest, UnknownChannel):
            continue
        assert isinstance(options, ChannelOptions)
        assert 0 < len(channel.encode()) <= MAX
