"""The measurement behind the view: the measuring loop in a thread of its own, and what it can be asked for."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock, Thread

from latency.errors import PylatError
from latency.live.feed import Feed
from latency.recording import Options, Recording, combined, dump
from latency.recording.combine import in_turn
from latency.tracing.loop import Outcome, Standing, Stop, measure
from latency.tracing.measurement import Measurement

Prepare = Callable[[Options], list[Measurement]]
"""Makes measurements of the same processes; nothing of them is attached yet. Raises what ``measurement.begin`` does."""


@dataclass
class Wish:
    """What was asked for of the thread: a file to save in."""

    path: Path
    done: Callable[[str], None]


class Measuring:
    """Runs ``loop.measure`` until it is to end.

    Args:
        measurements: which have been started.
        prepare: makes others.
        feed: listens.
        say: is given a line for who looks on, in the thread.
        over: is called when nothing is measured any longer, in the thread.

    Attributes:
        measurements: those that measure now; they are closed at the end.
        options: how.
        failed: what ended it before its time.
    """

    def __init__(
        self,
        measurements: Sequence[Measurement],
        prepare: Prepare,
        feed: Feed,
        *,
        interval_s: float = 1.0,
        duration_s: float | None = None,
        say: Callable[[str], None] = lambda line: None,
        over: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.measurements = list(measurements)
        self.options = measurements[0].options
        self.say, self.over = say, over
        self._prepare, self._feed = prepare, feed
        self._interval_s, self._duration_s = interval_s, duration_s
        self._clock = clock
        self._lock = Lock()
        self._whole, self._turn = Stop(), Stop()  # of all, and of the measurement that runs
        self._next: list[Measurement] | None = None
        self._wishes: list[Wish] = []
        self._outcomes: list[Outcome] = []
        self.failed: BaseException | None = None
        self._changing = False
        self._frozen = False  # also what came in the first interval: the view, and the rows of the functions
        self._thread = Thread(target=self._run, name="measuring")

    @property
    def is_over(self) -> bool:
        """Whether nothing is measured any longer."""
        return not self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        gc.collect()
        gc.freeze()  # what is known of ten thousand functions lasts; to look through it takes longer than a key may
        self._thread.start()

    def end(self) -> None:
        """Stop measuring; ``outcome`` waits for it. Also from a signal handler, so without a lock."""
        self._whole.set()
        self._turn.set()

    def outcome(self) -> Outcome:
        """Waits for the end. What was seen, in whatever ways it was measured.

        Raises:
            What ended it (``failed``), where nothing was seen.
        """
        self._thread.join()
        if self.failed is not None and not self._outcomes:
            raise self.failed
        last = self._outcomes[-1]
        if len(self._outcomes) == 1:
            return last
        return replace(
            last,
            recording=in_turn([each.recording for each in self._outcomes]),
            processes=[part for each in self._outcomes for part in each.processes],
            ended={pid: why for each in self._outcomes for pid, why in each.ended.items()},
            other_programs=list(dict.fromkeys(pid for each in self._outcomes for pid in each.other_programs)),
            missing=[pattern for pattern in last.missing if all(pattern in it.missing for it in self._outcomes)],
            bystanders={pid: name for each in self._outcomes for pid, name in each.bystanders.items()},
        )

    def change(self, options: Options) -> None:
        """Measure so from now on. What it needs is made ready first, and the old way goes on until then."""
        with self._lock:
            if self._changing or self.is_over:
                return
            self._changing = True
        Thread(target=self._make_ready, args=(options,), name="preparing", daemon=True).start()

    def save(self, path: Path, done: Callable[[str], None]) -> None:
        """Save a recording of what was seen so far; ``done`` is given a line about it, in whatever thread."""
        with self._lock:
            if not self.is_over:
                self._wishes.append(Wish(path, done))
                return
        done(_saved(self.outcome().recording, path))

    # -- inside ----------------------------------------------------------------------------------

    def _make_ready(self, options: Options) -> None:
        try:
            made = self._prepare(options)
        except PylatError as error:
            self.say(f"it goes on as it was: {error}")
            self._changing = False
            return
        with self._lock:
            if not self.is_over:
                self._next = made
                self._turn.set()
                return
        _close(made)

    def _run(self) -> None:
        begin = self._clock()
        try:
            while True:
                left_s = None if self._duration_s is None else max(self._duration_s - (self._clock() - begin), 0.0)
                outcome = measure(
                    self.measurements,
                    self._turn,
                    duration_s=left_s,
                    interval_s=self._interval_s,
                    listener=self._listen,
                    on_doubt=lambda pid, line: self.say(f"pid {pid}: {line}"),
                )
                self._outcomes.append(outcome)
                self._feed.over(outcome)
                if not self._goes_on(outcome):
                    break
        except BaseException as error:
            self.failed = error
        finally:
            with self._lock:
                made, self._next = self._next, None
                wishes, self._wishes = self._wishes, []
            _close([*self.measurements, *(made or ())])
            if self._outcomes:
                recording = in_turn([each.recording for each in self._outcomes])
                for wish in wishes:
                    wish.done(_saved(recording, wish.path))
            self.over()

    def _goes_on(self, outcome: Outcome) -> bool:
        """Begin to measure in the way that was asked for, if any was, and there is anybody left."""
        with self._lock:
            made = self._next
            if made is None or self._whole.is_set():
                return False
            self._next, self._turn = None, Stop()
        if self._whole.is_set():  # just now
            self._turn.set()
        options = self.options
        before = self.measurements[0].target.choice or self.measurements[0].engine
        _close(self.measurements)
        self.measurements = []
        gc.unfreeze()
        self._frozen = False
        gc.collect()  # their maps are tens of megabytes, and in circles
        try:
            self._begin([each for each in made if each.target.pid not in outcome.ended], made)
        except PylatError as error:
            self.say(f"it goes back to what it was: {error}")
            try:
                again = self._prepare(options)
                self._begin(again, again)
            except PylatError as gone:
                self.say(f"it measures no longer: {gone}")
        for each in self.measurements:
            target = each.target
            target.choice = f"{target.choice or each.engine}; it was changed while measuring, and before: {before}"
        self._changing = False
        return bool(self.measurements)

    def _begin(self, wanted: Sequence[Measurement], made: Sequence[Measurement]) -> None:
        self.measurements = list(made)
        try:
            for each in wanted:
                each.start()
        except BaseException:
            _close(made)
            self.measurements = []
            raise
        _close([each for each in made if each not in wanted])
        self.measurements = list(wanted)
        self.options = made[0].options

    def _listen(self, standing: Standing) -> None:
        try:
            self._show(standing)
        except Exception as error:  # whatever is wrong with the view, what was measured is reported
            self.failed = error
            self.end()

    def _show(self, standing: Standing) -> None:
        self._feed.listen(standing)
        if not self._frozen:
            gc.freeze()
            self._frozen = True
        with self._lock:
            wishes, self._wishes = self._wishes, []
        for wish in wishes:
            now = combined([*standing.finished, *(each.so_far() for each in standing.running)])
            wish.done(_saved(in_turn([*(each.recording for each in self._outcomes), now]), wish.path))


def _saved(recording: Recording, path: Path) -> str:
    try:
        dump([recording], path)
    except PylatError as error:
        return str(error)
    return f"saved {path}"


def _close(measurements: Sequence[Measurement]) -> None:
    for each in measurements:
        with suppress(PylatError):
            each.close()
