"""Score batches with fitted detectors: the plain class behind the Serve deployment."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from features.catalog import CATALOG
from features.detectors.artifact import digest
from features.detectors.base import FittedDetector
from features.detectors.card import ModelError
from features.market.types import F64, AssetClass

MAX_ROWS = 65_536
"""Rows of one call: several times the largest market."""
SLICE = 2_048
"""Rows scored before others have their turn in the loop: 4 ms of a forest."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is served; `version` is its artifact's digest."""

    name: str
    asset_class: AssetClass
    bar_s: int
    version: str


@dataclass(frozen=True, slots=True)
class Scored:
    """What a call gave: scores and p-values [N], NaN = not ready; the version that said so, the seconds it took."""

    version: str
    score: F64
    p_value: F64
    seconds: float


class Scorer:
    """Holds detectors by name; scoring has no effect on anything."""

    def __init__(self, detectors: Mapping[str, FittedDetector]) -> None:
        self._detectors = dict(detectors)
        self._versions = {name: digest(d) for name, d in detectors.items()}
        for detector in self._detectors.values():  # compiled or loaded now, not at the first bar
            detector.score(np.zeros((1, len(CATALOG))))

    def models(self) -> tuple[Served, ...]:
        """Give what is served."""
        return tuple(
            Served(name, d.card.asset_class, d.card.bar_s, self._versions[name]) for name, d in self._detectors.items()
        )

    async def score(self, model: str, x: F64) -> Scored:
        """Score rows of features [N, F] with one model.

        Raises
        ------
        ModelError
            When there is no such model, or the rows are not the catalogue's.
        """
        detector = self._detectors.get(model)
        if detector is None:
            raise ModelError(f"expected one of the models {sorted(self._detectors)}, was {model}")
        if x.ndim != 2 or x.shape[1] != len(CATALOG) or len(x) > MAX_ROWS:
            raise ModelError(f"{model}: expected at most {MAX_ROWS} rows of {len(CATALOG)} columns, was {x.shape}")
        score = np.empty(len(x))
        seconds = 0.0
        for at in range(0, len(x), SLICE):
            began = time.perf_counter()
            score[at : at + SLICE] = detector.score(x[at : at + SLICE])
            seconds += time.perf_counter() - began
            await asyncio.sleep(0)
        return Scored(self._versions[model], score, detector.card.calibration.p_value(score), seconds)
