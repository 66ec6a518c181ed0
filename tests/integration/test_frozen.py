"""Frozen programs, from their first call on: what they say of themselves is what is measured."""

from __future__ import annotations

import json

import pytest

from tests import lab
from tests.lab import frozen
from tests.lab.frozen import Freezer
from tests.pylat_command import pylat
from tests.requirements import require

pytestmark = pytest.mark.xdist_group("breakpoints")


@pytest.mark.parametrize("freezer", frozen.FREEZERS, ids=[it.name for it in frozen.FREEZERS])
@pytest.mark.parametrize("processes", ["alone", "together"])
def test_a_frozen_program_is_measured_from_its_first_call_on(freezer: Freezer, processes: str) -> None:
    program = freezer.program(lab.cache_directory())
    require(program.exists(), f"the program by {freezer.name} is not there: script/lab makes it")
    options = ["--children"] if processes == "together" else []
    result = pylat("run", *options, "--func", "work", "-j", "--", program)
    assert result.status == 0
    recording, _ = json.JSONDecoder().raw_decode(result.err[result.err.index("{") :])
    (run,) = recording["runs"]
    (work,) = run["functions"]
    assert work["returned"] == json.loads(result.out)[processes]
    assert not any(run["losses"].values())
