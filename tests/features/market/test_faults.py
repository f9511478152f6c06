"""Bars with prices that cannot be true: counted as ever, and handed on where their series is known."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.market.polygon import Limits, Parsed, parse, parse_aggs
from features.market.types import FAULT_REASONS, NS_PER_S, AssetClass, FaultBatch, SlotTable

MS = 1_789_738_200_000  # 2026-09-18 09:30 New York
NOW = (MS // 1000 + 60) * NS_PER_S
BAR = {"ev": "AM", "sym": "KO", "v": 31250, "dv": "31250.625", "vw": 61.6, "o": 61.4, "c": 61.7, "h": 61.8, "l": 61.3,
       "z": 50, "s": MS}  # fmt: skip
PEP = BAR | {"sym": "PEP"}
ROW = {"t": MS, "o": 61.4, "h": 61.8, "l": 61.3, "c": 61.7, "v": 31250, "vw": 61.6}
WRONG_PRICES: list[tuple[str, dict[str, Any]]] = [
    ("bad_price", {"o": 0}),
    ("bad_price", {"l": -61.3}),
    ("bad_price", {"h": 0.0, "l": 0.0, "o": 0.0, "c": 0.0}),
    ("bad_price", {"c": -0.0}),
    ("bad_price", {"vw": -3}),
    ("bad_price", {"h": 61, "l": -1}),  # crossed too: the first thing wrong is the one said
    ("high_below_low", {"h": 61.3, "l": 61.8}),
    ("high_below_low", {"o": 62}),
    ("high_below_low", {"c": 61.2}),
]
NOT_ALONE: list[tuple[str, dict[str, Any]]] = [
    ("missing_field", {"v": None, "dv": None}),
    ("bad_price", {"dv": "-1"}),
    ("bad_price", {"n": -1}),
    ("bad_price", {"s": MS + 1}),
    ("bad_price", {"s": MS + 60_000}),
    ("bad_price", {"s": MS - 3_660_000}),
]


def known() -> SlotTable:
    table = SlotTable(AssetClass.STOCKS)
    for bar_s, symbol in ((60, "KO"), (60, "PEP"), (1, "KO")):
        table.slot(symbol, bar_s)
    return table


def run(events: list[dict[str, Any]], table: SlotTable, now_ns: int = NOW, limits: Limits | None = None) -> Parsed:
    frame = json.dumps([{k: v for k, v in e.items() if v is not None} for e in events]).encode()
    return parse(frame, table, now_ns, NOW + 7, limits or Limits())


@pytest.mark.parametrize(("reason", "change"), WRONG_PRICES)
def test_a_wrong_price_of_a_known_series_is_a_fault(reason: str, change: dict[str, Any]) -> None:
    table = known()
    found = run([BAR, PEP | change], table)
    (fault,) = found.faults
    assert (fault.slot.tolist(), fault.ts.tolist(), fault.ts_end.tolist()) == ([1], [MS * 10**6], [NOW])
    assert (FAULT_REASONS[fault.code[0]], fault.bar_s, fault.recv_ns) == (reason, 60, NOW + 7)
    assert (fault.slot.dtype, fault.ts.dtype, fault.code.dtype) == (np.int32, np.int64, np.uint8)
    assert found.errors == {reason: 1}
    assert found.batches[0].slot.tolist() == [0]


@pytest.mark.parametrize(("reason", "change"), NOT_ALONE)
def test_a_bar_with_other_trouble_is_only_counted(reason: str, change: dict[str, Any]) -> None:
    found = run([BAR, PEP | {"l": 0} | change], known())
    assert (found.faults, found.errors) == ((), {reason: 1})


@pytest.mark.parametrize("change", [{"dv": "-1"}, {"s": MS + 1}, {"s": MS + 60_000}, {"sym": ""}])
def test_good_prices_are_no_fault(change: dict[str, Any]) -> None:
    found = run([BAR, PEP | change], known())
    assert found.faults == ()
    assert sum(found.errors.values()) == 1


def test_good_frames_have_no_faults() -> None:
    assert run([BAR, PEP], known()).faults == ()
    assert run([], known()).faults == ()


def test_faults_keep_to_the_limits() -> None:
    late = PEP | {"l": 0, "s": MS + 60_000}
    assert run([late], known()).faults == ()
    assert len(run([late], known(), now_ns=0).faults[0]) == 1  # no clock yet: any time
    assert len(run([late], known(), limits=Limits(future_s=60)).faults[0]) == 1


def test_a_number_no_double_holds_is_only_counted() -> None:
    found = run([BAR, PEP | {"h": 10**400}], known())
    assert (found.faults, found.errors) == ((), {"bad_price": 1})


def test_garbage_opens_no_slot() -> None:
    table = known()
    found = run([BAR, BAR | {"sym": "NEW", "l": 0}, BAR | {"sym": "", "l": 0}], table)
    assert (found.faults, found.errors, len(table)) == ((), {"bad_price": 2}, 3)


def test_a_series_is_known_from_its_second_frame_on() -> None:
    table = SlotTable(AssetClass.STOCKS)
    assert run([BAR, BAR | {"l": 0}], table).faults == ()
    assert run([BAR | {"l": 0}], table).faults[0].slot.tolist() == [0]


def test_faults_come_in_arrival_order_a_batch_per_bar_length() -> None:
    earlier = BAR | {"l": 0, "s": MS - 60_000}
    second = BAR | {"ev": "A", "h": 1, "s": MS + 59_000}
    new = BAR | {"sym": "NEW"}
    found = run([BAR | {"sym": "NO", "l": 0}, PEP | {"o": 99}, new, BAR | {"l": 0}, PEP, earlier, second], known())
    by_length = {f.bar_s: f for f in found.faults}
    assert len(found.faults) == 2
    assert by_length[60].slot.tolist() == [1, 0, 0]
    assert [FAULT_REASONS[c] for c in by_length[60].code] == ["high_below_low", "bad_price", "bad_price"]
    assert (by_length[60].ts // 10**6 - MS).tolist() == [0, 0, -60_000]
    assert (by_length[1].slot.tolist(), by_length[1].ts_end.tolist()) == ([2], [NOW])
    assert found.errors == {"bad_price": 3, "high_below_low": 2}
    assert [b.slot.tolist() for b in found.batches] == [[3, 1]]


@pytest.mark.parametrize("asset_class", AssetClass)
def test_every_class_has_faults(asset_class: AssetClass) -> None:
    ev = "XA" if asset_class is AssetClass.CRYPTO else "CA" if asset_class is AssetClass.FOREX else "AM"
    name, symbol = ("pair", "EUR-USD") if ev in ("XA", "CA") else ("sym", "I:SPX")
    bar = {"ev": ev, name: symbol, "o": 2, "h": 3, "l": 1, "c": 2, "v": 5, "s": MS}
    table = SlotTable(asset_class)
    frames = [json.dumps([e]).encode() for e in (bar, bar | {"h": 1.5})]
    found = [parse(frame, table, NOW, 0) for frame in frames]
    assert [len(p.faults) for p in found] == [0, 1]
    assert (found[1].faults[0].slot.tolist(), len(table)) == ([0], 1)


prices = st.sampled_from([-1.0, 0.0, 1.0, 2.0, 3.0])


@given(
    st.lists(st.tuples(prices, prices, prices, prices, st.sampled_from([-1, 5]), st.sampled_from([0, 1])), max_size=8)
)
def test_each_bar_is_one_of_good_fault_and_refused(rows: list[tuple[float, ...]]) -> None:
    events = [dict(zip("ohlc", r[:4], strict=True)) | {"v": r[4], "s": MS - int(r[5])} for r in rows]
    found = run([BAR | {"dv": None, "vw": None, "n": 1} | e for e in events], known())
    sound = [e["v"] >= 0 and e["s"] == MS for e in events]
    low, high = [min(r[0], r[3]) for r in rows], [max(r[0], r[3]) for r in rows]
    positive = [min(r[:4]) > 0 for r in rows]
    ordered = [r[2] <= lo and hi <= r[1] for r, lo, hi in zip(rows, low, high, strict=True)]
    expected = [int(p) for p, o, s in zip(positive, ordered, sound, strict=True) if s and not (p and o)]
    assert [int(c) for f in found.faults for c in f.code] == expected
    good = sum(p and o and s for p, o, s in zip(positive, ordered, sound, strict=True))
    assert sum(map(len, found.batches)) == good
    assert sum(found.errors.values()) == len(rows) - good


@pytest.mark.parametrize(("reason", "change"), WRONG_PRICES)
def test_faults_of_rest(reason: str, change: dict[str, Any]) -> None:
    later = {"t": MS + 60_000}
    off, volume = ROW | change | {"t": MS + 1}, ROW | change | {"v": -1}
    body = json.dumps({"results": [ROW, ROW | change | later, off, volume]}).encode()
    page = parse_aggs(body, AssetClass.STOCKS, 60)
    assert page.faults_ts.tolist() == [(MS + 60_000) * 10**6]
    assert [FAULT_REASONS[code] for code in page.faults_code] == [reason]
    assert (page.errors, len(page.bars)) == ({reason: 3}, 1)


def test_a_good_page_has_no_faults() -> None:
    for rows in ([ROW], []):
        page = parse_aggs(json.dumps({"results": rows}).encode(), AssetClass.STOCKS, 60)
        assert (page.faults_ts.tolist(), page.faults_code.tolist()) == ([], [])
        assert (page.faults_ts.dtype, page.faults_code.dtype) == (np.int64, np.uint8)


def test_a_fault_batch_refuses_what_it_is_not() -> None:
    slot, ts, code = np.zeros(2, np.int32), np.zeros(2, np.int64), np.zeros(2, np.uint8)
    assert len(FaultBatch(slot, ts, ts, code, 60)) == 2
    assert len(FaultBatch(slot[:0], ts[:0], ts[:0], code[:0], 60)) == 0
    with pytest.raises(ValueError, match="expected 2 values in ts_end, was 1"):
        FaultBatch(slot, ts, ts[:1], code, 60)
    with pytest.raises(ValueError, match="expected codes below 2, was 2"):
        FaultBatch(slot, ts, ts, code + np.uint8(2), 60)
