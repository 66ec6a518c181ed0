"""Starts a program of ``tests/targets`` in an interpreter of the lab, and speaks its protocol."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab import Interpreter

TARGETS = Path(__file__).resolve().parent / "targets"


class TargetProgram:
    """A running program under test; a context manager that kills what still runs.

    ``pid`` is the interpreter's own, as the host sees it. ``directory`` is the program's working directory, as the host
    sees it, and goes away with the program: files that the program writes by a relative name are there.

    Args:
        interpreter: what runs it.
        script: a file of ``tests/targets`` by its name, or any other Python file by its path.
        arguments: of the script.
        environ: all of its environment; None for an empty one.
        files: further ones, and folders, that are to lie in its directory.
        handshake: whether the script speaks the protocol (then the program is ready when this returns).
    """

    def __init__(
        self,
        interpreter: Interpreter,
        script: str | Path,
        *arguments: object,
        environ: dict[str, str] | None = None,
        handshake: bool = True,
        files: Sequence[Path] = (),
    ) -> None:
        self.interpreter = interpreter
        # a program in a root of its own sees only what is below it
        self.directory = Path(tempfile.mkdtemp(prefix="pylat-", dir=f"{interpreter.root or ''}/tmp"))
        self.directory.chmod(0o755)
        for file in (*TARGETS.glob("*.py"), TARGETS / script, *files):
            if file.is_dir():
                shutil.copytree(file, self.directory / file.name)
            else:
                shutil.copy(file, self.directory)
        inside = str(self.directory).removeprefix(interpreter.root or "")
        command = interpreter.command("-B", f"{inside}/{Path(script).name}", *map(str, arguments), directory=inside)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.directory,
            env={"PATH": "/usr/bin:/bin", **(environ or {})},
        )
        self.pid = self.process.pid
        if handshake:
            self._answer()

    def __enter__(self) -> TargetProgram:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def run(self, *arguments: object) -> dict[str, dict[str, int]]:
        """Runs the workload once, and gives its truth: what ``truth`` in ``targets/protocol.py`` says, by qualname."""
        self.send(" ".join(["run", *map(str, arguments)]))
        return self._answer()

    def send(self, line: str) -> None:
        """Writes one line to the program's standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def readline(self) -> str:
        """The program's next line, without its end; waits for it. ``""`` when the program is done."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def tell(self, command: str) -> None:
        """Has it do something, and waits until it says that it is done."""
        self.send(command)
        assert json.loads(self.readline())["done"]

    def quit(self) -> int:
        """Ends the program in its own way, and gives its exit status."""
        self.send("quit")
        return self.process.wait()

    def kill(self) -> None:
        """Ends the program in any case, and removes its directory."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _answer(self) -> Any:
        line = self.readline()
        if not line:
            raise RuntimeError(f"{self.interpreter.id} ended with status {self.process.wait()} before it answered")
        return json.loads(line)
