"""What the Market board asks of a database with many bars: right figures, each table read once."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.grafana.board_files import FOLDER, load, panels
from tests.support.dashboards import Substitution
from tests.support.postgres import query
from tests.support.store import T0

pytestmark = pytest.mark.integration
BOARD = load(FOLDER / "dashboards" / "market.json")
START = T0 // 1_000_000_000
N_SERIES, MINUTES, ROWS = 2_000, 60, 50
OLDER = 400  # windows of five minutes
SPAN = (START, START + 60 * MINUTES)
SERIES = """
INSERT INTO series (id, asset_class, slot, symbol, bar_s)
SELECT i, 'stocks', i, 'S' || i, CASE WHEN i < %s THEN 60 ELSE 1 END FROM generate_series(0, 2 * %s - 1) i
"""
BARS = """
INSERT INTO {table} (series_id, ts, open, high, low, close, volume{more})
SELECT i, to_timestamp(%s + m * %s), 100, 100 + i, 100, 100 + i, 1{values}
FROM generate_series(0, %s - 1) m, generate_series(0, %s - 1) i WHERE (i + m) %% 4 = 0
"""


@pytest.fixture(scope="module")
def stored(dsn: str) -> str:
    """Give an hour in which a quarter of the series prints each minute; as many series of seconds are beside them."""
    day = START // 86_400 * 86_400
    query(dsn, SERIES, N_SERIES, N_SERIES)
    query(dsn, f"CREATE TABLE a_day PARTITION OF bars FOR VALUES FROM ({at(day)}) TO ({at(day + 86_400)})")
    live = BARS.format(table="bars", more=", received_at, in_state", values=", now(), true")
    query(dsn, live, START, 60, MINUTES, 2 * N_SERIES)
    rolled_up = BARS.format(table="bars_5m", more="", values="")
    query(dsn, rolled_up, START - OLDER * 300, 300, OLDER, N_SERIES)
    query(dsn, rolled_up, START, 300, MINUTES // 5, N_SERIES)
    query(dsn, "VACUUM ANALYZE")
    return dsn


def at(second: int) -> str:
    return f"to_timestamp({second})"


def sql_of(title: str) -> str:
    (panel,) = [p for p in panels(BOARD) if p["title"] == title]
    return Substitution({"market": ["stocks"]}, *SPAN).sql(panel["targets"][0]["rawSql"])


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def ran(dsn: str, title: str) -> list[dict[str, Any]]:
    """Give the steps the database took."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SET enable_sort = off")  # what is sorted all the same cannot be had without
        row = conn.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql_of(title)}".encode()).fetchone()
    assert row is not None
    (explained,) = row[0] if isinstance(row[0], list) else json.loads(row[0])
    return list(nodes(explained["Plan"]))


def test_the_part_with_a_bar_is_of_the_minute_series(stored: str) -> None:
    rows = query(stored, sql_of("Part of all minute series with a bar stored"))
    assert [(metric, value) for _, metric, value in rows] == [("stocks", 0.25)] * MINUTES


def test_no_bar_is_sorted_to_count_it_and_no_table_read_for_each_minute(stored: str) -> None:
    steps = ran(stored, "Part of all minute series with a bar stored")
    assert not [step for step in steps if step.get("Parent Relationship") == "SubPlan"]
    assert max(step["Actual Rows"] for step in steps if "Sort" in step["Node Type"]) <= MINUTES


def test_the_largest_moves_are_shown_and_only_their_anomalies_counted(stored: str) -> None:
    rows = query(stored, sql_of("Heat map of moves"))
    assert [row[0] for row in rows] == [f"S{i}" for i in range(N_SERIES - 1, N_SERIES - 1 - ROWS, -1)]
    assert rows[0][3:5] == (pytest.approx(19.99), pytest.approx(19.99))
    counted = [s["Actual Loops"] for s in ran(stored, "Heat map of moves") if s.get("Relation Name") == "anomalies"]
    assert max(counted) == ROWS


def test_five_minute_bars_of_the_time_shown_are_found_among_older_ones(stored: str) -> None:
    steps = ran(stored, "Closed higher, closed lower")
    assert "bars_5m_ts" in {step.get("Index Name") for step in steps}
    assert len(query(stored, sql_of("Closed higher, closed lower"))) == MINUTES // 5


def test_it_is_asked_once_a_minute() -> None:
    assert BOARD["refresh"] == "1m"
