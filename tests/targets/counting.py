"""Calls ``work`` as often as each command says, in a loop, and nothing else; the answer is the truth of that."""

import sys

from protocol import say, truth


def work(number):
    return number


def works(times):
    for number in range(times):
        work(number)


say({"ready": True})
for command in iter(sys.stdin.readline, ""):
    works(int(command))
    say({"work": truth(returned=int(command))})
