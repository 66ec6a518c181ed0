"""Every engine that a build offers, attached in either way, sees the same calls."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable

import pytest

from latency.cpython.interpreter import Target
from latency.cpython.sites.choose import offered
from tests.lab import Interpreter
from tests.pylat_command import Tracing
from tests.requirements import require
from tests.target_program import TargetProgram
from tests.watch import Watch, unaccounted, wrong

Start = Callable[..., TargetProgram]
StartWatch = Callable[..., Watch]


def engines(pid: int) -> list[str]:
    target = Target(pid)
    return list(offered(target.build.image, target.build.version, target.offsets, target.build.markers))


def assert_exact(target: TargetProgram, arguments: Iterable[object]) -> dict[str, object]:
    patterns = [word for name in ("handle_request", "worker") for word in ("--func", name)]
    with Tracing("-p", target.pid, *patterns, "-j", *arguments) as tracing:
        truth = target.run()
        result = tracing.stop()
    assert result.agrees(truth)
    recorded: dict[str, object] = result.run["target"]
    return recorded


@pytest.mark.cpython(min=(3, 9), max=(3, 12))  # every engine, and each way in which one leaves a frame
@pytest.mark.parametrize("attachment", ["multi", "perf"])
def test_every_engine_counts_the_same_calls_by_link_and_by_perf_events(
    interpreter: Interpreter, start_target: Start, attachment: str
) -> None:
    release = tuple(map(int, platform.release().split(".")[:2]))
    require(attachment == "perf" or release >= (6, 6), "uprobe-multi links came with Linux 6.6")
    target = start_target(interpreter, "requests.py", 1000)
    for engine in engines(target.pid):
        recorded = assert_exact(target, ("--engine", engine, "--attach", attachment))
        assert recorded["engine"] == engine


@pytest.mark.cpython(min=(3, 15), markers=True)
@pytest.mark.parametrize("attachment", ["multi", "perf"])
@pytest.mark.parametrize("engine", ["handlers", "usdt"])
def test_the_markers_of_3_15_count_what_the_handlers_count(
    interpreter: Interpreter, start_target: Start, engine: str, attachment: str
) -> None:
    target = start_target(interpreter, "requests.py", 1000)
    assert engine in engines(target.pid)
    assert assert_exact(target, ("--engine", engine, "--attach", attachment))["engine"] == engine


@pytest.mark.parametrize("minor", [(3, 9), (3, 15)], ids=["3.9", "3.15"])
def test_every_count_is_exact_by_markers_too(
    interpreters: list[Interpreter], start_target: Start, watch: StartWatch, minor: tuple[int, int]
) -> None:
    debian = [it for it in interpreters if it.minor == minor and it.origin.startswith("debian")]
    require(debian, f"a Debian build of {minor} is not here")
    for interpreter in debian:
        target = start_target(interpreter, "everything.py")
        every = watch(target.pid, engine="usdt")
        truth = target.run()
        recording = every.stop()
        assert recording.target.engine == "usdt"
        assert wrong(recording, truth) == {}
        assert unaccounted(recording) == 0
        some = watch(target.pid, truth, engine="usdt")
        truth = target.run()
        assert wrong(some.stop(), truth) == {}


def test_the_lab_has_every_engine(interpreters: list[Interpreter], start_target: Start) -> None:
    wanted = {"usdt": "3.9.2-debian-bullseye", "eval": "3.9.2-debian-bullseye", "handlers": "3.11.2-debian-bookworm"}
    by_id = {it.id: it for it in interpreters}
    for engine, name in wanted.items():
        require(name in by_id, f"{name} is not here")
        assert engine in engines(start_target(by_id[name], "recursion.py").pid)


@pytest.mark.cpython(min=(3, 11), max=(3, 11))
def test_an_engine_of_other_versions_is_refused_by_name(interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(interpreter, "recursion.py")
    with pytest.raises(AssertionError, match="take one of: auto, handlers, usdt"):
        Tracing("-p", target.pid, "--func", "descend", "--engine", "eval")
