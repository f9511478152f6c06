"""Market: what all symbols do together, and whether their bars came."""

from typing import Any

from grafana.boards import panels as p

OF_MARKET = '{asset_class=~"${market:regex}"}'
ADVANCING = """
SELECT $__timeGroupAlias(b.ts, '5m'), avg((b.close > b.open)::int)::float8 AS "closed higher",
    avg((b.close < b.open)::int)::float8 AS "closed lower"
FROM bars_5m b JOIN series s ON s.id = b.series_id
WHERE s.asset_class IN (${market:sqlstring}) AND $__timeFilter(b.ts) GROUP BY 1 ORDER BY 1
"""
# A minute is one window of these series, and a series has one bar of it: there is nothing to sort.
STORED = """
WITH listed AS (SELECT asset_class, count(*)::float8 AS n FROM series WHERE bar_s = 60 GROUP BY 1)
SELECT b.ts AS time, asset_class AS metric, count(*) / min(l.n) AS value
FROM bars b JOIN series s ON s.id = b.series_id JOIN listed l USING (asset_class)
WHERE asset_class IN (${market:sqlstring}) AND s.bar_s = 60 AND $__timeFilter(b.ts) GROUP BY 1, 2 ORDER BY 1
"""
OPENED = """
SELECT $__timeGroupAlias(opened_at, '15m'), severity AS metric, count(*) AS value FROM episodes
WHERE asset_class IN (${market:sqlstring}) AND $__timeFilter(opened_at) GROUP BY 1, 2 ORDER BY 1
"""
HEAT = """
SELECT $__timeGroupAlias(ts, '5m'), kind AS metric, count(*) AS value FROM anomalies
WHERE asset_class IN (${market:sqlstring}) AND state <> 'retracted' AND $__timeFilter(ts) GROUP BY 1, 2 ORDER BY 1
"""
# Anomalies are counted of the fifty that are shown only.
MOVERS = """
WITH spans AS (
    SELECT b.series_id, max(b.ts) AS newest, (array_agg(b.open ORDER BY b.ts))[1] AS open,
        (array_agg(b.close ORDER BY b.ts DESC))[1] AS close, max(b.high) AS high, min(b.low) AS low,
        sum(b.volume) AS volume
    FROM bars_5m b JOIN series s ON s.id = b.series_id
    WHERE s.asset_class IN (${market:sqlstring}) AND $__timeFilter(b.ts) GROUP BY 1
), largest AS (
    SELECT *, close / nullif(open, 0) - 1 AS move FROM spans
    ORDER BY abs(close / nullif(open, 0) - 1) DESC NULLS LAST LIMIT 50
)
SELECT s.symbol, l.newest, l.close, l.move, (l.high - l.low) / nullif(l.low, 0) AS range, l.volume,
    (SELECT count(*) FROM anomalies a WHERE a.symbol = s.symbol AND a.series_id = s.id AND a.state <> 'retracted'
    AND $__timeFilter(a.ts)) AS anomalies
FROM largest l JOIN series s ON s.id = l.series_id ORDER BY abs(l.move) DESC NULLS LAST
"""
EPISODES = """
SELECT opened_at AS opened, last_at AS last, coalesce(symbol, 'market') AS symbol, kind, severity,
    n_anomalies AS anomalies, breadth, rate, notified_at AS notified, id
FROM episodes WHERE asset_class IN (${market:sqlstring}) AND $__timeFilter(opened_at)
ORDER BY opened_at DESC LIMIT 100
"""
HOLES = """
SELECT from_ts AS "from", to_ts AS "to", asset_class AS market, extract(epoch FROM to_ts - from_ts) AS length,
    reason, is_filled AS filled, n_bars AS bars, blind_s AS blind
FROM gaps WHERE asset_class IN (${market:sqlstring}) AND $__timeFilter(to_ts) ORDER BY to_ts DESC LIMIT 100
"""


def _heat(column: str) -> dict[str, Any]:
    steps = p.thresholds([(None, "dark-red"), (-0.02, "red"), (-0.005, "semi-dark-red"), (0, "semi-dark-green"),
                          (0.005, "green"), (0.02, "dark-green")])  # fmt: skip
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [
            {"id": "thresholds", "value": steps},
            {"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}},
        ],
    }


def board() -> dict[str, Any]:
    """Give the board."""
    return p.board(
        "market",
        "market",
        "What all symbols do together, and whether their bars came.",
        [
            p.graph("Breadth", [p.prom(f"max by (asset_class) (tapewatch_market_breadth_ratio{OF_MARKET})",
                                       "{{asset_class}}")],
                    "percentunit", "Part of the active series that moved the market's way by more than one sd."),
            p.graph("Completeness of the newest window",
                    [p.prom(f"min by (asset_class) (tapewatch_window_completeness_ratio{OF_MARKET})",
                            "{{asset_class}}")],
                    "percentunit", "Part of the series that usually print which did.",
                    steps=[(None, "red"), (0.9, "yellow"), (0.99, "green")], defaults={"min": 0, "max": 1}),
            p.graph("Closed higher, closed lower", [p.sql(ADVANCING)], "percentunit",
                    "Part of the symbols, per five minutes."),
            p.graph("Part of all minute series with a bar stored", [p.sql(STORED, series=True)], "percentunit",
                    "Thin symbols do not print every minute: look for a drop."),
            p.graph("Episodes opened", [p.sql(OPENED, series=True)], "short", "By severity, per quarter of an hour.",
                    bars=True),
            p.heatmap("Anomalies by kind", [p.sql(HEAT, series=True)], "short", "Per five minutes.", rows=True),
            p.table("Heat map of moves", p.sql(MOVERS), "The fifty largest over the time shown.", h=10,
                    units={"move": "percentunit", "range": "percentunit"}, overrides=[_heat("move")]),
            p.table("Episodes", p.sql(EPISODES), "A shock is one episode of the market.", h=9,
                    links={"kind": p.EPISODE, "id": p.EPISODE}, severities=("severity",),
                    units={"breadth": "percentunit", "rate": "sci"}),
            p.table("Holes", p.sql(HOLES), "Spans without bars, and whether history filled them.",
                    units={"length": "s", "blind": "s"}, h=6),
        ],
        [{**p.MARKET, "multi": True, "includeAll": True}],
        refresh="1m",  # it reads every bar of the time shown, and they come once a minute
    )  # fmt: skip
