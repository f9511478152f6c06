"""The record for programs: JSON without NaN, fields as documented; bounds; words."""

import json
import math
from pathlib import Path

import pytest

from features.market.quality.findings import Finding, Flaw
from ray_apps.errors import UsageError, UserError
from ray_apps.quality.demands import Demands
from ray_apps.quality.known import read_splits
from ray_apps.quality.record import record
from ray_apps.quality.told import NAMES, ORDER, sample, span, what
from ray_apps.quality.wish import Wish, framed, length, seconds
from tests.ray_apps.quality.scenes import damaged, plain

README = Path(__file__).parents[3] / "ray_apps" / "quality" / "README.md"


def test_the_record_is_json_and_says_the_same() -> None:
    quality = damaged()
    told = json.loads(json.dumps(record(quality, ["B.csv: bad"], ["--max-gaps: expected 0"]), allow_nan=False))
    assert (told["asset_class"], told["bar_s"], told["n_symbols"]) == ("stocks", 60, 6)
    assert (told["from"], told["to"]) == ("2025-03-03T14:30:00Z", "2025-03-28T20:00:00Z")
    assert told["n_bad_rows"] == 3
    assert (told["crossed"], told["unreadable"]) == (["--max-gaps: expected 0"], ["B.csv: bad"])
    assert told["n_flaws"] == {flaw.value: quality.n_flaws[flaw] for flaw in Flaw}
    assert len(told["findings"]) == len(quality.flaws)
    gap = next(f for f in told["findings"] if f["flaw"] == "gap")
    assert gap == {
        "flaw": "gap", "symbol": "AAPL", "from": "2025-03-05T16:30:00Z", "to": "2025-03-05T18:00:00Z",
        "n": 90, "size": 90.0, "score": None, "is_listed": False,
    }  # fmt: skip
    assert len(told["coverage"]["days"]) == len(told["coverage"]["symbols"]["AAPL"]) == 20
    assert told["coverage"]["symbols"]["NIL"] == [0.0] * 20
    assert len(told["time_of_day"]["move_rms"]["AAPL"]) == 48
    assert [len(row) for row in told["correlation"]["matrix"]] == [5] * 5
    nil = next(s for s in told["symbols"] if s["symbol"] == "NIL")
    assert (nil["first"], nil["daily_volatility"], nil["covered"]) == (None, None, 0.0)


def test_every_field_of_the_record_is_documented() -> None:
    def names(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {n for v in value.values() for n in names(v)}
        return {n for v in value for n in names(v)} if isinstance(value, list) else set()

    quality = damaged()
    symbols = {s.symbol for s in quality.series}
    reasons = {r for s in quality.series for r in (*s.refused, *s.doubtful)}
    documented = README.read_text(encoding="utf-8")
    found = names(record(quality, [], [])) - symbols - reasons
    assert [name for name in sorted(found) if f"`{name}`" not in documented] == []


@pytest.mark.parametrize(
    ("demands", "lines"),
    [
        (Demands(), []),
        (Demands(max_missing=1.0, min_coverage=0.0, max_gaps=1, max_stale=1, max_slips=1, max_splits=1), []),
        (Demands(max_gaps=0), ["--max-gaps: expected at most 0 gaps and outages, was 1"]),
        (Demands(max_stale=0), ["--max-stale: expected at most 0 stale runs, was 1"]),
        (Demands(max_slips=0), ["--max-slips: expected at most 0 slips of the clock, was 1"]),
        (Demands(max_splits=0), ["--max-splits: expected at most 0 splits not applied, was 1"]),
        (Demands(max_bad_rows=2), ["--max-bad-rows: expected at most 2 bad rows, was 3"]),
        (Demands(max_outliers=1), ["--max-outliers: expected at most 1 outlier, was 2"]),
        (Demands(max_missing=0.01),
         ["--max-missing: expected at most 1.0 % of a symbol's bars missing, was 1.2 % of AAPL"]),
        (Demands(min_coverage=0.9),
         ["--min-coverage: expected at least 90.0 % of a symbol's usual bars, was 0 % of NIL"]),
        (Demands(min_coverage=1.0),
         ["--min-coverage: expected at least 100 % of a symbol's usual bars, was 0 % of NIL "
          "and 1 more symbol beyond it"]),
    ],
)  # fmt: skip
def test_bounds(demands: Demands, lines: list[str]) -> None:
    assert demands.crossed(damaged()) == lines
    assert Demands(0.0, 1.0, 0, 0, 0, 0, 0, 0).crossed(plain()) == []


def test_every_flaw_has_a_name_a_place_and_words() -> None:
    assert set(NAMES) == set(ORDER) == set(Flaw)
    for flaw in Flaw:
        assert what(Finding(flaw, "A", 0, 60_000_000_000, 1, 2.0, 3.0))
    assert span(Finding(Flaw.LITTLE_DATA, "A", 0, 0, 0, 0.0)) == "-"
    assert span(Finding(Flaw.GAP, "A", 0, 1_500_000_000, 1, 1.0)) == "1970-01-01 00:00:00 - 00:00:01"
    assert what(Finding(Flaw.SLIP, "A", 0, 1, 1, -4.0)) == "stamped 4 h early, 1 day"


def test_a_sample_takes_kinds_and_symbols_in_turn() -> None:
    many = [Finding(Flaw.PRICE_OUTLIER, s, 0, 1, 1, math.log(2), 30.0 - k) for s in "AB" for k in range(50)]
    few = [Finding(Flaw.GAP, "C", 0, 1, 5, 5.0)]
    shown = sample([*many, *few], 5)
    assert [(f.flaw, f.symbol) for f in shown] == [
        (Flaw.GAP, "C"), (Flaw.PRICE_OUTLIER, "A"), (Flaw.PRICE_OUTLIER, "B"), (Flaw.PRICE_OUTLIER, "A"),
        (Flaw.PRICE_OUTLIER, "B"),
    ]  # fmt: skip


ROW = '{"ticker":"AAPL","execution_date":"2020-08-31","split_from":1,"split_to":4,"id":"E1"}'


@pytest.mark.parametrize("text", [f"[{ROW}]", f'{{"status":"OK","results":[{ROW}]}}'])
def test_listed_splits_are_read_as_the_vendor_gives_them(tmp_path: Path, text: str) -> None:
    path = tmp_path / "splits.json"
    path.write_text(text)
    known = read_splits(path)["AAPL"]
    assert (known.day.tolist(), known.ratio.tolist()) == ([18_505], [4.0])


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"ticker":"A"}]', "x" * 100])
def test_another_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "splits.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="--splits: expected the vendor's list of splits") as e:
        read_splits(path)
    assert "\n" not in str(e.value)


def test_lengths_and_spans() -> None:
    assert [length(s) for s in (1, 60, 300, 3_600, 86_400)] == ["1s", "1m", "5m", "1h", "1d"]
    assert [seconds(t) for t in ("1s", "1m", "5m", "1h", "1d")] == [1, 60, 300, 3_600, 86_400]
    for wrong in ("", "m", "0m", "2d", "1x", "1M"):
        with pytest.raises(UsageError, match="--bar: expected a length"):
            seconds(wrong)
    wish = Wish(damaged().asset_class)
    with pytest.raises(UsageError, match=r"expected bars of one length, was 1m .A., 5m .B.: choose one with --bar"):
        wish.one_length({300: "B", 60: "A"})
    with pytest.raises(UserError, match="expected at most 5,000,000 bars a symbol, was a span of 31,536,000"):
        framed(plain().asset_class, 1, 0, 365 * 86_400 * 10**9)
