"""Recording files straight into columns; with msgspec, where it is installed, in a quarter of the time.

Then only what ``Columns`` holds is read, and that is checked as ``decode`` checks it. A file with anything unusual in
it is left to the slow way, which knows how to say what is wrong.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import fields
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from latency.histogram import Counts
from latency.recording.columns import (
    MAX_CALLS,
    NOT_PROBED,
    Columns,
    Tabulator,
    make_columns,
    probed,
    sparse,
    totals,
)
from latency.recording.decode import MAX_BUCKETS, MAX_OCTAVES, MAX_SCALE, run_from_json
from latency.recording.file import load_each, no_collector, read_bytes
from latency.recording.function import Function
from latency.recording.model import Recording

try:
    import msgspec
except ImportError:  # everything works without it
    msgspec = None  # type: ignore[assignment]

LARGE_BYTES = 64 << 20
"""From there on a second process is worth its start."""
FAST = msgspec is not None
"""Whether msgspec is installed."""


def load_columns(path: Path, *, fast: bool = FAST) -> list[Columns]:
    """The runs of a recording file, as ``load`` reads them, but in columns.

    Args:
        path: a recording file.
        fast: with msgspec; the result is the same without.

    Raises:
        RecordingError: see ``load``.
    """
    raw = read_bytes(path)
    if fast:
        try:
            with no_collector():
                return _read(raw)
        except _Unusual:
            pass
    return load_each(raw, path, Tabulator().columns)


def load_two(base: Path, head: Path, *, large_bytes: int = LARGE_BYTES) -> tuple[list[Columns], list[Columns]]:
    """:func:`load_columns` of two files; if both are large, at the same time in two processes.

    Raises:
        RecordingError: see ``load``.
    """
    with suppress(OSError, BrokenExecutor):  # no such file, which is told below; or no second process to be had
        if (os.cpu_count() or 1) > 1 and min(path.stat().st_size for path in (base, head)) > large_bytes:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                second = pool.submit(load_columns, head)
                return load_columns(base), second.result()
    return load_columns(base), load_columns(head)


class _Unusual(Exception):
    """Something that the slow way must look at."""


if FAST:
    _Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    _Amount = Annotated[float, msgspec.Meta(ge=0)]

    class _Document(msgspec.Struct, gc=False):
        schema: Literal["pylat/1"]
        runs: list[msgspec.Raw]

    class _Wall(msgspec.Struct, gc=False):
        unit: Literal["s"]
        scale: Annotated[int, msgspec.Meta(ge=0, le=MAX_SCALE)]
        offset: int
        counts: Annotated[list[int], msgspec.Meta(max_length=MAX_BUCKETS)]
        count: _Count
        sum_ns: _Count
        min_ns: _Count
        max_ns: _Count

    class _Probes(msgspec.Struct, gc=False):
        sum_ns: _Count
        error_share: _Amount
        delayed_share: _Amount = 0.0
        unsure_ns: _Count = 0

    class _Function(msgspec.Struct, gc=False):
        qualname: str
        filename: str
        line: _Count
        kind: Literal["function", "generator", "coroutine", "async_generator", "marker", "event"]
        calls: _Count
        returned: _Count
        raised: _Count
        wall: _Wall
        module: str = ""
        code: str = ""
        probes: _Probes | msgspec.UnsetType = msgspec.UNSET

    # Of the rest of a run everything that a recording has, to be checked by run_from_json.
    _REST = [field.name for field in fields(Recording) if field.name != "functions"]
    _Run = msgspec.defstruct(
        "_Run", [("functions", list[_Function]), *((name, Any, msgspec.UNSET) for name in _REST)], gc=False
    )


def _read(raw: bytes) -> list[Columns]:
    known: dict[tuple[str, str, int, str, str], int] = {}
    table: list[Function] = []
    codes: dict[int, set[str]] = {}
    identity = attrgetter("qualname", "filename", "line", "kind", "module")
    decoder = msgspec.json.Decoder(_Run)
    runs = []
    try:
        for part in msgspec.json.decode(raw, type=_Document).runs:
            run: Any = decoder.decode(part)
            rest = {name: value for name in _REST if (value := getattr(run, name)) is not msgspec.UNSET}
            keys = list(map(identity, run.functions))
            for key in itertools.filterfalse(known.__contains__, keys):
                known[key] = len(table)
                table.append(Function(*key))
            which = np.fromiter(map(known.__getitem__, keys), np.int32, len(keys))
            for at, each in zip(which.tolist(), run.functions, strict=True):
                if each.code:
                    codes.setdefault(at, set()).add(each.code)
            runs.append(_columns(run_from_json(rest | {"functions": []}), table, codes, which, run.functions))
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise _Unusual from error
    if len({columns.run.id for columns in runs}) < len(runs):
        raise _Unusual
    return runs


def _columns(run: Any, table: list[Function], codes: dict[int, set[str]], which: Any, functions: list[Any]) -> Columns:
    walls = [each.wall for each in functions]

    def column(objects: list[Any], name: str) -> Counts:
        return np.fromiter(map(attrgetter(name), objects), np.int64, len(objects))

    parts = [wall.counts for wall in walls]
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    counts = np.fromiter(itertools.chain.from_iterable(parts), np.int64, int(lengths.sum()))
    offsets, scales, least, most = (column(walls, name) for name in ("offset", "scale", "min_ns", "max_ns"))
    limits = MAX_OCTAVES << scales
    entries = sparse(lengths, offsets, counts)
    right = (
        (offsets >= -limits).all()
        and (offsets <= limits - lengths).all()
        and (entries[1] > 0).all()
        # Below that, no running sum was wrong.
        and entries[1].sum(dtype=np.float64) < MAX_CALLS
        and (totals(*entries[1:]) == column(walls, "count")).all()
        and (least <= most).all()
        and (column(functions, "returned") + column(functions, "raised") == column(functions, "calls")).all()
    )
    if not right:
        raise _Unusual
    told = [
        NOT_PROBED
        if (it := each.probes) is msgspec.UNSET
        else probed(each.calls, it.sum_ns, it.error_share, it.unsure_ns, it.delayed_share)
        for each in functions
    ]
    of_probes = np.array(told, np.float64).reshape(-1, 3).T
    sums = np.concatenate([np.stack([column(walls, "sum_ns"), least, most]).astype(np.float64), of_probes])
    return make_columns(run, table, codes, which, scales, sums, entries)
