"""What a build's symbols tell of its types: an object is what the address of its type says, whatever it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from latency.cpython.offsets import Offsets
from latency.cpython.values.memory import Memory
from latency.errors import ReadFault, UnsupportedBuild
from latency.target.build import Build

# PyTypeObject.tp_repr is the fifth slot after tp_dealloc: tp_vectorcall_offset, tp_getattr, tp_setattr, tp_as_async
# (tp_print and tp_as_sync by their older names). Extensions compiled for one version depend on it, so it cannot move.
_REPR_AFTER_DEALLOC = 5 * 8

_SINGLETONS = {
    "_Py_NoneStruct": "None",
    "_Py_TrueStruct": "True",
    "_Py_FalseStruct": "False",
    "_Py_EllipsisObject": "Ellipsis",
    "_Py_NotImplementedStruct": "NotImplemented",
}

# symbol -> Python's name. Those of the second dict are not in every version.
_TYPES = {
    "PyBaseObject_Type": "object",
    "PyType_Type": "type",
    "PyLong_Type": "int",
    "PyFloat_Type": "float",
    "PyComplex_Type": "complex",
    "PyUnicode_Type": "str",
    "PyBytes_Type": "bytes",
    "PyByteArray_Type": "bytearray",
    "PyTuple_Type": "tuple",
    "PyList_Type": "list",
    "PyDict_Type": "dict",
    "PySet_Type": "set",
    "PyFrozenSet_Type": "frozenset",
    "PyFunction_Type": "function",
    "PyMethod_Type": "method",
    "PyCFunction_Type": "builtin_function_or_method",
    "PyModule_Type": "module",
    "PyGen_Type": "generator",
    "PyCoro_Type": "coroutine",
    "PyAsyncGen_Type": "async_generator",
    "PyCode_Type": "code",
    "PyCell_Type": "cell",
}
_NEWER_TYPES = {"PyCMethod_Type": "builtin_method", "PyFrozenDict_Type": "frozendict"}  # 3.9, 3.15

# The types of datetime are static too, but in an extension module, whose symbols may be stripped.
NAMED = frozenset(f"datetime.{name}" for name in ("date", "time", "datetime", "timedelta", "timezone"))


@dataclass(frozen=True)
class Known:
    """The static objects of a build, by their addresses in the process.

    Attributes:
        offsets: of the build.
        minor: 12 for CPython 3.12.
        singletons: the text of each.
        types: the name of each type.
        reprs: by the name of a type, its ``tp_repr``.
        repr_offset: of ``tp_repr`` in a type, in bytes.
    """

    offsets: Offsets
    minor: int
    singletons: Mapping[int, str]
    types: Mapping[int, str]
    reprs: Mapping[str, int]
    repr_offset: int

    @classmethod
    def of(cls, memory: Memory, build: Build, offsets: Offsets) -> Known:
        """Looks the symbols up, and reads from the process what they do not tell.

        Raises:
            UnsupportedBuild: a symbol is missing.
            ReadFault, TargetGone, NoPrivilege
        """

        def word(address: int) -> int:
            data = memory.read_some(address, 8)
            if len(data) != 8:
                raise ReadFault(f"cannot read the type of CPython at {address:#x}")
            return int.from_bytes(data, "little")

        types = {build.address(symbol): name for symbol, name in _TYPES.items()}
        for symbol, name in _NEWER_TYPES.items():
            try:
                types[build.address(symbol)] = name
            except UnsupportedBuild:
                continue
        types[word(build.address("PyExc_BaseException"))] = "BaseException"  # the symbol is a pointer
        repr_offset = offsets["type.dealloc"] + _REPR_AFTER_DEALLOC
        return cls(
            offsets=offsets,
            minor=build.version[1],
            singletons={build.address(symbol): text for symbol, text in _SINGLETONS.items()},
            types=types,
            reprs={name: word(address + repr_offset) for address, name in types.items()},
            repr_offset=repr_offset,
        )
