"""``pylat probes``: the places in an interpreter that can be probed, and what stands there now. Nothing is attached."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from latency.cpython.sites import Site, SitePlan
from latency.cpython.survey import Spot, Survey, offset_text, survey_file, survey_process
from latency.report.names import escape
from latency.target.notes import Marker
from latency.target.process import Process

_LONGEST_NAME = 1000
_STATES = {
    "int3": "int3: a probe is in place",
    "call": "a call: an optimised probe is in place",
    "changed": "changed by somebody",
}


def run(arguments: argparse.Namespace) -> int:
    """Show the USDT markers and pylat's own sites."""
    survey = survey_file(Path(arguments.path)) if arguments.path else survey_process(Process(arguments.pid))
    if arguments.json:
        print(json.dumps(_record(survey, arguments.pid), indent=1))
    else:
        for line in _lines(survey, arguments.pid):
            print(escape(line, _LONGEST_NAME))
    return 0


def _lines(survey: Survey, pid: int | None) -> Iterator[str]:
    build = survey.build
    yield f"{build.file}  CPython {build.version_text}" + (f"  in process {pid}" if pid is not None else "")
    yield f"build {build.build_id or 'without an id'}  {' '.join(sorted(build.flags))}".rstrip()
    yield ""
    yield f"USDT markers: {len(survey.markers) or 'none'}"
    for marker, spot, semaphore in survey.markers:
        yield f"  {marker.provider}:{marker.name}"
        yield from _spot(spot)
        if marker.arguments:
            yield f"      arguments  {marker.arguments}"
        if marker.semaphore:
            value = "" if semaphore is None else f" = {semaphore}"
            yield f"      semaphore  {marker.semaphore:#x}, file {marker.semaphore_offset:#x}{value}"
    for engine, (plan, sites) in survey.plans.items():
        yield ""
        yield f"engine {engine}: {len(sites)} sites" + (", which pylat takes" if engine == survey.engine else "")
        for site, spot in sites:
            yield f"  {site.role.value:17}  {offset_text(site.name, site.address - site.start)}"
            yield from _spot(spot)
            if registers := _registers(plan, site):
                yield f"      registers  {', '.join(f'{what} in {name}' for what, name in registers.items())}"
    for engine, why in survey.refused.items():
        yield ""
        yield f"engine {engine}: refused: {why}"


def _spot(spot: Spot) -> Iterator[str]:
    symbol = f"  {spot.symbol}" if spot.symbol else ""
    yield f"      at         {spot.address:#x}, file {spot.offset:#x}{symbol}"
    yield f"      code       {spot.code.hex(' ')}  {spot.instruction}  ({_how(spot)})"
    if spot.memory is not None:
        yield f"      memory     {spot.memory.hex(' ')}  {_STATES.get(spot.state, spot.state)}"


def _how(spot: Spot) -> str:
    return "emulated" if spot.emulated else "single-stepped"


def _registers(plan: SitePlan, site: Site) -> dict[str, str]:
    """Where what is needed lies at a site: ``{"frame": "rbx"}``."""
    pairs = ((place.partition("."), str(where)) for place, where in plan.places.items())
    return {what: name for (role, _, what), name in pairs if role == site.role.value}


def _record(survey: Survey, pid: int | None) -> dict[str, Any]:
    build = survey.build
    return {
        "file": build.file,
        "pid": pid,
        "python": build.version_text,
        "build_id": build.build_id,
        "flags": sorted(build.flags),
        "load_bias": build.bias,
        "markers": [_marker_record(*each) for each in survey.markers],
        "engine": survey.engine,
        "engines": {engine: _plan_records(plan, sites) for engine, (plan, sites) in survey.plans.items()},
        "refused": dict(survey.refused),
    }


def _marker_record(marker: Marker, spot: Spot, semaphore: int | None) -> dict[str, Any]:
    return {
        "provider": marker.provider,
        "name": marker.name,
        "arguments": marker.arguments,
        **_spot_record(spot),
        "semaphore": marker.semaphore or None,
        "semaphore_offset": marker.semaphore_offset or None,
        "semaphore_value": semaphore,
    }


def _plan_records(plan: SitePlan, sites: Iterable[tuple[Site, Spot]]) -> list[dict[str, Any]]:
    return [
        {
            "role": site.role.value,
            "name": site.name,
            "name_offset": site.address - site.start,
            **_spot_record(spot),
            "registers": _registers(plan, site),
        }
        for site, spot in sites
    ]


def _spot_record(spot: Spot) -> dict[str, Any]:
    return {
        "address": spot.address,
        "offset": spot.offset,
        "symbol": spot.symbol,
        "instruction": spot.instruction,
        "emulated": spot.emulated,
        "code": spot.code.hex(),
        "memory": None if spot.memory is None else spot.memory.hex(),
        "state": spot.state,
    }
