from __future__ import annotations

from typing import Any

import pytest

from roomful.engines.redis_wire import Login, Wire, cannot, open_wire
from roomful.model.errors import InternalError
from tests.engines.conftest import StartRedis


def ignore(_: Any) -> None: ...


async def test_it_comes_in_with_password_and_database(start_redis: StartRedis) -> None:
    server = await start_redis("--requirepass", "secret", "--unixsocket", "redis.sock")
    for address in (("127.0.0.1", server.port), (str(server.directory / "redis.sock"), 0)):
        login = Login("default", "secret", 3, "tester")
        wire = await open_wire(address, login, ignore, ignore)
        await wire.converse(login.commands())
        [info] = await wire.converse([("CLIENT", "INFO")])
        assert b"name=tester" in info
        assert b" db=3 " in info
        wire.abort()


async def test_an_error_in_a_conversation_is_said_without_the_password(start_redis: StartRedis) -> None:
    server = await start_redis("--requirepass", "secret")
    login = Login("", "wrong", 0, "tester")
    wire = await open_wire(("127.0.0.1", server.port), login, ignore, ignore)
    with pytest.raises(InternalError, match="Redis answers AUTH with: WRONGPASS") as error:
        await wire.converse(login.commands())
    assert "wrong" not in str(error.value).replace("WRONGPASS", "")
    wire.abort()


async def test_a_connection_that_ends_in_a_conversation_is_an_error(start_redis: StartRedis) -> None:
    server = await start_redis()
    wire = await open_wire(("127.0.0.1", server.port), Login("", "", 0, "t"), ignore, ignore)
    with pytest.raises(OSError, match="closed"):
        await wire.converse([("CLIENT", "KILL", "SKIPME", "no", "TYPE", "normal"), ("BLPOP", "nothing", 0)])


async def test_what_was_read_is_not_passed_on_after_an_abort() -> None:
    replies: list[Any] = []
    lost: list[Wire] = []
    wire = Wire(lambda reply: (replies.append(reply), wire.abort()), lost.append)  # type: ignore[func-returns-value]
    wire.data_received(b":1\r\n:2\r\n:3\r\n")
    assert replies == [1]


async def test_what_isnt_redis_ends_the_connection() -> None:
    replies: list[Any] = []
    wire = Wire(replies.append, ignore)
    wire.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    wire.data_received(b":1\r\n")
    assert replies == []


def test_the_sentence_about_a_server_that_cant_be_used() -> None:
    assert str(cannot(("a", 1), TimeoutError())) == "Redis at a:1 can't be used: it doesn't answer in time"
    assert str(cannot(("/run/r", 0), OSError("no"))) == "Redis at /run/r can't be used: no"
