"""An interpreter is measured wherever it hides: the counts of a whole ``pylat`` run are exact."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing
from tests.requirements import can_mount_privately, require
from tests.target_program import TARGETS, TargetProgram

DEPTH, TIMES = 50, 20
SCRIPT = str(TARGETS / "recursion.py")


class Hidden:
    """A program that runs ``recursion.py`` and is ready. ``pid`` is the interpreter's own."""

    def __init__(self, command: Sequence[str | Path], environ: Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={"PATH": "/bin", **environ})
        self.pid: int = self._answer()["pid"]

    def run(self) -> Any:
        """Runs the workload once, and gives its truth."""
        assert self.process.stdin is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def hide() -> Iterator[Callable[..., Hidden]]:
    """``hide(command, **environ)``: the command with the script and its arguments behind it, killed after the test."""
    programs: list[Hidden] = []

    def start(*command: str | Path, **environ: str) -> Hidden:
        programs.append(Hidden([*command, SCRIPT, str(DEPTH), str(TIMES)], environ))
        return programs[-1]

    yield start
    for program in programs:
        program.process.kill()
        program.process.communicate()


Hide = Callable[..., Hidden]


def assert_measured_exactly(target: Hidden | TargetProgram) -> dict[str, Any]:
    """Measures one run of the workload; gives what the recording says of the target."""
    with Tracing("-p", target.pid, *EVERY_CALL, "--func", "descend", "--func", "plunge", "-j") as tracing:
        truth = target.run()
        result = tracing.stop()
    assert truth["descend"]["returned"] == truth["plunge"]["raised"] > 0
    assert result.agrees(truth)
    recorded: dict[str, Any] = result.run["target"]
    return recorded


EMBEDDING = """
#include <stdio.h>
#include <wchar.h>
#include <Python.h>
/* a program of its own, with Python inside: embedding SCRIPT [ARGUMENT...] */
int main(int count, char **words) {
    wchar_t *wide[8] = {0};
    if (count < 2 || count > 7) return 2;
    for (int i = 0; i < count; i++) wide[i] = Py_DecodeLocale(words[i], NULL);
    Py_Initialize();
    PySys_SetArgv(count - 1, wide + 1);
    FILE *script = fopen(words[1], "r");
    return script == NULL || PyRun_SimpleFile(script, words[1]);
}
"""


@pytest.mark.parametrize("link", [("-no-pie", "-fno-pic"), ("-pie", "-fPIC")], ids=["fixed", "pie"])
def test_a_program_that_embeds_libpython_is_measured(
    interpreters: list[Interpreter], hide: Hide, tmp_path: Path, link: tuple[str, ...]
) -> None:
    shared = {it: found for it in interpreters if (found := it.embeddable)}
    require(shared, "no CPython here with headers and a shared libpython")
    require(shutil.which("cc"), "no C compiler")
    source = tmp_path / "embedding.c"
    source.write_text(EMBEDDING)
    for interpreter, (headers, library) in shared.items():
        program = tmp_path / f"order-service-{interpreter.version}"
        command = ["cc", "-w", *link, f"-I{headers}", source, library, f"-Wl,-rpath,{library.parent}", "-o", program]
        subprocess.run(command, check=True)
        home = {"PYTHONHOME": str(Path(interpreter.path).parents[1])}
        recorded = assert_measured_exactly(hide(program, **home))
        assert recorded["executable"] == str(program)
        assert recorded["python"] == interpreter.version


def test_an_interpreter_that_a_virtual_environment_links_to_is_measured(
    own_interpreter: Interpreter, hide: Hide, tmp_path: Path
) -> None:
    subprocess.run([own_interpreter.path, "-m", "venv", "--without-pip", tmp_path / "environment"], check=True)
    python = tmp_path / "environment/bin/python"
    assert python.is_symlink()
    assert_measured_exactly(hide(python))


def test_an_interpreter_below_another_root_is_measured(
    interpreters: list[Interpreter], start_target: Callable[..., TargetProgram]
) -> None:
    rooted = [it for it in interpreters if it.root is not None]
    require(rooted, "no unpacked suite is here (script/lab)")
    for it in rooted:
        recorded = assert_measured_exactly(start_target(it, "recursion.py", DEPTH, TIMES))
        assert recorded["python"] == it.version


def test_an_interpreter_that_only_another_mount_namespace_has_is_measured(
    own_interpreter: Interpreter, hide: Hide, tmp_path: Path
) -> None:
    require(can_mount_privately(), "no mount namespace can be made here")
    script = f'mount -t tmpfs none "{tmp_path}" && cp "$0" "{tmp_path}/it" && exec "{tmp_path}/it" "$@"'
    target = hide("unshare", "--mount", "sh", "-c", script, own_interpreter.path)
    assert not (tmp_path / "it").exists()
    assert_measured_exactly(target)


@pytest.mark.parametrize("others", [None, "/bin/cat"], ids=["deleted", "replaced"])
def test_an_interpreter_whose_file_is_gone_is_measured(
    own_interpreter: Interpreter, hide: Hide, tmp_path: Path, others: str | None
) -> None:
    copy = tmp_path / "python3"
    shutil.copy(own_interpreter.path, copy)
    target = hide(copy)
    copy.unlink()
    if others is not None:
        shutil.copy(others, copy)
    assert os.readlink(f"/proc/{target.pid}/exe").endswith(" (deleted)")
    assert_measured_exactly(target)


def test_an_interpreter_that_an_upgrade_replaced_is_measured_beside_its_successor(
    own_interpreter: Interpreter, hide: Hide, tmp_path: Path
) -> None:
    copy, new = tmp_path / "python3", tmp_path / "new"
    shutil.copy(own_interpreter.path, copy)
    older = hide(copy)
    shutil.copy(own_interpreter.path, new)
    new.rename(copy)
    younger = hide(copy)
    with Tracing("-p", older.pid, *EVERY_CALL, "--func", "descend", "-j") as tracing:
        younger.run()
        truth = older.run()
        result = tracing.stop()
    assert result.agrees({"descend": truth["descend"]})
    assert_measured_exactly(younger)


def test_an_interpreter_by_another_name_is_measured(own_interpreter: Interpreter, hide: Hide, tmp_path: Path) -> None:
    copy = tmp_path / "sshd"
    shutil.copy(own_interpreter.path, copy)
    target = hide(copy)
    assert Path(f"/proc/{target.pid}/comm").read_text() == "sshd\n"
    assert_measured_exactly(target)


RENAMED = """
import runpy, sys
# as gunicorn does; parentheses and letters stand unescaped in /proc/PID/stat
open("/proc/self/comm", "w").write("gunicorn: (m) R")
sys.argv[:1] = []
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_process_that_calls_itself_otherwise_is_measured(own_interpreter: Interpreter, hide: Hide) -> None:
    target = hide(own_interpreter.path, "-c", RENAMED, PYTHONPATH=str(TARGETS))
    assert Path(f"/proc/{target.pid}/comm").read_text() == "gunicorn: (m) R\n"
    assert_measured_exactly(target)


def test_an_interpreter_in_another_pid_namespace_is_measured_by_its_pid_out_here(
    own_interpreter: Interpreter, hide: Hide
) -> None:
    require(can_mount_privately(), "no mount namespace can be made here")
    target = hide("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", own_interpreter.path)
    assert target.pid == 1  # as it knows itself
    children = Path(f"/proc/{target.process.pid}/task/{target.process.pid}/children").read_text().split()
    (target.pid,) = map(int, children)
    assert_measured_exactly(target)
