"""Name the symbols of a synthetic universe: well-known ones first, made-up ones after."""

from collections.abc import Iterator
from itertools import islice

from features.market.types import AssetClass

# Ticker and an invented but plausible base price; the order is the rank by activity.
STOCKS: dict[str, float] = {
    "AAPL": 245, "MSFT": 512, "NVDA": 178, "TSLA": 340, "AMZN": 228, "AMD": 162, "META": 735,
    "GOOGL": 244, "PLTR": 171, "INTC": 29, "BAC": 51, "F": 11.7, "SOFI": 27, "AVGO": 345, "NFLX": 1190,
    "PFE": 24.6, "T": 29.2, "WMT": 103, "DIS": 117, "CSCO": 67.5, "XOM": 113, "JPM": 305, "KO": 67,
    "C": 99, "WFC": 82, "MU": 158, "UBER": 95, "ORCL": 292, "CRM": 246, "NKE": 73, "QCOM": 165,
    "BA": 216, "VZ": 44, "PYPL": 68, "COIN": 322, "SHOP": 148, "SNAP": 7.9, "HOOD": 117, "MARA": 18.4,
    "RIVN": 14.5, "GOOG": 245, "CVX": 157, "MRK": 82, "ABBV": 219, "JNJ": 177, "PG": 157, "HD": 415,
    "COST": 948, "V": 340, "MA": 586, "UNH": 345, "LLY": 750, "PEP": 142, "ADBE": 363, "TXN": 183,
    "IBM": 262, "GE": 290, "CAT": 438, "MCD": 306, "SBUX": 84, "GS": 796, "MS": 158, "SCHW": 93,
    "BLK": 1115, "AXP": 333, "LOW": 270, "TGT": 89, "AMAT": 172, "LRCX": 118, "KLAC": 972, "ADI": 247,
    "PANW": 201, "CRWD": 446, "SNOW": 225, "DDOG": 137, "NET": 219, "ZS": 282, "MRNA": 24.5,
    "GILD": 113, "AMGN": 276, "BMY": 46, "CVS": 75, "TMO": 480, "DHR": 189, "ABT": 133, "MDT": 94,
    "LMT": 474, "RTX": 157, "NOC": 585, "GD": 326, "DE": 472, "HON": 210, "UPS": 84, "FDX": 231,
    "DAL": 59, "UAL": 105, "AAL": 12.6, "LUV": 31.5, "CCL": 31, "RCL": 334, "MAR": 265, "ABNB": 122,
    "BKNG": 5480, "GM": 58.6, "TM": 199, "LCID": 20.8, "NIO": 7.2, "XPEV": 21.5, "BABA": 162, "JD": 34,
    "PDD": 129, "BIDU": 136, "SLB": 35.4, "OXY": 46, "COP": 93, "MPC": 184, "VLO": 163, "FCX": 46,
    "NEM": 80, "CLF": 11.9, "AA": 32.4, "DVN": 35, "KMI": 27, "WMB": 59, "ET": 17.3, "NEE": 71,
    "DUK": 121, "SO": 92, "D": 60, "AEP": 107, "EXC": 43, "BRK.B": 492, "BRK.A": 738000, "SPY": 662,
    "QQQ": 599, "IWM": 242, "DIA": 462, "TLT": 89, "GLD": 339,
}  # fmt: skip

CRYPTO: dict[str, float] = {
    "BTC": 64200, "ETH": 3120, "SOL": 146, "XRP": 0.58, "DOGE": 0.124, "ADA": 0.44, "AVAX": 27.4,
    "LINK": 14.2, "LTC": 72.5, "BCH": 361, "DOT": 6.12, "SHIB": 0.0000178, "UNI": 8.05, "ATOM": 6.4,
    "XLM": 0.101, "ETC": 21.3, "NEAR": 5.1, "APT": 7.4, "ARB": 0.72, "OP": 1.81, "FIL": 4.4, "ICP": 8.7,
    "HBAR": 0.071, "AAVE": 104, "ALGO": 0.142, "GRT": 0.196, "SAND": 0.311, "MANA": 0.329, "AXS": 5.7,
    "EOS": 0.58, "XTZ": 0.78, "MKR": 2480, "SNX": 1.92, "CRV": 0.297, "COMP": 51, "ZEC": 23.4,
    "DASH": 26.5, "CHZ": 0.071, "ENJ": 0.162, "BAT": 0.196, "1INCH": 0.381, "SUSHI": 0.79, "YFI": 6150,
    "ZRX": 0.361, "KNC": 0.57, "BAND": 1.31, "STORJ": 0.49, "ANKR": 0.0271, "SKL": 0.0443, "OXT": 0.081,
    "NMR": 17.2, "LRC": 0.171, "FET": 1.38, "INJ": 22.6, "SUI": 0.93, "SEI": 0.371, "TIA": 6.7,
    "PEPE": 0.0000114, "WIF": 2.21, "BONK": 0.0000241,
}  # fmt: skip

# Currency and its price in US dollars: a pair's base price is the quotient.
CURRENCIES: dict[str, float] = {
    "EUR": 1.1732, "USD": 1.0, "JPY": 0.00677, "GBP": 1.3475, "CHF": 1.2561, "AUD": 0.6592,
    "CAD": 0.7257, "NZD": 0.5861, "CNH": 0.1405, "HKD": 0.1286, "SGD": 0.7791, "SEK": 0.1063,
    "NOK": 0.1008, "DKK": 0.1572, "MXN": 0.0544, "ZAR": 0.0577, "TRY": 0.0242, "PLN": 0.2754,
    "CZK": 0.0482, "HUF": 0.0030, "ILS": 0.2993, "THB": 0.0314, "INR": 0.0113, "KRW": 0.000717,
    "BRL": 0.1879, "PHP": 0.0175, "IDR": 0.0000602, "TWD": 0.0331,
}  # fmt: skip

INDICES: dict[str, float] = {
    "SPX": 6605, "NDX": 24350, "DJI": 46100, "RUT": 2420, "VIX": 16.4, "COMP": 22470, "OEX": 3290,
    "XSP": 660.5, "MID": 3290, "SML": 1460, "TNX": 41.2, "SOX": 6080, "XAU": 268, "DJT": 15400,
    "DJU": 1080, "BKX": 152,
}  # fmt: skip

FUTURES: dict[str, float] = {
    "ES": 6620, "NQ": 24400, "YM": 46200, "RTY": 2430, "CL": 63.4, "GC": 3680, "SI": 42.6, "NG": 2.94,
    "ZN": 113, "ZB": 117, "ZC": 424, "ZS": 1038, "ZW": 522, "HG": 4.62, "6E": 1.178, "6J": 0.0068,
    "PL": 1390, "RB": 2.01, "HO": 2.31, "LE": 232, "HE": 98, "KE": 510,
}  # fmt: skip

_CONTRACT_MONTHS = ("Z26", "H27", "M27", "U27", "Z27", "H28", "M28", "U28")
_EXPIRIES = ("261218", "270115", "270319", "270618", "271217")
# A number coprime to 26^4 walks all four-letter codes once, in an order without visible pattern.
_LETTER_CODES = 26**4
_STRIDE = 174_763


def _made_up(taken: set[str]) -> Iterator[str]:
    """Give four-letter codes that are not taken.

    >>> list(islice(_made_up(set()), 3))
    ['JYNR', 'TXBI', 'DVOZ']
    """
    for i in range(1, _LETTER_CODES):
        n = i * _STRIDE % _LETTER_CODES
        code = "".join(chr(65 + n // 26**k % 26) for k in (3, 2, 1, 0))
        if code not in taken:
            yield code


def _made_up_price(code: str, low: float, ratio: float) -> float:
    """Give a base price between `low` and `low * ratio`, log-uniform over the letters of a code."""
    u = sum((ord(c) - 65) / 26.0 ** (k + 1) for k, c in enumerate(reversed(code)))
    return float(low * ratio**u)


def _stocks() -> Iterator[tuple[str, float]]:
    yield from STOCKS.items()
    for code in _made_up(set(STOCKS)):
        yield code, _made_up_price(code, 2.0, 150.0)


def _crypto() -> Iterator[tuple[str, float]]:
    for coin, price in CRYPTO.items():
        yield f"{coin}-USD", price
    for code in _made_up(set(CRYPTO)):
        yield f"{code}-USD", _made_up_price(code, 0.002, 20_000.0)


def _forex() -> Iterator[tuple[str, float]]:
    codes = list(CURRENCIES)
    for i, quote in enumerate(codes[1:], start=1):
        for base in codes[:i]:
            yield f"{base}/{quote}", CURRENCIES[base] / CURRENCIES[quote]


def _indices() -> Iterator[tuple[str, float]]:
    for name, price in INDICES.items():
        yield f"I:{name}", price
    for code in _made_up(set(INDICES)):
        yield f"I:{code}", _made_up_price(code, 50.0, 200.0)


def _options() -> Iterator[tuple[str, float]]:
    for expiry in _EXPIRIES:
        for step in range(-10, 11):
            for root, price in STOCKS.items():
                if "." in root or price < 10:
                    continue
                strike = round(price * (1 + 0.02 * step))
                for side in "CP":
                    intrinsic = max((price - strike) * (1 if side == "C" else -1), 0.0)
                    yield f"O:{root}{expiry}{side}{strike * 1000:08d}", intrinsic + 0.04 * price


def _futures() -> Iterator[tuple[str, float]]:
    for month in _CONTRACT_MONTHS:
        for root, price in FUTURES.items():
            yield f"{root}{month}", price


_NAMES = {
    AssetClass.STOCKS: _stocks,
    AssetClass.CRYPTO: _crypto,
    AssetClass.FOREX: _forex,
    AssetClass.INDICES: _indices,
    AssetClass.OPTIONS: _options,
    AssetClass.FUTURES: _futures,
}


def names(asset_class: AssetClass, n: int) -> list[tuple[str, float]]:
    """Give the first `n` symbols (our spelling) of a class with their base prices, busiest first.

    >>> names(AssetClass.CRYPTO, 2)
    [('BTC-USD', 64200), ('ETH-USD', 3120)]
    >>> names(AssetClass.STOCKS, 12_000)[-1][0]
    'BEUH'
    """
    found = list(islice(_NAMES[asset_class](), n))
    if len(found) < n:
        raise ValueError(f"expected at most {len(found)} symbols of {asset_class}, was {n}")
    return found
