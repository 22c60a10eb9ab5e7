"""`make_world`: worlds that are checked and torn down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.session.document_world import DocumentWorld
from tests.session.world import World

MakeWorld = Callable[..., Awaitable[World]]


@pytest.fixture
async def make_world() -> AsyncIterator[MakeWorld]:
    worlds: list[World] = []

    async def make(**arguments: Any) -> World:
        world = World(**arguments)
        await world.start()
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        await world.stop()


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    return await make_world()


MakeDocumentWorld = Callable[..., Awaitable[DocumentWorld]]


@pytest.fixture
async def make_documents() -> AsyncIterator[MakeDocumentWorld]:
    worlds: list[DocumentWorld] = []

    async def make(**arguments: Any) -> DocumentWorld:
        world = DocumentWorld(**arguments)
        await world.start()
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        await world.stop()


@pytest.fixture
async def documents(make_documents: MakeDocumentWorld) -> DocumentWorld:
    return await make_documents()
