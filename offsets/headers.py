"""Struct layouts out of a CPython's installed headers: a compiler lists the members, then says where each one is."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from offsets import dwarf
from offsets.structs import PLACES

MULTIARCH = "x86_64-linux-gnu"

# Internal headers moved between versions; each is taken when it is there.
_INTERNAL = (
    *("pystate", "pycore_pystate", "pycore_runtime", "pycore_interp", "pycore_tstate", "pycore_debug_offsets"),
    *("pycore_frame", "pycore_interpframe", "pycore_interpframe_structs", "pycore_code", "pycore_dict"),
    *("pycore_object", "pycore_genobject", "pycore_moduleobject", "pycore_function"),
)
_PROLOGUE = "\n".join(
    (
        "#define Py_BUILD_CORE 1",
        "#include <Python.h>",
        "#include <stddef.h>",
        "#include <stdio.h>",
        "#include <frameobject.h>",
        "#include <structmember.h>",
        "#include <datetime.h>",
        *(f"#if __has_include(<internal/{name}.h>)\n#include <internal/{name}.h>\n#endif" for name in _INTERNAL),
        "",
    )
)


class CompilerError(Exception):
    """``cc`` refused the headers."""


def read(include: Path, wanted: frozenset[str]) -> tuple[dwarf.Layout, dict[str, int]]:
    """The layouts and computed places that the headers in ``include`` (``…/include/python3.X``) give.

    Args:
        include: the folder of ``Python.h``, with CPython's ``internal`` below it.
        wanted: names of structs.

    Raises:
        CompilerError: the headers do not compile.
        dwarf.Disagreement: the compiler's ``offsetof`` and its own DWARF differ.
    """
    with tempfile.TemporaryDirectory() as scratch:
        # Debian's pyconfig.h includes <x86_64-linux-gnu/python3.X/pyconfig.h>; the rest of that root's
        # /usr/include must stay out of this machine's compiler.
        Path(scratch, MULTIARCH).mkdir()
        Path(scratch, MULTIARCH, include.name).symlink_to(include.parent / MULTIARCH / include.name)
        folders = [f"-I{folder}" for folder in (include, include / "internal", scratch)]
        source, binary = Path(scratch, "layout.c"), Path(scratch, "layout")
        source.write_text(_PROLOGUE)
        _compile(["-g", "-fno-eliminate-unused-debug-types", "-c", *folders, str(source), "-o", str(binary)])
        listed, _ = dwarf.read(binary, wanted)
        source.write_text(_PROLOGUE + _program(listed))
        _compile(["-O2", *folders, str(source), "-o", str(binary)])
        lines = subprocess.run([binary], check=True, capture_output=True, text=True).stdout.split("\n")
    fields: dict[str, dict[str, tuple[int, int]]] = {struct: {} for struct in listed.fields}
    sizes: dict[str, int] = {}
    places: dict[str, int] = {}
    for kind, name, member, offset, size in (line.split() for line in lines if line):
        if kind == "field":
            fields[name][member] = (int(offset), int(size))
        elif kind == "struct":
            sizes[name] = int(size)
        else:
            places[name] = int(offset)
    told = dwarf.Layout(fields, sizes, listed.enumerators)
    if told != listed:
        raise dwarf.Disagreement(f"offsetof and DWARF of {include} differ")
    return told, places


def _program(listed: dwarf.Layout) -> str:
    lines = ["int main(void) {"]
    for struct, members in listed.fields.items():
        lines.append(f'printf("struct {struct} - 0 %zu\\n", sizeof({struct}));')
        for member, (_, size) in members.items():
            width = f"sizeof((({struct} *)0)->{member})" if size else "(size_t)0"  # no sizeof a flexible array
            lines.append(f'printf("field {struct} {member} %zu %zu\\n", offsetof({struct}, {member}), {width});')
    for name, first, last, expression in PLACES:
        guard = f"(PY_VERSION_HEX >> 16) >= {first:#x} && (PY_VERSION_HEX >> 16) <= {last:#x}"
        lines += [f"#if {guard}", f'printf("place {name} - %td 0\\n", (ptrdiff_t)({expression}));', "#endif"]
    return "\n".join((*lines, "return 0; }", ""))


def _compile(arguments: list[str]) -> None:
    done = subprocess.run(["cc", "-w", "-DNDEBUG", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompilerError(done.stderr)
