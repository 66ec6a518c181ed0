"""The guest's share of a kernel's test of rights: which commands work for a user with which capabilities and no others.

A process of ``nobody`` with a list of capabilities measures a program of its own user, and one of root, under each
``kernel.perf_event_paranoid``. Each measurement must see calls, or be refused.

    script/kernels --rights 6.1 newest
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from latency.cpython.interpreter import Target
from latency.errors import PylatError
from latency.recording import Options
from latency.tracing.measurement import Measurement, begin, begin_trace

_NOBODY = 65534
_PROGRAM = """
import gc
def handle(number):
    return number
print("ready", flush=True)
while True:
    handle(1)
    gc.collect(0)
"""
_LOOKS, _LOOK_S = 400, 0.05
_THREE = ("bpf", "perfmon", "sys_ptrace")
LISTS: Mapping[str, tuple[str, ...]] = {
    "BPF+PERFMON+SYS_PTRACE": _THREE,
    "… +DAC_READ_SEARCH": (*_THREE, "dac_read_search"),
    "… +SYS_ADMIN": (*_THREE, "dac_read_search", "sys_admin"),
}
PARANOID = (2, 3, 4)
_ONE = {"func": ("handle",)}


def _measuring(engine: str = "handlers", **options: object) -> Callable[[int], Measurement]:
    def make(pid: int) -> Measurement:
        return begin(Target(pid, engine=engine), Options(engine=engine, **options))  # type: ignore[arg-type]

    return make


def _tracing(pid: int) -> Measurement:
    return begin_trace(Target(pid, engine="handlers"), Options(engine="handlers", func=("handle",)), arguments=True)[0]


COMMANDS: Mapping[str, Callable[[int], Measurement]] = {
    "--func": _measuring(**_ONE),
    "--slower": _measuring(slower="1ms", **_ONE),
    "--self": _measuring(self_time=True, **_ONE),
    "trace --args": _tracing,
    "--children": _measuring(children=True, **_ONE),
    "--offcpu": _measuring(offcpu=True, **_ONE),
    "watch": _measuring("watch", **_ONE),
    "--gc": lambda pid: begin(Target(pid), Options(markers=("gc",))),
}


def tried(pid: int, *, prepare: bool = False) -> dict[str, str]:
    """What comes of each command, as this process may."""
    found = {}
    for name, make in COMMANDS.items():
        try:
            with closing(make(pid)) as measurement:
                found[name] = "prepared" if prepare else _seen(measurement)
        except PylatError as error:
            found[name] = f"refused: {error}; {error.hint}"
    return found


def _seen(measurement: Measurement) -> str:
    measurement.start()
    for _ in range(_LOOKS):
        time.sleep(_LOOK_S)
        measurement.poll()
        if measurement.interval().calls:
            return "works"
    return "NOTHING SEEN"


@contextmanager
def _program(user: int) -> Iterator[int]:
    command = ["/usr/bin/python3", "-c", _PROGRAM]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, user=user, group=user, extra_groups=[])
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def _as_nobody(capabilities: Sequence[str], home: str, *arguments: str) -> dict[str, str]:
    listed = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    nobody = ("--reuid", str(_NOBODY), "--regid", str(_NOBODY), "--clear-groups")
    command = ["setpriv", *nobody, "--inh-caps", listed, "--ambient-caps", listed, "--"]
    command += [sys.executable, "-B", "-m", "tests.kernels.rights", *arguments]
    environment = {**os.environ, "HOME": home, "XDG_CACHE_HOME": f"{home}/.cache"}
    said = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if said.returncode != 0:
        return {"": (said.stderr or said.stdout)[-2000:]}
    answer: dict[str, str] = json.loads(said.stdout)
    return answer


@contextmanager
def _home() -> Iterator[str]:
    """A folder of nobody's, with what was compiled."""
    with tempfile.TemporaryDirectory(prefix="pylat-rights-") as home:
        kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pylat"
        if kept.is_dir():
            shutil.copytree(kept, Path(home, ".cache/pylat"))
        for path in (Path(home), *Path(home).rglob("*")):
            os.chown(path, _NOBODY, _NOBODY)
        yield home


@contextmanager
def _paranoid(level: int) -> Iterator[None]:
    files = {
        "/proc/sys/kernel/perf_event_paranoid": str(level),
        "/proc/sys/kernel/unprivileged_bpf_disabled": "2",  # Debian's and Ubuntu's own
    }
    before = {path: Path(path).read_text() for path in files}
    for path, value in files.items():
        if before[path].strip() != value:
            Path(path).write_text(value)
    try:
        yield
    finally:
        Path("/proc/sys/kernel/perf_event_paranoid").write_text(before["/proc/sys/kernel/perf_event_paranoid"])


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where something was accepted and saw nothing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--prepare", action="store_true", help="only compile")
    parser.add_argument("--try", dest="pid", type=int, help="what this process may do with another")
    options = parser.parse_args(arguments)
    if options.pid:
        print(json.dumps(tried(options.pid)))
        return 0
    if options.prepare:
        with _program(0) as pid:
            print(tried(pid, prepare=True))
        return 0
    nothing = False
    notes: dict[str, int] = {}
    print("| perf_event_paranoid | capabilities | target of | " + " | ".join(COMMANDS) + " |")
    with _home() as home, _program(_NOBODY) as own, _program(0) as others:
        for level in PARANOID:
            with _paranoid(level):
                for name, capabilities in LISTS.items():
                    for whose, pid in (("own user", own), ("another", others)):
                        found = _as_nobody(capabilities, home, "--try", str(pid))
                        nothing |= "NOTHING SEEN" in found.values() or "" in found
                        cells = [
                            outcome if outcome == "works" else f"no [{notes.setdefault(outcome, len(notes) + 1)}]"
                            for outcome in (found.get(each, found.get("", "?")) for each in COMMANDS)
                        ]
                        print(f"| {level} | {name} | {whose} | {' | '.join(cells)} |", flush=True)
    for note, number in notes.items():
        print(f"[{number}] {note}")
    return int(nothing)


if __name__ == "__main__":
    sys.exit(main())
