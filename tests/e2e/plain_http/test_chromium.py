"""The browser's own EventSource, and fetch, in Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.conftest import QUIET
from tests.e2e.plain_http.conftest import token
from tests.e2e.plain_http.feed import Books, Feed, address, until
from tests.event_source import Event

pytestmark = pytest.mark.asyncio(loop_scope="session")

THREE_LINES = """([url, names]) => {
    const source = new EventSource(url)
    const tell = (event) => note([event.type, JSON.parse(event.data), event.lastEventId])
    for (const name of names) source.addEventListener(name, tell)
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) note(['closed', null, '']) }
}"""
NAMES = ["message", "subscribed", "gap", "expired", "drain", "price"]


class Tab:
    """A page, and what its event sources have told."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.books = Books()
        self.events: list[Event] = []

    def note(self, told: list[Any]) -> None:
        event = Event(*told)
        self.events.append(event)
        if event.type != "closed":
            self.books.note(event)

    async def follow(self, url: str) -> None:
        """Returns when it is subscribed, or has given up."""
        await self.page.evaluate(THREE_LINES, [url, NAMES])
        await until(lambda: bool(self.events))


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def browser(component: Callable[[str], str]) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=component("chromium"), args=QUIET)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser) -> AsyncIterator[Tab]:
    tab = Tab(await browser.new_page())
    await tab.page.expose_function("note", tab.note)
    yield tab
    await tab.page.close()


async def test_cuts_in_an_event_in_the_replay_and_three_in_a_row(
    feed: Feed, proxy: FaultProxy, tab: Tab, channel: str
) -> None:
    other = f"{channel}-2"
    await tab.page.goto(address(proxy.port, "/health"))
    await tab.follow(address(proxy.port, "/events", channel, other))
    await feed.publish(channel, 3)
    await feed.publish(other, tags={"event": "price"})
    await until(lambda: len(tab.events) == 5)
    for link in proxy.links:  # also those that the browser keeps at hand
        link.down.cut_after = 700  # in the middle of the next event
    proxy.next_cuts = [900, 0, 400]  # in its replay; before the answer; in the head of the answer
    await feed.publish(channel, 2, size=1_000)
    await until(lambda: not proxy.next_cuts)
    await feed.publish(channel, 2)
    await until(lambda: tab.books.complete(channel, feed))
    tab.books.check(channel, feed)
    assert [event.data["data"]["n"] for event in tab.events if event.type == "price"] == [1]


async def test_a_trimmed_history_is_a_gap(feed: Feed, proxy: FaultProxy, tab: Tab, channel: str) -> None:
    short = f"short:{channel}"
    await tab.page.goto(address(proxy.port, "/health"))
    await tab.follow(address(proxy.port, "/events", short))
    proxy.refusing = True
    proxy.cut()
    await feed.publish(short, 9)
    proxy.heal()
    await until(lambda: tab.books.complete(short, feed))
    tab.books.check(short, feed, gaps=1)


async def test_pages_of_other_origins(feed: Feed, tab: Tab, channel: str) -> None:
    """`http://localhost:*` is allowed, and isn't the origin of the server."""
    users = f"users:{channel}"
    await tab.page.goto(f"http://localhost:{feed.server.port}/health")
    await tab.follow(address(feed.server.port, "/events", users, token=token("ann")))
    assert [event.type for event in tab.events] == ["subscribed"]
    fetched = await tab.page.evaluate(
        "([url, token]) => fetch(url, {headers: {Authorization: `Bearer ${token}`}}).then((answer) => answer.json())",
        [address(feed.server.port, "/poll", users), token("ann")],
    )
    assert fetched["publications"] == []

    tab.events.clear()
    await tab.page.goto("data:text/html,<p>a foreign page</p>")
    await tab.follow(address(feed.server.port, "/events", channel))
    assert [event.type for event in tab.events] == ["closed"]


async def test_it_gives_up_for_what_must_not_be_tried_again(feed: Feed, tab: Tab, channel: str) -> None:
    await tab.page.goto(address(feed.server.port, "/health"))
    await tab.follow(address(feed.server.port, "/events", f"users:{channel}"))
    assert [event.type for event in tab.events] == ["closed"]
