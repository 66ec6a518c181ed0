"""What a made-up kernel lets pylat do is what ``pylat check`` says, each lack with its remedy."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latency.tracing.kernel import calls, multi, uprobes, watchpoints
from latency.tracing.kernel.trials import Trial, trials

PROG_LOAD, RAW_TRACEPOINT_OPEN = 5, 17
UPROBE, WATCHPOINT = "uprobe", "watchpoint"
Refusals = dict[Any, int]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Trial]]:
    """``tried(refusals, links=…)``: what is found where these commands and events end with these errnos.

    A command is a number of bpf(2), or (PROG_LOAD, a type of program).
    """

    def answer(what: Any, refusals: Refusals) -> int:
        if number := refusals.get(what):
            raise OSError(number, f"{what}: {os.strerror(number)}")
        return os.open(os.devnull, os.O_RDONLY)

    def run(refusals: Refusals, *, links: str = multi.PROCESSES, paranoid: int = 2, lockdown: str = "none") -> Any:
        def bpf(command: int, attributes: ctypes.Structure, what: str) -> int:
            kind = getattr(attributes, "type", None)
            return answer((command, kind) if command == PROG_LOAD else command, refusals)

        def event(attributes: Any, tid: int, cpu: int, program_fd: int, what: str) -> int:
            return answer(what, refusals)

        for module in (calls, uprobes):
            monkeypatch.setattr(module, "bpf", bpf)
        for module in (uprobes, watchpoints):
            monkeypatch.setattr(module, "event_with_program", event)
        modes = ("none", "integrity", "confidentiality")
        for path, text in (
            ("proc/sys/kernel/perf_event_paranoid", f"{paranoid}\n"),
            ("sys/kernel/security/lockdown", " ".join(f"[{it}]" if it == lockdown else it for it in modes)),
        ):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        monkeypatch.setattr("latency.tracing.kernel.trials.member_offset", lambda *_, **__: 8)
        seams = {"proc": tmp_path / "proc", "sys": tmp_path / "sys", "btf": tmp_path / "btf"}
        found = {each.name: each for each in trials(links=lambda: links, **seams)}
        assert all(each.hint for each in found.values() if not each.works)
        return found

    return run


def failing(found: dict[str, Trial]) -> list[str]:
    return [name for name, each in found.items() if not each.works]


def test_where_all_is_allowed_all_works(tried: Any) -> None:
    assert failing(tried({})) == []


def test_without_multi_links_perf_events_are_tried(tried: Any) -> None:
    assert tried({}, links=multi.NONE)["probes"].found == "by perf events"
    refused = tried({UPROBE: errno.EACCES}, links=multi.NONE)["probes"]
    assert (refused.works, refused.needed) == (False, True)
    assert "CAP_SYS_ADMIN" in refused.hint


def test_links_that_lose_calls_of_other_threads_are_not_taken_and_it_is_said(tried: Any) -> None:
    assert "lose the calls of other threads" in tried({}, links=multi.THREADS)["probes"].found


def test_a_right_to_probes_alone_leaves_watch_out(tried: Any) -> None:
    found = tried({WATCHPOINT: errno.EACCES}, paranoid=3)
    assert failing(found) == ["watch"]
    assert "perf_event_paranoid is 3" in found["watch"].hint
    assert "CAP_SYS_ADMIN" in found["watch"].hint


@pytest.mark.parametrize("number", [errno.EINVAL, errno.E2BIG])
def test_a_kernel_that_cannot_watch_all_threads_is_named(tried: Any, number: int) -> None:
    assert "5.13" in tried({WATCHPOINT: number})["watch"].found


def test_a_kernel_that_is_locked_down_lets_no_program_read_it(tried: Any) -> None:
    found = tried({(PROG_LOAD, calls.PROG_TYPE_RAW_TRACEPOINT): errno.EINVAL}, lockdown="confidentiality")
    assert failing(found) == ["markers", "--children", "--offcpu"]
    assert all("locked down" in found[name].hint for name in failing(found))


def test_without_tracepoints_nobody_is_followed(tried: Any) -> None:
    assert failing(tried({RAW_TRACEPOINT_OPEN: errno.EPERM})) == ["--children", "--offcpu"]
