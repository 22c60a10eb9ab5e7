"""Who gets what: each subscriber once, encoded once for each dialect, whatever happens in the middle."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.client import ClientInfo
from roomful.model.publication import DeltaPublication, Publication
from roomful.model.push import JoinPush, LeavePush, PublicationPush
from roomful.node.hub import Hub, Manner
from roomful.wire.dialect import JSON_BARE, PROTOBUF_BARE

ANN = ClientInfo("ann", "client-1")
HELLO = Publication(b'"hello"', 1)
BINARY = Publication(b"\xff\x00", 2)


class Subscriber:
    def __init__(self, reacts: Callable[[], None] = lambda: None) -> None:
        self.got: list[tuple[Publication, str, bytes]] = []
        self.noticed: list[tuple[bytes | None, str]] = []
        self.skipped: list[Publication] = []
        self.refused = 0
        self.base = 0
        self._reacts = reacts

    def deliver(self, publication: Publication, epoch: str, frame: bytes) -> None:
        self.got.append((publication, epoch, frame))
        self.base = publication.offset
        self._reacts()

    def skip(self, publication: Publication, epoch: str) -> None:
        self.skipped.append(publication)
        self._reacts()

    def notice(self, frame: bytes | None, client: str) -> None:
        self.noticed.append((frame, client))
        self._reacts()

    def refuse(self) -> None:
        self.refused += 1
        self._reacts()


class Counting:
    """A dialect that counts what it encodes."""

    def __init__(self) -> None:
        self.encoded = 0

    def push(self, push: object) -> bytes:
        self.encoded += 1
        return b"frame %d" % self.encoded


@pytest.fixture
def hub() -> Hub:
    return Hub()


def test_everybody_in_the_channel_gets_it_and_nobody_else(hub: Hub) -> None:
    here, also_here, elsewhere = Subscriber(), Subscriber(), Subscriber()
    hub.add("chat", JSON_BARE, here)
    hub.add("chat", PROTOBUF_BARE, also_here)
    hub.add("news", JSON_BARE, elsewhere)
    hub.broadcast("chat", HELLO, "epoch")
    assert [(p, e) for p, e, _ in here.got] == [(p, e) for p, e, _ in also_here.got] == [(HELLO, "epoch")]
    assert here.got[0][2] != also_here.got[0][2]
    assert elsewhere.got == []


def test_it_is_encoded_once_for_each_dialect(hub: Hub) -> None:
    one, other = Counting(), Counting()
    subscribers = [Subscriber() for _ in range(10)]
    for subscriber in subscribers[:6]:
        hub.add("chat", one, subscriber)  # type: ignore[arg-type]
    for subscriber in subscribers[6:]:
        hub.add("chat", other, subscriber)  # type: ignore[arg-type]
    hub.broadcast("chat", HELLO, "")
    hub.notify("chat", JoinPush("chat", ANN))
    assert (one.encoded, other.encoded) == (2, 2)
    assert {frame for s in subscribers[:6] for _, _, frame in s.got} == {b"frame 1"}


def test_nobody_is_added_twice(hub: Hub) -> None:
    subscriber = Subscriber()
    hub.add("chat", JSON_BARE, subscriber)
    hub.add("chat", JSON_BARE, subscriber)
    hub.broadcast("chat", HELLO, "")
    assert len(subscriber.got) == 1
    hub.remove("chat", JSON_BARE, subscriber)
    assert "chat" not in hub


def test_what_one_encoding_cant_carry_is_refused_there_and_delivered_elsewhere(hub: Hub) -> None:
    speaks_json, speaks_protobuf = Subscriber(), Subscriber()
    hub.add("chat", JSON_BARE, speaks_json)
    hub.add("chat", PROTOBUF_BARE, speaks_protobuf)
    hub.broadcast("chat", BINARY, "")
    assert (speaks_json.refused, speaks_json.got) == (1, [])
    assert len(speaks_protobuf.got) == 1


@pytest.mark.parametrize("push", [JoinPush, LeavePush])
def test_a_notice_that_an_encoding_cant_carry_is_none_there(hub: Hub, push: type[JoinPush | LeavePush]) -> None:
    speaks_json, speaks_protobuf = Subscriber(), Subscriber()
    hub.add("chat", JSON_BARE, speaks_json)
    hub.add("chat", PROTOBUF_BARE, speaks_protobuf)
    hub.notify("chat", push("chat", ClientInfo("ann", "client-1", conn_info=b"\xff")))
    assert speaks_json.noticed == [(None, "client-1")]
    assert speaks_protobuf.noticed[0][0] is not None


@pytest.mark.parametrize("publication", [HELLO, BINARY], ids=["hello", "binary"])
def test_subscribers_may_come_and_go_while_they_are_told(hub: Hub, publication: Publication) -> None:
    """Whoever was there when it came gets it, also if another one's reaction has just removed him: he knows himself."""
    late = Subscriber()

    def clear_out() -> None:
        for subscriber in subscribers:
            hub.remove("chat", JSON_BARE, subscriber)
        hub.add("chat", JSON_BARE, late)

    subscribers = [Subscriber(clear_out) for _ in range(5)]
    for subscriber in subscribers:
        hub.add("chat", JSON_BARE, subscriber)
    hub.broadcast("chat", publication, "")
    assert all(len(s.got) + s.refused == 1 for s in subscribers)
    assert (late.got, late.refused) == ([], 0)
    assert hub.subscribers("chat") == 1


def test_a_channel_without_anybody_is_quiet_and_takes_nothing(hub: Hub) -> None:
    hub.broadcast("chat", HELLO, "")
    hub.notify("chat", JoinPush("chat", ANN))
    hub.remove("chat", JSON_BARE, Subscriber())
    assert len(hub) == 0


# Manners


def wants_chess(tags: Mapping[str, str]) -> bool:
    return tags.get("sport") == "chess"


def test_a_filter_is_asked_once_for_all_who_have_it(hub: Hub) -> None:
    asked: list[Mapping[str, str]] = []

    def match(tags: Mapping[str, str]) -> bool:
        asked.append(tags)
        return wants_chess(tags)

    chess, everybody = [Subscriber() for _ in range(3)], Subscriber()
    for subscriber in chess:
        hub.add("chat", JSON_BARE, subscriber, Manner(match=match))
    hub.add("chat", JSON_BARE, everybody)
    go, move, bare = Publication(b"1", 1, tags={"sport": "go"}), Publication(b"2", 2, tags={"sport": "chess"}), HELLO
    for publication in (go, move, bare):
        hub.broadcast("chat", publication, "epoch")
    assert asked == [go.tags, move.tags, {}]
    for subscriber in chess:
        assert ([p for p, _, _ in subscriber.got], subscriber.skipped) == ([move], [go, bare])
    assert [p for p, _, _ in everybody.got] == [go, move, bare]


def test_filters_of_one_spelling_share_the_frame_and_nobody_is_refused_what_he_filters(hub: Hub) -> None:
    dialect, chess, go = Counting(), Subscriber(), Subscriber()
    hub.add("chat", dialect, chess, Manner(match=wants_chess))  # type: ignore[arg-type]
    hub.add("chat", dialect, go, Manner(match=lambda tags: tags.get("sport") == "go"))  # type: ignore[arg-type]
    hub.broadcast("chat", Publication(b"1", tags={"sport": "darts"}), "")
    assert dialect.encoded == 0
    hub.add("chat", dialect, Subscriber())  # type: ignore[arg-type]
    hub.broadcast("chat", Publication(b"1", tags={"sport": "chess"}), "")
    assert dialect.encoded == 1
    hub.add("news", JSON_BARE, chess, Manner(match=wants_chess))
    hub.broadcast("news", BINARY, "")
    assert chess.refused == 0


def test_a_number_stands_for_a_channel_as_long_as_anybody_listens(hub: Hub) -> None:
    one, two = Subscriber(), Subscriber()
    number = hub.add("chat", JSON_BARE, one, Manner(compact=True))
    assert hub.add("chat", JSON_BARE, two) == number
    assert hub.add("news", JSON_BARE, one, Manner(compact=True)) != number
    hub.broadcast("chat", HELLO, "")
    hub.notify("chat", JoinPush("chat", ANN))
    frames = [frame for _, _, frame in one.got] + [frame for frame, _ in one.noticed]
    assert all(frame is not None and b'"id":%d' % number in frame and b"chat" not in frame for frame in frames)
    assert all(b'"channel":"chat"' in frame for _, _, frame in two.got)
    hub.remove("chat", JSON_BARE, one, Manner(compact=True))
    assert hub.add("chat", JSON_BARE, one, Manner(compact=True)) == number
    for subscriber, manner in ((one, Manner(compact=True)), (two, Manner())):
        hub.remove("chat", JSON_BARE, subscriber, manner)
    assert hub.add("chat", JSON_BARE, one, Manner(compact=True)) > number


class Bases:
    """A dialect whose frames tell the base."""

    def __init__(self) -> None:
        self.encoded = 0

    def push(self, push: PublicationPush) -> bytes:
        assert isinstance(push.publication, DeltaPublication)
        self.encoded += 1
        return push.publication.base or b"whole"


def frames_of(subscriber: Subscriber) -> list[bytes]:
    return [frame for _, _, frame in subscriber.got]


def test_a_delta_is_made_once_and_only_for_those_who_have_its_base(hub: Hub) -> None:
    dialect, early, late = Bases(), [Subscriber() for _ in range(3)], Subscriber()
    for subscriber in early:
        hub.add("chat", dialect, subscriber, Manner(delta=True))  # type: ignore[arg-type]
    hub.broadcast("chat", Publication(b"one", 1), "epoch")
    hub.add("chat", dialect, late, Manner(delta=True))  # type: ignore[arg-type]
    hub.broadcast("chat", Publication(b"two", 2), "epoch")
    hub.broadcast("chat", Publication(b"three", 3), "epoch")
    assert frames_of(early[0]) == frames_of(early[1]) == [b"whole", b"one", b"two"]
    assert frames_of(late) == [b"whole", b"two"]
    assert dialect.encoded == 4


@pytest.mark.parametrize(
    ("publications", "frames"),
    [
        ([(1, "e"), (2, "e")], [b"whole", b"1"]),
        ([(1, "e"), (1, "new"), (2, "new")], [b"whole", b"whole", b"1"]),
        ([(1, "e"), (0, ""), (2, "e"), (3, "e")], [b"whole", b"whole", b"whole", b"2"]),
        ([(0, ""), (0, "")], [b"whole", b"whole"]),
    ],
)
def test_only_the_newest_of_the_log_is_a_base(
    hub: Hub, publications: list[tuple[int, str]], frames: list[bytes]
) -> None:
    subscriber = Subscriber()
    hub.add("chat", Bases(), subscriber, Manner(delta=True))  # type: ignore[arg-type]
    for offset, epoch in publications:
        hub.broadcast("chat", Publication(b"%d" % offset, offset), epoch)
    assert frames_of(subscriber) == frames


def test_what_json_cant_carry_is_refused_there_with_deltas_too(hub: Hub) -> None:
    speaks_json, speaks_protobuf = Subscriber(), Subscriber()
    hub.add("chat", JSON_BARE, speaks_json, Manner(delta=True))
    hub.add("chat", PROTOBUF_BARE, speaks_protobuf, Manner(delta=True))
    hub.broadcast("chat", BINARY, "")
    assert (speaks_json.refused, speaks_json.got, len(speaks_protobuf.got)) == (1, [], 1)


MANNERS = [Manner(), Manner(compact=True), Manner(delta=True), Manner(match=wants_chess)]
Change = tuple[bool, str, bool, int, int]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.booleans(), st.integers(0, 3), st.integers(0, 3))))
def test_it_remembers_exactly_who_is_there(changes: list[Change]) -> None:
    hub, model = Hub(), set[tuple[str, bool, int, int]]()
    subscribers = [Subscriber() for _ in range(4)]
    for adds, channel, binary, number, manner in changes:
        dialect = PROTOBUF_BARE if binary else JSON_BARE
        if adds:
            hub.add(channel, dialect, subscribers[number], MANNERS[manner])
            model.add((channel, binary, number, manner))
        else:
            hub.remove(channel, dialect, subscribers[number], MANNERS[manner])
            model.discard((channel, binary, number, manner))
        counts = {name: sum(entry[0] == name for entry in model) for name in {entry[0] for entry in model}}
        assert dict(hub.channels()) == counts
        assert len(hub) == len(counts)
        assert [hub.subscribers(name) for name in "abc"] == [counts.get(name, 0) for name in "abc"]
        assert [name in hub for name in "abc"] == [name in counts for name in "abc"]


def test_what_nobody_is_to_get_moves_all_positions_on() -> None:
    hub, subscribers = Hub(), [Subscriber(), Subscriber()]
    for subscriber in subscribers:
        hub.add("log:1", JSON_BARE, subscriber)
    hub.skip("log:1", Publication(b"", 7), "e")
    hub.skip("log:2", Publication(b"", 1), "e")
    assert [[each.offset for each in subscriber.skipped] for subscriber in subscribers] == [[7], [7]]
    assert [subscriber.got for subscriber in subscribers] == [[], []]
