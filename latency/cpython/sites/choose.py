"""Which engine a build offers, and which is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from latency.cpython.offsets import Offsets
from latency.cpython.sites import evaluation, handlers, markers
from latency.cpython.sites.code import Code, copies, first_emulated
from latency.cpython.sites.dispatch import Handlers
from latency.cpython.sites.plan import Role, Site, SitePlan
from latency.errors import UnsupportedBuild, UsageError
from latency.target.elf import Image
from latency.target.notes import Marker

Version = tuple[int, int, int]
_DEALLOC_TYPES = {
    Role.CODE_DEALLOC: ("PyCode_Type",),
    Role.GENERATOR_DEALLOC: ("PyGen_Type", "PyCoro_Type", "PyAsyncGen_Type"),
}
_COMMON = (Role.ENTRY, Role.EXIT, Role.RETURN, Role.RAISE)


def _finders(
    image: Image, version: Version, offsets: Offsets, found: Iterable[Marker], known: Handlers | None = None
) -> dict[str, Callable[[], SitePlan]]:
    """The engines that exist for a version, the preferred one first: USDT makes the interpreter compute arguments."""
    if version >= (3, 11, 0):
        return {
            "handlers": lambda: handlers.plan(image, version, offsets, known),
            "usdt": lambda: markers.plan(image, version, offsets, found),
        }
    return {
        "eval": lambda: evaluation.plan(image, version, offsets),
        "usdt": lambda: markers.plan(image, version, offsets, found),
    }


def offered(image: Image, version: Version, offsets: Offsets, found: Iterable[Marker]) -> dict[str, SitePlan]:
    """Every engine that works on this build, with its plan, the preferred one first."""
    plans = {}
    for engine, finder in _finders(image, version, offsets, tuple(found)).items():
        try:
            plans[engine] = finder()
        except UnsupportedBuild:
            continue
    return plans


def plan_for(
    image: Image,
    version: Version,
    offsets: Offsets,
    found: Iterable[Marker],
    *,
    engine: str = "auto",
    known: Handlers | None = None,
) -> SitePlan:
    """The plan to measure by.

    Args:
        engine: one of ``sites.ENGINES``, or ``"auto"``: the first that needs no single-stepped probe on the way of
            every call, else the first.
        known: the handlers of the image's opcodes, where somebody has just looked for them.

    Raises:
        UnsupportedBuild: no engine works on this build; the reason is the preferred engine's.
        UsageError: the engine does not exist for this version.
    """
    finders = _finders(image, version, offsets, tuple(found), known)
    if engine != "auto":
        if engine not in finders:
            raise UsageError(
                f"there is no engine {engine!r} for CPython {version[0]}.{version[1]}",
                f"take one of: {', '.join(('auto', *finders))}",
            )
        return _with_deallocs(image, offsets, finders[engine]())
    refusals: list[UnsupportedBuild] = []
    plans: list[SitePlan] = []
    for finder in finders.values():
        try:
            plans.append(finder())
        except UnsupportedBuild as error:
            refusals.append(error)
            continue
        if _is_cheap(plans[-1]):
            break
    if not plans:
        raise refusals[0]
    cheap = [plan for plan in plans if _is_cheap(plan)]
    return _with_deallocs(image, offsets, (cheap or plans)[0])


def _is_cheap(plan: SitePlan) -> bool:
    """Whether no single-stepped probe is on the way of calls that have run before."""
    return all(site.emulated for role in _COMMON for site in plan.usual(role))


def _with_deallocs(image: Image, offsets: Offsets, plan: SitePlan) -> SitePlan:
    """The plan with the sites that say when a code object or a generator is freed (``tp_dealloc`` of its type)."""
    code = Code(image)
    sites: list[Site] = []
    for role, types in _DEALLOC_TYPES.items():
        symbols = image.symbols(types)
        for address in sorted({_dealloc(image, offsets, symbol.address) for symbol in symbols.values()}):
            steps = list(code.straight(address, limit=12))
            chosen = first_emulated(copies(steps, "rdi"), lambda _, held: "rdi" in held)
            sites.append(code.site(role, f"{types[0]}.tp_dealloc", address, chosen[0] if chosen else steps[0]))
    return replace(plan, sites=(*plan.sites, *sites))


def _dealloc(image: Image, offsets: Offsets, type_address: int) -> int:
    address = int(image.pointers(type_address + offsets["type.dealloc"], 1)[0])
    if not image.segment_at(address).executable:
        raise UnsupportedBuild(f"{image.name} has a type at {type_address:#x} without a tp_dealloc in its code")
    return address
