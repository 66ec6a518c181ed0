"""The main job: the numbers of a report are the target's own, on every CPython of the lab."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from latency.recording import load, loads
from tests.brackets import CLOCK_NS, outside
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing
from tests.target_program import TargetProgram
from tests.watch import wrong

Start = Callable[..., TargetProgram]


def test_a_threaded_servers_calls_are_counted_exactly_and_their_latencies_are_its_own(
    interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(interpreter, "requests.py", 2500, "durations")
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", "handle_request", "--func", "worker", "-j") as tracing:
        truth = target.run()
        result = tracing.stop()
    assert result.status == 0
    assert truth["handle_request"]["calls"] == 10_000
    assert result.agrees(truth)
    (recording,) = loads(result.out)
    (requests,) = (each for each in recording.functions if each.function.qualname == "handle_request")
    inner_ns, outer_ns = np.fromfile(target.directory / "durations", np.int64).reshape(-1, 2).T
    assert outside(requests.wall, np.zeros_like(inner_ns), outer_ns) == []
    assert requests.probes is not None
    elapsed_ns, slack_ns = requests.wall.sum_ns + requests.probes.sum_ns, CLOCK_NS * len(inner_ns)
    assert inner_ns.sum() - slack_ns <= elapsed_ns <= outer_ns.sum() + slack_ns


def test_recursion_200_deep_is_counted_exactly_by_return_and_by_exception(
    interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(interpreter, "recursion.py", 200, 50)
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", "descend", "--func", "plunge", "-j") as tracing:
        truth = target.run()
        result = tracing.stop()
    assert truth["descend"]["returned"] == truth["plunge"]["raised"] == 10_000
    assert result.agrees(truth)


OTHER_LETTERS = """
from protocol import serve, truth

def größe():
    pass

def ﬁnd():  # compiled, it is find
    pass

def run():
    for _ in range(100):
        größe(), find()
    return {größe.__qualname__: truth(100), ﬁnd.__qualname__: truth(100)}

serve(run)
"""


@pytest.mark.parametrize("as_utf_8", ["0", "1"])  # with "1" Python's own mode for this locale
def test_names_of_any_letters_are_found_and_reported_where_the_locale_has_ascii_alone(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path, as_utf_8: str
) -> None:
    (tmp_path / "letters.py").write_text(OTHER_LETTERS, encoding="utf-8")
    target = start_target(own_interpreter, tmp_path / "letters.py")
    environ = {**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": as_utf_8}
    saved = tmp_path / "saved.json"
    asked = ("-p", target.pid, "--func", "größe", "--func", "ﬁnd", "-o", saved, *EVERY_CALL)
    with Tracing(*asked, environ=environ) as tracing:
        truth = target.run()
        result = tracing.stop()
    (recording,) = load(saved)
    assert result.status == 0, result.err
    assert truth.keys() == {"größe", "find"}
    assert wrong(recording, truth) == {}
    assert recording.calls == 200
    assert ("größe" if as_utf_8 == "1" else r"gr\xf6\xdfe") in result.out
    assert "find" in result.out
