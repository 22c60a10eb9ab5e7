"""A filter over the tags of publications, as a subscriber asks for it."""

from __future__ import annotations

import msgspec


class FilterNode(msgspec.Struct, frozen=True, cache_hash=True):
    """A node of the tree: a comparison of one tag, or, with an `op`, what combines the `nodes` below it.

    op: "and", "or", "not"; "" in a leaf. key: the tag's name. cmp: the comparison, with `val` or with `vals`.
    An empty text counts as absent, for Protobuf can't tell the two apart. Equal filters hash alike, so that what
    was found out for one subscriber holds for the next. Source: Centrifuge protocol, sections 3.8 and 14.1.
    """

    op: str = ""
    key: str = ""
    cmp: str = ""
    val: str = ""
    vals: tuple[str, ...] = ()
    nodes: tuple[FilterNode, ...] = ()
