"""Where frames give back their code objects, and that nothing is watched where that does not show: made-up code."""

from __future__ import annotations

from pathlib import Path

import pytest

from latency.cpython.offsets import Offsets, load
from latency.cpython.sites import Place, Role, SitePlan
from latency.cpython.sites.code import Code
from latency.cpython.sites.releases import Asked, releasing, releasing_at
from latency.errors import UnsupportedBuild
from latency.target.elf import Image
from tests.unit.made_handlers import address_of, assembled, made_handlers

KEEPS = "53 4889f3"  # push rbx; mov rbx, rsi: the frame
LOADS = "488b3b"  # mov rdi, [rbx]: its code object
COUNTS = "832f01"  # sub dword [rdi], 1
# mov rax, [rdi]; test eax, eax; js +6; sub rax, 1; mov [rdi], rax (not at once: it is immortal)
COUNTS_UNLESS_IMMORTAL = "488b07 85c0 7807 4883e801 488907"
ASKS = "807e4600"  # cmp byte [rsi + 0x46], 0
RELEASES = f"{KEEPS} {LOADS} {COUNTS} 5b c3"


@pytest.fixture(scope="module")
def offsets() -> Offsets:
    return load((3, 13, 5))


def found_in(
    directory: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch, code: dict[str, str], roles: dict[Role, str]
) -> list[str]:
    """Where frames are released: functions by the parts that they are, instructions by the parts in which they lie.

    Sites lie at the beginnings of parts.
    """
    found = made_handlers(directory, {**code, "NOP": "90"})
    begins = {name: address_of(found, {**code, "NOP": "90"}, name) for name in code}
    ranges = {name: (begins[name], begins[name] + len(part)) for name, part in assembled(code).items()}

    def code_range(_: Image, address: int) -> tuple[int, int] | None:
        return next((each for each in ranges.values() if each[0] <= address < each[1]), None)

    monkeypatch.setattr(Image, "code_range", code_range)
    at = {role: begins[name] for role, name in roles.items()}
    sites = tuple(found.code.site(role, role.value, address, found.code.at(address)) for role, address in at.items())
    places = {"return.frame": Place("rbx"), "raise.frame": Place("rbp")}
    stretches = releasing(Code(found.code.image), SitePlan("handlers", sites, places, "oparg"), offsets)
    return [
        name if stretch == each else f"in {name}"
        for stretch in stretches
        for name, each in ranges.items()
        if each[0] <= stretch[0] and stretch[1] <= each[1]
    ]


@pytest.mark.parametrize(
    "clear",
    [
        RELEASES,
        f"{KEEPS} {LOADS} {COUNTS_UNLESS_IMMORTAL} 5b c3",
        f"{KEEPS} {ASKS} 7402 5b c3 {LOADS} {COUNTS} 5b c3",  # clang: the end of one way lies before the other
        f"{KEEPS} {LOADS} 4883e7fc {COUNTS} 5b c3",  # and rdi, -4
        # mov [rsp + 8], rsi; call; mov rsi, [rsp + 8]; mov rdi, [rsi]
        f"4883ec18 4889742408 call:other 488b742408 488b3e {COUNTS} 4883c418 c3",
        # push rbp; mov rbp, rsp; mov [rbp - 0x18], rsi; call; mov rsi, [rbp - 0x18]; mov rdi, [rsi]
        f"55 4889e5 488975e8 call:other 488b75e8 488b3e {COUNTS} c9 c3",
        # 3.14: mov rdi, [rsi]; mov qword [rsi], 1; test dil, 1; je over the end of a reference that is not counted
        f"4889742408 call:other 488b742408 488b3e 48c70601000000 40f6c701 7401 c3 {COUNTS} c3",
    ],
    ids=[
        "at once",
        "unless immortal",
        "behind a return",
        "tagged",
        "of a frame on the stack",
        "beside a frame pointer",
        "if the reference is counted",
    ],
)
def test_a_function_that_releases_frames_is_watched_itself(
    tmp_path: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch, clear: str
) -> None:
    code = {"clear": clear, "other": RELEASES}
    assert found_in(tmp_path, offsets, monkeypatch, code, {Role.EXIT: "clear"}) == ["clear"]


@pytest.mark.parametrize("goes", ["jmp:thread", "call:thread c3"], ids=["goes on there", "calls it"])
def test_where_it_only_goes_on_to_another_that_one_is_watched(
    tmp_path: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch, goes: str
) -> None:
    code = {"clear": f"{ASKS} jne:generator {goes}", "generator": "c3", "thread": RELEASES}
    assert found_in(tmp_path, offsets, monkeypatch, code, {Role.EXIT: "clear"}) == ["thread"]


def test_where_there_are_only_copies_what_all_of_them_call_is_watched(
    tmp_path: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    # jne over the call; mov rsi, rbp; call. The other one has its call on the other way
    code = {
        "value": "7508 4889ee call:thread c3",
        "unwinding": "7401 c3 4889ee call:thread c3",
        "thread": RELEASES,
    }
    roles = {Role.RETURN: "value", Role.RAISE: "unwinding"}
    assert found_in(tmp_path, offsets, monkeypatch, code, roles) == ["thread"]


# jne over a ret; mov rdi, [rbx]; the count; ret: a copy that clang made
COPY = f"7501 c3 {LOADS} {COUNTS_UNLESS_IMMORTAL} c3"


def test_a_copy_is_watched_at_the_instruction_that_changes_the_count(
    tmp_path: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    # mov rdi, [rbp]; sub dword [rdi], 1
    code = {"value": COPY, "unwinding": f"7500 488b7d00 {COUNTS} c3", "other": RELEASES}
    roles = {Role.RETURN: "value", Role.RAISE: "unwinding"}
    assert found_in(tmp_path, offsets, monkeypatch, code, roles) == ["in value", "in unwinding"]


def test_copies_are_watched_beside_the_function(
    tmp_path: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = {"clear": RELEASES, "value": COPY, "unwinding": "7500 4889ee call:thread c3", "thread": RELEASES}
    roles = {Role.EXIT: "clear", Role.RETURN: "value", Role.RAISE: "unwinding"}
    assert found_in(tmp_path, offsets, monkeypatch, code, roles) == ["clear", "in value", "thread"]


@pytest.mark.parametrize(
    ("code", "roles"),
    [
        ({"clear": f"{ASKS} c3"}, {Role.EXIT: "clear"}),
        ({"clear": f"{KEEPS} {LOADS} 5b c3"}, {Role.EXIT: "clear"}),
        ({"clear": f"{KEEPS} 488b7b08 {COUNTS} 5b c3"}, {Role.EXIT: "clear"}),
        ({"clear": f"{KEEPS} {LOADS} 4889c7 {COUNTS} 5b c3"}, {Role.EXIT: "clear"}),
        ({"clear": f"4889742408 50 488b742408 488b3e {COUNTS} c3"}, {Role.EXIT: "clear"}),
        ({"clear": "jne:other jmp:thread", "other": RELEASES, "thread": RELEASES}, {Role.EXIT: "clear"}),
        ({"clear": RELEASES, "value": "7500 c3"}, {Role.EXIT: "clear", Role.RETURN: "value"}),
        ({"value": COPY, "unwinding": f"7500 {LOADS} {COUNTS} c3"}, {Role.RETURN: "value", Role.RAISE: "unwinding"}),
        ({"value": f"7400 488b7b00 31ff {COUNTS} c3"}, {Role.RETURN: "value"}),
    ],
    ids=[
        *("nothing is released", "the count does not change", "another member's count", "another object's count"),
        *("the stack has moved", "in two functions", "a copy that releases nothing", "of another frame"),
        "overwritten",
    ],
)
def test_what_does_not_show_where_is_not_watched(
    tmp_path: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch, code: dict[str, str], roles: dict[Role, str]
) -> None:
    with pytest.raises(UnsupportedBuild, match=r"does not show where frames that end in \w+ give back"):
        found_in(tmp_path, offsets, monkeypatch, code, roles)


def test_a_copy_may_have_the_frame_in_a_word_of_the_stack_that_was_written_to_before(
    tmp_path: Path, offsets: Offsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    # jne; call; mov rsi, [rbp - 8]; mov rdi, [rsi]
    code = {"value": f"7501 c3 call:other 488b75f8 488b3e {COUNTS} c3", "other": RELEASES.replace("48", "49")}
    found = made_handlers(tmp_path, {**code, "NOP": "90"})
    begin = address_of(found, {**code, "NOP": "90"}, "value")
    monkeypatch.setattr(Image, "code_range", lambda *_: None)
    site = found.code.site(Role.RETURN, "value", begin, found.code.at(begin))
    (stretch,) = releasing_at(found.code, (), [Asked(site, frozenset({"rbx"}), frozenset({("rbp", -8)}))], offsets)
    assert found.code.at(stretch[0]).mnemonic == "sub"
    with pytest.raises(UnsupportedBuild, match="does not show where frames that end in value give back"):
        releasing_at(found.code, (), [Asked(site, frozenset({"rbx"}))], offsets)
