"""List splits and dividends: those of the `split_event` knob, and made-up quarterly payments."""

import hashlib
from datetime import date, timedelta
from typing import Any

from ray_apps.simulator.faults import Split
from ray_apps.simulator.tickers import number_of

_YEARS, _AHEAD_DAYS = 2, 60
_PAYERS = 200
"""So many of the busiest stocks; every other one pays."""
_YIELD = 0.005
"""What a payment takes from the price, about; the adjustment factor says it."""


def splits(events: tuple[Split, ...]) -> list[dict[str, Any]]:
    """Give the rows of splits, oldest first.

    `historical_adjustment_factor` turns a price from before it into one of today's shares.

    >>> rows = splits((Split("A", "2026-02-02", 2), Split("A", "2026-08-03", 3, 2), Split("A", "2026-08-31", 1, 4)))
    >>> [row["historical_adjustment_factor"] for row in rows], rows[2]["adjustment_type"]
    ([1.333333, 2.666667, 4.0], 'reverse_split')
    """
    rows: list[dict[str, Any]] = []
    factor: dict[str, float] = {}
    for split in sorted(events, key=lambda s: s.date, reverse=True):
        factor[split.symbol] = factor.get(split.symbol, 1.0) * split.split_from / split.split_to
        rows.append(
            {
                "id": _identity("split", split.symbol, split.date),
                "ticker": split.symbol,
                "execution_date": split.date,
                "split_from": split.split_from,
                "split_to": split.split_to,
                "adjustment_type": "forward_split" if split.split_to >= split.split_from else "reverse_split",
                "historical_adjustment_factor": round(factor[split.symbol], 6),
            }
        )
    return rows[::-1]


def dividends(symbols: tuple[str, ...], today: date) -> list[dict[str, Any]]:
    """Give the rows of dividends, of two years and those declared for the next weeks."""
    rows = []
    for symbol in symbols[:_PAYERS:2]:
        number = number_of(symbol)
        amount = (5 + number % 95) / 100
        first = date(today.year - _YEARS, 1, 1) + timedelta(days=number % 91)
        dates = [first + timedelta(days=91 * k) for k in range(4 * (_YEARS + 2))]
        dates = [d for d in dates if d <= today + timedelta(days=_AHEAD_DAYS)]
        for k, at in enumerate(dates):
            rows.append(_dividend(symbol, at, amount, len(dates) - k))
    return rows


def _dividend(symbol: str, at: date, amount: float, n_from_here: int) -> dict[str, Any]:
    def text(days: int) -> str:
        return (at + timedelta(days=days)).isoformat()

    return {
        "id": _identity("dividend", symbol, text(0)),
        "ticker": symbol,
        "cash_amount": amount,
        "split_adjusted_cash_amount": amount,
        "currency": "USD",
        "dividend_type": "CD",
        "distribution_type": "recurring",
        "frequency": 4,
        "declaration_date": text(-30),
        "ex_dividend_date": text(0),
        "record_date": text(0),
        "pay_date": text(14),
        "historical_adjustment_factor": round((1 - _YIELD) ** n_from_here, 6),
    }


def _identity(*parts: str) -> str:
    return "E" + hashlib.sha256(":".join(parts).encode()).hexdigest()
