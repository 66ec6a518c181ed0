"""The system calls of BPF and perf events that pylat makes itself, on file descriptors.

Everything attached is a descriptor that the kernel closes with the process, so that even ``kill -9`` leaves the target
as it was. Sources: linux/bpf.h (union bpf_attr), linux/perf_event.h (struct perf_event_attr).
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from latency.tracing.kernel.uprobes import (
    TRACE_UPROBE_MULTI,
    attach_uprobe,
    attach_uprobes,
    bpf,
    end_event,
    pointer,
)

__all__ = [
    "EMPTY_PROGRAM",
    "PROG_TYPE_KPROBE",
    "PROG_TYPE_PERF_EVENT",
    "PROG_TYPE_RAW_TRACEPOINT",
    "TRACE_UPROBE_MULTI",
    "Map",
    "Refused",
    "attach_raw_tracepoint",
    "attach_uprobe",
    "attach_uprobes",
    "create_map",
    "end_event",
    "load_program",
    "map_bytes",
    "missed_runs",
    "possible_cpus",
]

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_GET_NEXT_KEY, _PROG_LOAD = 0, 1, 2, 3, 4, 5
_RAW_TRACEPOINT_OPEN, _MAP_LOOKUP_BATCH, _MAP_UPDATE_BATCH, _MAP_DELETE_BATCH = 17, 24, 26, 27
_NO_EXIST = 1  # BPF_NOEXIST
_BATCH = 8192
PROG_TYPE_KPROBE, PROG_TYPE_PERF_EVENT, PROG_TYPE_RAW_TRACEPOINT = 2, 7, 17  # enum bpf_prog_type
_NAME_BYTES = 16
# enum of linux/bpf_verifier.h: each instruction that is looked at; or only what is wrong, and how much was looked at
_LOG_ALL, _LOG_STATS = 1, 4
_LOG_BYTES, _SHORT_LOG_BYTES = 16 << 20, 64 << 10
_LAST_LINES = 40
_LOG_NUMBERS = ("verification time", "stack depth", "processed ")
EMPTY_PROGRAM = bytes.fromhex("b7000000000000009500000000000000")
"""The shortest program: r0 = 0; exit."""


class _MapCreate(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("name", ctypes.c_char * _NAME_BYTES),
    )


class _ProgLoad(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("instruction_count", ctypes.c_uint32),
        ("instructions", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log", ctypes.c_uint64),
        ("kernel_version", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("name", ctypes.c_char * _NAME_BYTES),
        ("interface", ctypes.c_uint32),
        ("expected_attach_type", ctypes.c_uint32),
    )


class _MapElement(ctypes.Structure):
    _fields_ = (
        ("map_fd", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class _MapBatch(ctypes.Structure):
    _fields_ = (
        ("in_batch", ctypes.c_uint64),
        ("out_batch", ctypes.c_uint64),
        ("keys", ctypes.c_uint64),
        ("values", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("map_fd", ctypes.c_uint32),
        ("element_flags", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class _RawTracepoint(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint64), ("prog_fd", ctypes.c_uint32))


class Refused(Exception):
    """The kernel did not accept a program.

    Attributes:
        program: its name.
        number: the errno.
        reason: what the verifier says is wrong, in one line; ``""`` where it was not asked (a map or an attach type
            that does not fit) or has no word for it.
        log: the last lines of what it looked at, or ``""``.
    """

    def __init__(self, program: str, number: int, reason: str = "", log: str = "") -> None:
        super().__init__(f"{program}: {reason or os.strerror(number)}")
        self.program = program
        self.number = number
        self.reason = reason
        self.log = log


def create_map(name: str, kind: int, key_size: int, value_size: int, max_entries: int, flags: int) -> int:
    """Make a BPF map; sizes in bytes. Returns its descriptor. Raises OSError."""
    attributes = _MapCreate(
        type=kind,
        key_size=key_size,
        value_size=value_size,
        max_entries=max_entries,
        flags=flags,
        name=name.encode()[: _NAME_BYTES - 1],
    )
    return bpf(_MAP_CREATE, attributes, f"make the BPF map {name}")


def load_program(name: str, kind: int, instructions: bytes, attach_type: int = 0) -> int:
    """Load a BPF program. Returns its descriptor.

    Raises:
        Refused: it was not accepted.
        OSError: EPERM: no privilege.
    """
    licence = b"GPL"  # helpers that read user memory ask for it; the sources are dual-licensed

    def load(level: int = 0, log: ctypes.Array[ctypes.c_char] | None = None) -> int:
        attributes = _ProgLoad(
            type=kind,
            instruction_count=len(instructions) // 8,
            instructions=pointer(instructions),
            license=pointer(licence),
            log_level=level,
            log_size=len(log) if log else 0,
            log=ctypes.addressof(log) if log else 0,
            name=name.encode()[: _NAME_BYTES - 1],
            expected_attach_type=attach_type,
        )
        return bpf(_PROG_LOAD, attributes, f"load the BPF program {name}")

    try:
        return load()
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
    # All that the verifier looks at may not fit a log, and then ENOSPC takes the place of the true errno: so it is
    # asked for what is wrong alone, first.
    short = ctypes.create_string_buffer(_SHORT_LOG_BYTES)
    try:
        return load(_LOG_STATS, short)
    except OSError as error:
        number = error.errno or 0
    lines = itertools.takewhile(lambda line: not line.startswith(_LOG_NUMBERS), _lines(short))
    reason = next(reversed([*lines]), "")
    whole = ctypes.create_string_buffer(_LOG_BYTES)
    try:
        return load(_LOG_ALL, whole)
    except OSError as error:
        # Linux before 6.4 keeps the beginning of what does not fit, and later ones the end
        last = [] if error.errno == errno.ENOSPC else _lines(whole)[-_LAST_LINES:]
    raise Refused(name, number, reason, "\n".join(last))


def _lines(log: ctypes.Array[ctypes.c_char]) -> list[str]:
    return log.value.decode(errors="replace").splitlines()


def attach_raw_tracepoint(program_fd: int, name: str) -> int:
    """Attach a program to a raw tracepoint; tracefs is not needed. Returns the link's descriptor."""
    text = name.encode()
    return bpf(_RAW_TRACEPOINT_OPEN, _RawTracepoint(name=pointer(text), prog_fd=program_fd), f"attach to {name}")


def map_bytes(fd: int, *, fdinfo: Path = Path("/proc/self/fdinfo")) -> int:
    """What a BPF map takes in the kernel, as it says itself (``memlock``; in use, from Linux 6.4); else 0."""
    found = re.search(r"^memlock:\s+(\d+)", (fdinfo / str(fd)).read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def missed_runs(fd: int, *, fdinfo: Path = Path("/proc/self/fdinfo")) -> int:
    """How often the kernel did not run a program of a tracepoint, as its run for another task was not over (from Linux
    5.12; where it does not count that, 0)."""
    found = re.search(r"^recursion_misses:\s+(\d+)", (fdinfo / str(fd)).read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def possible_cpus(*, path: Path = Path("/sys/devices/system/cpu/possible")) -> int:
    """How many values a per-CPU map holds for each key: ``"0-3,8"`` -> 5 (in the kernel: num_possible_cpus)."""
    total = 0
    for part in path.read_text().strip().split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total


class Map:
    """A BPF map by its descriptor, with numpy dtypes for its keys and values."""

    def __init__(self, fd: int, key: np.dtype[Any], value: np.dtype[Any]) -> None:
        self.fd = fd
        self.key = key
        self.value = value

    def lookup(self, key: np.ndarray[Any, Any], copies: int = 1) -> np.ndarray[Any, Any] | None:
        """The value of a key (``copies`` values of a per-CPU map), None if it is not there."""
        found = np.zeros(copies, self.value)
        key = np.ascontiguousarray(key)
        attributes = _MapElement(map_fd=self.fd, key=key.ctypes.data, value=found.ctypes.data)
        try:
            bpf(_MAP_LOOKUP, attributes, "look up")
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return found

    def update(self, key: np.ndarray[Any, Any] | None, value: np.ndarray[Any, Any]) -> None:
        """Set one value. ``key`` is None for a queue, to which it is added."""
        value = np.ascontiguousarray(value)
        key = None if key is None else np.ascontiguousarray(key)
        address = 0 if key is None else key.ctypes.data
        bpf(_MAP_UPDATE, _MapElement(map_fd=self.fd, key=address, value=value.ctypes.data), "update")

    def add(self, key: np.ndarray[Any, Any], value: np.ndarray[Any, Any]) -> bool:
        """Set one value where there is none. Returns whether there was none, and a place for it."""
        key, value = np.ascontiguousarray(key), np.ascontiguousarray(value)
        attributes = _MapElement(map_fd=self.fd, key=key.ctypes.data, value=value.ctypes.data, flags=_NO_EXIST)
        try:
            bpf(_MAP_UPDATE, attributes, "add")
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.E2BIG):
                return False
            raise
        return True

    def delete(self, key: np.ndarray[Any, Any]) -> None:
        """Take one key out, if it is there."""
        key = np.ascontiguousarray(key)
        try:
            bpf(_MAP_DELETE, _MapElement(map_fd=self.fd, key=key.ctypes.data), "delete")
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def update_many(self, keys: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> None:
        """Set many values in one call (Linux 5.6), or a few, where the kernel has to find more memory in between."""
        while len(keys):
            keys, values = np.ascontiguousarray(keys), np.ascontiguousarray(values)
            attributes = _MapBatch(keys=keys.ctypes.data, values=values.ctypes.data, count=len(keys), map_fd=self.fd)
            try:
                bpf(_MAP_UPDATE_BATCH, attributes, "update many")
            except OSError as error:
                if error.errno != errno.ENOMEM or not attributes.count:
                    raise
            keys, values = keys[attributes.count :], values[attributes.count :]

    def delete_many(self, keys: np.ndarray[Any, Any]) -> None:
        """Take many keys out in one call (Linux 5.6), those that are there."""
        if not len(keys):
            return
        keys = np.ascontiguousarray(keys)
        try:
            bpf(_MAP_DELETE_BATCH, _MapBatch(keys=keys.ctypes.data, count=len(keys), map_fd=self.fd), "delete many")
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            for place in range(len(keys)):  # the kernel stops at the first that is not there
                self.delete(keys[place : place + 1])

    def everything(self, at_once: int = _BATCH) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """All keys and their values, of a hash map, in a few calls (Linux 5.6); so many by each."""
        found: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = []
        where, more, room = np.zeros(1, np.uint64), True, at_once
        begun = False
        while more:
            keys, values = np.zeros(room, self.key), np.zeros(room, self.value)
            following = np.zeros(1, np.uint64)
            attributes = _MapBatch(
                in_batch=where.ctypes.data if begun else 0, out_batch=following.ctypes.data,
                keys=keys.ctypes.data, values=values.ctypes.data, count=room, map_fd=self.fd,
            )  # fmt: skip
            try:
                bpf(_MAP_LOOKUP_BATCH, attributes, "look up many")
            except OSError as error:
                if error.errno == errno.ENOSPC:  # one bucket holds more than there is room for
                    room *= 2
                    continue
                if error.errno != errno.ENOENT:
                    raise
                more = False
            found.append((keys[: attributes.count], values[: attributes.count]))
            where, begun = following, True
        return np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found])

    def keys(self) -> Iterator[np.ndarray[Any, Any]]:
        """All keys, as one-element arrays. A map that changes meanwhile may repeat some."""
        current: np.ndarray[Any, Any] | None = None
        while True:
            following = np.zeros(1, self.key)
            address = 0 if current is None else current.ctypes.data
            attributes = _MapElement(map_fd=self.fd, key=address, value=following.ctypes.data)
            try:
                bpf(_MAP_GET_NEXT_KEY, attributes, "next key")
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            yield following
            current = following

    def items(self) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """All (key, value) pairs, each a one-element array."""
        for key in list(self.keys()):
            value = self.lookup(key)
            if value is not None:
                yield key, value
