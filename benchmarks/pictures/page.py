"""The pictures of the pages: a report of pylat's own demo, and a comparison of it with itself made slower.

Alone: python -m benchmarks.pictures.page
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.worker import own_command
from latency import demo_workload
from tests.pages.browser import Opened, lacking, started

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
_WIDE, _TALL = 1400, 1600
_MEASURE = ("-d", "12", "--engine", "handlers", "--slower", "p99", "--offcpu", "--format", "html")
_COMPARE = ("-d", "4", "--func", "__main__:handle_request", "--engine", "handlers")
_ROUNDS = 5
_SLOWER_MS = 3


def main() -> None:
    """Measure, and write ``page.png`` and ``comparison.png``."""
    if lacking():
        sys.exit(f"script/pictures: {lacking()}")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shop-") as name, started() as browser:
        folder = Path(name)
        _picture(browser, _report(folder), FOLDER / "page.png", _of_the_report)
        _picture(browser, _comparison(folder), FOLDER / "comparison.png", lambda page: None)


def _report(folder: Path) -> Path:
    page = folder / "report.html"
    with _served(folder) as pid:
        page.write_bytes(_pylat("-p", pid, *_MEASURE).stdout)
    return page


def _comparison(folder: Path) -> Path:
    """Runs in turns of the demo as it is, and of one in which every tenth request is slower."""
    page, sides = folder / "comparison.html", (folder / "base.json", folder / "head.json")
    for _ in range(_ROUNDS):
        for side, options in zip(sides, ((), ("--slow-ms", str(_SLOWER_MS))), strict=True):
            with _served(folder, *options) as pid:
                _pylat("-p", pid, *_COMPARE, "-o", side, "--append")
    _pylat("compare", *sides, "--fail", "p50:3%", "--fail", "p90:3%", "--html", page, expected=(0, 1))
    return page


@contextmanager
def _served(folder: Path, *options: str) -> Iterator[int]:
    """The demo's workload, run from a folder that says nothing of this machine; its PID."""
    script = folder / "server.py"
    shutil.copy(demo_workload.__file__, script)
    command = ["/usr/bin/python3", script.name, *options]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        if not process.stdout.readline().startswith("ready"):
            sys.exit("script/pictures: the workload did not start")
        yield process.pid
        process.stdin.close()


def _pylat(*arguments: object, expected: Sequence[int] = (0,)) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([*own_command(), *map(str, arguments)], capture_output=True, check=False)
    if done.returncode not in expected:
        sys.exit(f"script/pictures: pylat ended with {done.returncode}\n{done.stderr.decode()}")
    return done


def _of_the_report(page: Page) -> None:
    """The function that the demo is about, and one slow call, unfolded."""
    page.get_by_role("button", name="handle_request", exact=True).click()
    page.locator("figure").first.wait_for()
    page.get_by_label("Search").fill("shop")
    page.locator("button.call").first.click()


def _picture(browser: Browser, file: Path, to: Path, prepare: Callable[[Page], None]) -> None:
    opened = Opened(browser, file, viewport={"width": _WIDE, "height": 400})
    prepare(opened.page)
    opened.page.locator("figure").last.wait_for()
    opened.page.mouse.move(0, 0)
    tall = min(opened.page.evaluate("() => document.documentElement.scrollHeight"), _TALL)
    opened.page.screenshot(path=to, full_page=True, clip={"x": 0, "y": 0, "width": _WIDE, "height": tall})
    opened.close()


if __name__ == "__main__":
    main()
