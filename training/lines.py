"""Give the line a replay writes of one anomaly, whatever it was folded from."""

from typing import NamedTuple

from features.decisions.anomalies import CONFIRMED, PROVISIONAL, STATES, Anomalies, anomaly_id, severity
from features.detectors.base import KINDS
from features.market.types import NS_PER_MS, NS_PER_S, Series

CONFIRM_NS = 900 * NS_PER_S
"""An anomaly that a quarter of an hour of later bars did not change is confirmed."""


class AnomalyLine(NamedTuple):
    """One anomaly as `replay` writes it; times in Unix ms, NaN where a rule has no p-value and no rate."""

    id: str
    symbol: str
    ts: int
    available_ts: int
    kind: str
    score: float
    p_value: float
    rate: float
    severity: str
    episode_id: str
    state: str

    @property
    def is_provisional(self) -> bool:
        """Whether later bars may still change it."""
        return self.state == STATES[PROVISIONAL]

    def confirmed(self) -> "AnomalyLine":
        """Give it as confirmed."""
        return self._replace(state=STATES[CONFIRMED])


def line_of(found: Anomalies, i: int, series: Series, budget: float, episode_id: str = "") -> AnomalyLine:
    """Give the line of anomaly `i`, one of `series`."""
    rate = float(found.rate[i])
    return AnomalyLine(
        id=anomaly_id(series, int(found.ts[i])), symbol=series.symbol, ts=int(found.ts[i]) // NS_PER_MS,
        available_ts=int(found.end[i]) // NS_PER_MS, kind=KINDS[found.kind[i]], score=float(found.score[i]),
        p_value=float(found.p_value[i]), rate=rate, severity=severity(rate, budget), episode_id=episode_id,
        state=STATES[found.state[i]],
    )  # fmt: skip
