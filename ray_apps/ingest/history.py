"""Read the vendor's past of one asset class: bars page by page, of one series or of many at once, and names."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import dataclass
from itertools import islice

import msgspec
import numpy as np
from polygon import RESTClient

from features.market.bars import BarColumns
from features.market.errors import DataError
from features.market.symbols import from_rest
from features.market.types import NS_PER_S, AssetClass
from ray_apps.ingest.calls import Calls, Question, Reply
from ray_apps.ingest.pages import details, grid_s, question
from ray_apps.ingest.plan import HistoryPlan
from ray_apps.ingest.verdict import CallRefusedError, HistoryError, NotThereError, OutsidePlanError, VendorAwayError
from ray_apps.store.backfills import Span

NAMES_A_PAGE = 1_000
_MARKETS = {
    AssetClass.STOCKS: "stocks", AssetClass.CRYPTO: "crypto", AssetClass.FOREX: "fx", AssetClass.INDICES: "indices",
}  # fmt: skip
ONE_SYMBOLS = (CallRefusedError, OutsidePlanError, VendorAwayError)
"""Errors that concern one symbol: the next may do better."""


@dataclass(frozen=True, slots=True)
class Page:
    """All there is of a series in a part of the span asked for.

    Attributes
    ----------
    symbol
        In our spelling.
    span
        Which part: pages follow each other without a gap.
    bars
        Oldest first, one a window.
    errors
        Bars that could not be used, by reason.
    failure
        Why the rest of this symbol's span will not come; None while all is well.
    """

    symbol: str
    span: Span
    bars: BarColumns
    errors: Counter[str]
    failure: HistoryError | None = None


class History:
    """The vendor's past of one asset class; close it when done.

    Parameters
    ----------
    plan
        Where to ask, how often, how long to wait.
    """

    def __init__(self, plan: HistoryPlan) -> None:
        self.plan = plan
        self.calls = Calls(plan)

    async def bars(self, symbol: str, bar_s: int, from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        """Give the bars whose windows start in [from_ns, to_ns), in time order; a symbol nobody knows has none.

        Raises
        ------
        HistoryError
            When the vendor refuses or gives no usable answer; what was given before stands.
        StoreUnavailableError
            When the database that counts the calls is away.
        """
        at, step_ns = from_ns, grid_s(bar_s) * NS_PER_S
        while at < to_ns:
            page = await self.calls.ask(question(self.plan.asset_class, symbol, bar_s, Span(at, to_ns)))
            bars, n_repeats = in_order(page.bars)
            errors = page.errors + Counter({"duplicate": n_repeats} if n_repeats else {})
            end = to_ns
            if page.next_url is not None:  # never followed: it may lead elsewhere, and forgets what was asked
                last = int(bars.ts[-1]) if len(bars) else -1
                if last < at:
                    raise VendorAwayError(f"expected bars of {symbol} from {at} ns on, as more pages follow, was none")
                end = min(last + step_ns, to_ns)
            yield Page(symbol, Span(at, end), bars.take((bars.ts >= at) & (bars.ts < to_ns)), errors)
            at = end

    async def many(self, symbols: Iterable[str], bar_s: int, from_ns: int, to_ns: int) -> AsyncGenerator[Page, None]:
        """Give the bars of many symbols in one span, several symbols in flight, each in time order.

        At most one page a symbol in flight is held. A symbol the vendor does not give ends with a page that says
        why. Close the iterator (`contextlib.aclosing`) where it is not read to its end.

        Raises
        ------
        HistoryError
            When the vendor refuses the key or the market.
        StoreUnavailableError
            As in `bars`.
        """
        waiting = (self._until_failure(symbol, bar_s, from_ns, to_ns) for symbol in symbols)
        flying = {_next(one): one for one in islice(waiting, self.plan.in_flight)}
        try:
            while flying:
                arrived, _ = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                for task in arrived:
                    page = task.result()
                    one = flying.pop(task)
                    for follower in (one,) if page is not None else islice(waiting, 1):
                        flying[_next(follower)] = follower
                    if page is not None:
                        yield page
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)
            for one in flying.values():
                await one.aclose()

    async def _until_failure(self, symbol: str, bar_s: int, from_ns: int, to_ns: int) -> AsyncGenerator[Page, None]:
        at = from_ns
        try:
            async for page in self.bars(symbol, bar_s, from_ns, to_ns):
                at = page.span.to_ns
                yield page
        except ONE_SYMBOLS as e:
            yield Page(symbol, Span(at, to_ns), none(), Counter(), e)

    async def names(self) -> AsyncIterator[list[str]]:
        """Give the symbols of the class that trade today, in our spelling, a page at a time.

        Raises
        ------
        CallRefusedError
            Of options and futures, whose lists the vendor keeps by underlying and product.
        """
        asset_class = self.plan.asset_class
        market = _MARKETS.get(asset_class)
        if market is None:
            raise CallRefusedError(f"expected symbols of {asset_class} by name, was all: the vendor has no such list")
        after: str | None = None

        def call(rest: RESTClient) -> Reply:
            answer: Reply = rest.list_tickers(
                market=market, active=True, ticker_gt=after, sort="ticker", order="asc", limit=NAMES_A_PAGE, raw=True
            )
            return answer

        while True:
            page = await self.calls.ask(Question(call, _tickers))
            yield [name for row in page.results if (name := _name(asset_class, row))]
            if page.next_url is None or not page.results:
                return
            after = page.results[-1].ticker

    async def knows(self, symbol: str) -> bool:
        """Say whether the vendor lists a symbol today; one call.

        Raises
        ------
        HistoryError
            When it does not say.
        """
        try:
            await self.calls.ask(details(self.plan.asset_class, symbol))
        except NotThereError:
            return False
        return True

    async def close(self) -> None:
        """Make no more calls."""
        await self.calls.close()


class _Ticker(msgspec.Struct):
    ticker: str
    base_currency_symbol: str | None = None
    currency_symbol: str | None = None


class _Tickers(msgspec.Struct):
    results: list[_Ticker] = []
    next_url: str | None = None


def _tickers(body: bytes) -> _Tickers:
    try:
        return msgspec.json.decode(body, type=_Tickers)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise DataError("malformed", f"expected a page of tickers, was {body[:40]!r}") from e


def _name(asset_class: AssetClass, row: _Ticker) -> str | None:
    """Give our spelling, None of a name that has none: it could not be stored."""
    try:
        return from_rest(asset_class, row.ticker, row.base_currency_symbol, row.currency_symbol)
    except DataError:
        return None


def _next(pages: AsyncGenerator[Page, None]) -> asyncio.Task[Page | None]:
    async def one() -> Page | None:
        return await anext(pages, None)

    return asyncio.create_task(one())


def none() -> BarColumns:
    """Give no bars."""
    empty = np.empty(0)
    return BarColumns(np.empty(0, np.int64), empty, empty, empty, empty, empty, empty, empty)


def in_order(bars: BarColumns) -> tuple[BarColumns, int]:
    """Give bars oldest first and one a window, the last that was said of it, and how many were said again.

    >>> some = np.array([3.0, 1.0, 2.0])
    >>> found, n = in_order(BarColumns(np.array([60, 0, 60]), *[some] * 7))
    >>> found.ts, found.close, n
    (array([ 0, 60]), array([1., 2.]), 1)
    """
    if len(bars) < 2 or bool((np.diff(bars.ts) > 0).all()):
        return bars, 0
    order = np.argsort(bars.ts, kind="stable")
    is_last = np.append(np.diff(bars.ts[order]) > 0, True)
    kept = bars.take(order[is_last])
    return kept, len(bars) - len(kept)
