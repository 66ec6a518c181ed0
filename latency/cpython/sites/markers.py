"""The ``usdt`` engine: the markers ``function__entry`` and ``function__return`` of a build made ``--with-dtrace``.

A marker's arguments are names and a line, never the frame. But the markers lie inside ``_PyEval_EvalFrameDefault``
(3.6 to 3.10), so the frame is in the register in which that function keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable

from latency.cpython.offsets import Offsets
from latency.cpython.sites.code import Code
from latency.cpython.sites.evaluation import evaluation
from latency.cpython.sites.plan import Role, Site, SitePlan
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
    if version >= (3, 11, 0):
        # 3.11: entry fires only while tracing is on (cpython issue 98894); 3.12-3.14: gone.
        raise UnsupportedBuild(
            f"the USDT markers of CPython {version[0]}.{version[1]} do not see every call",
            "use --engine handlers, which does",
        )
    inside = evaluation(image, version, offsets)
    code = Code(image)
    known = {line.address for line in inside.sweep.lines}
    sites: list[Site] = []
    for name in ("function__return", "function__entry"):
        for marker in found[name]:
            if marker.address not in known:
                raise UnsupportedBuild(f"{image.name} has the marker {name} outside the evaluation function")
            step = code.at(marker.address)
            sites.append(code.site(_ROLES[name], f"{PROVIDER}:{name}", marker.address, step, marker.semaphore_offset))
    return SitePlan(
        engine="usdt",
        sites=tuple(sites),
        registers={"entry.frame": inside.frame, "exit.frame": inside.frame, "exit.tstate": inside.tstate},
        start_by="lasti",
        notes=(f"the frame is in {inside.frame} at the markers, the thread state in {inside.tstate}",),
    )
