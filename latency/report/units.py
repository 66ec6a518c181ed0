"""Numbers as people read them: three significant digits, in the unit that reads best or the one asked for."""

from __future__ import annotations

from math import floor, isfinite, log10

UNITS_NS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
_SYMBOLS = {"ns": "ns", "us": "µs", "ms": "ms", "s": "s"}


def duration(ns: float, unit: str | None = None) -> str:
    """``1.01 ms``. ``unit`` is one of ``UNITS_NS``, or None for the unit that reads best; nan is ``-``."""
    if not isfinite(ns):
        return "-"
    if unit is None:
        # 999.6 us rounds to 1.00 ms, not to 1,000 us.
        unit = next((name for name in ("ns", "us", "ms") if ns < 999.5 * UNITS_NS[name]), "s")
    return f"{number(ns / UNITS_NS[unit])} {_SYMBOLS[unit]}"


def estimate(ns: float, at_least_ns: float, unit: str | None = None, error_ns: float = 0.0) -> str:
    """:func:`duration`, or ``≥ 81.3 ms`` where only what it is at least is known (``ns`` is nan).

    What may be wrong by more than it is, is not told as a number: ``< 60 µs``.
    """
    if not isfinite(ns) and isfinite(at_least_ns):
        return f"≥ {duration(at_least_ns, unit)}"
    return f"< {duration(ns + error_ns, unit)}" if ns < error_ns else duration(ns, unit)


def number(value: float) -> str:
    """Three significant digits, or all of the whole part: ``0.00123``, ``1.01``, ``30,251``; huge ``3.02e+10``."""
    if value == 0:
        return "0"
    # Of the rounded value, since 9.996 is 10.0 and not 10.00.
    magnitude = floor(log10(abs(float(f"{value:.3g}"))))
    if magnitude >= 9:
        return f"{value:.3g}"
    return f"{value:,.{min(max(2 - magnitude, 0), 6)}f}"


def count(value: int) -> str:
    """``30,000``; from a thousand million on, three digits of it."""
    return f"{value:,}" if value < 10**9 else f"{value:.2e}"


def percent(share: float) -> str:
    """``0.2 %`` of a share of one."""
    if 0 < share < 0.00005:
        return "<0.01 %"
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:,.0f} %"


def bar(share: float, width: int) -> str:
    """A horizontal bar of up to width cells, in eighths of one; never nothing for a share above zero."""
    eighths = round(share * width * 8)
    if share > 0:
        eighths = max(eighths, 1)
    full, rest = divmod(eighths, 8)
    return ("█" * full + " ▏▎▍▌▋▊▉"[rest]).rstrip()


def plural(value: int, noun: str) -> str:
    """``1 call``, ``2 calls``."""
    return f"{count(value)} {noun}" if value == 1 else f"{count(value)} {noun}s"


def error(value: float, ends: tuple[float, float] | None) -> str:
    """``±2.7 %``: the farther end of an interval, as a share of the value; ``too few`` where there is none, ``unsure``
    where it is as large as the value, or larger: then that cannot be told."""
    if ends is None or not value > 0:
        return "too few"
    share = max(value - ends[0], ends[1] - value, 0.0) / value
    return "unsure" if share >= 1 else f"±{percent(share)}"
