"""After the newest bar is revised the state is that of a history that only had the revision (property 7)."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.block import BarBlock, rows_of
from features.decisions.anomalies import AMENDED, RETRACTED
from features.detectors.base import KINDS, MARKET_SHOCK
from features.market.types import AssetClass
from tests.support.builders import PRICES, Live, Scene, assert_same_arrays, batch, block, by_slot, cut, with_bars

pytestmark = pytest.mark.thorough

SCENES = (
    Scene(AssetClass.CRYPTO, 60, n_windows=140, faults=40),
    Scene(AssetClass.STOCKS, 60, n_windows=200, day_windows=33, faults=40),
    Scene(AssetClass.STOCKS, 300, n_windows=140, faults=40),
    Scene(AssetClass.CRYPTO, 5, n_windows=80, missing=0.3, faults=40),
    Scene(AssetClass.STOCKS, 5, n_windows=80, day_windows=40, missing=0.3, faults=40),
)
scenes = pytest.mark.parametrize("scene", SCENES, ids=lambda s: f"{s.asset_class}-{s.bar_s}s")
KINDS_OF_CHANGE = ("price", "burst", "slip", "shock", "quiet")


def change(b: BarBlock, row: int, which: np.ndarray, kind: str) -> BarBlock:
    """Give the block with the bars of `row` in the series `which` changed."""
    for n in np.flatnonzero(which & np.isfinite(b.close[row])):
        at = (row, int(n))
        o, c = b.open[at], b.close[at]
        factor = {"price": 1.001, "burst": 1.1, "slip": 10.0, "shock": 0.93, "quiet": 1.0}[kind]
        if kind == "slip":
            prices = {name: getattr(b, name)[at] * factor for name in PRICES}
        else:
            # a faulty original is put back on its level, so that revisions go from faults as well as to them
            o = o / 10.0 if o > 250.0 else o
            c = o * factor if kind != "price" else (c / 10.0 if c > 250.0 else c) * factor
            prices = {"open": o, "close": c, "high": max(o, c), "low": min(o, c)}
        busy = 200.0 if kind == "burst" else 1.0
        b = with_bars(b, at, **prices, volume=b.volume[at] * busy, trades=b.trades[at] * busy)
    return b


def credits(live: Live) -> dict[int, list[float]]:
    return {day: total for day, total in live.market.rescale.days.items() if any(total)}


def without_credits(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k: v for k, v in arrays.items() if k != "rescale.days"}


def per_symbol(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give a Market's arrays without those that belong to the market as a whole."""
    return {k: v for k, v in arrays.items() if k != "state" and not k.startswith("rescale")}


@st.composite
def places(draw: st.DrawFn, scene: Scene) -> tuple[BarBlock, int, int]:
    """Draw a block, a window of it and a row in that window."""
    b = block(replace(scene, seed=draw(st.integers(0, 200))))
    per_window = scene.window_s // scene.bar_s
    mornings = range(scene.day_windows, scene.n_windows, scene.day_windows)
    window = draw(st.sampled_from(mornings) | st.integers(1, scene.n_windows - 1))
    return b, window, window * per_window + draw(st.integers(0, per_window - 1))


def until(scene: Scene, b: BarBlock, window: int, row: int) -> Live:
    """Give a live market that has seen every row before `row`, all windows before `window` closed."""
    live = Live(scene)
    live.warm(cut(b, scene, [window])[0])
    for t in range(window * (scene.window_s // scene.bar_s), row):
        if np.isfinite(b.close[t]).any():
            live.bars(batch(b, t))
    return live


@scenes
@settings(max_examples=6)
@given(data=st.data())
def test_a_revision_before_the_close_leaves_no_trace(scene: Scene, data: st.DataObject) -> None:
    b, window, row = data.draw(places(scene))
    which = np.array(data.draw(st.lists(st.booleans(), min_size=5, max_size=5)))
    after = change(b, row, which, data.draw(st.sampled_from(KINDS_OF_CHANGE)))
    revised, fresh = until(scene, b, window, row), until(scene, b, window, row)
    revised.bars(batch(b, row))
    news = batch(after, row, which)
    if len(news):
        revised.bars(news, np.ones(len(news), dtype=bool))
    fresh.bars(batch(after, row))
    revised.close()
    fresh.close()
    assert_same_arrays(without_credits(revised.market.snapshot()), without_credits(fresh.market.snapshot()))
    assert_same_arrays(by_slot(revised.shards[0].snapshot()), by_slot(fresh.shards[0].snapshot()))
    assert credits(revised) == credits(fresh)


@scenes
@settings(max_examples=6)
@given(data=st.data())
def test_a_revision_after_the_close_leaves_no_trace(scene: Scene, data: st.DataObject) -> None:
    b, window, row = data.draw(places(scene))
    which = np.array(data.draw(st.lists(st.booleans(), min_size=5, max_size=5)))
    after = change(b, row, which, data.draw(st.sampled_from(KINDS_OF_CHANGE)))
    revised, fresh = until(scene, b, window, row), until(scene, b, window, row)
    revised.bars(batch(b, row))
    ctx = revised.close().contexts
    news = batch(after, row, which)
    if len(news):
        revised.bars(news, np.ones(len(news), dtype=bool))
        revised.close(ctx)
    fresh.bars(batch(after, row))
    fresh.market.close(int(ctx.end[0]))
    fresh.close(ctx)
    assert_same_arrays(per_symbol(revised.market.snapshot()), per_symbol(fresh.market.snapshot()))
    assert_same_arrays(by_slot(revised.shards[0].snapshot()), by_slot(fresh.shards[0].snapshot()))
    assert credits(revised) == credits(fresh)


@scenes
@settings(max_examples=4)
@given(data=st.data())
def test_the_last_of_many_revisions_counts(scene: Scene, data: st.DataObject) -> None:
    b, window, row = data.draw(places(scene))
    everyone = np.ones(5, dtype=bool)
    revised, fresh = until(scene, b, window, row), until(scene, b, window, row)
    revised.bars(batch(b, row))
    revise = np.isfinite(b.close[row])[np.isfinite(b.close[row])]
    for kind in ("slip", "burst", "shock"):
        revised.bars(batch(change(b, row, everyone, kind), row), revise)
    fresh.bars(batch(change(b, row, everyone, "shock"), row))
    assert_same_arrays(revised.market.snapshot(), fresh.market.snapshot())
    ours, theirs = by_slot(revised.shards[0].snapshot()), by_slot(fresh.shards[0].snapshot())
    name = f"{scene.bar_s}/totals"
    assert_same_arrays(ours | {name: 0}, theirs | {name: 0})


@pytest.mark.parametrize("scene", SCENES[3:], ids=lambda s: f"{s.asset_class}-{s.bar_s}s")
@settings(max_examples=8)
@given(data=st.data())
def test_a_bar_late_into_a_closed_window_is_as_if_on_time(scene: Scene, data: st.DataObject) -> None:
    b = block(replace(scene, missing=0.0, seed=data.draw(st.integers(0, 50))))
    window = data.draw(st.integers(1, scene.n_windows - 1))
    row = window * 12 + 10
    who = np.arange(5) == data.draw(st.integers(0, 4))
    late, timely = until(scene, b, window, row), until(scene, b, window, row)
    for live in (late, timely):
        live.bars(batch(b, row))
        live.bars(batch(b, row + 1, ~who))
    ctx = late.close().contexts
    late.bars(batch(b, row + 1, who))
    late.close(ctx)
    timely.bars(batch(b, row + 1, who))
    timely.close(ctx)
    assert_same_arrays(by_slot(late.shards[0].snapshot()), by_slot(timely.shards[0].snapshot()))


# what a revision says


def quiet(n: int = 70) -> tuple[Scene, BarBlock]:
    scene = Scene(AssetClass.CRYPTO, n_windows=n, missing=0.0, bursts=0, shocks=0, faults=0)
    return scene, block(scene)


def only(n: int) -> np.ndarray:
    return np.arange(5) == n


def test_a_bar_that_becomes_abnormal_is_raised() -> None:
    scene, b = quiet()
    live = until(scene, b, 69, 69)
    assert not len(live.bars(batch(b, 69))[0])
    (found,) = live.bars(batch(change(b, 69, only(2), "burst"), 69, only(2)), np.array([True]))
    assert [KINDS[k] for k in found.kind] == ["burst_up"]
    assert found.state.tolist() == [0]


def test_an_anomaly_that_stays_is_amended_and_one_that_goes_is_retracted() -> None:
    scene, b = quiet()
    live = until(scene, b, 69, 69)
    (first,) = live.bars(batch(change(b, 69, only(2), "burst"), 69))
    assert first.state.tolist() == [0]
    bigger = change(b, 69, only(2), "burst")
    bigger = with_bars(bigger, (69, 2), trades=bigger.trades[69, 2] * 2, volume=bigger.volume[69, 2] * 2)
    (second,) = live.bars(batch(bigger, 69, only(2)), np.array([True]))
    assert second.state.tolist() == [AMENDED]
    (third,) = live.bars(batch(b, 69, only(2)), np.array([True]))
    assert third.state.tolist() == [RETRACTED]
    assert third.slot.tolist() == first.slot.tolist() == [2]
    assert third.ts.tolist() == first.ts.tolist()
    assert not live.desk.settle(third).episodes


def test_a_bar_raised_by_a_shock_is_raised_again_when_revised() -> None:
    scene, b = quiet()
    crash = rows_of(change(b, 69, np.ones(5, dtype=bool), "shock"), slice(0, 70))
    live = until(scene, crash, 69, 69)
    live.bars(batch(crash, 69))
    window = live.close()
    assert (window.anomalies.kind == MARKET_SHOCK).sum() == 5
    live.bars(batch(change(crash, 69, only(1), "price"), 69, only(1)), np.array([True]))
    again = live.close(window.contexts).anomalies
    assert again.slot.tolist() == [1]
    assert again.kind.tolist() == [MARKET_SHOCK]
    assert again.state.tolist() == [AMENDED]
