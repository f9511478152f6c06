"""The Desk: what is one event, what is worth telling."""

import json
import math

import numpy as np
import pytest

from features import catalog
from features.decisions.anomalies import PROVISIONAL, RETRACTED, Anomalies
from features.decisions.config import DetectionConfig
from features.detectors.base import KINDS
from features.market.types import AssetClass
from features.stages.context import Contexts
from features.stages.desk import ESCALATE, LEADERS, MARKET, Desk, Settled

MINUTE = 60 * 10**9
NOON = 1_741_020_000 * 10**9
NAMES = [f"S{i}" for i in range(400)]


def found(slots: list[int], minute: int, *, rate: float = 0.01, kind: str = "burst_up", state: int = PROVISIONAL,
          move_z: list[float] | None = None) -> Anomalies:  # fmt: skip
    """Give one anomaly of each slot in the window that ends at `minute`."""
    n = len(slots)
    x = np.zeros((n, len(catalog.CATALOG)))
    x[:, catalog.MOVE_Z] = move_z or [1.0] * n
    end = NOON + minute * MINUTE
    fault = kind == "data_fault"
    number = np.full(n, math.nan if fault else rate)
    return Anomalies(
        slot=np.array(slots, dtype=np.int32), ts=np.full(n, end - MINUTE), end=np.full(n, end),
        kind=np.full(n, KINDS.index(kind), dtype=np.uint8), own_kind=np.full(n, KINDS.index(kind), dtype=np.uint8),
        score=np.full(n, 7.0), p_value=number / 1_000.0, rate=number, direction=np.ones(n), price=np.full(n, 50.0),
        state=np.full(n, state, dtype=np.uint8), x=x, scores=np.zeros((n, len(KINDS))),
    )  # fmt: skip


def context(minute: int, breadth: float = 0.9) -> Contexts:
    one = np.array([1.0])
    end = np.array([NOON + minute * MINUTE])
    is_shock, day = np.array([True]), np.array([0])
    return Contexts(end, np.array([5]), one, one, one, one, is_shock, one * breadth, one[:, None], day, one)


def desk(**config) -> Desk:
    return Desk(AssetClass.STOCKS, DetectionConfig(**config), NAMES.__getitem__)


def opened(*settled: Settled) -> set[str]:
    return {e.id for s in settled for e in s.episodes}


def test_a_cooldown_merges_and_does_not_drop() -> None:
    d = desk()
    parts = [d.settle(found([3], m)) for m in (0, 1, 25, 55, 85)]
    assert len(opened(*parts)) == 1
    assert {i for s in parts for i in s.episode_ids} == opened(*parts)
    last = parts[-1].episodes[0]
    assert (last.n_anomalies, last.opened, last.last) == (5, NOON, NOON + 85 * MINUTE)
    assert [len(s.notify) for s in parts] == [1, 0, 0, 0, 0]


def test_a_quiet_half_hour_ends_an_episode() -> None:
    d = desk()
    assert len(opened(d.settle(found([3], 0)), d.settle(found([3], 31)))) == 2


def test_the_cooldown_is_the_users() -> None:
    d = desk(cooldown_s=300)
    assert len(opened(d.settle(found([3], 0)), d.settle(found([3], 5)), d.settle(found([3], 11)))) == 2


@pytest.mark.parametrize(("times", "n"), [(ESCALATE * 1.01, 2), (ESCALATE * 0.99, 1)])
def test_evidence_100_times_stronger_breaks_the_cooldown(times: float, n: int) -> None:
    d = desk()
    first, second = d.settle(found([3], 0, rate=0.01)), d.settle(found([3], 5, rate=0.01 / times))
    assert len(opened(first, second)) == n
    assert len(second.notify) == n - 1
    assert second.episodes[0].rate == 0.01 / times
    assert second.episodes[0].severity == ("high" if times < ESCALATE else "critical")


def test_symbols_have_episodes_of_their_own() -> None:
    settled = desk().settle(found([3, 4], 0))
    assert len(set(settled.episode_ids)) == 2
    assert [e.symbol for e in settled.episodes] == ["S3", "S4"]


def test_a_shock_is_one_episode_of_all_its_members() -> None:
    d = desk()
    moves = [1.0, -9.0, 2.0, 3.0, -4.0, 5.0, 6.0]
    settled = d.settle(found([*range(7)], 0, kind="market_shock", move_z=moves), context(0))
    (episode,) = settled.episodes
    assert settled.episode_ids == [episode.id] * 7
    assert (episode.symbol, episode.kind, episode.members, episode.breadth) == (MARKET, "market_shock", 7, 0.9)
    assert episode.leaders == ("S1", "S6", "S5", "S4", "S3")
    assert len(episode.leaders) == LEADERS
    assert settled.notify == [episode]


def test_symbols_raised_later_join_the_shock() -> None:
    d = desk()
    first = d.settle(found([1, 2, 3], 0, kind="market_shock"), context(0))
    second = d.settle(found([4], 3, kind="market_shock"), context(3, 0.1))
    assert opened(first, second) == opened(first)
    (episode,) = second.episodes
    assert (episode.members, episode.breadth, episode.n_anomalies) == (3, 0.9, 4)
    assert not second.notify


def test_a_shock_has_one_id_whatever_the_order_of_bars_in_its_window() -> None:
    ends = np.array([-10, -5, 0]) * 10**9 + NOON
    ids = set()
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        shock = found([1, 2, 3], 0, kind="market_shock")
        shock.end[:] = ends[order]
        ids |= opened(desk().settle(shock, context(0)))
    assert len(ids) == 1


def test_a_shock_and_a_symbol_have_episodes_apart() -> None:
    d = desk()
    own = d.settle(found([3], 0))
    shock = d.settle(found([3, 4, 5], 1, kind="market_shock"), context(1))
    again = d.settle(found([3], 2))
    assert opened(own) == opened(again)
    assert not opened(own) & opened(shock)


def test_a_data_fault_neither_hides_nor_ends_a_symbols_event() -> None:
    d = desk()
    fault = d.settle(found([3], 0, kind="data_fault"))
    event = d.settle(found([3], 1))
    more = [
        d.settle(found([3], 2, kind="data_fault")),
        d.settle(found([3], 3)),
        d.settle(found([3], 4, kind="data_fault")),
    ]
    assert len(event.notify) == 1
    assert opened(fault, event, *more) == opened(fault, event)
    assert len(opened(fault, event)) == 2


def test_a_retracted_anomaly_opens_nothing_and_has_no_episode() -> None:
    settled = desk().settle(found([3], 0, state=RETRACTED))
    assert (settled.episode_ids, settled.episodes, settled.notify) == ([""], [], [])
    shock = desk().settle(found([1, 2, 3], 0, kind="market_shock", state=RETRACTED))
    assert (shock.episode_ids, shock.episodes) == (["", "", ""], [])


def test_the_days_cap_leaves_the_rarest_and_drops_no_episode() -> None:
    d = desk(notifications_per_day=3)
    many = found([*range(5)], 0)
    many.rate[:] = [0.02, 0.001, 0.03, 0.0001, 0.01]
    first = d.settle(many)
    assert [e.symbol for e in first.notify] == ["S3", "S1", "S4"]
    assert len(first.episodes) == 5
    assert d.settle(found([9], 1)).notify == []
    tomorrow = d.settle(found([10], 1_440))
    assert [e.symbol for e in tomorrow.notify] == ["S10"]


def test_data_faults_rank_last() -> None:
    d = desk(notifications_per_day=1)
    both = Anomalies.concat([found([1], 0, kind="data_fault"), found([2], 0)])
    assert [e.symbol for e in d.settle(both).notify] == ["S2"]


def test_a_late_window_of_yesterday_does_not_renew_todays_cap() -> None:
    d = desk(notifications_per_day=1)
    midnight = (86_400 * 10**9 - NOON % (86_400 * 10**9)) // MINUTE
    assert len(d.settle(found([1], midnight + 5)).notify) == 1
    d.settle(found([2], midnight - 5))
    assert d.settle(found([3], midnight + 6)).notify == []


def test_ids_are_the_same_in_every_run() -> None:
    one, two = desk(), desk()
    assert opened(one.settle(found([3, 4], 0))) == opened(two.settle(found([4, 3], 0)))
    other = Desk(AssetClass.CRYPTO, DetectionConfig(), NAMES.__getitem__)
    assert not opened(one.settle(found([3], 60))) & opened(other.settle(found([3], 60)))


def test_it_goes_on_from_its_snapshot() -> None:
    whole, first = desk(notifications_per_day=4), desk(notifications_per_day=4)
    start = [found([1, 2], 0), found([1, 2, 3], 1, kind="market_shock"), found([4], 2, kind="data_fault")]
    for part in start:
        whole.settle(part, context(0))
        first.settle(part, context(0))
    second = desk(notifications_per_day=4)
    second.restore(json.loads(json.dumps(first.snapshot(), allow_nan=False)))
    for part in (found([1, 5], 3), found([4], 4, kind="data_fault"), found([6, 7], 5), found([1], 40, rate=1e-6)):
        assert repr(second.settle(part, context(3))) == repr(whole.settle(part, context(3)))
