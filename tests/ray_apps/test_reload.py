"""A config file changed while running: what is taken over, what is said."""

from pathlib import Path

from ray_apps.reload import ConfigWatch
from ray_apps.settings import load_settings


def watch(path: Path, text: str) -> ConfigWatch:
    path.write_text(text)

    def read():  # type: ignore[no-untyped-def]
        return load_settings(path, {"data_dir": str(path.parent)}, environ={})

    return ConfigWatch(read(), read, path)


def test_nothing_changed_says_nothing(tmp_path: Path) -> None:
    assert watch(tmp_path / "c.yaml", "budget: {cooldown_min: 30}").look() is None


def test_a_safe_key_is_in_force_at_once(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    w = watch(path, "budget: {cooldown_min: 30}")
    path.write_text("budget: {cooldown_min: 5.5}")
    change = w.look()
    assert change is not None
    assert change.settings.budget.cooldown_min == 5.5
    assert change.lines == ("config: now in force: budget.cooldown_min",)


def test_a_key_that_needs_a_restart_is_named_and_waits(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    w = watch(path, "shards: 1")
    path.write_text("shards: 22\nbudget: {cooldown_min: 7}")
    change = w.look()
    assert change is not None
    assert change.settings.shards == 1
    assert change.settings.budget.cooldown_min == 7
    assert change.lines[-1] == "config: needs a restart: shards"


def test_what_needs_a_restart_waits_inside_a_section_too(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    w = watch(path, "detectors: {gap: {enabled: false}}")
    path.write_text("""
universe: {min_price: 5, sectors: {tech: [AAPL, MSFT, NVDA]}}
detectors: {gap: {min_deviation: 3}, correlation_break: {pairs: [[GOOG, GOOGL]], direction: down}}
""")
    change = w.look()
    assert change is not None
    now = change.settings
    assert (now.universe.min_price, now.universe.sectors) == (5.0, {})
    assert (now.detectors.gap.enabled, now.detectors.gap.min_deviation) == (False, 3.0)
    assert (now.detectors.correlation_break.pairs, now.detectors.correlation_break.direction) == ((), "down")
    waiting = "detectors.correlation_break.pairs, detectors.gap.enabled, universe.sectors, universe.sectors.tech"
    assert change.lines[-1] == f"config: needs a restart: {waiting}"


def test_a_wrong_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    w = watch(path, "budget: {cooldown_min: 30}")
    path.write_text("budget: {cooldown_min: minus one}")
    change = w.look()
    assert change is not None
    assert change.settings.budget.cooldown_min == 30
    assert change.lines[0].startswith("config not taken over: ")
