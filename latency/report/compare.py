"""Two sides of runs into verdicts: is the head slower than the base?

The unit is the run: each gives one value for each statistic of each function, and these are compared
(``statistics.welch``), all gates of all functions together (Holm). A verdict needs ``MIN_RUNS`` runs a side, a test
that rejects, **and** a shift above the gate's limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import expm1, inf, isnan, log, log1p

import numpy as np
from numpy.typing import NDArray

from latency.histogram import Floats
from latency.recording import Function, Recording
from latency.recording.columns import Columns
from latency.report.compare_gates import DEFAULT_GATES, Gate, names, quantile_of
from latency.report.compare_pairs import Pairing, pair
from latency.report.compare_sides import Side, on_one_grid, side_of
from latency.report.compare_warnings import warnings
from latency.report.names import escape
from latency.report.statistics import MIN_RUNS, Verdict, holm, judge, runs_needed, welch
from latency.report.units import percent, plural

SHOWN = ("p50", "p90", "p99", "mean")
"""Statistics that are described even where no gate judges them."""
MAX_LOSS = 0.001
MIN_BEYOND = 10
"""A percentile that fewer calls of a run exceed stands on too little."""
_SHOWN = 3
_LARGEST = 700.0
"""Logarithm of about the largest float: the interval of two runs can reach beyond it."""
ORDER = {verdict: index for index, verdict in enumerate(Verdict)}
"""The verdicts, the one that most needs to be looked at first."""


@dataclass(frozen=True, slots=True)
class Change:
    """One statistic of one function.

    Attributes:
        statistic: ``p50``, ``mean`` ...
        base_ns, head_ns: geometric mean of the runs, nanoseconds.
        runs: how many runs of base and of head have calls of the function.
        shift: head / base - 1.
        interval: of ``shift``, 95 %, widened by what pylat's probes may have falsified on both sides; None with fewer
            than two runs on a side.
        p: two-sided, of no shift at all; None with fewer than two runs on a side.
        p_adjusted: the same with all tests of the comparison accounted for; None where nothing is judged.
        gate: what judged it; None if it is only described.
        verdict: see :class:`Verdict`.
        runs_needed: of an inconclusive one, about how many runs a side would do; None where that is more than
            ``statistics.MAX_RUNS``.
        by_probes: no number of runs would decide it: the change is within what the probes may have falsified.
    """

    statistic: str
    base_ns: float
    head_ns: float
    runs: tuple[int, int]
    shift: float
    interval: tuple[float, float] | None
    p: float | None
    p_adjusted: float | None
    gate: Gate | None
    verdict: Verdict
    runs_needed: int | None
    by_probes: bool = False


@dataclass(frozen=True, slots=True)
class Compared:
    """One function that both sides have.

    Attributes:
        function: as head has it.
        before: as base has it; another line or folder perhaps.
        changes: of the statistics that are judged, then of the other ones in ``SHOWN``.
        index: where it stands in each side's ``functions``.
    """

    function: Function
    before: Function
    changes: tuple[Change, ...]
    index: tuple[int, int]

    @property
    def verdict(self) -> Verdict:
        """The worst of its changes."""
        return min((change.verdict for change in self.changes), key=ORDER.__getitem__)


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        functions: the worst verdict first, and the largest shift of it.
        only_base, only_head: functions with calls on one side only.
        ambiguous: functions with calls, of base and of head, among which nobody can tell which is which.
        missing: those of these that ``--func`` or a gate names, and not by a wildcard.
        unused: gates that no function on both sides matches.
        warnings: what makes the comparison doubtful, one line each, safe to show.
        base, head: the sides, for pictures.
    """

    gates: tuple[Gate, ...]
    functions: tuple[Compared, ...]
    only_base: tuple[Function, ...]
    only_head: tuple[Function, ...]
    ambiguous: tuple[tuple[tuple[Function, ...], tuple[Function, ...]], ...]
    missing: tuple[Function, ...]
    unused: tuple[Gate, ...]
    warnings: tuple[str, ...]
    base: Side = field(repr=False)
    head: Side = field(repr=False)

    def tally(self) -> Mapping[Verdict, int]:
        """How many functions have each verdict, those of none included."""
        found = dict.fromkeys(Verdict, 0)
        for each in self.functions:
            found[each.verdict] += 1
        return found


def compare(
    base: Sequence[Recording | Columns],
    head: Sequence[Recording | Columns],
    gates: Sequence[Gate] = DEFAULT_GATES,
    *,
    max_loss: float = MAX_LOSS,
) -> Comparison:
    """Compare the runs of two sides, live ones or those of ``load`` or ``load_columns``.

    Args:
        gates: of several for the same statistic of a function, the last one holds.
        max_loss: warn of runs that lost more than this share of their calls.

    Raises:
        RecordingError: a side has no runs, or one twice.
    """
    before, after = on_one_grid(side_of(base, "base"), side_of(head, "head"))
    called = [side.calls() for side in (before, after)]
    in_base, in_head = (set(np.flatnonzero(calls.any(axis=0)).tolist()) for calls in called)
    pairing = pair(before.functions, after.functions, before.codes, after.codes)
    paired = [(old, new) for old, new in pairing.pairs if old in in_base and new in in_head]
    ambiguous = [
        (base_ones, head_ones)
        for old, new in pairing.ambiguous
        if (base_ones := sorted(in_base.intersection(old))) and (head_ones := sorted(in_head.intersection(new)))
    ]
    alone = [sorted(in_base.difference(old for old, _ in paired)), sorted(in_head.difference(new for _, new in paired))]
    unclear = [{index for each in ambiguous for index in each[side]} for side in range(2)]
    picked = [_gates_of(after.functions[new], gates) for _, new in paired]
    statistics = list(dict.fromkeys([*(gate.statistic for gate in gates), *SHOWN]))
    table = _Table(before, after, paired, picked, statistics)
    compared = [
        Compared(after.functions[new], before.functions[old], table.changes(row), (old, new))
        for row, (old, new) in enumerate(paired)
    ]
    used = {gate for gate in gates if any(gate.matches(after.functions[new]) for _, new in paired)}
    return Comparison(
        gates=tuple(gates),
        functions=tuple(sorted(compared, key=_urgency)),
        only_base=tuple(before.functions[index] for index in alone[0] if index not in unclear[0]),
        only_head=tuple(after.functions[index] for index in alone[1] if index not in unclear[1]),
        ambiguous=tuple(
            (tuple(before.functions[old] for old in base_ones), tuple(after.functions[new] for new in head_ones))
            for base_ones, head_ones in ambiguous
        ),
        missing=tuple(
            dict.fromkeys(
                side.functions[index]
                for side, indices in zip((before, after), alone, strict=True)
                for index in indices
                if _is_named(side.functions[index], side, gates)
            )
        ),
        unused=tuple(gate for gate in gates if gate not in used),
        warnings=(*warnings(before, after, max_loss), *_by_order(pairing, after, paired), *table.doubts(called)),
        base=before,
        head=after,
    )


def exit_status(comparison: Comparison, *, strict: bool = False) -> int:
    """What a command should end with: 0 nothing is slower, 1 something is, 3 too little to say.

    Too little is: no function that both sides called, or none that a gate is for; one without a partner that ``--func``
    or a gate names; and if strict, anything inconclusive or with too few runs that a gate should have judged, and a
    gate that is for no function.
    """
    gated = [change.verdict for each in comparison.functions for change in each.changes if change.gate]
    if Verdict.SLOWER in gated:
        return 1
    if not comparison.functions or (comparison.gates and not gated):
        return 3
    if comparison.missing or any(gate.pattern and names(gate.pattern) for gate in comparison.unused):
        return 3
    undecided = {Verdict.INCONCLUSIVE, Verdict.DESCRIBED}.intersection(gated) or comparison.unused
    return 3 if strict and undecided else 0


class _Table:
    """All tests at once: one row for each pair of functions, one column for each statistic."""

    def __init__(
        self,
        base: Side,
        head: Side,
        paired: Sequence[tuple[int, int]],
        picked: Sequence[Mapping[str, Gate]],
        statistics: Sequence[str],
    ) -> None:
        self._picked, self._statistics, self._paired = picked, statistics, paired
        quantiles = [quantile_of(name) for name in statistics]
        shape = len(paired), len(statistics)
        samples, errors, coarse = [], [], np.zeros(shape, bool)
        for side, indices in zip((base, head), _columns(paired), strict=True):
            values, shares = (array[:, indices] for array in side.values_ns(quantiles))
            samples.append(values.reshape(len(values), -1))
            errors.append([_mean(each[:, indices] / values).ravel() for each in side.probe_errors_ns(quantiles)])
            # Most calls in one bucket: within it nobody knows where the quantile lies.
            coarse |= (shares > 0.5).sum(axis=0) * 2 > (~np.isnan(values)).sum(axis=0)
        self._test = test = welch(samples[0], samples[1], errors)
        self._coarse = coarse
        self._gated = np.array([[name in of for name in statistics] for of in picked], bool).reshape(shape)
        self._bucket = log(2) / 2 ** base.runs[0].scale
        up, down = self._limits()
        # With too few runs nothing is judged, so not tested either: the others keep their power.
        enough = np.minimum(test.base_runs, test.head_runs) >= MIN_RUNS
        self._adjusted = holm(np.where(self._gated.ravel() & enough, test.p, np.nan))
        self._verdicts = judge(test, self._adjusted, up, down)
        self._needed = runs_needed(test, int((~np.isnan(self._adjusted)).sum()), up, down)
        # Plain numbers: ten thousand functions are read out of them one by one.
        self._numbers = list(
            zip(
                np.exp(test.base).tolist(),
                np.exp(test.head).tolist(),
                zip(test.base_runs.tolist(), test.head_runs.tolist(), strict=True),
                np.expm1(test.shift).tolist(),
                zip(*(np.expm1(np.minimum(end, _LARGEST)).tolist() for end in test.interval), strict=True),
                test.p.tolist(),
                self._adjusted.tolist(),
                self._verdicts,
                self._needed.tolist(),
                test.decidable(up, down).tolist(),
                strict=True,
            )
        )

    def _limits(self) -> tuple[Floats, Floats]:
        up, down = np.full((2, *self._gated.shape), inf)
        base = np.exp(self._test.base).reshape(self._gated.shape)
        for row, column in np.argwhere(self._gated).tolist():
            gate = self._picked[row][self._statistics[column]]
            resolution = self._bucket if self._coarse[row, column] else 0.0
            up[row, column], down[row, column] = gate.thresholds(float(base[row, column]), resolution)
        return up.ravel(), np.where(self._gated, down, -inf).ravel()

    def changes(self, row: int) -> tuple[Change, ...]:
        """The gated statistics of a pair, then the other ones that are shown."""
        found = [self._change(row, column) for column in np.flatnonzero(self._gated[row]).tolist()]
        shown = map(self._statistics.index, SHOWN)
        return (*found, *(self._change(row, column) for column in shown if not self._gated[row, column]))

    def _change(self, row: int, column: int) -> Change:
        numbers = self._numbers[row * len(self._statistics) + column]
        base_ns, head_ns, runs, shift, interval, p, adjusted, verdict, needed, decidable = numbers
        name = self._statistics[column]
        return Change(
            statistic=name,
            base_ns=base_ns,
            head_ns=head_ns,
            runs=runs,
            shift=shift,
            interval=None if isnan(p) else interval,
            p=None if isnan(p) else p,
            p_adjusted=None if isnan(adjusted) else adjusted,
            gate=self._picked[row].get(name),
            verdict=verdict,
            runs_needed=(needed or None) if verdict is Verdict.INCONCLUSIVE else None,
            by_probes=verdict is Verdict.INCONCLUSIVE and not decidable,
        )

    def doubts(self, called: Sequence[NDArray[np.int64]]) -> Iterator[str]:
        """Warnings about what is judged."""
        coarse = int((self._coarse & self._gated).any(axis=1).sum())
        if coarse:
            yield (
                f"{plural(coarse, 'function')} with most calls in one bucket of {percent(expm1(self._bucket))}: "
                "a smaller change of a percentile is not seen; gate the mean, which is exact"
            )
        fewest = np.minimum(*(_median(calls[:, of]) for calls, of in zip(called, _columns(self._paired), strict=True)))
        for column, name in enumerate(self._statistics):
            beyond = fewest * (1 - (quantile_of(name) or 0.0))
            thin = int((self._gated[:, column] & (beyond < MIN_BEYOND)).sum())
            if name != "mean" and thin:
                yield f"{name} of {plural(thin, 'function')}: fewer than {MIN_BEYOND} calls a run are slower than it"


def _columns(paired: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.array(paired, np.int64).reshape(-1, 2).T
    return found


def _median(calls: NDArray[np.int64]) -> Floats:
    """Of the runs with any calls at all."""
    ordered = np.sort(calls, axis=0)
    at = len(calls) - (np.maximum((calls > 0).sum(axis=0), 1) + 1) // 2
    found: Floats = np.take_along_axis(ordered, at[None, :], axis=0)[0].astype(np.float64)
    return found


def _mean(shares: Floats) -> Floats:
    """Over the runs that have a value; 0 without any."""
    known = ~np.isnan(shares)
    found: Floats = np.where(known, shares, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return found


def _is_named(function: Function, side: Side, gates: Sequence[Gate]) -> bool:
    """Whether ``--func`` or a gate means just this function, and not whatever a wildcard or an expression fits."""
    asked = {pattern for run in side.runs if not run.run.options.regex for pattern in run.run.options.func}
    return any(names(pattern, function) for pattern in asked) or any(
        gate.pattern is not None and names(gate.pattern) and gate.matches(function) for gate in gates
    )


def _by_order(pairing: Pairing, head: Side, paired: Sequence[tuple[int, int]]) -> Iterator[str]:
    told = [new for old, new in pairing.by_order if (old, new) in set(paired)]
    if told:
        qualnames = dict.fromkeys(escape(head.functions[new].qualname, 40) for new in told)
        shown = ", ".join([*qualnames][:_SHOWN]) + (", …" if len(qualnames) > _SHOWN else "")
        yield (
            f"{plural(len(told), 'function')} told from others of the same name by their order in the file, since "
            f"their code is not known or of another version of Python: {shown}"
        )


def _gates_of(function: Function, gates: Sequence[Gate]) -> dict[str, Gate]:
    """By statistic; a later gate takes the place of an earlier one."""
    return {gate.statistic: gate for gate in gates if gate.matches(function)}


def _urgency(compared: Compared) -> tuple[int, float]:
    worst = compared.verdict
    shifts = [
        # From years to nothing is -1, rounded.
        abs(log1p(max(change.shift, -1 + 2**-53)))
        for change in compared.changes
        if change.gate and change.verdict is worst
    ]
    return ORDER[worst], -max(shifts, default=0.0)
