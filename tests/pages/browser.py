"""The distribution's Chromium, by playwright: what pages are opened in."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def lacking() -> str:
    """What keeps a browser from starting here; ``""`` where nothing does."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: script/setup --tests"
    return "" if _executable() else "there is no Chromium: script/setup --tests installs Debian's"


def _executable() -> str | None:
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def started() -> Iterator[Browser]:
    """One browser, for as many pages as are needed."""
    from playwright.sync_api import sync_playwright

    # root has no sandbox, and a container's shared memory is small; what is opened are pages of ours alone
    arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_executable(), args=arguments, timeout=300_000)
        try:
            yield browser
        finally:
            browser.close()


class Opened:
    """A page that is open, and what it asked for and complained of since then.

    Args:
        browser: in which it is opened.
        file: the page.
        options: of the context: ``color_scheme``, ``java_script_enabled`` and such.
    """

    def __init__(self, browser: Browser, file: Path, **options: Any) -> None:
        self._context = browser.new_context(**options)
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(120_000)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(file.as_uri())

    def close(self) -> None:
        """Close it."""
        self._context.close()
