"""What the options of a measurement do, on the machine's own CPython."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from latency import resources
from latency.tracing.kernel.compiler import compiled
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing, pylat
from tests.target_program import TargetProgram

pytestmark = pytest.mark.xdist_group("options")

Start = Callable[..., TargetProgram]
CALLS = 200  # of each of the four threads


@pytest.fixture(scope="module")
def target(own_interpreter: Interpreter) -> Iterator[TargetProgram]:
    """One server for all tests here: each measurement sees just the runs that it asks for."""
    with TargetProgram(own_interpreter, "requests.py", CALLS) as program:
        yield program


def measured(target: TargetProgram, *arguments: object, func: str = "handle_request") -> str:
    """The report of one run of the target."""
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", func, *arguments) as tracing:
        target.run()
        result = tracing.stop()
    assert result.status == 0, result.err
    return result.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_measurement_with_its_report(target: TargetProgram, number: signal.Signals) -> None:
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", "handle_request") as tracing:
        target.run()
        result = tracing.stop(number)
    assert result.status == 0
    assert re.search(r"calls\s+800\b", result.out)
    assert re.search(r"raised\s+8\b", result.out)
    assert "Detaching" in result.err


def test_the_time_given_ends_the_measurement(target: TargetProgram) -> None:
    before_s = time.monotonic()
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", "handle_request", "-d", "1", "-j") as tracing:
        result = tracing.wait()
    assert 1 <= result.run["duration_s"] <= time.monotonic() - before_s


def test_intervals_report_what_came_since_the_last_and_add_up(target: TargetProgram) -> None:
    seen = []
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", "handle_request", "-i", "0.3", "-j") as tracing:
        for times in (1, 2):
            target.run()
            while sum(seen) < times * 4 * CALLS:
                seen.append(json.loads(tracing.readline())["runs"][0]["functions"][0]["calls"])
            assert sum(seen) == times * 4 * CALLS
        result = tracing.stop()
    whole = json.loads(result.out[result.out.rindex('{"schema"') :])
    assert whole["runs"][0]["functions"][0]["calls"] == sum(seen)


@pytest.mark.parametrize(("option", "unit", "others"), [("-u", "µs", ("ms", "ns")), ("-m", "ms", ("µs", "ns"))])
def test_the_unit_that_is_asked_for_is_the_only_one(
    target: TargetProgram, option: str, unit: str, others: tuple[str, ...]
) -> None:
    percentiles = measured(target, option).split("p99.9", 1)[1].splitlines()[1]
    assert percentiles.count(unit) == 6
    assert not any(other in percentiles for other in others)


def test_a_report_says_when_if_asked(target: TargetProgram) -> None:
    assert re.search(r"\d\d:\d\d:\d\d", measured(target, "-T"))


def test_several_patterns_measure_several_functions(target: TargetProgram) -> None:
    report = json.loads(measured(target, "--func", "wor*", "-j"))["runs"][0]
    assert {it["qualname"] for it in report["functions"]} >= {"handle_request", "worker"}


def test_without_a_pattern_every_function_is_counted_and_the_busiest_are_shown_first(target: TargetProgram) -> None:
    with Tracing("-p", target.pid, *EVERY_CALL, "--top", "5") as tracing:
        target.run()
        text = tracing.stop().out
    with Tracing("-p", target.pid, *EVERY_CALL, "-j") as tracing:
        truth = target.run()
        result = tracing.stop()
    for name, numbers in truth.items():
        assert {key: result.function(name)[key] for key in numbers} == numbers
    sums = [it["wall"]["sum_ns"] for it in result.run["functions"]]
    assert len(sums) > 5
    assert sums == sorted(sums, reverse=True)
    assert "handle_request" in text
    assert f"and {len(sums) - 5} more" in text


def test_two_processes_are_measured_together(
    target: TargetProgram, own_interpreter: Interpreter, start_target: Start
) -> None:
    other = start_target(own_interpreter, "requests.py", 2 * CALLS)
    with Tracing("-p", target.pid, "-p", other.pid, *EVERY_CALL, "--func", "handle_request", "-j") as tracing:
        for program in (target, other):
            program.run()
        result = tracing.stop()
    assert result.run["target"]["pids"] == [target.pid, other.pid]
    assert sum(it["calls"] for it in result.run["functions"]) == 3 * 4 * CALLS


def test_recordings_are_saved_appended_and_rendered_again(target: TargetProgram, tmp_path: Path) -> None:
    file = tmp_path / "recording.json"
    measured(target, "-o", file)
    measured(target, "-o", file, "--append")
    saved = json.loads(file.read_text())
    assert saved["schema"] == "pylat/1"
    assert [run["functions"][0]["calls"] for run in saved["runs"]] == [4 * CALLS, 4 * CALLS]
    again = pylat("report", file)
    assert again.status == 0
    assert len(re.findall(r"calls\s+800\b", again.out)) == 2


def test_verbose_says_what_is_attached_where_and_how_long_it_took(target: TargetProgram) -> None:
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", "handle_request", "-v") as tracing:
        said = "\n".join(tracing.said)
        tracing.stop()
    assert re.search(r"RESUME\s+0x[0-9a-f]+\s+(emulated|single-stepped)", said)
    assert re.search(r"\d\.\d{3} s  in all", said)


def test_the_bpf_program_is_shown_and_nothing_is_attached(target: TargetProgram) -> None:
    shown = pylat("-p", target.pid, "--func", "handle_request", "--ebpf")
    assert shown.status == 0
    assert "#define PYLAT_FRAME_CODE" in shown.out
    assert "Tracing" not in shown.err


def test_the_shown_bpf_program_is_whole(target: TargetProgram, tmp_path: Path) -> None:
    (tmp_path / "shown.bpf.c").write_text(pylat("-p", target.pid, "--func", "handle_request", "--ebpf").out)
    (tmp_path / "include").symlink_to(resources.directory("bpf") / "include")
    made = compiled([], ["pylat_entry"], folder=tmp_path, source="shown.bpf.c")
    assert made.programs["pylat_entry"]


def test_the_demo_measures_its_own_server_and_ends_clean() -> None:
    shown = pylat("demo", "-d", "1")
    assert shown.status == 0, shown.err
    assert re.search(r"calls\s+[1-9]", shown.out)
    pid = int(re.search(r"runs as pid (\d+)", shown.err)[1])  # type: ignore[index]
    assert not Path(f"/proc/{pid}").exists()


def test_check_names_the_engine_of_a_process(target: TargetProgram) -> None:
    shown = pylat("check", "-p", target.pid)
    assert shown.status == 0
    assert re.search(r"^ok\s+engines\s+handlers is taken", shown.out, re.MULTILINE)
    assert not re.search(r"^NO", shown.out, re.MULTILINE)
