"""curl: the script of docs/http.md follows a room by long polling; a stream is read line by line."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.plain_http.feed import Books, Feed, address
from tests.event_source import Parser

pytestmark = pytest.mark.asyncio(loop_scope="session")

GUIDE = Path(__file__).parents[3] / "docs" / "http.md"


def example(heading: str, language: str) -> str:
    """The code block of the guide in the section of that name."""
    section = GUIDE.read_text().partition(f"## {heading}\n")[2]
    found = re.search(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


async def test_the_script_of_the_guide_loses_nothing(
    feed: Feed, proxy: FaultProxy, component: Callable[[str], str], channel: str
) -> None:
    component("curl")
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    code = (
        example("A shell script that follows a room", "sh")
        .replace("127.0.0.1:8000", f"127.0.0.1:{proxy.port}")
        .replace("chat:lobby", channel)
    )
    code = code.replace("sleep 1", "sleep 0.01")
    books = Books()
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            books.note_poll(json.loads(await process.stdout.readline()), [channel])
            for _ in range(12):
                proxy.next_cuts = [chance.choice((0, 60, 250, 320)), None]
                await feed.publish(channel, 2)
                while not books.complete(channel, feed):
                    books.note_poll(json.loads(await process.stdout.readline()), [channel])
    finally:
        process.terminate()
        await process.wait()
    books.check(channel, feed)


async def test_a_stream_by_lines(feed: Feed, component: Callable[[str], str], channel: str) -> None:
    url = address(feed.server.port, "/events", channel)
    process = await asyncio.create_subprocess_exec(component("curl"), "-sN", url, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    parser, books = Parser(), Books()
    try:
        while not books.numbers:
            line = await asyncio.wait_for(process.stdout.readline(), 20)
            for event in parser.feed(line):
                books.note(event)
                if event.type == "subscribed":
                    await feed.publish(channel)
    finally:
        process.terminate()
        await process.wait()
    books.check(channel, feed)
    assert 1000 <= parser.retry_ms <= 3000


async def test_the_three_lines_of_the_guide(feed: Feed, component: Callable[[str], str], channel: str) -> None:
    code = example("Three lines of EventSource", "js")
    assert len(code.strip().splitlines()) == 3
    code = code.replace("127.0.0.1:8000", f"127.0.0.1:{feed.server.port}").replace("chat:lobby", channel)
    process = await asyncio.create_subprocess_exec(
        component("node"),
        "--input-type=module",
        cwd=GUIDE.parents[1],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(f'import {{ EventSource }} from "eventsource";\n{code}'.encode())
        process.stdin.write_eof()
        async with asyncio.timeout(20):
            while not await feed.subscribers(channel):
                pass
        await feed.call("publish", channel=channel, data={"text": "hello"})
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"hello\n"
    finally:
        process.terminate()
        await process.wait()
