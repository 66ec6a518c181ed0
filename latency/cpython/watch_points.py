"""Which memory one Python function alone touches: what the watch engine's hardware watchpoints stand on.

    entry:  the oparg byte of the function's first unit (from 3.11 on its first RESUME): every dispatch reads it once
    exit:   the reference count of the code object: each call's frame holds one reference, and gives it back at its end
            3.12 and later: in _PyEval_FrameClearAndPop, for returns and exceptions alike
            3.11:           for returns; exceptions are seen by a probe where the interpreter unwinds a frame
            to 3.10:        when the frame object dies, which an exception's traceback delays; so exceptions are seen
                            by a probe on PyTraceBack_Here, which is called for the caller next

Source: Python/ceval.c and Objects/frameobject.c of 3.6 to 3.10; Python/ceval.c and Python/frame.c from 3.11 on.
``watch_sites.py`` finds what a build needs for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from latency.cpython import jit
from latency.cpython.functions import LiveFunction
from latency.cpython.offsets import Offsets
from latency.cpython.sites import SitePlan
from latency.errors import ReadFault, UnsupportedBuild, UsageError
from latency.target.build import Build
from latency.target.process import Process

ENGINE = "watch"
REGISTERS = 4  # x86-64: DR0 to DR3
COUNT_BYTES = 4  # the lower half of ob_refcnt, which is all of the count from 3.12 on
_IMMORTAL = 1 << 31  # Include/refcount.h: negative as an int32, 3.12 and later
UNIT_BYTES = 2
_POINTER_BYTES = 8


@dataclass(frozen=True)
class WatchPlan(SitePlan):
    """A ``SitePlan`` whose only sites are those that watchpoints cannot do without: exceptions, to 3.11.

    Attributes:
        leave: the stretch of the file's code in which frames are released (addresses of its begin and end), from 3.12.
        returns: the opcodes at which a call that returned stands; RETURN_VALUE first.
        lasti_bytes: what one step of ``f_lasti`` stands for (to 3.10).
        fresh: 3.11 and later: an entry's frame stands less than this before the oparg byte. To 3.10: the highest
            ``f_lasti`` of a frame that has not begun.
    """

    leave: tuple[int, int] = (0, 0)
    returns: tuple[int, ...] = ()
    lasti_bytes: int = 0
    fresh: int = 0


@dataclass(frozen=True)
class WatchPoints:
    """Where to watch one function, as run-time addresses.

    Attributes:
        live: the function.
        units: where its units begin.
        entry: the byte that each entry reads.
        count: its reference count, ``COUNT_BYTES`` long.
    """

    live: LiveFunction
    units: int
    entry: int
    count: int


def watch_points(process: Process, offsets: Offsets, live: LiveFunction) -> WatchPoints:
    """Where to watch a function.

    Raises:
        UsageError: this kind of function cannot be watched; the line says why.
        UnsupportedBuild: the code object is not as this version's are.
        ReadFault, TargetGone
    """
    name, kind = live.function.qualname, live.function.kind
    if kind != "function":
        raise UsageError(
            f"{name} is a {kind.replace('_', ' ')}: the watch engine measures plain functions only",
            "take another --engine",
        )
    count = live.address + offsets["object.refcnt"]
    if _immortal(process, count, offsets):
        raise UsageError(
            f"{name} is built into the interpreter: its code is immortal, and the watch engine counts its references",
            "take another --engine",
        )
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
    return WatchPoints(live, units, entry, count)


def unwatchable(
    process: Process, build: Build, offsets: Offsets, lives: Sequence[LiveFunction], *, children: bool = False
) -> str:
    """Why these functions cannot be watched, in one line; ``""`` if they can. Reads memory only; nothing is attached.

    Whether the registers are free is not known before they are taken, nor whether the build has a ``WatchPlan``.

    Args:
        lives: all that match, as ``functions.live_functions`` found them.
        children: whether the target's children are to be followed.

    Raises:
        TargetGone, NoPrivilege
    """
    if children:
        return "the watch engine follows no children"
    if jit.blind_spots(process, build):
        return "the target's JIT is on: what it compiles does not fetch the units that the watch engine watches"
    if not lives:
        return "no function matches"
    found: list[WatchPoints] = []
    for live in lives[: REGISTERS + 1]:  # more never fit
        try:
            found.append(watch_points(process, offsets, live))
        except (UsageError, UnsupportedBuild, ReadFault) as error:
            return str(error)
    if registers_needed(found) > REGISTERS:
        names = sorted({each.function.qualname for each in lives})
        listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        return f"{len(lives):,} functions match ({listed}), and the processor's {REGISTERS} watchpoints hold 2"
    return ""


def has_ended(process: Process, offsets: Offsets, plan: WatchPlan, frame: int, code: int) -> bool:
    """Whether a frame that was seen to begin runs no longer, though its end was not seen: somebody keeps it.

    From 3.12 on every end is seen.

    Raises:
        TargetGone, NoPrivilege
    """
    if plan.leave[1]:
        return False
    if process.read_some(frame + offsets["frame.code"], _POINTER_BYTES) != code.to_bytes(_POINTER_BYTES, "little"):
        return True
    if "frame.executing" in offsets:  # 3.6 to 3.9
        return process.read_some(frame + offsets["frame.executing"], 1) == b"\0"
    if "frame.state" in offsets:  # 3.10: int8; FRAME_EXECUTING is 0, what has ended is above
        return 0 < int.from_bytes(process.read_some(frame + offsets["frame.state"], 1), "little") < 1 << 7
    unit = int.from_bytes(process.read_some(frame + offsets["frame.instr"], _POINTER_BYTES), "little")
    return process.read_some(unit, 1) in [bytes([opcode]) for opcode in plan.returns]


def registers_needed(points: Iterable[WatchPoints]) -> int:
    """How many debug registers these functions take. Functions may share their units (to 3.10)."""
    return len({address for each in points for address in (each.entry, each.count)})


def _immortal(process: Process, count: int, offsets: Offsets) -> bool:
    if int(offsets.version.partition(".")[2]) < 12:
        return False
    return int.from_bytes(process.read(count, COUNT_BYTES), "little") >= _IMMORTAL
