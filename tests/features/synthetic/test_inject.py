import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.market.types import AssetClass
from features.synthetic.block import TapeBlock
from features.synthetic.hours import MINUTE_NS
from features.synthetic.inject import RECOVERY, Injection, InjectionKind, inject
from features.synthetic.schedule import InjectedTape
from features.synthetic.tape import Tape, TapeConfig
from tests.features.synthetic.test_tape import DAY, check_bars, same

START = (DAY * 1440 + 15 * 60) * MINUTE_NS
TAPE = Tape(TapeConfig(AssetClass.STOCKS, 30))
SIZES = {InjectionKind.DECIMAL_SLIP: 10.0, InjectionKind.BURST_DOWN: -0.03, InjectionKind.MARKET_SHOCK: -0.02}


def injection(kind: InjectionKind, minutes: int = 4, column: int = 2) -> Injection:
    everybody = kind is InjectionKind.MARKET_SHOCK
    return Injection(
        kind,
        "*" if everybody else TAPE.symbols[column],
        -1 if everybody else column,
        START,
        minutes,
        SIZES.get(kind, 0.03),
        9.0 if kind in (InjectionKind.BURST_UP, InjectionKind.VOLUME_SPIKE) else 1.0,
    )


def played(*given_: Injection) -> TapeBlock:
    return InjectedTape(TAPE, given=given_).block(START - 10 * MINUTE_NS, 90)


PLAIN = TAPE.block(START - 10 * MINUTE_NS, 90)


@pytest.mark.parametrize("kind", InjectionKind)
def test_an_injection_changes_its_span_and_nothing_else(kind: InjectionKind) -> None:
    block = played(injection(kind))
    check_bars(block)
    same(block.take(slice(0, 10)), PLAIN.take(slice(0, 10)))
    same(block.take(slice(14 + RECOVERY, None)), PLAIN.take(slice(14 + RECOVERY, None)))
    changed = (block.close[10:14] != PLAIN.close[10:14]) | (block.volume[10:14] != PLAIN.volume[10:14])
    assert changed[:, 2].any()
    if kind is not InjectionKind.MARKET_SHOCK:
        others = np.arange(30) != 2
        same(block.take(slice(None), np.flatnonzero(others)), PLAIN.take(slice(None), np.flatnonzero(others)))


@pytest.mark.parametrize("kind", InjectionKind)
def test_blocks_of_an_injected_tape_agree(kind: InjectionKind) -> None:
    whole = played(injection(kind, minutes=8))
    tape = InjectedTape(TAPE, given=[injection(kind, minutes=8)])
    for row in (9, 10, 13, 17, 18, 40):
        same(tape.minute(int(whole.ts[row])), whole.take(slice(row, row + 1)))
    same(tape.block(START, 5, np.array([7, 2])), whole.take(slice(10, 15), np.array([7, 2])))


def test_each_kind_does_what_it_says() -> None:
    up = played(injection(InjectionKind.BURST_UP))
    np.testing.assert_allclose(np.log(up.close[13, 2] / PLAIN.close[13, 2]), 0.03, atol=1e-4)
    assert up.trades[12, 2] == 9 * PLAIN.trades[12, 2]
    assert np.isnan(played(injection(InjectionKind.HALT)).close[10:14, 2]).all()
    np.testing.assert_allclose(played(injection(InjectionKind.DECIMAL_SLIP)).close[11, 2], 10 * PLAIN.close[11, 2])
    flat = played(injection(InjectionKind.FLAT_FEED))
    assert len(np.unique(flat.close[10:14, 2])) == 1
    assert (flat.high[10:14, 2] == flat.low[10:14, 2]).all()
    shock = played(injection(InjectionKind.MARKET_SHOCK))
    moved = np.log(shock.close[13] / PLAIN.close[13])
    assert (moved[~np.isnan(moved)] < -0.009).all()


def test_injected_minutes_refine_into_seconds() -> None:
    tape = InjectedTape(TAPE, given=[injection(InjectionKind.BURST_UP)])
    minute, seconds = tape.minute(START), tape.seconds(START)
    assert np.nanmax(seconds.high[:, 2]) == minute.high[0, 2]
    assert np.nansum(seconds.volume[:, 2]) == minute.volume[0, 2]


@settings(max_examples=15, deadline=None)
@given(day=st.integers(DAY, DAY + 300), per_day=st.integers(0, 60))
def test_the_schedule_is_a_function_of_seed_and_day(day: int, per_day: int) -> None:
    start, end = day * 1440 * MINUTE_NS, (day + 1) * 1440 * MINUTE_NS
    first, second = (InjectedTape(Tape(TapeConfig(AssetClass.STOCKS, 30)), per_day) for _ in range(2))
    second.labels(start - 40 * 1440 * MINUTE_NS, start)
    labels = first.labels(start, end)
    assert labels == second.labels(start, end)
    assert len(labels) in (0, per_day)
    thin = {TAPE.symbols[i] for i in np.flatnonzero(TAPE.is_thin)}
    assert not thin & {row.symbol for row in labels}


def test_labels_are_of_what_begins_in_the_block() -> None:
    given_ = [injection(InjectionKind.BURST_UP)]
    block, labels = inject(PLAIN, given_, TAPE.grid)
    assert [(row.symbol, row.kind, row.start_ms) for row in labels] == [(TAPE.symbols[2], "burst_up", START // 10**6)]
    assert labels[0].end_ms == START // 10**6 + 4 * 60_000
    later, none = inject(PLAIN.take(slice(11, None)), given_, TAPE.grid)
    assert none == []
    same(later, block.take(slice(11, None)))


def test_a_wrong_injection_is_refused() -> None:
    with pytest.raises(ValueError, match="whole minute"):
        Injection(InjectionKind.HALT, "AAPL", 0, 5, 1, 0.0)
    with pytest.raises(ValueError, match="at least one minute"):
        Injection(InjectionKind.HALT, "AAPL", 0, 0, 0, 0.0)
