"""Measure frames -> BarBatch against a bare decode of the same bytes into the same structs."""

import json
import random
import statistics
import time
from collections.abc import Callable

from features.market.polygon import parse
from features.market.types import AssetClass, SlotTable
from features.market.wire import decoders

_START_MS = 1_789_738_200_000  # 2026-09-18 09:30 New York
_FRAME_BARS = 1_000  # events per frame: some 230 kB, under the 256 KiB the simulator sends at most


def frames(n: int, frame_bars: int = _FRAME_BARS, seed: int = 1) -> list[bytes]:
    """Give one minute of `n` stocks as the venue writes it, in frames of `frame_bars` events."""
    rng = random.Random(seed)  # noqa: S311  (made-up bars)
    events = [_event(f"S{i:05d}", rng) for i in range(n)]
    return [json.dumps(events[i : i + frame_bars], separators=(",", ":")).encode() for i in range(0, n, frame_bars)]


def _event(symbol: str, rng: random.Random) -> dict[str, object]:
    price, volume = rng.uniform(2, 500), rng.randint(100, 90_000)
    low, high = price * 0.998, price * 1.002
    return {
        "ev": "AM",
        "sym": symbol,
        "v": volume,
        "dv": f"{volume}.375",
        "av": volume * 9,
        "dav": f"{volume * 9}.8125",
        "op": round(price, 2),
        "vw": round(rng.uniform(low, high), 4),
        "o": round(rng.uniform(low, high), 4),
        "c": round(rng.uniform(low, high), 4),
        "h": round(high, 4) + 0.0001,
        "l": round(low, 4),
        "a": round(price, 4),
        "z": rng.randint(20, 200),
        "s": _START_MS,
        "e": _START_MS + 60_000,
    }


def run(n: int = 11_000, rounds: int = 20) -> dict[str, float]:
    """Parse `n` minute bars `rounds` times, each round paired with a bare decode of the same bytes.

    Returns
    -------
    dict
        Median milliseconds of both, the median of the paired ratios, and bars per second.
    """
    burst = frames(n)
    decoder = decoders(AssetClass.STOCKS).frame
    table = SlotTable(AssetClass.STOCKS)

    def bare() -> None:
        for frame in burst:
            decoder.decode(frame)

    def whole() -> int:
        return sum(len(b) for frame in burst for b in parse(frame, table, 0, 0).batches)

    if whole() != n:
        raise AssertionError(f"expected {n} bars, was {whole()}")
    bare()
    pairs = [(_seconds(bare), _seconds(whole)) for _ in range(rounds)]
    parse_s = statistics.median(p for _, p in pairs)
    return {
        "bars": n,
        "bytes": sum(map(len, burst)),
        "decode_ms": statistics.median(d for d, _ in pairs) * 1e3,
        "parse_ms": parse_s * 1e3,
        "ratio": statistics.median(p / d for d, p in pairs),
        "bars_per_s": n / parse_s,
    }


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
