"""Health: whether every part works and keeps up."""

from typing import Any

from grafana.boards import panels as p

RAY_ABOUT = "Ray's own metrics, where Prometheus scrapes its nodes (on a cluster)."


def _rate(metric: str, by: str, legend: str) -> dict[str, Any]:
    return p.prom(f"sum by ({by}) (rate({metric}[$__rate_interval]))", legend)


def _held(metric: str, by: str, legend: str) -> dict[str, Any]:
    """Give a gauge once of each installation, however many hubs say it, and their sum."""
    return p.prom(f"sum by ({by}) (max by (namespace, {by}) ({metric}))", legend)


def _ray(function: str, by: str, metric: str) -> dict[str, Any]:
    """Ask Ray where Tapewatch is or was: a Prometheus may scrape other clusters of Ray in other namespaces."""
    ours = f"{metric} and on (namespace) last_over_time(tapewatch_ready[$__range])"
    return p.prom(f"{function} by ({by}) ({ours})", f"{{{{{by}}}}}")


def board() -> dict[str, Any]:
    """Give the board."""
    burst = "sum by (asset_class, le) (rate(tapewatch_burst_seconds_bucket[$__rate_interval]))"
    up_down = [{"type": "value", "options": {"0": {"text": "down", "color": "red"},
                                             "1": {"text": "up", "color": "green"}}}]  # fmt: skip
    return p.board(
        "health",
        "health",
        "Whether every part works and keeps up.",
        [
            p.number("Parts", [p.prom("min by (part) (tapewatch_ready)", "{{part}}", instant=True)], "short",
                     "Down where one of the same name says so.", w=12, defaults={"mappings": up_down}),
            p.number("Silent processes", [p.prom("max by (process) (tapewatch_process_silent_seconds)", "{{process}}",
                                                 instant=True)],
                     "s", "Since a process last sent its metrics: a shard that is down grows.", w=12,
                     steps=[(None, "green"), (15, "yellow"), (60, "red")]),
            p.graph("Bars received", [_rate("tapewatch_bars_received_total", "asset_class, bar_length",
                                            "{{asset_class}} {{bar_length}}")], "cps", "Parsed from the feeds."),
            p.graph("Feeds: silence and lag",
                    [p.prom("max by (asset_class) (tapewatch_feed_silent_seconds)", "{{asset_class}} silent"),
                     p.prom("max by (asset_class) (tapewatch_lag_seconds)", "{{asset_class}} waiting")], "s",
                    "Since the newest bar inside a session; how long a bar waited since its receipt."),
            p.graph("Blind", [p.prom("sum by (asset_class) (increase(tapewatch_blind_seconds_total[$__rate_interval]))",
                                     "{{asset_class}}")], "s", "Seconds without a live feed.", w=8),
            p.graph("Bars lost", [_rate("tapewatch_bars_dropped_total", "asset_class, reason",
                                        "{{asset_class}} {{reason}}")], "cps", "Refused or shed, by reason.", w=8),
            p.graph("Late and revised bars",
                    [_rate("tapewatch_bars_late_total", "asset_class", "{{asset_class}} late"),
                     _rate("tapewatch_bars_revised_total", "asset_class, depth", "{{asset_class}} revised {{depth}}")],
                    "cps", "Late: after their minute was closed. Revised: of a window already seen, the newest or an "
                    "older one.", w=8),
            p.graph("Burst", [p.prom(f"histogram_quantile({q}, {burst})", f"{{{{asset_class}}}} p{q * 100:g}")
                              for q in (0.5, 0.99)], "s", "From a minute's last byte to its last anomaly committed.",
                    steps=[(None, "transparent"), (0.5, "red")]),
            p.heatmap("Bursts", [p.prom("sum by (le) (increase(tapewatch_burst_seconds_bucket[$__rate_interval]))",
                                        "{{le}}", heatmap=True)], "short",
                      "How many took how long, all classes together.", y_unit="s"),
            p.graph("Queues", [_held("tapewatch_queue_items", "queue", "{{queue}}")], "short",
                    "Items that wait in bounded queues."),
            p.graph("Shards: judge and store",
                    [p.prom("histogram_quantile(0.99, sum by (asset_class, le) "
                            "(rate(tapewatch_apply_seconds_bucket[$__rate_interval])))", "{{asset_class}} p99"),
                     p.prom("sum by (asset_class) (rate(tapewatch_apply_seconds_sum[$__rate_interval]))",
                            "{{asset_class}} busy")], "s",
                    "Busy, on the right: part of the time, of all shards of a class together.",
                    overrides=[p.as_part("/ busy$/")]),
            p.graph("Delivered", [_rate("tapewatch_sink_delivered_total", "sink", "{{sink}}")], "cps",
                    "Messages of the outbox; of redis_cache, batches of newest values.", w=8),
            p.graph("Deliveries that failed", [_rate("tapewatch_sink_failures_total", "sink", "{{sink}}")], "cps",
                    "Each try counts; what failed is tried again.", w=8),
            p.graph("Outbox", [_held("tapewatch_outbox_waiting", "sink", "{{sink}} waiting"),
                               _held("tapewatch_outbox_dead", "sink", "{{sink}} given up")], "short",
                    "Messages that wait for delivery, and those given up and kept.", w=8),
            p.graph("Oldest message that waits", [p.prom("max by (sink) (tapewatch_outbox_oldest_seconds)",
                                                         "{{sink}}")], "s", "Grows while a sink takes nothing.", w=8),
            p.graph("Age of checkpoints", [p.prom("max by (stage, asset_class) (tapewatch_checkpoint_age_seconds)",
                                                  "{{stage}} {{asset_class}}")], "s",
                    "What a restart has at most to fold again.", w=8, steps=[(None, "transparent"), (900, "red")]),
            p.graph("Database", [p.prom("max(tapewatch_database_bytes)", "taken"),
                                 p.prom("max(tapewatch_database_limit_bytes)", "limit")], "bytes",
                    "The limit is `metrics.database_limit_gib`.", w=8),
            p.row("Ray"),
            p.graph("CPU of Ray's nodes", [_ray("max", "instance", "ray_node_cpu_utilization")],
                    "percent", RAY_ABOUT, w=8),
            p.graph("Memory of Ray's nodes", [_ray("max", "instance", "ray_node_mem_used")],
                    "bytes", RAY_ABOUT, w=8),
            p.graph("Requests that wait in Serve",
                    [_ray("sum", "deployment", "ray_serve_deployment_queued_queries")], "short",
                    RAY_ABOUT, w=8),
        ],
    )  # fmt: skip
