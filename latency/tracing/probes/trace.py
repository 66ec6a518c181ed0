"""Calls one by one, as they happen (``pylat trace``)."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from latency.cpython.interpreter import Target
from latency.cpython.sites.returns import ReturnPlace, return_place
from latency.cpython.values import Limits, Reader, Signature
from latency.errors import TargetError
from latency.recording import Function
from latency.recording import trace as told
from latency.recording.trace import TraceEvent, Value
from latency.tracing.counted import wire
from latency.tracing.counted.capture import Quiet, Snapshot
from latency.tracing.counted.maps import decoded
from latency.tracing.counted.parameters import Capacity, namespace_flags
from latency.tracing.kernel import clock
from latency.tracing.probes import trace_wire
from latency.tracing.probes.part import Host, Part
from latency.tracing.probes.trace_wire import RawEvent

EVENT_BYTES = 16 << 20
"""Of the ring buffer."""
_BACKLOG_BYTES = 256 << 20  # taken out of the ring buffer and not yet told
_AT_ONCE = 64  # events that are told before the ring buffer is emptied again
_PREPARED = 256  # functions whose arguments' names are read before the first call
_KINDS = {
    trace_wire.STARTED: told.STARTED,
    trace_wire.RESUMED: told.RESUMED,
    trace_wire.RETURNED: told.RETURNED,
    trace_wire.RAISED: told.RAISED,
    trace_wire.YIELDED: told.YIELDED,
    trace_wire.ABANDONED: told.ABANDONED,
}
_NOT_TOLD = Value("…")
_LIMITS = Limits(characters=200, total=1_000, time_s=1.0)


class Trace(Part):
    """Tells the calls of a session one by one, beside counting them all.

    Args:
        target: of the session.
        arguments: with their arguments.
        values: with what they return, and the text of exceptions.
        limits: of each text.
        show_secrets: with the values whose names say that they are secret.
        event_bytes: of the ring buffer, a power of two.

    Raises:
        UnsupportedBuild: returned values are asked for, and this build does not show where they are.
    """

    called: Mapping[str, str] = {trace_wire.PROGRAM: trace_wire.NEXT_TABLE}

    def __init__(
        self,
        target: Target,
        *,
        arguments: bool = False,
        values: bool = False,
        limits: Limits | None = None,
        show_secrets: bool = False,
        event_bytes: int = EVENT_BYTES,
    ) -> None:
        self._target = target
        self._arguments = arguments
        self._returns: ReturnPlace | None = None
        if values:
            build = target.build
            self._returns = return_place(build.image, build.version, target.offsets, target.plan)
        self._limits = limits or _LIMITS
        self._show_secrets = show_secrets
        self._event_bytes = event_bytes
        self._backlog: deque[tuple[int, bytes]] = deque()
        self._backlog_bytes = 0
        self._pending: deque[TraceEvent] = deque()
        self._lost = 0
        self._lost_at_end: int | None = None
        self._epoch_ns = 0
        self._readers: dict[int, Reader | None] = {}
        self._memories: dict[int, Quiet] = {}
        self._signatures: dict[tuple[int, int], Signature | None] = {}

    @property
    def lost(self) -> int:
        """Events that were lost, until now."""
        found = self._lost_table.lookup(np.zeros(1, "<u4"))
        return int(found[0]) if found is not None else 0

    @property
    def lost_in_all(self) -> int:
        """Events that were lost, from the start to the end."""
        return self.lost if self._lost_at_end is None else self._lost_at_end

    def take(self) -> Iterator[TraceEvent]:
        """What has happened since, in its order; with an event of its own where some were lost."""
        while self._drain(self._maps.records()) or self._pending:
            for _ in range(min(_AT_ONCE, len(self._backlog))):
                # Whoever takes them may stop at any of them, and go on later.
                while self._pending:
                    yield self._pending.popleft()
                kind, record = self._backlog.popleft()
                self._backlog_bytes -= len(record)
                if kind == trace_wire.EVENT_TRACE:
                    self._pending.extend(self._told(record))
                    continue
                event = decoded(kind, record)
                if event is not None and kind == wire.EVENT_CODE:
                    self._signatures.pop((int(event["space"]), int(event["code"])), None)
                self._session.take(kind, record)
            while self._pending:
                yield self._pending.popleft()

    def take_last(self) -> Iterator[TraceEvent]:
        """After the session's ``stop``: what is left, and what was lost at the end."""
        yield from self.take()
        yield from self._told_lost(self._lost_at_end or 0, clock.now_ns())

    # -- as a part -------------------------------------------------------------------------------

    def flags(self) -> Mapping[str, int]:
        """Of ``bpf/trace.h``."""
        flags = trace_wire.trace_flags(self._target.offsets, arguments=self._arguments, returns=self._returns)
        return {**flags, **namespace_flags(self._target.process)}

    def capacity(self, capacity: Capacity) -> Capacity:
        """With a ring buffer for all events."""
        return replace(capacity, event_bytes=self._event_bytes)

    def loaded(self, session: Host) -> None:
        """Whose calls they are; the names of the arguments are read before the first of them."""
        self._session, self._maps = session, session.maps
        self._lost_table = session.maps.map(trace_wire.LOST_TABLE, np.dtype("<u4"), np.dtype("<u8"))
        self._epoch_ns = clock.epoch_ns()
        if self._arguments and len(session.functions) <= _PREPARED:
            for space, live in session.table.wanted:
                self._signature(space.number, live.address)

    def calibrated(self) -> None:
        """The session has emptied the ring buffer."""
        self._lost_table.update(np.zeros(1, "<u4"), np.zeros(1, "<u8"))

    def passing(self, records: Iterator[tuple[int, bytes]]) -> Iterable[tuple[int, bytes]]:
        """None: events are told in their order, by ``take`` alone. When the measurement has ended, this takes the last
        ones: what comes then is of the calibration, which hits the same probes."""
        ended = not self._maps.config["enabled"][0]
        self._drain(records, _BACKLOG_BYTES + self._event_bytes if ended else _BACKLOG_BYTES)
        if ended:
            self._lost_at_end = self.lost
        return ()

    # -- inside ----------------------------------------------------------------------------------

    def _drain(self, records: Iterator[tuple[int, bytes]], most_bytes: int = _BACKLOG_BYTES) -> bool:
        """Empty the ring buffer. Whether there is something to tell."""
        if self._lost_at_end is None and self._backlog_bytes < most_bytes:
            for kind, record in records:
                self._backlog.append((kind, record))
                self._backlog_bytes += len(record)
                if self._backlog_bytes >= most_bytes:
                    break  # the rest waits there; when it is full, too, events are lost, and counted
        return bool(self._backlog)

    def _told(self, record: bytes) -> Iterator[TraceEvent]:
        try:
            event, stream = trace_wire.decode(record)
        except struct.error:
            return
        yield from self._told_lost(event.lost, event.time_ns)
        function, wanted = self._session.table.owner(event.slot, self._maps.statistics[event.slot])
        kind = _KINDS.get(event.what)
        if not wanted or kind is None:
            return
        yield TraceEvent(
            kind=kind,
            time_ns=event.time_ns + self._epoch_ns,
            pid=event.own_tgid,
            tid=event.own_tid,
            host_pid=event.tgid,
            host_tid=event.tid,
            depth=event.depth,
            function=function,
            frame=event.frame,
            latency_ns=None if kind in (told.STARTED, told.RESUMED) or not event.timed else event.latency_ns,
            active_ns=event.active_ns,
            arguments=self._argument_values(event, stream) if kind == told.STARTED and self._arguments else None,
            value=self._value(event, stream, function) if self._returns else None,
            exception=_class_name(event.exception) if kind == told.RAISED else "",
        )

    def _told_lost(self, lost: int, at_ns: int) -> Iterator[TraceEvent]:
        """An event for those that were lost between the last one and this one."""
        if lost > self._lost:
            yield TraceEvent(told.LOST, at_ns + self._epoch_ns, lost=lost - self._lost)
            self._lost = lost

    def _argument_values(self, event: RawEvent, stream: bytes) -> tuple[Value, ...]:
        of, reader = self._signature(event.space, event.code), self._reader(event.space)
        if of is None or reader is None:
            return (_NOT_TOLD,)
        snapshot = Snapshot(stream, self._memories[event.space])
        count = min(len(snapshot.first) // 8, of.words) if of.words else 0
        words = struct.unpack_from(f"<{count}Q", snapshot.first)
        found = []
        for name, text in reader.arguments_of(of, words, memory=snapshot, limits=self._limits):
            found.append(Value(text, later=snapshot.later > 0, name=name))
            snapshot.later = 0
        return tuple(found)

    def _value(self, event: RawEvent, stream: bytes, function: Function | None) -> Value | None:
        if event.value_kind == trace_wire.VALUE_UNKNOWN:
            return Value("<not seen>")
        reader = self._reader(event.space)
        if event.value_kind not in (trace_wire.VALUE_OBJECT, trace_wire.VALUE_RAW):
            return None
        if reader is None:
            return _NOT_TOLD
        snapshot = Snapshot(stream, self._memories[event.space])
        if event.value_kind == trace_wire.VALUE_RAW:
            comma = self._target.build.version < (3, 7, 0)  # as its BaseException_repr has it
            return _raw_exception(event, reader, snapshot, self._limits, comma=comma)
        name = function.qualname.rpartition(".")[2] if function and event.what == trace_wire.RETURNED else ""
        text = reader.describe(event.value, name=name, memory=snapshot, limits=self._limits)
        return Value(text, later=snapshot.later > 0)

    def _signature(self, space: int, code: int) -> Signature | None:
        key = (space, code)
        if key not in self._signatures:
            reader = self._reader(space)
            self._signatures[key] = reader.signature(code) if reader else None
        return self._signatures[key]

    def _reader(self, number: int) -> Reader | None:
        """What describes the objects of a space; None if it ended before it could be looked at."""
        if number not in self._readers:
            space = self._session.spaces.get(number)
            process = space.readable if space else None
            self._readers[number] = None
            if space is not None and process is not None:
                memory = Quiet(process)
                try:
                    build, offsets = space.build or self._target.build, self._target.offsets
                    self._readers[number] = Reader(memory, build, offsets, show_secrets=self._show_secrets)
                    self._memories[number] = memory
                except TargetError:
                    pass
        return self._readers[number]


def _raw_exception(event: RawEvent, reader: Reader, snapshot: Snapshot, limits: Limits, *, comma: bool) -> Value:
    """To 3.11 an exception need not be made yet: there is its class, and what it is to be called with."""
    name = _class_name(event.exception).rpartition(".")[2]
    if not event.value:
        return Value(f"{name}()")
    text = reader.describe(event.value, memory=snapshot, limits=limits)
    if not text.startswith("("):
        text = f"({'' if text == 'None' else text}{',' if comma and text != 'None' else ''})"
    elif text.endswith(",)") and not comma:
        text = text[:-2] + ")"
    return Value(name + text, later=snapshot.later > 0)


def _class_name(raw: bytes) -> str:
    name, end, _ = raw.partition(b"\0")
    return name.decode("utf-8", "backslashreplace") + ("" if end else "…")
