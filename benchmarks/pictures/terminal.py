"""What a terminal shows, as SVG: the view, an opened function, and the report of the same measurement."""

from __future__ import annotations

import asyncio
import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from latency import demo_workload
from latency.cpython.interpreter import Target
from latency.live.feed import Feed
from latency.live.measuring import Measuring
from latency.live.top import Subject, Top
from latency.recording import Options, Recording
from latency.report.text import render
from latency.tracing.measurement import begin

_COLUMNS, _LINES = 100, 30
_LONG = 44  # lines of an opened function
_SECONDS = 40.0
_SCRIPT, _OPENED = "server.py", "handle_request"
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"


def main() -> None:
    """Measure the demo's server, and write ``top.svg``, ``function.svg`` and ``report.svg``."""
    with _served() as pid:
        options = Options(offcpu=True, self_time=True, slower="p99", slowest=100)
        measurement = begin(Target(pid), options)
        measurement.start()
        feed = Feed()
        measuring = Measuring([measurement], lambda _: [], feed)
        view = Top(feed, measuring, Subject([pid], f"python3 {_SCRIPT}"))
        measuring.say, measuring.over = view.say, view.over
        measuring.start()
        try:
            time.sleep(_SECONDS)
            found = asyncio.run(_drawn(view))
        finally:
            measuring.end()
        recording = measuring.outcome().recording
    FOLDER.mkdir(exist_ok=True)
    for name, svg in {**found, "report": _report(recording)}.items():
        (FOLDER / f"{name}.svg").write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE), encoding="utf-8")


@contextmanager
def _served() -> Iterator[int]:
    """The demo's workload, run from a folder that says nothing of this machine; its PID."""
    with tempfile.TemporaryDirectory(prefix="shop-") as folder:
        shutil.copy(demo_workload.__file__, Path(folder) / _SCRIPT)
        pipe = subprocess.PIPE
        with subprocess.Popen(["/usr/bin/python3", _SCRIPT], cwd=folder, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdin
            assert process.stdout
            if not process.stdout.readline().startswith("ready"):
                sys.exit("script/pictures: the workload did not start")
            yield process.pid
            process.stdin.close()


async def _drawn(view: Top) -> dict[str, str]:
    """The table, and a function that was opened."""
    found = {}
    async with view.run_test(size=(_COLUMNS, _LINES)) as pilot:
        await pilot.pause()
        found["top"] = view.export_screenshot(title="pylat top")
        await pilot.press("slash", *_OPENED, "enter", "enter")
        await pilot.resize_terminal(_COLUMNS, _LONG)
        for _ in range(20):
            await pilot.pause()
        found["function"] = view.export_screenshot(title=f"pylat top: {_OPENED}")
    return found


def _report(recording: Recording) -> str:
    text = render(recording, width=_COLUMNS, color=True, top=8)
    console = Console(file=io.StringIO(), record=True, width=_COLUMNS, force_terminal=True)
    for line in text.splitlines()[:_LONG]:
        console.print(Text.from_ansi(line), no_wrap=True, crop=True)
    return console.export_svg(title="pylat -p PID")
