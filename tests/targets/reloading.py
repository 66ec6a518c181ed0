"""A development server: all that it does is to start itself again, each time that its child has ended with 3.

Each run lets the child that waits work, and RESTARTS - 1 further ones. Then the next one waits.
"""

import subprocess
import sys

from protocol import say, serve, truth

RESTARTS, CALLS = 3, 100


def view(number):
    return number


def started():
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-B", __file__, "child"], stdin=pipe, stdout=pipe)
    child.stdout.readline()  # it is ready
    return child


def run():
    global waiting
    for _ in range(RESTARTS):
        waiting.communicate(b"go\n")
        assert waiting.returncode == 3
        waiting = started()
    return {"view": truth(returned=RESTARTS * CALLS)}


if sys.argv[1:] == ["child"]:
    say({"ready": True})
    if sys.stdin.readline():
        for number in range(CALLS):
            view(number)
    sys.exit(3)
waiting = started()
serve(run)
