"""docs/crdt.md: its examples run, its table names every type."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from roomful.crdt import KINDS

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/crdt.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_python_runs_from_top_to_bottom() -> None:
    names: dict[str, Any] = {}
    assert len(blocks("python")) == 7
    for block in blocks("python"):
        exec(compile(block, "docs/crdt.md", "exec"), names)


def test_the_typescript_runs(component: Callable[[str], str], tmp_path: Path) -> None:
    (block,) = blocks("ts")
    source, bundle = tmp_path / "example.ts", tmp_path / "example.mjs"
    source.write_text(block.replace('"../js', f'"{ROOT}/js'))
    esbuild = [ROOT / "node_modules/.bin/esbuild", source, f"--outfile={bundle}", "--bundle", "--format=esm"]
    subprocess.run([*esbuild, "--log-level=warning"], check=True, timeout=30)
    done = subprocess.run([component("node"), bundle], capture_output=True, check=True, text=True, timeout=30)
    assert done.stdout.splitlines() == ["true 1", "{ theme: 'dark' }"]


def test_the_table_names_every_type() -> None:
    assert [kind.__name__ for kind in KINDS.values() if f"`{kind.__name__}` |" not in GUIDE] == []
