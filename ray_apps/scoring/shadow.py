"""Let fitted detectors score what a shard has committed, beside the path: what comes of it is counted, no more."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from features.market.types import F64, I32, I64
from features.stages.group import Observed
from ray_apps.metrics import SCORE, SHADOW_LOST, SHADOW_P, MetricSet
from ray_apps.scoring.scorer import Scored, Served
from ray_apps.shards.messages import ModelOutcome

LOG = logging.getLogger(__name__)

TIMEOUT_S = 1.0
REASONS = ("superseded", "timeout", "failed")
MOST_OUTCOMES = 1_000
"""Kept until the next message's acknowledgement takes them along."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to score: of which series, their bars' window starts (UTC ns), the features; [N], [N], [N, F]."""

    slot: I32
    ts: I64
    x: F64


class Call(Protocol):
    """Scores rows [N, F] with a model, elsewhere."""

    def __call__(self, model: str, x: F64) -> Awaitable[Scored]:
        """Give scores and p-values."""


class Keep(Protocol):
    """Takes the scores [N] a model gave a batch."""

    def __call__(self, model: str, batch: Batch, score: F64) -> None:
        """Remember them; decide nothing."""


class Shadow:
    """Offers what was observed to the models of its bar lengths.

    One call is in flight at most; while it is, only the newest batch of each model waits. Nothing is ever raised.
    """

    def __init__(
        self, models: Iterable[Served], call: Call, metrics: MetricSet, keep: Keep, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._models = tuple(models)
        self._call = call
        self._metrics = metrics
        self._keep = keep
        self._timeout_s = timeout_s
        for model in self._models:  # from 0 on, so that the first loss is an increase
            for reason in REASONS:
                metrics.inc(SHADOW_LOST, 0, model=model.name, reason=reason)
        self.outcomes: deque[ModelOutcome] = deque(maxlen=MOST_OUTCOMES)
        self._waiting: dict[str, Batch] = {}
        self._task: asyncio.Task[None] | None = None

    def offer(self, seen: Sequence[Observed]) -> None:
        """Take what one message showed; returns at once, copies the rows."""
        for model in self._models:
            batch = _batch([o for o in seen if o.block.bar_s == model.bar_s and len(o.block.slot)])
            if batch is None:
                continue
            if model.name in self._waiting:
                self._lose(model.name, "superseded", self._waiting[model.name])
            self._waiting[model.name] = batch
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    def taken(self) -> tuple[ModelOutcome, ...]:
        """Give what was come to since last asked."""
        out = tuple(self.outcomes)
        self.outcomes.clear()
        return out

    async def stop(self) -> None:
        """Drop what waits and end the call in flight."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=self._timeout_s)

    async def _run(self) -> None:
        while self._waiting:
            model = next(iter(self._waiting))
            await self._score(model, self._waiting.pop(model))

    async def _score(self, model: str, batch: Batch) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                scored = await self._call(model, batch.x)
            self._count(model, scored)
            self._keep(model, batch, scored.score)
            self.outcomes.append(ModelOutcome(model, scored.version, "scored", len(batch.slot)))
        except TimeoutError:
            self._lose(model, "timeout", batch)
        except Exception:  # whatever becomes of the deployment, the path goes on
            LOG.debug("shadow scoring failed", exc_info=True, extra={"model": model})
            self._lose(model, "failed", batch)

    def _count(self, model: str, scored: Scored) -> None:
        self._metrics.observe(SCORE, scored.seconds, detector=model)
        known = scored.p_value[np.isfinite(scored.p_value)]
        self._metrics.observe_many(SHADOW_P, known, model=model)

    def _lose(self, model: str, reason: str, batch: Batch) -> None:
        self.outcomes.append(ModelOutcome(model, "", reason, len(batch.slot)))
        self._metrics.inc(SHADOW_LOST, model=model, reason=reason)


def _batch(seen: Sequence[Observed]) -> Batch | None:
    """Join live blocks, of one row each; None where there is none."""
    if not seen:
        return None
    slot, ts = np.concatenate([o.block.slot for o in seen]), np.concatenate([o.block.ts[-1] for o in seen])
    return Batch(slot, ts, np.concatenate([o.seen.x[-1] for o in seen]))
