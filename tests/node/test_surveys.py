from __future__ import annotations

from collections.abc import Collection

import pytest

from roomful.model.errors import InternalError
from roomful.model.order import Answer, Order, Survey
from roomful.node.surveys import Answers, Surveys


class Control:
    """Remembers what was asked; `failing`: it can't carry anything."""

    def __init__(self, *nodes: str) -> None:
        self._nodes = nodes
        self.asked: list[Survey] = []
        self.failing = False

    async def nodes(self) -> Collection[str]:
        return self._nodes

    async def ask(self, survey: Survey) -> None:
        if self.failing:
            raise InternalError("the broker is gone")
        self.asked.append(survey)
        for node in self._nodes:
            if not node.startswith("dead"):
                self.surveys.on_answer(Answer(survey.id, node, node.encode()))

    surveys: Surveys

    async def send(self, order: Order) -> None:
        raise AssertionError

    async def answer(self, node: str, answer: Answer) -> None:
        raise AssertionError


def surveys(control: Control, deadline_s: float = 0.01) -> Surveys:
    control.surveys = Surveys(control, "a", deadline_s)
    return control.surveys


async def test_29_all_answers_are_collected() -> None:
    control = Control("a", "b")
    asking = surveys(control, deadline_s=60.0)
    assert await asking.ask("info", b"x") == Answers({"a": b"a", "b": b"b"}, [])
    assert [(survey.asker, survey.question, survey.argument) for survey in control.asked] == [("a", "info", b"x")]


async def test_29_a_node_that_doesnt_answer_in_time_is_named() -> None:
    answers = await surveys(Control("a", "dead-1", "dead-2")).ask("info")
    assert (answers.bodies, answers.missing) == ({"a": b"a"}, ["dead-1", "dead-2"])


async def test_answers_to_other_surveys_are_ignored() -> None:
    control = Control("a", "dead")
    asking = surveys(control)
    await asking.ask("info")
    asking.on_answer(Answer(control.asked[0].id, "dead", b"late"))
    assert (await asking.ask("info")).missing == ["dead"]


async def test_an_engine_that_cant_ask_is_an_error() -> None:
    control = Control("a")
    control.failing = True
    with pytest.raises(InternalError):
        await surveys(control).ask("info")
