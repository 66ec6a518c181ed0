"""The view, driven by textual's pilot: what each key and click does, and what is drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.filter import NoColor
from textual.pilot import Pilot

from latency.cli import main
from latency.histogram import Histogram
from latency.live.feed import Feed
from latency.live.screens import KEYS, FunctionScreen
from latency.live.table import COLUMNS
from latency.live.top import Subject, Top
from latency.recording import (
    Argument,
    Function,
    FunctionLatency,
    Losses,
    Options,
    Recording,
    SlowCall,
    SlowCalls,
    StackFrame,
    TargetInfo,
)
from latency.recording.totals import Totals
from latency.tracing.loop import Standing

TARGET = TargetInfo((42,), "app", "3.11.2", "ab", "/usr/bin/python3", "handlers", "table", "6.18", "x86_64", 2, "so")
HOSTILE = "evil\x1b[31m\u202e[bold]</script>"
FUNCTIONS = {"serve": (1000, 50), "render": (50_000, 10), "idle": (300, 200), HOSTILE: (70, 1)}
"""Of each so many calls of so many nanoseconds."""
At = Callable[[Pilot[None]], Awaitable[None]]


@dataclass
class Controls:
    """Keeps what the view asks for."""

    options: Options = field(default_factory=Options)
    ended: bool = False
    is_over: bool = False
    saved: list[Path] = field(default_factory=list)

    def end(self) -> None:
        self.ended = True

    def change(self, options: Options) -> None:
        self.options = options

    def save(self, path: Path, done: Callable[[str], None]) -> None:
        self.saved.append(path)
        done(f"saved {path}")


def recorded(times: int = 1, pid: int = 42, functions: dict[str, tuple[int, int]] | None = None) -> Totals:
    made = []
    for line, (name, (each_ns, calls)) in enumerate((functions or FUNCTIONS).items(), 1):
        wall = Histogram.from_values([each_ns] * calls * times)
        raised = times if name == "render" else 0
        made.append(FunctionLatency(Function(name, "/srv/app.py", line), wall.count - raised, raised, wall))
    caller = StackFrame(Function("main", "/srv/app.py", 90), 93)
    slow = SlowCall(
        made[0].function, datetime(2026, 1, 1, tzinfo=timezone.utc), 5 * 10**6, 10**6, 42, 42, "main",
        arguments=(Argument("who", "'you'"),), stack=(caller,),
    )  # fmt: skip
    recording = Recording(
        replace(TARGET, pids=(pid,)),
        float(times),
        tuple(made),
        losses=Losses(too_deep=3),
        slow_calls=SlowCalls("p99", 10, 1, (slow,)),
    )
    return Totals.of(recording, f"{pid}")


def fed(*parts: Totals) -> Feed:
    """A feed that has heard one interval."""
    moments = iter([0.0, *range(1, 1000)])
    feed = Feed(clock=lambda: float(next(moments)))
    listen(feed, *(parts or (recorded(),)))
    return feed


def listen(feed: Feed, *parts: Totals, ended: dict[int, str] | None = None) -> None:
    feed.listen(Standing([], [], parts, ended or {}))


def screen(pilot: Pilot[None]) -> list[str]:
    """The lines that are on it."""
    width, height = pilot.app.size
    lines = pilot.app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip)[:width].rstrip() for strip in lines[:height]]


def names(pilot: Pilot[None]) -> list[str]:
    """Of the functions that are listed, from above."""
    lines = screen(pilot)
    first = next(at for at, line in enumerate(lines) if line.lstrip().startswith("function"))
    rows = [line.removeprefix("▶").split() for line in lines[first + 1 : -1]]
    return [row[0] for row in rows if len(row) > 3]


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """What is told by a message is seen some messages later."""
    for _ in range(1000):
        if condition():
            return
        await pilot.pause()
    raise AssertionError("\n".join(screen(pilot)))


def drive(at: At, feed: Feed | None = None, controls: Controls | None = None, size: tuple[int, int] = (100, 30)) -> Top:
    """Runs the view, and does that with it."""
    top = Top(feed or fed(), controls or Controls(), Subject([42], "app", folder=Path("/tmp")))

    async def run() -> None:
        async with top.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            await at(pilot)

    asyncio.run(run())
    return top


def test_functions_stand_by_their_total_time_and_by_any_column() -> None:
    async def at(pilot: Pilot[None]) -> None:
        assert names(pilot)[:3] == ["render", "idle", "serve"]
        await pilot.press("greater_than_sign")  # behind the last comes the first: calls
        assert names(pilot)[:3] == ["idle", "serve", "render"]
        await pilot.press("r")
        assert names(pilot)[1:] == ["render", "serve", "idle"]
        await pilot.press("greater_than_sign")
        assert names(pilot)[0] == "render"  # p50
        await pilot.press("less_than_sign", "less_than_sign")
        assert any("total▼" in line for line in screen(pilot))
        await pilot.press("n")
        assert names(pilot)[1:] == ["idle", "render", "serve"]

    drive(at)


def test_a_click_on_a_head_orders_by_it_and_another_one_the_other_way_round() -> None:
    async def at(pilot: Pilot[None]) -> None:
        heads = next(line for line in screen(pilot) if "calls/s" in line)
        place = (heads.index("calls/s"), 0)
        await pilot.click("Grid", offset=place)
        assert names(pilot)[:3] == ["idle", "serve", "render"]
        await pilot.click("Grid", offset=place)
        assert names(pilot)[1:] == ["render", "serve", "idle"]

    drive(at)


def test_the_filter_works_as_it_is_typed() -> None:
    async def at(pilot: Pilot[None]) -> None:
        await pilot.press("slash", "r", "e")
        assert names(pilot) == ["render"]
        await pilot.press("backspace")
        assert len(names(pilot)) == 4  # all are in /srv
        # The next key after Enter is the table's, however soon it comes.
        await pilot.press("e", "enter", "p")
        assert pilot.app.paused  # type: ignore[attr-defined]
        assert any("1 of 4 functions" in line and "/re" in line for line in screen(pilot)[:3])
        await pilot.press("escape")
        assert len(names(pilot)) == 4

    drive(at)


def test_enter_opens_the_function_under_the_mark_and_escape_goes_back() -> None:
    async def at(pilot: Pilot[None]) -> None:
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        assert isinstance(pilot.app.screen, FunctionScreen)
        text = "\n".join(screen(pilot))
        assert "serve  /srv/app.py:1" in text
        assert "calls 50" in text
        assert "percentiles over" in text
        assert "heat map" in text
        await pilot.press("escape")
        assert names(pilot)[0] == "render"

    drive(at)


def test_slow_calls_and_their_callers_stand_with_their_function() -> None:
    async def at(pilot: Pilot[None]) -> None:
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        text = "\n".join(screen(pilot))
        assert "serve(who='you')" in text
        assert "callers seen, of 1 slow call" in text
        assert "main  /srv/app.py:93" in text

    drive(at, controls=Controls(Options(slower="p99")), size=(100, 90))


def test_where_slow_calls_are_not_told_the_key_for_them_is() -> None:
    async def at(pilot: Pilot[None]) -> None:
        await pilot.press("enter")
        await pilot.pause()
        assert "press l" in "\n".join(screen(pilot))

    drive(at, size=(100, 90))


def test_the_mark_stays_with_a_function_that_moves() -> None:
    feed = fed()

    async def at(pilot: Pilot[None]) -> None:
        await pilot.press("down", "down")
        assert any(line.startswith("▶ serve") for line in screen(pilot))
        listen(feed, recorded(functions={**FUNCTIONS, "serve": (10**6, 500)}))
        await pilot.pause()
        assert names(pilot)[0] == "serve"
        assert any(line.startswith("▶ serve") for line in screen(pilot))

    drive(at, feed)


def test_the_last_interval_and_all_since_the_start() -> None:
    feed = fed()

    async def at(pilot: Pilot[None]) -> None:
        listen(feed, recorded(3))
        await pilot.pause()
        rates = [line.split()[2] for line in screen(pilot) if " idle " in line]
        assert rates == ["400"]
        await pilot.press("t")
        rates = [line.split()[2] for line in screen(pilot) if " idle " in line]
        assert rates == ["300"]
        assert any("since the start" in line for line in screen(pilot))

    drive(at, feed)


def test_p_holds_the_picture_and_not_the_measurement() -> None:
    feed = fed()

    async def at(pilot: Pilot[None]) -> None:
        await pilot.press("p")
        held = [line for line in screen(pilot) if "idle" in line]
        assert any("paused" in line for line in screen(pilot))
        listen(feed, recorded(9))
        await pilot.pause()
        assert [line for line in screen(pilot) if "idle" in line] == held
        await pilot.press("p")
        assert [line for line in screen(pilot) if "idle" in line] != held

    drive(at, feed)


def test_s_saves_and_says_where() -> None:
    controls = Controls()

    async def at(pilot: Pilot[None]) -> None:
        await pilot.press("s")
        await until(pilot, lambda: "saved /tmp/pylat-42-" in "\n".join(screen(pilot)))

    drive(at, controls=controls)
    (path,) = controls.saved
    assert path.parent == Path("/tmp")
    assert path.suffix == ".json"


def test_e_asks_for_an_engine_and_changes_nothing_else() -> None:
    controls = Controls(Options(func=("serve",), max_overhead_pct=5.0))

    async def at(pilot: Pilot[None]) -> None:
        await pilot.press("e")
        await pilot.pause()
        assert "hardware watchpoints" in "\n".join(screen(pilot))
        await pilot.press("escape")
        assert controls.options.engine == "auto"
        await pilot.press("e", "end", "enter")
        await pilot.pause()

    drive(at, controls=controls)
    assert controls.options == Options(func=("serve",), max_overhead_pct=5.0, engine="watch")


def test_what_has_ended_is_not_measured_otherwise() -> None:
    controls = Controls(is_over=True)

    async def at(pilot: Pilot[None]) -> None:
        await pilot.press("e", "l")
        await until(pilot, lambda: "nothing is measured any longer" in "\n".join(screen(pilot)))

    drive(at, controls=controls)
    assert controls.options == Options()


def test_watch_is_not_offered_for_every_function() -> None:
    async def at(pilot: Pilot[None]) -> None:
        await pilot.press("e")
        await pilot.pause()
        assert "evaluation function" in "\n".join(screen(pilot))
        assert "watchpoints" not in "\n".join(screen(pilot))

    drive(at)


def test_l_tells_slow_calls_and_again_no_longer() -> None:
    controls = Controls()

    async def at(pilot: Pilot[None]) -> None:
        await pilot.press("l")
        assert controls.options.slower == "p99"
        await pilot.press("l")

    drive(at, controls=controls)
    assert controls.options.slower == ""


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_the_view_ends_at_once(key: str) -> None:
    controls = Controls()

    async def at(pilot: Pilot[None]) -> None:
        await pilot.press(key)

    assert drive(at, controls=controls).return_code == 0
    assert controls.ended


def test_ctrl_c_ends_it_whatever_is_typed() -> None:
    controls = Controls()

    async def at(pilot: Pilot[None]) -> None:
        await pilot.press("slash", "q")
        assert not controls.ended
        await pilot.press("ctrl+c")

    drive(at, controls=controls)
    assert controls.ended


def test_tab_shows_each_process_and_all_together() -> None:
    feed = fed(recorded(pid=42), recorded(pid=43, functions={"other": (5, 5)}))

    async def at(pilot: Pilot[None]) -> None:
        assert any("2 processes together" in line for line in screen(pilot))
        assert len(names(pilot)) == 5
        await pilot.press("tab")
        assert "other" not in names(pilot)
        await pilot.press("tab")
        assert names(pilot) == ["other"]
        assert any("process 43, of 2" in line for line in screen(pilot))
        await pilot.press("tab")
        assert len(names(pilot)) == 5

    drive(at, feed)


def test_the_head_says_who_how_and_what_was_lost() -> None:
    async def at(pilot: Pilot[None]) -> None:
        text = " ".join(screen(pilot)[:4])
        for said in (
            "pid 42 (app)",
            "engine handlers",
            "lost 3 (too_deep)",
            "watched 100 %",
            "chosen: so",
            "4 functions",
        ):
            assert said in text

    drive(at)


def test_processes_that_ended_are_told_and_can_be_looked_at() -> None:
    feed = fed()

    async def at(pilot: Pilot[None]) -> None:
        listen(feed, recorded(), ended={42: "exited"})
        pilot.app.over()  # type: ignore[attr-defined]
        await pilot.pause()
        assert any("42 ended" in line for line in screen(pilot))
        await pilot.press("t")
        assert len(names(pilot)) == 4

    drive(at, feed)


def test_with_a_time_it_ends_with_the_measurement() -> None:
    top = Top(fed(), Controls(), Subject([42], "app"), ends=True)

    async def run() -> None:
        async with top.run_test() as pilot:
            top.over()
            await pilot.pause()

    asyncio.run(run())
    assert top.return_code == 0


def test_a_signal_before_the_first_picture_ends_it_too() -> None:
    controls = Controls()
    top = Top(fed(), controls, Subject([42], "app"))
    top.leave()

    async def run() -> None:
        async with top.run_test() as pilot:
            await pilot.pause()

    asyncio.run(run())
    assert controls.ended
    assert top.return_code == 0


@pytest.mark.parametrize("size", [(40, 12), (100, 30), (250, 60), (20, 5)])
def test_it_fits_whatever_the_window(size: tuple[int, int]) -> None:
    async def at(pilot: Pilot[None]) -> None:
        lines = screen(pilot)
        assert len(lines) == size[1]
        assert all(len(line) <= size[0] for line in lines)
        assert any("render" in line for line in lines)
        await pilot.press("enter")
        await pilot.pause()
        assert all(len(line) <= size[0] for line in screen(pilot))
        await pilot.press("escape", "question_mark")

    drive(at, size=size)


def test_another_size_is_another_picture() -> None:
    async def at(pilot: Pilot[None]) -> None:
        assert any("errors" in line for line in screen(pilot))
        await pilot.resize_terminal(40, 12)
        await pilot.pause()
        assert not any("errors" in line for line in screen(pilot))
        assert names(pilot)[:1] == ["render"]

    drive(at)


def test_names_of_the_target_are_text_and_nothing_else() -> None:
    async def at(pilot: Pilot[None]) -> None:
        assert names(pilot)[-1] == "evil\\x1b[31m\\u202e[bold]</script>"
        await pilot.press("end", "enter")
        await pilot.pause()
        text = "\n".join(screen(pilot))
        assert "[bold]" in text
        assert "\x1b" not in text

    drive(at)


def test_without_colour_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def at(pilot: Pilot[None]) -> None:
        assert any(isinstance(each, NoColor) for each in pilot.app.get_line_filters())
        assert names(pilot)[:1] == ["render"]

    drive(at)


def test_of_ten_thousand_functions_those_are_made_that_are_seen() -> None:
    many = {f"function_{number}": (100 + number, 1) for number in range(10_000)}

    async def at(pilot: Pilot[None]) -> None:
        grid = pilot.app.grid  # type: ignore[attr-defined]
        assert len(grid._shown) <= pilot.app.size.height
        assert names(pilot)[0] == "function_9999"
        await pilot.press("end")
        await pilot.pause()
        assert "function_0" in names(pilot)[-1]
        assert len(grid._shown) <= 3 * pilot.app.size.height

    drive(at, fed(recorded(functions=many)))


def test_the_help_has_every_key_and_column() -> None:
    async def at(pilot: Pilot[None]) -> None:
        await pilot.press("question_mark")
        await pilot.pause()
        text = "\n".join(screen(pilot))
        assert all(about.split(";")[0] in text for _, about in KEYS)
        assert all(column.title in text for column in COLUMNS.values())
        await pilot.press("escape")
        assert names(pilot)[:1] == ["render"]

    drive(at, size=(110, 50))


@pytest.mark.parametrize(
    ("terminal", "term", "said"),
    [
        (False, "xterm", "pylat top draws on a terminal, and standard input is none"),
        (True, "dumb", "pylat top cannot draw on this terminal (TERM)"),
    ],
)
def test_where_nothing_can_be_drawn_one_line_says_so(
    terminal: bool, term: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", term)
    streams = SimpleNamespace(stdin=on(terminal), stdout=on(terminal), stderr=on(terminal))
    monkeypatch.setattr("latency.cli.top.sys", streams)
    assert main(["top", "-p", "1"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == f"pylat: {said}"


def test_without_textual_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("latency.cli.top.sys", SimpleNamespace(stdin=on(), stdout=on(), stderr=on()))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["top", "-p", "1"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "pylat: pylat top needs textual, which is not installed here",
        "  pip install 'pylat-bpf[live]'",
    ]


def on(terminal: bool = True) -> Any:
    return SimpleNamespace(isatty=lambda: terminal)
