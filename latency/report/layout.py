"""Lines of a fixed width from pieces of styled text. A line is a ``rich.text.Text``, never markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO

from rich.console import Console
from rich.text import Text

from latency.report.names import cut

Line = Text

GAP = "   "


def flow(pieces: Iterable[Text | str], width: int) -> list[Line]:
    """Pieces side by side, as many on a line as fit; none is broken, and one that is too long loses its middle."""
    lines: list[Line] = []
    for piece in pieces:
        text = piece if isinstance(piece, Text) else Text(piece)
        if text.cell_len > width:
            text = Text(cut(text.plain, width), style=text.style)
        if lines and lines[-1].cell_len + len(GAP) + text.cell_len <= width:
            lines[-1].append(GAP).append_text(text)
        else:
            lines.append(text.copy())
    return lines


def wrap(text: str, width: int, *, style: str = "") -> list[Line]:
    """Safe text broken at its spaces, continued lines indented by two."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        indent = "  " if lines else ""
        longer = f"{line} {word}" if line.strip() else indent + word
        if line.strip() and Text(longer).cell_len > width:
            lines.append(line)
            longer = "  " + word
        line = longer if Text(longer).cell_len <= width else cut(longer, width)
    return [Line(each, style=style) for each in (*lines, line)]


def table(rows: Sequence[Sequence[str]], width: int) -> list[Line]:
    """Columns of cells aligned right, the first row as their heads; columns that do not fit follow below."""
    widths = [max(map(len, column)) + len(GAP) for column in zip(*rows, strict=True)]
    lines: list[Line] = []
    start = 0
    while start < len(widths):
        end = start + 1
        while end < len(widths) and sum(widths[start : end + 1]) <= width:
            end += 1
        for index, row in enumerate(rows):
            cells = (cell.rjust(wide) for cell, wide in zip(row[start:end], widths[start:end], strict=True))
            lines.append(Line("".join(cells), style="" if index else "bold"))
        start = end
    return lines


def to_text(lines: Iterable[Line], *, width: int, color: bool) -> str:
    """The lines as one text that ends in a newline; with ANSI colour if asked for."""
    fitted = [Line(cut(line.plain, width), style=line.style) if line.cell_len > width else line for line in lines]
    if not color:
        return "".join(line.plain.rstrip() + "\n" for line in fitted)
    console = Console(
        file=StringIO(), force_terminal=True, color_system="standard", width=width + 1, legacy_windows=False
    )
    with console.capture() as captured:
        for line in fitted:
            line.rstrip()
            console.print(line, soft_wrap=True, highlight=False)
    return captured.get()
