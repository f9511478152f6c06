"""Draw the quality of bars: coverage, times of day, correlations, outliers."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from features.market.quality.findings import Finding, Flaw
from features.market.quality.summary import Quality
from features.market.types import F64, I64, NS_PER_S
from ray_apps.quality.curves import clock, median_curve
from ray_apps.quality.record import iso, zone
from ray_apps.quality.svg import RIGHT, TOP, Plot, Tick, circle, num, path, picture, rect, round_ticks, text, tiles
from ray_apps.quality.told import percent, span, two_digits, what

WIDTH = 1_040.0
HALF = 510.0
MOST_ROWS, MOST_COLUMNS = 80, 400
"""Of the coverage map: the worst series, and days, weeks where there are more."""
MOST_TITLES = 3_000
SHADES = ((0.0, "none"), (0.5, "under half"), (0.8, "50 to 80 %"), (0.95, "80 to 95 %"), (0.995, "95 to 99.5 %"))
"""Upper bounds of the classes of coverage; what is above the last is full."""
FULL = len(SHADES)
MOST_POINTS = 600
LABELLED = 6
FEW_DAYS = 45
"""Of more days only the first of each month is named."""


def coverage_map(quality: Quality) -> str:
    """Draw each series' bars by day as part of its usual ones; the worst series first."""
    rows = np.argsort(quality.covered, kind="stable")[:MOST_ROWS]
    share, days, width_days = _columns(quality.coverage[rows], quality.n_windows, quality.day)
    if not share.size:
        return ""
    left = min(24 + 7.2 * max(len(quality.series[k].symbol) for k in rows), 170.0)
    height = max(10.0, min(18.0, 460.0 / len(rows)))
    cell = (WIDTH - left - RIGHT) / share.shape[1]
    shade = np.searchsorted([bound for bound, _ in SHADES], share, side="left")
    shade[share == 0] = 0
    parts: list[str] = []
    titles: list[str] = []
    for level in range(FULL + 1):
        boxes = []
        for r in range(len(rows)):
            for first, last in _runs(shade[r] == level):
                box = (left + first * cell, TOP + r * height, (last - first) * cell, height - 1)
                boxes.append(box)
                if level < FULL and len(titles) < MOST_TITLES:
                    symbol = quality.series[rows[r]].symbol
                    when = iso(int(days[first])) + (f" to {iso(int(days[last - 1]))}" if last - first > 1 else "")
                    mean = percent(float(share[r, first:last].mean()))
                    titles.append(rect(*box, "hover", f"{symbol} {when}: {mean} of the usual bars"))
        parts.append(tiles(boxes, f"c{level}"))
    parts += [
        text(left - 8, TOP + (r + 0.5) * height + 4, quality.series[k].symbol, "tick", "end")
        for r, k in enumerate(rows)
        if height >= 11 or r % 2 == 0
    ]
    floor = TOP + len(rows) * height
    parts += [
        text(left + max((t.at + 0.5) * cell, 24), floor + 16, t.label, "tick", "middle") for t in _day_ticks(days, cell)
    ]
    parts.append(text((left + WIDTH) / 2, floor + 36, f"trading day{_step_name(width_days)}", "name", "middle"))
    return picture(WIDTH, floor + 44, "coverage by symbol and day", [*parts, *titles])


def by_time(quality: Quality, curves: Sequence[F64], name: str, label: str) -> str:
    """Draw a figure of each half hour: the median over the series, and the band that holds half of them."""
    middle, low, high = (100 * median_curve(curves, q) for q in (0.5, 0.25, 0.75))
    seen = np.flatnonzero(~np.isnan(middle) & (high > 0))
    if not len(seen):
        return ""
    first, last = int(seen[0]), int(seen[-1]) + 1
    top = 1.08 * float(np.nanmax(high[first:last]))
    plot = Plot(HALF, 260, (first, last), (0.0, top), left=58)
    step = 2 if last - first <= 16 else 4 if last - first <= 34 else 8
    hours = [Tick(b, clock(b)) for b in range(first + first % 2, last + 1, step)]
    parts = [plot.axes(hours, round_ticks(0.0, top, 5, _short), f"time of day, {zone(quality.asset_class)}", name)]
    for b in seen.tolist():
        x, width = plot.px(b) + 1, plot.px(b + 1) - plot.px(b) - 2
        title = f"{clock(b)} to {clock(b + 1)}: {middle[b]:.3g} % (half of the symbols {low[b]:.3g} to {high[b]:.3g} %)"
        parts.append(rect(x, plot.py(middle[b]), width, plot.py(0) - plot.py(middle[b]), "bar", title))
        centre = x + width / 2
        if len(curves) > 1:
            parts.append(path([(centre, plot.py(low[b])), (centre, plot.py(high[b]))], "whisker"))
    return picture(HALF, 260, label, parts)


def correlation_matrix(quality: Quality) -> str:
    """Draw the correlations as a square of shades, alike series beside each other."""
    matrix = quality.correlation.matrix
    if len(matrix) < 2:
        return ""
    order = _alike(matrix)
    names = [quality.series[quality.correlated[k]].symbol for k in order]
    left = min(24 + 7.2 * max(map(len, names)), 150.0)
    cell = min(44.0, (620.0 - left) / len(names))
    parts = []
    for r, i in enumerate(order):
        for c, j in enumerate(order):
            value = float(matrix[i, j])
            x, y = left + c * cell, TOP + r * cell
            known = not math.isnan(value)
            title = (
                f"{names[r]} and {names[c]}: {two_digits(value)}"
                if known
                else f"{names[r]} and {names[c]}: too few moves"
            )
            css = "absent" if not known else "pos" if value >= 0 else "neg"
            parts.append(rect(x, y, cell - 1, cell - 1, css, title, abs(value) if known else 1.0))
            if known and cell >= 26:
                strong = " strong" if abs(value) > 0.6 else ""
                parts.append(text(x + (cell - 1) / 2, y + cell / 2 + 3.5, two_digits(value), f"cell{strong}", "middle"))
        parts.append(text(left - 8, TOP + (r + 0.5) * cell + 4, names[r], "tick", "end"))
    side = TOP + len(names) * cell
    for c, name in enumerate(names):
        x, y = left + (c + 0.5) * cell + 4, side + 12
        parts.append(text(x, y, name, "tick", "end", f"rotate(-60 {num(x)} {num(y)})"))
    return picture(left + len(names) * cell + 8, side + 20 + 6.4 * max(map(len, names)), "correlations", parts)


def outliers(quality: Quality, flaw: Flaw, width: float) -> str:
    """Draw outliers over time: prices by how far off they lie, volumes by their ratio to the usual one."""
    found = sorted((f for f in quality.flaws if f.flaw is flaw), key=lambda f: -f.score)[:MOST_POINTS]
    if not found:
        return ""
    is_price = flaw is Flaw.PRICE_OUTLIER
    values = [100 * math.expm1(f.size) if is_price else math.log10(f.size) for f in found]
    low, high = min(values), max(values)
    low, high = (min(low, 0.0) * 1.12, max(high, 0.0) * 1.12) if is_price else (math.floor(low), math.ceil(high + 0.1))
    plot = Plot(width, 280, (quality.from_ns, quality.to_ns), (low, high), left=66)
    powers = [Tick(k, f"{_short_power(k)}x") for k in range(math.floor(low), math.floor(high) + 1)]
    ticks = round_ticks(low, high, 5, _short) if is_price else powers
    name = "off both sides, %" if is_price else "volume, times the usual"
    parts = [plot.axes(_time_ticks(quality.from_ns, quality.to_ns), ticks, "time, UTC", name)]
    if is_price:
        parts.append(path([(plot.px(quality.from_ns), plot.py(0)), (plot.px(quality.to_ns), plot.py(0))], "axis"))
    for f, value in reversed(list(zip(found, values, strict=True))):
        parts.append(circle(plot.px(f.from_ns), plot.py(value), 3.5, "dot", f"{f.symbol} {span(f)}: {what(f)}"))
    parts += _labels(plot, found, values)
    return picture(width, 280, f"{flaw.value.replace('_', ' ')}s", parts)


def _labels(plot: Plot, found: Sequence[Finding], values: Sequence[float]) -> list[str]:
    """Name the furthest of each symbol, where names do not meet."""
    placed: list[tuple[float, float]] = []
    named: set[str] = set()
    parts = []
    for f, value in zip(found, values, strict=True):
        x, y = plot.px(f.from_ns), plot.py(value)
        meets = any(abs(x - a) < 60 and abs(y - b) < 13 for a, b in placed)
        if f.symbol in named or meets or len(named) >= LABELLED:
            continue
        named.add(f.symbol)
        placed.append((x, y))
        at_end = x > plot.width - RIGHT - 70
        parts.append(text(x + (-7 if at_end else 7), y + 4, f.symbol, "mark", "end" if at_end else "start"))
    return parts


def _columns(share: F64, n_windows: I64, day: I64) -> tuple[F64, I64, int]:
    """Give coverage by column: days, or so many of them together that they fit; their first days, and how many."""
    size = -(-len(day) // MOST_COLUMNS) if len(day) else 1
    first = np.arange(0, len(day), size)
    if not len(first):
        return share, day, 1
    weight = np.add.reduceat(n_windows, first)
    return np.add.reduceat(share * n_windows, first, axis=1) / np.maximum(weight, 1), day[first], size


def _runs(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """Give the runs of a mask, half-open."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _step_name(size: int) -> str:
    return "" if size == 1 else f", {size} to a column"


def _day_ticks(days: I64, cell: float) -> list[Tick]:
    """Give dates that do not meet: first of months where there are many days."""
    room = 74.0
    dates = days.astype("datetime64[D]")
    at = list(range(len(days)))
    if len(days) > FEW_DAYS:
        at = np.flatnonzero(np.diff(dates.astype("datetime64[M]").astype(np.int64), prepend=-1)).tolist()
    ticks: list[Tick] = []
    for k in at:
        if not ticks or (k - ticks[-1].at) * cell >= room:
            ticks.append(Tick(k, iso(int(days[k]))))
    return ticks


def _time_ticks(from_ns: int, to_ns: int) -> list[Tick]:
    """Give a few days, or hours of a short span."""
    day_ns = 86_400 * NS_PER_S
    n_days = (to_ns - from_ns) / day_ns
    step = max(1, math.ceil(n_days / 5)) * day_ns if n_days > 2 else 6 * 3_600 * NS_PER_S
    form = "%Y-%m-%d" if n_days > 2 else "%d. %H:%M"
    return [
        Tick(t, datetime.fromtimestamp(t // NS_PER_S, UTC).strftime(form))
        for t in range(-(-from_ns // step) * step, to_ns, step)
        if (t - from_ns) / (to_ns - from_ns) < 0.93
    ]


def _alike(matrix: F64) -> list[int]:
    """Order series so that each stands beside the one of those left it goes with most."""
    known = np.nan_to_num(matrix, nan=-2.0)
    at = int(np.argmax(known.sum(axis=1)))
    order, left = [at], set(range(len(matrix))) - {at}
    while left:
        at = max(left, key=lambda k: known[order[-1], k])
        order.append(at)
        left.remove(at)
    return order


def _short_power(k: int) -> str:
    """Give a power of ten shortly.

    >>> [_short_power(k) for k in (1, 3, 5, 7, 12)]
    ['10', '1k', '100k', '10M', '1e12']
    """
    if k >= 9:
        return f"1e{k}"
    return f"{10 ** (k % 3)}{('', 'k', 'M')[k // 3]}"


def _short(value: float) -> str:
    """Give a percentage's number as short as it is round.

    >>> _short(5.0), _short(0.25)
    ('5', '0.25')
    """
    return f"{value:.10g}"
