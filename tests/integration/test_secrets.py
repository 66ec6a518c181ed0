"""What its name says is secret is in nothing that pylat writes, unless it is asked for; --no-values reads none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from latency.recording import HIDDEN
from tests.lab import Interpreter
from tests.pylat_command import EVERY_CALL, Result, Tracing, pylat
from tests.target_program import TargetProgram

Start = Callable[..., TargetProgram]

SECRET = "hunter2hunter2"
APPLICATION = """
import sys
from protocol import serve

SECRET = sys.argv[-1]

class User:
    def __init__(self):
        self.name = "ada"
        self.password_hash = SECRET

def application(environ, start_response, headers, user, token=SECRET, **settings):
    return sum(range(100000))

def get_token(user):
    return sum(range(100000)) and SECRET

def refuse(credentials):
    raise ValueError("password=" + SECRET)

def run():
    environ = {
        "REQUEST_METHOD": "GET",
        "HTTP_COOKIE": "sid=" + SECRET,
        "QUERY_STRING": "page=2&api_key=" + SECRET,
        "HTTP_AUTHORIZATION": "Bearer " + SECRET,
        "DATABASE_URL": "postgres://ada:" + SECRET + "@db/shop",
    }
    headers = [(b"host", b"shop"), (b"x-csrf-token", SECRET.encode())]
    application(environ, print, headers, User(), secret_key=SECRET)
    get_token(User())
    try:
        refuse([SECRET])
    except ValueError:
        pass

serve(run)
"""
FUNCTIONS = [f"--func=__main__:{name}" for name in ("application", "get_token", "refuse")]


@pytest.fixture
def target(own_interpreter: Interpreter, start_target: Start, tmp_path: Path) -> TargetProgram:
    script = tmp_path / "application.py"
    script.write_text(APPLICATION)
    return start_target(own_interpreter, script, "--password", SECRET)


def during_a_run(target: TargetProgram, *arguments: object) -> Result:
    """What a command writes that measures one run."""
    with Tracing(*arguments, *FUNCTIONS) as command:
        target.run()
        return command.stop()


def test_secrets_are_in_no_recording_and_no_report(target: TargetProgram, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    measured = during_a_run(target, "-p", target.pid, "--slower", "1us", "-o", saved, "-j", *EVERY_CALL)
    assert measured.status == 0, measured.err
    assert measured.run["slow_calls"]["seen"] == 3
    written = [measured.out, saved.read_text()]
    written += [pylat("report", saved, "--format", form).out for form in ("text", "html")]
    for each in written:
        assert SECRET not in each
        assert HIDDEN in each.replace("&lt;", "<").replace("&gt;", ">")
        assert "REQUEST_METHOD" in each
        assert "ada" in each
    assert measured.run["target"]["command"].endswith(f"application.py --password {HIDDEN}")


@pytest.mark.parametrize("form", ["text", "json", "chrome"])
def test_secrets_are_in_no_trace(target: TargetProgram, tmp_path: Path, form: str) -> None:
    chrome = tmp_path / "chrome.json"
    how = {"text": (), "json": ("-j",), "chrome": ("--chrome", chrome)}[form]
    traced = during_a_run(target, "trace", "-p", target.pid, "--args", "--ret", *how)
    assert traced.status == 0, traced.err
    written = chrome.read_text() if form == "chrome" else traced.out
    assert SECRET not in written
    assert "REQUEST_METHOD" in written
    assert "page=2&api_key=<hidden>" in written


def test_they_are_shown_where_that_is_asked_for(target: TargetProgram) -> None:
    measured = during_a_run(target, "-p", target.pid, "--slower", "1us", "--show-secrets", "-j", *EVERY_CALL)
    assert HIDDEN not in measured.out
    calls = measured.run["slow_calls"]["kept"]
    (application,) = (call for call in calls if call["qualname"] == "application")
    assert {each["name"]: each["text"] for each in application["arguments"]}["token"] == repr(SECRET)
    assert measured.run["options"]["show_secrets"]


def test_without_values_no_argument_is_read(target: TargetProgram, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    measured = during_a_run(target, "-p", target.pid, "--slower", "1us", "--no-values", "-o", saved, *EVERY_CALL)
    assert measured.status == 0, measured.err
    assert "application(…)" in measured.out
    page = pylat("report", saved, "--format", "html").out
    assert "application" in page
    for each in (measured.out, saved.read_text(), page):
        assert "REQUEST_METHOD" not in each
        assert SECRET not in each
        assert "environ" not in each
