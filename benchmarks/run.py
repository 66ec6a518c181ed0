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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.keeping import RESULTS, Goal, Part, Settings, about, in_words, table, write, write_json
from benchmarks.worker import apart

PARTS = ("cost", "breakdown", "growth", "starting", "web", "reporting", "page", "top", "accuracy", "truth", "turns")


def main() -> int:
    """Measure, print and keep; 1 where a part failed or a count was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PART,…", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help="of every part, instead of its own number")
    parser.add_argument("--every", action="store_true", help="every interpreter of the lab, not one of each of a few")
    parser.add_argument("--again", action="store_true", help="measure nothing: tables and plots from the JSON there is")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    settings = Settings(arguments.rounds, arguments.every)
    apart()
    failed: list[str] = []
    goals: list[Goal] = []
    heads: dict[str, str] = {}
    for name in names:
        part: Part = importlib.import_module(f"benchmarks.{name}").PART
        try:
            if not arguments.again:
                begin, about_it = time.monotonic(), about()
                values = part.measure(settings)
                settings.progress(f"{name}: {time.monotonic() - begin:.0f} s")
                write_json(f"{name}.json", {"about": about_it, "values": values})
            kept = json.loads((RESULTS / f"{name}.json").read_text())
            heads[name] = in_words(kept["about"])
            print(_written(part, kept["values"], heads[name]))
            goals += part.goals(kept["values"])
        except Exception:  # the others can still be measured
            failed.append(name)
            traceback.print_exc()
    summary = _summary(goals, heads, failed)
    if set(names) == set(PARTS):
        write("summary.md", summary)
    print(summary)
    return 1 if failed or any(goal.reached is False and goal.promised == "exact" for goal in goals) else 0


def _written(part: Part, values: dict[str, object], head: str) -> str:
    """The part's page."""
    pictures = _draw(part, values)
    text = f"# {part.about}\n\n{head}\n\n"
    text += "".join(f"![{part.about}]({picture})\n\n" for picture in pictures)
    text += part.tables(values)
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


def _summary(goals: list[Goal], heads: dict[str, str], failed: list[str]) -> str:
    marks = {True: "yes", False: "**no**", None: "–"}
    rows = [[goal.figure, goal.promised, goal.found, marks[goal.reached]] for goal in goals]
    text = "# What pylat costs\n\n" + "".join(f"- {name}: {head}\n" for name, head in heads.items()) + "\n"
    text += table(("figure", "promised", "found: median (quartiles)", "reached"), rows)
    if failed:
        text += f"\nNot measured, because it failed: {', '.join(failed)}.\n"
    return text


if __name__ == "__main__":
    sys.exit(main())
