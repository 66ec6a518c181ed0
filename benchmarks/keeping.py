"""What all parts of the benchmark share: what they are told, how figures are estimated, and where results go."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.lab import Interpreter, interpreters

RESULTS = Path(__file__).with_name("results")
TARGETS = Path(__file__).with_name("targets")
_FASTEST = 0.1

Values = dict[str, Any]
"""What a part measured: JSON."""


@dataclass(frozen=True)
class Settings:
    """What the command line says.

    Attributes:
        rounds: of each part; None for the part's own number.
        every: every interpreter of the lab, not one of each of a few versions.
        small: a tenth of it, to see whether it runs at all.
    """

    rounds: int | None = None
    every: bool = False
    small: bool = False

    def rounds_or(self, usual: int) -> int:
        """How many rounds a part makes that usually makes so many."""
        return self.rounds or usual

    def progress(self, text: str) -> None:
        """A line for who waits."""
        print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Goal:
    """A figure that was promised, and what it is.

    Attributes:
        found: what was measured, in words; ``reached`` is None where it could not be measured.
    """

    figure: str
    promised: str
    found: str
    reached: bool | None


@dataclass(frozen=True)
class Part:
    """One part of the benchmark.

    Attributes:
        about: what it measures, for its heading.
        measure: does it.
        tables: the values as Markdown.
        plots: the values as figures of matplotlib, by name; called only where that is installed.
        goals: what the values say of the figures that were promised.
    """

    name: str
    about: str
    measure: Callable[[Settings], Values]
    tables: Callable[[Values], str]
    plots: Callable[[Values], Mapping[str, Any]] = lambda values: {}
    goals: Callable[[Values], Sequence[Goal]] = lambda values: ()


class Spread(NamedTuple):
    """A median with its quartiles."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Spread:
        """Of one number for each round."""
        low, middle, high = np.quantile(np.array(numbers, float), (0.25, 0.5, 0.75))
        return cls(float(middle), float(low), float(high))

    def __format__(self, spec: str) -> str:
        return f"{self.middle:{spec}} ({self.low:{spec}}–{self.high:{spec}})"


def fastest(bursts: Sequence[float]) -> float:
    """What an undisturbed burst takes: the lowest decile.

    Everything that disturbs a burst (interrupts, cold caches, the host) adds to it, so the low end is the most stable
    estimate; the minimum itself would rest on one clock reading.
    """
    return float(np.quantile(np.array(bursts, float), _FASTEST))


def ratios(of: Sequence[float], to: Sequence[float]) -> Spread:
    """Of pairs from the same rounds."""
    return Spread.of([one / other for one, other in zip(of, to, strict=True)])


def names_only(text: str) -> str:
    """A text without the folders of this machine: of a file only its name."""
    return re.sub(r"/\S*/", "", text)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; all columns but the first are aligned to the right."""
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def chosen(settings: Settings, minors: Sequence[tuple[int, int]]) -> list[Interpreter]:
    """One interpreter of each of these minor versions, the distribution's own before one built from source; or all."""
    found = interpreters()
    if settings.every:
        return found
    order = sorted(found, key=lambda it: not it.origin.startswith("debian"))
    first = [next((it for it in order if it.minor == minor), None) for minor in minors]
    return [it for it in first if it is not None]


def machine() -> str:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def about() -> Values:
    """Machine, versions, date and how busy the machine was."""
    return {
        "machine": machine(),
        "distribution": platform.freedesktop_os_release()["PRETTY_NAME"],
        "python": platform.python_version(),
        "date": str(date.today()),
        "load_average": round(os.getloadavg()[0], 2),
    }


def in_words(about: Values) -> str:
    """``about`` as one line."""
    return (
        f"{about['machine']}, {about['distribution']}, pylat on Python {about['python']}, {about['date']}; "
        f"load average at the start {about['load_average']}."
    )


def write(name: str, text: str) -> None:
    """One file of the results."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text(text)


def write_json(name: str, values: Values) -> None:
    """One file of the results: floats with six significant digits."""
    write(name, json.dumps(_rounded(values), indent=1) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
