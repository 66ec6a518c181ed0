"""Methods that a library writes have one name and no file: each function has its own row, or that is said."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from latency.recording import Recording
from tests.lab import Interpreter
from tests.requirements import require
from tests.target_program import TargetProgram
from tests.watch import Watch

PROGRAM = """
import functools, sys
from collections import namedtuple
from dataclasses import dataclass
from protocol import say, truth

def kept(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)
    return wrapper

@kept
def get():
    pass

@kept
def put():
    pass

@dataclass
class Point:
    x: int

@dataclass
class Order:
    number: int

Row = namedtuple("Row", "a b")
say({"ready": True})
sys.stdin.readline()

@dataclass
class Late:
    number: int

LateRow = namedtuple("LateRow", "a b")
for known, times in ((Point, 50), (Order, 30), (Late, 10)):
    made = [known(number) for number in range(times)]
    for number in range(times // 5):
        made[0] == made[number]
for known, times in ((Row, 20), (LateRow, 5)):
    for number in range(times):
        known(number, number)
for number in range(3):
    get(), put()
say({})
sys.stdin.readline()
"""


def calls(recording: Recording) -> dict[str, int]:
    return {each.function.qualname: each.calls for each in recording.functions if each.calls}


@pytest.fixture
def measured(
    request: pytest.FixtureRequest,
    interpreters: list[Interpreter],
    start_target: Callable[..., TargetProgram],
    watch: Callable[..., Watch],
    tmp_path: Path,
) -> Callable[..., Recording]:
    """What is seen of some patterns, on the first build whose name begins so."""

    def measure(build: str, *patterns: str) -> Recording:
        script = tmp_path / "written.py"
        script.write_text(PROGRAM)
        target = start_target(next(it for it in interpreters if it.id.startswith(build)), script)
        its = watch(target.pid, patterns)
        target.run()
        return its.stop()

    return measure


@pytest.mark.parametrize("build", ["3.11.2-debian", "3.13.", "3.15."])
def test_a_method_that_a_library_wrote_is_of_its_class_early_or_late(
    build: str, measured: Callable[..., Recording]
) -> None:
    of_a_class = {"Point.__init__": 50, "Order.__init__": 30, "Late.__init__": 10}
    of_a_class.update({"Point.__eq__": 10, "Order.__eq__": 6, "Late.__eq__": 2})
    truth = {**of_a_class, "Row.__new__": 20, "LateRow.__new__": 5}
    recording = measured(build, *truth)
    assert calls(recording) == truth
    written = [each.function for each in recording.functions if each.function.qualname in of_a_class]
    assert {each.module for each in written} == {"__main__"}
    assert not [spot for spot in recording.blind_spots if "several functions that the program has written" in spot]
    assert not recording.losses.total


def test_of_functions_that_say_nothing_of_their_class_it_is_said_that_they_share_a_row(
    measured: Callable[..., Recording],
) -> None:
    names = ["__create_fn__.<locals>.__init__", "__create_fn__.<locals>.__eq__"]
    recording = measured("3.9.", "Row.__new__", *names)
    assert calls(recording) == {names[0]: 80, names[1]: 16, "Row.__new__": 20}
    (said,) = (spot for spot in recording.blind_spots if "several functions that the program has written" in spot)
    assert all(name in said for name in names)


OF_ATTRS = """
import attr
from protocol import serve, truth

@attr.s
class Point:
    x = attr.ib()

@attr.s
class Order:
    number = attr.ib()

def run():
    points = [Point(number) for number in range(50)]
    for number in range(30):
        Order(number)
    for number in range(20):
        points[0] == points[number]
    return {"Point.__init__": truth(50), "Order.__init__": truth(30), "Point.__eq__": truth(20)}

serve(run)
"""


@pytest.mark.cpython(each=((3, 9), (3, 11), (3, 13), (3, 15)))
def test_a_method_that_attrs_wrote_is_of_its_class(
    interpreter: Interpreter, start_target: Callable[..., TargetProgram], watch: Callable[..., Watch], tmp_path: Path
) -> None:
    package = find_spec("attr")
    require(package and package.origin, "attrs is not installed (script/setup --tests)")
    assert package
    assert package.origin
    script = tmp_path / "of_attrs.py"
    script.write_text(OF_ATTRS)
    target = start_target(interpreter, script, files=[Path(package.origin).parent])
    its = watch(target.pid, ["Point.__init__", "Order.__init__", "Point.__eq__"])
    truth = target.run()
    recording = its.stop()
    assert calls(recording) == {name: numbers["calls"] for name, numbers in truth.items()}
    assert not recording.losses.total


def test_a_wrapper_names_the_functions_that_share_it(measured: Callable[..., Recording]) -> None:
    (wrapper,) = measured("3.11.2-debian", "kept.<locals>.wrapper").functions
    assert wrapper.calls == 6
    assert wrapper.owners is not None
    assert (wrapper.owners.count, wrapper.owners.names) == (2, ("get", "put"))
