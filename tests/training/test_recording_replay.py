"""`tapewatch replay RECORDING`: what it refuses, and what it says of a folder that is damaged."""

from pathlib import Path

import pytest

from ray_apps.cli import run
from ray_apps.store import recording


@pytest.fixture
def tapewatch(capsys):
    def call(*args: object) -> tuple[int, str, list[str]]:
        code = run([str(a) for a in args])
        out, err = capsys.readouterr()
        return code, out, err.splitlines()

    return call


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """Give a folder that is a recording by its files' names."""
    folder = tmp_path / "tape"
    folder.mkdir()
    (folder / "stocks-000001.tape").write_bytes(recording.MAGIC)
    return folder


OWN = "expected none with a recording: it carries its settings"
STORE = "expected none with DIR: the database is replayed without it"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--bar", "5s"], 2, f"--bar: {OWN}"),
        (["--config", "other.yaml"], 2, f"--config: {OWN}"),
        (["--from", "7d"], 2, f"--from: {STORE}"),
        (["--symbols", "AAPL"], 2, f"--symbols: {STORE}"),
        (["--asset", "bonds"], 2, "--asset: expected one of stocks"),
        (["--asset", "crypto"], 1, "expected a recording of crypto in {tape}, was one of stocks"),
        ([], 1, "stocks-000001.tape: expected a recording's head, was nothing"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(tapewatch, tape: Path, tmp_path: Path, args, code, said) -> None:
    got, printed, errors = tapewatch("replay", tape, "--out", tmp_path / "x.csv", *args)
    assert (got, printed, len(errors)) == (code, "", 1)
    assert said.format(tape=tape) in errors[0]
    assert [p.name for p in tmp_path.iterdir()] == ["tape"]


def test_damage_before_the_end_is_no_torn_tail(tapewatch, tape: Path) -> None:
    (tape / "stocks-000001.tape").write_bytes(b"no recording at all, but long enough")
    code, _, errors = tapewatch("replay", tape)
    assert (code, len(errors)) == (1, 1)
    assert "was another file" in errors[0]
