"""What a process's objects say is what the process itself says, on every CPython."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest

from latency.cpython.offsets import Offsets, load
from latency.cpython.values import CUT, Limits, Memory, Reader
from latency.target.build import identify
from latency.target.process import Process
from tests.lab import Interpreter
from tests.target_program import TargetProgram

UNBOUNDED = Limits(depth=100, items=10**6, characters=10**6, total=10**8, reads=10**7, time_s=300)
BOUNDS = (
    replace(UNBOUNDED, depth=1),
    replace(UNBOUNDED, items=2),
    replace(UNBOUNDED, total=100),
    replace(UNBOUNDED, reads=20),
    Limits(characters=1000, time_s=300),
)
RANDOM_OBJECTS = 1_000
CORRUPTED_OBJECTS = 500


class Scene(NamedTuple):
    target: TargetProgram
    process: Process
    offsets: Offsets
    reader: Reader


@pytest.fixture
def start(interpreter: Interpreter, start_target: Callable[..., TargetProgram]) -> Iterator[Callable[..., Scene]]:
    processes: list[Process] = []

    def start(script: str, *arguments: object) -> Scene:
        target = start_target(interpreter, script, *arguments)
        process = Process(target.pid)
        processes.append(process)
        build = identify(process)
        offsets = load(build.version, flags=build.flags)
        return Scene(target, process, offsets, Reader(process, build, offsets, limits=UNBOUNDED, show_secrets=True))

    yield start
    for process in processes:
        process.close()


class Corrupting:
    """A memory in which now and then a word is another: any number, a likely length, or a pointer to elsewhere."""

    def __init__(self, memory: Memory, addresses: list[int]) -> None:
        self._memory = memory
        self._random = random.Random(1)
        self._addresses = addresses

    def read_some(self, address: int, size: int) -> bytes:
        data = bytearray(self._memory.read_some(address, size))
        any_word = self._random.getrandbits(64).to_bytes(8, "little")
        words = (1 << 63, 1 << 62, (1 << 64) - 1, 0, 1, 255, 1 << 39, address, self._random.choice(self._addresses))
        for at in range(0, len(data) - 7, 8):
            if self._random.random() < 0.03:
                word = self._random.choice(words).to_bytes(8, "little")
                data[at : at + 8] = self._random.choice((word, any_word))
        return bytes(data)


def test_an_object_of_every_kind_is_described(start: Callable[..., Scene]) -> None:
    scene = start("objects.py")
    for address, text in scene.target.run():
        assert scene.reader.describe(address) == text


def test_random_objects_are_described_as_they_describe_themselves(start: Callable[..., Scene]) -> None:
    scene = start("objects.py", 1, RANDOM_OBJECTS)
    scene.target.run()
    objects = scene.target.run()
    assert len(objects) == RANDOM_OBJECTS
    assert [(text, scene.reader.describe(address)) for address, text in objects] == [(it, it) for _, it in objects]


def test_what_a_bound_leaves_is_right_and_the_rest_is_marked(start: Callable[..., Scene]) -> None:
    scene = start("objects.py", 2, 500)
    scene.target.run()
    objects = scene.target.run()
    for limits in BOUNDS:
        cut = 0
        for address, text in objects:
            pieces = scene.reader.describe(address, limits=limits).split(CUT)
            cut += len(pieces) > 1
            assert _in_order(pieces, text), (limits, pieces, text)
        assert cut > 10, limits


def test_a_text_is_cut_after_its_closing_quote(start: Callable[..., Scene]) -> None:
    scene = start("objects.py", 2, 500)
    scene.target.run()
    limits = replace(UNBOUNDED, characters=30)
    texts = [(address, text) for address, text in scene.target.run() if re.match("b?['\"]", text)]
    values = [(address, ast.literal_eval(text)) for address, text in texts]
    cut = [(address, value) for address, value in values if len(value) > 30]
    assert len(cut) > 10
    for address, value in cut:
        assert scene.reader.describe(address, limits=limits) == repr(value[:30]) + CUT


def test_the_arguments_of_calls_are_those_that_the_callee_sees(start: Callable[..., Scene]) -> None:
    scene = start("arguments.py")
    calls = scene.target.run()
    assert len(calls) == 11
    for frame_object, code, arguments in calls:
        frame = _frame(scene, frame_object)
        assert scene.reader.arguments(frame, code) == [tuple(it) for it in arguments]


def test_a_frame_of_another_code_has_no_arguments(start: Callable[..., Scene]) -> None:
    scene = start("arguments.py")
    (frame_object, _, _), (_, other_code, arguments), *_ = scene.target.run()
    assert arguments
    assert scene.reader.arguments(_frame(scene, frame_object), other_code) == []


def test_corrupted_memory_is_described_within_the_bounds(start: Callable[..., Scene]) -> None:
    scene = start("objects.py", 3, CORRUPTED_OBJECTS)
    limits = Limits(time_s=100)
    described = []
    for objects in (scene.target.run(), scene.target.run()):
        memory = Corrupting(scene.process, [address for address, _ in objects])
        described += [scene.reader.describe(address, limits=limits, memory=memory) for address, _ in objects]
    assert all(len(text) <= limits.total + 1 and text.isprintable() for text in described)
    assert sum("<unreadable at " in text for text in described) > len(described) / 10


def test_the_arguments_of_a_corrupted_frame_are_described_within_the_bounds(start: Callable[..., Scene]) -> None:
    scene = start("arguments.py")
    calls = scene.target.run()
    memory = Corrupting(scene.process, [code for _, code, _ in calls])
    for frame_object, code, _ in calls * 20:
        frame = _frame(scene, frame_object)
        arguments = scene.reader.arguments(frame, code, limits=Limits(time_s=100), memory=memory)
        assert all(name.isprintable() and text.isprintable() for name, text in arguments)


def _frame(scene: Scene, frame_object: int) -> int:
    """What a frame object is of: from 3.11 on, another struct."""
    at = scene.offsets.get("pyframe.f_frame")
    return frame_object if at is None else scene.process.u64(frame_object + at)


def _in_order(pieces: list[str], text: str) -> bool:
    """Whether a text is made of these pieces and of what was cut between them."""
    first, *middle, last = pieces if len(pieces) > 1 else [pieces[0], ""]
    if len(pieces) == 1:
        return first == text
    at = len(first) if text.startswith(first) else -1
    for piece in middle:
        at = text.find(piece, at) + len(piece) if at >= 0 and piece in text[at:] else -1
    return at >= 0 and text.endswith(last) and len(text) - len(last) >= at
