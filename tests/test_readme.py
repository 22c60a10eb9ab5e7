"""What the README shows, runs: its Python as an application of `roomful serve`, its JavaScript against that."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

from tests.served import Serve

ROOT = Path(__file__).parent.parent
DEADLINE_S = 30.0


def block(language: str) -> str:
    """The only code block of that language."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return str(code)


async def test_the_examples_talk_to_each_other(served: Serve, component: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "chat.py").write_text(block("python"))
    server = await served("chat:app")
    script = block("js").replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    assert script != block("js")

    printed = []
    node = await asyncio.create_subprocess_exec(
        component("node"),
        "--input-type=module",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert node.stdin is not None
    assert node.stdout is not None
    try:
        node.stdin.write(script.encode())
        node.stdin.write_eof()
        async with asyncio.timeout(DEADLINE_S):
            while not printed or not printed[-1].startswith("refused"):
                line = await node.stdout.readline()
                assert line, printed
                printed.append(line.decode().rstrip())
    finally:
        node.terminate()
        await node.wait()
    assert sorted(printed) == ["Ann is here", "Ann: hello", "refused: mind your words (103)"]
