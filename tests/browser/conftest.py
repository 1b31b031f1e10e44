"""Headless Chromium of the distribution, for the pages that people look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
LIMIT_MS = 30_000  # what is awaited comes in milliseconds, but for a machine that is busy with other tests
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests; they are skipped where there is none."""
    if not CHROMIUM.exists():
        pytest.skip("pages in a browser: apt-get install chromium")
    with sync_playwright() as playwright:
        expect.set_options(timeout=LIMIT_MS)
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page without network; the test fails if a page's script did, or if anything was asked of a server."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    errors: list[str] = []
    opened = context.new_page()
    opened.set_default_timeout(LIMIT_MS)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.extend(_error(message)))
    opened.on("request", lambda request: errors.extend(_outside(request.url)))
    yield opened
    context.close()
    assert errors == []


def _error(message: ConsoleMessage) -> list[str]:
    return [message.text] if message.type in {"error", "warning"} else []


def _outside(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:", "blob:", "about:")) else [f"asked for {url}"]
