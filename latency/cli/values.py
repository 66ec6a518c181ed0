"""Values that can be typed: each takes a text, and raises ``ArgumentTypeError`` with a line that says what is wrong."""

from __future__ import annotations

import argparse
import math

_MOST_KEPT = 10_000  # recording.slow.MOST_SLOWEST


def pid(text: str) -> int:
    """A process."""
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f"{text!r} is no process id")
    return int(text)


def seconds(text: str) -> float:
    """A duration, more than 0."""
    value = number(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: give seconds, more than 0")
    return value


def percentage(text: str) -> float:
    """0 to 100."""
    value = number(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage")
    return value


def limit(text: str) -> float:
    """More than 0; infinite for ``none``."""
    if text == "none":
        return math.inf
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} leaves nothing to measure with: give a percentage, or none")
    return value


def count(text: str) -> int:
    """1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of functions")
    return int(text)


def threshold(text: str) -> str:
    """As ``Slower.parse`` reads it, word by word."""
    from latency.recording import Slower

    try:
        Slower.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def kept(text: str) -> int:
    """How many slow calls are kept."""
    if not text.isdecimal() or not 0 < int(text) <= _MOST_KEPT:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of calls from 1 to {_MOST_KEPT:,}")
    return int(text)


def buffer(text: str) -> int:
    """A power of two, in kB."""
    if not text.isdecimal() or not 4 <= int(text) <= 1 << 20 or int(text) & (int(text) - 1):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give a power of two, in kB")
    return int(text)


def number(text: str) -> float:
    """Finite."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return value
