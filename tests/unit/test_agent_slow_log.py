"""The agent's file of slow calls: so many lines a second, whole ones, and nobody waits for whoever reads them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import IO

import pytest

from latency.agent.slow_log import MOST_EACH_S, SlowLog
from latency.errors import ConfigError
from latency.recording import SlowCall
from tests.exported import VALUES_NS, slow

FIRST = 10 * MOST_EACH_S
"""So many lines are saved up."""


def calls(number: int) -> list[tuple[str, SlowCall]]:
    return [("shop", slow(VALUES_NS[-1]))] * number


@pytest.fixture
def pipe() -> Iterator[tuple[int, IO[str]]]:
    """The end that is read, and the other one."""
    reading, writing = os.pipe()
    with open(writing, "w") as out:
        yield reading, out
    os.close(reading)


def test_each_call_is_a_line_with_its_rule(tmp_path: Path) -> None:
    log = SlowLog(str(tmp_path / "slow"), StringIO(), 0.0)
    log.write(calls(2), 0.0)
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "slow").read_text().splitlines()]
    assert [line["service"] for line in lines] == ["shop", "shop"]
    assert lines[0]["duration_ns"] == VALUES_NS[-1]
    assert log.unwritten == 0


def test_what_comes_faster_than_it_may_be_written_is_counted(tmp_path: Path) -> None:
    log = SlowLog(str(tmp_path / "slow"), StringIO(), 100.0)
    log.write(calls(FIRST + 5), 100.0)
    assert log.unwritten == 5
    log.write(calls(MOST_EACH_S + 7), 101.0)
    assert log.unwritten <= 12 + FIRST  # the file may be slower than this test
    log.close()
    written = len((tmp_path / "slow").read_text().splitlines())
    assert written + log.unwritten == FIRST + MOST_EACH_S + 12


def test_standard_output_that_nobody_reads_holds_nobody_up(pipe: tuple[int, IO[str]]) -> None:
    reading, out = pipe
    log = SlowLog("-", out, 0.0)
    for now_s in (0.0, 100.0, 200.0, 300.0, 400.0):
        log.write(calls(FIRST), now_s)
    assert log.unwritten > 0
    written = b""
    while written.count(b"\n") + log.unwritten < 5 * FIRST:
        written += os.read(reading, 1 << 16)
    assert written.count(b"\n") + log.unwritten == 5 * FIRST
    assert all(json.loads(line) for line in written.splitlines())
    log.close()


@pytest.mark.parametrize("times", [1, 3], ids=["some wait", "as many wait as can"])
def test_closing_does_not_wait_for_a_reader_either(pipe: tuple[int, IO[str]], times: int) -> None:
    log = SlowLog("-", pipe[1], 0.0)
    for number in range(times):
        log.write(calls(FIRST), 100.0 * number)
    log.close()
    os.set_blocking(pipe[0], False)
    assert 0 < log.unwritten == times * FIRST - os.read(pipe[0], 1 << 20).count(b"\n")


def test_a_disk_that_is_full_is_counted_call_by_call() -> None:
    log = SlowLog("/dev/full", StringIO(), 0.0)
    log.write(calls(3), 0.0)
    log.close()
    assert log.unwritten == 3


def test_a_line_that_was_cut_does_not_spoil_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that has room for a part of it, and later for more."""
    log = SlowLog(str(tmp_path / "slow"), StringIO(), 0.0)
    write = os.write
    room = [10, 0, 0]

    def little(fd: int, data: bytes) -> int:
        if fd != log._fd or not room:
            return write(fd, data)
        if most := room.pop(0):
            return write(fd, data[:most])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", little)
    log.write(calls(3), 0.0)
    log.close()
    lines = (tmp_path / "slow").read_text().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[1])["service"] == "shop"
    assert log.unwritten == 2


def test_what_follows_goes_on_counting(tmp_path: Path) -> None:
    before = SlowLog("/dev/full", StringIO(), 0.0)
    before.write(calls(2), 0.0)
    log = SlowLog(str(tmp_path / "slow"), StringIO(), 0.0)
    log.follow(before)
    assert log.unwritten == 2
    log.close()


def test_a_path_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*/no/slow: No such file or directory"):
        SlowLog(str(tmp_path / "no" / "slow"), StringIO(), 0.0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=r"cannot write .*/pipe: No such device or address"):
        SlowLog(str(tmp_path / "pipe"), StringIO(), 0.0)
