"""The verdicts of ``pylat compare`` as a build job meets them: in a shell script, by their exit status."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from latency.recording import dump
from latency.report.statistics import MIN_RUNS
from tests.lab import Interpreter
from tests.pylat_command import PYLAT, pylat
from tests.unit.comparing import runs

JOB = """\
#!/bin/sh
set -eu
if {compare}
then echo "merge it"
else status=$?; echo "stopped with $status"; exit $status
fi
"""
VERDICTS = {
    "slower": (1.1e6, 10, 1.0, ""),
    "faster": (0.9e6, 10, 1.0, ""),
    "same": (1e6, 10, 1.0, ""),
    "inconclusive": (1e6, 10, 20.0, ""),
    "inconclusive, strictly": (1e6, 10, 20.0, "--strict"),
    "too few runs": (9e6, 4, 1.0, ""),
    "too few runs, strictly": (9e6, 4, 1.0, "--strict"),
}
STATUS = {
    "slower": 1, "faster": 0, "same": 0,
    "inconclusive": 0, "inconclusive, strictly": 3, "too few runs": 0, "too few runs, strictly": 3,
}  # fmt: skip


def job(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a build job that compares the recordings of its folder."""
    script = folder / "job.sh"
    script.write_text(JOB.format(compare=shlex.join([*PYLAT, "compare", "base.json", "head.json", *arguments])))
    script.chmod(0o755)
    return subprocess.run([script], cwd=folder, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_shell_script_goes_by_the_exit_status_of_the_verdict(
    verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(repository))
    head_ns, number, wobble, option = VERDICTS[verdict]
    dump(runs({"f": 1e6}, number, wobble=wobble), tmp_path / "base.json")
    dump(runs({"f": head_ns}, number, head=True, wobble=wobble), tmp_path / "head.json")
    done = job(tmp_path, *option.split())
    assert done.returncode == STATUS[verdict]
    assert done.stdout.endswith(f"stopped with {STATUS[verdict]}\n" if STATUS[verdict] else "merge it\n")
    assert verdict.split(",")[0].replace("too few", "fewer than 5") in done.stdout


def test_a_shell_script_stops_where_nothing_can_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(repository))
    dump(runs({"f": 1e6}), tmp_path / "base.json")
    done = job(tmp_path)
    assert done.stdout == "stopped with 2\n"
    assert "cannot read head.json" in done.stderr
    dump(runs({"g": 1e6}, head=True), tmp_path / "head.json")
    assert job(tmp_path).stdout.endswith("stopped with 3\n")


VIEWS = """
def get():
    for _ in range({turns}):
        pass
"""
MAIN = """
import sys
sys.path.insert(0, sys.argv[1])
from orders import views as orders
from users import views as users

for _ in range(200):
    orders.get()
    users.get()
"""


def test_of_two_checkouts_in_different_folders_the_function_that_was_slowed_is_told_from_its_namesake(
    own_interpreter: Interpreter, tmp_path: Path
) -> None:
    for side, orders_turns in (("base", 3_000), ("head", 9_000)):
        for package, turns in (("orders", orders_turns), ("users", 3_000)):
            folder = tmp_path / side / "checkout" / package
            folder.mkdir(parents=True)
            (folder / "views.py").write_text(VIEWS.format(turns=turns))
    for _ in range(MIN_RUNS):
        for side in ("base", "head"):
            program = own_interpreter.command("-B", "-c", MAIN, str(tmp_path / side / "checkout"))
            measured = pylat(
                "run", "--func", "*.views:get", "-o", tmp_path / f"{side}.json", "--append", "--", *program
            )
            assert measured.status == 0, measured.err
    result = pylat("compare", tmp_path / "base.json", tmp_path / "head.json", "--format", "json")
    found = json.loads(result.out)
    checkout = tmp_path / "head/checkout"
    verdicts = {it["filename"].removeprefix(f"{checkout}/"): it["verdict"] for it in found["functions"]}
    assert verdicts.keys() == {"orders/views.py", "users/views.py"}
    assert verdicts["orders/views.py"] == "slower"
    assert found["base"]["only_here"] == found["head"]["only_here"] == found["ambiguous"] == []
    assert result.status == 1
