"""``pylat functions``: which functions live in a process, without any probe."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress

from latency.cli.terminal import progress
from latency.cpython.compiled import compiled_to_c
from latency.cpython.functions import LiveFunction, live_functions
from latency.cpython.interpreter import Stopwatch, Target
from latency.cpython.patterns import matcher_of, nearest
from latency.cpython.wrapped import target_of
from latency.errors import NoFunctionMatches, TargetError
from latency.recording import Function, Options
from latency.report.names import escape
from latency.target.files import TargetFiles

_LONGEST_NAME = 1000


def run(arguments: argparse.Namespace) -> int:
    """List them, by file and line."""
    stopwatch = Stopwatch()
    found: list[tuple[int, LiveFunction]] = []
    every: list[LiveFunction] = []
    compiled: set[Function] = set()
    with progress([stopwatch]):
        targets = list(_targets(arguments.pid, stopwatch, children=arguments.children))
        for target in targets:
            try:
                with stopwatch.step("find functions"):
                    lives = live_functions(target.process, target.build, target.offsets)
                    compiled |= {live.function for live in compiled_to_c(target.process, target.offsets, lives)}
            except TargetError:
                if target is targets[0]:
                    raise
                continue  # a child that ended meanwhile
            every += lives
            found += [(target.process.pid, live) for live in _matching(target, lives, arguments)]
    if arguments.pattern and not found:
        near = nearest(arguments.pattern, every, same_file=TargetFiles(targets[0].process).same)
        whose = f"process {arguments.pid}{' or its children' if arguments.children else ''}"
        raise NoFunctionMatches(
            f"no function of {whose} matches {arguments.pattern!r}",
            f"nearest: {', '.join(near)}" if near else "without a pattern, all of them are listed",
        )
    if arguments.json:
        listed = [_record(pid, live, compiled) for pid, live in sorted(found, key=_place)]
        print(json.dumps(listed, indent=1))
    else:
        # Processes that were forked from one another have the same functions.
        for function, owners in {live.function: live.owners for _, live in sorted(found, key=_place)}.items():
            place = f"{function.source}:{function.line}"
            kind = "" if function.kind == "function" else f"  {function.kind.replace('_', ' ')}"
            many = f"  shared by {owners.count:,} functions" if owners else ""
            in_c = "  compiled to C: its calls are not seen" if function in compiled else ""
            print(f"{escape(function.qualname, _LONGEST_NAME):40}  {escape(place, _LONGEST_NAME)}{kind}{many}{in_c}")
    return 0


def _targets(pid: int, stopwatch: Stopwatch, *, children: bool) -> Iterator[Target]:
    """The process, and with ``children`` all below it that run a CPython which can be looked at."""
    first = target_of(pid, children=children, stopwatch=stopwatch)
    yield first
    for child in (first.around or first.process).children(recursive=True) if children else ():
        if child != first.process.pid:
            with suppress(TargetError):
                yield Target(child, stopwatch=stopwatch)


def _matching(target: Target, lives: list[LiveFunction], arguments: argparse.Namespace) -> Iterable[LiveFunction]:
    if not arguments.pattern:
        return lives
    options = Options(func=(arguments.pattern,), regex=arguments.regex)
    return filter(matcher_of(options, target.process).matches, lives)


def _place(each: tuple[int, LiveFunction]) -> tuple[str, int, str, int]:
    pid, live = each
    return live.function.filename, live.function.line, live.function.qualname, pid


def _record(pid: int, live: LiveFunction, compiled: set[Function]) -> dict[str, object]:
    function = live.function
    return {
        "qualname": function.qualname,
        "module": live.module,
        "filename": function.filename,
        "line": function.line,
        "kind": function.kind,
        "owners": list(live.owners.names) if live.owners else [],
        "address": live.address,
        "pid": pid,
        "compiled_to_c": function in compiled,
    }
