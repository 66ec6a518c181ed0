"""CPython's own tests, by themselves and with every function measured from the first call on: does each end alike?

``script/soak --cpython`` is this file as a program. It needs what the integration tests need, and is not one of them.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from latency.errors import RecordingError
from latency.recording import load
from tests import lab
from tests.lab import Interpreter, LabError
from tests.pylat_command import PYLAT

FILES = (
    *("test_abc", "test_array", "test_ast", "test_asyncgen", "test_augassign", "test_baseexception", "test_bisect"),
    *("test_bool", "test_class", "test_collections", "test_configparser", "test_contextlib", "test_contextlib_async"),
    *("test_copy", "test_coroutines", "test_csv", "test_dataclasses", "test_decorators", "test_deque", "test_dict"),
    *("test_enum", "test_fractions", "test_genexps", "test_grammar", "test_heapq", "test_itertools"),
    *("test_json", "test_list", "test_property", "test_re", "test_scope", "test_set", "test_statistics", "test_struct"),
    *("test_super", "test_textwrap", "test_tokenize", "test_typing", "test_with", "test_yield_from"),
)
"""Those that pass on every version, each in less than a minute."""
_LIMIT_S = 3600


@dataclass(frozen=True)
class Ran:
    """How a file of tests ended: the status, what became of each test, by its name, and how long it took."""

    status: int
    tests: dict[str, str]
    took_s: float = field(default=0.0, compare=False)


def interpreter_with_tests(build: str) -> Interpreter:
    """One of the lab that has CPython's tests; of a Debian suite one is unpacked with them.

    Raises:
        LabError: there is none, or Debian's cannot be had.
    """
    for it in (found := [it for it in lab.interpreters() if build in it.id]):
        if subprocess.run(it.command("-c", "import test.test_json"), capture_output=True, check=False).returncode == 0:
            return it
    for it in found:
        suite = it.origin.removeprefix("debian-")
        if suite in lab.foreign_suites():
            name = "python{}.{}".format(*it.minor)
            root = lab.cache_directory() / f"tests-{suite}-{name}"
            lab.unpack_packages(root, suite, f"{name},lib{name}-testsuite", f"the tests of {name} of Debian {suite}")
            return Interpreter(it.version, f"{root}/usr/bin/{name}", str(root), f"tests-{suite}")
    raise LabError(f"no interpreter of the lab has {build!r} in its name, and CPython's tests")


def run(interpreter: Interpreter, file: str, recording: Path | None = None) -> Ran:
    """One file of tests; under ``pylat run`` where there is a recording to be written."""
    with tempfile.TemporaryDirectory(prefix="pylat-", dir=f"{interpreter.root or ''}/tmp") as temporary:
        inside = temporary.removeprefix(interpreter.root or "")
        arguments = ["-m", "test", "--junit-xml", f"{inside}/results.xml", file]
        command = interpreter.command(*arguments, directory=inside)
        if recording:
            command = [*PYLAT, "run", "-o", str(recording), "--", *command]
        environ = {"PATH": os.environ["PATH"], "HOME": inside, "LANG": "C.UTF-8"}
        cwd = None if recording else temporary
        pipe = subprocess.PIPE
        begin_s = time.monotonic()
        done = subprocess.run(command, env=environ, cwd=cwd, stdout=pipe, stderr=pipe, timeout=_LIMIT_S, check=False)
        took_s = time.monotonic() - begin_s
        results = Path(temporary, "results.xml")
        if not results.exists():
            raise RuntimeError(f"{file} ended with {done.returncode}: {_last_line(done.stderr or done.stdout)}")
        return Ran(done.returncode, dict(_tests(results)), took_s)


def _last_line(output: bytes) -> str:
    return (output.decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1]


def _tests(results: Path) -> list[tuple[str, str]]:
    """(name, ``"passed"``, ``"skipped"``, …), sorted; a test that ran twice stands for both."""
    found = []
    for case in ElementTree.parse(results).iter("testcase"):
        how = ",".join(sorted(each.tag for each in case if each.tag in ("failure", "error", "skipped"))) or "passed"
        # addresses of objects stand in the names of some subtests
        found.append((re.sub(r"0x[0-9a-f]+", "0x", case.get("name", "")), how))
    return sorted(found)


def compare(interpreter: Interpreter, files: Sequence[str]) -> list[str]:
    """Runs each file twice, says what came, and returns what is wrong."""
    faults: list[str] = []
    left_out: list[str] = []
    calls = 0
    for file in files:
        alone = run(interpreter, file)
        if alone.status:
            left_out.append(file)
            print(f"  {file}: ended with {alone.status} by itself, and is left out", flush=True)
            continue
        with tempfile.TemporaryDirectory(prefix="pylat-") as temporary:
            path = Path(temporary, "recording.json")
            try:
                measured = run(interpreter, file, path)
                (recording,) = load(path)
            except (RuntimeError, RecordingError) as error:
                faults.append(f"{file}: {error}")
                continue
        calls += recording.calls
        lost = {name: count for name, count in recording.losses.as_dict().items() if count}
        took = f"{alone.took_s:.1f} s by itself, {measured.took_s:.1f} s measured"
        counts = f"{len(alone.tests)} tests, {recording.calls:,} calls"
        print(f"  {file}: {counts}, {took}; lost: {lost or 'nothing'}", flush=True)
        if measured != alone:
            names = {*alone.tests, *measured.tests}
            other = {it for it in names if alone.tests.get(it) != measured.tests.get(it)}
            faults.append(f"{file}: ended with {measured.status}, and otherwise in {sorted(other)}")
        faults += [f"{file}: lost {lost}"] if lost else []
    compared = len(files) - len(left_out)
    print(f"  {compared} files, {calls:,} calls")
    # what does not pass by itself proves nothing, and is not to make the proof smaller unseen
    return [*faults, *([f"only {compared} of {len(files)} files were compared: {left_out}"] if left_out else [])]


def main() -> int:
    """1 when a test ends otherwise, a file cannot be compared, or something is lost: each loss has a cause."""
    parser = argparse.ArgumentParser(prog="script/soak --cpython", description="CPython's tests under pylat run.")
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"such as test_json; {len(FILES)} of them without")
    parser.add_argument("--build", default="", help="part of the name of an interpreter in script/lab's list")
    options = parser.parse_args()
    try:
        interpreter = interpreter_with_tests(options.build)
    except LabError as error:
        parser.error(str(error))
    print(interpreter.id, flush=True)
    faults = compare(interpreter, options.files or FILES)
    for fault in faults:
        print(f"script/soak: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
