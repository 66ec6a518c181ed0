"""Which function of one side of a comparison is which of the other.

Functions are paired by their name and kind (and module, where no file tells them apart); then by their files, of which
those are the same whose paths are, or whose longest common end no other file of a function of that name has, on either
side; and within a file, where it has several of that name, by their code (``FunctionLatency.code``) and by their place
between those whose code did not change. What cannot be told so is not paired: a wrong pair is a wrong verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from latency.recording import Function

Codes = Sequence[str]
Group = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass
class Pairing:
    """What was found. All numbers are indices of base's functions, and of head's.

    Attributes:
        pairs: (of base, of head), in the order of head.
        by_order: the pairs that only their order in the file tells from others of their name.
        ambiguous: those of base that may be those of head, and nobody can tell which is which.
    """

    pairs: list[tuple[int, int]] = field(default_factory=list)
    by_order: list[tuple[int, int]] = field(default_factory=list)
    ambiguous: list[Group] = field(default_factory=list)


def pair(base: Sequence[Function], head: Sequence[Function], base_codes: Codes = (), head_codes: Codes = ()) -> Pairing:
    """Which function is which.

    Args:
        base_codes, head_codes: the digest of each function's code, ``""`` where it is not known; () for none.
    """
    named: dict[tuple[str, str, str], tuple[dict[str, list[int]], dict[str, list[int]]]] = {}
    for side, functions in enumerate((base, head)):
        for index, function in enumerate(functions):
            files = named.setdefault((function.qualname, function.kind, function.module), ({}, {}))[side]
            files.setdefault(function.filename, []).append(index)
    sides = _Side(base, base_codes), _Side(head, head_codes)
    found = Pairing()
    for of_base, of_head in named.values():
        alike = _same_files(of_base, of_head)
        for one, other in alike.items():
            _within(found, sides, of_base[one], of_head[other])
        left = [file for file in of_base if file not in alike], [file for file in of_head if file not in alike.values()]
        for one_files, other_files in _by_last_part(*left):
            indices = tuple(index for file in one_files for index in of_base[file])
            found.ambiguous.append((indices, tuple(index for file in other_files for index in of_head[file])))
    found.pairs.sort(key=lambda each: each[1])
    return found


@dataclass(frozen=True)
class _Side:
    functions: Sequence[Function]
    codes: Codes

    def in_order(self, indices: Sequence[int]) -> list[int]:
        return sorted(indices, key=lambda index: self.functions[index].line)

    def code(self, index: int) -> str:
        return self.codes[index] if self.codes else ""

    def versions(self, indices: Sequence[int]) -> set[str]:
        """Of which versions of Python the codes are: only those of one version compare."""
        return {code.partition(":")[0] for index in indices if (code := self.code(index))}


def _same_files(of_base: Mapping[str, object], of_head: Mapping[str, object]) -> dict[str, str]:
    """Which file of base is which of head."""
    found = {file: file for file in of_base if file in of_head}
    if len(found) in (len(of_base), len(of_head)):
        return found
    ends: dict[tuple[str, ...], tuple[list[str], list[str]]] = {}
    for side, files in enumerate((of_base, of_head)):
        for file in files:
            parts = tuple(file.split("/"))
            for first in range(len(parts)):
                ends.setdefault(parts[first:], ([], []))[side].append(file)
    taken = set(found)
    for end in sorted(ends, key=len, reverse=True):
        base_files, head_files = ends[end]
        if len(base_files) == len(head_files) == 1 and base_files[0] not in found and head_files[0] not in taken:
            found[base_files[0]] = head_files[0]
            taken.add(head_files[0])
    return found


def _by_last_part(of_base: Sequence[str], of_head: Sequence[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Files of both sides that have at least their own name in common."""
    ends: dict[str, tuple[list[str], list[str]]] = {}
    for side, files in enumerate((of_base, of_head)):
        for file in files:
            ends.setdefault(file.rpartition("/")[2], ([], []))[side].append(file)
    return (each for each in ends.values() if all(each))


def _within(found: Pairing, sides: tuple[_Side, _Side], of_base: Sequence[int], of_head: Sequence[int]) -> None:
    """The functions of one name and one file."""
    base, head = sides
    if len(of_base) == len(of_head) == 1:
        found.pairs.append((of_base[0], of_head[0]))
        return
    of_base, of_head = base.in_order(of_base), head.in_order(of_head)
    if not base.versions(of_base) & head.versions(of_head):
        if len(of_base) == len(of_head):
            found.pairs += zip(of_base, of_head, strict=True)
            found.by_order += zip(of_base, of_head, strict=True)
        else:
            found.ambiguous.append((tuple(of_base), tuple(of_head)))
        return
    same = _by_code(sides, of_base, of_head)
    left: tuple[list[int], list[int]] = ([], [])
    for one, other in same:
        if len(one) == len(other):
            found.pairs += zip(one, other, strict=True)
        elif one and other:
            found.ambiguous.append((tuple(one), tuple(other)))
        else:
            left[0].extend(one)
            left[1].extend(other)
    stayed = [(one, other) for them in same if len(them[0]) == len(them[1]) for one, other in zip(*them, strict=True)]
    for one, other in _by_place(stayed, left, of_base, of_head):
        if len(one) == len(other) == 1:
            found.pairs.append((one[0], other[0]))
        else:
            found.ambiguous.append((tuple(one), tuple(other)))


def _by_code(
    sides: tuple[_Side, _Side], of_base: Sequence[int], of_head: Sequence[int]
) -> list[tuple[list[int], list[int]]]:
    """Those of the same code together; one whose code is not known is alone."""
    groups: dict[object, tuple[list[int], list[int]]] = {}
    for number, indices in enumerate((of_base, of_head)):
        for index in indices:
            groups.setdefault(sides[number].code(index) or (number, index), ([], []))[number].append(index)
    return list(groups.values())


def _by_place(
    stayed: Sequence[tuple[int, int]],
    left: tuple[Sequence[int], Sequence[int]],
    of_base: Sequence[int],
    of_head: Sequence[int],
) -> Iterator[tuple[list[int], list[int]]]:
    """Those that are left and stand behind the same ones of those that stayed as they were."""
    places: dict[int, tuple[list[int], list[int]]] = {}
    for side, indices in enumerate((of_base, of_head)):
        number_of = {each[side]: number for number, each in enumerate(stayed)}
        open_ones = set(left[side])
        before = 0  # a bit for each that stayed and stands before
        for index in indices:
            if index in number_of:
                before |= 1 << number_of[index]
            elif index in open_ones:
                places.setdefault(before, ([], []))[side].append(index)
    return (each for each in places.values() if all(each))
