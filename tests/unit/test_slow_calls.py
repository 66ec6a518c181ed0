"""Slow calls as data: what is asked for, the JSON, the slowest of several, and how the report says them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from latency.cli.arguments import parse
from latency.errors import RecordingError
from latency.recording import (
    Argument,
    Function,
    Options,
    Recording,
    SlowCall,
    SlowCalls,
    Slower,
    StackFrame,
    TargetInfo,
    combined,
    dumps,
    loads,
)
from latency.recording.slow import MOST_SLOWEST, SLOWEST
from latency.report.text import render

TARGET = TargetInfo((42,), "app", "3.12.1", "ab", "/py", "handlers", "table", "6.18", "x86_64", 2)
BEGAN = datetime(2026, 11, 27, 5, 0, 0, 123456, tzinfo=timezone.utc)
STACK = (
    StackFrame(Function("Handler.get", "/srv/app.py", 10), 17),
    StackFrame(Function("", "", 0)),
    StackFrame(Function("main", "/srv/main.py", 3)),
)


def call(ms: float = 40, **changes: Any) -> SlowCall:
    full: dict[str, Any] = {
        "function": Function("handle_request", "/srv/app.py", 88),
        "began_at": BEGAN,
        "duration_ns": round(ms * 10**6),
        "threshold_ns": 10**7,
        "pid": 42,
        "tid": 43,
        "thread": "worker-1",
        "arguments": (Argument("number", "99"), Argument("items", "[1, 2]", later=True)),
        "stack": STACK,
    }
    return SlowCall(**full | changes)


def recording(*calls: SlowCall, **changes: Any) -> Recording:
    slow = SlowCalls(**{"slower": "10ms", "limit": 10, "seen": len(calls), "kept": calls} | changes)
    return Recording(TARGET, 10.0, (), Options(slower=slow.slower, slowest=slow.limit), slow_calls=slow)


def shown(*calls: SlowCall, width: int = 80, **changes: Any) -> str:
    return render(recording(*calls, **changes), width=width)


# -- what is asked for -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "threshold_ns"),
    [("50ms", 50 * 10**6), ("1.5s", 15 * 10**8), ("200us", 200_000), ("7 µs", 7000), ("1ns", 1)],
)
def test_a_threshold_is_a_duration_with_its_unit(text: str, threshold_ns: int) -> None:
    assert Slower.parse(text) == Slower(threshold_ns=threshold_ns)


@pytest.mark.parametrize(("text", "q", "needed"), [("p99", 0.99, 1000), ("p99.9", 0.999, 10_000), ("p50", 0.5, 20)])
def test_a_percentile_needs_ten_calls_beyond_it(text: str, q: float, needed: int) -> None:
    slower = Slower.parse(text)
    assert slower.quantile == pytest.approx(q)
    assert slower.calls_needed == needed


@pytest.mark.parametrize(
    "text",
    ["", "50", "ms", "-1ms", "0ms", "0.1ns", "1e9s", "p0", "p100", "p", "p99%", "nans", "9999999999s", "²ms", "pp"],
)
def test_anything_else_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="threshold"):
        Slower.parse(text)
    with pytest.raises(SystemExit) as ended:
        parse(["-p", "42", f"--slower={text}"])
    assert ended.value.code == 2
    assert "a duration with its unit (50ms) or a percentile (p99)" in capsys.readouterr().err


def test_the_options_of_the_commands_that_measure() -> None:
    for words in (["-p", "42"], ["run", "--func", "f"], ["demo"]):
        plain = parse(words)
        assert (plain.slower, plain.slowest) == (None, SLOWEST)
        asked = parse([*words, "--slower", "p99", "--slowest", "3"])
        assert (asked.slower, asked.slowest) == ("p99", 3)


@pytest.mark.parametrize("text", ["0", "-1", "many", str(MOST_SLOWEST + 1)])
def test_how_many_are_kept_is_a_number_within_bounds(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["-p", "42", "--slower", "1ms", f"--slowest={text}"])
    assert "no number of calls" in capsys.readouterr().err


# -- the file --------------------------------------------------------------------------------------


def test_slow_calls_come_back_from_a_file_as_they_were() -> None:
    whole = recording(
        call(50, outcome="raised", exception="LookupError", arguments=None, stack_whole=False),
        call(40, active_ns=5, stack=(), arguments=()),
        call(30, arguments_at="entry"),
        lost=3,
        unjudged=4,
        seen=70,
    )
    assert loads(dumps([whole])) == [whole]


def test_a_file_without_slow_calls_is_read() -> None:
    (found,) = loads(dumps([replace(recording(), slow_calls=None)]))
    assert found.slow_calls is None
    assert "slow" not in render(found)


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(dumps([recording(call())]))
    change(document["runs"][0]["slow_calls"])
    return json.dumps(document)


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "slow_calls.kept: not a list": lambda slow: slow.update(kept={}),
    "slow_calls.kept[0]: not an object": lambda slow: slow.update(kept=[7]),
    "slow_calls.kept: not a list of at most 0": lambda slow: slow.update(limit=0),
    "slow_calls.limit: more than": lambda slow: slow.update(limit=10**9),
    "slow_calls.seen: not a whole number": lambda slow: slow.update(seen=-1),
    "slow_calls.lost: missing": lambda slow: slow.pop("lost"),
    "slow_calls.unjudged: not a whole number": lambda slow: slow.update(unjudged=1 << 63),
    "slow_calls.slower: not a threshold": lambda slow: slow.update(slower="soon"),
    "slow_calls.kept[0].duration_ns: not a whole number": lambda slow: slow["kept"][0].update(duration_ns=1.5),
    "slow_calls.kept[0].tid: not a whole number": lambda slow: slow["kept"][0].update(tid=True),
    "slow_calls.kept[0].thread: not text": lambda slow: slow["kept"][0].update(thread=None),
    "slow_calls.kept[0].outcome: not one of": lambda slow: slow["kept"][0].update(outcome="vanished"),
    "slow_calls.kept[0].kind: not one of": lambda slow: slow["kept"][0].update(kind="macro"),
    "slow_calls.kept[0].began_at": lambda slow: slow["kept"][0].update(began_at="9" * 30),
    "slow_calls.kept[0].stack: not a list of at most": lambda slow: slow["kept"][0].update(stack=[{}] * 1001),
    "slow_calls.kept[0].stack[1].at: not a whole": lambda slow: slow["kept"][0]["stack"][1].update(at=-5),
    "slow_calls.kept[0].stack_whole: not true or false": lambda slow: slow["kept"][0].update(stack_whole=1),
    "slow_calls.kept[0].arguments: not a list of at most": lambda slow: slow["kept"][0].update(arguments=[[]] * 1001),
    "slow_calls.kept[0].arguments[0].text: not text": lambda slow: slow["kept"][0]["arguments"][0].update(text=[]),
    "slow_calls.kept[0].arguments[0].later: missing": lambda slow: slow["kept"][0]["arguments"][0].pop("later"),
    "slow_calls.kept[0].arguments_at: not one of": lambda slow: slow["kept"][0].update(arguments_at="soon"),
    "slow_calls.kept[0].active_ns: not a whole number": lambda slow: slow["kept"][0].update(active_ns="5"),
    "slow_calls.kept: not the longest first": lambda slow: slow["kept"].append(slow["kept"][0] | {"duration_ns": 9**9}),
}  # fmt: skip


@pytest.mark.parametrize("says", HOSTILE)
def test_what_a_file_says_is_not_believed_unchecked(says: str) -> None:
    with pytest.raises(RecordingError) as error:
        loads(changed(HOSTILE[says]))
    assert f"runs[0].{says}" in str(error.value)


def test_options_of_a_file_are_checked_too() -> None:
    document = json.loads(dumps([recording(call())]))
    document["runs"][0]["options"]["slower"] = 0
    with pytest.raises(RecordingError, match=r"options\.slower: not a threshold"):
        loads(json.dumps(document))


# -- several processes -----------------------------------------------------------------------------


def test_of_several_processes_the_slowest_of_all_are_kept() -> None:
    one = recording(*(call(ms, pid=1) for ms in (90, 50, 30)), limit=3, seen=20, lost=1)
    other = recording(*(call(ms, pid=2) for ms in (70, 60, 10)), limit=3, seen=5, unjudged=2)
    slow = combined([one, other]).slow_calls
    assert slow is not None
    assert [(each.duration_ns // 10**6, each.pid) for each in slow.kept] == [(90, 1), (70, 2), (60, 2)]
    assert (slow.seen, slow.lost, slow.unjudged) == (25, 1, 2)


def test_of_two_equally_slow_calls_the_earlier_is_first() -> None:
    later = call(50, began_at=BEGAN + timedelta(seconds=1))
    slow = combined([recording(later), recording(call(50))]).slow_calls
    assert slow is not None
    assert [each.began_at for each in slow.kept] == [BEGAN, later.began_at]


# -- the report ------------------------------------------------------------------------------------


def test_a_slow_call_says_when_how_long_where_and_with_what() -> None:
    lines = shown(call(outcome="raised", exception="LookupError"), seen=1).splitlines()
    assert "1 call slower than 10ms, all of them:" in lines
    assert "40.0 ms  05:00:00.123456Z  thread 43 (worker-1)  raised LookupError" in lines
    assert "  handle_request(number=99, items=[1, 2]~)" in lines
    assert "    Handler.get  /srv/app.py:17" in lines
    assert "    <unknown>" in lines
    assert "    main  /srv/main.py:3 (its first line)" in lines


def test_the_report_says_what_the_arguments_are_and_what_was_read_later() -> None:
    text = " ".join(shown(call()).split())
    assert "arguments as they stood at the end of the call; ~: read in part after it, and may have changed" in text
    assert "~" not in shown(call(arguments=(Argument("a", "1"),)))


def test_of_which_calls_the_arguments_are_those_of_the_entry_is_said() -> None:
    lines = shown(call(50, arguments_at="entry"), call(40)).splitlines()
    assert [line for line in lines if "thread 43" in line] == [
        "50.0 ms  05:00:00.123456Z  thread 43 (worker-1)  returned  arguments at entry",
        "40.0 ms  05:00:00.123456Z  thread 43 (worker-1)  returned",
    ]
    assert "at the end of the call, or, where it says so, at its entry" in " ".join("\n".join(lines).split())
    assert "arguments at entry" not in shown(call(arguments=None, arguments_at="entry"))


def test_of_a_coroutine_that_was_watched_the_stack_is_said_to_be_that_of_the_last_resume() -> None:
    watched = call(function=Function("handle", "/srv/app.py", 88, "coroutine"), active_ns=None)
    text = " ".join(shown(watched).split())
    assert "that of whoever resumed it last" in text
    assert "ran for" not in text


def test_of_a_coroutine_the_stack_is_said_to_be_that_of_the_last_resume() -> None:
    text = " ".join(shown(call(active_ns=2 * 10**6)).split())
    assert "ran for 2.00 ms of it" in text
    assert "the stack of a generator or coroutine is that of whoever resumed it last" in text


def test_no_slow_call_is_said() -> None:
    assert "no call was slower than 10ms" in shown()


def test_only_the_slowest_are_said_to_be_there() -> None:
    assert "1,234 calls slower than 10ms, the slowest 2:" in shown(call(), call(30), seen=1234)


def test_calls_that_could_not_be_told_are_said_with_what_to_do() -> None:
    text = " ".join(shown(call(), lost=7, seen=8).split())
    assert "not told: 7 slow calls that came faster than pylat could read them" in text
    assert "they are in the histogram: raise --slower" in text


def test_a_percentile_says_its_threshold_and_what_it_could_not_judge() -> None:
    text = " ".join(shown(call(), slower="p99", unjudged=999).split())
    assert "threshold 10.0 ms" in text
    assert "not judged: 999 calls before their function had 1,000 calls to compare with" in text


def test_the_same_stack_is_not_repeated() -> None:
    text = shown(call(50), call(40))
    assert text.count("Handler.get") == 1
    assert text.count("called as the one before") == 1


def test_a_stack_that_is_not_whole_is_said_to_be_cut() -> None:
    deep = tuple(StackFrame(Function(f"f{number}", "/a.py", 1), 2) for number in range(30))
    text = shown(call(stack=deep, stack_whole=False))
    assert "… and 18 more" in text
    assert "… and those beyond them" in text


def test_hostile_text_stays_within_its_lines() -> None:
    evil = "\x1b[2J" + "\u202e" + "x" * 5000
    hostile = call(
        function=Function(evil, evil, 1),
        thread=evil,
        outcome="raised",
        exception=evil,
        arguments=tuple(Argument(evil, evil, later=True) for _ in range(50)),
        stack=(StackFrame(Function(evil, evil, 1), 1),) * 20,
    )
    for width in (60, 80, 200):
        text = shown(hostile, width=width)
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert max(map(len, text.splitlines())) <= width
