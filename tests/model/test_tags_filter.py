from __future__ import annotations

import msgspec

from roomful.model.tags_filter import FilterNode

TEXT = b'{"op":"and","nodes":[{"key":"sport","cmp":"eq","val":"chess"},{"key":"elo","cmp":"in","vals":["1","2"]}]}'


def test_equal_filters_are_one_key() -> None:
    filters = [msgspec.json.decode(TEXT, type=FilterNode) for _ in range(2)]
    other = msgspec.json.decode(TEXT.replace(b"chess", b"go"), type=FilterNode)
    assert len({*filters, other}) == 2


def test_what_is_absent_is_empty() -> None:
    assert msgspec.json.decode(b"{}", type=FilterNode) == FilterNode("", "", "", "", (), ())
