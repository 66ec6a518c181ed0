"""The sentences in a program's code: what it may say, by a rule and not by a list of the places where it does.

A sentence is a text of at least three words, what is filled in counted as one, wherever it stands: yielded, returned,
appended, assigned or passed on. What is not meant for those who use the program is told by where it stands: docstrings,
annotations, what is compared or searched for, the help of options, and hints (they are the way out itself, and are
shown below their message). What is filled in is ``…``; if that is a name that this function or a module gives to
sentences, it is these.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import product

FEWEST_WORDS = 3
_MOST_VARIANTS = 6  # of a text; with more, its parts are texts by themselves
_ASIDE = {"hint", "detail"}  # parameters of errors, and of what makes them
_HELP = {"help", "description", "epilog", "usage", "style"}
_EXPLAINED = {"command", "Metric", "Column", "add_argument", "ArgumentParser"}  # a help text is an argument of these
_SEARCHED_FOR = {"compile", "match", "fullmatch", "search", "findall", "sub", "replace", "startswith", "removeprefix"}
_NO_SENTENCE = re.compile(r"[{}|]|^\s*<|; ?[\w-]+=")  # CSS, JSON, types, tables; markup and reprs; content types

Texts = list[str]


def plain(text: str) -> str:
    """As it is compared: without what is filled in at the beginning, and how often that is done in a row."""
    text = re.sub(r"…(?:[\s.:]*…)*", "…", " ".join(text.split())).strip()
    return re.sub(r"^[\s…,;:]+(?=\S)", "", text)


def words(text: str) -> int:
    return len(re.findall(r"[A-Za-z]{2,}", text))


def is_sentence(text: str) -> bool:
    if _NO_SENTENCE.search(text):
        return False
    found = words(text)
    return " " in text.strip() and found > 1 and found + min(text.count("…"), 1) >= FEWEST_WORDS


def asides(trees: Collection[ast.Module]) -> dict[str, set[int]]:
    """Of each function that takes a hint: which of its arguments that is, ``self`` not counted."""
    found: dict[str, set[int]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                names = [each.arg for each in node.args.args if each.arg not in ("self", "cls")]
                found.setdefault(node.name, set()).update(at for at, name in enumerate(names) if name in _ASIDE)
    return found


def makers(trees: Collection[ast.Module], errors: Collection[str]) -> set[str]:
    """Functions that return one of these errors: their texts are part of its message."""
    functions = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {each.name for each in functions if each.returns is not None and ast.unparse(each.returns) in errors}


def constants(trees: Collection[ast.Module]) -> dict[str, list[ast.expr]]:
    """What modules assign to a name."""
    found: dict[str, list[ast.expr]] = {}
    for tree in trees:
        for node in tree.body:
            for name, value in _assigned(node):
                found.setdefault(name, []).append(value)
    return found


def said_by(names: Collection[str], tree: ast.Module) -> ast.Module:
    """The calls of these functions alone, and what is raised."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node) in names)
    raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return ast.Module([*(ast.Expr(each) for each in calls), *raised], [])


class Sentences(ast.NodeVisitor):
    """Those of one module, with the line of each.

    Args:
        errors: names of classes whose first argument is a message however short, and whose second one is a hint.
        makers, asides, constants: see the functions.
    """

    def __init__(
        self,
        errors: Collection[str],
        makers: Collection[str],
        asides: Mapping[str, set[int]],
        constants: Mapping[str, list[ast.expr]],
    ) -> None:
        self._errors, self._makers, self._asides = errors, makers, asides
        self._constants = constants
        self._function: ast.FunctionDef | None = None
        self._quiet: set[int] = set()
        self._whole: set[int] = set()
        self.found: list[tuple[str, int]] = []

    def of(self, tree: ast.Module) -> Iterator[tuple[str, int]]:
        self._look_aside(tree)
        self.visit(tree)  # for those that are part of others
        self.found.clear()
        self.visit(tree)
        yield from self.found

    # What stands where no message can.

    def _look_aside(self, tree: ast.Module) -> None:
        for scope in (tree, *(each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef))):
            nodes = [*ast.walk(scope)] if scope is not tree else [*_outside(tree)]
            names: dict[str, list[ast.expr]] = {}
            for node in nodes:
                for name, value in _assigned(node):
                    names.setdefault(name, []).append(value)
            for call in (node for node in nodes if isinstance(node, ast.Call)):
                for hint in self._hints(call):
                    self._quiet.add(id(hint))
                    for each in (part for part in ast.walk(hint) if isinstance(part, ast.Name)):
                        self._quiet.update(map(id, names.get(each.id) or self._constants.get(each.id, ())))

    def _hints(self, call: ast.Call) -> list[ast.expr]:
        name = _name(call)
        at = {1, 2} if name in self._errors else self._asides.get(name, set())
        by_name = [each.value for each in call.keywords if each.arg in _ASIDE]
        return by_name + [argument for index, argument in enumerate(call.args) if index in at]

    def visit(self, node: ast.AST) -> None:
        if id(node) not in self._quiet:
            super().visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None and not _has_rows(node.target):
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not any(map(_has_rows, node.targets)):
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        """An annotation."""

    def visit_Compare(self, node: ast.Compare) -> None:
        """What is looked for in texts of others."""

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in _HELP:
            self.visit(node.value)

    def visit_Dict(self, node: ast.Dict) -> None:
        for each in node.values:
            self.visit(each)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        outer, self._function = self._function, node
        for statement in node.body:
            self.visit(statement)
        self._function = outer

    def visit_Call(self, node: ast.Call) -> None:
        name = _name(node)
        if name in _EXPLAINED:
            return
        if name in _SEARCHED_FOR:
            for part in (node.func, *node.keywords):
                self.visit(part)
            return
        if name in self._errors or name in self._makers:
            hints = self._hints(node)
            for each in node.args:
                if each not in hints:
                    self._add(each, fewest=1)
        self.generic_visit(node)

    # What a text can be.

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._add(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._add(node)
        for each in node.values:
            if isinstance(each, ast.FormattedValue):
                self.visit(each.value)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Add) and _has_text(node):
            self._add(node)
            for part in _parts(node):
                self._whole.add(id(part))
                if isinstance(part, ast.JoinedStr):
                    self.visit_JoinedStr(part)
                elif not isinstance(part, ast.Constant):
                    self.visit(part)
        else:
            self.generic_visit(node)

    def _add(self, node: ast.expr, fewest: int = 0) -> None:
        if id(node) in self._whole:
            return
        for text in self._texts(node):
            if (words(text) >= fewest) if fewest else is_sentence(text):
                self.found.append((text, node.lineno))

    def _texts(self, node: ast.expr, depth: int = 0) -> Texts:
        if isinstance(node, ast.Constant):
            return [node.value.replace("{}", "…")] if isinstance(node.value, str) else ["…"]
        if isinstance(node, ast.JoinedStr):
            parts = [
                self._filled_in(each.value, depth) if isinstance(each, ast.FormattedValue) else [str(each.value)]
                for each in node.values
                if isinstance(each, (ast.FormattedValue, ast.Constant))
            ]
            return self._joined(parts)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._joined([self._filled_in(node.left, depth), self._filled_in(node.right, depth)])
        if isinstance(node, ast.IfExp):
            return self._texts(node.body, depth) + self._texts(node.orelse, depth)
        if isinstance(node, ast.Name) and depth < 3:
            return [text for value in self._meant(node) for text in self._texts(value, depth + 1)] or ["…"]
        return ["…"]

    def _filled_in(self, node: ast.expr, depth: int) -> Texts:
        """Sentences for what is filled in, if it is always something, and at least once a sentence."""
        if isinstance(node, (ast.Constant, ast.JoinedStr)) or (isinstance(node, ast.BinOp) and _has_text(node)):
            return self._texts(node, depth)
        found = list(dict.fromkeys(self._texts(node, depth)))
        if not all(plain(text) for text in found) or not any(map(is_sentence, found)):
            return ["…"]
        self._whole.update(self._values(node))
        return found

    def _values(self, node: ast.expr) -> Iterator[int]:
        """Of what stands for a text that is told as part of another one."""
        if isinstance(node, ast.Name):
            for value in self._meant(node):
                yield from self._values(value)
        elif isinstance(node, ast.IfExp):
            yield from self._values(node.body)
            yield from self._values(node.orelse)
        else:
            yield id(node)

    def _meant(self, use: ast.Name) -> list[ast.expr]:
        """What was assigned to it last; where that is in a branch, in the other ones of it, too."""
        if self._function is not None:
            found = _before(self._function.body, use)
            if found is not None:
                return found
        return list(self._constants.get(use.id, ()))

    @staticmethod
    def _joined(parts: list[Texts]) -> Texts:
        found = list(dict.fromkeys("".join(each) for each in product(*parts)))
        return (
            found if len(found) <= _MOST_VARIANTS else ["".join(each[0] if len(each) == 1 else "…" for each in parts)]
        )


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=False)
                yield from ((name.id, value) for name, value in pairs if isinstance(name, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        yield node.target.id, node.value


def _before(body: list[ast.stmt], use: ast.Name) -> list[ast.expr] | None:
    """What a name can be before it is used: None if it is assigned nowhere before that."""
    found: list[ast.expr] | None = None
    for statement in body:
        if statement.lineno > use.lineno:
            break
        branches = [getattr(statement, name, None) or [] for name in ("body", "orelse", "finalbody")]
        branches += [each.body for each in getattr(statement, "handlers", ())]
        holds = _holds(statement, use)
        assigned = [value for name, value in _assigned(statement) if name == use.id]
        if assigned and not holds:
            found = assigned
        for branch in branches:
            inside = _before(branch, use)
            if inside is None:
                continue
            if any(_holds(part, use) for part in branch):
                return inside
            found = [*(found or ()), *inside]
        if isinstance(statement, ast.If) and statement.orelse and found and not holds:
            ends = [_before(branch, use) for branch in branches[:2]]
            if all(ends):
                found = [value for end in ends for value in end or ()]
        if holds:
            break
    return found


def _outside(tree: ast.Module) -> Iterator[ast.AST]:
    """What is in no function."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        yield node
        left += (each for each in ast.iter_child_nodes(node) if not isinstance(each, ast.FunctionDef))


def _holds(statement: ast.stmt, use: ast.Name) -> bool:
    return statement.lineno <= use.lineno <= (statement.end_lineno or 0)


def _has_rows(target: ast.expr) -> bool:
    """The reasons of losses: each has a row by its name, which says what its remedy says."""
    return isinstance(target, ast.Name) and target.id == "REMEDY"


def _name(call: ast.Call) -> str:
    return getattr(call.func, "id", None) or getattr(call.func, "attr", "")


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _parts(node.left)
        yield from _parts(node.right)
    else:
        yield node


def _has_text(node: ast.expr) -> bool:
    return any(
        isinstance(part, (ast.Constant, ast.JoinedStr)) and isinstance(getattr(part, "value", ""), str)
        for part in _parts(node)
    )
