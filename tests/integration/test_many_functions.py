"""Processes with more functions than the tables were once made for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.lab import Interpreter
from tests.target_program import TargetProgram
from tests.watch import Watch

MANY = """
from protocol import serve, truth

made = {}
exec("def function_0(): pass\\nbody = function_0.__code__", made)
kept = [made["body"].replace(co_name="function_%d" % number) for number in range(70_000)]

def handle_request():
    pass

def run():
    handle_request()
    return {"handle_request": truth(1)}

serve(run)
"""


def test_a_process_with_70_000_functions_is_measured(
    own_interpreter: Interpreter,
    start_target: Callable[..., TargetProgram],
    watch: Callable[..., Watch],
    tmp_path: Path,
) -> None:
    script = tmp_path / "many.py"
    script.write_text(MANY)
    target = start_target(own_interpreter, script)
    watching = watch(target.pid, ["handle_request"])
    target.run()
    recording = watching.stop()
    assert [(each.function.qualname, each.calls) for each in recording.functions] == [("handle_request", 1)]
    assert not recording.losses.total
