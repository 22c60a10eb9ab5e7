"""The application that the tests of rights and hooks serve."""

from __future__ import annotations

import asyncio

from pycrdt import Text

from roomful import (
    DocumentLoadEvent,
    DocumentLoadReply,
    DocumentOpenEvent,
    DocumentOpenReply,
    Forbidden,
    Rights,
    Roomful,
    StatelessEvent,
    StatelessReply,
)

app = Roomful()

TEMPLATE = bytes.fromhex("010101000401017402686900")
"""Client 1 types "hi" into the text "t"."""


@app.on(DocumentOpenEvent, document="hooked/*")
async def admit(event: DocumentOpenEvent) -> DocumentOpenReply:
    if event.query.get("as") == "nobody":
        raise Forbidden("ask Ann first")
    return DocumentOpenReply(rights=Rights.WRITE, user="hooked")


@app.on(DocumentOpenEvent, document="slow/*")
async def think(event: DocumentOpenEvent) -> DocumentOpenReply:
    await asyncio.sleep(0.3)
    return DocumentOpenReply()


@app.on(DocumentLoadEvent, document="hooked/template/*")
async def begin(event: DocumentLoadEvent) -> DocumentLoadReply:
    return DocumentLoadReply(TEMPLATE)


@app.on(StatelessEvent)
async def hear(event: StatelessEvent) -> StatelessReply | None:
    if event.payload == "rights":
        await app.set_document_rights(event.user, event.document, Rights.READ)
        return None
    if event.payload == "write":
        async with app.document(event.document) as doc:
            text = doc.get("t", type=Text)
            text += " from Python"
        return StatelessReply(payload="written")
    return StatelessReply(payload=f"heard {event.payload}", broadcast=f"{event.user} said {event.payload}")
