"""Functions that were written by a program: made.py FILE. Each call of them is made here, and counted as it ends.

FILE (``tests/made_functions.py`` writes it) defines them, and ``ROUNDS``: for each of those that are to be called the
function that makes one round of calls, through ``call``, ``by`` and ``drive``. ``run`` takes their names, and does all
rounds of these; of all functions without names.
"""

import os
import sys
import types

from protocol import serve, truth


class Failure(Exception):
    """What is thrown in."""


class Counted:
    def __init__(self, functions):
        self.functions = functions
        self.known = {}

    def ended(self, name, how):
        self.known.setdefault(name, truth())[how] += 1

    def call(self, name, *arguments, **keywords):
        """A plain call; its exception goes on to who made it."""
        try:
            result = self.functions[name](*arguments, **keywords)
        except BaseException:
            self.ended(name, "raised")
            raise
        self.ended(name, "returned")
        return result

    def by(self, name, caller):
        """A plain call that C code makes: ``caller`` gets the function, and lets it be called once."""
        try:
            result = caller(self.functions[name])
        except Failure:
            self.ended(name, "raised")
            raise
        self.ended(name, "returned")
        return result

    def drive(self, name, how, *arguments):
        """A call of what suspends, to its end.

        how: "whole"; after its first step "close", "throw", or "drop"; "never" started.
        """
        made = self.functions[name](*arguments)
        is_async = hasattr(made, "__anext__")
        if how == "never":
            if hasattr(made, "close"):
                made.close()
            return
        try:
            alive = step_async(made.__anext__()) if is_async else step(made)
            if alive and how == "throw":
                alive = step_async(made.athrow(Failure())) if is_async else thrown(made)
            if alive and how in ("close", "drop"):
                if how == "drop":
                    made = None
                elif is_async:
                    step_async(made.aclose())
                else:
                    made.close()
                self.ended(name, "abandoned")
                return
            while alive:
                alive = step_async(made.__anext__()) if is_async else step(made)
        except BaseException:
            self.ended(name, "raised")
            raise
        self.ended(name, "returned")


def step(made):
    """Whether it is suspended now, and has not ended."""
    try:
        made.send(None)
    except StopIteration:
        return False
    return True


def thrown(made):
    try:
        made.throw(Failure())
    except StopIteration:
        return False
    return True


def step_async(awaitable):
    """The same of an asynchronous generator, by what ``__anext__`` gives."""
    try:
        while True:
            awaitable.send(None)
    except StopIteration:
        return True
    except StopAsyncIteration:
        return False


@types.coroutine
def pause():
    yield


def main():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "made_functions.py")
    with open(sys.argv[1]) as file:
        code = compile(file.read(), path, "exec")
    names = {"pause": pause, "Failure": Failure}
    counted = Counted(names)
    names.update(call=counted.call, drive=counted.drive, by=counted.by)
    exec(code, names)

    def run(*wanted):
        counted.known = {name: truth() for name in names["NAMES"]}
        for number in range(names["CALLS"]):
            for name in wanted or names["ROUNDS"]:
                names["ROUNDS"][name](number)
        for numbers in counted.known.values():
            numbers["calls"] = numbers["returned"] + numbers["raised"]
            del numbers["suspensions"]
        return counted.known

    serve(run)


if __name__ == "__main__":
    main()
