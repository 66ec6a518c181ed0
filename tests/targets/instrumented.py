"""The interpreter's own tracers, profilers and monitors, switched on and off in the middle of calls and generators.

The functions that do the work are called the same number of times under each tool, and each switch happens while they
are open. What the tools call back counts itself: that is exact as well.
"""

import cProfile
import operator
import sys
import threading
import trace
from collections import Counter

from protocol import serve, truth

N = 6
DEPTH = 8


def leaf(number):
    return number


def fails(number):
    raise ValueError(number)


def steps():
    yield 1
    yield 2
    yield 3


def nested(depth, switch):
    """Switches in the deepest call, so that what returns was entered before."""
    if depth:
        return nested(depth - 1, switch)
    leaf(depth)
    switch()
    leaf(depth)
    return None


def unwound(depth, switch):
    if depth:
        unwound(depth - 1, switch)
    switch()
    fails(depth)


def works():
    for number in range(5):
        leaf(number)
    for _ in steps():
        pass
    try:
        fails(0)
    except ValueError:
        pass


def resumed(switch):
    generator = steps()
    next(generator)
    switch()
    next(generator)
    next(generator)
    next(generator, None)


def stopped(switch):
    generator = steps()
    next(generator)
    switch()
    generator.close()


def caught(switch):
    try:
        unwound(DEPTH, switch)
    except ValueError:
        pass


def exercise(on, off):
    nested(DEPTH, on)
    works()
    nested(DEPTH, off)
    works()
    for tested in resumed, stopped, caught:
        tested(on)
        works()
        tested(off)
        works()


def known(times, more):
    """The truth of that many exercises, and so many calls of ``works`` beside."""
    works_, nested_, unwound_ = 8 * times + more, 2 * times, 2 * times
    resumed_, stopped_ = 2 * times, 2 * times
    return {
        "exercise": truth(times),
        "works": truth(works_),
        "nested": truth(nested_ * (DEPTH + 1)),
        "unwound": truth(raised=unwound_ * (DEPTH + 1)),
        "caught": truth(unwound_),
        "resumed": truth(resumed_),
        "stopped": truth(stopped_),
        "leaf": truth(5 * works_ + 2 * nested_),
        "fails": truth(raised=works_ + unwound_),
        "steps": truth(works_ + resumed_, suspensions=3 * (works_ + resumed_) + stopped_, abandoned=stopped_),
    }


calls = Counter()  # of the callbacks


def tracer(frame, event, argument):
    calls["tracer"] += 1
    return tracer


def opcode_tracer(frame, event, argument):
    calls["opcode_tracer"] += 1
    frame.f_trace_opcodes = True
    return opcode_tracer


def profiler(frame, event, argument):
    calls["profiler"] += 1


def monitor(*details):
    calls["monitor"] += 1


def monitor_once(*details):
    calls["monitor_once"] += 1
    return sys.monitoring.DISABLE


def switches():
    """(on, off) of every tool that this version has."""
    profile = cProfile.Profile()
    counts = trace.Trace(count=1, trace=0)
    yield lambda: sys.settrace(tracer), lambda: sys.settrace(None)
    if hasattr(sys._getframe(), "f_trace_opcodes"):  # 3.7
        yield lambda: sys.settrace(opcode_tracer), lambda: sys.settrace(None)
    yield lambda: sys.settrace(counts.globaltrace), lambda: sys.settrace(None)
    yield lambda: sys.setprofile(profiler), lambda: sys.setprofile(None)
    yield profile.enable, profile.disable
    if sys.version_info >= (3, 12):
        yield from monitors()
    try:
        import coverage
    except ImportError:
        return
    measures = coverage.Coverage(data_file=None)
    yield measures.start, measures.stop


def monitors():
    tool, events = sys.monitoring.DEBUGGER_ID, sys.monitoring.events
    flow = events.PY_START | events.PY_RESUME | events.PY_RETURN | events.PY_YIELD
    unwinding = events.PY_UNWIND | events.PY_THROW | events.RAISE
    fine = events.LINE | events.INSTRUCTION | events.JUMP | events.CALL
    sys.monitoring.use_tool_id(tool, "instrumented")

    def everywhere(chosen, callback):
        monitored(tool, callback)
        sys.monitoring.set_events(tool, chosen)

    def here(chosen, callback):
        monitored(tool, callback)
        for function in leaf, steps, nested, unwound:
            sys.monitoring.set_local_events(tool, function.__code__, chosen)

    yield lambda: everywhere(events.PY_START, monitor), lambda: everywhere(0, monitor)
    yield lambda: everywhere(flow | unwinding | fine, monitor), lambda: everywhere(0, monitor)
    single = flow | events.LINE | events.INSTRUCTION  # those that a callback may switch off for its place
    yield lambda: everywhere(single, monitor_once), lambda: everywhere(0, monitor_once)
    yield sys.monitoring.restart_events, lambda: None
    yield lambda: here(flow | fine, monitor), lambda: here(0, monitor)


def monitored(tool, callback):
    """Has every event of the tool call ``callback``."""
    for place in range(19):
        try:
            sys.monitoring.register_callback(tool, 1 << place, callback)
        except ValueError:  # no event of this version
            pass


def flipped_by_another_thread():
    """Works while another thread switches all code between instrumented and not, where that is possible (3.12)."""
    finished = threading.Event()
    thread = threading.Thread(target=flips, args=(finished,))
    thread.start()
    for _ in range(N):
        works()
    finished.set()
    thread.join()


def flips(finished):
    while not finished.is_set() and sys.version_info >= (3, 12):
        tool, events = sys.monitoring.DEBUGGER_ID, sys.monitoring.events
        monitored(tool, None)
        sys.monitoring.register_callback(tool, events.PY_START, operator.is_)
        sys.monitoring.set_events(tool, events.PY_START)
        sys.monitoring.set_events(tool, 0)


TOOLS = list(switches())


def run():
    calls.clear()
    for _ in range(N):
        for on, off in TOOLS:
            exercise(on, off)
    flipped_by_another_thread()
    answer = known(N * len(TOOLS), N)
    answer.update({name: truth(count) for name, count in calls.items()})
    return answer


if __name__ == "__main__":
    serve(run)
