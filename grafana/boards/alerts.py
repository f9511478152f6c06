"""Alerts: what people were told, against what they can read."""

from typing import Any

from grafana.boards import panels as p

TOLD = "FROM episodes WHERE notified_at IS NOT NULL AND $__timeFilter(notified_at)"
LATEST = f"""
SELECT notified_at AS told, asset_class AS market, coalesce(symbol, 'market') AS symbol, kind, severity,
    n_anomalies AS anomalies, rate, p_value AS p, id {TOLD} ORDER BY notified_at DESC LIMIT 100
"""
SHOCKS = """
SELECT opened_at AS opened, asset_class AS market, severity, breadth, (members ->> 0)::int AS members,
    (SELECT string_agg(l.value, ', ') FROM jsonb_array_elements_text(e.leaders) l) AS "led by", rate, id
FROM episodes e WHERE kind = 'market_shock' AND $__timeFilter(opened_at) ORDER BY opened_at DESC LIMIT 50
"""
MEMBERS = """
SELECT a.ts AS time, a.symbol, a.own_kind AS "own kind", a.severity, a.reading, a.id, a.episode_id AS episode
FROM anomalies a JOIN episodes e ON e.id = a.episode_id AND e.kind = 'market_shock'
WHERE $__timeFilter(a.ts) ORDER BY a.ts DESC, a.symbol LIMIT 200
"""
RETRACTED = """
SELECT ts AS time, asset_class AS market, symbol, kind, severity, reading, updated_at AS "taken back", id
FROM anomalies WHERE state = 'retracted' AND $__timeFilter(ts) ORDER BY ts DESC LIMIT 100
"""
DEAD = """
SELECT dead_at AS "given up", sink, topic, attempts AS tries, last_error AS error, key AS id
FROM outbox WHERE dead_at IS NOT NULL ORDER BY id DESC LIMIT 50
"""


def board() -> dict[str, Any]:
    """Give the board."""
    return p.board(
        "alerts",
        "alerts",
        "What people were told, against what they can read.",
        [
            p.number("Told today, of the day's limit",
                     [p.prom("max(max by (namespace) (tapewatch_notifications_today) "
                             "/ max by (namespace) (tapewatch_notifications_day_limit))", "told", instant=True)],
                     "percentunit", "The rarest are told first; what is beyond the limit is stored only.",
                     kind="gauge", steps=[(None, "green"), (0.8, "yellow"), (1, "red")],
                     defaults={"min": 0, "max": 1}),
            p.graph("Told and limit", [p.prom("max(tapewatch_notifications_today)", "told today"),
                                       p.prom("max(tapewatch_notifications_day_limit)", "limit")], "short",
                    "Of the tape's day; the limit is `budget.notifications_per_day`.", w=9, h=5),
            p.graph("Opened and told", [p.prom("sum(increase(tapewatch_episodes_total[$__rate_interval]))", "opened"),
                                        p.prom("sum(increase(tapewatch_notifications_total[$__rate_interval]))",
                                               "told")], "short",
                    "Episodes, within the interval of each point.", w=9, h=5),
            p.bars("By kind", [p.sql(f"SELECT kind, count(*) AS told {TOLD} GROUP BY 1 ORDER BY 2 DESC")], "short",
                   "Episodes told of.", w=8),
            p.bars("By severity", [p.sql(f"SELECT severity, count(*) AS told {TOLD} GROUP BY 1 ORDER BY "
                                         "array_position(ARRAY['low', 'medium', 'high', 'critical'], severity)")],
                   "short", "Episodes told of.", w=8),
            p.bars("By hour of the day, UTC",
                   [p.sql(f"SELECT to_char(notified_at AT TIME ZONE 'UTC', 'HH24') AS hour, count(*) AS told {TOLD} "
                          "GROUP BY 1 ORDER BY 1")], "short", "Episodes told of, by when they were told.", w=8),
            p.table("Told", p.sql(LATEST), "Newest first.", h=9, links={"kind": p.EPISODE, "id": p.EPISODE},
                    severities=("severity",), units={"rate": "sci", "p": "sci"}),
            p.table("Shocks", p.sql(SHOCKS), "One episode each; breadth is the part of the market that moved with it.",
                    links={"severity": p.EPISODE, "id": p.EPISODE}, severities=("severity",),
                    units={"breadth": "percentunit", "rate": "sci"}),
            p.table("Members of shocks", p.sql(MEMBERS), "A symbol's own kind is kept.",
                    links={"reading": p.ENTRY, "id": p.ENTRY}, severities=("severity",)),
            p.table("Retracted", p.sql(RETRACTED), "The vendor corrected the bar.", w=12,
                    links={"reading": p.ENTRY, "id": p.ENTRY}, severities=("severity",)),
            p.graph("Retracted, by kind",
                    [p.prom("sum by (kind) (increase(tapewatch_anomalies_retracted_total[$__rate_interval]))",
                            "{{kind}}")], "short", "Within the interval of each point.", w=12),
            p.table("Given up", p.sql(DEAD), "`tapewatch outbox resend --sink NAME` sends them again.", h=6),
        ],
        since="now-24h",
    )  # fmt: skip
