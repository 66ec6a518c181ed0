"""A function's code is known again by its digest, wherever it stands and however warm: in the tests' own process."""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from latency.cpython.code_digest import CodeDigests, _instructions_of, _steady
from latency.cpython.offsets import load
from latency.cpython.sites.opcodes import caches, opcodes
from latency.target.build import identify
from latency.target.process import Process

Digest = Callable[[types.CodeType], str]


@pytest.fixture(scope="module")
def digest() -> Iterator[Digest]:
    with Process(os.getpid()) as process:
        build = identify(process)
        digests = CodeDigests(build, load(build.version))
        yield lambda code: digests.take(process, [id(code)]).get(id(code), "")


def code_of(source: str, *, filename: str = "a.py", lines: int = 0) -> types.CodeType:
    """The code of the one function of a source."""
    module = compile("\n" * lines + source, filename, "exec")
    (code,) = (each for each in module.co_consts if isinstance(each, types.CodeType))
    return code


SOURCE = """\
def f(a, *, b=(1, 'x')):
    return [a + item for item in b if item in {'p', 'q', 'r'}], 2.5j, 1 << 70, -7, b'y'
"""


def test_the_digest_does_not_depend_on_the_file_and_the_line(digest: Digest) -> None:
    one, other = code_of(SOURCE), code_of(SOURCE, filename="b.py", lines=40)
    assert digest(one)
    assert digest(one) == digest(other)


def test_it_says_the_version_whose_instructions_it_is_made_of(digest: Digest) -> None:
    version, _, hexadecimal = digest(code_of(SOURCE)).partition(":")
    assert version.startswith("3.")
    assert len(bytes.fromhex(hexadecimal)) == 8


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a + item", "a - item"),
        ("a + item", "a + a"),
        ("'x'", "'z'"),
        ("2.5j", "2.25j"),
        ("1 << 70", "1 << 71"),
        ("-7", "7"),
        ("b'y'", "b'w'"),
        ("'r'", "'s'"),
        ("*, b", "b"),
        ("return", "yield"),
        ("[a + item for item in b if item in {'p', 'q', 'r'}]", "lambda: a"),
    ],
)
def test_whatever_else_is_changed_changes_it(digest: Digest, old: str, new: str) -> None:
    changed = SOURCE.replace(old, new)
    assert changed != SOURCE
    # The default of b is a constant of the module, and not of the function.
    assert (digest(code_of(changed)) != digest(code_of(SOURCE))) == (old != "'x'")


def test_what_the_interpreter_specialises_is_the_same_code(digest: Digest) -> None:
    source = (
        "def f(items, other):\n    total = 0\n    for item in items:\n"
        "        total += len(other) + item * 2\n        other.append(str(total)[0] < 'x')\n        other.pop()\n"
        "    return total\n"
    )
    namespace: dict[str, Any] = {}
    exec(compile(source, "a.py", "exec"), namespace)
    before = digest(namespace["f"].__code__)
    for _ in range(200):
        namespace["f"](range(100), [])
    assert digest(namespace["f"].__code__) == before == digest(code_of(source))


def test_every_function_of_this_process_has_one(digest: Digest) -> None:
    codes = [it.__code__ for it in vars(types).values() if isinstance(it, types.FunctionType)]
    assert codes
    assert all(map(digest, codes))


def test_what_is_no_code_object_has_none(digest: Digest) -> None:
    assert not digest(object())  # type: ignore[arg-type]


@pytest.mark.parametrize("minor", [11, 12, 13, 14, 15])
def test_an_instruction_has_one_name_in_all_its_forms(minor: int) -> None:
    numbers, known = opcodes((3, minor)), _instructions_of(f"3.{minor}")
    plain = {
        name for name in numbers if name in ("LOAD_ATTR", "CALL", "LOAD_GLOBAL", "COMPARE_OP", "BINARY_OP", "RESUME")
    }
    for base in plain:
        for name, number in numbers.items():
            if name.startswith(f"{base}_") and caches((3, minor)).get(base, 0) == caches((3, minor)).get(name, 0):
                assert known.family[number] == known.family[numbers[base]], name
    assert known.family[numbers["STORE_FAST"]] == numbers["STORE_FAST"]
    assert _steady(bytes([numbers["POP_TOP"], 3]), known) == bytes([numbers["POP_TOP"], 3])
    assert minor == 11 or _steady(bytes([numbers["INSTRUMENTED_LINE"], 0]), known) is None
