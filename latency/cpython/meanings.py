"""What a place in CPython's memory means to pylat, and what CPython calls it.

A meaning (``"frame.code"``) is the first of its candidates that a version's table has: so the code asks whether a
member is there, not which version it is. Candidates are ``"<struct>.<member>"``; ``sizeof`` is the struct's own size.
A meaning that no candidate answers is absent in that version (``"frame.owner"`` before 3.11, say).
"""

from __future__ import annotations

_IFRAME = "_PyInterpreterFrame"  # 3.11+

MEANINGS: dict[str, tuple[str, ...]] = {
    # A running call: _PyInterpreterFrame from 3.11, PyFrameObject before.
    "frame.code": (f"{_IFRAME}.f_executable", f"{_IFRAME}.f_code", "PyFrameObject.f_code"),
    "frame.previous": (f"{_IFRAME}.previous", "PyFrameObject.f_back"),
    "frame.localsplus": (f"{_IFRAME}.localsplus", "PyFrameObject.f_localsplus"),
    "frame.globals": (f"{_IFRAME}.f_globals", "PyFrameObject.f_globals"),
    "frame.function": (f"{_IFRAME}.f_funcobj", f"{_IFRAME}.f_func"),
    # Three kinds under one name; the three below tell them apart.
    "frame.instr": (f"{_IFRAME}.instr_ptr", f"{_IFRAME}.prev_instr", "PyFrameObject.f_lasti"),
    "frame.instr_ptr": (f"{_IFRAME}.instr_ptr",),  # 3.13+: address of the current or next unit
    "frame.prev_instr": (f"{_IFRAME}.prev_instr",),  # 3.11, 3.12: address of the last unit executed
    "frame.tlbc_index": (f"{_IFRAME}.tlbc_index",),  # 3.14+, free-threaded: which copy of the units it runs
    "frame.lasti": ("PyFrameObject.f_lasti",),  # to 3.10: int; in bytes to 3.9, in units in 3.10
    "frame.owner": (f"{_IFRAME}.owner",),
    "frame.frame_obj": (f"{_IFRAME}.frame_obj",),
    "frame.return_offset": (f"{_IFRAME}.return_offset",),
    "frame.is_entry": (f"{_IFRAME}.is_entry",),  # 3.11
    "frame.stacktop": (f"{_IFRAME}.stacktop", "PyFrameObject.f_stacktop"),  # int 3.11-3.13, pointer to 3.9
    "frame.stackpointer": (f"{_IFRAME}.stackpointer",),  # 3.14+
    "frame.stackdepth": ("PyFrameObject.f_stackdepth",),  # 3.10
    "frame.executing": ("PyFrameObject.f_executing",),  # 3.6-3.9
    "frame.state": ("PyFrameObject.f_state",),  # 3.10
    "frame.blocks": ("PyFrameObject.f_iblock",),  # to 3.10: int; of "try", "with" and, to 3.7, loops
    "frame.gen": ("PyFrameObject.f_gen",),  # to 3.10
    "frame.sizeof": (f"{_IFRAME}.sizeof", "PyFrameObject.sizeof"),
    "pyframe.f_frame": ("PyFrameObject.f_frame",),  # 3.11+: from the frame object to the frame
    # Code objects
    **{
        f"code.{name}": (f"PyCodeObject.co_{name}",)
        for name in (
            *("filename", "name", "qualname", "flags", "argcount", "posonlyargcount", "kwonlyargcount", "nlocals"),
            *("nlocalsplus", "firstlineno", "consts", "names", "varnames", "cellvars", "freevars", "localsplusnames"),
            *("localspluskinds", "stacksize", "framesize", "linetable", "lnotab", "exceptiontable", "extra", "version"),
        )
    },
    "code.code_bytes": ("PyCodeObject.co_code_adaptive", "PyCodeObject.co_code"),
    "code.code_adaptive": ("PyCodeObject.co_code_adaptive",),  # 3.11+: the units begin here
    "code.code_object": ("PyCodeObject.co_code",),  # to 3.10: pointer to a bytes object
    "code.tlbc": ("PyCodeObject.co_tlbc",),  # 3.14+, free-threaded: the copies of the units, one for each thread
    "code.first_traceable": ("PyCodeObject._co_firsttraceable",),  # 3.11+: index of the first RESUME unit
    "code.sizeof": ("PyCodeObject.sizeof",),
    # Every object
    "object.refcnt": ("PyObject.ob_refcnt",),
    "object.ref_local": ("PyObject.ob_ref_local",),  # free-threaded: those of the thread that owns the object
    "object.ref_shared": ("PyObject.ob_ref_shared",),  # those of all others, above two flags
    "object.type": ("PyObject.ob_type",),
    "object.sizeof": ("PyObject.sizeof",),
    "var.size": ("PyVarObject.ob_size",),
    "var.sizeof": ("PyVarObject.sizeof",),
    # Text
    "unicode.length": ("PyASCIIObject.length",),
    "unicode.state": ("PyASCIIObject.state",),
    "unicode.ascii_data": ("PyASCIIObject.sizeof",),
    "unicode.compact_data": ("PyCompactUnicodeObject.sizeof",),
    "unicode.utf8": ("PyCompactUnicodeObject.utf8",),
    "unicode.utf8_length": ("PyCompactUnicodeObject.utf8_length",),
    "unicode.data_any": ("PyUnicodeObject.data.any",),
    "unicode.sizeof": ("PyUnicodeObject.sizeof",),
    "bytes.data": ("PyBytesObject.ob_sval",),
    "bytes.sizeof": ("PyBytesObject.sizeof",),
    "bytearray.start": ("PyByteArrayObject.ob_start",),
    # Numbers
    "long.tag": ("PyLongObject.long_value.lv_tag",),  # 3.12+; before, the sign and length are var.size
    "long.digits": ("PyLongObject.long_value.ob_digit", "PyLongObject.ob_digit"),
    "long.sizeof": ("PyLongObject.sizeof",),
    "float.value": ("PyFloatObject.ob_fval",),
    "float.sizeof": ("PyFloatObject.sizeof",),
    "complex.real": ("PyComplexObject.cval.real",),
    "complex.imag": ("PyComplexObject.cval.imag",),
    # Containers
    "tuple.items": ("PyTupleObject.ob_item",),
    "tuple.sizeof": ("PyTupleObject.sizeof",),
    "list.items": ("PyListObject.ob_item",),
    "list.size": ("PyVarObject.ob_size",),
    "list.allocated": ("PyListObject.allocated",),
    "list.sizeof": ("PyListObject.sizeof",),
    "dict.used": ("PyDictObject.ma_used",),
    "dict.keys": ("PyDictObject.ma_keys",),
    "dict.values": ("PyDictObject.ma_values",),
    "dict.sizeof": ("PyDictObject.sizeof",),
    "keys.size": ("PyDictKeysObject.dk_size",),  # to 3.10
    "keys.log2_size": ("PyDictKeysObject.dk_log2_size",),  # 3.11+
    "keys.log2_index_bytes": ("PyDictKeysObject.dk_log2_index_bytes",),  # 3.11+
    "keys.kind": ("PyDictKeysObject.dk_kind",),  # 3.11+: 0 general, 1 unicode, 2 split
    "keys.usable": ("PyDictKeysObject.dk_usable",),
    "keys.nentries": ("PyDictKeysObject.dk_nentries",),
    "keys.indices": ("PyDictKeysObject.dk_indices",),
    "entry.hash": ("PyDictKeyEntry.me_hash",),
    "entry.key": ("PyDictKeyEntry.me_key",),
    "entry.value": ("PyDictKeyEntry.me_value",),
    "entry.sizeof": ("PyDictKeyEntry.sizeof",),
    "unicode_entry.key": ("PyDictUnicodeEntry.me_key",),
    "unicode_entry.value": ("PyDictUnicodeEntry.me_value",),
    "unicode_entry.sizeof": ("PyDictUnicodeEntry.sizeof",),
    "values.items": ("PyDictValues.values",),
    "values.capacity": ("PyDictValues.capacity",),
    "values.size": ("PyDictValues.size",),
    "values.valid": ("PyDictValues.valid",),
    "set.fill": ("PySetObject.fill",),
    "set.used": ("PySetObject.used",),
    "set.mask": ("PySetObject.mask",),
    "set.table": ("PySetObject.table",),
    "set.sizeof": ("PySetObject.sizeof",),
    "setentry.key": ("setentry.key",),
    "setentry.hash": ("setentry.hash",),
    "setentry.sizeof": ("setentry.sizeof",),
    # Types
    **{
        f"type.{name}": (f"PyTypeObject.tp_{name}",)
        for name in (
            *("name", "basicsize", "itemsize", "dealloc", "flags", "methods", "members"),
            *("base", "dict", "dictoffset", "mro", "version_tag"),
        )
    },
    "type.sizeof": ("PyTypeObject.sizeof",),
    **{f"heaptype.{name}": (f"PyHeapTypeObject.ht_{name}",) for name in ("name", "qualname", "slots", "module")},
    "heaptype.cached_keys": ("PyHeapTypeObject.ht_cached_keys",),
    "heaptype.sizeof": ("PyHeapTypeObject.sizeof",),
    "descr.type": ("PyDescrObject.d_type",),
    "descr.name": ("PyDescrObject.d_name",),
    "memberdescr.member": ("PyMemberDescrObject.d_member",),
    **{f"memberdef.{name}": (f"PyMemberDef.{name}",) for name in ("name", "type", "offset", "flags", "sizeof")},
    # Functions, methods and other things that people pass around
    **{
        f"function.{name}": (f"PyFunctionObject.func_{name}",)
        for name in ("code", "name", "qualname", "module", "globals", "defaults", "kwdefaults", "closure", "dict")
    },
    "method.function": ("PyMethodObject.im_func",),
    "method.self": ("PyMethodObject.im_self",),
    "cfunction.def": ("PyCFunctionObject.m_ml",),
    "cfunction.self": ("PyCFunctionObject.m_self",),
    "cfunction.module": ("PyCFunctionObject.m_module",),
    "methoddef.name": ("PyMethodDef.ml_name",),
    "cell.value": ("PyCellObject.ob_ref",),
    "weakref.object": ("PyWeakReference.wr_object",),
    "module.dict": ("PyModuleObject.md_dict",),
    "module.name": ("PyModuleObject.md_name",),
    **{
        f"exception.{name}": (f"PyBaseExceptionObject.{name}",)
        for name in ("dict", "args", "traceback", "context", "cause")
    },
    "date.data": ("PyDateTime_Date.data",),
    "time.data": ("PyDateTime_Time.data",),
    "time.has_tzinfo": ("PyDateTime_Time.hastzinfo",),
    "time.tzinfo": ("PyDateTime_Time.tzinfo",),
    "time.fold": ("PyDateTime_Time.fold",),
    "datetime.data": ("PyDateTime_DateTime.data",),
    "datetime.has_tzinfo": ("PyDateTime_DateTime.hastzinfo",),
    "datetime.tzinfo": ("PyDateTime_DateTime.tzinfo",),
    "datetime.fold": ("PyDateTime_DateTime.fold",),
    **{f"timedelta.{name}": (f"PyDateTime_Delta.{name}",) for name in ("days", "seconds", "microseconds")},
    # Generators, coroutines and async generators share one head
    "gen.frame": ("PyGenObject.gi_frame",),  # to 3.10: pointer to the frame object
    "gen.iframe": ("PyGenObject.gi_iframe",),  # 3.11+: the frame itself
    "gen.frame_state": ("PyGenObject.gi_frame_state",),  # 3.11+: int8, see Offsets.constants["FRAME_…"]
    "gen.running": ("PyGenObject.gi_running",),  # to 3.9
    "gen.code": ("PyGenObject.gi_code",),  # to 3.11
    "gen.name": ("PyGenObject.gi_name",),
    "gen.qualname": ("PyGenObject.gi_qualname",),
    "gen.sizeof": ("PyGenObject.sizeof",),
    # Threads, interpreters, the runtime
    "tstate.frame": (  # the top frame; in 3.11 and 3.12 of a _PyCFrame that holds it: "cframe.current_frame"
        *("PyThreadState.current_frame", "PyThreadState.frame", "PyThreadState.cframe"),
    ),
    "tstate.cframe": ("PyThreadState.cframe",),  # 3.10-3.12
    "cframe.current_frame": ("_PyCFrame.current_frame",),  # 3.11, 3.12
    "tstate.prev": ("PyThreadState.prev",),
    "tstate.next": ("PyThreadState.next",),
    "tstate.interp": ("PyThreadState.interp",),
    "tstate.curexc": ("PyThreadState.current_exception", "PyThreadState.curexc_type"),
    "tstate.exc_info": ("PyThreadState.exc_info",),
    "tstate.exc_state": ("PyThreadState.exc_state",),
    "tstate.thread_id": ("PyThreadState.thread_id",),  # pthread_self()
    "tstate.native_thread_id": ("PyThreadState.native_thread_id",),  # 3.11+: the kernel's tid
    "tstate.recursion": (
        *("PyThreadState.py_recursion_remaining", "PyThreadState.recursion_remaining", "PyThreadState.recursion_depth"),
    ),
    "tstate.datastack_chunk": ("PyThreadState.datastack_chunk",),
    "tstate.base_frame": ("PyThreadState.base_frame",),  # 3.15+
    "interp.next": ("PyInterpreterState.next",),
    "interp.id": ("PyInterpreterState.id",),
    "interp.tstate_head": ("PyInterpreterState.threads.head", "PyInterpreterState.tstate_head"),
    "interp.modules": ("PyInterpreterState.imports.modules", "PyInterpreterState.modules"),
    "runtime.interpreters_head": ("_PyRuntimeState.interpreters.head",),
    "runtime.interpreters_main": ("_PyRuntimeState.interpreters.main",),
    "runtime.tstate_current": ("_PyRuntimeState.gilstate.tstate_current",),  # 3.7-3.11; thread-local after that
}

# Where an instance's attributes hang, relative to the object: CPython computes these. Negative: before the object.
PLACES: dict[str, str] = {
    "object.managed_dict": "managed_dict",  # 3.11+: pointer to the dict; 3.12: if odd, plus one: to PyDictValues
    "object.managed_values": "managed_values",  # 3.11: pointer to PyDictValues; 3.13+: these lie at type.basicsize
}
