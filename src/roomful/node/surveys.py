"""Questions to all nodes: collected until all have answered or the time is up, and then marked as partial."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import msgspec

from roomful.model.order import Answer, Survey
from roomful.seams.engine import Control

DEADLINE_S = 0.4
"""Somebody waits for the answer; a node that takes longer is as good as gone."""


class Answers(msgspec.Struct, frozen=True):
    """bodies: by node. missing: nodes that live, as far as is known, and haven't answered in time."""

    bodies: dict[str, bytes]
    missing: list[str]


class _Open(msgspec.Struct):
    expected: set[str]
    bodies: dict[str, bytes]
    complete: asyncio.Event


class Surveys:
    """The surveys that one node has open."""

    def __init__(self, control: Control, node: str, deadline_s: float = DEADLINE_S) -> None:
        self._control = control
        self._node = node
        self._deadline_s = deadline_s
        self._open: dict[str, _Open] = {}

    async def ask(self, question: str, argument: bytes = b"") -> Answers:
        """Raises RoomfulError when the engine can't carry the question."""
        id = uuid4().hex
        survey = self._open[id] = _Open(set(await self._control.nodes()), {}, asyncio.Event())
        try:
            await self._control.ask(Survey(id, self._node, question, argument))
            if not survey.expected <= survey.bodies.keys():  # the memory engine has answered already
                await self._collect(survey)
        finally:
            del self._open[id]
        return Answers(survey.bodies, sorted(survey.expected - survey.bodies.keys()))

    def on_answer(self, answer: Answer) -> None:
        """An answer has come, perhaps too late."""
        survey = self._open.get(answer.id)
        if survey is None:
            return
        survey.bodies[answer.node] = answer.body
        if survey.expected <= survey.bodies.keys():
            survey.complete.set()

    async def _collect(self, survey: _Open) -> None:
        # Not asyncio.timeout, which needs a task of its own: the caller may be stepped outside of one.
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._deadline_s, survey.complete.set)
        try:
            await survey.complete.wait()
        finally:
            timer.cancel()
