"""Ask for one page of a series' past, or whose it is: the vendor's ways of spelling the question, and one answer."""

from functools import partial
from urllib.parse import quote

import msgspec
from polygon import RESTClient

from features.market.errors import DataError
from features.market.polygon import Aggs, parse_aggs
from features.market.symbols import to_rest
from features.market.types import NS_PER_MS, AssetClass
from ray_apps.ingest import verdict
from ray_apps.ingest.calls import Question, Reply
from ray_apps.ingest.verdict import CallRefusedError
from ray_apps.store.backfills import Span

LIMIT = 50_000
"""Base bars a page is made from, the vendor's most."""
BAR_LENGTHS = (1, 60, 300, 3_600, 86_400)
_WINDOWS = {1: (1, "second"), 60: (1, "minute"), 300: (5, "minute"), 3_600: (1, "hour"), 86_400: (1, "day")}
_RESOLUTIONS = {1: "1sec", 60: "1min", 300: "5min", 3_600: "1hour", 86_400: "1session"}
_HOUR_S = 3_600


def base_s(bar_s: int) -> int:
    """Give the length of the bars a page's limit counts, seconds.

    >>> [base_s(b) for b in BAR_LENGTHS]
    [1, 60, 60, 60, 86400]
    """
    return {1: 1, 86_400: 86_400}.get(bar_s, 60)


def grid_s(bar_s: int) -> int:
    """Give what starts of windows are multiples of: a day begins at its market's midnight, whole hours of UTC."""
    return min(bar_s, _HOUR_S)


def question(asset_class: AssetClass, symbol: str, bar_s: int, span: Span) -> Question[Aggs]:
    """Ask for the first page of the windows that meet a span; bars are never adjusted for splits.

    Raises
    ------
    CallRefusedError
        Where the vendor has no such name or bar length.
    """
    if bar_s not in BAR_LENGTHS:
        raise CallRefusedError(f"expected bars of {', '.join(map(str, BAR_LENGTHS))} s, was {bar_s} s")
    ticker = _ticker(asset_class, symbol)
    if asset_class is AssetClass.FUTURES:
        return Question(partial(_call_futures, ticker, bar_s, span), partial(_read_futures, bar_s))
    return Question(partial(_call, ticker, bar_s, span), partial(_read, asset_class, symbol, bar_s))


def details(asset_class: AssetClass, symbol: str) -> Question[str]:
    """Ask what the vendor's reference says of a symbol; the answer is its status word.

    Raises
    ------
    CallRefusedError
        Where the vendor has no such name.
    """
    return Question(partial(_call_details, asset_class, _ticker(asset_class, symbol)), verdict.status)


def _ticker(asset_class: AssetClass, symbol: str) -> str:
    try:
        return quote(to_rest(asset_class, symbol), safe=":")
    except DataError as e:
        raise CallRefusedError(str(e)) from e


def _call_details(asset_class: AssetClass, ticker: str, rest: RESTClient) -> Reply:
    if asset_class is AssetClass.FUTURES:
        answer: Reply = rest._get(f"/futures/v1/contracts/{ticker}", raw=True)
    elif asset_class is AssetClass.OPTIONS:
        answer = rest.get_options_contract(ticker, raw=True)
    else:
        answer = rest.get_ticker_details(ticker, raw=True)
    return answer


def _call(ticker: str, bar_s: int, span: Span, rest: RESTClient) -> Reply:
    multiplier, timespan = _WINDOWS[bar_s]
    # Both ends are inclusive, in ms, and snapped outwards to whole windows.
    answer: Reply = rest.get_aggs(
        ticker, multiplier, timespan, span.from_ns // NS_PER_MS, (span.to_ns - 1) // NS_PER_MS,
        adjusted=False, sort="asc", limit=LIMIT, raw=True,
    )  # fmt: skip
    return answer


def _read(asset_class: AssetClass, symbol: str, bar_s: int, body: bytes) -> Aggs:
    page = parse_aggs(body, asset_class, grid_s(bar_s))
    if page.adjusted and len(page.bars):
        raise CallRefusedError(f"expected bars of {symbol} as traded, was adjusted for splits")
    return page


class _Row(msgspec.Struct, gc=False, rename={"t": "window_start"}):
    t: int
    open: float
    high: float
    low: float
    close: float
    volume: float = 0.0
    transactions: float | None = None


class _Page(msgspec.Struct):
    results: list[_Row] | None = None
    next_url: str | None = None


def _call_futures(ticker: str, bar_s: int, span: Span, rest: RESTClient) -> Reply:
    """Ask /futures/v1, which the client of this version spells vX."""
    asked = {
        "resolution": _RESOLUTIONS[bar_s], "window_start.gte": span.from_ns, "window_start.lt": span.to_ns,
        "sort": "window_start.asc", "limit": LIMIT,
    }  # fmt: skip
    answer: Reply = rest._get(f"/futures/v1/aggs/{ticker}", params=asked, raw=True)
    return answer


def _read_futures(bar_s: int, body: bytes) -> Aggs:
    """Read futures as any other aggregates, of which they only spell the fields otherwise."""
    try:
        page = msgspec.json.decode(body, type=_Page)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise DataError("malformed", f"expected a page of futures, was {body[:40]!r}") from e
    rows = [
        {"t": r.t, "o": r.open, "h": r.high, "l": r.low, "c": r.close, "v": r.volume}
        | ({} if r.transactions is None else {"n": r.transactions})
        for r in page.results or []
    ]
    same = msgspec.json.encode({"results": rows, "next_url": page.next_url})
    return parse_aggs(same, AssetClass.FUTURES, grid_s(bar_s))
