from __future__ import annotations

import sys

import pytest

from roomful import ChannelOptions, Config, ConfigError
from roomful.auth.options import TokenOptions
from roomful.auth.tokens import sign
from roomful.engines.nats import NatsEngine
from roomful.engines.options import EngineOptions
from roomful.engines.redis import RedisEngine
from roomful.model.channel import Right
from roomful.model.errors import InvalidToken, UnknownChannel
from roomful.model.facet import OPTIONS
from roomful.node.hooks import Hooks
from roomful.node.measured import MeasuredEngine
from roomful.node.stats import Stats
from roomful.rooms.tags_filter import FilterLimits
from roomful.seams.engine import Engine
from roomful.server.config import ServerOptions
from roomful.server.wiring import DEV_OPTIONS, HOCUSPOCUS_PATH, ROOMS_PATH, Y_WEBSOCKET_PATH, Live, wire
from roomful.session.options import ConnectionOptions, LimitOptions

SIGNER = TokenOptions(hmac_secret="s" * 32)


def live(config: Config, *, dev: bool = False) -> Live:
    stats = Stats()
    return wire(config, dev=dev, hooks=Hooks(stats), stats=stats)


def engine_of(url: str) -> Engine:
    engine = live(Config(engine=EngineOptions(url=url))).node.engine
    assert isinstance(engine, MeasuredEngine)
    return engine.inner


def test_an_engine_that_isnt_there_is_named() -> None:
    with pytest.raises(ConfigError, match="no engine 'rabbit'"):
        live(Config(engine=EngineOptions(url="rabbit://x")))


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:7", "rediss://a", "redis+unix:///run/redis.sock", "redis+sentinel://a,b/main"]
)
def test_redis_is_picked_by_its_url(url: str) -> None:
    assert isinstance(engine_of(url), RedisEngine)


@pytest.mark.parametrize("url", ["nats://127.0.0.1:4222", "tls://ann:secret@a,b"])
def test_nats_is_picked_by_its_url(url: str) -> None:
    assert isinstance(engine_of(url), NatsEngine)


def test_an_engine_without_its_library_is_a_missing_module(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("nats", "roomful.engines.nats"))]:
        if name != "roomful.engines.nats_url":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nats", None)  # type: ignore[arg-type]  # so that importing it fails
    with pytest.raises(ModuleNotFoundError, match="nats"):
        live(Config(engine=EngineOptions(url="nats://a")))


def test_a_redis_url_that_makes_no_sense_is_told() -> None:
    with pytest.raises(ConfigError, match="no number of a port"):
        live(Config(engine=EngineOptions(url="redis://a:b")))


async def test_each_part_gets_its_own_options_and_no_more() -> None:
    config = Config(
        server=ServerOptions(allowed_origins=("https://a.example",), trusted_proxies=("10.0.0.0/8",)),
        connection=ConnectionOptions(hook_deadline_s=3.0),
        limits=LimitOptions(message_max_bytes=1000),
        tags_filter=FilterLimits(max_depth=3),
    )
    made = live(config)
    assert made.transport_options.allowed_origins == ("https://a.example",)
    assert made.transport_options.trusted_proxies == ("10.0.0.0/8",)
    assert not made.transport_options.loopback_origins
    assert made.node.hooks.deadline_s == 3.0
    assert made.context.filters.max_depth == 3
    allowed = {route.path: route.max_message_bytes for route in made.websocket_routes}
    assert allowed[ROOMS_PATH] == 1000
    assert allowed[Y_WEBSOCKET_PATH] == allowed[HOCUSPOCUS_PATH] == config.documents.message_max_bytes
    with pytest.raises(InvalidToken):  # no key, so none can be believed
        await made.context.authenticator.connection(sign(SIGNER, {}, user="ann", now=0.0, ttl_s=None))
    assert not made.context.insecure


def test_without_dev_there_is_what_is_configured() -> None:
    namespaces = live(Config(namespaces={"chat": ChannelOptions(presence=True)})).node.namespaces
    assert namespaces.of("chat:1").presence
    for channel in ("other:1", "news"):
        with pytest.raises(UnknownChannel):
            namespaces.of(channel)


def test_dev_opens_every_namespace_but_the_facets() -> None:
    made = live(Config(), dev=True)
    assert made.context.insecure
    assert made.transport_options.loopback_origins
    assert made.node.namespaces.of("anything:1") == DEV_OPTIONS == made.node.namespaces.of("news")
    for kind, options in OPTIONS.items():
        assert made.node.namespaces.of(f"{kind}:chat:1") is options


def test_dev_leaves_a_configured_namespace_its_shape() -> None:
    config = Config(
        namespaces={
            "log": ChannelOptions(history_size=7, history_ttl_s=5.0, data_format="binary", exclude_self=True),
            "cursor": ChannelOptions(slow="latest"),
            "price": ChannelOptions(history_size=1, history_ttl_s=5.0, mode="cache", compact=True),
        }
    )
    namespaces = live(config, dev=True).node.namespaces
    log, cursor = namespaces.of("log:1"), namespaces.of("cursor:1")
    assert (log.history_size, log.history_ttl_s, log.data_format, log.exclude_self) == (7, 5.0, "binary", True)
    assert (log.publish, log.subscribe, log.presence, log.recover) == (Right.CLIENT, "client", True, True)
    price = namespaces.of("price:1")
    assert (price.mode, price.compact, price.delta, price.tags_filter) == ("cache", True, True, True)
    assert (cursor.slow_policy, cursor.recover) == ("latest", False)
