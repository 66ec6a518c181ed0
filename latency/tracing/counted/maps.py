"""The maps through which user space and the BPF programs tell each other what is wanted and what was counted."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from latency.errors import TargetError
from latency.target.process import Process
from latency.tracing.counted import wire
from latency.tracing.counted.divided import Splits
from latency.tracing.counted.extremes import Extremes
from latency.tracing.counted.parameters import Capacity
from latency.tracing.kernel import calls as kernel
from latency.tracing.kernel.calls import Map
from latency.tracing.kernel.host import own_pid_namespace
from latency.tracing.kernel.ringbuf import RingBuffer

_EVENT_TYPES = {
    wire.EVENT_CODE: wire.CODE_EVENT,
    wire.EVENT_MODULE: wire.MODULE_EVENT,
    wire.EVENT_OWNER: wire.OWNER_EVENT,
}
_A_FEW = 256
"""Processes are asked for at a time, several times a second."""
_STRIDE = 256
"""So many slots further than the last one in use is looked for others."""
_U8, _U32, _U64 = np.dtype("u1"), np.dtype("<u4"), np.dtype("<u8")


class CountingMaps:
    """What each engine's programs have: the configuration, the statistics, the counters.

    Args:
        descriptors: of all maps of the programs, by the name in the source.
        config: the struct of the one record of ``config``.
        slots: how many records ``statistics`` has.
    """

    def __init__(self, descriptors: Mapping[str, int], config: np.dtype[Any], slots: int) -> None:
        self.slots = slots
        self._descriptors = descriptors
        self._config = config
        self._counters, self._cpus = self.map("counters", _U32, wire.COUNTERS), kernel.possible_cpus()
        self._config_memory = self.mapped("config", config, 1)
        self._statistics_memory = self.mapped("statistics", wire.STATISTICS, slots)
        self._looked = min(_STRIDE, slots)

    @property
    def config(self) -> np.ndarray[Any, Any]:
        """The one record of the configuration, live: writing to it takes effect at once."""
        return np.frombuffer(self._config_memory, self._config, 1)

    @property
    def statistics(self) -> np.ndarray[Any, Any]:
        """All ``slots`` records of ``wire.STATISTICS``, live."""
        return np.frombuffer(self._statistics_memory, wire.STATISTICS, self.slots)

    def used_slots(self) -> np.ndarray[Any, Any]:
        """The slots that are somebody's, ascending.

        The programs take the lowest ones first. So those beyond are not looked at, whose memory would be the reader's
        from then on: more than a page each. Whoever gives slots back asks this before.
        """
        codes = self.statistics["code"]
        while True:
            used = np.flatnonzero(codes[: self._looked])
            if self._looked == self.slots or not len(used) or used[-1] < self._looked - _STRIDE:
                return used
            self._looked = min(self._looked + _STRIDE, self.slots)

    def heads(self, slots: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Copies of the beginnings of the records of these slots: ``wire.HEAD``."""
        stride = wire.STATISTICS.itemsize
        everything: np.ndarray[Any, Any] = np.ndarray(self.slots, wire.HEAD, self._statistics_memory, strides=stride)
        found: np.ndarray[Any, Any] = everything[slots]
        return found

    def enable(self, process: Process) -> None:
        """What comes from now on counts, until the process replaces its program: the kernel ends it then by itself.

        Args:
            process: the one that is followed, alone or as the first.
        """
        config = self.config
        is_told = "replaced" in (config.dtype.names or ())  # watchpoints go with the program
        if is_told:
            with suppress(TargetError):  # it has just ended
                config["namespace_device"], config["namespace_inode"] = process.namespace
                config["tgid"] = process.namespace_pid
        config["enabled"] = 1
        if is_told and config["replaced"][0]:
            config["enabled"] = 0

    def counters(self) -> dict[str, int]:
        """The counters, summed over the CPUs."""
        values = self._counters.lookup(np.zeros(1, _U32), self._cpus)
        assert values is not None  # an array map has every key
        sums = values.view(_U64).reshape(len(values), -1).sum(axis=0).tolist()
        return dict(zip(wire.COUNTERS.names or (), sums, strict=True))

    def map(self, name: str, key: np.dtype[Any], value: np.dtype[Any]) -> Map:
        """One of the maps, by its name in the source."""
        return Map(self._descriptors[name], key, value)

    def mapped(self, name: str, value: np.dtype[Any], count: int) -> mmap.mmap:
        """The memory of an array map that may be mapped, with ``count`` records."""
        size_bytes = -(-value.itemsize * count // mmap.PAGESIZE) * mmap.PAGESIZE
        return mmap.mmap(self._descriptors[name], size_bytes, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def ring(self, name: str, size_bytes: int) -> RingBuffer:
        """A ring buffer of that size."""
        return RingBuffer(self._descriptors[name], size_bytes)

    @property
    def map_bytes(self) -> int:
        """Memory of all maps, in the kernel."""
        return sum(map(kernel.map_bytes, self._descriptors.values()))


class CallMaps(CountingMaps):
    """The maps of ``bpf/pylat.bpf.c``.

    Args:
        descriptors: of all maps, by the name in the source.
        capacity: how much they hold.
        structs: of ``wire.STRUCTS``, or as the parts of the measurement change them.

    Attributes:
        functions: code objects that are known: ``wire.FUNCTION_KEY`` to ``wire.FUNCTION``.
        threads: the open calls of each thread, by TID.
        suspended: calls of generators and coroutines that are suspended: ``wire.FRAME_KEY`` to their struct.
        processes: who is followed: PID to ``wire.PROCESS``.
        ancestors: the space that each was forked from.
        extremes: of slots and threads, where several threads run Python at once.
        splits: where the time of the calls went, if that is asked for.
    """

    def __init__(
        self, descriptors: Mapping[str, int], capacity: Capacity, structs: Mapping[str, np.dtype[Any]]
    ) -> None:
        super().__init__(descriptors, wire.CONFIG, capacity.slots)
        self.functions = self.map("functions", wire.FUNCTION_KEY, wire.FUNCTION)
        self.threads = self.map("threads", _U32, structs["pylat_thread"])
        self.suspended = self.map("suspended", wire.FRAME_KEY, structs["pylat_suspended"])
        self.processes = self.map("processes", _U32, wire.PROCESS)
        self.ancestors = self.map("ancestors", _U64, _U64)
        self.splits = Splits()
        self._accounts = self.map("accounts", _U32, wire.ACCOUNT)
        self._known_memory = self.mapped("known_codes", _U64, wire.KNOWN)
        self._samples_memory = self.mapped("samples", wire.TIMES, wire.SAMPLE_SETS)
        self.extremes = Extremes(
            self.map("extremes", wire.EXTREMES_KEY, wire.EXTREMES) if "extremes" in descriptors else None
        )
        self._claims = self.map("claims", wire.FUNCTION_KEY, wire.FUNCTION) if "claims" in descriptors else None
        self._told_codes = self.map("told_codes", wire.FUNCTION_KEY, _U8) if "told_codes" in descriptors else None
        self._closing = self.map("closing", wire.FRAME_KEY, _U32)
        self._unplaced = self.map("unplaced", _U32, _U64)
        self._free_slots = self.map("free_slots", _U32, _U32)
        self._events = self.ring("events", capacity.event_bytes)

    @property
    def samples(self) -> np.ndarray[Any, Any]:
        """The times that the programs measured, all sets of ``wire.TIMES``, live."""
        return np.frombuffer(self._samples_memory, wire.TIMES, wire.SAMPLE_SETS)

    def forget_known(self) -> None:
        """Code objects are looked up among ``functions`` again, where they were changed from here."""
        np.frombuffer(self._known_memory, _U64, wire.KNOWN)[:] = 0

    def account_ns(self, tid: int) -> int:
        """What the probes have taken of a thread by now."""
        found = self._accounts.lookup(np.array([tid % wire.ACCOUNTS], _U32))
        return 0 if found is None else int(found["taken_ns"][0])

    def rows(self, slots: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Copies of the records of ``statistics`` of these slots, which ascend, with the last look's ``extremes``."""
        found: np.ndarray[Any, Any] = self.statistics[slots]
        self.extremes.into(found, slots)
        return found

    @property
    def tells_more(self) -> bool:
        """Whether more is told of a call than ``statistics`` holds."""
        return self.extremes.are_kept or self.splits.are_kept

    def give_slots(self, slots: Iterable[int]) -> None:
        """Let the program take these for functions that it meets, the first of them first."""
        for slot in reversed(list(slots)):
            self._free_slots.update(None, np.array([slot], _U32))

    def want_names(self, names: Iterable[str]) -> None:
        """Of code objects that the program meets, measure only those with one of these bare names."""
        table = self.map("wanted_names", wire.NAME, _U8)
        for name in names:
            key = np.frombuffer(name.encode()[: wire.BARE_NAME_BYTES].ljust(wire.BARE_NAME_BYTES, b"\0"), wire.NAME)
            table.update(key, np.ones(1, _U8))

    def follow(self, pid: int, space: int) -> None:
        """Measure this process from now on; only where children are followed."""
        value = np.zeros(1, wire.PROCESS)
        value["space"] = space
        number = pid | wire.OF_PYLAT if own_pid_namespace() else pid
        self.processes.update(np.array([number], _U32), value)

    def followed(self) -> set[int]:
        """The PIDs of those that are; none inside a PID namespace, where the programs go by others."""
        return set() if own_pid_namespace() else {int(key[0]) for key, _ in self.processes.items()}

    def followed_spaces(self) -> set[int]:
        """The spaces of those that are: without those that have ended, or replaced their program since."""
        _, values = self.processes.everything(_A_FEW)
        return set(values["space"].tolist())

    def unfollow(self, space: int) -> None:
        """No longer, whoever runs in this space."""
        keys, values = self.processes.everything()
        self.processes.delete_many(keys[values["space"] == space])

    def records(self) -> Iterator[tuple[int, bytes]]:
        """What has come since: (kind, the bytes)."""
        for record in self._events.read():
            yield int.from_bytes(record[:4], "little"), record

    def forget_calls(self) -> None:
        """Empty the tables of open and suspended calls: their ends will not be seen."""
        for table in (self.threads, self.suspended, self._closing):
            for key in list(table.keys()):
                table.delete(key)
        self._unplaced.update(np.zeros(1, _U32), np.zeros(1, _U64))

    def forget_spaces(self, numbers: Collection[int]) -> dict[int, int]:
        """Empty the tables of what is known of processes that ended.

        Returns:
            How many suspended calls of each slot ended with them.
        """
        for table in (self.functions, self._claims, self._told_codes):
            if table is not None:
                keys, _ = table.everything()
                table.delete_many(keys[np.isin(keys["space"], list(numbers))])
        keys, values = self.suspended.everything()
        gone = np.isin(keys["space"], list(numbers))
        self.suspended.delete_many(keys[gone])
        # Those that were running had a place in their thread's table: they were counted when it ended.
        open_still = gone & ((values["running"] == 0) | (values["resumed_ns"] != 0))
        for number in numbers:
            self.ancestors.delete(np.array([number], _U64))
        slots, counts = np.unique(values["slot"][open_still], return_counts=True)
        return dict(zip(slots.tolist(), counts.tolist(), strict=True))

    def close(self) -> None:
        """Unmap the ring buffer. The rest goes with the descriptors."""
        self._events.close()


def decoded(kind: int, record: bytes) -> np.ndarray[Any, Any] | None:
    """The event as a record of ``wire``: ``CODE_EVENT``, ``PROCESS_EVENT`` …; None if it is none."""
    dtype = _EVENT_TYPES.get(kind, wire.PROCESS_EVENT)
    return np.frombuffer(record, dtype, 1)[0] if len(record) >= dtype.itemsize else None
