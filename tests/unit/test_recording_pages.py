"""The examples of the pages about recordings do what they say; page and docstrings leave nothing public out."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import re
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

import latency.recording
from latency.histogram import Histogram
from latency.recording import Function, FunctionLatency, Options, Recording, TargetInfo, dump

TARGET = TargetInfo((4242,), "app", "3.11.2", "ab", "/usr/bin/python3", "handlers", "table 3.11", "6.18", "x86_64", 2)
PUBLIC = {name: getattr(latency.recording, name) for name in latency.recording.__all__}


def server(pid: int = 4242) -> Recording:
    """A run of ten seconds: 600 calls of 1 to 14 ms, evenly spread over thirty parts."""
    parts = [Histogram.from_values([10**6 * (1 + (part + 3 * call) % 14) for call in range(20)]) for part in range(30)]
    busy = FunctionLatency(
        Function("handle_request", "/srv/app.py", 10), 590, 10, parts[0].merge(*parts[1:]), open=2, slices=tuple(parts)
    )
    idle = FunctionLatency(Function("idle", "/srv/app.py", 20), 0, 0, Histogram.empty())
    return Recording(
        replace(TARGET, pids=(pid,)),
        10.0,
        (busy, idle),
        Options(("handle_request", "idle")),
        started_at=datetime(2026, 11, 23, 5, tzinfo=timezone.utc),
    )


@pytest.mark.parametrize("page", ["recording.md", "python-api.md"])
def test_the_examples_of_a_page_do_what_it_says(
    page: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump([server()], tmp_path / "server.json")
    dump([server(4242), server(4243)], tmp_path / "workers.json")
    monkeypatch.chdir(tmp_path)
    tried = doctest.testfile(str(repository / "docs" / page), module_relative=False, encoding="utf-8")
    assert tried.attempted > 5
    assert tried.failed == 0


def test_the_page_names_everything_that_is_public(repository: Path) -> None:
    page = (repository / "docs" / "python-api.md").read_text(encoding="utf-8")
    (everything,) = re.findall(r"(?s)## All of it\n(.*)", page)
    assert set(re.findall(r"`([A-Za-z_]+)`", everything)) == PUBLIC.keys()


@pytest.mark.parametrize("name", [name for name, it in PUBLIC.items() if inspect.isclass(it) or inspect.isfunction(it)])
def test_what_is_public_says_what_it_is(name: str) -> None:
    text = PUBLIC[name].__doc__ or ""
    if dataclasses.is_dataclass(PUBLIC[name]):
        assert not text.startswith(f"{name}("), "made by dataclass"
        fields = {field.name for field in dataclasses.fields(PUBLIC[name])}
        assert {field for field in fields if not re.search(rf"\b{field}\b", text)} == set()
    assert text


@pytest.mark.parametrize("name", [name for name, it in PUBLIC.items() if inspect.isclass(it)])
def test_each_public_method_says_what_it_does(name: str) -> None:
    mine = vars(PUBLIC[name]).items()
    methods = {key: it for key, it in mine if not key.startswith("_") and (callable(it) or isinstance(it, property))}
    methods |= {key: it.__func__ for key, it in mine if isinstance(it, classmethod)}
    assert [key for key, it in methods.items() if not it.__doc__] == []
