"""Runs a program of this folder once under ``sys.monitoring`` (3.12+), which counts by itself what the program claims.

monitored.py PROGRAM    prints {"claimed": {qualname: truth}, "counted": {qualname: truth}}
"""

import dis
import os
import runpy
import sys
from collections import Counter
from functools import lru_cache

import protocol

monitoring = sys.monitoring
events = monitoring.events
started, returned, raised, suspensions = Counter(), Counter(), Counter(), Counter()


@lru_cache(maxsize=None)
def start_of(code):
    return next(it.offset for it in dis.get_instructions(code) if it.opname == "RESUME")


def on_unwind(code, offset, exception):
    # a suspended generator that is closed ends by this exception; whether it runs for it depends on the version;
    # one that never started is unwound as well
    if not isinstance(exception, GeneratorExit) and offset >= start_of(code):
        raised[code.co_qualname] += 1


def count(counter):
    def on_event(code, *_):
        counter[code.co_qualname] += 1

    return on_event


def measure(run):
    callbacks = {
        events.PY_START: count(started),
        events.PY_RETURN: count(returned),
        events.PY_YIELD: count(suspensions),
        events.PY_UNWIND: on_unwind,
    }
    monitoring.use_tool_id(monitoring.PROFILER_ID, "monitored")
    for event, callback in callbacks.items():
        monitoring.register_callback(monitoring.PROFILER_ID, event, callback)
    monitoring.set_events(monitoring.PROFILER_ID, sum(callbacks))
    claimed = run()
    monitoring.set_events(monitoring.PROFILER_ID, 0)
    counted = {}
    for name in claimed:
        ends = returned[name], raised[name]
        counted[name] = protocol.truth(*ends, suspensions=suspensions[name], abandoned=started[name] - sum(ends))
    protocol.say({"claimed": claimed, "counted": counted})


if __name__ == "__main__":
    program = sys.argv.pop(1)
    sys.argv[0] = program + ".py"
    protocol.serve = measure
    runpy.run_path(os.path.join(sys.path[0], program + ".py"), run_name="__main__")
