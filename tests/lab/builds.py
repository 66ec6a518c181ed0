"""Makes the variants of ``variants``: CPythons by compiler and flags, of Debian's sources, in the lab's cache.

The compilers of each Debian suite lie below a root of their own (``compilers-trixie``), with make and the sources in
the first one. There each version is configured and built once, in a plain way; a variant is that with the files of
``CORE`` compiled as it says, and linked anew. It runs below the root of its compiler.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.lab.interpreter import Candidate, Interpreter, LabError
from tests.lab.suites import import_what_targets_do, into_place, unpack_packages
from tests.lab.variants import FILES, Made, Variant, suite_of

BASE_SUITE = "trixie"
"""Where the sources are unpacked, configured and built."""

_TOOLS = ("dash", "coreutils", "sed", "grep", "findutils", "mawk", "binutils", "libc6-dev", "systemtap-sdt-dev")
_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "trixie": (
        *(*_TOOLS, "diffutils", "make", "zlib1g-dev", "libffi-dev", "gcc-12", "gcc-13", "gcc-14"),
        *("clang-19", "lld-19", "llvm-19", "bolt-19", "libclang-rt-19-dev"),
    ),
    "sid": (
        *(*_TOOLS, "zlib1g", "libffi8", "gcc-15", "gcc-16"),
        *("clang-22", "lld-22", "llvm-22", "bolt-22", "libclang-rt-22-dev"),
    ),
}
_WHOLE = "rest"
"""What is made last of a version."""
_SOURCES = {"python3.13": "trixie", "python3.11": "bookworm"}
_CONFIGURED = ("--without-ensurepip", "--disable-test-modules", "--quiet")
_COMPILED = (
    *("-c", "-w", "-std=c11", "-fno-strict-overflow", "-fvisibility=hidden", "-DNDEBUG", "-DPy_BUILD_CORE"),
    *("-IInclude/internal", "-IInclude/internal/mimalloc", "-I.", "-IInclude"),
)
_LIBRARIES = ("-lm", "-ldl", "-lpthread", "-lutil")
_MARKED: Mapping[str, Mapping[str, str]] = {
    "3.13": {"gc": "Python/gc.c", "import": "Python/import.c", "sysmodule": "Python/sysmodule.c"},
    "3.11": {"gcmodule": "Modules/gcmodule.c", "import": "Python/import.c", "sysmodule": "Python/sysmodule.c"},
}
"""The further files that have USDT markers."""
_NO_TEST = shutil.ignore_patterns("test", "tests", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo")
# those of CPython's configure script, but for what writes debug sections
_BOLT = (
    *("-reorder-blocks=ext-tsp", "-reorder-functions=cdsort", "-split-functions", "-icf=1", "-inline-all", "-split-eh"),
    *("-reorder-functions-use-hot-size", "-peepholes=none", "-jump-tables=aggressive", "-inline-ap"),
    *("-indirect-call-promotion=all", "-use-gnu-stack", "-frame-opt=hot"),
)
_TRAINING = """
import ast, collections, dis, functools, io, json, re, textwrap, tokenize
def nested(depth):
    return 1 if not depth else nested(depth - 1) + nested(depth - 2 if depth > 1 else 0)
def numbers(most):
    for number in range(most):
        if number % 7 == 3:
            continue
        yield number
class Shape:
    def __init__(self, sides): self.sides = sides
    def __lt__(self, other): return self.sides < other.sides
    @property
    def odd(self): return self.sides % 2
def raising(number):
    try:
        if number % 3 == 0:
            raise ValueError(number)
    except ValueError as error:
        return str(error)
    finally:
        number += 1
for _ in range(20):
    nested(14)
    sum(numbers(5000))
    sorted(Shape(number % 17) for number in range(500))
    [Shape(number).odd for number in range(500)]
    [raising(number) for number in range(500)]
    json.loads(json.dumps({str(number): [number, None, 1.5] for number in range(500)}, indent=1))
    re.sub(r"(\\w+) (\\d+)", lambda it: it[2], "word 12 " * 200)
text = open(textwrap.__file__).read()
dis.dis(compile(ast.parse(text), "text", "exec"), file=io.StringIO())
list(tokenize.generate_tokens(io.StringIO(text).readline))
"""


class _Tree(NamedTuple):
    """One version below one root: ``inside`` is how the root sees ``path``."""

    root: Path
    version: str

    @property
    def inside(self) -> str:
        return f"/opt/cpython-{self.version}"

    @property
    def path(self) -> Path:
        return self.root / self.inside[1:]

    def run(
        self, *command: str, environ: Mapping[str, str] | None = None, where: str = "source", proc: bool = False
    ) -> str:
        """Runs a command below the root, with a ``/proc`` if it needs one, and gives what it wrote.

        Raises:
            LabError: it failed; with a line of what it said.
        """
        (self.root / "proc").mkdir(exist_ok=True)
        whole = ["unshare", *(("--pid", "--fork", "--mount-proc") if proc else ()), f"--root={self.root}"]
        whole += [f"--wd={self.inside}/{where}", "--", *command]
        environ = {"PATH": "/usr/bin", "LANG": "C.UTF-8", **(environ or {})}
        done = subprocess.run(whole, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
            raise LabError(f"{command[0]} ended with {done.returncode}: {(said or ['it said nothing'])[0]}")
        return done.stdout


def root_of(cache: Path, suite: str) -> Path:
    """The root in which the compilers of a suite lie, and what they made."""
    return cache / f"compilers-{suite}"


def make(cache: Path, variants: Sequence[Variant]) -> None:
    """Makes those that are not in the cache yet. What cannot be had is left out, with a line that says why."""
    for variant in variants:
        if program_of(cache, variant).exists():
            continue
        print(f"lab: making {variant.about}", file=sys.stderr)
        try:
            make_one(cache, variant)
        except LabError as error:
            print(f"lab: {variant.name} is left out: {error}", file=sys.stderr)


def program_of(cache: Path, variant: Variant, place: str = "variants") -> Path:
    """Where its interpreter lies, once it has been made."""
    tree = _Tree(root_of(cache, suite_of(variant)), variant.version)
    return tree.path / place / variant.name / f"python{variant.version}"


def make_one(cache: Path, variant: Variant, place: str = "variants") -> Interpreter:
    """One, in a folder of its own below ``place``, made where it is not there.

    Raises:
        LabError: a root cannot be unpacked, the source cannot be built, or a compiler failed.
    """
    tree, path = _tree(cache, suite_of(variant), variant.version), program_of(cache, variant, place)
    if not path.exists():
        _make(cache, tree, variant, place)
    origin = f"built-{variant.name.partition('-')[2]}"
    interpreter = Interpreter(variant.version, str(path), str(tree.root), origin, in_every_run=False)
    if not any((tree.path / "base/lib").glob("python3.*/asyncio/__pycache__/tasks.*")):
        import_what_targets_do(interpreter)  # all variants of a version share it
    return interpreter


def _make(cache: Path, tree: _Tree, variant: Variant, place: str) -> None:
    (tree.path / place).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=tree.path / place) as temporary:
        work = f"{place}/{Path(temporary).name}/{variant.name}"
        (tree.path / work).mkdir()
        compiled = _with_profile if variant.profile else _compiled
        objects = compiled(cache, tree, variant, work)
        if variant.dtrace:
            objects.update(_marked(tree, variant, work, objects))
        _link(tree, variant, work, objects)
        if variant.bolt:
            _laid_out(tree, variant, work)
        for each in (tree.path / work).iterdir():
            if not each.name.startswith(("python", "libpython")):
                each.unlink()
        (tree.path / work / "about").write_text(f"{variant.about}\n")
        into_place(tree.path / work, tree.path / place / variant.name)


def made(cache: Path) -> Iterator[Candidate]:
    """Those that are in the cache."""
    for suite in _PACKAGES:
        root = root_of(cache, suite)
        for path in sorted(root.glob("opt/cpython-*/variants/*/python3.*")):
            name = path.parent.name.partition("-")[2]
            if not path.parent.name.startswith("."):
                yield Candidate(path, root, f"built-{name}", in_every_run=False)


def _tree(cache: Path, suite: str, version: str) -> _Tree:
    """The built source of a version below the root of a suite; both are made where they are missing."""
    root = root_of(cache, suite)
    tree = _Tree(root, version)
    if (tree.path / _WHOLE).is_dir():
        return tree
    base = _tree(cache, BASE_SUITE, version) if suite != BASE_SUITE else None
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sources = {} if base else _SOURCES
        unpack_packages(root, suite, ",".join(_PACKAGES[suite]), f"the compilers of Debian {suite}", sources)
        if not os.path.lexists(root / "usr/bin/awk"):
            (root / "usr/bin/awk").symlink_to("mawk")  # in a package that is not configured
        if not (tree.path / _WHOLE).is_dir():
            shutil.rmtree(tree.path, ignore_errors=True)
            tree.path.mkdir(parents=True)
            if base:
                for name in "source", "base", _WHOLE:
                    shutil.copytree(base.path / name, tree.path / name, copy_function=os.link, symlinks=True)
            else:
                _build(tree)
    return tree


def _build(tree: _Tree) -> None:
    """Unpacks, configures and builds a version's source, position-independent so that it fits into a libpython, too."""
    (archive,) = (tree.root / "usr/src").glob(f"python{tree.version}_*.orig.tar.?z")
    print(f"lab: building CPython {tree.version} once: some minutes", file=sys.stderr)
    (tree.path / "source").mkdir()
    command = ["tar", "-xf", archive, "-C", tree.path / "source", "--strip-components=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{archive.name} cannot be unpacked: {done.stderr.strip()}")
    options = ["CC=gcc-14", "OPT=-DNDEBUG -O1 -fPIC", f"--prefix={tree.inside}/base", *_CONFIGURED]
    tree.run("./configure", *options)
    tree.run("make", "--silent", "-j1")
    _lay_out_base(tree)


def _lay_out_base(tree: _Tree) -> None:
    """What all variants share: the standard library (``base``), and all objects but theirs (``rest``)."""
    library = tree.path / "base/lib" / f"python{tree.version}"
    shutil.copytree(tree.path / "source/Lib", library, ignore=_NO_TEST)
    (library / "lib-dynload").mkdir()
    (built,) = (tree.path / "source/build").glob("lib.*")
    for path in built.iterdir():
        if path.suffix in (".so", ".py"):
            shutil.copy(path, library / ("lib-dynload" if path.suffix == ".so" else "."))
    making = tree.path / f".{_WHOLE}"
    making.mkdir()
    tree.run("ar", "x", f"../source/libpython{tree.version}.a", where=making.name)
    shutil.copy(tree.path / "source/Programs/python.o", making / "program.o")
    making.rename(tree.path / _WHOLE)


def _compile(tree: _Tree, path: str, how: Made, variant: Variant, to: str, *more: str) -> None:
    """Compiles one file of the source to an object, by its path below the tree."""
    flags = [*how.flags, *(["-fPIC"] if variant.shape == "shared" else []), *more]
    if variant.dtrace:
        flags += ["-DWITH_DTRACE=1"]
        header = tree.path / "source/Include/pydtrace_probes.h"
        if not header.exists():
            made_by = ["dtrace", "-h", "-s", "Include/pydtrace.d", "-o", "Include/pydtrace_probes.h"]
            tree.run(*made_by, environ={"CC": how.compiler})
            header.write_text(header.read_text().replace("PYTHON_", "PyDTrace_"))
    tree.run(how.compiler, *_COMPILED, *flags, path, "-o", f"{tree.inside}/{to}")


def _compiled(cache: Path, tree: _Tree, variant: Variant, work: str) -> dict[str, str]:
    """The objects of ``CORE``, by name: kept for other variants that have the same one."""
    if variant.lto:
        return _all_compiled(tree, variant, work, _lto(variant))
    found = {}
    for name, path in FILES[variant.version].items():
        how = variant.made_by(name)
        whole = repr((how, variant.shape, variant.dtrace))
        to = f"objects/{name}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}.o"
        own = _tree(cache, suite_of(Variant("", variant.version, how)), variant.version)
        if not (own.path / to).exists():
            (own.path / "objects").mkdir(exist_ok=True)
            making = f"{to}.{os.getpid()}"
            _compile(own, path, how, variant, making)
            (own.path / making).rename(own.path / to)
        os.link(own.path / to, tree.path / work / f"{name}.o")
        found[name] = f"{work}/{name}.o"
    return found


def _all_compiled(tree: _Tree, variant: Variant, work: str, more: Sequence[str]) -> dict[str, str]:
    found = {}
    for name, path in FILES[variant.version].items():
        found[name] = f"{work}/{name}.o"
        _compile(tree, path, variant.made_by(name), variant, found[name], *more)
    return found


def _lto(variant: Variant) -> list[str]:
    if not variant.lto:
        return []
    return ["-flto=thin"] if variant.made.compiler.startswith("clang") else ["-flto"]


def _with_profile(cache: Path, tree: _Tree, variant: Variant, work: str) -> dict[str, str]:
    """The objects of ``CORE`` by the profile of a short run of what they are without one."""
    del cache
    clang, number = variant.made.compiler.startswith("clang"), variant.made.compiler.rpartition("-")[2]
    generate = "-fprofile-instr-generate" if clang else "-fprofile-generate"
    objects = _all_compiled(tree, variant, work, [generate])
    if variant.dtrace:
        objects.update(_marked(tree, variant, work, objects))
    program = _link(tree, variant, work, objects, generate)
    _train(tree, work, program, {"LLVM_PROFILE_FILE": f"{tree.inside}/{work}/%p.profraw"})
    if not clang:
        use = ["-fprofile-use", "-fprofile-correction"]
    else:
        profiles = [it.name for it in (tree.path / work).glob("*.profraw")]
        tree.run(f"llvm-profdata-{number}", "merge", "-o", "profile", *profiles, where=work)
        use = [f"-fprofile-instr-use={tree.inside}/{work}/profile"]
    found = _all_compiled(tree, variant, work, [*use, *_lto(variant)])
    for each in (*(tree.path / work).glob("*.profraw"), *(tree.path / work).glob("*.gcda")):
        each.unlink()
    return found


def _train(
    tree: _Tree, work: str, program: str, environ: Mapping[str, str] | None = None, *, proc: bool = False
) -> None:
    (tree.path / work / "train.py").write_text(_TRAINING)
    environ = {"LD_LIBRARY_PATH": f"{tree.inside}/{work}", **(environ or {})}
    tree.run(f"./{program}", "-S", "train.py", environ=environ, where=work, proc=proc)


def _marked(tree: _Tree, variant: Variant, work: str, objects: Mapping[str, str]) -> dict[str, str]:
    """The further objects of a build with USDT markers, and that of the semaphores."""
    found = {}
    for name, path in _MARKED[variant.version].items():
        found[name] = f"{work}/{name}.o"
        _compile(tree, path, variant.made, variant, found[name])
    found["pydtrace"] = f"{work}/pydtrace.o"
    needed = [f"{tree.inside}/{it}" for it in (objects["ceval"], *found.values()) if "pydtrace" not in it]
    command = ["dtrace", "-G", "-s", "Include/pydtrace.d", "-o", f"{tree.inside}/{found['pydtrace']}", *needed]
    tree.run(*command, environ={"CC": variant.made.compiler, "CFLAGS": "-fPIC"})
    return found


def _link(tree: _Tree, variant: Variant, work: str, objects: Mapping[str, str], *more: str) -> str:
    """Links the interpreter; its file's name."""
    name, inside = f"python{variant.version}", partial("{}/{}".format, tree.inside)
    rest = [it.name for it in sorted((tree.path / "rest").glob("*.o")) if it.stem not in {*objects, "program"}]
    everything = [*map(inside, objects.values()), *(inside(f"rest/{it}") for it in rest)]
    (tree.path / work / "rest").write_text("\n".join(everything))
    flags = [*variant.made.flags, *_lto(variant), *more, "-Wl,--export-dynamic"]
    if variant.made.compiler.startswith("clang"):
        flags.append(f"-fuse-ld=lld-{variant.made.compiler.rpartition('-')[2]}")
    if variant.bolt:
        flags.append("-Wl,--emit-relocs")
    main = inside("rest/program.o")
    if variant.shape == "static":
        tree.run(variant.made.compiler, main, "@rest", *flags, *_LIBRARIES, "-o", name, where=work)
        return name
    library = f"lib{name}.so.1.0"
    soname = f"-Wl,-soname,{library}"
    tree.run(variant.made.compiler, "-shared", "@rest", *flags, soname, *_LIBRARIES, "-o", library, where=work)
    # not $ORIGIN, which needs /proc: where it lies when it is whole
    final = f"-Wl,-rpath,{inside(work.partition('/')[0])}/{variant.name}"
    tree.run(variant.made.compiler, main, library, *flags, final, *_LIBRARIES, "-o", name, where=work)
    return name


def _laid_out(tree: _Tree, variant: Variant, work: str) -> None:
    """BOLT: the executable's functions and blocks in the order of a short run."""
    name, number = f"python{variant.version}", variant.made.compiler.rpartition("-")[2]
    bolt, profile = f"llvm-bolt-{number}", f"{tree.inside}/{work}/laid.fdata"
    tree.run(bolt, name, "-instrument", f"-instrumentation-file={profile}", "-o", "instrumented", where=work)
    _train(tree, work, "instrumented", proc=True)
    tree.run(bolt, name, f"-data={profile}", *_BOLT, "-o", "laid", where=work)
    for each in "instrumented", "laid.fdata":
        (tree.path / work / each).unlink()
    (tree.path / work / "laid").rename(tree.path / work / name)
