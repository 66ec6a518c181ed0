"""A PID that is not that of the Python that does the work: of a shell around it, or of a master that only starts it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing, pylat
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]


@pytest.fixture
def shell(own_interpreter: Interpreter, tmp_path: Path, start_target: Start) -> TargetProgram:
    """A shell that runs a Python; the PID is the shell's."""
    script = tmp_path / "entrypoint.sh"
    script.write_text(f'#!/bin/sh\n{own_interpreter.path} "$@"\nexit $?\n')
    script.chmod(0o755)
    return start_target(Interpreter(own_interpreter.version, str(script), None, "shell"), "recursion.py", 10, 10)


def test_the_python_below_a_shell_is_named(shell: TargetProgram) -> None:
    children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()
    for arguments in (("--func", "descend"), ("--gc",)):
        result = pylat("-p", shell.pid, *arguments)
        assert result.status == 2
        assert f"but its child {children[0]} (python3" in result.err
        assert f"give -p {children[0]}; or --children" in result.err


def test_the_pythons_below_a_shell_are_measured_with_children(shell: TargetProgram) -> None:
    with Tracing("-p", shell.pid, "--children", "--func", "descend", *EVERY_CALL, "-j") as tracing:
        truth = shell.run()
        result = tracing.stop()
    assert result.function("descend")["calls"] == truth["descend"]["calls"]
    assert result.run["target"]["pids"] == [shell.pid]
    assert not any(result.run["losses"].values())


VERSIONS = [(3, 9), (3, 11), (3, 13), (3, 15)]


def of_version(interpreters: list[Interpreter], version: tuple[int, int]) -> Interpreter:
    """One of this version, with a shared libpython if there is one: that lies elsewhere in each new program."""
    those = [it for it in interpreters if it.minor == version]
    return next((it for it in those if it.embeddable), those[0])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_only_starts_itself_again_is_measured_with_children(
    interpreters: list[Interpreter], start_target: Start, version: tuple[int, int]
) -> None:
    program = start_target(of_version(interpreters, version), "reloading.py")
    with Tracing("-p", program.pid, "--children", "--func", "view", *EVERY_CALL, "-j") as tracing:
        truth = program.run()
        result = tracing.stop()
    assert result.agrees(truth)


def test_a_server_that_only_starts_itself_again_names_its_child(
    own_interpreter: Interpreter, start_target: Start
) -> None:
    program = start_target(own_interpreter, "reloading.py")
    with Tracing("-p", program.pid, "--func", "view") as tracing:
        result = tracing.stop()
    (child,) = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    assert result.status == 3
    assert f"a child process ran Python and was not measured: {child} (python3" in result.err
    assert "add --children" in result.err


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.parametrize("version", VERSIONS)
def test_workers_of_multiprocessing_are_measured_by_the_name_of_the_script(
    interpreters: list[Interpreter], start_target: Start, version: tuple[int, int], method: str
) -> None:
    program = start_target(of_version(interpreters, version), "forkserving.py", method)
    with Tracing("-p", program.pid, "--children", "--func", "__main__:job", *EVERY_CALL, "-j") as tracing:
        truth = program.run()
        result = tracing.stop()
    assert result.agrees(truth)


@pytest.mark.parametrize("version", VERSIONS)
def test_functions_that_only_started_children_have_are_measured_wherever_their_libpython_lies(
    interpreters: list[Interpreter], start_target: Start, version: tuple[int, int]
) -> None:
    """Each process that an exec made has a shared libpython elsewhere, and so code objects of another type."""
    program = start_target(of_version(interpreters, version), "spawning.py", "recursion.py")
    with Tracing("-p", program.pid, "--children", "--func", "descend", *EVERY_CALL, "-j") as tracing:
        truth = program.run()
        result = tracing.stop()
    assert result.function("descend")["calls"] == truth["descend"]["calls"]
    assert not any(result.run["losses"].values())
    listed = pylat("functions", "-p", program.pid, "--children", "-j", "descend")
    assert len({it["pid"] for it in json.loads(listed.out)}) == 2
