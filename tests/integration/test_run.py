"""``pylat run``: a program from its first call on, whatever starts it; its output, signals and end are its own."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from latency.recording import Options, Recording, load
from latency.tracing.running import run_measured
from tests.lab import Interpreter
from tests.pylat_command import PYLAT, Result, pylat
from tests.target_program import TARGETS

CALLS = 1000
CALLING = f"""
def f(number):
    return number

for number in range({CALLS}):
    f(number)
"""
AS_TEST = """
def f(number):
    return number

def test_calls():
    for number in range(1000):
        f(number)
"""
WORKERS = """
import multiprocessing

def f(number):
    return number

def worker(times):
    for number in range(times):
        f(number)

if __name__ == "__main__":
    worker(100)
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        processes = [context.Process(target=worker, args=(times,)) for times in (10, 20, 30)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
"""
ENDS_BY_SIGTERM = """
import signal, sys, time

signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print("ready", flush=True)
while True:
    time.sleep(60)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A program that calls ``f`` and ends."""
    path = tmp_path / "calling.py"
    path.write_text(CALLING)
    return path


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    """A program that opens its libpython when it runs already, as a frozen one does."""
    return boot_loader(tmp_path)


def boot_loader(folder: Path, *flags: str) -> Path:
    """``targets/boot.c`` as a program in a folder."""
    source, path = TARGETS / "boot.c", folder / "boot"
    subprocess.run(["gcc", *flags, "-o", path, source, "-ldl", "-pthread"], check=True, capture_output=True)
    return path


def libpython(interpreter: Interpreter) -> str:
    """The shared one, of whose version the interpreter is."""
    assert interpreter.embeddable
    return str(interpreter.embeddable[1])


def measured(command: list[str], *, children: bool = False) -> Recording:
    """What is seen of ``f`` in a program that ends with 0."""
    outcome, status = run_measured(command, Options(func=("f",), children=children), foreground=False)
    assert status == 0
    assert outcome is not None
    return outcome.recording


def calls(recording: Recording) -> int:
    """Those of ``f``, of which none was lost, nor any other event."""
    assert recording.losses.total == 0
    assert recording.began_before == 0
    return recording.calls


def run(*arguments: object) -> Result:
    return pylat("run", "--func", "f", *arguments)


# -- every call from the first on ----------------------------------------------------------------


def test_every_call_from_the_first_on_is_seen(interpreter: Interpreter) -> None:
    assert calls(measured(interpreter.command("-E", "-S", "-c", CALLING))) == CALLS


def test_by_the_link_of_a_virtual_environment(own_interpreter: Interpreter, script: Path, tmp_path: Path) -> None:
    subprocess.run([own_interpreter.path, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    assert calls(measured([str(tmp_path / "venv/bin/python"), str(script)])) == CALLS


def test_by_the_first_line_of_a_script(own_interpreter: Interpreter, script: Path) -> None:
    script.write_text(f"#!{own_interpreter.path}\n{CALLING}")
    script.chmod(0o755)
    assert calls(measured([str(script)])) == CALLS


def test_by_env(own_interpreter: Interpreter, script: Path) -> None:
    assert calls(measured(["env", "NAME=value", own_interpreter.path, str(script)])) == CALLS


def test_by_a_shell_that_goes_on_afterwards(own_interpreter: Interpreter, script: Path) -> None:
    assert calls(measured(["sh", "-c", f"true; {own_interpreter.path} {script} && true"])) == CALLS


def test_by_pytest(environment_interpreter: Interpreter, tmp_path: Path) -> None:
    path = tmp_path / "test_calling.py"
    path.write_text(AS_TEST)
    command = [environment_interpreter.path, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    assert calls(measured(command)) == CALLS


@pytest.mark.parametrize("how", ["itself", "thread", "fork", "exec"])
def test_by_a_boot_loader_that_opens_its_python_when_it_runs(
    own_interpreter: Interpreter, boot: Path, how: str
) -> None:
    assert calls(measured([str(boot), how, libpython(own_interpreter), "-E", "-S", "-c", CALLING])) == CALLS


def test_by_a_boot_loader_below_another_root(interpreters: list[Interpreter]) -> None:
    shared = next(it for it in interpreters if it.origin == "trixie-shared")
    assert shared.root
    (library,) = Path(shared.root).glob("usr/lib/*/libpython{}.{}.so.1.0".format(*shared.minor))
    with tempfile.TemporaryDirectory(prefix="pylat-", dir=f"{shared.root}/tmp") as folder:
        words = [str(boot_loader(Path(folder))), str(library)]
        program, opened = (word.removeprefix(shared.root) for word in words)
        command = ["unshare", f"--root={shared.root}", "--", program, "exec", opened, "-E", "-S", "-c", CALLING]
        assert calls(measured(command)) == CALLS


def test_what_a_shell_starts_while_its_python_waits_goes_on(own_interpreter: Interpreter, script: Path) -> None:
    starting = "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done"
    assert calls(measured(["sh", "-c", f"{starting} & {own_interpreter.path} {script}; wait"])) == CALLS


@pytest.mark.xdist_group("breakpoints")
def test_all_pythons_of_a_shell_are_seen_with_children(own_interpreter: Interpreter, script: Path) -> None:
    python = f"{own_interpreter.path} {script}"
    recording = measured(["sh", "-c", f"{python}; {python}; true"], children=True)
    assert calls(recording) == 2 * CALLS
    assert [each.calls for each in recording.processes if each.calls] == [CALLS, CALLS]


@pytest.mark.xdist_group("breakpoints")
def test_the_workers_of_multiprocessing_are_seen_with_children(own_interpreter: Interpreter, tmp_path: Path) -> None:
    path = tmp_path / "workers.py"
    path.write_text(WORKERS)
    recording = measured([own_interpreter.path, str(path)], children=True)
    assert calls(recording) == 100 + 2 * (10 + 20 + 30)
    assert sorted(each.calls for each in recording.processes if each.calls) == [10, 10, 20, 20, 30, 30, 100]


IN_MODULES = """
import types

def namespace(**globals):
    exec("def f(number):\\n    return number", globals)
    return globals["f"]

def f(number):
    return number

class Api:
    def f(self):
        pass

others = namespace(__name__="app.views"), namespace(__name__="app.views"), namespace(__name__="v\u00efews")
late = namespace(**{f"name_{number}": number for number in range(20)}, __name__="crowded")
nameless = namespace(__builtins__=__builtins__)
for number in range(1000):
    f(number)
    Api().f()
    [other(number) for other in others]
    late(number)
nameless(1)
"""


@pytest.mark.parametrize(
    ("pattern", "expected", "left_out"),
    [
        ("__main__:f", CALLS, "f"),
        ("app.*:f", 2 * CALLS, "f"),
        ("v\u00efews:f", CALLS, "f"),
        ("crowded:f", CALLS, "f"),
        ("__main__:Api.f", CALLS, ""),
    ],
)
def test_a_function_that_is_met_is_told_by_its_module(
    own_interpreter: Interpreter, tmp_path: Path, pattern: str, expected: int, left_out: str
) -> None:
    path = tmp_path / "calling.py"
    path.write_text(IN_MODULES)
    outcome, status = run_measured([own_interpreter.path, str(path)], Options(func=(pattern,)), foreground=False)
    assert status == 0
    assert outcome is not None
    recording = outcome.recording
    assert (recording.calls, recording.losses.total) == (expected, 0)
    said = [spot for spot in recording.blind_spots if "could not be told" in spot]
    assert [spot.rpartition(": ")[2] for spot in said] == ([left_out] if left_out else [])


@pytest.mark.cpython(min=(3, 10))  # a frame and a dict of each kind
def test_the_module_of_a_function_that_is_met_is_known_in_every_version(
    interpreter: Interpreter, tmp_path: Path
) -> None:
    code = f"{CALLING}\nglobals = {{'__name__': 'other'}}\nexec('def f(): pass', globals)\nglobals['f']()"
    outcome, _ = run_measured(
        interpreter.command("-E", "-S", "-c", code), Options(func=("__main__:f",)), foreground=False
    )
    assert outcome is not None
    assert (calls(outcome.recording), outcome.recording.blind_spots) == (CALLS, ())


# -- what is the program's own -------------------------------------------------------------------


def test_output_is_the_programs_and_the_report_goes_to_standard_error(own_interpreter: Interpreter) -> None:
    result = run("--", own_interpreter.path, "-c", f"{CALLING}\nprint('own output')")
    assert result.status == 0
    assert result.out == "own output\n"
    assert "calls 1,000" in result.err


def test_input_is_the_programs(own_interpreter: Interpreter) -> None:
    command = [*PYLAT, "run", "--func", "f", "--", own_interpreter.path, "-c", "print(input())"]
    done = subprocess.run(command, input="one line\n", capture_output=True, text=True, check=False)
    assert done.stdout == "one line\n"


def test_its_exit_status_is_passed_on(own_interpreter: Interpreter) -> None:
    assert run("--", own_interpreter.path, "-c", f"{CALLING}\nraise SystemExit(7)").status == 7


def test_its_death_by_a_signal_is_passed_on_as_a_shell_says_it(own_interpreter: Interpreter) -> None:
    dies = f"{CALLING}\nimport os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"
    result = run("--", own_interpreter.path, "-c", dies)
    assert result.status == 128 + signal.SIGSEGV
    assert "calls 1,000" in result.err


def test_sigterm_is_passed_on(own_interpreter: Interpreter) -> None:
    command = [*PYLAT, "run", "--func", "f", "--", own_interpreter.path, "-c", CALLING + ENDS_BY_SIGTERM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        _, said = process.communicate(timeout=500)
    assert process.returncode == 5
    assert "calls 1,000" in said


def test_as_another_user(own_interpreter: Interpreter) -> None:
    says = "import os; print(os.getresuid(), os.getresgid(), os.getgroups(), os.environ['USER'])"
    result = run("--user", "nobody", "--", own_interpreter.path, "-c", f"{CALLING}\n{says}")
    nobody = pwd.getpwnam("nobody")
    groups = os.getgrouplist("nobody", nobody.pw_gid)
    assert result.out == f"{(nobody.pw_uid,) * 3} {(nobody.pw_gid,) * 3} {groups} nobody\n"
    assert "calls 1,000" in result.err


# -- the recording -------------------------------------------------------------------------------


def test_runs_are_added_to_a_file(own_interpreter: Interpreter, tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    for _ in range(2):
        assert run("-o", path, "--append", "--", own_interpreter.path, "-c", CALLING).status == 0
    assert [each.calls for each in load(path)] == [CALLS, CALLS]


def test_json_goes_to_standard_error_as_any_report(own_interpreter: Interpreter) -> None:
    result = run("-j", "--", own_interpreter.path, "-c", CALLING)
    assert result.out == ""
    assert json.loads(result.err)["runs"][0]["functions"][0]["calls"] == CALLS


# -- what cannot be measured ---------------------------------------------------------------------


def test_a_program_that_is_no_python_is_said() -> None:
    result = run("--", "sh", "-c", "exit 4")
    assert result.status == 3
    assert "sh ran no CPython, and ended with 4" in result.err


def test_a_program_whose_python_is_not_seen_to_come_is_said(own_interpreter: Interpreter, tmp_path: Path) -> None:
    """One that has its dynamic linker within itself, where pylat does not know how to be told."""
    boot = boot_loader(tmp_path, "-static")
    result = run("--", boot, "itself", libpython(own_interpreter), "-c", "raise SystemExit(7)")
    assert result.status == 3
    assert "boot opened its CPython without its dynamic linker" in result.err
    assert "it ended with 7" in result.err
    assert "pylat -p PID --children" in result.err


def test_a_program_that_does_not_exist_is_said() -> None:
    result = run("--", "/nonexistent/python3")
    assert result.status == 2
    assert "cannot run /nonexistent/python3: No such file or directory" in result.err


def test_a_user_that_does_not_exist_is_said() -> None:
    result = run("--user", "no-such-user", "--", "true")
    assert result.status == 2
    assert "there is no user 'no-such-user'" in result.err


def test_an_engine_that_its_python_does_not_have_is_said_and_nothing_runs(
    own_interpreter: Interpreter, tmp_path: Path
) -> None:
    trace = tmp_path / "ran"
    result = run("--engine", "eval", "--", own_interpreter.path, "-c", f"open({str(trace)!r}, 'w')")
    assert result.status == 2
    assert "no engine 'eval'" in result.err
    assert not trace.exists()


def test_no_call_of_the_function_is_said(own_interpreter: Interpreter) -> None:
    result = pylat("run", "--func", "never", "--", own_interpreter.path, "-c", CALLING)
    assert result.status == 3
    assert "no function that matches never was ever called; the program ended with status 0" in result.err


def test_a_status_of_its_own_tells_more_than_that_nothing_was_called(own_interpreter: Interpreter) -> None:
    assert pylat("run", "--func", "never", "--", own_interpreter.path, "-c", "raise SystemExit(7)").status == 7


def test_a_program_that_replaces_itself_is_measured_with_children(own_interpreter: Interpreter, script: Path) -> None:
    again = f"import os, sys; os.execv(sys.executable, [sys.executable, {str(script)!r}])"
    result = run("--children", "--", own_interpreter.path, "-c", again)
    assert result.status == 0
    assert "calls 1,000" in result.err
    assert "replaced itself" not in result.err


def test_watch_does_not_follow_the_children_of_what_is_run_and_nothing_runs(
    own_interpreter: Interpreter, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    options = ("--engine", "watch", "--children", "--func", "f")
    result = run(*options, "--", own_interpreter.path, "-c", f"open({str(trace)!r}, 'w')")
    assert result.status == 2
    assert "not watched with its children" in result.err
    assert not trace.exists()
