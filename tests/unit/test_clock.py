"""The kernel's clock, read from a process that may have another one; and that nobody reads it elsewhere."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import latency
from latency.tracing.kernel import clock

PACKAGE = Path(latency.__file__).parent
OFFSETS = "monotonic      100000         5\nboottime       100000         0\n"


def process(folder: Path, namespace: str, offsets: str | None) -> Path:
    """In place of a process's folder in ``/proc``."""
    (folder / "ns").mkdir()
    (folder / "ns/time").symlink_to(namespace)
    if offsets is not None:
        (folder / "timens_offsets").write_text(offsets)
    return folder


@pytest.mark.parametrize(
    ("namespace", "offsets", "offset_ns"),
    [
        ("time:[4026532567]", OFFSETS, 100_000_000_000_005),
        ("time:[4026532567]", "monotonic      -500         250000000\n", -499_750_000_000),
        ("time:[4026531834]", OFFSETS, 0),  # those of its children to come
        ("time:[4026532567]", "", 0),
        ("time:[4026532567]", None, 0),
    ],
)
def test_the_offset_is_that_of_the_process_itself(
    tmp_path: Path, namespace: str, offsets: str | None, offset_ns: int
) -> None:
    assert clock.offset_ns(process(tmp_path, namespace, offsets)) == offset_ns


def test_a_kernel_without_time_namespaces_has_one_clock(tmp_path: Path) -> None:
    assert clock.offset_ns(tmp_path) == 0


def test_the_kernels_clock_is_ones_own_without_the_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_own_offset_ns", lambda: 10**15)
    before_ns, now_ns, after_ns = time.monotonic_ns(), clock.now_ns(), time.monotonic_ns()
    assert before_ns - 10**15 <= now_ns <= after_ns - 10**15


def test_one_place_knows_the_kernels_clock() -> None:
    readers = [path for path in PACKAGE.rglob("*.py") if "monotonic_ns" in path.read_text()]
    assert readers == [PACKAGE / "tracing/kernel/clock.py"]
