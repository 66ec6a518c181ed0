"""``pylat functions``: which functions live in a process, without any probe."""

from __future__ import annotations

import argparse
import json

from latency.cpython.functions import LiveFunction, live_functions
from latency.cpython.patterns import Matcher, nearest
from latency.cpython.wrapped import target_of
from latency.errors import NoFunctionMatches
from latency.report.names import escape

_LONGEST_NAME = 1000


def run(arguments: argparse.Namespace) -> int:
    """List them, by file and line."""
    target = target_of(arguments.pid)
    lives = live_functions(target.process, target.build, target.offsets)
    found = lives
    if arguments.pattern:
        matcher = Matcher.parse([arguments.pattern], regex=arguments.regex)
        found = [live for live in lives if matcher.matches(live)]
        if not found:
            near = nearest(arguments.pattern, lives)
            raise NoFunctionMatches(
                f"no function of process {arguments.pid} matches {arguments.pattern!r}",
                f"nearest: {', '.join(near)}" if near else "without a pattern, all of them are listed",
            )
    found = sorted(found, key=lambda live: (live.function.filename, live.function.line, live.function.qualname))
    if arguments.json:
        print(json.dumps([_record(live) for live in found], indent=1))
    else:
        for live in found:
            function = live.function
            place = f"{function.filename}:{function.line}"
            kind = "" if function.kind == "function" else f"  {function.kind.replace('_', ' ')}"
            print(f"{escape(function.qualname, _LONGEST_NAME):40}  {escape(place, _LONGEST_NAME)}{kind}")
    return 0


def _record(live: LiveFunction) -> dict[str, object]:
    function = live.function
    return {
        "qualname": function.qualname,
        "module": live.module,
        "filename": function.filename,
        "line": function.line,
        "kind": function.kind,
        "address": live.address,
    }
