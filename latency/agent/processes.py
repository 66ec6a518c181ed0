"""Who runs on this machine: what a rule can ask of a process, from /proc alone."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from latency.agent.config import Wanted

_YOUNG_S = 5.0  # a process that has just been forked may become another program of the same file
_ALL_S = 5.0
"""Who is older than that may replace its program, too: it is looked at as often as this."""
_CONTAINER = re.compile(r"[0-9a-f]{64}")
_POD = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})")
_UNIT = re.compile(r"[^/]+\.(?:service|scope|socket)")


@dataclass(frozen=True)
class Seen:
    """A process as it was when it was looked at. All text is the process's own.

    Attributes:
        start_ticks: tells it from a later one of the same PID.
        command: its command line, joined by spaces.
        uid: the effective one.
        cgroups: the paths of its cgroups.
    """

    pid: int
    start_ticks: int
    parent: int
    executable: str
    command: str
    uid: int
    cgroups: tuple[str, ...]

    @property
    def container(self) -> str:
        """The identifier of its container, as Docker, containerd, CRI-O and Podman put it into the path; or ``""``."""
        return next((found[-1] for path in self.cgroups if (found := _CONTAINER.findall(path))), "")

    @property
    def pod(self) -> str:
        """The UID of its Kubernetes pod; or ``""``."""
        return next((found[-1].replace("_", "-") for path in self.cgroups if (found := _POD.findall(path))), "")

    @property
    def unit(self) -> str:
        """The innermost systemd unit; or ``""``."""
        return next((found[-1] for path in self.cgroups if (found := _UNIT.findall(path))), "")

    def label(self, name: str) -> str:
        """What one of ``config.LABELS`` says of it."""
        return {"pid": str(self.pid), "unit": self.unit, "container": self.container, "pod": self.pod}[name]


def matches(wanted: Wanted, seen: Seen, ancestors: list[int]) -> bool:
    """Whether a rule means this process.

    Args:
        ancestors: the PIDs above it.
    """
    return (
        (not wanted.executable or fnmatchcase(seen.executable, wanted.executable))
        and (not wanted.command or fnmatchcase(seen.command, wanted.command))
        and (not wanted.user or wanted.user in (str(seen.uid), _user(seen.uid)))
        and (not wanted.cgroup or any(fnmatchcase(path, wanted.cgroup) for path in seen.cgroups))
        and (wanted.parent is None or wanted.parent in ancestors)
    )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()


class Census:
    """Who is there. A process that is known already costs one link to be read, now and then.

    Args:
        proc: a mounted proc file system.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = str(proc)  # a path made of words takes as long as the kernel does
        self._known: dict[int, tuple[str, float, float]] = {}  # executable, since when, when it was looked at
        self._sign: tuple[int, bytes] | None = None
        self._listed_s = 0.0
        self.pids: frozenset[int] = frozenset()

    def forget(self) -> None:
        """Everybody is new at the next look."""
        self._known.clear()

    def again(self, pid: int) -> None:
        """It is new at the next look, whatever was known of it."""
        self._known.pop(pid, None)

    def look(self, now_s: float) -> Iterator[Seen]:
        """Those who are new, have replaced their program, or are so young that they still may, the oldest first."""
        self._list(now_s)
        found, proc = [], self._proc
        for pid in self.pids:
            before, since_s, looked_s = self._known.get(pid, ("", now_s, now_s))
            if now_s - since_s > _YOUNG_S and now_s - looked_s < _ALL_S:
                continue
            try:
                executable = os.readlink(f"{proc}/{pid}/exe")
            except OSError:
                executable = ""  # a thread of the kernel, or it has ended
            is_new = before != executable
            self._known[pid] = executable, now_s if is_new else since_s, now_s
            if not executable or (not is_new and now_s - since_s > _YOUNG_S):
                continue
            if (seen := self.one(pid, executable)) is not None:
                found.append(seen)
        yield from sorted(found, key=lambda seen: (seen.start_ticks, seen.pid))

    def _list(self, now_s: float) -> None:
        """The PIDs, where they may be others than at the last look."""
        sign = self._now()
        if sign is not None and sign == self._sign and 0 <= now_s - self._listed_s < _ALL_S:
            return
        self._sign, self._listed_s = sign, now_s
        self.pids = frozenset(int(name) for name in os.listdir(self._proc) if name.isdecimal())
        for pid in self._known.keys() - self.pids:
            del self._known[pid]

    def _now(self) -> tuple[int, bytes] | None:
        """How many processes there are, and which number was given last (Linux fs/proc/root.c and loadavg.c): what
        says at once that nobody has come or ended. None where that is not told."""
        try:
            with open(f"{self._proc}/loadavg", "rb") as file:
                return os.stat(self._proc).st_nlink, file.read().split()[4]
        except (OSError, IndexError):
            return None

    def one(self, pid: int, executable: str = "") -> Seen | None:
        """One process; None where it is none any more, or may not be looked at."""
        place = f"{self._proc}/{pid}"
        try:
            executable = executable or os.readlink(f"{place}/exe")
            words = _content(f"{place}/cmdline").rstrip(b"\0 ").split(b"\0")
            status = _content(f"{place}/stat").rpartition(b")")[2].split()
            lines = _content(f"{place}/cgroup").decode("utf-8", "backslashreplace").splitlines()
            uid = os.stat(place).st_uid
        except (OSError, ValueError):
            return None
        command = b" ".join(words).decode("utf-8", "backslashreplace")
        cgroups = tuple(dict.fromkeys(line.split(":", 2)[2] for line in lines if line.count(":") >= 2))
        return Seen(pid, int(status[19]), int(status[1]), executable, command, uid, cgroups)

    def ancestors(self, pid: int) -> list[int]:
        """The PIDs above a process, the nearest first, as far as they are there."""
        found: list[int] = []
        while pid > 1:
            try:
                pid = int(_content(f"{self._proc}/{pid}/stat").rpartition(b")")[2].split(None, 2)[1])
            except (OSError, ValueError, IndexError):
                break
            if not pid or pid in found:
                break
            found.append(pid)
        return found
