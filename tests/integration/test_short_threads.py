"""Threads come and go; what was kept of them goes with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.lab import Interpreter
from tests.watch import Watch, wrong


def test_a_hundred_thousand_short_threads_leave_no_residue(
    own_interpreter: Interpreter, start_target: Callable[..., Any], watch: Callable[..., Watch]
) -> None:
    program = start_target(own_interpreter, "short_threads.py")
    measurement = watch(program.pid)  # every function: each thread has open calls until its end
    truth = program.run()
    # The last of them was joined when Python had done with it; the kernel tells of its end a little later.
    until = time.monotonic() + 300
    while (kept := len(list(measurement.session.maps.threads.keys()))) > 1 and time.monotonic() < until:
        time.sleep(0.01)
    recording = measurement.stop()
    assert wrong(recording, truth) == {}
    assert kept <= 1  # the main thread's own
