"""Say which part of the past is to be brought: what is asked for, what the plan gives, what the store keeps."""

from dataclasses import dataclass
from datetime import UTC, datetime

from features.market.types import NS_PER_S, AssetClass
from ray_apps.errors import UsageError
from ray_apps.ingest.allowed import DAY_NS, Allowed, day_start
from ray_apps.store.partitions import MOST_DAYS, first_kept_day
from ray_apps.words import counted

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for, UTC ns; None: as far as it goes."""

    from_ns: int | None = None
    to_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store keeps: days counted back from its newest bar, if it has one."""

    days: int
    newest_ns: int | None = None


def until(asked: Asked, allowed: Allowed, bar_s: int) -> int:
    """Give where the span ends: windows that start before are over, and given by the plan.

    Raises
    ------
    UsageError
        For a time in the future.
    """
    newest = allowed.newest_ns
    if asked.to_ns is not None:
        if asked.to_ns > allowed.now_ns:
            now = f"{said(allowed.now_ns)} by the vendor's clock"
            raise UsageError(f"--to: expected no later than now, {now}, was {said(asked.to_ns)}")
        newest = min(newest, asked.to_ns)
    return over(allowed.asset_class, bar_s, newest)


def over(asset_class: AssetClass, bar_s: int, at_ns: int) -> int:
    """Give the instant such that the windows that start before it have ended at `at_ns`.

    >>> over(AssetClass.CRYPTO, 300, 700 * NS_PER_S) // NS_PER_S
    600
    """
    if bar_s < _DAY_S:
        return at_ns // (bar_s * NS_PER_S) * bar_s * NS_PER_S
    started = day_start(asset_class, at_ns)
    # A session of futures begins on the evening before its day.
    return started - DAY_NS if asset_class is AssetClass.FUTURES else started


def since(asked: Asked, kept: Kept, to_ns: int) -> int:
    """Give where the span begins: where it is asked to, else where the store's retention does.

    Raises
    ------
    UsageError
        For bars the store would drop, and for a span that ends before it begins.
    """
    newest = max(kept.newest_ns or 0, to_ns - 1)
    first = first_kept_day(newest, min(kept.days, MOST_DAYS)) * DAY_NS
    from_ns = first if asked.from_ns is None else asked.from_ns
    if from_ns < first:
        why = f"older bars are dropped after {counted(kept.days, 'day')}"
        mend = ": raise retention_days (TAPEWATCH_RETENTION_DAYS) to keep them"
        if kept.days > MOST_DAYS:
            why, mend = f"the store holds {MOST_DAYS} days", ""
        raise UsageError(f"--from: expected {said(first)} or later, for {why}, was {said(from_ns)}{mend}")
    if from_ns >= to_ns and asked.from_ns is None:
        raise too_early(from_ns, to_ns, "the oldest the store keeps")
    if asked.to_ns is not None and from_ns >= asked.to_ns:
        raise UsageError(f"--from: expected before --to, {said(asked.to_ns)}, was {said(from_ns)}")
    if from_ns >= to_ns:
        raise UsageError(f"--from: expected before {said(to_ns)}, the end of what can be had, was {said(from_ns)}")
    return from_ns


def too_early(from_ns: int, to_ns: int, why: str) -> UsageError:
    """Give the error of an end before the beginning that nobody asked for."""
    return UsageError(f"--to: expected after {said(from_ns)}, {why}, was {said(to_ns)}")


def said(ns: int) -> str:
    """Write an instant for people.

    >>> said(1_789_738_200_000_000_000)
    '2026-09-18 13:30 UTC'
    """
    return f"{datetime.fromtimestamp(ns // NS_PER_S, UTC):%Y-%m-%d %H:%M} UTC"
