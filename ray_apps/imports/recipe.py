"""Understand files from their first rows: columns, clock, symbol, length of the bars."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from features.market.symbols import EXAMPLES
from features.market.types import AssetClass
from ray_apps.imports.errors import QuestionError
from ray_apps.imports.layout import Layout, layout_of
from ray_apps.imports.lengths import FEW_STEPS, SURE_STEPS, Length, length_of
from ray_apps.imports.pieces import Piece, heading_of, pieces
from ray_apps.imports.place import Place
from ray_apps.imports.sift import Bars, Limits, Sift
from ray_apps.imports.spelling import likely_pair, named_after
from ray_apps.imports.times import Clock, clock_of
from ray_apps.imports.told import Told, pair_of
from ray_apps.store.files import FileError

SAMPLE_PART = 4
"""Of a usual piece: about 16,000 rows."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one file is to be read.

    Attributes
    ----------
    symbol
        Whose bars they are; None where each row says.
    length
        What the first rows say of the bars' length.
    bar_s
        The length they are taken to have, seconds.
    first_ns
        Start of the oldest bar among the first rows, UTC ns.
    n_symbols
        Different ones among the first rows.
    """

    place: Place
    layout: Layout
    clock: Clock
    symbol: str | None
    length: Length
    bar_s: int
    first_ns: int
    n_symbols: int


def understand(place: Place, told: Told, limits: Limits) -> Recipe:
    """Read a file's first rows and say how the rest is to be read; `bar_s` is 0 where that is not told yet.

    Raises
    ------
    QuestionError
        When it can be read in more than one way.
    FileError
        When it cannot be read at all.
    """
    layout = _layout(place, told)
    symbol = _symbol(place, layout, told)
    piece = next(pieces(place, layout, SAMPLE_PART), None)
    if piece is None:
        raise FileError(f"{place.name}: expected rows of bars, was a header alone")
    clock = _clock(place, layout, piece, told)
    bars = Sift(clock, replace(told, symbol=None), symbol, limits, 0).take(piece)
    if not len(bars):
        raise FileError(_nothing_left(place, bars))
    length = _length(bars, told, symbol)
    _refuse_mixed(place, layout, length)
    first_ns = int(bars.columns().ts.min())
    return Recipe(place, layout, clock, symbol, length, told.bar_s or 0, first_ns, len(bars.names))


def is_nameless(place: Place, told: Told) -> bool:
    """Say whether a file has no column of symbols; False for one that cannot be read."""
    try:
        return "symbol" not in _layout(place, told).columns
    except FileError:
        return False


def which_of(place: Place, told: Told, n: int) -> QuestionError:
    """Ask whose bars a file has where one symbol is told of `n` files that name none."""
    pair, said = _answer(place, told.asset_class)
    return QuestionError(
        f"{place.name}: which symbol of {told.asset_class} is it? --symbol {told.symbol}: expected one file without "
        f"symbols of its own, was {n:,}: --symbol {said}, or --symbol '*={told.symbol}' where it is that of all",
        pair,
    )


def with_lengths(recipes: Sequence[Recipe], told: Told) -> list[Recipe | FileError]:
    """Give the recipes with the length of their bars; a file too short to say takes that of the others.

    A QuestionError stands for one whose length nothing tells.
    """
    votes = Counter(r.length.bar_s for r in recipes if r.length.is_sure)
    common_s = min(votes, key=lambda length: (-votes[length], length or 0)) if votes else None
    return [_with_length(r, told, common_s) for r in recipes]


def _with_length(recipe: Recipe, told: Told, common_s: int | None) -> Recipe | FileError:
    length, name = recipe.length, recipe.place.name
    if told.bar_s is not None:
        if length.is_sure and length.bar_s != told.bar_s:
            return FileError(f"{name}: expected bars of {told.bar_s} s as --bar says, was {length.bar_s} s")
        return replace(recipe, bar_s=told.bar_s)
    if length.bar_s is not None:
        if length.is_sure:
            return replace(recipe, bar_s=length.bar_s)
        if common_s is not None and length.bar_s % common_s == 0:
            return replace(recipe, bar_s=common_s)
        if length.is_likely:
            return replace(recipe, bar_s=length.bar_s)
    elif common_s is not None:
        return replace(recipe, bar_s=common_s)
    said = f"They start {length.bar_s} s apart" if length.bar_s else "No distance between them is usual"
    if length.n_steps < FEW_STEPS:
        said = "They are too few to say"
    return QuestionError(f"{name}: how long are the bars? {said}: --bar 1m, say")


def _symbol(place: Place, layout: Layout, told: Told) -> str | None:
    if "symbol" in layout.columns:
        return None
    found = told.symbol or named_after(told.asset_class, place.stem)
    if found is None:
        pair, said = _answer(place, told.asset_class)
        spelled = f"as {EXAMPLES[told.asset_class]} would"
        why = "Its name is not spelled BASE-QUOTE" if pair else f"Neither a column nor the name says, {spelled}"
        raise QuestionError(f"{place.name}: which symbol of {told.asset_class} is it? {why}: --symbol {said}", pair)
    return found


def _answer(place: Place, asset_class: AssetClass) -> tuple[str, str]:
    """Give FILE=NAME as the file's name has it, or nothing, and how to write it in a shell."""
    found = named_after(asset_class, place.stem)
    if found is None and asset_class is AssetClass.CRYPTO:
        found = likely_pair(place.stem)
    pair = pair_of(place.label, found) if found else ""
    return pair, shlex.quote(pair or pair_of(place.label, "NAME"))


def _layout(place: Place, told: Told) -> Layout:
    heading = heading_of(place)
    layout = layout_of(place.name, heading.names, told.columns, told.asset_class)
    return replace(layout, separator=heading.separator)


def _clock(place: Place, layout: Layout, piece: Piece, told: Told) -> Clock:
    kind = piece.times.type
    is_ours = layout.columns["t"] == "t" and pa.types.is_timestamp(kind)
    if len(piece.times):
        return clock_of(place.name, piece.times, told.unit, told.zone, is_ours)
    first = piece.rows.messages[0] if piece.rows.messages else f"{place.name}: expected rows of bars, was none"
    raise FileError(f"{place.name}: expected a good row, was none; first: {first.removeprefix(place.name + ':')}")


def _length(bars: Bars, told: Told, symbol: str | None) -> Length:
    """Infer the length; where one symbol of several is taken, that of its bars, if they say."""
    row, t = bars.rows.columns["row"], bars.rows.columns["t"]
    length = length_of(told.asset_class, row, t)
    if symbol is not None or told.symbol is None:
        return length
    mine = row == (bars.names.index(told.symbol) if told.symbol in bars.names else -1)
    own = length_of(told.asset_class, row[mine], t[mine])
    return own if own.is_likely else replace(length, n_steps=min(length.n_steps, SURE_STEPS - 1), other_s=None)


def _refuse_mixed(place: Place, layout: Layout, length: Length) -> None:
    if length.other_s is None:
        return
    mend = ": --symbol NAME takes one" if "symbol" in layout.columns else ": split the file, each part with its --bar"
    raise QuestionError(
        f"{place.name}: which length have the bars, {length.bar_s} s or {length.other_s} s? It has both{mend}"
    )


def _nothing_left(place: Place, bars: Bars) -> str:
    rows = bars.rows
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in rows.refused.most_common())
    first = f"; first: {rows.messages[0].removeprefix(f'{place.name}:')}" if rows.messages else ""
    return f"{place.name}: expected rows of bars, was none good among the first ({reasons}){first}"
