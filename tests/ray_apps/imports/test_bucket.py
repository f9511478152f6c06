"""Files in buckets: found, streamed, known again by what is in them; a bucket that refuses says so in one line."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from features.market.types import AssetClass
from ray_apps.cli import run as command
from ray_apps.imports.config import S3Config
from ray_apps.imports.errors import PlaceError
from ray_apps.imports.importer import Import, Order
from ray_apps.imports.place import find
from ray_apps.imports.told import Told
from tests.support.bar_files import assert_stored, write_flat
from tests.support.past import walk
from tests.support.postgres import query

pytestmark = pytest.mark.integration

T0 = 1_743_600_000 * 10**9
SERIES = {f"S{i}": walk(i, T0, 300) for i in range(4)}
PREFIX = "flatfiles/us_stocks_sip/minute_aggs_v1"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Config]:
    """Give a server of flat files: two days of the vendor's and something else."""
    import s3fs
    from moto.server import ThreadedMotoServer  # takes a second, which only these tests should

    folder = tmp_path_factory.mktemp("flat")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        fs = s3fs.S3FileSystem(key="me", secret="hidden", endpoint_url=url, skip_instance_cache=True)
        fs.mkdir("flatfiles")
        for k, name in enumerate(("2025/04/2025-04-02.csv.gz", "2025/05/2025-05-01.parquet")):
            some = dict(list(SERIES.items())[2 * k : 2 * k + 2])
            fs.put(str(write_flat(folder / name, some)), f"{PREFIX}/{name}")
        (folder / "README.txt").write_text("hello")
        fs.put(str(folder / "README.txt"), f"{PREFIX}/README.txt")
        yield S3Config(endpoint_url=url, key=SecretStr("me"), secret=SecretStr("hidden"))
    finally:
        server.stop()


def run(dsn: str, wanted: str, config: S3Config) -> Import:
    running = Import(dsn, Order(find([wanted], config), Told(AssetClass.STOCKS), 3_000), 5.0)
    asyncio.run(running.run())
    return running


def test_a_prefix_is_imported_and_known_again(dsn: str, bucket: S3Config) -> None:
    first = run(dsn, f"s3://{PREFIX}", bucket)
    assert [t.place.name for t in first.tallies] == ["2025/04/2025-04-02.csv.gz", "2025/05/2025-05-01.parquet"]
    assert [t.failure for t in first.tallies] == ["", ""]
    for name, bars in SERIES.items():
        assert_stored(dsn, name, bars, without=("vwap",))
    assert query(dsn, "SELECT source FROM imports ORDER BY 1") == [
        (f"s3://{PREFIX}/2025/04/2025-04-02.csv.gz",), (f"s3://{PREFIX}/2025/05/2025-05-01.parquet",),
    ]  # fmt: skip
    assert all(t.is_known for t in run(dsn, f"s3://{PREFIX}/2025/*/*", bucket).tallies)
    one = find([f"s3://{PREFIX}/2025/04/2025-04-02.csv.gz"], bucket)
    assert [p.name for p in one] == ["2025-04-02.csv.gz"]


def test_a_bucket_that_is_not_there_or_does_not_answer(bucket: S3Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlaceError, match=r"s3://nowhere/x: expected a bucket that answers, was: .*does not exist"):
        find(["s3://nowhere/x"], bucket)
    with pytest.raises(PlaceError, match=r"expected files .* in s3://flatfiles/none, was none"):
        find(["s3://flatfiles/none"], bucket)
    closed = S3Config(endpoint_url="http://127.0.0.1:1", key=SecretStr("me"), secret=SecretStr("hidden"))
    with pytest.raises(PlaceError, match="Could not connect") as e:
        find(["s3://flatfiles"], closed)
    assert "hidden" not in str(e.value)
    with pytest.raises(PlaceError, match="expected both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        find(["s3://flatfiles"], S3Config(key=SecretStr("me")))
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(PlaceError, match=r"expected the package s3fs, was absent: pip install 'tapewatch\[s3\]'"):
        find(["s3://flatfiles"], bucket)


def test_the_command_takes_the_key_of_the_environment(
    dsn: str, bucket: S3Config, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    query(dsn, "TRUNCATE bars, imports")
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE", "TAPEWATCH_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(bucket.endpoint_url))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.setenv("TAPEWATCH_RETENTION_DAYS", "3000")
    assert command(["import", f"s3://{PREFIX}", "--asset", "stocks", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [f["file"] for f in told["files"]] == [
        f"s3://{PREFIX}/2025/04/2025-04-02.csv.gz", f"s3://{PREFIX}/2025/05/2025-05-01.parquet",
    ]  # fmt: skip
    assert told["bars"] == sum(len(b) for b in SERIES.values())
    assert command(["import", "s3://nowhere", "--asset", "stocks"]) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines()), "hidden" in err) == ("", 1, False)
    assert err.startswith("error: s3://nowhere: expected a bucket that answers, was: ")


def test_a_file_that_vanishes_fails_alone(dsn: str, bucket: S3Config, tmp_path: Path) -> None:
    import s3fs

    query(dsn, "TRUNCATE imports")
    fs = s3fs.S3FileSystem(key="me", secret="hidden", endpoint_url=bucket.endpoint_url, skip_instance_cache=True)
    fs.put(str(write_flat(tmp_path / "a.csv", SERIES)), f"{PREFIX}/2025/a.csv")
    places = find([f"s3://{PREFIX}/2025"], bucket)
    fs.rm(f"{PREFIX}/2025/a.csv")
    running = Import(dsn, Order(places, Told(AssetClass.STOCKS), 3_000), 5.0)
    asyncio.run(running.run())
    assert [bool(t.failure) for t in running.tallies] == [False, False, True]
    assert running.tallies[2].failure.startswith("2025/a.csv:") or running.tallies[2].failure.startswith("a.csv:")
