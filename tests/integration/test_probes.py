"""What ``pylat probes`` sees of a live interpreter before, during and after a measurement; and the JIT."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from latency.cache import Cache
from latency.cpython.interpreter import Target
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing, pylat
from tests.target_program import TargetProgram

pytestmark = pytest.mark.xdist_group("breakpoints")

Start = Callable[..., TargetProgram]


def seen(pid: int) -> dict[str, Any]:
    shown = pylat("probes", "-p", pid, "--json")
    assert shown.status == 0, shown.err
    result: dict[str, Any] = json.loads(shown.out)
    return result


def sites(shown: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from shown["engines"][shown["engine"]]


def states(places: Iterator[dict[str, Any]]) -> set[str]:
    return {place["state"] for place in places}


def undisturbed(pid: int) -> dict[str, Any]:
    """What is seen once nobody else probes the file, as a measurement with ``--children`` does in every process."""
    until = time.monotonic() + 60
    while states(sites(shown := seen(pid))) != {"as in the file"} and time.monotonic() < until:
        pass
    assert states(sites(shown)) == {"as in the file"}
    return shown


def test_the_probes_are_seen_while_it_is_measured_and_gone_after(interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(interpreter, "requests.py", 1)
    before = undisturbed(target.pid)
    assert before["python"] == interpreter.version.rstrip("td")
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", "handle_request", "-j") as tracing:
        during = seen(target.pid)
        assert states(sites(during)) == {"int3"}
        assert [place["code"] for place in sites(during)] == [place["code"] for place in sites(before)]
        tracing.stop()
    assert undisturbed(target.pid) == before


def test_the_semaphores_are_up_while_the_markers_are_probed(
    interpreters: list[Interpreter], start_target: Start
) -> None:
    interpreter = next(it for it in interpreters if it.id == "3.9.2-debian-bullseye")
    target = start_target(interpreter, "requests.py", 1)
    calls = ("function__entry", "function__return")

    def values() -> set[int]:
        return {it["semaphore_value"] for it in seen(target.pid)["markers"] if it["name"] in calls}

    assert values() == {0}
    with Tracing("-p", target.pid, "--func", "handle_request", "--engine", "usdt", "-j") as tracing:
        assert values() == {1}
        tracing.stop()
    assert values() == {0}


def test_what_was_found_out_of_a_build_is_kept(interpreter: Interpreter, start_target: Start, tmp_path: Path) -> None:
    """How much sooner it is found then is measured by ``benchmarks/starting.py``."""
    target = start_target(interpreter, "requests.py", 1)
    found = []
    for _ in range(2):
        plan = Target(target.pid, cache=Cache(tmp_path)).plan
        found.append((plan, {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}))
    first, again = found
    assert first[1]
    assert again == first


def needs_jit(target: TargetProgram, directory: Path) -> None:
    """Skips where the build of a program has none."""
    if "jit-capable" not in Target(target.pid, cache=Cache(directory / "cache")).build.flags:
        pytest.skip("this build has no JIT")


@pytest.mark.cpython(min=(3, 14), max=(3, 15))
@pytest.mark.parametrize(("setting", "on"), [(None, False), ("0", False), ("1", True)])
def test_a_process_whose_jit_is_on_is_refused(
    interpreter: Interpreter, start_target: Start, tmp_path: Path, setting: str | None, on: bool
) -> None:
    target = start_target(interpreter, "recursion.py", environ={} if setting is None else {"PYTHON_JIT": setting})
    needs_jit(target, tmp_path)
    checked = pylat("check", "-p", target.pid)
    measured = pylat("-p", target.pid, "-d", "0.1", "-j")  # functions that are named are watched: test_jit.py
    refused = [result.status == 2 and "the JIT is on" in f"{result.out}{result.err}" for result in (checked, measured)]
    assert refused == [on, on]
    assert all(("PYTHON_JIT=0" in f"{result.out}{result.err}") is on for result in (checked, measured))


@pytest.mark.cpython(min=(3, 15), max=(3, 15))
def test_a_program_whose_jit_is_on_is_not_run(
    interpreter: Interpreter, start_target: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_jit(start_target(interpreter, "recursion.py"), tmp_path)
    monkeypatch.setenv("PYTHON_JIT", "1")
    result = pylat("run", "--", *interpreter.command("-S", "-c", "print('ran')"))
    assert result.status == 2
    assert "the JIT is on" in result.err
    assert result.out == ""
