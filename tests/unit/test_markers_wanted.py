"""What can be asked of markers, and how what is wrong is said."""

from __future__ import annotations

import pytest

from latency.cli.arguments import parse as parse_words
from latency.errors import UsageError
from latency.recording import Options
from latency.target.markers import MarkerName
from latency.tracing.markers import wire
from latency.tracing.markers.wanted import COUNT, DONE, START, parse

PAIR = "myapp:start,myapp:done"


def asked(*words: str) -> list[str]:
    markers: list[str] = parse_words(["-p", "42", *words]).markers
    return markers


def test_options_for_markers_keep_their_order_and_a_key_goes_to_the_pair_before_it() -> None:
    words = ["--gc", "--usdt", PAIR, "--key", "arg0", "--usdt", "myapp:event", "--imports", "--audit", "--lines"]
    assert asked(*words) == ["gc", f"{PAIR} key=arg0", "myapp:event", "imports", "audit", "lines"]
    assert asked() == []


@pytest.mark.parametrize(
    "words", [["--key", "arg0"], ["--gc", "--key", "arg0"], ["--usdt", PAIR, *["--key", "arg0"] * 2]]
)
def test_a_key_without_a_pair_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        asked(*words)
    assert "--key belongs to the --usdt before it" in capsys.readouterr().err


def test_a_pair_is_attached_end_first_and_called_as_it_was_asked_for() -> None:
    (pair,) = parse([PAIR])
    assert [role.function for role in pair.roles] == [DONE, START]
    assert (pair.label, pair.timed, pair.by_name, pair.flags) == (PAIR, True, False, 0)


def test_a_single_marker_is_counted() -> None:
    (single,) = parse(["myapp:event"])
    assert [role.function for role in single.roles] == [COUNT]
    assert (single.label, single.timed) == ("myapp:event", False)


def test_the_key_can_be_another_argument_of_the_end() -> None:
    both, other = parse([f"{PAIR} key=arg2", f"{PAIR} key=arg0,arg1"])
    assert [role.arguments for role in both.roles] == [{"key": 2}, {"key": 2}]
    assert [role.arguments for role in other.roles] == [{"key": 1}, {"key": 0}]
    assert both.flags == wire.KEYED


def test_the_same_thing_twice_is_asked_for_once() -> None:
    assert [each.what for each in parse(["gc", "audit", "gc"])] == ["gc", "audit"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("event", "no marker"),
        (":event", "no marker"),
        ("myapp:", "no marker"),
        ("my app:event", "no marker"),
        ("", "no marker"),
        ("a:b,c:d,e:f", "names 3 markers"),
        ("a:b,a:b", "the same marker"),
        ("a:b key=arg0", "is one"),
        (f"{PAIR} key=0", "no argument"),
        (f"{PAIR} key=arg", "no argument"),
        (f"{PAIR} key=arg100", "no argument"),
    ],
)
def test_what_makes_no_sense_is_named(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as refused:
        parse([text])
    assert refused.value.hint


def test_more_than_the_tables_hold_is_refused() -> None:
    with pytest.raises(UsageError, match="17 markers"):
        parse([f"a:marker{number}" for number in range(wire.ITEMS + 1)])


def test_a_marker_of_one_file_is_named_by_path_or_file_name() -> None:
    name = MarkerName.parse("/usr/lib/libapp.so.1:myapp:event")
    assert (name.path, name.provider, name.name, str(name)) == ("/usr/lib/libapp.so.1", "myapp", "event", "myapp:event")
    assert name.is_in("/usr/lib/libapp.so.1")
    assert not name.is_in("/lib/libapp.so.1")
    assert MarkerName.parse("libapp.so.1:myapp:event").is_in("/usr/lib/libapp.so.1")
    assert MarkerName.parse("memfd:probes:myapp:event").is_in("/memfd:probes")
    assert MarkerName.parse("myapp:event").is_in("/anything")


def test_options_without_markers_ask_for_none() -> None:
    assert parse(Options().markers) == []
