"""Give the quality of bars as a record for programs; the README of this folder lists its fields."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

from features.market.quality.findings import Finding, Flaw
from features.market.quality.schema import schema
from features.market.quality.series import SeriesQuality
from features.market.quality.summary import Quality
from features.market.types import F64, AssetClass
from ray_apps.quality.demands import bad_rows
from ray_apps.quality.told import instant

EPOCH = date(1970, 1, 1)


def record(quality: Quality, unreadable: Sequence[str], crossed: Sequence[str]) -> dict[str, Any]:
    """Give everything known, absent numbers as None; times in ISO 8601, UTC."""
    covered = quality.covered
    return {
        "asset_class": quality.asset_class.value,
        "bar_s": quality.bar_s,
        "from": instant(quality.from_ns),
        "to": instant(quality.to_ns),
        "n_symbols": len(quality.series),
        "n_bars": sum(s.n_bars for s in quality.series),
        "n_bad_rows": bad_rows(quality),
        "n_flaws": {flaw.value: quality.n_flaws[flaw] for flaw in Flaw},
        "crossed": list(crossed),
        "unreadable": list(unreadable),
        "fields": _fields(quality),
        "symbols": [_symbol(s, float(covered[k])) for k, s in enumerate(quality.series)],
        "findings": [finding(f) for f in quality.flaws],
        "coverage": {
            "days": [iso(int(day)) for day in quality.day],
            "n_windows": quality.n_windows.tolist(),
            "symbols": {s.symbol: _numbers(quality.coverage[k], 4) for k, s in enumerate(quality.series)},
        },
        "time_of_day": {
            "zone": zone(quality.asset_class),
            "step_s": 1_800,
            "volume_share": {s.symbol: _numbers(s.volume_by_time, 6) for s in quality.series},
            "move_rms": {s.symbol: _numbers(s.moves_by_time, 6) for s in quality.series},
        },
        "correlation": {
            "step_s": quality.correlation.step_s,
            "symbols": [quality.series[k].symbol for k in quality.correlated],
            "matrix": [_numbers(row, 4) for row in quality.correlation.matrix],
        },
    }


def finding(f: Finding) -> dict[str, Any]:
    """Give one finding."""
    return {
        "flaw": f.flaw.value,
        "symbol": f.symbol or None,
        "from": instant(f.from_ns),
        "to": instant(f.to_ns),
        "n": f.n,
        "size": number(f.size),
        "score": number(f.score),
        "is_listed": f.is_listed,
    }


def zone(asset_class: AssetClass) -> str:
    """Name the clock times of day are told by.

    >>> zone(AssetClass.STOCKS), zone(AssetClass.CRYPTO)
    ('America/New_York', 'UTC')
    """
    return "America/New_York" if asset_class.has_sessions else "UTC"


def iso(day: int) -> str:
    """Give the date of a day since 1970.

    >>> iso(1)
    '1970-01-02'
    """
    return (EPOCH + timedelta(days=day)).isoformat()


def number(value: float, digits: int = 6) -> float | None:
    """Give a number as JSON has it, to so many significant digits."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def _numbers(values: F64, digits: int) -> list[float | None]:
    return [round(v, digits) if math.isfinite(v) else None for v in values.tolist()]


def _fields(quality: Quality) -> list[dict[str, Any]]:
    rows = []
    for spec, held in zip(schema(quality.asset_class), quality.fields, strict=True):
        least, most = (
            (instant(held.least), instant(held.most))
            if spec.name == "ts" and held.n
            else (number(held.least, 15), number(held.most, 15))
        )
        rows.append(asdict(spec) | {"n": held.n, "missing_share": held.missing_share, "least": least, "most": most})
    return rows


def _symbol(s: SeriesQuality, covered: float) -> dict[str, Any]:
    return {
        "symbol": s.symbol,
        "n_rows": s.n_rows,
        "n_bars": s.n_bars,
        "n_days": int((s.coverage.n_bars > 0).sum()),
        "first": instant(s.first_ns) if s.n_bars else None,
        "last": instant(s.last_ns) if s.n_bars else None,
        "usual_share": number(s.coverage.usual_share),
        "covered": number(covered),
        "missing_share": number(s.coverage.missing_share),
        "refused": dict(s.refused),
        "doubtful": dict(s.doubtful),
        "n_flaws": {flaw.value: n for flaw, n in s.n_flaws.items()},
        "daily_volatility": number(s.volatility.daily),
        "annual_volatility": number(s.volatility.annual),
        "overnight_share": number(s.volatility.overnight_share),
        "daily_turnover": number(s.turnover),
    }
