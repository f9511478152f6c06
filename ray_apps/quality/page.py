"""Write the quality of bars as one page that needs nothing else: no network, no script."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from features.market.quality.findings import Finding, Flaw
from features.market.quality.schema import schema
from features.market.quality.summary import MOST_CORRELATED, Quality
from ray_apps.quality import charts
from ray_apps.quality.demands import bad_rows
from ray_apps.quality.record import zone
from ray_apps.quality.told import NAMES, ORDER, amount, instant, move, percent, reasons, sample, span, two_digits, what
from ray_apps.quality.wish import length, said
from ray_apps.words import counted

MOST_SYMBOLS = 500
MOST_FINDINGS = 300
FINDINGS_OPEN = 20
PAIRS_SHOWN = 8


def page(quality: Quality, unreadable: Sequence[str], crossed: Sequence[str], messages: Sequence[str] = ()) -> str:
    """Give the page as HTML that is XML too; `messages` name bad rows of files."""
    title = f"Quality of bars: {quality.asset_class}"
    style = files("ray_apps.quality").joinpath("style.css").read_text(encoding="utf-8")
    body = "".join((
        _head(quality, title), _tiles(quality), _verdict(crossed), _unreadable(unreadable), _coverage(quality),
        _findings(quality), _rows(quality, messages), _outliers(quality), _times(quality), _correlation(quality),
        _symbols(quality), _fields(quality), _method(),
    ))  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>{body}</main></body></html>\n"
    )


def _head(quality: Quality, title: str) -> str:
    n_bars = sum(s.n_bars for s in quality.series)
    lead = (
        f"{counted(n_bars, 'bar')} of {length(quality.bar_s)}, {counted(len(quality.series), 'symbol')}, "
        f"{said(quality.from_ns)} to {said(quality.to_ns)}, "
        f"{counted(len(quality.day), 'trading day')}"
    )
    return f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>'


def _tiles(quality: Quality) -> str:
    n_windows = quality.n_windows.sum() * len(quality.series)
    whole = float(quality.covered.mean()) if n_windows else float("nan")
    cells = [("of the usual bars", percent(whole), False)]
    shown = [flaw for flaw in ORDER if flaw is not Flaw.LENGTH or quality.n_flaws[flaw]]  # ten fill two rows
    counts = [(_plural(flaw, quality.n_flaws[flaw]), quality.n_flaws[flaw]) for flaw in shown]
    cells += [(name, f"{n:,}", bool(n)) for name, n in [*counts, ("bad rows", bad_rows(quality))]]
    tiles = "".join(
        f'<div class="tile{" found" if is_found else ""}"><b>{value}</b><span>{escape(name)}</span></div>'
        for name, value, is_found in cells
    )
    return f'<div class="tiles">{tiles}</div>'


def _plural(flaw: Flaw, n: int) -> str:
    if flaw is Flaw.LITTLE_DATA:
        return "symbols with little data"
    if flaw is Flaw.LENGTH:
        return "stretches of longer bars"
    if flaw is Flaw.SPLIT:
        return "split not applied" if n == 1 else "splits not applied"
    return NAMES[flaw] if n == 1 else f"{NAMES[flaw]}s"


def _verdict(crossed: Sequence[str]) -> str:
    if not crossed:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in crossed)
    return f'<section class="verdict crossed"><h2>Bounds that are crossed</h2><ul>{lines}</ul></section>'


def _unreadable(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    shown = "".join(f"<li>{escape(line)}</li>" for line in lines[:MOST_FINDINGS])
    return f'<section class="verdict crossed"><h2>Files that could not be read</h2><ul>{shown}</ul></section>'


def _coverage(quality: Quality) -> str:
    drawn = charts.coverage_map(quality)
    if not drawn:
        return ""
    names = [name for _, name in charts.SHADES] + ["99.5 % and more"]
    legend = "".join(f'<span><i class="c{k}"></i>{escape(name)}</span>' for k, name in enumerate(names))
    left_out = len(quality.series) - charts.MOST_ROWS
    more = f" The {left_out:,} fullest symbols are left out." if left_out > 0 else ""
    note = f"Bars as part of those the symbol has on three days of four; the emptiest symbols first.{more}"
    return _section("Coverage by symbol and day", note, f'<div class="legend">{legend}</div>{_wide(drawn)}')


def _findings(quality: Quality) -> str:
    shown = sample(quality.flaws, MOST_FINDINGS)
    if not shown:
        return _section("Findings", "No gaps, outages, stale prices, outliers, slips, splits or longer bars.", "")
    more = quality.n_flaws.total() - len(shown)
    note = f"The largest of each kind; {more:,} more are in the JSON." if more > 0 else "Everything that was found."
    first, rest = shown[:FINDINGS_OPEN], shown[FINDINGS_OPEN:]
    inner = _found_table(first)
    if rest:
        inner += f"<details><summary>{len(rest):,} more</summary>{_found_table(rest)}</details>"
    return _section("Findings", note, inner)


def _found_table(found: Sequence[Finding]) -> str:
    rows = "".join(_finding(f) for f in found)
    heads = _heads(("finding", "symbol", "when (UTC)", "what"), 4)
    return f'<div class="scroll"><table class="found">{heads}<tbody>{rows}</tbody></table></div>'


def _finding(f: Finding) -> str:
    cells = (NAMES[f.flaw], f.symbol or "many", span(f), what(f))
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _rows(quality: Quality, messages: Sequence[str]) -> str:
    """Say which rows were refused, and which are odd, by symbol."""
    bad = sorted(
        (s for s in quality.series if s.refused.total() or s.doubtful.total()),
        key=lambda s: (-s.refused.total(), -s.doubtful.total()),
    )
    if not bad:
        return ""
    rows = "".join(
        f"<tr><td>{escape(s.symbol)}</td><td>{escape(reasons(s.refused)) or '-'}</td>"
        f"<td>{escape(reasons(s.doubtful)) or '-'}</td></tr>"
        for s in bad[:MOST_FINDINGS]
    )
    more = f" {len(bad) - MOST_FINDINGS:,} more symbols are in the JSON." if len(bad) > MOST_FINDINGS else ""
    table = (
        f'<div class="scroll"><table>{_heads(("symbol", "refused", "kept, but odd"), 3)}'
        f"<tbody>{rows}</tbody></table></div>"
    )
    lines = "".join(f"<li>{escape(line)}</li>" for line in messages[:MOST_FINDINGS])
    named = f"<details><summary>The first of them by line</summary><ul>{lines}</ul></details>" if lines else ""
    return _section("Rows refused and odd", f"Refused rows count nowhere else.{more}", table + named)


def _outliers(quality: Quality) -> str:
    both = (
        (Flaw.PRICE_OUTLIER, "Price outliers", "Highs and lows away from the closes before and after, the same way."),
        (Flaw.VOLUME_OUTLIER, "Volume outliers", "Bars far beyond the volume usual at that time of day."),
    )
    drawn = [(flaw, name, note) for flaw, name, note in both if quality.n_flaws[flaw]]
    width = charts.HALF if len(drawn) == 2 else charts.WIDTH
    return _pair([_section(name, note, _wide(charts.outliers(quality, flaw, width))) for flaw, name, note in drawn])


def _times(quality: Quality) -> str:
    band = "Median over the symbols" + ("; the line holds half of them." if len(quality.series) > 1 else ".")
    volume = charts.by_time(
        quality, [s.volume_by_time for s in quality.series], "% of the day's volume", "volume by time of day"
    )
    moves = charts.by_time(
        quality, [s.moves_by_time for s in quality.series], "move, % rms", "volatility by time of day"
    )
    drawn = (("Volume by time of day", volume), ("Volatility by time of day", moves))
    note = f"By half hour, {zone(quality.asset_class)}. {band}"
    return _pair([_section(name, note, _wide(plot)) for name, plot in drawn if plot])


def _correlation(quality: Quality) -> str:
    drawn = charts.correlation_matrix(quality)
    step = length(quality.correlation.step_s)
    n = len(quality.correlated)
    most = f", the {n} most traded" if n == MOST_CORRELATED < len(quality.series) else ""
    note = f"Pearson's, of log moves of {step} inside trading days, clipped{most}. Blue: together; orange: against."
    if not drawn:
        return ""
    matrix = quality.correlation.matrix
    names = [quality.series[k].symbol for k in quality.correlated]
    pairs = sorted(
        (float(matrix[i, j]), f"{names[i]}, {names[j]}")
        for i in range(len(names))
        for j in range(i + 1, len(names))
        if matrix[i, j] == matrix[i, j]
    )
    lists = [("Most alike", pairs[: -PAIRS_SHOWN - 1 : -1]), ("Least alike", pairs[:PAIRS_SHOWN])]
    tables = "".join(
        f"<table>{_heads((name, ''), 1)}<tbody>{''.join(_pair_row(*pair) for pair in some)}</tbody></table>"
        for name, some in lists[: 1 if len(pairs) <= PAIRS_SHOWN else 2]
    )
    return _section(
        "How symbols go together", note, f'<div class="beside">{_wide(drawn)}<div class="lists">{tables}</div></div>'
    )


def _pair_row(value: float, names: str) -> str:
    return f"<tr><td>{escape(names)}</td>{_cell(two_digits(value))}</tr>"


def _wide(drawn: str) -> str:
    """Let a picture be scrolled where the page is narrow: shrunk, its words could not be read."""
    return f'<div class="scroll">{drawn}</div>'


def _pair(sections: Sequence[str]) -> str:
    """Put sections side by side where the page is wide."""
    return f'<div class="pair">{"".join(sections)}</div>' if sections else ""


def _symbols(quality: Quality) -> str:
    kinds = [f for f in ORDER if f not in (Flaw.LENGTH, Flaw.OUTAGE, Flaw.LITTLE_DATA)]
    heads = ("symbol", "bars", "days", "prints", "covered", "missing", *(NAMES[f] for f in kinds), "bad rows",
             "move a day", "a year", "at night")  # fmt: skip
    covered = quality.covered
    order = sorted(range(len(quality.series)), key=lambda k: float(covered[k]))[:MOST_SYMBOLS]
    rows = []
    for k in order:
        s = quality.series[k]
        counts = [*(s.n_flaws[f] for f in kinds), s.refused.total()]
        n_days = int((s.coverage.n_bars > 0).sum())
        shares = percent(s.coverage.usual_share), percent(float(covered[k])), percent(s.coverage.missing_share, 2)
        cells = [
            f"<td>{escape(s.symbol)}</td>",
            *(_cell(v) for v in (f"{s.n_bars:,}", f"{n_days:,}", *shares)),
            *(_cell(f"{n:,}" if n else "-", bool(n)) for n in counts),
            *(_cell(move(v)) for v in (s.volatility.daily, s.volatility.annual)),
            _cell(percent(s.volatility.overnight_share)),
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    left = len(quality.series) - len(order)
    note = "The emptiest first." + (f" {left:,} more are in the JSON." if left else "")
    table = f'<div class="scroll"><table>{_heads(heads, 1)}<tbody>{"".join(rows)}</tbody></table></div>'
    return _section("Symbols", note, table)


def _fields(quality: Quality) -> str:
    rows = []
    for spec, held in zip(schema(quality.asset_class), quality.fields, strict=True):
        is_time = spec.name == "ts"
        ends = [instant(v) if is_time and held.n else amount(v) for v in (held.least, held.most)]
        words = "".join(f"<td>{escape(cell)}</td>" for cell in (spec.name, spec.meaning, spec.unit, spec.type))
        rows.append(f"<tr>{words}{_cell(percent(held.missing_share))}{_cell(ends[0])}{_cell(ends[1])}</tr>")
    heads = _heads(("field", "what", "unit", "type", "missing", "least", "most"), 4)
    table = f'<div class="scroll"><table>{heads}<tbody>{"".join(rows)}</tbody></table></div>'
    return _section("Fields", "Of all rows, refused ones too.", table)


def _method() -> str:
    """Say how each thing is found."""
    ways = (
        ("Gaps", "windows of trading without a bar that the symbol's own habit at that half hour makes improbable; "
         "where it prints in 999 of 1,000 windows, every one."),
        ("Source outages", "windows in which more steady symbols are silent at once than their own rates allow."),
        ("Price outliers", "25 usual moves away from the medians of nine closes before and nine after, the same way "
         "(after Brownlees and Gallo 2006). A move that lasts is none."),
        ("Volume outliers", "10 robust standard deviations of log volume above the median of that time of day (the "
         "modified z-score of Iglewicz and Hoaglin 1993)."),
        ("Stale prices", "bars that repeat open, high, low and close longer than the symbol's habit makes likely."),
        ("Clock slips", "days whose first hours are empty and whose hours after the end are busy by a whole number of "
         "hours; of round-the-clock markets, months that go with the others only when moved."),
        ("Longer bars", "thirty bars and more whose starts keep to a grid coarser than the bar length."),
        ("Splits not applied", "nights whose jump is near n:m while volume turns the other way."),
    )  # fmt: skip
    rows = "".join(f"<tr><td><b>{escape(name)}</b></td><td>{escape(way)}</td></tr>" for name, way in ways)
    return _section("How it is found", "", f"<table><tbody>{rows}</tbody></table>")


def _section(name: str, note: str, inner: str) -> str:
    said_note = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(name)}</h2>{said_note}{inner}</section>"


def _heads(names: Sequence[str], left: int) -> str:
    sides = ["" if k < left else ' class="r"' for k in range(len(names))]
    cells = "".join(f"<th{side}>{escape(name)}</th>" for side, name in zip(sides, names, strict=True))
    return f"<thead><tr>{cells}</tr></thead>"


def _cell(value: str, is_flag: bool = False) -> str:
    return f'<td class="r{" flag" if is_flag else ""}">{escape(value)}</td>'
