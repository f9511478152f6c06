"""`tapewatch grafana sync` against a small Grafana: made once, then only what differs; a dry run writes nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_apps.cli import run
from ray_apps.grafana.boards import FOLDER, read
from tests.grafana.board_files import rules as alerts
from tests.support.grafana_server import TOKEN, FakeGrafana, grafana_server

pytestmark = pytest.mark.integration
SOURCES = ("--prometheus", "http://prometheus:9090", "--database", "postgresql://reader:pw@db:5432/tape")
N_STEPS = 1 + 2 + 5 + 3


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    with grafana_server() as server:
        yield server


@pytest.fixture
def sync(grafana: FakeGrafana, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TAPEWATCH_SINKS__GRAFANA__TOKEN", raising=False)

    def sync(*args: str, token: str = TOKEN) -> tuple[int, str, str]:
        base = ["grafana", "sync", "--data-dir", str(tmp_path), "--url", grafana.url, "--token", token]
        code = run([*base, *args])
        said = capsys.readouterr()
        return code, said.out, said.err

    return sync


def test_a_dry_run_says_all_and_writes_nothing(grafana: FakeGrafana, sync) -> None:
    code, out, _ = sync(*SOURCES, "--dry-run")
    assert code == 0
    assert [line[0] for line in out.splitlines()] == ["+"] * N_STEPS
    assert grafana.writes == []


def test_all_is_made_once_and_then_left_alone(grafana: FakeGrafana, sync) -> None:
    assert sync(*SOURCES)[0] == 0
    assert set(grafana.boards) == {f"tapewatch-{n}" for n in ("tape", "market", "detectors", "health", "alerts")}
    assert grafana.boards["tapewatch-tape"]["meta"]["folderUid"] == "tapewatch"
    assert {d["type"] for d in grafana.datasources.values()} == {"prometheus", "grafana-postgresql-datasource"}
    rules = [rule for group in grafana.rules.values() for rule in group["rules"]]
    assert {rule["title"] for rule in rules} == {rule["alert"] for rule in alerts("alerts.yaml")}
    before = len(grafana.writes)
    code, out, _ = sync(*SOURCES)
    assert code == 0
    assert [line[0] for line in out.splitlines()] == ["="] * N_STEPS
    assert len(grafana.writes) == before


def test_only_what_was_changed_is_written_again_and_the_diff_says_what(grafana: FakeGrafana, sync) -> None:
    sync(*SOURCES)
    grafana.boards["tapewatch-tape"]["dashboard"]["refresh"] = "1h"
    group = next(g for k, g in grafana.rules.items() if k.endswith("tapewatch_feeds"))
    group["rules"][0]["labels"]["severity"] = "info"
    del group["rules"][-1]
    grafana.writes.clear()
    _, out, _ = sync(*SOURCES, "--dry-run")
    assert '- "refresh": "1h"' in out
    assert '+ "refresh": "10s"' in out
    assert '"severity": "info"' in out
    assert grafana.writes == []
    _, out, _ = sync(*SOURCES, "--json")
    actions = {(s["what"], s["name"]): s["action"] for s in json.loads(out)}
    assert [k for k, action in actions.items() if action == "update"] == [
        ("board", "Tapewatch: tape"),
        ("alert rules", "tapewatch_feeds"),
    ]
    assert grafana.boards["tapewatch-tape"]["dashboard"]["refresh"] == "10s"
    assert len(grafana.writes) == 2


def test_the_boards_lead_to_the_gateway_that_is_named(grafana: FakeGrafana, sync) -> None:
    assert sync(*SOURCES, "--gateway", "https://tape.example")[0] == 0
    for held in grafana.boards.values():
        (typed,) = [v for v in held["dashboard"]["templating"]["list"] if v["name"] == "gateway"]
        assert (typed["query"], typed["current"]["value"]) == ("https://tape.example", "https://tape.example")


def test_the_databases_password_is_sent_and_never_printed(grafana: FakeGrafana, sync) -> None:
    code, out, err = sync("--prometheus", "http://p:9090", "--database", "postgresql://reader:s3cret@db/tape", "--json")
    assert code == 0
    assert "s3cret" not in out + err
    assert grafana.datasources["tapewatch-postgres"]["secureJsonFields"] == {"password": True}


def test_rules_need_a_data_source(grafana: FakeGrafana, sync) -> None:
    code, _, err = sync()
    assert code == 1
    assert "--prometheus" in err
    grafana.datasources["mine"] = {"uid": "mine", "name": "mine", "type": "prometheus"}
    assert sync("--prometheus-uid", "mine", "--runbooks", "https://docs.example/")[0] == 0
    rule = next(iter(grafana.rules.values()))["rules"][0]
    assert rule["data"][0]["datasourceUid"] == "mine"
    assert rule["annotations"]["runbook_url"] == "https://docs.example/grafana/RUNBOOK.md#feed-silent"


def test_what_is_wrong_is_one_line(sync, tmp_path: Path) -> None:
    code, _, err = sync(token="another-token")
    assert (code, err.count("\n")) == (1, 1)
    assert "is the token of this Grafana" in err
    code, _, err = sync("--dir", str(tmp_path))
    assert code == 2
    assert "expected dashboards/*.json" in err
    code, _, err = sync("--database", "mysql://x")
    assert code == 2
    assert "expected postgresql://" in err
    assert run(["grafana", "sync", "--data-dir", str(tmp_path), "--url", "http://127.0.0.1:1"]) == 2
    assert run(["grafana", "sync", "--data-dir", str(tmp_path), "--url", "http://127.0.0.1:1", "--token", TOKEN]) == 1


def test_an_alert_asks_prometheus_for_itself() -> None:
    told = read(FOLDER, "f", "p")
    rules = {rule["title"]: rule for group in told.groups.values() for rule in group["rules"]}
    expr = rules["TapewatchBurstSlow"]["data"][0]["model"]["expr"]
    assert expr.startswith("(histogram_quantile(0.99")
    assert not [title for title, rule in rules.items() if ":" in rule["data"][0]["model"]["expr"]]
    assert len({rule["uid"] for rule in rules.values()}) == len(rules)
