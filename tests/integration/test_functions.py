"""The functions of every CPython are found, and have the names that the interpreter gives them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from latency.cpython.code_digest import CodeDigests
from latency.cpython.compiled import compiled_to_c
from latency.cpython.functions import LiveFunction, describe, live_functions
from latency.cpython.offsets import Offsets, load
from latency.cpython.patterns import Matcher
from latency.target.build import Build, identify
from latency.target.process import Process
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing, pylat
from tests.target_program import TargetProgram
from tests.watch import Watch, wrong

Start = Callable[..., TargetProgram]
StartWatch = Callable[..., Watch]

# Says where each code object of the process lies, and which names its own functions have.
PROGRAM = r"""
import asyncio, functools, gc, http.server, json, sys, types

def kept(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)
    return wrapper

class Api:
    @kept
    def get(self):
        def inner():
            pass
        class Local:
            def method(self):
                return (item for item in ())
        return inner, Local
    async def stream(self):
        yield 1

def make():
    return lambda: 1

async def serve():
    pass

def 函数():
    pass

exec(compile("def größe(): pass", "\udcff.py", "exec"))

SOURCE = "def again(items, scale):\n    return [item * scale + len(items) for item in items if item < 50]\n"

def again(lines, source=SOURCE):
    namespace = {}
    exec(compile("\n" * lines + source, "again.py", "exec"), namespace)
    return namespace["again"]

AGAIN = [again(0), again(7), again(0, SOURCE.replace("50", "51"))]
for _ in range(300):
    AGAIN[1](range(60), 2)

EXPECTED = {
    kept: "kept", make: "make", serve: "serve", make(): "make.<locals>.<lambda>", Api.stream: "Api.stream",
    Api.get: "kept.<locals>.wrapper", Api.get.__wrapped__: "Api.get", Api().get()[0]: "Api.get.<locals>.inner",
    Api().get()[1].method: "Api.get.<locals>.Local.method", 函数: "函数", größe: "größe",
}

def within(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from within(constant)

codes = {}
for function in gc.get_objects():
    if isinstance(function, types.FunctionType):
        for code in within(function.__code__):
            codes[id(code)] = code
listed = [(at, code.co_name, code.co_filename, code.co_firstlineno) for at, code in codes.items()]
names = [(id(function.__code__), name) for function, name in EXPECTED.items()]
again = [id(function.__code__) for function in AGAIN]
print(json.dumps({"codes": listed, "names": names, "again": again}), flush=True)
sys.stdin.read()
"""


class Scene(NamedTuple):
    """The program: ``codes`` are its code objects, ``names`` the qualnames of some.

    ``again`` are of one source, cold, then warm and further down, and of another source.
    """

    process: Process
    build: Build
    offsets: Offsets
    codes: list[tuple[int, str, str, int]]
    names: dict[int, str]
    again: list[int]

    def live(self) -> dict[int, LiveFunction]:
        return {it.address: it for it in live_functions(self.process, self.build, self.offsets)}


@pytest.fixture
def scene(interpreter: Interpreter, tmp_path: Path, start_target: Callable[..., TargetProgram]) -> Iterator[Scene]:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM, encoding="utf-8")
    target = start_target(interpreter, script, handshake=False)
    truth = json.loads(target.readline())
    with Process(target.pid) as process:
        build = identify(process)
        offsets = load(build.version, flags=build.flags)
        yield Scene(process, build, offsets, truth["codes"], dict(truth["names"]), truth["again"])


def test_no_code_object_is_missed(scene: Scene) -> None:
    found = scene.live()
    assert len(scene.codes) > 2000
    for address, name, filename, line in scene.codes:
        function = found[address].function
        assert (function.filename, function.line) == (filename, line)
        renamed = name == "<lambda>" and filename == "<string>"  # a method of a named tuple
        assert renamed or function.qualname.rpartition(".")[2] == name
    assert compiled_to_c(scene.process, scene.offsets, found.values()) == []


def test_every_function_has_its_qualname(scene: Scene) -> None:
    found = scene.live()
    assert {address: found[address].function.qualname for address in scene.names} == scene.names


def test_a_module_and_a_qualname_mean_one_function(scene: Scene) -> None:
    only = Matcher.parse(["__main__:Api.get"])
    assert [it.function.qualname for it in scene.live().values() if only.matches(it)] == ["Api.get"]


def test_one_address_is_described_without_a_scan(scene: Scene) -> None:
    for address, qualname in scene.names.items():
        described = describe(scene.process, scene.build, scene.offsets, address)
        assert described is not None
        bare = scene.build.version < (3, 11, 0)
        assert described.function.qualname == (qualname.rpartition(".")[2] if bare else qualname)


def test_a_digest_of_code_is_that_of_the_source_cold_or_warm(scene: Scene) -> None:
    digests = CodeDigests(scene.build, scene.offsets).take(scene.process, scene.again)
    cold, warm, other = (digests[address] for address in scene.again)
    assert cold == warm != other


def test_every_code_object_has_a_digest(scene: Scene) -> None:
    addresses = [address for address, *_ in scene.codes]
    assert not set(addresses) - CodeDigests(scene.build, scene.offsets).take(scene.process, addresses).keys()


def test_the_kind_of_a_function_is_told(scene: Scene) -> None:
    kinds = {it.function.qualname: it.function.kind for it in scene.live().values()}
    assert [kinds[name] for name in ("make", "serve", "Api.stream")] == ["function", "coroutine", "async_generator"]


# As Cython makes code objects: of functions that are C, for tracebacks.
COMPILED = """
from protocol import serve, truth

def made_of_c():
    pass

def python():
    pass

made_of_c.__code__ = made_of_c.__code__.replace(co_consts=(), co_names=())
serve(lambda: [python(), {"python": truth(1)}][1])
"""


def test_what_is_compiled_to_c_is_said_to_be_not_seen(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    (tmp_path / "compiled.py").write_text(COMPILED)
    program = start_target(own_interpreter, tmp_path / "compiled.py")
    listed = pylat("functions", "-p", program.pid, "-j")
    assert {it["qualname"] for it in json.loads(listed.out) if it["compiled_to_c"]} == {"made_of_c"}
    with Tracing("-p", program.pid, "--func", "made_of_c", "--func", "python", *EVERY_CALL, "-j") as tracing:
        truth = program.run()
        result = tracing.stop()
    assert result.function("python")["calls"] == truth["python"]["calls"]
    assert result.run["blind_spots"][-1].endswith("(by Cython or Nuitka, say), as made_of_c is")
    assert "not seen: calls of what is compiled to C" in result.err


NOT_MADE_YET = """
import sys
from protocol import say, truth

say({"ready": True})
sys.stdin.readline()

def late():
    pass

for _ in range(100):
    late()
say({"late": truth(100)})
sys.stdin.readline()
"""


@pytest.mark.cpython(min=(3, 10), max=(3, 11))
def test_a_function_that_is_not_made_yet_is_told_by_its_module_when_it_is(
    interpreter: Interpreter, start_target: Start, watch: StartWatch, tmp_path: Path
) -> None:
    script = tmp_path / "late.py"
    script.write_text(NOT_MADE_YET)
    target = start_target(interpreter, script)
    its, others = watch(target.pid, ["__main__:late"]), watch(target.pid, ["other:late"])
    truth = target.run()
    recording = its.stop()
    assert wrong(recording, truth) == {}
    assert recording.calls == 100
    assert others.stop().calls == 0


def test_a_file_is_meant_by_each_of_its_paths_and_a_pattern_without_a_function_is_said(
    own_interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    program = start_target(own_interpreter, "recursion.py", 10, 10)
    (tmp_path / "current").symlink_to(program.directory)
    line = next(it for it in pylat("functions", "-p", program.pid, "descend").out.split() if ":" in it).rpartition(":")[
        2
    ]
    pattern = f"{tmp_path}/current/recursion.py:{line}"
    with Tracing("-p", program.pid, "--func", pattern, "--func", "decsend", *EVERY_CALL, "-j") as tracing:
        truth = program.run()
        result = tracing.stop()
    assert result.agrees({"descend": truth["descend"]})
    assert "no function matches 'decsend' yet; nearest: descend" in result.err
    assert result.run["blind_spots"][-1] == "any function that matches 'decsend': there was none"
    elsewhere = pylat("-p", program.pid, "--func", f"/nowhere/recursion.py:{line}")
    assert f"nearest: {program.directory}/recursion.py:{line}" in elsewhere.err


IN_ODD_PLACES = """
import os, py_compile, sys, zipfile
from protocol import serve, truth

def write(path, name):
    with open(path, "w") as file:
        file.write("def {}():\\n    pass\\n".format(name))

os.makedirs("releases/42")
os.symlink("releases/42", "current")
write("releases/42/views.py", "show")
write("releases/42/forms.py", "fill")
write("tax.py", "levy")
os.mkdir("compiled")
py_compile.compile("tax.py", "compiled/tax.pyc", dfile="build/src/tax.py")
os.remove("tax.py")
with zipfile.ZipFile("library.zip", "w") as archive:
    archive.writestr("billing.py", "def bill():\\n    pass\\n")
sys.path[:0] = [os.path.join(os.getcwd(), name) for name in ("releases/42", "compiled", "library.zip")]
import billing, forms, tax, views

def run():
    for _ in range(300):
        views.show(), forms.fill(), tax.levy(), billing.bill()
    return {name: truth(300) for name in ("show", "fill", "levy", "bill")}

serve(run)
"""


@pytest.mark.cpython(each=((3, 9), (3, 11), (3, 13), (3, 15)))
def test_a_file_is_meant_by_a_relative_path_and_when_it_is_in_a_zip_or_a_pyc_is_left(
    interpreter: Interpreter, start_target: Start, tmp_path: Path
) -> None:
    (tmp_path / "odd.py").write_text(IN_ODD_PLACES)
    program = start_target(interpreter, tmp_path / "odd.py")
    from_here = os.path.relpath(program.directory / "current/forms.py")
    places = ("current/views.py", from_here, "src/tax.py", "library.zip/billing.py")
    patterns = [word for place in places for word in ("--func", f"{place}:1")]
    with Tracing("-p", program.pid, *patterns, *EVERY_CALL, "-j") as tracing:
        truth = program.run()
        result = tracing.stop()
    assert result.agrees(truth)
    assert not [line for line in tracing.said if "no function matches" in line]


LAMBDAS = """
import sys
from protocol import say, truth

early = [lambda: 1, None]
early[1] = lambda: 2
say({"ready": True})
sys.stdin.readline()

late = lambda: 1
for rule in (*early, late):
    rule()
say({"rules": truth(3)})
sys.stdin.readline()
"""


def test_a_recording_tells_lambdas_by_their_code(
    own_interpreter: Interpreter, start_target: Start, watch: StartWatch, tmp_path: Path
) -> None:
    script = tmp_path / "lambdas.py"
    script.write_text(LAMBDAS)
    target = start_target(own_interpreter, script)
    its = watch(target.pid, ["__main__:<lambda>"])
    target.run()
    first, second, late = sorted(its.stop().functions, key=lambda each: each.function.line)
    assert first.code
    assert first.code == late.code != second.code


def test_functions_that_died_are_neither_listed_nor_mistaken_for_those_that_live(
    interpreter: Interpreter, start_target: Start, watch: StartWatch
) -> None:
    target = start_target(interpreter, "dying.py")
    for _ in range(3):
        target.run()
    process = Process(target.pid)
    build = identify(process)
    listed = [it.function for it in live_functions(process, build, load(build.version, flags=build.flags))]
    here = {it.qualname for it in listed if it.filename.endswith("dying.py")}
    assert here >= {"lives", "Thing.method", "make", "run"}
    made = sorted(it.qualname for it in listed if it.qualname.startswith(("dies_", "also_")))
    assert made == sorted(f"{name}_{number}" for number in range(0, 500, 2) for name in ("dies", "also"))
    named = watch(target.pid, ["lives", "Thing.method"])
    truth = target.run()
    assert wrong(named.stop(), truth) == {}
