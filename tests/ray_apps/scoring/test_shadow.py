"""The shadow never raises, never queues, never waits long: with a scorer of the tests' own at the seam."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

import numpy as np

from features.block import rows_of
from features.catalog import CATALOG
from features.decisions.config import DetectionConfig
from features.market.types import AssetClass
from features.stages.group import Observed
from features.stages.symbols import Symbols
from ray_apps import metrics as m
from ray_apps.scoring.scorer import Scored, Scorer, Served
from ray_apps.scoring.shadow import REASONS, Batch, Shadow
from tests.support.builders import Scene, block
from tests.support.eventually import eventually
from tests.support.forests import forest

NAME, OTHER = "isolation_forest.stocks.60s", "isolation_forest.stocks.5s"
STOCKS = AssetClass.STOCKS
MODELS = (Served(NAME, STOCKS, 60, "v1"),)


@dataclass
class FakeScorer:
    """Answers p = .5 for every row once its gate is open."""

    is_open: bool = True
    fails: bool = False
    calls: list[tuple[str, int]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    n_cancelled: int = 0

    def __post_init__(self) -> None:
        self.gate = asyncio.Event()
        if self.is_open:
            self.gate.set()

    async def __call__(self, model: str, x: np.ndarray) -> Scored:
        self.calls.append((model, len(x)))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.gate.wait()
            if self.fails:
                raise RuntimeError("replica died")
        except asyncio.CancelledError:
            self.n_cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        return Scored("v1", np.full(len(x), 0.4), np.full(len(x), 0.5), 0.01)


def seen(n: int, bar_s: int = 60) -> Observed:
    """Give `n` series' bars of one row as observed."""
    symbols = Symbols(STOCKS, bar_s, "trades", DetectionConfig())
    b = block(Scene(STOCKS, bar_s, n_symbols=n, n_windows=1, missing=0.0, bursts=0, shocks=0, faults=0))
    return symbols.observe(rows_of(b, slice(0, 1)))


def shadow(scorer: Callable[..., Awaitable[Scored]], timeout_s: float = 30.0, models: tuple[Served, ...] = MODELS):
    own = m.MetricSet("shard-stocks-0", "1")
    return Shadow(models, scorer, own, keep, timeout_s), own


def keep(model: str, batch: Batch, score: np.ndarray) -> None:
    assert len(batch.slot) == len(batch.ts) == len(batch.x) == len(score)


def lost(own: m.MetricSet) -> dict[str, float]:
    found = own.snapshot()["values"].get("tapewatch_shadow_batches_lost_total", {})
    assert {reason for _, reason in found} >= set(REASONS)  # from 0 on
    return {reason: n for (_, reason), n in found.items() if n}


def told(own: m.MetricSet) -> int:
    """Give the number of p-values counted."""
    found = own.snapshot()["values"].get("tapewatch_shadow_p_value", {})
    return int(sum(sum(row[:-1]) for row in found.values()))


def run(work: Coroutine[None, None, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await work

    asyncio.run(bounded())


def test_what_was_scored_is_counted() -> None:
    async def work() -> None:
        scorer = FakeScorer()
        s, own = shadow(scorer)
        s.offer([seen(3), seen(2)])
        await eventually(lambda: told(own) == 5)
        assert scorer.calls == [(NAME, 5)]
        assert lost(own) == {}
        values = own.snapshot()["values"]
        assert sum(values["tapewatch_score_seconds"][NAME,][:-1]) == 1
        await s.stop()

    run(work())


def test_the_newest_batch_wins_and_one_call_is_in_flight() -> None:
    async def work() -> None:
        scorer = FakeScorer(is_open=False)
        s, own = shadow(scorer)
        for n in (1, 2, 3, 4):
            s.offer([seen(n)])
            await asyncio.sleep(0)
        assert scorer.calls == [(NAME, 1)]
        assert lost(own) == {"superseded": 2}
        scorer.gate.set()
        await eventually(lambda: told(own) == 5)
        assert scorer.calls == [(NAME, 1), (NAME, 4)]
        assert scorer.most_in_flight == 1
        await s.stop()

    run(work())


def test_a_slow_scorer_is_given_up() -> None:
    async def work() -> None:
        scorer = FakeScorer(is_open=False)
        s, own = shadow(scorer, timeout_s=0.02)
        s.offer([seen(1)])
        await eventually(lambda: lost(own) == {"timeout": 1})
        assert (scorer.n_cancelled, scorer.in_flight) == (1, 0)
        scorer.gate.set()
        s.offer([seen(2)])
        await eventually(lambda: told(own) == 2)
        await s.stop()

    run(work())


def test_a_failure_is_counted_and_the_next_batch_is_scored() -> None:
    async def work() -> None:
        scorer = FakeScorer(fails=True)
        s, own = shadow(scorer)
        s.offer([seen(1)])
        await eventually(lambda: lost(own) == {"failed": 1})
        scorer.fails = False
        s.offer([seen(2)])
        await eventually(lambda: told(own) == 2)
        await s.stop()

    run(work())


def test_a_scorer_that_raises_before_it_waits_is_a_failure_too() -> None:
    def broken(model: str, x: np.ndarray) -> Awaitable[Scored]:
        raise ConnectionError("no replica")

    async def work() -> None:
        s, own = shadow(broken)
        s.offer([seen(1)])
        await eventually(lambda: lost(own) == {"failed": 1})
        await s.stop()

    run(work())


def test_each_model_gets_the_bars_of_its_length() -> None:
    async def work() -> None:
        scorer = FakeScorer(is_open=False)
        s, own = shadow(scorer, models=(*MODELS, Served(OTHER, STOCKS, 5, "v1")))
        s.offer([seen(3, 60), seen(2, 5)])
        s.offer([seen(4, 5)])
        scorer.gate.set()
        await eventually(lambda: told(own) == 7)
        assert scorer.calls == [(NAME, 3), (OTHER, 4)]
        assert lost(own) == {"superseded": 1}
        s.offer([seen(4, 300)])
        s.offer([])
        await asyncio.sleep(0)
        assert len(scorer.calls) == 2
        await s.stop()

    run(work())


def test_stopping_ends_the_call_and_drops_the_rest() -> None:
    async def work() -> None:
        scorer = FakeScorer(is_open=False)
        s, _ = shadow(scorer)
        s.offer([seen(1)])
        await eventually(lambda: scorer.in_flight == 1)
        s.offer([seen(2)])
        await s.stop()
        assert (scorer.in_flight, scorer.n_cancelled, len(scorer.calls)) == (0, 1, 1)
        assert len(asyncio.all_tasks()) == 1  # the test's own

    run(work())


def test_the_rows_are_copied() -> None:
    async def work() -> None:
        scorer = FakeScorer(is_open=False)
        s, _ = shadow(scorer)
        one = seen(1)
        s.offer([one])
        assert not np.shares_memory(s._waiting[NAME].x, one.seen.x)
        await s.stop()

    run(work())


def test_scores_are_kept_with_their_bars() -> None:
    async def work() -> None:
        kept = []
        own = m.MetricSet("shard-stocks-0", "1")
        s = Shadow(MODELS, FakeScorer(), own, lambda model, batch, score: kept.append((model, batch, score)))
        one, two = seen(3), seen(2)
        s.offer([one, two])
        await eventually(lambda: kept)
        ((model, batch, score),) = kept
        assert (model, batch.slot.tolist(), score.tolist()) == (NAME, [0, 1, 2, 0, 1], [0.4] * 5)
        np.testing.assert_array_equal(batch.ts, np.concatenate([one.block.ts[0], two.block.ts[0]]))
        np.testing.assert_array_equal(batch.x, np.concatenate([one.seen.x[0], two.seen.x[0]]))
        await s.stop()

    run(work())


def test_with_the_real_scorer_unknown_is_not_counted() -> None:
    async def work() -> None:
        s, own = shadow(Scorer({NAME: forest()}).score)
        known = seen(3)
        known.seen.x[:] = 0.0
        known.seen.x[0, 1] = np.nan
        s.offer([known])
        await eventually(lambda: told(own) == 2)
        assert known.seen.x.shape == (1, 3, len(CATALOG))
        await s.stop()

    run(work())
