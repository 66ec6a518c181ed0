"""``pylat run`` without ``--children`` of programs whose work another program does: it says so, and what to add."""

from __future__ import annotations

import json
import re

import pytest

from tests.lab import Interpreter
from tests.pylat_command import pylat

pytestmark = pytest.mark.cpython(each=((3, 9), (3, 11), (3, 13), (3, 15)))

WORKING = """
import time

def work():
    pass

# of its own CPU time, so that whoever looks now and then may see it, however busy the machine is
while time.process_time() < 0.5:
    work()
"""
AGAIN = f"[sys.executable, '-E', '-S', '-c', {WORKING!r}]"
REPLACES_ITSELF = f"""
import json, os, sys

print(json.dumps(os.getpid()), flush=True)
os.execv(sys.executable, {AGAIN})
"""
STARTS_ITSELF_AGAIN = f"""
import json, subprocess, sys

pids = []
for _ in range(4):
    child = subprocess.Popen({AGAIN})
    pids.append(child.pid)
    child.wait()
print(json.dumps(pids))
"""


def test_a_program_that_replaces_itself_is_named_with_what_to_add(interpreter: Interpreter) -> None:
    result = pylat("run", "--func", "work", "--", *interpreter.command("-E", "-S", "-c", REPLACES_ITSELF))
    pid = json.loads(result.out)
    assert result.status == 3
    assert "no function that matches work was ever called; the program ended with status 0" in result.err
    said = f"process {pid} replaced itself by another program (exec), which was not measured; add --children"
    assert said in result.err.splitlines()


def test_children_that_do_the_work_are_named_with_what_to_add(interpreter: Interpreter) -> None:
    result = pylat("run", "--func", "work", "--", *interpreter.command("-E", "-S", "-c", STARTS_ITSELF_AGAIN))
    pids = json.loads(result.out)
    assert result.status == 3
    assert "no function that matches work was ever called; the program ended with status 0" in result.err
    (said,) = (line for line in result.err.splitlines() if "not measured" in line)
    # one that came and went between two looks is not told
    assert {int(pid) for pid in re.findall(r"(\d+) \(python3", said)} <= {*pids}
    assert re.match(r"(a|[2-4]) child process(es)? ran Python and (was|were) not measured: \d+ \(python3", said)
    assert said.endswith("; add --children")
