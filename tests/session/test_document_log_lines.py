"""What goes wrong with a connection to documents is logged once, in the words of docs/monitoring.md, and says whose."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pycrdt import Doc, Text

from roomful.model import document as d
from roomful.model.errors import InternalError
from roomful.model.event import DocumentOpenEvent, DocumentOpenReply
from roomful.node.rate_options import ConnectionRates, RateOptions
from tests.session.conftest import MakeDocumentWorld
from tests.session.document_world import DocumentWorld, Peer, malformed_update

Provoke = Callable[[DocumentWorld], Awaitable[Peer]]


async def refused(world: DocumentWorld) -> Peer:
    return await world.hocuspocus().open(world.token("ann", documents={"other": "write"}))


async def bad_token(world: DocumentWorld) -> Peer:
    return await world.hocuspocus().open("a.b.c")


async def hook_names_a_tilde(world: DocumentWorld) -> Peer:
    @world.on(DocumentOpenEvent)
    async def wrong(_event: DocumentOpenEvent) -> DocumentOpenReply:
        return DocumentOpenReply(user="~ann")

    peer = world.hocuspocus()
    peer.send(d.Authenticate("", "4.8.0"))
    return peer


async def no_message(world: DocumentWorld) -> Peer:
    peer = await world.y_websocket().open()
    peer.send_bytes(b"\xff")
    return peer


async def no_hocuspocus_message(world: DocumentWorld) -> Peer:
    peer = world.hocuspocus()
    peer.send_bytes(b"\xff")
    return peer


async def bad_update(world: DocumentWorld) -> Peer:
    peer = await world.y_websocket().open()
    peer.send(d.SyncUpdate(malformed_update()))
    return peer


async def another_history(world: DocumentWorld) -> Peer:
    first = await world.hocuspocus().open()
    first.type("hello")
    await world.settle()
    peer = world.hocuspocus()
    for author in (5, 6):  # of one author it would be what was typed before the first connection
        doc: Doc[Any] = Doc(client_id=author)
        content = doc.get("t", type=Text)
        content += "another"
        peer.doc.apply_update(doc.get_update())
    for message in (
        d.Authenticate("", "4.8.0"),
        d.SyncStep1(peer.doc.get_state()),
        d.SyncStep2(peer.doc.get_update(b"\x00")),
    ):
        peer.send(message)
        await world.settle()
    return peer


async def large(world: DocumentWorld) -> Peer:
    peer = await world.y_websocket().open()
    for _ in range(9):
        peer.type("x" * 100)
        await world.settle()
    return peer


async def too_often(world: DocumentWorld) -> Peer:
    peer = await world.y_websocket().open()
    for _ in range(3):
        peer.type("x")
    return peer


async def store_that_fails(world: DocumentWorld) -> Peer:
    peer = await world.y_websocket().open()
    world.store.failing = True
    peer.type("x")
    await world.settle()
    return peer


def broken(error: type[Exception]) -> Callable[..., Any]:
    async def fails(*_arguments: Any) -> Any:
        raise error("it is broken")

    return fails


async def load_with_a_bug(world: DocumentWorld) -> Peer:
    world.store.load = broken(ZeroDivisionError)  # type: ignore[method-assign]  # a bug of ours
    return world.y_websocket()  # which opens it once


async def open_with_a_bug(world: DocumentWorld) -> Peer:
    world.documents.open = broken(ZeroDivisionError)  # type: ignore[method-assign]  # a bug of ours
    return world.y_websocket()  # which opens it once


async def append_with_a_bug(world: DocumentWorld) -> Peer:
    peer = await world.y_websocket().open()
    world.store.append = broken(ZeroDivisionError)  # type: ignore[method-assign]  # a bug of ours
    peer.type("x")
    return peer


async def compaction_that_fails(world: DocumentWorld) -> Peer:
    world.store.compact = broken(InternalError)  # type: ignore[method-assign]  # the disk is full
    peer = await world.y_websocket().open()
    peer.type("x")
    await world.settle()
    peer.cut()
    await world.settle()
    await world.pass_time(60)
    return peer


async def rescue_that_fails(world: DocumentWorld) -> Peer:
    world.documents.rescue = broken(InternalError)  # type: ignore[method-assign]  # the disk is full
    return await another_history(world)


OPEN: dict[str, Any] = {}
LINES: dict[str, tuple[Provoke, int, dict[str, Any]]] = {
    "document %r is refused: %s": (refused, logging.INFO, {"access": "nobody"}),
    "a bad token was sent for a document: %s": (bad_token, logging.INFO, OPEN),
    "the hook of documents named the user %r; user ids can't start with %r": (hook_names_a_tilde, logging.ERROR, OPEN),
    "no message of documents was sent: %s": (no_hocuspocus_message, logging.INFO, OPEN),
    "nonsense was sent for document %r: %s": (no_message, logging.INFO, OPEN),
    "a bad update for document %r: %s; it begins with %s": (bad_update, logging.WARNING, OPEN),
    "another history of document %r, %s": (another_history, logging.WARNING, OPEN),
    "document %r has %d bytes, at most %d are allowed": (large, logging.WARNING, {"document_max_bytes": 1_000}),
    "a connection to documents is sent away: %s": (
        too_often,
        logging.INFO,
        {"rates": RateOptions(connection=ConnectionRates(edit="1/min burst 2"))},
    ),
    "document %r could not be loaded": (load_with_a_bug, logging.ERROR, OPEN),
    "document %r could not be opened": (open_with_a_bug, logging.ERROR, OPEN),
    "document %r failed": (append_with_a_bug, logging.ERROR, OPEN),
    "document %r could not be compacted: %s": (compaction_that_fails, logging.ERROR, {"compact_entries": 1}),
    "what a client holds of document %r could not be kept: %s": (rescue_that_fails, logging.ERROR, OPEN),
    "document %r can't be stored, its clients are sent away: %s": (store_that_fails, logging.ERROR, OPEN),
}


OF_THE_DOCUMENT = {
    "document %r could not be loaded",
    "document %r failed",
    "document %r could not be compacted: %s",
    "document %r can't be stored, its clients are sent away: %s",
}
"""Concern everybody who has it open."""


@pytest.mark.parametrize("template", LINES)
async def test_each_line_comes_once_and_says_whose_it_is(
    template: str, make_documents: MakeDocumentWorld, caplog: pytest.LogCaptureFixture
) -> None:
    provoke, level, options = LINES[template]
    world = await make_documents(**options)
    with caplog.at_level(logging.DEBUG, "roomful"):
        peer = await provoke(world)
        await world.settle()
    lines = [record for record in caplog.records if record.msg == template]
    assert [line.levelno for line in lines] == [level], [record.getMessage() for record in caplog.records]
    if template not in OF_THE_DOCUMENT:
        assert lines[0].__dict__["client"] == peer.session.client
