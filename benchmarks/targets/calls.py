"""The target of the cost benchmark: says what a call takes, in nanoseconds of CPU time, as often as it is asked.

Runs on Python 3.6 to 3.15. A line of JSON on standard input is answered with one on standard output:

    ["time", FUNCTION, BURST_NS, BURSTS]   -> [calls in all, [nanoseconds of one call, for each burst]]
    ["profile", true | false]              -> calls of the functions that cProfile counted
    ["monitor", true | false]              -> events that sys.monitoring delivered
"""

import json
import mmap
import sys
import time

EVENTS_TOOL = 4


def wanted():
    pass


def other():
    pass


FUNCTIONS = {"wanted": wanted, "other": other}

# CPU time: what else runs on the machine is not in it, and what the kernel does in a trap is
if hasattr(time, "process_time_ns"):
    clock, tick_ns = time.process_time_ns, 1
else:  # 3.6
    clock, tick_ns = time.process_time, 1e9


def burst(function, count):
    """Nanoseconds of one ``function()``, the loop's own time included."""
    turns = range(count)
    begin = clock()
    for _ in turns:
        function()
    return (clock() - begin) * tick_ns / count


def timed(name, burst_ns, bursts):
    function = FUNCTIONS[name]
    calls = [20]
    burst(function, calls[0])  # warm
    while True:  # until a burst is long enough to be timed
        calls.append(4 * calls[-1])
        one_ns = burst(function, calls[-1])
        if one_ns * calls[-1] > burst_ns / 8:
            break
    count = max(20, int(burst_ns / one_ns))
    found = [burst(function, count) for _ in range(bursts)]
    return [sum(calls) + count * bursts, found]


class Profiled:
    """cProfile, which is this class of C."""

    def __init__(self):
        import _lsprof

        self.profiler = _lsprof.Profiler()
        self.profiler.enable()

    def stop(self):
        self.profiler.disable()
        codes = {function.__code__ for function in FUNCTIONS.values()}
        return sum(entry.callcount for entry in self.profiler.getstats() if entry.code in codes)


class Monitored:
    """sys.monitoring with callbacks that no C can undercut: two instructions that count, and return None.

    They are called by the vector call protocol, as a function of C that takes any arguments (METH_FASTCALL) is.
    """

    def __init__(self):
        import ctypes

        monitoring = sys.monitoring
        self.memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        place = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.counter = ctypes.c_uint64.from_address(place + 64)
        code = b"\x48\xff\x05" + (64 - 7).to_bytes(4, "little")  # inc qword [rip + 57]: the counter
        code += b"\x48\xb8" + id(None).to_bytes(8, "little") + b"\xc3"  # mov rax, None (immortal); ret
        self.memory[: len(code)] = code

        class Method(ctypes.Structure):  # PyMethodDef
            _fields_ = [
                ("name", ctypes.c_char_p),
                ("call", ctypes.c_void_p),
                ("flags", ctypes.c_int),
                ("doc", ctypes.c_char_p),
            ]

        self.method = Method(b"count", place, 0x80, None)  # METH_FASTCALL
        make = ctypes.pythonapi.PyCMethod_New
        make.restype = ctypes.py_object
        make.argtypes = [ctypes.c_void_p] * 4
        count = make(ctypes.addressof(self.method), None, None, None)
        events = monitoring.events
        monitoring.use_tool_id(EVENTS_TOOL, "bench")
        for event in (events.PY_START, events.PY_RETURN):
            monitoring.register_callback(EVENTS_TOOL, event, count)
        monitoring.set_events(EVENTS_TOOL, events.PY_START | events.PY_RETURN)

    def stop(self):
        sys.monitoring.set_events(EVENTS_TOOL, 0)
        sys.monitoring.free_tool_id(EVENTS_TOOL)
        return self.counter.value


TOOLS = {"profile": Profiled, "monitor": Monitored}


def main():
    running = {}
    print(json.dumps("ready"), flush=True)
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        command = json.loads(line)
        answer = None
        if command[0] == "time":
            answer = timed(*command[1:])
        elif command[1]:
            running[command[0]] = TOOLS[command[0]]()
        else:
            answer = running.pop(command[0]).stop()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
