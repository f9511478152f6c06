"""The command line: help, exit codes, one line per mistake, light to start."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ray_apps.cli import command as whole
from ray_apps.cli import run
from ray_apps.commands.common import instant, zone
from ray_apps.commands.lines import as_csv, line
from ray_apps.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"numpy", "pandas", "pydantic", "fastapi", "ray", "rich", "httpx", "psycopg", "redis", "yaml", "numba"}


def commands():
    def leaves(command, path):
        inner = getattr(command, "commands", None)
        if inner is None:
            yield path, command
        else:
            for name, child in inner.items():
                yield from leaves(child, [*path, name])

    return list(leaves(whole(), []))


@pytest.fixture(autouse=True)
def _own_world(monkeypatch, tmp_path):
    for name in ("POLYGON_API_KEY", "MASSIVE_API_KEY", "DATABASE_URL", "REDIS_URL", "TAPEWATCH_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


@pytest.fixture
def tapewatch(capsys):
    def call(*args: str) -> tuple[int, str, str]:
        code = run(list(args))
        out, err = capsys.readouterr()
        return code, out, err

    return call


NO_SINK = "--sink: expected one of webhook, redis, console, grafana, was 'nope'"


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_help_has_an_example(tapewatch, path):
    code, out, _ = tapewatch(*path, "--help")
    assert code == 0
    assert "Example: " in out
    assert " ".join(["tapewatch", *path]) in " ".join(out.split("Example: ")[1].split())


def test_every_option_says_what_it_does():
    for path, command in commands():
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{path} {parameter.name}"


def test_the_commands_of_the_issue_are_there():
    names = {" ".join(path) for path, _ in commands()}
    assert names >= {"up", "check", "simulate", "config show", "config check", "anomalies", "tail", "bench", "version"}
    assert names >= {"db migrate", "db size", "replay", "backfill", "import", "quality"}


def test_no_arguments_is_help(tapewatch):
    assert tapewatch()[0] == 0


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nope"], 2, "No such command 'nope'"),
        (["up", "--nope"], 2, "No such option"),
        (["up", "--speed", "x"], 2, "--speed: expected a valid number, was 'x'"),
        (["up", "--speed", "-1"], 2, "simulator.speed (command line): expected greater than 0, was -1.0"),
        (["up", "--symbols", "20000"], 2, "simulator.symbols (command line): expected less than or equal to 11000"),
        (["up", "--asset", "bonds"], 2, "assets.0 (command line): expected 'stocks', 'crypto'"),
        (["up", "--source", "/no/such/folder"], 2, "expected synthetic, polygon, push or a folder of bars"),
        (["up", "--source", "tests/support"], 2, "--source: expected files NAME.csv.gz, NAME.csv, NAME.parquet in"),
        (["up", "--source", "polygon"], 2, "POLYGON_API_KEY: expected a key for the source polygon, was none"),
        (
            ["up", "--data-dir", "/etc/passwd"],
            2,
            "--data-dir: expected a folder that can be written, was '/etc",
        ),
        (["up", "--data-dir", "/proc/x"], 2, "--data-dir: expected a folder that can be written, was '/proc/x'"),
        (["up", "--config", "/no/such.yaml"], 2, "/no/such.yaml: expected a readable config file"),
        (["bench", "nope"], 2, "NAME: expected one of parse"),
        (["anomalies", "--since", "x"], 2, "--since: expected an instant"),
        (["anomalies", "--kind", "x"], 2, "--kind: expected one of volume_spike"),
        (["anomalies", "--tz", "Mars/Base"], 2, "--tz: expected a time zone"),
        (["anomalies", "--limit", "0"], 2, "--limit: expected greater than or equal to 1, was '0'"),
        (["anomalies", "--since", "1h", "--until", "2h"], 2, "--since: expected an instant before --until, was 20"),
        (["anomalies"], 1, "expected a database in"),
        (["tail", "--severity", "nope"], 2, "--severity: expected one of low, medium, high, critical, was 'nope'"),
        (["tail", "--kind", "nope"], 2, "--kind: expected one of volume_spike"),
        (["tail", "--symbol", "a b"], 2, "--symbol: expected a symbol such as AAPL"),
        (["outbox", "dead", "--sink", "nope"], 2, NO_SINK),
        (["outbox", "resend", "--sink", "nope"], 2, NO_SINK),
        (["db", "size"], 1, "expected a database in"),
        (["simulate", "--asset", "bonds"], 2, "--asset: expected some of stocks, crypto"),
        (["simulate", "--source", "/no/such/folder"], 2, "--source: expected 'synthetic' or a folder"),
        (["simulate", "--fault", "nope=1"], 2, "error: --fault: expected a name such as "),
        (["simulate", "--fault", "late_fraction=7"], 2, "--fault late_fraction: expected `float` <= 1.0, was 7"),
        (["simulate", "--ws-port", "65535"], 2, "--ws-port: expected a port from 0 to 65534, was 65535"),
        (["simulate", "--asset", ","], 2, "--asset: expected at least one asset class"),
        (["simulate", "--labels", "/nope/x.csv"], 2, "--labels: expected a file in a folder that exists"),
        (["simulate", "--start", "1900-01-01"], 2, "--start: expected a time from 1971 to 2100"),
        (["config"], 2, "Missing command"),
        (["backfill"], 2, "expected --asset, was none"),
        (["bench"], 2, "expected NAME, was none"),
        (["backfill", "--asset", "crypto", "--bar", "7m"], 2, "--bar: expected one of 1s, 1m, 5m, 1h, 1d, was '7m'"),
        (["backfill", "--asset", "crypto"], 1, "POLYGON_API_KEY: expected a key, was none"),
    ],
)
def test_a_mistake_is_one_line_on_stderr(tapewatch, args, code, said):
    got, out, err = tapewatch(*args)
    assert (got, out) == (code, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert said in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["config", "show", "--config", "/no/such.yaml"], "/no/such.yaml: expected a readable config file"),
        (["check", "--config", "/no/such.yaml"], "/no/such.yaml: expected a readable config file"),
        (["anomalies", "--kind", "x"], "--kind: expected one of"),
        (["bench", "nope"], "NAME: expected one of"),
        (["anomalies", "--nope"], "No such option"),
    ],
)
def test_a_program_reads_a_mistake_as_json(tapewatch, args, said):
    code, out, err = tapewatch(*args, "--json")
    assert code == 2
    assert said in json.loads(out)["error"]
    assert said in err


def test_a_key_whose_plans_watch_nothing_is_said_before_anything_starts(tapewatch, monkeypatch, tmp_path):
    monkeypatch.setenv("POLYGON_API_KEY", "hunter22")
    code, out, err = tapewatch("up")
    assert (code, out) == (2, "")
    assert "stocks: not watched: the basic plan" in err
    assert "POLYGON_TIER_CRYPTO" in err
    assert "expected an asset class that can be watched" in err
    assert not any(tmp_path.iterdir())


def test_config_check_names_every_fault(tapewatch, tmp_path, monkeypatch):
    path = tmp_path / "c.yaml"
    path.write_text("budget: {cooldown_min: x}\nnope: 1\n")
    monkeypatch.setenv("POLYGON_TIER_STOCKS", "gold")
    code, _, err = tapewatch("config", "check", "--config", str(path))
    assert (code, len(err.splitlines())) == (2, 3)
    assert "POLYGON_TIER_STOCKS: expected 'basic'" in err
    path.write_text("budget: {cooldown_min: 5}")
    monkeypatch.setenv("POLYGON_TIER_STOCKS", "starter")
    monkeypatch.setenv("TAPEWATCH_NOPE", "1")
    code, out, err = tapewatch("config", "check", "--config", str(path))
    assert (code, out) == (0, f"ok: {path}\n")
    assert "TAPEWATCH_NOPE" in err


def test_config_check_gives_a_program_each_fault(tapewatch, tmp_path, monkeypatch):
    monkeypatch.setenv("TAPEWATCH_NOPE", "1")
    path = tmp_path / "c.yaml"
    path.write_text("budget: {cooldown_min: x}\nnope: 1\n")
    code, out, err = tapewatch("config", "check", "--config", str(path), "--json")
    told = json.loads(out)
    assert err.splitlines() == [f"error: {fault}" for fault in told["faults"]]
    assert (code, told["ok"], told["file"]) == (2, False, str(path))
    assert [fault.partition(": expected ")[0] for fault in told["faults"]] == [
        f"{path}: budget.cooldown_min",
        f"{path}: nope",
    ]
    missing = json.loads(tapewatch("config", "check", "--config", "/no/such.yaml", "--json")[1])
    assert (missing["ok"], missing["file"], len(missing["faults"])) == (False, "/no/such.yaml", 1)
    path.write_text("data_dir: elsewhere")
    code, out, _ = tapewatch("config", "check", "--config", str(path), "--json")
    told = json.loads(out)
    assert (code, told["ok"], told["file"]) == (0, True, str(path))
    assert "TAPEWATCH_NOPE" in told["unknown_variables"]


def test_config_check_names_the_file_of_the_data_folder_wherever_that_sends_the_data(tapewatch, tmp_path):
    home = tmp_path / "tapewatch"
    home.mkdir()
    (home / "tapewatch.yaml").write_text(f"data_dir: {tmp_path / 'elsewhere'}")
    assert tapewatch("config", "check")[1] == f"ok: {home / 'tapewatch.yaml'}\n"


def test_the_config_file_of_the_readme_passes(tapewatch, tmp_path, monkeypatch):
    (text,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert tapewatch("config", "check", "--config", str(path))[:2] == (0, f"ok: {path}\n")
    path.write_text(text.replace("# sinks:", "sinks:"))
    assert tapewatch("config", "check", "--config", str(path))[0] == 2
    monkeypatch.setenv("TAPEWATCH_SINKS__WEBHOOK__SECRET", "hunter2-hunter2")
    assert tapewatch("config", "check", "--config", str(path))[0] == 0
    assert "example.org" in tapewatch("config", "show", "--config", str(path))[1]


def test_config_show_hides_secrets_and_can_be_read_back(tapewatch, tmp_path, monkeypatch):
    monkeypatch.setenv("POLYGON_API_KEY", "hunter2")
    monkeypatch.setenv("TAPEWATCH_BUDGET__COOLDOWN_MIN", "5")
    code, out, _ = tapewatch("config", "show")
    assert code == 0
    assert "hunter2" not in out
    assert "cooldown_min: 5.0" in out
    monkeypatch.delenv("POLYGON_API_KEY")
    (tmp_path / "again.yaml").write_text(tapewatch("config", "show")[1])
    assert tapewatch("config", "show", "--config", str(tmp_path / "again.yaml"))[0] == 0
    changed = json.loads(tapewatch("config", "show", "--changed", "--json")[1])
    assert changed == {"data_dir": str(tmp_path / "tapewatch"), "budget": {"cooldown_min": 5.0}}


def test_check_without_a_key_says_what_each_plan_allows(tapewatch, monkeypatch):
    monkeypatch.setenv("POLYGON_TIER_STOCKS", "starter")
    code, out, _ = tapewatch("check")
    assert code == 0
    assert "none set (POLYGON_API_KEY)" in out
    assert "stocks starter: delayed 15 min" in out
    assert "crypto basic: no live data" in out
    rows = json.loads(tapewatch("check", "--all", "--json")[1])["classes"]
    assert [r["live"] for r in rows] == ["delayed", *["rest only"] * 5]


def test_starting_is_light():
    code = "import sys, ray_apps.cli; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_instants():
    now = datetime(2026, 1, 2, tzinfo=UTC)
    new_york = zone("America/New_York")
    assert instant("2026-01-02T09:30", "--since", new_york) == datetime(2026, 1, 2, 14, 30, tzinfo=UTC)
    assert instant("2026-01-02T09:30Z", "--since", new_york) == datetime(2026, 1, 2, 9, 30, tzinfo=UTC)
    assert instant("90m", "--since", UTC, now) == datetime(2026, 1, 1, 22, 30, tzinfo=UTC)
    assert instant(None, "--since", UTC) is None
    for wrong in ("", "yesterday", "999999w", "2026-13-01"):
        with pytest.raises(UsageError, match="--since: expected an instant"):
            instant(wrong, "--since", UTC)


FOUND = {
    "id": "ab",
    "asset_class": "stocks",
    "symbol": "AAPL",
    "bar_s": 60,
    "ts": "2026-01-02T14:31:00Z",
    "available_at": "2026-01-02T14:32:00Z",
    "kind": "burst_up",
    "score": 6.1,
    "p_value": 2e-6,
    "rate": 0.001,
    "severity": "high",
    "state": "provisional",
    "episode_id": None,
    "reading": "+1.8 % on 9.46x normal volume",
}


def test_lines():
    assert line("anomaly", FOUND, zone("America/New_York")) == (
        "ANOMALY burst_up AAPL  +1.8 % on 9.46x normal volume  p=2e-6  rate 0.001/day  severity high  "
        "2026-01-02 09:32:00"
    )
    episode = {**FOUND, "symbol": None, "n_anomalies": 7, "last_at": FOUND["ts"]}
    assert line("episode", episode, UTC).startswith("EPISODE burst_up stocks market  7 anomalies  p=2e-6")
    assert as_csv([FOUND], UTC).splitlines()[1].startswith("ab,stocks,AAPL,60,2026-01-02T14:31:00+00:00,")
