"""What stands over the table: one function, the help, the choice of an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from latency.live.table import COLUMNS
from latency.recording import Function
from latency.report.layout import Line

KEYS = (
    ("↑ ↓ PgUp PgDn", "to a function; Home: back to the top, and stay there"),
    ("Enter", "open it: histogram, percentiles over time, slow calls, callers; Esc: back"),
    ("< >  r", "order by the column before or after this one; the other way round. Or click a head"),
    ("n", "order by name"),
    ("/", "show those only whose name or file holds a text; Esc: all"),
    ("t", "the last interval, or since the start"),
    ("Tab", "each process by itself, and all together"),
    ("p", "hold the picture still; the measurement goes on"),
    ("s", "save a recording of what was seen so far"),
    ("e", "measure by another engine from now on"),
    ("l", "tell slow calls one by one from now on, or no longer"),
    ("q  Ctrl-C", "end, with the report"),
)


def lines(found: Sequence[Line]) -> Text:
    """One text, which wraps nothing."""
    return Text("\n", no_wrap=True, overflow="crop").join(found)


class FunctionScreen(Screen[None]):
    """One function, as it goes on.

    Args:
        draw: its lines, for so many cells.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,backspace,left", "app.pop_screen", show=False),
    ]

    def __init__(self, function: Function, draw: Callable[[Function, int], Sequence[Line]]) -> None:
        super().__init__()
        self.function = function
        self._draw = draw
        self._text = Static(id="function")
        self._room = VerticalScroll(self._text)

    def compose(self) -> ComposeResult:
        """All of it in one column."""
        yield self._room
        yield Static("Esc back  ↑↓ scroll  p pause  s save  q quit", id="keys", markup=False)

    def on_mount(self) -> None:
        """The first picture, once it is known how large it is."""
        self._room.focus()
        self.call_after_refresh(self.draw)

    def on_resize(self) -> None:
        """Another width."""
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """What is known by now."""
        self._text.update(lines(self._draw(self.function, max(self.size.width - 2, 20))))


class HelpScreen(ModalScreen[None]):
    """The keys, and what the columns say."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,question_mark,q", "app.pop_screen", show=False),
    ]

    def compose(self) -> ComposeResult:
        """Two lists."""
        text = Text("keys\n", style="bold")
        for keys, about in KEYS:
            text.append(f"  {keys:15}", style="bold").append(f" {about}\n", style="not bold")
        text.append("\ncolumns\n", style="bold")
        for column in COLUMNS.values():
            text.append(f"  {column.title:15}", style="bold").append(f" {column.about}\n", style="not bold")
        text.append(
            "\nOf an interval the longest call is known to its bucket (4 %), where it is not the longest of all.\n"
            "Of a measurement in slices the percentiles since the start count the calls that were cut.",
            style="not bold",
        )
        yield VerticalScroll(Static(text), id="help")

    def on_mount(self) -> None:
        """Scrolled by keys."""
        self.query_one("#help").focus()


class EngineScreen(ModalScreen[str | None]):
    """Which engine measures from now on; None for none other."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss", show=False)]

    def __init__(self, engines: Sequence[tuple[str, str]], now: str) -> None:
        super().__init__()
        self._engines, self._now = engines, now

    def compose(self) -> ComposeResult:
        """Each with what it is."""
        options = [Option(Text(f"{name:9} {about}"), id=name) for name, about in self._engines]
        yield OptionList(*options, id="engines")

    def on_mount(self) -> None:
        """On the one that was asked for."""
        found = self.query_one(OptionList)
        found.highlighted = next((at for at, (name, _) in enumerate(self._engines) if name == self._now), 0)
        found.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """That one."""
        self.dismiss(event.option.id)
