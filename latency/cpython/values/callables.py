"""What a program is made of: functions, methods, classes, modules, generators, code; and its exceptions."""

from __future__ import annotations

from latency.cpython.values.containers import dict_items, tuple_
from latency.cpython.values.instances import attributes_of, class_name
from latency.cpython.values.memory import Unreadable
from latency.cpython.values.scalars import name, string
from latency.cpython.values.types import c_string
from latency.cpython.values.walk import Object, Walk

_LOADERS = {"BuiltinImporter": "built-in", "FrozenImporter": "frozen"}  # of importlib
_MOST_GLOBALS = 100  # of a module, looked through for what the import system put there first


def function(walk: Walk, found: Object) -> str:
    """A function of Python's."""
    return f"<function {name(walk, walk.member(found, 'function.qualname'))} at {found.address:#x}>"


def method(walk: Walk, found: Object) -> str:
    """A bound method: its function's name, and what it is bound to."""
    callee = walk.object(walk.member(found, "method.function"))
    if callee.type.kind == "function":
        called = name(walk, walk.member(callee, "function.qualname"))
    elif callee.type.kind in ("builtin_function_or_method", "builtin_method"):
        called = _called(walk, walk.member(callee, "cfunction.def"))
    else:
        return f"<method at {found.address:#x}>"
    text = f"<bound method {called} of "
    bound = walk.member(found, "method.self")
    return walk.inside(found, text + "...>", text + "…>", lambda: f"{text}{walk.value(bound)}>")


def builtin(walk: Walk, found: Object) -> str:
    """A function or a bound method of C's."""
    called = _called(walk, walk.member(found, "cfunction.def"))
    bound = walk.member(found, "cfunction.self")
    owner = walk.object(bound).type if bound else None
    if owner is None or owner.kind == "module":
        return f"<built-in function {called}>"
    return f"<built-in method {called} of {owner.name} object at {bound:#x}>"


def _called(walk: Walk, definition: int) -> str:
    """What C calls a function, in its static ``PyMethodDef``."""
    with walk.of_classes():
        return c_string(walk.read_some, walk.words(definition + walk.offsets["methoddef.name"], 1)[0])


def class_(walk: Walk, found: Object) -> str:
    """A class, by its name, whatever its metaclass would say."""
    return f"<class '{class_name(walk, walk.type(found.address))}'>"


def generator(walk: Walk, found: Object) -> str:
    """A generator, a coroutine or an asynchronous generator."""
    qualname = name(walk, walk.member(found, "gen.qualname"))
    return f"<{found.type.name} object {qualname} at {found.address:#x}>"


def code(walk: Walk, found: Object) -> str:
    """A code object."""
    called, filename = (name(walk, walk.member(found, f"code.{part}")) for part in ("name", "filename"))
    line = walk.member(found, "code.firstlineno", signed=True)
    return f'<code object {called} at {found.address:#x}, file "{filename}", line {line}>'


def exception(walk: Walk, found: Object) -> str:
    """An exception: its class and its arguments."""
    label = found.type.name.rpartition(".")[2]
    args = walk.object(walk.member(found, "exception.args"))
    if args.type.kind != "tuple":
        raise Unreadable

    def render() -> str:
        if walk.size(args) == 1 and walk.known.minor >= 7:
            return f"{label}({walk.value(walk.words(args.address + walk.offsets['tuple.items'], 1)[0])})"
        return label + tuple_(walk, args)

    return walk.inside(found, f"{label}(...)", f"{label}(…)", render)


def module(walk: Walk, found: Object) -> str:
    """A module, and where it comes from (_module_repr in Lib/importlib/_bootstrap.py)."""
    globals_ = _globals(walk, walk.object(walk.member(found, "module.dict")))
    spec = globals_.get("__spec__", 0)
    if spec and spec not in walk.known.singletons:
        parts = dict(attributes_of(walk, walk.object(spec)))
        called, origin = _string(walk, parts.get("name", 0)), _string(walk, parts.get("origin", 0))
        loader = parts.get("loader", 0)
        if called and not origin and loader and loader not in walk.known.singletons:  # sys and builtins, to 3.8
            kind = _LOADERS.get(walk.type(loader).name) if walk.object(loader).type.kind == "type" else None
            return f"<module {called} ({kind})>" if kind else f"<module {called}>"
        if called and origin:
            has_location = walk.known.singletons.get(parts.get("_set_fileattr", 0)) == "True"
            return f"<module {called} from {origin}>" if has_location else f"<module {called} ({origin[1:-1]})>"
    called, filename = _string(walk, globals_.get("__name__", 0)), _string(walk, globals_.get("__file__", 0))
    if not called:
        return f"<module at {found.address:#x}>"
    return f"<module {called} from {filename}>" if filename else f"<module {called}>"


def _globals(walk: Walk, found: Object) -> dict[str, int]:
    """The first of a module's globals, which are those that the import system sets."""
    globals_: dict[str, int] = {}
    for (key, value), _ in zip(dict_items(walk, found), range(_MOST_GLOBALS), strict=False):
        called = walk.object(key)
        if called.type.kind == "str":
            globals_[name(walk, key)] = value
    return globals_


def _string(walk: Walk, address: int) -> str:
    """The ``repr`` of a ``str``; ``""`` if there is another object, or none."""
    if not address or address in walk.known.singletons:
        return ""
    found = walk.object(address)
    return string(walk, found) if found.type.kind == "str" else ""
