"""Small programs around Debian's libpythons, as those of uwsgi or mod_wsgi are: the shared one and both static ones.

Their machine code is not that of Debian's executables. Each suite's are linked and run below a root of their own, with
the C library that they were built for.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.lab.interpreter import Candidate, Interpreter, LabError
from tests.lab.suites import import_what_targets_do, unpack_packages

SUITES = ("trixie", "sid")
IN_EVERY_RUN = (("trixie", "shared"),)
"""(suite, shape) of those that no run of the tests is without."""

_LIBRARIES = {
    "shared": "usr/lib/x86_64-linux-gnu/libpython{}.so.1.0",
    "static": "usr/lib/x86_64-linux-gnu/libpython{}.a",
    "static-pic": "usr/lib/python{}/config-{}-x86_64-linux-gnu/libpython{}-pic.a",
}
# the static ones lack the functions of HACL, which nothing here calls
_OPTIONS = {
    "shared": ("-pie",),
    "static": ("-no-pie", "-Wl,--unresolved-symbols=ignore-all"),
    # ld 2.40 relaxes what gcc 16 compiled into code that crashes
    "static-pic": ("-pie", "-Wl,--unresolved-symbols=ignore-all,--no-relax"),
}
_PACKAGES = r"?and(?name(^libpython3\.[0-9]+-dev$),?not(?virtual))"
_MAIN = """
int Py_BytesMain(int, char **);
int main(int count, char **arguments) { return Py_BytesMain(count, arguments); }
"""


def root_of(cache: Path, suite: str) -> Path:
    """The root in which the programs of a suite lie."""
    return cache / f"libpython-{suite}"


def make(cache: Path, suites: Sequence[str]) -> None:
    """Unpacks and links what is not in the cache yet. What cannot be had is left out, with a line that says why."""
    for suite in suites:
        root = root_of(cache, suite)
        try:
            if shutil.which("gcc") is None:
                raise LabError("there is no gcc: run script/setup --tests")
            unpack_packages(root, suite, _PACKAGES, f"the libpythons of Debian {suite}")
        except LabError as error:
            print(f"lab: the libpythons of Debian {suite} are left out: {error}", file=sys.stderr)
            continue
        for path in sorted((root / "usr/lib/x86_64-linux-gnu").glob("libpython3.*.so.1.0")):
            version = re.sub(r".*libpython(3\.\d+)\.so.*", r"\1", path.name)
            for shape in _LIBRARIES:
                program = root / "opt" / shape / f"python{version}"
                if not program.exists():
                    _link(root, program, version, shape)


def _link(root: Path, program: Path, version: str, shape: str) -> None:
    libraries = root / "usr/lib/x86_64-linux-gnu"
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pylat-lab-", dir=root / "tmp") as temporary:
        source = Path(temporary) / "main.c"
        source.write_text(_MAIN)
        command = ["gcc", f"--sysroot={root}", f"-L{libraries}", "-O2", str(source), "-o", f"{temporary}/program"]
        command += [str(root / _LIBRARIES[shape].format(*[version] * 3)), *_OPTIONS[shape]]
        command += ["-rdynamic", "-lexpat", "-lz", "-lm", "-ldl"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            said = (answer.stderr.strip().splitlines() or ["gcc failed"])[-1]
            print(f"lab: {program} is left out: {said}", file=sys.stderr)
            return
        Path(temporary, "program").rename(program)
    import_what_targets_do(Interpreter("", str(program), str(root), shape))


def made(cache: Path) -> Iterator[Candidate]:
    """Those that are in the cache."""
    for suite in SUITES:
        root = root_of(cache, suite)
        for shape in _LIBRARIES:
            for program in sorted((root / "opt" / shape).glob("python3.*")):
                yield Candidate(program, root, f"{suite}-{shape}", (suite, shape) in IN_EVERY_RUN)
