"""Each metric is moved by what it says it counts; none has a series for each room, user or code that one can invent."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import pycrdt
import pytest
from prometheus_client.parser import text_string_to_metric_families

from roomful import ChannelOptions, Config, Forbidden, PublishEvent, Roomful, RpcEvent
from roomful.auth.options import TokenOptions
from roomful.model.channel import Right
from roomful.model.publication import Publication
from roomful.node.document_options import DocumentOptions
from roomful.node.measured import MeasuredEngine
from roomful.node.rate_options import RateOptions, VisitorRates
from roomful.server.config import ApiOptions, MetricsOptions
from roomful.server.metrics import MEASURES, full_name, read, render
from roomful.server.worker_peers import Peers
from roomful.session.options import LimitOptions
from roomful.testing.client import Client, CommandError, connect
from roomful.wire.dialect import choose

DEADLINE_S = 10.0
DOCS = Path(__file__).parent.parent.parent / "docs"
NAME = re.compile(r"\broomful_\w+")

OPEN = ChannelOptions(subscribe="client", publish=Right.CLIENT)
LOG = ChannelOptions(subscribe="client", publish=Right.CLIENT, history_size=100, history_ttl_s=60.0, recover=True)
CONFIG = Config(
    tokens=TokenOptions(anonymous=True),
    metrics=MetricsOptions(open=True),
    limits=LimitOptions(
        channels_max=2, outbox_max_bytes=1_000, rates=RateOptions(user=VisitorRates(presence="1/h burst 1"))
    ),
    documents=DocumentOptions(store="memory://", compact_entries=1, compact_floor_bytes=0, compact_bytes=0),
    namespaces={
        "default": OPEN,
        "log": LOG,
        "last": ChannelOptions(subscribe="client", slow="latest"),
        "here": ChannelOptions(subscribe="client", presence=True),
    },
)
LARGE = {"text": "x" * 400}


class World(NamedTuple):
    app: Roomful
    client: Client
    patch: pytest.MonkeyPatch


Story = Callable[[World], AsyncIterator[None]]
"""Yields where the metrics are to be looked at, for the first and for the second time."""


def series(text: str) -> dict[str, float]:
    """Name with labels → value."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  # a counter, which tells nobody
            await asyncio.sleep(0)


async def traffic(world: World) -> AsyncIterator[None]:
    yield
    async with connect(world.app) as other:
        await other.subscribe("a")
        await other.publish("a", "hello")
        await other.next_push()
        yield


async def errors(world: World) -> AsyncIterator[None]:
    yield
    with pytest.raises(CommandError):
        await world.client.publish("nowhere:1", "hello")
    yield


async def limits(world: World) -> AsyncIterator[None]:
    yield
    for channel in ("a", "b"):
        await world.client.subscribe(channel)
    with pytest.raises(CommandError):
        await world.client.subscribe("c")
    yield


async def rates(world: World) -> AsyncIterator[None]:
    for _ in range(2):
        yield
        for _ in range(2):
            with suppress(CommandError):
                await world.client.call(presence={"channel": "a"})
    yield


async def slowness(world: World) -> AsyncIterator[None]:
    await world.client.subscribe("log:1")
    yield
    world.client.transport.paused = True
    for _ in range(4):
        await world.app.publish("log:1", LARGE)
    yield
    world.client.transport.resume()
    await until(lambda: world.app.stats.caught_up == 1)
    yield


async def people(world: World) -> AsyncIterator[None]:
    yield
    await world.client.subscribe("here:1")
    await world.app.people("here:1")  # with the memory engine nobody is told before somebody looks
    await until(lambda: world.app.stats.people_batches == 1)
    yield


async def the_end_of_a_slow_one(world: World) -> AsyncIterator[None]:
    await world.client.subscribe("a")
    yield
    world.client.transport.paused = True
    for _ in range(4):
        await world.app.publish("a", LARGE)
    assert await world.client.closed() == (3008, "slow")
    yield


async def only_the_latest(world: World) -> AsyncIterator[None]:
    await world.client.subscribe("last:1")
    yield
    world.client.transport.paused = True
    for _ in range(6):
        await world.app.publish("last:1", LARGE, tags={"key": "k"})
    yield


async def returning(world: World) -> AsyncIterator[None]:
    first = await world.client.subscribe("log:1")
    await world.client.unsubscribe("log:1")
    yield
    since = {"recover": True, "offset": first.get("offset", 0)}
    assert (await world.client.subscribe("log:1", epoch=first["epoch"], **since))["recovered"]
    await world.client.unsubscribe("log:1")
    assert "recovered" not in await world.client.subscribe("log:1", epoch="other", **since)
    yield


async def gaps(world: World) -> AsyncIterator[None]:
    await world.client.subscribe("log:1")
    yield
    world.app.live.node.hub.broadcast("log:1", Publication(b"1", 7), "another life")
    assert "unsubscribe" in (await world.client.next_push())
    yield


async def repairs(world: World) -> AsyncIterator[None]:
    node = world.app.live.node
    await world.client.subscribe("log:1")
    await world.app.publish("log:1", 1)
    yield
    with world.patch.context() as patch:
        patch.setattr(node, "on_publication", lambda *_: None)
        await world.app.publish("log:1", 2)
    await world.app.publish("log:1", 3)
    await until(lambda: world.app.stats.repaired > 0)
    node.on_lapse([])
    yield


async def hooks(world: World) -> AsyncIterator[None]:
    async def fails(event: PublishEvent) -> None:
        raise ValueError(event.channel)

    async def refuses(_event: RpcEvent) -> None:
        raise Forbidden("no")

    world.app.on(PublishEvent)(fails)
    world.app.on(RpcEvent)(refuses)
    yield
    with pytest.raises(CommandError, match="100"):
        await world.client.publish("a", 1)
    with pytest.raises(CommandError, match="103"):
        await world.client.call(rpc={"method": "any"})
    yield
    assert world.app.stats.hook_errors == {"PublishEvent": 1}


async def an_engine_that_fails(world: World) -> AsyncIterator[None]:
    engine = world.app.live.node.engine
    assert isinstance(engine, MeasuredEngine)

    async def fail(*_: object) -> None:
        raise Forbidden

    yield
    world.patch.setattr(engine.inner.broker, "publish", fail)
    world.patch.setattr(type(engine.inner), "ready", False)
    with pytest.raises(Forbidden):
        await world.app.publish("a", 1)
    yield


async def documents(world: World) -> AsyncIterator[None]:
    yield
    async with world.app.document("notes", author="ann") as doc:
        doc["text"] = text = pycrdt.Text("hello")
        text += "!"
        yield
    yield
    async with world.app.document("notes") as doc:
        for _ in range(5):
            doc["text"] += "!"
            await asyncio.sleep(0)
    (live,) = world.app.live.documents
    await until(lambda: live.snapshot_bytes > 0)
    yield


async def a_stall(_world: World) -> AsyncIterator[None]:
    yield
    time.sleep(0.8)  # noqa: ASYNC251  # what is measured: the loop is held up
    await asyncio.sleep(0.05)
    yield


STORIES: dict[Story, tuple[str, ...]] = {
    traffic: (
        *("connections", "connections_opened", "sessions", "channels", "subscriptions", "messages_received"),
        *("received_bytes", "commands", "writes", "sent_bytes", "publications", "delivery_seconds", "engine_seconds"),
    ),
    errors: ("command_errors",),
    rates: ("rate_limited", "command_errors"),
    limits: ("limited", "command_errors"),
    slowness: ("queued_bytes", "catch_ups_begun", "catch_ups_ended"),
    people: ("people", "people_changes", "people_batches"),
    the_end_of_a_slow_one: ("closes", "unsent", "connections"),
    only_the_latest: ("replaced", "queued_bytes"),
    returning: ("recovered", "not_recovered"),
    gaps: ("gaps",),
    repairs: ("repaired", "lapses"),
    hooks: ("hook_seconds", "hook_errors"),
    an_engine_that_fails: ("engine_errors", "engine_ready"),
    documents: (
        *("documents", "document_users", "document_log_bytes", "document_snapshot_bytes", "documents_pending"),
        "document_save_seconds",
    ),
    a_stall: ("loop_lag_seconds", "loop_stalls"),
}
"""What happens, and which metrics it has to move. The others may move too."""

ELSEWHERE = {"users", "worker_up"}


@pytest.fixture
async def app() -> AsyncIterator[Roomful]:
    app = Roomful(CONFIG)
    await app.start()
    yield app
    await app.stop()


@pytest.fixture
async def http(app: Roomful) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://roomful.test") as client:
        yield client


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_29_what_happens_moves_its_metrics(
    app: Roomful, http: httpx.AsyncClient, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: set[str] = set()
    async with connect(app) as client:
        before: dict[str, float] | None = None
        async for _ in story(World(app, client, monkeypatch)):
            now = series((await http.get("/metrics")).text)
            if before is not None:
                moved |= {name for name in now | before if before.get(name) != now.get(name)}
            before = now
    for name in STORIES[story]:
        (measure,) = (each for each in MEASURES if each.name == name)
        beginning = f"{full_name(measure)}{'_bucket[' if measure.kind == 'histogram' else '['}"
        assert any(each.startswith(beginning) for each in moved), (name, sorted(moved))


def test_every_metric_has_its_story() -> None:
    told = {name for names in STORIES.values() for name in names}
    assert {each.name for each in MEASURES if not each.name.startswith("process_")} == told | ELSEWHERE


async def test_users_and_the_process(http: httpx.AsyncClient, app: Roomful) -> None:
    async with connect(app):
        found = series((await http.get("/metrics")).text)
    assert found["roomful_users[]"] == 1
    for measure in MEASURES:
        if measure.name.startswith("process_"):
            assert found[f"{full_name(measure)}[]"] > 0, measure.name


async def test_29_a_hundred_thousand_rooms_and_every_code_are_few_series(app: Roomful) -> None:
    dialect = choose({}, "", framed=True, deflate=False)

    class Nobody:
        base = 0

    for number in range(100_000):
        app.live.node.hub.add(f"room:{number}", dialect, Nobody())  # type: ignore[arg-type]  # nothing is published
    for code in range(65_536):
        app.stats.count_disconnect(code)
        app.stats.count_error(code)
    lines = render({"": read(app.live)}).decode().splitlines()
    assert sum(not line.startswith("#") for line in lines) < 2000
    assert "roomful_channels 100000.0" in lines
    assert not any("room:" in line for line in lines)


Asked = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


@pytest.mark.parametrize(
    ("metrics", "api", "headers", "status"),
    [
        (MetricsOptions(), ApiOptions(), {}, 404),
        (MetricsOptions(), ApiOptions(), {"X-API-Key": "any"}, 404),
        (MetricsOptions(keys=("k1",)), ApiOptions(), {}, 401),
        (MetricsOptions(keys=("k1",)), ApiOptions(), {"X-API-Key": "k2"}, 401),
        (MetricsOptions(keys=("k1",)), ApiOptions(), {"Authorization": "apikey k1"}, 200),
        (MetricsOptions(), ApiOptions(keys=("k3",)), {"X-API-Key": "k3"}, 200),
        (MetricsOptions(open=True), ApiOptions(), {}, 200),
    ],
)
async def test_who_may_read_them(
    metrics: MetricsOptions, api: ApiOptions, headers: dict[str, str], status: int
) -> None:
    app = Roomful(Config(metrics=metrics, api=api))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://roomful.test") as client:
        assert (await client.get("/metrics", headers=headers)).status_code == status
    await app.stop()


async def test_one_worker_answers_for_all(tmp_path: Path) -> None:
    app, other = Roomful(CONFIG), Roomful(CONFIG)
    app.join(Peers(tmp_path, 1, 3))
    second = Peers(tmp_path, 2, 3)
    other.join(second)
    await second.start()
    transport = httpx.ASGITransport(app.asgi)
    async with connect(other), httpx.AsyncClient(transport=transport, base_url="http://roomful.test") as client:
        found = series((await client.get("/metrics")).text)
    assert found["roomful_sessions[('worker', '2')]"] == 1
    assert found["roomful_sessions[('worker', '1')]"] == 0
    assert [found[f"roomful_worker_up[('worker', '{number}')]"] for number in (1, 2, 3)] == [1, 1, 0]
    assert "roomful_sessions[('worker', '3')]" not in found
    await second.stop()
    await app.stop()
    await other.stop()


# What the documentation says of them


def test_the_page_has_all_of_them() -> None:
    rows = [line for line in (DOCS / "monitoring.md").read_text().splitlines() if line.startswith("| `roomful_")]
    wanted = [
        f"| `{full_name(each)}` | {each.kind} | {f'`{each.label}`' if each.label else ''} | {each.help} |"
        for each in MEASURES
    ]
    assert rows == wanted


def test_the_dashboard_and_the_page_name_what_there_is() -> None:
    there = {full_name(each) for each in MEASURES if each.kind != "histogram"}
    for each in MEASURES:
        if each.kind == "histogram":
            there |= {full_name(each) + ending for ending in ("_bucket", "_sum", "_count")}
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    shown = {
        name for panel in dashboard["panels"] for target in panel["targets"] for name in NAME.findall(target["expr"])
    }
    assert shown
    assert shown <= there, shown - there
    assert {each.removesuffix("_bucket") for each in shown} >= {
        full_name(each) for each in MEASURES if not each.name.startswith("process_")
    }
    said = set(NAME.findall((DOCS / "monitoring.md").read_text()))
    assert said <= there | {full_name(each) for each in MEASURES}
