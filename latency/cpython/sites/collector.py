"""Where a build says that it collects garbage: the USDT markers ``gc__start`` and ``gc__done`` (3.6 and later, built
``--with-dtrace``). Only a measurement that tells garbage collection apart places these.
"""

from __future__ import annotations

from collections.abc import Iterable

from latency.cpython.sites.code import Code
from latency.cpython.sites.markers import PROVIDER
from latency.cpython.sites.plan import Role, Site
from latency.target.elf import Image
from latency.target.notes import Marker

_ROLES = {"gc__done": Role.GC_DONE, "gc__start": Role.GC_START}


def gc_sites(image: Image, markers: Iterable[Marker]) -> tuple[Site, ...]:
    """All sites of both markers, ends before beginnings; none where a build lacks one of them."""
    found = [marker for marker in markers if marker.provider == PROVIDER and marker.name in _ROLES]
    if {marker.name for marker in found} != _ROLES.keys():
        return ()
    code = Code(image)
    return tuple(
        code.site(role, f"{PROVIDER}:{name}", marker.address, code.at(marker.address), marker.semaphore_offset)
        for name, role in _ROLES.items()
        for marker in found
        if marker.name == name
    )
