"""The children that a target has already: watched are those that are as it is; others may have the functions alone."""

from __future__ import annotations

from collections.abc import Sequence

from latency.cpython.functions import describe, live_functions
from latency.cpython.interpreter import Target
from latency.cpython.patterns import Matcher
from latency.cpython.watch_points import WatchPoints
from latency.errors import NoFunctionMatches, TargetError, UnsupportedBuild
from latency.recording import Function
from latency.target.process import Process


def forked_as_it_is(target: Target, points: Sequence[WatchPoints]) -> tuple[list[Process], list[int]]:
    """(those that were forked from it and have the same functions, the PIDs of the others)."""
    found: list[Process] = []
    unlike: list[int] = []
    for pid in target.process.children(recursive=True):
        try:
            process = Process(pid)
            if _is_loaded(target, process) and _functions(target, points, process) == _functions(target, points):
                found.append(process)
            else:
                unlike.append(pid)
        except TargetError:
            continue  # it ended meanwhile
    return found, unlike


def in_children_alone(target: Target, matcher: Matcher) -> NoFunctionMatches | None:
    """The error that names the children whose functions match, where none of the target's does; None if none does."""
    having: list[int] = []
    for pid in target.process.children(recursive=True):
        try:
            process = Process(pid)
            if _is_loaded(target, process):
                lives = live_functions(process, target.build, target.offsets)
                having += [pid] if any(map(matcher.matches, lives)) else []
        except TargetError:
            continue  # it ended meanwhile
    if not having:
        return None
    pids = " ".join(f"-p {pid}" for pid in having)
    return NoFunctionMatches(
        "the functions exist in children of this process alone: to watch them, each has to be named",
        f"{pids}; or take another --engine, which follows them",
    )


def _functions(target: Target, points: Sequence[WatchPoints], process: Process | None = None) -> list[Function | None]:
    """What is at the addresses of the functions, in the target or in another process."""
    there = [describe(process or target.process, target.build, target.offsets, each.live.address) for each in points]
    return [None if live is None else live.function for live in there]


def _is_loaded(target: Target, process: Process) -> bool:
    """Whether the interpreter's file is loaded where the target has it."""
    build = target.build
    mappings = [mapping for mapping in process.maps() if mapping.device_inode == build.device_inode]
    try:
        return build.image.load_bias(mappings, entry=process.entry) == build.bias
    except UnsupportedBuild:  # it is not loaded: another program
        return False
