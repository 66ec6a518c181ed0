"""A table that fills in place on a terminal, by rich: the head of the view and its first rows."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from latency.live.feed import Feed
from latency.live.head import how
from latency.live.table import COLUMNS, cells, fitting, name, ordered
from latency.report.units import count
from latency.tracing.loop import Standing

FIRST_S = 2.0
"""A measurement that is over before shows none."""
_SPARE_LINES = 4
_MOST_COLUMNS = 120
_BY = "total"


class Filling:
    """Draws at each interval, and wipes it away at the end. A context manager.

    Args:
        top: how many functions are shown at most.
        console: where; else standard error.
    """

    def __init__(
        self, *, top: int, unit: str | None, console: Console | None = None, feed: Callable[[], Feed] = Feed
    ) -> None:
        self._top, self._unit = top, unit
        self._console = console or Console(stderr=True, highlight=False)
        self._feed = feed()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Filling:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._live.is_started:
            self._live.stop()

    def listen(self, standing: Standing) -> None:
        """See ``loop.measure``."""
        self._feed.listen(standing)
        if self._feed.ledger.standing.seconds < FIRST_S:
            return
        if not self._live.is_started:
            self._live.start()
        self._live.update(self.picture(), refresh=True)

    def picture(self) -> Group:
        """The head and the rows, since the start."""
        ledger = self._feed.ledger
        columns = ledger.since_start()
        order = ordered(columns, _BY, ascending=False)
        width = min(self._console.width, _MOST_COLUMNS)
        names = fitting(width, split=ledger.split, own=ledger.own, sort=_BY)
        shown = order[: min(self._top, max(self._console.height - _SPARE_LINES, 1))]
        room = width - sum(COLUMNS[each].width for each in names)
        heads = "".join(COLUMNS[each].title.rjust(COLUMNS[each].width) for each in names)
        lines = [*how(ledger.standing, width)[:1], Text(f"{'function':{room}}{heads}", style="bold")]
        for row, texts in zip(shown.tolist(), cells(columns, shown, names, self._unit), strict=True):
            said, where = name(columns.functions[row], room - 1)
            line = Text(said).append(f"  {where}" if where else "", style="dim")
            line.pad_right(room - line.cell_len)
            lines.append(
                line.append("".join(text.rjust(COLUMNS[each].width) for each, text in zip(names, texts, strict=True)))
            )
        if len(order) > len(shown):
            lines.append(
                Text(f"… and {count(len(order) - len(shown))} more; Ctrl-C ends it, pylat top shows all", style="dim")
            )
        for line in lines:
            line.no_wrap, line.overflow = True, "crop"
        return Group(*lines)
