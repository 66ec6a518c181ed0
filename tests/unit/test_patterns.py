"""What a ``--func`` pattern means."""

from __future__ import annotations

import pytest

from latency.cpython.functions import LiveFunction
from latency.cpython.patterns import Matcher, nearest, not_there_yet
from latency.errors import UsageError
from latency.recording import Function


def live(qualname: str, filename: str = "/srv/app/views.py", line: int = 10, module: str = "app.views") -> LiveFunction:
    return LiveFunction(0x1000, Function(qualname, filename, line), module)


GET = live("Api.get")


@pytest.mark.parametrize(
    ("pattern", "function", "expected"),
    [
        ("handle_request", live("handle_request"), True),
        ("handle_request", live("Api.handle_request"), True),
        ("handle_request", live("make.<locals>.handle_request"), True),
        ("handle_request", live("handle_request.<locals>.inner"), False),
        ("request", live("handle_request"), False),
        ("Handle_Request", live("handle_request"), False),
        ("<lambda>", live("make.<locals>.<lambda>"), True),
        # a qualname, or the end of one
        ("Api.get", GET, True),
        ("Api.get", live("make.<locals>.Api.get"), True),
        ("Api.get", live("OtherApi.get"), False),
        ("Api.get", live("Api.get_all"), False),
        # a glob fits the whole qualname
        ("Api.*", GET, True),
        ("Api.*", live("make.<locals>.Api.get"), False),
        ("*.get", GET, True),
        ("A?i.[gs]et", GET, True),
        ("api.*", GET, False),
        # a module's own
        ("app.views:Api.get", GET, True),
        ("app.views:get", GET, False),
        ("app.views:*get", GET, True),
        ("app.*:Api.get", GET, True),
        ("app:Api.get", GET, False),
        # a line of a file
        ("views.py:10", GET, True),
        ("app/views.py:10", GET, True),
        ("./app/views.py:10", GET, True),
        ("/srv/app/views.py:10", GET, True),
        ("views.py:11", GET, False),
        ("iews.py:10", GET, False),
        ("srv/views.py:10", GET, False),
        ("<string>:10", live("get", "<string>"), True),
    ],
)
def test_a_pattern_means_what_its_form_says(pattern: str, function: LiveFunction, expected: bool) -> None:
    assert Matcher.parse([pattern]).matches(function) is expected


@pytest.mark.parametrize(("pattern", "expected"), [("^Api", True), ("g.t$", True), ("get|set", True), ("^get", False)])
def test_a_regular_expression_is_searched_in_the_qualname(pattern: str, expected: bool) -> None:
    assert Matcher.parse([pattern], regex=True).matches(GET) is expected


def test_a_colon_in_a_regular_expression_is_only_a_colon() -> None:
    assert not Matcher.parse(["app.views:Api.get"], regex=True).matches(GET)


def test_a_module_that_is_not_known_is_not_guessed_from_the_path() -> None:
    matcher = Matcher.parse(["app.views:Api.get"])
    assert matcher.by_module
    assert not matcher.matches_function(GET.function)
    assert matcher.matches_function(GET.function, "app.views")
    assert not matcher.matches_function(GET.function, "srv.app.views")


@pytest.mark.parametrize(
    ("patterns", "function", "module", "bare", "expected"),
    [
        (["app.views:Api.get"], "Api.get", "", False, True),
        (["app.*:Api.*"], "Api.get", "", False, True),
        (["app.views:Api.get"], "Api.get", "other", False, False),
        (["app.views:Api.get"], "Api.put", "", False, False),
        (["app.views:Api.get", "Api.get"], "Api.get", "", False, False),  # meant, whatever its module
        (["views.py:10"], "Api.get", "", False, False),
        # only the bare name is known
        (["app.views:Api.get"], "get", "app.views", True, True),
        (["app.views:Api.get"], "get", "other", True, False),
        (["Api.get"], "get", "app.views", True, True),
        (["Api.get"], "put", "app.views", True, False),
        (["get"], "get", "app.views", True, False),
    ],
)
def test_what_a_pattern_would_mean_if_more_were_known(
    patterns: list[str], function: str, module: str, bare: bool, expected: bool
) -> None:
    known = Function(function, "/srv/app/views.py", 1)
    assert Matcher.parse(patterns).may_mean(known, module, bare=bare) is expected


def test_a_regular_expression_asks_for_no_module() -> None:
    assert not Matcher.parse(["app.views:Api.get"], regex=True).by_module


def test_any_pattern_is_enough() -> None:
    matcher = Matcher.parse(["set", "get"])
    assert matcher.matches(GET)
    assert matcher.matches(live("set"))
    assert not matcher.matches(live("put"))


def test_no_pattern_means_every_function() -> None:
    assert Matcher.parse([]).matches(GET)
    assert Matcher.parse([]).unmatched([]) == []


def test_the_patterns_that_mean_nothing_are_told() -> None:
    matcher = Matcher.parse(["get", "put", "Api.*", "views.py:11"])
    assert matcher.unmatched([GET, live("other")]) == ["put", "views.py:11"]
    assert matcher.unmatched([]) == ["get", "put", "Api.*", "views.py:11"]


@pytest.mark.parametrize("pattern", ["", " ", "app.views:", ":get"])
def test_an_incomplete_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError):
        Matcher.parse(["get", pattern])


def test_a_wrong_regular_expression_is_refused_with_its_place() -> None:
    with pytest.raises(UsageError, match=r"'Api\.\(get' is no regular expression: missing \).* at position 4"):
        Matcher.parse(["Api.(get"], regex=True)


@pytest.mark.parametrize("pattern", ["", "a{99999999999999999999}", "(" * 20_000 + ")" * 20_000])
def test_a_regular_expression_that_cannot_be_compiled_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError):
        Matcher.parse([pattern], regex=True)


def test_a_hostile_name_is_matched_as_it_is() -> None:
    for name in ("\x1b[2J", "\ud800", "n" * 10_000):
        assert Matcher.parse([name]).matches(live(name))
        assert Matcher.parse(["*"]).matches(live(name))


def test_the_nearest_names_are_offered() -> None:
    lives = [live("Api.handle_request"), live("handle_requests"), live("close"), live("make.<locals>.handle_request")]
    alike = ["Api.handle_request", "make.<locals>.handle_request", "handle_requests"]
    assert nearest("handel_request", lives) == alike
    assert nearest("app.views:Api.Handel_Request", lives, n=1) == alike[:1]
    assert nearest("^handle_reqest$", lives) == alike
    assert nearest("zzz", lives) == nearest("***", lives) == []


def test_the_nearest_lines_of_the_file_are_offered() -> None:
    lives = [live("a", line=1), live("b", line=90), live("b", line=90), live("c", line=80), live("d", "other.py", 88)]
    assert nearest("views.py:88", lives, n=2) == ["views.py:90", "views.py:80"]


def test_the_script_is_main_in_the_workers_of_multiprocessing_too() -> None:
    in_worker = live("work", module="__mp_main__")
    assert all(Matcher.parse([it]).matches(in_worker) for it in ("__main__:work", "__mp_main__:work", "__*__:work"))
    assert not Matcher.parse(["__main__:rest"]).may_mean(in_worker.function, "__mp_main__")
    assert not Matcher.parse(["__mp_main__:work"]).matches(live("work", module="__main__"))


def test_a_line_of_a_file_by_another_of_its_paths() -> None:
    asked: list[tuple[str, str]] = []

    def same(typed: str, filename: str) -> bool:
        asked.append((typed, filename))
        return typed == "/srv/current/views.py"

    matcher = Matcher.parse(["/srv/current/views.py:10", "app/views.py:90"], same_file=same)
    assert matcher.matches(GET)
    assert not matcher.matches(live("other", line=11))
    assert asked == [("/srv/current/views.py", "/srv/app/views.py")]  # only where the line is right
    assert nearest("/srv/current/views.py:12", [GET], same_file=same) == ["/srv/current/views.py:10"]


def test_where_no_path_agrees_files_of_that_name_are_offered_as_the_process_calls_them() -> None:
    lives = [GET, live("other", "lib/views.py", 90), live("f", "interviews.py", 12)]
    assert nearest("elsewhere/views.py:12", lives) == ["/srv/app/views.py:10", "lib/views.py:90"]


@pytest.mark.parametrize("typed", ["ﬁle", "Straße:ﬁle", "ﬁ*"])
def test_names_are_those_that_python_compiles(typed: str) -> None:
    assert Matcher.parse([typed]).matches(live("file", module="Straße"))
    assert Matcher.parse([typed.rpartition(":")[2].replace("*", "")], regex=True).matches(live("file"))
    assert nearest("ﬁles", [live("file")]) == ["file"]


def test_a_name_that_was_never_compiled_is_meant_as_it_is() -> None:
    assert Matcher.parse(["ﬁle"]).matches(live("ﬁle"))


def test_patterns_that_mean_nothing_beside_others_are_told_with_the_nearest_names() -> None:
    matcher = Matcher.parse(["get", "gat"])
    missing = matcher.unmatched([GET])
    assert not_there_yet(missing, matcher, [GET]) == ["no function matches 'gat' yet; nearest: Api.get"]
    assert matcher.still_unmatched(missing, live("gat").function, "app") == []
    assert matcher.still_unmatched(missing, GET.function, "app") == ["gat"]
