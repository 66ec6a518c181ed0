"""The BPF program of one target: compile, load, attach, detach. The only file that imports bcc, and only when it runs.

Differences between bcc versions live here alone. bcc compiles and loads; what is attached is attached by
``kernel.py``, through descriptors that the kernel closes with the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from latency import resources
from latency.cpython.sites import Role, SitePlan
from latency.errors import AttachError, CompileError, KernelTooOld, MissingBcc, NoPrivilege
from latency.tracing import kernel, wire
from latency.tracing.kernel import Map
from latency.tracing.parameters import Capacity, programs

_THREAD_EXIT = "pylat_thread_exit"
_U32 = np.dtype("<u4")
ATTACHMENTS = ("auto", "multi", "perf")


def import_bcc() -> Any:
    """The distribution's bcc module.

    Raises:
        MissingBcc: it is not there, or it is the unrelated package of that name.
    """
    try:
        import bcc
    except ImportError as error:
        raise MissingBcc(
            "the Python module bcc is missing" if isinstance(error, ModuleNotFoundError) else f"bcc: {error}",
            "install the distribution's python3-bpfcc, and make pylat's environment with --system-site-packages",
        ) from None
    if not hasattr(bcc, "BPF"):
        raise MissingBcc(
            "the Python module bcc is an unrelated package of the same name",
            "pip uninstall bcc; then install the distribution's python3-bpfcc",
        )
    return bcc


class Program:
    """A compiled BPF program with its maps. ``attach`` places the probes; ``close`` takes everything away.

    Args:
        flags: from ``parameters.cflags``.
        plan: whose sites are going to be probed.
        capacity: the same that the flags were made from.
        attachment: ``"multi"`` (one uprobe-multi link for each role), ``"perf"`` (a perf event for each site), or
            ``"auto"``: the first where the kernel has it.

    Raises:
        MissingBcc, CompileError, NoPrivilege, KernelTooOld
    """

    def __init__(self, flags: Sequence[str], plan: SitePlan, capacity: Capacity, *, attachment: str = "auto") -> None:
        self._plan = plan
        self._functions: dict[Role, Any] = {}
        self._thread_exit: Any = None
        self._links: list[int] = []
        self._exit_link: int | None = None
        self._multi = attachment != "perf"
        self._may_fall_back = attachment == "auto"
        with _messages() as messages:
            self._bpf = self._compile(flags, messages)
            self._load(messages)
        self.capacity = capacity
        self.functions = self._map("functions", wire.FUNCTION_KEY, wire.FUNCTION)
        self.threads = self._map("threads", _U32, wire.THREAD)
        self.suspended = self._map("suspended", wire.FRAME_KEY, wire.SUSPENDED)
        self._counters = self._map("counters", _U32, wire.COUNTERS)
        self._free_slots = self._map("free_slots", _U32, _U32)
        self._config_memory = self._mapped("config", wire.CONFIG, 1)
        self._statistics_memory = self._mapped("statistics", wire.STATISTICS, capacity.slots)
        self._event: Callable[[np.ndarray[Any, Any]], None] | None = None

    # -- the maps --------------------------------------------------------------------------------

    @property
    def config(self) -> np.ndarray[Any, Any]:
        """The one record of ``wire.CONFIG``, live: writing to it takes effect at once."""
        return np.frombuffer(self._config_memory, wire.CONFIG, 1)

    @property
    def statistics(self) -> np.ndarray[Any, Any]:
        """All ``capacity.slots`` records of ``wire.STATISTICS``, live."""
        return np.frombuffer(self._statistics_memory, wire.STATISTICS, self.capacity.slots)

    def counters(self) -> dict[str, int]:
        """The counters, summed over the CPUs."""
        values = self._counters.lookup(np.zeros(1, _U32), kernel.possible_cpus())
        assert values is not None  # an array map has every key
        return {name: int(values[name].sum()) for name in wire.COUNTERS.names or ()}

    def give_slots(self, slots: Sequence[int]) -> None:
        """Let the program take these for functions that it meets."""
        for slot in slots:
            self._free_slots.update(None, np.array([slot], _U32))

    def listen(self, event: Callable[[np.ndarray[Any, Any]], None]) -> None:
        """Call ``event`` with a ``wire.CODE_EVENT`` record for each event that ``consume`` finds."""
        self._event = event

        def received(_context: Any, data: int, size: int) -> int:
            if size >= wire.CODE_EVENT.itemsize and self._event:
                self._event(np.frombuffer(ctypes.string_at(data, wire.CODE_EVENT.itemsize), wire.CODE_EVENT)[0])
            return 0

        self._bpf["events"].open_ring_buffer(received)

    def consume(self) -> None:
        """Hand on the events that have come since."""
        self._bpf.ring_buffer_consume()

    # -- attaching -------------------------------------------------------------------------------

    def attach(self, path: str, pid: int) -> None:
        """Place the probes, exits before entries.

        Args:
            path: of the interpreter's file; ``/proc/self/fd/N`` for the very inode that is mapped.
            pid: whose calls to see; 0 for every process that maps the file.

        Raises:
            AttachError: the kernel refused; everything placed so far is gone again.
        """
        try:
            self._exit_link = kernel.attach_raw_tracepoint(self._thread_exit.fd, "sched_process_exit")
            self._attach_sites(path, pid)
        except OSError as error:
            self.detach()
            self.close_exit_link()
            raise AttachError(
                f"the kernel refused the probes: {error.strerror}", "run pylat check to see what is missing"
            ) from error

    def detach(self) -> None:
        """Take the probes away. The maps stay readable."""
        for link in self._links:
            os.close(link)
        self._links.clear()

    def close_exit_link(self) -> None:
        """Stop following threads that end; until then the open calls of an ended thread are dropped and counted."""
        if self._exit_link is not None:
            os.close(self._exit_link)
            self._exit_link = None

    def close(self) -> None:
        """Take everything away: probes, programs and maps."""
        self.detach()
        self.close_exit_link()
        self._bpf.cleanup()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def attachment(self) -> str:
        """How it is attached: ``"multi"`` or ``"perf"``."""
        return "multi" if self._multi else "perf"

    # -- inside ----------------------------------------------------------------------------------

    def _compile(self, flags: Sequence[str], messages: Callable[[], str]) -> Any:
        bcc = import_bcc()
        folder = resources.directory("bpf")
        # bcc looks for the kernel's headers here; ours are enough for a program that only reads user memory.
        os.environ["BCC_KERNEL_SOURCE"] = str(folder / "include")
        try:
            return bcc.BPF(src_file=str(folder / "pylat.bpf.c"), cflags=[f"-I{folder}", *flags])
        except Exception as error:  # bcc raises nothing more exact
            raise _explained(error, "did not compile", messages()) from None

    def _load(self, messages: Callable[[], str]) -> None:
        from bcc import BPF

        kind = kernel.TRACE_UPROBE_MULTI if self._multi else -1
        try:
            for role, name in programs(self._plan).items():
                self._functions[role] = self._load_one(name, BPF.KPROBE, kind)
            self._thread_exit = self._load_one(_THREAD_EXIT, BPF.RAW_TRACEPOINT, -1)
        except Exception as error:
            raise _explained(error, "was refused by the kernel", messages()) from None

    def _load_one(self, name: str, kind: int, attach_type: int) -> Any:
        self._bpf.funcs.pop(name.encode(), None)  # bcc hands out a function again as it was loaded before
        return self._bpf.load_func(name, kind, None, attach_type)

    def _attach_sites(self, path: str, pid: int) -> None:
        for role in programs(self._plan):
            sites = list(self._plan.of(role))
            fd = self._functions[role].fd
            if self._multi:
                try:
                    places, semaphores = zip(*((site.offset, site.semaphore_offset) for site in sites), strict=True)
                    self._links.append(kernel.attach_uprobes(fd, path, places, semaphores, pid))
                    continue
                except OSError:
                    if not self._may_fall_back or self._links:
                        raise
                with _messages() as messages:  # Linux before 6.6 loads the program and knows no such link
                    self._multi = False
                    self._load(messages)
                fd = self._functions[role].fd
            for site in sites:
                self._links.append(kernel.attach_uprobe(fd, path, site.offset, site.semaphore_offset, pid))

    def _map(self, name: str, key: np.dtype[Any], value: np.dtype[Any]) -> Map:
        table = self._bpf[name]
        return Map(table.map_fd, key, value)

    def _mapped(self, name: str, value: np.dtype[Any], count: int) -> mmap.mmap:
        page = mmap.PAGESIZE
        size = -(-value.itemsize * count // page) * page
        return mmap.mmap(self._bpf[name].map_fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


@contextlib.contextmanager
def _messages() -> Iterator[Callable[[], str]]:
    """Catches what the compiler and bcc's C++ side write to standard error; the value reads what has come so far."""
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)

        def text() -> str:
            file.seek(0)
            return file.read(1 << 20).decode(errors="replace")

        try:
            yield text
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _explained(error: Exception, what: str, text: str) -> CompileError | NoPrivilege | KernelTooOld | MissingBcc:
    if isinstance(error, MissingBcc):
        return error
    if "Operation not permitted" in text + str(error):
        return NoPrivilege(
            "the kernel does not let this user load BPF programs", "run as root, or with CAP_BPF and CAP_PERFMON"
        )
    return CompileError(
        f"the BPF program {what}", "run again with -v to see the compiler's text", detail=f"{text}\n{error}".strip()
    )
