"""What a person sees of the quality of bars in a terminal."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from features.market.quality.findings import Flaw
from features.market.quality.schema import schema
from features.market.quality.summary import Quality
from features.market.types import F64
from ray_apps.quality.curves import clock, median_curve
from ray_apps.quality.demands import bad_rows
from ray_apps.quality.record import zone
from ray_apps.quality.told import NAMES, amount, instant, move, percent, reasons, sample, span, two_digits, what
from ray_apps.quality.wish import length, said
from ray_apps.words import counted

SYMBOLS_SHOWN = 40
WIDE = 100
"""Columns of a terminal that has room for everything."""
LEAST_SYMBOL = 8
FINDINGS_SHOWN = 16
BLOCKS = " ▁▂▃▄▅▆▇█"
COUNTED = {
    Flaw.GAP: "gaps",
    Flaw.STALE: "stale\nprices",
    Flaw.PRICE_OUTLIER: "price\nout-\nliers",
    Flaw.VOLUME_OUTLIER: "volume\nout-\nliers",
    Flaw.SLIP: "clock\nslips",
    Flaw.SPLIT: "splits",
    Flaw.LENGTH: "longer\nbars",
}


def show(quality: Quality, console: Console) -> None:
    """Print the figures of each symbol, the largest findings, and what the fields hold."""
    n_bars = sum(s.n_bars for s in quality.series)
    console.print(
        f"{quality.asset_class} {length(quality.bar_s)}: {counted(n_bars, 'bar')} of "
        f"{counted(len(quality.series), 'symbol')}, {counted(len(quality.day), 'trading day')}, "
        f"{said(quality.from_ns).removesuffix(' UTC')} to {said(quality.to_ns)}\n"
    )
    _symbols(quality, console)
    _findings(quality, console)
    _rows(quality, console)
    _fields(quality, console)
    _patterns(quality, console)


def _symbols(quality: Quality, console: Console) -> None:
    """Print a row a symbol; kinds of which nothing was found have no column: eighty columns must do."""
    kinds = [flaw for flaw in COUNTED if quality.n_flaws[flaw]]
    has_bad, is_wide = bool(bad_rows(quality)), console.width >= WIDE
    has_gaps = is_wide and Flaw.GAP in kinds
    heads = ["symbol", "bars", *(["days", "prints"] if is_wide else []), "covered"] + ["missing"] * has_gaps
    heads += [COUNTED[flaw] for flaw in kinds] + ["bad\nrows"] * has_bad + ["move\na day"]
    table = _table(heads, left=1)
    table.columns[0].no_wrap = False
    table.columns[0].overflow = "fold"
    table.columns[0].min_width = LEAST_SYMBOL
    covered = quality.covered
    order = sorted(range(len(quality.series)), key=lambda k: (-_weight(quality, k), float(covered[k])))
    for k in order[:SYMBOLS_SHOWN]:
        s = quality.series[k]
        cells = [s.symbol, f"{s.n_bars:,}"]
        if is_wide:
            cells += [f"{int((s.coverage.n_bars > 0).sum()):,}", percent(s.coverage.usual_share)]
        cells.append(percent(float(covered[k])))
        if has_gaps:
            cells.append(percent(s.coverage.missing_share, 2) if s.n_flaws[Flaw.GAP] else "-")
        counts = [s.n_flaws[flaw] for flaw in kinds] + [s.refused.total()] * has_bad
        table.add_row(*cells, *(f"{n:,}" if n else "-" for n in counts), move(s.volatility.daily))
    console.print(table)
    if len(order) > SYMBOLS_SHOWN:
        left = order[SYMBOLS_SHOWN:]
        sound = sum(not _weight(quality, k) for k in left)
        console.print(f"... and {counted(len(left), 'more symbol')}, {sound:,} of them without a finding")
    console.print()


def _weight(quality: Quality, k: int) -> int:
    """Give how much is wrong with a series: findings and bad rows."""
    return quality.series[k].n_flaws.total() + quality.series[k].refused.total()


def _findings(quality: Quality, console: Console) -> None:
    total = quality.n_flaws.total()
    if not total:
        console.print("nothing found: no gaps, outages, stale prices, outliers, slips, splits or longer bars\n")
        return
    table = _table(("finding", "symbol", "when (UTC)", "what"), left=4)
    shown = sample(quality.flaws, FINDINGS_SHOWN)
    for f in shown:
        table.add_row(NAMES[f.flaw], f.symbol or "many", span(f), what(f))
    console.print(table)
    if total > len(shown):
        console.print(f"... and {total - len(shown):,} more: --html and --json list them")
    console.print()


def _rows(quality: Quality, console: Console) -> None:
    """Say which rows were refused, and which are odd."""
    for name, counts in (
        ("refused", sum((s.refused for s in quality.series), Counter[str]())),
        ("odd", sum((s.doubtful for s in quality.series), Counter[str]())),
    ):
        if counts.total():
            console.print(f"rows {name}: " + reasons(counts) + "\n")


def _fields(quality: Quality, console: Console) -> None:
    table = _table(("field", "what", "unit", "type", "missing", "least", "most"), left=4)
    for spec, held in zip(schema(quality.asset_class), quality.fields, strict=True):
        is_time = spec.name == "ts"
        least, most = (instant(v)[:16] if is_time and held.n else amount(v) for v in (held.least, held.most))
        table.add_row(
            spec.name, spec.meaning, spec.unit, spec.type, percent(held.missing_share), least, most
        )  # fmt: skip
    console.print(table)


def _patterns(quality: Quality, console: Console) -> None:
    """Say how volume and moves are spread over the day, and how symbols go together."""
    console.print(f"\nby half hour, {zone(quality.asset_class)}")
    for name, unit, curves in (
        ("volume", "of the day", [s.volume_by_time for s in quality.series]),
        ("moves", "rms", [s.moves_by_time for s in quality.series]),
    ):
        middle = median_curve(curves)
        seen = np.flatnonzero(~np.isnan(middle) & (middle > 0))
        if len(seen):
            first, last = int(seen[0]), int(seen[-1]) + 1
            part = np.nan_to_num(middle[first:last])
            bounds = f"{100 * part.min():.2f} to {100 * part.max():.2f} % {unit}"
            console.print(f"{name:<8}{clock(first)} {_spark(part)} {clock(last)}  {bounds}")
    _volatility(quality, console)
    _correlations(quality, console)


def _volatility(quality: Quality, console: Console) -> None:
    """Say how much the symbols move: the calmest, the wildest and the middle one."""
    console.print("\nvolatility")
    for name, values in (
        ("a day", [s.volatility.daily for s in quality.series]),
        ("a year", [s.volatility.annual for s in quality.series]),
        ("at night", [s.volatility.overnight_share for s in quality.series if quality.asset_class.has_sessions]),
    ):
        seen = np.array(values)[~np.isnan(values)]
        if len(seen):
            say, of = (percent, " of the variance") if name == "at night" else (move, "")
            low, middle, high = (say(v) for v in np.quantile(seen, [0.0, 0.5, 1.0]).tolist())
            console.print(f"{name:<8} {low} to {high}, median {middle}{of}")


def _correlations(quality: Quality, console: Console) -> None:
    """Say how symbols go together: each pair of a few, else the bounds."""
    matrix = quality.correlation.matrix
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    pairs = pairs[~np.isnan(pairs)]
    if len(pairs):
        low, middle_r, high = np.quantile(pairs, [0.0, 0.5, 1.0]).tolist()
        step = length(quality.correlation.step_s)
        bounds = f"{low:.2f} to {high:.2f}, median {middle_r:.2f}"
        console.print(f"\n{step} moves of {len(matrix)} symbols correlate {bounds}")
        names = [quality.series[k].symbol for k in quality.correlated]
        width = max(map(len, names)) + sum(max(len(name), 5) + 1 for name in names)
        if width <= console.width:
            table = _table(("", *names), left=1)
            for k, name in enumerate(names):
                table.add_row(name, *("-" if v != v else two_digits(v) for v in matrix[k].tolist()))
            console.print(table)


def _spark(values: F64) -> str:
    top = values.max()
    return "".join(BLOCKS[max(round(float(v / top) * (len(BLOCKS) - 1)), int(v > 0))] for v in values)


def _table(heads: Sequence[str], left: int) -> Table:
    """Give an empty table whose first columns are words, the others numbers."""
    table = Table(box=None, pad_edge=False, collapse_padding=left == 1, header_style="bold")
    for k, head in enumerate(heads):
        is_text = k < left
        table.add_column(
            head, justify="left" if is_text else "right", no_wrap=not is_text or k == 0, vertical="bottom"
        )  # fmt: skip
    return table
