"""Find the files to import: files, folders and patterns of this machine, and of buckets; and open them."""

import glob
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ray_apps.errors import UsageError
from ray_apps.imports.errors import PlaceError
from ray_apps.store.files import SUFFIXES, FileError, without_suffix
from ray_apps.store.sieve import one_line

if TYPE_CHECKING:
    from ray_apps.imports.config import S3Config

S3 = "s3://"


@dataclass(frozen=True, slots=True)
class Place:
    """One file.

    Attributes
    ----------
    source
        Absolute path or address.
    name
        For messages: below the folder or prefix that was asked for.
    mark
        Changes when the content does.
    opened
        Opens it for reading; may raise FileError.
    """

    source: str
    name: str
    n_bytes: int
    mark: str
    opened: Callable[[], AbstractContextManager[BinaryIO]] = field(repr=False, compare=False)

    @property
    def is_parquet(self) -> bool:
        """Whether it is no CSV."""
        return self.source.endswith(".parquet")

    @property
    def stem(self) -> str:
        """Give the last part of its name, without what says its format."""
        return without_suffix(self.source.rpartition("/")[2])

    @property
    def label(self) -> str:
        """Give its name for messages, without what says its format."""
        return without_suffix(self.name)


def find(wanted: Sequence[str], s3: "S3Config") -> list[Place]:
    """Give the files named, each once, in the order of the arguments and then of their names.

    Raises
    ------
    UsageError
        When an argument is the path of nothing.
    PlaceError
        When an argument names no file of bars.
    """
    found: dict[str, Place] = {}
    for one in wanted:
        if one.startswith(S3):
            from ray_apps.imports.bucket import find_in_bucket

            places = find_in_bucket(one, s3)
        else:
            places = _local(one)
        if not places:
            raise PlaceError(f"expected files NAME{', NAME'.join(SUFFIXES)} in {one}, was none")
        for place in places:
            found.setdefault(place.source, place)
    return list(found.values())


def is_bar_file(source: str) -> bool:
    """Say whether a path or address is of a format that is read, and not hidden.

    >>> is_bar_file("a/AAPL.csv.gz"), is_bar_file("a/.x.csv"), is_bar_file("a/notes.txt")
    (True, False, False)
    """
    last = source.rpartition("/")[2]
    return last.endswith(SUFFIXES) and not last.startswith(".") and last not in SUFFIXES


def _local(one: str) -> list[Place]:
    path = Path(one).expanduser()
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if is_bar_file(p.as_posix()) and p.is_file())
        return [_place(p, p.relative_to(path).as_posix()) for p in inside]
    if path.exists():
        if not is_bar_file(path.as_posix()):
            raise PlaceError(f"expected a file NAME{', NAME'.join(SUFFIXES)}, was {one}")
        return [_place(path, path.name)]
    if not glob.has_magic(one):
        raise UsageError(f"expected a file, a folder or a pattern, was absent: {one}")
    matched = sorted(glob.glob(path.as_posix(), recursive=True))
    return [p for m in matched for p in (_local(m) if Path(m).is_dir() or is_bar_file(m) else [])]


def _place(path: Path, name: str) -> Place:
    at = path.absolute()
    try:
        stat = at.stat()
    except OSError as e:
        raise PlaceError(f"{name}: expected a readable file, was {e.strerror}") from e
    mark = f"{stat.st_size}:{stat.st_mtime_ns}"
    return Place(at.as_posix(), name, stat.st_size, mark, lambda: _open(at, name))


def _open(path: Path, name: str) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as e:
        raise FileError(f"{name}: expected a readable file, was {one_line(e.strerror or str(e))}") from e
