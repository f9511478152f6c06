"""Tape: a market's bars with its anomalies on them, a row a symbol."""

from typing import Any

from grafana.boards import panels as p

# Of a symbol the chosen bar length; the table is the chosen resolution.
BARS = """
FROM ${bars} b JOIN series s ON s.id = b.series_id
WHERE s.asset_class = ${market:sqlstring} AND s.symbol IN (${symbol:sqlstring}) AND s.bar_s = ${bar_s}
    AND $__timeFilter(b.ts) ORDER BY b.ts
"""
FOUND = """
FROM anomalies a WHERE a.asset_class = ${market:sqlstring} AND a.symbol IN (${symbol:sqlstring})
    AND a.state <> 'retracted' AND $__timeFilter(a.ts)
"""
PRICE = """
SELECT a.ts AS time, coalesce((a.norms ->> 'price')::float8, b.close) AS anomaly, a.kind, a.severity, a.reading, a.id
FROM anomalies a LEFT JOIN bars b ON b.series_id = a.series_id AND b.ts = a.ts
WHERE a.asset_class = ${market:sqlstring} AND a.symbol IN (${symbol:sqlstring})
    AND a.state <> 'retracted' AND $__timeFilter(a.ts) ORDER BY a.ts
"""
SPIKES = """
SELECT a.ts AS time, b.volume AS spike, a.reading, a.id
FROM anomalies a JOIN bars b ON b.series_id = a.series_id AND b.ts = a.ts
WHERE a.asset_class = ${market:sqlstring} AND a.symbol IN (${symbol:sqlstring}) AND a.state <> 'retracted'
    AND a.kind IN ('volume_spike', 'burst_up', 'burst_down') AND $__timeFilter(a.ts) ORDER BY a.ts
"""
FEEDS = """
SELECT asset_class AS market, status, newest_ts AS "newest bar",
    extract(epoch FROM now() - newest_ts) AS behind, lag_s AS waiting, detail,
    (extract(epoch FROM newest_ts - interval '6 hours') * 1000)::bigint AS "from",
    (extract(epoch FROM newest_ts + interval '5 minutes') * 1000)::bigint AS "to"
FROM feeds ORDER BY asset_class
"""
LIST = """
SELECT ts AS time, symbol, kind, severity, reading, p_value AS p, rate, state, is_late AS late, id, episode_id
FROM anomalies WHERE asset_class = ${market:sqlstring} AND $__timeFilter(ts) ORDER BY ts DESC, rate LIMIT 200
"""
SYMBOLS = """
SELECT s.symbol FROM series s LEFT JOIN (
    SELECT symbol, min(rate) AS rate FROM anomalies
    WHERE asset_class = ${market:sqlstring} AND state <> 'retracted' AND $__timeFilter(ts) GROUP BY symbol
) a USING (symbol) WHERE s.asset_class = ${market:sqlstring} GROUP BY s.symbol ORDER BY min(a.rate) NULLS LAST, 1
"""
LENGTHS = "SELECT bar_s FROM series WHERE asset_class = ${market:sqlstring} GROUP BY bar_s ORDER BY abs(bar_s - 60)"


def board() -> dict[str, Any]:
    """Give the board."""
    there = "/d/tapewatch-tape?${__all_variables}&from=${__data.fields.from}&to=${__data.fields.to}"
    shown = {"title": "show its last six hours", "url": there}
    goes = {"matcher": {"id": "byName", "options": "newest bar"}, "properties": [{"id": "links", "value": [shown]}]}
    severities = [(None, "transparent"), (1, "blue"), (3, "yellow"), (30, "orange"), (300, "red")]
    return p.board(
        "tape",
        "tape",
        "A market's bars with its anomalies. Times are the tape's: of a simulated or replayed tape, click on its "
        "newest bar to show that time.",
        [
            p.table("Where each tape is", p.sql(FEEDS), "A click on the newest bar shows the six hours before it.",
                    h=5, units={"behind": "s", "waiting": "s"}, hide=("from", "to"), overrides=[goes]),
            p.table("Anomalies", p.sql(LIST), "The market's, newest first; rate: false episodes per symbol and day.",
                    h=9, links={"reading": p.ENTRY, "id": p.ENTRY}, severities=("severity",), hide=("episode_id",),
                    units={"p": "sci", "rate": "sci"}),
            p.row("$symbol", repeat="symbol"),
            p.graph("Price of $symbol", [p.sql(f"SELECT b.ts AS time, b.close AS price {BARS}"), p.sql(PRICE)],
                    "none", "Points are anomalies; click on one for its entry.",
                    overrides=[p.as_points("anomaly", "red")]),
            p.graph("Volume of $symbol", [p.sql(f"SELECT b.ts AS time, b.volume AS volume {BARS}"), p.sql(SPIKES)],
                    "short", "Points are bars whose activity was called.", bars=True,
                    overrides=[p.as_points("spike", "red")]),
            p.graph("How far below the budget $symbol's bars were",
                    [p.sql(f"SELECT a.ts AS time, ${{budget}} / a.rate AS times, a.kind, a.reading, a.id {FOUND} "
                           "AND a.rate > 0 ORDER BY a.ts")],
                    "short", "Budget over rate: from 1 on a bar is an anomaly, from 3 medium, 30 high, 300 critical.",
                    w=12, h=7, log=True, points=True, steps=severities, overrides=[p.as_points("times", "purple")]),
            p.graph("Scores of $symbol's anomalies by kind",
                    [p.sql("SELECT a.ts AS time, k.key AS metric, k.value::float8 AS value FROM anomalies a, "
                           "jsonb_each_text(a.scores) k WHERE a.asset_class = ${market:sqlstring} "
                           "AND a.symbol IN (${symbol:sqlstring}) AND a.state <> 'retracted' AND k.value IS NOT NULL "
                           "AND $__timeFilter(a.ts) ORDER BY a.ts", series=True)],
                    "short", "Standard deviations; what each kind's detector said of the same bar.", h=7, points=True),
        ],
        [
            p.MARKET,
            p.choice("symbol", "Symbols", SYMBOLS, multi=True),
            p.choice("bar_s", "Bar length, s", LENGTHS),
            p.custom("bars", "Resolution", ["bars", "bars_5m", "bars_1h"]),
            p.BUDGET,
        ],
    )  # fmt: skip
