"""`GET /api/trace?user=…&channel=…`: what happens, on all nodes, as lines of JSON for as long as somebody reads.

The nodes keep what they see; this asks all of them every half second, with one question. A reader that is slow, or
gone, stops the asking, and that is all it stops: each node keeps a bounded part and forgets the trace soon after.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from uuid import uuid4

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from roomful.model.errors import RoomfulError
from roomful.model.tracing import Happening, TraceAnswer, TraceQuestion, Wanted
from roomful.node.node import Node
from roomful.node.tracing import SURVEY

ASK_S = 0.5
ALIVE_S = 10.0
"""An empty line comes after so long without another one, so that a proxy keeps the stream open."""

EVERYBODY = "*"
"""Stands for all nodes when the engine can't be asked."""

MEDIA_TYPE = "application/x-ndjson"

_question = msgspec.msgpack.Encoder()
_answer = msgspec.msgpack.Decoder(TraceAnswer)


class Collector:
    """Puts the answers of all nodes together, and says what is missing in them."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._next: dict[str, int] = {}  # by node: the number of the happening that comes next
        self._silent: set[str] = set()
        self._refused: set[str] = set()

    def take(self, bodies: dict[str, bytes], missing: Iterable[str]) -> tuple[list[Happening], bool]:
        """What is new, by the clocks of the nodes; and whether there is more to ask for at once."""
        found: list[Happening] = []
        more = False
        if bodies:
            self._silent.discard(EVERYBODY)
        for node, body in bodies.items():
            answer = _answer.decode(body)
            self._silent.discard(node)
            if answer.refused:
                found += self._once(self._refused, "too_many", node)
                continue
            found += self._new(node, answer)
            more |= answer.more
        for node in missing:
            found += self._once(self._silent, "silent", node)
        found.sort(key=lambda happening: happening.at_ms)
        return found, more

    def _new(self, node: str, answer: TraceAnswer) -> list[Happening]:
        before = self._next.get(node, 0)
        self._next[node] = answer.first + len(answer.happenings) + answer.missed
        found = list(answer.happenings)
        first_ms = found[0].at_ms if found else self._now_ms()
        if answer.first < before:  # it has forgotten the trace, or begun anew itself
            found.insert(0, Happening(first_ms, "interrupted", node))
        elif answer.first > before:  # an answer was lost
            found.insert(0, Happening(first_ms, "missed", node, count=answer.first - before))
        if answer.missed:
            last_ms = found[-1].at_ms if found else self._now_ms()
            found.append(Happening(last_ms, "missed", node, count=answer.missed))
        return found

    def _once(self, known: set[str], event: str, node: str) -> list[Happening]:
        if node in known:
            return []
        known.add(node)
        return [Happening(self._now_ms(), event, node)]


async def follow(node: Node, wanted: Wanted, ended: Callable[[], bool]) -> AsyncIterator[list[Happening]]:
    """What happens, in pieces; an empty piece after each `ALIVE_S` without anything. It ends when `ended` says so.

    An engine that can't be asked makes all nodes silent; it is asked again.
    """
    collector = Collector(_now_ms)
    question = _question.encode(TraceQuestion(uuid4().hex, wanted))
    told_at = asyncio.get_running_loop().time()
    while not ended():
        try:
            answers = await node.ask_all(SURVEY, question)
            found, more = collector.take(answers.bodies, answers.missing)
        except RoomfulError:
            found, more = collector.take({}, [EVERYBODY])
        now = asyncio.get_running_loop().time()
        if found or now - told_at >= ALIVE_S:
            told_at = now
            yield found
        if not more:
            await asyncio.sleep(ASK_S)
    yield [Happening(_now_ms(), "end", node.id)]


def respond(request: Request, node: Node, ended: Callable[[], bool]) -> Response | None:
    """The stream; None if the request names neither a user nor a channel."""
    wanted = Wanted(request.query_params.get("user", ""), request.query_params.get("channel", ""))
    if wanted == Wanted():
        return None

    async def lines() -> AsyncIterator[bytes]:
        yield b"\n"  # so that the reader knows at once that it was let in
        async for found in follow(node, wanted, ended):
            yield b"".join(msgspec.json.encode(happening) + b"\n" for happening in found) or b"\n"

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines(), media_type=MEDIA_TYPE, headers=headers)


def _now_ms() -> int:
    return int(time.time() * 1000)
