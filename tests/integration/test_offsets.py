"""The tables hold in the memory of every interpreter of the lab, and in what it says of itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from latency.cpython.debug_offsets import READ_BYTES
from latency.cpython.offsets import for_build, load
from latency.target.build import identify
from latency.target.process import Process
from tests.lab import Interpreter


def test_the_table_holds_in_the_memory_of_a_running_interpreter(interpreter: Interpreter, repository: Path) -> None:
    letter = "t" if interpreter.free_threaded else ""
    table = (repository / f"offsets/cpython-3.{interpreter.minor[1]}{letter}-x86_64.json").read_text()
    command = interpreter.command("-I", "-c", (repository / "offsets/live.py").read_text())
    said = json.loads(subprocess.run(command, input=table, capture_output=True, text=True, check=True).stdout)
    assert said["wrong"] == []
    assert len(said["right"]) > 100


@pytest.mark.parametrize("member", ["PyCodeObject.co_filename", "PyTupleObject.ob_item", "PyFloatObject.ob_fval"])
def test_a_wrong_table_is_found_out_by_the_memory(member: str, own_interpreter: Interpreter, repository: Path) -> None:
    table = json.loads((repository / f"offsets/cpython-3.{own_interpreter.minor[1]}-x86_64.json").read_text())
    struct, name = member.split(".")
    table["structs"][struct][name][0] -= 8
    command = own_interpreter.command("-I", "-c", (repository / "offsets/live.py").read_text())
    done = subprocess.run(command, input=json.dumps(table), capture_output=True, text=True, check=True)
    assert member in json.loads(done.stdout)["wrong"]


@pytest.mark.cpython(min=(3, 13), max=(3, 15))
def test_the_table_agrees_with_the_debug_offsets_of_a_live_process(interpreter: Interpreter) -> None:
    with subprocess.Popen(
        interpreter.command("-I", "-c", "input(print(flush=True))"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        try:
            assert running.stdout is not None
            running.stdout.readline()
            process = Process(running.pid)
            runtime = process.read(identify(process).address("_PyRuntime"), READ_BYTES)
        finally:
            running.kill()
    flags = frozenset({"free-threaded"} if interpreter.free_threaded else ())
    table = load(interpreter.minor, flags=flags)
    assert for_build(interpreter.minor, flags=flags, runtime=runtime).source == f"debug offsets + {table.source}"
