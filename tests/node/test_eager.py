"""What runs at once, what goes on as a task, and that nothing is lost between the two."""

from __future__ import annotations

import asyncio
import gc
from contextvars import ContextVar
from typing import Any

import pytest

from roomful.node import eager


async def test_what_never_suspends_ends_on_the_spot() -> None:
    steps: list[int] = []

    async def work() -> None:
        steps.append(1)

    assert eager.start(work()) is None
    assert steps == [1]


@pytest.mark.parametrize("suspends", [1, 2, 5])
async def test_what_suspends_goes_on_as_a_task(suspends: int) -> None:
    steps: list[int] = []

    async def work() -> None:
        for step in range(suspends):
            steps.append(step)
            await asyncio.sleep(0)

    task = eager.start(work())
    assert steps == [0]
    assert task is not None
    await task
    assert steps == list(range(suspends))


async def test_it_gets_what_it_waits_for() -> None:
    question: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    heard: list[str] = []

    async def work() -> None:
        heard.append(await question)

    task = eager.start(work())
    assert task is not None
    question.set_result("answer")
    await task
    assert heard == ["answer"]


async def test_it_gets_the_exception_of_what_it_waits_for_and_may_handle_it() -> None:
    question: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    heard: list[BaseException] = []

    async def work() -> None:
        try:
            await question
        except LookupError as error:
            heard.append(error)
            await asyncio.sleep(0)

    task = eager.start(work())
    assert task is not None
    question.set_exception(LookupError("no"))
    await task
    assert [str(error) for error in heard] == ["no"]


async def test_an_error_before_the_first_suspension_is_raised_here() -> None:
    async def work() -> None:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        eager.start(work())


async def test_a_later_error_is_the_tasks() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise LookupError("later")

    task = eager.start(work())
    assert task is not None
    with pytest.raises(LookupError, match="later"):
        await task


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_cancelled_at_any_moment_it_runs_its_ending(turns: int) -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            steps.append("cancelled")
            await asyncio.sleep(0)
            steps.append("cleaned up")
            raise

    task = eager.start(work())
    assert task is not None
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["cancelled", "cleaned up"]


async def test_a_cancellation_may_be_survived() -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)

    task = eager.start(work())
    assert task is not None
    task.cancel()
    await task
    assert not task.cancelled()


async def test_one_starts_another() -> None:
    steps: list[str] = []
    go_on = asyncio.Event()

    async def inner() -> None:
        steps.append("inner")
        await go_on.wait()
        steps.append("inner ends")

    async def outer() -> None:
        steps.append("outer")
        task = eager.start(inner())
        assert task is not None
        await task
        steps.append("outer ends")

    task = eager.start(outer())
    assert steps == ["outer", "inner"]
    assert task is not None
    go_on.set()
    await task
    assert steps == ["outer", "inner", "inner ends", "outer ends"]


async def test_what_needs_a_current_task_has_one_after_the_first_suspension() -> None:
    tasks: list[asyncio.Task[None] | None] = []

    async def work() -> None:
        await asyncio.sleep(0)
        tasks.append(asyncio.current_task())
        async with asyncio.timeout(5):
            await asyncio.sleep(0)

    task = eager.start(work())
    assert task is not None
    await task
    assert tasks == [task]


async def test_later_is_not_now() -> None:
    steps: list[str] = []

    async def work() -> None:
        steps.append("later")

    task = eager.later(work())
    steps.append("now")
    await task
    assert steps == ["now", "later"]


async def test_finished_waits_for_everything_that_is_under_way() -> None:
    ended: list[str] = []
    go_on = asyncio.Event()

    async def work(name: str) -> None:
        await go_on.wait()
        ended.append(name)

    eager.start(work("started"))
    eager.later(work("later"))
    eager.soon(work("soon"))
    asyncio.get_running_loop().call_soon(go_on.set)
    await eager.finished(5)
    assert sorted(ended) == ["later", "soon", "started"]


async def test_soon_is_the_next_turn_and_no_task() -> None:
    heard: list[asyncio.Task[Any] | None] = []

    async def work() -> None:
        heard.append(asyncio.current_task())

    eager.soon(work())
    assert heard == []
    await asyncio.sleep(0)
    assert heard == [None]


async def test_finished_gives_up_and_doesnt_wait_for_itself() -> None:
    task = eager.later(_never())
    await eager.finished(0)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await eager.later(eager.finished(5))


def test_each_loop_waits_for_its_own() -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        eager.start(work())
        await eager.finished(5)

    with asyncio.Runner() as hanging:
        never = hanging.run(_started())
        asyncio.run(main())
        assert not never.done()


async def _started() -> asyncio.Task[None]:
    task = eager.start(_never())
    assert task is not None
    return task


async def _never() -> None:
    await asyncio.Event().wait()


# With a task from the first step on

noted: ContextVar[str] = ContextVar("noted", default="outside")


@pytest.mark.parametrize("suspends", [0, 1, 3])
async def test_begun_it_is_one_task_from_its_first_step_to_its_last(suspends: int) -> None:
    seen: list[asyncio.Task[Any] | None] = []

    async def work() -> str:
        seen.append(asyncio.current_task())
        for _ in range(suspends):
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())
        return "done"

    mine = asyncio.current_task()
    running = eager.begin(work())
    assert asyncio.current_task() is mine
    assert isinstance(running, eager.Ended) == (suspends == 0)
    assert len(seen) == 1
    if isinstance(running, asyncio.Task):
        await running
    assert running.result() == "done"
    assert len(set(seen)) == 1
    assert seen[0] is not mine
    assert isinstance(running, eager.Ended) or seen[0] is running


@pytest.mark.parametrize("suspends", [False, True])
async def test_begun_it_has_a_context_of_its_own(suspends: bool) -> None:
    async def work() -> str:
        noted.set("inside")
        if suspends:
            await asyncio.sleep(0)
        return noted.get()

    running = eager.begin(work())
    assert noted.get() == "outside"
    if isinstance(running, asyncio.Task):
        await running
    assert running.result() == "inside"
    assert noted.get() == "outside"


@pytest.mark.parametrize("suspends", [False, True])
@pytest.mark.parametrize("error", [LookupError("no"), asyncio.CancelledError(), StopAsyncIteration()])
async def test_begun_its_error_is_its_outcome(error: BaseException, suspends: bool) -> None:
    async def work() -> None:
        if suspends:
            await asyncio.sleep(0)
        raise error

    running = eager.begin(work())
    if isinstance(running, asyncio.Task):
        await asyncio.wait([running])
    assert running.cancelled() == isinstance(error, asyncio.CancelledError)
    with pytest.raises(type(error)):
        running.result()


async def test_begun_it_may_use_deadlines_from_its_first_step_on() -> None:
    async def work() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "in time"
        return "never"

    running = eager.begin(work())
    assert isinstance(running, asyncio.Task)
    assert await running == "in time"


async def test_begun_it_is_cancelled_where_it_waits() -> None:
    where: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            where.append("left")

    running = eager.begin(work())
    assert isinstance(running, asyncio.Task)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert where == ["left"]


async def test_one_that_ended_leaves_no_task_and_no_complaint() -> None:
    said: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: said.append(context))

    async def work() -> None:
        raise LookupError

    before = asyncio.all_tasks()
    eager.begin(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    assert asyncio.all_tasks() == before
    assert not said


async def test_it_can_be_begun_outside_of_any_task() -> None:
    running: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def work() -> object:
        return asyncio.current_task()

    def callback() -> None:
        assert asyncio.current_task() is None
        outcome = eager.begin(work())
        assert asyncio.current_task() is None
        running.set_result(outcome.result())

    asyncio.get_running_loop().call_soon(callback)
    assert isinstance(await running, asyncio.Task)
