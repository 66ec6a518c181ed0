"""A comparison for other programs: JSON, Markdown, a GitHub step summary, a benchmark chart."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from math import isfinite
from string import punctuation
from typing import Any

from latency.recording import Function
from latency.report.compare import Change, Compared, Comparison, exit_status
from latency.report.compare_sides import Side
from latency.report.compare_text import interval, judged_by, outcome, remarks, shift, verdicts
from latency.report.names import escape
from latency.report.statistics import Verdict
from latency.report.units import count, duration, plural

SCHEMA = "pylat-compare/1"
SUMMARY_BYTES = 1 << 20
"""GitHub shows no step summary that is larger."""

_ICONS = {
    Verdict.SLOWER: "🔴",
    Verdict.INCONCLUSIVE: "🟡",
    Verdict.FASTER: "🟢",
    Verdict.SAME: "🟢",
    Verdict.DESCRIBED: "⚪",
}
_NAME_CELLS = 60
# A letter is never markup. A slash, comma or minus inside a cell is none either; all else could be.
_MARKUP = {ord(character): f"\\{character}" for character in punctuation if character not in "/,-"}
_MARKUP |= {ord("|"): "&#124;", ord("<"): "&lt;", ord(">"): "&gt;", ord("&"): "&amp;", ord("@"): "&#64;"}


def render_json(comparison: Comparison) -> str:
    """All of it: one JSON document. What is not known is null; names stand as they are, in ASCII."""
    return (
        json.dumps(
            {
                "schema": SCHEMA,
                "exit_status": {"default": exit_status(comparison), "strict": exit_status(comparison, strict=True)},
                "gates": [str(gate) for gate in comparison.gates],
                "unused_gates": [str(gate) for gate in comparison.unused],
                "verdicts": {verdict.value: number for verdict, number in comparison.tally().items()},
                "base": _side(comparison.base, comparison.only_base),
                "head": _side(comparison.head, comparison.only_head),
                "functions": [_function(each) for each in comparison.functions],
                "ambiguous": [
                    {"base": [asdict(each) for each in old], "head": [asdict(each) for each in new]}
                    for old, new in comparison.ambiguous
                ],
                "missing": [asdict(each) for each in comparison.missing],
                "warnings": list(comparison.warnings),
            },
            indent=1,
            allow_nan=False,
        )
        + "\n"
    )


def _side(side: Side, only_here: Iterable[Function]) -> dict[str, Any]:
    first = side.runs[0].run.target
    about = {name: getattr(first, name) for name in ("python", "engine", "kernel", "machine", "cpus")}
    return {"runs": [run.run.id for run in side.runs], **about, "only_here": [asdict(each) for each in only_here]}


def _function(each: Compared) -> dict[str, Any]:
    return {**asdict(each.function), "verdict": each.verdict.value, "changes": [_change(one) for one in each.changes]}


def _change(change: Change) -> dict[str, Any]:
    return {
        "statistic": change.statistic,
        "base_ns": round(change.base_ns, 1),
        "head_ns": round(change.head_ns, 1),
        "base_runs": change.runs[0],
        "head_runs": change.runs[1],
        "shift": change.shift,
        "interval": [end if isfinite(end) else None for end in change.interval] if change.interval else None,
        "p": change.p,
        "p_adjusted": change.p_adjusted,
        "gate": None if change.gate is None else str(change.gate),
        "verdict": change.verdict.value,
        "runs_needed": change.runs_needed,
        "by_probes": change.by_probes,
    }


def render_markdown(comparison: Comparison, *, top: int = 200) -> str:
    """A heading, a table and the remarks, for a comment or a page.

    Args:
        top: how many functions are shown, those that most need it first.
    """
    shown = comparison.functions[:top]
    lines = [*_heading(comparison), *_table(shown), *_more(comparison, len(shown)), "", *_remarks(comparison)]
    return "\n".join(lines).rstrip() + "\n"


def render_github(comparison: Comparison, *, top: int = 200) -> str:
    """For ``$GITHUB_STEP_SUMMARY``: what needs a look in the open, the rest folded, within ``SUMMARY_BYTES``."""
    shown = comparison.functions[:top]
    quiet = (Verdict.SAME, Verdict.DESCRIBED)
    loud = [each for each in shown if each.verdict not in quiet]
    folded = [each for each in shown if each.verdict in quiet]
    lines = [*_heading(comparison), *_table(loud), "", *_remarks(comparison)]
    if folded:
        lines += ["", f"<details><summary>{plural(len(folded), 'function')} more</summary>", "", *_table(folded), ""]
        lines += ["</details>"]
    text = "\n".join([*lines, *_more(comparison, len(shown))]).rstrip() + "\n"
    return text if len(text.encode()) <= SUMMARY_BYTES or top < 1 else render_github(comparison, top=top // 2)


def custom_smaller_is_better(comparison: Comparison) -> str:
    """What github-action-benchmark reads as ``customSmallerIsBetter``: the head's values of all that is gated.

    It knows a series by its name, so functions of one name are told apart by their file.
    """
    names = Counter(each.function.qualname for each in comparison.functions)
    return (
        json.dumps(
            [
                {
                    "name": f"{_series(each.function, names[each.function.qualname] > 1)} {change.statistic}",
                    "unit": "ns",
                    "value": round(change.head_ns, 1),
                    "extra": f"{outcome(change)}, {shift(change.shift)} against {duration(change.base_ns)}",
                }
                for each in comparison.functions
                for change in each.changes
                if change.gate is not None or not comparison.gates
            ],
            indent=1,
        )
        + "\n"
    )


def _series(function: Function, ambiguous: bool) -> str:
    where = f" {escape(function.source, _NAME_CELLS)}:{function.line}" if ambiguous else ""
    return escape(function.qualname, _NAME_CELLS) + where


def markdown(text: str) -> str:
    """Untrusted text that is no markup in Markdown, nor in HTML within it."""
    return escape(text).translate(_MARKUP)


def _heading(comparison: Comparison) -> list[str]:
    sides = f"base {plural(len(comparison.base.runs), 'run')}, head {plural(len(comparison.head.runs), 'run')}"
    worst = comparison.functions[0].verdict if comparison.functions else Verdict.INCONCLUSIVE
    return [f"### {_ICONS[worst]} pylat: {verdicts(comparison)}", "", f"{sides}; {markdown(judged_by(comparison))}", ""]


def _table(functions: Iterable[Compared]) -> Iterator[str]:
    rows = [(each, change) for each in functions for change in each.changes if change.gate or not _gated(each)]
    if rows:
        yield "| function | | base | head | change | 95 % of it | verdict |"
        yield "|---|---|--:|--:|--:|--:|---|"
    for each, change in rows:
        name = f"<code>{markdown(escape(each.function.qualname, _NAME_CELLS))}</code>"
        times = f"{duration(change.base_ns)} | {duration(change.head_ns)}"
        changed = f"{shift(change.shift)} | {interval(change.interval)}"
        icon = _ICONS[change.verdict]
        yield f"| {name} | {change.statistic} | {times} | {changed} | {icon} {html.escape(outcome(change))} |"


def _gated(each: Compared) -> bool:
    return any(change.gate for change in each.changes)


def _more(comparison: Comparison, shown: int) -> list[str]:
    rest = len(comparison.functions) - shown
    return ["", f"… and {count(rest)} more"] if rest else []


def _remarks(comparison: Comparison) -> list[str]:
    return [f"- {markdown(remark)}" for remark in remarks(comparison)]
