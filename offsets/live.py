"""Asks a running CPython (3.6 and later) whether a table holds in its own memory; sent to it as ``python3 -c``.

Reads the table from standard input, looks through ctypes where the table says something lies, and compares with what
Python itself says of it. Prints ``{"right": ["PyCodeObject.co_name", …], "wrong": []}``.
"""
# ruff: noqa: I002  (this runs on 3.6, which has no annotations to import)

import collections
import ctypes
import datetime
import gc
import json
import sys
import threading
import types
import weakref

TABLE = json.load(sys.stdin)
STRUCTS = TABLE["structs"]
PLACES = TABLE["places"]
CONSTANTS = TABLE["constants"]
TAGGED = "f_executable.bits" in STRUCTS.get("_PyInterpreterFrame", {})  # 3.14+
UNSIGNED = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}
right = []
wrong = []


def has(struct, member):
    return member in STRUCTS.get(struct, {})


def peek(address, size=8):
    return UNSIGNED[size].from_address(address).value


def get(address, struct, member, signed=False):
    """The value of a member, by the table."""
    offset, size = STRUCTS[struct][member]
    value = peek(address + offset, size)
    return value - (1 << 8 * size) if signed and value >> (8 * size - 1) else value


def claim(struct, member, holds):
    (right if holds else wrong).append(struct + "." + member)


def same(obj, struct, **members):
    """For each member that the version has: it holds this number, or points to this object."""
    for member, value in members.items():
        member = member.replace("__", ".")
        if has(struct, member):
            wanted = value if isinstance(value, int) and not isinstance(value, bool) else id(value)
            claim(struct, member, get(id(obj), struct, member) == wanted)


def size_of(kind, struct):
    if has(struct, "sizeof"):
        claim(struct, "sizeof", kind.__basicsize__ == STRUCTS[struct]["sizeof"])


def untag(pointer):
    return pointer & ~3 if TAGGED else pointer


def code_objects():
    def function(first_argument, second, *, keyword=1):
        local = [first_argument, second, keyword]
        return lambda: local

    code = function.__code__
    numbers = {
        name: getattr(code, name) for name in dir(code) if name.startswith("co_") and type(getattr(code, name)) is int
    }
    same(code, "PyCodeObject", **numbers)
    same(code, "PyCodeObject", co_filename=code.co_filename, co_name=code.co_name, co_consts=code.co_consts)
    same(code, "PyCodeObject", co_names=code.co_names, co_qualname=getattr(code, "co_qualname", None))
    if has("PyCodeObject", "co_code_adaptive"):
        first = STRUCTS["PyCodeObject"]["co_code_adaptive"][0]
        claim("PyCodeObject", "co_code_adaptive", ctypes.string_at(id(code) + first, 2) == code.co_code[:2])
        names = get(id(code), "PyCodeObject", "co_localsplusnames")
        item = get(names, "PyTupleObject", "ob_item")
        claim("PyCodeObject", "co_localsplusnames", item == id(sys.intern("first_argument")))
        kinds = get(id(code), "PyCodeObject", "co_localspluskinds")
        claim("PyCodeObject", "co_localspluskinds", get(kinds, "PyVarObject", "ob_size") == 4)
        claim("PyCodeObject", "co_nlocalsplus", get(id(code), "PyCodeObject", "co_nlocalsplus") == 4)
    else:
        same(code, "PyCodeObject", co_code=code.co_code, co_varnames=code.co_varnames)
        same(code, "PyCodeObject", co_cellvars=code.co_cellvars, co_freevars=code.co_freevars)
    if has("PyCodeObject", "co_tlbc"):  # free-threaded, 3.14+: a size, and the address of each copy of the units
        copies = get(id(code), "PyCodeObject", "co_tlbc")
        claim("PyCodeObject", "co_tlbc", peek(copies + 8) == id(code) + STRUCTS["PyCodeObject"]["co_code_adaptive"][0])
    same(function, "PyFunctionObject", func_code=code, func_name=function.__name__, func_globals=globals())
    same(function, "PyFunctionObject", func_qualname=function.__qualname__, func_module=function.__module__)
    same(function, "PyFunctionObject", func_kwdefaults=function.__kwdefaults__, func_dict=function.__dict__)
    closure = (lambda: function).__closure__
    same(closure[0], "PyCellObject", ob_ref=function)
    (lambda f: same(f, "PyFunctionObject", func_closure=f.__closure__, func_defaults=f.__defaults__))(
        lambda x=closure: function
    )


def frames(argument):
    frame = sys._getframe()
    if has("PyFrameObject", "f_frame"):
        struct, address = "_PyInterpreterFrame", get(id(frame), "PyFrameObject", "f_frame")
        code, previous = "f_executable" if has(struct, "f_executable") else "f_code", "previous"
        local = "localsplus"
        for owner, member in (("PyFrameObject", "f_frame"), (struct, "frame_obj")):
            claim(owner, member, get(address, struct, "frame_obj") == id(frame))
        function = "f_funcobj" if has(struct, "f_funcobj") else "f_func"
        claim(struct, function, untag(get(address, struct, function)) == id(frames))
        above = get(id(frame.f_back), "PyFrameObject", "f_frame")
        claim(struct, "owner", get(address, struct, "owner") == CONSTANTS["FRAME_OWNED_BY_THREAD"])
        member = "instr_ptr" if has(struct, "instr_ptr") else "prev_instr"
        instr = get(address, struct, member)
        units = id(frame.f_code) + STRUCTS["PyCodeObject"]["co_code_adaptive"][0]
        claim(struct, member, units <= instr < units + len(frame.f_code.co_code))
        if has(struct, "tlbc_index"):
            claim(struct, "tlbc_index", get(address, struct, "tlbc_index") == 0)  # of the first thread
        claim(struct, "f_globals", get(address, struct, "f_globals") == id(frame.f_globals))
    else:
        struct, address, code, previous = "PyFrameObject", id(frame), "f_code", "f_back"
        local = "f_localsplus"
        above = id(frame.f_back)
        scale = 2 if has(struct, "f_state") else 1  # 3.10 counts units
        lasti = get(address, struct, "f_lasti") * scale  # read first: Python's own reading happens later
        claim(struct, "f_lasti", 0 <= lasti < frame.f_lasti)
        if has(struct, "f_executing"):
            claim(struct, "f_executing", get(address, struct, "f_executing") == 1)
        if has(struct, "f_state"):
            claim(struct, "f_state", get(address, struct, "f_state") == CONSTANTS["FRAME_EXECUTING"])
    claim(struct, code, untag(get(address, struct, code)) == id(frame.f_code))
    claim(struct, previous, get(address, struct, previous) == above)
    claim(struct, local, untag(get(address, struct, local)) == id(argument))
    return address


def threads(frame):
    """``frame`` is the address of a frame that is running further up this thread."""
    api = ctypes.pythonapi
    api.PyThreadState_Get.restype = ctypes.c_void_p
    api.PyInterpreterState_Head.restype = ctypes.c_void_p
    tstate, interp = api.PyThreadState_Get(), api.PyInterpreterState_Head()
    claim("PyThreadState", "interp", get(tstate, "PyThreadState", "interp") == interp)
    claim("PyThreadState", "thread_id", get(tstate, "PyThreadState", "thread_id") == threading.get_ident())
    if has("PyThreadState", "native_thread_id"):
        native = get(tstate, "PyThreadState", "native_thread_id")
        claim("PyThreadState", "native_thread_id", native == threading.get_native_id())
    if has("_PyCFrame", "current_frame"):
        member, address = "cframe", get(get(tstate, "PyThreadState", "cframe"), "_PyCFrame", "current_frame")
    else:
        member = "current_frame" if has("PyThreadState", "current_frame") else "frame"
        address = get(tstate, "PyThreadState", member)
    struct = "_PyInterpreterFrame" if "_PyInterpreterFrame" in STRUCTS else "PyFrameObject"
    for _ in range(9):
        if address != frame:
            address = get(address, struct, "previous" if has(struct, "previous") else "f_back")
    claim("PyThreadState", member, address == frame)
    head = "threads.head" if has("PyInterpreterState", "threads.head") else "tstate_head"
    claim("PyInterpreterState", head, get(interp, "PyInterpreterState", head) == tstate)
    claim("PyInterpreterState", "next", get(interp, "PyInterpreterState", "next") == 0)
    claim("PyThreadState", "next", get(tstate, "PyThreadState", "next") == 0)
    modules = "modules" if has("PyInterpreterState", "modules") else "imports.modules"
    claim("PyInterpreterState", modules, get(interp, "PyInterpreterState", modules) == id(sys.modules))
    if "_PyRuntimeState" in STRUCTS:
        runtime = ctypes.addressof(ctypes.c_char.in_dll(api, "_PyRuntime"))
        for member in ("interpreters.head", "interpreters.main"):
            claim("_PyRuntimeState", member, get(runtime, "_PyRuntimeState", member) == interp)
        if has("_PyRuntimeState", "gilstate.tstate_current"):
            current = get(runtime, "_PyRuntimeState", "gilstate.tstate_current")
            # ctypes released the GIL for PyThreadState_Get, but not for reading memory.
            claim("_PyRuntimeState", "gilstate.tstate_current", current == tstate)


def generators():
    def generator():
        seen = []
        seen.append(sys._getframe())
        yield seen

    gen = generator()
    frame = next(gen)[0]
    same(gen, "PyGenObject", gi_name=gen.__name__, gi_qualname=gen.__qualname__, gi_code=gen.gi_code)
    if has("PyGenObject", "gi_iframe"):
        address = id(gen) + STRUCTS["PyGenObject"]["gi_iframe"][0]
        claim("PyGenObject", "gi_iframe", get(id(frame), "PyFrameObject", "f_frame") == address)
        owner = get(address, "_PyInterpreterFrame", "owner")
        claim("_PyInterpreterFrame", "owner", owner == CONSTANTS["FRAME_OWNED_BY_GENERATOR"])
        state = get(id(gen), "PyGenObject", "gi_frame_state", signed=True)
        claim("PyGenObject", "gi_frame_state", state == CONSTANTS["FRAME_SUSPENDED"])
    else:
        claim("PyGenObject", "gi_frame", get(id(gen), "PyGenObject", "gi_frame") == id(gen.gi_frame))
        same(gen, "PyGenObject", gi_running=0)
        if has("PyFrameObject", "f_stacktop"):
            claim("PyFrameObject", "f_stacktop", get(id(frame), "PyFrameObject", "f_stacktop") != 0)
        else:
            state = get(id(frame), "PyFrameObject", "f_state", signed=True)
            claim("PyFrameObject", "f_state", state == CONSTANTS["FRAME_SUSPENDED"])


def text_and_numbers():
    for text, kind in (("latency\x7f" * 3, 1), ("latenc\xff", 1), ("latenc\u0119", 2), ("\U0001f40d", 4)):
        is_ascii = max(text) < "\x80"
        state = get(id(text), "PyASCIIObject", "state") >> (8 if has("PyASCIIObject", "state.interned") else 2)
        claim("PyASCIIObject", "state", (state & 7, state >> 3 & 1, state >> 4 & 1) == (kind, 1, is_ascii))
        claim("PyASCIIObject", "length", get(id(text), "PyASCIIObject", "length") == len(text))
        struct = "PyASCIIObject" if is_ascii else "PyCompactUnicodeObject"
        data = ctypes.string_at(id(text) + STRUCTS[struct]["sizeof"], len(text) * kind)
        coding = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}[kind]
        claim(struct, "sizeof", data.decode(coding) == text)
    ctypes.pythonapi.PyUnicode_AsUTF8.restype = ctypes.c_void_p
    utf8 = ctypes.pythonapi.PyUnicode_AsUTF8(ctypes.py_object(text))
    same(text, "PyCompactUnicodeObject", utf8=utf8, utf8_length=len(text.encode()))

    data = b"some bytes"
    claim("PyBytesObject", "ob_sval", ctypes.string_at(id(data) + STRUCTS["PyBytesObject"]["ob_sval"][0], 10) == data)
    array = bytearray(data)
    claim(
        "PyByteArrayObject", "ob_start", ctypes.string_at(get(id(array), "PyByteArrayObject", "ob_start"), 10) == data
    )

    number = 5 << 30 | 7
    if has("PyLongObject", "long_value.lv_tag"):
        tags = [get(id(n), "PyLongObject", "long_value.lv_tag") & ~4 for n in (number, -number)]
        claim("PyLongObject", "long_value.lv_tag", tags == [2 << 3, 2 << 3 | 2])
        member = "long_value.ob_digit"
    else:
        member = "ob_digit"
    digits = STRUCTS["PyLongObject"][member][0]
    claim("PyLongObject", member, [peek(id(number) + digits, 4), peek(id(number) + digits + 4, 4)] == [7, 5])
    double, pair = 1.25, 2.5 + 0.5j
    at = STRUCTS["PyFloatObject"]["ob_fval"][0]
    claim("PyFloatObject", "ob_fval", ctypes.c_double.from_address(id(double) + at).value == double)
    for name in ("real", "imag"):
        at = STRUCTS["PyComplexObject"]["cval." + name][0]
        claim(
            "PyComplexObject", "cval." + name, ctypes.c_double.from_address(id(pair) + at).value == getattr(pair, name)
        )


def containers():
    first, second = object(), object()
    items = (first, second)
    at = id(items) + STRUCTS["PyTupleObject"]["ob_item"][0]
    claim("PyTupleObject", "ob_item", [peek(at), peek(at + 8)] == [id(first), id(second)])
    claim("PyVarObject", "ob_size", get(id(items), "PyVarObject", "ob_size") == 2)
    items = [first, second]
    at = get(id(items), "PyListObject", "ob_item")
    claim("PyListObject", "ob_item", [peek(at), peek(at + 8)] == [id(first), id(second)])
    claim("PyListObject", "allocated", 2 <= get(id(items), "PyListObject", "allocated") < 99)

    items = {first}
    same(items, "PySetObject", used=1, fill=1, mask=7)
    table, width = get(id(items), "PySetObject", "table"), STRUCTS["setentry"]["sizeof"]
    entries = [table + i * width for i in range(8)]
    claim("setentry", "key", [get(e, "setentry", "key") for e in entries if get(e, "setentry", "key")] == [id(first)])
    claim("setentry", "hash", hash(first) in [get(e, "setentry", "hash", signed=True) for e in entries])

    for key, struct in (("name", "PyDictUnicodeEntry"), (first, "PyDictKeyEntry")):
        items = {key: second}
        same(items, "PyDictObject", ma_used=1, ma_values=0)
        keys = get(id(items), "PyDictObject", "ma_keys")
        claim("PyDictKeysObject", "dk_nentries", get(keys, "PyDictKeysObject", "dk_nentries") == 1)
        claim("PyDictKeysObject", "dk_usable", 0 < get(keys, "PyDictKeysObject", "dk_usable") < 8)
        if has("PyDictKeysObject", "dk_log2_size"):
            claim("PyDictKeysObject", "dk_log2_size", get(keys, "PyDictKeysObject", "dk_log2_size") == 3)
            claim("PyDictKeysObject", "dk_kind", get(keys, "PyDictKeysObject", "dk_kind") == (key == "name"))
            indices = 1 << get(keys, "PyDictKeysObject", "dk_log2_index_bytes")
            claim("PyDictKeysObject", "dk_log2_index_bytes", indices == 8)
        else:
            struct = "PyDictKeyEntry"
            indices = get(keys, "PyDictKeysObject", "dk_size")
            claim("PyDictKeysObject", "dk_size", indices == 8)
        entry = keys + STRUCTS["PyDictKeysObject"]["dk_indices"][0] + indices
        for owner, member in ((struct, "me_key"), ("PyDictKeysObject", "dk_indices")):
            claim(owner, member, get(entry, struct, "me_key") == id(key))
        following = "other" if key == "name" else second
        items[following] = first
        claim(struct, "sizeof", get(entry + STRUCTS[struct]["sizeof"], struct, "me_key") == id(following))
        claim(struct, "me_value", get(entry, struct, "me_value") == id(second))
        if has(struct, "me_hash"):
            claim(struct, "me_hash", get(entry, struct, "me_hash", signed=True) == hash(key))


class Plain:
    """A heap type with a dictionary."""

    def __init__(self):
        self.attribute = Plain


class Slotted:
    __slots__ = ("slot",)


def type_objects():
    for kind in (Plain, int, collections.OrderedDict):
        name = ctypes.string_at(get(id(kind), "PyTypeObject", "tp_name")).decode()
        claim("PyTypeObject", "tp_name", name.split(".")[-1] == kind.__name__)
        same(
            kind,
            "PyTypeObject",
            tp_basicsize=kind.__basicsize__,
            tp_itemsize=kind.__itemsize__,
            tp_flags=kind.__flags__,
        )
        same(kind, "PyTypeObject", tp_base=kind.__base__, tp_mro=kind.__mro__)
        offset = get(id(kind), "PyTypeObject", "tp_dictoffset", signed=True)
        claim("PyTypeObject", "tp_dictoffset", offset == kind.__dictoffset__)
    same(Plain, "PyTypeObject", tp_dict=gc.get_referents(Plain.__dict__)[0])
    same(Plain, "PyHeapTypeObject", ht_name=Plain.__name__, ht_qualname=Plain.__qualname__)
    claim("PyHeapTypeObject", "sizeof", type.__basicsize__ == STRUCTS["PyHeapTypeObject"]["sizeof"])
    item = get(get(id(Slotted), "PyHeapTypeObject", "ht_slots"), "PyTupleObject", "ob_item")
    claim("PyHeapTypeObject", "ht_slots", item == id(sys.intern("slot")))
    descriptor = Slotted.slot
    same(descriptor, "PyDescrObject", d_type=Slotted, d_name=descriptor.__name__)
    member, value = get(id(descriptor), "PyMemberDescrObject", "d_member"), Slotted()
    value.slot = descriptor
    at = get(member, "PyMemberDef", "offset")
    for struct, name in (("PyMemberDef", "offset"), ("PyMemberDescrObject", "d_member")):
        claim(struct, name, peek(id(value) + at) == id(descriptor))
    claim("PyMemberDef", "name", ctypes.string_at(get(member, "PyMemberDef", "name")) == b"slot")


def instances():
    value = Plain()
    if "managed_dict" not in PLACES:
        claim("PyTypeObject", "tp_dictoffset", peek(id(value) + Plain.__dictoffset__) == id(value.__dict__))
        return
    word = peek(id(value) + PLACES["managed_dict"])
    if "managed_values" in PLACES:  # 3.11
        values = peek(id(value) + PLACES["managed_values"])
    elif not has("PyDictValues", "capacity"):  # 3.12: one word for both
        claim("places", "managed_dict", word & 1 == 1)
        values = word + 1
        word = 0
    else:
        values = id(value) + Plain.__basicsize__
        claim("PyDictValues", "valid", get(values, "PyDictValues", "valid") == 1)
        claim("PyDictValues", "size", get(values, "PyDictValues", "size") == 1)
    claim("places", "managed_dict", word == 0)
    claim("PyDictValues", "values", peek(values + STRUCTS["PyDictValues"]["values"][0]) == id(Plain))
    keys = get(id(Plain), "PyHeapTypeObject", "ht_cached_keys")
    claim("PyHeapTypeObject", "ht_cached_keys", get(keys, "PyDictKeysObject", "dk_kind") == 2)
    dictionary = value.__dict__
    claim("places", "managed_dict", peek(id(value) + PLACES["managed_dict"]) == id(dictionary))


def others():
    value = Plain()
    method = value.__init__
    same(method, "PyMethodObject", im_func=method.__func__, im_self=value)
    append = [].append
    same(append, "PyCFunctionObject", m_self=append.__self__)
    definition = get(id(append), "PyCFunctionObject", "m_ml")
    for struct, member in (("PyCFunctionObject", "m_ml"), ("PyMethodDef", "ml_name")):
        claim(struct, member, ctypes.string_at(get(definition, "PyMethodDef", "ml_name")) == b"append")
    reference = weakref.ref(value)
    same(reference, "PyWeakReference", wr_object=value)
    same(json, "PyModuleObject", md_dict=json.__dict__, md_name=json.__name__)
    try:
        raise ValueError("why") from KeyError()
    except ValueError as error:
        same(error, "PyBaseExceptionObject", args=error.args, cause=error.__cause__, dict=error.__dict__)
        same(error, "PyBaseExceptionObject", traceback=error.__traceback__, context=0)
    moment = datetime.datetime(2001, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc)
    for struct, when, data in (
        ("PyDateTime_Date", moment.date(), b"\x07\xd1\x02\x03"),
        ("PyDateTime_Time", moment.timetz(), b"\x04\x05\x06\0\0\0"),
        ("PyDateTime_DateTime", moment, b"\x07\xd1\x02\x03\x04\x05\x06\0\0\0"),
    ):
        claim(struct, "data", ctypes.string_at(id(when) + STRUCTS[struct]["data"][0], len(data)) == data)
        if struct != "PyDateTime_Date":
            same(when, struct, hastzinfo=1, tzinfo=datetime.timezone.utc)
    same(datetime.timedelta(3, 4, 5), "PyDateTime_Delta", days=3, seconds=4, microseconds=5)
    counted = object()
    if has("PyObject", "ob_refcnt"):
        claim("PyObject", "ob_refcnt", get(id(counted), "PyObject", "ob_refcnt") == sys.getrefcount(counted) - 1)
    else:  # free-threaded
        claim("PyObject", "ob_ref_local", get(id(counted), "PyObject", "ob_ref_local") == sys.getrefcount(counted) - 1)
        claim("PyObject", "ob_ref_shared", get(id(counted), "PyObject", "ob_ref_shared") == 0)
    claim("PyObject", "ob_type", get(id(counted), "PyObject", "ob_type") == id(object))
    for kind, struct in (
        *((object, "PyObject"), (list, "PyListObject"), (dict, "PyDictObject"), (set, "PySetObject")),
        *((float, "PyFloatObject"), (str, "PyUnicodeObject"), (types.FunctionType, "PyFunctionObject")),
        *((type(json), "PyModuleObject"), (BaseException, "PyBaseExceptionObject")),
    ):
        size_of(kind, struct)


def main():
    code_objects()
    frame = frames(object())
    del frame
    walk(object())
    generators()
    text_and_numbers()
    containers()
    type_objects()
    instances()
    others()
    print(json.dumps({"right": sorted(set(right)), "wrong": sorted(set(wrong))}))


def walk(argument):
    frame = sys._getframe()
    threads(get(id(frame), "PyFrameObject", "f_frame") if has("PyFrameObject", "f_frame") else id(frame))


main()
