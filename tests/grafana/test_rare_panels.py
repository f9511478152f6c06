"""Panels about what a quiet ten minutes do not show: shocks, retractions, holes, dead letters, on stored rows."""

import asyncio

import psycopg
import pytest

from ray_apps.store import anomalies
from ray_apps.store.connect import connect
from ray_apps.store.rows import OutboxRow
from tests.grafana.board_files import DASHBOARDS, load, panels
from tests.support.dashboards import Substitution
from tests.support.postgres import query
from tests.support.store import T0, anomaly, episode

pytestmark = pytest.mark.integration
HOLE = """
INSERT INTO gaps (asset_class, from_ts, to_ts, reason, is_filled)
VALUES ('stocks', to_timestamp(%s), to_timestamp(%s), 'reconnect', true)
"""
SPAN = (T0 / 1e9 - 3_600, T0 / 1e9 + 3_600)


@pytest.fixture(scope="module")
def stored(dsn: str) -> str:
    """Give a database with a shock of two members, a retraction, a hole and a dead letter."""
    shock = episode(1, symbol=None, kind="market_shock", breadth=0.7, leaders=["NVDA", "AMD"], members=[2])
    rows = [
        anomaly(1, symbol="NVDA", kind="market_shock", episode_id=shock.id),
        anomaly(2, symbol="AMD", kind="market_shock", episode_id=shock.id),
        anomaly(3, state="retracted"),
    ]

    async def store() -> None:
        async with await connect(dsn, "test") as conn:
            await conn.execute(anomalies.STAGE.encode())
            async with conn.transaction():
                await anomalies.put_episodes(conn, [shock])
                await anomalies.put(conn, rows)
                await anomalies.put_outbox(conn, [OutboxRow("webhook", "anomaly", "k", {})])

    asyncio.run(store())
    query(dsn, "UPDATE outbox SET dead_at = now(), attempts = 3, last_error = 'expected status 2xx, was 400'")
    query(dsn, HOLE, T0 / 1e9, T0 / 1e9 + 120)
    return dsn


def shown(dsn: str, title: str, **chosen: list[str] | str) -> list[dict[str, object]]:
    panel = next(p for path in DASHBOARDS for p in panels(load(path)) if p["title"] == title)
    sql = Substitution({"market": ["stocks"], **chosen}, *SPAN).sql(panel["targets"][0]["rawSql"])
    with psycopg.connect(dsn, autocommit=True) as conn:
        cursor = conn.execute(sql.encode())
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def test_a_shock_with_its_members(stored: str) -> None:
    (shock,) = shown(stored, "Shocks")
    assert (shock["members"], shock["led by"], shock["breadth"]) == (2, "NVDA, AMD", 0.7)
    members = shown(stored, "Members of shocks")
    assert {(m["symbol"], m["episode"]) for m in members} == {("NVDA", shock["id"]), ("AMD", shock["id"])}


def test_scores_are_of_what_still_stands(stored: str) -> None:
    scores = shown(stored, "Scores of $symbol's anomalies by kind", symbol=["NVDA", "AAPL"])
    assert [(row["metric"], row["value"]) for row in scores] == [("burst", 5.5)]


def test_rates_are_of_the_kinds_chosen(stored: str) -> None:
    def counted(kind: list[str] | str) -> int:
        rates = shown(stored, "Rates of anomalies", kind=kind, budget="0.03")
        return sum(int(str(row["anomalies"])) for row in rates)

    assert counted(".*") == 3
    assert counted(["market_shock"]) == 2
    assert counted(["burst_up", "market_shock"]) == 3
    assert counted(["burst", "shock"]) == 0


def test_what_was_taken_back_lost_or_given_up(stored: str) -> None:
    (retracted,) = shown(stored, "Retracted")
    assert retracted["id"] == anomaly(3).id
    (hole,) = shown(stored, "Holes")
    assert (hole["length"], hole["reason"], hole["filled"]) == (120, "reconnect", True)
    (dead,) = shown(stored, "Given up")
    assert (dead["sink"], dead["tries"]) == ("webhook", 3)
