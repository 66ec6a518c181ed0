"""pylat is not alone, and does not always end well: the target is as it was, and everybody has the right numbers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from latency.cpython.interpreter import Target
from latency.target.process import Process
from latency.tracing.kernel import apart
from latency.tracing.kernel import calls as kernel
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Tracing
from tests.target_program import TargetProgram

pytestmark = pytest.mark.xdist_group("breakpoints")

Start = Callable[..., TargetProgram]
_DETACH_S = 300
_RETURN_0 = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit


class Probed(NamedTuple):
    """What pylat changes in a target's memory, by way of the kernel: the code at its sites, and USDT semaphores."""

    process: Process
    originals: dict[int, bytes]
    semaphores: list[int]

    @classmethod
    def of(cls, pid: int, engine: str) -> Probed:
        target = Target(pid, engine=engine)
        build = target.build
        sites = {site.address + build.bias: build.image.read(site.address, 16) for site in target.plan.sites}
        semaphores = [it.semaphore + build.bias for it in build.markers if it.name.startswith("function__")]
        return cls(target.process, sites, semaphores if engine == "usdt" else [])

    def changed(self) -> list[int]:
        """The sites whose code is not the file's."""
        return [at for at, code in self.originals.items() if self.process.read(at, len(code)) != code]

    def counts(self) -> list[int]:
        return [int.from_bytes(self.process.read(at, 2), "little") for at in self.semaphores]

    def states(self) -> Iterator[bool]:
        """Whether all is as in the file, again and again until it is or the time is up."""
        end = time.monotonic() + _DETACH_S
        while time.monotonic() < end:
            clean = not self.changed() and not any(self.counts())
            yield clean
            if clean:
                return


@pytest.mark.cpython(min=(3, 9), max=(3, 11))
def test_a_target_outlives_pylats_sudden_death_unchanged_and_can_be_measured_again(
    interpreter: Interpreter, start_target: Start
) -> None:
    target = start_target(interpreter, "requests.py", 8_000)
    engine = Target(target.pid).plan.engine
    probed = Probed.of(target.pid, engine)
    assert not probed.changed()
    arguments = ("-p", target.pid, *EVERY_CALL, "--func", "handle_request", "--func", "worker", "-j")
    with Tracing(*arguments) as tracing:
        target.send("run")
        assert len(probed.changed()) == len(probed.originals)
        assert all(probed.counts())
        os.kill(tracing.pid, signal.SIGKILL)
        assert tracing.wait().status == -signal.SIGKILL
        assert any(probed.states()), f"{probed.changed()} {probed.counts()}"
    under_load = target.readline()  # it went on, to its end
    assert '"calls": 32000' in under_load

    with Tracing(*arguments) as tracing:
        truth = target.run()
        assert tracing.stop().agrees(truth)
    assert any(probed.states())


def test_the_lab_has_a_semaphore_to_look_at(interpreters: list[Interpreter], start_target: Start) -> None:
    marked = [it for it in interpreters if it.id == "3.9.2-debian-bullseye"]
    assert marked, "run script/lab"
    probed = Probed.of(start_target(marked[0], "requests.py").pid, "usdt")
    assert len(probed.semaphores) == 2


@pytest.mark.cpython(min=(3, 9), max=(3, 11))
def test_two_at_the_same_time_get_the_same_numbers(interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(interpreter, "requests.py")
    arguments = ("-p", target.pid, *EVERY_CALL, "--func", "handle_request", "--func", "worker", "-j")
    with Tracing(*arguments) as one, Tracing(*arguments) as other:
        truth = target.run()
        first, second = one.stop(), other.stop()
    assert first.agrees(truth)
    assert second.agrees(truth)


def test_one_that_ends_leaves_the_other_measuring(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "recursion.py", 50, 20)
    arguments = ("-p", target.pid, *EVERY_CALL, "--func", "descend", "--func", "plunge", "-j")
    with Tracing(*arguments) as lasting:
        with Tracing(*arguments) as passing:
            first = target.run()
            assert passing.stop().agrees(first)
        second = target.run()
        result = lasting.stop()
    both = {name: {key: first[name][key] + second[name][key] for key in first[name]} for name in first}
    assert result.agrees(both)


def at_work(pid: int) -> bool:
    """Whether the helper of this pylat is placing probes or taking them away: then it has more than one thread."""
    children = [child for each in Path(f"/proc/{pid}/task").glob("*/children") for child in each.read_text().split()]
    return any(len(os.listdir(f"/proc/{child}/task")) > 1 for child in children)


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_a_death_while_probes_are_being_taken_away_leaves_none(
    own_interpreter: Interpreter, start_target: Start, kill: Callable[[int, int], None]
) -> None:
    """Linux leaves breakpoints where whoever removes them has been killed: so that is done by a helper."""
    target = start_target(own_interpreter, "serving.py")
    engine = Target(target.pid).plan.engine
    probed = Probed.of(target.pid, engine)
    arguments = ("-p", target.pid, "--func", "handle", "--engine", engine, "--max-overhead", 1, "-j")
    for _ in range(3):
        with Tracing(*arguments, before=("setsid",)) as tracing:
            end = time.monotonic() + _DETACH_S
            while not (working := at_work(tracing.pid)) and time.monotonic() < end:
                time.sleep(0.001)
            assert working, "the limit is far exceeded, and the probes were not taken away"
            kill(tracing.pid, signal.SIGKILL)
            assert tracing.wait().status == -signal.SIGKILL
        assert any(probed.states()), probed.changed()


def test_probes_are_there_and_gone_when_it_is_said(own_interpreter: Interpreter, start_target: Start) -> None:
    target = start_target(own_interpreter, "serving.py")
    build, plan = Target(target.pid).build, Target(target.pid).plan
    probed = Probed.of(target.pid, plan.engine)
    program = kernel.load_program("nothing", kernel.PROG_TYPE_KPROBE, _RETURN_0)
    path = f"/proc/self/fd/{build.fd}"
    places = [apart.Probes(program, path, (it.offset,), (0,), target.pid, multi=False) for it in plan.sites]
    for _ in range(20):
        placed = apart.opened(places)
        assert len(probed.changed()) == len(probed.originals)
        apart.close(placed)
        assert not probed.changed()
    refused = apart.Probes(program, path, (1 << 40,), (0,), target.pid, multi=False)
    with pytest.raises(OSError, match="uprobe event"):
        apart.opened([*places, refused])
    assert not probed.changed()
    os.close(program)
