"""Measures variants of CPython by compiler and flags, and judges each count: no accepted build may be silently wrong.

The variants are made one after the other in the lab's cache (``tests/lab/variants.py``), chosen by a seed, or those
that have a name. Each runs the programs of the scenario suite, which know their own numbers, by probes (every function,
and by name) and by watchpoints (each function). One line of JSON for each variant is added to the results; a variant
that is there already is not tried again, so that a run can be stopped at any moment and go on later. Root.

    .venv/bin/python -m benchmarks.variants [--seed N] [--first N] [--number N] [--minutes M] [--named NAME…] [--write]

Exit status 1 where a count is wrong and nothing was said to be lost, or pylat or the program failed.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.keeping import about, in_words, names_only, table, write
from latency.cpython.interpreter import Target
from latency.errors import HostError, PylatError
from latency.recording import Options, Recording
from latency.tracing.watch.session import WatchSession
from tests.lab import Interpreter, LabError, builds, cache_directory
from tests.lab.variants import Variant, chosen, named
from tests.target_program import TargetProgram
from tests.targets.protocol import added
from tests.watch import Truth, Watch, unaccounted, wrong

EXACT, REFUSED, LOST, WRONG, FAILED, UNMADE = "exact", "refused", "losses named", "WRONG", "failed", "not made"
VERDICTS = (EXACT, REFUSED, LOST, WRONG, FAILED, UNMADE)
"""From good to bad; the last one is none. ``failed`` is every other end of pylat or of the program."""

ENGINES = ("handlers", "watch")
_WORDS_CHARS = 400
_NOT_BY_WATCH = {"kept", "raised_and_kept", "suspends"}
_AT_ONCE = 2
_PLACE = "chosen"


@dataclass(frozen=True)
class Judgement:
    """What one engine made of one variant; ``words`` are pylat's own, or what differs."""

    verdict: str
    words: str = ""


@dataclass(frozen=True)
class Result:
    """One line of the results: a variant and its judgements by engine; ``sites`` are those by probes."""

    name: str
    about: str
    judged: Mapping[str, Judgement]
    sites: int = 0
    single_stepped: int = 0

    def line(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, line: str) -> Result:
        """The opposite of ``line``."""
        values: dict[str, Any] = json.loads(line)
        return cls(**{**values, "judged": {name: Judgement(**it) for name, it in values["judged"].items()}})


def judged(differences: Mapping[str, object], losses: int) -> Judgement:
    """Of one measurement: what was otherwise than the program says, and how many events were said to be lost."""
    if not differences and not losses:
        return Judgement(EXACT)
    return Judgement(LOST if losses else WRONG, json.dumps(differences)[:_WORDS_CHARS])


def worst(judgements: Iterable[Judgement]) -> Judgement:
    """That of all of them: the first of the worst verdict."""
    return max(judgements, key=lambda it: VERDICTS.index(it.verdict))


def judge(engine: str, interpreter: Interpreter) -> Judgement:
    """The measurements of one engine; the first that is not exact is the last."""
    try:
        return worst(_until_inexact(_MEASURED[engine](interpreter)))
    except HostError as error:
        return Judgement(FAILED, names_only(str(error))[:_WORDS_CHARS])
    except PylatError as error:
        return Judgement(REFUSED, names_only(str(error))[:_WORDS_CHARS])
    except Exception as error:  # whatever it is: the others are still to be judged
        return Judgement(FAILED, f"{type(error).__name__}: {error}"[:_WORDS_CHARS])


def _until_inexact(judgements: Iterator[Judgement]) -> Iterator[Judgement]:
    for each in judgements:
        yield each
        if each.verdict != EXACT:
            return


def _by_probes(interpreter: Interpreter) -> Iterator[Judgement]:
    """Every function over two runs, and in the second one those of the program by name."""
    for command in ("everything.py",), ("timed.py", "times"):
        with TargetProgram(interpreter, *command) as program, ExitStack() as stack:
            every = stack.enter_context(Watch(program.pid, engine="handlers"))
            first = program.run()
            some = stack.enter_context(Watch(program.pid, first, engine="handlers"))
            second = program.run()
            seen_some, seen_every = some.stop(), every.stop()
        yield _compared(seen_every, added([first, second]))
        yield _compared(seen_some, second)


def _compared(recording: Recording, truth: Truth) -> Judgement:
    differences = wrong(recording, truth)
    if hidden := unaccounted(recording):
        differences["unaccounted"] = hidden
    return judged(differences, recording.losses.total)


def _by_watch(interpreter: Interpreter) -> Iterator[Judgement]:
    """The functions of ``watched.py`` by pairs, and those of ``waiting.py``, which suspend, one by one."""
    with TargetProgram(interpreter, "watched.py") as program:
        names = sorted(program.run().keys() - _NOT_BY_WATCH)
        target = Target(program.pid, engine="watch")
        for at in range(0, len(names), _AT_ONCE):
            yield _watched(program, target, names[at : at + _AT_ONCE], ("returned", "raised"))
    with TargetProgram(interpreter, "waiting.py") as program:
        names = sorted(program.run())
        target = Target(program.pid, engine="watch")
        for name in names:
            yield _watched(program, target, [name], ("returned", "raised", "abandoned"))


def _watched(program: TargetProgram, target: Target, names: list[str], keys: tuple[str, ...]) -> Judgement:
    with WatchSession(target, Options(func=tuple(names), engine="watch")) as session:
        session.start()
        truth = program.run()
        recording = session.stop()
    seen = {each.function.qualname: {key: getattr(each, key) for key in keys} for each in recording.functions}
    known = {name: {key: truth[name][key] for key in keys} for name in names}
    differences: dict[str, object] = {
        name: [seen.get(name), known[name]] for name in names if seen.get(name) != known[name]
    }
    return judged(differences, recording.losses.total)


_MEASURED: Mapping[str, Callable[[Interpreter], Iterator[Judgement]]] = {"handlers": _by_probes, "watch": _by_watch}


def tried(variant: Variant, place: str) -> Result:
    """Makes and judges a variant."""
    try:
        interpreter = builds.make_one(cache_directory(), variant, place)
    except LabError as error:
        return Result(variant.name, variant.about, {name: Judgement(UNMADE, str(error)) for name in ENGINES})
    sites = stepped = 0
    try:
        with TargetProgram(interpreter, "recursion.py") as program:
            plan = Target(program.pid, engine="handlers").plan
            sites, stepped = len(plan.sites), len(plan.single_stepped)
    except (PylatError, RuntimeError):
        pass  # is said below
    return Result(variant.name, variant.about, {name: judge(name, interpreter) for name in ENGINES}, sites, stepped)


def read(path: Path) -> dict[str, Result]:
    """The results so far, by the variant's name; a line that was not finished counts as none."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            result = Result.of(line)
        except (ValueError, TypeError, KeyError):
            continue
        found[result.name] = result
    return found


def summary(results: Iterable[Result]) -> str:
    """Markdown: how many of each verdict, by engine and by the compiler of most of it; and the words of all that are
    not exact, those that are alike but for addresses together."""
    results = list(results)
    rows = []
    for engine in ENGINES:
        by_compiler: dict[str, list[str]] = {}
        for it in results:
            by_compiler.setdefault(it.about.split()[1], []).append(it.judged[engine].verdict)
        every = [verdict for verdicts in by_compiler.values() for verdict in verdicts]
        for name, verdicts in [(engine, every), *(sorted(by_compiler.items()))]:
            rows.append([name, *(f"{verdicts.count(verdict)}" for verdict in VERDICTS)])
    text = table(("", *VERDICTS), rows)
    alike: dict[tuple[str, str, str], list[str]] = {}
    for it in results:
        for engine in ENGINES:
            said = it.judged[engine]
            if said.verdict != EXACT:
                words = re.sub(r"0x[0-9a-f]+", "0x…", said.words)
                alike.setdefault((said.verdict, engine, words), []).append(it.about)
    for (verdict, engine, words), those in sorted(alike.items()):
        text += f"\n- {verdict} by {engine}, {len(those)} of them, such as {those[0]}: {words}"
    return text + "\n" * bool(alike)


def main() -> int:
    """Try, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="by which the variants are chosen (default: %(default)s)")
    parser.add_argument("--number", type=int, default=200, help="how many of them (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one (default: %(default)s)")
    parser.add_argument("--minutes", type=float, help="begin none after so long")
    parser.add_argument("--named", nargs="+", metavar="NAME", help="those of script/lab --build instead, or s1-007")
    kept = cache_directory() / "variants.jsonl"
    parser.add_argument("--results", type=Path, default=kept, help="the file that is added to (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="the table to benchmarks/results/variants.md, too")
    arguments = parser.parse_args()
    begin = time.monotonic()
    if arguments.named:
        wanted, place = named(arguments.named), "variants"
    else:
        numbers = range(arguments.first, arguments.first + arguments.number)
        print(f"seed {arguments.seed}, {arguments.number} variants from {arguments.first} on", file=sys.stderr)
        wanted, place = [chosen(arguments.seed, number) for number in numbers], _PLACE
    results = read(arguments.results)
    for variant in wanted:
        if variant.name in results:
            continue
        if arguments.minutes is not None and time.monotonic() - begin > 60 * arguments.minutes:
            print(f"{sum(it.name not in results for it in wanted)} are left for another run", file=sys.stderr)
            break
        result = tried(variant, place)
        results[variant.name] = result
        with arguments.results.open("a") as out:
            out.write(f"{result.line()}\n")
        said = "; ".join(f"{name} {it.verdict} {it.words[:120]}".rstrip() for name, it in result.judged.items())
        print(f"{variant.about}\n    {said}", file=sys.stderr, flush=True)
        if place == _PLACE and not _bad(result):
            shutil.rmtree(builds.program_of(cache_directory(), variant, place).parent, ignore_errors=True)
    there = [results[it.name] for it in wanted if it.name in results]
    text = summary(there)
    print(text)
    if arguments.write:
        which = " ".join(arguments.named or ["seed", str(arguments.seed)])
        head = f"{in_words(about())}; {len(there)} variants ({which})"
        write("variants.md", f"# What is counted on variants of CPython\n\n{head}\n\n{text}")
    return 1 if any(_bad(it) for it in there) else 0


def _bad(result: Result) -> bool:
    return any(it.verdict in (WRONG, FAILED) for it in result.judged.values())


if __name__ == "__main__":
    sys.exit(main())
