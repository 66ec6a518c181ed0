"""A comparison as text: 80 columns that read well in a CI log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from latency.recording import Function
from latency.report.compare import Change, Compared, Comparison
from latency.report.layout import Line, flow, to_text, wrap
from latency.report.names import escape
from latency.report.statistics import MAX_RUNS, MIN_RUNS, Verdict
from latency.report.text import FULL, MIN_WIDTH
from latency.report.units import count, duration, plural

STYLES = {
    Verdict.SLOWER: "bold red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.FASTER: "green",
    Verdict.SAME: "green",
    Verdict.DESCRIBED: "",
}
_WIDTHS = (7, 10, 10, 10, 18)
_ALONE = 5
_PATH = 60


def render_text(comparison: Comparison, *, width: int = 80, color: bool = False, top: int = 20) -> str:
    """The verdicts, what they stand on, and what makes them doubtful.

    Args:
        comparison: its names are not trusted.
        width: the terminal cells of a line, at least ``MIN_WIDTH``; no line is longer.
        color: with ANSI styles, for a terminal.
        top: how many functions are shown, those that most need it first.
    """
    width = max(width, MIN_WIDTH)
    return to_text(_lines(comparison, width, top), width=width, color=color)


def shift(value: float) -> str:
    """``+10.9 %``; of more than tenfold, ``×12.3``."""
    if value < 9:
        return f"{100 * value:+.{1 if abs(value) < 0.9995 else 0}f} %".replace("-0.0 %", "+0.0 %")
    return f"×{1 + value:.3g}"


def interval(ends: tuple[float, float] | None) -> str:
    """``+8.1 … +13.8 %``, or ``-`` where it is not known."""
    if ends is None:
        return "-"
    low, high = map(shift, ends)
    return f"{low.removesuffix(' %') if high.endswith(' %') else low} … {high}"


def outcome(change: Change) -> str:
    """The verdict, and of an inconclusive one what would decide it."""
    if change.by_probes:
        return "within probes' error"
    if change.verdict is Verdict.INCONCLUSIVE:
        return f"inconclusive, {needed(change)} runs"
    if change.verdict is Verdict.DESCRIBED:
        return "shown" if change.gate is None else f"fewer than {MIN_RUNS} runs"
    verdict: str = change.verdict.value
    return verdict


def needed(change: Change) -> str:
    """About how many runs a side would decide: ``~14``, or ``>1,000``."""
    return f">{count(MAX_RUNS)}" if change.runs_needed is None else f"~{count(change.runs_needed)}"


def judged_by(comparison: Comparison) -> str:
    """The gates, safe to show."""
    return "gate " + ", ".join(escape(str(gate), 60) for gate in comparison.gates) if comparison.gates else "no gate"


def verdicts(comparison: Comparison) -> str:
    """``1 slower, 12 same``: how many functions have which verdict."""
    tally = comparison.tally()
    shown = (f"{count(number)} {verdict.value}" for verdict, number in tally.items() if number)
    return ", ".join(shown) or "no function was called on both sides"


def remarks(comparison: Comparison) -> Iterator[str]:
    """Warnings, gates without effect, functions of one side; all safe to show."""
    yield from (f"warning: {warning}" for warning in comparison.warnings)
    yield from (f"warning: gate {escape(str(gate), 60)} is for no function" for gate in comparison.unused)
    unclear = sum(any(change.by_probes for change in each.changes) for each in comparison.functions)
    if unclear:
        yield (
            f"warning: the change of {plural(unclear, 'function')} is within what pylat's own probes may have "
            "falsified, and more runs will not decide: pylat -p PID --engine watch does not touch the calls inside"
        )
    for old, new in comparison.ambiguous:
        yield f"warning: not compared, since which is which cannot be told: base {_some(old)}; head {_some(new)}"
    if comparison.missing:
        yield f"warning: --func or a gate names them, and there is nothing to compare with: {_some(comparison.missing)}"
    few = min(len(comparison.base.runs), len(comparison.head.runs))
    if few < MIN_RUNS:
        yield f"{plural(few, 'run')} on a side: described, not judged; from {MIN_RUNS} on there are verdicts"
    for name, alone in (("base", comparison.only_base), ("head", comparison.only_head)):
        if alone:
            yield f"only in {name}: {_some(alone)}"


def _some(functions: Sequence[Function]) -> str:
    shown = ", ".join(f"{escape(each.qualname, 40)} ({_where(each)})" for each in functions[:_ALONE])
    return shown + (f" and {count(len(functions) - _ALONE)} more" if len(functions) > _ALONE else "")


def _where(function: Function) -> str:
    number = f":{function.line}" if function.line else ""  # markers have none
    return escape(function.source, _PATH) + number


def _lines(comparison: Comparison, width: int, top: int) -> Iterator[Line]:
    runs = f"base {plural(len(comparison.base.runs), 'run')}, head {plural(len(comparison.head.runs), 'run')}"
    yield from flow([Line("pylat compare", style="bold"), runs, judged_by(comparison)], width)
    worst = comparison.functions[0].verdict if comparison.functions else Verdict.INCONCLUSIVE
    yield Line(verdicts(comparison), style=STYLES[worst])
    functions = comparison.functions[:top]
    if functions:
        yield Line("")
        yield _row(("", "base", "head", "change", "95 % of it", "verdict"), style="bold")
    for each in functions:
        yield _place(each, width)
        for change in each.changes:
            if change.gate is not None or len(comparison.functions) <= FULL or not comparison.gates:
                yield _numbers(change)
    if len(comparison.functions) > top:
        yield Line(f"… and {count(len(comparison.functions) - top)} more", style="dim")
    marks = [*remarks(comparison)]
    if marks:
        yield Line("")
    for mark in marks:
        yield from wrap(mark, width, style="yellow" if mark.startswith("warning") else "")


def _place(each: Compared, width: int) -> Line:
    line = Line(escape(each.function.qualname, width // 2), style="bold")
    number = f":{each.function.line}" if each.function.line else ""  # markers have none
    where = escape(each.function.source, max(width - line.cell_len - 2 - len(number), 8))
    return line.append(f"  {where}{number}", style="not bold dim")


def _numbers(change: Change) -> Line:
    cells = (change.statistic, duration(change.base_ns), duration(change.head_ns), shift(change.shift))
    style = "dim" if change.gate is None else STYLES[change.verdict]
    return _row((*cells, interval(change.interval), outcome(change)), style=style)


def _row(cells: Sequence[str], style: str) -> Line:
    shown = [cells[0].rjust(_WIDTHS[0])]
    shown += [cell.rjust(wide) for cell, wide in zip(cells[1:-1], _WIDTHS[1:], strict=True)]
    return Line(f"{''.join(shown)}  {cells[-1]}", style=style)
