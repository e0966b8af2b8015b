"""A real browser on the real page. Tests are skipped where there is no Chromium."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from playhead_runtime.bus import Bus
from tests.answering import People, people
from tests.conftest import Database

_CHROMIUM = [Path("/usr/bin/chromium"), Path("/usr/bin/chromium-browser"), Path("/usr/bin/google-chrome")]
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture
async def browser() -> AsyncGenerator[Browser]:
    found = next((path for path in _CHROMIUM if path.exists()), None)
    if found is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, headless=True, args=_FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser: Browser) -> AsyncGenerator[Page]:
    """A tab without JavaScript, as wide as a small telephone. What the console has to complain about fails the test."""
    context = await browser.new_context(
        java_script_enabled=False, viewport={"width": 360, "height": 740}, locale="en-GB", timezone_id="Europe/Berlin"
    )
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    yield page
    await context.close()
    # The browser notes every answer that is not 2xx itself; the pages of mistakes are meant to be such.
    assert [text for text in complaints if "Failed to load resource" not in text] == []


@pytest.fixture
async def house(database: Database, bus: Bus, nats_url: str) -> AsyncGenerator[People]:
    async with people(database, bus, nats_url) as made:
        yield made
