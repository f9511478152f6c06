"""Judge bars of files: one after the other, with what their reader refused."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from features.market.bars import COLUMN_NAMES, BarColumns
from features.market.quality.days import trading_days
from features.market.quality.series import Frame, judge_series
from features.market.quality.summary import Quality, Survey
from features.market.types import NS_PER_S, AssetClass
from ray_apps.errors import UsageError, UserError
from ray_apps.quality.wish import MOST_WINDOWS, Wish, framed, n_windows, said, sessions_of
from ray_apps.store.files import FileError, SeriesFile, list_files, read_bars, symbol_of


@dataclass(frozen=True, slots=True)
class Filed:
    """What became of files.

    Attributes
    ----------
    quality
        Of those that could be read.
    unreadable
        A line for each of the others.
    left_out
        How many were of another bar length than the one asked for.
    messages
        The first bad rows, a line each.
    """

    quality: Quality
    unreadable: tuple[str, ...]
    left_out: int
    messages: tuple[str, ...]


def judge_files(paths: Sequence[Path], wish: Wish, seen: Callable[[int, int], None]) -> Filed:
    """Judge the bars of files and folders; `seen` is told how many files of how many are done.

    Raises
    ------
    UsageError
        When a path is that of nothing.
    UserError
        When there are no files, or none holds bars of the wish.
    """
    try:
        files = _files(paths)
        wish.refuse_absent([symbol_of(p) for p in files], "among the files")
    except FileError as e:
        raise UserError(str(e)) from e
    files = [p for p in files if not wish.symbols or symbol_of(p) in wish.symbols]
    unreadable: list[str] = []
    messages: list[str] = []
    lengths: dict[int, str] = {}
    frames, survey, left_out = _Frames(wish.asset_class), Survey(), 0
    for n, path in enumerate(files, 1):
        try:
            file = read_bars(path)
        except FileError as e:
            unreadable.append(str(e))
            continue
        lengths.setdefault(file.bar_s, path.name)
        if wish.bar_s is not None and file.bar_s != wish.bar_s:
            left_out += 1
            continue
        wish.one_length(lengths)
        messages += [*file.messages, *_future(file, wish.now_ns)]
        _judge(file, wish, frames, survey)
        seen(n, len(files))
    if not survey.has_bars:
        raise UserError(unreadable[0]) if unreadable and not lengths else _nothing(wish, lengths)
    first, last = survey.span_ns
    bar_s = wish.one_length(lengths)
    from_ns = first if wish.from_ns is None else wish.from_ns
    to_ns = last + bar_s * NS_PER_S if wish.to_ns is None else wish.to_ns
    whole = min(first, from_ns), max(last + bar_s * NS_PER_S, to_ns)
    days = trading_days(wish.asset_class, sessions_of(wish.asset_class, *whole), *whole)
    return Filed(survey.result(days, bar_s, (from_ns, to_ns)), tuple(unreadable), left_out, tuple(messages))


class _Frames:
    """Makes frames, and gives one again as long as it will do: of whole years, where those are not too long."""

    def __init__(self, asset_class: AssetClass) -> None:
        self._class = asset_class
        self._frame: Frame | None = None
        self._for = (0, 0, 0)  # phase and span of the one made last

    def over(self, bar_s: int, from_ns: int, to_ns: int, phase_ns: int) -> Frame:
        """Give a frame that reaches over a span."""
        phase, first, last = self._for
        if self._frame is not None and phase == phase_ns and first <= from_ns and to_ns <= last:
            return self._frame
        years = _years(from_ns, to_ns)
        span = years if n_windows(self._class, bar_s, *years) <= MOST_WINDOWS else (from_ns, to_ns)
        self._frame = framed(self._class, bar_s, *span, phase_ns)
        self._for = (phase_ns, *span)
        return self._frame


def _years(from_ns: int, to_ns: int) -> tuple[int, int]:
    """Give the span of the years a span meets.

    >>> _years(86_400 * NS_PER_S, 86_401 * NS_PER_S)
    (0, 31536000000000000)
    """
    first, last = (datetime.fromtimestamp(ns // NS_PER_S, UTC).year for ns in (from_ns, to_ns))
    start, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * NS_PER_S for year in (first, last + 1))
    return start, end


def _files(paths: Sequence[Path]) -> list[Path]:
    """Give the files of folders and the files named, one a symbol."""
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(f"expected a folder or file of bars at {path}, was absent")
        for file in list_files(path) if path.is_dir() else [path]:
            other = found.setdefault(symbol_of(file), file)
            if other != file:
                raise UserError(f"expected one file a symbol, was {other} and {file}")
    return list(found.values())


def _nothing(wish: Wish, lengths: dict[int, str]) -> UserError:
    try:
        wish.one_length(lengths)
    except UserError as e:
        return e
    return wish.empty()


def _future(file: SeriesFile, now_ns: int) -> list[str]:
    """Give a line where a file has bars of the future."""
    late = file.ts[np.searchsorted(file.ts, now_ns, side="right") :]
    if not len(late):
        return []
    return [f"{file.path.name}: expected bars before {said(now_ns)}, was {len(late):,} from {said(int(late[0]))} on"]


def _judge(file: SeriesFile, wish: Wish, frames: _Frames, into: Survey) -> None:
    bars = BarColumns(*(getattr(file, name) for name in COLUMN_NAMES))
    from_ns = int(bars.ts[0]) if wish.from_ns is None else wish.from_ns
    to_ns = int(bars.ts[-1]) + 1 if wish.to_ns is None else wish.to_ns
    part = bars.take(slice(*np.searchsorted(bars.ts, [from_ns, to_ns]).tolist()))
    to_ns = min(to_ns, wish.now_ns + 1)
    if not len(part) and not wish.symbols:
        return
    held = frames.over(file.bar_s, from_ns, max(to_ns, from_ns + 1), int(bars.ts[0]) % (file.bar_s * NS_PER_S))
    refused = file.refused + Counter({"duplicate": file.n_duplicates})
    into.add(judge_series(file.symbol, part, held, wish.known.get(file.symbol), refused, wish.now_ns))
