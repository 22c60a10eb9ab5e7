from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roomful.model.errors import ConfigError
from roomful.server.worker_peers import ASK_S, Peers, ask_worker, socket_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def test_one_asks_all(folder: Path) -> None:
    peers = [Peers(folder, number, 3) for number in (1, 2)]
    for each in peers:
        each.answer("name", lambda each=each: b"worker %d" % each.number)  # type: ignore[misc]
        await each.start()
    assert await peers[0].ask("name") == {1: b"worker 1", 2: b"worker 2", 3: None}
    assert await ask_worker(folder, 2, "name") == b"worker 2"
    assert await ask_worker(folder, 2, "another topic") is None
    assert await ask_worker(folder, 2, "x" * 10_000) is None
    for each in peers:
        await each.stop()
        await each.stop()
    assert await ask_worker(folder, 2, "name") is None
    assert not socket_path(folder, 2).exists()


async def test_a_long_answer_comes_whole(folder: Path) -> None:
    one = Peers(folder, 1, 1)
    one.answer("much", lambda: b"x" * 3_000_000)
    await one.start()
    assert await ask_worker(folder, 1, "much", timeout_s=5.0) == b"x" * 3_000_000
    await one.stop()


async def test_one_that_is_silent_is_missing_in_time(folder: Path) -> None:
    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10 * ASK_S)
        writer.close()

    server = await asyncio.start_unix_server(silent, str(socket_path(folder, 2)))
    one = Peers(folder, 1, 2)
    one.answer("name", lambda: b"here")
    async with asyncio.timeout(5 * ASK_S):
        assert await one.ask("name") == {1: b"here", 2: None}
    server.close()


async def test_a_socket_that_a_dead_worker_left_is_replaced(folder: Path) -> None:
    socket_path(folder, 1).write_text("left behind")
    one = Peers(folder, 1, 1)
    one.answer("name", lambda: b"here")
    await one.start()
    assert await ask_worker(folder, 1, "name") == b"here"
    await one.stop()


async def test_a_path_may_be_longer_than_the_kernel_takes(folder: Path) -> None:
    deep = folder / ("d" * 100)
    deep.mkdir()
    one = Peers(deep, 1, 1)
    one.answer("name", lambda: b"here")
    await one.start()
    assert await ask_worker(deep, 1, "name") == b"here"
    await one.stop()


async def test_a_folder_that_isnt_there_is_told(folder: Path) -> None:
    with pytest.raises(ConfigError, match="missing"):
        await Peers(folder / "missing", 1, 1).start()


def test_a_topic_has_one_answer(folder: Path) -> None:
    one = Peers(folder, 1, 1)
    one.answer("name", lambda: b"")
    with pytest.raises(ValueError, match="name"):
        one.answer("name", lambda: b"")
