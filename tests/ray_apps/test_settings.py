"""Settings: precedence, names in errors, secrets, schema, hot reload."""

import json
import pickle
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from features.market.types import AssetClass
from ray_apps import settings as module
from ray_apps.config import Kind
from ray_apps.settings import ConfigError, Settings, detection_config, diff, flatten, load_settings, nest, schema

PUBLISHED = Path(module.__file__).with_name("config.schema.json")


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


def lines(config: Path | None, overrides=None, environ=None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(config, overrides, environ or {})
    return caught.value.lines


def test_flags_beat_environment_beats_file_beats_default(write):
    path = write("http: {port: 1, max_streams: 2, heartbeat_s: 3}\n")
    environ = {"TAPEWATCH_HTTP__PORT": "4", "TAPEWATCH_HTTP__MAX_STREAMS": "5"}
    http = load_settings(path, {"http.port": 6, "http.host": None}, environ).http
    assert (http.port, http.max_streams, http.heartbeat_s, http.host) == (6, 5, 3.0, "127.0.0.1")


def test_the_first_key_set_wins_and_empty_is_unset():
    both = load_settings(None, environ={"POLYGON_API_KEY": "a", "MASSIVE_API_KEY": "b"})
    second = load_settings(None, environ={"POLYGON_API_KEY": "", "MASSIVE_API_KEY": "b"})
    assert both.polygon.api_key.get_secret_value() == "a"
    assert second.polygon.api_key.get_secret_value() == "b"
    assert (second.chosen_source, Settings().chosen_source) == ("polygon", "synthetic")


def test_a_key_is_read_without_the_line_feed_of_its_file():
    environ = {"POLYGON_API_KEY": " MYSECRET\n", "TAPEWATCH_HTTP__TOKEN": f"{'t' * 16}\n"}
    settings = load_settings(None, environ=environ)
    assert settings.polygon.api_key.get_secret_value() == "MYSECRET"
    assert settings.http.token.get_secret_value() == "t" * 16


@pytest.mark.parametrize("key", ["MYS\u00c9CRET", "MYSE CRET", "MYSE\nCRET", "\n"])
def test_a_key_no_header_can_hold_is_refused_and_never_shown(key):
    said = "POLYGON_API_KEY: expected printable ASCII without blanks inside, was a hidden value"
    assert lines(None, environ={"POLYGON_API_KEY": key}) == [said]


@pytest.mark.parametrize(
    ("environ", "tier"),
    [
        ({}, "basic"),
        ({"POLYGON_API_KEY": "sim-advanced"}, "advanced"),
        ({"POLYGON_API_KEY": "sim-advanced", "POLYGON_TIER_STOCKS": "starter"}, "starter"),
        ({"POLYGON_API_KEY": "real"}, "basic"),
    ],
)
def test_tier_of_a_class(environ, tier):
    assert load_settings(None, environ=environ).polygon.tier(AssetClass.STOCKS) == tier


def test_lists_from_the_environment():
    environ = {
        "TAPEWATCH_BAR_LENGTHS": "60, 1",
        "TAPEWATCH_ASSETS": "forex",
        "TAPEWATCH_UNIVERSE__SYMBOLS__FOREX": "EUR/USD,GBP/USD",
        "TAPEWATCH_DETECTORS__CORRELATION_BREAK__DIRECTION": "down",
    }
    settings = load_settings(None, environ=environ)
    assert settings.bar_lengths == (60, 1)
    assert settings.assets == (AssetClass.FOREX,)
    assert settings.universe.symbols.forex == ("EUR/USD", "GBP/USD")
    assert settings.detectors.correlation_break.direction == "down"
    assert settings.detectors.correlation_break.share == 0.05, "a kind partly written keeps its default share"


def test_sectors_and_pairs_reach_the_class_they_are_of(write):
    path = write("""
universe: {sectors: {tech: ["stocks:AAPL", "MSFT", "NVDA"]}}
detectors: {correlation_break: {pairs: [["crypto:BTC-USDC", "crypto:BTC-USDT"]]}}
""")
    environ = {"TAPEWATCH_UNIVERSE__SECTORS__COINS": "crypto:BTC-USD, ETH-USD,SOL-USD"}
    settings = load_settings(path, environ=environ)
    assert settings.detectors.correlation_break.share == 0.05
    stocks, crypto = (detection_config(settings, a).peers for a in (AssetClass.STOCKS, AssetClass.CRYPTO))
    assert stocks.names == ("the market's", "its sector's (tech)")
    assert crypto.names == ("the market's", "its sector's (coins)", "BTC-USDT's")
    assert detection_config(settings, AssetClass.FOREX).peers.names == ("the market's",)


def test_every_fault_is_named_at_once(write):
    path = write("budgt: {}\nbudget: {episodes_per_symbol_day: -1}\ndetectors: {burst_up: {shar: 1}}\n")
    environ = {"POLYGON_TIER_CRYPTO": "gold", "TAPEWATCH_HTTP__PORT": "x", "TAPEWATCH_BUDGET__COL": "1"}
    said = lines(path, {"simulator.speed": -2}, environ)
    assert f"{path}: budgt: expected budget, was an unknown key" in said
    assert f"{path}: budget.episodes_per_symbol_day: expected greater than 0, was -1" in said
    assert f"{path}: detectors.burst_up.shar: expected share, was an unknown key" in said
    assert "POLYGON_TIER_CRYPTO: expected 'basic', 'starter', 'developer' or 'advanced', was 'gold'" in said
    assert "TAPEWATCH_HTTP__PORT: expected a valid integer, was 'x'" in said
    assert "simulator.speed (command line): expected greater than 0, was -2" in said
    assert any(line.startswith("TAPEWATCH_BUDGET__COL: expected one of") for line in said)
    assert len(said) == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 1: expected YAML"),
        ("a: 1\na: 2\n", "line 2: expected YAML, was: key 'a' twice"),
        ("- 1\n", "expected keys such as budget:, was list"),
        ("{1: 2}", "expected keys such as budget:"),
        ("!!python/object:os.system {}", "expected YAML"),
        ("budget: &a {x: *a}", "unknown key"),
        ("? [a, b]\n: 1", "expected"),
        (
            "detectors: {burst_up: {share: .9}}",
            "expected the kinds' share together at most 1, was 1.260",
        ),
        (
            "notifications: {watchlists: [a]}",
            "notifications.watchlists: expected a list of",
        ),
        ("universe: {mutes: [{symbol: A, until: 2026-01-01T00:00:00}]}", "universe.mutes.0.until: expected"),
        ("sinks: {webhook: {url: 'http://x/'}}", "TAPEWATCH_SINKS__WEBHOOK__SECRET"),
        (
            "universe: {sectors: {a: [A, B, C], b: [D, stocks:C, E]}}",
            "universe.sectors: expected a symbol in one sector, was C in a and b",
        ),
        (
            "universe: {sectors: {a: [stocks:A, B, crypto:C, crypto:D, crypto:E]}}",
            "universe.sectors: expected at least 3 symbols of a class in sector a, was 2",
        ),
        ("universe: {sectors: {a: [A, B, '*']}}", "universe.sectors.a.2: expected a symbol such as AAPL"),
        ("universe: {sectors: {A b: [A, B, C]}}", "universe.sectors.A b"),
        (
            "detectors: {correlation_break: {pairs: [[stocks:A, crypto:B]]}}",
            "correlation_break.pairs: expected both symbols of a pair of one class, was stocks:A against crypto:B",
        ),
        (
            "detectors: {correlation_break: {pairs: [[A, B], [crypto:A, C]]}}",
            "correlation_break.pairs: expected a symbol first in one pair, was A in 2",
        ),
        (
            "detectors: {correlation_break: {pairs: [[crypto:A, A]]}}",
            "correlation_break.pairs: expected two symbols in a pair, was A twice",
        ),
        ("detectors: {correlation_break: {pairs: [[A]]}}", "correlation_break.pairs.0.1: expected"),
    ],
)
def test_a_wrong_file(write, text, said):
    found = lines(write(text))
    assert len(found) == 1
    assert said in found[0]


def test_faults_are_expectations(write):
    path = write("universe: {mutes: [{symbol: X, until: 2026-12-01T00:00:00}, {until: 2026-12-01T00:00:00Z}]}\n")
    said = lines(path, {"polygon.rest_url": "nowhere"})
    assert f"{path}: universe.mutes.1.symbol: expected a value, was none" in said
    assert any("mutes.0.until: expected a time zone, as in 2026-01-02T09:30Z, was " in line for line in said)
    assert any("rest_url (command line): expected text that matches '^https?" in line for line in said)


def test_a_missing_or_binary_file(tmp_path):
    assert "expected a readable config file, was: No such file" in lines(tmp_path / "none.yaml")[0]
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    assert "expected UTF-8 text" in lines(tmp_path / "b.yaml")[0]


def test_a_sinks_secret_may_come_from_the_environment_alone(write):
    path = write("sinks: {webhook: {url: 'http://x/'}, grafana: {url: 'http://y/'}}")
    environ = {"TAPEWATCH_SINKS__WEBHOOK__SECRET": "hunter2-hunter2", "TAPEWATCH_SINKS__GRAFANA__TOKEN": "glsa_hunter2"}
    for held in (
        load_settings(path, None, environ),
        load_settings(None, {"sinks.webhook.url": "http://x/", "sinks.grafana.url": "http://y/"}, environ),
    ):
        assert held.sinks.webhook.secret.get_secret_value() == "hunter2-hunter2"
        assert held.sinks.grafana.token.get_secret_value() == "glsa_hunter2"


def test_secrets_are_never_shown(write):
    secret = "hunter2-" * 60
    environ = {"POLYGON_API_KEY": secret, "DATABASE_URL": "mysql://me:hunter2@db/x", "REDIS_URL": "hunter2"}
    said = "\n".join(lines(write("sinks: {webhook: {secret: hunter2-hunter2, url: nope}}"), None, environ))
    assert "POLYGON_API_KEY: expected" in said
    assert "DATABASE_URL: expected a URL that starts with postgresql:// or postgres://" in said
    assert "REDIS_URL" in said
    assert "hunter2" not in said
    held = load_settings(None, environ={"POLYGON_API_KEY": "hunter2", "DATABASE_URL": "postgresql://hunter2@h/x"})
    assert "hunter2" not in repr(held) + str(held.model_dump(mode="json"))
    assert "hunter2" not in "\n".join(lines(write("polygon: hunter2")))


def test_where_the_config_file_is_found(tmp_path):
    environ = {"XDG_DATA_HOME": str(tmp_path)}
    home = tmp_path / "tapewatch"
    home.mkdir()
    assert load_settings(None, environ=environ).data_dir == home
    (home / "tapewatch.yaml").write_text("shards: 2")
    assert load_settings(None, environ=environ).shards == 2
    (tmp_path / "other.yaml").write_text("shards: 3")
    environ["TAPEWATCH_CONFIG"] = str(tmp_path / "other.yaml")
    assert load_settings(None, environ=environ).shards == 3
    (tmp_path / "asked.yaml").write_text("shards: 4")
    assert load_settings(tmp_path / "asked.yaml", environ=environ).shards == 4
    assert load_settings(None, {"data_dir": "/x"}, {"XDG_DATA_HOME": "relative"}).data_dir == Path("/x")


def test_unknown_variables_are_reported_not_fatal():
    environ = {"TAPEWATCH_SERVICE_HOST": "10.0.0.1", "TAPEWATCH_PORT": "tcp://x", "TAPEWATCH_SHARDS": "2"}
    assert load_settings(None, environ=environ).shards == 2
    assert module.unknown_variables(environ) == ["TAPEWATCH_PORT", "TAPEWATCH_SERVICE_HOST"]
    mistyped = ["POLYGON_REST", "POLYGON_TIER_STONKS", "POLYGON_WS_HOTS"]
    known = ["POLYGON_REST_URL", "POLYGON_TIER_STOCKS", "POLYGON_WS_HOST", "POLYGON_API_KEY", "MASSIVE_API_KEY"]
    others = ["POLYGON_WALLET", "POLYGON_API_URL"]
    assert module.unknown_variables(dict.fromkeys([*mistyped, *known, *others], "basic")) == mistyped


def test_diff_says_what_needs_a_restart():
    old = Settings()
    flags = {
        "budget.cooldown_min": 10,
        "detectors.burst_up.min_deviation": 2,
        "detectors.gap.enabled": False,
        "http.port": 1,
        "universe.symbols.stocks": ["AAPL"],
        "universe.sectors.tech": ["AAPL", "MSFT", "NVDA"],
        "detectors.correlation_break.pairs": [["GOOG", "GOOGL"]],
        "universe.mutes": [{"symbol": "AAPL", "until": "2030-01-01T00:00:00Z"}],
        "data_dir": str(old.data_dir),
    }
    safe, restart = diff(old, load_settings(None, flags, {}))
    assert safe == ["budget.cooldown_min", "detectors.burst_up.min_deviation", "universe.mutes"]
    assert restart == [
        *("detectors.correlation_break.pairs", "detectors.gap.enabled", "http.port"),
        *("universe.sectors", "universe.sectors.tech", "universe.symbols.stocks"),
    ]
    assert diff(old, old) == ([], [])


def test_a_mute_ends(write):
    flags = {"universe.mutes": [{"symbol": "AAPL", "kind": "gap", "until": "2030-01-01T00:00:00Z"}]}
    (mute,) = load_settings(None, flags, {}).universe.mutes
    before, after = datetime(2029, 12, 31, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    assert mute.covers("stocks:AAPL", "gap", before)
    assert not mute.covers("stocks:AAPL", "gap", after)
    assert not mute.covers("stocks:AAPL", "burst_up", before)
    assert not mute.covers("stocks:MSFT", "gap", before)


def test_settings_are_frozen_and_travel():
    settings = load_settings(None, environ={"POLYGON_API_KEY": "k"})
    with pytest.raises(ValueError, match="frozen"):
        settings.shards = 2
    assert pickle.loads(pickle.dumps(settings)) == settings
    error = pickle.loads(pickle.dumps(ConfigError(["a", "b"])))
    assert error.lines == ["a", "b"]


def test_each_kind_has_a_section():
    assert set(type(Settings().detectors).model_fields) == set(Kind)


def test_the_published_schema_is_current_and_accepts_the_defaults():
    assert json.loads(PUBLISHED.read_text()) == schema(), "run: tapewatch config schema > " + PUBLISHED.name
    jsonschema.validate(yaml.safe_load("budget: {cooldown_min: 1}\nassets: [stocks]"), schema())
    for wrong in ({"budgt": {}}, {"assets": []}, {"bar_lengths": []}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema())


def test_every_key_says_what_it_is():
    def undocumented(model, prefix=""):
        for name, field in model.model_fields.items():
            inner = field.annotation
            if hasattr(inner, "model_fields"):
                yield from undocumented(inner, f"{prefix}{name}.")
            elif field.description is None:
                yield prefix + name

    plain = {"enabled", "direction", "url", "timeout_s", "mutes", "quiet", "min_severity", "ws_secure"}
    assert {p for p in undocumented(Settings) if p.split(".")[-1] not in plain and "tiers" not in p} == {
        *(f"universe.symbols.{a}" for a in AssetClass),
        "notifications.quiet_min_severity",
    }


VALUE = st.text("a1,:[{", max_size=4) | st.integers() | st.lists(st.none(), max_size=2)


@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), VALUE))
def test_any_value_gives_settings_or_a_config_error(content):
    with suppress(ConfigError):
        load_settings(None, content, {})


WORD = st.text("ab", min_size=1)


@given(st.dictionaries(WORD, st.dictionaries(WORD, st.integers(), min_size=1)))
def test_nest_undoes_flatten(nested):
    assert nest(flatten(nested)) == nested
