"""A recording as text: 80 columns that read well in a CI log, and with colour on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta, timezone

from latency.recording import REMEDY, FunctionLatency, Options, Recording, Watched
from latency.report import markers
from latency.report.distribution import log2_rows, percentiles, percentiles_with_errors
from latency.report.layout import Line, flow, to_text, wrap
from latency.report.names import escape
from latency.report.slow import slow_calls
from latency.report.split import divided, table_of_parts
from latency.report.summary import by_time, place, shared, summary
from latency.report.units import count, duration, number, percent, plural

FULL = 5
"""Up to so many functions that were asked for are shown in full, and not in a table only."""
MIN_WIDTH = 60
MOST_PROCESSES = 12
MOST_PROBES = 0.2
"""Of the elapsed time; beyond it the report says how much of that the probes took."""
WATCH_RESOLVES_NS = 20_000
"""Shorter calls are not resolved by watchpoints where these are dear: 1.4 hits (docs/watch.md)."""
MOST_DELAYED = 0.01
"""Of the calls; from here on it says how many waited for a processor that they lost while the probes held them."""

_ENGINES = {
    "usdt": "USDT markers",
    "handlers": "opcode handlers",
    "eval": "the evaluation function",
    "watch": "hardware watchpoints",
}


def render(
    recording: Recording,
    *,
    unit: str | None = None,
    width: int = 80,
    color: bool = False,
    top: int = 20,
    timestamp: bool = False,
    full: bool = False,
) -> str:
    """The report of one run.

    Args:
        recording: live, or from a file; its text is not trusted.
        unit: ``"us"``, ``"ms"``, or None for the unit that reads best.
        width: the terminal cells of a line, at least ``MIN_WIDTH``; no line is longer.
        color: with ANSI styles, for a terminal.
        top: how many functions a table shows.
        timestamp: begin with the time at which the measurement ended.
        full: show the histogram of each function of the table, and not only of a few that were asked for.
    """
    width = max(width, MIN_WIDTH)
    return to_text(_lines(recording, unit, width, top, timestamp, full), width=width, color=color)


def _lines(recording: Recording, unit: str | None, width: int, top: int, timestamp: bool, full: bool) -> Iterator[Line]:
    functions = recording.functions
    if timestamp:
        yield Line(_ended(recording), style="dim")
    asked = escape(", ".join(recording.options.markers), width // 2) or plural(len(functions), "function")
    subject = place(functions[0], width) if len(functions) == 1 else Line(asked)
    yield from flow([Line("pylat", style="bold"), _whom(recording), subject, _seconds(recording.duration_s)], width)
    if len(functions) == 1 and markers.is_event(functions[0]):
        yield Line(markers.event_line(functions[0], recording.duration_s))
    elif len(functions) == 1:
        yield from _function(functions[0], recording, unit, width)
    elif functions and all(map(markers.is_marker, functions)):
        yield Line("")
        yield from markers.tables(recording, unit, width, top)
        yield from _in_full(markers.full_ones(recording), recording, unit, width, top, full)
    else:
        yield Line(_calls_in(recording.calls, recording.duration_s))
        if functions:
            yield Line("")
            yield from summary(functions, unit, width, top)
            yield from wrap(
                "total: time inside, callees included, waits of generators and coroutines not", width, style="dim"
            )
            yield from table_of_parts(functions, unit, width, top)
        yield from _in_full(functions, recording, unit, width, top, full)
    if recording.slow_calls:
        yield Line("")
        yield from slow_calls(recording.slow_calls, unit, width, values=recording.options.values)
    yield Line("")
    yield from _footer(recording, width)


def _in_full(
    functions: Sequence[FunctionLatency], recording: Recording, unit: str | None, width: int, top: int, full: bool
) -> Iterator[Line]:
    asked = recording.options.func or recording.options.markers
    if full or (asked and len(functions) <= FULL):
        for each in by_time(functions)[:top]:
            yield Line("")
            yield place(each, width)
            yield from _function(each, recording, unit, width)


def _ended(recording: Recording) -> str:
    try:
        ended = recording.started_at.astimezone(timezone.utc) + timedelta(seconds=recording.duration_s)
    except OverflowError:
        ended = recording.started_at
    return f"{ended:%Y-%m-%d %H:%M:%S}Z"


def _whom(recording: Recording) -> str:
    pids = recording.target.pids
    named = "pid " + ", ".join(map(str, pids[:4])) + (f" and {len(pids) - 4:,} more" if len(pids) > 4 else "")
    return f"{named} ({escape(recording.target.command, 40)})"


def _seconds(value: float) -> str:
    return f"{number(value)} s"


def _watched_s(recording: Recording) -> float:
    return recording.duration_s * (recording.watched.share if recording.watched else 1.0)


def _calls_in(calls: int, duration_s: float) -> str:
    return f"{plural(calls, 'call')} in {_seconds(duration_s)}"


def _function(latency: FunctionLatency, recording: Recording, unit: str | None, width: int) -> Iterator[Line]:
    wall, active, duration_s = latency.wall, latency.active, _watched_s(recording)
    if latency.calls:
        began = latency.calls if latency.ages is None else latency.calls + latency.cut + latency.open
        rate = f"({number(began / duration_s)}/s)" if duration_s > 0 else ""
        numbers = [f"calls {count(latency.calls)}  {rate}".rstrip()]
        if latency.raised or not markers.is_marker(latency):
            numbers.append(f"raised {count(latency.raised)}")
        ended = "" if latency.ages is None else " of those that ended"
        numbers += [f"mean {duration(wall.mean_ns, unit)}{ended}", f"total {duration(wall.sum_ns, unit)}"]
        yield from flow(numbers, width)
    else:
        yield Line(_calls_in(0, duration_s), style="yellow")
    if of_many := shared(latency):
        yield from wrap(of_many, width)
    yield from _unfinished(latency, width)
    if text := _of_probes(latency, recording.options):
        yield from wrap(text, width, style="yellow")
    if latency.cut:
        text = f"cut: {plural(latency.cut, 'call')} still running when the probes were taken away for a time"
        yield from wrap(f"{text}, after up to {duration(latency.ages.max_ns if latency.ages else 0)}", width)
    if not latency.calls:
        return
    if latency.ages is not None:
        yield from wrap(
            f"percentiles by Kaplan-Meier from {count(latency.calls)} complete calls and "
            f"{count(latency.ages.count)} cut or open ones",
            width,
        )
    yield Line("")
    if active is None:
        yield from percentiles_with_errors(latency, unit, width)
    else:
        yield Line("end to end, from the first start to the end")
        yield from percentiles_with_errors(latency, unit, width)
        yield Line("active, the time that it ran in between")
        yield from percentiles(active, unit, width)
    yield from divided(latency, unit, width)
    yield Line("")
    yield from log2_rows(wall, unit, width)


def _of_probes(latency: FunctionLatency, options: Options) -> str:
    """``98 % of the elapsed time was pylat's own probes, which is taken off; ± 25 µs: …``; ``""`` for little."""
    said = []
    if latency.probe_share > MOST_PROBES:
        delayed = latency.probes.delayed_share if latency.probes else 0.0
        also = f", and {percent(delayed)} of the calls lost the processor meanwhile" if delayed >= MOST_DELAYED else ""
        truer = ": --engine watch does not touch the calls inside" if _would_be_watched(latency, options) else ""
        said.append(
            f"{percent(latency.probe_share)} of the elapsed time was pylat's own probes, which is taken off; "
            f"± {duration(latency.probe_error_ns)}{also}{truer}"
        )
    if latency.probe_unsure_ns > MOST_PROBES * latency.wall.mean_ns:
        said.append(
            f"up to {duration(latency.probe_unsure_ns)} of what is left may be probes, "
            "by which the thread was held while this was suspended"
        )
    return "; ".join(said)


def _would_be_watched(latency: FunctionLatency, options: Options) -> bool:
    """Whether watchpoints can be had with these options, and do not themselves take longer than the call."""
    beside = options.children or options.offcpu or options.self_time or options.slower
    return bool(options.func) and not beside and float(latency.percentiles_ns((0.5,))[0]) >= WATCH_RESOLVES_NS


def _unfinished(latency: FunctionLatency, width: int) -> Iterator[Line]:
    if latency.open:
        text = f"open: {plural(latency.open, 'call')} still running"
        if latency.oldest_open_ns:
            longer = bool(latency.calls) and latency.oldest_open_ns > latency.wall.max_ns
            text += f", the oldest for {duration(latency.oldest_open_ns)}"
            text += ": longer than any call that ended" if longer else ""
        yield from wrap(text, width, style="yellow")
    if latency.suspensions:
        yield from wrap(f"suspended {plural(latency.suspensions, 'time')}", width)
    if latency.abandoned:
        text = f"abandoned {count(latency.abandoned)}: closed or collected while suspended, so without a latency"
        yield from wrap(text, width)


def _by_process(recording: Recording) -> str:
    """``calls by process: 812 in 4243, 790 in 4244 (ended)``, the busiest first."""
    busiest = sorted(recording.processes, key=lambda each: each.calls, reverse=True)
    shown = [
        f"{count(each.calls)} in {each.pid}{' (ended)' if each.ended else ''}" for each in busiest[:MOST_PROCESSES]
    ]
    more = len(busiest) - len(shown)
    return f"calls by process: {', '.join(shown)}{f', and {more} more' if more else ''}"


def _footer(recording: Recording, width: int) -> Iterator[Line]:
    target, losses = recording.target, recording.losses.as_dict()
    build = escape(target.build_id, 32)
    build = build[:6] + "…" if len(build) > 7 else build
    engine = _ENGINES.get(target.engine) or escape(target.engine, 30)
    unmatched = losses["unmatched_return"] + losses["unmatched_entry"]
    lost = recording.losses.total - unmatched
    yield from flow(
        [
            f"engine: {engine} (CPython {escape(target.python, 20)}{', build ' + build if build else ''})",
            Line(f"{count(lost)} lost, {count(unmatched)} unmatched", style="red" if lost + unmatched else "green"),
        ],
        width,
    )
    for reason, number_lost in losses.items():
        if number_lost:
            remedies = {**REMEDY, **markers.REMEDY} if recording.options.markers else REMEDY
            remedy = remedies.get(reason, "a newer pylat wrote this recording, and knows what it means")
            yield from wrap(f"lost {count(number_lost)} {escape(reason, 40)}: {remedy}", width, style="red")
    if len(recording.processes) > 1:
        yield from wrap(_by_process(recording), width)
    if recording.watched is not None:
        yield from wrap(_share(recording, recording.watched), width)
    if recording.began_before:
        when = "pylat attached" if recording.watched is None else "a slice began"
        began = f"{plural(recording.began_before, 'call')} began before {when}, so not measured"
        yield from wrap(began, width)
    for blind_spot in recording.blind_spots:
        yield from wrap(f"not seen: {escape(blind_spot, 400)}", width)
    if target.choice:
        yield from wrap(f"chosen: {escape(target.choice, 400)}", width)
    if recording.overhead is not None:
        hits, each = count(recording.overhead.hits), duration(recording.overhead.ns_per_hit)
        cost = f"pylat cost: {hits} hits × {each} = {percent(recording.overhead.share_of_cpu)} of one CPU"
        if recording.overhead.memory_bytes:
            sizes = recording.overhead.memory_bytes, recording.overhead.map_bytes
            own, maps = (f"{number(size / 1e6)} MB" for size in sizes)
            cost += f"; pylat's memory {own}, its BPF maps {maps}"
        yield from wrap(cost, width)


def _share(recording: Recording, watched: Watched) -> str:
    """``watched 23 % of the time, in 12 slices, to stay under 5 % of one CPU: counts are as seen``."""
    limit = recording.options.max_overhead_pct
    why = f" to stay under {limit:g} % of one CPU" if limit is not None else ""
    text = f"watched {percent(watched.share)} of the time, in {plural(watched.slices, 'slice')},{why}"
    return f"{text}: counts are as seen, rates those of the time watched"
