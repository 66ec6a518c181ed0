"""What a made-up kernel answers decides how probes are attached, and what a user reads of a refusal."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from latency.errors import CompileError, HostError, KernelTooOld, NoPrivilege
from latency.tracing.counted.parameters import Capacity
from latency.tracing.kernel import allocation, calls, multi, tracepoints, uprobes
from latency.tracing.kernel.refusals import refused_call, refused_program

PROG_LOAD, LINK_CREATE = 5, 28
UNBOUNDED = "math between map_value pointer and register with unbounded min value is not allowed"
STATS = "verification time 4123 usec\nstack depth 128\nprocessed 5193 insns (limit 1000000)\n"
Answer = Callable[[Any], int]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[int, Answer]], None]:
    """``kernel({command: answer})``: each answer takes the attributes, and gives a descriptor or a negative errno."""

    def install(answers: Mapping[int, Answer]) -> None:
        def bpf(command: int, attributes: ctypes.Structure, what: str) -> int:
            result = answers[command](attributes)
            if result < 0:
                raise OSError(-result, f"{what}: {os.strerror(-result)}")
            return result

        for module in (calls, uprobes):
            monkeypatch.setattr(module, "bpf", bpf)

    return install


def descriptor(_: object = None) -> int:
    return os.open(os.devnull, os.O_RDONLY)


def refusing(number: int, said: Mapping[int, str], *, most: int | None = None) -> Answer:
    """A verifier that refuses, and writes into a log of each level what it has to say; ENOSPC beyond ``most`` bytes."""

    def load(attributes: Any) -> int:
        text = said.get(attributes.log_level, "").encode()
        if not attributes.log_size:
            return -number
        room = min(attributes.log_size, most or attributes.log_size) - 1
        ctypes.memmove(attributes.log, text[:room] + b"\0", min(len(text), room) + 1)
        return -errno.ENOSPC if len(text) > room else -number

    return load


def refusal(answer: Answer, kernel: Callable[[Mapping[int, Answer]], None]) -> calls.Refused:
    kernel({PROG_LOAD: answer})
    with pytest.raises(calls.Refused) as caught:
        calls.load_program("pylat_entry", calls.PROG_TYPE_KPROBE, calls.EMPTY_PROGRAM)
    return caught.value


def test_a_refusal_says_what_the_verifier_says_and_keeps_the_last_that_it_looked_at(kernel: Any) -> None:
    looked_at = "".join(f"{number}: (0f) r4 += r3\n" for number in range(1000))
    error = refusal(refusing(errno.EACCES, {4: f"{UNBOUNDED}\n{STATS}", 1: f"{looked_at}{UNBOUNDED}\n"}), kernel)
    assert (error.number, error.reason) == (errno.EACCES, UNBOUNDED)
    assert error.log.splitlines()[-2:] == ["999: (0f) r4 += r3", UNBOUNDED]
    assert len(error.log.splitlines()) <= 40


def test_a_log_that_does_not_fit_hides_neither_the_errno_nor_the_reason(kernel: Any) -> None:
    said = {4: f"{UNBOUNDED}\n{STATS}", 1: "0: (bf) r6 = r1\n" * 10_000}
    error = refusal(refusing(errno.EACCES, said, most=4096), kernel)
    assert (error.number, error.reason, error.log) == (errno.EACCES, UNBOUNDED, "")


def test_a_refusal_without_a_text_has_its_errno(kernel: Any) -> None:
    error = refused_program(refusal(refusing(errno.EINVAL, {4: STATS}), kernel))
    assert isinstance(error, CompileError)
    assert "pylat_entry: Invalid argument (EINVAL, Linux " in str(error)


def test_a_user_reads_the_program_the_reason_the_errno_and_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.release", lambda: "6.1.0-56-amd64")
    error = refused_program(calls.Refused("pylat_exit", errno.EACCES, UNBOUNDED, "168: (0f) r5 += r4"))
    assert str(error) == (f"the kernel refused the BPF program pylat_exit: {UNBOUNDED} (EACCES, Linux 6.1.0-56-amd64)")
    assert error.detail == "168: (0f) r5 += r4"


def test_no_privilege_is_not_taken_for_a_refusal(kernel: Any) -> None:
    kernel({PROG_LOAD: refusing(errno.EPERM, {})})
    with pytest.raises(PermissionError) as caught:
        calls.load_program("pylat_entry", calls.PROG_TYPE_KPROBE, calls.EMPTY_PROGRAM)
    assert isinstance(refused_call(caught.value), NoPrivilege)
    assert type(refused_call(OSError(errno.ENOMEM, "no memory"))) is HostError


def answering(without_pid: int, with_no_pid: int) -> Answer:
    return lambda attributes: -with_no_pid if attributes.pid else -without_pid


KERNELS = {
    "6.1: no such links": (answering(errno.EINVAL, errno.EINVAL), multi.NONE),
    "6.8: the PID is that of a thread": (answering(errno.EBADF, errno.EBADF), multi.THREADS),
    "6.12: the PID is that of a process": (answering(errno.EBADF, errno.EINVAL), multi.PROCESSES),
    "no privilege": (answering(errno.EPERM, errno.EPERM), multi.NONE),
}


@pytest.mark.parametrize(("answer", "known"), KERNELS.values(), ids=KERNELS)
def test_what_a_kernel_knows_of_multi_links_is_tried(kernel: Any, answer: Answer, known: str) -> None:
    kernel({PROG_LOAD: descriptor, LINK_CREATE: answer})
    assert multi.links() == known


def test_a_kernel_that_does_not_load_a_program_for_multi_links_has_none(kernel: Any) -> None:
    kernel({PROG_LOAD: refusing(errno.EINVAL, {})})
    assert multi.links() == multi.NONE


@pytest.mark.parametrize(
    ("known", "of_one_process", "taken"),
    [
        (multi.NONE, True, False),
        (multi.THREADS, True, False),
        (multi.THREADS, False, True),
        (multi.PROCESSES, True, True),
    ],
)
def test_no_link_is_taken_that_would_lose_the_calls_of_other_threads(
    monkeypatch: pytest.MonkeyPatch, known: str, of_one_process: bool, taken: bool
) -> None:
    monkeypatch.setattr(multi, "links", lambda: known)
    assert multi.by_multi("auto", of_one_process=of_one_process) == taken
    assert not multi.by_multi("perf", of_one_process=of_one_process)
    if taken:
        assert multi.by_multi("multi", of_one_process=of_one_process)
    else:
        with pytest.raises(KernelTooOld, match="would lose" if known == multi.THREADS else "no uprobe-multi"):
            multi.by_multi("multi", of_one_process=of_one_process)


def test_this_kernel_is_asked_without_harm() -> None:
    assert multi.links() in (multi.NONE, multi.THREADS, multi.PROCESSES)


def test_runs_that_a_kernel_left_out_are_those_that_it_says(tmp_path: Path) -> None:
    lines = "prog_type:\t17\nprog_jited:\t1\nrun_cnt:\t0\n"
    (tmp_path / "3").write_text(lines + "recursion_misses:\t12\nverified_insns:\t76\n")
    (tmp_path / "4").write_text(lines)  # before Linux 5.12
    assert calls.missed_runs(3, fdinfo=tmp_path) == 12
    assert calls.missed_runs(4, fdinfo=tmp_path) == 0


def test_an_event_is_left_out_only_where_both_of_its_programs_may_have_missed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hung = {
        **tracepoints.twice({"ends": "sched_process_exit", "forks": "sched_process_fork"}),
        "switch": "sched_switch",
    }
    assert hung["ends_again"] == "sched_process_exit"
    functions = {"ends": 10, "ends_again": 11, "forks": 12, "forks_again": 13, "switch": 14, "probe": 15}
    missed = {10: 3, 11: 0, 12: 2, 13: 5, 14: 1}
    monkeypatch.setattr(tracepoints, "missed_runs", missed.__getitem__)
    assert tracepoints.left_out(functions, hung) == 0 + 2 + 1


@pytest.mark.parametrize(("answer", "grows"), [(descriptor, True), (lambda _: -errno.EINVAL, False)])
def test_maps_take_their_memory_beforehand_where_a_kernel_would_warn_otherwise(
    kernel: Any, answer: Answer, grows: bool
) -> None:
    kernel({PROG_LOAD: answer})
    allocation.grows.cache_clear()
    try:
        assert allocation.grows() == grows
        flags = allocation.NO_PREALLOC | 1 << 10
        assert allocation.flags(flags) == (flags if grows else 1 << 10)
    finally:
        allocation.grows.cache_clear()


def test_a_table_that_takes_its_memory_beforehand_has_room_for_twice_the_threads_that_there_are() -> None:
    usual = Capacity()
    assert usual.preallocated(alive=4).threads < usual.threads
    assert usual.preallocated(alive=3000).threads == 6000
