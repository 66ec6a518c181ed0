"""The memory of a live process, only ever read: by ``/proc/PID/mem``, many small pieces by ``process_vm_readv``."""

from __future__ import annotations

import errno
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latency.errors import NoPrivilege, ReadFault, TargetError, TargetGone
from latency.target import vm

_READ_LIMIT_BYTES = 64 << 20  # sizes may come out of the target: no read may grow without bound
_HIGHEST_ADDRESS = 1 << 63  # what lseek and pread can express; user memory ends far below


class Memory(ABC):
    """What of a process reads its memory.

    Args:
        pid: as the PID namespace of ``proc`` numbers it.
        proc: a mounted proc file system.
    """

    def __init__(self, pid: int, proc: Path) -> None:
        self.pid = pid
        self.task = pid
        """The thread by which the kernel is asked: the main one, or another that has not ended."""
        self.proc = proc
        self._memory_fd: int | None = None
        self._opening = threading.Lock()
        self._batched = vm.numbers_processes_as_we_do(proc)

    def read(self, address: int, size: int) -> bytes:
        """Exactly ``size`` bytes at ``address``.

        Raises:
            ReadFault: not all of it is readable.
            TargetGone, NoPrivilege
        """
        data = self.read_some(address, size)
        if len(data) != size:
            raise ReadFault(f"process {self.pid}: cannot read {size} bytes at {address:#x}")
        return data

    def read_some(self, address: int, size: int) -> bytes:
        """The readable bytes from ``address`` on, at most ``size``: ``b""`` if there are none."""
        if not 0 <= size <= _READ_LIMIT_BYTES:
            return b""
        data = bytearray(size)
        return bytes(data[: self.read_into(address, data)])

    def read_into(self, address: int, buffer: bytearray | memoryview) -> int:
        """Fill ``buffer`` from ``address`` on; how many bytes were readable (0: none)."""
        if not 0 <= address <= _HIGHEST_ADDRESS - len(buffer):
            return 0
        view = memoryview(buffer)
        large = self._batched and len(view) >= vm.LARGE_BYTES
        done = vm.read_into(self.task, address, view) if large else 0
        while done < len(view):
            try:
                count = os.preadv(self._memory(), [view[done:]], address + done)
            except OSError as error:
                if error.errno in (errno.EIO, errno.EFAULT):
                    break
                raise self._failed("mem", error) from None
            if count == 0:  # the address space itself is gone: the process exited or called exec
                raise self._gone()
            done += count
        return done

    def fill(self, window: vm.Window, address: int, size: int) -> int:
        """The same with what is filled again and again."""
        large = self._batched and size >= vm.LARGE_BYTES and address <= _HIGHEST_ADDRESS - size
        done = window.fill(self.task, address, size) if large else 0
        return done if done == size else done + self.read_into(address + done, window.buffer[done:size])

    def read_many(self, addresses: Sequence[int], size: int) -> list[bytes | None]:
        """``size`` bytes at each address; None where not all of them are readable."""
        # What no process can have mapped becomes address 0, which faults like any other.
        usable = [address if 0 <= address < _HIGHEST_ADDRESS else 0 for address in addresses]
        table, good = self.read_table(np.array(usable, np.uint64), size)
        data = table.tobytes()
        return [data[i * size : (i + 1) * size] if fine else None for i, fine in enumerate(good.tolist())]

    def read_table(self, addresses: vm.Words, size: int) -> tuple[vm.Bytes, vm.Flags]:
        """The same as rows: (``size`` bytes at each address, whether they are readable); of others they are anything.

        About 1 µs each, in batches through ``process_vm_readv``.
        """
        if self._batched and 0 < size <= vm.BATCH_BYTES:
            try:
                return vm.read_table(self.task, addresses, size)
            except OSError as error:
                asked = self.task
                if error.errno not in (errno.EPERM, errno.ENOSYS):  # seccomp and old sandboxes
                    self.check()
                    if self.task == asked:
                        raise self._failed("mem", error) from None
                    return self.read_table(addresses, size)
                self._batched = False
        found = [self.read_some(address, size) for address in addresses.tolist()]
        table = np.frombuffer(b"".join(each.ljust(size, b"\0") for each in found), np.uint8)
        return table.reshape(len(found), size), np.array([len(each) == size for each in found], np.bool_)

    def u64(self, address: int) -> int:
        """The unsigned little-endian 8-byte word at ``address``. Raises ReadFault."""
        return int.from_bytes(self.read(address, 8), "little")

    @abstractmethod
    def check(self) -> None:
        """Raises TargetGone where it is no longer the process that it was."""

    @abstractmethod
    def _gone(self) -> TargetGone: ...

    @abstractmethod
    def _failed(self, name: str, error: OSError) -> TargetError | NoPrivilege: ...

    def _memory(self) -> int:
        with self._opening:  # two threads read a large heap
            if self._memory_fd is None:
                self.check()
                self._memory_fd = os.open(self.proc / str(self.task) / "mem", os.O_RDONLY | os.O_CLOEXEC)
                self.check()  # from here on the descriptor is bound to this very address space
            return self._memory_fd
