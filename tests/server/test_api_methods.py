"""Each method against sessions in memory, as its requests and results are spelled."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful import ChannelOptions, Config, ConnectEvent, ConnectReply, Roomful, RpcReply, ServerRpcEvent
from roomful.model.errors import BadRequest, LimitExceeded, NotAvailable
from roomful.node.document_options import DocumentOptions
from roomful.server.api_methods import METHODS, PARALLEL_MAX, SINGLE, Method, outcome
from roomful.server.api_words import Error, Request
from roomful.testing.client import connect

ROOM = ChannelOptions(history_size=10, history_ttl_s=60.0, recover=True, presence=True, join_leave=True)
BINARY = ChannelOptions(history_size=10, history_ttl_s=60.0, data_format="binary")


@pytest.fixture
async def app() -> AsyncIterator[Roomful]:
    """Lets everybody in as the user they name, subscribed to `room:1`."""
    kept = DocumentOptions(store="memory://")
    app = Roomful(Config(namespaces={"room": ROOM, "plain": ChannelOptions(), "bytes": BINARY}, documents=kept))

    @app.on(ConnectEvent)
    async def who(event: ConnectEvent) -> ConnectReply:
        return ConnectReply(user=event.data, info={"name": event.data}, subs=["room:1"])

    await app.start()
    yield app
    await app.stop()


async def call(app: Roomful, name: str, /, **request: Any) -> Any:
    """The result as a client of the API sees it; for an error its code."""
    known = METHODS[name]
    wanted = msgspec.json.decode(msgspec.json.encode(request), type=known.request)
    result = await outcome(known, app, wanted)
    return result.code if isinstance(result, Error) else msgspec.json.decode(msgspec.json.encode(result))


async def test_publish(app: Roomful) -> None:
    async with connect(app, data="ann") as ann, connect(app, data="bob") as bob:
        first = await call(app, "publish", channel="room:1", data={"n": 1}, tags={"a": "b"}, idempotency_key="k")
        assert first["offset"] == 1
        assert await call(app, "publish", channel="room:1", data={"n": 1}, idempotency_key="k") == first
        assert await call(app, "publish", channel="room:1", data=2, skip_history=True) == {}
        assert (await call(app, "publish", channel="room:1", data=3, exclude=[ann.id]))["offset"] == 2
        assert [p["pub"] for p in await ann.settle() if "pub" in p] == [
            {"data": {"n": 1}, "offset": 1, "tags": {"a": "b"}},
            {"data": 2},
        ]
        assert [p["pub"]["data"] for p in await bob.settle() if "pub" in p] == [{"n": 1}, 2, 3]
    assert await call(app, "publish", channel="plain:1", data=None) == {}
    assert (await call(app, "publish", channel="bytes:1", b64data="/w=="))["offset"] == 1


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"channel": "nowhere:1", "data": 1}, 102),
        ({"channel": "room:1"}, 107),
        ({"channel": "room:1", "b64data": "/w=="}, 107),
        ({"channel": "room:" + "x" * 300, "data": 1}, 107),
    ],
    ids=str,
)
async def test_publish_refused(app: Roomful, request_: dict[str, Any], code: int) -> None:
    assert await call(app, "publish", **request_) == code


async def test_broadcast(app: Roomful) -> None:
    told = await call(app, "broadcast", channels=["room:1", "nowhere:1", "plain:1"], data=1)
    one, two, three = told["responses"]
    assert one["result"]["offset"] == 1
    assert two == {"error": {"code": 102, "message": "unknown channel"}}
    assert three == {"result": {}}


async def test_subscribe_and_unsubscribe(app: Roomful) -> None:
    for n in range(3):
        await app.publish("room:2", n)
    head = (await app.history("room:2")).head
    async with connect(app, data="ann") as ann, connect(app, data="ann") as other:
        wanted = {
            "user": "ann",
            "channel": "room:2",
            "client": ann.id,
            "info": {"role": "guest"},
            "data": {"hello": 1},
            "recover_since": {"offset": 1, "epoch": head.epoch},
            "override": {"join_leave": {"value": False}},
            "expire_at": 2**40,
        }
        assert await call(app, "subscribe", **wanted) == {}
        pushes = [push for push in await ann.settle() if push.get("channel") == "room:2"]
        assert pushes[0]["subscribe"]["data"] == {"hello": 1}
        assert [push["pub"]["data"] for push in pushes[1:]] == [1, 2]
        assert [push for push in await other.settle() if push.get("channel") == "room:2"] == []
        (seen,) = (await call(app, "presence", channel="room:2"))["presence"].values()
        assert seen == {
            "user": "ann",
            "client": ann.id,
            "conn_info": {"name": "ann"},
            "chan_info": {"role": "guest"},
        }
        assert await call(app, "unsubscribe", user="ann", channel="room:2") == {}
        ended = [push for push in await ann.settle() if push.get("channel") == "room:2"]
        assert ended == [{"channel": "room:2", "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}}]
        assert await call(app, "unsubscribe", user="ann", channel="") == {}
        assert await call(app, "channels") == {"channels": {}}
    assert await call(app, "subscribe", user="nobody", channel="room:2") == {}
    assert await call(app, "subscribe", user="ann", channel="nowhere:2") == 102
    assert await call(app, "subscribe", user="ann", channel="room:2", expire_at=1) == 107
    assert await call(app, "subscribe", user="ann", channel="room:2", b64info="/w==") == 107


async def test_disconnect(app: Roomful) -> None:
    async with connect(app, data="ann") as one, connect(app, data="ann") as two, connect(app, data="") as nobody:
        assert await call(app, "disconnect", user="ann", whitelist=[one.id]) == {}
        assert await two.closed() == (3503, "force disconnect")
        assert await call(app, "disconnect", user="ann", session="unknown") == {}
        assert await call(app, "disconnect", user="ann", client="unknown") == {}
        assert one.transport.closed is None
        assert await call(app, "disconnect", user="ann", disconnect={"code": 70000, "reason": "x"}) == 107
        assert await call(app, "disconnect", user="ann", disconnect={"code": 4000, "reason": "bye"}) == {}
        assert await one.closed() == (4000, "bye")
        assert await call(app, "disconnect", user="", disconnect={}) == {}
        assert await nobody.closed() == (3503, "force disconnect")


async def test_refresh(app: Roomful) -> None:
    async with connect(app, data="ann") as ann:
        assert await call(app, "refresh", user="ann", info={"name": "Anna"}, expire_at=2**40) == {}
        (refreshed,) = [push["refresh"] for push in await ann.settle() if "refresh" in push]
        assert refreshed["expires"] is True
        await app.subscribe("ann", "room:3")
        assert (await app.presence("room:3"))[ann.id].conn_info == b'{"name":"Anna"}'
        assert await call(app, "refresh", user="ann", b64info="/w==") == 107
        assert await call(app, "refresh", user="ann", expired=True) == {}
        assert await ann.closed() == (3005, "connection expired")


async def test_27_revoke(app: Roomful) -> None:
    async with connect(app, data="ann") as one, connect(app, data="ann") as two, connect(app, data="bob") as bob:
        await app.subscribe("bob", "room:7")
        assert await call(app, "revoke", session=one.id) == {}
        assert await one.closed() == (4503, "access revoked")
        assert await call(app, "revoke", user="ann", keep_s=60) == {}
        assert await two.closed() == (4503, "access revoked")
        assert await call(app, "revoke", room="room:7") == {}
        while "unsubscribe" not in (push := await bob.next_push()):
            continue
        assert push == {"channel": "room:7", "unsubscribe": {"code": 2001, "reason": "access revoked"}}
        assert bob.transport.closed is None


@pytest.mark.parametrize(
    "request_",
    [{}, {"user": ""}, {"user": "ann", "room": "room:1"}, {"token": "1", "keep_s": 1e9}],
)
async def test_27_a_revocation_that_makes_no_sense(app: Roomful, request_: dict[str, Any]) -> None:
    assert await call(app, "revoke", **request_) == 107


async def test_presence_and_its_counts(app: Roomful) -> None:
    async with connect(app, data="ann") as one, connect(app, data="ann") as two:
        assert set((await call(app, "presence", channel="room:1"))["presence"]) == {one.id, two.id}
        assert await call(app, "presence_stats", channel="room:1") == {"num_clients": 2, "num_users": 1}
        assert await call(app, "channels", pattern="room:*") == {"channels": {"room:1": {"num_clients": 2}}}
        assert await call(app, "channels", pattern="plain:*") == {"channels": {}}
    assert await call(app, "presence", channel="plain:1") == 108
    assert await call(app, "presence_stats", channel="plain:1") == 108


async def test_history(app: Roomful) -> None:
    for n in range(4):
        await app.publish("room:1", n)
    epoch = (await app.history("room:1")).head.epoch
    head = {"epoch": epoch, "offset": 4}

    async def offsets(**request: Any) -> list[int]:
        page = await call(app, "history", channel="room:1", **request)
        assert {"epoch": page["epoch"], "offset": page["offset"]} == head
        return [publication["offset"] for publication in page["publications"]]

    assert await offsets() == []
    assert await offsets(limit=-1) == [1, 2, 3, 4]
    assert await offsets(limit=2, reverse=True) == [4, 3]
    assert await offsets(limit=2, since={"offset": 1, "epoch": epoch}) == [2, 3]
    assert await call(app, "history", channel="room:1", since={"offset": 1, "epoch": "other"}) == 112
    assert await call(app, "history", channel="room:1", since={"epoch": epoch}, reverse=True) == 107
    assert await call(app, "history", channel="plain:1") == 108
    assert await call(app, "history_remove", channel="room:1") == {}
    assert await offsets(limit=-1) == []
    assert await call(app, "history_remove", channel="plain:1") == 108


async def test_what_isnt_json_comes_in_base64(app: Roomful) -> None:
    await app.publish("bytes:1", b"\xff")
    page = await call(app, "history", channel="bytes:1", limit=1)
    assert page["publications"] == [{"b64data": "/w==", "offset": 1}]


async def test_info(app: Roomful) -> None:
    async with connect(app, data="ann"):
        (node,) = (await call(app, "info"))["nodes"]
    counts = {"num_clients": 1, "num_users": 1, "num_channels": 1, "num_subs": 1, "uptime": 0}
    assert counts.items() <= node.items()
    assert node["uid"]
    assert node["name"]
    assert node["version"].startswith("Roomful")


async def test_rpc_is_for_methods_of_the_application(app: Roomful) -> None:
    @app.on(ServerRpcEvent, method="sum")
    async def total(event: ServerRpcEvent) -> RpcReply:
        return RpcReply({"sum": sum(event.data)})

    @app.on(ServerRpcEvent, method="bytes")
    async def some_bytes(event: ServerRpcEvent) -> RpcReply:
        return RpcReply(b"\xff" if event.data is None else event.data)

    assert await call(app, "rpc", method="sum", params=[1, 2]) == {"data": {"sum": 3}}
    assert await call(app, "rpc", method="bytes") == {"b64data": "/w=="}
    assert await call(app, "rpc", method="nothing") == 104


async def test_what_fails_in_us_is_told_as_such_and_no_more(app: Roomful, caplog: pytest.LogCaptureFixture) -> None:
    @app.on(ServerRpcEvent)
    async def unspeakable(_event: ServerRpcEvent) -> RpcReply:
        return RpcReply(object())

    result = await outcome(METHODS["rpc"], app, METHODS["rpc"].request(method="x"))  # type: ignore[call-arg]
    assert result == Error(100, "internal server error")
    (line,) = [record for record in caplog.records if record.msg == "a %s failed"]
    assert (line.levelname, line.args, bool(line.exc_info)) == ("ERROR", ("RpcRequest",), True)


@pytest.mark.parametrize("parallel", [False, True])
async def test_a_batch(app: Roomful, parallel: bool) -> None:
    commands = [
        {"publish": {"channel": "room:1", "data": 1}},
        {"publish": {"channel": "nowhere:1", "data": 1}},
        {"presence_stats": {"channel": "room:1"}},
        {"history_remove": {"channel": "room:1"}},
    ]
    told = await call(app, "batch", commands=commands, parallel=parallel)
    assert told["replies"][0]["publish"]["offset"] == 1
    assert told["replies"][1:] == [
        {"error": {"code": 102, "message": "unknown channel"}},
        {"presence_stats": {"num_clients": 0, "num_users": 0}},
        {"history_remove": {}},
    ]


async def test_a_batch_in_order_and_one_that_is_large(app: Roomful) -> None:
    commands = [{"publish": {"channel": "room:1", "data": n}} for n in range(3 * PARALLEL_MAX)]
    told = await call(app, "batch", commands=commands)
    assert [reply["publish"]["offset"] for reply in told["replies"]] == list(range(1, 3 * PARALLEL_MAX + 1))
    told = await call(app, "batch", commands=commands, parallel=True)
    assert len(told["replies"]) == 3 * PARALLEL_MAX


@pytest.mark.parametrize("command", [{}, {"publish": None}, {"info": {}, "channels": {}}], ids=str)
async def test_a_batch_that_cant_be_read_does_nothing(app: Roomful, command: dict[str, Any]) -> None:
    good = {"publish": {"channel": "room:1", "data": 1}}
    assert await call(app, "batch", commands=[good, command]) == 107
    with pytest.raises(msgspec.ValidationError, match=r"commands\[1\]"):
        await call(app, "batch", commands=[good, {"nothing": {}}])
    with pytest.raises(msgspec.ValidationError):
        await call(app, "batch", commands=[good, {"batch": {"commands": []}}])
    assert (await app.history("room:1")).head.offset == 0


WORDS = st.sampled_from(
    ["channel", "channels", "data", "user", "since", "offset", "limit", "commands", "publish", "tags"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.dictionaries(WORDS | st.text(), inner) | st.lists(inner),
)


@given(st.sampled_from(list(METHODS.values())), st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_body_is_a_request_or_no_request_and_nothing_else(method: Method, body: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        body.decode()
        assert isinstance(msgspec.json.decode(body, type=method.request), Request)


def test_the_table_has_what_the_reference_has() -> None:
    reference = """publish broadcast subscribe unsubscribe disconnect refresh presence presence_stats history
        history_remove channels info rpc"""
    ours = """revoke document_get document_update document_delete documents document_rescues
        state_get state_update people people_where people_status state_delete"""
    assert set(SINGLE) == {*reference.split(), *ours.split()}
    assert METHODS.keys() - SINGLE.keys() == {"batch"}


async def test_the_people_of_a_room(app: Roomful) -> None:
    async with connect(app, data="ann") as ann, connect(app, data="ann"), connect(app, data="bob"):
        await ann.subscribe("people:room:1")

        async def told() -> Any:
            while "pub" not in (push := await ann.next_push()) or push["channel"] != "people:room:1":
                pass
            return push["pub"]["data"]

        assert (await told())["online"] == 2
        found = await call(app, "people", channel="room:1")
        assert (found["online"], found["away"]) == (2, 0)
        assert [(person["user"], person["info"]) for person in found["people"]] == [
            ("ann", {"name": "ann"}),
            ("bob", {"name": "bob"}),
        ]
        few = await call(app, "people", channel="room:1", limit=1)
        assert (len(few["people"]), few["online"]) == (1, 2)
        where = await call(app, "people_where", users=["ann", "cid"])
        assert (where["users"]["ann"]["room:1"]["status"], where["users"]["cid"]) == ("online", {})
        assert where["missing"] == []
        assert await call(app, "people_status", channel="room:1", user="ann", status={"busy": True}) == {}
        assert [person["custom"] for person in (await told())["people"]] == [{"busy": True}]
    assert await call(app, "people_status", channel="room:1", user="ann", status="x" * 1_100) == LimitExceeded.code
    assert await call(app, "people", channel="plain:1") == NotAvailable.code
    assert await call(app, "people", channel="people:room:1") == NotAvailable.code


async def test_the_state_of_a_room_is_changed_and_read(app: Roomful) -> None:
    likes = {"object": "likes", "type": "gcounter", "op": "increment", "by": 2}
    assert await call(app, "state_update", channel="room:1", changes=[likes, likes]) == {"changed": [True, True]}
    assert await call(app, "state_get", channel="room:1") == {"objects": {"likes": {"type": "gcounter", "value": 4}}}
    assert await call(app, "state_update", channel="room:1", changes=[{"object": "likes", "op": "no"}]) == 107
    for deleted in (True, False):
        assert await call(app, "state_delete", channel="room:1") == {"deleted": deleted}
        assert await call(app, "state_get", channel="room:1") == {"objects": {}}
    for method in ("state_get", "state_delete"):
        assert await call(app, method, channel="unknown:1") == 102


async def test_a_document_is_edited_and_read(app: Roomful) -> None:
    assert await call(app, "document_get", document="notes") == NotAvailable.code
    made = await call(app, "document_update", document="notes", root="t", text="hello 😀", if_version=0)
    assert await call(app, "document_get", document="notes", type="text", root="t") == {**made, "data": "hello 😀"}
    assert await call(app, "document_update", document="notes", root="t", text="late", if_version=0) == 113
    added = await call(
        app,
        "document_update",
        document="notes",
        root="m",
        patch=[{"op": "add", "path": "/a", "value": [1]}],
        author="x",
    )
    assert added["version"] > made["version"]
    assert (await call(app, "document_get", document="notes", type="map", root="m"))["data"] == {"a": [1.0]}
    whole = await call(app, "document_get", document="notes")
    copied = await call(app, "document_update", document="copy", b64update=whole["b64update"])
    assert (await call(app, "document_get", document="copy", type="text", root="t"))["data"] == "hello 😀"
    listed = (await call(app, "documents"))["documents"]
    assert [(each["document"], each["version"]) for each in listed] == [
        ("copy", copied["version"]),
        ("notes", added["version"]),
    ]
    assert [each["document"] for each in (await call(app, "documents", prefix="n"))["documents"]] == ["notes"]


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"text": "a", "b64update": "AAA="},
        {"b64update": "rubbish!"},
        {"b64update": "AQID"},
        {"patch": [{"op": "remove", "path": "/missing"}]},
    ],
)
async def test_an_edit_that_makes_no_sense_changes_nothing(app: Roomful, request_: dict[str, Any]) -> None:
    assert await call(app, "document_update", document="notes", root="m", **request_) == BadRequest.code
    assert await call(app, "document_get", document="notes") == NotAvailable.code


async def test_a_deleted_document_is_gone(app: Roomful) -> None:
    await call(app, "document_update", document="notes", root="t", text="hello")
    assert await call(app, "document_delete", document="notes") == {"deleted": True}
    assert await call(app, "document_get", document="notes") == NotAvailable.code
    assert await call(app, "document_update", document="notes", root="t", text="again") == NotAvailable.code
    assert await call(app, "document_delete", document="other") == {"deleted": False}


async def test_rescues_are_shown(app: Roomful) -> None:
    await app.live.documents.rescue("notes", b"held", "ann")
    [kept] = (await call(app, "document_rescues", document="notes"))["rescues"]
    assert (kept["user"], kept["b64update"]) == ("ann", "aGVsZA==")
