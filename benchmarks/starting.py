"""How long a tool takes from its command to its first probe and its first trace, its CPU time, and its memory then.

The target is a process of 100 MB that works; of one of 3 GB with 200,000 functions and 500 threads, how long its
functions are searched for, by a new process on all processors; and of two of 10 MB, one of which has reserved 64 GiB
beside, how much longer it takes there, and what it adds to the page tables. pylat's caches are warm, but for one row.
With ``--engine auto`` pylat's probes are in place and count for a tenth of a second before it says so: it looks at what
the target does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.keeping import TARGETS, Goal, Part, Settings, Spread, Values, chosen, names_only, table
from benchmarks.worker import alone, own_command, plain
from latency.cache import Cache
from latency.cpython.interpreter import Target
from tests.lab import Interpreter

_ROUNDS = 9
_MINORS = ((3, 9), (3, 11), (3, 15))
_MEGABYTES = 100
_FUNCTION = "handle_request"
_CROWD = (3000, 200_000, 500)  # megabytes, functions, threads
_CROWD_MINOR = (3, 11)
_RESERVED = (10, 64)  # megabytes, gibibytes
_RESERVED_S, _PAGE_TABLES = "reserved_s", "page_tables_kb"
"""How much longer it takes until the probes are in place where so much is reserved; kB more of page tables there."""
_WORK_S = 0.3  # so that its memory is that of a tool at work
_USUAL = "pylat --func"
_PYLAT: Mapping[str, Sequence[str]] = {
    _USUAL: ("--func", _FUNCTION),
    "pylat, all functions": (),
    "pylat --engine watch --func": ("--engine", "watch", "--func", _FUNCTION),
}
_COLD = "pylat --func, nothing cached"
_FIRST, _AGAIN = "found_s", "kept_s"
"""CPU time to identify a build and find its sites: the first time, and with what that left."""
_CROWD_S, _CROWD_CPU_S = "crowd_s", "crowd_cpu_s"
"""Time to find the functions of the crowd, each time in a new process."""
# as a tool does it that has just begun, and has no memory yet
_SEARCH = """
import sys, time
from latency.cpython.functions import live_functions
from latency.cpython.interpreter import Target
target = Target(int(sys.argv[1]))
about = target.process, target.build, target.offsets
began_s, began_cpu_s = time.perf_counter(), time.process_time()
lives = live_functions(*about)
print([time.perf_counter() - began_s, time.process_time() - began_cpu_s, len(lives)])
"""
_LOOK = re.compile(r"([0-9.]+) s  look$")


@contextmanager
def large(command: Sequence[str], *sizes: int, script: str = "large.py") -> Iterator[subprocess.Popen[str]]:
    """The target, when it has its size."""
    text = (TARGETS / script).read_text()
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*command, "-c", text, *map(str, sizes or (_MEGABYTES,))], stdin=pipe, stdout=pipe, text=True, preexec_fn=alone
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline().startswith("ready"):
            raise RuntimeError(f"{command[0]} does not run {script}")
        yield process
    finally:
        process.kill()
        process.wait()


def _pylat(pid: int, arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, float]:
    """Seconds until its probes were in place, and until it said so, and of CPU until then; its memory."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [*own_command(), "-p", str(pid), "-v", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ},
    )  # fmt: skip
    said = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line.strip())
            if line.startswith("Tracing "):
                break
        else:
            raise peers.CannotRun(" ".join(said) or "it ended at once")
        ready_s, used_s = time.perf_counter() - begin, cpu_s(process.pid)
        time.sleep(_WORK_S)
        look_s = sum(float(step[1]) for step in map(_LOOK.search, said) if step)
        times = {"probes_s": ready_s - look_s, "ready_s": ready_s, "look_s": look_s, "cpu_s": used_s}
        return {**times, **memory_mb(process.pid)}
    finally:
        process.kill()
        process.communicate()


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, and of its children that have ended: of pylat its compiler's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> dict[str, float]:
    """Resident now, at most since it began, and what the kernel holds in the maps of its descriptors."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    maps: dict[str, int] = {}
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            about = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
            if "map_id" in about:
                maps[about["map_id"]] = int(about["memlock"])
    resident, most = (int(values[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    return {"resident_mb": resident, "most_mb": most, "maps_mb": sum(maps.values()) / 1e6}


def _measure_interpreter(interpreter: Interpreter, settings: Settings, environ: Mapping[str, str]) -> Values:
    rounds = settings.rounds_or(_ROUNDS)
    command = plain(interpreter)
    found: Values = {}
    with large(command or interpreter.command()) as process:
        for arguments in _PYLAT.values():  # fill the caches
            _pylat(process.pid, arguments, {})
        target = Target(process.pid)
        for number in range(rounds):
            settings.progress(f"starting: {interpreter.id}, round {number + 1} of {rounds}")
            for name, arguments in _PYLAT.items():
                _keep(found, name, _pylat(process.pid, arguments, {}))
            with tempfile.TemporaryDirectory(prefix="pylat-cold-") as cache:
                _keep(found, _COLD, _pylat(process.pid, _PYLAT[_USUAL], {"XDG_CACHE_HOME": cache}))
            with tempfile.TemporaryDirectory(prefix="pylat-cold-") as cache:
                for key in (_FIRST, _AGAIN):
                    begin = time.process_time()
                    _ = Target(process.pid, cache=Cache(Path(cache) / "pylat")).plan
                    found.setdefault(key, []).append(time.process_time() - begin)
            for peer in peers.PEERS:
                if found.get(peer.name, {}).get("cannot"):
                    continue
                try:
                    if command is None:
                        raise peers.CannotRun("its file is seen in a root of its own only")
                    with peer.tracing(target, _FUNCTION, environ) as run:
                        time.sleep(_WORK_S)
                        times = {"probes_s": run.ready_s, "ready_s": run.ready_s}
                        _keep(found, peer.name, {**times, **memory_mb(run.process.pid)})
                except peers.CannotRun as error:
                    found[peer.name] = {"cannot": names_only(str(error))}
        found["target_mb"] = memory_mb(process.pid)["resident_mb"]
    if interpreter.minor == _CROWD_MINOR:
        found |= _measure_crowd(command or interpreter.command(), settings, rounds)
    found |= _measure_reserved(command or interpreter.command(), rounds)
    return found


def _everywhere() -> None:
    """Use all processors, as users' tools do: the target does next to nothing, and two threads search."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


def _measure_crowd(command: Sequence[str], settings: Settings, rounds: int) -> Values:
    found: Values = {_CROWD_S: [], _CROWD_CPU_S: []}
    with large(command, *_CROWD, script="crowd.py") as process:
        for number in range(rounds):
            settings.progress(f"starting: the crowd, round {number + 1} of {rounds}")
            searching = [sys.executable, "-c", _SEARCH, str(process.pid)]
            said = subprocess.check_output(searching, text=True, preexec_fn=_everywhere)
            took_s, took_cpu_s, lives = json.loads(said)
            found[_CROWD_S].append(took_s)
            found[_CROWD_CPU_S].append(took_cpu_s)
            if lives < _CROWD[1]:
                raise RuntimeError(f"only {lives} of {_CROWD[1]} functions were found")
    return found


def _measure_reserved(command: Sequence[str], rounds: int) -> Values:
    """One after the other, in turns."""
    found: Values = {_RESERVED_S: [], _PAGE_TABLES: []}
    with large(command, _RESERVED[0]) as small, large(command, *_RESERVED) as reserving:
        for process in (small, reserving):
            _pylat(process.pid, _PYLAT[_USUAL], {})
        before_kb = page_tables_kb(reserving.pid)
        for _ in range(rounds):
            took = [_pylat(process.pid, _PYLAT[_USUAL], {})["probes_s"] for process in (small, reserving)]
            found[_RESERVED_S].append(took[1] - took[0])
            found[_PAGE_TABLES].append(page_tables_kb(reserving.pid) - before_kb)
    return found


def page_tables_kb(pid: int) -> int:
    """Those of a process (VmPTE of proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmPTE"))


def _keep(found: Values, name: str, measured: Mapping[str, float]) -> None:
    for key, number in measured.items():
        found.setdefault(name, {}).setdefault(key, []).append(number)


def measure(settings: Settings) -> Values:
    """All interpreters."""
    with peers.environment() as environ:
        return {it.id: _measure_interpreter(it, settings, environ) for it in chosen(settings, _MINORS)}


def _tools(found: Values) -> Iterator[tuple[str, Values]]:
    names = (*_PYLAT, _COLD, *(peer.name for peer in peers.PEERS))
    return ((name, found[name]) for name in names if name in found)


def tables(values: Values) -> str:
    """One table for all."""
    rows = []
    for interpreter, found in values.items():
        for name, it in _tools(found):
            if "cannot" in it:
                cells = [f"cannot: {it['cannot']}", *[""] * 5]
            else:
                times = ("probes_s", "ready_s", "cpu_s")
                cells = [f"{Spread.of(it[key]):.2f} s" if key in it else "–" for key in times]
                cells += [f"{Spread.of(it[key]).middle:.0f} MB" for key in ("resident_mb", "most_mb", "maps_mb")]
            rows.append([interpreter, f"{found['target_mb']:.0f} MB", name, *cells])
    heads = ("target", "its size", "tool", "from the command to the probes", "to the first trace", "CPU until then")
    return table((*heads, "resident memory", "at most", "its BPF maps, in the kernel"), rows)


def plots(values: Values) -> dict[str, Any]:
    """Bars of the seconds and of the megabytes."""
    from benchmarks import drawing

    names = list(dict.fromkeys(name for found in values.values() for name, _ in _tools(found)))
    series = {
        key: {
            interpreter: [Spread.of(found[name][key]) if key in found.get(name, {}) else None for name in names]
            for interpreter, found in values.items()
        }
        for key in ("probes_s", "resident_mb")
    }
    return {
        "starting": drawing.bars(names, series["probes_s"], "from the command to the probes, s", limit=0.5),
        "memory": drawing.bars(names, series["resident_mb"], "resident memory, MB", limit=120),
    }


def goals(values: Values) -> list[Goal]:
    """The slowest build and the largest memory: of ``pylat -p PID --func F`` with warm caches, where not said."""
    probes = {f"{_USUAL} on {it}": Spread.of(each[_USUAL]["probes_s"]) for it, each in values.items()}
    memory = {f"{name} on {it}": Spread.of(each[name]["resident_mb"]) for it, each in values.items() for name in _PYLAT}
    found = [
        _goal("start of the command to probes in place, target of 100 MB, warm cache", probes, 0.5),
        _goal("resident memory of pylat while measuring", memory, 120, "MB"),
    ]
    for figure, name, key, most in (
        ("CPU to the first trace, warm cache", _USUAL, "cpu_s", 0.75),
        ("CPU to the first trace, compiler included", _COLD, "cpu_s", 2.0),
        ("look of --engine auto", _USUAL, "look_s", 0.2),
    ):
        spreads = {it: Spread.of(each[name][key]) for it, each in values.items() if key in each[name]}
        found.append(_goal(figure, spreads, most))
    for figure, key, most in (
        ("CPU to identify a build and find its sites", _FIRST, 0.3),
        ("CPU to identify a build whose sites are kept", _AGAIN, 0.05),
        ("search of a target of 3 GB with 200,000 functions and 500 threads", _CROWD_S, 2.0),
        ("CPU of that search", _CROWD_CPU_S, 2.0),
        ("start where 64 GiB are reserved, beyond that of the same process without", _RESERVED_S, 1.0),
    ):
        found.append(_goal(figure, {it: Spread.of(each[key]) for it, each in values.items() if key in each}, most))
    added = {it: Spread.of(each[_PAGE_TABLES]) for it, each in values.items() if _PAGE_TABLES in each}
    found.append(_goal("page tables that it adds to a process with 64 GiB reserved", added, 0, "kB"))
    return found


def _goal(figure: str, spreads: Mapping[str, Spread], most: float, unit: str = "s") -> Goal:
    """Of the worst one."""
    promised = f"at most {most:g} {unit}"
    if not spreads:
        return Goal(figure, promised, "not measured", None)
    worst = max(spreads, key=lambda name: spreads[name].middle)
    digits = 0 if unit in ("MB", "kB") else 3 if most < 0.1 else 2
    said = f"{spreads[worst]:.{digits}f} {unit} at most ({worst})"
    return Goal(figure, promised, said, spreads[worst].middle <= most)


PART = Part("starting", "How long a tool takes to start, and its memory", measure, tables, plots, goals)
