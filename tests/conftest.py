"""Fixtures of every test, and what a run says at its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import lab

# no test has a clock: on a busy machine anything may take long
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root."""
    return Path(__file__).resolve().parents[1]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which versions were not tried, so that a green run does not promise more than it shows."""
    reports = [each for kind in terminalreporter.stats.values() for each in kind if isinstance(each, pytest.TestReport)]
    if not any(report.nodeid.startswith("tests/integration/") for report in reports):
        return
    tried = {value for report in reports for name, value in report.user_properties if name == "interpreter"}
    found = lab.interpreters()
    minors = {it.minor for it in found if it.id in tried}
    there = {it.minor for it in found}
    untried = [
        f"{'.'.join(map(str, it))}{'' if it in there else ' (not here)'}" for it in lab.KNOWN if it not in minors
    ]
    terminalreporter.section("interpreters")
    terminalreporter.line(f"tried: {', '.join(it.id for it in found if it.id in tried) or 'none'}")
    terminalreporter.line(f"CPython 3.6 to 3.15 not tried: {', '.join(untried) or 'none'}")
