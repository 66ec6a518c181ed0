"""``docs/messages.md`` has each message of the code, word by word, and no other.

What is read from the code are the first arguments of its errors and of ``say``, the reasons of losses, and the remarks
of a report. What is filled in is ``…`` on both sides; several of them with nothing but spaces, dots and colons between
them are one. A message of which nothing else is left is made up elsewhere, and is not looked for.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from latency import errors
from latency.recording import REMEDY

PACKAGE = Path(errors.__file__).parent
ERRORS = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, errors.PylatError)}
REMARKS = {
    "agent/agent.py": {"_read_again"},
    "agent/budget.py": {"step"},
    "agent/fleet.py": {"_begin_next"},
    "agent/push.py": {"once", "_send"},
    "cpython/jit.py": {"blind_spots"},
    "cpython/watch_sites.py": {"_BLIND_SPOTS", "_OUTLIVING"},
    "tracing/counted/proof.py": {"_against", "_ADVICE"},
    "tracing/counted/table.py": {"unseen"},
    "tracing/handover.py": {"_both_looked", "_not_taken_off"},
    "tracing/markers/session.py": {"_BLIND_SPOTS", "_not_raised"},
    "tracing/probes/session.py": {"_MAIN_THREAD_ENDED"},
    "tracing/counted/switches.py": {"GREENLETS"},
    "tracing/strangers.py": {"_start"},
    "tracing/watch/asked.py": {"JIT"},
    "tracing/watch/session.py": {"_not_followed", "_unlimited", "_of_suspending", "_resolution"},
}
"""Where the report's lines "not seen", and doubts about a build, have their words: functions and constants."""
_FEWEST_WORDS = 3  # of a remark, and of what ``say`` is given


def texts(node: ast.AST | None, constants: dict[str, ast.AST]) -> list[str]:
    """What an expression can be: several where it is one thing or another."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else ["…"]
    if isinstance(node, ast.JoinedStr):
        return ["".join(each.value if isinstance(each, ast.Constant) else "…" for each in node.values)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [a + b for a in texts(node.left, constants) for b in texts(node.right, constants)]
    if isinstance(node, ast.IfExp):
        return texts(node.body, constants) + texts(node.orelse, constants)
    if isinstance(node, ast.Name) and node.id in constants:
        return texts(constants[node.id], {})
    return ["…"]


def plain(text: str) -> str:
    return re.sub(r"…(?:[\s.:]*…)*", "…", " ".join(text.split())).strip()


def words(text: str) -> int:
    return len(re.findall(r"[A-Za-z]{2,}", text))


def remarks(tree: ast.Module, names: set[str]) -> Iterator[str]:
    """All texts of functions and of constants with these names, but for docstrings."""
    for node in ast.walk(tree):
        documented = None
        if isinstance(node, ast.FunctionDef):
            name, documented = node.name, ast.get_docstring(node, clean=False)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        else:
            continue
        if name in names:
            inner = {id(part) for each in ast.walk(node) if isinstance(each, ast.JoinedStr) for part in each.values}
            for each in ast.walk(node):
                if isinstance(each, (ast.JoinedStr, ast.Constant)) and id(each) not in inner:
                    yield from (text for text in texts(each, {}) if text != documented)


def messages() -> dict[str, str]:
    """Each message, and the file that it is in."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
    constants: dict[str, ast.AST] = {}
    for tree in trees.values():
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                constants[node.targets[0].id] = node.value
    found = dict.fromkeys(REMEDY, "recording/model.py")
    for path, tree in trees.items():
        file = path.relative_to(PACKAGE).as_posix()
        said = [(text, _FEWEST_WORDS) for text in remarks(tree, REMARKS.get(file, set()))]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
                if name in ERRORS or name in ("malformed", "wrong"):
                    said += [(text, 1) for text in texts(node.args[0], constants)]
                elif name == "say":
                    said += [(text, _FEWEST_WORDS) for text in texts(node.args[0], constants)]
        found.update((plain(text), file) for text, fewest in said if words(text) >= fewest)
    return found


def on_the_page(repository: Path) -> set[str]:
    """What begins a row of a table of the page, in code style."""
    page = (repository / "docs" / "messages.md").read_text(encoding="utf-8")
    return {plain(text) for text in re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)}


def test_each_message_of_the_code_is_on_the_page(repository: Path) -> None:
    there = on_the_page(repository)
    missing = [f"{text} ({file})" for text, file in messages().items() if text not in there]
    assert not missing, "give each a row in docs/messages.md: " + "; ".join(missing)


def test_the_page_has_no_message_that_the_code_does_not_say(repository: Path) -> None:
    assert on_the_page(repository) - messages().keys() == set()


def test_what_is_filled_in_is_an_ellipsis() -> None:
    node = ast.parse("f'cannot read {path}{more}: {error}'", mode="eval").body
    assert [plain(text) for text in texts(node, {})] == ["cannot read …"]
