"""Which memory one Python function alone touches: what the watch engine's hardware watchpoints stand on.

    entry:  the oparg byte of the function's first unit (from 3.11 on its first RESUME): every dispatch reads it once
    exit:   the reference count of the code object: each call's frame holds one reference, and gives it back at its end
            3.12 and later: in _PyEval_FrameClearAndPop, for returns and exceptions alike
            3.11:           for returns; exceptions are seen by a probe where the interpreter unwinds a frame
            to 3.10:        when the frame object dies, which an exception's traceback delays; so exceptions are seen
                            by a probe on PyTraceBack_Here, which is called for the caller next

Code that is built into the interpreter of 3.12 is immortal: its count is never written. Its entry and its returns are
watched as below, and exceptions are seen by a probe where the interpreter unwinds a frame.

What suspends (3.11 and later) keeps its reference until it is freed. So each of its units is watched that ends a call:

    return:    the oparg byte of each unit that returns
    exception: 3.12 and later: of the unit that each exception runs which leaves the call; 3.11: the same probe
    closed, or freed, while suspended: no unit need run; but nothing else is then unseen

Source: Python/ceval.c and Objects/frameobject.c of 3.6 to 3.10; Python/ceval.c and Python/frame.c from 3.11 on.
``watch_sites.py`` finds what a build needs for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from latency.cpython import jit
from latency.cpython.functions import LiveFunction, describe
from latency.cpython.offsets import Offsets
from latency.cpython.sites import Place, SitePlan
from latency.cpython.watch_units import UNIT_BYTES, read_units
from latency.errors import PylatError, ReadFault, UnsupportedBuild, UsageError
from latency.target.build import Build
from latency.target.process import Process

ENGINE = "watch"
FREE_THREADED = (
    "free-threaded CPython does not count a reference to a code object for each call: nothing can be watched"
)
REGISTERS = 4  # x86-64: DR0 to DR3
MOST_FUNCTIONS = 64
"""Code objects that are watched in turns at most."""
_OTHER, _OTHER_FUNCTIONS = "take another --engine", "take another --engine, or name other functions"
COUNT_BYTES = 4  # the lower half of ob_refcnt, which is all of the count from 3.12 on
_IMMORTAL = 1 << 31  # Include/refcount.h: negative as an int32, 3.12 and later
_POINTER_BYTES = 8
_ADDRESS_MASK = 0xFFFF_FFFF_FFFF_FFFF
_OF_FRAMES = ("frame.code", "frame.owner", "frame.instr")
_ALIVE = ("FRAME_EXECUTING", "FRAME_SUSPENDED")  # FRAME_SUSPENDED_YIELD_FROM and the like too


@dataclass(frozen=True)
class WatchPlan(SitePlan):
    """A ``SitePlan`` whose only sites are those that watchpoints cannot do without: exceptions, to 3.11.

    In 3.12 they are placed only for functions that need them (``WatchPoints.needs_probe``).

    Attributes:
        leave: the stretches of the file's code in which frames are released (addresses of their begins and ends), from
            3.12.
        returns: the opcodes at which a call that returned stands; RETURN_VALUE first.
        lasti_bytes: what one step of ``f_lasti`` stands for (to 3.10).
        fresh: 3.11 and later: an entry's frame stands less than this before the oparg byte. To 3.10: the highest
            ``f_lasti`` of a frame that has not begun.
        parts: the stretches of the file's code that fetch units (addresses of their begins and ends), from 3.11.
        again: behind each instruction that fetches a unit once more under a tracer (3.11).
        homes: of instructions that fetch units, by the address behind each: where the frame lies meanwhile, if its
            register holds something else.
    """

    leave: tuple[tuple[int, int], ...] = ()
    returns: tuple[int, ...] = ()
    lasti_bytes: int = 0
    fresh: int = 0
    parts: tuple[tuple[int, int], ...] = ()
    again: tuple[int, ...] = ()
    homes: tuple[tuple[int, Place], ...] = ()

    @classmethod
    def from_json(cls, value: Any) -> WatchPlan:
        """The inverse of ``to_json``. Raises ValueError, TypeError, KeyError or AttributeError on anything else."""
        base = SitePlan.from_json(value)
        leave, parts = (tuple((begin, end) for begin, end in value[name]) for name in ("leave", "parts"))
        returns, again = tuple(value["returns"]), tuple(value["again"])
        homes = tuple((address, Place.from_json(place)) for address, place in value["homes"])
        if not all(len(place.path) == 1 for _, place in homes):
            raise ValueError("a frame's home is no word of the stack")
        lasti_bytes, fresh = value["lasti_bytes"], value["fresh"]
        stretches = (number for stretch in (*leave, *parts) for number in stretch)
        numbers = (lasti_bytes, fresh, *returns, *again, *stretches, *(address for address, _ in homes))
        if not all(type(number) is int for number in numbers):
            raise TypeError("an address or an opcode is no number")
        return cls(
            **{each.name: getattr(base, each.name) for each in fields(base)},
            leave=leave,
            returns=returns,
            lasti_bytes=lasti_bytes,
            fresh=fresh,
            parts=parts,
            again=again,
            homes=homes,
        )


@dataclass(frozen=True)
class WatchPoints:
    """Where to watch one function, as run-time addresses.

    Attributes:
        live: the function.
        units: where its units begin.
        end: where they end, if it suspends.
        entry: the byte that each entry reads.
        count: its reference count, ``COUNT_BYTES`` long; 0 where units tell its ends.
        returns: the byte of each unit that returns.
        raises: the byte of the unit that each exception runs which leaves it; 0 for none.
        exception: where a frame has that exception then: bytes from its beginning.
        yields: how many units yield or await.
    """

    live: LiveFunction
    units: int
    entry: int
    count: int = 0
    returns: tuple[int, ...] = ()
    raises: int = 0
    exception: int = 0
    yields: int = 0
    end: int = 0

    @property
    def suspends(self) -> bool:
        """A generator, coroutine or asynchronous generator."""
        return self.live.function.kind != "function"

    @property
    def needs_probe(self) -> bool:
        """From 3.12 on: nothing that can be watched tells its exceptions."""
        return not self.count and not self.raises

    @property
    def addresses(self) -> frozenset[int]:
        """All that is watched."""
        return frozenset({self.entry, self.count, *self.returns, self.raises}) - {0}


def watch_points(process: Process, offsets: Offsets, live: LiveFunction) -> WatchPoints:
    """Where to watch a function.

    Raises:
        UsageError: this kind of function cannot be watched; the line says why.
        UnsupportedBuild: the code object is not as this version's are.
        ReadFault, TargetGone
    """
    name = live.function.qualname
    if live.function.kind != "function":
        return _units_of_suspending(process, offsets, live)
    count = live.address + offsets["object.refcnt"]
    if _immortal(process, count, offsets):
        return _units_of_immortal(process, offsets, live)
    first = 0
    if "code.code_adaptive" in offsets:
        units = live.address + offsets["code.code_adaptive"]
        first = int.from_bytes(process.read(live.address + offsets["code.first_traceable"], 4), "little")
    else:
        units = process.u64(live.address + offsets["code.code_object"]) + offsets["bytes.data"]
    if first >= 1 << 20:
        raise UnsupportedBuild(f"the code object of {name} begins at unit {first:,}", "report this build to pylat")
    entry = units + UNIT_BYTES * first + 1
    process.read(entry, 1)
    return WatchPoints(live, units, entry, count=count)


def _units_of_suspending(process: Process, offsets: Offsets, live: LiveFunction) -> WatchPoints:
    name, kind = live.function.qualname, live.function.kind.replace("_", " ")
    if "code.code_adaptive" not in offsets:
        raise UsageError(f"{name} is a {kind}: up to CPython 3.10 nothing that can be watched tells how it ends")
    try:
        found = read_units(process, offsets, live.address)
    except UnsupportedBuild as error:
        raise UsageError(f"{name} {error}", error.hint) from None
    units = live.address + offsets["code.code_adaptive"]
    raises = 0 if found.raises is None else units + UNIT_BYTES * found.raises + 1
    if not raises and not offsets.version == "3.11":
        raise UsageError(f"{name} is a {kind} from which exceptions may come in several ways")
    made = WatchPoints(
        live,
        units,
        entry=units + UNIT_BYTES * found.entry + 1,
        returns=tuple(units + UNIT_BYTES * index + 1 for index in found.returns),
        raises=raises,
        exception=found.exception,
        yields=found.yields,
        end=units + UNIT_BYTES * found.number,
    )
    if len(made.addresses) > REGISTERS:
        raise UsageError(
            f"{name} is a {kind} that returns in {len(made.returns)} places: "
            f"with its entry{' and its exceptions' if raises else ''} that is {len(made.addresses)} watchpoints, "
            f"and the processor has {REGISTERS}"
        )
    return made


def _units_of_immortal(process: Process, offsets: Offsets, live: LiveFunction) -> WatchPoints:
    """3.12: code that is built into the interpreter. Its reference count is never written."""
    name = live.function.qualname
    if offsets.version != "3.12":
        raise UsageError(f"{name} has an immortal code object, and how its calls end is known of CPython 3.12 only")
    try:
        found = read_units(process, offsets, live.address)
    except UnsupportedBuild as error:
        raise UsageError(f"{name} {error}", error.hint) from None
    units = live.address + offsets["code.code_adaptive"]
    returns = tuple(units + UNIT_BYTES * index + 1 for index in found.returns)
    if 1 + len(returns) > REGISTERS:
        raise UsageError(
            f"{name} is built into the interpreter and returns in {len(returns)} places: "
            f"with its entry that is {1 + len(returns)} watchpoints, and the processor has {REGISTERS}"
        )
    return WatchPoints(live, units, entry=units + UNIT_BYTES * found.entry + 1, returns=returns)


def refusal(
    process: Process,
    build: Build,
    offsets: Offsets,
    lives: Sequence[LiveFunction],
    *,
    children: bool = False,
    forks: bool = False,
) -> UsageError | None:
    """Why these functions cannot be watched, and what would help; None if they can. Reads memory only.

    Whether the registers are free is not known before they are taken, nor whether the build has a ``WatchPlan``.

    Args:
        lives: all that match, as ``functions.live_functions`` found them.
        children: whether children are to be measured whatever they run, and not only while they run what they forked.
        forks: whether these are followed.

    Raises:
        TargetGone, NoPrivilege
    """
    if children:
        return UsageError("the watch engine follows forks, but not into other programs that they execute", _OTHER)
    suspending = [live.function.qualname for live in lives if live.function.kind != "function"]
    if suspending and jit.may_run(process, build):
        return UsageError(
            f"the target's JIT is on: what it compiles does not fetch the units that tell of {suspending[0]}",
            "start it with PYTHON_JIT=0, or name functions that are not suspended",
        )
    if offsets.free_threaded:
        return UsageError(FREE_THREADED, _OTHER)
    if not lives:
        return UsageError("no function matches")
    found: list[WatchPoints] = []
    for live in lives[: MOST_FUNCTIONS + 1]:
        try:
            found.append(watch_points(process, offsets, live))
        except (UsageError, UnsupportedBuild, ReadFault) as error:
            return UsageError(str(error), error.hint or _OTHER_FUNCTIONS)
    names = sorted({each.function.qualname for each in lives})
    listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    if len(found) > MOST_FUNCTIONS:
        return UsageError(
            f"{len(lives):,} functions match ({listed}), and {MOST_FUNCTIONS} are watched in turns at most",
            "name fewer functions, or take another --engine",
        )
    if forks and registers_needed(found) > REGISTERS:
        return UsageError(
            f"{len(lives):,} functions need {registers_needed(found)} watchpoints ({listed}), and the processor has "
            f"{REGISTERS}: with --children none are watched in turns",
            "name fewer functions (one takes two, or more if it suspends), or take another --engine",
        )
    return None


def has_ended(process: Process, offsets: Offsets, plan: WatchPlan, frame: int, code: int) -> bool:
    """Whether a frame that was seen to begin runs no longer, though its end was not seen: somebody keeps it.

    From 3.12 on every end of a plain call is seen.

    Raises:
        TargetGone, NoPrivilege
    """
    if plan.leave:
        return False
    if process.read_some(frame + offsets["frame.code"], _POINTER_BYTES) != code.to_bytes(_POINTER_BYTES, "little"):
        return True
    if "frame.executing" in offsets:  # 3.6 to 3.9
        return process.read_some(frame + offsets["frame.executing"], 1) == b"\0"
    if "frame.state" in offsets:  # 3.10: int8; FRAME_EXECUTING is 0, what has ended is above
        return 0 < int.from_bytes(process.read_some(frame + offsets["frame.state"], 1), "little") < 1 << 7
    unit = int.from_bytes(process.read_some(frame + offsets["frame.instr"], _POINTER_BYTES), "little")
    return process.read_some(unit, 1) in [bytes([opcode]) for opcode in plan.returns]


def are_alive(process: Process, offsets: Offsets, calls: Sequence[tuple[WatchPoints, int]]) -> list[bool]:
    """Whether calls of what suspends (3.11 and later) still run, or are suspended; else they were closed, or freed.

    Args:
        calls: each with the address of its frame.

    Raises:
        TargetGone, NoPrivilege
    """
    frame_at = offsets["gen.iframe"]
    # Of a freed one some words stay as they were: so ask for all.
    members = {
        name: (start + offsets.fields[name].offset, offsets.fields[name].size)
        for start, names in ((0, ("object.refcnt", "gen.frame_state")), (frame_at, _OF_FRAMES))
        for name in names
    }
    size = max(begin + length for begin, length in members.values())
    generators = [(frame - frame_at) & _ADDRESS_MASK for _, frame in calls]
    states = {value for name, value in offsets.constants.items() if name.startswith(_ALIVE)}
    found = []
    for (points, _), raw in zip(calls, process.read_many(generators, size), strict=True):
        data = raw or bytes(size)
        words = {
            name: int.from_bytes(data[at : at + length], "little", signed=True)
            for name, (at, length) in members.items()
        }
        found.append(
            words["frame.code"] & offsets.stackref_mask == points.live.address
            and words["object.refcnt"] & 0xFFFF_FFFF != 0
            and words["gen.frame_state"] in states
            and words["frame.owner"] == offsets.constants["FRAME_OWNED_BY_GENERATOR"]
            and points.entry - 1 <= words["frame.instr"] < points.end
        )
    return found


def registers_needed(points: Iterable[WatchPoints]) -> int:
    """How many debug registers these functions take. Functions may share their units (to 3.10)."""
    return len({address for each in points for address in each.addresses})


def is_there(process: Process, build: Build, offsets: Offsets, points: WatchPoints) -> bool:
    """Whether the code object is still what it was, with its units where they were.

    Raises:
        TargetGone, NoPrivilege
    """
    now, was = describe(process, build, offsets, points.live.address), points.live.function
    if now is None or (now.function.filename, now.function.line) != (was.filename, was.line):
        return False
    if "code.code_adaptive" in offsets:
        return True
    raw = process.read_some(points.live.address + offsets["code.code_object"], _POINTER_BYTES)
    return int.from_bytes(raw, "little") + offsets["bytes.data"] == points.units


def groups_of(points: Sequence[WatchPoints]) -> list[list[int]]:
    """Numbers of functions that can be watched together, the group that takes the most registers first.

    The code objects of one function are in one group where they fit: then all of it is watched at one time.
    """

    def key(number: int) -> tuple[int, str, str, int]:
        function = points[number].live.function
        return -registers_needed([points[number]]), function.qualname, function.filename, function.line

    groups: list[list[int]] = []
    for number in sorted(range(len(points)), key=key):
        for group in groups:
            if registers_needed(points[at] for at in (*group, number)) <= REGISTERS:
                group.append(number)
                break
        else:
            groups.append([number])
    return sorted(groups, key=lambda group: -registers_needed(points[at] for at in group))


def turns_needed(process: Process, offsets: Offsets, lives: Sequence[LiveFunction]) -> int:
    """In how many turns functions are watched; 0 where they cannot be."""
    try:
        return len(groups_of([watch_points(process, offsets, live) for live in lives]))
    except PylatError:
        return 0


def _immortal(process: Process, count: int, offsets: Offsets) -> bool:
    if int(offsets.version.partition(".")[2]) < 12:
        return False
    return int.from_bytes(process.read(count, COUNT_BYTES), "little") >= _IMMORTAL
