"""The tests' own process, as a target whose objects are described."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from latency.cpython.offsets import load
from latency.cpython.values import Limits, Reader
from latency.target.build import Build, identify
from latency.target.process import Process


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    with Process(os.getpid()) as own:
        yield own


@pytest.fixture(scope="module")
def build(process: Process) -> Build:
    return identify(process)


@pytest.fixture(scope="module")
def reader(process: Process, build: Build) -> Reader:
    return Reader(process, build, load(sys.version_info[:2]), limits=Limits(time_s=60))
