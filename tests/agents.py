"""Starts ``pylat agent`` as a process of its own, and asks it."""

from __future__ import annotations

import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.pylat_command import PYLAT
from tests.servers import PATIENCE_S, until

Labels = Mapping[str, str]


class RunningAgent:
    """One that answers."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self._log = process, port, log

    @property
    def said(self) -> str:
        """On standard error."""
        return self._log.read_text()

    def status(self, path: str) -> int | None:
        """Of a page; None while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE_S) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except (urllib.error.URLError, ConnectionError):
            return None

    def page(self, accept: str = "text/plain") -> bytes:
        """The metrics, in a format. Asked again, as a server would, where they were not to be had in time."""
        return until(lambda: self._page(accept), "the metrics", self.process)

    def _page(self, accept: str) -> bytes | None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/metrics", headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            return None

    def samples(self, name: str, **labels: str) -> list[Sample]:
        """Those of this name that have these labels, of one moment."""
        return [
            sample
            for family in text_string_to_metric_families(self.page().decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of ``samples``; None where there is none."""
        found = self.samples(name, **labels)
        return sum(sample.value for sample in found) if found else None

    def wait(self, name: str, value: float, **labels: str) -> None:
        """Until the samples of this name have this sum."""
        until(
            lambda: True if self.value(name, **labels) == value else None,
            f"{name} {labels} becomes {value}",
            self.process,
        )

    def reload(self) -> None:
        """By SIGHUP."""
        self.process.send_signal(signal.SIGHUP)

    def end(self) -> int:
        """By SIGTERM; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextmanager
def agent(rules: Path, port: int, *, before: Sequence[str] = ()) -> Iterator[RunningAgent]:
    """One that has tried all processes once. ``rules`` have it listen on the port; ``before`` runs another command."""
    log = rules.with_suffix(".log")
    command = [*before, *PYLAT, "agent", "--config", str(rules)]
    with log.open("wb") as out, subprocess.Popen(command, stderr=out) as process:
        running = RunningAgent(process, port, log)
        try:
            until(lambda: True if running.status("/readyz") == 200 else None, "the agent is ready", process)
            yield running
        except BaseException:
            print(running.said)
            raise
        finally:
            if process.poll() is None:
                process.kill()
