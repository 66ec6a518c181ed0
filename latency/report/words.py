"""What a report says in sentences, of a run and of a function: safe to show, and not yet broken into lines."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta, timezone

from latency.recording import REMEDY, FunctionLatency, Options, Recording, Watched
from latency.report import markers
from latency.report.names import escape
from latency.report.summary import shared
from latency.report.units import count, duration, number, percent, plural

MOST_PROCESSES = 12
MOST_PROBES = 0.2
"""Of the elapsed time; beyond it the report says how much of that the probes took."""
WATCH_RESOLVES_NS = 20_000
"""Shorter calls are not resolved by watchpoints where these are dear: 1.4 hits (docs/watch.md)."""
_LIMITED = 0.9
"""Of the time; where less of it was watched, a limit has spoken, and not only turns begun."""
MOST_DELAYED = 0.01
"""Of the calls; from here on it says how many waited for a processor that they lost while the probes held them."""
TOTAL = "total: time inside, callees included, waits of generators and coroutines not"
END_TO_END = "end to end, from the first start to the end"
ACTIVE = "active, the time that it ran in between"

_ENGINES = {
    "usdt": "USDT markers",
    "handlers": "opcode handlers",
    "eval": "the evaluation function",
    "watch": "hardware watchpoints",
}


@dataclass(frozen=True, slots=True)
class Said:
    """One sentence.

    Attributes:
        text: safe to show, of any length.
        style: of rich: ``red`` for losses, ``yellow`` for doubts, ``green`` where there are none; or ``""``.
    """

    text: str
    style: str = ""


def whom(recording: Recording) -> str:
    """``pid 4242 (python3 app.py)``."""
    pids = recording.target.pids
    named = "pid " + ", ".join(map(str, pids[:4])) + (f" and {len(pids) - 4:,} more" if len(pids) > 4 else "")
    return f"{named} ({escape(recording.target.command, 40)})"


def seconds(value: float) -> str:
    """``30.0 s``."""
    return f"{number(value)} s"


def calls_in(calls: int, duration_s: float) -> str:
    """``30,000 calls in 30.0 s``."""
    return f"{plural(calls, 'call')} in {seconds(duration_s)}"


def calls_seen(recording: Recording) -> str:
    """The same of all functions; where not all of the time was watched, there may have been others."""
    seen = " seen" if recording.watched else ""
    return f"{plural(recording.calls, 'call')}{seen} in {seconds(recording.duration_s)}"


def ended(recording: Recording) -> str:
    """When the measurement ended, UTC."""
    try:
        at = recording.started_at.astimezone(timezone.utc) + timedelta(seconds=recording.duration_s)
    except OverflowError:
        at = recording.started_at
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


def watched_s(recording: Recording, latency: FunctionLatency) -> float:
    """For how long its probes were in place."""
    watched = latency.watched or recording.watched
    return recording.duration_s * (watched.share if watched else 1.0)


def engine(recording: Recording) -> str:
    """By what means, on which Python."""
    target = recording.target
    build = escape(target.build_id, 32)
    build = build[:6] + "…" if len(build) > 7 else build
    name = _ENGINES.get(target.engine) or escape(target.engine, 30)
    return f"engine: {name} (CPython {escape(target.python, 20)}{', build ' + build if build else ''})"


def lost(recording: Recording) -> Said:
    """How much, in all."""
    known = recording.losses
    unmatched = known.unmatched_return + known.unmatched_entry
    others = known.total - unmatched
    return Said(f"{count(others)} lost, {count(unmatched)} unmatched", "red" if others + unmatched else "green")


def losses(recording: Recording, *, told: Collection[str] = ()) -> Iterator[Said]:
    """Each with what to do about it, but for those that were told already."""
    remedies = {**REMEDY, **markers.REMEDY} if recording.options.markers else REMEDY
    for reason, number_lost in recording.losses.as_dict().items():
        if number_lost and reason not in told:
            remedy = remedies.get(reason, "a newer pylat wrote this recording, and knows what it means")
            yield Said(f"lost {count(number_lost)} {escape(reason, 40)}: {remedy}", "red")


def remarks(recording: Recording) -> Iterator[Said]:
    """Each loss with what to do, what was not seen and why, and what it cost."""
    yield from losses(recording)
    if len(recording.processes) > 1:
        yield Said(_by_process(recording))
    if recording.watched is not None:
        yield Said(_share(recording, recording.watched))
    if recording.began_before:
        when = "pylat attached" if recording.watched is None else "a slice began"
        yield Said(f"{plural(recording.began_before, 'call')} began before {when}, so not measured")
    for blind_spot in recording.blind_spots:
        yield Said(f"not seen: {escape(blind_spot, 400)}")
    if recording.target.choice:
        yield Said(f"chosen: {escape(recording.target.choice, 400)}")
    if recording.overhead is not None:
        hits, each = count(recording.overhead.hits), duration(recording.overhead.ns_per_hit)
        cost = f"pylat cost: {hits} hits × {each} = {percent(recording.overhead.share_of_cpu)} of one CPU"
        if recording.overhead.memory_bytes:
            sizes = recording.overhead.memory_bytes, recording.overhead.map_bytes
            own, maps = (f"{number(size / 1e6)} MB" for size in sizes)
            cost += f"; pylat's memory {own}, its BPF maps {maps}"
        yield Said(cost)


def numbers(latency: FunctionLatency, recording: Recording, unit: str | None) -> list[str]:
    """Calls with their rate, how many raised, mean and total: short pieces; of a function with calls."""
    duration_s = watched_s(recording, latency)
    began = latency.calls if latency.ages is None else latency.calls + latency.cut + latency.open
    rate = f"({number(began / duration_s)}/s)" if duration_s > 0 else ""
    pieces = [f"calls {count(latency.calls)}  {rate}".rstrip()]
    if latency.raised or not markers.is_marker(latency):
        pieces.append(f"raised {count(latency.raised)}")
    of_ended = "" if latency.ages is None else " of those that ended"
    wall = latency.wall
    return [*pieces, f"mean {duration(wall.mean_ns, unit)}{of_ended}", f"total {duration(wall.sum_ns, unit)}"]


def remarks_of(latency: FunctionLatency, options: Options) -> Iterator[Said]:
    """What there is to know of a function beside its numbers."""
    if of_many := shared(latency):
        yield Said(of_many)
    if latency.open:
        text = f"open: {plural(latency.open, 'call')} still running"
        if latency.oldest_open_ns:
            longer = bool(latency.calls) and latency.oldest_open_ns > latency.wall.max_ns
            text += f", the oldest for {duration(latency.oldest_open_ns)}"
            text += ": longer than any call that ended" if longer else ""
        yield Said(text, "yellow")
    if latency.suspensions:
        yield Said(f"suspended {plural(latency.suspensions, 'time')}")
    if latency.abandoned:
        yield Said(f"abandoned {count(latency.abandoned)}: closed or collected while suspended, so without a latency")
    if text := _of_probes(latency, options):
        yield Said(text, "yellow")
    if latency.cut:
        text = f"cut: {plural(latency.cut, 'call')} still running when the probes were taken away for a time"
        yield Said(f"{text}, after up to {duration(latency.ages.max_ns if latency.ages else 0)}")
    if latency.calls and latency.ages is not None:
        complete, others = count(latency.calls), count(latency.ages.count)
        yield Said(f"percentiles by Kaplan-Meier from {complete} complete calls and {others} cut or open ones")


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


def _by_process(recording: Recording) -> str:
    """``calls by process: 812 in 4243, 790 in 4244 (ended)``, the busiest first."""
    busiest = sorted(recording.processes, key=lambda each: each.calls, reverse=True)
    shown = [
        f"{count(each.calls)} in {each.pid}{' (ended)' if each.ended else ''}" for each in busiest[:MOST_PROCESSES]
    ]
    more = len(busiest) - len(shown)
    return f"calls by process: {', '.join(shown)}{f', and {more} more' if more else ''}"


def _share(recording: Recording, watched: Watched) -> str:
    """``watched 23 % of the time, in 12 slices, to stay under 5 % of one CPU: counts are as seen``."""
    limit = recording.options.max_overhead_pct
    why = f" to stay under {limit:g} % of one CPU" if limit is not None else ""
    share, slices = percent(watched.share), plural(watched.slices, "slice")
    shares = [each.watched.share for each in recording.functions if each.watched]
    if shares:
        low, high = percent(min(shares)), percent(max(shares))
        away = f", and any of them {share} of the time,{why}" if why and watched.share < _LIMITED else ""
        text = f"watched {low if low == high else f'{low} to {high}'} of the time each, in turns ({slices}){away}"
    else:
        text = f"watched {share} of the time, in {slices},{why}"
    return f"{text}: counts are as seen, rates those of the time watched"
