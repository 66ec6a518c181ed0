"""What markers count by name, as the functions of a recording."""

from __future__ import annotations

from typing import Any

import numpy as np

from latency.errors import PylatError
from latency.recording import Function
from latency.target.build import Build
from latency.target.process import Process
from latency.tracing.markers.wanted import Point, Wanted
from latency.tracing.markers.wire import NAME_BYTES

_IMPORT, _GC = "python:import__find__load", "python:gc__start,python:gc__done"


class MarkerNames:
    """From a record of ``markers_wire.NAME`` to a function.

    A text that the kernel could not read, because its page was not there yet, is read afterwards, if it is one that
    cannot have changed since: in memory that is mapped from a file and not writable.
    """

    def __init__(self, wanted: list[Wanted], points: list[Point], process: Process, build: Build) -> None:
        self._wanted = wanted
        self._process = process
        self._build = build
        self._late: dict[int, str | None] = {}
        self._own = [_own(item, each, points) for item, each in enumerate(wanted)]

    def own(self, item: int) -> Function:
        """The function of an item that is counted as a whole."""
        return self._own[item]

    def function(self, key: np.void) -> Function | None:
        """The function of a name; None where the text cannot be known any more."""
        wanted, number = self._wanted[int(key["item"])], int(key["number"])
        if wanted.what == "gc":
            return Function(f"gc [generation {number}]", _GC, 0, "marker")
        text = self._text(key)
        if text is None:
            return None
        if wanted.what == "imports":
            return Function(text, _IMPORT, 0, "marker")
        if wanted.what == "lines":
            return Function("python:line", text, max(number, 0), "event")
        return Function(text, "python:audit", 0, "event")

    def _text(self, key: np.void) -> str | None:
        address = int(key["address"])
        if address:
            if self._late.get(address) is None:
                self._late[address] = self._read(address)
            return self._late[address]
        text = _decoded(key["text"].tobytes())
        return text + "…" if key["is_cut"] else text

    def _read(self, address: int) -> str | None:
        """A text that does not change, from the interpreter's file, or else from memory."""
        image, place = self._build.image, address - self._build.bias
        try:
            segment = image.segment_at(place)
            if not segment.writable and place < segment.address + segment.file_size:
                return _ended(image.read(place, min(NAME_BYTES, segment.address + segment.file_size - place)))
        except PylatError:
            pass  # it is in another file
        try:
            for mapping in self._process.maps():
                if address in mapping and mapping.inode and not mapping.writable:
                    return _ended(self._process.read_some(address, min(NAME_BYTES, mapping.end - address)))
        except PylatError:
            pass  # the process is gone
        return None


def _own(item: int, wanted: Wanted, points: list[Point]) -> Function:
    files = dict.fromkeys(point.file.path for point in points if int(point.record["item"][0]) == item)
    return Function(wanted.label, ", ".join(files), 0, "marker" if wanted.timed else "event")


def _ended(data: bytes) -> str:
    return _decoded(data) + ("" if b"\0" in data else "…")


def _decoded(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def unreadable(key: Any) -> bool:
    """Whether the kernel could not read the text of a name."""
    return bool(key["address"])
