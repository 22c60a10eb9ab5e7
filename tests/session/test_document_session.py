from __future__ import annotations

import asyncio

from pycrdt import Text

from roomful.model import document as d
from roomful.model.event import DocumentOpenEvent, DocumentOpenReply
from roomful.model.order import DisconnectOrder, DocumentRightsOrder
from tests.session.conftest import MakeDocumentWorld
from tests.session.document_world import DocumentWorld, Peer, malformed_update

QUIET = d.AwarenessUpdate(())


async def test_something_reaches_a_quiet_client_every_15_seconds(documents: DocumentWorld) -> None:
    ann, bob = await documents.y_websocket().open(), await documents.hocuspocus().open()
    await documents.pass_time(20)
    for peer in (ann, bob):
        peer.heard()
        for _ in range(4):
            peer.session.on_pong()
            await documents.pass_time(16)
            assert peer.was_said(QUIET)
            peer.heard()
        assert peer.closed is None


async def test_also_while_its_document_is_being_loaded(documents: DocumentWorld) -> None:
    documents.store.hold()
    peer = documents.y_websocket()
    await documents.pass_time(16)
    peer.expects(QUIET)


async def test_who_gets_something_anyway_needs_no_keep_alive(documents: DocumentWorld) -> None:
    ann, bob = await documents.hocuspocus().open(), await documents.hocuspocus().open()
    for _ in range(40):
        ann.type("x")
        await documents.pass_time(1)
    assert not bob.was_said(QUIET)


async def test_pings_every_30_seconds_on_both_wires(documents: DocumentWorld) -> None:
    peer = await documents.y_websocket().open()
    await documents.pass_time(95)
    assert peer.pings == 3


async def test_a_peer_that_answers_nothing_is_dead(documents: DocumentWorld) -> None:
    peer = documents.y_websocket()
    peer.session._transport.framed = True  # a transport on which pings are heard of
    await peer.open()
    await documents.pass_time(50)
    assert peer.closed is None
    await documents.pass_time(20)
    assert peer.closed == (4408, "Connection Timeout")
    live = await documents.y_websocket().open()
    live.session._transport.framed = True
    for _ in range(8):
        live.session.on_pong()
        await documents.pass_time(10)
    assert live.closed is None


async def test_a_socket_without_any_document_is_closed(documents: DocumentWorld) -> None:
    peer = documents.hocuspocus()
    await documents.pass_time(29)
    assert peer.closed is None
    await documents.pass_time(2)
    assert peer.closed == (4408, "Connection Timeout")


async def test_what_waits_for_admission_is_bounded(make_documents: MakeDocumentWorld) -> None:
    documents = await make_documents(access="user", queue_max=10, queue_max_bytes=1000, pending_max=3)
    many, large, wide = documents.hocuspocus(), documents.hocuspocus(), documents.hocuspocus()
    for _ in range(11):
        many.send(d.SyncStep1(b"\x00"))
    large.send(d.Stateless("x" * 1000))
    for number in range(4):
        wide.send(d.SyncStep1(b"\x00"), f"{number}")
    for peer in (many, large, wide):
        assert peer.closed == (4205, "Reset Connection")


async def test_a_slow_authorisation_gets_around_no_limit(make_documents: MakeDocumentWorld) -> None:
    documents = await make_documents(queue_max=10)
    documents.store.hold()
    peer = documents.hocuspocus()
    peer.send(d.Authenticate("", "4.8.0"))
    await documents.settle()
    for _ in range(11):
        peer.send(d.SyncStep1(b"\x00"))
    assert peer.closed == (4205, "Reset Connection")


async def test_what_was_taken_gives_its_room_back(make_documents: MakeDocumentWorld) -> None:
    documents = await make_documents(queue_max=3)
    for _ in range(5):
        documents.store.hold()
        peer = documents.hocuspocus()
        peer.send(d.Authenticate("", "4.8.0"))
        peer.send(d.SyncStep1(b"\x00"))
        await documents.settle()
        documents.store.release()
        await documents.settle()
        assert peer.session._waiting == 0
        assert peer.closed is None


async def test_pings_of_hocuspocus_4_are_answered(documents: DocumentWorld) -> None:
    peer = documents.hocuspocus()
    peer.send_bytes(b"\x09")
    peer.send_bytes(b"\x0a")
    await documents.settle()
    assert peer.said == [b"\x0a"]


async def test_text_and_rubbish_end_a_connection(documents: DocumentWorld) -> None:
    text, rubbish, single = documents.y_websocket(), documents.hocuspocus(), documents.y_websocket()
    text.session.on_message(b"hello", False)
    rubbish.send_bytes(b"\xff")
    await documents.settle()
    single.send_bytes(b"\x00\x00\xff")
    await documents.settle()
    assert text.closed == (1003, "only binary messages are understood")
    assert rubbish.closed == (4400, "malformed")
    assert single.closed == (4400, "malformed")


async def test_who_keeps_sending_nonsense_is_closed_later_each_time(documents: DocumentWorld) -> None:
    """A provider offers what was refused again as soon as it is back: users-want 24, Yjs protocols 14.2."""
    ann = await documents.hocuspocus().open()
    for seconds in (0, 1, 2, 4, 8, 16, 30, 30):
        eve = await documents.hocuspocus().open(documents.token("eve"))
        eve.heard()
        eve.send(d.SyncUpdate(malformed_update()))
        await documents.settle()
        eve.expects(d.SyncStatus(False))
        eve.send(d.SyncUpdate(b"\x00\x00"))  # nobody listens any more
        eve.expects()
        if seconds:
            await documents.pass_time(seconds - 1)
            assert eve.closed is None
            await documents.pass_time(2)  # the wheel turns once a second
        await documents.settle()
        assert eve.closed == (4205, "Reset Connection")
    ann.heard()
    ann.type("still here")
    await documents.settle()
    ann.expects(d.SyncStatus(True))
    bob = await documents.hocuspocus().open(documents.token("bob"))
    bob.send(d.SyncUpdate(malformed_update()))
    assert bob.closed is not None, "each user counts alone"


async def test_a_client_that_reads_too_slowly_is_closed_and_misses_nothing_by_it(
    make_documents: MakeDocumentWorld,
) -> None:
    documents = await make_documents(outbox_max_bytes=10_000)
    ann, slow = await documents.hocuspocus().open(), await documents.hocuspocus().open()
    slow.heard()
    slow.paused = True
    for _ in range(12):
        ann.type("x" * 1000)
        await documents.settle()
    assert slow.closed == (1013, "reads too slowly")
    again = documents.hocuspocus()
    again.doc = slow.doc
    await again.open()
    assert len(again.text) == 12_000


async def test_awareness_that_a_slow_client_missed_is_told_as_a_whole(documents: DocumentWorld) -> None:
    ann, slow = await documents.hocuspocus().open(), await documents.hocuspocus().open()
    slow.heard()
    slow.paused = True
    for clock in range(1, 100):
        ann.send(d.AwarenessUpdate((d.AwarenessEntry(1, clock, b'{"n":%d}' % clock),)))
        await documents.settle(3)
    slow.expects()
    slow.paused = False
    slow.session.on_writable()
    await documents.settle()
    slow.expects(d.AwarenessUpdate((d.AwarenessEntry(1, 99, b'{"n":99}'),)))


async def test_awareness_of_a_turn_goes_out_as_its_latest(documents: DocumentWorld) -> None:
    ann, bob = await documents.hocuspocus().open(), await documents.hocuspocus().open()
    bob.heard()
    for clock in range(1, 50):
        ann.send(d.AwarenessUpdate((d.AwarenessEntry(1, clock, b'{"n":%d}' % clock),)))
    await documents.settle()
    bob.expects(d.AwarenessUpdate((d.AwarenessEntry(1, 49, b'{"n":49}'),)))


async def test_awareness_that_nobody_renews_ends_for_the_others(documents: DocumentWorld) -> None:
    ann, bob = await documents.hocuspocus().open(), await documents.hocuspocus().open()
    ann.send(d.AwarenessUpdate((d.AwarenessEntry(1, 1, b"{}"),)))
    await documents.settle()
    ann.heard()
    bob.heard()
    await documents.pass_time(36)
    gone = d.AwarenessUpdate((d.AwarenessEntry(1, 1, None),))
    assert bob.was_said(gone)
    assert not ann.was_said(gone)


async def test_hocuspocus_is_asked_for_a_new_token(documents: DocumentWorld) -> None:
    peer = await documents.hocuspocus().open(documents.token("ann", ttl_s=60))
    await documents.pass_time(62)
    assert peer.was_said(d.TokenRequest())
    peer.send(d.Authenticate(documents.token("ann", ttl_s=60), "4.8.0"))
    await documents.settle()
    assert peer.was_said(d.Authenticated(True))
    await documents.pass_time(50)
    assert peer.closed is None
    await documents.pass_time(50)
    assert peer.closed == (4205, "Reset Connection"), "it didn't answer the second time"


async def test_a_new_token_may_carry_other_rights_or_none(documents: DocumentWorld) -> None:
    peer = await documents.hocuspocus().open(documents.token("ann"))
    peer.heard()
    peer.send(d.Authenticate(documents.token("ann", documents={"notes": "read"}), "4.8.0"))
    await documents.settle()
    peer.expects(d.Authenticated(False))
    peer.send(d.Authenticate("rubbish", "4.8.0"))
    await documents.settle()
    peer.expects(d.PermissionDenied("invalid token"), d.Close("Forbidden"))


async def test_y_websocket_comes_back_with_a_new_token(documents: DocumentWorld) -> None:
    peer = await documents.y_websocket(token=documents.token("ann", ttl_s=60)).open()
    await documents.pass_time(59)
    assert peer.closed is None
    await documents.pass_time(3)
    assert peer.closed == (4501, "token expired")


async def test_orders_reach_documents(documents: DocumentWorld) -> None:
    ann = await documents.y_websocket(token=documents.token("ann")).open()
    bob = await documents.hocuspocus().open(documents.token("bob"))
    bob.heard()
    await documents.node.order(DocumentRightsOrder("bob", "notes", "read"))
    await documents.node.order(DocumentRightsOrder("bob", "other", "none"))
    await documents.settle()
    bob.expects(d.Authenticated(False))
    await documents.node.order(DisconnectOrder("ann"))
    await documents.settle()
    assert ann.closed == (4403, "Forbidden")
    assert bob.closed is None


async def test_a_restart_is_said_as_one(documents: DocumentWorld) -> None:
    peer: Peer = await documents.y_websocket().open()
    await documents.node.drain(1.0)
    assert peer.closed == (1012, "service restart")


async def test_the_hook_may_take_time_and_the_client_may_go_meanwhile(documents: DocumentWorld) -> None:
    peers: list[Peer] = []

    @documents.on(DocumentOpenEvent)
    async def admit(event: DocumentOpenEvent) -> DocumentOpenReply:
        await asyncio.sleep(0)
        peers[-1].cut()
        return DocumentOpenReply()

    peers.append(documents.y_websocket())
    await documents.settle()
    assert peers[-1].closed == (1006, "")
    assert documents.store.loads == 0
    assert not documents.node.connections


async def test_who_left_while_it_was_loaded_keeps_nothing_open(documents: DocumentWorld) -> None:
    documents.store.hold()
    peer = documents.y_websocket()
    await documents.settle()
    peer.cut()
    documents.store.release()
    await documents.settle()
    live = documents.documents.get("notes")
    assert live is not None
    assert live.users == 0


async def test_each_message_is_written_by_itself_where_frames_cannot_be_joined(documents: DocumentWorld) -> None:
    ann, bob = await documents.y_websocket().open(), await documents.y_websocket().open()
    bob.heard()
    for letter in "abc":
        ann.type(letter)
    await documents.settle()
    assert len(bob.said) == 3
    assert bob.text == "abc"
    assert str(ann.doc.get("t", type=Text)) == "abc"
