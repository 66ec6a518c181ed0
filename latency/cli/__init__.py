"""The command ``pylat``: the only place that prints or exits.

``arguments`` says what can be typed, and each command has a module of its own. Errors are raised where they are known,
and printed here, once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import latency.cli.blas  # noqa: F401 before all that imports numpy
from latency.cli.arguments import parse
from latency.cli.terminal import complain, show_any_text
from latency.errors import PylatError

_INTERRUPTED = 130  # 128 + SIGINT, as a shell says it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit status; see the README for what each means."""
    show_any_text()
    arguments = parse(sys.argv[1:] if argv is None else argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except PylatError as error:
        complain(error, verbose=arguments.verbose)
        return error.exit_status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; the interpreter's own flush at exit must not complain of it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
