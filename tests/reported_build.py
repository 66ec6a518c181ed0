"""A build out of a report of ``pylat check --report``, for the site finders, where the build itself is not."""

from __future__ import annotations

import base64
import bisect
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from latency.errors import MalformedImage
from latency.target.headers import Segment
from latency.target.notes import Marker
from latency.target.symbols import Symbol

_POINTERS_BYTES = 8


class ReportedImage:
    """Stands for an ``Image``; what is not in the report is not there.

    Args:
        report: what ``build_report`` made.
    """

    def __init__(self, report: dict[str, Any]) -> None:
        self.name = report["file"]
        self.is_pie = report["pie"]
        self.version: tuple[int, int, int] = tuple(report["version"])
        self.markers = tuple(Marker(*fields) for fields in report["markers"])
        self._places = report["segments"]
        pieces = {it["address"]: zlib.decompress(base64.b64decode(it["zlib"])) for it in report["code"]}
        pieces |= {address: bytes.fromhex(beginning) for address, beginning in report["called"]}
        self._executable = set(pieces)
        self._functions = sorted(
            (it["address"], it["address"] + it["bytes"]) for it in report["code"] if it["function"]
        )
        if table := report["opcode_table"]:
            pieces[table["address"]] = np.array(table["handlers"], "<u8").tobytes()
        for place, value in report["deallocs"].values():
            pieces[place] = value.to_bytes(_POINTERS_BYTES, "little")
        self._pieces = dict(sorted(pieces.items()))
        self._symbols = report["symbols"]
        self._bound = {slot: Symbol(name, address, 0, kind="func") for slot, name, address in report["bound"]}

    @property
    def segments(self) -> tuple[Segment, ...]:
        return tuple(self._segment(address, data) for address, data in self._pieces.items())

    def malformed(self, what: str) -> MalformedImage:
        return MalformedImage(f"{self.name}: {what}", "")

    def segment_at(self, address: int) -> Segment:
        for start, data in reversed(self._pieces.items()):  # where two overlap, the end of the first is not wanted
            if start <= address < start + len(data):
                return self._segment(start, data)
        raise self.malformed(f"{address:#x} is not in the report")

    def read(self, address: int, size: int) -> bytes:
        segment = self.segment_at(address)
        at = address - segment.address
        if at + size > segment.file_size:
            raise self.malformed(f"{address + size:#x} is not in the report")
        return self._pieces[segment.address][at : at + size]

    def pointers(self, address: int, count: int) -> np.ndarray[Any, Any]:
        return np.frombuffer(self.read(address, count * _POINTERS_BYTES), "<u8")

    def code_range(self, address: int) -> tuple[int, int] | None:
        at = bisect.bisect_right(self._functions, (address, 1 << 64)) - 1
        return self._functions[at] if at >= 0 and address < self._functions[at][1] else None

    def offset_of(self, address: int) -> int:
        for start, size, offset, _ in self._places:
            if start <= address < start + size:
                return int(address - start + offset)
        raise self.malformed(f"{address:#x} is in no segment")

    def bound_symbol(self, address: int) -> Symbol | None:
        return self._bound.get(address)

    def symbol(self, name: str) -> Symbol | None:
        return self.symbols([name]).get(name)

    def symbols(self, names: Iterable[str]) -> dict[str, Symbol]:
        known = {name: self._symbols.get(name) for name in names}
        return {name: Symbol(name, *place, kind="other") for name, place in known.items() if place}

    def _segment(self, address: int, data: bytes) -> Segment:
        executable = address in self._executable
        offset = self.offset_of(address)
        return Segment(offset, address, len(data), len(data), 1, True, not executable, executable)
