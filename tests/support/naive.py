"""What the families compute, said again in plain loops over all bars so far: slow, and obviously right."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np

from features.block import BarBlock
from features.families.profile import Profile

NAN = math.nan
S = 1_000_000_000
NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True)
class Bar:
    ts: int
    end: int
    open: float
    high: float
    low: float
    close: float
    activity: float
    day: date


def bars_of(block: BarBlock, n: int, activity: str, sessions: bool) -> list[Bar]:
    """Give the bars of one series; the absent are left out."""
    return [
        Bar(int(block.ts[t, n]), int(block.ts[t, n]) + block.bar_s * S,
            *(float(getattr(block, name)[t, n]) for name in ("open", "high", "low", "close", activity)),
            day=local(int(block.ts[t, n]), sessions).date())
        for t in range(len(block.ts))
        if not math.isnan(block.close[t, n])
    ]  # fmt: skip


def local(ts: int, sessions: bool) -> datetime:
    return datetime.fromtimestamp(ts // S, NEW_YORK if sessions else UTC)


# norms


def rate_of(n: int, halflife: float) -> float:
    """Give the weight of the n-th value after the sixty first, which count for thirty."""
    return max(1.0 / (31.0 + n), 1.0 - 2.0 ** (-1.0 / halflife))


def clipped(x: float, bound: float) -> float:
    return min(max(x, -bound), bound)


def level_norms(values: list[float], floor: float) -> list[tuple[float, float]]:
    """Give (mean, sd) as known before each value, and once more after the last; NaN before 60 values."""
    out = [(NAN, NAN)] * min(60, len(values) + 1)
    if len(values) < 60:
        return out
    mean = sum(values[:60]) / 60
    away = [abs(values[i] - sum(values[:i]) / i) for i in range(1, 60)]
    var = math.pi / 2 * (sum(away) / len(away)) ** 2
    for n, x in enumerate(values[60:], start=1):
        sd = max(math.sqrt(var), floor)
        out.append((mean, sd))
        a, d = rate_of(n, 1_000.0), clipped(x - mean, 3.0 * sd)
        mean, var = mean + a * d, (1 - a) * (var + a * d * d)
    return [*out, (mean, max(math.sqrt(var), floor))]


def scale_norms(values: list[float], floor: float, clip_sd: float = 3.0, halflife: float = 1_000.0) -> list[float]:
    """Give the rms about zero as known before each value, and once more after the last; NaN before 60 values."""
    out = [NAN] * min(60, len(values) + 1)
    if len(values) < 60:
        return out
    var = math.pi / 2 * (sum(abs(x) for x in values[:60]) / 60) ** 2
    for n, x in enumerate(values[60:], start=1):
        sd = max(math.sqrt(var), floor)
        out.append(sd)
        a = rate_of(n, halflife)
        var = (1 - a) * var + a * clipped(x, clip_sd * sd) ** 2
    return [*out, max(math.sqrt(var), floor)]


# windows


@dataclass(frozen=True)
class Window:
    activity: float
    ref: float
    high: float
    low: float
    close: float
    prev_close: float
    learn: bool
    new_day: bool
    minute: int
    frac: float


def windows(bars: list[Bar], bar_s: int, sessions: bool) -> list[Window]:
    """Give the trailing window of every bar: the bars of its session that ended less than W before it."""
    w = max(bar_s, 60) * S
    out = []
    for i, bar in enumerate(bars):
        before = bars[:i]
        same = [b for b in before if b.day == bar.day] if sessions else before
        inside = [b for b in same if b.end > bar.end - w] + [bar]
        left = [b for b in same if b.end <= bar.end - w]
        first = same[0] if same else bar
        new_day = i > 0 and before[-1].day != bar.day
        clock = local(min(bar.ts, bar.end - w), sessions)
        second = clock.hour * 3_600 + clock.minute * 60 + clock.second
        out.append(Window(
            activity=sum(b.activity for b in inside), ref=left[-1].close if left else first.open,
            high=max(b.high for b in inside), low=min(b.low for b in inside), close=bar.close,
            prev_close=before[-1].close if new_day and sessions else NAN,
            learn=not before or (bar.end - 1) // w > (before[-1].end - 1) // w, new_day=new_day,
            minute=second // 60, frac=second % 60 / 60,
        ))  # fmt: skip
    return out


def between(curve: np.ndarray, at: Window, how: str) -> float:
    """Give a profile's value `frac` of a minute on: levels meet as activity, volatilities as variance."""
    one, two, f = float(curve[at.minute]), float(curve[(at.minute + 1) % 1_440]), at.frac
    if how == "level":
        return math.log((1 - f) * math.exp(one) + f * math.exp(two))
    if how == "vol":
        return math.sqrt((1 - f) * one**2 + f * two**2)
    return (1 - f) * one + f * two


def returns(seen: list[Window], profile: Profile) -> list[dict[str, float]]:
    """Give move, up_z, down_z, move_z, return_sd and the unit sd (time of day taken out) of every bar."""
    learnt: list[float] = []
    out = []
    for w in seen:
        factor = between(profile.vol, w, "vol")
        move, up, down = math.log(w.close / w.ref), math.log(w.high / w.ref), math.log(w.ref / w.low)
        sd = factor * scale_norms(learnt, 1e-4)[-1] if len(learnt) >= 60 else NAN
        out.append({"move": move, "up_z": up / sd, "down_z": down / sd, "move_z": move / sd, "return_sd": sd})
        if w.learn:
            learnt.append(max(up, down) / factor)
    return out


def activity(seen: list[Window], profile: Profile, gain: float) -> list[tuple[float, float]]:
    """Give (z, expected activity) of every bar."""
    learnt: list[float] = []
    out = []
    for w in seen:
        if not w.activity > 0:
            out.append((NAN, NAN))
            continue
        base, factor = between(profile.level, w, "level"), between(profile.spread, w, "spread")
        x = math.log(w.activity) - base
        mean, sd = level_norms(learnt, 0.3)[-1] if len(learnt) >= 60 else (NAN, NAN)
        out.append((gain * (x - mean) / (sd * factor), math.exp(mean + base)))
        if w.learn:
            learnt.append(mean + (x - mean) / factor if len(learnt) >= 60 else x)
    return out


def volatility(seen: list[Window], move_z: list[float]) -> list[float]:
    """Give the short rms of move z, clipped at 5, half-life ten windows, from the 61st on."""
    a, square, count, out = 1 - 2 ** (-1 / 10), 1.0, 0, []
    for w, z in zip(seen, move_z, strict=True):
        if not w.learn or math.isnan(z):
            out.append(NAN)
            continue
        count += 1
        square = (1 - a) * square + a * min(abs(z), 5.0) ** 2
        out.append(math.sqrt(square) if count > 60 else NAN)
    return out


def gaps(
    bars: list[Bar], seen: list[Window], unit_sd: list[float], session_windows: float
) -> list[tuple[float, float]]:
    """Give (gap, z) on a session's first bar."""
    count, var, out = 0, 0.0, []
    for bar, w, sd in zip(bars, seen, unit_sd, strict=True):
        if math.isnan(w.prev_close) or math.isnan(sd):
            out.append((NAN, NAN))
            continue
        gap = math.log(bar.open / w.prev_close)
        prior = 0.8 * sd * math.sqrt(session_windows)
        scale = max(math.sqrt((20 * prior**2 + count * var) / (20 + count)), 1e-3)
        out.append((gap, gap / scale))
        count = min(count + 1, 60)
        var += (clipped(gap, 3 * scale) ** 2 - var) / count
    return out


def trials(bars: list[Bar], seen: list[Window], sessions: bool, session_windows: float) -> list[float]:
    """Give the looks a day: the mean of the last five sessions, or those of the trailing 24 clock hours."""
    out = []
    for i, bar in enumerate(bars):
        before = [b for b, w in zip(bars[:i], seen[:i], strict=True) if w.learn]
        if sessions:
            days = sorted({b.day for b in bars[: i + 1]})
            past = [sum(b.day == d for b in before) for d in days[:-1]][-5:]
            out.append(sum(past) / len(past) if past else session_windows)
            continue
        hour = (bar.end - 1) // (3_600 * S)
        age = min(hour - (bars[0].end - 1) // (3_600 * S), 24)
        recent = sum(hour - 24 < (b.end - 1) // (3_600 * S) for b in before)
        out.append(max(recent * 24 / age, 1.0) if age else session_windows)
    return out


def horizon(bars: list[Bar], window_s: int, horizon_s: int, sessions: bool) -> list[tuple[float, float]]:
    """Give (log move over the horizon, part of it that the session has run)."""
    w, h, out = window_s * S, max(horizon_s, window_s) * S, []
    for i, bar in enumerate(bars):
        same = [b for b in bars[:i] if not sessions or b.day == bar.day]
        first = same[0] if same else bar
        last_of_window = {(b.end - 1) // w: b for b in same}
        old = [b for b in last_of_window.values() if b.end <= bar.end - h]
        ref = old[-1].close if old else first.open
        out.append((math.log(bar.close / ref), min(1.0, (bar.end - (first.end - w)) / h)))
    return out


def cross_section(move: list[float], reach: list[float], market: list[float]) -> list[tuple[float, float, float]]:
    """Give (residual, z, beta) of closed windows."""
    units: list[float] = []
    pairs: list[tuple[float, float]] = []
    weights: list[float] = []
    a = 1 - 2 ** (-1 / 5_000)
    out = []
    for y, part, x in zip(move, reach, market, strict=True):
        if math.isnan(x) or math.isnan(y) or part < 0.05:
            out.append((NAN, NAN, NAN))
            continue
        n = len(pairs)
        sxx = sum(w * p[0] * p[0] for w, p in zip(weights, pairs, strict=True))
        sxy = sum(w * p[0] * p[1] for w, p in zip(weights, pairs, strict=True))
        seen = min(n, 1 / a)
        beta = (seen * sxy / sxx + 240) / (seen + 240) if sxx > 0 else 1.0
        residual = y - beta * x
        ready = n >= 60
        sd = scale_norms(units, 2e-4, 5.0, 5_000.0)[-1] if ready else NAN
        out.append((residual, residual / math.sqrt(part) / sd, beta if ready else NAN))
        pairs.append((x, beta * x + clipped(residual, 3 * sd * math.sqrt(part)) if ready else y))
        units.append(residual / math.sqrt(part))
        weight = max(1.0 / (n + 2.0), a)
        weights = [w * (1 - weight) for w in weights] + [weight]
    return out


# the market


@dataclass
class Last:
    seen: int
    z: float
    z_5: float
    move: float
    gap_z: float = NAN
    gap_at: int = 0


def medians(lasts: list[Last], end: int, gaps_used: int) -> dict[str, float]:
    """Give what the series say together at a close: values carried five minutes, the hour's move ten."""
    active = [v for v in lasts if end - v.seen < 600 * S]
    carried = [v for v in lasts if end - v.seen < 300 * S]
    fresh = [v for v in carried if v.gap_at > gaps_used and end - v.gap_at < 300 * S]
    return {
        "n_active": len(active),
        "move": median([v.move for v in active]) if len(active) >= 3 else NAN,
        "z": median([v.z for v in carried]),
        "z_5": median([v.z_5 for v in carried]),
        "n_gaps": len([v for v in fresh if not math.isnan(v.gap_z)]),
        "gap_z": median([v.gap_z for v in fresh]),
    }


def peer_moves(lasts: dict[str, Last], end: int, sectors: list[list[str]], partners: list[str]) -> list[float]:
    """Give the median hour's move of each sector, then each partner's own, of what was seen within ten minutes."""
    move = {symbol: v.move for symbol, v in lasts.items() if end - v.seen < 600 * S}
    return [median([move.get(s, NAN) for s in listed]) for listed in sectors] + [move.get(p, NAN) for p in partners]


def median(values: list[float]) -> float:
    known = sorted(v for v in values if not math.isnan(v))
    if len(known) < 3:
        return NAN
    half = len(known) // 2
    return known[half] if len(known) % 2 else (known[half - 1] + known[half]) / 2


def median_z(values: list[float], prior: float) -> list[float]:
    """Give each median over its norm: the mean square of those before, clipped, with a prior rms of 0.5."""
    square, count, out = 0.0, 0.0, []
    for m in values:
        if math.isnan(m):
            out.append(NAN)
            continue
        sd = math.sqrt((0.25 * prior + square * count) / (prior + count))
        out.append(m / sd)
        count = min(count + 1, 1 / (1 - 2 ** (-1 / 1_000)))
        square += (clipped(m, 3 * sd) ** 2 - square) / count
    return out
