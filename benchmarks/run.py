"""``script/bench``: measures what pylat costs, and writes tables and plots to ``benchmarks/results/``.

Every ratio is of numbers from one run that took turns. Each part writes NAME.json, NAME.md and NAME*.svg;
summary.md holds what was promised beside what was found.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.keeping import RESULTS, Goal, Part, Settings, in_words, table, write, write_json
from benchmarks.keeping import about as about_it
from benchmarks.worker import apart

PARTS = ("cost", "breakdown", "growth", "starting", "web", "reporting", "page", "top", "accuracy", "truth", "turns")


def main(
    parts: Sequence[str] = PARTS,
    *,
    package: str = "benchmarks",
    about: str | None = __doc__,
    title: str = "What pylat costs",
    summary: str = "summary.md",
    alone: bool = True,
) -> int:
    """Measure, print and keep; 1 where a part failed or a count was wrong.

    Args:
        parts: their names, which are those of the modules in the package.
        about: what the command does.
        title, summary: of the page of all promises.
        alone: the targets get a processor of their own.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PART,…", default=",".join(parts), help=f"of {', '.join(parts)}")
    parser.add_argument("--rounds", type=int, help="of every part, instead of its own number")
    parser.add_argument("--every", action="store_true", help="every interpreter of the lab, not one of each of a few")
    parser.add_argument("--small", action="store_true", help="a tenth of each part, and nothing is kept")
    parser.add_argument("--again", action="store_true", help="measure nothing: tables and plots from the JSON there is")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - set(parts):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    settings = Settings(arguments.rounds, arguments.every, arguments.small)
    if alone:
        apart()
    failed: list[str] = []
    goals: list[Goal] = []
    heads: dict[str, str] = {}
    for name in names:
        part: Part = importlib.import_module(f"{package}.{name}").PART
        try:
            if arguments.again:
                kept = json.loads((RESULTS / f"{part.name}.json").read_text())
            else:
                begin, kept = time.monotonic(), {"about": about_it()}
                kept["values"] = part.measure(settings)
                settings.progress(f"{name}: {time.monotonic() - begin:.0f} s")
                if not settings.small:
                    write_json(f"{part.name}.json", kept)
            heads[name] = in_words(kept["about"])
            print(_written(part, kept["values"], heads[name], keep=not settings.small))
            goals += part.goals(kept["values"])
        except Exception:  # the others can still be measured
            failed.append(name)
            traceback.print_exc()
    page = _summary(title, goals, heads, failed)
    if set(names) == set(parts) and not settings.small:
        write(summary, page)
    print(page)
    return 1 if failed or any(goal.reached is False and goal.promised == "exact" for goal in goals) else 0


def _written(part: Part, values: dict[str, object], head: str, *, keep: bool) -> str:
    """The part's page."""
    pictures = _draw(part, values) if keep else []
    text = f"# {part.about}\n\n{head}\n\n"
    text += "".join(f"![{part.about}]({picture})\n\n" for picture in pictures)
    text += part.tables(values)
    if keep:
        write(f"{part.name}.md", text)
    return text


def _draw(part: Part, values: dict[str, object]) -> list[str]:
    """The names of the files."""
    if importlib.util.find_spec("matplotlib") is None:
        print(f"{part.name}: no plots, matplotlib is not installed (pip install '.[bench]')", file=sys.stderr)
        return []
    from benchmarks import drawing

    names = []
    for name, figure in part.plots(values).items():
        write(f"{name}.svg", drawing.svg(figure))
        names.append(f"{name}.svg")
    return names


def _summary(title: str, goals: list[Goal], heads: dict[str, str], failed: list[str]) -> str:
    marks = {True: "yes", False: "**no**", None: "–"}
    rows = [[goal.figure, goal.promised, goal.found, marks[goal.reached]] for goal in goals]
    text = f"# {title}\n\n" + "".join(f"- {name}: {head}\n" for name, head in heads.items()) + "\n"
    text += table(("figure", "promised", "found: median (quartiles)", "reached"), rows)
    if failed:
        text += f"\nNot measured, because it failed: {', '.join(failed)}.\n"
    return text


if __name__ == "__main__":
    sys.exit(main())
