"""What finds no room in a table or a ring buffer moves a counter: read from the sources of the BPF programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

BPF = Path(__file__).resolve().parents[2] / "bpf"
FILES = sorted(path.name for path in BPF.iterdir() if path.suffix in (".c", ".h"))
# what may fail without a word, and why
ALLOWED = {
    ("functions.h", "free_slots.push"): "it holds every slot",
    ("markers.bpf.c", "free_slots.push"): "it holds every slot",
    ("functions.h", "functions.insert"): "looked up behind, by whoever counts",
    ("functions.h", "functions.update"): "looked up behind, by whoever counts",
    ("calls.h", "threads.update"): "looked up behind, by whoever counts",
    ("trace_events.h", "trace_threads.update"): "looked up behind",
    ("slow_calls.h", "told_codes.update"): "told once more the next time",
    ("watch_calls.h", "makers.update"): "frames that are made there are told by their release, or counted as lost",
    ("watch_slow.h", "entry_values.update"): "of such a call the arguments are said to be unknown",
}
_CALL = re.compile(r"\b(\w+\.(?:update|insert|push|ringbuf_reserve|ringbuf_output))\(")
_GUARD = re.compile(r"^(?:else\s+)?if\s*\(|^else\b|^for\s*\(")


def ignored(source: str) -> Iterator[str]:
    """The calls that add something, and whose result nobody asks for."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", source, flags=re.DOTALL)
    for call in _CALL.finditer(text):
        before = re.split(r"[;{}]|^\s*#[^\n]*$", text[: call.start()], flags=re.MULTILINE)[-1].strip()
        while guard := _GUARD.match(before):
            end = _closed(before, guard.end()) if guard[0].endswith("(") else guard.end()
            if end is None:
                break  # it stands in the condition
            before = before[end:].strip()
        if not before:
            yield call[1]


def _closed(text: str, at: int) -> int | None:
    """Behind the parenthesis that is open there."""
    depth = 1
    for place in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if not depth:
            return place + 1
    return None


def test_a_result_that_nobody_asks_for_is_found() -> None:
    source = """
    if (x) {
        one.update(&key, &value); /* a table */
    }
    if (!two.update(&key, &value) && three.insert(&key, &value))
        four.push(&slot, 0);
    else if (y)
        five.update(&key, &value);
    struct event *event = six.ringbuf_reserve(8);
    return seven.update(&key, &value) ? NULL : eight.lookup(&key);
    """
    assert list(ignored(source)) == ["one.update", "four.push", "five.update"]


@pytest.mark.parametrize("file", FILES)
def test_what_finds_no_room_is_never_passed_over(file: str) -> None:
    found = {(file, call) for call in ignored((BPF / file).read_text())}
    assert found - ALLOWED.keys() == set()


def test_nothing_is_allowed_that_is_not_there() -> None:
    assert {(file, call) for file in FILES for call in ignored((BPF / file).read_text())} == ALLOWED.keys()
