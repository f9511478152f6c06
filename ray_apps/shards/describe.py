"""Turn anomalies into the rows that are stored, with what a person wants to read."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from features import catalog
from features.decisions.anomalies import NO_KIND, STATES, Anomalies, anomaly_id, severity
from features.decisions.config import DetectionConfig
from features.detectors.base import DATA_FAULT, KINDS, MARKET_SHOCK, Detector
from features.market.types import F64, Series
from ray_apps.store.rows import AnomalyRow, series_id

TOP_FEATURES = 3


def rows_of(
    found: Anomalies, name: Callable[[int], Series], config: DetectionConfig, versions: Mapping[str, str]
) -> list[AnomalyRow]:
    """Give the database rows of anomalies."""
    detectors = {d.kind: d for d in config.detectors()}
    return [_row(found, i, name(int(found.slot[i])), config, detectors, versions) for i in range(len(found))]


def _row(
    a: Anomalies, i: int, series: Series, config: DetectionConfig, detectors: Mapping[str, Detector],
    versions: Mapping[str, str],
) -> AnomalyRow:  # fmt: skip
    kind = KINDS[a.kind[i]]
    rate = float(a.rate[i])
    reference = config.peers.names[config.peers.reference(series.symbol)]
    return AnomalyRow(
        id=anomaly_id(series, int(a.ts[i])),
        asset_class=series.asset_class.value,
        symbol=series.symbol,
        series_id=series_id(series.asset_class, int(a.slot[i])),
        bar_s=series.bar_s,
        ts=int(a.ts[i]),
        available_at=int(a.end[i]),
        kind=kind,
        own_kind="" if a.own_kind[i] == NO_KIND else KINDS[a.own_kind[i]],
        score=float(a.score[i]),
        p_value=_number(a.p_value[i]),
        rate=_number(rate),
        severity=severity(rate, config.budget),
        state=STATES[a.state[i]],
        direction=int(a.direction[i]),
        reading=reading(kind, a.x[i], float(a.score[i]), float(a.direction[i]), detectors, reference),
        scores={k: _number(v) for k, v in zip(KINDS, a.scores[i], strict=True) if not math.isnan(v)},
        features={n: _number(v) for n, v in top_features(kind, a.x[i], detectors)},
        versions=dict(versions),
        norms={"price": float(a.price[i]), "move_z": _number(a.x[i, catalog.MOVE_Z])},
    )


def reading(
    kind: str, x: F64, score: float, direction: float, detectors: Mapping[str, Detector], reference: str
) -> str:
    """Say what was seen, in a person's words; `reference` says whose move the symbol is held against."""
    if kind == KINDS[MARKET_SHOCK]:
        side = "up" if direction > 0 else "down"
        return f"the whole market moved {side}, {score:.1f} sd of its own norm"
    if kind == KINDS[DATA_FAULT]:
        return "the feed's price is stuck or off by a factor of ten or more"
    return detectors[kind].reading(x, reference)


def top_features(kind: str, x: F64, detectors: Mapping[str, Detector]) -> list[tuple[str, float]]:
    """Give the features that explain an anomaly: its detector's own, then the most extreme of the others."""
    own = detectors[kind].columns if kind in detectors else ()
    z = [c for c in (catalog.ACTIVITY_Z, catalog.UP_Z, catalog.DOWN_Z, catalog.RESIDUAL_Z, catalog.GAP_Z)
         if c not in own and not math.isnan(x[c])]  # fmt: skip
    rest = sorted(z, key=lambda c: -abs(float(x[c])))[:TOP_FEATURES]
    return [(catalog.NAMES[c], float(x[c])) for c in (*own, *rest) if not np.isnan(x[c])]


def _number(value: float) -> float | None:
    return None if math.isnan(value) or math.isinf(value) else float(value)
