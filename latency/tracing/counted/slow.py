"""Slow calls, one by one, of probes and of watchpoints: what the program tells of each, and which of them are kept.

The program compares each call with a threshold and tells those beyond it, with what only that moment knows: the stack,
the arguments, the exception. Only the slowest are kept, so user space raises a floor below which calls are counted and
not told: the ring buffer is hardly ever full, however many calls are slow.

A percentile is of each function's own histogram so far. Before there are ``Slower.calls_needed`` calls of a function
none of them is slow; they are counted as ``unjudged``.
"""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

import numpy as np

from latency.cpython.functions import LiveFunction, from_capture
from latency.cpython.interpreter import Target
from latency.cpython.values import Limits, Reader
from latency.errors import TargetError
from latency.histogram import Histogram
from latency.recording import Argument, Function, Options, Recording, SlowCall, SlowCalls, Slower, slowest
from latency.target.process import Process
from latency.tracing.counted import wire
from latency.tracing.counted.capture import BLOCK, NOTHING, Quiet, Snapshot, capture_flags
from latency.tracing.counted.maps import CountingMaps
from latency.tracing.counted.parameters import namespace_flags
from latency.tracing.counted.reading import Span
from latency.tracing.counted.slow_stack import UNKNOWN, ToldCode, stack, takes_none
from latency.tracing.counted.table import same
from latency.tracing.kernel.clock import epoch_ns

TOLD_CODES = 4096
_THRESHOLDS_EACH_S = 0.25
_NEVER = (1 << 64) - 1
_CODE_BYTES = wire.SLOW_CODE_EVENT.fields["lines"][1] if wire.SLOW_CODE_EVENT.fields else 0  # without its lines
_LIMITS = Limits(depth=4, items=10, characters=100, total=600)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Whose(Protocol):
    """Whose calls are told, as a session knows that."""

    def owner(self, slot: int, row: np.void) -> tuple[Function | None, bool]:
        """(the function of a slot of ``wire.STATISTICS`` or None if its name is not known, whether it is wanted)."""

    def known_code(self, space: int, code: int) -> LiveFunction | None:
        """The code object at an address when pylat looked, in a process that is followed."""

    def readable(self, space: int) -> Process | None:
        """That process, while it runs what it ran when the call began."""


class SlowLog:
    """The slow calls of one session.

    Args:
        options: ``slower``, ``slowest``, and which values are told.
        clock: monotonic, in seconds.

    Attributes:
        ring_bytes: of the ring buffer through which they are told.
    """

    ring_bytes = 8 << 20

    def __init__(self, target: Target, options: Options, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._process = target.process
        self._offsets = target.offsets
        self._reader = Reader(target.process, target.build, target.offsets, show_secrets=options.show_secrets)
        self._values = options.values
        self._slower = Slower.parse(options.slower)
        self._clock = clock
        self._whole = _Slowest(options)
        self._interval = _Slowest(options) if options.interval_s else None
        self._codes: dict[tuple[int, int], ToldCode] = {}
        self._thresholds_at = clock() + _THRESHOLDS_EACH_S
        self._waiting: list[tuple[np.ndarray[Any, Any], bytes]] = []  # read before the session's own events
        self._epoch_ns = epoch_ns()

    def flags(self) -> Mapping[str, int]:
        """Of ``bpf/slow.h`` and ``bpf/capture.h``."""
        flags = {"SLOWER": 1, "SLOW_VALUES": int(self._values)}
        return {**flags, **capture_flags(self._offsets), **namespace_flags(self._process)}

    def open(self, maps: CountingMaps, whose: Whose) -> None:
        """Tell the program which calls are slow. None are told before ``begin``, nor after ``end``."""
        self._maps, self._whose = maps, whose
        self._events = maps.ring("slow_events", self.ring_bytes)
        self._judged = np.zeros(maps.slots, np.uint64)
        maps.config["slower_ns"] = self._slower.threshold_ns
        # Where the threshold is low, calls of the calibration are slow, too.
        maps.config["floor_ns"] = _NEVER

    def calibrated(self) -> None:
        """From here on slow calls are told; what was told before was not of the target."""
        for _ in self._events.read():
            pass
        self._maps.config["floor_ns"] = 0

    def begin(self) -> None:
        """The same where nothing was calibrated."""
        self._maps.config["floor_ns"] = 0

    def before_events(self) -> None:
        """The program tells of a function earlier than of a slow call of it, and in another buffer."""
        for record in self._events.read():
            kind = int.from_bytes(record[:4], "little")
            dtype = wire.SLOW_CODE_EVENT if kind == wire.SLOW_CODE else wire.SLOW_CALL_EVENT
            if kind == wire.SLOW_CODE and len(record) >= _CODE_BYTES:  # with as much of its lines as there is
                record = record.ljust(dtype.itemsize, b"\0")
            if len(record) >= dtype.itemsize:
                stream = record[dtype.itemsize + wire.SNAPSHOT_HEAD_BYTES :]
                self._waiting.append((np.frombuffer(record, dtype, 1)[0], stream))

    def after_events(self) -> None:
        """Keep the slowest of what the program has told, oldest first."""
        calls: list[_Told] = []
        for event, stream in self._waiting:
            if event["kind"] == wire.SLOW_CALL:
                calls.append(_Told(event, stream))
                continue
            before = self._codes.get((int(event["space"]), int(event["code"])))
            if before and before.digest == hash(event.tobytes()):
                continue
            if before:  # what has this address now is another
                self._keep(calls)
                calls = []
            self._learn(event)
        self._keep(calls)
        self._waiting.clear()

    def poll(self) -> None:
        """Tell the program which calls matter from now on."""
        self._maps.config["floor_ns"] = min(each.floor_ns for each in (self._whole, self._interval) if each)
        if self._slower.quantile and self._clock() >= self._thresholds_at:
            self._thresholds_at = self._clock() + _THRESHOLDS_EACH_S
            self._set_thresholds()

    def end(self) -> None:
        """From now on nothing is told: what comes is of the calibration."""
        self._maps.config["floor_ns"] = _NEVER

    def told(self, recording: Recording, span: Span) -> Recording:
        """With the slow calls of the whole measurement, or since this was asked for last."""
        kept = self._whole.calls if span.whole or not self._interval else self._interval.taken()
        before = span.earlier.functions.values() if span.earlier else ()
        counted = span.reading.functions.values()
        found = SlowCalls(
            slower=self._whole.options.slower,
            limit=self._whole.options.slowest,
            seen=sum(each.slow for each in counted) - sum(each.slow for each in before),
            kept=slowest(kept, self._whole.options.slowest),
            lost=span.counters["slow_lost"],
            unjudged=sum(each.unjudged for each in counted) - sum(each.unjudged for each in before),
        )
        return replace(recording, slow_calls=found)

    def forget(self) -> None:
        """None of the calls that are kept counts."""
        self._whole = _Slowest(self._whole.options)
        self._interval = _Slowest(self._whole.options) if self._interval else None

    def noticed(self) -> Sequence[SlowCall]:
        """The slowest so far."""
        return tuple(self._whole.calls)

    def close(self) -> None:
        """Unmap the ring buffer."""
        self._events.close()

    # -- thresholds ------------------------------------------------------------------------------

    def _set_thresholds(self) -> None:
        """Each function's percentile, of all its code objects together."""
        statistics = self._maps.statistics
        calls = statistics["returned"] + statistics["raised"]
        slots_of: dict[Function, list[int]] = {}
        for slot in np.flatnonzero(calls).tolist():
            function, wanted = self._whose.owner(slot, statistics[slot])
            if function and wanted:
                slots_of.setdefault(function, []).append(slot)
        for slots in slots_of.values():
            if calls[slots].sum() < self._slower.calls_needed or not (calls[slots] != self._judged[slots]).any():
                continue
            statistics["slower_ns"][slots] = quantile_ns(statistics[slots], self._slower.quantile)
        self._judged = calls

    # -- calls -----------------------------------------------------------------------------------

    def _keep(self, calls: list[_Told]) -> None:
        """Those of them that are among the slowest: to describe a call takes a millisecond."""
        for told in sorted(calls, key=lambda each: each.duration_ns, reverse=True):
            kept = [each for each in (self._whole, self._interval) if each and told.duration_ns > each.floor_ns]
            if not kept:
                return
            if call := self._call(told):
                for each in kept:
                    each.add(call)

    def _learn(self, event: np.ndarray[Any, Any]) -> None:
        space, code = int(event["space"]), int(event["code"])
        while len(self._codes) >= TOLD_CODES:
            oldest = next(iter(self._codes))
            del self._codes[oldest]
            self.forgotten(*oldest)
        function = from_capture(
            event["qualname"][: event["qualname_bytes"]].tobytes(),
            event["filename"][: event["filename_bytes"]].tobytes(),
            int(event["line"]),
            int(event["co_flags"]),
            self._offsets,
        )
        known = self._whose.known_code(space, code)
        if function and known and same(known.function, function):
            function = known.function  # whole, and with the outer names, which no code object has to 3.10
        self._codes[space, code] = ToldCode(
            function or UNKNOWN,
            int(event["line"]),
            int(event["first_traceable"]),
            event["lines"][: event["lines_bytes"]].tobytes(),
            bool(event["lines_whole"]),
            hash(event.tobytes()),
        )

    def forgotten(self, space: int, code: int) -> None:
        """What was told of a code object is known no longer: it is to be told again."""

    def _call(self, told: _Told) -> SlowCall | None:
        """What is kept of it; None where the function turned out not to be wanted."""
        event = told.event
        slot = int(event["slot"])
        function, wanted = self._whose.owner(slot, self._maps.statistics[slot])
        if not wanted:
            return None
        suspends = function is not None and function.kind != "function"
        began_ns, active_ns = int(event["start_ns"]) + self._epoch_ns, int(event["active_ns"])
        return SlowCall(
            function=function or UNKNOWN,
            began_at=_EPOCH + timedelta(microseconds=began_ns // 1000),
            duration_ns=told.duration_ns,
            threshold_ns=int(event["threshold_ns"]),
            pid=int(event["own_tgid"]),
            tid=int(event["own_tid"]),
            host_pid=int(event["tgid"]),
            host_tid=int(event["tid"]),
            thread=_text(event["comm"]),
            outcome="raised" if event["raised"] else "returned",
            exception=_text(event["exception"]),
            arguments=self._arguments(told),
            stack=tuple(stack(event, self._codes, self._offsets)),
            stack_whole=int(event["stack_end"]) == wire.STACK_WHOLE,
            active_ns=active_ns if suspends and active_ns != _NEVER else None,
            arguments_at="entry" if event["taken_at"] == wire.TAKEN_AT_ENTRY else "end",
        )

    def _arguments(self, told: _Told) -> tuple[Argument, ...] | None:
        """Each as it was, and what was too far away as it is now; None if they, or the call's code, were not read.

        Of those that were taken when the call began nothing is read now: what they held may be long gone, and another
        object where it was.
        """
        event, found = told.event, []
        code, frame = int(event["code"]), int(event["frame"])
        if not code or not self._values:
            return None
        if not event["taken_at"]:
            return () if takes_none(event, self._offsets) else None
        # The frame is gone by now: it is made up of what the program has read.
        head = _block(code, self._head_of(event), is_object=True)
        head += _block(frame + self._offsets["frame.code"], code.to_bytes(8, "little"))
        process = self._whose.readable(int(event["space"]))
        now = Quiet(process) if process else None
        at_entry = event["taken_at"] == wire.TAKEN_AT_ENTRY
        snapshot = Snapshot(head + told.stream, NOTHING if at_entry else now, classes=now)
        try:
            for name, text in self._reader.each_argument(frame, code, limits=_LIMITS, memory=snapshot):
                found.append(Argument(name, text, snapshot.later > 0 and not at_entry))
                snapshot.later = 0
        except TargetError:
            return None
        return tuple(found) if found or takes_none(event, self._offsets) else None

    def _head_of(self, event: np.ndarray[Any, Any]) -> bytes:
        """Of the call's code object. The call may have held the last reference to it, which is gone at its end."""
        head = bytearray(event["code_head"].tobytes())
        count = self._offsets.get("object.refcnt")
        if count is not None and not any(head[count : count + 4]):
            head[count] = 1
        return bytes(head)


@dataclass(frozen=True)
class _Told:
    """A slow call, and the stream of the snapshot of its arguments."""

    event: np.ndarray[Any, Any]
    stream: bytes

    @property
    def duration_ns(self) -> int:
        return int(self.event["latency_ns"])


class _Slowest:
    """The slowest calls so far.

    Attributes:
        floor_ns: a call that is not longer than this is none of them.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.floor_ns = 0
        self.calls: list[SlowCall] = []

    def add(self, call: SlowCall) -> None:
        """One more."""
        insort(self.calls, call, key=lambda each: -each.duration_ns)
        del self.calls[self.options.slowest :]
        if len(self.calls) == self.options.slowest:
            self.floor_ns = self.calls[-1].duration_ns

    def taken(self) -> list[SlowCall]:
        """All of them; it begins anew."""
        calls, self.calls, self.floor_ns = self.calls, [], 0
        return calls


def _block(address: int, data: bytes, *, is_object: bool = False) -> bytes:
    """A ``struct pylat_block`` of ``bpf/capture.h``."""
    block = np.zeros(1, BLOCK)
    block["address"], block["size"], block["object"] = address, len(data), int(is_object)
    return block.tobytes() + data


def quantile_ns(rows: np.ndarray[Any, Any], q: float) -> int:
    """A quantile of one function, which has at least one call, from its ``wire.STATISTICS``; at least 1."""
    counts = rows["counts"].sum(axis=0).astype(np.int64)
    least, most = int(rows["min_ns"].min()), int(rows["max_ns"].max())
    return max(1, round(float(Histogram.from_array(counts, 0, least, most).quantile(q))))


def _text(raw: np.ndarray[Any, Any]) -> str:
    """The text of a C string."""
    return bytes(raw.tobytes()).partition(b"\0")[0].decode("utf-8", "backslashreplace")
