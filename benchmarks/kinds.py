"""Judges the counts of every kind of function, and of functions put together by chance, on the interpreters of the lab.

The kinds are those of ``tests/made_functions.py``, the others those of ``tests/random_functions.py``: hypothesis makes
programs of a few functions that call each other, by a seed, and shrinks what is counted wrongly. By probes all at once,
by watchpoints each group of them while its calls are made; the program itself counts how its calls end. Root.

    .venv/bin/python -m benchmarks.kinds [--random N [--on TEXT…]] [--only TEXT…] [--seed N] [--write]

Exit status 1 where a count is wrong, or something was lost.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.keeping import about, in_words, table, write
from latency.errors import UnsupportedBuild
from tests import lab, made_functions
from tests.lab import Interpreter
from tests.made_functions import Made
from tests.made_program import Found, by_probes, by_watchpoints, running
from tests.random_functions import functions

_SHOWN = 8
ENGINES = ("probes", "watch")


@dataclass
class Row:
    """What was found on one interpreter. ``programs``: how many were made by chance; ``refused``: the whole build."""

    interpreter: str
    kinds: dict[str, Found] = field(default_factory=dict)
    by_chance: dict[str, Found] = field(default_factory=dict)
    programs: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def bad(self) -> list[str]:
        """What is not exact, a line each."""
        return [
            f"{self.interpreter}, {engine}: {name}: {what}"
            for founds in (self.kinds, self.by_chance)
            for engine, found in founds.items()
            for name, what in {**found.wrong, **found.lost}.items()
        ]

    def cells(self) -> list[str]:
        """Of the table."""
        return [self.interpreter, *(self._cell(self.kinds, engine) for engine in ENGINES), *self._of_chance()]

    def _of_chance(self) -> list[str]:
        programs = f"{self.programs:,}" if self.programs else "–"
        return [programs, *(self._cell(self.by_chance, engine) if self.programs else "–" for engine in ENGINES)]

    def _cell(self, founds: dict[str, Found], engine: str) -> str:
        found = founds.get(engine)
        if found is None:
            return f"refused: {self.refused[engine]}" if engine in self.refused else "–"
        words = [f"{found.exact:,} exact"]
        for many, what in ((found.refused, "refused"), (found.lost, "losses named"), (found.wrong, "WRONG")):
            words += [f"{len(many):,} {what}"] if many else []
        return ", ".join(words)


def tried(interpreter: Interpreter, *, programs: int, number: int) -> Row:
    """Every kind, and so many programs made by chance, by the seed ``number``."""
    row = Row(interpreter.id)
    made = [*made_functions.plain(interpreter.minor), *made_functions.suspending(interpreter.minor)]
    _take(row, interpreter, made, row.kinds)
    if programs:
        _by_chance(row, interpreter, programs, number)
    return row


def _by_chance(row: Row, interpreter: Interpreter, programs: int, number: int) -> None:
    kinds = settings(
        max_examples=programs,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )

    @seed(number)
    @kinds
    @given(functions(interpreter.minor))
    def judge(made: list[Made]) -> None:
        row.programs += 1
        found: dict[str, Found] = {}
        _take(row, interpreter, made, found)
        for engine, each in found.items():
            of = row.by_chance.setdefault(engine, Found())
            of.exact += each.exact
            of.refused |= {f"{row.programs}: {name}": why for name, why in each.refused.items()}
            bad = {**each.wrong, **each.lost}
            assert not bad, f"{engine}: {bad}\n" + "\n".join(one.source + one.calls for one in made)

    try:
        judge()
    except AssertionError as error:  # of the smallest program that hypothesis has found
        row.by_chance.setdefault("probes", Found()).wrong["by chance"] = str(error)


def _take(row: Row, interpreter: Interpreter, made: Sequence[Made], into: dict[str, Found]) -> None:
    with running(interpreter, made) as program:
        for engine, measure in zip(ENGINES, (by_probes, by_watchpoints), strict=True):
            if engine in row.refused:
                continue
            try:
                into[engine] = measure(program, made)
            except UnsupportedBuild as error:
                row.refused[engine] = str(error)


def main() -> int:
    """Try and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=0, metavar="N", help="and N programs made by chance on each")
    parser.add_argument(
        "--on", nargs="+", default=[""], metavar="TEXT", help="these on interpreters with such names only"
    )
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="interpreters with this in their names")
    parser.add_argument("--seed", type=int, default=1, help="of the programs made by chance (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="the table to benchmarks/results/kinds.md, too")
    arguments = parser.parse_args()
    rows = []
    for interpreter in lab.interpreters():
        if not any(text in interpreter.id for text in arguments.only):
            continue
        programs = arguments.random if any(text in interpreter.id for text in arguments.on) else 0
        row = tried(interpreter, programs=programs, number=arguments.seed)
        rows.append(row)
        print(" | ".join(row.cells()), *row.bad[:_SHOWN], sep="\n    ", file=sys.stderr, flush=True)
    head = ["interpreter", "kinds, by probes", "by watch", "programs", "by probes", "by watch"]
    text = table(head, [row.cells() for row in rows])
    print(text)
    if arguments.write:
        how = f"{in_words(about())}; seed {arguments.seed}"
        write("kinds.md", f"# Counts of every kind of function\n\n{how}\n\n{text}")
    return 1 if any(row.bad for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
