"""The demo page in a real browser, against a server that runs as `make run` does."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from playwright.async_api import Browser, Locator, Page, expect

from roomful.testing.fault_proxy import FaultProxy
from tests.served import Serve

WAIT_MS = 15_000

PHONE = {"width": 360, "height": 640}
DESKTOP = {"width": 1100, "height": 700}


class Person:
    """Somebody with the demo open, in a browser profile of their own."""

    def __init__(self, name: str, page: Page) -> None:
        self.name = name
        self.page = page
        self.texts = page.locator(".message .text")
        self.members = page.locator("#members li")
        self.notes = page.locator(".note")

    async def enter(self) -> None:
        await self.page.get_by_label("Your name").fill(self.name)
        await self.page.get_by_role("button", name="Enter").click()
        await self.state_is("connected")

    async def say(self, text: str) -> None:
        await self.page.get_by_label("Message", exact=True).fill(text)
        await self.page.keyboard.press("Enter")

    async def state_is(self, text: str | re.Pattern[str]) -> None:
        await expect(self.page.get_by_role("status")).to_have_text(text, timeout=WAIT_MS)

    async def sees(self, *texts: str) -> None:
        """These messages, all of them, in this order, and no other."""
        await expect(self.texts).to_have_text(list(texts), timeout=WAIT_MS)

    async def sees_members(self, *names: str) -> None:
        await expect(self.members).to_have_text(list(names), timeout=WAIT_MS)

    def message(self, text: str) -> Locator:
        return self.page.locator(".message").filter(has=self.page.get_by_text(text, exact=True))

    async def delivery_is(self, text: str, delivery: str) -> None:
        await expect(self.message(text).locator(".delivery")).to_have_text(re.compile(delivery), timeout=WAIT_MS)

    # The board

    async def add_task(self, title: str) -> None:
        await self.page.get_by_label("New task").fill(title)
        await self.page.keyboard.press("Enter")

    def task(self, title: str) -> Locator:
        return self.page.get_by_role("checkbox", name=title, exact=True)

    async def remove_task(self, title: str) -> None:
        await self.page.get_by_role("button", name=f"Remove {title}", exact=True).click()

    async def like(self) -> None:
        await self.page.get_by_role("button", name="Like").click()

    async def vote(self, choice: str) -> None:
        await self.choice(choice).click()

    def choice(self, choice: str) -> Locator:
        return self.page.locator("#poll").get_by_role("button", name=choice)

    async def board_is(self, note: str) -> None:
        await expect(self.page.locator("#board-note")).to_have_text(note, timeout=WAIT_MS)

    async def sees_board(self, likes: int, tasks: dict[str, bool], votes: dict[str, list[str]]) -> None:
        """tasks: in order, and whether they are ticked. votes: who has chosen what; nobody chose anything else."""
        await expect(self.page.locator("#likes")).to_have_text(str(likes), timeout=WAIT_MS)
        await expect(self.page.locator("#todo .title")).to_have_text(list(tasks), timeout=WAIT_MS)
        for title, done in tasks.items():
            await expect(self.task(title)).to_be_checked(checked=done, timeout=WAIT_MS)
        for choice in ("Coffee", "Tea", "Water"):
            voters = votes.get(choice, [])
            await expect(self.choice(choice).locator(".voter")).to_have_text(voters, timeout=WAIT_MS)
            await expect(self.choice(choice).locator(".count")).to_have_text(str(len(voters)), timeout=WAIT_MS)


Open = Callable[[str, int], Awaitable[Person]]


@pytest.fixture
async def opened(browser: Browser) -> AsyncIterator[Open]:
    """Opens the page for somebody, from the server at a port. A page that reports an error fails the test."""
    errors: list[str] = []

    async def open_page(name: str, port: int) -> Person:
        context = await browser.new_context(viewport=DESKTOP)
        page = await context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: errors.append(f"{name}: {error}"))
        await page.goto(f"http://127.0.0.1:{port}/")
        return Person(name, page)

    yield open_page
    assert not errors


@pytest.fixture
async def port(served: Serve) -> int:
    return (await served()).port


@pytest.fixture
async def proxy(port: int) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(port) as proxy:
        yield proxy


async def test_two_people_talk_and_see_each_other_come_and_go(opened: Open, port: int) -> None:
    ann = await opened("Ann", port)
    await ann.enter()
    await ann.sees_members("Ann (you)")
    await ann.say("anybody here?")
    await ann.delivery_is("anybody here?", "^sent$")

    bob = await opened("Bob", port)
    await bob.enter()
    await bob.sees("anybody here?")
    await bob.sees_members("Ann", "Bob (you)")
    await ann.sees_members("Ann (you)", "Bob")
    await bob.say("<b>me</b> & 💬")
    await ann.sees("anybody here?", "<b>me</b> & 💬")
    await expect(ann.message("<b>me</b> & 💬").locator(".author")).to_have_text("Bob")
    await expect(ann.message("<b>me</b> & 💬").locator("time")).to_have_text(re.compile(r"\d\d.\d\d"))

    await bob.page.get_by_role("button", name="Leave").click()
    await ann.sees_members("Ann (you)")
    await expect(ann.notes).to_have_text(["Bob came", "Bob left"])


async def test_who_was_cut_off_gets_exactly_what_was_missed(opened: Open, port: int, proxy: FaultProxy) -> None:
    ann, bob = await opened("Ann", port), await opened("Bob", proxy.port)
    await ann.enter()
    await bob.enter()
    await ann.say("before")
    await bob.sees("before")

    proxy.refusing = True
    proxy.cut()
    await bob.state_is(re.compile(r"^reconnecting in \d+ s$"))
    await ann.sees_members("Ann (you)")
    missed = [f"missed {n}" for n in range(20)]
    for text in missed:
        await ann.say(text)
        await ann.delivery_is(text, "^sent$")
    await bob.state_is("reconnecting in 3 s")  # the fourth attempt, seconds later
    await bob.sees("before")

    proxy.heal()
    await bob.state_is("recovered: 20 messages")
    await bob.sees("before", *missed)
    await ann.sees_members("Ann (you)", "Bob")
    await ann.say("after")
    await bob.sees("before", *missed, "after")


async def test_a_gap_is_said_and_shown_where_it_is(opened: Open, port: int, proxy: FaultProxy) -> None:
    ann, bob = await opened("Ann", port), await opened("Bob", proxy.port)
    await ann.enter()
    await bob.enter()
    await ann.say("one")
    await bob.sees("one")
    proxy.refusing = True
    proxy.cut()
    await bob.state_is(re.compile("^reconnecting"))
    for n in range(2, 131):  # a room of the demo keeps 100, and the page asks for the newest 50
        await ann.say(f"message {n}")
    await ann.delivery_is("message 130", "^sent$")
    proxy.heal()
    await bob.page.get_by_role("button", name="Try now").click()
    await bob.state_is("gap: messages missed between offset 1 and 81")
    await expect(bob.page.locator(".note.lost")).to_have_text("Messages 2 to 80 were missed")
    await bob.sees("one", *(f"message {n}" for n in range(81, 131)))


async def test_what_is_said_without_a_connection_waits_for_it(opened: Open, port: int, proxy: FaultProxy) -> None:
    ann, bob = await opened("Ann", port), await opened("Bob", proxy.port)
    await ann.enter()
    await bob.enter()
    proxy.refusing = True
    proxy.cut()
    await bob.state_is(re.compile("^reconnecting"))
    for text in ("first", "second"):
        await bob.say(text)
        await bob.delivery_is(text, "^waiting for the connection$")
    proxy.heal()
    await bob.page.get_by_role("button", name="Try now").click()
    await ann.sees("first", "second")
    for text in ("first", "second"):
        await bob.delivery_is(text, "^sent$")


def lose(what: str, proxy: FaultProxy) -> None:
    """From now on questions, or answers, don't arrive."""
    for link in proxy.links:
        (link.up if what == "question" else link.down).hole()


@pytest.mark.parametrize("lost", ["question", "answer"])
async def test_a_message_whose_answer_never_came_is_there_once(
    opened: Open, port: int, proxy: FaultProxy, lost: str
) -> None:
    ann, bob = await opened("Ann", port), await opened("Bob", proxy.port)
    await ann.enter()
    await bob.enter()
    lose(lost, proxy)
    await bob.say("once")
    await bob.delivery_is("once", "^sending")
    if lost == "answer":
        await ann.sees("once")
    proxy.cut()
    await bob.delivery_is("once", "^sent$")
    await ann.sees("once")
    await bob.sees("once")


async def test_a_board_is_shared(opened: Open, port: int) -> None:
    ann, bob = await opened("Ann", port), await opened("Bob", port)
    await ann.enter()
    await bob.enter()
    for person in (ann, bob, ann):
        await person.like()
    await ann.add_task("Paint the door")
    await expect(bob.task("Paint the door")).to_be_visible(timeout=WAIT_MS)
    await bob.add_task("Buy <i>milk</i>")
    await bob.task("Paint the door").check()
    await ann.vote("Tea")
    await bob.vote("Coffee")
    await bob.vote("Tea")
    tasks = {"Paint the door": True, "Buy <i>milk</i>": False}
    for person in (ann, bob):
        await person.sees_board(3, tasks, {"Tea": ["Ann", "Bob"]})
        await person.board_is("Saved")
    await ann.remove_task("Paint the door")
    await ann.vote("Tea")  # takes it back
    late = await opened("Cem", port)
    await late.enter()
    for person in (ann, bob, late):
        await person.sees_board(3, {"Buy <i>milk</i>": False}, {"Tea": ["Bob"]})

    # Votes have the colours of the list of members, and are pale where nobody of that name is here.
    style = "element => getComputedStyle(element).getPropertyValue('--hue')"
    mark = ann.choice("Tea").locator(".voter")
    assert await mark.evaluate(style) == await ann.members.get_by_text("Bob").evaluate(style)
    await expect(mark).not_to_have_class(re.compile("gone"), timeout=WAIT_MS)
    await bob.page.get_by_role("button", name="Leave").click()
    await expect(mark).to_have_class(re.compile("gone"), timeout=WAIT_MS)


async def test_a_board_that_two_edited_apart_ends_alike(opened: Open, port: int, proxy: FaultProxy) -> None:
    ann, bob = await opened("Ann", port), await opened("Bob", proxy.port)
    await ann.enter()
    await bob.enter()
    for title in ("one", "two", "three"):
        await ann.add_task(title)
    await bob.like()
    await ann.vote("Water")
    for person in (ann, bob):
        await person.sees_board(1, {"one": False, "two": False, "three": False}, {"Water": ["Ann"]})
    proxy.refusing = True
    proxy.cut()
    await bob.state_is(re.compile("^reconnecting"))

    for _ in range(3):
        await bob.like()
    await bob.add_task("Bob's")
    await bob.task("Bob's").check()
    await bob.task("one").check()
    await bob.task("two").check()
    await bob.remove_task("three")
    await bob.vote("Coffee")
    await bob.vote("Tea")
    tasks = {"one": True, "two": True, "Bob's": True}
    await bob.sees_board(4, tasks, {"Water": ["Ann"], "Tea": ["Bob"]})
    await bob.board_is("10 changes not saved")

    await ann.like()
    await ann.remove_task("two")  # gone for both, though Bob has ticked it
    await ann.add_task("Ann's")
    await ann.task("three").check()
    await ann.vote("Tea")
    await ann.sees_board(2, {"one": False, "three": True, "Ann's": False}, {"Tea": ["Ann"]})
    await ann.board_is("Saved")

    proxy.heal()
    await bob.page.get_by_role("button", name="Try now").click()
    await bob.board_is("Saved")
    for person in (ann, bob):  # tasks by age
        await person.sees_board(5, {"one": True, "Bob's": True, "Ann's": False}, {"Tea": ["Ann", "Bob"]})


async def test_the_plug_can_be_pulled_in_the_page(opened: Open, port: int) -> None:
    ann, bob = await opened("Ann", port), await opened("Bob", port)
    await ann.enter()
    await bob.enter()
    await bob.page.get_by_role("button", name="Go offline").click()
    await bob.state_is("offline: what you do waits")
    await ann.sees_members("Ann (you)")
    await bob.like()
    await bob.say("later")
    await bob.delivery_is("later", "^waiting for the connection$")
    await ann.like()
    await ann.say("missed")
    await ann.sees_board(1, {}, {})
    await bob.sees_board(1, {}, {})
    await bob.page.get_by_role("button", name="Go online").click()
    await bob.state_is("recovered: 1 message")
    await ann.sees("missed", "later")
    for person in (ann, bob):
        await person.sees_board(2, {}, {})
        await person.board_is("Saved")


async def test_a_board_that_was_deleted_takes_no_edits_from_before(opened: Open, port: int) -> None:
    ann, bob = await opened("Ann", port), await opened("Bob", port)
    await ann.enter()
    await bob.enter()
    await bob.add_task("old")
    await ann.sees_board(0, {"old": False}, {})
    await bob.page.get_by_role("button", name="Go offline").click()
    await bob.task("old").check()
    async with httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{port}/api/state_delete"
        assert (await http.post(url, json={"channel": "chat:lobby"})).json() == {"result": {"deleted": True}}
    await ann.sees_board(0, {}, {})
    await ann.add_task("new")
    await bob.page.get_by_role("button", name="Go online").click()
    await bob.board_is("A change was refused: what the room shared was deleted meanwhile")
    await bob.like()
    for person in (ann, bob):
        await person.sees_board(1, {"new": False}, {})


@pytest.mark.parametrize("lost", ["question", "answer"])
async def test_a_like_whose_answer_never_came_counts_once(
    opened: Open, port: int, proxy: FaultProxy, lost: str
) -> None:
    ann, bob = await opened("Ann", port), await opened("Bob", proxy.port)
    await ann.enter()
    await bob.enter()
    lose(lost, proxy)
    await bob.like()
    await bob.board_is("1 change not saved")
    await ann.sees_board(int(lost == "answer"), {}, {})
    proxy.cut()
    await bob.board_is("Saved")
    await ann.like()
    for person in (ann, bob):
        await person.sees_board(2, {}, {})


async def test_everything_works_by_keyboard_alone(opened: Open, port: int) -> None:
    ann = await opened("Ann", port)
    await ann.page.keyboard.type("Ann")
    await ann.page.keyboard.press("Tab")
    await ann.page.keyboard.type("den")
    await ann.page.keyboard.press("Enter")
    await ann.state_is("connected")
    await expect(ann.page.get_by_role("heading", level=1)).to_have_text("den")
    await ann.page.keyboard.type("typed")
    await ann.page.keyboard.press("Enter")
    await ann.delivery_is("typed", "^sent$")
    await ann.page.keyboard.press("Tab")  # Send
    await ann.page.keyboard.press("Tab")
    await ann.page.keyboard.press("Enter")  # Like
    await ann.page.keyboard.press("Tab")
    await ann.page.keyboard.type("Paint")
    await ann.page.keyboard.press("Enter")
    await ann.sees_board(1, {"Paint": False}, {})
    await ann.page.keyboard.press("Shift+Tab")  # Remove Paint
    await ann.page.keyboard.press("Shift+Tab")
    await ann.page.keyboard.press("Space")
    await ann.board_is("Saved")
    await expect(ann.task("Paint")).to_be_focused()
    for _ in range(4):  # Add, past the field; the poll
        await ann.page.keyboard.press("Tab")
    await ann.page.keyboard.press("Enter")
    await ann.sees_board(1, {"Paint": True}, {"Coffee": ["Ann"]})
    await ann.page.get_by_label("Message", exact=True).focus()
    await ann.page.keyboard.press("Shift+Tab")
    await expect(ann.page.get_by_role("log")).to_be_focused()
    await ann.page.keyboard.press("Shift+Tab")
    await ann.page.keyboard.press("Enter")  # Leave
    await expect(ann.page.get_by_label("Your name")).to_be_focused()


async def test_a_phone_has_room_for_it(opened: Open, port: int) -> None:
    ann = await opened("Ann with a name that is as long as names get", port)
    await ann.page.set_viewport_size(PHONE)
    await ann.enter()
    await ann.say("a word that is too long for a phone: " + "x" * 200)
    await ann.delivery_is("a word that is too long for a phone: " + "x" * 200, "^sent$")
    await fits(ann.page, "Leave", "Send")
    await expect(ann.page.locator("#board")).to_be_hidden()
    await ann.page.get_by_role("button", name="Board").click()
    await ann.add_task("a task that is too long for a phone: " + "x" * 160)
    await ann.vote("Tea")
    await ann.board_is("Saved")
    await fits(ann.page, "Leave", "Chat")
    assert await ann.page.locator("#board").evaluate("board => board.scrollWidth <= board.clientWidth")
    await expect(ann.page.get_by_label("Message", exact=True)).to_be_hidden()


async def fits(page: Page, *buttons: str) -> None:
    """The page is not larger than the phone, and these are on it."""
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert await page.evaluate("document.documentElement.scrollHeight") <= PHONE["height"]
    for name in buttons:
        await expect(page.get_by_role("button", name=name, exact=True)).to_be_in_viewport(ratio=1)
