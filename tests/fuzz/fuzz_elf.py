"""Mutates ELF files and reads them: nothing but our own errors, within 2 s of CPU time and 300 MB each.

    python tests/fuzz/fuzz_elf.py --seconds 600
    python tests/fuzz/fuzz_elf.py --seed 7 --only 123456    # one input again

Every input follows from the seed and its number alone. One that breaks a rule is saved in
``tests/fuzz/corpus`` and stays there: ``tests/unit/test_target_hostile.py`` reads them all.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from latency.errors import TargetError  # noqa: E402
from latency.target.build import python_version  # noqa: E402
from latency.target.elf import Image  # noqa: E402
from latency.target.maps import Mapping  # noqa: E402

CORPUS = Path(__file__).resolve().parent / "corpus"
TIME_LIMIT_S = 2.0
MEMORY_LIMIT_BYTES = 300 << 20
_SPARSE_BYTES = 1 << 30

_EHDR_FIELDS = {16: 2, 18: 2, 24: 8, 32: 8, 40: 8, 54: 2, 56: 2, 58: 2, 60: 2, 62: 2}
_PHDR_FIELDS = {0: 4, 4: 4, 8: 8, 16: 8, 32: 8, 40: 8, 48: 8}
_SHDR_FIELDS = {0: 4, 4: 4, 8: 8, 16: 8, 24: 8, 32: 8, 40: 4, 44: 4, 48: 8, 56: 8}
_BOUNDARIES = [0, 1, 2, 3, 4, 7, 8, 11, 12, 16, 23, 24, 56, 63, 64, 127, 255, 0xFFFF]
_BOUNDARIES += [1 << bit for bit in (12, 20, 23, 24, 25, 26, 30, 31, 32, 47, 62, 63)]
_BOUNDARIES += [(1 << bit) - step for bit in (16, 23, 25, 26, 31, 32, 63, 64) for step in (1, 2, 8)]


class RuleBroken(Exception):
    """What an input did that none may do, in one line."""


def exercise(image: Image) -> None:
    """Asks an image everything that pylat asks; errors of ours are answers."""
    names = ["PyCode_Type", "Py_GetVersion", "Py_Version", "_PyRuntime", "", "x" * 300, "é"]
    addresses = [0, -1, 1, 0x1000, 0x400000, 1 << 47, 1 << 63, (1 << 64) - 1, 1 << 64]
    mapping = Mapping(0x400000, 0x500000, True, False, True, True, 0, "08:01", 1, "/image")
    places = _ask(lambda: [segment.address for segment in image.segments]) or []
    questions: list[Callable[[], object]] = [
        lambda: image.build_id,
        lambda: image.note_segments,
        lambda: image.sections,
        image.markers,
        image.relative_relocations,
        lambda: image.code_ranges,
        lambda: image.load_bias([mapping]),
        lambda: python_version(image),
        *(lambda name=name: image.symbol(name) for name in names),
        *(lambda name=name: image.exported_symbol(name) for name in names),
        lambda: image.address_of(0),
    ]
    for address in [*addresses, *places, *(place + 16 for place in places[:4])]:
        questions += [
            lambda address=address: image.read(address, 64),
            lambda address=address: image.read(address, 1 << 40),
            lambda address=address: image.pointers(address, 256),
            lambda address=address: image.symbol_at(address),
            lambda address=address: image.code_range(address),
            lambda address=address: image.offset_of(address),
        ]
    for question in questions:
        _ask(question)


def _ask(question: Callable[[], object]) -> object:
    try:
        return question()
    except TargetError:
        return None


def check(content: bytes, *, sparse_bytes: int = 0, limit_s: float = TIME_LIMIT_S) -> None:
    """Reads one input.

    Args:
        content: the file.
        sparse_bytes: to which size a hole is appended, so that large tables fit into the file.
        limit_s: of CPU time.

    Raises:
        RuleBroken: a foreign exception, or too slow.
    """
    fd = os.memfd_create("fuzz")
    started_s = time.process_time()  # the machine may be busy with more than this
    signal.setitimer(signal.ITIMER_PROF, 5 * limit_s)
    try:
        os.write(fd, content)
        os.ftruncate(fd, max(len(content), sparse_bytes))
        with Image(fd) as image:
            exercise(image)
    except TargetError:
        pass
    except Exception as error:
        raise RuleBroken(f"{type(error).__name__}: {error}") from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if (duration_s := time.process_time() - started_s) > limit_s:
        raise RuleBroken(f"took {duration_s:.1f} s")


def mutate(content: bytes, rng: random.Random) -> tuple[bytes, int]:
    """(a mutant, the size to which it is to be extended by a hole)."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        rng.choice([_header, _header, _table, _table, _table, _bytes, _word, _copy])(data, rng)
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    return bytes(data), _SPARSE_BYTES if rng.random() < 0.02 else 0


def _header(data: bytearray, rng: random.Random) -> None:
    _field(data, 0, _EHDR_FIELDS, rng)


def _table(data: bytearray, rng: random.Random) -> None:
    """A field of one program or section header."""
    if len(data) < 64:
        return
    programs, sections = struct.unpack_from("<QQ", data, 32)
    _, program_count, _, section_count = struct.unpack_from("<4H", data, 54)
    if rng.random() < 0.3:
        _field(data, programs + 56 * rng.randrange(program_count or 1), _PHDR_FIELDS, rng)
    else:
        _field(data, sections + 64 * rng.randrange(section_count or 1), _SHDR_FIELDS, rng)


def _field(data: bytearray, start: int, fields: dict[int, int], rng: random.Random) -> None:
    offset, size = rng.choice(list(fields.items()))
    _put(data, start + offset, size, rng)


def _word(data: bytearray, rng: random.Random) -> None:
    """Any aligned word: symbols, relocations, notes, unwind records."""
    size = rng.choice([4, 4, 8])
    _put(data, rng.randrange(max(1, len(data) // size)) * size, size, rng)


def _put(data: bytearray, place: int, size: int, rng: random.Random) -> None:
    if place + size > len(data):
        return
    old = int.from_bytes(data[place : place + size], "little")
    small = old + rng.choice([-16, -8, -1, 1, 8, 16, 4096])
    value = rng.choice([rng.choice(_BOUNDARIES), rng.getrandbits(8 * size), small, old ^ 1 << rng.randrange(8 * size)])
    data[place : place + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def _bytes(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randrange(1, 16)):
        if data:
            data[rng.randrange(len(data))] = rng.getrandbits(8)


def _copy(data: bytearray, rng: random.Random) -> None:
    """A block over another one: overlapping headers, tables of the wrong kind."""
    if len(data) < 128:
        return
    size = rng.choice([8, 24, 56, 64, 256])
    source, target = rng.randrange(len(data)), rng.randrange(len(data))
    block = data[source : source + size]
    data[target : target + len(block)] = block[: len(data) - target]


def run(
    seconds: float,
    seed: int,
    *,
    count: int | None = None,
    only: int | None = None,
    save: bool = True,
    limit_s: float = TIME_LIMIT_S,
) -> int:
    """Fuzzes for a time, or so many inputs; their number. Raises RuleBroken."""
    signal.signal(signal.SIGPROF, _too_slow)
    seeds = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
    deadline_s = time.monotonic() + seconds
    number = only or 0
    while only is not None or (time.monotonic() < deadline_s if count is None else number < count):
        rng = random.Random(f"{seed}:{number}")
        content, sparse_bytes = mutate(rng.choice(seeds), rng)
        try:
            check(content, sparse_bytes=sparse_bytes, limit_s=limit_s)
        except RuleBroken as error:
            if save:
                (CORPUS / f"broken-{seed}-{number}").write_bytes(content)
            raise RuleBroken(f"input {number} of seed {seed} (sparse {sparse_bytes}): {error}") from error.__cause__
        number += 1
        if only is not None:
            break
    return number


def limit_memory() -> None:
    """From now on an allocation that takes the process 300 MB further fails: a MemoryError, a foreign exception."""
    now_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now_bytes + MEMORY_LIMIT_BYTES, resource.RLIM_INFINITY))


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("did not end")


def main() -> int:
    """The command line; 1 if a rule was broken."""
    parser = argparse.ArgumentParser(description="Fuzz pylat's ELF reader.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--count", type=int, help="of inputs, instead of a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=TIME_LIMIT_S, help="seconds of CPU time for each input")
    parser.add_argument("--only", type=int, help="the number of one input, to see its traceback")
    options = parser.parse_args()
    limit_memory()
    try:
        count = run(
            options.seconds,
            options.seed,
            count=options.count,
            only=options.only,
            save=options.only is None,
            limit_s=options.limit,
        )
    except RuleBroken as error:
        if options.only is not None:
            raise
        print(error)
        return 1
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print(f"seed {options.seed}: {count} inputs, none broke a rule; peak {peak_bytes >> 20} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
