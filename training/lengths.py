"""Say how long the bars of files are, and which files cannot be of the length a folder is folded at."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.market.quality.lengths import longer_bars
from features.market.types import I64, NS_PER_S

SURE_STEPS = 20
"""What divides so many distances is the length: a thin name's are all even once in 2**20 times."""
FEW_STEPS = 4
"""So many distances are a length where they are alike: a thin name's vary."""
ALIKE_SHARE = 0.9
HALF_DAY_S = 43_200
"""Longer distances lie over a night or a weekend."""
LONGEST_STRETCH_S = 14_400
"""Stretches of more are a thin name's auctions, which keep to a grid too."""
MOST_S = 86_400
"""What --bar can join to."""


@dataclass(frozen=True, slots=True)
class Length:
    """What a file shows of its bars' length.

    Attributes
    ----------
    bar_s
        What the distances between its bars have in common, seconds.
    longest_s
        The length of a stretch of longer bars in it, seconds; `bar_s` where there is none.
    is_sure
        Whether the bars are as long as they look; else they may be a thin name's, of a length that divides `bar_s`.
    """

    bar_s: int
    longest_s: int
    is_sure: bool

    @property
    def is_mixed(self) -> bool:
        """Whether some bars are longer than others."""
        return self.longest_s > self.bar_s

    def misfit(self, folder_s: int, joined_s: int | None) -> str:
        """Say why bars cannot be of a folder's length, or be joined to another one; nothing where they can.

        >>> Length(300, 300, is_sure=True).misfit(60, None)
        "expected bars of 60 s like the folder's, was 300 s: --bar 5m joins the shorter ones"
        >>> Length(300, 300, is_sure=False).misfit(60, None), Length(60, 300, is_sure=True).misfit(60, 600)
        ('', '')
        """
        to_s = joined_s or folder_s
        if self.is_mixed and to_s % self.longest_s:
            was = f"some of {self.bar_s} s and some of {self.longest_s} s"
            return f"expected bars of {to_s} s, was {was}: {_mend(to_s, self.longest_s)}"
        is_of_it = self.bar_s == folder_s if joined_s is None else joined_s % self.bar_s == 0
        if is_of_it or (not self.is_sure and self.bar_s % folder_s == 0):
            return ""
        return f"expected bars of {to_s} s like the folder's, was {self.bar_s} s: {_mend(to_s, self.bar_s)}"


def length_of(ts: I64, bar_s: int) -> Length:
    """Judge the length that was inferred of a file's bars.

    >>> length_of(np.array([0, 5, 10, 15, 20]) * 60 * NS_PER_S, 300).is_sure
    True
    >>> length_of(np.array([0, 5, 15, 20, 40]) * 60 * NS_PER_S, 300).is_sure
    False

    Parameters
    ----------
    ts
        [T] int64, starts of the bars, oldest first, UTC ns.
    bar_s
        What (nearly) all distances are multiples of, seconds.
    """
    steps = np.diff(ts) // NS_PER_S
    near = steps[(steps < HALF_DAY_S) | (steps == bar_s)]
    is_alike = len(near) >= FEW_STEPS and float((near == bar_s).mean()) >= ALIKE_SHARE
    longer = longer_bars(ts, bar_s)[:, 2]
    longest_s = int(longer[longer <= LONGEST_STRETCH_S].max(initial=bar_s))
    return Length(bar_s, longest_s, is_alike or len(steps) >= SURE_STEPS)


def common_s(lengths: Sequence[Length]) -> int:
    """Give the length most files have for sure, seconds, the shortest of several; without any, that of the others."""
    sure = [x for x in lengths if x.is_sure and not x.is_mixed]
    counts = Counter(x.bar_s for x in sure or lengths)
    return min(counts, key=lambda length: (-counts[length], length))


def _mend(one_s: int, other_s: int) -> str:
    """Say what plays bars of both lengths."""
    both_s = math.lcm(one_s, other_s)
    if both_s > MOST_S:
        return "a folder of each length plays them"
    unit, size = next((u, n) for u, n in (("h", 3_600), ("m", 60), ("s", 1)) if both_s % n == 0)
    return f"--bar {both_s // size}{unit} joins the shorter ones"
