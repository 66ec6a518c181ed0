"""What the BPF program is told of ``--offcpu`` and ``--self``, and how readings of what it found are put together."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import numpy as np
import pytest

from latency.cli.arguments import parse
from latency.errors import KernelTooOld
from latency.histogram import Histogram
from latency.recording import PARTS, Options
from latency.tracing.counted import wire
from latency.tracing.counted.divided import Divided, Splits
from latency.tracing.probes.parts import parts_of
from latency.tracing.probes.splitting import Splitting


def btf(path: Path, **members: int) -> Path:
    """A kernel's BTF with one struct: task_struct, and its members at these offsets in bytes."""
    strings = b"\0task_struct\0"
    names = {}
    for name in members:
        names[name] = len(strings)
        strings += name.encode() + b"\0"
    types = struct.pack("<III", 1, 4 << 24 | len(members), 64)
    types += b"".join(struct.pack("<III", names[name], 0, 8 * offset) for name, offset in members.items())
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    path.write_bytes(header + types + strings)
    return path


def test_without_options_a_measurement_has_no_parts() -> None:
    assert parts_of(None, Options()) == []


def test_self_time_needs_no_tracepoint_and_nothing_of_the_kernel(tmp_path: Path) -> None:
    only = Splitting(self_time=True)
    assert only.flags(btf=tmp_path / "none") == {"SPLIT": 1, "OFFCPU": 0, "SELF": 1}
    assert only.tracepoints == {}
    assert only.structs is wire.SPLIT_STRUCTS


@pytest.mark.parametrize(("member", "size"), [("__state", 4), ("state", 8)], ids=["Linux 5.14", "before"])
def test_the_state_of_a_thread_has_two_names(member: str, size: int, tmp_path: Path) -> None:
    flags = Splitting(offcpu=True).flags(btf=btf(tmp_path / "btf", **{member: 24, "pid": 40}))
    assert (flags["TASK_STATE"], flags["TASK_STATE_BYTES"], flags["TASK_PID"]) == (24, size, 40)


def test_a_kernel_that_does_not_say_where_the_state_is_cannot_tell_waiting(tmp_path: Path) -> None:
    for known in (tmp_path / "none", btf(tmp_path / "btf", pid=40)):
        with pytest.raises(KernelTooOld, match="--offcpu") as caught:
            Splitting(offcpu=True).flags(btf=known)
        assert caught.value.hint


@pytest.mark.parametrize("command", [["-p", "1"], ["run", "--", "true"], ["demo"]], ids=["record", "run", "demo"])
def test_each_measuring_command_takes_both(command: list[str]) -> None:
    at = command.index("--") if "--" in command else len(command)
    asked = parse([*command[:at], "--offcpu", "--self", *command[at:]])
    assert (asked.offcpu, asked.self_time) == (True, True)
    assert (parse(command).offcpu, parse(command).self_time) == (False, False)


def memory(record: np.ndarray) -> mmap.mmap:
    """The mapped values of three slots, of which the second is this one."""
    made = mmap.mmap(-1, 3 * record.itemsize)
    made[record.itemsize : 2 * record.itemsize] = record.tobytes()
    return made


def both() -> Splits:
    parts, times = np.zeros(1, wire.SPLIT), np.zeros(1, wire.STATISTICS)
    parts["calls"] = 2
    parts["parts_ns"][0, :: wire.SPLIT_BUCKETS] = (1, 2, 3, 4, 5)
    times["counts"][0, 7], times["sum_ns"], times["min_ns"], times["max_ns"] = 2, 30, 10, 20
    return Splits(memory(parts), memory(times), gc_known=True)


def test_a_slot_has_what_its_record_says() -> None:
    found = both().of(1)
    assert found.split is not None
    assert found.self_time is not None
    assert found.split.totals_ns == dict(zip(PARTS, (1, 2, 3, 4, 5), strict=True))
    assert (found.split.calls, found.split.scale, found.split.offset) == (2, 2, -95)
    assert (found.self_time.count, found.self_time.sum_ns) == (2, 30)


def test_a_slot_that_is_given_back_begins_again() -> None:
    splits = both()
    splits.clear([1])
    assert splits.of(1) == splits.of(0)


def test_what_is_not_asked_for_is_none() -> None:
    splits = Splits(None, None, gc_known=True)
    assert splits.of(0) == Divided()
    splits.clear([0])


def test_readings_are_added_and_subtracted_part_by_part() -> None:
    one = both().of(1)
    assert Divided() + one == one + Divided() == one
    assert (one + one).since(one) == one
    assert one.since(Divided()) == one
    assert Divided(self_time=Histogram.empty()).split is None
