from __future__ import annotations

import pytest

from roomful.engines.redis_url import SCHEMES, RedisUrl, parse
from roomful.model.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("redis://", RedisUrl("single", False, (("127.0.0.1", 6379),))),
        ("redis://cache", RedisUrl("single", False, (("cache", 6379),))),
        ("redis://:pw@cache:7000/3", RedisUrl("single", False, (("cache", 7000),), "", "pw", 3)),
        ("rediss://ann:p%40ss%3A@cache", RedisUrl("single", True, (("cache", 6379),), "ann", "p@ss:")),
        ("redis://[::1]:7000", RedisUrl("single", False, (("::1", 7000),))),
        ("redis://[::1]", RedisUrl("single", False, (("::1", 6379),))),
        ("redis+unix:///run/a%20b.sock", RedisUrl("single", False, (("/run/a b.sock", 0),))),
        ("redis+unix:///run/r.sock?db=2", RedisUrl("single", False, (("/run/r.sock", 0),), database=2)),
        (
            "redis+sentinel://ann:pw@a,b:1/main/1",
            RedisUrl("sentinel", False, (("a", 26379), ("b", 1)), "ann", "pw", 1, "main"),
        ),
        ("redis+cluster://:pw@a,b:1", RedisUrl("cluster", False, (("a", 6379), ("b", 1)), "", "pw")),
        ("rediss+sentinel://a/main", RedisUrl("sentinel", True, (("a", 26379),), service="main")),
    ],
)
def test_urls(url: str, parsed: RedisUrl) -> None:
    assert parse(url) == parsed


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis3://a", "no Redis is reached by 'redis3'"),
        ("redis://a:port", "'port' is no number of a port"),
        ("redis://a/x", "'x' is no number of a database"),
        ("redis://a/1/2", "no number of a database"),
        ("redis://a,b", "takes one address"),
        ("redis+unix://run/redis.sock", "absolute path"),
        ("redis+cluster://a/1", "database 0 only"),
        ("redis+sentinel://a", "the name that Sentinel knows"),
    ],
)
def test_urls_that_make_no_sense(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(url)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_message_never_holds_the_password(scheme: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(f"{scheme}://ann:secret@a:port/x/y/z")
    assert "secret" not in str(error.value)


def test_places_are_shown_without_the_password() -> None:
    assert parse("redis+sentinel://ann:secret@a:1,b:2/main").places == "a:1, b:2"
    assert parse("redis+unix:///run/redis.sock").places == "/run/redis.sock"
