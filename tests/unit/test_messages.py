"""``docs/messages.md`` has each sentence that the code can say, word by word, and no other.

What a sentence is, and what is none for where it stands, is told by ``sentences``. What is said of the code here is
short, with a reason: modules that say nothing of a measurement, and texts that only look like sentences.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from latency import errors
from latency.recording import REMEDY
from tests.unit.sentences import Sentences, asides, constants, is_sentence, makers, plain, said_by

PACKAGE = Path(errors.__file__).parent
ERRORS = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, errors.PylatError)}
OTHER_WORDS = {
    "cpython/build_report.py": "what pylat check --report writes is read by pylat's developers",
    "demo_workload.py": "it is the program that pylat demo measures",
    "live/screens.py": "what keys do is said by the screen that ? opens",
    "report/page/__init__.py": "the frame of a page: markup",
    "tracing/kernel/child.py": "a program",
}
ERRORS_ALONE = {"cli/arguments.py": "all else is what --help prints"}
NO_MESSAGES = {
    "latency calls % cum % distribution": "the head of a table",
    "gc [generation …]": "a name",
    "qword ptr [… + …]": "a part of an instruction",
    "q quit / filter ⏎ open <> order t since start p pause s save e engine l slow calls ? help": "what keys do",
    "no place: …": "a plan that was kept and cannot be read is made anew",
    "an offset is no number": "the same",
    "an address or an opcode is no number": "the same",
    "a frame's home is no word of the stack": "the same",
}


@cache
def _trees() -> dict[str, ast.Module]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


@cache
def sentences() -> dict[str, str]:
    """Each one that may be said, and where it is."""
    found = dict.fromkeys(REMEDY, "recording/model.py")
    every = _trees().values()
    known = makers(every, ERRORS), asides(every), constants(every)
    for file, tree in _trees().items():
        if file not in OTHER_WORDS:
            said = Sentences(ERRORS, *known).of(said_by({"error", "say"}, tree) if file in ERRORS_ALONE else tree)
            found.update((plain(text), f"{file}:{line}") for text, line in said)
    return found


def messages() -> dict[str, str]:
    """Those that are one."""
    return {text: where for text, where in sentences().items() if text not in NO_MESSAGES}


def on_the_page(repository: Path) -> set[str]:
    """What the first cells of the page's tables have in code style."""
    page = (repository / "docs" / "messages.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE)
    return {plain(text) for cell in cells for text in re.findall(r"`([^`]+)`", cell)}


def test_each_message_of_the_code_is_on_the_page(repository: Path) -> None:
    there = on_the_page(repository)
    missing = [f"{text} ({where})" for text, where in messages().items() if text not in there]
    assert not missing, "give each a row in docs/messages.md:\n" + "\n".join(missing)


def test_the_page_has_no_message_that_the_code_does_not_say(repository: Path) -> None:
    words = {node.value for tree in _trees().values() for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert on_the_page(repository) - messages().keys() - words == set()


def test_what_is_left_out_is_there() -> None:
    assert OTHER_WORDS.keys() | ERRORS_ALONE.keys() <= _trees().keys()
    assert NO_MESSAGES.keys() <= sentences().keys()


def test_messages_that_are_made_up_in_parts_are_found() -> None:
    """Each of these stands in another way in the code."""
    for text in (
        "no function that matches … was ever called; the program ended with status …",  # yielded
        "a child process ran Python and was not measured: …; add --children",  # of two pieces
        "only in …",  # of two words
        "calls of what is compiled to C (by Cython or Nuitka, say), as …",  # returned
        "what pylat's probes took is taken off in … alone, and is part of the other side's latencies: "
        "record both with the same pylat",  # of two lines
        "watch: not proven: …",  # assigned to an attribute
        "it was asked for",  # one of two
        "calls began … times, and did not end in between, as far as pylat sees",
    ):
        assert text in messages()


def _found(code: str) -> list[str]:
    tree = ast.parse(code)
    return [text for text, _ in Sentences({"Wrong"}, set(), asides([tree]), constants([tree])).of(tree)]


def test_what_is_filled_in_is_an_ellipsis() -> None:
    assert _found("say(f'cannot read {path}{more}: {error}')") == ["cannot read ……: …"]
    assert plain("… cannot read ……: … …") == "cannot read …"


def test_a_name_is_what_it_was_given_last() -> None:
    code = "def f():\n if a:\n  x = 'one two three'\n else:\n  x = 'four five six'\n yield f'{x} seven'\n x = 'no'"
    assert _found(code) == ["one two three seven", "four five six seven"]
    assert _found("def f():\n x = 'one two three' if a else ''\n yield f'{x} seven eight nine'") == [
        "one two three",
        "… seven eight nine",
    ]


def test_sentences_stand_anywhere_but_where_no_message_can() -> None:
    for code in (
        "yield 'a b1 is cc dd'",
        "x.append('a b1 is cc dd')",
        "x = ['a b1 is cc dd']",
        "raise E('a b1 is cc dd')",
    ):
        assert _found(f"def f():\n '''What it is for.'''\n {code}") == ["a b1 is cc dd"]
    for code in (
        "x: 'one | two or three'",
        "f(help='one two three')",
        "'one two three' in x",
        "re.compile('one two three')",
    ):
        assert _found(code) == []
    hinting = "def wrong(self, what, hint): ...\n"
    assert _found(hinting + "self.wrong('it is', 'give another one')") == []
    assert _found("h = 'give another one'\nraise Wrong('no', h)") == ["no"]


def test_a_sentence_has_three_words_or_two_and_something_more() -> None:
    assert [is_sentence(text) for text in ("only in …", "one two three", "three or four of them")] == [True] * 3
    assert [is_sentence(text) for text in ("two words", "…: no", "text/plain; charset=utf-8 one two")] == [False] * 3
