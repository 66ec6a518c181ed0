"""Functions whose entries and exits are hard to tell by memory alone: what the watch engine is tried on.

watched.py [ROUNDS]     each is called a number of times that is known by construction
"""

import genericpath
import os
import posixpath
import sys
import threading
import warnings

from protocol import serve, truth

N = int(sys.argv[1]) if len(sys.argv) > 1 else 60
THREADS = 4


def one(number):
    return number


def alike(number):
    return number - 1


def alike_too(count):
    """Up to 3.10 both can share one object of bytecode."""
    return count - 1


def two(number):
    if number % 2:
        return 1
    return 2


def three(number):
    if number % 3 == 0:
        return 0
    if number % 3 == 1:
        return 1
    return 2


def five(number):
    for place in range(5):
        if number % 5 == place:
            if place == 0:
                return 0
            if place == 1:
                return 1
            if place == 2:
                return 2
            if place == 3:
                return 3
    return 4


def loops_at_once():
    while True:
        if len(ended) % 3 == 0:
            ended.append(1)
            return
        ended.append(1)


def factorial(number):
    return 1 if number <= 1 else number * factorial(number - 1)


def looks_at_itself(number):
    names = looks_at_itself.__code__.co_name, sys._getframe().f_code.co_name
    return looks_at_itself(number - 1) if number else names


def reads_its_bytes():
    return len(reads_its_bytes.__code__.co_code)


def half_raises(number):
    if number % 2:
        raise ValueError(number)
    return number


def reraises(number):
    try:
        half_raises(number)
    finally:
        ended.append(number)


def handles(number):
    try:
        raise KeyError(number)
    except KeyError:
        return number


def returns_in_finally_block(number):
    for _ in range(2):
        try:
            return number
        finally:
            ended.append(number)


def swallowed_by_c(number):
    raise AttributeError(number)


class Asked:
    @property
    def missing(self):
        return swallowed_by_c(1)


def make_closure(number):
    def closure():
        return number

    return closure


class Held:
    def method(self):
        return self


def called_by_c(number):
    return -number


# more than 256 names and constants: EXTENDED_ARG before the first and the last of its units
SOURCE = "def extended(flag):\n    if flag:\n        return name_0\n"
SOURCE += "".join(f"    name_{number} = {number}.5\n" for number in range(400))
SOURCE += "    return name_399\n"
space = {"name_0": 0}
exec(SOURCE.replace("return name_0", "return 'early'"), space)
extended = space["extended"]


def in_threads(number):
    if number % 10 == 3:
        raise ValueError(number)
    return in_threads(0) if number % 10 == 5 else number


def thread_body():
    for number in range(N):
        try:
            in_threads(number)
        except ValueError:
            pass


def in_old_thread(number):
    return number


def old_thread_body():
    while True:
        asked.acquire()
        for number in range(N):
            in_old_thread(number)
        answered.release()


def forks(number):
    """Calls itself in a child, too: that is not the process's own call."""
    if number:
        return number
    child = os.fork()
    if not child:
        forks(1)
        os._exit(0)
    return os.waitpid(child, 0)


def suspends():
    yield 1


def kept():
    keeper.append(sys._getframe())


def raised_and_kept(number):
    raise ValueError(number)


def traced(number):
    return number


def tracer(frame, event, argument):
    frame.f_code.co_name
    return tracer


def under_tools():
    for switch in sys.settrace, sys.setprofile:
        for number in range(N):
            switch(tracer if number % 3 else None)
            traced(number)
        switch(None)
    if sys.version_info < (3, 12):
        return
    tool, events = sys.monitoring.DEBUGGER_ID, sys.monitoring.events
    sys.monitoring.use_tool_id(tool, "watched")
    sys.monitoring.register_callback(tool, events.PY_START, lambda *_: None)
    sys.monitoring.register_callback(tool, events.PY_RETURN, lambda *_: None)
    for number in range(N):
        sys.monitoring.set_events(tool, events.PY_START | events.PY_RETURN if number % 3 else 0)
        traced(number)
    sys.monitoring.set_events(tool, 0)
    sys.monitoring.free_tool_id(tool)


def uses_frozen_modules(number):
    """Functions whose code is built into the interpreter (3.11, 3.12) return in two places, and raise."""
    posixpath.isabs("/")
    posixpath.isabs(b"x")
    attempts(posixpath.isabs, number)
    genericpath.commonprefix([] if number % 2 else ["a", "a"])


ended = []
keeper = []
asked, answered = threading.Semaphore(0), threading.Semaphore(0)


def attempts(function, *arguments):
    try:
        function(*arguments)
    except (ValueError, AttributeError, TypeError):
        pass


def keeps():
    """Frames that outlive their calls: up to 3.11 the code object's reference count does not show such a return."""
    for number in range(N):
        kept()
        if number % 3 == 0:
            del keeper[:]
        try:
            raised_and_kept(number)
        except ValueError as error:
            keeper.append(error)


def run():
    del ended[:]
    for number in range(N):
        for function in alike, alike_too, alike_too, one, two, three, five, handles, returns_in_finally_block:
            function(number)
        factorial(10)
        looks_at_itself(3)
        reads_its_bytes()
        attempts(half_raises, number)
        attempts(reraises, number)
        hasattr(Asked(), "missing")
        make_closure(number)()
        Held().method()
        extended(number % 2)
        loops_at_once()
        uses_frozen_modules(number)
    sorted(range(N), key=called_by_c)
    threads = [threading.Thread(target=thread_body) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked.release()
    answered.acquire()
    for _ in range(3):
        forks(0)
        list(suspends())
    keeps()
    under_tools()
    half = N // 2
    known = {name: truth(N) for name in ("one", "two", "three", "five", "handles", "returns_in_finally_block")}
    known.update(
        {
            "alike": truth(N),
            "alike_too": truth(2 * N),
            "factorial": truth(10 * N),
            "looks_at_itself": truth(4 * N),
            "reads_its_bytes": truth(N),
            "half_raises": truth(N, raised=N),
            "reraises": truth(half, raised=half),
            "swallowed_by_c": truth(raised=N),
            "make_closure": truth(N),
            "make_closure.<locals>.closure": truth(N),
            "Held.method": truth(N),
            "extended": truth(N),
            "loops_at_once": truth(N),
            "called_by_c": truth(N),
            "in_threads": truth(THREADS * N, raised=THREADS * N // 10),
            "in_old_thread": truth(N),
            "forks": truth(3),
            "kept": truth(N),
            "raised_and_kept": truth(raised=N),
            "suspends": truth(3, suspensions=3),
            "traced": truth((3 if sys.version_info >= (3, 12) else 2) * N),
        }
    )
    return known


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # of os.fork with threads: the child does not return
    threading.Thread(target=old_thread_body, daemon=True).start()
    serve(run)
