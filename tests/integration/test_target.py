"""Every CPython of the lab is recognised in a live process, however its file is hidden."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from latency.errors import UnsupportedBuild
from latency.target.build import Build, identify
from latency.target.heap import code_objects
from latency.target.process import Process
from tests.lab import Interpreter
from tests.requirements import can_mount_privately, require
from tests.target_program import TargetProgram
from tests.watch import Watch

StartTarget = Callable[..., TargetProgram]

# Prints (in decimal) where its objects are, then waits.
TRUTH = """
import sys, types
def outer():
    def inner():
        pass
    return inner
codes = [outer.__code__, outer().__code__, sys.modules["os"].path.join.__code__]
print(id(types.CodeType), *map(id, codes), flush=True)
sys.stdin.read()
"""
SPARSE = """
import mmap, sys
reserved = mmap.mmap(-1, 64 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
for place in range(0, 64 << 30, 1 << 30):
    reserved[place] = 1
stacks = [mmap.mmap(-1, 2 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for _ in range(100)]
print("ready", flush=True)
sys.stdin.read()
"""
READY = "import sys; print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    script = tmp_path / "truth.py"
    script.write_text(TRUTH)
    return script


@pytest.fixture
def running() -> Iterator[Callable[[list[str]], int]]:
    """``running(command)``: the PID of a program that said it is ready."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(command: list[str]) -> int:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline()
        return process.pid

    yield run
    for process in processes:
        process.kill()
        with process:
            process.wait()


def assert_is(build: Build, interpreter: Interpreter) -> None:
    assert build.version_text == interpreter.version.rstrip("td")
    assert build.version[:2] == interpreter.minor


def test_an_interpreter_is_known_and_its_code_objects_are_found(
    interpreter: Interpreter, start_target: StartTarget, truth: Path
) -> None:
    target = start_target(interpreter, truth, handshake=False)
    code_type, *codes = map(int, target.readline().split())
    process = Process(target.pid)
    build = identify(process)
    assert_is(build, interpreter)
    assert build.address("PyCode_Type") == code_type
    assert set(codes) <= set(code_objects(process, code_type, free_threaded=interpreter.free_threaded).tolist())
    assert build.image.code_range(build.address("PyEval_EvalCode") - build.bias) is not None


def test_the_file_that_is_found_is_the_one_that_is_mapped(
    interpreter: Interpreter, start_target: StartTarget, truth: Path
) -> None:
    target = start_target(interpreter, truth, handshake=False)
    target.readline()
    process = Process(target.pid)
    build = identify(process)
    code = next(it for it in process.maps() if it.device_inode == build.device_inode and it.executable)
    assert process.read(code.start, 4096) == os.pread(build.fd, 4096, code.offset)


@pytest.mark.parametrize("replaced", [False, True])
def test_an_interpreter_whose_file_was_deleted_or_replaced_is_known(
    own_interpreter: Interpreter, running: Callable[[list[str]], int], tmp_path: Path, replaced: bool
) -> None:
    copy = tmp_path / "service"
    shutil.copy(own_interpreter.path, copy)
    pid = running([str(copy), "-S", "-c", READY])
    copy.unlink()
    if replaced:
        shutil.copy("/bin/cat", copy)
    build = identify(Process(pid))
    assert_is(build, own_interpreter)
    assert os.pread(build.fd, 1 << 20, 0) == Path(own_interpreter.path).read_bytes()[: 1 << 20]


def test_an_interpreter_in_another_mount_namespace_is_known(
    own_interpreter: Interpreter, running: Callable[[list[str]], int], tmp_path: Path
) -> None:
    require(can_mount_privately(), "no mount namespace can be made here")
    # inside, and only there, the directory holds the interpreter
    script = 'mount -t tmpfs none "$1" && cp "$2" "$1/it" && exec "$1/it" -S -c "$3"'
    pid = running(["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), own_interpreter.path, READY])
    assert not (tmp_path / "it").exists()
    build = identify(Process(pid))
    assert_is(build, own_interpreter)
    assert build.file == f"{tmp_path}/it"


def test_an_interpreter_by_another_name_is_known(
    own_interpreter: Interpreter, running: Callable[[list[str]], int], tmp_path: Path
) -> None:
    copy = tmp_path / "sshd"
    shutil.copy(own_interpreter.path, copy)
    assert_is(identify(Process(running([str(copy), "-S", "-c", READY]))), own_interpreter)


EMBEDDING = """
#include <Python.h>
int main(void) {
    Py_Initialize();
    PyRun_SimpleString("import types; print(id(types.CodeType), flush=True)");
    /* naming the variable makes the linker copy it into this program */
    volatile void *copied = &PyCode_Type;
    return PyRun_SimpleString("import sys; sys.stdin.read()") + (copied == 0);
}
"""


def embeddable(interpreters: list[Interpreter]) -> tuple[Interpreter, Path, Path]:
    """(an interpreter, its headers, its shared libpython)."""
    found = next((it for it in reversed(interpreters) if it.embeddable), None)
    require(found, "no CPython here with headers and a shared libpython")
    assert found is not None
    assert found.embeddable is not None
    return found, *found.embeddable


def test_a_program_that_embeds_libpython_is_known_and_so_is_its_copy_of_a_variable(
    interpreters: list[Interpreter], tmp_path: Path
) -> None:
    require(shutil.which("cc"), "no C compiler")
    interpreter, headers, library = embeddable(interpreters)
    source = tmp_path / "embedding.c"
    source.write_text(EMBEDDING)
    command = ["cc", "-no-pie", "-fno-pic", f"-I{headers}", source, library, f"-Wl,-rpath,{library.parent}"]
    subprocess.run([*command, "-o", tmp_path / "embedding"], check=True)
    process = subprocess.Popen(
        [tmp_path / "embedding"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONHOME": str(Path(interpreter.path).parents[1])},
    )
    with process:
        assert process.stdout is not None
        code_type = int(process.stdout.readline())
        build = identify(Process(process.pid))
        assert_is(build, interpreter)
        assert build.where == "libpython"
        assert build.program is not None
        assert build.program.exported_symbol("PyCode_Type") is not None
        assert build.address("PyCode_Type") == code_type
        process.kill()


def test_two_interpreters_in_one_process_are_refused(
    interpreters: list[Interpreter], running: Callable[[list[str]], int], tmp_path: Path
) -> None:
    _, _, library = embeddable(interpreters)
    libraries = [library, tmp_path / library.name]
    shutil.copy(*libraries)
    require(shutil.which("cc"), "no C compiler")
    source = tmp_path / "two.c"
    source.write_text(
        "#include <dlfcn.h>\n#include <stdio.h>\n"
        "int main(int n, char **names) {\n"
        "    for (int i = 1; i < n; i++)\n"
        "        if (!dlopen(names[i], RTLD_NOW)) return 1;\n"
        '    puts("ready"); fflush(stdout); return getchar();\n}\n'
    )
    subprocess.run(["cc", source, "-o", tmp_path / "two"], check=True)
    pid = running([str(tmp_path / "two"), str(libraries[0]), str(libraries[-1])])
    with pytest.raises(UnsupportedBuild, match="has 2 CPythons"):
        identify(Process(pid))


def _page_tables(pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [line for line in lines if line.startswith("VmPTE")]


@pytest.mark.cpython(each=((3, 9), (3, 11), (3, 13), (3, 15)))
def test_a_search_adds_no_page_tables_for_what_is_reserved(
    interpreter: Interpreter, running: Callable[[list[str]], int]
) -> None:
    pid = running(interpreter.command("-c", SPARSE))
    process = Process(pid)
    build = identify(process)
    before = _page_tables(pid)
    assert len(code_objects(process, build.address("PyCode_Type"))) > 100
    assert _page_tables(pid) == before


def test_an_interpreter_of_which_a_page_is_mapped_twice_is_measured(
    own_interpreter: Interpreter,
    interpreters: list[Interpreter],
    start_target: StartTarget,
    watch: Callable[..., Watch],
) -> None:
    shared = next(it for it in interpreters if it.id.endswith("-shared"))
    for interpreter in (own_interpreter, shared):
        target = start_target(interpreter, "remapped.py")
        process = Process(target.pid)
        mine = identify(process).device_inode
        assert sum(it.executable and it.device_inode == mine for it in process.maps()) > 1
        session = watch(target.pid, ["__main__:tick"])
        known = target.run()["tick"]
        recording = session.stop()
        assert recording.losses.total == 0
        assert [(each.returned, each.raised) for each in recording.functions] == [(known["returned"], 0)]
