"""The opcode numbers of a version, and the table of opcode handlers in a binary, stripped or not.

A build with computed gotos (gcc's and clang's default) holds ``opcode_targets``: 256 code pointers, one for each opcode
number (Python/opcode_targets.h). Its fingerprint: the entries of all unassigned numbers are one and the same pointer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from latency import resources
from latency.errors import UnsupportedBuild
from latency.target.elf import Image

_ENTRIES = 256
_LEAST_DIFFERENT = 100


@lru_cache(maxsize=8)
def opcodes(version: tuple[int, int], *, directory: Path | None = None) -> Mapping[str, int]:
    """Opcode name to number, specialised and instrumented ones included (``offsets/opcodes.json``).

    Raises:
        UnsupportedBuild: the version is not known.
    """
    return _of_version("opcodes.json", version, directory)


@lru_cache(maxsize=8)
def caches(version: tuple[int, int], *, directory: Path | None = None) -> Mapping[str, int]:
    """Opcode name to the units of inline cache that follow it, where there are any (``offsets/opcode_caches.json``).

    Raises:
        UnsupportedBuild: the version is not known.
    """
    return _of_version("opcode_caches.json", version, directory)


def _of_version(name: str, version: tuple[int, int], directory: Path | None) -> Mapping[str, int]:
    table = json.loads(((directory or resources.directory("offsets")) / name).read_text())
    minor = f"{version[0]}.{version[1]}"
    if minor not in table:
        raise UnsupportedBuild(
            f"the opcodes of CPython {minor} are not known",
            f"known: {', '.join(table)}; offsets/README.md says how to add one",
        )
    return dict(table[minor])


def find_table(image: Image, numbers: Mapping[str, int]) -> tuple[int, list[int]]:
    """(address of the table, its 256 handler addresses).

    Raises:
        UnsupportedBuild: there is no table (a build without computed gotos, or with tail calls), or more than one.
    """
    assigned = set(numbers.values())
    unassigned = [number for number in range(_ENTRIES) if number not in assigned]
    found: list[tuple[int, list[int]]] = []
    for segment in image.segments:
        start = -(-segment.address // 8) * 8
        count = (segment.address + segment.file_size - start) // 8
        if count >= _ENTRIES:
            words = image.pointers(start, count)
            for at in _matches(image, words, unassigned):
                found.append((start + 8 * at, words[at : at + _ENTRIES].tolist()))
    if len(found) != 1:
        raise UnsupportedBuild(
            f"{image.name} holds {len(found)} tables of opcode handlers, not one",
            "builds without computed gotos or tail calls are not supported",
        )
    return found[0]


def _matches(image: Image, words: np.ndarray[Any, Any], unassigned: list[int]) -> list[int]:
    """Indices at which 256 words have the fingerprint."""
    last = len(words) - _ENTRIES + 1
    first = words[unassigned[0] : unassigned[0] + last]
    alike = np.ones(last, bool)
    for number in unassigned[1:]:
        alike &= words[number : number + last] == first
    code = np.zeros(len(words), bool)
    for segment in image.segments:
        if segment.executable:
            code |= (words >= segment.address) & (words < segment.address + segment.memory_size)
    sums = np.concatenate([[0], np.cumsum(code)])
    alike &= sums[_ENTRIES:] - sums[:-_ENTRIES] == _ENTRIES
    places = np.nonzero(alike)[0].tolist()
    return [at for at in places if len(set(words[at : at + _ENTRIES].tolist())) > _LEAST_DIFFERENT]
