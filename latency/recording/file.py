"""Recordings in a file: written whole or not at all, read with every value checked."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar
from uuid import uuid4

from latency.errors import RecordingError
from latency.recording.checked import Invalid
from latency.recording.decode import run_from_json
from latency.recording.encode import SCHEMA, to_json
from latency.recording.model import Recording

MAX_BYTES = 1 << 30
T = TypeVar("T")
_HINT = "give a file that pylat wrote with -o"


@dataclass(frozen=True)
class _Run(Generic[T]):
    """A run that was decoded, among what is still JSON."""

    id: str
    made: T


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``pylat/1``, for other tools. ``load`` checks more than a schema can say."""
    schema: dict[str, Any] = json.loads(Path(__file__).with_name("schema.json").read_bytes())
    return schema


def dumps(runs: Iterable[Recording]) -> str:
    """The text of a recording file: one run a line, so that tools for lines have something to hold on to.

    Raises:
        ValueError: a number is not finite.
    """
    with no_collector():
        lines = ",\n".join(json.dumps(to_json(run), separators=(",", ":"), allow_nan=False) for run in runs)
    return f'{{"schema": "{SCHEMA}", "runs": [\n{lines}\n]}}\n'


def dump(runs: Iterable[Recording], path: Path | str) -> None:
    """Write runs to path. Whoever reads path sees the old file or the new one, never a part.

    Raises:
        RecordingError: it cannot be written.
        ValueError: a number is not finite; nothing is written.
    """
    text = dumps(runs)
    try:
        # The file behind a symbolic link is replaced, not the link; and never a device such as /dev/null.
        final = Path(path).resolve()
        if final.exists() and not final.is_file():
            final.write_text(text, encoding="ascii")
        else:
            _replace(final, text)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, before CPython 3.13
        reason = getattr(error, "strerror", None) or error
        raise RecordingError(f"cannot write {path}: {reason}", "choose another file with -o") from error


def _replace(final: Path, text: str) -> None:
    partial = final.with_name(f".{uuid4().hex}.partial")
    try:
        with partial.open("x", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(final)
    finally:
        partial.unlink(missing_ok=True)


def append(runs: Iterable[Recording], path: Path | str) -> None:
    """Add runs to those of path, or make it.

    Raises:
        RecordingError: path is there but no recording, has one of the runs already, or cannot be written.
    """
    before = load(path) if Path(path).exists() else []
    after = [*before, *runs]
    if len({run.id for run in after}) < len(after):
        raise RecordingError(f"{path} has that run already", "append each run once")
    dump(after, path)


def load(path: Path | str) -> list[Recording]:
    """The runs of a recording file, in its order.

    Raises:
        RecordingError: it cannot be read, is no recording, or is not what ``pylat/1`` promises.
    """
    return load_each(read_bytes(Path(path)), Path(path), lambda run: run)


def loads(text: str) -> list[Recording]:
    """The inverse of :func:`dumps`.

    Raises:
        RecordingError: see :func:`load`.
    """
    return _loads(text, lambda run: run)


def read_bytes(path: Path) -> bytes:
    """What a recording file holds.

    Raises:
        RecordingError: it cannot be read, or is larger than ``MAX_BYTES``.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror or error}", _HINT) from error
    if len(raw) > MAX_BYTES:
        raise RecordingError(f"{path} is larger than {MAX_BYTES >> 20} MiB", "keep fewer runs in one file")
    return raw


def load_each(raw: bytes, path: Path, make: Callable[[Recording], T]) -> list[T]:
    """What ``make`` makes of each run in the bytes of path; a run is let go before the next one is decoded.

    Raises:
        RecordingError: see :func:`load`.
    """
    try:
        return _loads(raw.decode(), make)
    except UnicodeDecodeError:
        raise RecordingError(f"{path} is no pylat recording: not UTF-8 text", _HINT) from None
    except RecordingError as error:
        raise RecordingError(f"{path} is no pylat recording: {error}", error.hint) from None


def _loads(text: str, make: Callable[[Recording], T]) -> list[T]:
    try:
        with no_collector():
            runs = list(_runs(text, make))
    except RecursionError:
        raise RecordingError("JSON nested too deeply", _HINT) from None
    except Invalid as invalid:
        raise RecordingError(str(invalid), _HINT) from None
    except ValueError as error:
        raise RecordingError(f"not JSON: {error}", _HINT) from None
    if len({id for id, _ in runs}) < len(runs):
        raise RecordingError("two runs have one id", "append each run once")
    return [made for _, made in runs]


def _runs(text: str, make: Callable[[Recording], T]) -> Iterator[tuple[str, T]]:
    def decode_early(value: dict[str, Any]) -> dict[str, Any] | _Run[T] | Invalid:
        """Decode a run as soon as it is parsed: its dicts take ten times the memory of what they say.

        What is wrong with it is told later, in its place, after the schema has been looked at.
        """
        if "functions" not in value:
            return value
        try:
            run = run_from_json(value)
            return _Run(run.id, make(run))
        except Invalid as invalid:
            return invalid

    document = json.loads(text, parse_constant=_refuse, object_hook=decode_early)
    if not isinstance(document, dict) or not str(document.get("schema", "")).startswith("pylat/"):
        raise Invalid('no "schema": "pylat/..." in it')
    if document["schema"] != SCHEMA:
        raise Invalid(f"schema {document['schema']!r:.40}, and this pylat reads {SCHEMA!r}")
    runs = document.get("runs")
    if not isinstance(runs, list):
        raise Invalid("runs: not a list")
    for index, run in enumerate(runs):
        if isinstance(run, _Run):
            yield run.id, run.made
        else:
            raise Invalid(f"runs[{index}].{run if isinstance(run, Invalid) else 'functions: missing'}")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


@contextmanager
def no_collector() -> Iterator[None]:
    """Hundreds of thousands of objects are made and none is garbage: the collector would take half the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
