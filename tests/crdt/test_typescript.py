"""`js/crdt` beside `roomful.crdt`: the same bytes, the same values, the same refusals."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from roomful.crdt import KINDS, to_json, to_msgpack
from tests.crdt.histories import SECONDS, Play, broken, drawn, histories
from tests.vectors.make_crdt import VECTORS, read

ROOT = Path(__file__).parents[2]

Tasks: TypeAlias = list[dict[str, Any]]


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[Tasks], Tasks]:
    """Gives tasks to the TypeScript toolkit, bundled for Node, and returns its results."""
    node = request.getfixturevalue("component")("node")
    bundle = tmp_path_factory.mktemp("js") / "play.mjs"
    esbuild = [ROOT / "node_modules/.bin/esbuild", ROOT / "js/crdt/test/play.ts", f"--outfile={bundle}"]
    subprocess.run([*esbuild, "--bundle", "--format=esm", "--target=es2022", "--log-level=warning"], check=True)

    def results(tasks: Tasks) -> Tasks:
        lines = "".join(json.dumps(task) + "\n" for task in tasks)
        done = subprocess.run([node, bundle], input=lines, capture_output=True, check=True, text=True, timeout=110)
        return [json.loads(line) for line in done.stdout.split("\n") if line]

    return results


KEPT: Tasks = json.loads(VECTORS.read_text())


def test_python_keeps_to_the_vectors() -> None:
    for vector in KEPT:
        assert read(vector["task"]) == vector["result"], vector["task"]


def test_typescript_keeps_to_the_vectors(typescript: Callable[[Tasks], Tasks]) -> None:
    for vector, result in zip(KEPT, typescript([vector["task"] for vector in KEPT]), strict=True):
        assert result == vector["result"], vector["task"]


def test_new_histories_end_alike_in_both(typescript: Callable[[Tasks], Tasks]) -> None:
    tasks = [
        {"script": script}
        for kind in sorted(KINDS)
        for script in drawn(histories(kind, most=30, wild=True), 25 + round(SECONDS), start=round(SECONDS) + 2)
    ]
    for task, result in zip(tasks, typescript(tasks), strict=True):
        assert result == read(task), task


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_broken_states_are_read_alike_in_both(typescript: Callable[[Tasks], Tasks], form: str) -> None:
    write = to_json if form == "json" else to_msgpack
    scripts = [script for kind in sorted(KINDS) for script in drawn(histories(kind), 6)]
    seeds = [write(state) for script in scripts for state in Play(script).objects.values()]
    tasks = [{form: mutant.hex()} for mutant in broken(seeds)]
    for task, result in zip(tasks, typescript(tasks), strict=True):
        assert result == read(task), bytes.fromhex(task[form])
