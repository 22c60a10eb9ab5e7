"""What stands in a document, for programs: its texts, maps, arrays and XML; and edits that say what should stand there.

A root type has a name and no type of its own until somebody asks for one, so whoever asks has to know it. New content
is written as the difference from the old, in one transaction: what people type at the same time stays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from pycrdt import Array, Doc, Map, Text, XmlFragment

Kind: TypeAlias = Literal["text", "map", "array", "xml"]

_TYPES: dict[str, Any] = {"text": Text, "map": Map, "array": Array, "xml": XmlFragment}

JSON_SAFE = 2**53


class BadEdit(Exception):
    """An edit that doesn't fit what stands there; the sentence says where."""


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step of a JSON Patch (RFC 6902); `move` and `copy` would make new content, so they aren't here.

    path: a JSON Pointer (RFC 6901) below the root; `-` behind an array is its end.
    """

    op: Literal["add", "replace", "remove", "test"]
    path: str
    value: Any = None


def read(doc: Doc[Any], root: str, kind: Kind) -> Any:
    """A root as a value: text and XML as text, maps and arrays as JSON has them."""
    found = doc.get(root, type=_TYPES[kind])
    if kind in ("text", "xml"):
        return str(found)
    return json.loads(str(found))  # `to_py` of an array is quadratic: 16 s for 60,000 entries


def write_text(doc: Doc[Any], root: str, wanted: str) -> None:
    """Makes a text this one: only what lies between the common beginning and the common end is replaced."""
    text = doc.get(root, type=Text)
    present = str(text)
    if present == wanted:
        return
    most = min(len(present), len(wanted))
    start = next((at for at in range(most) if present[at] != wanted[at]), most)
    left = most - start
    end = next((at for at in range(left) if present[-1 - at] != wanted[-1 - at]), left)
    # The engine counts bytes of UTF-8.
    at = len(present[:start].encode())
    gone = len(present[start : len(present) - end].encode())
    new = wanted[start : len(wanted) - end]
    with doc.transaction():
        if gone:
            del text[at : at + gone]
        if new:
            text.insert(at, new)


def patch(doc: Doc[Any], root: str, kind: Literal["map", "array"], operations: Sequence[Operation]) -> None:
    """Applies all of a JSON Patch, or raises BadEdit before anything is changed.

    Objects and arrays in values become shared types, so that people can edit inside them at once.
    """
    trial: Doc[Any] = Doc()
    trial.apply_update(doc.get_update())
    for rehearsal in (trial, doc):  # the engine has no rollback
        shared = rehearsal.get(root, type=_TYPES[kind])
        with rehearsal.transaction():
            for operation in operations:
                _apply(shared, operation)


def _apply(shared: Any, operation: Operation) -> None:
    parents, last = _pointer(operation.path)
    for part in parents:
        shared = _step(shared, part, operation.path)
    match shared:
        case Map():
            _in_map(shared, last, operation)
        case Array():
            _in_array(shared, last, operation)
        case _:
            raise BadEdit(f"{operation.path}: lies inside a plain value; replace that as a whole")


def _pointer(path: str) -> tuple[list[str], str]:
    if not path.startswith("/"):
        raise BadEdit(f"{path!r} is no path below the root, such as /tasks/0/title")
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]
    return parts[:-1], parts[-1]


def _step(shared: Any, part: str, path: str) -> Any:
    if isinstance(shared, Map):
        if part not in shared:
            raise BadEdit(f"{path}: there is no {part!r}")
        return shared[part]
    if isinstance(shared, Array):
        return shared[_index(part, len(shared) - 1, path)]
    raise BadEdit(f"{path}: lies inside a plain value; replace that as a whole")


def _index(part: str, most: int, path: str) -> int:
    if not part.isdecimal() or int(part) > most:
        raise BadEdit(f"{path}: {part!r} is no place in the array")
    return int(part)


def _in_map(map_: Map[Any], key: str, operation: Operation) -> None:
    if operation.op == "add":
        map_[key] = _shared(operation.value)
        return
    if key not in map_:
        raise BadEdit(f"{operation.path}: there is no {key!r}")
    match operation.op:
        case "replace":
            map_[key] = _shared(operation.value)
        case "remove":
            del map_[key]
        case "test":
            _test(map_[key], operation)


def _in_array(array: Array[Any], part: str, operation: Operation) -> None:
    size = len(array)
    if operation.op == "add":
        at = size if part == "-" else _index(part, size, operation.path)
        array.insert(at, _shared(operation.value))
        return
    at = _index(part, size - 1, operation.path)
    match operation.op:
        case "replace":
            del array[at]
            array.insert(at, _shared(operation.value))
        case "remove":
            del array[at]
        case "test":
            _test(array[at], operation)


def _test(present: Any, operation: Operation) -> None:
    plain = json.loads(str(present)) if isinstance(present, Map | Array) else present
    plain = str(plain) if isinstance(plain, Text) else plain
    if plain != operation.value:
        raise BadEdit(f"{operation.path}: something else stands there")


def _shared(value: Any) -> Any:
    if isinstance(value, dict):
        return Map({key: _shared(inner) for key, inner in value.items()})
    if isinstance(value, list):
        return Array([_shared(inner) for inner in value])
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= JSON_SAFE:
        return float(value)  # as every client would read it
    return value
