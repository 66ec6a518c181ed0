"""Who may import whom: one direction of flow, read from one dict."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "latency"

# room -> what it may import beside the standard library and itself; a room is a folder or a module of the package, or a
# folder of tracing/ (a wing). Some have no file yet: whoever brings one finds its place here.
DATA = {"latency.errors", "latency.untrusted", "latency.histogram", "latency.recording", "numpy"}
LIVE = DATA | {"latency", "latency.cache", "latency.resources", "latency.target", "latency.cpython"}
# a wing of tracing/ -> the wings that it may import beside itself
BELOW: dict[str, set[str]] = {
    "kernel": set(),
    "limit": set(),
    "counted": {"kernel", "limit"},
    "probes": {"kernel", "limit", "counted"},
    "watch": {"kernel", "limit", "counted"},
    "markers": {"kernel", "limit", "counted"},
}
ENGINES = {f"latency.tracing.{wing}" for wing in BELOW}
# who measures knows the protocol of tracing/measurement.py and what the host allows, and no engine
COMMANDS = {"latency", "latency.target", "latency.cpython", "latency.tracing", "latency.tracing.kernel"}
LAW: dict[str, set[str]] = {
    "errors": set(),
    "resources": set(),
    "cache": set(),
    "untrusted": set(),
    "histogram": {"latency.errors", "numpy"},
    "recording": DATA | {"scipy"},
    "target": {"latency.errors", "latency.resources", "numpy"},
    "cpython": DATA | {"latency", "latency.cache", "latency.resources", "latency.target", "capstone"},
    "tracing": LIVE | ENGINES,
    **{f"tracing/{wing}": LIVE | {f"latency.tracing.{below}" for below in BELOW[wing]} for wing in BELOW},
    "report": DATA | {"rich"},
    "export": DATA | {"google", "opentelemetry", "prometheus_client"},
    "agent": DATA | COMMANDS | {"latency.export", "yaml"},
    "live": DATA | COMMANDS | {"latency.export", "latency.report", "rich", "textual"},
    "cli": DATA | COMMANDS | {f"latency.{room}" for room in ("report", "export", "agent", "live")} | {"rich"},
    "__main__": {"latency.cli"},
    "__init__": set(),
    "demo_workload": set(),
}
# the one file of a room that may import one thing more
EXTRA = {
    "target/headers.py": {"elftools"},
    "tracing/kernel/compiler.py": {"bcc"},
    "recording/fast.py": {"msgspec"},
    "report/statistics.py": {"scipy"},
}
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if "_data" not in path.parts)


def room(file: str) -> str:
    first, _, rest = file.partition("/")
    wing = f"{first}/{rest.split('/')[0]}"
    return wing if wing in LAW else first.removesuffix(".py")


def imported(source: str, package: str) -> Iterator[str]:
    """The dotted names that a module of ``package`` imports, also within functions and for types alone."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names) if base == "latency" else (base,)


def law_name(dotted: str) -> str:
    """What the law calls it: ``latency.target`` for ``latency.target.maps``, ``numpy`` for ``numpy.typing``."""
    parts = dotted.split(".")
    if parts[0] != "latency":
        return parts[0]
    if "/".join(parts[1:3]) in LAW:
        return ".".join(parts[:3])
    name = ".".join(parts[:2])
    return name if len(parts) > 1 and parts[1] in LAW else "latency"


@pytest.mark.parametrize("file", FILES)
def test_a_room_imports_only_what_the_law_allows(file: str) -> None:
    here = room(file)
    package = ".".join(["latency", *file.split("/")[:-1]])
    names = {law_name(name) for name in imported((PACKAGE / file).read_text(encoding="utf-8"), package)}
    allowed = LAW[here] | EXTRA.get(file, set()) | {f"latency.{here.replace('/', '.')}"} | set(sys.stdlib_module_names)
    assert names <= allowed


# what is longer than a file or a class should be, and why
LONG: dict[str, str] = {}
MOST_LINES, MOST_LINES_OF_A_CLASS = 400, 300


@pytest.mark.parametrize("file", FILES)
def test_a_file_does_one_job(file: str) -> None:
    text = (PACKAGE / file).read_text(encoding="utf-8")
    if file in LONG:
        return
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and node.end_lineno:
            assert node.end_lineno - node.lineno < MOST_LINES_OF_A_CLASS, node.name


def test_no_module_shares_a_name_with_a_data_folder() -> None:
    assert not {"bpf.py", "offsets.py", "bpf/__init__.py", "offsets/__init__.py"} & set(FILES)


def test_a_relative_import_is_seen() -> None:
    assert list(imported("from ..report import text\nfrom .maps import parse\n", "latency.target")) == [
        "latency.report",
        "latency.target.maps",
    ]


def test_the_import_of_a_room_by_its_package_is_seen() -> None:
    assert list(imported("def late():\n    from latency import report\n", "latency.target")) == ["latency.report"]
