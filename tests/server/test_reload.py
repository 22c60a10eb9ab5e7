"""New settings while it runs: what changes, what doesn't, and that a bad file changes nothing."""

from __future__ import annotations

import logging
import ssl
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roomful import ChannelOptions, Config, ConfigError, Roomful
from roomful.auth.options import TokenOptions
from roomful.auth.tokens import sign
from roomful.model.channel import Right
from roomful.node.rate_options import ConnectionRates, RateOptions, VisitorRates
from roomful.server.config import ApiOptions, MetricsOptions, ServerOptions
from roomful.server.reload import on_hangup
from roomful.session.options import LimitOptions
from roomful.testing.client import Closed, CommandError, connect
from tests.transports.certificates import localhost_certificate

OLD = TokenOptions(hmac_secret="the old secret, which is long enough")
NEW = TokenOptions(hmac_secret="the new secret, which is long enough")
CHAT = ChannelOptions(subscribe="client", publish=Right.CLIENT)
CONFIG = Config(tokens=OLD, api=ApiOptions(keys=("old key",)), namespaces={"default": CHAT})


def token(options: TokenOptions) -> str:
    return sign(options, {}, user="ann", now=time.time(), ttl_s=60)


def changed(**tables: Any) -> Config:
    return msgspec.structs.replace(CONFIG, **tables)


async def app() -> Roomful:
    app = Roomful(CONFIG)
    await app.start()
    return app


async def test_keys_change_and_nobody_is_dropped() -> None:
    running = await app()
    async with connect(running, token=token(OLD)) as ann:
        assert running.reload(changed(tokens=NEW, api=ApiOptions(keys=("new key",)))) == []
        with pytest.raises(Closed):
            async with connect(running, token=token(OLD)):
                pass
        async with connect(running, token=token(NEW)) as again:
            await again.subscribe("news")
        await ann.subscribe("news")
    keys = running.live.api_keys
    assert keys.allow({"x-api-key": "new key"})
    assert not keys.allow({"x-api-key": "old key"})
    await running.stop()


async def test_the_content_of_key_files_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("one\n")
    config = changed(api=ApiOptions(key_files=(str(file),)), metrics=MetricsOptions(keys=("m",)))
    running = Roomful(config)
    assert running.live.metrics_keys.allow({"x-api-key": "one"})
    file.write_text("two\n")
    assert running.reload(config) == []
    assert running.live.api_keys.allow({"x-api-key": "two"})
    assert running.live.metrics_keys.allow({"x-api-key": "two"})
    assert running.live.metrics_keys.allow({"x-api-key": "m"})
    assert not running.live.api_keys.allow({"x-api-key": "one"})


async def test_limits_hold_at_once_also_for_who_is_there() -> None:
    running = await app()
    async with connect(running, token=token(OLD)) as ann:
        await ann.subscribe("one")
        limits = LimitOptions(
            channels_max=1,
            channel_max_bytes=5,
            outboxes_max_bytes=7_000_000,
            handshakes_per_s=3.0,
            unauthenticated_per_address_max=4,
            rates=RateOptions(connection=ConnectionRates(publish="1/min")),
        )
        assert running.reload(changed(limits=limits)) == []
        with pytest.raises(CommandError) as refused:
            await ann.subscribe("two")
        assert refused.value.code == 106
        await ann.unsubscribe("one")
        with pytest.raises(CommandError) as refused:
            await ann.subscribe("longer")
        assert refused.value.code == 107
        assert running.live.node.backlog.max_bytes == 7_000_000
        assert [running.admission.ask("192.0.2.1") is None for _ in range(4)] == [True, True, True, False]
        async with connect(running, token=token(OLD)) as bob:
            await bob.publish("one", 1)
            with pytest.raises(CommandError) as refused:
                await bob.publish("one", 2)
            assert refused.value.code == 111
    await running.stop()


async def test_whether_anonymous_clients_may_come() -> None:
    running = await app()
    with pytest.raises(Closed):
        async with connect(running):
            pass
    running.reload(changed(tokens=msgspec.structs.replace(OLD, anonymous=True)))
    async with connect(running):
        pass
    await running.stop()


async def test_what_needs_a_new_start_is_named_and_stays() -> None:
    running = await app()
    more = {"default": CHAT, "more": CHAT}
    limits = LimitOptions(message_max_bytes=10, channels_max=7)
    new = changed(server=ServerOptions(port=1, drain_s=3.0), namespaces=more, limits=limits)
    assert sorted(running.reload(new)) == [
        "limits.message_max_bytes",
        "namespaces.more",
        "server.drain_s",
        "server.port",
    ]
    config = running.live.config
    assert (config.server, config.namespaces) == (CONFIG.server, CONFIG.namespaces)
    assert (config.limits.message_max_bytes, config.limits.channels_max) == (65_536, 7)
    assert running.reload(new) == running.reload(new)  # it is told each time
    assert running.reload(CONFIG) == []
    await running.stop()


@pytest.mark.parametrize(
    "tables",
    [
        {"tokens": TokenOptions(public_key="/nowhere.pem")},
        {"api": ApiOptions(key_files=("/nowhere",))},
        {"limits": LimitOptions(channels_max=-1)},
        {"limits": LimitOptions(rates=RateOptions(user=VisitorRates(publish="often")))},
    ],
)
async def test_what_cant_be_used_changes_nothing(tables: dict[str, Any]) -> None:
    running = await app()
    with pytest.raises(ConfigError):
        running.reload(changed(**{"tokens": NEW, **tables}))
    assert running.live.config == CONFIG
    async with connect(running, token=token(OLD)):
        pass
    await running.stop()


def test_before_it_runs_it_is_the_configuration() -> None:
    app = Roomful(CONFIG)
    assert app.reload(changed(tokens=NEW)) == []
    assert app.live.config.tokens == NEW


# At a signal


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def test_the_log_says_what_was_done(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "roomful")
    assert on_hangup(lambda: CONFIG, lambda config: ["server.port", "namespaces.chat"], None)
    assert lines(caplog) == [
        "INFO the settings were reloaded",
        "WARNING namespaces.chat has changed, which needs a new start; the old value stays in force",
        "WARNING server.port has changed, which needs a new start; the old value stays in force",
    ]
    assert {record.msg for record in caplog.records[1:]} == {
        "%s has changed, which needs a new start; the old value stays in force"
    }


def test_a_broken_file_is_told_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    def reread() -> Config:
        raise ConfigError("roomful.toml: not TOML: line 3\nroomful.toml: and more")

    assert not on_hangup(reread, lambda config: pytest.fail("it was taken"), None)
    assert lines(caplog) == [
        "ERROR the settings were not reloaded, the old ones stay in force: roomful.toml: not TOML: line 3",
        "ERROR the settings were not reloaded, the old ones stay in force: roomful.toml: and more",
    ]
    assert {record.msg for record in caplog.records} == {
        "the settings were not reloaded, the old ones stay in force: %s"
    }


def test_tls_files_that_cant_be_used_change_nothing_else_either(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = localhost_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(good)
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    config = changed(server=ServerOptions(tls_cert=str(broken), tls_key=str(good)))
    assert not on_hangup(lambda: config, lambda config: pytest.fail("it was taken"), context)
    assert "can't use them" in lines(caplog)[0]


def test_tls_cant_be_switched_on_without_a_new_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = str(localhost_certificate(tmp_path))
    config = changed(server=ServerOptions(tls_cert=good, tls_key=good))
    assert on_hangup(lambda: config, lambda config: [], None)
    assert lines(caplog)[-1].startswith("WARNING server.tls_cert has changed")
