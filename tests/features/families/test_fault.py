"""Data faults: a rule that sees the feed's mistakes, and keeps them from every norm."""

import numpy as np
import pytest

from features import catalog
from features.block import BarBlock
from features.detectors.base import DATA_FAULT, KINDS
from features.families.fault import FLAT, LEVEL, OK, SLIP, SLIP_ACCEPT
from features.market.types import AssetClass
from features.state import FeatureState, Observation, SeriesShape
from tests.support.builders import PRICES, Scene, block, engine, gather, one_series, with_bars

STOCKS = AssetClass.STOCKS


def walk(n: int, seed: int = 0) -> np.ndarray:
    return 50.0 * np.exp(np.cumsum(1e-3 * np.random.default_rng(seed).normal(size=n)))


def observe(b: BarBlock, asset_class: AssetClass = AssetClass.CRYPTO) -> tuple[FeatureState, Observation]:
    state = FeatureState(SeriesShape(asset_class, b.bar_s, "volume"))
    state.grow(1)
    return state, state.observe(np.array([0]), b)


def slipped(b: BarBlock, t: int, factor: float) -> BarBlock:
    return with_bars(b, (t, 0), **{name: getattr(b, name)[t, 0] * factor for name in PRICES})


def codes(b: BarBlock) -> list[int]:
    return observe(b)[1].code[:, 0].tolist()


@pytest.mark.parametrize(("factor", "code"), [(10.0, SLIP), (100.0, SLIP), (0.1, SLIP), (0.01, SLIP), (9.0, OK)])
def test_a_price_off_by_ten_or_more_is_a_slip(factor: float, code: int) -> None:
    assert codes(slipped(one_series(walk(80)), 70, factor)) == [OK] * 70 + [code] + [OK] * 9


@pytest.mark.parametrize("name", ["high", "low"])
def test_one_slipped_price_of_a_bar_is_enough(name: str) -> None:
    b = one_series(walk(80))
    factor = 10.0 if name == "high" else 0.1
    assert codes(with_bars(b, (70, 0), **{name: getattr(b, name)[70, 0] * factor}))[70] == SLIP


@pytest.mark.parametrize("bar_s", [5, 60, 300])
def test_a_slip_teaches_nothing(bar_s: int) -> None:
    n = 900 if bar_s < 60 else 100
    b = one_series(walk(n), bar_s=bar_s, volume=np.exp(np.random.default_rng(1).normal(5.0, 0.5, n)))
    at = n - 8
    bad, seen = observe(slipped(b, at, 10.0))
    without, clean = observe(with_bars(b, (at, 0), **dict.fromkeys(PRICES, np.nan)))
    assert np.isnan(seen.x[at]).all()
    np.testing.assert_array_equal(seen.x, clean.x)
    np.testing.assert_array_equal(seen.trials, clean.trials)
    for name, table in bad.tables.items():
        np.testing.assert_array_equal(table.state, without.tables[name].state, err_msg=name)
        np.testing.assert_array_equal(table.ring, without.tables[name].ring, err_msg=name)


def test_a_slip_is_an_anomaly_of_its_own_class() -> None:
    scene = Scene(n_symbols=5, n_windows=80, missing=0.0, bursts=0, shocks=0, faults=0)
    b = block(scene)
    b = with_bars(b, (75, 3), **{name: getattr(b, name)[75, 3] * 10 for name in PRICES})
    run = gather(engine(scene).fold(b))
    assert run.anomalies.slot.tolist() == [3]
    assert run.anomalies.kind.tolist() == [DATA_FAULT]
    assert np.isnan(run.anomalies.p_value).all()
    (episode,) = run.episodes.values()
    assert (episode.kind, episode.severity) == (KINDS[DATA_FAULT], "medium")


def test_a_new_level_is_accepted_with_its_fifth_bar() -> None:
    c = walk(90)
    c[70:] *= 10.0
    assert codes(slipped_open(c, 70))[68:] == [OK, OK] + [SLIP] * (SLIP_ACCEPT - 1) + [LEVEL] + [OK] * 15


def slipped_open(c: np.ndarray, at: int) -> BarBlock:
    """Give bars whose price level changes between two bars: the first opens on the new level."""
    b = one_series(c)
    return with_bars(b, (at, 0), open=c[at], low=c[at], high=c[at])


def test_slips_with_good_bars_between_never_become_a_level() -> None:
    b = one_series(walk(90))
    for t in (70, 71, 73, 74, 75, 77, 78):
        b = slipped(b, t, 10.0)
    found = codes(b)
    assert LEVEL not in found
    assert found.count(SLIP) == 7


def test_a_new_level_is_no_move() -> None:
    c = walk(200)
    c[140:] *= 10.0
    _, seen = observe(slipped_open(c, 140))
    after = slice(140 + SLIP_ACCEPT - 1, None)
    assert np.abs(seen.x[after, 0, catalog.MOVE]).max() < 0.01
    assert np.abs(seen.move[after, 0]).max() < 0.05
    assert seen.reach[144, 0] == pytest.approx(1 / 60)


def test_a_split_overnight_is_no_gap() -> None:
    scene = Scene(STOCKS, n_symbols=1, n_windows=140, day_windows=70, missing=0.0, bursts=0, shocks=0, faults=0)
    b = block(scene)
    for t in range(70, 140):
        b = with_bars(b, (t, 0), **{name: getattr(b, name)[t, 0] * 20.0 for name in PRICES})
    _, seen = observe(b, STOCKS)
    assert seen.code[70:75, 0].tolist() == [SLIP] * 4 + [LEVEL]
    assert np.isnan(seen.x[70:, 0, catalog.GAP]).all()
    assert np.isfinite(seen.x[75:, 0, catalog.MOVE_Z]).all()


def stuck(n: int, length: int, *, missing: float = 0.0, flat: float = 0.0) -> BarBlock:
    """Give `n` bars of a name, then `length` at its last price."""
    rng = np.random.default_rng(2)
    c = walk(n)
    for i in np.flatnonzero(rng.random(n) < flat):
        c[i] = c[i - 1]
    c[rng.random(n) < missing] = np.nan
    c[-1] = 50.0
    return one_series([*c, *np.full(length, 50.0), 50.2, 50.1])


def test_a_stuck_feed_is_seen_after_ten_bars_and_over_with_the_first_move() -> None:
    found = codes(stuck(700, 40))
    assert found[:709] == [OK] * 709
    assert found[709:740] == [FLAT] * 31
    assert found[740:] == [OK, OK]


def test_a_stuck_feed_teaches_nothing() -> None:
    b = stuck(700, 40)
    state, seen = observe(b)
    early, _ = observe(stuck(700, 9))
    assert np.isnan(seen.x[709:740]).all()
    assert seen.x[740, 0, catalog.MOVE] == pytest.approx(np.log(50.2 / 50.0))
    for name in ("activity", "returns", "volatility"):
        np.testing.assert_allclose(state.tables[name].state[0], early.tables[name].state[0], rtol=1e-12)


@pytest.mark.parametrize(
    "b",
    [stuck(700, 40, missing=0.3), stuck(700, 40, flat=0.9), stuck(400, 40)],
    ids=["a name that often misses a minute", "a name that is often flat", "a name not known long enough"],
)
def test_a_quiet_name_is_not_stuck(b: BarBlock) -> None:
    assert FLAT not in codes(b)


def test_a_halt_is_not_a_stuck_feed() -> None:
    b = one_series([*walk(700), *[np.nan] * 40, 50.0])
    assert FLAT not in codes(b)
