"""What can be switched on in a measurement by probes: one face for all of it.

A ``Part`` says what it needs of the program that is compiled (flags, BPF functions, maps, sites), takes what it wants
of the events, and adds what it has found to the recording. ``parts.py`` lists who is switched on by which option.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from latency.cpython.functions import LiveFunction
from latency.cpython.interpreter import Target
from latency.cpython.sites import Site
from latency.recording import Recording, SlowCall
from latency.tracing.counted.maps import CallMaps
from latency.tracing.counted.parameters import Capacity
from latency.tracing.counted.reading import Span
from latency.tracing.counted.spaces import Spaces
from latency.tracing.counted.table import FunctionTable
from latency.tracing.limit.throttle import Keeper
from latency.tracing.limit.watched import SlicesWatched
from latency.tracing.probes.cost import HitCost


class Host(Protocol):
    """What a part sees of the session that it belongs to (``session.Session``, where the words are explained)."""

    target: Target
    maps: CallMaps
    table: FunctionTable
    unseen: list[str]
    watched: SlicesWatched
    vanished: int
    hurries: bool
    keeper: Keeper | None
    hit_cost: HitCost | None

    @property
    def functions(self) -> list[LiveFunction]:
        """The functions that were alive when pylat looked, and match."""

    @property
    def spaces(self) -> Spaces:
        """Who is followed."""

    def spent_s(self) -> float:
        """What the probes have cost the target since the start, seconds of CPU."""

    def pause(self) -> None:
        """Take all probes away that calls pass."""

    def resume(self) -> None:
        """Place them again. Raises AttachError."""

    def take_events(self) -> None:
        """What the program has told since."""

    def take(self, kind: int, record: bytes) -> None:
        """One record of the ring buffer, of those that are the session's own."""


class Part:
    """One of them, which does nothing: the real ones say otherwise where they differ.

    Attributes:
        tracepoints: further BPF functions, each with the raw tracepoint that it hangs on.
        called: further BPF functions, each with the map (a program array) through which the others go on to it.
        structs: those of ``wire.STRUCTS`` that have other members with it.
        maps: its own, each with the types of its key and its value.
    """

    tracepoints: Mapping[str, str] = {}
    called: Mapping[str, str] = {}
    structs: Mapping[str, np.dtype[Any]] = {}
    maps: Mapping[str, tuple[np.dtype[Any], np.dtype[Any]]] = {}

    def flags(self) -> Mapping[str, int]:
        """``PYLAT_…`` for the compiler, beside those of ``parameters.cflags``.

        Raises:
            KernelTooOld, UnsupportedBuild: what it needs is not known here.
        """
        return {}

    def sites(self) -> Sequence[Site]:
        """Further sites to be probed."""
        return ()

    def capacity(self, capacity: Capacity) -> Capacity:
        """How much the maps hold with it."""
        return capacity

    def loaded(self, session: Host) -> None:
        """The program and its maps are there; nothing is attached."""

    def calibrated(self) -> None:
        """The programs have run in pylat's own process: what they have told by now is of nobody."""

    def begin(self) -> None:
        """Everything is attached, and the measurement begins now."""

    def before_events(self) -> None:
        """The events that have come since are about to be read: what must be known earlier than they are."""

    def passing(self, records: Iterator[tuple[int, bytes]]) -> Iterable[tuple[int, bytes]]:
        """Those of these records that it leaves to the session."""
        return records

    def after_events(self) -> None:
        """The session has taken its events."""

    def poll(self) -> None:
        """Several times a second, while the target runs."""

    def end(self) -> None:
        """The measurement has ended, and nothing is attached any more."""

    def told(self, recording: Recording, span: Span) -> Recording:
        """The recording, with what it has found."""
        return recording

    def noticed(self) -> Sequence[SlowCall]:
        """The single calls that it has kept by now."""
        return ()

    def close(self) -> None:
        """The maps are about to go."""
