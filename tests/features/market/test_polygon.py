"""Frames of the protocol page become bars; anything else is counted, never raised."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.market.errors import DataError
from features.market.polygon import Limits, Parsed, Status, parse, parse_aggs, topics
from features.market.types import NS_PER_S, AssetClass, SlotTable

MS = 1_789_738_200_000  # 2026-09-18 09:30 New York
NOW = (MS // 1000 + 60) * NS_PER_S

# Section 3 of the protocol page, numbers of our own.
STOCK = {
    "ev": "AM", "sym": "KO", "v": 31250, "dv": "31250.625", "av": 182340, "dav": "182340.8125", "op": 61.4,
    "vw": 61.6123, "o": 61.4, "c": 61.71, "h": 61.8, "l": 61.35, "a": 61.5811, "z": 50, "s": MS,
    "e": MS + 60_000,
}  # fmt: skip
OPTION = {k: v for k, v in STOCK.items() if k not in ("dv", "dav")} | {"sym": "O:KO261218C00065000"}
CRYPTO = {
    "ev": "XA", "pair": "BTC-USD", "o": 64110.5, "c": 64088.01, "h": 64133.0, "l": 64070.25, "v": 11.48013377,
    "vw": 64101.7712, "z": 0, "s": MS,
    "e": MS + 60_000,
}  # fmt: skip
FOREX = {
    "ev": "CA",
    "pair": "EUR/USD",
    "o": 1.16311,
    "c": 1.16325,
    "h": 1.1633,
    "l": 1.16302,
    "v": 311,
    "s": MS,
}
INDEX = {
    "ev": "AM",
    "sym": "I:SPX",
    "op": 6501.2,
    "o": 6505.11,
    "c": 6506.4,
    "h": 6507.02,
    "l": 6504.9,
    "s": MS,
}
FUTURE = {
    "ev": "AM", "sym": "ESZ26", "v": 1104, "dv": 399123450.0, "o": 6520.25, "c": 6521.0, "h": 6521.5,
    "l": 6519.75, "n": 511, "s": MS,
    "e": MS + 60_000,
}  # fmt: skip
BARS = {
    AssetClass.STOCKS: STOCK,
    AssetClass.OPTIONS: OPTION,
    AssetClass.CRYPTO: CRYPTO,
    AssetClass.FOREX: FOREX,
    AssetClass.INDICES: INDEX,
    AssetClass.FUTURES: FUTURE,
}
UNUSED = [
    {"ev": "V", "val": 6506.41, "T": "I:SPX", "t": MS + 60_123},
    {
        "ev": "T",
        "sym": "KO",
        "x": 11,
        "i": "529",
        "z": 3,
        "p": 61.7,
        "s": 100,
        "ds": "100.0",
        "c": [12],
        "t": MS,
    },
    {"ev": "T", "sym": "ESZ26", "p": 6521.0, "s": 2, "t": MS, "q": 88231, "i": 529},
    {
        "ev": "Q",
        "sym": "KO",
        "bx": 12,
        "bp": 61.7,
        "bs": 300,
        "ax": 11,
        "ap": 61.72,
        "as": 200,
        "i": [604],
        "t": MS,
    },
    {"ev": "LULD", "T": "KO", "h": 64.2, "l": 58.2, "i": [21], "z": 3, "t": MS * 10**6, "q": 9001},
    {"ev": "NOI", "T": "KO", "t": MS * 10**6, "at": 930, "a": "O", "i": 1, "x": 2, "o": 3, "p": 4, "b": 5.5},
    {"ev": "FMV", "sym": "KO", "fmv": 61.705, "t": MS * 10**6},
    {
        "ev": "XT",
        "pair": "BTC-USD",
        "p": 64090.0,
        "t": MS,
        "s": 0.0125,
        "c": [2],
        "i": "771",
        "x": 1,
        "r": MS,
    },
    {
        "ev": "XQ",
        "pair": "BTC-USD",
        "bp": 64089.9,
        "bs": 0.4,
        "ap": 64090.0,
        "as": 0.75,
        "t": MS,
        "x": 1,
        "r": MS,
    },
    {"ev": "XL2", "pair": "BTC-USD", "b": [[64089.9, 0.4]], "a": [[64090.0, 0.75]], "t": MS, "x": 1, "r": MS},
    {"ev": "C", "p": "EUR/USD", "x": 48, "a": 1.16326, "b": 1.16324, "t": MS},
]


def run(
    events: Any,
    asset_class: AssetClass = AssetClass.STOCKS,
    now_ns: int = NOW,
    table: SlotTable | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> Parsed:
    """Parse events, or bytes as they are."""
    frame = events if isinstance(events, bytes | str) else json.dumps(events).encode()
    return parse(frame, SlotTable(asset_class) if table is None else table, now_ns, NOW + 7, limits)


@pytest.mark.parametrize(("asset_class", "event"), BARS.items())
def test_minute_of_every_class(asset_class: AssetClass, event: dict[str, Any]) -> None:
    table = SlotTable(asset_class)
    found = run([event], asset_class, table=table)
    assert not found.errors
    (batch,) = found.batches
    assert (batch.bar_s, batch.recv_ns) == (60, NOW + 7)
    assert table[batch.slot[0]].symbol == event.get("sym", event.get("pair"))
    assert batch.ts[0] == MS * 10**6
    assert batch.ts_end[0] == MS * 10**6 + 60 * NS_PER_S
    prices = [batch.open[0], batch.high[0], batch.low[0], batch.close[0]]
    assert prices == [event["o"], event["h"], event["l"], event["c"]]
    np.testing.assert_equal(batch.vwap[0], event.get("vw", np.nan))


@pytest.mark.parametrize(
    ("asset_class", "volume", "trades"),
    [
        (
            AssetClass.STOCKS,
            31250.625,
            625,
        ),  # dv before v; the stream gives the mean size, no count
        (AssetClass.OPTIONS, 31250, 625),
        (AssetClass.CRYPTO, 11.48013377, np.nan),  # z is always 0
        (AssetClass.FOREX, 311, np.nan),
        (AssetClass.INDICES, np.nan, np.nan),
        (AssetClass.FUTURES, 1104, 511),  # dv is a notional here
    ],
)
def test_volume_and_trades(asset_class: AssetClass, volume: float, trades: float) -> None:
    (batch,) = run([BARS[asset_class]], asset_class).batches
    np.testing.assert_equal(batch.volume[0], volume)
    np.testing.assert_equal(batch.trades[0], trades)


@pytest.mark.parametrize(
    ("change", "volume", "trades"),
    [
        ({"dv": ""}, 31250, 625),
        ({"dv": None, "v": None}, None, None),
        ({"v": 0, "dv": "0.0"}, 0, 0),
        ({"z": 12.5}, 31250.625, 2500),
        ({"n": 7}, 31250.625, 7),
        ({"v": 31250.0}, 31250.625, 625),
    ],
)
def test_volume_drift(change: dict[str, Any], volume: float | None, trades: float | None) -> None:
    """Half the stocks may have the decimal volume and half not; a null is another type than a number."""
    found = run([STOCK | change, STOCK | {"sym": "PEP"}])
    if volume is None:
        assert found.errors == {"wrong_type": 1}
    else:
        assert found.batches[0].volume.tolist() == [volume, 31250.625]
        assert found.batches[0].trades.tolist() == [trades, 625]


@pytest.mark.parametrize("asset_class", AssetClass)
def test_second_and_minute_bars_come_in_batches_of_their_own(asset_class: AssetClass) -> None:
    minute = BARS[asset_class]
    second = minute | {"ev": topics(asset_class, 1), "s": MS + 59_000}
    table = SlotTable(asset_class)
    found = run([minute, second], asset_class, table=table)
    assert {b.bar_s: int(b.ts_end[0]) for b in found.batches} == {60: NOW, 1: NOW}
    assert len(table) == 2
    assert topics(asset_class, 60) == minute["ev"]


def test_the_stream_has_two_bar_lengths() -> None:
    with pytest.raises(ValueError, match="expected a bar length the stream has, 1 or 60 s, was 300 s"):
        topics(AssetClass.STOCKS, 300)


@pytest.mark.parametrize("asset_class", AssetClass)
def test_known_events_without_bars_are_skipped(asset_class: AssetClass) -> None:
    found = run([*UNUSED, BARS[asset_class]], asset_class)
    assert (len(found.batches), found.ignored, found.errors) == (1, len(UNUSED), {})


def test_statuses_come_beside_bars() -> None:
    said = {"ev": "status", "status": "success", "message": "subscribed to: AM.KO"}
    found = run([said, STOCK, {"ev": "status", "status": "error"}])
    assert found.statuses == (Status("success", "subscribed to: AM.KO"), Status("error", ""))
    assert len(found.batches[0]) == 1


def test_forex_symbols_have_one_spelling() -> None:
    table = SlotTable(AssetClass.FOREX)
    found = run([FOREX, FOREX | {"pair": "EUR-USD"}], AssetClass.FOREX, table=table)
    assert len(table) == 1
    assert [b.slot.tolist() for b in found.batches] == [[0], [0]]


@pytest.mark.parametrize("scale", [1, 10**3, 10**6])
def test_stamps_in_any_unit(scale: int) -> None:
    (batch,) = run([STOCK | {"s": MS * scale}]).batches
    assert batch.ts[0] == MS * 10**6


BAD: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("unknown_event", lambda e: e | {"ev": "ZZ"}),
    ("unknown_event", lambda e: CRYPTO),  # another market's event
    ("missing_field", lambda e: {k: v for k, v in e.items() if k != "ev"}),
    ("missing_field", lambda e: {k: v for k, v in e.items() if k != "l"}),
    ("missing_field", lambda e: {k: v for k, v in e.items() if k not in ("v", "dv")}),
    ("wrong_type", lambda e: e | {"ev": 3}),
    ("wrong_type", lambda e: e | {"o": "61.4"}),
    ("wrong_type", lambda e: e | {"o": None}),
    ("wrong_type", lambda e: e | {"o": True}),
    ("wrong_type", lambda e: e | {"sym": 5}),
    ("wrong_type", lambda e: e | {"dv": 5.5}),
    ("wrong_type", lambda e: e | {"s": "x"}),
    ("wrong_type", lambda e: e | {"s": 10**40}),
    ("wrong_type", lambda e: e | {"s": -5}),
    ("wrong_type", lambda e: [1, 2]),
    ("wrong_type", lambda e: None),
    ("bad_price", lambda e: e | {"l": 0}),
    ("bad_price", lambda e: e | {"l": -1}),
    ("bad_price", lambda e: e | {"h": 10**400}),
    ("bad_price", lambda e: e | {"vw": -3}),
    ("high_below_low", lambda e: e | {"h": 61.3, "l": 61.8}),
    ("high_below_low", lambda e: e | {"o": 62}),
    ("high_below_low", lambda e: e | {"c": 61.3}),
    ("bad_volume", lambda e: e | {"dv": "-1"}),
    ("bad_volume", lambda e: e | {"dv": "1,2"}),
    ("bad_volume", lambda e: e | {"dv": "nan"}),
    ("bad_volume", lambda e: e | {"dv": "x"}),
    ("bad_volume", lambda e: e | {"n": -1}),
    ("bad_volume", lambda e: e | {"z": 10**400}),
    ("bad_window", lambda e: e | {"s": MS + 1}),
    ("future", lambda e: e | {"s": MS + 60_000}),
    ("future", lambda e: e | {"s": 2**63 - 1}),
    ("future", lambda e: e | {"s": 10**14 - 40_000}),
    ("too_old", lambda e: e | {"s": MS - 3_600_000 - 60_000}),
    ("too_old", lambda e: e | {"s": 60}),
    ("bad_symbol", lambda e: e | {"sym": ""}),
    ("bad_symbol", lambda e: e | {"sym": "A\x00"}),
    ("bad_symbol", lambda e: e | {"sym": "A" * 100}),
]


@pytest.mark.parametrize(("reason", "spoil"), BAD)
def test_a_bad_event_costs_only_itself(reason: str, spoil: Callable[[dict[str, Any]], Any]) -> None:
    table = SlotTable(AssetClass.STOCKS)
    found = run([STOCK, spoil(STOCK | {"sym": "PEP"}), STOCK | {"sym": "MCD"}], table=table)
    assert found.errors == {reason: 1}
    assert [table[s].symbol for s in found.batches[0].slot] == ["KO", "MCD"]
    assert len(table) == 2


def test_the_first_fault_is_the_one_counted() -> None:
    assert run([STOCK | {"l": 0, "s": MS + 1, "dv": "x"}]).errors == {"bad_price": 1}


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"[",
        b"null",
        b"7",
        b'"AM"',
        b"NaN",
        b"\xff\xfe",
        json.dumps(STOCK).encode(),  # a bare object
        b"[" * 100_000,
        b"<html>",
    ],
)
def test_a_frame_that_is_no_array(broken: bytes) -> None:
    found = run(broken)
    assert found.batches == ()
    assert sum(found.errors.values()) >= 1
    assert set(found.errors) <= {"malformed", "wrong_type"}


@pytest.mark.parametrize("token", [b"NaN", b"Infinity", b"-Infinity", b"nul", b"01"])
def test_broken_json_inside_one_event_costs_only_it(token: bytes) -> None:
    good = json.dumps(STOCK).encode()
    bad = good.replace(b"61.8", token).replace(b"KO", b"PEP")
    found = run(b"[" + good + b"," + bad + b"," + good.replace(b"KO", b"MCD") + b"]")
    assert found.errors == {"malformed": 1}
    assert len(found.batches[0]) == 2


def test_a_cut_frame_gives_its_whole_events() -> None:
    frame = json.dumps([STOCK, STOCK | {"sym": "PEP"}, STOCK | {"sym": "MCD"}]).encode()
    found = run(frame[:-40])
    assert found.errors == {"malformed": 1}
    assert len(found.batches[0]) == 2


def test_bad_utf8_in_a_symbol_costs_only_its_event() -> None:
    frame = json.dumps([STOCK, STOCK | {"sym": "PEP"}]).encode().replace(b"PEP", b"P\xffP")
    found = run(frame)
    assert found.errors == {"malformed": 1}
    assert len(found.batches[0]) == 1


def test_text_frames_are_read_too() -> None:
    assert len(run(json.dumps([STOCK])).batches[0]) == 1
    assert run("[\ud800]").errors == {"malformed": 1}


def test_oversize_is_refused_unread() -> None:
    frame = json.dumps([STOCK]).encode()
    found = run(frame, limits=Limits(max_frame_bytes=len(frame) - 1))
    assert (found.batches, found.errors) == ((), {"oversize": 1})
    assert not run(frame, limits=Limits(max_frame_bytes=len(frame))).errors
    assert run(json.dumps([STOCK] * 3).encode(), limits=Limits(max_frame_bytes=10)).errors == {"oversize": 3}
    assert run(b" " * 11, limits=Limits(max_frame_bytes=10)).errors == {"oversize": 1}


def test_a_full_table_keeps_what_it_has() -> None:
    table = SlotTable(AssetClass.STOCKS, cap=1)
    found = run([STOCK, STOCK | {"sym": "PEP"}], table=table)
    assert found.errors == {"table_full": 1}
    assert found.batches[0].slot.tolist() == [0]


def test_without_a_clock_any_time_passes() -> None:
    far = [STOCK | {"s": MS - 10**10 // 60_000 * 60_000}, STOCK | {"s": MS + 10**10 // 60_000 * 60_000}]
    assert not run(far, now_ns=0).errors
    assert run(far).errors == {"too_old": 1, "future": 1}
    endless = Limits(future_s=float("inf"), too_old_s=float("inf"))
    assert not run(far, limits=endless).errors


def test_the_future_begins_five_seconds_beyond_the_clock() -> None:
    assert not run([STOCK], now_ns=NOW - 5 * NS_PER_S).errors
    assert run([STOCK], now_ns=NOW - 5 * NS_PER_S - 1).errors == {"future": 1}


def test_repeats_of_a_slot_come_in_waves_in_arrival_order() -> None:
    minutes = [STOCK | {"s": MS - 60_000 * k, "o": 61.4 + k / 100} for k in (2, 1, 0)]
    other = STOCK | {"sym": "PEP"}
    revised = STOCK | {"o": 61.5}
    found = run([minutes[0], other, minutes[1], minutes[2], revised])
    assert [b.slot.tolist() for b in found.batches] == [[0], [1, 0], [0], [0]]
    assert [b.open[b.slot == 0][0] for b in found.batches] == [61.42, 61.41, 61.4, 61.5]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3))
near_bars = st.fixed_dictionaries(
    {"ev": st.sampled_from(["AM", "A", "XA", "CAS", "status", "T", "?"])},
    optional={k: scalars | st.just(v) for k, v in (STOCK | CRYPTO).items() if k != "ev"} | {"n": scalars},
)


def check(found: Parsed, asset_class: AssetClass) -> None:
    """Every batch holds what `BarBatch` promises."""
    for batch in found.batches:
        assert len(batch) > 0
        assert len(set(batch.slot.tolist())) == len(batch)
        prices = np.stack([batch.open, batch.high, batch.low, batch.close])
        assert np.all(np.isfinite(prices) & (prices > 0))
        assert np.all((batch.high >= prices.max(axis=0)) & (batch.low <= prices.min(axis=0)))
        assert not np.any(batch.volume < 0)
        assert np.all(np.isnan(batch.volume)) or asset_class is not AssetClass.INDICES or len(batch)
        assert np.all(batch.ts_end - batch.ts == batch.bar_s * NS_PER_S)


@given(st.binary(max_size=200), st.sampled_from(AssetClass))
@example(b"[{}]", AssetClass.STOCKS)
@example(b"[{]", AssetClass.STOCKS)
def test_any_bytes_give_a_value(frame: bytes, asset_class: AssetClass) -> None:
    check(run(frame, asset_class), asset_class)


@given(values, st.sampled_from(AssetClass))
def test_any_json_gives_a_value(value: Any, asset_class: AssetClass) -> None:
    check(run(value, asset_class), asset_class)


@given(st.lists(near_bars | values, max_size=6), st.sampled_from(AssetClass), st.sampled_from([0, NOW]))
def test_almost_bars_give_a_value(events: list[Any], asset_class: AssetClass, now_ns: int) -> None:
    found = run(events, asset_class, now_ns)
    check(found, asset_class)
    # Nothing vanishes: whatever is no bar, status or skipped event is counted; broken JSON may hide several.
    kept = sum(len(b) for b in found.batches) + len(found.statuses) + found.ignored
    assert kept + sum(found.errors.values()) >= len(events) or "malformed" in found.errors


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_frame_with_a_hole_in_it_gives_a_value(at: int, junk: bytes) -> None:
    frame = json.dumps([STOCK, STOCK | {"sym": "PEP"}]).encode()
    check(run(frame[:at] + junk + frame[at + 1 :]), AssetClass.STOCKS)


def test_aggregates_of_rest() -> None:
    row = {"v": 31250.625, "vw": 61.6123, "o": 61.4, "c": 61.71, "h": 61.8, "l": 61.35, "t": MS, "n": 468}
    body = {
        "ticker": "KO", "queryCount": 3, "adjusted": False, "status": "DELAYED", "next_url": "https://x/y?cursor=z",
        "results": [row, row | {"t": MS + 60_000, "h": 1},
                    {"o": 1, "h": 2, "l": 1, "c": 2, "v": 5, "t": MS + 120_000}],
    }  # fmt: skip
    page = parse_aggs(json.dumps(body).encode(), AssetClass.STOCKS, 60)
    assert page.errors == {"high_below_low": 1}
    assert (page.next_url, page.adjusted) == ("https://x/y?cursor=z", False)
    np.testing.assert_array_equal(page.bars.ts, [MS * 10**6, (MS + 120_000) * 10**6])
    np.testing.assert_array_equal(page.bars.trades, [468, np.nan])


def test_no_data_is_an_empty_page() -> None:
    body = b'{"ticker":"NOPE","queryCount":0,"resultsCount":0,"adjusted":true,"status":"OK","count":0}'
    assert len(parse_aggs(body, AssetClass.STOCKS, 60).bars) == 0


def test_an_index_needs_no_volume() -> None:
    body = b'{"results":[{"o":1,"h":2,"l":1,"c":2,"t":1789738200000}]}'
    assert len(parse_aggs(body, AssetClass.INDICES, 60).bars) == 1
    assert parse_aggs(body, AssetClass.STOCKS, 60).errors == {"missing_field": 1}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>", "malformed"),
        (b"[]", "wrong_type"),
        (b'{"results":[{"o":"x"}]}', "wrong_type"),
        (b"", "malformed"),
    ],
)
def test_a_body_that_is_no_page(body: bytes, reason: str) -> None:
    with pytest.raises(DataError, match="expected") as error:
        parse_aggs(body, AssetClass.STOCKS, 60)
    assert error.value.reason == reason
