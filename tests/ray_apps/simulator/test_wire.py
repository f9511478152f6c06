from functools import cache
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.market.polygon import parse
from features.market.types import AssetClass, SlotTable
from features.synthetic.schedule import InjectedTape
from features.synthetic.tape import Tape, TapeConfig
from ray_apps.simulator.delivery import deliveries
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.sources import Bars
from ray_apps.simulator.synthetic import SyntheticSource
from ray_apps.simulator.totals import Totals
from ray_apps.simulator.wire import encode, frames
from tests.ray_apps.simulator.client import START

pytestmark = pytest.mark.thorough

MINUTE = 60 * 10**9


@pytest.mark.parametrize("asset_class", list(AssetClass))
@pytest.mark.parametrize("bar_s", [60, 1])
def test_our_parser_reads_what_is_written(asset_class: AssetClass, bar_s: int) -> None:
    source = SyntheticSource(InjectedTape(Tape(TapeConfig(asset_class, 30))))
    bars, totals = source.window(START, bar_s), Totals(source, bar_s)
    totals.add(START, bars)
    events = encode(asset_class, source.symbols, bar_s, bars, totals)
    table = SlotTable(asset_class)
    found = parse(b"[" + b",".join(events) + b"]", table, now_ns=0, recv_ns=0)
    assert not found.errors
    (batch,) = found.batches
    assert [table[slot].symbol for slot in batch.slot] == [source.symbols[row] for row in bars.row]
    for name in ("ts", "open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(bars, name))
    if asset_class is not AssetClass.INDICES:
        np.testing.assert_allclose(batch.volume, bars.volume, rtol=1e-12)
    if asset_class in (AssetClass.STOCKS, AssetClass.OPTIONS, AssetClass.FUTURES):
        np.testing.assert_allclose(batch.trades, bars.trades, rtol=1e-9)


def test_sums_run_from_the_mornings_first_bar() -> None:
    source = SyntheticSource(InjectedTape(Tape(TapeConfig(AssetClass.STOCKS, 3))))
    early = source.day_start(START)
    totals, late = Totals(source, 60), Totals(source, 60)
    seen = []
    for minute in range(340):
        bars = source.window(early + minute * MINUTE, 60)
        totals.add(early + minute * MINUTE, bars)
        events = [msgspec.json.decode(e) for e in encode(AssetClass.STOCKS, source.symbols, 60, bars, totals)]
        seen += [event for event in events if event["sym"] == "AAPL"]
    assert seen[-1]["av"] == sum(event["v"] for event in seen)
    assert "op" not in seen[0]
    opens = [event for event in seen if event["s"] * 10**6 >= early + 330 * MINUTE]
    assert {event["op"] for event in opens} == {opens[0]["o"]}
    assert [event["sym"] for event in seen if "op" in event] == ["AAPL"] * len(opens)
    # A reader who comes later sees the same sums.
    late.add(early + 339 * MINUTE, bars)
    np.testing.assert_allclose(late.volume, totals.volume)


@settings(max_examples=50)
@given(sizes=st.lists(st.integers(2, 300), max_size=200), batch=st.integers(1, 50), most=st.integers(400, 2_000))
def test_frames_hold_every_event_once_within_their_limits(sizes: list[int], batch: int, most: int) -> None:
    events = [b'"' + b"x" * (size - 2) + b'"' for size in sizes]
    made = frames(events, batch, most)
    assert all(len(frame) <= most for frame in made)
    decoded = [msgspec.json.decode(frame) for frame in made]
    assert all(1 <= len(frame) <= batch for frame in decoded)
    assert [event for frame in decoded for event in frame] == [msgspec.json.decode(e) for e in events]


@cache
def source_bars(n: int) -> tuple[Bars, list[bytes]]:
    source = SyntheticSource(InjectedTape(Tape(TapeConfig(AssetClass.CRYPTO, n))))
    bars = source.window(START, 60)
    return bars, encode(AssetClass.CRYPTO, source.symbols, 60, bars, Totals(source, 60))


@settings(max_examples=20, deadline=None)
@given(speed=st.sampled_from([0.0, 1.0, 60.0]), seed=st.integers(0, 1000))
def test_a_window_goes_out_as_fast_as_the_vendors(speed: float, seed: int) -> None:
    bars, events = source_bars(600)
    sent = list(deliveries(bars, events, MINUTE, speed, Faults(), np.random.default_rng(seed)))
    delays = np.concatenate([np.full(len(batch.events), delay) for delay, batch in sent]) / 10**9
    assert sorted(e for _, batch in sent for e in batch.events) == sorted(events)
    assert all(a <= b for a, b in pairwise(delays))
    if speed == 0:
        assert len(sent) == 1
        assert delays.max() == 0
    else:
        slack = 0.02 * speed
        assert (delays <= 0.3 + slack).mean() > 0.7
        assert (delays <= 2 + slack).mean() > 0.96
        assert delays.max() <= 5 + slack


def test_without_jitter_a_window_goes_out_at_once() -> None:
    bars, events = source_bars(600)
    rng = np.random.default_rng(1)
    sent = list(deliveries(bars, events, MINUTE, 1.0, Faults(jitter=False), rng))
    assert [delay for delay, _ in sent] == [0]
    assert sent[0][1].events == events


def test_faults_change_what_goes_out() -> None:
    bars, events = source_bars(600)

    def send(**knobs: float) -> list[tuple[int, bytes]]:
        rng = np.random.default_rng(1)
        made = deliveries(bars, events, MINUTE, 0, Faults().merged(knobs), rng)
        return [(delay, event) for delay, batch in made for event in batch.events]

    assert len(send(duplicate_fraction=1)) == 2 * len(events)
    assert not send(missing_fraction=1)
    assert {delay for delay, _ in send(late_fraction=1, late_s=7)} == {7 * 10**9}
    assert {delay for delay, _ in send(out_of_order_fraction=1)} == {90 * 10**9}
    corrected = send(correction_fraction=1, correction_s=3)
    assert [event for delay, event in corrected if delay] == events
    assert all(event not in events for delay, event in corrected if not delay)


def test_drift_keeps_events_readable() -> None:
    bars, events = source_bars(20)
    rng = np.random.default_rng(1)
    ((_, batch),) = deliveries(bars, events, MINUTE, 0, Faults(field_drift=True, correction_fraction=0.0), rng)
    found = msgspec.json.decode(b"[" + b",".join(batch.events) + b"]")
    bars_found = [event for event in found if event["ev"] == "XA"]
    assert len(bars_found) == len(events)
    assert {event["ev"] for event in found} == {"XA", "ZZZ"}
    assert any("zz_new_field" in event for event in bars_found)
    assert any("e" not in event for event in bars_found)
    assert any(event["s"] > 10**17 for event in bars_found)
    assert any(b'"z":0.0' in event for event in batch.events)
