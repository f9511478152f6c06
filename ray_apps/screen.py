"""What a person sees in the terminal of `tapewatch up`."""

import sys
from collections.abc import Sequence

from features.market.types import NS_PER_S
from ray_apps.sinks.console import Said, tape_line

MINUTE_NS = 60 * NS_PER_S
BARS_A_LOOK = 4
"""Bars shown per look and class: a sample, so that one sees it live and can still read."""


class Screen:
    """Writes lines; colours them where the output is a terminal."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()

    def line(self, text: str) -> None:
        """Write a line."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def step(self, name: str, seconds: float) -> None:
        """Say that a part is up."""
        self.line(f"  {name:<12} up in {seconds:4.1f} s")

    def where(self, name: str, place: str) -> None:
        """Say where a part is, or how it is."""
        self.line(f"  {name:<12} {place}")

    def feed(self, asset_class: str, said: str) -> None:
        """Say how a feed is."""
        self.where(f"{asset_class} feed", said)

    def bars(self, bars: Sequence[tuple[int, str, float, float, int]]) -> None:
        """Show a few of the bars."""
        for _, symbol, close, volume, ts in bars[:BARS_A_LOOK]:
            self.line(tape_line(symbol, close, volume, ts + MINUTE_NS))

    def alert(self, said: Said) -> None:
        """Show what the console sink says, so that it cannot be missed."""
        self.line(f"\x1b[1;31m{said.text}\x1b[0m" if self._is_terminal else said.text)
