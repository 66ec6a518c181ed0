"""Site plans that outlive a run: to find one takes a third of a second, to read it back a millisecond."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from latency import __version__, resources
from latency.cache import Cache, key_of
from latency.cpython.offsets import Offsets
from latency.cpython.sites.plan import SitePlan
from latency.target.build import Build

_FINDERS = Path(__file__).parent
Plan = TypeVar("Plan", bound=SitePlan)


def kept_or_found(build: Build, offsets: Offsets, *, engine: str, cache: Cache) -> SitePlan:
    """The plan that an earlier run found in the very same file, with the same finders; else ``plan_for``'s, and kept.

    A build without a build id is searched each time.

    Raises:
        UnsupportedBuild, UsageError: as ``plan_for`` does; a refusal is not kept.
    """

    def find() -> SitePlan:
        from latency.cpython.sites.choose import plan_for  # it imports the disassembler

        return plan_for(build.image, build.version, offsets, build.markers, engine=engine)

    return kept(build, offsets, engine=engine, cache=cache, decode=SitePlan.from_json, find=find)


def kept(
    build: Build,
    offsets: Offsets,
    *,
    engine: str,
    cache: Cache,
    decode: Callable[[Any], Plan],
    find: Callable[[], Plan],
) -> Plan:
    """What ``find`` found in the very same file in an earlier run, or finds now.

    Args:
        decode: the inverse of the plan's ``to_json``.
    """
    key = _key(build, offsets, engine) if build.build_id else ""
    if key:
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            return decode(cache.get(key))
    plan = find()
    if key and _key(build, offsets, engine) == key:  # nobody wrote to the file meanwhile
        cache.put(key, plan.to_json())
    return plan


def _key(build: Build, offsets: Offsets, engine: str) -> str:
    """Changes with the file, and with everything that the finders go by.

    Anybody can write a file with the build id of another one, and its plan would put probes into the midst of the
    other's instructions. So a key is of one file, unchanged: nobody can choose a file's device, number and change time.
    """
    about = os.fstat(build.fd)
    file = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    return key_of(
        [
            "site plan",
            __version__,
            build.build_id,
            json.dumps([build.version, engine, sorted(build.flags), file]),
            json.dumps([offsets.structs, offsets.constants, offsets.fields]),
            (resources.directory("offsets") / "opcodes.json").read_bytes(),
            *(source.read_bytes() for source in sorted([*_FINDERS.glob("*.py"), *_FINDERS.parent.glob("watch_*.py")])),
        ]
    )
