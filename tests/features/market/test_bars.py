"""Aggregation equals pandas; waves lose nothing; gaps are exactly the missing windows."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.market.bars import BarColumns, aggregate, gaps, infer_bar_ms, merge, waves, windows
from features.market.types import COLUMNS, NS_PER_S, BarBatch

pytestmark = pytest.mark.thorough

SECOND = NS_PER_S


@st.composite
def histories(draw: st.DrawFn, step_s: int = 60) -> BarColumns:
    """Give a history of one series with missing windows and missing values."""
    index = sorted(draw(st.sets(st.integers(0, 400), min_size=1, max_size=60)))
    n = len(index)
    price = st.floats(0.01, 1e6)
    four = np.array([draw(st.tuples(price, price, price, price)) for _ in range(n)])
    maybe = st.one_of(st.just(math.nan), st.floats(0, 1e9))
    volume, vwap, trades = (np.array([draw(maybe) for _ in range(n)]) for _ in range(3))
    ordered = np.sort(four, axis=1)
    return BarColumns(
        ts=np.array(index, np.int64) * step_s * SECOND,
        open=ordered[:, 1],
        high=ordered[:, 3],
        low=ordered[:, 0],
        close=ordered[:, 2],
        volume=volume,
        vwap=vwap,
        trades=trades,
    )


def naive(bars: BarColumns, to_s: int) -> pd.DataFrame:
    """Aggregate with pandas, the slow and obvious way."""
    frame = pd.DataFrame({name: getattr(bars, name) for name in ("ts", *COLUMNS[3:])})
    rows = []
    for window, part in frame.groupby(frame.ts // (to_s * SECOND)):
        both = part.dropna(subset=["volume", "vwap"])
        weight = both.volume.sum()
        rows.append(
            {
                "ts": int(window) * to_s * SECOND,  # type: ignore[call-overload]
                "open": part.open.iloc[0],
                "high": part.high.max(),
                "low": part.low.min(),
                "close": part.close.iloc[-1],
                "volume": part.volume.sum(min_count=1),
                "vwap": (both.volume * both.vwap).sum() / weight if weight > 0 else math.nan,
                "trades": part.trades.sum(min_count=1),
            }
        )
    return pd.DataFrame(rows)


@given(histories(), st.sampled_from([60, 120, 300, 3600]))
def test_aggregate_equals_pandas(bars: BarColumns, to_s: int) -> None:
    if to_s == 60:
        assert aggregate(bars, 60, 60) is bars
        return
    found, expected = aggregate(bars, 60, to_s), naive(bars, to_s)
    for name in expected.columns:
        # Sums run in another order than pandas': equal to rounding.
        np.testing.assert_allclose(getattr(found, name), expected[name].to_numpy(), rtol=1e-12, err_msg=name)


@given(histories(step_s=1))
def test_two_steps_equal_one(bars: BarColumns) -> None:
    direct, twice = aggregate(bars, 1, 60), aggregate(aggregate(bars, 1, 5), 5, 60)
    for name in ("ts", "open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(direct, name), getattr(twice, name))
    for name in ("volume", "trades"):
        np.testing.assert_allclose(getattr(direct, name), getattr(twice, name), rtol=1e-12)


@given(histories(), st.integers(0, 60))
def test_earlier_windows_do_not_depend_on_later_bars(bars: BarColumns, cut: int) -> None:
    whole, part = aggregate(bars, 60, 300), aggregate(bars.take(slice(0, cut)), 60, 300)
    closed = max(len(part) - 1, 0)  # the last window may still be open
    for name in ("open", "high", "low", "close", "volume", "vwap", "trades"):
        np.testing.assert_array_equal(getattr(part, name)[:closed], getattr(whole, name)[:closed])


def test_aggregate_refuses() -> None:
    x = np.ones(2)
    backwards = BarColumns(np.array([60, 0]) * SECOND, x, x, x, x, x, x, x)
    with pytest.raises(ValueError, match="expected windows in increasing order"):
        aggregate(backwards, 60, 300)
    with pytest.raises(ValueError, match="expected a multiple of 60 s, was 90 s"):
        aggregate(backwards, 60, 90)
    with pytest.raises(ValueError, match="expected 2 values in high, was 1"):
        BarColumns(np.array([60, 0]), x, x[:1], x, x, x, x, x)


def columns(slots: list[int], windows_: list[int] | None = None) -> dict[str, np.ndarray]:
    """Give columns in which every row is recognisable by its open."""
    row = np.arange(len(slots), dtype=np.float64) + 1
    out: dict[str, np.ndarray] = {name: row.copy() for name in COLUMNS}
    out["slot"] = np.array(slots, np.int32)
    out["ts"] = out["ts_end"] = np.array(windows_ or [1] * len(slots), np.int64)
    return out


rows_of = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4)), max_size=40)


@given(rows_of)
def test_waves_keep_every_row_and_both_orders(rows: list[tuple[int, int]]) -> None:
    slots, times = [s for s, _ in rows], [t for _, t in rows]
    found = waves(columns(slots, times), 60, 5)
    arrived = [int(o) - 1 for b in found for o in b.open]
    assert sorted(arrived) == list(range(len(rows)))
    for slot in set(slots):
        assert [i for i in arrived if slots[i] == slot] == [i for i, s in enumerate(slots) if s == slot]
    # A row that begins a newer window than all before it comes after all of them.
    for i, t in enumerate(times):
        if i and t > max(times[:i]):
            assert {arrived.index(k) < arrived.index(i) for k in range(i)} == {True}
    assert all(len(b) == len(set(b.slot.tolist())) and b.recv_ns == 5 for b in found)


@given(st.lists(st.integers(0, 6), max_size=40))
def test_a_burst_takes_as_many_waves_as_its_busiest_slot(slots: list[int]) -> None:
    assert len(waves(columns(slots), 60, 5)) == max((slots.count(s) for s in slots), default=0)


def test_a_newer_window_begins_a_wave_and_an_older_one_none() -> None:
    assert [b.slot.tolist() for b in waves(columns([0, 1, 2, 3], [1, 1, 2, 1]), 60, 5)] == [[0, 1], [2, 3]]
    assert [b.slot.tolist() for b in waves(columns([0, 1], [2, 1]), 60, 5)] == [[0, 1]]


@given(rows_of, st.sets(st.integers(1, 39)))
def test_merge_equals_waves_of_all(rows: list[tuple[int, int]], cuts: set[int]) -> None:
    """However the rows came in frames, joining them keeps every slot's order."""
    edges = [0, *sorted(c for c in cuts if c < len(rows)), len(rows)]
    batches = []
    for number, (a, b) in enumerate(itertools.pairwise(edges)):
        part = columns([s for s, _ in rows[a:b]], [t for _, t in rows[a:b]])
        part["open"] += a
        batches.extend(waves(part, 60, number))
    found = merge(batches)
    arrived = [int(o) - 1 for b in found for o in b.open]
    assert sorted(arrived) == list(range(len(rows)))
    for slot in range(7):
        assert [i for i in arrived if rows[i][0] == slot] == [i for i, r in enumerate(rows) if r[0] == slot]


def test_merge_keeps_lengths_apart() -> None:
    minute, second = waves(columns([1]), 60, 1)[0], waves(columns([1]), 1, 2)[0]
    assert [(b.bar_s, len(b)) for b in merge([minute, second, minute])] == [(1, 1), (60, 1), (60, 1)]
    assert merge([]) == ()
    assert merge([BarBatch.empty(60)])[0].bar_s == 60


@given(st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)))
def test_gaps_are_exactly_the_missing_windows(seen: set[int], wanted: set[int]) -> None:
    step = 60 * SECOND
    expected = np.array(sorted(wanted), np.int64) * step
    found = gaps(np.array(sorted(seen), np.int64) * step, expected, 60)
    covered = [w for a, b in found.tolist() for w in range(a // step, b // step)]
    assert covered == sorted(wanted - seen)
    assert np.all(found[1:, 0] > found[:-1, 1])  # spans that touch are one


def test_windows_inside_spans() -> None:
    spans = np.array([30, 400]) * SECOND, np.array([200, 410]) * SECOND
    assert (windows(*spans, 60) // SECOND).tolist() == [60, 120]
    assert len(windows(np.empty(0, np.int64), np.empty(0, np.int64), 60)) == 0


@pytest.mark.parametrize(
    ("starts_s", "bar_s"),
    [
        ([0, 60, 120, 180], 60),
        ([0, 60, 240, 300, 900], 60),
        ([0, 2, 4, 5, 9], 1),
        ([0, 10, 25], 5),
        ([0, 86400, 2 * 86400, 5 * 86400], 86400),
        ([0], None),
    ],
)
def test_bar_length(starts_s: list[int], bar_s: int | None) -> None:
    found = infer_bar_ms(np.array(starts_s, dtype=np.int64) * 1000)
    assert found == (None if bar_s is None else bar_s * 1000)
