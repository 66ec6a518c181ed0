"""The types of ``datetime`` (Include/datetime.h, CPython 3.6 to 3.15), where they are those of the extension module."""

from __future__ import annotations

from latency.cpython.values.memory import Unreadable
from latency.cpython.values.walk import CUT, Object, Walk

_DELTA = ("days", "seconds", "microseconds")
_DAY_S = 86_400
_MOST_DAYS = 999_999_999


def date(walk: Walk, found: Object) -> str:
    """A ``date``."""
    year, month, day = _date(_data(walk, found, "date.data"))
    return f"{found.type.name}({year}, {month}, {day})"


def time(walk: Walk, found: Object) -> str:
    """A ``time``, with what its ``tzinfo`` is."""
    numbers = _time(_data(walk, found, "time.data"))
    return _with_zone(walk, found, "time", numbers, "{zone}{fold}")


def datetime(walk: Walk, found: Object) -> str:
    """A ``datetime``, with what its ``tzinfo`` is."""
    data = _data(walk, found, "datetime.data")
    return _with_zone(walk, found, "datetime", (*_date(data[:4]), *_time(data[4:])), "{fold}{zone}")


def timedelta(walk: Walk, found: Object) -> str:
    """A ``timedelta``."""
    numbers = list(_timedelta(walk, found))
    if walk.known.minor < 7:
        while len(numbers) > 1 and not numbers[-1]:
            numbers.pop()
        return f"{found.type.name}({', '.join(map(str, numbers))})"
    pairs = zip(_DELTA, numbers, strict=True)
    return f"{found.type.name}({', '.join(f'{name}={number}' for name, number in pairs if number) or 0})"


def timezone(walk: Walk, found: Object) -> str:
    """A ``timezone``: its offset, and its name if it has one."""
    # PyDateTime_TimeZone stands in Modules/_datetimemodule.c alone: PyObject_HEAD, offset, name
    offset, name = walk.words(found.address + walk.offsets["object.sizeof"], 2)
    if not name:
        # utc is the only one without a name whose offset is 0: the constructor gives it instead of making another
        if not any(_timedelta(walk, walk.object(offset))):
            return "datetime.timezone.utc"
        return f"{found.type.name}({walk.value(offset)})"
    return f"{found.type.name}({walk.value(offset)}, {walk.value(name)})"


def _timedelta(walk: Walk, found: Object) -> tuple[int, int, int]:
    """Its days, seconds and microseconds."""
    if found.type.kind != "datetime.timedelta":
        raise Unreadable
    days, seconds, microseconds = (walk.member(found, f"timedelta.{name}", signed=True) for name in _DELTA)
    if abs(days) > _MOST_DAYS or not 0 <= seconds < _DAY_S or not 0 <= microseconds < 1_000_000:
        raise Unreadable
    return days, seconds, microseconds


def _data(walk: Walk, found: Object, meaning: str) -> bytes:
    size = walk.offsets.size(meaning)
    data = walk.part(found, walk.offsets[meaning], size)
    if len(data) != size:
        raise Unreadable
    return data


def _date(data: bytes) -> tuple[int, int, int]:
    year, month, day = int.from_bytes(data[:2], "big"), data[2], data[3]
    if not (1 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= 31):
        raise Unreadable
    return year, month, day


def _time(data: bytes) -> tuple[int, ...]:
    """Hour and minute, and as much of seconds and microseconds as ``repr`` shows."""
    hour, minute, second, microsecond = data[0], data[1], data[2], int.from_bytes(data[3:6], "big")
    if hour > 23 or minute > 59 or second > 59 or microsecond > 999_999:
        raise Unreadable
    if microsecond:
        return hour, minute, second, microsecond
    return (hour, minute, second) if second else (hour, minute)


def _with_zone(walk: Walk, found: Object, name: str, numbers: tuple[int, ...], keywords: str) -> str:
    """The text with ``fold`` and ``tzinfo`` in the order of ``keywords``."""
    start = f"{found.type.name}({', '.join(map(str, numbers))}"
    fold = ", fold=1" if walk.member(found, f"{name}.fold") else ""
    # A naive one ends before its tzinfo: there is another object's memory.
    if not walk.member(found, f"{name}.has_tzinfo"):
        return f"{start}{fold})"
    zone = walk.member(found, f"{name}.tzinfo")

    def render() -> str:
        return start + keywords.format(fold=fold, zone=f", tzinfo={walk.value(zone)}") + ")"

    return walk.inside(found, f"{start}, ...)", f"{start}, {CUT})", render)
