"""A build whose sites are not where pylat takes them to be shows on the first calls, and pylat says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from latency.cli.output import DONE, LOSSY, NOTHING_MEASURED, exit_status
from latency.cpython.interpreter import Target
from latency.cpython.sites import Role, SitePlan
from latency.recording import Options
from latency.tracing.probes.session import Session
from tests.lab import Interpreter
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]


def moved(plan: SitePlan, *roles: Role) -> SitePlan:
    """A plan whose sites of these roles lie where code objects are freed, which the program does not do."""
    elsewhere = next(plan.of(Role.CODE_DEALLOC))
    at = {"address": elsewhere.address, "offset": elsewhere.offset, "emulated": elsewhere.emulated}
    kept = [site for site in plan.sites if site.role is not Role.CODE_DEALLOC]
    sites, seen = [], set[Role]()
    for site in kept:
        if site.role not in roles:
            sites.append(site)
        elif site.role not in seen:
            seen.add(site.role)
            sites.append(replace(site, **at))
    return replace(plan, sites=tuple(sites))


@pytest.mark.parametrize(
    ("roles", "words", "status"),
    [
        ((Role.EXIT, Role.RETURN), "calls began 4,000 times", LOSSY),
        ((Role.ENTRY,), "4,000 calls ended and none began", NOTHING_MEASURED),
        ((), "", DONE),
    ],
    ids=["no ends", "no beginnings", "as it is"],
)
def test_sites_that_are_elsewhere_are_told(
    own_interpreter: Interpreter, start_target: Start, roles: tuple[Role, ...], words: str, status: int
) -> None:
    program = start_target(own_interpreter, "requests.py", 1000)
    target = Target(program.pid, engine="handlers")
    target.plan = moved(target.plan, *roles)
    with Session(target, Options(func=("handle_request",))) as session:
        session.start()
        assert session.doubt() == ""
        truth = program.run()["handle_request"]
        line = session.doubt()
        recording = session.stop()
    assert (words in line) if words else line == ""
    assert [spot for spot in recording.blind_spots if spot == line] == ([line] if line else [])
    assert exit_status(recording, max_loss_pct=0.1) == status
    if Role.ENTRY not in roles:
        (function,) = recording.functions
        assert function.calls + function.open + recording.losses.total == truth["calls"]
