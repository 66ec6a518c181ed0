"""The verdicts of ``pylat compare`` as a build job meets them: in a shell script, by their exit status."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from latency.recording import dump
from tests.pylat_command import PYLAT
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
