"""What files show of their bars' length: thin names vary, longer bars do not and are told apart by a replay."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.market.bars import infer_bar_ms
from features.market.types import NS_PER_MS, NS_PER_S
from training.lengths import Length, common_s, length_of

MINUTE = 60 * NS_PER_S
START = 1_743_600_000 * NS_PER_S


def shown(minutes: np.ndarray) -> Length:
    """Judge bars that start at these minutes."""
    ts = START + minutes * MINUTE
    bar_ms = infer_bar_ms(ts // NS_PER_MS)
    assert bar_ms is not None
    return length_of(ts, bar_ms // 1000)


def sessions(n_days: int, every: int, length: int = 390) -> np.ndarray:
    """Give the starts of bars of `every` minutes within sessions of a week."""
    days = [d for d in range(n_days) if d % 7 < 5]
    return np.concatenate([d * 1_440 + np.arange(0, length, every) for d in days])


@pytest.mark.parametrize(
    ("minutes", "bar_s"),
    [
        (np.arange(5) * 5, 300),
        (np.arange(15) * 10, 600),
        (np.arange(199) * 5, 300),
        (np.delete(np.arange(60), np.arange(3, 60, 3)) * 5, 300),
        (sessions(2, 60), 3_600),
        (sessions(20, 15), 900),
        (np.array([d for d in range(10) if d % 7 < 5]) * 1_440, 86_400),
    ],
    ids=["5m-few", "10m-few", "5m", "5m-thin", "1h-two-sessions", "15m-sessions", "1d"],
)
def test_longer_bars_do_not_pass_for_shorter_ones(minutes: np.ndarray, bar_s: int) -> None:
    found = shown(minutes)
    assert found == Length(bar_s, bar_s, is_sure=True)
    assert f"was {bar_s} s" in found.misfit(60, None)
    assert found.misfit(bar_s, None) == found.misfit(60, bar_s) == ""


@given(st.integers(0, 2**32), st.sampled_from([0.02, 0.1, 0.3, 0.6]), st.integers(6, 400))
def test_a_thin_name_is_of_its_folder_however_seldom_it_trades(seed: int, share: float, n: int) -> None:
    steps = np.random.default_rng(seed).geometric(share, n)
    steps[:2] = 7, 9  # of ever so many examples one would be alike by chance
    found = shown(np.cumsum(steps))
    assert found.misfit(60, None) == found.misfit(60, 300) == ""


def test_a_few_far_bars_may_be_of_any_length_below() -> None:
    far = shown(np.array([0, 10, 30, 40, 90]))
    assert (far.bar_s, far.is_sure) == (600, False)
    assert far.misfit(60, None) == far.misfit(300, None) == ""
    assert "like the folder's, was 600 s" in far.misfit(240, None)


@pytest.mark.parametrize("longer", [5, 60])
def test_a_stretch_of_longer_bars_is_seen_behind_shorter_ones(longer: int) -> None:
    both = shown(np.concatenate([np.arange(100), 100 + longer * np.arange(100)]))
    assert both == Length(60, longer * 60, is_sure=True)
    assert f"some of 60 s and some of {longer * 60} s" in both.misfit(60, None)
    assert both.misfit(60, longer * 60) == ""
    assert "was some of" in both.misfit(60, 120)


def test_auctions_are_no_longer_bars() -> None:
    days = np.concatenate([d * 1_440 + np.array([0, 390]) for d in range(100, 130)])
    assert not shown(np.concatenate([np.arange(500), days])).is_mixed


@pytest.mark.parametrize(
    ("folder_s", "file_s", "mend"),
    [
        (60, 300, "--bar 5m joins the shorter ones"),
        (300, 60, "--bar 5m joins the shorter ones"),
        (1, 5, "--bar 5s joins the shorter ones"),
        (1_800, 2_700, "--bar 90m joins the shorter ones"),
        (3_600, 86_400, "--bar 24h joins the shorter ones"),
        (3_600, 604_800, "a folder of each length plays them"),
    ],
)
def test_a_misfit_says_how_to_go_on(folder_s: int, file_s: int, mend: str) -> None:
    assert Length(file_s, file_s, is_sure=True).misfit(folder_s, None).endswith(f"was {file_s} s: {mend}")


def test_the_folders_length_is_what_is_sure() -> None:
    minutes, fives = (Length(s, s, is_sure=True) for s in (60, 300))
    thin, mixed = Length(120, 120, is_sure=False), Length(60, 300, is_sure=True)
    assert common_s([minutes, thin, thin]) == 60
    assert common_s([mixed, mixed, fives]) == 300
    assert common_s([minutes, fives]) == 60
    assert common_s([minutes, fives, fives]) == 300
    assert common_s([thin, mixed]) == 60


# the command


def bars_at(path: Path, minutes: list[int]) -> None:
    path.parent.mkdir(exist_ok=True)
    rows = (f"{START // NS_PER_MS + m * 60_000},1,1,1,1,1" for m in minutes)
    path.write_text("\n".join(["t,o,h,l,c,v", *rows]))


@pytest.mark.parametrize("n", [12, 100])
def test_longer_bars_are_left_out_until_the_shorter_ones_are_joined(tapewatch, tmp_path: Path, n: int) -> None:
    bars_at(tmp_path / "bars" / "AAA.csv", list(range(300)))
    bars_at(tmp_path / "bars" / "BBB.csv", [5 * k for k in range(n)])
    code, said, errors = tapewatch("replay", tmp_path / "bars", "--asset", "crypto")
    assert code == 1
    mend = "--bar 5m joins the shorter ones"
    assert errors == [f"warning: BBB.csv: expected bars of 60 s like the folder's, was 300 s: {mend}"]
    assert "series       1 of crypto, 1 file left out" in said
    code, said, errors = tapewatch("replay", tmp_path / "bars", "--asset", "crypto", "--bar", "5m", "--json")
    assert (code, errors) == (0, [])
    told = json.loads(said)
    assert (told["series"], told["bar_s"], told["bars"]) == (2, 300, 60 + n)


def test_a_file_of_two_lengths_is_refused_until_its_shorter_bars_are_joined(tapewatch, tmp_path: Path) -> None:
    bars_at(tmp_path / "bars" / "AAA.csv", [*range(100), *(100 + 5 * k for k in range(100))])
    for args in ((), ("--bar", "1m")):
        code, said, errors = tapewatch("replay", tmp_path / "bars", "--asset", "crypto", *args)
        assert (code, said) == (1, "")
        assert errors[0].startswith(
            "error: AAA.csv: expected bars of 60 s, was some of 60 s and some of 300 s: --bar 5m"
        )
        assert "expected a good bar file" in errors[1]
    code, said, errors = tapewatch("replay", tmp_path / "bars", "--asset", "crypto", "--bar", "5m", "--json")
    assert (code, errors) == (0, [])
    assert json.loads(said)["bars"] == 20 + 100
