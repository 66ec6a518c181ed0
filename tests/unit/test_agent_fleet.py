"""Which processes the agent measures, at which cost, and what is kept of those that have ended."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from latency.agent.budget import Budget
from latency.agent.candidates import Candidate, page_faults
from latency.agent.config import Config, Rule, Wanted
from latency.agent.fleet import Fleet
from latency.agent.processes import Seen
from latency.errors import AttachError, NoFunctionMatches, NotCPython, PylatError, TargetGone, UnsupportedBuild
from latency.recording import Function, Losses, Options, ProcessCalls, Recording
from latency.tracing import together
from latency.tracing.counted.spaces import OwnFunction
from latency.tracing.measurement import Measurement
from tests.exported import measured, recording

PYTHON = Wanted(executable="*python*")
RULE = Rule("shop", PYTHON, Options(func=("f",), children=True))


@dataclass
class Made:
    """A measurement that says what it is told to."""

    pid: int
    pids: Sequence[int] = ()
    gone: Sequence[int] = ()
    calls: int = 0
    ends: str = ""
    breaks: PylatError | None = None
    functions: int = 1
    open: int = 0
    strangers: list[int] = field(default_factory=list)
    stopped: bool = False
    told: int = 0
    joined: dict[tuple[str, ...], int] = field(default_factory=dict)
    told_of: dict[tuple[str, ...], int] = field(default_factory=dict)
    hurries: bool = False
    polls: int = 0
    allowed: list[float] = field(default_factory=list)

    def allow(self, limit_pct: float) -> None:
        self.allowed.append(limit_pct)

    def poll(self) -> str:
        self.polls += 1
        if self.breaks:
            raise self.breaks
        return self.ends

    def doubt(self) -> str:
        return ""

    def _recording(self, calls: int, joined: dict[tuple[str, ...], int], open_calls: int = 0) -> Recording:
        functions = [
            replace(measured(Function(f"f{number}", "app.py", number), [1000] * calls), open=open_calls)
            for number in range(self.functions)
        ]
        for series, count in joined.items():
            functions.append(measured(OwnFunction("f0", "app.py", 0, series=series), [1000] * count))
        processes = [ProcessCalls(pid, ended=pid in self.gone) for pid in (self.pid, *self.pids, *self.gone)]
        return recording(*functions, processes=tuple(processes))

    def interval(self) -> Recording:
        assert not self.stopped
        new, self.told = self.calls - self.told, self.calls
        joined = {series: count - self.told_of.get(series, 0) for series, count in self.joined.items()}
        self.told_of = dict(self.joined)
        return self._recording(new, joined)

    def stop(self) -> Recording:
        self.stopped = True
        return self._recording(self.calls, self.joined, self.open)

    def close(self) -> None:
        assert self.stopped


class Machine:
    """Processes by PID, each with its parent, and the measurements that were begun."""

    def __init__(self) -> None:
        self.processes: dict[int, int] = {}
        self.refuses: dict[int, PylatError] = {}
        self.made: dict[int, Made] = {}
        self.limits: list[float] = []
        self.began: list[int] = []
        self.said: list[str] = []
        self._told: set[int] = set()

    # as a census
    @property
    def pids(self) -> frozenset[int]:
        return frozenset(self.processes)

    def look(self, now_s: float) -> Iterator[Seen]:
        new = sorted(self.processes.keys() - self._told)
        self._told = set(self.processes)
        yield from (Seen(pid, pid, self.processes[pid], "/usr/bin/python3", "", 0, ()) for pid in new)

    def ancestors(self, pid: int) -> list[int]:
        found = []
        while (pid := self.processes.get(pid, 0)) > 1:
            found.append(pid)
        return found

    def again(self, pid: int) -> None:
        self._told.discard(pid)

    def forget(self) -> None:
        self._told.clear()

    # as what begins measurements
    def begin(self, candidate: Candidate) -> Measurement:
        pid = candidate.seen.pid
        self.began.append(pid)
        if pid in self.refuses:
            raise self.refuses[pid]
        self.limits.append(candidate.limit_pct)
        self.made[pid] = Made(pid)
        return self.made[pid]  # type: ignore[return-value]


@pytest.fixture
def machine() -> Machine:
    return Machine()


def fleet(machine: Machine, *rules: Rule, process_pct: float = 5.0, machine_pct: float = inf) -> Fleet:
    config = Config("127.0.0.1", 0, process_pct, machine_pct, None, "", 300.0, 4, rules or (RULE,))
    said = lambda whose, reason, text: machine.said.append(f"{whose} {reason}: {text}")  # noqa: E731
    return Fleet(config, said, census=machine, begin=machine.begin)  # type: ignore[arg-type]


def steps(found: Fleet, now_s: float, times: int = 6) -> None:
    """So many turns at one moment; what is begun is waited for."""
    for _ in range(times):
        found.step(now_s)
        waiting = threading.Event()
        found._pool.submit(waiting.set)
        assert waiting.wait(60)


def calls(found: Fleet) -> int:
    found.read()
    return sum(each.calls for group in found.groups() for each in group.recordings())


def states(found: Fleet) -> dict[int, str]:
    return {each.seen.pid: each.state for each in found.candidates()}


def test_children_are_measured_with_their_parents(machine: Machine) -> None:
    machine.processes = {10: 1, 11: 10, 12: 11, 20: 1}
    found = fleet(machine)
    steps(found, 0.0)
    assert states(found) == {10: "measured", 20: "measured"}
    machine.processes[13] = 10
    steps(found, 2.0)
    assert machine.began == [20, 10]
    assert found.settled


def test_a_child_that_lost_its_parent_is_not_counted_twice(machine: Machine) -> None:
    machine.processes = {10: 1}
    found = fleet(machine)
    steps(found, 0.0)
    machine.made[10].pids = [11]
    found.read()
    machine.processes[11] = 1
    steps(found, 2.0)
    assert machine.began == [10]


def test_what_is_no_python_is_neither_told_nor_a_failure(machine: Machine) -> None:
    machine.processes = {10: 1, 11: 10}
    machine.refuses[10] = NotCPython("PID 10 is a shell", "")
    found = fleet(machine)
    steps(found, 0.0)
    assert not machine.said
    assert not found.failures


def test_what_is_refused_is_tried_again_after_ever_longer_times(machine: Machine) -> None:
    machine.processes = {10: 1}
    machine.refuses[10] = UnsupportedBuild("not known", "")
    found = fleet(machine)
    tried = []
    for now_s in range(1000):
        steps(found, float(now_s), 2)
        tried += [now_s] * (len(machine.began) - len(tried))
    assert tried == [0, 2, 6, 14, 30, 62, 126, 254, 510]
    assert found.failures == {("shop", "unsupported_build"): len(tried)}
    del machine.refuses[10]
    steps(found, 2000.0)
    assert states(found) == {10: "measured"}


def test_a_measurement_is_asked_twice_a_second_and_each_turn_while_a_slice_lasts(machine: Machine) -> None:
    machine.processes = {10: 1}
    found = fleet(machine)
    steps(found, 0.0)
    made = machine.made[10]
    for turn in range(1, 21):
        found.step(turn / 10)
    assert made.polls == 1 + 4
    made.hurries = True
    for turn in range(21, 26):
        found.step(turn / 10)
    assert made.polls == 1 + 4 + 5


def test_children_of_who_is_refused_are_tried_by_themselves_and_never_counted_twice(machine: Machine) -> None:
    machine.processes = {10: 1, 11: 10}
    machine.refuses[10] = UnsupportedBuild("not known", "")
    found = fleet(machine)
    steps(found, 0.0)
    steps(found, 1.0)
    assert states(found) == {10: "refused", 11: "measured"}
    del machine.refuses[10]
    steps(found, 10.0)
    assert states(found) == {10: "refused", 11: "measured"}
    machine.made[11].ends = "exited"
    del machine.processes[11]
    steps(found, 100.0)
    assert states(found) == {10: "measured"}


def test_who_is_refused_does_not_hide_its_children(machine: Machine) -> None:
    machine.processes = {10: 1, 11: 10}
    machine.refuses = {pid: UnsupportedBuild("not known", "") for pid in (10, 11)}
    found = fleet(machine)
    for now_s in range(100):
        steps(found, float(now_s), 2)
        assert 10 in states(found)
    assert states(found) == {10: "refused", 11: "refused"}


def test_one_that_ended_while_it_was_looked_at_leaves_nothing(machine: Machine) -> None:
    machine.processes = {10: 1}
    machine.refuses[10] = TargetGone("process 10 ended", "")
    found = fleet(machine)
    steps(found, 0.0)
    assert states(found) == {}
    assert not machine.said


def test_who_ended_before_its_turn_is_counted(machine: Machine) -> None:
    machine.processes = dict.fromkeys(range(10, 15), 1)
    gone = TargetGone("it ended", "")
    machine.refuses = {14: gone, 13: NotCPython("a shell", ""), 11: gone}
    found = fleet(machine)
    steps(found, 0.0, 4)
    assert states(found) == {13: "refused", 12: "measured", 11: "starting", 10: "waiting"}
    machine.processes = {12: 1}
    steps(found, 1.0)
    # 14 and 11 while they were looked at, 10 while it waited; 13 was none that could be measured
    assert found.failures == {("shop", "ended_before"): 3}
    assert found.begun == {"shop": 1}


@pytest.fixture
def joins(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Whoever comes can join; those who did."""
    pids: list[int] = []
    found = lambda *_, **__: SimpleNamespace(pids={_[1]}, spaces=[SimpleNamespace(lives={1: 1})])  # noqa: E731
    monkeypatch.setattr(together, "look_at", found)
    monkeypatch.setattr(together, "join", lambda _, joining: pids.extend(joining.pids) or True)
    return pids


def test_processes_of_one_rule_are_one_measurement_where_that_can_be(machine: Machine, joins: list[int]) -> None:
    machine.processes = {10: 1, 11: 1, 12: 1, 13: 11}
    found = fleet(machine, machine_pct=5.0)
    steps(found, 0.0)
    assert (machine.began, joins) == ([12], [11, 10])
    assert states(found) == dict.fromkeys((10, 11, 12), "measured")
    assert found.begun == {"shop": 3}
    assert found.settled
    machine.processes[14] = 10  # a child of one that has joined
    steps(found, 2.0)
    assert 14 not in states(found)


def test_a_measurement_goes_on_for_those_that_joined_it(machine: Machine, joins: list[int]) -> None:
    machine.processes = {10: 1, 11: 1, 12: 1}
    found = fleet(machine)
    steps(found, 0.0)
    del machine.processes[12]
    steps(found, 2.0)
    assert states(found) == dict.fromkeys((10, 11), "measured")
    machine.made[12].strangers.append(11)
    steps(found, 4.0)
    steps(found, 8.0)
    assert not machine.made[12].stopped
    machine.processes = {}
    machine.made[12].ends = "exited"
    steps(found, 10.0)
    assert machine.made[12].stopped
    assert states(found) == {}
    assert not found.failures


def test_those_that_joined_what_breaks_off_are_tried_anew(machine: Machine, joins: list[int]) -> None:
    machine.processes = {10: 1, 11: 1}
    found = fleet(machine)
    steps(found, 0.0)
    machine.made[11].breaks = AttachError("no more probes", "")
    steps(found, 1.0)
    assert machine.began == [11, 10]
    steps(found, 4.0)
    assert states(found) == dict.fromkeys((10, 11), "measured")
    assert joins == [10, 11]


def by_series(found: Fleet) -> dict[str, int]:
    found.read()
    return {group.labels["pid"]: sum(each.calls for each in group.recordings()) for group in found.groups()}


def test_series_of_their_own_are_told_apart_in_one_measurement(machine: Machine, joins: list[int]) -> None:
    machine.processes = {10: 1, 11: 1}
    found = fleet(machine, replace(RULE, labels=("pid",)))
    steps(found, 0.0)
    assert (machine.began, joins) == ([11], [10])
    made = machine.made[11]
    made.calls, made.joined = 3, {("10",): 5}
    assert by_series(found) == {"": 0, "11": 3, "10": 5}
    made.calls, made.joined = 4, {("10",): 7}
    assert by_series(found) == {"": 0, "11": 4, "10": 7}
    made.calls, made.joined, made.ends = 5, {("10",): 9}, "exited"  # between the last reading and the end
    machine.processes = {}
    steps(found, 1.0)
    assert made.stopped
    assert by_series(found) == {"": 0, "11": 5, "10": 9}
    names = {each.function for group in found.groups() for run in group.recordings() for each in run.functions}
    assert names == {Function("f0", "app.py", 0)}


def test_what_measuring_costs_and_what_is_lost_is_of_no_series(machine: Machine, joins: list[int]) -> None:
    machine.processes = {10: 1, 11: 1}
    found = fleet(machine, replace(RULE, labels=("pid",)))
    steps(found, 0.0)
    machine.made[11].calls, machine.made[11].open = 3, 2
    machine.made[11].breaks = AttachError("the kernel refused", "")
    steps(found, 1.0)
    lost = {group.labels["pid"]: [each.losses for each in group.recordings()] for group in found.groups()}
    assert lost[""] == [Losses(unmatched_entry=2)]
    assert lost["11"] == [Losses()]
    assert [group.labels["pid"] for group in found.groups() if group.is_common] == [""]


def test_who_comes_with_the_labels_of_one_that_is_forgotten_is_measured_by_itself(
    machine: Machine, joins: list[int]
) -> None:
    machine.processes = {10: 1, 11: 1}
    found = fleet(machine, replace(RULE, labels=("pid",)))
    steps(found, 0.0)
    made = machine.made[11]
    made.joined = {("10",): 5}
    assert by_series(found)["10"] == 5
    made.gone = [10]
    del machine.processes[10]
    steps(found, 2.0)
    steps(found, 400.0)
    assert by_series(found) == {"": 0, "11": 0}
    machine.processes[10] = 1
    steps(found, 402.0)
    assert machine.began == [11, 10]
    machine.made[10].calls = 1
    assert by_series(found) == {"": 0, "11": 0, "10": 1}
    made.ends, machine.made[10].ends, machine.processes = "exited", "exited", {}
    steps(found, 404.0)
    assert by_series(found) == {"": 0, "11": 0, "10": 1}


def test_series_stay_while_anybody_is_measured_for_them(machine: Machine, joins: list[int], monkeypatch: Any) -> None:
    machine.processes = {10: 1, 11: 1}
    found = fleet(machine, replace(RULE, labels=("pid",)))
    steps(found, 0.0)
    del machine.processes[10]
    monkeypatch.setattr(together, "series_alive", lambda _: {(), ("10",)})  # children that it has left
    steps(found, 2.0)
    steps(found, 400.0)
    assert set(by_series(found)) == {"", "11", "10"}


def test_counts_stay_when_processes_end(machine: Machine) -> None:
    machine.processes = {10: 1}
    found = fleet(machine)
    for pid in range(10, 20):
        machine.processes = {pid: 1}
        steps(found, float(2 * pid))
        machine.made[pid].calls = 3
        assert calls(found) == 4 * (pid - 10) + 3
        machine.made[pid].calls = 4  # between the last reading and the end
        machine.made[pid].ends, machine.processes = "exited", {}
        steps(found, 2.0 * pid + 1, 1)
    assert calls(found) == 40
    assert all(made.stopped for made in machine.made.values())


def test_a_measurement_that_breaks_off_is_begun_anew_and_loses_no_count(machine: Machine) -> None:
    machine.processes = {10: 1}
    found = fleet(machine)
    steps(found, 0.0)
    machine.made[10].calls = 7
    machine.made[10].open = 2
    machine.made[10].breaks = AttachError("the kernel refused", "")
    steps(found, 1.0)
    assert states(found) == {10: "refused"}
    steps(found, 5.0)
    assert states(found) == {10: "measured"}
    assert calls(found) == 7
    losses = [each.losses for group in found.groups() for each in group.recordings()]
    assert sum(losses, Losses()).unmatched_entry == 2


def test_the_budget_of_the_machine_is_shared_and_kept(machine: Machine) -> None:
    machine.processes = dict.fromkeys(range(10, 14), 1)
    found = fleet(machine, process_pct=5.0, machine_pct=8.0)
    steps(found, 0.0, 10)
    assert machine.limits == [2.0] * 4
    machine.processes[20] = 1
    steps(found, 2.0)
    assert states(found)[20] == "refused"
    assert "the budget of the machine is used up" in machine.said[-1]
    machine.made[10].ends = "exited"
    del machine.processes[10]
    steps(found, 2.5)  # long before its time: there is room again
    assert states(found)[20] == "measured"
    assert sum(machine.limits) - 2.0 <= 8.0


def test_what_has_none_of_the_functions_is_tried_again_when_it_may_have_imported_them(
    machine: Machine, monkeypatch: Any
) -> None:
    """The pages that the kernel has given it say so: an application may import its views with the first request, hours
    after it has begun."""
    faults = {10: 500, 11: 500}
    monkeypatch.setattr("latency.agent.candidates.page_faults", lambda pid: faults[pid])
    for pid in faults:
        machine.processes[pid] = 1
        machine.refuses[pid] = NoFunctionMatches("no live function matches f", "")
    found = fleet(machine)
    for now_s in (0.0, 3.0, 8.0, 17.0, 34.0, 67.0, 132.0):
        steps(found, now_s)
    tried = {each.seen.pid: each.tries for each in found.candidates()}
    assert tried == {10: 7, 11: 7}
    steps(found, 132.0 + 59.0)
    machine.refuses.clear()
    assert states(found) == {10: "refused", 11: "refused"}
    faults[11] += 16
    steps(found, 132.0 + 72.0)
    assert states(found) == {10: "refused", 11: "measured"}
    steps(found, 132.0 + 129.0)
    assert states(found) == {10: "measured", 11: "measured"}


def test_memory_that_a_process_takes_is_seen_from_outside() -> None:
    code = "for _ in range(2):\n input()\n kept = bytearray(b'x') * (1 << 22)\n print(flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin
        assert process.stdout
        seen = []
        for _ in range(2):
            print(file=process.stdin, flush=True)
            process.stdout.readline()
            seen.append(page_faults(process.pid))
        process.stdin.close()
    assert seen[1] >= seen[0] + 16
    assert page_faults(process.pid) == 0


def test_what_the_agent_takes_itself_is_taken_off_the_budget_of_the_machine(machine: Machine, monkeypatch: Any) -> None:
    machine.processes = {10: 1, 11: 1}
    found, used = fleet(machine, process_pct=5.0, machine_pct=10.0), [0.0]
    monkeypatch.setattr(found, "_budget", Budget(lambda: used[0]))
    steps(found, 0.0)
    steps(found, 5.0)
    assert not machine.made[10].allowed
    used[0] = 0.4  # of ten seconds: 4 % of a CPU
    steps(found, 10.0)
    for pid in (10, 11):
        (limit,) = machine.made[pid].allowed
        assert limit == pytest.approx(0.95 * (10 - 4) / 2)
    steps(found, 20.0)  # it has taken nothing since
    assert machine.made[10].allowed[-1] == pytest.approx(0.95 * 5)
    assert not machine.said


def test_an_agent_that_takes_the_budget_alone_says_so_and_leaves_a_part_to_the_probes(
    machine: Machine, monkeypatch: Any
) -> None:
    machine.processes = {10: 1}
    found, used = fleet(machine, process_pct=inf, machine_pct=4.0), [0.0]
    monkeypatch.setattr(found, "_budget", Budget(lambda: used[0]))
    steps(found, 0.0)
    used[0] = 3.0
    steps(found, 10.0)
    assert machine.made[10].allowed == [1.0]
    assert "the agent itself takes 30.0 % of a CPU" in machine.said[-1]


def test_without_a_budget_of_the_machine_limits_stay_as_they_are(machine: Machine, monkeypatch: Any) -> None:
    machine.processes = {10: 1}
    found, used = fleet(machine), [0.0]
    monkeypatch.setattr(found, "_budget", Budget(lambda: used[0]))
    steps(found, 0.0)
    used[0] = 3.0
    steps(found, 10.0)
    assert not machine.made[10].allowed


def test_without_limits_no_measurement_has_one(machine: Machine) -> None:
    machine.processes = {10: 1, 11: 1}
    found = fleet(machine, process_pct=inf)
    steps(found, 0.0)
    assert machine.limits == [inf, inf]


def test_a_rule_can_have_a_limit_of_its_own(machine: Machine) -> None:
    machine.processes = {10: 1}
    steps(fleet(machine, replace(RULE, max_overhead_pct=1.0)), 0.0)
    assert machine.limits == [1.0]


def test_two_rules_measure_one_process_for_themselves(machine: Machine) -> None:
    machine.processes = {10: 1}
    found = fleet(machine, RULE, replace(RULE, name="other"))
    steps(found, 0.0)
    assert machine.began == [10, 10]
    assert {group.rule.name for group in found.groups()} == {"shop", "other"}


def test_a_reload_keeps_what_stayed_and_begins_the_rest_anew(machine: Machine) -> None:
    machine.processes = {10: 1}
    other = replace(RULE, name="other")
    found = fleet(machine, RULE, other)
    steps(found, 0.0)
    created = {group.rule.name: group.created for group in found.groups()}
    changed = replace(other, options=Options(func=("g",), children=True))
    found.reload(replace(found.config, rules=(RULE, changed)), 1.0)
    steps(found, 1.0)
    assert machine.began == [10, 10, 10]
    now = {group.rule.name: group.created for group in found.groups()}
    assert now["shop"] == created["shop"]
    assert now["other"] > created["other"]
    found.reload(replace(found.config, rules=(RULE,)), 2.0)
    assert {group.rule.name for group in found.groups()} == {"shop"}


def test_more_functions_than_a_rule_may_have_are_counted_together(machine: Machine) -> None:
    machine.processes = {10: 1}
    found = fleet(machine, replace(RULE, max_functions=3))
    steps(found, 0.0)
    machine.made[10].functions, machine.made[10].calls = 10, 2
    for _ in range(3):
        assert calls(found) == 20
    (group,) = found.groups()
    (run,) = group.recordings()
    counts: dict[str, int] = {}
    for each in run.functions:
        counts[each.function.qualname] = counts.get(each.function.qualname, 0) + each.calls
    assert counts == {"f0": 2, "f1": 2, "f2": 2, "<others>": 14}
    assert group.beyond == 7


def test_series_of_their_own_are_kept_for_a_while_after_the_end(machine: Machine) -> None:
    machine.processes = {10: 1}
    found = fleet(machine, replace(RULE, labels=("pid",)))
    steps(found, 0.0)
    assert [group.labels for group in found.groups()] == [{"pid": ""}, {"pid": "10"}]
    machine.made[10].ends = "exited"
    machine.processes = {}
    steps(found, 1.0)
    steps(found, 299.0)
    assert len(list(found.groups())) == 2
    steps(found, 302.0)
    assert [group.labels for group in found.groups()] == [{"pid": ""}]  # what was lost stays


def test_memory_does_not_grow_with_the_processes_that_have_ended(machine: Machine) -> None:
    found = fleet(machine)
    for pid in range(10, 60):
        machine.processes = {pid: 1}
        steps(found, 10.0 * pid, 3)
        machine.made[pid].calls = 1
        machine.made[pid].ends = "exited"
        machine.processes = {}
        steps(found, 10.0 * pid + 5, 2)
    (group,) = found.groups()
    (run,) = group.recordings()
    assert run.calls == 50
    assert (run.processes, run.blind_spots, run.events) == ((), (), {})
    assert len(run.target.pids) == 1
    assert not list(found.candidates())


def test_at_the_end_all_measurements_are_taken_away(machine: Machine) -> None:
    machine.processes = {10: 1, 20: 1}
    found = fleet(machine)
    steps(found, 0.0)
    found.close()
    assert all(made.stopped for made in machine.made.values())
