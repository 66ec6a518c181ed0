"""Runs functions that were made (``made_functions.py``), and measures them by probes and by watchpoints."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from latency.cpython.functions import LiveFunction, live_functions
from latency.cpython.interpreter import Target
from latency.cpython.watch_points import MOST_FUNCTIONS, watch_points
from latency.errors import UsageError
from latency.recording import Options, Recording
from latency.tracing.probes.session import Session
from latency.tracing.watch.session import WatchSession
from tests.lab import Interpreter
from tests.made_functions import Made, module
from tests.target_program import TargetProgram
from tests.watch import Truth

Ends = tuple[int, int, int]
"""How many calls returned, raised, and were abandoned."""


@dataclass
class Found:
    """What an engine made of some functions.

    Attributes:
        exact: how many it counted as the program did, with nothing lost.
        refused: why it does not measure a function, by name.
        lost: what differs from the program's own count where losses are told, by name.
        wrong: what differs in silence, by name: the worst fault that there is.
    """

    exact: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    def judge(
        self, recording: Recording, truth: Truth, names: Sequence[str], *, before: Recording | None = None
    ) -> None:
        """Compare the functions of these names; ``before`` is the same measurement before they were called."""
        losses = _losses(recording, before)
        ends, earlier = _ends(recording), _ends(before) if before else {}
        different = {}
        for name in names:
            known = tuple(truth[name][how] for how in ("returned", "raised", "abandoned"))
            now, then = ends.get(name, (0, 0, 0)), earlier.get(name, (0, 0, 0))
            seen = tuple(a - b for a, b in zip(now, then, strict=True))
            if seen != known:
                different[name] = f"(returned, raised, abandoned) {seen}, known {known}"
        self.exact += len(names) - len(different)
        if losses:
            self.lost |= {name: f"{told}, lost {losses}" for name, told in different.items()}
            self.lost |= {} if different else {"of nobody": str(losses)}
        else:
            self.wrong |= different


@contextmanager
def running(interpreter: Interpreter, made: Sequence[Made]) -> Iterator[TargetProgram]:
    """The program with these functions."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(module(made))
        file.flush()
        path = Path(file.name)
        path.chmod(0o644)
        with TargetProgram(interpreter, "made.py", path.name, files=[path]) as program:
            yield program


def by_probes(program: TargetProgram, made: Sequence[Made], engine: str = "auto") -> Found:
    """All of them at once."""
    found = Found()
    with Session(Target(program.pid, engine=engine), Options(engine=engine)) as session:
        session.start()
        truth = program.run()
        found.judge(session.stop(), truth, [each.name for each in made])
    return found


def by_watchpoints(program: TargetProgram, made: Sequence[Made]) -> Found:
    """One group after the other, each while its calls are made."""
    found, target = Found(), Target(program.pid, engine="watch")
    lives = {
        live.function.qualname: live
        for live in live_functions(target.process, target.build, target.offsets)
        if live.function.filename.endswith("made_functions.py")
    }
    watchable = []
    for each in made:
        try:
            watch_points(target.process, target.offsets, lives[each.name])
            watchable.append(lives[each.name])
        except UsageError as error:
            found.refused[each.name] = str(error)
    for at in range(0, len(watchable), MOST_FUNCTIONS):
        _in_turns(program, target, watchable[at : at + MOST_FUNCTIONS], found)
    return found


def _in_turns(program: TargetProgram, target: Target, lives: Sequence[LiveFunction], found: Found) -> None:
    names = {live.function.qualname for live in lives}
    options = Options(func=tuple(sorted(names)), engine="watch")
    with WatchSession(target, options, lives=lives) as session:
        session.start()
        before = session.so_far()
        for _ in session.turns.groups:
            now = [session.turns.points_of(slot).live.function.qualname for slot in session.turns.now]
            truth = program.run(*now)
            session.turns.advance()  # what was closed or freed is found when a slice ends
            after = session.so_far()
            found.judge(after, truth, now, before=before)
            before = after


def _ends(recording: Recording) -> dict[str, Ends]:
    return {
        each.function.qualname: (each.returned, each.raised, each.abandoned)
        for each in recording.functions
        if each.function.filename.endswith("made_functions.py")
    }


def _losses(recording: Recording, before: Recording | None) -> Mapping[str, int]:
    earlier = before.losses.as_dict() if before else {}
    losses = {name: count - earlier.get(name, 0) for name, count in recording.losses.as_dict().items()}
    return {name: count for name, count in losses.items() if count}
