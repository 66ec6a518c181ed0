"""Functions that are C, though they have code objects: Cython and Nuitka make these for tracebacks and ``inspect``.

Their calls do not come by the interpreter, so no probe of pylat's sees them. Such a code object holds no constants and
no names; that of a function that CPython compiled has a constant at least, to 3.15 (its docstring, or None).
Comprehensions and generator expressions (``<listcomp>``) have none, and are left out. What mypyc compiles has no code
objects at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from latency.cpython.functions import LiveFunction
from latency.cpython.offsets import Offsets
from latency.target.process import Process

_MOST_NAMED = 5
_MADE_BY_PYTHON = "lib-dynload"
_WORD_BYTES = 8


def compiled_to_c(process: Process, offsets: Offsets, lives: Iterable[LiveFunction]) -> list[LiveFunction]:
    """Those of these functions that are C. Raises TargetGone, NoPrivilege."""
    named = [live for live in lives if not live.function.qualname.rpartition(".")[2].startswith("<")]
    sizes = [_sizes(process, offsets, named, member) for member in ("code.consts", "code.names")]
    return [live for live, *both in zip(named, *sizes, strict=True) if both == [0, 0]]


def remark(functions: Sequence[LiveFunction]) -> str:
    """That no call of these can be seen, in a line; ``""`` for none."""
    if not functions:
        return ""
    names = sorted({live.function.qualname for live in functions})
    more = ", …" if len(names) > _MOST_NAMED else ""
    whose = "is" if len(names) == 1 else "are"
    return (
        f"calls of what is compiled to C (by Cython or Nuitka, say), as {', '.join(names[:_MOST_NAMED])}{more} {whose}"
    )


def extension_modules(process: Process) -> list[str]:
    """The names of the extension modules that are not CPython's own, by the mapped files. Raises TargetError."""
    files = {mapping.path for mapping in process.maps() if mapping.executable and mapping.path.endswith(".so")}
    modules = (file for file in files if ".cpython-" in file or ".abi3." in file)
    return sorted({file.rpartition("/")[2].partition(".")[0] for file in modules if _MADE_BY_PYTHON not in file})


def _sizes(process: Process, offsets: Offsets, lives: Sequence[LiveFunction], member: str) -> list[int | None]:
    """The length of the tuple that is a member of each code object; None where it cannot be read."""
    tuples = [_number(word) for word in process.read_many([it.address + offsets[member] for it in lives], _WORD_BYTES)]
    return [
        _number(word) for word in process.read_many([(it or 0) + offsets["var.size"] for it in tuples], _WORD_BYTES)
    ]


def _number(word: bytes | None) -> int | None:
    return None if word is None else int.from_bytes(word, "little")
