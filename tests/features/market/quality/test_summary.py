"""All of it together: nothing found in plain made-up bars, each thing put into them found, where and how large."""

import math
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest

from features.market.bars import BarColumns
from features.market.quality.days import HOUR_NS
from features.market.quality.findings import Finding, Flaw
from features.market.quality.series import Frame, judge_series
from features.market.quality.summary import MOST_CORRELATED, Quality, Survey
from features.market.types import AssetClass
from tests.support.histories import (
    DAY,
    MINUTE,
    PRICES,
    STOCKS,
    edit,
    frame_of,
    histories,
    in_sessions,
    joined,
    scaled,
    stock,
    without,
)

pytestmark = pytest.mark.thorough

N_DAYS = 28


def held() -> Frame:
    return frame_of(AssetClass.STOCKS, N_DAYS)


def span_of() -> tuple[int, int]:
    return int(held().days.start_ns[0]), int(held().days.end_ns[-1])


def rows_of(name: str) -> np.ndarray:
    """Give each bar's trading day."""
    return held().days.row_of(stock(name, N_DAYS).ts)


def judged(
    changed: dict[str, BarColumns], names: tuple[str, ...] = STOCKS[:5], span: tuple[int, int] | None = None
) -> Quality:
    """Judge the tape with some series replaced."""
    survey = Survey()
    for name in names:
        survey.add(judge_series(name, changed.get(name, stock(name, N_DAYS)), held()))
    return survey.result(held().days, 60, span or span_of())


def of(quality: Quality, flaw: Flaw) -> list[Finding]:
    assert quality.n_flaws[flaw] == sum(f.flaw is flaw for f in quality.flaws)
    return [f for f in quality.flaws if f.flaw is flaw]


def first_row(name: str, day: int, minute: int) -> int:
    """Give the row of a bar by its trading day and minute of the session."""
    return int(np.flatnonzero(stock(name, N_DAYS).ts == held().days.start_ns[day] + minute * MINUTE)[0])


def others(quality: Quality, *flaws: Flaw) -> Counter:
    """Give what was found beside some kinds and volumes, whose tails are heavy."""
    return Counter({f: n for f, n in quality.n_flaws.items() if f not in (*flaws, Flaw.VOLUME_OUTLIER)})


def test_plain_bars_have_no_flaws() -> None:
    quality = judged({}, STOCKS)
    assert others(quality) == Counter()
    assert quality.n_flaws[Flaw.VOLUME_OUTLIER] <= sum(s.n_bars for s in quality.series) / 20_000
    assert sum((s.refused + s.doubtful for s in quality.series), Counter()) == Counter()
    assert quality.covered.tolist() == [1.0] * 20
    assert quality.coverage.shape == (20, len(held().days))
    assert [s.symbol for s in quality.series] == sorted(STOCKS)
    assert quality.day.tolist() == held().days.day.tolist()
    assert quality.n_windows.tolist() == [390] * len(held().days)


def test_a_gap() -> None:
    row = first_row("AAPL", 3, 100)
    quality = judged({"AAPL": without(stock("AAPL", N_DAYS), slice(row, row + 45))})
    (gap,) = of(quality, Flaw.GAP)
    assert (gap.symbol, gap.n) == ("AAPL", 45)
    start = int(held().days.start_ns[3]) + 100 * MINUTE
    assert (gap.from_ns, gap.to_ns) == (start, start + 45 * MINUTE)
    assert others(quality, Flaw.GAP) == Counter()
    assert quality.coverage[0].tolist() == [1.0] * 3 + [345 / 390] + [1.0] * 16


def test_a_day_that_the_source_lost_is_a_gap_of_each_and_one_outage() -> None:
    changed = {name: without(stock(name, N_DAYS), np.flatnonzero(rows_of(name) == 8)) for name in STOCKS[:5]}
    quality = judged(changed)
    assert sorted(f.symbol for f in of(quality, Flaw.GAP)) == sorted(STOCKS[:5])
    (outage,) = of(quality, Flaw.OUTAGE)
    assert (outage.symbol, outage.n) == ("", 5)
    assert (outage.from_ns, outage.to_ns) == (held().days.start_ns[8], held().days.end_ns[8])
    assert quality.coverage[:, 8].tolist() == [0.0] * 5


def test_a_stuck_price() -> None:
    row = first_row("MSFT", 5, 60)
    held_price = {name: float(stock("MSFT", N_DAYS).close[row]) for name in PRICES}
    (stuck,) = of(judged({"MSFT": edit(stock("MSFT", N_DAYS), slice(row, row + 90), **held_price)}), Flaw.STALE)
    assert (stuck.symbol, stuck.n, stuck.size) == ("MSFT", 90, stock("MSFT", N_DAYS).close[row])


def test_a_decimal_slip() -> None:
    row = first_row("NVDA", 2, 200)
    quality = judged({"NVDA": scaled(stock("NVDA", N_DAYS), slice(row, row + 1), 10.0)})
    (wrong,) = of(quality, Flaw.PRICE_OUTLIER)
    assert (wrong.symbol, wrong.from_ns) == ("NVDA", stock("NVDA", N_DAYS).ts[row])
    assert wrong.size == pytest.approx(math.log(10), abs=0.02)
    plain = judged({})
    assert quality.series[3].symbol == "NVDA"
    # What is thought usual of the series does not feel it.
    assert quality.series[3].volatility.daily == pytest.approx(plain.series[3].volatility.daily, rel=0.02)
    np.testing.assert_allclose(quality.correlation.matrix, plain.correlation.matrix, atol=0.01)


def test_a_volume_of_another_unit() -> None:
    row = first_row("TSLA", 4, 150)
    found = of(judged({"TSLA": scaled(stock("TSLA", N_DAYS), slice(row, row + 1), 1.0, 1e6)}), Flaw.VOLUME_OUTLIER)
    assert ("TSLA", stock("TSLA", N_DAYS).ts[row]) in {(f.symbol, f.from_ns) for f in found}


def test_a_slip_of_the_clock() -> None:
    rows = np.flatnonzero(stock("AMZN", N_DAYS).ts >= held().days.start_ns[5] - 6 * HOUR_NS)
    late = edit(stock("AMZN", N_DAYS), rows, ts=lambda t: t + HOUR_NS)
    (slip,) = of(judged({"AMZN": late}), Flaw.SLIP)
    assert (slip.symbol, slip.size, slip.n) == ("AMZN", 1.0, 15)
    assert slip.from_ns == held().days.start_ns[5]


def test_a_coin_whose_clock_only_the_others_tell() -> None:
    held = frame_of(AssetClass.CRYPTO, 6)
    survey = Survey()
    for k, (name, bars) in enumerate(histories(AssetClass.CRYPTO, 4, 6).items()):
        late = edit(bars, slice(None), ts=lambda t, k=k: t + (HOUR_NS if k == 0 else 0))
        survey.add(judge_series(name, late.take(late.ts < held.days.end_ns[-1]), held))
    quality = survey.result(held.days, 60, (int(held.days.start_ns[0]), int(held.days.end_ns[-1])))
    (slip,) = of(quality, Flaw.SLIP)
    assert (slip.symbol, slip.size) == ("BTC-USD", 1.0)
    assert slip.score > 0.05


def test_a_split_not_applied() -> None:
    rows = np.flatnonzero(stock("AAPL", N_DAYS).ts >= held().days.start_ns[9] - 6 * HOUR_NS)
    quality = judged({"AAPL": scaled(stock("AAPL", N_DAYS), rows, 0.25, 4.0)})
    (split,) = of(quality, Flaw.SPLIT)
    assert (split.symbol, split.size, split.is_listed) == ("AAPL", 4.0, False)
    assert split.from_ns == held().days.day[9] * DAY
    assert quality.series[0].volatility.daily == pytest.approx(judged({}).series[0].volatility.daily, rel=0.05)
    assert others(quality, Flaw.SPLIT) == Counter()


def test_rows_that_cannot_be_used() -> None:
    bars = stock("AAPL", N_DAYS)
    wrong = joined(edit(bars, np.array([100, 101]), close=-1.0), bars.take(slice(500, 503)))
    s = judge_series("AAPL", wrong, held(), refused={"wrong_type": 4})
    assert dict(s.refused) == {"bad_price": 2, "duplicate": 3, "wrong_type": 4}
    assert (s.n_rows, s.n_bars) == (len(bars) + 3, len(bars) - 2)
    close = next(f for f in s.fields if f.name == "close")
    assert (close.least, close.n, close.missing_share) == (-1.0, len(bars) + 3, 0.0)


def test_a_symbol_with_little_data_and_one_with_none() -> None:
    little = {"AAPL": stock("AAPL", N_DAYS).take(slice(300, 340)), "MSFT": stock("MSFT", N_DAYS).take(slice(0, 0))}
    quality = judged(little, STOCKS[:4])
    assert [(f.symbol, f.n) for f in of(quality, Flaw.LITTLE_DATA)] == [("AAPL", 40), ("MSFT", 0)]
    assert quality.covered[:2].max() < 0.1
    assert quality.series[1].first_ns == 0


def test_a_symbol_that_begins_late_covers_less_and_has_no_gap() -> None:
    quality = judged({"TSLA": stock("TSLA", N_DAYS).take(stock("TSLA", N_DAYS).ts >= held().days.start_ns[10])})
    assert quality.covered[-1] == pytest.approx(0.5)
    assert others(quality) == Counter()


def test_a_span_bounds_the_days() -> None:
    span = (int(held().days.start_ns[3]) + 30 * MINUTE, int(held().days.end_ns[4]))
    quality = judged({}, span=span)
    assert quality.n_windows.tolist() == [360, 390]
    assert quality.covered.tolist() == [1.0] * 5


def test_bars_out_of_hours_alone_are_no_error() -> None:
    night = stock("AAPL", N_DAYS).take(rows_of("AAPL") < 0)
    quality = judged({"AAPL": night}, ("AAPL",))
    assert quality.covered.tolist() == [0.0]
    assert math.isnan(quality.series[0].volatility.daily)


def test_the_matrix_holds_the_most_traded() -> None:
    survey = Survey()
    parts = {f"S{k:02}": stock(STOCKS[k % 20], N_DAYS).take(slice(0, 2_000)) for k in range(MOST_CORRELATED + 8)}
    money = {}
    for k, (name, bars) in enumerate(parts.items()):
        judged_one = judge_series(name, edit(bars, slice(None), volume=lambda x, k=k: x * (1 + k % 7)), held())
        money[name] = judged_one.turnover
        survey.add(judged_one)
    quality = survey.result(held().days, 60, span_of())
    names = {quality.series[k].symbol for k in quality.correlated}
    assert names == set(sorted(money, key=lambda n: (money[n], n))[-MOST_CORRELATED:])
    assert quality.correlation.matrix.shape == (MOST_CORRELATED, MOST_CORRELATED)


def test_order_of_arrival_and_of_rows_does_not_matter() -> None:
    one, other = Survey(), Survey()
    for name in STOCKS[:4]:
        one.add(judge_series(name, stock(name, N_DAYS), held()))
    for name in reversed(STOCKS[:4]):
        order = np.random.default_rng(0).permutation(len(stock(name, N_DAYS)))
        other.add(judge_series(name, stock(name, N_DAYS).take(order), held()))
    a, b = (s.result(held().days, 60, span_of()) for s in (one, other))
    assert a.n_flaws == b.n_flaws
    assert a.flaws == b.flaws
    for f in fields(Quality):
        if isinstance(getattr(a, f.name), np.ndarray):
            np.testing.assert_array_equal(getattr(a, f.name), getattr(b, f.name))


def test_inputs_are_left_as_they_are() -> None:
    bars = in_sessions(stock("AAPL", N_DAYS), held())
    copies = {f.name: getattr(bars, f.name).copy() for f in fields(BarColumns)}
    judge_series("AAPL", bars, held())
    for name, copy in copies.items():
        np.testing.assert_array_equal(getattr(bars, name), copy)
