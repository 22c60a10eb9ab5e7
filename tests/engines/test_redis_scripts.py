from __future__ import annotations

from pathlib import Path

from roomful.engines import redis_scripts
from roomful.engines.redis_scripts import ALL
from tests.engines.conftest import StartRedis


async def test_redis_takes_them_under_their_names(start_redis: StartRedis) -> None:
    server = await start_redis()
    for script in ALL:
        assert await server.do("SCRIPT", "LOAD", script.source) == script.sha


def test_every_file_is_a_script() -> None:
    folder = Path(redis_scripts.__file__).parent / "redis_lua"
    assert len(ALL) == len([*folder.glob("*.lua")]) - 1  # all but the shared beginning
