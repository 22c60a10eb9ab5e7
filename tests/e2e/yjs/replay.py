"""A recorded editing trace through the official providers, in a node process of its own (`js/replay.mjs`)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec

from tests.served import Server

PROGRAM = Path(__file__).parent / "js" / "replay.mjs"


class Replayed(msgspec.Struct):
    """What all replicas hold in the end, after so many seconds. recorded: that this is the recorded text."""

    transactions: int
    seconds: float
    text: str
    recorded: bool


async def replay(node: str, server: Server, document: str, trace: Path, *, within_s: float) -> Replayed:
    """Every author and two late clients hold the same in the end. Raises TimeoutError when they don't in time."""
    url = server.url.replace("http", "ws", 1)
    process = await asyncio.create_subprocess_exec(
        node, PROGRAM, url, document, trace, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), within_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return msgspec.convert(json.loads(out), Replayed)
