"""Minima and maxima that several threads count at once: what each has kept widens what stands in the statistics."""

from __future__ import annotations

import numpy as np

from latency.tracing.counted import wire
from latency.tracing.counted.extremes import Extremes


class Table:
    """In place of a map of the kernel."""

    def __init__(self, *kept: tuple[int, int, int, int]) -> None:
        self.keys, self.values = np.zeros(len(kept), wire.EXTREMES_KEY), np.zeros(len(kept), wire.EXTREMES)
        for key, value, (tid, slot, least, most) in zip(self.keys, self.values, kept, strict=True):
            key["tid"], key["slot"], value["min_ns"], value["max_ns"] = tid, slot, least, most

    def everything(self) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        return self.keys, self.values

    def delete_many(self, keys: np.ndarray) -> None:  # type: ignore[type-arg]
        left = ~np.isin(self.keys, keys)
        self.keys, self.values = self.keys[left], self.values[left]


def widened(
    table: Table | None, rows: list[tuple[int, int]], slots: list[int], *, of_self: bool = False
) -> list[object]:
    made = np.zeros(len(rows), wire.STATISTICS)
    made["min_ns"], made["max_ns"] = zip(*rows, strict=True)
    extremes = Extremes(table)  # type: ignore[arg-type]
    extremes.look()
    extremes.into(made, np.array(slots), of_self=of_self)
    return [(row["min_ns"], row["max_ns"]) for row in made]


def test_what_any_thread_has_kept_counts() -> None:
    table = Table((1, 4, 5, 50), (2, 4, 7, 90), (2, 9, 1, 1000))
    assert widened(table, [(6, 40), (8, 8), (2, 3)], [4, 5, 9]) == [(5, 90), (8, 8), (1, 1000)]


def test_a_latency_of_zero_is_one_nanosecond() -> None:
    assert widened(Table((1, 4, 0, 0)), [(1, 0)], [4]) == [(1, 0)]


def test_self_times_are_kept_apart() -> None:
    table = Table((1, 4, 5, 50), (1, 4 | 1 << 16, 2, 20))
    assert widened(table, [(6, 10)], [4]) == [(5, 50)]
    assert widened(table, [(6, 10)], [4], of_self=True) == [(2, 20)]


def test_without_such_a_table_the_statistics_are_right() -> None:
    assert widened(None, [(6, 10)], [4]) == [(6, 10)]


def test_a_slot_that_starts_again_has_none() -> None:
    table = Table((1, 4, 5, 50), (1, 4 | 1 << 16, 2, 20), (1, 5, 3, 30))
    Extremes(table).clear(4)  # type: ignore[arg-type]
    assert table.keys["slot"].tolist() == [5]
