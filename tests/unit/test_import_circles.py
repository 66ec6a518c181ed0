"""No two modules need each other, however they are imported: at the top, within a function, or for types alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "latency"

# Between rooms the import law has an order; here it is about the modules of one.
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def name_of(path: Path) -> str:
    """The dotted name of a module's file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, package: str, modules: Mapping[str, object]) -> Iterator[str]:
    """Which of the modules a module of ``package`` names in its imports.

    That ``import a.b`` runs ``a/__init__.py`` first is not counted: it does so for every module of the package.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            inner = {f"{base}.{alias.name}" for alias in node.names} & set(modules)
            yield from inner
            if base in modules and len(inner) < len(node.names):
                yield base


def circle(sources: Mapping[str, tuple[str, str]]) -> list[str]:
    """A circle among modules, as their names in order, the first one again at the end; empty without one.

    Args:
        sources: of each module by name, its package and its text.
    """
    graph = {name: set(imported(text, package, sources)) for name, (package, text) in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def room(name: str) -> dict[str, tuple[str, str]]:
    """The modules of a room, as ``circle`` takes them."""
    return {
        name_of(path): (name_of(path.parent / "__init__.py"), path.read_text(encoding="utf-8"))
        for path in (PACKAGE / name).rglob("*.py")
    }


@pytest.mark.parametrize("name", ROOMS)
def test_no_modules_of_a_room_import_each_other(name: str) -> None:
    modules = room(name)
    assert modules
    assert circle(modules) == []


def sources(**texts: str) -> dict[str, tuple[str, str]]:
    return {f"latency.report.{name}": ("latency.report", text) for name, text in texts.items()}


CIRCLES = {
    "at the top": sources(a="from latency.report import b", b="import latency.report.a"),
    "within a function": sources(a="from latency.report.b import f", b="def f():\n    from latency.report import a\n"),
    "for types alone": sources(a="if TYPE_CHECKING:\n    from latency.report.b import T\n", b="from .a import f"),
    "of three": sources(a="from . import b", b="from .c import f", c="from latency.report.a import g"),
}


@pytest.mark.parametrize("made", CIRCLES.values(), ids=CIRCLES)
def test_a_circle_is_found(made: dict[str, tuple[str, str]]) -> None:
    found = circle(made)
    assert found[0] == found[-1]
    assert set(found) == made.keys()


def test_a_package_that_names_its_modules_is_no_circle() -> None:
    package = {"latency.report": ("latency.report", "from latency.report.a import f\nfrom latency.report import b\n")}
    assert circle(package | sources(a="from latency.report.b import g", b="import latency.errors")) == []


def test_a_module_that_takes_a_name_of_its_own_package_is_one() -> None:
    package = {"latency.report": ("latency.report", "from latency.report.a import f")}
    assert circle(package | sources(a="from latency.report import f")) != []
