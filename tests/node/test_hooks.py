"""Which hook runs for what, and what becomes of whatever it does."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model import event as events
from roomful.model.disconnects import Disconnect
from roomful.model.errors import ApplicationError, ConfigError, Forbidden, InternalError
from roomful.model.event import (
    ConnectEvent,
    ConnectReply,
    DisconnectEvent,
    PublishEvent,
    PublishReply,
    RpcEvent,
    RpcReply,
    SubscribeEvent,
    SubscribeReply,
)
from roomful.node.hooks import HOOKS, THREADS_MAX, Hooks
from roomful.node.stats import Stats

PUBLISH = PublishEvent("client", "ann", "chat:1", {"text": "hello"})


@pytest.fixture
def stats() -> Stats:
    return Stats()


@pytest.fixture
def hooks(stats: Stats) -> Hooks:
    return Hooks(stats, deadline_s=5.0)


def in_both_ways(act: Callable[[Any], Any]) -> list[Callable[[Any], Any]]:
    """The same as a plain and as an async function."""

    async def act_async(event: Any) -> Any:
        return act(event)

    return [act, act_async]


def raiser(error: BaseException) -> Callable[[Any], Any]:
    def act(_event: Any) -> Any:
        raise error

    return act


# What can be hooked


def test_every_event_is_in_the_table() -> None:
    defined = {value for name, value in vars(events).items() if name.endswith("Event")}
    assert HOOKS.keys() == defined


@pytest.mark.parametrize("event", HOOKS, ids=lambda event: event.__name__)
def test_what_narrows_an_event_is_one_of_its_fields(event: type) -> None:
    narrowed_by = HOOKS[event].narrowed_by
    assert narrowed_by is None or narrowed_by in event.__struct_fields__


@pytest.mark.parametrize(
    ("event", "pattern", "says"),
    [
        (str, None, "not an event"),
        (ConnectReply, None, "not an event"),
        (ConnectEvent, "chat:*", "can't be narrowed"),
        (DisconnectEvent, "", "can't be narrowed"),
    ],
)
def test_a_hook_for_nothing_is_refused(hooks: Hooks, event: type, pattern: str | None, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        hooks.add(event, pattern, print)
    assert not hooks.has(event)


@pytest.mark.parametrize(("first", "second"), [(None, None), ("*", None), (None, "*"), ("chat:*", "chat:*")])
def test_a_second_equal_hook_is_refused(hooks: Hooks, first: str | None, second: str | None) -> None:
    hooks.add(PublishEvent, first, print)
    with pytest.raises(ConfigError, match="two hooks"):
        hooks.add(PublishEvent, second, print)


def test_has_is_about_the_event_alone(hooks: Hooks) -> None:
    hooks.add(PublishEvent, "chat:*", print)
    assert hooks.has(PublishEvent)
    assert not hooks.has(SubscribeEvent)
    assert hooks.find(PublishEvent, "news") is None


# Which one is taken


@pytest.mark.parametrize(
    ("patterns", "name", "taken"),
    [
        (["*", "chat:*", "chat:1"], "chat:1", "chat:1"),
        (["*", "chat:*", "chat:1"], "chat:2", "chat:*"),
        (["*", "chat:*", "chat:1"], "news", "*"),
        (["chat:*"], "news", None),
        (["chat:*"], "chat:", "chat:*"),
        (["chat"], "chats", None),
        (["a*", "*bcd"], "abcd", "*bcd"),
        (["a*", "*b"], "ab", "*b"),  # equally many letters: by spelling
        (["*:public:*", "chat:*"], "chat:public:1", "*:public:*"),
        (["c*t", "c**t"], "cat", "c**t"),
        (["a.c"], "abc", None),
        (["a.c"], "a.c", "a.c"),
        (["chat:*"], "chat:1\n2", "chat:*"),
        ([""], "", ""),
        ([""], "x", None),
    ],
)
def test_the_most_specific_pattern_wins(hooks: Hooks, patterns: list[str], name: str, taken: str | None) -> None:
    for pattern in patterns:
        hooks.add(RpcEvent, pattern, print)
    found = hooks.find(RpcEvent, name)
    assert (found and found.text) == taken


@given(st.permutations(["*", "chat:*", "chat:1", "*:1", "c*:1", "**"]), st.sampled_from(["chat:1", "chat:2", "x"]))
def test_the_order_of_adding_doesnt_matter(order: list[str], name: str) -> None:
    hooks, sorted_hooks = Hooks(Stats()), Hooks(Stats())
    for pattern in order:
        hooks.add(RpcEvent, pattern, print)
    for pattern in sorted(order):
        sorted_hooks.add(RpcEvent, pattern, print)
    found, other = hooks.find(RpcEvent, name), sorted_hooks.find(RpcEvent, name)
    assert found is not None
    assert other is not None
    assert found.text == other.text


# What it answers


async def test_without_a_hook_nobody_has_an_opinion(hooks: Hooks) -> None:
    assert await hooks.call(PUBLISH, "chat:1") is None


@pytest.mark.parametrize("hook", in_both_ways(lambda event: PublishReply(tags={"user": event.user})))
async def test_the_reply_comes_back(hooks: Hooks, hook: Callable[[Any], Any]) -> None:
    hooks.add(PublishEvent, None, hook)
    assert await hooks.call(PUBLISH, "chat:1") == PublishReply(tags={"user": "ann"})


@pytest.mark.parametrize("hook", in_both_ways(lambda event: None))
async def test_none_is_no_opinion(hooks: Hooks, hook: Callable[[Any], Any]) -> None:
    hooks.add(PublishEvent, None, hook)
    assert await hooks.call(PUBLISH, "chat:1") is None


async def test_every_kind_of_callable(hooks: Hooks) -> None:
    class Asynchronous:
        async def __call__(self, event: RpcEvent) -> RpcReply:
            return RpcReply(event.method)

        async def method(self, event: RpcEvent) -> RpcReply:
            return RpcReply(event.method)

    async def more(event: RpcEvent, extra: int) -> RpcReply:
        return RpcReply(event.method * extra)

    hooks.add(RpcEvent, "object", Asynchronous())
    hooks.add(RpcEvent, "method", Asynchronous().method)
    hooks.add(RpcEvent, "partial", functools.partial(more, extra=2))
    for method, said in {"object": "object", "method": "method", "partial": "partialpartial"}.items():
        assert await hooks.call(RpcEvent("client", "ann", method), method) == RpcReply(said)


async def test_a_plain_function_runs_in_a_thread_and_an_async_one_in_a_task_of_its_own(hooks: Hooks) -> None:
    ran_in: list[object] = []

    async def in_task(_event: RpcEvent) -> None:
        ran_in.append(asyncio.current_task())

    hooks.add(RpcEvent, "thread", lambda event: ran_in.append(threading.current_thread()))
    hooks.add(RpcEvent, "task", in_task)
    await hooks.call(RpcEvent("client", "ann", "thread"), "thread")
    await hooks.call(RpcEvent("client", "ann", "task"), "task")
    assert ran_in[0] is not threading.current_thread()
    assert ran_in[1] is not None
    assert ran_in[1] is not asyncio.current_task()


@pytest.mark.parametrize(
    "error", [Forbidden("no"), ApplicationError(1234, "mine"), Disconnect(4321, "go")], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("way", [0, 1], ids=["plain", "async"])
async def test_a_refusal_comes_through_as_it_is(hooks: Hooks, stats: Stats, error: Exception, way: int) -> None:
    hooks.add(PublishEvent, None, in_both_ways(raiser(error))[way])
    with pytest.raises(type(error)) as raised:
        await hooks.call(PUBLISH, "chat:1")
    assert raised.value is error
    assert not stats.hook_errors


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a secret of ours"),
        TimeoutError(),
        StopIteration("next(iter([]))"),
        StopAsyncIteration(),
        RecursionError(),
        SystemExit(1),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        BaseException("whatever"),
        ExceptionGroup("several", [ValueError()]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("way", [0, 1], ids=["plain", "async"])
async def test_every_other_exception_is_ours(
    hooks: Hooks, stats: Stats, caplog: pytest.LogCaptureFixture, error: BaseException, way: int
) -> None:
    hooks.add(PublishEvent, None, in_both_ways(raiser(error))[way])
    with pytest.raises(InternalError) as raised:
        await hooks.call(PUBLISH, "chat:1")
    assert str(raised.value) == "internal server error"
    assert sum(stats.hook_errors.values()) == 1
    assert caplog.records[-1].levelno == logging.ERROR
    assert "PublishEvent" in caplog.text


async def test_the_log_has_the_traceback_and_the_client_not_a_word_of_it(
    hooks: Hooks, caplog: pytest.LogCaptureFixture
) -> None:
    hooks.add(PublishEvent, None, raiser(ValueError("a secret of ours")))
    with pytest.raises(InternalError) as raised:
        await hooks.call(PUBLISH, "chat:1")
    assert "a secret of ours" not in repr(raised.value)
    assert "a secret of ours" in caplog.text
    assert "Traceback" in caplog.text


async def without_arguments() -> None: ...


@pytest.mark.parametrize("hook", [lambda: None, without_arguments], ids=["plain", "async"])
async def test_a_hook_that_cant_be_called_is_an_error_of_ours(hooks: Hooks, hook: Callable[..., Any]) -> None:
    hooks.add(PublishEvent, None, hook)
    with pytest.raises(InternalError):
        await hooks.call(PUBLISH, "chat:1")
    await hooks.tell(PUBLISH, "chat:1")


@pytest.mark.parametrize(
    ("event", "reply"),
    [
        (PUBLISH, SubscribeReply()),
        (PUBLISH, True),
        (PUBLISH, {}),
        (ConnectEvent("client"), PublishReply()),
        (DisconnectEvent("client", "ann", 3000, ""), PublishReply()),
        (DisconnectEvent("client", "ann", 3000, ""), False),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_reply_of_another_type_is_an_error_of_ours(
    hooks: Hooks, stats: Stats, caplog: pytest.LogCaptureFixture, event: Any, reply: Any
) -> None:
    hooks.add(type(event), None, lambda _event: reply)
    with pytest.raises(InternalError):
        await hooks.call(event)
    assert sum(stats.hook_errors.values()) == 1
    assert "it may answer" in caplog.text


# How long it takes


async def test_an_async_hook_that_takes_too_long_is_cancelled(stats: Stats) -> None:
    hooks, cancelled = Hooks(stats, deadline_s=0.01), asyncio.Event()

    async def hang(_event: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    hooks.add(PublishEvent, None, hang)
    with pytest.raises(InternalError):
        await hooks.call(PUBLISH, "chat:1")
    async with asyncio.timeout(5):
        await cancelled.wait()
    assert sum(stats.hook_errors.values()) == 1


async def test_a_plain_hook_that_takes_too_long_holds_up_nobody_else(stats: Stats) -> None:
    hooks, go_on = Hooks(stats, deadline_s=0.01), threading.Event()
    hooks.add(PublishEvent, None, lambda event: go_on.wait(5))
    try:
        with pytest.raises(InternalError):
            await hooks.call(PUBLISH, "chat:1")
        hooks.deadline_s = 5.0
        hooks.add(RpcEvent, None, lambda event: RpcReply(1))
        assert await hooks.call(RpcEvent("client", "ann", ""), "") == RpcReply(1)
    finally:
        go_on.set()


async def test_11_a_plain_hook_that_hangs_in_all_its_threads_holds_up_no_other(stats: Stats) -> None:
    hooks, go_on = Hooks(stats, deadline_s=5.0), threading.Event()

    def hang(_event: Any) -> None:
        go_on.wait(5)

    hooks.add(PublishEvent, None, hang)
    hooks.add(RpcEvent, None, lambda event: RpcReply(1))
    try:
        hanging = [asyncio.ensure_future(hooks.call(PUBLISH, "chat:1")) for _ in range(THREADS_MAX + 8)]
        await asyncio.sleep(0)
        assert await hooks.call(RpcEvent("client", "ann", ""), "") == RpcReply(1)
        assert not any(call.done() for call in hanging)
    finally:
        go_on.set()
    assert await asyncio.gather(*hanging) == [None] * len(hanging)
    hooks.remove(hang)


async def test_two_calls_of_a_plain_hook_run_at_once(hooks: Hooks) -> None:
    both = threading.Barrier(2)

    def meet(_event: Any) -> None:
        both.wait(5)

    hooks.add(PublishEvent, None, meet)
    await asyncio.gather(hooks.call(PUBLISH, "chat:1"), hooks.call(PUBLISH, "chat:1"))


# Telling


@pytest.mark.parametrize(
    "error", [Forbidden(), Disconnect(4000, "go"), ValueError(), SystemExit(), asyncio.CancelledError()], ids=repr
)
async def test_telling_goes_on_whatever_the_hook_does(
    hooks: Hooks, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    event = DisconnectEvent("client", "ann", 3000, "")
    hooks.add(DisconnectEvent, None, in_both_ways(raiser(error))[1])
    await hooks.tell(event)
    assert "DisconnectEvent" in caplog.text


async def test_a_hook_that_is_removed_leaves_its_place(hooks: Hooks) -> None:
    async def one(_event: Any) -> PublishReply:
        return PublishReply({"by": "one"})

    async def other(_event: Any) -> PublishReply:
        return PublishReply({"by": "other"})

    hooks.add(PublishEvent, "chat:*", one)
    hooks.add(PublishEvent, None, other)
    hooks.remove(one)
    hooks.remove(one)
    assert (await hooks.call(PUBLISH, "chat:1")).data == {"by": "other"}
    hooks.add(PublishEvent, "chat:*", one)
    assert (await hooks.call(PUBLISH, "chat:1")).data == {"by": "one"}
    for hook in (one, other):
        hooks.remove(hook)
    assert not hooks.has(PublishEvent)
    assert await hooks.call(PUBLISH, "chat:1") is None
