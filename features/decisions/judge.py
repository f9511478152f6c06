"""Compare the kinds: the expected rate of false episodes is the one scale on which they meet."""

from dataclasses import dataclass

import numpy as np

from features.decisions.config import DetectionConfig
from features.detectors.base import KINDS, VOLUME_SPIKE, Detector
from features.market.types import F64, U8


@dataclass(frozen=True, slots=True)
class Verdict:
    """The kind of the smallest rate at every bar: [...] each; rate inf where no kind is ready."""

    kind: U8
    score: F64
    p_value: F64
    rate: F64


class Judge:
    """Scores features with a set of detectors and keeps the least likely kind."""

    def __init__(self, detectors: tuple[Detector, ...], config: DetectionConfig, window_s: int) -> None:
        self.detectors = detectors
        self.config = config
        self.window_s = window_s

    def verdict(self, x: F64, trials: F64) -> Verdict:
        """Judge features [..., F] with their independent looks a day [...]."""
        shape = trials.shape
        best = Verdict(np.zeros(shape, dtype=np.uint8), np.full(shape, np.nan), np.full(shape, np.nan),
                       np.full(shape, np.inf))  # fmt: skip
        for d in self.detectors:
            is_classic = d.kind == KINDS[VOLUME_SPIKE] and self.config.volume_classic
            if d.share <= 0.0 and not is_classic:
                continue
            score = d.score(x)
            p = d.tail.p_value(score)
            rate = p * d.trials(trials, self.window_s) / d.share if d.share > 0.0 else np.full(shape, np.inf)
            if is_classic:  # every bar at the ratio, whatever its rate: it counts as just within the budget
                rate = np.where(score > 0.0, np.minimum(rate, self.config.budget), rate)
            rule = self.config.rule(d.kind)
            if rule.min_deviation > 0.0:
                rate = np.where(score >= rule.min_deviation, rate, np.inf)
            if rule.direction != "both":
                rate = np.where(d.direction(x) == (1.0 if rule.direction == "up" else -1.0), rate, np.inf)
            better = rate < best.rate
            best.kind[better] = KINDS.index(d.kind)
            best.score[better] = score[better]
            best.p_value[better] = p[better]
            best.rate[better] = rate[better]
        return best

    def scores(self, x: F64) -> F64:
        """Give the scores [M, K] of every kind of features [M, F]; NaN for kinds not judged here."""
        out = np.full((len(x), len(KINDS)), np.nan)
        for d in self.detectors:
            out[:, KINDS.index(d.kind)] = d.score(x)
        return out
