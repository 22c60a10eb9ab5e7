from __future__ import annotations

from typing import Any

import pytest
from pycrdt import Doc, Text

from roomful.model import document as d
from roomful.model.document import Rights
from roomful.model.errors import Forbidden
from roomful.model.event import (
    DocumentCloseEvent,
    DocumentOpenEvent,
    DocumentOpenReply,
    ForeignHistoryEvent,
    StatelessEvent,
    StatelessReply,
)
from roomful.rooms.update_walker import NOTHING
from roomful.wire.lib0 import uint
from tests.session.conftest import MakeDocumentWorld
from tests.session.document_world import DocumentWorld, malformed_update

ANN = d.AwarenessUpdate((d.AwarenessEntry(1, 1, b'{"name":"Ann"}'),))


def writing(text: str, client: int = 0) -> Doc[Any]:
    """A replica that has typed this."""
    doc: Doc[Any] = Doc(client_id=client) if client else Doc()
    content = doc.get("t", type=Text)
    content += text
    return doc


async def test_opening_in_the_order_that_hocuspocus_expects(documents: DocumentWorld) -> None:
    peer = documents.hocuspocus()
    peer.doc = writing("hi")
    peer.send(d.Authenticate("", "4.8.0"))
    peer.send(d.SyncStep1(peer.doc.get_state()))
    peer.send(ANN)
    await documents.settle()
    live = documents.documents.get("notes")
    assert live is not None
    mine, whole = live.room.state_vector(), live.room.diff()
    peer.expects(d.Authenticated(True), d.SyncStep1(mine), d.SyncStep2(whole), ANN)
    peer.send(d.SyncStep2(peer.doc.get_update(mine)))
    await documents.settle()
    peer.expects(d.SyncStatus(True))
    assert (await documents.hocuspocus().open()).text == "hi"


async def test_who_comes_later_sees_who_is_there_and_who_goes(documents: DocumentWorld) -> None:
    ann = await documents.y_websocket().open()
    ann.send(ANN)
    bob, cid = await documents.y_websocket().open(), await documents.hocuspocus().open()
    assert bob.was_ever_said(ANN)
    assert cid.was_ever_said(ANN)
    ann.cut()
    await documents.settle()
    gone = d.AwarenessUpdate((d.AwarenessEntry(1, 1, None),))
    assert bob.was_said(gone)
    assert cid.was_said(gone)
    assert not (await documents.y_websocket().open()).was_ever_said(ANN)


async def test_edits_reach_everybody_else_and_are_acknowledged_to_their_author(documents: DocumentWorld) -> None:
    ann, bob, cid = documents.y_websocket(), documents.hocuspocus(), documents.hocuspocus()
    for peer in (ann, bob, cid):
        await peer.open()
        peer.heard()
    update = bob.type("hello")
    await documents.settle()
    bob.expects(d.SyncStatus(True))
    ann.expects(d.SyncUpdate(update))
    cid.expects(d.SyncUpdate(update))
    update = ann.type("x")
    await documents.settle()
    ann.expects(d.SyncUpdate(update))  # this echo is how y-websocket learns that it is stored


async def test_nothing_is_said_before_the_document_is_loaded(documents: DocumentWorld) -> None:
    documents.store.hold()
    ann, bob = documents.y_websocket(), documents.hocuspocus()
    ann.send(d.SyncStep1(b"\x00"))
    bob.send(d.Authenticate("", "4.8.0"))
    bob.send(d.SyncStep1(b"\x00"))
    update = bob.type("early")
    await documents.settle()
    ann.expects()
    bob.expects(d.Authenticated(True))
    documents.store.release()
    await documents.settle()
    assert bob.was_said(d.SyncStatus(True))
    assert ann.text == "early"
    assert update


async def test_nothing_is_acknowledged_or_shown_before_it_is_stored(documents: DocumentWorld) -> None:
    ann, bob = await documents.hocuspocus().open(), await documents.y_websocket().open()
    ann.heard()
    bob.heard()
    documents.store.hold()
    update = ann.type("hello")
    await documents.settle()
    newcomer = documents.y_websocket()
    newcomer.send(d.SyncStep1(b"\x00"))
    bob.send(d.SyncUpdate(update))  # he has it from elsewhere; it isn't stored for all that
    twin = await documents.hocuspocus().open()
    twin.heard()
    twin.send(d.SyncUpdate(update))
    await documents.settle()
    ann.expects()
    bob.expects()
    newcomer.expects()
    assert not twin.was_said(d.SyncStatus(True))
    documents.store.release()
    await documents.settle()
    assert ann.was_said(d.SyncStatus(True))
    assert newcomer.text == "hello"
    assert sum(isinstance(m, d.SyncUpdate) for m in newcomer.heard()) == 0, "it was in the answer already"


async def test_3_no_update_comes_before_the_answer_to_step_1(documents: DocumentWorld) -> None:
    ann = await documents.hocuspocus().open()
    late = documents.hocuspocus()
    late.send(d.Authenticate("", "4.8.0"))
    await documents.settle()
    ann.type("one ")
    await documents.settle()
    documents.store.hold()
    ann.type("two ")
    late.send(d.SyncStep1(b"\x00"))
    ann.type("three")
    await documents.settle()
    documents.store.release()
    await documents.settle()
    kinds = [type(message) for message in late.hear() if isinstance(message, d.SyncStep2 | d.SyncUpdate)]
    assert kinds[0] is d.SyncStep2
    assert late.text == "one two three"


async def test_every_step_2_and_every_update_has_one_answer(documents: DocumentWorld) -> None:
    peer = await documents.hocuspocus().open()
    peer.heard()
    update = peer.type("a")
    peer.send(d.SyncUpdate(update))
    peer.send(d.SyncStep2(NOTHING))
    peer.send(d.SyncUpdate(NOTHING))
    peer.send(d.SyncStep2(peer.doc.get_update(b"\x00")))
    await documents.settle()
    peer.expects(*[d.SyncStatus(True)] * 5)


async def test_each_step_1_is_answered_by_both_steps(documents: DocumentWorld) -> None:
    peer = await documents.hocuspocus().open()
    peer.heard()
    for _ in range(3):
        peer.send(d.SyncStep1(peer.doc.get_state()))
    await documents.settle()
    assert [type(message) for message in peer.heard()] == [d.SyncStep1, d.SyncStep2] * 3


async def test_readers_change_nothing_and_are_told_so(make_documents: MakeDocumentWorld) -> None:
    documents = await make_documents(access="nobody")
    ann = await documents.hocuspocus().open(documents.token("ann", documents={"notes": "write"}))
    ann.type("hello")
    await documents.settle()
    reading = documents.token("bob", documents={"notes": "read"})
    bob = await documents.hocuspocus().open(reading)
    assert bob.was_said(d.SyncStatus(True)), "his step 2 brings nothing new"
    bob.heard()
    stored = await documents.store.load("notes")
    bob.type("!")
    bob.send(d.SyncStep2(bob.doc.get_update(b"\x00")))
    content = bob.doc.get("t", type=Text)
    before = bob.doc.get_state()
    del content[0:1]
    bob.send(d.SyncStep2(bob.doc.get_update(before)))
    await documents.settle()
    bob.expects(*[d.SyncStatus(False)] * 3)
    assert await documents.store.load("notes") == stored
    cid = await documents.y_websocket(token=reading).open()
    cid.type("?")
    await documents.settle()
    assert await documents.store.load("notes") == stored
    assert ann.text == "hello"


async def test_rights_change_while_connected(documents: DocumentWorld) -> None:
    peer = await documents.hocuspocus().open(documents.token("ann"))
    peer.heard()
    [attachment] = peer.session._attachments.values()
    attachment.set_rights(Rights.READ)
    peer.type("no")
    await documents.settle()
    peer.expects(d.Authenticated(False), d.SyncStatus(False))
    attachment.set_rights(Rights.WRITE)
    peer.send(d.SyncStep2(peer.doc.get_update(b"\x00")))
    await documents.settle()
    peer.expects(d.Authenticated(True), d.SyncStatus(True))
    attachment.set_rights(Rights.NONE)
    await documents.settle()
    peer.expects(d.PermissionDenied("access was revoked"), d.Close("Forbidden"))
    assert peer.closed is None, "other documents may be open on this socket"
    single = await documents.y_websocket(token=documents.token("ann")).open()
    [attachment] = single.session._attachments.values()
    attachment.set_rights(Rights.NONE)
    assert single.closed == (4401, "access was revoked")


async def test_a_refused_document_leaves_the_socket_open(make_documents: MakeDocumentWorld) -> None:
    documents = await make_documents(access="user")
    peer = documents.hocuspocus()
    peer.send(d.Authenticate("rubbish", "4.8.0"))
    peer.send(d.SyncStep1(b"\x00"))
    await documents.settle()
    peer.expects(d.PermissionDenied("invalid token"))
    assert peer.closed is None
    await peer.open(documents.token("ann"))
    assert peer.was_said(d.SyncStatus(True))


async def test_a_refusal_carries_the_hooks_words(documents: DocumentWorld) -> None:
    @documents.on(DocumentOpenEvent, "notes")
    async def refuse(event: DocumentOpenEvent) -> None:
        raise Forbidden("ask Ann first")

    peer = documents.hocuspocus()
    peer.send(d.Authenticate("", "4.8.0"))
    single = documents.y_websocket()
    await documents.settle()
    peer.expects(d.PermissionDenied("ask Ann first"))
    assert single.closed == (4403, "ask Ann first")
    assert documents.store.loads == 0


async def test_an_old_provider_without_a_token_is_anonymous(documents: DocumentWorld) -> None:
    peer = documents.hocuspocus()
    peer.send(d.SyncStep1(b"\x00"))
    await documents.settle()
    assert [type(message) for message in peer.heard()][-1] is d.SyncStep2


async def test_a_document_that_cannot_be_loaded_is_refused_not_empty(documents: DocumentWorld) -> None:
    documents.store.failing = True
    peer, single = documents.hocuspocus(), documents.y_websocket()
    peer.send(d.Authenticate("", "4.8.0"))
    peer.send(d.SyncStep1(b"\x00"))
    single.send(d.SyncStep1(b"\x00"))
    await documents.settle()
    peer.expects(d.Authenticated(True), d.PermissionDenied("the disk is full"))
    single.expects(d.PermissionDenied("the disk is full"))
    assert single.closed == (1013, "the disk is full")


async def test_a_store_that_fails_acknowledges_nothing_and_clients_offer_it_again(documents: DocumentWorld) -> None:
    ann, bob = await documents.hocuspocus().open(), await documents.y_websocket().open()
    ann.type("safe ")
    await documents.settle()
    ann.heard()
    bob.hear()
    documents.store.failing = True
    ann.type("unsafe")
    await documents.settle()
    ann.expects()
    bob.expects()
    assert ann.closed is not None
    assert ann.closed[0] == 1013
    assert bob.closed is not None
    documents.store.failing = False
    again = documents.hocuspocus()
    again.doc = ann.doc
    await again.open()
    assert again.was_said(d.SyncStatus(True))
    assert (await documents.y_websocket().open()).text == "safe unsafe"


async def test_a_malformed_update_costs_only_its_sender(documents: DocumentWorld) -> None:
    ann, bob, cid = await documents.hocuspocus().open(), await documents.hocuspocus().open(), documents.y_websocket()
    await cid.open()
    for peer in (ann, bob, cid):
        peer.heard()
    bob.send(d.SyncUpdate(malformed_update()))
    cid.send(d.SyncUpdate(malformed_update()))
    await documents.settle()
    bob.expects(d.SyncStatus(False))
    assert bob.closed == (4205, "Reset Connection")
    assert cid.closed == (4400, "malformed")
    ann.type("still here")
    await documents.settle()
    ann.expects(d.SyncStatus(True))


async def test_an_update_that_breaks_the_engine_costs_only_its_sender(
    documents: DocumentWorld, caplog: pytest.LogCaptureFixture
) -> None:
    ann, bob = await documents.hocuspocus().open(), documents.y_websocket()
    ann.type("hello")
    await documents.settle()
    await bob.open()
    documents.store.hold()
    ann.type(" world")
    # its parent is a letter of ann's
    letter = ann.doc.client_id
    bad = b"\x01\x01" + uint(77) + b"\x00\x04\x00" + uint(letter) + b"\x00\x01a\x00"
    bob.send(d.SyncUpdate(bad))
    await documents.settle()
    ann.type("!")
    documents.store.release()
    await documents.settle(100)
    assert bob.closed == (4400, "malformed")
    assert ann.closed is None
    assert (await documents.y_websocket().open()).text == "hello world!"
    assert "an update broke document %r, it is loaded anew: %s" in {record.msg for record in caplog.records}


async def test_another_history_is_kept_and_refused(documents: DocumentWorld) -> None:
    ann = await documents.hocuspocus().open()
    ann.type("hello")
    await documents.settle()
    kept: list[ForeignHistoryEvent] = []
    documents.hooks.add(ForeignHistoryEvent, None, kept.append)
    old = writing("hello", client=5)
    old.apply_update(writing(" and more", client=6).get_update())
    for stranger in (documents.hocuspocus(), documents.y_websocket()):
        stranger.doc = old
        if stranger.dialect.acknowledges:
            stranger.send(d.Authenticate("", "4.8.0"))
        stranger.send(d.SyncStep1(old.get_state()))
        await documents.settle()
        assert stranger.was_said(d.SyncStep1(b"\x00"))
        assert not any(isinstance(message, d.SyncStep2) for message in stranger.heard())
        stranger.send(d.SyncStep2(old.get_update(b"\x00")))
        await documents.settle()
        if stranger.dialect.acknowledges:
            said = '{"type": "foreign-history", "rescue": 1}'
            stranger.expects(d.SyncStatus(False), d.Stateless(said), d.PermissionDenied("foreign-history"))
        else:
            assert stranger.closed == (4409, "foreign history, kept as rescue 1")
    rescues = await documents.store.rescues("notes")
    assert [rescue.update for rescue in rescues] == [old.get_update(b"\x00")]  # the same user's same copy, once
    assert ann.text == "hello"


async def test_what_somebody_typed_before_the_first_connection_is_welcome(documents: DocumentWorld) -> None:
    ann = await documents.hocuspocus().open()
    ann.type("hello")
    await documents.settle()
    bob = documents.hocuspocus()
    bob.doc = writing("bob")
    await bob.open()
    await documents.settle()
    assert sorted((ann.text, bob.text)) in (["bobhello"] * 2, ["hellobob"] * 2)


async def test_any_history_may_begin_a_document(documents: DocumentWorld) -> None:
    peer = documents.y_websocket()
    peer.doc = writing("a", client=5)
    peer.doc.apply_update(writing("b", client=6).get_update())
    await peer.open()
    assert len((await documents.y_websocket().open()).text) == 2


async def test_lineage_can_be_switched_off(make_documents: MakeDocumentWorld) -> None:
    documents = await make_documents(lineage=False)
    (await documents.y_websocket().open()).type("hello")
    peer = documents.y_websocket()
    peer.doc = writing("a", client=5)
    peer.doc.apply_update(writing("b", client=6).get_update())
    await peer.open()
    assert peer.closed is None
    assert len(peer.text) == 7


async def test_stateless_messages_reach_the_hook_and_whom_it_wants(documents: DocumentWorld) -> None:
    @documents.on(StatelessEvent)
    async def hear(event: StatelessEvent) -> StatelessReply:
        return StatelessReply(payload=f"heard {event.payload}", broadcast="to all")

    ann, bob = await documents.hocuspocus().open(), await documents.hocuspocus().open()
    single = await documents.y_websocket().open()
    for peer in (ann, bob, single):
        peer.heard()
    ann.send(d.Stateless("ping!"))
    for _ in range(20):
        await documents.settle()
    ann.expects(d.Stateless("heard ping!"), d.Stateless("to all"))
    bob.expects(d.Stateless("to all"))
    single.expects()


async def test_closing_one_document_leaves_the_others(documents: DocumentWorld) -> None:
    peer = documents.hocuspocus()
    for key in ("a", "b"):
        await peer.open(key=key)
    peer.heard()
    peer.send(d.Close(), "a")
    await documents.settle()
    peer.expects(d.Close("provider_initiated"), key="a")
    peer.send(d.SyncStep1(b"\x00"), "b")
    await documents.settle()
    assert [type(message) for message in peer.heard()] == [d.SyncStep1, d.SyncStep2]
    await peer.open(key="a")
    assert peer.was_said(d.SyncStatus(True), "a")


async def test_two_sessions_of_one_document_on_one_socket(documents: DocumentWorld) -> None:
    peer = documents.hocuspocus()
    await peer.open(key="notes\0s1")
    await peer.open(key="notes\0s2")
    peer.heard()
    update = peer.type("x", key="notes\0s1")
    await documents.settle()
    assert peer.was_said(d.SyncStatus(True), "notes\0s1")
    assert peer.was_said(d.SyncUpdate(update), "notes\0s2")
    assert not peer.was_said(d.SyncUpdate(update), "notes\0s1")
    assert len(documents.documents) == 1


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "x" * 513])
async def test_names_that_are_none(documents: DocumentWorld, name: str) -> None:
    peer = documents.hocuspocus()
    peer.send(d.Authenticate("", "4.8.0"), name)
    await documents.settle()
    assert len(peer.said) == 1
    assert documents.store.loads == 0


async def test_a_document_that_is_full_takes_no_more(make_documents: MakeDocumentWorld) -> None:
    documents = await make_documents(document_max_bytes=1000)
    peer, single = await documents.hocuspocus().open(), await documents.y_websocket().open()
    peer.type("x" * 500)
    await documents.settle()
    peer.heard()
    peer.type("y" * 600)
    single.type("y" * 600)
    await documents.settle()
    peer.expects(d.SyncStatus(False))
    assert peer.closed == (1009, "Message Too Big")
    assert single.closed == (4413, "the document is too large")


async def test_hooks_hear_of_each_end_once(documents: DocumentWorld) -> None:
    ended: list[DocumentCloseEvent] = []

    @documents.on(DocumentCloseEvent)
    async def hear(event: DocumentCloseEvent) -> None:
        ended.append(event)

    @documents.on(DocumentOpenEvent)
    async def admit(event: DocumentOpenEvent) -> DocumentOpenReply:
        return DocumentOpenReply(user="ann")

    peer = await documents.hocuspocus().open()
    await documents.settle()
    peer.send(d.Close())
    await documents.settle()
    peer.cut()
    await documents.settle()
    assert ended == [DocumentCloseEvent("notes", "ann", "client-1")]


async def test_query_awareness_is_answered(documents: DocumentWorld) -> None:
    ann, bob = await documents.hocuspocus().open(), await documents.y_websocket().open()
    ann.send(ANN)
    await documents.settle()
    bob.heard()
    bob.send(d.QueryAwareness())
    bob.expects()
    await documents.settle()
    bob.expects(ANN)
