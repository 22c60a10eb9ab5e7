from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from roomful.rooms.document_content import BadEdit, Operation, patch, read, write_text

TEXTS = st.text(alphabet=st.sampled_from("ab éü日😀\n"), max_size=30)


@settings(max_examples=300)
@given(TEXTS, TEXTS)
def test_a_text_becomes_the_wanted_one(before: str, wanted: str) -> None:
    doc: Doc[Any] = Doc({"t": Text(before)})
    write_text(doc, "t", wanted)
    assert read(doc, "t", "text") == wanted


def test_what_others_type_meanwhile_stays() -> None:
    doc: Doc[Any] = Doc({"t": Text("hello world")})
    other: Doc[Any] = Doc()
    other.apply_update(doc.get_update())
    text = other.get("t", type=Text)
    text += "!"
    write_text(doc, "t", "goodbye world")
    doc.apply_update(other.get_update())
    assert read(doc, "t", "text") == "goodbye world!"


def test_an_equal_text_changes_nothing() -> None:
    doc: Doc[Any] = Doc({"t": Text("same")})
    before = doc.get_state()
    write_text(doc, "t", "same")
    assert doc.get_state() == before


def test_maps_arrays_and_xml_are_read() -> None:
    doc: Doc[Any] = Doc({"m": Map({"a": 1, "b": Array([True, None, "x"]), "t": Text("é")})})
    assert read(doc, "m", "map") == {"a": 1, "b": [True, None, "x"], "t": "é"}
    doc["x"] = XmlFragment([XmlElement("p", {}, [XmlText("hi")])])
    assert read(doc, "x", "xml") == "<p>hi</p>"
    assert read(doc, "nothing", "array") == []


def run(doc: Doc[Any], *steps: tuple[Any, ...]) -> Any:
    patch(doc, "m", "map", [Operation(*step) for step in steps])
    return read(doc, "m", "map")


def test_a_patch() -> None:
    doc: Doc[Any] = Doc()
    assert run(doc, ("add", "/tasks", [{"title": "a"}])) == {"tasks": [{"title": "a"}]}
    assert run(doc, ("add", "/tasks/-", {"title": "c"}), ("add", "/tasks/1", "b")) == {
        "tasks": [{"title": "a"}, "b", {"title": "c"}]
    }
    assert run(doc, ("replace", "/tasks/0/title", "A"), ("remove", "/tasks/1")) == {
        "tasks": [{"title": "A"}, {"title": "c"}]
    }
    assert run(doc, ("test", "/tasks/0", {"title": "A"}), ("replace", "/tasks/0", 1)) == {"tasks": [1, {"title": "c"}]}
    assert run(doc, ("add", "/a~1b~0c", 2**60)) == {"tasks": [1, {"title": "c"}], "a/b~c": float(2**60)}


@pytest.mark.parametrize(
    "step",
    [
        ("replace", "/missing", 1),
        ("remove", "/missing"),
        ("add", "/a/b", 1),
        ("add", "/list/9", 1),
        ("remove", "/list/-"),
        ("replace", "/list/x", 1),
        ("test", "/a", 2),
        ("add", "nopath", 1),
        ("add", "/missing/deep", 1),
    ],
)
def test_a_patch_that_does_not_fit_changes_nothing(step: tuple[Any, ...]) -> None:
    doc: Doc[Any] = Doc({"m": Map({"a": 1, "list": Array([1])})})
    before = doc.get_update()
    with pytest.raises(BadEdit):
        run(doc, ("add", "/first", 1), step)
    assert doc.get_update() == before
