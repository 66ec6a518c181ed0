"""Values of JSON that nobody vouches for: each is what it should be, or ``Invalid`` says where it is not.

A reader takes a value and returns it, read and checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from math import isfinite
from typing import Any, TypeVar

_END = 1 << 63

T = TypeVar("T")


class Invalid(ValueError):
    """What is wrong in the JSON, beginning with where: ``functions[3].wall.counts: ...``."""


_REQUIRED: Any = object()


def member(source: dict[str, Any], key: str, read: Callable[[object], T], default: Any = _REQUIRED) -> T:
    """The value of key, read and checked. Raises Invalid, which says where it was."""
    value = source.get(key, default)
    if value is default and key not in source:
        if default is _REQUIRED:
            raise Invalid(f"{key}: missing")
        found: T = default
        return found
    try:
        return read(value)
    except Invalid as invalid:
        raise _at(key, invalid) from None


def _at(where: str, invalid: Invalid) -> Invalid:
    inner = str(invalid)
    if inner.startswith("["):
        return Invalid(f"{where}{inner}")
    return Invalid(f"{where}{'.' if ':' in inner else ': '}{inner}")


def list_of(read: Callable[[object], T], *, most: int = _END) -> Callable[[object], tuple[T, ...]]:
    """A list of what ``read`` reads, of so many elements at most."""

    def read_list(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Invalid("not a list")
        if len(value) > most:
            raise Invalid(f"not a list of at most {most}")
        found = []
        for index, each in enumerate(value):
            try:
                found.append(read(each))
            except Invalid as invalid:
                raise _at(f"[{index}]", invalid) from None
        return tuple(found)

    return read_list


def optional(read: Callable[[object], T]) -> Callable[[object], T | None]:
    """The same, or null."""
    return lambda value: None if value is None else read(value)


def one_of(known: Sequence[str]) -> Callable[[object], str]:
    """One of these texts."""

    def read_one(value: object) -> str:
        if text(value) not in known:
            raise Invalid("not one of " + ", ".join(known))
        return text(value)

    return read_one


def mapping(value: object) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise Invalid("not an object")
    return value


def text(value: object) -> str:
    """Text."""
    if not isinstance(value, str):
        raise Invalid("not text")
    return value


def boolean(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Invalid("not true or false")
    return value


def count(value: object) -> int:
    """A whole number from 0 to 2^63 - 1."""
    if type(value) is not int or not 0 <= value < _END:
        raise Invalid("not a whole number from 0 to 2^63 - 1")
    return value


def amount(value: object) -> float:
    """A finite number from 0."""
    if type(value) not in (int, float) or not isfinite(value) or value < 0:  # type: ignore[arg-type, operator]
        raise Invalid("not a finite number from 0")
    return value  # type: ignore[return-value]


def counters(value: object) -> Mapping[str, int]:
    """An object of counts, by name."""
    found = {}
    for name, each in mapping(value).items():
        try:
            found[name] = count(each)
        except Invalid as invalid:
            # The name is the file's, and the message goes to a terminal.
            raise _at(f"[{name!a:.40}]", invalid) from None
    return found


def moment(value: object) -> datetime:
    """A time, as ISO 8601 has it."""
    try:
        # Before CPython 3.11 fromisoformat knows no Z.
        return datetime.fromisoformat(text(value).replace("Z", "+00:00")).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise Invalid("not a time such as 2026-11-23T05:00:00Z") from None
