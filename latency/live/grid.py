"""The table as a widget: only the lines that are seen are ever made, however many functions there are."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from latency.histogram import Counts
from latency.live.ledger import Columns
from latency.live.table import COLUMNS, cells, fitting, name
from latency.recording import Function

_MARK = "▶ "
_HEAD, _MARKED, _FILE, _ERRORS = Style(bold=True), Style(reverse=True), Style(dim=True), Style(color="red")


class Grid(ScrollView, can_focus=True):
    """A line for each function, below a line of heads.

    Attributes:
        sort, ascending: the column by which the rows stand, ``"name"`` for the name.
        columns: what is shown.
        order: its rows, from above.
        unit: of durations.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "move_page(-1)", show=False),
        Binding("pagedown", "move_page(1)", show=False),
        Binding("home,g", "first", show=False),
        Binding("end,G", "last", show=False),
        Binding("enter", "open", show=False),
    ]

    class Opened(Message):
        """A function was chosen."""

        def __init__(self, function: Function) -> None:
            super().__init__()
            self.function = function

    class Headed(Message):
        """A column's head was clicked."""

        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    def __init__(self) -> None:
        super().__init__()
        self.sort, self.ascending = "total", False
        self.columns: Columns | None = None
        self.order: Counts = np.zeros(0, np.int64)
        self.unit: str | None = None
        self.split = self.own = False
        self._at = 0
        self._chosen: Function | None = None  # whom the mark follows; None: it stays at the top
        self._shown: dict[int, tuple[list[str], str, str]] = {}
        self._made_for = 0  # cells

    def show(self, columns: Columns, order: Counts) -> None:
        """Draw these from now on. The mark stays with its function, where the function goes in the table."""
        self.columns, self.order = columns, order
        if self._chosen is None:
            self._at = 0
        else:
            found = next((at for at, row in enumerate(order.tolist()) if columns.functions[row] == self._chosen), None)
            self._at = min(self._at, max(len(order) - 1, 0)) if found is None else found
        size = Size(self.size.width, len(order) + 1)
        if self.virtual_size != size:
            self.virtual_size = size
        self._shown.clear()
        self._keep_in_sight()
        self.refresh()

    @property
    def marked(self) -> Function | None:
        """The function on which the mark stands."""
        if self.columns is None or not len(self.order):
            return None
        return self.columns.functions[int(self.order[min(self._at, len(self.order) - 1)])]

    # -- keys and clicks -------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """One line on."""
        self._go(self._at + by)

    def action_move_page(self, by: int) -> None:
        """As many as are seen."""
        self._go(self._at + by * max(self.size.height - 2, 1))

    def action_first(self) -> None:
        """To the first line, where the mark stays whoever comes there."""
        self._go(0)
        self._chosen = None

    def action_last(self) -> None:
        """To the last line."""
        self._go(len(self.order) - 1)

    def action_open(self) -> None:
        """Tell who is marked."""
        if marked := self.marked:
            self.post_message(self.Opened(marked))

    def on_click(self, event: events.Click) -> None:
        """A head, or a line: the first click marks it, a second one opens it."""
        if event.y == 0:
            if column := self._column_at(event.x):
                self.post_message(self.Headed(column))
            return
        at = event.y - 1 + self.scroll_offset.y
        if at < len(self.order):
            again = at == self._at and self._chosen is not None
            self._go(at)
            if again:
                self.action_open()

    def on_resize(self) -> None:
        """What has room is another."""
        self.virtual_size = Size(self.size.width, len(self.order) + 1)
        self._keep_in_sight()

    def _go(self, at: int) -> None:
        self._at = min(max(at, 0), max(len(self.order) - 1, 0))
        self._chosen = self.marked
        self._keep_in_sight()
        self.refresh()

    def _keep_in_sight(self) -> None:
        seen = max(self.size.height - 1, 1)
        first = self.scroll_offset.y
        if not first <= self._at < first + seen:
            self.scroll_to(y=self._at if self._at < first else self._at - seen + 1, animate=False, force=True)

    # -- drawing ---------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The columns that have room."""
        return fitting(self._room, split=self.split, own=self.own, sort=self.sort)

    @property
    def _room(self) -> int:
        return max(self.size.width - 1, 1)  # beside the scroll bar

    def render_line(self, y: int) -> Strip:
        """The heads stay where they are; the lines below go by."""
        width = self.size.width
        at = y - 1 + self.scroll_offset.y
        if self._made_for != self._room:
            self._shown.clear()
            self._made_for = self._room
        if y == 0:
            strip = self._heads()
        elif at < len(self.order) and self.columns is not None:
            strip = self._line(at)
        else:
            strip = Strip([])
        return strip.adjust_cell_length(width).apply_style(self.rich_style)

    def watch_scroll_y(self, old: float, new: float) -> None:
        """All lines are others."""
        super().watch_scroll_y(old, new)
        self.refresh(Region(0, 0, *self.size))

    def _heads(self) -> Strip:
        names = self.names
        mark = "▲" if self.ascending else "▼"
        room = self._room - sum(COLUMNS[each].width for each in names)
        title = "function" + (mark if self.sort == "name" else "")
        segments = [Segment((" " * len(_MARK) + title)[:room].ljust(room), _HEAD)]
        for each in names:
            title = COLUMNS[each].title + (mark if each == self.sort else "")
            segments.append(Segment(title.rjust(COLUMNS[each].width), _HEAD))
        return Strip(segments)

    def _column_at(self, x: int) -> str:
        right = self._room
        for each in reversed(self.names):
            right -= COLUMNS[each].width
            if x >= right:
                return each
        return "name"

    def _line(self, at: int) -> Strip:
        names = self.names
        if at not in self._shown:
            self._make(at, names)
        texts, said, where = self._shown[at]
        marked = at == self._at
        room = self._room - sum(COLUMNS[each].width for each in names) - len(_MARK)
        segments = [Segment(_MARK if marked else " " * len(_MARK)), Segment(said)]
        used = Segment(said).cell_length
        if where:
            segments.append(Segment("  " + where, _FILE))
            used += 2 + Segment(where).cell_length
        segments.append(Segment(" " * max(room - used, 0)))
        for each, text in zip(names, texts, strict=True):
            style = _ERRORS if each == "errors" and text != "-" else None
            segments.append(Segment(text.rjust(COLUMNS[each].width), style))
        strip = Strip(segments)
        return strip.apply_style(_MARKED) if marked else strip

    def _make(self, at: int, names: list[str]) -> None:
        """The texts of all lines that are seen, from this one on."""
        assert self.columns is not None
        seen = [it for it in range(at, min(at + max(self.size.height, 1), len(self.order))) if it not in self._shown]
        rows = self.order[seen]
        room = self._room - sum(COLUMNS[each].width for each in names) - len(_MARK)
        for each, row, texts in zip(seen, rows.tolist(), cells(self.columns, rows, names, self.unit), strict=True):
            self._shown[each] = (texts, *name(self.columns.functions[row], room))
