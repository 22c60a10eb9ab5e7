"""A real browser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from playwright.async_api import Browser, async_playwright

QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
"""Chromium by itself calls its makers and looks for updates; tests talk to loopback only."""


@pytest.fixture
async def browser(component: Callable[[str], str]) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=component("chromium"), args=QUIET)
        yield browser
        await browser.close()
