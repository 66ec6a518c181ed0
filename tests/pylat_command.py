"""Runs the command ``pylat`` as its users do: as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any, NamedTuple

PYLAT = (sys.executable, "-m", "latency")
BANNER = "Tracing "
EVERY_CALL = ("--max-overhead", "none")
"""For what counts all calls: a busy machine makes a hit dear, and the usual limit takes the probes away for a while."""
_LIMIT_S = 500


class Result(NamedTuple):
    """How a command ended: its exit status, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def run(self) -> dict[str, Any]:
        """The first run of the recording on standard output (of ``-j``)."""
        run: dict[str, Any] = json.loads(self.out)["runs"][0]
        return run

    def function(self, qualname: str) -> dict[str, Any]:
        """What the recording says of one function."""
        return next(it for it in self.run["functions"] if it["qualname"] == qualname)

    def agrees(self, truth: Mapping[str, Mapping[str, int]]) -> bool:
        """Whether the recording has these functions, with just these numbers, and lost nothing."""
        measured = {it["qualname"]: {name: it[name] for name in truth[it["qualname"]]} for it in self.run["functions"]}
        return measured == truth and not any(self.run["losses"].values())


def pylat(*arguments: object, environ: dict[str, str] | None = None, before: tuple[str, ...] = ()) -> Result:
    """Runs a command to its end. ``before`` is a command that runs another, such as ``setpriv``."""
    command = [*before, *PYLAT, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=_LIMIT_S, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


class Tracing:
    """A measurement that has begun: when the constructor returns, the probes are in place. Kills what still runs.

    ``pid`` is the command's own.
    """

    def __init__(self, *arguments: object, environ: dict[str, str] | None = None, before: tuple[str, ...] = ()) -> None:
        command = [*before, *PYLAT, *map(str, arguments)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environ)
        self.pid = self._process.pid
        self.said: list[str] = []
        self._begun = threading.Event()
        assert self._process.stderr is not None
        # Read by one reader from first to last: what it has taken together with the banner, another one would not see.
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr,))
        self._process.stderr = None
        self._listener.start()
        self._begun.wait()
        if not any(line.startswith(BANNER) for line in self.said):
            self._process.wait()
            raise AssertionError(f"pylat ended with {self._process.returncode} before it traced: {self.said}")

    def _listen(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self.said.append(line.rstrip("\n"))
                if line.startswith(BANNER):
                    self._begun.set()
        self._begun.set()

    def readline(self) -> str:
        """The next line of its standard output; waits for it."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def stop(self, number: signal.Signals = signal.SIGINT) -> Result:
        """Ends the measurement as its user does, and waits for the report."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> Result:
        """Waits until it ends by itself."""
        out, _ = self._process.communicate(timeout=_LIMIT_S)
        self._listener.join()
        return Result(self._process.returncode, out, "\n".join(self.said))

    def __enter__(self) -> Tracing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._listener.join()
