"""Which memory one Python function alone touches: what the watch engine's hardware watchpoints stand on.

    entry:  the oparg byte of the function's first unit (from 3.11 on its first RESUME): every dispatch reads it once
    exit:   the reference count of the code object: each call's frame holds one reference, and gives it back at its end
            3.12 and later: in _PyEval_FrameClearAndPop, for returns and exceptions alike
            3.11:           for returns; exceptions are seen by a probe where the interpreter unwinds a frame
            to 3.10:        when the frame object dies, which an exception's traceback delays; so exceptions are seen
                            by a probe on PyTraceBack_Here, which is called for the caller next

Source: Python/ceval.c and Objects/frameobject.c of 3.6 to 3.10; Python/ceval.c and Python/frame.c from 3.11 on.
Nothing here touches a process but the reading of one code object.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from latency.cpython.functions import LiveFunction
from latency.cpython.offsets import Offsets
from latency.cpython.sites import Role, SitePlan, plan_for
from latency.cpython.sites.code import Code, copies, first_emulated
from latency.cpython.sites.opcodes import opcodes
from latency.errors import UnsupportedBuild, UsageError
from latency.target.elf import Image
from latency.target.process import Process

ENGINE = "watch"
COUNT_BYTES = 4  # the lower half of ob_refcnt, which is all of the count from 3.12 on
_IMMORTAL = 1 << 31  # Include/refcount.h: negative as an int32, 3.12 and later
_TRACEBACK = "PyTraceBack_Here"  # exported by every version
_UNIT_BYTES = 2
_RETURN = ("RETURN_VALUE", "RETURN_CONST", "INSTRUMENTED_RETURN_VALUE", "INSTRUMENTED_RETURN_CONST")
_RETURN_THROUGH_FINALLY = "END_FINALLY"  # to 3.7; later versions return by RETURN_VALUE alone
_BLIND_SPOTS = (
    "functions defined after the start are not seen",
    "a function that calls itself, or another watched one, is measured with the watchpoint hits of those calls taken off",
)
_OUTLIVING = "calls whose frame is kept when they return (a stored sys._getframe()) are counted as lost, not measured"


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


def watch_plan(image: Image, version: tuple[int, int, int], offsets: Offsets) -> WatchPlan:
    """How to tell the entries and exits of a watched function in this build.

    Raises:
        UnsupportedBuild: the frame's register, or the place where frames are released, is not found.
    """
    base = plan_for(image, version, offsets, (), engine="handlers" if version >= (3, 11, 0) else "eval")
    numbers = opcodes(version[:2])
    returns = [numbers[name] for name in _RETURN if name in numbers]
    registers = {"entry.frame": base.registers["entry.frame"]}
    blind_spots = _BLIND_SPOTS
    sites = ()
    leave = (0, 0)
    if version >= (3, 12, 0):
        (released,) = base.of(Role.EXIT)
        leave = image.code_range(released.start) or (0, 0)
        if leave == (0, 0):
            raise UnsupportedBuild(f"{image.name} does not say where {released.name} ends", "try another --engine")
    elif version >= (3, 11, 0):
        sites = tuple(base.of(Role.RAISE))
        registers |= {name: base.registers[name] for name in ("raise.frame", "raise.tstate")}
        blind_spots += (_OUTLIVING,)
    else:
        if version < (3, 8, 0):
            returns.append(numbers[_RETURN_THROUGH_FINALLY])
        sites = (_traceback_site(image),)
        registers["raise.frame"] = "rdi"  # System V ABI: the first argument
        blind_spots += (_OUTLIVING,)
    return WatchPlan(
        engine=ENGINE,
        sites=sites,
        registers=registers,
        start_by=base.start_by,
        resume_mask=base.resume_mask,
        creator_oparg=base.creator_oparg,
        may_repeat=True,
        notes=base.notes,
        blind_spots=blind_spots,
        leave=leave,
        returns=tuple(returns),
        lasti_bytes=_UNIT_BYTES if version >= (3, 10, 0) else 1,
        fresh=_fresh(version),
    )


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
    if offsets.version not in ("3.10", "3.11") and _immortal(process, count, offsets):
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
    entry = units + _UNIT_BYTES * first + 1
    process.read(entry, 1)
    return WatchPoints(live, units, entry, count)


def registers_needed(points: Iterable[WatchPoints]) -> int:
    """How many debug registers these functions take. Functions may share their units (to 3.10)."""
    return len({address for each in points for address in (each.entry, each.count)})


def _immortal(process: Process, count: int, offsets: Offsets) -> bool:
    if int(offsets.version.partition(".")[2]) < 12:
        return False
    return int.from_bytes(process.read(count, COUNT_BYTES), "little") >= _IMMORTAL


def _fresh(version: tuple[int, int, int]) -> int:
    if version < (3, 10, 0):
        return 0  # f_lasti is set before the unit is fetched
    if version < (3, 11, 0):
        return -1
    # instr_ptr (3.13) points at the first unit or before it, prev_instr (3.11, 3.12) always before it.
    return 0 if version >= (3, 13, 0) else _UNIT_BYTES


def _traceback_site(image: Image):  # type: ignore[no-untyped-def]
    symbol = image.symbol(_TRACEBACK)
    if symbol is None:
        raise UnsupportedBuild(f"{image.name} has no symbol {_TRACEBACK}", "try another --engine")
    code = Code(image)
    steps = list(code.straight(symbol.address, limit=12))
    chosen = first_emulated(copies(steps, "rdi"), lambda _, held: "rdi" in held)
    return code.site(Role.RAISE, _TRACEBACK, symbol.address, chosen[0] if chosen else steps[0])
