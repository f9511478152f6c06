"""Give judged bars their slots: what a frame and a pushed request have in common."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.market import symbols
from features.market.bars import COLUMN_NAMES, BarColumns, waves
from features.market.judge import Verdict
from features.market.types import I32, NS_PER_S, BarBatch, Bool, FaultBatch, SlotTable


def place(
    numbers: BarColumns,
    names: Sequence[str],
    verdict: Verdict,
    table: SlotTable,
    bar_s: int,
    recv_ns: int,
    errors: Counter[str],
) -> tuple[tuple[BarBatch, ...], tuple[FaultBatch, ...]]:
    """Split bars in arrival order into batches and faults; `names` [N] are in our spelling.

    An unknown symbol of a good bar gets a slot; what cannot be used is added to `errors`.
    """
    columns: dict[str, NDArray[np.generic]] = {name: getattr(numbers, name) for name in COLUMN_NAMES}
    columns["slot"] = slot = table.find(names, bar_s)
    columns["ts_end"] = numbers.ts + bar_s * NS_PER_S
    faults: tuple[FaultBatch, ...] = ()
    if verdict.errors:
        errors.update(verdict.errors)
        faults = _faults(columns, verdict, bar_s, recv_ns)
        slot[verdict.reason != 0] = -1
    if slot.min() < 0:
        _open(names, slot, verdict.reason == 0, table, bar_s, errors)
        found = slot >= 0
        columns = {name: column[found] for name, column in columns.items()}
    return waves(columns, bar_s, recv_ns), faults


def _faults(
    columns: Mapping[str, NDArray[np.generic]], verdict: Verdict, bar_s: int, recv_ns: int
) -> tuple[FaultBatch, ...]:
    """Give the faulty rows whose series is known, at most one batch."""
    is_known = columns["slot"][verdict.faulty] >= 0  # type: ignore[operator]
    rows = verdict.faulty[is_known]
    if not len(rows):
        return ()
    where: dict[str, Any] = {name: columns[name][rows] for name in ("slot", "ts", "ts_end")}
    return (FaultBatch(**where, code=verdict.fault_code[is_known], bar_s=bar_s, recv_ns=recv_ns),)


def _open(names: Sequence[str], slot: I32, usable: Bool, table: SlotTable, bar_s: int, errors: Counter[str]) -> None:
    """Give new series of usable rows their slots, in place; -1 stays where there is none."""
    for row in np.flatnonzero((slot < 0) & usable).tolist():
        if not symbols.is_symbol(names[row]):
            errors["bad_symbol"] += 1
            continue
        slot[row] = table.slot(names[row], bar_s)
        if slot[row] < 0:
            errors["table_full"] += 1
