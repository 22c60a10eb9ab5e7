"""Updates that wait for others which never come, over a real socket: bounded, and nobody else's trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pycrdt import Doc, Text
from websockets.exceptions import ConnectionClosed

from tests.e2e.yjs.writer import UNDER_WAY, writer
from tests.served import Server, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

WAITING_MAX_BYTES = 10_000
CONFIG = f"""
[documents]
waiting_max_bytes = {WAITING_MAX_BYTES}
unload_s = 0.2
"""


@pytest_asyncio.fixture(loop_scope="session")
async def strict(tmp_path: Path) -> AsyncIterator[Server]:
    server = await serve(tmp_path, config=CONFIG)
    yield server
    await server.stop()
    print(f"--- roomful serve --dev\n{server.log}")
    assert "Traceback" not in server.log


def rootless(number: int) -> list[bytes]:
    """Updates of one author, each leaning on the one before; without the first they all wait."""
    doc: Doc[Any] = Doc()
    text = doc.get("t", type=Text)
    updates = []
    for index in range(number):
        before = doc.get_state()
        text += f"eve{index} "
        updates.append(doc.get_update(before))
    return updates


async def test_24_what_waits_is_bounded_and_comes_when_it_can(strict: Server) -> None:
    first, *rest = rootless(2_000)
    async with writer(strict.port, "notes") as ann:
        async with writer(strict.port, "notes") as eve:
            with suppress(ConnectionClosed):
                for update in rest:
                    await eve.send(update, "stored")
                    await eve.answered(but=UNDER_WAY)
            await eve.ended.wait()
        stored = eve.stored.count("stored")
        assert 0 < stored < len(rest), "some wait; with the one that was too much the connection ended"
        await ann.write("ann")
        await ann.answered()
        assert ann.stored[-1] == "ann"
        assert ann.text == "ann "
        async with writer(strict.port, "notes") as bob:
            await bob.send(first)
            await bob.answered()
    async with writer(strict.port, "notes") as reader:
        words = reader.text.split()
    words.remove("ann")
    assert words == [f"eve{index}" for index in range(len(words))]
    assert len(words) > stored, "what was acknowledged, and the first"
