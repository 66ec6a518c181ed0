"""Live functions are found and described: here, those of the tests' own process."""

from __future__ import annotations

import ctypes
import functools
import gc
import mmap
import os
import random
import struct
import sys
import types
from collections import namedtuple
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from latency.cpython import functions
from latency.cpython.functions import LiveFunction, _are_counted, describe, from_capture, kind, live_functions, of_owner
from latency.cpython.offsets import Offsets, load
from latency.cpython.strings import TUPLE_SUBCLASS, column, types_with
from latency.recording import Function
from latency.target.build import Build, identify
from latency.target.heap import objects_of
from latency.target.process import Process

HERE = __name__


class Target(NamedTuple):
    process: Process
    build: Build
    offsets: Offsets


@pytest.fixture(scope="module")
def own() -> Iterator[Target]:
    with Process(os.getpid()) as process:
        build = identify(process)
        yield Target(process, build, load(build.version))


def live(own: Target) -> dict[int, LiveFunction]:
    return {it.address: it for it in live_functions(*own)}


def kept(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Any:
        return function(*arguments)

    return wrapper


class Api:
    def get(self) -> Callable[[], None]:
        def inner() -> None:
            pass

        return inner

    @kept
    def wrapped(self) -> None:
        pass


def generator() -> Iterator[int]:
    yield 1


@types.coroutine
def awaitable() -> Iterator[int]:
    yield 1


async def coroutine() -> None:
    pass


async def async_generator() -> AsyncIterator[int]:
    yield 1


def renamed(**changes: Any) -> types.CodeType:
    """A code object with other strings in it."""
    if sys.version_info >= (3, 11) and "co_name" in changes:
        changes.setdefault("co_qualname", changes["co_name"])
    return generator.__code__.replace(**changes)


def test_every_function_of_the_process_is_found(own: Target) -> None:
    functions = [it for it in gc.get_objects() if isinstance(it, types.FunctionType)]
    found = live(own)
    assert len(functions) > 1000
    for function in functions:
        code = function.__code__
        described = found[id(code)].function
        assert (described.filename, described.line) == (code.co_filename, code.co_firstlineno)
        assert described.qualname.endswith(code.co_name) or described.qualname == function.__qualname__


def test_a_function_has_its_qualname_file_line_and_module(own: Target) -> None:
    code = Api.get.__code__
    function = Function("Api.get", __file__, code.co_firstlineno)
    assert live(own)[id(code)] == LiveFunction(id(code), function, HERE)


def test_a_function_that_was_not_made_yet_has_its_qualname_and_module(own: Target) -> None:
    inner = next(it for it in Api.get.__code__.co_consts if isinstance(it, types.CodeType) and it.co_name == "inner")
    found = live(own)[id(inner)]
    assert (found.function.qualname, found.module) == ("Api.get.<locals>.inner", HERE)


def test_a_wrapper_keeps_its_own_name(own: Target) -> None:
    wrapper, wrapped = Api.wrapped, Api.wrapped.__wrapped__  # type: ignore[attr-defined]
    found = live(own)
    assert found[id(wrapper.__code__)].function.qualname == "kept.<locals>.wrapper"
    assert found[id(wrapped.__code__)].function.qualname == "Api.wrapped"


@dataclass
class Point:
    x: int


@dataclass
class Order:
    x: int


Row = namedtuple("Row", "a b")


def test_a_method_that_a_library_wrote_has_the_name_that_its_function_says(own: Target) -> None:
    found = live(own)
    for method in (Point.__init__, Order.__init__, Row.__new__):
        code = method.__code__  # type: ignore[attr-defined]
        its = found[id(code)]
        assert its.function == Function(
            method.__qualname__, "<string>", code.co_firstlineno, module=str(method.__module__)
        )
        assert its.module == method.__module__


def test_functions_that_share_a_code_object_are_named(own: Target) -> None:
    names = ("get", "put", "kept")
    wrappers = [kept(types.FunctionType(renamed(co_name=name), {}, name)) for name in names]
    owners = live(own)[id(wrappers[0].__code__)].owners
    assert owners is not None
    assert owners.count >= len(names)
    assert live(own)[id(kept.__code__)].owners is None


@pytest.mark.parametrize(
    ("qualname", "filename", "said", "believed"),
    [
        ("__create_fn__.<locals>.__init__", "<string>", "Point.__init__", True),
        ("__init__", "<attrs generated init app.Point>", "Point.__init__", True),
        ("<lambda>", "<string>", "Row.__new__", True),
        ("kept.<locals>.<lambda>", "<string>", "get", False),
        ("kept.<locals>.wrapper", "<stdin>", "get", False),
        ("__init__", "/srv/app.py", "Point.__init__", False),
        ("get", "<frozen abc>", "Api.get", False),
    ],
)
def test_a_function_object_is_believed_of_code_that_the_program_has_written(
    qualname: str, filename: str, said: str, believed: bool
) -> None:
    found = of_owner(Function(qualname, filename, 2), said, "app")
    assert found == (Function(said, filename, 2, module="app") if believed else None)


def test_one_name_may_have_several_code_objects(own: Target) -> None:
    scopes: list[dict[str, Any]] = [{}, {}]
    for scope in scopes:
        exec(compile("def twin(): pass", "twins.py", "exec"), scope)
    twins = {id(scope["twin"].__code__) for scope in scopes}
    assert twins <= {it.address for it in live(own).values() if it.function == Function("twin", "twins.py", 1)}
    assert len(twins) == 2


def test_a_function_that_was_freed_is_gone(own: Target) -> None:
    scope: dict[str, Any] = {}
    exec("def short_lived(): pass", scope)
    assert "short_lived" in {it.function.qualname for it in live(own).values()}
    address = id(scope.pop("short_lived").__code__)
    gc.collect()
    assert address not in live(own) or live(own)[address].function.qualname != "short_lived"


def test_none_of_many_functions_that_were_freed_is_there(own: Target) -> None:
    names = [sys.intern(f"freed_{number}") for number in range(1000)]  # which live on
    scopes: list[dict[str, Any]] = [{} for _ in names]
    for number, scope in enumerate(scopes):
        exec(compile(f"def freed_{number}(): return ({number}, 'a constant')", __file__, "exec"), scope)
    del scopes[1::2], scope  # between those that are kept: where nobody is left, the memory is given back
    gc.collect()
    found = {it.function.qualname for it in live(own).values() if it.function.qualname.startswith("freed_")}
    assert found == set(names[::2])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (Api.get, "function"),
        (generator, "generator"),
        (awaitable, "generator"),
        (coroutine, "coroutine"),
        (async_generator, "async_generator"),
    ],
)
def test_flags_tell_the_kind(function: Callable[..., Any], expected: str) -> None:
    assert kind(function.__code__.co_flags) == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name", ["\x1b]0;owned\x07\x1b[2J", "line\nbreak", "\udcff\ud83d\ude00", "n" * 10_000, "</script>", "名字", ""]
)
def test_a_hostile_name_comes_through_as_it_is(own: Target, name: str) -> None:
    code = renamed(co_name=name, co_filename=name)
    found = describe(*own, id(code))
    assert found == LiveFunction(id(code), Function(name, name, code.co_firstlineno, "generator"), "")
    assert live(own)[id(code)].function == found.function


def test_what_was_read_of_a_process_is_not_found_again_where_it_looks_into_itself(own: Target) -> None:
    """Copies of the objects, and at the next time copies of these."""
    types_ = [own.build.address(f"Py{name}_Type") for name in ("Code", "Function")]

    def lives() -> int:
        return sum(map(len, objects_of(own.process, types_).values()))

    before = lives()
    assert before > 1000
    for _ in range(4):
        live(own)
        assert lives() < 1.5 * before


def test_columns_of_what_was_read_do_not_look_like_objects(own: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of their memory: here nothing is laid over it."""
    kept = []

    def keep(table: np.ndarray[Any, Any], offset: int, size: int) -> np.ndarray[Any, Any]:
        kept.append(column(table, offset, size))
        return kept[-1]

    monkeypatch.setattr(functions, "column", keep)
    types_ = [own.build.address(f"Py{name}_Type") for name in ("Code", "Function")]
    before = sum(map(len, objects_of(own.process, types_).values()))
    live(own)
    assert sum(map(len, objects_of(own.process, types_).values())) < 1.1 * before
    assert sum(map(len, kept)) > before


def test_what_is_no_code_object_is_not_described(own: Target) -> None:
    for address in (0, 1, id(None), id(describe), id("text"), 1 << 47, (1 << 64) - 1):
        assert describe(*own, address) is None


def test_what_only_looks_like_a_code_object_is_left_out(own: Target) -> None:
    """Memory with the right type and everything else wild: random, or pointing into the process at random."""
    chance = random.Random(1)
    size = own.offsets["code.sizeof"]
    targets = [id(it) for it in gc.get_objects()]
    with mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        fakes = range(start, start + len(memory) - size, 512)
        for fake in fakes:
            words = [chance.choice((chance.getrandbits(64), chance.choice(targets) + 8)) for _ in range(size // 8)]
            words[:2] = 1, id(types.CodeType)
            struct.pack_into(f"<{len(words)}Q", memory, fake - start, *words)
        assert not live(own).keys() & set(fakes)
        assert not any(describe(*own, fake) for fake in fakes[:200])


def captured(text: str, size: int = 224) -> bytes:
    return ctypes.string_at(id(text), sys.getsizeof(text))[:size].ljust(size, b"\0")


def test_a_captured_function_has_its_names(own: Target) -> None:
    found = from_capture(captured("Api.get"), captured("/srv/größe.py"), 7, 0x80, own.offsets)
    assert found == Function("Api.get", "/srv/größe.py", 7, "coroutine")


def test_a_captured_name_that_did_not_fit_ends_in_a_mark(own: Target) -> None:
    found = from_capture(captured("n" * 1000), captured("app.py"), 7, 0, own.offsets)
    assert found is not None
    assert found.qualname.lstrip("n") == "…"


def test_a_capture_that_failed_is_no_function(own: Target) -> None:
    assert from_capture(bytes(224), captured("app.py"), 7, 0, own.offsets) is None
    assert from_capture(captured("get"), bytes(224), 7, 0, own.offsets) is None


@pytest.mark.parametrize(
    ("head", "lives"),
    [
        (1, True),
        (0xFFFF_FFFF, True),  # immortal, in 3.12
        (0x0002_0000_C000_0000, True),  # with flags, in 3.14
        (0, False),
        (0x7F4A_EF4C_80D0, False),  # freed: the next free block
        (0x1_0000_0040, False),  # freed, and what is there now has written no more than this
    ],
)
def test_what_was_freed_has_no_count_of_references(head: int, lives: bool) -> None:
    assert _are_counted([np.array([head], np.uint64)]).tolist() == [lives]


@pytest.mark.parametrize(
    ("flags", "is_one"),
    [
        (TUPLE_SUBCLASS | 1 << 12 | 1 << 18, True),
        (TUPLE_SUBCLASS, False),  # not ready
        (TUPLE_SUBCLASS | 1 << 12 | 1 << 28, False),  # a tuple and a string
        (TUPLE_SUBCLASS | 1 << 12 | 1 << 40, False),
        (1 << 28 | 1 << 12, False),
    ],
)
def test_memory_that_is_no_type_is_taken_for_none(own: Target, flags: int, is_one: bool) -> None:
    process: Any = SimpleNamespace(read_many=lambda addresses, size: [flags.to_bytes(size, "little")])
    assert types_with(process, [0x1000], TUPLE_SUBCLASS, own.offsets) == (
        frozenset({0x1000}) if is_one else frozenset()
    )
