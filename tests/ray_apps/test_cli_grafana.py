"""`tapewatch grafana sync` against a small Grafana: made once, then only what differs; a dry run writes nothing."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_apps.cli import run
from ray_apps.grafana.boards import FOLDER, read
from tests.grafana.board_files import rules as alerts
from tests.support.grafana_server import TOKEN, FakeGrafana, grafana_server
from tests.support.http_server import ScriptedHttp, answer

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
    assert [line[0] for line in out.splitlines()] == [*"==~", *["="] * (N_STEPS - 3)]
    assert grafana.writes[before:] == ["PUT /api/datasources/uid/tapewatch-postgres"]


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
        ("data source", "Tapewatch PostgreSQL"),
        ("board", "Tapewatch: tape"),
        ("alert rules", "tapewatch_feeds"),
    ]
    assert grafana.boards["tapewatch-tape"]["dashboard"]["refresh"] == "10s"
    assert len(grafana.writes) == 3


def test_the_boards_lead_to_the_gateway_that_is_named(grafana: FakeGrafana, sync) -> None:
    assert sync(*SOURCES, "--gateway", "https://tape.example")[0] == 0
    for held in grafana.boards.values():
        (typed,) = [v for v in held["dashboard"]["templating"]["list"] if v["name"] == "gateway"]
        assert (typed["query"], typed["current"]["value"]) == ("https://tape.example", "https://tape.example")


@pytest.mark.parametrize(
    ("more", "prometheus"),
    [((), "tapewatch-prometheus"), (("--prometheus-uid", "mine"), "mine")],
    ids=["made", "named"],
)
def test_the_boards_open_on_the_sources_that_were_made_or_named(
    grafana: FakeGrafana, sync, more: tuple[str, ...], prometheus: str
) -> None:
    grafana.datasources["mine"] = {"uid": "mine", "name": "A first one", "type": "prometheus"}
    assert sync(*SOURCES, *more)[0] == 0
    for held in grafana.boards.values():
        variables = {v["name"]: v for v in held["dashboard"]["templating"]["list"]}
        opened = [variables[name]["current"]["value"] for name in ("prometheus", "postgres")]
        assert opened == [prometheus, "tapewatch-postgres"]


def test_the_databases_password_is_sent_and_never_printed(grafana: FakeGrafana, sync) -> None:
    code, out, err = sync("--prometheus", "http://p:9090", "--database", "postgresql://reader:s3cret@db/tape", "--json")
    assert code == 0
    assert "s3cret" not in out + err
    assert grafana.secrets["tapewatch-postgres"] == {"password": "s3cret"}
    assert grafana.datasources["tapewatch-postgres"]["secureJsonFields"] == {"password": True}


def test_a_changed_password_reaches_grafana_and_none_leaves_it_alone(grafana: FakeGrafana, sync) -> None:
    sync(*SOURCES)
    changed = (*SOURCES[:3], "postgresql://reader:another@db:5432/tape")
    code, out, _ = sync(*changed, "--dry-run")
    assert code == 0
    assert "~ data source Tapewatch PostgreSQL\n  its password is written each time" in out
    assert "another" not in out.replace("has another", "")
    assert grafana.secrets["tapewatch-postgres"] == {"password": "pw"}
    assert sync(*changed)[0] == 0
    assert grafana.secrets["tapewatch-postgres"] == {"password": "another"}
    code, out, _ = sync(*SOURCES[:3], "postgresql://reader@db:5432/tape")
    assert (code, "= data source Tapewatch PostgreSQL" in out) == (0, True)
    assert grafana.secrets["tapewatch-postgres"] == {"password": "another"}


def test_a_folder_that_is_there_keeps_its_title(grafana: FakeGrafana, sync) -> None:
    grafana.folders["ops"] = {"uid": "ops", "title": "Operations", "version": 1}
    code, out, _ = sync(*SOURCES, "--folder", "ops")
    assert (code, out.splitlines()[0]) == (0, "= folder Operations")
    assert grafana.folders == {"ops": {"uid": "ops", "title": "Operations", "version": 1}}
    assert grafana.boards["tapewatch-tape"]["meta"]["folderUid"] == "ops"


@pytest.mark.parametrize(
    "said",
    [
        answer(b'{"message": "no such route"}', 404, Content_Type="application/json"),
        answer(b"<html>Please log in</html>", Content_Type="text/html"),
        answer(b"<html>Please log in</html>", Content_Type="application/json"),
        answer(b'["another service"]', Content_Type="application/json"),
    ],
    ids=["nothing there", "a page", "a page said to be JSON", "other JSON"],
)
@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["write", "dry run"])
def test_what_is_no_grafana_is_told_nothing(
    said: bytes, more: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def sync() -> tuple[int, list[str]]:
        async with ScriptedHttp(lambda _path, _number: said) as server:
            options = ["--data-dir", str(tmp_path), "--url", server.url, "--token", TOKEN, *SOURCES, *more]
            code = await asyncio.to_thread(run, ["grafana", "sync", *options])
        return code, [request.split(" HTTP")[0] for request in server.requests]

    assert asyncio.run(sync()) == (1, ["GET /api/health"])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "--url: expected a Grafana" in printed.err
    assert printed.err.count("\n") == 1


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


def test_what_people_read_names_the_querys_value_in_any_grafana() -> None:
    told = read(FOLDER, "f", "p")
    rules = [rule for group in told.groups.values() for rule in group["rules"]]
    notes = [note for rule in rules for note in rule["annotations"].values()]
    assert not [note for note in notes if re.search(r"\$value\b", note)]
    assert [note for note in notes if "{{ $values.A.Value | humanizeDuration }}" in note]
    assert {query["refId"] for rule in rules for query in rule["data"][:1]} == {"A"}


def test_an_alert_asks_prometheus_for_itself() -> None:
    told = read(FOLDER, "f", "p")
    rules = {rule["title"]: rule for group in told.groups.values() for rule in group["rules"]}
    expr = rules["TapewatchBurstSlow"]["data"][0]["model"]["expr"]
    assert expr.startswith("(histogram_quantile(0.99")
    assert not [title for title, rule in rules.items() if ":" in rule["data"][0]["model"]["expr"]]
    assert len({rule["uid"] for rule in rules.values()}) == len(rules)
