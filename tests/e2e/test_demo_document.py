"""The demo's text editor in a real browser, against a server that runs as `make run` does."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Browser, Page, expect

from roomful.testing.fault_proxy import FaultProxy
from tests.served import Serve

WAIT_MS = 20_000

PHONE = {"width": 360, "height": 640}


class Writer:
    """Somebody with a document open, in a browser profile of their own."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.text = page.get_by_label("Text", exact=True)
        self.cursors = page.locator(".cm-ySelectionInfo")

    async def types(self, words: str) -> None:
        await self.text.focus()
        await self.page.keyboard.type(words)

    async def state_is(self, words: str) -> None:
        await expect(self.page.get_by_role("status")).to_have_text(words, timeout=WAIT_MS)

    async def reads(self, *lines: str) -> None:
        """These lines, all of them, in this order, and no other; the names of cursors stand among them."""
        await self.page.wait_for_function(
            """lines => {
                const shown = [...document.querySelectorAll(".cm-line")].map((line) => {
                    const copy = line.cloneNode(true);
                    copy.querySelectorAll(".cm-ySelectionCaret, .cm-placeholder").forEach((part) => part.remove());
                    return copy.textContent;
                });
                return JSON.stringify(shown) === JSON.stringify(lines);
            }""",
            arg=list(lines),
            timeout=WAIT_MS,
        )


Open = Callable[[str, int], Awaitable[Writer]]


@pytest.fixture
async def opened(browser: Browser) -> AsyncIterator[Open]:
    """Opens a document for somebody, from the server at a port. A page that reports an error fails the test."""
    errors: list[str] = []

    async def open_page(name: str, port: int) -> Writer:
        context = await browser.new_context(viewport={"width": 900, "height": 600})
        page = await context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: errors.append(f"{name}: {error}"))
        await page.goto(f"http://127.0.0.1:{port}/document.html")
        await page.get_by_label("Your name").fill(name)
        await page.keyboard.press("Enter")
        return Writer(page)

    yield open_page
    assert not errors


@pytest.fixture
async def port(served: Serve) -> int:
    return (await served()).port


@pytest.fixture
async def proxy(port: int) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(port) as proxy:
        yield proxy


async def test_two_write_at_once_and_one_without_a_connection(opened: Open, port: int, proxy: FaultProxy) -> None:
    ann, bob = await opened("Ann", port), await opened("Bob", proxy.port)
    await ann.state_is("saved")
    await bob.state_is("saved")
    await ann.types("top\nbottom")
    await bob.reads("top", "bottom")
    await expect(bob.cursors).to_have_text(["Ann"])
    await bob.page.keyboard.press("Control+Home")
    await expect(ann.cursors).to_have_text(["Bob"])

    proxy.refusing = True
    proxy.cut()
    await bob.state_is("not connected")
    await bob.types("Bob's ")
    await bob.state_is("not connected: your changes are in this page only")
    await ann.types(" of Ann")
    await ann.state_is("saved")
    await ann.reads("top", "bottom of Ann")
    await bob.reads("Bob's top", "bottom")

    proxy.heal()
    for writer in (ann, bob):
        await writer.reads("Bob's top", "bottom of Ann")
        await writer.state_is("saved")
    await bob.page.reload()
    await bob.reads("Bob's top", "bottom of Ann")


async def test_saved_is_on_disk(opened: Open, served: Serve) -> None:
    server = await served()
    async with FaultProxy(server.port) as proxy:
        ann = await opened("Ann", proxy.port)
        await ann.state_is("saved")
        await ann.types("kept")
        await ann.state_is("saved")
        os.kill(server.pid, signal.SIGSTOP)
        await ann.types(", not known to be")
        await ann.state_is("saving")
        os.kill(server.pid, signal.SIGKILL)
        await ann.state_is("not connected: your changes are in this page only")

        again = await served()
        bob = await opened("Bob", again.port)
        await bob.state_is("saved")
        await bob.reads("kept")
        proxy.lead_to(again.port)
        for writer in (ann, bob):
            await writer.reads("kept, not known to be")
            await writer.state_is("saved")


async def test_a_phone_has_room_for_it(opened: Open, port: int) -> None:
    ann = await opened("Ann with a name that is as long as names", port)
    await ann.page.set_viewport_size(PHONE)
    await ann.types("x" * 300)
    await ann.state_is("saved")
    await expect(ann.page.locator("#members li")).to_have_text([re.compile(r"\(you\)$")])
    assert await ann.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert await ann.page.evaluate("document.documentElement.scrollHeight") <= PHONE["height"]
    await expect(ann.page.get_by_role("link", name="Close")).to_be_in_viewport(ratio=1)
