"""Slow calls, as JSON lines in a file or on standard output, so many a second."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import IO

from latency.errors import ConfigError
from latency.recording import SlowCall
from latency.recording.encode import slow_call_to_json

MOST_EACH_S = 100
"""Lines in a second, on the average of the last ten."""
_SAVED_S = 10


class SlowLog:
    """One file.

    Args:
        path: ``"-"`` for standard output, ``""`` for none.
        out: standard output.

    Attributes:
        unwritten: how many calls there was no room for, or could not be written.

    Raises:
        ConfigError: it cannot be written.
    """

    def __init__(self, path: str, out: IO[str], now_s: float) -> None:
        self.unwritten = 0
        self._left: float = MOST_EACH_S * _SAVED_S
        self._at_s = now_s
        self._out = out
        self._file: IO[str] | None = None
        try:
            if path:
                self._file = out if path == "-" else open(path, "a", encoding="ascii")  # noqa: SIM115
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}", "give slow_log another path") from None

    def write(self, calls: Iterable[tuple[str, SlowCall]], now_s: float) -> None:
        """Each with the name of its rule."""
        if self._file is None:
            return
        self._left = min(self._left + MOST_EACH_S * (now_s - self._at_s), MOST_EACH_S * _SAVED_S)
        self._at_s = now_s
        try:
            for service, call in calls:
                if self._left < 1:
                    self.unwritten += 1
                    continue
                self._left -= 1
                self._file.write(json.dumps({"service": service, **slow_call_to_json(call)}) + "\n")
            self._file.flush()
        except (OSError, ValueError):
            self.unwritten += 1

    def close(self) -> None:
        """Standard output stays open."""
        if self._file and self._file is not self._out:
            self._file.close()
