"""The agent: measurements, scrapes and pushes, until somebody ends it."""

from __future__ import annotations

import os
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from threading import Condition, Lock
from typing import IO

from latency import __version__
from latency.agent import config as configured
from latency.agent import metrics as named
from latency.agent.config import Config
from latency.agent.fleet import POLL_S, Fleet
from latency.agent.garbage import Garbage
from latency.agent.push import Pusher, Resources
from latency.agent.server import Server
from latency.agent.slow_log import SlowLog
from latency.errors import PylatError
from latency.export import metrics as measured
from latency.export.families import Family, Source, Table, families
from latency.export.metrics import Metric
from latency.tracing.kernel.host import resident_bytes

BUSY_POLL_S = 0.1
"""How long a turn lasts while measurements are about to begin, or are in a hurry; else ``fleet.POLL_S``."""
READ_S = 20.0
"""How often measurements are read where nobody asks, so that slow calls are told in time."""
_PATIENCE_S = 8.0  # of whoever asks: less than a scrape usually has
_STUCK_S = 60.0
_TELL_AGAIN_S = 300.0  # one kind of trouble of one rule
_MOST_KINDS = 1000

# Readings while it goes on do not tell which calls are open.
_UNKNOWN = frozenset((measured.OPEN, measured.OLDEST_OPEN))


@dataclass(frozen=True)
class Snapshot:
    """What was known at one moment.

    Attributes:
        groups: of each the rule's name, and its recordings with their labels.
        own: the agent's own metrics.
    """

    groups: tuple[tuple[str, tuple[Source, ...]], ...]
    own: Callable[[Table], None]

    def families(self) -> list[Family]:
        """All of it together."""
        table = Table()
        self.own(table)
        sources = [source for _, each in self.groups for source in each]
        return _known(families(sources, version=__version__, table=table))

    def resources(self) -> Resources:
        """The same, each group a resource of OpenTelemetry, and one for the agent itself."""
        host = socket.gethostname()
        table = Table()
        self.own(table)
        found = [({"service.name": "pylat-agent", "service.instance.id": host}, table.families())]
        for service, sources in self.groups:
            bare = [replace(each, labels={}) for each in sources]
            labels = {name: text for name, text in sources[0].labels.items() if name != "service" and text}
            attributes = {
                "service.name": service,
                "service.instance.id": "/".join([host, *labels.values()]),
                "host.name": host,
                "process.runtime.name": "cpython",
                "process.runtime.version": sources[-1].recording.target.python,
                **{_RESOURCES[name]: text for name, text in labels.items()},
            }
            found.append((attributes, _known(families(bare, version=__version__))))
        return found


_RESOURCES = {"pid": "process.pid", "unit": "pylat.unit", "container": "container.id", "pod": "k8s.pod.uid"}


def _known(found: list[Family]) -> list[Family]:
    return [family for family in found if family.metric not in _UNKNOWN]


class Agent:
    """One agent.

    Args:
        path: of its file.
        environ: see ``config.read``.
        say: is given lines that people should read.
        out: standard output, for slow calls.

    Raises:
        ConfigError: the file is wrong.
        HostError: its address cannot be had, or a library is missing.
    """

    def __init__(self, path: Path, environ: Mapping[str, str], say: Callable[[str], None], out: IO[str]) -> None:
        self._path, self._environ, self._say, self._out = path, environ, say, out
        self._began = datetime.now(timezone.utc)
        self._config = configured.read(path, environ)
        self._config_ok = True
        self._told: dict[tuple[str, str], float] = {}
        self._telling = Lock()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._over = self._reload = self._closed = False
        self._changed = Condition()
        self._asked = self._answered = 0
        self._snapshot: Snapshot | None = None
        self._turned_s = time.monotonic()
        self._refused = self._unanswered = 0
        self._ready = False
        self._log = SlowLog(self._config.slow_log, out, time.monotonic())
        self._fleet = Fleet(self._config, self._tell, found=lambda: os.eventfd_write(self._wake, 1))
        self._server = self._listening(self._config)
        self._pusher = self._pushing(self._config)

    # -- from outside --------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where scrapes are answered: ``HOST:PORT``."""
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        return f"{host}:{self._server.port}"

    def end(self) -> None:
        """From a signal handler, or any thread: that is enough."""
        self._over = True
        os.eventfd_write(self._wake, 1)

    def reload(self) -> None:
        """From a signal handler, or any thread: read the file again."""
        self._reload = True
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Until ``end``."""
        try:
            read_s = time.monotonic()
            garbage = Garbage()
            while not self._over:
                now_s = self._turned_s = time.monotonic()
                if self._reload:
                    self._reload = False
                    self._read_again(now_s)
                reloaded_s = time.monotonic()
                self._fleet.step(now_s)
                self._ready = self._fleet.settled
                asked = self._asked
                if asked > self._answered or now_s >= read_s + READ_S:
                    read_s = now_s
                    self._read(asked, now_s)
                if (took_s := time.monotonic() - now_s) > _PATIENCE_S:
                    of_it = f"{reloaded_s - now_s:.1f} s of it by reading the file again"
                    self._tell("agent", "slow_turn", f"one turn took {took_s:.1f} s, {of_it}: nobody was answered")
                running = dict.fromkeys(each for group in self._fleet.groups() for each in group.running)
                if self._ready:
                    garbage.step(running, sum(self._fleet.begun.values()), now_s)
                busy = not self._ready or any(each.measurement.hurries for each in running)
                select.select([self._wake], (), (), BUSY_POLL_S if busy else POLL_S)
                _drain(self._wake)
        finally:
            self._close()

    # -- what the server asks for ----------------------------------------------------------------------

    def families(self) -> list[Family] | None:
        """The metrics of this moment; None where they are not to be had in time."""
        snapshot = self._fresh()
        return snapshot.families() if snapshot else None

    def healthy(self) -> bool:
        """Whether the agent goes on."""
        return time.monotonic() - self._turned_s < _STUCK_S

    def ready(self) -> bool:
        """Whether each process that is there was tried once."""
        return self.healthy() and self._ready

    @property
    def scale(self) -> int:
        """Of native histograms."""
        return self._config.scale

    def _resources(self) -> Resources | None:
        snapshot = self._fresh()
        return snapshot.resources() if snapshot else None

    def _fresh(self) -> Snapshot | None:
        """What is known after this was asked; or None, after a while."""
        with self._changed:
            if self._closed:
                return self._snapshot
            self._asked += 1
            ticket = self._asked
            os.eventfd_write(self._wake, 1)
            there = self._changed.wait_for(lambda: self._answered >= ticket, _PATIENCE_S)
            self._unanswered += not there
            return self._snapshot if there else None

    # -- inside ------------------------------------------------------------------------------------------

    def _read(self, asked: int, now_s: float) -> None:
        self._fleet.read()
        slow, self._fleet.slow = self._fleet.slow, []
        self._log.write(slow, now_s)
        wanted = dict.fromkeys((name for rule in self._config.rules for name in rule.labels), "")
        groups = []
        for group in self._fleet.groups():
            labels = {"service": group.rule.name, **wanted, **group.labels}
            whole = group.is_common
            sources = tuple(Source(each, labels, group.created, whole=whole) for each in group.recordings())
            if sources:
                groups.append((group.rule.name, sources))
        snapshot = Snapshot(tuple(groups), self._own())
        with self._changed:
            self._snapshot, self._answered = snapshot, asked
            self._changed.notify_all()

    def _own(self) -> Callable[[Table], None]:
        """The agent's own metrics of this moment."""
        names = [rule.name for rule in self._config.rules]
        states = Counter((each.rule.name, each.state) for each in self._fleet.candidates())
        refused = Counter((it.rule.name, it.reason) for it in self._fleet.candidates() if it.state == "refused")
        failures = Counter(self._fleet.failures)
        beyond = Counter(dict.fromkeys(names, 0))
        for group in self._fleet.groups():
            beyond[group.rule.name] += group.beyond
        limits = dict.fromkeys(names, 0.0)
        for it in self._fleet.candidates():
            limits[it.rule.name] += it.running.limit_pct / 100 if it.running else 0.0
        of_rules: list[tuple[Metric, Mapping[str, int | float]]] = [
            (named.MEASUREMENTS, Counter(self._fleet.begun)),
            (named.LIMIT, limits),
            (named.BEYOND, beyond),
        ]
        outcomes = Counter(self._pusher.outcomes) if self._pusher else None
        numbers = (
            (named.CONFIG_OK, int(self._config_ok)),
            (named.SLOW_UNWRITTEN, self._log.unwritten),
            (named.REFUSED_CONNECTIONS, self._refused),
            (named.UNANSWERED, self._unanswered),
            (named.CPU, time.process_time_ns()),
            (named.RESIDENT, resident_bytes()),
        )
        began = self._began

        def add(table: Table) -> None:
            for name in names:
                for state in ("waiting", "starting", "measured", "refused"):
                    table.add(named.TARGETS, (state,), states[name, state], began, common=(("service", name),))
            for metric, counted in ((named.UNMEASURED, refused), (named.FAILURES, failures)):
                for (name, reason), count in counted.items():
                    table.add(metric, (reason,), count, began, common=(("service", name),))
            for name in names:
                for metric, values in of_rules:
                    table.add(metric, (), values[name], began, common=(("service", name),))
            for outcome in ("accepted", "refused", "failed") if outcomes is not None else ():
                table.add(named.PUSHES, (outcome,), (outcomes or Counter())[outcome], began)
            for metric, value in numbers:
                table.add(metric, (), value, began)
            table.add(measured.BUILD, (__version__,), 1, began)

        return add

    def _read_again(self, now_s: float) -> None:
        """The file; where it is wrong, the old rules stay."""
        try:
            config = configured.read(self._path, self._environ)
            log = SlowLog(config.slow_log, self._out, now_s)
            if (config.host, config.port) != (self._config.host, self._config.port):
                server = self._listening(config)
                self._server.close()
                self._server = server
        except PylatError as error:
            self._config_ok = False
            self._say(f"not reloaded: {error}; {error.hint}")
            return
        log.follow(self._log)
        self._log, self._config_ok = log, True
        if config.push != self._config.push:
            if self._pusher:
                self._pusher.close()
            self._pusher = self._pushing(config)
        self._fleet.reload(config, now_s)
        self._config = config
        self._say(f"reloaded {self._path}: {len(config.rules)} rules")

    def _listening(self, config: Config) -> Server:
        return Server(config.host, config.port, self, self._refuse)

    def _refuse(self) -> None:
        self._refused += 1

    def _pushing(self, config: Config) -> Pusher | None:
        if config.push is None:
            return None
        return Pusher(config.push, __version__, self._resources, partial(self._tell, "otlp"))

    def _tell(self, whose: str, reason: str, text: str) -> None:
        """Once in a while, however often it happens."""
        now_s = time.monotonic()
        with self._telling:
            if now_s - self._told.get((whose, reason), -_TELL_AGAIN_S) < _TELL_AGAIN_S:
                return
            if len(self._told) >= _MOST_KINDS:
                self._told.clear()
            self._told[whose, reason] = now_s
        self._say(f"{whose}: {text}")

    def _close(self) -> None:
        try:
            self._fleet.close()
            with self._changed:
                self._closed = True
            self._read(self._asked, time.monotonic())
        finally:
            self._server.close()
            if self._pusher:
                self._pusher.close(last=True)
            self._log.close()
            os.close(self._wake)


def _drain(fd: int) -> None:
    with suppress(BlockingIOError):
        os.eventfd_read(fd)
