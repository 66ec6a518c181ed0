"""Slow calls, as JSON lines in a file or on standard output, so many a second.

They are written in a thread of its own: whoever reads standard output may stop to do so, and the measurements and the
scrapes should not wait for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from queue import Full, Queue
from threading import Thread
from typing import IO

from latency.errors import ConfigError
from latency.recording import SlowCall
from latency.recording.encode import slow_call_to_json

MOST_EACH_S = 100
"""Lines in a second, on the average of the last ten."""
_SAVED_S = 10
_CLOSING_S = 2.0
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class SlowLog:
    """One file.

    Args:
        path: ``"-"`` for standard output, ``""`` for none.
        out: standard output.
        now_s: any clock's, as of ``write``.

    Raises:
        ConfigError: it cannot be written.
    """

    def __init__(self, path: str, out: IO[str], now_s: float) -> None:
        self._before = self._no_room = self._failed = 0
        self._left: float = MOST_EACH_S * _SAVED_S
        self._at_s = now_s
        self._waiting: Queue[bytes | None] = Queue(MOST_EACH_S * _SAVED_S)
        self._torn = False
        self._writer: Thread | None = None
        if not path:
            return
        try:
            # a descriptor of its own, which the thread closes that writes; and no waiting for who reads a named pipe
            self._fd = os.dup(out.fileno()) if path == "-" else os.open(path, _FLAGS, 0o666)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}", "give slow_log another path") from None
        self._writer = Thread(target=self._write_all, daemon=True)
        self._writer.start()

    @property
    def unwritten(self) -> int:
        """How many calls there was no room for, or could not be written."""
        return self._before + self._no_room + self._failed

    def write(self, calls: Iterable[tuple[str, SlowCall]], now_s: float) -> None:
        """Each with the name of its rule. It is not waited for."""
        if self._writer is None:
            return
        self._left = min(self._left + MOST_EACH_S * (now_s - self._at_s), MOST_EACH_S * _SAVED_S)
        self._at_s = now_s
        for service, call in calls:
            if self._left < 1:
                self._no_room += 1
                continue
            self._left -= 1
            line = json.dumps({"service": service, **slow_call_to_json(call)}) + "\n"
            try:
                self._waiting.put_nowait(line.encode("ascii"))
            except Full:
                self._no_room += 1

    def follow(self, before: SlowLog) -> None:
        """Take the place of another one, which is closed."""
        before.close()
        self._before = before.unwritten

    def close(self) -> None:
        """What waits is written, if that does not take long. Standard output stays open."""
        if self._writer is None:
            return
        try:
            self._waiting.put(None, timeout=_CLOSING_S)
        except Full:
            self._no_room += 1  # the one that is being written, for which else the None stands
        self._writer.join(_CLOSING_S)
        if self._writer.is_alive():
            self._no_room += self._waiting.qsize()
        self._writer = None

    def _write_all(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                self._write(line)
            except OSError:
                self._failed += 1
        os.close(self._fd)

    def _write(self, line: bytes) -> None:
        """Raises OSError. A line of which only a part could be written is ended before the next one."""
        rest = memoryview(b"\n" + line if self._torn else line)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
            self._torn = bool(rest)
