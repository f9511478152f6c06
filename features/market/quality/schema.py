"""Say what each field of a bar means, in which unit, and what values it takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.market.bars import COLUMN_NAMES, BarColumns
from features.market.types import AssetClass

_PRICE_UNITS = {
    AssetClass.STOCKS: "USD a share",
    AssetClass.CRYPTO: "quote currency",
    AssetClass.FOREX: "quote currency",
    AssetClass.INDICES: "index points",
    AssetClass.OPTIONS: "USD a share",
    AssetClass.FUTURES: "contract's quote",
}
_VOLUME_UNITS = {
    AssetClass.STOCKS: "shares",
    AssetClass.CRYPTO: "base coins",
    AssetClass.FOREX: "quotes",
    AssetClass.INDICES: "none",
    AssetClass.OPTIONS: "contracts",
    AssetClass.FUTURES: "contracts",
}


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """What a field is: its meaning, unit and type."""

    name: str
    meaning: str
    unit: str
    type: str


@dataclass(frozen=True, slots=True)
class FieldRange:
    """What a field holds: how many values, how many absent ones, the smallest and the largest (NaN where none).

    The times are UTC ns, exact to 256 ns as floats.
    """

    name: str
    n: int
    n_missing: int
    least: float
    most: float

    @property
    def missing_share(self) -> float:
        """Part of the values that are absent; 0 of none."""
        return self.n_missing / self.n if self.n else 0.0


def schema(asset_class: AssetClass) -> tuple[FieldSpec, ...]:
    """Give the fields of a class's bars.

    >>> [(f.name, f.unit) for f in schema(AssetClass.STOCKS)][:2]
    [('ts', 'ns, UTC'), ('open', 'USD a share')]
    """
    price, volume = _PRICE_UNITS[asset_class], _VOLUME_UNITS[asset_class]
    return (
        FieldSpec("ts", "window start", "ns, UTC", "int64"),
        FieldSpec("open", "first price", price, "float64"),
        FieldSpec("high", "highest price", price, "float64"),
        FieldSpec("low", "lowest price", price, "float64"),
        FieldSpec("close", "last price", price, "float64"),
        FieldSpec("volume", "amount traded", volume, "float64"),
        FieldSpec("vwap", "mean price by volume", price, "float64"),
        FieldSpec("trades", "number of trades", "trades", "float64"),
    )


def ranges(bars: BarColumns) -> tuple[FieldRange, ...]:
    """Give what the fields of bars hold.

    >>> x = np.array([1.0, np.nan, 3.0])
    >>> ranges(BarColumns(np.arange(3), *[x] * 7))[5]
    FieldRange(name='volume', n=3, n_missing=1, least=1.0, most=3.0)
    """
    out = []
    for name in COLUMN_NAMES:
        column = getattr(bars, name)
        seen = column if name == "ts" else column[~np.isnan(column)]
        least, most = (float(seen.min()), float(seen.max())) if len(seen) else (float("nan"), float("nan"))
        out.append(FieldRange(name, len(column), len(column) - len(seen), least, most))
    return tuple(out)


def joined(parts: Sequence[tuple[FieldRange, ...]]) -> tuple[FieldRange, ...]:
    """Give what the fields of several series hold together."""
    return tuple(
        FieldRange(
            same[0].name,
            sum(f.n for f in same),
            sum(f.n_missing for f in same),
            _over(np.fmin, [f.least for f in same]),
            _over(np.fmax, [f.most for f in same]),
        )
        for same in zip(*parts, strict=True)
    )


def _over(pick: np.ufunc, values: list[float]) -> float:
    return float(pick.reduce(np.array(values)))
