"""The plan of a real file: that of the interpreter that runs the tests, where it is a CPython that pylat knows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from latency.cpython.offsets import Offsets, load
from latency.cpython.sites import ENGINES, Role, SitePlan
from latency.cpython.sites.choose import offered, plan_for
from latency.cpython.sites.opcodes import find_table, opcodes
from latency.errors import UnsupportedBuild, UsageError
from latency.target.elf import Image
from latency.tracing.counted.parameters import PT_REGS, cflags, programs
from tests.unit.elf_builder import Elf, Section
from tests.unit.own_interpreter import own_interpreter

VERSION = sys.version_info[:3]


@pytest.fixture(scope="module")
def image() -> Image:
    return Image.open(own_interpreter())


@pytest.fixture(scope="module")
def offsets() -> Offsets:
    return load(VERSION)


@pytest.fixture(scope="module")
def plan(image: Image, offsets: Offsets) -> SitePlan:
    return plan_for(image, VERSION, offsets, image.markers())


def test_every_way_in_has_a_way_out(plan: SitePlan) -> None:
    roles = {site.role for site in plan.sites}
    assert Role.ENTRY in roles
    assert Role.EXIT in roles or {Role.RETURN, Role.RAISE} <= roles
    assert {Role.CODE_DEALLOC, Role.GENERATOR_DEALLOC} <= roles


def test_exits_come_before_entries(plan: SitePlan) -> None:
    order = [site.role for site in plan.sites if site.role in (Role.EXIT, Role.RETURN, Role.RAISE, Role.ENTRY)]
    assert order == sorted(order, key=lambda role: role is Role.ENTRY)


def test_sites_are_at_instructions_of_the_code(plan: SitePlan, image: Image) -> None:
    for site in plan.sites:
        assert image.segment_at(site.address).executable
        assert image.offset_of(site.address) == site.offset
        assert site.address >= site.start or site.role is Role.EXIT
    assert len({site.offset for site in plan.sites}) == len(plan.sites)


def test_every_register_of_the_plan_can_be_asked_for_in_bpf(plan: SitePlan) -> None:
    assert {place.register for place in plan.places.values()} <= set(PT_REGS)


def test_each_engine_that_is_offered_can_be_forced(image: Image, offsets: Offsets) -> None:
    plans = offered(image, VERSION, offsets, image.markers())
    assert plans
    for engine in plans:
        assert plan_for(image, VERSION, offsets, image.markers(), engine=engine).engine == engine


def test_an_engine_of_another_version_is_refused_by_name(image: Image, offsets: Offsets) -> None:
    other = next(engine for engine in ENGINES if engine == ("eval" if VERSION >= (3, 11, 0) else "handlers"))
    with pytest.raises(UsageError, match=other):
        plan_for(image, VERSION, offsets, image.markers(), engine=other)


def test_usdt_without_markers_is_refused(image: Image, offsets: Offsets) -> None:
    with pytest.raises(UnsupportedBuild, match="no USDT markers"):
        plan_for(image, VERSION, offsets, [], engine="usdt")


def test_the_flags_of_a_plan_are_integers_and_sorted(plan: SitePlan, offsets: Offsets) -> None:
    flags = cflags(offsets, plan, every_function=False)
    assert flags == sorted(flags)
    for flag in flags:
        name, _, value = flag.partition("=")
        assert name.startswith("-DPYLAT_")
        int(value.removesuffix("ULL"), 0)


def test_every_role_has_a_program(plan: SitePlan) -> None:
    assert set(programs(plan)) == {site.role for site in plan.sites}


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13), (3, 14), (3, 15)])
def test_the_opcodes_of_a_version_are_those_that_the_engine_asks_for(version: tuple[int, int]) -> None:
    numbers = opcodes(version)
    for name in ("RESUME", "RETURN_VALUE", "YIELD_VALUE"):
        assert [other for other in numbers if numbers[other] == numbers[name]] == [name]
    assert all(0 <= number < 256 for number in numbers.values())


def test_an_unknown_versions_opcodes_are_refused() -> None:
    with pytest.raises(UnsupportedBuild, match="3\\.99"):
        opcodes((3, 99))


def test_a_file_without_opcode_handlers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(Elf([Section(".rodata", bytes(8192))]).build())
    with pytest.raises(UnsupportedBuild, match="holds 0 tables"):
        find_table(Image.open(tmp_path / "image"), opcodes((3, 12)))
