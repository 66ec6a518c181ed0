"""What the long proofs let pass: what is exact, and what is missing where it was counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from latency.histogram import Histogram
from latency.recording import Function, FunctionLatency, Losses, Recording
from tests import soak_cpython
from tests.lab import Interpreter
from tests.soak_cpython import Ran, compare
from tests.soak_proofs import unexplained
from tests.targets.protocol import truth
from tests.unit.comparing import run

JOB = Function("job", "/tmp/pylat-1/program.py", 1)
KNOWN = {"job": truth(returned=90, raised=10)}
PYTHON = Interpreter("3.13.0", "/usr/bin/python3", None, "made up")


def recording(returned: int, raised: int, **losses: int) -> Recording:
    seen = FunctionLatency(JOB, returned, raised, Histogram.from_values([1] * (returned + raised)))
    return replace(run([seen]), losses=Losses(**losses))


@pytest.mark.parametrize(
    "passes",
    [
        recording(90, 10),
        recording(90, 10, bad_frame=5),
        recording(87, 10, table_full=3),
        recording(88, 9, table_full=2, thread_ended=1),
    ],
)
def test_what_is_exact_or_counted_passes(passes: Recording) -> None:
    assert unexplained(passes, KNOWN) == []


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (recording(89, 10), "job: "),
        (recording(91, 10), "job: "),
        (recording(80, 10, table_full=1), "10 calls are missing, and only 1 losses were counted"),
        (recording(91, 9, table_full=1), "job: 1 too many returned"),
    ],
)
def test_one_loss_does_not_excuse_what_it_does_not_count(fails: Recording, said: str) -> None:
    (fault,) = unexplained(fails, KNOWN)
    assert fault.startswith(said)


def test_a_file_of_tests_that_fails_by_itself_is_a_fault_and_each_has_its_times(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ran(_: Interpreter, file: str, path: Path | None = None) -> Ran:
        return Ran(int(file == "test_b"), {"test": "passed"}, 9.5 if path else 1.25)

    monkeypatch.setattr(soak_cpython, "run", ran)
    monkeypatch.setattr(soak_cpython, "load", lambda _: [recording(90, 10)])
    assert compare(PYTHON, ["test_a"]) == []
    assert "test_a: 1 tests, 100 calls, 1.2 s by itself, 9.5 s measured; lost: nothing" in capsys.readouterr().out
    (fault,) = compare(PYTHON, ["test_a", "test_b"])
    assert fault == "only 1 of 2 files were compared: ['test_b']"
