"""A real terminal, by tmux: keys are pressed in it, and what is on the screen is read."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from tests.requirements import require

_LIMIT_S = 120
_EACH_S = 0.1  # between two looks; how long it takes in all is nobody's matter
_STATUS = "exit status:"


class Terminal:
    """A command in a terminal of its own. A context manager that ends both.

    Args:
        environ: further variables of the command's.
        folder: where it runs.
    """

    def __init__(
        self,
        *command: object,
        columns: int = 100,
        lines: int = 30,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        require(shutil.which("tmux"), "tmux is not installed: script/setup --tests")
        self._folder = Path(tempfile.mkdtemp(prefix="pylat-tmux-"))
        set_ = " ".join(f"{name}={shlex.quote(value)}" for name, value in (environ or {}).items())
        line = f"env {set_} {shlex.join(map(str, command))}; echo {_STATUS} $?; cat"
        size = ["-x", str(columns), "-y", str(lines)]
        # The report is longer than the window.
        options = ["set-option", "-g", "history-limit", "5000", ";"]
        self._tmux(*options, "new-session", "-d", *size, "-c", str(folder or self._folder), line)

    def press(self, *keys: str) -> None:
        """As tmux names them: ``Enter``, ``C-c``, or letters."""
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        """The window is another."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))

    @property
    def screen(self) -> list[str]:
        """Its lines, as they are seen."""
        return self._tmux("capture-pane", "-p").splitlines()

    @property
    def styled(self) -> str:
        """All of the screen with its escape sequences."""
        return self._tmux("capture-pane", "-p", "-e")

    def until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """The first screen for which that holds; waits for it."""
        end_s = time.monotonic() + _LIMIT_S
        while not condition(lines := self.screen):
            if time.monotonic() > end_s:
                raise AssertionError("\n".join(lines))
            time.sleep(_EACH_S)
        return lines

    def shows(self, *texts: str) -> list[str]:
        """The first screen that has all of these; waits for it."""
        return self.until(lambda lines: all(any(text in line for line in lines) for text in texts))

    def ended(self) -> tuple[int, str]:
        """(The exit status of the command, all that it left on the terminal), when it has ended."""
        self.until(lambda lines: any(line.startswith(_STATUS) for line in lines))
        text = self._tmux("capture-pane", "-p", "-J", "-S", "-5000")
        said, _, status = text.rpartition(_STATUS)
        return int(status.split()[0]), said

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run([*self._server, "kill-server"], capture_output=True, check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _server(self) -> list[str]:
        return ["tmux", "-f", "/dev/null", "-S", str(self._folder / "socket")]

    def _tmux(self, *words: str) -> str:
        environ = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        for name in ("TMUX", "COLUMNS", "LINES"):  # of the terminal that the tests run in
            environ.pop(name, None)
        done = subprocess.run([*self._server, *words], capture_output=True, text=True, check=True, env=environ)
        return done.stdout
