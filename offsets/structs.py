"""Which structs and members the tables hold, by CPython's own names; what a version lacks is not in its table."""

from __future__ import annotations

# None: every member. Otherwise these only (a name also takes in what is nested in it: "threads.head").
STRUCTS: dict[str, tuple[str, ...] | None] = {
    "PyObject": ("ob_refcnt", "ob_ref_local", "ob_ref_shared", "ob_type"),
    "PyVarObject": None,
    # Calls
    "PyFrameObject": None,
    "_PyInterpreterFrame": None,
    "CFrame": None,  # 3.10
    "_PyCFrame": None,  # 3.11, 3.12
    "PyCodeObject": None,
    "PyFunctionObject": None,
    "PyMethodObject": None,
    "PyCellObject": None,
    "PyGenObject": None,
    "PyCoroObject": None,
    "PyAsyncGenObject": None,
    # Values
    "PyASCIIObject": None,
    "PyCompactUnicodeObject": None,
    "PyUnicodeObject": None,
    "PyBytesObject": None,
    "PyByteArrayObject": None,
    "PyTupleObject": None,
    "PyListObject": None,
    "PyDictObject": None,
    "PyDictKeysObject": None,
    "PyDictKeyEntry": None,
    "PyDictUnicodeEntry": None,
    "PyDictValues": None,
    "PySetObject": ("fill", "used", "mask", "table", "hash", "finger", "smalltable"),
    "setentry": None,
    "PyLongObject": None,
    "PyFloatObject": None,
    "PyComplexObject": None,
    "PyBaseExceptionObject": None,
    "PyModuleObject": None,
    "PyCFunctionObject": None,
    "PyMethodDef": ("ml_name",),
    "PyWeakReference": ("wr_object",),
    "PyDateTime_Date": None,
    "PyDateTime_Time": None,
    "PyDateTime_DateTime": None,
    "PyDateTime_Delta": None,
    # Types
    "PyTypeObject": (
        *("tp_name", "tp_basicsize", "tp_itemsize", "tp_dealloc", "tp_flags", "tp_methods", "tp_members"),
        *("tp_base", "tp_dict", "tp_dictoffset", "tp_mro", "tp_version_tag"),
    ),
    "PyHeapTypeObject": ("ht_name", "ht_slots", "ht_qualname", "ht_cached_keys", "ht_module"),
    "PyDescrObject": None,
    "PyMemberDescrObject": ("d_member",),
    "PyMemberDef": None,
    # State
    "PyThreadState": (
        *("prev", "next", "interp", "frame", "cframe", "current_frame", "base_frame", "exc_info", "exc_state"),
        *("curexc_type", "curexc_value", "curexc_traceback", "current_exception", "thread_id", "native_thread_id"),
        *("recursion_depth", "recursion_limit", "recursion_remaining", "py_recursion_limit", "py_recursion_remaining"),
        *("c_recursion_remaining", "datastack_chunk", "datastack_top", "datastack_limit", "use_tracing", "tracing"),
        *("root_cframe", "id"),
    ),
    "PyInterpreterState": ("next", "id", "tstate_head", "threads.head", "modules", "imports.modules"),
    "_PyErr_StackItem": None,
    "_PyRuntimeState": ("interpreters.head", "interpreters.main", "gilstate.tstate_current", "debug_offsets"),
    "_Py_DebugOffsets": None,  # 3.13+: the table of offsets that CPython itself carries
}

# What a configuration or a patch release may append to; pylat never steps over one of these.
SIZELESS = frozenset({"PyThreadState", "PyInterpreterState", "_PyRuntimeState"})

# Source files of libpython whose DWARF describes all of them.
UNITS = frozenset(
    f"{stem}.c"
    for stem in (
        *("frameobject", "codeobject", "funcobject", "classobject", "cellobject", "genobject", "unicodeobject"),
        *("bytesobject", "bytearrayobject", "tupleobject", "listobject", "dictobject", "setobject", "longobject"),
        *("floatobject", "complexobject", "exceptions", "moduleobject", "methodobject", "weakrefobject", "typeobject"),
        *("descrobject", "pystate", "pylifecycle"),
    )
)

# Places that CPython computes instead of declaring: (name, first version, last version, C expression).
PLACES: tuple[tuple[str, int, int, str], ...] = (
    ("managed_dict", 0x030B, 0x030B, "(char *)_PyObject_ManagedDictPointer((PyObject *)4096) - (char *)4096"),
    ("managed_values", 0x030B, 0x030B, "(char *)_PyObject_ValuesPointer((PyObject *)4096) - (char *)4096"),
    ("managed_dict", 0x030C, 0x030C, "(char *)_PyObject_DictOrValuesPointer((PyObject *)4096) - (char *)4096"),
    ("managed_dict", 0x030D, 0xFFFF, "(char *)_PyObject_ManagedDictPointer((PyObject *)4096) - (char *)4096"),
)
