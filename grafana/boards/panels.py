"""Panels, queries and variables of Grafana's dashboard schema, with this project's defaults."""

from collections.abc import Iterable, Sequence
from typing import Any

from ray_apps.config import BudgetConfig

Json = dict[str, Any]

SCHEMA_VERSION = 41
PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}
POSTGRES = {"type": "grafana-postgresql-datasource", "uid": "${postgres}"}
COLUMNS = 24
SEVERITIES = {"low": "blue", "medium": "yellow", "high": "orange", "critical": "red"}
LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
ENTRY = "${gateway}/v1/anomalies/${__data.fields.id}"
"""An anomaly's entry in the HTTP API; the row it is used on has a field `id`."""
EPISODE = "${gateway}/v1/anomalies?episode_id=${__data.fields.id}"


def prom(expr: str, legend: str = "", *, instant: bool = False, heatmap: bool = False) -> Json:
    """Give a PromQL query; `legend` as `{{label}}`."""
    return {
        "datasource": PROMETHEUS, "expr": expr, "legendFormat": legend, "range": not instant, "instant": instant,
        "format": "heatmap" if heatmap else "table" if instant and not legend else "time_series",
    }  # fmt: skip


def sql(text: str, *, series: bool = False) -> Json:
    """Give a SQL query; `series`: its columns are time, metric (or several values), value."""
    return {
        "datasource": POSTGRES, "rawSql": " ".join(text.split()), "rawQuery": True, "editorMode": "code",
        "format": "time_series" if series else "table",
    }  # fmt: skip


def panel(kind: str, title: str, targets: Sequence[Json], unit: str, about: str = "", **more: Any) -> Json:
    """Give a panel; `more`: w, h, options, custom, defaults, overrides, transformations, repeat."""
    queries = [{**t, "refId": "ABCDEFGH"[i]} for i, t in enumerate(targets)]
    defaults: Json = {"unit": unit, "custom": more.get("custom", {}), **more.get("defaults", {})}
    made: Json = {
        "type": kind, "title": title, "description": about, "datasource": queries[0]["datasource"],
        "targets": queries, "fieldConfig": {"defaults": defaults, "overrides": more.get("overrides", [])},
        "options": more.get("options", {}), "gridPos": {"w": more.get("w", 12), "h": more.get("h", 8)},
    }  # fmt: skip
    if "transformations" in more:
        made["transformations"] = more["transformations"]
    return made


def graph(title: str, targets: Sequence[Json], unit: str, about: str = "", **more: Any) -> Json:
    """Give lines over time; bars=True stacked bars, steps a list of (value, colour) drawn as lines, log=True."""
    custom: Json = {"lineWidth": 1, "fillOpacity": 0, "showPoints": "never", "spanNulls": False}
    if more.pop("bars", False):
        custom |= {"drawStyle": "bars", "fillOpacity": 80, "stacking": {"mode": "normal", "group": "A"}}
    if more.pop("points", False):
        custom |= {"drawStyle": "points", "pointSize": 8, "showPoints": "always"}
    if more.pop("log", False):
        custom["scaleDistribution"] = {"type": "log", "log": 10}
    defaults: Json = more.pop("defaults", {})
    if steps := more.pop("steps", None):
        custom["thresholdsStyle"] = {"mode": "line"}
        defaults = {**defaults, "thresholds": thresholds(steps)}
    options = {"legend": LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, targets, unit, about, custom=custom, defaults=defaults, options=options, **more)


def number(title: str, targets: Sequence[Json], unit: str, about: str = "", **more: Any) -> Json:
    """Give the newest values as figures; steps colour them."""
    defaults: Json = more.pop("defaults", {})
    if steps := more.pop("steps", None):
        defaults = {**defaults, "thresholds": thresholds(steps)}
    kind = more.pop("kind", "stat")
    looks: dict[str, Json] = {
        "stat": {"colorMode": "value", "graphMode": "none"},
        "gauge": {"showThresholdMarkers": True, "showThresholdLabels": False},
        "bargauge": {"displayMode": "gradient", "orientation": "horizontal"},
    }
    options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, **looks[kind]}
    return panel(kind, title, targets, unit, about, defaults=defaults, options=options, **{"w": 6, "h": 5, **more})


def table(title: str, query: Json, about: str = "", unit: str = "short", **more: Any) -> Json:
    """Give rows; links maps a column to a URL, units a column to a unit, hide names columns not shown."""
    overrides = [
        _override(column, links=[{"title": "entry in the HTTP API", "url": url, "targetBlank": True}])
        for column, url in more.pop("links", {}).items()
    ]
    overrides += [_override(column, unit=u) for column, u in more.pop("units", {}).items()]
    overrides += [
        _override(c, **{"custom.hideFrom": {"viz": True, "legend": False, "tooltip": False}, "custom.hidden": True})
        for c in more.pop("hide", ())
    ]
    overrides += [_override(c, **coloured()) for c in more.pop("severities", ())]
    overrides += more.pop("overrides", [])
    options = {"showHeader": True, "cellHeight": "sm"}
    return panel("table", title, [query], unit, about, overrides=overrides, options=options, **{"w": 24, **more})


def heatmap(title: str, targets: Sequence[Json], unit: str, about: str = "", **more: Any) -> Json:
    """Give counts over time and buckets; rows=True where each series is a row with a name of its own."""
    is_rows = more.pop("rows", False)
    options = {
        "calculate": False, "cellGap": 1,
        "color": {
            "mode": "scheme", "scheme": "Turbo", "steps": 64, "exponent": 0.5, "fill": "dark-orange", "reverse": False,
        },
        "yAxis": {"unit": more.pop("y_unit", "short")}, "rowsFrame": {"layout": "unknown" if is_rows else "auto"},
        "legend": {"show": True}, "tooltip": {"mode": "single", "yHistogram": False},
    }  # fmt: skip
    return panel("heatmap", title, targets, unit, about, options=options, **more)


def bars(title: str, targets: Sequence[Json], unit: str, about: str = "", **more: Any) -> Json:
    """Give bars over categories: the first text column, a bar group for each of its rows."""
    options = {"orientation": "auto", "stacking": more.pop("stacking", "none"), "legend": LEGEND}
    return panel("barchart", title, targets, unit, about, options=options, **more)


def row(title: str, repeat: str = "") -> Json:
    """Give a row's head; `repeat` names a variable: one row for each of its values."""
    made: Json = {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": COLUMNS, "h": 1}}
    return {**made, "repeat": repeat} if repeat else made


def thresholds(steps: Iterable[tuple[float | None, str]]) -> Json:
    """Give coloured steps, the first from None on."""
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in steps]}


def coloured() -> Json:
    """Give a severity's colours."""
    options = {name: {"color": colour, "index": i} for i, (name, colour) in enumerate(SEVERITIES.items())}
    cell = {"type": "color-background", "mode": "basic"}
    return {"mappings": [{"type": "value", "options": options}], "custom.cellOptions": cell}


def as_points(field: str, colour: str) -> Json:
    """Draw one field of a graph as points that link to the anomaly's entry."""
    link = {"title": "entry in the HTTP API", "url": ENTRY, "targetBlank": True}
    return _override(
        field, color={"mode": "fixed", "fixedColor": colour}, links=[link],
        **{"custom.drawStyle": "points", "custom.pointSize": 9, "custom.showPoints": "always"},
    )  # fmt: skip


def as_part(pattern: str) -> Json:
    """Draw the fields of a graph whose names match as a part of 1, by the axis on the right."""
    properties = [{"id": "unit", "value": "percentunit"}, {"id": "custom.axisPlacement", "value": "right"}]
    return {"matcher": {"id": "byRegexp", "options": pattern}, "properties": properties}


def _override(column: str, **properties: Any) -> Json:
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }


def choice(name: str, label: str, query: str, *, multi: bool = False) -> Json:
    """Give a variable with the values of a SQL query."""
    return {
        "type": "query", "name": name, "label": label, "datasource": POSTGRES,
        "query": " ".join(query.split()), "refresh": 2, "multi": multi, "includeAll": False, "sort": 0,
    }  # fmt: skip


def labels(name: str, label: str, query: str) -> Json:
    """Give a variable with the values of a label, `label_values(selector, label)`; all are any value, known or not."""
    return {
        "type": "query", "name": name, "label": label, "datasource": PROMETHEUS, "query": query, "refresh": 2,
        "multi": True, "includeAll": True, "allValue": ".*", "sort": 1,
    }  # fmt: skip


def measured(name: str, label: str, expr: str, default: float) -> Json:
    """Give a variable with the value of a PromQL query, `default` where it has none; another may be typed."""
    return {
        "type": "query", "name": name, "label": label, "datasource": PROMETHEUS,
        "query": f"query_result(scalar({expr} or vector({default})))", "refresh": 2, "multi": False,
        "includeAll": False, "sort": 0, "allowCustomValue": True,
    }  # fmt: skip


def text(name: str, label: str, value: str) -> Json:
    """Give a variable that is typed."""
    current = {"text": value, "value": value}
    return {"type": "textbox", "name": name, "label": label, "query": value, "current": current}


def custom(name: str, label: str, values: Sequence[str]) -> Json:
    """Give a variable of fixed values, the first chosen."""
    options = [{"text": v, "value": v, "selected": i == 0} for i, v in enumerate(values)]
    current = {"text": values[0], "value": values[0]}
    return {
        "type": "custom", "name": name, "label": label, "query": ",".join(values), "options": options,
        "current": current,
    }  # fmt: skip


def source(name: str, label: str, plugin: str) -> Json:
    """Give a variable that picks a data source."""
    return {
        "type": "datasource", "name": name, "label": label, "query": plugin, "refresh": 1, "regex": "", "options": [],
    }  # fmt: skip


MARKET = choice("market", "Market", "SELECT asset_class FROM feeds ORDER BY 1")
BUDGET = measured(
    "budget", "Budget",
    'max(tapewatch_budget_episodes_per_symbol_day{asset_class=~"${market:regex}"})',
    BudgetConfig().episodes_per_symbol_day,
)  # fmt: skip
"""What the board's market may spend; after `MARKET`."""


def board(
    name: str,
    title: str,
    about: str,
    panels: Sequence[Json],
    variables: Sequence[Json] = (),
    since: str = "now-6h",
    refresh: str = "10s",
) -> Json:
    """Give a board: panels flow from left to right in the order given."""
    sources = [
        source("prometheus", "Prometheus", PROMETHEUS["type"]),
        source("postgres", "PostgreSQL", POSTGRES["type"]),
    ]
    gateway = text("gateway", "HTTP API", "http://127.0.0.1:8000")
    link = {
        "type": "dashboards", "title": "Tapewatch", "tags": ["tapewatch"], "asDropdown": True, "includeVars": True,
        "keepTime": True, "icon": "external link", "targetBlank": False, "tooltip": "", "url": "",
    }  # fmt: skip
    return {
        "uid": f"tapewatch-{name}", "title": f"Tapewatch: {title}", "description": about, "tags": ["tapewatch"],
        "schemaVersion": SCHEMA_VERSION, "version": 1, "editable": True, "graphTooltip": 1, "refresh": refresh,
        "timezone": "browser", "time": {"from": since, "to": "now"}, "links": [link],
        "templating": {"list": [*sources, gateway, *variables]},
        "annotations": {"list": _annotations()}, "panels": _placed(panels),
    }  # fmt: skip


def _annotations() -> list[Json]:
    """Give Grafana's own, and those the sink writes: off until switched on."""
    grafana = {"type": "grafana", "uid": "-- Grafana --"}
    tags = {"type": "tags", "tags": ["tapewatch"], "limit": 100, "matchAny": False}
    built_in = {
        "builtIn": 1, "name": "Annotations & Alerts", "type": "dashboard", "datasource": grafana, "enable": True,
        "hide": True, "iconColor": "rgba(0, 211, 255, 1)",
    }  # fmt: skip
    return [
        built_in,
        {"name": "Episodes", "datasource": grafana, "enable": False, "iconColor": "orange", "target": tags},
    ]


def _placed(panels: Sequence[Json]) -> list[Json]:
    """Give the panels numbered and side by side while there is room."""
    x = y = deepest = 0
    out = []
    for number_, p in enumerate(panels, start=1):
        w, h = p["gridPos"]["w"], p["gridPos"]["h"]
        if x + w > COLUMNS or p["type"] == "row":
            x, y = 0, y + deepest
            deepest = 0
        out.append({"id": number_, **p, "gridPos": {"x": x, "y": y, "w": w, "h": h}})
        x, deepest = x + w, max(deepest, h)
    return out
