"""What the BPF program is told of a build, for every version that pylat knows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from latency.cpython.offsets import Offsets, load
from latency.cpython.sites import Place, Role, Site, SitePlan
from latency.target.process import Process
from latency.tracing.counted.parameters import PT_REGS, Capacity, cflags, namespace_flags, programs

VERSIONS = [(3, minor, 0) for minor in range(6, 16)]


def site(role: Role) -> Site:
    return Site(role, role.value, 0x1000, 0x1000, 0x1000, "nop", True)


def plan(*, handlers: bool) -> SitePlan:
    roles = (Role.EXIT, Role.YIELD, Role.ENTRY) if handlers else (Role.EXIT, Role.ENTRY)
    registers = {"entry.frame": Place("rbx"), "exit.frame": Place("rsi"), "exit.tstate": Place("rdi")}
    return SitePlan("handlers" if handlers else "eval", tuple(map(site, roles)), registers, "oparg", creator_oparg=4)


def flags(version: tuple[int, int, int], **options: bool) -> dict[str, int]:
    offsets: Offsets = load(version, "x86_64")
    made = cflags(offsets, plan(handlers=version >= (3, 11, 0)), **{"every_function": False, **options})
    pairs = (flag.removeprefix("-DPYLAT_").split("=") for flag in made)
    return {name: int(value.removesuffix("ULL"), 0) for name, value in pairs}


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_every_version_has_all_flags(version: tuple[int, int, int]) -> None:
    assert flags(version).keys() == flags((3, 12, 0)).keys()


def test_the_registers_are_those_of_the_plan() -> None:
    made = flags((3, 13, 0))
    assert made["ENTRY_FRAME"] == PT_REGS["rbx"]
    assert made["EXIT_FRAME"] == PT_REGS["rsi"]


def test_pt_regs_is_the_kernels() -> None:
    # the first and the last of those that a plan can name, arch/x86/include/uapi/asm/ptrace.h
    assert (PT_REGS["r15"], PT_REGS["rbx"], PT_REGS["rax"], PT_REGS["rdi"]) == (0, 40, 80, 112)


@pytest.mark.parametrize(
    ("version", "present"),
    [((3, 9, 0), "FRAME_STACKTOP"), ((3, 10, 0), "FRAME_STATE")],
    ids=["f_stacktop to 3.9", "f_state in 3.10"],
)
def test_one_member_tells_a_suspension_before_3_11(version: tuple[int, int, int], present: str) -> None:
    made = flags(version)
    absent = {"FRAME_STACKTOP", "FRAME_STATE"} - {present}
    assert made[present] >= 0
    assert [made[name] for name in absent] == [-1]


def test_from_3_11_no_member_is_asked_for_a_suspension() -> None:
    assert flags((3, 12, 0))["FRAME_STACKTOP"] == -1


def test_a_frames_code_is_a_tagged_pointer_from_3_14() -> None:
    assert flags((3, 13, 0))["FRAME_CODE_MASK"] == 0xFFFF_FFFF_FFFF_FFFF
    assert flags((3, 14, 0))["FRAME_CODE_MASK"] == 0xFFFF_FFFF_FFFF_FFFC


def test_options_are_flags() -> None:
    assert flags((3, 12, 0), every_function=True)["EVERY_FUNCTION"] == 1
    assert flags((3, 12, 0), children=True)["MANY_PROCESSES"] == 1


def test_only_roles_with_sites_have_programs() -> None:
    assert programs(plan(handlers=False)) == {Role.EXIT: "pylat_exit", Role.ENTRY: "pylat_entry"}
    assert list(programs(plan(handlers=True)))[-1] is Role.ENTRY


def test_every_capacity_sizes_a_map() -> None:
    assert all(size > 0 for size in Capacity().entries().values())
    assert Capacity(slots=8192).entries()["statistics"] == 8192


def test_only_a_target_with_numbers_of_its_own_has_a_namespace(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text("7 (python3) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 42 0 0\n")
    process = Process(7, proc=tmp_path)
    nothing = {"PIDNS_DEV": 0, "PIDNS_INO": 0}
    assert namespace_flags(process) == nothing  # it may not be looked at
    assert namespace_flags(Process(os.getpid())) in (nothing, namespace_flags(Process(os.getppid())))
    (tmp_path / "7/ns").mkdir()
    (tmp_path / "7/ns/pid").touch()
    about = (tmp_path / "7/ns/pid").stat()
    device = os.major(about.st_dev) << 20 | os.minor(about.st_dev)
    assert namespace_flags(process) == {"PIDNS_DEV": device, "PIDNS_INO": about.st_ino}
