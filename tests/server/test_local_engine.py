from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from roomful.engines.options import EngineOptions
from roomful.engines.redis import RedisEngine
from roomful.model.errors import ConfigError
from roomful.model.publication import Draft
from roomful.server import local_engine
from roomful.server.local_engine import LocalEngine
from roomful.testing.engine_contract import KEEP, running


@pytest.mark.parametrize("folder", ["short", "d" * 120])
async def test_it_runs_where_the_url_says_and_for_nobody_else(
    component: Callable[[str], str], tmp_path: Path, folder: str
) -> None:
    component("redis-server")
    directory = tmp_path / folder
    directory.mkdir()
    engine = LocalEngine(directory)
    url = await engine.start()
    path = url.removeprefix("redis+unix://")
    assert os.stat(path).st_mode & 0o077 == 0
    async with running(RedisEngine(EngineOptions(url=url))) as node:
        assert (await node.broker.publish("chat:1", Draft(b"1"), KEEP)).position is not None
    await engine.stop()
    await engine.stop()
    assert await engine.ended() == 0
    assert not os.access(path, os.F_OK)


async def test_one_that_ended_is_started_again(component: Callable[[str], str], tmp_path: Path) -> None:
    component("redis-server")
    engine = LocalEngine(tmp_path)
    url = await engine.start()
    await engine.stop()
    await engine.restart()
    async with running(RedisEngine(EngineOptions(url=url))) as node:
        assert node.engine.ready
    await engine.stop()


def test_none_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_engine, "PROGRAMS", ("no-such-server",))
    with pytest.raises(ConfigError, match="apt install"):
        LocalEngine(Path("."))


async def test_one_that_cant_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_engine, "PROGRAMS", ("false",))
    with pytest.raises(ConfigError, match="doesn't start"):
        await LocalEngine(tmp_path).start()
