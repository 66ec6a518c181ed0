"""What pylat needs of a machine is looked for, and each lack is named with its remedy."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latency.errors import HostError, KernelTooOld, MissingBcc, NoPrivilege
from latency.tracing.kernel import multi
from latency.tracing.kernel.host import checks, require, require_first_pid_namespace

SYS_ADMIN, SYS_PTRACE, PERFMON, BPF = 21, 19, 38, 39


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, Any]:
    """A machine that has everything."""
    kind = tmp_path / "sys/bus/event_source/devices/uprobe/type"
    kind.parent.mkdir(parents=True)
    kind.write_text("9\n")
    return {
        "sys": tmp_path / "sys",
        "proc": with_capabilities(tmp_path, SYS_ADMIN, SYS_PTRACE),
        "release": "6.18.44-amd64",
        "machine": "x86_64",
        "links": lambda: multi.PROCESSES,
        "bcc": lambda: SimpleNamespace(__version__="0.26", __file__="/usr/lib/python3/dist-packages/bcc/__init__.py"),
    }


def with_capabilities(folder: Path, *numbers: int) -> Path:
    status = folder / "proc/self/status"
    status.parent.mkdir(parents=True, exist_ok=True)
    status.write_text(f"Name:\tpylat\nCapEff:\t{sum(1 << number for number in numbers):016x}\nSeccomp:\t0\n")
    switch = folder / "proc/sys/kernel/unprivileged_bpf_disabled"
    switch.parent.mkdir(parents=True, exist_ok=True)
    switch.write_text("2\n")
    return folder / "proc"


def missing(**machine: Any) -> HostError:
    """The one thing that this machine lacks, which a measurement fails with, too."""
    (lack,) = (check for check in checks(**machine) if not check.met)
    assert lack.error is not None
    assert lack.error.hint
    with pytest.raises(type(lack.error), match="^" + str(lack.error).replace("(", "\\(")):
        require(**machine)
    return lack.error


def test_a_machine_that_has_everything_is_taken(machine: dict[str, Any]) -> None:
    assert all(check.met for check in checks(**machine))
    require(**machine)


def test_another_processor_is_refused(machine: dict[str, Any]) -> None:
    assert isinstance(missing(**machine | {"machine": "aarch64"}), KernelTooOld)


@pytest.mark.parametrize("release", ["5.7.19", "4.19.0-26-amd64", "3.10.0-1160.el7.x86_64", "custom"])
def test_a_kernel_without_ring_buffers_is_refused(machine: dict[str, Any], release: str) -> None:
    error = missing(**machine | {"release": release})
    assert isinstance(error, KernelTooOld)
    assert release in str(error)


@pytest.mark.parametrize(
    ("known", "how"),
    [(multi.NONE, "perf events"), (multi.THREADS, "perf events"), (multi.PROCESSES, "uprobe-multi links")],
)
def test_what_the_kernel_answers_decides_how_probes_are_placed_and_not_its_version(
    machine: dict[str, Any], known: str, how: str
) -> None:
    found = {check.name: check for check in checks(**machine | {"release": "5.14.0-570.el9", "links": lambda: known})}
    assert found["kernel"].met
    assert how in found["kernel"].found.split(": ")[1].split(",")[0]


def test_a_kernel_without_bpf_is_refused(machine: dict[str, Any]) -> None:
    (machine["proc"] / "sys/kernel/unprivileged_bpf_disabled").unlink()
    error = missing(**machine)
    assert isinstance(error, KernelTooOld)
    assert "CONFIG_BPF_SYSCALL" in error.hint


def test_a_kernel_without_uprobes_is_refused(machine: dict[str, Any], tmp_path: Path) -> None:
    error = missing(**machine | {"sys": tmp_path / "nothing"})
    assert isinstance(error, KernelTooOld)
    assert "CONFIG_UPROBE_EVENTS" in error.hint


@pytest.mark.parametrize("held", [(), (BPF,), (PERFMON,), (SYS_PTRACE,)])
def test_too_few_capabilities_are_refused(machine: dict[str, Any], tmp_path: Path, held: tuple[int, ...]) -> None:
    error = missing(**machine | {"proc": with_capabilities(tmp_path, *held)})
    assert isinstance(error, NoPrivilege)
    assert "CAP_BPF" in error.hint


def test_bpf_and_perfmon_are_enough_of_root(machine: dict[str, Any], tmp_path: Path) -> None:
    require(**machine | {"proc": with_capabilities(tmp_path, BPF, PERFMON)})


def test_bcc_missing_is_said_exactly(machine: dict[str, Any]) -> None:
    def absent() -> Any:
        raise MissingBcc("the Python module bcc is missing", "install the distribution's python3-bpfcc")

    assert isinstance(missing(**machine | {"bcc": absent}), MissingBcc)


@pytest.mark.parametrize(("namespace", "refused"), [("pid:[4026531836]", False), ("pid:[4026532201]", True)])
def test_the_watch_engine_follows_children_by_the_kernels_own_pids_only(
    tmp_path: Path, namespace: str, refused: bool
) -> None:
    link = tmp_path / "self/ns/pid"
    link.parent.mkdir(parents=True)
    link.symlink_to(namespace)
    if refused:
        with pytest.raises(HostError, match="PID namespace"):
            require_first_pid_namespace(proc=tmp_path)
    else:
        require_first_pid_namespace(proc=tmp_path)
