"""Say how a synthetic tape looks: every number that shapes its bars, by name and unit."""

from dataclasses import dataclass, replace

from features.market.types import AssetClass


@dataclass(frozen=True, slots=True)
class TapeShape:
    """The numbers behind a tape. Logs are natural; "sd" is a standard deviation.

    The defaults are fitted to the frozen tails of the detectors, which are those of real bars: a plain tape gives
    each kind its p-values (`tests/features/test_calibration.py`). Each number moves one of them most: moves
    `tail_exponent`; the hour's residual the size and persistence of the volatility; short volatility its tail; bursts
    and volume the activity's noise and couplings; the market its own exponent; gaps `overnight_share`.

    Attributes
    ----------
    tail_exponent
        Exponent k of the power law P(|move| > x) ~ x^-k of a symbol's own one-minute move; above 2.
    market_tail_exponent
        The same for the market's and the sectors' moves.
    daily_vol
        Median over symbols of the sd of a full day's log price move, overnight included.
    daily_vol_spread
        Sd over symbols of the log of that.
    overnight_share
        Share of a day's variance that falls between two sessions (0 for classes round the clock).
    reversion_days
        Days in which a price's distance from its base price halves; keeps prices plausible for years.
    market_share, sector_share
        Median share of a minute's variance explained by the market and by the symbol's sector.
    loading_spread
        Sd over symbols of the log of the loadings on both.
    sectors
        Number of sectors.
    vol_persistence, vol_size
        AR(1) coefficient per minute, and stationary sd, of a symbol's log volatility.
    vol_tail_exponent
        Exponent of the tail of that volatility's innovations: news comes at once.
    market_vol_size
        Stationary sd of the market's log volatility (same persistence); moves all symbols.
    day_vol_persistence, day_vol_size
        The same two per day: calm and nervous weeks.
    open_noise
        Sd of a bar's open around the last price, in sd of a minute's move.
    wick
        Volatility inside a bar in sd of a minute's move: 1 = a Brownian path.
    wick_coupling
        How much a large move widens its own bar, in units of the move itself.
    activity_top
        Expected trades per minute of the busiest symbol at the day's mean level.
    activity_scale, activity_slope
        Expected trades of the symbol of rank i fall as (1 + i / scale)^-slope.
    activity_spread
        Sd over symbols of log expected trades around that law.
    activity_persistence, activity_size
        AR(1) coefficient per minute, and stationary sd, of a symbol's log activity.
    activity_noise, activity_tail_exponent
        Sd of log activity that lasts one minute only, and the exponent of its tail.
    activity_vol_coupling
        Log activity per unit of log volatility.
    activity_return_coupling
        Log activity per unit of log(1 + (move / sd)^2).
    activity_day_size
        Sd of log activity from day to day.
    thin_share
        Share of symbols that miss minutes.
    thin_trades_low, thin_trades_high
        Range (log-uniform over symbols) of expected trades per minute of these.
    trade_size
        Median over symbols of the average trade: shares or contracts; for crypto, US dollars.
    trade_size_spread
        Sd over symbols of its log.
    trade_size_noise
        Sd of the log average size of a bar of one trade; falls with the root of the trades.
    cycle_vol, cycle_activity
        Round-the-clock classes: height of the daily wave in log volatility and log activity.
    """

    tail_exponent: float = 3.35
    market_tail_exponent: float = 7.0
    daily_vol: float = 0.022
    daily_vol_spread: float = 0.35
    overnight_share: float = 0.12
    reversion_days: float = 20.0
    market_share: float = 0.18
    sector_share: float = 0.07
    loading_spread: float = 0.25
    sectors: int = 11
    vol_persistence: float = 0.9985
    vol_size: float = 0.52
    vol_tail_exponent: float = 2.7
    market_vol_size: float = 0.08
    day_vol_persistence: float = 0.93
    day_vol_size: float = 0.15
    open_noise: float = 0.08
    wick: float = 0.5
    wick_coupling: float = 0.1
    activity_top: float = 1_600.0
    activity_scale: float = 30.0
    activity_slope: float = 0.9
    activity_spread: float = 0.5
    activity_persistence: float = 0.97
    activity_size: float = 0.15
    activity_noise: float = 0.32
    activity_tail_exponent: float = 6.0
    activity_vol_coupling: float = 0.2
    activity_return_coupling: float = 0.88
    activity_day_size: float = 0.15
    thin_share: float = 0.15
    thin_trades_low: float = 0.15
    thin_trades_high: float = 2.0
    trade_size: float = 70.0
    trade_size_spread: float = 0.4
    trade_size_noise: float = 0.6
    cycle_vol: float = 0.0
    cycle_activity: float = 0.0

    def __post_init__(self) -> None:
        if min(self.tail_exponent, self.market_tail_exponent) <= 2:
            raise ValueError(f"expected tail exponents above 2 (finite variance), was {self.tail_exponent}")
        if not 0 <= self.market_share + self.sector_share < 1:
            raise ValueError(f"expected market and sector shares below 1, was {self.market_share + self.sector_share}")
        for name in ("vol_persistence", "activity_persistence", "day_vol_persistence", "overnight_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"expected {name} in [0, 1), was {getattr(self, name)}")


_STOCKS = TapeShape()
_CRYPTO = replace(
    _STOCKS,
    tail_exponent=3.5,
    vol_size=0.55,
    daily_vol=0.045,
    overnight_share=0.0,
    market_share=0.25,
    sector_share=0.05,
    activity_top=900.0,
    activity_scale=12.0,
    activity_slope=0.95,
    activity_size=0.2,
    activity_noise=0.6,
    activity_tail_exponent=4.5,
    activity_vol_coupling=0.3,
    activity_return_coupling=0.6,
    trade_size=350.0,
    cycle_vol=0.1,
    cycle_activity=0.3,
)

SHAPES: dict[AssetClass, TapeShape] = {
    AssetClass.STOCKS: _STOCKS,
    AssetClass.CRYPTO: _CRYPTO,
    AssetClass.FOREX: replace(
        _CRYPTO,
        daily_vol=0.006,
        activity_top=600.0,
        trade_size=1.0,
        trade_size_spread=0.0,
        trade_size_noise=0.0,
        thin_share=0.1,
    ),
    AssetClass.INDICES: replace(
        _STOCKS, daily_vol=0.011, market_share=0.6, sector_share=0.1, activity_top=60.0, thin_share=0.0
    ),
    AssetClass.OPTIONS: replace(
        _STOCKS, daily_vol=0.25, activity_top=80.0, activity_scale=50.0, thin_share=0.5, trade_size=4.0
    ),
    AssetClass.FUTURES: replace(
        _CRYPTO, daily_vol=0.012, activity_top=900.0, trade_size=3.0, thin_share=0.1, cycle_activity=0.8
    ),
}
"""One shape per class: orders of magnitude of the real markets, not fits of any vendor's data."""
