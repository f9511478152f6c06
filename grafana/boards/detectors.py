"""Detectors: whether p-values keep their promise, what each kind spends, how long it takes, what is ready."""

from typing import Any

from grafana.boards import panels as p

OF = 'asset_class=~"${market:regex}"'
KIND = f'{OF}, kind=~"${{kind:regex}}"'


def _against_uniform(bound: str) -> dict[str, Any]:
    """Give how much more often p is at most `bound` than it should be."""
    share = (
        f'sum by (kind) (increase(tapewatch_p_value_bucket{{{KIND}, le="{bound}"}}[$__range])) '
        f"/ sum by (kind) (increase(tapewatch_p_value_count{{{KIND}}}[$__range])) / {bound}"
    )
    return p.prom(share, f"{{{{kind}}}} p <= {bound}", instant=True)


def _quantile(q: float, metric: str, by: str, selector: str = "") -> dict[str, Any]:
    rate = f"sum by ({by}, le) (rate({metric}_bucket{{{selector}}}[$__rate_interval]))"
    return p.prom(f"histogram_quantile({q}, {rate})", f"{{{{{by}}}}} p{q * 100:g}")


RATES = """
SELECT round(log(${budget} / rate))::text || ' decades' AS "below the budget", count(*) AS anomalies
FROM anomalies WHERE asset_class IN (${market:sqlstring}) AND kind ~ '^(${kind:regex})$' AND rate > 0
    AND $__timeFilter(ts) GROUP BY 1 ORDER BY min(log(${budget} / rate))
"""
BY_KIND = """
SELECT kind, count(*) AS anomalies, count(*) FILTER (WHERE state = 'retracted') AS retracted, min(rate) AS "least rate",
    percentile_cont(0.5) WITHIN GROUP (ORDER BY rate) AS "median rate", min(p_value) AS "least p"
FROM anomalies WHERE asset_class IN (${market:sqlstring}) AND $__timeFilter(ts) GROUP BY kind ORDER BY 2 DESC
"""
KINDS = f"label_values(tapewatch_series_ready{{{OF}}}, kind)"


def board() -> dict[str, Any]:
    """Give the board."""
    # where several hubs or installations are scraped each gauge is there as often: of one they say the same
    by = "max by (namespace, asset_class)"
    spent = (
        f"max by (asset_class) ({by} (tapewatch_episodes_today{{{OF}}}) "
        f"/ ({by} (tapewatch_series) * {by} (tapewatch_budget_episodes_per_symbol_day)))"
    )
    ready = (
        f"sum by (asset_class, kind) (max by (namespace, asset_class, kind) (tapewatch_series_ready{{{KIND}}})) "
        f"/ on (asset_class) group_left () sum by (asset_class) ({by} (tapewatch_series))"
    )
    return p.board(
        "detectors",
        "detectors",
        "Whether p-values keep their promise, what each kind spends, how long it takes, what is ready.",
        [
            p.number("Small p-values against uniform", [_against_uniform(b) for b in ("0.01", "0.001", "0.0001")],
                     "none", "How often p is as small, over how often it should be: 1 is right. Needs some thousand "
                     "bars for 0.001. A real event makes it larger.", w=24, h=7, kind="bargauge",
                     steps=[(None, "yellow"), (0.3, "green"), (3, "orange"), (10, "red")], defaults={"decimals": 2}),
            p.heatmap("p-values", [p.prom(f"sum by (le) (increase(tapewatch_p_value_bucket{{{KIND}}}"
                                          "[$__rate_interval]))", "{{le}}", heatmap=True)],
                      "short", "All kinds chosen together.", y_unit="sci"),
            p.bars("Rates of anomalies", [p.sql(RATES)], "short",
                   "Decades below the budget: where all is normal, each has a tenth of the one before."),
            p.number("Budget spent today", [p.prom(spent, "{{asset_class}}", instant=True)], "percentunit",
                     "Episodes of symbols' own on the tape's day, over series times budget. Real events spend too.",
                     kind="gauge", w=8, h=7, steps=[(None, "green"), (1, "yellow"), (5, "red")],
                     defaults={"min": 0, "max": 10}),
            p.graph("Budget spent over the day", [p.prom(spent, "{{asset_class}}")], "percentunit",
                    "As it grows; it begins again with the tape's next day.", w=16, h=7,
                    steps=[(None, "transparent"), (1, "yellow"), (5, "red")]),
            p.graph("Anomalies", [p.prom(f"sum by (kind) (rate(tapewatch_anomalies_total{{{KIND}}}[$__rate_interval])) "
                                         "* 60", "{{kind}}")], "cpm", "A minute, by kind.", bars=True),
            p.table("Kinds", p.sql(BY_KIND), "What each called over the time shown, and how rare it was.", w=12,
                    units={"least rate": "sci", "median rate": "sci", "least p": "sci"}),
            p.graph("Judge and store a message",
                    [_quantile(q, "tapewatch_apply_seconds", "asset_class", OF) for q in (0.5, 0.99)], "s",
                    "What a shard takes from a message to its commit."),
            p.graph("Learned models' time", [_quantile(q, "tapewatch_score_seconds", "detector") for q in (0.5, 0.99)],
                    "s", "A batch scored in shadow, after the decision."),
            p.number("Ready", [p.prom(ready, "{{asset_class}} {{kind}}", instant=True)],
                     "percentunit", "Part of the series of which a kind can be called.", kind="bargauge", w=12, h=8,
                     steps=[(None, "red"), (0.5, "yellow"), (0.9, "green")], defaults={"min": 0, "max": 1}),
            p.graph("Batches a model did not score",
                    [p.prom("sum by (model, reason) (rate(tapewatch_shadow_batches_lost_total[$__rate_interval]))",
                            "{{model}} {{reason}}")], "cps",
                    "A newer one came first, or the model failed or took too long."),
            p.heatmap("p-values of learned models",
                      [p.prom("sum by (le) (increase(tapewatch_shadow_p_value_bucket[$__rate_interval]))", "{{le}}",
                              heatmap=True)], "short", "They decide nothing.", y_unit="sci"),
            p.number("Learned models against uniform",
                     [p.prom('sum by (model) (increase(tapewatch_shadow_p_value_bucket{le="0.01"}[$__range])) '
                             "/ sum by (model) (increase(tapewatch_shadow_p_value_count[$__range])) / 0.01",
                             "{{model}} p <= 0.01", instant=True)],
                     "none", "1 is right.", kind="bargauge", w=12, h=8, defaults={"decimals": 2}),
        ],
        [
            {**p.MARKET, "multi": True, "includeAll": True},
            p.labels("kind", "Kind", KINDS),
            p.BUDGET,
        ],
    )  # fmt: skip
