"""What shipping/try runs in a fresh root: the installed agent measures a program, and is scraped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request

CALLS = 1000
PATIENCE_S = 60
RULES = """
listen: 127.0.0.1:9464
budget: {process: none}
rules:
  - name: tried
    processes: {command: "*tried_program*"}
    functions: ["__main__:handled"]
"""
PROGRAM = """
import sys
def handled(): pass
for line in sys.stdin:
    for _ in range(int(line)): handled()
    print("called", flush=True)
"""


def scraped(name, label):
    """The value of a series of the agent; None where it is not there."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:9464/metrics", timeout=PATIENCE_S) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return None
    return next(
        (float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{") and label in line), None
    )


def until(name, label, value):
    end_s = time.monotonic() + PATIENCE_S
    while (found := scraped(name, label)) != value:
        if time.monotonic() > end_s:
            sys.exit(f"{name}{{{label}}} is {found}, and should be {value}")
        time.sleep(0.2)


for path, text in (("/tmp/agent.yaml", RULES), ("/tmp/tried_program.py", PROGRAM)):
    with open(path, "w") as file:
        file.write(text)
pipe = subprocess.PIPE
with subprocess.Popen([sys.executable, "/tmp/tried_program.py"], stdin=pipe, stdout=pipe, text=True) as program:
    with subprocess.Popen(["pylat", "agent", "--config", "/tmp/agent.yaml"]) as agent:
        try:
            until("pylat_agent_targets", 'state="measured"', 1)
            program.stdin.write(f"{CALLS}\n")
            program.stdin.flush()
            program.stdout.readline()
            until("pylat_function_duration_seconds_count", 'function="handled"', CALLS)
            sys.stdout.write(f"{CALLS} calls were made, and {CALLS} are in the agent's metrics\n")
        finally:
            agent.send_signal(signal.SIGINT)
    program.stdin.close()
for path in ("/tmp/agent.yaml", "/tmp/tried_program.py"):
    os.unlink(path)
sys.exit(agent.returncode)
