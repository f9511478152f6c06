"""Which activity column a folder gives."""

import gzip
from pathlib import Path

import pytest

from features.market.types import AssetClass
from ray_apps.store.files import FileError
from ray_apps.store.headers import activity_of


def write(path: Path, header: str) -> None:
    with gzip.open(path, "wt") as f:
        f.write(header + "\n")


def test_trades_count_only_where_every_file_has_them(tmp_path: Path) -> None:
    write(tmp_path / "A.csv.gz", "t,o,h,l,c,v,n")
    assert activity_of(tmp_path, AssetClass.STOCKS) == "trades"
    write(tmp_path / "B.csv.gz", "t,o,h,l,c,v")
    assert activity_of(tmp_path, AssetClass.STOCKS) == "volume"


def test_a_class_whose_feed_gives_volume_uses_volume(tmp_path: Path) -> None:
    write(tmp_path / "A.csv.gz", "t,o,h,l,c,v,n")
    assert activity_of(tmp_path, AssetClass.CRYPTO) == "volume"


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "A.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(FileError, match=r"A\.csv\.gz: expected a file of bars"):
        activity_of(tmp_path, AssetClass.STOCKS)
