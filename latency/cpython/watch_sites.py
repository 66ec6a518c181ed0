"""What the watch engine must know of a build: the ``WatchPlan``. Read from the file; nothing touches a process."""

from __future__ import annotations

from dataclasses import replace

from latency.cpython.offsets import Offsets
from latency.cpython.sites import Place, Role, Site
from latency.cpython.sites.choose import plan_for
from latency.cpython.sites.code import Code, copies, first_emulated
from latency.cpython.sites.copied import words_of_the_frame
from latency.cpython.sites.dispatch import Handlers, opcode_handlers
from latency.cpython.sites.endings import clear_function, sites_of_questions
from latency.cpython.sites.fetched_again import tracing_fetches
from latency.cpython.sites.fetches import by_tail_calls, fetching, homes_at_fetches
from latency.cpython.sites.handlers import home_of_frames, plan_of, unwinding_sites
from latency.cpython.sites.opcodes import opcodes
from latency.cpython.sites.releases import WHOLE_COPY_LIMIT, Asked, releasing, releasing_at
from latency.cpython.watch_points import ENGINE, WatchPlan
from latency.cpython.watch_units import UNIT_BYTES
from latency.errors import UnsupportedBuild
from latency.target.elf import Image

_TRACEBACK = "PyTraceBack_Here"  # exported by every version
_RETURN = ("RETURN_VALUE", "RETURN_CONST", "INSTRUMENTED_RETURN_VALUE", "INSTRUMENTED_RETURN_CONST")
_MOST_AGAIN, _MOST_LEAVES = 8, 64  # PYLAT_WATCH_AGAIN, PYLAT_WATCH_LEAVES
_RETURN_VALUE, _END_FINALLY = 83, 88  # Include/opcode.h of 3.6 to 3.10
_BLIND_SPOTS = ("functions that are defined after the start are not seen",)
_OUTLIVING = "calls whose frame is kept when they return (a stored sys._getframe()) are counted as lost, not measured"


def watch_plan(image: Image, version: tuple[int, int, int], offsets: Offsets) -> WatchPlan:
    """How to tell the entries and exits of a watched function in this build.

    Raises:
        UnsupportedBuild: the frame's register, or the place where frames are released, is not found.
    """
    found = opcode_handlers(image, version[:2], offsets) if version >= (3, 11, 0) else None
    if found and by_tail_calls(found):
        base = plan_of(found, version[:2], (), {"entry.frame": found.frame})
    else:
        base = plan_for(image, version, offsets, (), engine="handlers" if found else "eval", known=found)
    places = {"entry.frame": base.places["entry.frame"]}
    parts = fetching(found) if found else ()
    homes = homes_at_fetches(found, parts) if found else ()
    if found and (home := home_of_frames(found)):
        places["entry.home"] = home
    blind_spots: tuple[str, ...] = _BLIND_SPOTS
    sites: tuple[Site, ...] = ()
    leave: tuple[tuple[int, int], ...] = ()
    returns = _returns(version)
    if version >= (3, 12, 0):
        if found and by_tail_calls(found):
            leave = _releasing_anywhere(found, parts, offsets)
        else:
            leave = releasing(Code(image), base, offsets)
        if len(leave) > _MOST_LEAVES:
            raise UnsupportedBuild(f"{image.name} releases frames in {len(leave)} places", "try another --engine")
        if version < (3, 13, 0):  # the code objects of the interpreter's own modules are immortal
            sites = tuple(base.of(Role.RAISE))
            places |= {name: base.places[name] for name in ("raise.frame", "raise.tstate") if sites}
            if found and not sites:
                sites = unwinding_sites(found, offsets)
                # of _PyEval_FrameClearAndPop(tstate, frame)
                places |= {"raise.frame": Place("rsi"), "raise.tstate": Place("rdi")}
    elif version >= (3, 11, 0):
        sites = tuple(base.of(Role.RAISE))
        places |= {name: base.places[name] for name in ("raise.frame", "raise.tstate")}
        blind_spots += (_OUTLIVING,)
    else:
        sites = (_traceback_site(image),)
        places["raise.frame"] = Place("rdi")  # System V ABI: the first argument
        blind_spots += (_OUTLIVING,)
    return WatchPlan(
        engine=ENGINE,
        sites=sites,
        places=places,
        start_by=base.start_by,
        resume_mask=base.resume_mask,
        creator_oparg=base.creator_oparg,
        may_repeat=True,
        notes=base.notes,
        blind_spots=blind_spots,
        leave=leave,
        returns=returns,
        lasti_bytes=UNIT_BYTES if version >= (3, 10, 0) else 1,
        fresh=_fresh(version),
        parts=parts,
        again=_fetched_again(found) if found and version < (3, 12, 0) else (),
        homes=homes,
    )


def _releasing_anywhere(
    found: Handlers, parts: tuple[tuple[int, int], ...], offsets: Offsets
) -> tuple[tuple[int, int], ...]:
    """Where frames give back their code objects in a build with tail calls: in the function for that, and in each copy
    of it. A profile can make copies of whole handlers, so that it does not matter here which of them leads to which."""
    whole = replace(found, sweep=found.code.sweep(parts))
    clear, name = clear_function(found, offsets)
    exits = [found.code.site(Role.EXIT, name, clear, found.code.at(clear))] if clear else []
    asked = [
        Asked(site, frozenset({frame}), words_of_the_frame(whole, site.address), WHOLE_COPY_LIMIT)
        for site, frame in sites_of_questions(whole, offsets)
    ]
    return releasing_at(found.code, exits, asked, offsets)


def _returns(version: tuple[int, int, int]) -> tuple[int, ...]:
    if version < (3, 8, 0):  # a return within "try: finally:" ends behind the finally block
        return (_RETURN_VALUE, _END_FINALLY)
    if version < (3, 11, 0):
        return (_RETURN_VALUE,)
    numbers = opcodes(version[:2])
    return tuple(numbers[name] for name in _RETURN if name in numbers)


def _fetched_again(found: Handlers) -> tuple[int, ...]:
    again = tracing_fetches(found)
    if not 0 < len(again) <= _MOST_AGAIN:
        name = found.code.image.name
        raise UnsupportedBuild(f"{name} fetches units for tracers in {len(again)} places", "try another --engine")
    return again


def _fresh(version: tuple[int, int, int]) -> int:
    if version < (3, 10, 0):
        return 0  # f_lasti is set before the unit is fetched
    if version < (3, 11, 0):
        return -1
    # instr_ptr (3.13) points at the first unit or before it, prev_instr (3.11, 3.12) always before it.
    return 0 if version >= (3, 13, 0) else UNIT_BYTES


def _traceback_site(image: Image) -> Site:
    symbol = image.symbol(_TRACEBACK)
    if symbol is None:
        raise UnsupportedBuild(f"{image.name} has no symbol {_TRACEBACK}", "try another --engine")
    code = Code(image)
    steps = list(code.straight(symbol.address, limit=12))
    chosen = first_emulated(copies(steps, "rdi"), lambda _, held: "rdi" in held)
    return code.site(Role.RAISE, _TRACEBACK, symbol.address, chosen[0] if chosen else steps[0])
