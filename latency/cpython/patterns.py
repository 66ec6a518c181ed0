"""Which functions a ``--func PATTERN`` means.

Without ``regex``, the first rule that fits the pattern's form decides:

=====================  =================================================================================
``app/views.py:88``    the functions that begin in that line (``co_firstlineno``: that of the first decorator)
                       of a file of that name, or whose path ends with that; or that is the same file by another
                       path, as the caller of ``parse`` finds
``app.views:Api.get``  the functions of exactly that qualname in exactly that module; both may be globs. A function
                       whose module is not known is not meant. ``__main__`` is also what the workers of
                       ``multiprocessing`` call ``__mp_main__``
``Api.*``              the functions whose whole qualname the glob (``*``, ``?``, ``[``) fits, case and all
``get``, ``Api.get``   the functions of that qualname, or whose qualname ends with a dot and that
=====================  =================================================================================

With ``regex`` a pattern is searched anywhere in the qualname. Names are also taken in the form that Python gives them
when it compiles (NFKC).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from latency.cpython.functions import LiveFunction
from latency.errors import NoFunctionMatches, UsageError
from latency.recording import Function, Options
from latency.target.files import TargetFiles
from latency.target.process import Process

_Rule = Callable[[Function, str], bool]
SameFile = Callable[[str, str], bool]
"""Whether a path that was typed, and a ``co_filename``, are of one file (``target.files.TargetFiles.same``)."""

_FILE_LINE = re.compile(r"(?:\./)?(.+):(\d{1,9})", re.DOTALL)
_WORD = re.compile(r"\w+")
_GLOB = frozenset("*?[")


@dataclass(frozen=True)
class Matcher:
    """Patterns, any of which may match. None at all match every function."""

    _rules: tuple[tuple[str, _Rule], ...]
    _bare_names: frozenset[str] | None = None
    _named: tuple[tuple[str, str], ...] = ()  # (module or "", qualname) of the patterns that are no FILE:LINE
    same_file: SameFile | None = None

    @property
    def bare_names(self) -> frozenset[str] | None:
        """The ``co_name`` of every function that can match, where the patterns say so much; else None."""
        return self._bare_names

    @classmethod
    def parse(cls, patterns: Sequence[str], *, regex: bool = False, same_file: SameFile | None = None) -> Matcher:
        """The matcher of some patterns.

        Args:
            same_file: asked where a line is right and the path of the file is another; None: paths must agree.

        Raises:
            UsageError: a pattern is empty, or no regular expression.
        """
        names = frozenset(pattern.rpartition(":")[2].rpartition(".")[2] for pattern in patterns)
        plain = not regex and all(name.isascii() and not name.isdigit() and _GLOB.isdisjoint(name) for name in names)
        rules = tuple((each, _either(each, _regex) if regex else _rule(each, same_file)) for each in patterns)
        named = (each.rpartition(":") for each in patterns if not regex and not _FILE_LINE.fullmatch(each))
        return cls(
            rules, names if plain and names else None, tuple((it[0], _compiled(it[2])) for it in named), same_file
        )

    def matches(self, live: LiveFunction) -> bool:
        """Whether a pattern means this function."""
        return self.matches_function(live.function, live.module)

    def matches_function(self, function: Function, module: str = "") -> bool:
        """The same for a function met while it runs."""
        return not self._rules or any(rule(function, module) for _, rule in self._rules)

    @property
    def by_module(self) -> bool:
        """Whether a pattern asks for the module."""
        return any(in_module for in_module, _ in self._named)

    def may_mean(self, function: Function, module: str, *, bare: bool = False) -> bool:
        """Whether a pattern that does not mean this function would if more were known of it.

        Args:
            module: ``""``: it may be any that a pattern names.
            bare: only the last part of the qualname is known (and no pattern is a glob).
        """
        if self.matches_function(function, module):
            return False
        for in_module, qualname in self._named:
            if module and in_module and not _in_module(module, in_module):
                continue
            if (in_module and not module and fnmatchcase(function.qualname, qualname)) or (
                bare and qualname.rpartition(".")[2] == function.qualname != qualname
            ):
                return True
        return False

    def unmatched(self, lives: Iterable[LiveFunction]) -> list[str]:
        """The patterns that mean none of these functions."""
        missing = [pattern for pattern, _ in self._rules]
        for live in lives:
            missing = self.still_unmatched(missing, live.function, live.module)
            if not missing:
                break
        return missing

    def still_unmatched(self, patterns: Sequence[str], function: Function, module: str) -> list[str]:
        """Those of these patterns that do not mean this function either."""
        return [pattern for pattern, rule in self._rules if pattern in patterns and not rule(function, module)]


def nearest(pattern: str, lives: Iterable[LiveFunction], n: int = 5, *, same_file: SameFile | None = None) -> list[str]:
    """At most ``n`` patterns that look like one that matches nothing, the most alike first; they match something.

    They are qualnames, or, for ``file.py:LINE``, the lines that are nearest in that file, or in files of its name as
    the process calls them.
    """
    at = _FILE_LINE.fullmatch(pattern)
    if at:
        lives, line, name = list(lives), int(at[2]), f"/{at[1]}".rpartition("/")[2]
        same = [live for live in lives if _in_file(live.function, at[1])]
        same = same or [live for live in lives if same_file and same_file(at[1], live.function.filename)]
        if same:
            lines = {live.function.line for live in same}
            return [f"{at[1]}:{each}" for each in sorted(lines, key=lambda each: (abs(each - line), each))[:n]]
        namesakes = {(it.function.filename, it.function.line) for it in lives if _in_file(it.function, name)}
        return [f"{file}:{each}" for file, each in sorted(namesakes, key=lambda it: (abs(it[1] - line), it))[:n]]
    words = _WORD.findall(_compiled(pattern).lower())
    if not words:
        return []
    qualnames: dict[str, list[str]] = {}
    for qualname in dict.fromkeys(live.function.qualname for live in lives):
        qualnames.setdefault(qualname.rpartition(".")[2].lower(), []).append(qualname)
    alike = get_close_matches(words[-1], qualnames, n)
    return [qualname for name in alike for qualname in qualnames[name]][:n]


def _compiled(name: str) -> str:
    """As Python has it when it compiles: https://docs.python.org/3/reference/lexical_analysis.html#identifiers."""
    return unicodedata.normalize("NFKC", name)


def _either(pattern: str, rule_of: Callable[[str], _Rule]) -> _Rule:
    """The rule of a pattern as it was typed, and as Python would compile its names."""
    typed, compiled = rule_of(pattern), _compiled(pattern)
    if compiled == pattern:
        return typed
    other = rule_of(compiled)
    return lambda function, module: typed(function, module) or other(function, module)


def _rule(pattern: str, same_file: SameFile | None) -> _Rule:
    if not pattern.strip():
        raise UsageError("a function pattern is empty", "leave --func out to measure every function")
    at = _FILE_LINE.fullmatch(pattern)
    if not at:
        return _either(pattern, _of_names)
    file, line = at[1], int(at[2])
    return lambda function, module: (
        function.line == line and (_in_file(function, file) or bool(same_file and same_file(file, function.filename)))
    )


def _of_names(pattern: str) -> _Rule:
    in_module, colon, qualname = pattern.rpartition(":")
    if not colon:
        return lambda function, module: _has_qualname(function, pattern)
    if not in_module or not qualname:
        raise UsageError(f"the function pattern {pattern!r} is incomplete", "write MODULE:QUALNAME or FILE:LINE")
    return lambda function, module: (
        bool(module) and fnmatchcase(function.qualname, qualname) and _in_module(module, in_module)
    )


def _regex(pattern: str) -> _Rule:
    if not pattern:
        raise UsageError("a function pattern is empty", "leave --func out to measure every function")
    try:
        search = re.compile(pattern).search
    except re.error as error:
        where = "" if error.pos is None else f" at position {error.pos}"
        raise UsageError(
            f"{pattern!r} is no regular expression: {error.msg}{where}", "leave -r out to give a name or a glob"
        ) from None
    except (OverflowError, RecursionError) as error:
        raise UsageError(f"{pattern!r} is no regular expression: {error}") from None
    return lambda function, module: search(function.qualname) is not None


def _has_qualname(function: Function, pattern: str) -> bool:
    if not _GLOB.isdisjoint(pattern):
        return fnmatchcase(function.qualname, pattern)
    return function.qualname == pattern or function.qualname.endswith(f".{pattern}")


def _in_module(module: str, pattern: str) -> bool:
    # multiprocessing/spawn.py, _fixup_main_from_path: the script is imported by another name in the workers
    return fnmatchcase(module, pattern) or (module == "__mp_main__" and fnmatchcase("__main__", pattern))


def _in_file(function: Function, file: str) -> bool:
    return function.filename == file or function.filename.endswith(f"/{file}")


def matcher_of(options: Options, process: Process) -> Matcher:
    """What the options want of a process. Raises UsageError."""
    return Matcher.parse(options.func, regex=options.regex, same_file=TargetFiles(process).same)


def nothing_matches(matcher: Matcher, lives: Sequence[LiveFunction]) -> NoFunctionMatches:
    """The error that says so, of a matcher that none of these matches; its hint offers the nearest names."""
    pattern = matcher.unmatched(lives)[0]
    near = nearest(pattern, lives, same_file=matcher.same_file)
    hint = f"nearest: {', '.join(near)}" if near else "pylat functions -p PID lists what there is"
    return NoFunctionMatches(f"no function matches {pattern!r}", hint)


def not_there_yet(patterns: Sequence[str], matcher: Matcher, lives: Sequence[LiveFunction]) -> list[str]:
    """Of each of some patterns that match nothing, where others do: a line that says so, with the nearest names."""
    found = []
    for pattern in patterns:
        near = nearest(pattern, lives, same_file=matcher.same_file)
        found.append(f"no function matches {pattern!r} yet" + (f"; nearest: {', '.join(near)}" if near else ""))
    return found


def unseen(patterns: Sequence[str]) -> list[str]:
    """The same when it is over."""
    return [f"any function that matches {pattern!r}: there was none" for pattern in patterns]
