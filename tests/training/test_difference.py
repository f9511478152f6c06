"""Two settings over the same bars: what differs is what separate runs say, each with the rule that makes it so."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from features.decisions.config import DetectionConfig, DetectorRule
from features.market.types import AssetClass
from features.stages.peers import Peers
from tests.support.builders import Scene, block, cut, engine
from tests.support.folders import write
from training.difference import ADDED, CHANGED, GONE, Comparison, Difference
from training.fold import Called, Folding
from training.reasons import RAISED, RESCALED
from training.replay import ReplayPlan, compare

pytestmark = pytest.mark.thorough
SCENE = Scene(AssetClass.STOCKS, n_symbols=8, n_windows=500, bursts=30, shocks=3)
BUSY = Scene(AssetClass.CRYPTO, n_symbols=6, n_windows=700, bursts=12, shocks=1, missing=0.0)
NOW = DetectionConfig(budget=0.5)
LATE = 2**62
RATE = r"rate \S+ is above the budget {}"
SEVERITY = "severity is told against the budget {}, not 0.5"


def rules(**changed: DetectorRule) -> DetectionConfig:
    return replace(NOW, rules=dict(changed))


def compared(scene: Scene, then: DetectionConfig, now: DetectionConfig = NOW) -> Comparison:
    comparison = Comparison(engine(scene, config=now), engine(scene, config=then), LATE)
    for part in cut(block(scene), scene, [100, 333]):
        comparison.take(part)
    return comparison


def alone(scene: Scene, config: DetectionConfig) -> dict[str, Called]:
    found: dict[str, Called] = {}
    folding = Folding(engine(scene, config=config), LATE, lambda c: found.__setitem__(c.line.id, c))
    folding.take(block(scene))
    return found


OFF = DetectorRule(enabled=False)
CASES: dict[str, tuple[Scene, DetectionConfig, tuple[str, ...]]] = {
    "budget lower": (
        SCENE, replace(NOW, budget=0.05), (RATE.format("0.05"), SEVERITY.format("0.05"), RAISED)
    ),
    "budget higher": (
        SCENE, replace(NOW, budget=2.0), (RATE.format("0.5"), SEVERITY.format("2"), f"now: {RATE.format('0.5')}")
    ),
    "kind off": (BUSY, rules(burst_up=OFF), ("(then: )?burst_up is off", RESCALED)),
    "fault off": (SCENE, rules(data_fault=OFF), ("data_fault is off",)),
    "shock off": (SCENE, rules(market_shock=OFF), ("(then: )?market_shock is off",)),
    "share": (
        SCENE, rules(price_move=DetectorRule(share=0.3)),
        (r"share of price_move is 0\.3, not 0\.05", RESCALED, r"rate \S+ at share 0\.05 is above the budget 0\.5"),
    ),
    "no share": (
        SCENE, rules(price_move=DetectorRule(share=0.0)),
        ("(then: )?price_move has no share of the budget", RESCALED),
    ),
    "side": (
        SCENE, rules(price_move=DetectorRule(direction="down")),
        ("(then: )?it went up, price_move counts down only", RESCALED),
    ),
    "deviation": (
        BUSY, rules(correlation_break=DetectorRule(min_deviation=10.0)),
        (r"(then: )?score 9\.\d is below min_deviation 10", RESCALED),
    ),
    "price": (SCENE, replace(NOW, min_price=50.0), (r"(then: )?price \S+ is below min_price 50",)),
    "turnover": (
        SCENE, replace(NOW, min_dollar_volume=4e6),
        ("(then: )?it turned over less than min_dollar_volume 4,000,000 that day", RAISED),
    ),
    "ratio": (
        BUSY, replace(NOW, volume_min_ratio=800.0), (r"(then: )?activity \S+ times normal is below min_ratio 800",)
    ),
    "classic": (
        SCENE, replace(NOW, volume_classic=True), ("volume_spike is not classic", "volume_spike is classic", RESCALED)
    ),
    "sector": (
        SCENE, replace(NOW, peers=Peers({"low": ("S0", "S1", "S2")})),
        (r"it is held against its sector's \(low\) move, not the market's",
         r"it is held against the market's move, not its sector's \(low\)"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_difference_has_the_rule_that_makes_it(name: str) -> None:
    scene, then, reasons = CASES[name]
    comparison = compared(scene, then)
    assert comparison.differences
    told = {d.reason for d in comparison.differences}
    unexpected = {t for t in told if not any(re.fullmatch(r, t) for r in reasons)}
    assert not unexpected
    assert any(re.fullmatch(reasons[0], t) for t in told)


@pytest.mark.parametrize("name", CASES)
def test_what_differs_is_what_two_runs_say(name: str) -> None:
    scene, then, _ = CASES[name]
    comparison = compared(scene, then)
    one, two = alone(scene, NOW), alone(scene, then)

    def ids(what: str) -> set[str]:
        return {d.line.id for d in comparison.differences if d.what == what}

    assert ids(ADDED) == set(two) - set(one)
    assert ids(GONE) == set(one) - set(two)
    differ = {i for i in set(one) & set(two) if told(one[i]) != told(two[i])}
    assert ids(CHANGED) == differ
    assert comparison.now.tally.anomalies == len(one)
    assert comparison.then.tally.anomalies == len(two)
    keys = [(d.line.available_ts, d.line.symbol) for d in comparison.differences]
    assert keys == sorted(keys)


def told(c: Called) -> tuple[str, str, str]:
    return c.line.kind, c.line.severity, repr(c.line.rate)


@pytest.mark.parametrize("name", CASES)
def test_the_other_way_round_what_was_added_is_gone_for_the_same_reason(name: str) -> None:
    scene, then, _ = CASES[name]
    there, back = compared(scene, then), compared(scene, NOW, then)

    def reasons(c: Comparison, what: str) -> dict[str, str]:
        return {d.line.id: d.reason for d in c.differences if d.what == what}

    assert reasons(there, GONE) == reasons(back, ADDED)
    assert reasons(there, ADDED) == reasons(back, GONE)


def test_a_rate_above_the_budget_is_above_it() -> None:
    for d in compared(SCENE, replace(NOW, budget=0.05)).differences:
        if d.what == GONE:
            assert d.now is not None
            assert 0.05 < d.now.rate <= 0.5


def test_a_cooldown_changes_no_anomaly_but_the_episodes() -> None:
    comparison = compared(SCENE, replace(NOW, cooldown_s=60))
    assert not comparison.differences
    assert len(comparison.then.tally.episodes) > len(comparison.now.tally.episodes)


# folders and the command


def of(found: list[Difference]) -> list[tuple[str, str, str]]:
    return [(d.what, d.line.id, d.reason) for d in found]


def test_a_folder_says_what_its_bars_say(tmp_path: Path) -> None:
    folder = write(tmp_path / "bars", block(SCENE))
    then = replace(NOW, budget=0.05)
    now, other, comparison = compare(ReplayPlan(folder, SCENE.asset_class, NOW), then, pytest.fail)
    assert of(comparison.differences) == of(compared(SCENE, then).differences)
    assert other.own_episodes_per_symbol_day <= now.own_episodes_per_symbol_day
    assert now.symbol_days == other.symbol_days > 0


def test_the_command_prints_what_would_change(tapewatch, tmp_path: Path) -> None:
    folder, other = write(tmp_path / "bars", block(SCENE)), tmp_path / "other.yaml"
    other.write_text("detectors: {market_shock: {enabled: false}}\nnotifications: {min_severity: high}\n")
    asked = ("replay", folder, "--asset", "stocks", "--config", other, "--diff")
    code, printed, errors = tapewatch(*asked)
    assert (code, errors) == (0, [])
    lines = printed.splitlines()
    assert "setting      detectors.market_shock.enabled True -> False" in lines
    assert "setting      notifications.min_severity low -> high (changes nothing that is called)" in lines
    assert lines[0].startswith("now          the settings in force: ")
    assert lines[1].startswith(f"then         {other}: ")
    told = json.loads(tapewatch(*asked, "--json")[1])
    for sort in ("added", "gone", "changed"):
        assert f"{sort:<12} {len(told[sort])}" in lines
    assert {d["reason"] for d in told["gone"]} == {"market_shock is off"}
    assert told["can_differ"] is True
    assert told["now"]["anomalies"] - told["then"]["anomalies"] == len(told["gone"]) - len(told["added"])
    assert sum(line.startswith("  - ") and "then: market_shock is off" in line for line in lines) == min(
        40, len(told["gone"])
    )


def test_settings_that_only_tell_others_call_the_same(tapewatch, tmp_path: Path) -> None:
    folder, other = write(tmp_path / "bars", block(SCENE)), tmp_path / "other.yaml"
    other.write_text("notifications: {min_severity: high}\nbudget: {notifications_per_day: 5}\n"
                     "sinks: {webhook: {url: 'https://x.org', secret: hunter2222}}\n")  # fmt: skip
    asked = ("replay", folder, "--asset", "stocks", "--config", other, "--diff")
    code, printed, _ = tapewatch(*asked)
    assert code == 0
    assert "both call the same" in printed
    assert "hunter2222" not in printed
    told = json.loads(tapewatch(*asked, "--json")[1])
    assert (told["can_differ"], told["added"], told["gone"], told["changed"]) == (False, [], [], [])
    assert told["now"] == told["then"]
    assert {s["key"] for s in told["settings"] if not s["is_detection"]} >= {"notifications.min_severity"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--diff"], "--diff: expected --config FILE with the other settings, was none"),
        (["--diff", "--config", "{other}", "--out", "{other}.csv"], "--diff: expected neither --out nor"),
        (["--diff", "--config", "/nope"], "/nope: expected a readable config file"),
        (["--from", "7d"], "--from: expected none with DIR: the database is replayed without it"),
        (["--symbols", "S1"], "--symbols: expected none with DIR"),
        (["--warm-days", "3"], "--warm-days: expected none with DIR"),
    ],
)
def test_a_mistake_is_one_line(tapewatch, tmp_path: Path, args: list[str], said: str) -> None:
    folder, other = write(tmp_path / "bars", block(replace(SCENE, n_windows=70))), tmp_path / "other.yaml"
    other.write_text("budget: {cooldown_min: 5}")
    asked = ("replay", folder, "--asset", "stocks", *(a.format(other=other) for a in args))
    code, printed, errors = tapewatch(*asked)
    assert (code, printed, len(errors)) == (2, "", 1)
    assert said in errors[0]


def test_without_a_folder_or_a_class_there_is_nothing_to_replay(tapewatch) -> None:
    code, _, errors = tapewatch("replay")
    assert (code, len(errors)) == (2, 1)
    assert "expected DIR to replay, or --asset CLASS to replay what is stored, was neither" in errors[0]
