"""Random programs for the matching rule, with their truth, and the rule once more without arrays.

A :class:`World` is a small process: threads, greenlets on each, calls, generators that wander, and frames whose
addresses are used again as soon as they are free. Driven by bytes it writes the events that the probes of such a
process would send, and beside each exit what really ended there. It knows nothing of ``bpf/stack.h``.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

RESET, ENTER, LEAVE, SUSPEND, RESUME = range(5)
PUSHED, DUPLICATE, REPLACED, OVERFLOW = range(4)
MATCHED, FROM_OVERFLOW, NOT_OPEN = range(16, 19)
"""Results, as the shim gives them: those of a pop are 16 more than in ``stack.h``."""

THREADS, GREENLETS, FRAMES = 2, 3, 64


@dataclass(eq=False)
class Call:
    """One call. Times are indices into the log."""

    frame: int
    suspends: bool
    start: int
    stay: int
    thread: int = 0
    stays: list[int] = field(default_factory=list)
    active: int = 0


@dataclass
class Log:
    """Events of many processes one after another, each a RESET and what follows.

    Attributes:
        events: op | thread << 4 | may_repeat << 8 | suspends << 9 | frame << 16, one for each event.
        stay: beside each exit, the event at which this stay on the stack began; -1 beside all others.
        endings: (event, first start, active time, suspensions, starts of all stays) of each generator that ended
            where no event was lost.
        lossy: (first event, whether events were lost) of each process.
    """

    events: array[int] = field(default_factory=lambda: array("Q"))
    stay: array[int] = field(default_factory=lambda: array("q"))
    endings: list[tuple[int, int, int, int, tuple[int, ...]]] = field(default_factory=list)
    lossy: list[tuple[int, bool]] = field(default_factory=list)


class World:
    """One process, that writes to a log what its probes see."""

    def __init__(self, log: Log, *, lossy: bool, may_repeat: bool) -> None:
        self.log = log
        self.lossy = lossy
        self.repeat = may_repeat << 8
        self.lose_next = False
        self.free = list(range(1, FRAMES))
        self.stacks: list[list[list[Call]]] = [[[] for _ in range(GREENLETS)] for _ in range(THREADS)]
        self.current = [0] * THREADS
        self.thread = 0
        self.suspended: list[Call] = []
        log.lossy.append((len(log.events), lossy))
        self.emit(RESET, 0)

    def emit(self, op: int, frame: int, *, suspends: bool = False, stay: int = -1) -> int:
        """Write one event, or lose it; its time."""
        now = len(self.log.events)
        if self.lose_next:
            self.lose_next = False
            return now
        self.log.events.append(op | self.thread << 4 | self.repeat | suspends << 9 | frame << 16)
        self.log.stay.append(stay)
        return now

    def step(self, choice: int) -> None:
        """Do one thing; three bits say what, the others with whom."""
        what, whom = choice & 7, choice >> 3
        stack = self.stacks[self.thread][self.current[self.thread]]
        if what < 3:
            self.enter(stack, whom >> 1, suspends=what == 2 and bool(whom & 1))
        elif what < 5:
            self.leave(stack)
        elif what == 5:
            self.suspend_or_resume(stack, whom)
        elif what == 6:
            self.thread = whom & 1
            self.current[self.thread] = (whom >> 1) % GREENLETS
        else:
            self.rarely(stack, whom)

    def enter(self, stack: list[Call], whom: int, *, suspends: bool) -> None:
        if self.free:
            frame = self.free.pop(-1 - whom % min(3, len(self.free)))  # mostly one that was just left
            now = self.emit(ENTER, frame, suspends=suspends)
            stack.append(Call(frame, suspends, now, now, self.thread, [now]))

    def leave(self, stack: list[Call]) -> None:
        if stack:
            call = stack.pop()
            now = self.emit(LEAVE, call.frame, suspends=call.suspends, stay=call.stay)
            if call.suspends and not self.lossy:
                active = call.active + now - call.stay
                self.log.endings.append((now, call.start, active, len(call.stays) - 1, tuple(call.stays)))
            self.free.append(call.frame)

    def suspend_or_resume(self, stack: list[Call], whom: int) -> None:
        if stack and stack[-1].suspends:
            call = stack.pop()
            call.active += self.emit(SUSPEND, call.frame, suspends=True, stay=call.stay) - call.stay
            self.suspended.append(call)
        elif self.suspended:
            call = self.suspended.pop(whom % len(self.suspended))
            call.stay = self.emit(RESUME, call.frame, suspends=True)
            call.stays.append(call.stay)
            stack.append(call)

    def rarely(self, stack: list[Call], whom: int) -> None:
        events = self.log.events
        if whom & 3 == 0:
            self.lose_next = self.lossy
        elif whom & 3 == 1 and self.repeat and stack and stack[-1].stay == len(events) - 1:
            if events[-1] & 15 in (ENTER, RESUME):  # nothing came between: RESUME runs again
                self.emit(events[-1] & 15, stack[-1].frame, suspends=stack[-1].suspends)
        elif whom & 3 == 2 and self.suspended:  # throw(): a frame is left that was never entered again
            call = self.suspended.pop()
            self.emit(LEAVE, call.frame, suspends=True)
            self.free.append(call.frame)


def run(log: Log, choices: Sequence[int]) -> None:
    """One process; its first choice says what kind."""
    world = World(log, lossy=bool(choices[0] & 1), may_repeat=bool(choices[0] & 2))
    for choice in choices[1:]:
        world.step(choice)


def programs(seed: int, count: int, longest: int) -> Iterable[bytes]:
    """Byte strings to run, from short to ``longest``; the same for the same seed."""
    rng = random.Random(seed)
    return (rng.randbytes(rng.randint(2, longest)) for _ in range(count))


@dataclass(frozen=True)
class Results:
    """What ``stack.h`` said to each event; a row for each.

    Attributes:
        code: PUSHED … OVERFLOW, MATCHED … NOT_OPEN; 255 where nothing was pushed or popped.
        depth, too_deep, disordered: the thread's, after it.
        start: of the open call that an exit matched.
        wall_start, active, suspensions: of the generator whose end an exit was.
    """

    code: npt.NDArray[np.uint32]
    depth: npt.NDArray[np.uint32]
    too_deep: npt.NDArray[np.uint32]
    disordered: npt.NDArray[np.uint32]
    start: npt.NDArray[np.uint64]
    wall_start: npt.NDArray[np.uint64]
    active: npt.NDArray[np.uint64]
    suspensions: npt.NDArray[np.uint64]


def assert_lawful(log: Log, results: Results, capacity: int) -> None:
    """Each result was allowed by what the thread had been told before, and every push is accounted for."""
    rows = zip(
        log.events, results.code.tolist(), results.depth.tolist(), results.too_deep.tolist(), results.start.tolist(),
        results.disordered.tolist(), strict=True,
    )  # fmt: skip
    threads: list[Books] = []
    for at, (event, code, depth, too_deep, start, disordered) in enumerate(rows):
        if event & 15 == RESET:
            for books in threads:
                books.close()
            threads = [Books(capacity) for _ in range(THREADS)]
        elif code != 255:
            books = threads[event >> 4 & 15]
            books.enter(at, event, code, start)
            assert (depth, too_deep) == (books.total, books.beyond), f"event {at}"
            assert books.total or not disordered, f"event {at}: an empty table is in order"
            books.disordered = bool(disordered)
    for books in threads:
        books.close()


class Books:
    """One thread's open calls as the rule has to see them: by frame, in no array."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.open: dict[int, list[int]] = {}
        self.total = self.beyond = 0
        self.last_beyond = -1
        self.disordered = False
        self.counts = dict.fromkeys((PUSHED, DUPLICATE, REPLACED, OVERFLOW, MATCHED, FROM_OVERFLOW, NOT_OPEN), 0)

    def enter(self, at: int, event: int, code: int, start: int) -> None:
        """Check one result against the books, and write it down."""
        frame = event >> 16
        suspends = bool(event >> 9 & 1)
        starts = self.open.setdefault(frame, [])
        said = f"event {at}, frame {frame}, result {code}, open since {starts}, {self.total} + {self.beyond} open"
        self.counts[code] += 1
        if code == PUSHED:
            lawful = self.total < self.capacity and not (starts and self.disordered)
            starts.append(at)
            self.total += 1
        elif code == DUPLICATE:
            lawful = bool(event >> 8 & 1 and (starts or (self.beyond and frame == self.last_beyond)))
        elif code == REPLACED:
            lawful = bool(starts)
            starts[-1:] = [at]
        elif code == OVERFLOW:
            lawful = self.total == self.capacity
            self.counts[code] -= suspends  # it has a record of its own
            self.beyond += not suspends
            self.last_beyond = -1 if suspends else frame
        elif code == MATCHED:
            # Copies of one frame, which missed exits leave, keep their order only until a call ends out of order.
            lawful = start in (starts if self.disordered else starts[-1:])
            starts[:] = [each for each in starts if each != start]
            self.total -= 1
        elif code == FROM_OVERFLOW:
            lawful = self.beyond > 0 and not starts and not suspends
            self.beyond -= 1
            self.last_beyond = -1
        else:
            lawful = code == NOT_OPEN and not (self.beyond and not suspends) and not starts
        assert lawful, said

    def close(self) -> None:
        """Each call that the table took is matched or open (one that replaced another took its place)."""
        counts = self.counts
        assert counts[PUSHED] == counts[MATCHED] + self.total
        assert counts[OVERFLOW] == counts[FROM_OVERFLOW] + self.beyond


def assert_true(log: Log, results: Results) -> None:
    """Where no event was lost: each stay that the table held ended with its own start, and nothing was replaced.

    Generators are timed exactly beyond the table too, but for one that is reported twice there (docs/matching.md).
    """
    starts = np.array([first for first, _ in log.lossy])
    lossless = np.repeat([not lossy for _, lossy in log.lossy], np.diff(starts, append=len(log.events)))
    assert not np.any(results.code[lossless] == REPLACED)
    stay = np.array(log.stay)
    exits = np.flatnonzero(lossless & (stay >= 0))
    began = stay[exits]
    exits, began = exits[results.code[began] == PUSHED], began[results.code[began] == PUSHED]
    assert np.all(results.code[exits] == MATCHED)
    assert np.array_equal(results.start[exits], began.astype(np.uint64))
    for at, first, active, suspensions, stays in log.endings:
        if results.code[first] == PUSHED or log.events[first] != log.events[first + 1]:
            assert all(results.code[stay] in (PUSHED, OVERFLOW) for stay in stays), f"event {at}"
            found = (results.wall_start[at], results.active[at], results.suspensions[at])
            assert found == (first, active, suspensions), f"event {at}"
