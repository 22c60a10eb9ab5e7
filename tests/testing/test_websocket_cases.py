from __future__ import annotations

import zlib

from roomful.testing.websocket_cases import all_cases, chopped, compressed, deflate_cases


def test_names_are_given_once() -> None:
    names = [case.name for case in [*all_cases(), *deflate_cases()]]
    assert len(set(names)) == len(names)


def test_every_section_of_the_basic_suite_is_there() -> None:
    """Autobahn's basic cases are 247, in sections 1 to 7."""
    cases = all_cases()
    assert {case.name.partition(" ")[0] for case in cases} == {*"1234567", "header:"}
    assert len(cases) > 500


def test_each_ending_is_provoked() -> None:
    assert {1002, 1007, 1005, None} <= {case.code for case in all_cases()}
    assert {case.code for case in deflate_cases()} == {1002, 1007, 1009, None}


def test_what_is_compressed_is_what_another_inflater_makes_of_it() -> None:
    assert zlib.decompressobj(-15).decompress(compressed(b"Hello" * 20) + b"\x00\x00\xff\xff") == b"Hello" * 20


def test_chopping_loses_nothing() -> None:
    assert chopped(b"abcde", 2) == (b"ab", b"cd", b"e")
