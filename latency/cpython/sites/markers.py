"""The ``usdt`` engine: the markers ``function__entry`` and ``function__return`` of a build made ``--with-dtrace``.

A marker's arguments are names and a line, never the frame. To 3.10 the markers lie inside ``_PyEval_EvalFrameDefault``,
so the frame is in the register in which that function keeps it. In 3.15 they lie in functions of their own, which are
given the frame (Python/ceval.c, ``dtrace_function_entry``): ``marker_functions`` finds it there.
"""

from __future__ import annotations

from collections.abc import Iterable

from latency.cpython.offsets import Offsets
from latency.cpython.sites import marker_functions
from latency.cpython.sites.code import Code
from latency.cpython.sites.evaluation import evaluation
from latency.cpython.sites.plan import Place, Role, Site, SitePlan
from latency.errors import UnsupportedBuild
from latency.target.elf import Image
from latency.target.notes import Marker

PROVIDER = "python"
_ROLES = {"function__entry": Role.ENTRY, "function__return": Role.EXIT}


def plan(image: Image, version: tuple[int, int, int], offsets: Offsets, markers: Iterable[Marker]) -> SitePlan:
    """The ``usdt`` engine's plan. Raises UnsupportedBuild where the markers are missing or do not see every call."""
    found = {name: [m for m in markers if (m.provider, m.name) == (PROVIDER, name)] for name in _ROLES}
    if not all(found.values()):
        raise UnsupportedBuild(
            f"{image.name} has no USDT markers for function calls", "use --engine auto: pylat does not need them"
        )
    if (3, 11, 0) <= version < (3, 15, 0):
        # 3.11: entry fires only while tracing is on (cpython issue 98894); 3.12-3.14: gone.
        raise UnsupportedBuild(
            f"the USDT markers of CPython {version[0]}.{version[1]} do not see every call",
            "use --engine handlers, which does",
        )
    if version >= (3, 15, 0):
        return _in_functions(image, version, offsets, found)
    inside = evaluation(image, version, offsets)
    code = Code(image)
    known = {line.address for line in inside.sweep.lines}
    for name, each in found.items():
        if not all(marker.address in known for marker in each):
            raise UnsupportedBuild(f"{image.name} has the marker {name} outside the evaluation function")
    return SitePlan(
        engine="usdt",
        sites=_sites(code, found),
        places={
            "entry.frame": Place(inside.frame),
            "exit.frame": Place(inside.frame),
            "exit.tstate": Place(inside.tstate),
        },
        start_by="lasti",
        notes=(f"the frame is in {inside.frame} at the markers, the thread state in {inside.tstate}",),
    )


def _in_functions(
    image: Image, version: tuple[int, int, int], offsets: Offsets, found: dict[str, list[Marker]]
) -> SitePlan:
    """3.15. The exit marker fires at each return, suspension and exception. The entry marker fires before RESUME, and
    for the creation of a generator too, whose frame is still the thread's then."""
    addresses = {name: [marker.address for marker in each] for name, each in found.items()}
    inside = marker_functions.search(image, version[:2], offsets, addresses)
    entry, left = inside.frames["function__entry"], inside.frames["function__return"]
    return SitePlan(
        engine="usdt",
        sites=_sites(Code(image), found),
        places={"entry.frame": Place(entry), "exit.frame": Place(left), "exit.tstate": inside.tstate},
        start_by="owner",
        resume_mask=inside.resume_mask,
        resume_opcodes=inside.resume_opcodes,
        notes=(f"the frame is in {entry} at the entry markers, in {left} at the exit markers",),
    )


def _sites(code: Code, found: dict[str, list[Marker]]) -> tuple[Site, ...]:
    """The exits first."""
    return tuple(
        code.site(_ROLES[name], f"{PROVIDER}:{name}", each.address, code.at(each.address), each.semaphore_offset)
        for name in ("function__return", "function__entry")
        for each in found[name]
    )
