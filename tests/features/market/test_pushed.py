"""Bars pushed by any source: good rows become bars, each bad one is named, any bytes give an answer."""

import json
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.market.errors import DataError
from features.market.polygon import Limits
from features.market.pushed import MOST_BARS, asset_class_of, check, parse_pushed
from features.market.types import NS_PER_MS, AssetClass, SlotTable

T = 1_789_738_200_000
LIMITS = Limits()
GOOD = {"symbol": "AAPL", "t": T, "o": 2.0, "h": 3.0, "l": 1.0, "c": 2.5, "v": 10.0, "vw": 2.1, "n": 4}


def body(*rows: object, asset_class: str = "stocks") -> bytes:
    return json.dumps({"asset_class": asset_class, "bars": rows}).encode()


def test_good_rows_become_bars_by_length() -> None:
    table = SlotTable(AssetClass.STOCKS)
    rows = [GOOD, {**GOOD, "symbol": "MSFT"}, {**GOOD, "t": T + 60_000}, {**GOOD, "bar_s": 1}]
    found = parse_pushed(body(*rows), table, 0, 7, LIMITS)
    assert [(b.bar_s, len(b), b.recv_ns) for b in found.batches] == [(60, 2, 7), (60, 1, 7), (1, 1, 7)]
    first = found.batches[0]
    assert first.ts.tolist() == [T * NS_PER_MS] * 2
    assert (first.vwap[0], first.trades[0]) == (2.1, 4.0)
    assert check(body(*rows), 0, LIMITS) == (4, [])


def test_what_may_be_left_out_is_absent() -> None:
    row = {k: v for k, v in GOOD.items() if k not in ("vw", "n")}
    (batch,) = parse_pushed(body(row), SlotTable(AssetClass.STOCKS), 0, 0, LIMITS).batches
    assert np.isnan(batch.vwap).all()
    assert np.isnan(batch.trades).all()


BAD = [
    ({**GOOD, "o": None}, "wrong_type", "expected a bar, was"),
    ({k: v for k, v in GOOD.items() if k != "c"}, "missing_field", "required field `c`"),
    ({k: v for k, v in GOOD.items() if k != "v"}, "missing_field", "expected a volume"),
    ({**GOOD, "o": -1.0}, "bad_price", "expected positive prices, was t=1789738200000 o=-1"),
    ({**GOOD, "h": 1.5}, "high_below_low", "expected l <= o, c <= h"),
    ({**GOOD, "v": -1.0}, "bad_volume", "expected volume and trades of 0 or more"),
    ({**GOOD, "t": T + 1}, "bad_window", "expected a start that is a multiple"),
    ({**GOOD, "t": T // 1000}, "bad_time", "expected t in Unix ms, was 1789738200"),
    ({**GOOD, "t": T * 10**6}, "bad_time", "expected t in Unix ms"),
    ({**GOOD, "bar_s": 7}, "bad_window", "expected bar_s of 1, 5, 10"),
    ({**GOOD, "symbol": "no such thing!"}, "bad_symbol", "expected a symbol, was 'no such thing!'"),
    ({**GOOD, "t": T + 3_600_000}, "future", "expected a window that is over"),
    ({**GOOD, "t": T - 7_200_000}, "too_old", "expected a window of the last hour"),
    (7, "wrong_type", "expected a bar"),
]


@pytest.mark.parametrize(("row", "reason", "said"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_a_bad_row_is_named_and_costs_only_itself(row: object, reason: str, said: str) -> None:
    now_ns = (T + 60_000) * NS_PER_MS
    accepted, refused = check(body(GOOD, row), now_ns, LIMITS)
    assert accepted == 1
    assert [(r.index, r.reason) for r in refused] == [(1, reason)]
    assert said in refused[0].message
    parsed = parse_pushed(body(GOOD, row), SlotTable(AssetClass.STOCKS), now_ns, 0, LIMITS)
    assert parsed.errors == Counter({reason: 1})
    assert sum(map(len, parsed.batches)) == 1


def test_false_prices_of_a_known_series_are_faults() -> None:
    table = SlotTable(AssetClass.STOCKS)
    table.slot("AAPL", 60)
    (fault,) = parse_pushed(body({**GOOD, "o": -1.0}), table, 0, 0, LIMITS).faults
    assert (fault.slot.tolist(), fault.ts.tolist()) == ([0], [T * NS_PER_MS])


def test_a_request_of_another_shape_is_refused_whole() -> None:
    for wrong in (b"", b"[]", b'{"bars": []}', b'{"asset_class": "bonds", "bars": []}', b"\xff"):
        with pytest.raises(DataError):
            check(wrong, 0, LIMITS)
        assert not parse_pushed(wrong, SlotTable(AssetClass.STOCKS), 0, 0, LIMITS).batches
    with pytest.raises(DataError, match=f"expected at most {MOST_BARS} bars, was {MOST_BARS + 1}"):
        check(body(*[GOOD] * (MOST_BARS + 1)), 0, LIMITS)
    assert asset_class_of(body(asset_class="crypto")) is AssetClass.CRYPTO


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "bar_s"]), v, max_size=10),
    max_leaves=20,
)


@given(st.binary(max_size=60) | json_values.map(lambda v: json.dumps(v).encode())
       | st.lists(json_values, max_size=3).map(lambda rows: body(*rows)))  # fmt: skip
def test_any_bytes_give_bars_or_a_data_error(data: bytes) -> None:
    parsed = parse_pushed(data, SlotTable(AssetClass.STOCKS), 0, 0, LIMITS)
    if parsed.errors.keys() & {"malformed", "wrong_type", "oversize"} and not is_request(data):
        with pytest.raises(DataError):
            check(data, 0, LIMITS)
        return
    accepted, refused = check(data, 0, LIMITS)
    assert accepted == sum(map(len, parsed.batches))
    assert len(refused) == sum(parsed.errors.values())


def is_request(data: bytes) -> bool:
    with suppress(DataError):
        return asset_class_of(data) in AssetClass
    return False
