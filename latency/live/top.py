"""``pylat top``: the application. What it shows comes from a ``Feed``; what it asks for, a ``Measuring`` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input, Static

from latency.cpython.sites import ENGINES
from latency.cpython.watch_points import ENGINE as WATCH
from latency.live.detail import detail
from latency.live.feed import Feed
from latency.live.grid import Grid
from latency.live.head import Shown, head
from latency.live.screens import EngineScreen, FunctionScreen, HelpScreen, lines
from latency.live.table import COLUMNS, ordered
from latency.recording import Function, Options
from latency.report.layout import Line
from latency.report.names import escape

SLOWER = "p99"
"""What is slow, where it is asked for by a key."""
_ENGINES = {
    "auto": "as pylat chooses",
    "usdt": "USDT markers",
    "handlers": "opcode handlers",
    "eval": "the evaluation function",
    WATCH: "hardware watchpoints",
}
_KEYS = "q quit  / filter  ⏎ open  <> order  t since start  p pause  s save  e engine  l slow calls  ? help"
_LONGEST_LINE = 400


class Controls(Protocol):
    """What ``Measuring`` does for it."""

    options: Options

    @property
    def is_over(self) -> bool:
        """Whether nothing is measured any longer."""

    def end(self) -> None:
        """Measure no longer."""

    def change(self, options: Options) -> None:
        """Measure so from now on."""

    def save(self, path: Path, done: Callable[[str], None]) -> None:
        """Save what was seen so far."""


_STYLE = """
Screen { layout: vertical; background: $background; }
#head { height: auto; }
#keys { height: 1; color: $text-muted; }
#filter { height: 1; border: none; padding: 0; display: none; }
Grid { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }
FunctionScreen VerticalScroll { height: 1fr; }
HelpScreen, EngineScreen { align: center middle; }
#help { width: 90%; height: auto; max-height: 90%; border: round $primary; padding: 0 1; background: $surface; }
#engines { width: 60; max-width: 90%; height: auto; max-height: 90%; border: round $primary; }
"""
_KEYS_TO_ACTIONS: tuple[BindingType, ...] = (
    Binding("ctrl+c,ctrl+q", "end", priority=True, show=False),
    Binding("q", "end", show=False),
    Binding("question_mark", "help", show=False),
    # At once, and not by the widget's messages: the next key may have been pressed already.
    Binding("slash", "filter", priority=True, show=False),
    Binding("enter", "keep_filter", priority=True, show=False),
    Binding("escape", "leave_filter", priority=True, show=False),
    Binding("less_than_sign,comma", "sort(-1)", show=False),
    Binding("greater_than_sign,full_stop", "sort(1)", show=False),
    Binding("r", "reverse", show=False),
    Binding("n", "by_name", show=False),
    Binding("t", "since_start", show=False),
    Binding("tab", "process(1)", priority=True, show=False),
    Binding("shift+tab", "process(-1)", priority=True, show=False),
    Binding("p", "pause", show=False),
    Binding("s", "save", show=False),
    Binding("e", "engine", show=False),
    Binding("l", "slow", show=False),
)


@dataclass(frozen=True)
class Subject:
    """Who is measured, and how that is to be shown.

    Attributes:
        pids: that were asked for.
        command: of the first of them; not trusted.
        interval_s: between two pictures.
        unit: of durations.
        folder: where recordings are saved.
    """

    pids: Sequence[int]
    command: str
    interval_s: float = 1.0
    unit: str | None = None
    folder: Path = Path()


class Top(App[None]):
    """The view.

    Args:
        ends: whether it ends when the measurement does.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = _STYLE
    BINDINGS: ClassVar[list[BindingType]] = list(_KEYS_TO_ACTIONS)

    class Seen(Message):
        """There is something new to see."""

    class Over(Message):
        """Nothing is measured any longer.

        Args:
            leave: the view is to end, too.
        """

        def __init__(self, *, leave: bool = False) -> None:
            super().__init__()
            self.leave = leave

    class Said(Message):
        """A line for who looks on."""

        def __init__(self, line: str) -> None:
            super().__init__()
            self.line = line

    def __init__(self, feed: Feed, controls: Controls, subject: Subject, *, ends: bool = False) -> None:
        # Without colour there are none at all, and not greys.
        super().__init__(ansi_color=True if os.environ.get("NO_COLOR") else None)
        self.feed, self.controls, self.subject = feed, controls, subject
        self.paused = self.since_start = False
        self.text = ""
        self.pid: int | None = None
        self._ends = ends
        self._head = Static(id="head")
        self.grid = Grid()
        self.grid.unit = subject.unit
        self._filter = Input(placeholder="part of a name or a file", id="filter", compact=True)
        self._keys = Static(_KEYS, id="keys", markup=False)
        self._seen = self._left = False
        # Also before the application runs; then nobody takes the message, and the first picture shows it all.
        feed.told = self.seen

    def compose(self) -> ComposeResult:
        """From above."""
        yield self._head
        yield self.grid
        yield self._filter
        yield self._keys

    def on_mount(self) -> None:
        """The first picture."""
        self.grid.focus()
        self._draw()
        if self._left or (self._ends and self.controls.is_over):  # before there was anybody to take the message
            self.exit()

    def on_resize(self) -> None:
        """The head may take more lines, or fewer."""
        self.call_after_refresh(self._draw)

    # -- what happens elsewhere --------------------------------------------------------------------

    def on_top_seen(self) -> None:
        """Draw it, unless the picture is held."""
        if not self.paused or not self._seen:
            self._draw()

    def on_top_over(self, event: Over) -> None:
        """Its time is up; or the processes have ended, and what was seen of them can be looked at."""
        if self._ends or event.leave:
            self.exit()
        else:
            self._draw()

    def on_top_said(self, event: Said) -> None:
        """Show it for a while."""
        self.notify(escape(event.line, _LONGEST_LINE), markup=False)

    def seen(self) -> None:
        """From any thread: there is something new."""
        self.post_message(self.Seen())

    def say(self, line: str) -> None:
        """From any thread."""
        self.post_message(self.Said(line))

    def over(self) -> None:
        """From any thread."""
        self.post_message(self.Over())

    def leave(self) -> None:
        """From a signal handler: as ``q``."""
        self._left = True
        self.controls.end()
        self.post_message(self.Over(leave=True))

    # -- keys ----------------------------------------------------------------------------------------

    def action_end(self) -> None:
        """The report follows on the terminal."""
        self.controls.end()
        self.exit()

    def action_help(self) -> None:
        """The keys."""
        self.push_screen(HelpScreen())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of the filter are the table's, or the filter's own; elsewhere they mean something else."""
        if action == "filter":
            return self._on_the_table and not self._is_filtering
        if action == "keep_filter":
            return self._is_filtering
        return self._on_the_table if action == "leave_filter" else True

    def action_filter(self) -> None:
        """Type what the names hold."""
        self._filter.display = True
        self.screen.set_focus(self._filter)

    def on_input_changed(self, event: Input.Changed) -> None:
        """As it is typed."""
        self.text = event.value
        self._draw()

    def action_keep_filter(self) -> None:
        """It stays; the keys are the table's again."""
        self._filter.display = False
        self.screen.set_focus(self.grid)

    def action_leave_filter(self) -> None:
        """All functions again."""
        self._filter.value = self.text = ""
        self.action_keep_filter()
        self._draw()

    def action_sort(self, by: int) -> None:
        """By the next column, or the one before."""
        names = self.grid.names if self.grid.sort == "name" else self._sortable
        at = names.index(self.grid.sort) + by if self.grid.sort in names else 0
        self._sort(names[at % len(names)])

    def action_by_name(self) -> None:
        """By name."""
        self._sort("name", ascending=True)

    def action_reverse(self) -> None:
        """The other way round."""
        self._sort(self.grid.sort, ascending=not self.grid.ascending)

    def on_grid_headed(self, event: Grid.Headed) -> None:
        """By this column; a second time, the other way round."""
        again = event.column == self.grid.sort
        self._sort(event.column, ascending=not self.grid.ascending if again else event.column == "name")

    def on_grid_opened(self, event: Grid.Opened) -> None:
        """One function over the whole screen."""
        self.push_screen(FunctionScreen(event.function, self._detail))

    def action_since_start(self) -> None:
        """All of the time, or the last interval."""
        self.since_start = not self.since_start
        self._draw()

    def action_process(self, by: int) -> None:
        """The next process, after the last one all together."""
        with self.feed.lock:
            found: list[int | None] = [None, *self.feed.ledger.pids]
        at = found.index(self.pid) if self.pid in found else 0
        self.pid = found[(at + by) % len(found)] if len(found) > 2 else None
        self._draw()

    def action_pause(self) -> None:
        """Hold the picture, or let it go on."""
        self.paused = not self.paused
        self._draw()

    def action_save(self) -> None:
        """Under a name that tells when."""
        name = f"pylat-{self.subject.pids[0]}-{datetime.now():%Y%m%d-%H%M%S}.json"
        self.controls.save(self.subject.folder / name, self.say)

    def action_engine(self) -> None:
        """Choose one."""
        if self._has_ended():
            return
        names = ("auto", *ENGINES, *([WATCH] if self.controls.options.func else []))
        now = self.controls.options.engine

        def chosen(engine: str | None) -> None:
            if engine is not None and engine != now:
                self.notify(f"making {engine} ready; until then it goes on as it is", markup=False)
                self.controls.change(replace(self.controls.options, engine=engine))

        self.push_screen(EngineScreen([(name, _ENGINES[name]) for name in names], now), chosen)

    def action_slow(self) -> None:
        """Tell slow calls from now on, or no longer."""
        if self._has_ended():
            return
        slower = "" if self.controls.options.slower else SLOWER
        told = f"slow calls beyond {slower} will be told" if slower else "slow calls will be told no longer"
        self.notify(f"{told}, once that is made ready", markup=False)
        self.controls.change(replace(self.controls.options, slower=slower))

    # -- drawing -------------------------------------------------------------------------------------

    @property
    def _on_the_table(self) -> bool:
        return len(self.screen_stack) == 1

    def _has_ended(self) -> bool:
        """Whether nothing is measured any longer, which it says."""
        if self.controls.is_over:
            self.notify("nothing is measured any longer", markup=False)
        return self.controls.is_over

    @property
    def _is_filtering(self) -> bool:
        """Whether the filter has the keys."""
        return self._on_the_table and self.focused is self._filter

    @property
    def _sortable(self) -> list[str]:
        asked = {"split": self.grid.split, "own": self.grid.own, "": True}
        return [name for name, column in COLUMNS.items() if asked[column.needs]]

    def _sort(self, column: str, *, ascending: bool = False) -> None:
        self.grid.sort, self.grid.ascending = column, ascending
        self._draw()

    def _draw(self) -> None:
        """All that is seen, of what is known by now."""
        if not self.is_running or not self.screen_stack:  # it is about to end
            return
        feed, grid = self.feed, self.grid
        with feed.lock:
            ledger = feed.ledger
            columns = ledger.since_start(self.pid) if self.since_start else ledger.last_interval(self.pid)
            standing, processes = ledger.standing, len(ledger.pids)
            grid.split, grid.own = ledger.split, ledger.own
            ended, stopped = feed.ended, feed.stopped
        self._seen = True
        order = ordered(columns, grid.sort, ascending=grid.ascending, text=self.text)
        shown = Shown(
            self.subject.command,
            self.subject.pids,
            self.pid,
            processes,
            self.since_start,
            self.subject.interval_s,
            self.paused,
            len(order),
            len(columns.functions),
            self.text,
            ended,
            stopped,
        )
        width, height = self.size
        self._head.update(lines(head(standing, shown, max(width, 1), max(height // 4, 2))))
        grid.show(columns, order)
        if isinstance(self.screen, FunctionScreen):
            self.screen.draw()

    def _detail(self, function: Function, width: int) -> list[Line]:
        with self.feed.lock:
            ledger = self.feed.ledger
            whole, last = ledger.since_start(self.pid), ledger.last_interval(self.pid)
            course, slow = ledger.course(function, self.pid), ledger.standing.slow
        return list(detail(function, whole, last, course, slow, self.controls.options, width, self.subject.unit))
