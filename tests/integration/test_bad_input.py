"""What pylat cannot do is said in one line, with what to do about it, and an exit status; never with a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from latency.cli.terminal import complain
from latency.cpython.interpreter import Target
from latency.errors import CompileError
from latency.tracing.counted.parameters import cflags, programs
from latency.tracing.kernel.compiler import compiled
from latency.tracing.kernel.multi import PROCESSES, links
from tests.lab import Interpreter
from tests.pylat_command import BANNER, EVERY_CALL, Result, Tracing, pylat
from tests.requirements import require
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]

# One function of each hostile name, called at each "run"; those that cannot be named otherwise are made by replace().
HOSTILE = """
from protocol import serve, truth

NAMES = ["red\\x1b[31mname", "clear\\x1b]0;title\\x07", "two\\nlines\\r", "x" * 10_000, "\\u202eright", "<b>&amp;"]

def template():
    pass

def named(name):
    code = template.__code__
    fields = {"co_name": name, "co_filename": name + ".py"}
    if hasattr(code, "co_qualname"):
        fields["co_qualname"] = name
    return type(template)(code.replace(**fields), {})

functions = [named(name) for name in NAMES]

def run():
    for function in functions:
        function()
    return {name: truth(1) for name in NAMES}

serve(run)
"""
_LONGEST_LINE = 2_500


@pytest.fixture(scope="module")
def target(own_interpreter: Interpreter) -> Iterator[TargetProgram]:
    with TargetProgram(own_interpreter, "requests.py", 100) as program:
        yield program


def assert_refused(result: Result, what: str, hint: str, status: int = 2) -> None:
    """One line says what, one says what to do, and nothing else is said or was measured."""
    assert result.status == status, result
    assert result.out == ""
    said, advice = result.err.splitlines()
    assert said.startswith("pylat: ")
    assert what in said
    assert advice.startswith("  ")
    assert hint in advice


def assert_harmless(text: str) -> None:
    """A terminal does with it what was meant: nothing but lines, none of them endless."""
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert max(map(len, text.splitlines())) < _LONGEST_LINE


# -- the target ----------------------------------------------------------------------------------


def test_no_such_process() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert_refused(pylat("-p", gone.pid, "--func", "f"), f"no process {gone.pid}", "")


@pytest.fixture
def threaded(own_interpreter: Interpreter, start_target: Start) -> tuple[int, int]:
    """A process, and its second thread."""
    program = start_target(own_interpreter, "hanging.py")
    program.run()
    (tid,) = {int(it.name) for it in Path(f"/proc/{program.pid}/task").iterdir()} - {program.pid}
    return program.pid, tid


@pytest.mark.parametrize("children", [(), ("--children",)])
@pytest.mark.parametrize("command", ["record", "trace", "functions"])
def test_the_number_of_a_thread(threaded: tuple[int, int], command: str, children: tuple[str, ...]) -> None:
    pid, tid = threaded
    what = ("hangs",) if command == "functions" else ("--func", "hangs")
    assert_refused(
        pylat(command, "-p", tid, *what, *children), f"it is thread {tid} of process {pid}", f"give -p {pid}"
    )


@pytest.mark.parametrize("command", ["check", "probes"])
def test_the_number_of_a_thread_where_it_is_only_looked_at(threaded: tuple[int, int], command: str) -> None:
    pid, tid = threaded
    result = pylat(command, "-p", tid)
    assert result.status == 2
    assert f"it is thread {tid} of process {pid}" in result.out + result.err


@pytest.mark.parametrize(("name", "what"), [("sh", "CPython"), ("python3.11", "CPython"), ("pypy3", "PyPy")])
def test_a_process_that_is_no_cpython_whatever_its_name(tmp_path: Path, name: str, what: str) -> None:
    shutil.copy("/bin/sleep", tmp_path / name)
    with subprocess.Popen([tmp_path / name, "60"]) as other:
        try:
            assert_refused(pylat("-p", other.pid, "--func", "f"), what, "")
        finally:
            other.kill()


def test_no_function_matches_and_the_nearest_names_are_offered(target: TargetProgram) -> None:
    result = pylat("-p", target.pid, "--func", "handel_request")
    assert_refused(result, "no function matches 'handel_request'", "handle_request")


@pytest.mark.parametrize(("name", "hint"), [("handel_request", "handle_request"), ("0", "listed")])
def test_the_list_of_functions_refuses_in_the_same_way(target: TargetProgram, name: str, hint: str) -> None:
    assert_refused(pylat("functions", "-p", target.pid, name), f"matches '{name}'", hint)


# -- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("-r", "--func", "("), "regular expression"),
        (("--func", "f", "-d", "-1"), "no duration"),
        (("--func", "f", "-d", "soon"), "no number"),
        (("--func", "f", "-i", "0"), "no duration"),
        (("--func", "f", "--append"), "--append"),
        (("--func", "f", "--engine", "magic"), "magic"),
        (("--func", ""), "pattern"),
    ],
)
def test_words_that_mean_nothing(target: TargetProgram, arguments: tuple[str, ...], what: str) -> None:
    assert_refused(pylat("-p", target.pid, *arguments), what, "")


@pytest.mark.parametrize("place", ["missing/recording.json", ".", "file/recording.json"])
def test_a_recording_that_cannot_be_written_is_found_before_the_measurement(
    target: TargetProgram, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    result = pylat("-p", target.pid, "--func", "handle_request", "-d", "5", "-o", tmp_path / place)
    assert_refused(result, "cannot write", "-o")


def test_a_recording_that_is_none_is_not_appended_to(target: TargetProgram, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a recording")
    result = pylat("-p", target.pid, "--func", "handle_request", "-d", "5", "-o", file, "--append")
    assert_refused(result, "notes.txt", "")
    assert file.read_text() == "not a recording"


# -- the machine ---------------------------------------------------------------------------------


def test_an_ordinary_user_is_told_what_is_missing(target: TargetProgram) -> None:
    # imports first: such a user may not be able to read the checkout
    script = "import os, sys; import latency.cli.record; from latency.cli import main; "
    script += "os.setgroups([]); os.setgid(65534); os.setuid(65534); "
    script += f"sys.exit(main(['-p', '{target.pid}', '--func', 'f']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert_refused(Result(done.returncode, done.stdout, done.stderr), "may not use BPF", "CAP_BPF")


def test_root_without_capabilities_is_told_what_is_missing(target: TargetProgram) -> None:
    require(shutil.which("setpriv"), "setpriv of util-linux")
    result = pylat("-p", target.pid, "--func", "f", before=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    assert_refused(result, "may not use BPF", "CAP_BPF")


@pytest.mark.parametrize("engine", ["handlers", "watch"])
def test_the_capabilities_that_the_hint_names_are_enough(target: TargetProgram, engine: str) -> None:
    require(shutil.which("setpriv"), "setpriv of util-linux")
    require(links() == PROCESSES, "without uprobe-multi links CAP_SYS_ADMIN is needed, too")
    paranoid = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    require(engine != "watch" or paranoid <= 2, "where perf_event_paranoid is above 2, watch needs CAP_SYS_ADMIN, too")
    before = ("setpriv", "--bounding-set=-all,+bpf,+perfmon,+sys_ptrace")
    arguments = ("-p", target.pid, "--func", "handle_request", "--engine", engine, "-j")
    with Tracing(*arguments, before=before) as tracing:
        truth = target.run()
        seen = tracing.stop().function("handle_request")
    assert seen["calls"] == truth["handle_request"]["calls"]


@pytest.mark.parametrize("reached", [False, True])
def test_a_python_that_was_replaced_is_reached_with_one_capability_more(tmp_path: Path, reached: bool) -> None:
    require(shutil.which("setpriv"), "setpriv of util-linux")
    before = "setpriv", f"--bounding-set=-all,+sys_ptrace,+dac_read_search{',+checkpoint_restore' * reached}"
    python = tmp_path / "python3"
    shutil.copy(Path(sys.executable).resolve(), python)
    command = [python, "-c", "import sys\ndef handle(): pass\nprint('ready', flush=True)\nsys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        python.unlink()
        python.write_text("a newer one")
        result = pylat("functions", "-p", process.pid, "handle", before=before)
        process.communicate()
    if reached:
        assert result.status == 0, result.err
        assert "handle" in result.out
    else:
        assert_refused(result, f"maps as '{python}", "CAP_CHECKPOINT_RESTORE")


@pytest.mark.parametrize(
    ("module", "what"),
    [("raise ModuleNotFoundError(name='bcc')", "bcc is missing"), ("LATTICE = 1", "unrelated package")],
)
def test_bcc_missing_or_another_of_that_name(target: TargetProgram, tmp_path: Path, module: str, what: str) -> None:
    (tmp_path / "bcc.py").write_text(module)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert_refused(pylat("-p", target.pid, "--func", "handle_request", environ=environ), what, "python3-bpfcc")


def test_the_compilers_text_is_kept_for_those_who_ask(target: TargetProgram, capfd: pytest.CaptureFixture[str]) -> None:
    found = Target(target.pid)
    flags = cflags(found.offsets, found.plan, every_function=False)
    with pytest.raises(CompileError, match="did not compile") as caught:
        compiled([*flags, "-DPYLAT_FRAME_CODE=no_such_thing"], list(programs(found.plan).values()))
    assert capfd.readouterr() == ("", "")
    complain(caught.value, verbose=False)
    assert "no_such_thing" not in capfd.readouterr().err
    complain(caught.value, verbose=True)
    assert "error: use of undeclared identifier 'no_such_thing'" in capfd.readouterr().err


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.cpython(min=(3, 9), max=(3, 11))
def test_hostile_names_reach_no_terminal_as_they_are(
    interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    script = tmp_path / "hostile.py"
    script.write_text(HOSTILE)
    hostile = start_target(interpreter, script)
    file = tmp_path / "recording.json"
    with Tracing("-p", hostile.pid, *EVERY_CALL, "--func", "*", "-F", "-o", file) as tracing:
        hostile.run()
        report = tracing.stop()
    listed = pylat("functions", "-p", hostile.pid)
    rendered = pylat("report", file)
    for text in (report.out, report.err, listed.out, rendered.out):
        assert_harmless(text)
        assert text
    for text in (report.out, listed.out):
        assert "red\\x1b[31mname" in text
    assert "\x1b" not in file.read_text()


def test_a_hostile_pattern_comes_back_harmless(target: TargetProgram) -> None:
    result = pylat("-p", target.pid, "--func", "\x1b[31m" + "x" * 10_000)
    assert result.status == 2
    assert_harmless(result.err)
    assert BANNER not in result.err
