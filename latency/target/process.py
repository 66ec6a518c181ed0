"""A live process, only ever read: who it is, its mappings, its files, its memory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from latency.errors import (
    HostError,
    KernelTooOld,
    NoDescriptors,
    NoPrivilege,
    NoSuchProcess,
    TargetError,
    TargetGone,
)
from latency.target.maps import Mapping, parse
from latency.target.memory import Memory

_AT_ENTRY = 9  # of the auxiliary vector, getauxval(3)
_PRIVILEGE_HINT = "run as root, or with CAP_SYS_PTRACE, and CAP_DAC_READ_SEARCH too for a process of another user"


class _Stat(NamedTuple):
    """The fields of ``/proc/PID/stat`` that pylat needs (proc_pid_stat(5): 2, 3, 22, and 26 to 28)."""

    comm: str
    state: str
    start_ticks: int
    image: tuple[int, ...]


class Process(Memory):
    """One process, told from a later one with the same PID by its start time.

    Args:
        pid: as the PID namespace of ``proc`` numbers it.
        proc: a mounted proc file system.

    Raises:
        NoSuchProcess: there is none, or only its zombie; or the number is that of a thread.
    """

    def __init__(self, pid: int, *, proc: Path = Path("/proc")) -> None:
        super().__init__(pid, proc)
        first = self._stat()
        if first is None or first.state in "ZX":
            raise NoSuchProcess(f"there is no process {pid}", "list the processes with: ps -e")
        # Whatever a thread has in /proc, under its own number too, most of it is only that of the thread.
        for whose in _numbers(self._path("status"), "Tgid"):
            if whose != pid:
                raise NoSuchProcess(
                    f"{pid} is no process: it is thread {pid} of process {whose} ({first.comm})",
                    f"give -p {whose}: all of its threads are measured",
                )
        self.start_ticks = first.start_ticks
        """Start time in clock ticks since boot."""

    def __repr__(self) -> str:
        return f"Process({self.pid})"

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_memory_fd"):
            self.close()

    def close(self) -> None:
        """Close the descriptor of the process's memory. It is opened again when needed."""
        if self._memory_fd is not None:
            os.close(self._memory_fd)
            self._memory_fd = None

    # -- who it is -------------------------------------------------------------------------

    def alive(self) -> bool:
        """Whether this very process still runs: same start time, and not a zombie. What cannot be looked at does."""
        try:
            now = self._stat()
        except HostError:
            return True
        return now is not None and now.start_ticks == self.start_ticks and now.state not in "ZX"

    @property
    def is_stopped(self) -> bool:
        """Whether a signal has stopped it (SIGSTOP, SIGTSTP), until another one lets it go on."""
        try:
            now = self._stat()
        except HostError:
            return False
        return now is not None and now.start_ticks == self.start_ticks and now.state == "T"

    def check(self) -> None:
        """Raise TargetGone if the process ended or its PID is another's by now."""
        if not self.alive():
            raise self._gone()

    def image_identity(self) -> tuple[int, ...]:
        """What changes when the process replaces its program by exec: where its code and its stack lie.

        () where the process is gone, or may not be looked into.
        """
        now = self._stat()
        return now.image if now else ()

    def ending(self, image: tuple[int, ...]) -> str:
        """How it has ended since its ``image_identity`` was this one.

        Returns:
            ``""`` if it has not; ``"exited"``, also while it exits: its state is that of a running process then, but it
            has no memory any more (Linux fs/proc/array.c: without a memory map all addresses are 0); or ``"exec"``: it
            runs another program. What cannot be looked at has not ended.
        """
        try:
            now = self._stat()
        except HostError:
            return ""
        if now is None or now.start_ticks != self.start_ticks or now.state in "ZX" or not any(now.image):
            return "exited"
        return "" if now.image == image or not image else "exec"

    @property
    def comm(self) -> str:
        """The kernel's name of the process, at most 15 bytes; the process can set it to anything."""
        now = self._stat()
        if now is None:
            raise self._gone()
        return now.comm

    @property
    def command_words(self) -> list[str]:
        """The words of the command line; none when the process cleared it."""
        words = self._file("cmdline").rstrip(b"\0 ").split(b"\0")
        return [word.decode("utf-8", "backslashreplace") for word in words] if any(words) else []

    @property
    def executable(self) -> str:
        """The path that was executed, as the target sees it; ends in `` (deleted)`` if it was."""
        try:
            return os.readlink(self._path("exe"))
        except OSError as error:
            raise self._failed("exe", error) from None

    def environ(self) -> dict[str, str]:
        """The environment that the program was started with.

        Raises:
            NoPrivilege: it belongs to somebody else.
        """
        pairs = (part.partition(b"=") for part in self._file("environ").split(b"\0"))
        return {os.fsdecode(name): os.fsdecode(value) for name, separator, value in pairs if separator}

    @property
    def entry(self) -> int:
        """The address at which the program began (AT_ENTRY); 0 if that is not known."""
        return self.auxiliary_vector().get(_AT_ENTRY, 0)

    def auxiliary_vector(self) -> dict[int, int]:
        """What the kernel told the program when it began, by type (getauxval(3))."""
        raw = self._file("auxv")
        words = memoryview(raw[: len(raw) // 16 * 16]).cast("Q").tolist()
        return dict(zip(words[::2], words[1::2], strict=True))

    @property
    def namespace_pid(self) -> int:
        """The PID as the process itself sees it (its innermost PID namespace)."""
        return [self.pid, *_numbers(self._path("status"), "NStgid")][-1]

    @property
    def namespace(self) -> tuple[int, int]:
        """Its innermost PID namespace: the device and the inode, as the kernel numbers them; (0, 0) if it is gone."""
        try:
            found = os.stat(self._path("ns/pid"))
        except OSError:
            return 0, 0
        return os.major(found.st_dev) << 20 | os.minor(found.st_dev), found.st_ino

    def threads(self) -> list[int]:
        """The TIDs of all threads, ascending."""
        try:
            return sorted(int(name) for name in os.listdir(self._path("task")))
        except OSError as error:
            raise self._failed("task", error) from None

    def children(self, *, recursive: bool = False) -> list[int]:
        """The PIDs of the children of all threads; with ``recursive`` their descendants too."""
        found: list[int] = []
        waiting = [self.pid]
        while waiting:
            children = _children(self.proc / str(waiting.pop()) / "task")
            found += children
            if recursive:
                waiting += children
        return sorted(set(found))

    # -- what is mapped ----------------------------------------------------------------------

    def maps(self) -> list[Mapping]:
        """The mappings, ascending. A kernel thread or a zombie has none.

        Raises:
            TargetGone, NoPrivilege
        """
        return parse(self._file("maps").decode("utf-8", "surrogateescape"))

    def open_mapped_file(self, mapping: Mapping) -> int:
        """A descriptor (read-only, close-on-exec) of the very file that is mapped.

        The name is tried first, below the target's root: so it works in other mount namespaces.
        A file that was deleted or replaced since is reached through ``map_files``.

        Raises:
            TargetGone, NoPrivilege
            TargetError: it is not a regular file, or it was replaced and cannot be reached.
        """
        named = None
        if not mapping.deleted:
            # The kernel writes paths as seen from our root, or else from the namespace's root.
            named = _open_regular(self._path(f"root{mapping.path}"), mapping)
            named = named if named is not None else _open_regular(Path(mapping.path), mapping)
        if named is not None and _device(os.fstat(named).st_dev) == mapping.device:
            return named
        # On overlayfs and btrfs the device in maps is not the one that fstat says: then only
        # map_files proves that it is the same file, and the inode alone must do without it.
        mapped = _open_regular(self._path(f"map_files/{mapping.start:x}-{mapping.end:x}"), mapping)
        if mapped is not None:
            if named is not None:
                os.close(named)
            return mapped
        if named is not None:
            return named
        self.check()
        raise TargetError(
            f"the file that process {self.pid} maps as {mapping.path!r} was deleted or replaced",
            "run as root, or with CAP_CHECKPOINT_RESTORE too: then it is reached through /proc/PID/map_files",
        )

    # -- inside ------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        return self.proc / str(self.task) / name

    def _file(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except OSError as error:
            raise self._failed(name, error) from None

    def _stat(self) -> _Stat | None:
        """None: there is no such process. Raises NoDescriptors.

        Where the main thread has ended and others run, it is a zombie without a memory, and what they have is told.
        """
        own = self._stat_of(self.pid)
        if own is None or own.state not in "ZX":
            return own
        for tid in _threads(self.proc / str(self.pid)):
            other = self._stat_of(tid)
            if other and other.state not in "ZX":
                self.task = tid
                return own._replace(state=other.state, image=other.image)
        return own

    def _stat_of(self, task: int) -> _Stat | None:
        try:
            # asked of each process several times a second: no path of objects, and one reading
            with open(f"{self.proc}/{task}/stat", "rb") as file:
                text = file.read().decode("utf-8", "backslashreplace")
            # comm may hold spaces and parentheses: the fields that follow start after the last ")".
            comm, _, rest = text.partition("(")[2].rpartition(")")
            fields = rest.split()
            return _Stat(comm, fields[0], int(fields[19]), tuple(map(int, fields[23:26])))
        except (OSError, IndexError, ValueError) as error:
            _require_descriptors(error)
            return None

    def _gone(self) -> TargetGone:
        if self.alive():
            return TargetGone(f"process {self.pid} replaced itself by another program (exec)", "measure it again")
        return TargetGone(f"process {self.pid} ended", "look for its new PID")

    def _failed(self, name: str, error: OSError) -> TargetError | NoPrivilege:
        _require_descriptors(error)
        if error.errno in (errno.ENOENT, errno.ESRCH) or not self.alive():
            return self._gone()
        if error.errno in (errno.EACCES, errno.EPERM):
            return NoPrivilege(f"no right to read /proc/{self.pid}/{name}", _PRIVILEGE_HINT)
        return TargetError(f"cannot read /proc/{self.pid}/{name}: {os.strerror(error.errno or 0)}")


def _threads(process: Path) -> list[int]:
    try:
        return [int(name) for name in os.listdir(process / "task")]
    except OSError as error:
        _require_descriptors(error)
        return []


def _numbers(status: Path, name: str) -> list[int]:
    """Those in a line of ``/proc/PID/status``; none where it is not there, or may not be read."""
    try:
        lines = status.read_text("utf-8", "backslashreplace").split("\n")
        return next(([*map(int, line.split()[1:])] for line in lines if line.startswith(f"{name}:")), [])
    except (OSError, ValueError) as error:
        _require_descriptors(error)
        return []


def _require_descriptors(error: Exception) -> None:
    """Raises NoDescriptors where that is what the error means: it says nothing of the process."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        raise NoDescriptors(
            f"pylat has no file descriptors left: {os.strerror(error.errno)}", "raise the limit: ulimit -n"
        ) from None


def _open_regular(path: Path, mapping: Mapping) -> int | None:
    """A descriptor of the file if it is a regular one with the mapping's inode, else None."""
    try:
        # O_NONBLOCK: whatever lies there now, a FIFO or a terminal, opening it must not wait.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        _require_descriptors(error)
        return None
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_ino == mapping.inode:
        return fd
    os.close(fd)
    return None


def tracer(tid: int, *, proc: Path = Path("/proc")) -> tuple[int, str] | None:
    """(PID, name) of the debugger that traces a thread (ptrace); None where there is none, or it is not to be seen."""
    try:
        status = (proc / str(tid) / "status").read_text("utf-8", "backslashreplace")
        pid = int(status.partition("\nTracerPid:")[2].partition("\n")[0])
        return (pid, (proc / str(pid) / "comm").read_text("utf-8", "backslashreplace").strip()) if pid else None
    except (OSError, ValueError):
        return None


def _device(number: int) -> str:
    return f"{os.major(number):02x}:{os.minor(number):02x}"


def _children(tasks: Path) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(tasks):
            listed = tasks / task / "children"
            try:
                found += [int(pid) for pid in listed.read_text().split()]
            except FileNotFoundError:
                if listed.parent.exists():
                    raise KernelTooOld(
                        "this kernel does not list the children of a process",
                        "it needs CONFIG_PROC_CHILDREN; give each PID with -p instead",
                    ) from None
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended meanwhile: it has no children any more
    except OSError as error:
        _require_descriptors(error)
        raise TargetError(f"cannot read {tasks}: {error.strerror}") from None
    return found
