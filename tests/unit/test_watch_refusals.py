"""What is said where watchpoints cannot be had: why, and what would help."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from latency.errors import AttachError
from latency.target.process import tracer
from latency.tracing.watch import events
from latency.tracing.watch.events import Watchpoint, Watchpoints, require_all

POINTS = [Watchpoint(4096 + 8 * at, 1, events.READ_WRITE) for at in range(4)]


def refused(monkeypatch: pytest.MonkeyPatch, number: int, threads: list[int], *, free: int = 0) -> AttachError:
    """What placing says where the kernel answers with an error once so many registers are taken."""
    taken: list[int] = []

    def attach(*_: object, **__: object) -> int:
        if len(taken) >= free:
            raise OSError(number, os.strerror(number))
        taken.append(os.open(os.devnull, os.O_RDONLY))
        return taken[-1]

    def end(descriptor: int) -> int:
        taken.remove(descriptor)
        os.close(descriptor)
        return 0

    monkeypatch.setattr(events.kernel, "idle_watchpoint", attach)
    monkeypatch.setattr(events.kernel, "enable_watchpoint", lambda _: None)
    monkeypatch.setattr(events.kernel, "end_event", end)
    with pytest.raises(AttachError) as error:
        Watchpoints(0).place(POINTS, lambda: threads)
    return error.value


def test_too_few_descriptors_are_said_with_the_number_that_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    error = refused(monkeypatch, errno.EMFILE, [1] * 500)
    assert f"4 watchpoints in 500 threads take one each, and {most:,} are allowed" in str(error)
    assert error.hint == "raise ulimit -n to 2,064, or watch fewer functions"


@pytest.mark.parametrize(("free", "fewer"), [(0, False), (2, True)])
def test_registers_that_are_taken_are_counted(monkeypatch: pytest.MonkeyPatch, free: int, fewer: bool) -> None:
    error = refused(monkeypatch, errno.ENOSPC, [os.getpid()], free=free)
    assert f"(4 of 4 are needed, {free} are free)" in str(error)
    assert ("watch fewer functions" in error.hint) == fewer


def test_a_machine_without_watchpoints_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "a virtual machine has what its hypervisor gives it" in str(refused(monkeypatch, errno.EOPNOTSUPP, [1]))


def test_watchpoints_that_miss_accesses_are_refused() -> None:
    require_all(1200, 1200)
    with pytest.raises(AttachError, match="saw 1,198 of 1,200 accesses on this machine"):
        require_all(1198, 1200)


def test_the_debugger_of_a_thread_is_named(tmp_path: Path) -> None:
    for pid, status in (7, "Name:\tpython3\nTracerPid:\t9\n"), (8, "Name:\tpython3\nTracerPid:\t0\n"):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "status").write_text(status)
    (tmp_path / "9").mkdir()
    (tmp_path / "9" / "comm").write_text("gdb\n")
    assert tracer(7, proc=tmp_path) == (9, "gdb")
    assert tracer(8, proc=tmp_path) is None
    assert tracer(6, proc=tmp_path) is None
