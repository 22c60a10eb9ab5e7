"""Writes `crdt.json`: what Python and TypeScript must agree on. Run by hand when the form changes:

    PYTHONPATH=src:. python tests/vectors/make_crdt.py

A list of tasks with results. A script (see `tests/crdt/histories.py`): what every object in it ends as, and which steps
were refused. A value: how it is spelled. The bytes, in hex, of odd and broken states: what they are read as.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from roomful.crdt import KINDS, CRDTError, Replicated, from_json, from_msgpack, to_json, to_msgpack
from roomful.crdt.value import freeze, packed, written
from tests.crdt.histories import Play, drawn, histories, shown
from tests.wire.fuzz import mutants

VECTORS = Path(__file__).parent / "crdt.json"

VALUES: list[Any] = [
    *(0, -0.0, 1.0, -1, 23, 24, -32, -33, 127, 128, 255, 256, 65535, 65536, 2**31, 2**32, -(2**31) - 1),
    *(2**53 - 1, -(2**53) + 1, 2.0**53, 2.0**60, 1e21, 1e22, 1e-6, 1e-7, 5e-324, 1.7976931348623157e308, 1 / 3, 0.1),
    *(None, True, False, "", "é", "\U0001f600", '\u2028\x00\x1f\x7f\\"/', "x" * 31, "x" * 32, "x" * 256),
    *([], [[]], list(range(16)), {}, {"\U0001f600": 1, "\uffee": 2, "b": [], "": {"__proto__": 1, "10": 1, "9": 2}}),
]


def played(script: list[Any]) -> dict[str, Any]:
    play = Play(script)
    return {"errors": play.errors, "objects": {name: forms(state) for name, state in play.objects.items()}}


def forms(state: Replicated) -> dict[str, str]:
    return {
        "json": to_json(state).decode(),
        "msgpack": to_msgpack(state).hex(),
        "value": written(freeze(shown(state))).decode(),
    }


def spelled(value: Any) -> dict[str, str]:
    frozen = freeze(value)
    return {"json": written(frozen).decode(), "msgpack": packed(frozen).hex()}


def decoded(form: str, data: bytes) -> dict[str, str]:
    try:
        state = (from_json if form == "json" else from_msgpack)(data, Replicated)
    except CRDTError as error:
        return {"error": type(error).__name__}
    return {"json": to_json(state).decode(), "msgpack": to_msgpack(state).hex()}


def read(task: dict[str, Any]) -> dict[str, Any]:
    """What Python makes of a task of `js/crdt/test/play.ts`."""
    match task:
        case {"script": script}:
            return played(script)
        case {"value": value}:
            return spelled(value)
        case _:
            ((form, data),) = task.items()
            return decoded(form, bytes.fromhex(data))


def tasks() -> list[dict[str, Any]]:
    scripts = [script for kind in sorted(KINDS) for script in drawn(histories(kind, most=24, wild=True), 12)[-4:]]
    states = [state for script in scripts for state in Play(script).objects.values()]
    odd = [{"json": mutant.hex()} for mutant in mutants([to_json(state) for state in states])]
    odd += [{"msgpack": mutant.hex()} for mutant in mutants([to_msgpack(state) for state in states])]
    short = [task for task in odd if len(str(task)) < 250]
    return [
        *({"script": script} for script in scripts),
        *({"value": value} for value in VALUES),
        *[task for task in short if "error" not in read(task)][:60],
        *[task for task in short if "error" in read(task)][::60],
    ]


def main() -> None:
    lines = [json.dumps({"task": task, "result": read(task)}, separators=(",", ":")) for task in tasks()]
    VECTORS.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
