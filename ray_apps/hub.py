"""The hub: sums what all processes count and renders Prometheus' text.

Counters are cumulative within an incarnation of a process; the hub adds what is new, so that the restart of a process
never lowers a total. A hub that was started anew begins at nought, with what no hub before it took: to Prometheus its
restart is a counter's like any other.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from threading import Lock, Thread
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ray_apps.ingest.backoff import full_jitter
from ray_apps.metrics import METRICS, PROCESS_SILENT, Declared, Labels, Snapshot, key_of

LOG = logging.getLogger(__name__)

JOINS: dict[str, Callable[[list[float]], float]] = {"sum": sum, "max": max, "min": min}
EXPECTED_S = 90.0
"""How long a process is expected after whoever expects it said so: three times as long as it is said again."""


class Hub(Collector):
    """Sums the snapshots of all processes and renders them.

    >>> from ray_apps.metrics import SINK_FAILURES, MetricSet
    >>> hub, one = Hub(), MetricSet("p", "first")
    >>> one.inc(SINK_FAILURES, 2, sink="webhook")
    >>> hub.put(one.snapshot())
    >>> two = MetricSet("p", "second")
    >>> two.inc(SINK_FAILURES, 1, sink="webhook")
    >>> hub.put(two.snapshot())
    >>> hub.value(SINK_FAILURES, sink="webhook")
    3.0
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard_s: dict[str, float] = {}
        self._expected_s: dict[str, tuple[float, float]] = {}
        self._left: dict[str, str] = {}
        self._newest: dict[str, Snapshot] = {}
        self._totals: dict[str, dict[Labels, Any]] = {}
        self._lock = Lock()  # Prometheus is answered from threads
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def serve(self, host: str, port: int) -> None:
        """Answer Prometheus on a port of its own, from threads of its own; as soon as it is free where it is taken."""
        Thread(target=self._serve, args=(host, port), daemon=True).start()

    def _serve(self, host: str, port: int) -> None:
        for wait_s in full_jitter(random.SystemRandom(), cap_s=30.0):
            try:
                start_http_server(port, host, self._registry)
                return
            except OSError as e:
                LOG.warning("metrics port not open yet", extra={"port": port, "error": str(e)})
            time.sleep(wait_s)

    def put(self, snapshot: Snapshot) -> None:
        """Take a process's snapshot; one older than the newest of its incarnation is left out."""
        process = snapshot["process"]
        with self._lock:
            has_left = self._left.get(process) == snapshot["incarnation"]
            self._put(snapshot)
            if has_left:
                self._newest[process] = _counts_only(self._newest[process])
            else:
                self._heard_s[process] = self._clock()
                self._expected_s.pop(process, None)

    def _put(self, snapshot: Snapshot) -> None:
        last = self._newest.get(snapshot["process"])
        same = last is not None and last["incarnation"] == snapshot["incarnation"]
        if last is not None and same and last["number"] >= snapshot["number"]:
            return
        before = last["values"] if last is not None and same else snapshot["taken"]
        for metric in METRICS:
            if metric.kind != "gauge":
                self._add(metric, snapshot["values"].get(metric.name, {}), before.get(metric.name, {}))
        self._newest[snapshot["process"]] = snapshot

    def forget(self, processes: Iterable[str]) -> None:
        """Drop the gauges and the silence of processes that end as they should; their counts stay, and are still taken.

        Another incarnation of one is heard again.
        """
        with self._lock:
            for process in processes:
                self._heard_s.pop(process, None)
                self._expected_s.pop(process, None)
                if process in self._newest:
                    self._newest[process] = _counts_only(self._newest[process])
                    self._left[process] = self._newest[process]["incarnation"]

    def expect(self, processes: Iterable[str]) -> None:
        """Count the silence of processes that were not heard yet, or not since they left; holds for `EXPECTED_S`."""
        now = self._clock()
        with self._lock:
            for process in processes:
                since, until = self._expected_s.get(process, (now, now))
                self._expected_s[process] = (since if until > now else now, now + EXPECTED_S)

    def value(self, metric: Declared, **labels: str) -> float | None:
        """Give the joined value of a counter or gauge, None where nobody counted."""
        found = self._joined(metric).get(key_of(metric, labels, {}))
        return None if found is None else float(found)

    def render(self) -> str:
        """Give everything in Prometheus' text format."""
        return generate_latest(self._registry).decode()

    def collect(self) -> Iterator[Metric]:
        """Give the metric families (called by the registry)."""
        for metric in METRICS:
            with self._lock:
                series = deepcopy(self._joined(metric))
            if metric.kind == "histogram":
                yield _histogram(metric, series)
                continue
            family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            made = family(metric.name, metric.help, labels=metric.labels)
            for key, value in sorted(series.items()):
                made.add_metric(key, value)
            yield made

    def _add(self, metric: Declared, now: Mapping[Labels, Any], before: Mapping[Labels, Any]) -> None:
        total = self._totals.setdefault(metric.name, {})
        for key, value in now.items():
            if metric.kind == "counter":
                total[key] = total.get(key, 0.0) + value - before.get(key, 0.0)
            else:
                old, was = total.get(key, [0.0] * len(value)), before.get(key, [0.0] * len(value))
                total[key] = [t + v - w for t, v, w in zip(old, value, was, strict=True)]

    def _joined(self, metric: Declared) -> dict[Labels, Any]:
        if metric.kind != "gauge":
            return self._totals.get(metric.name, {})
        if metric is PROCESS_SILENT:
            now = self._clock()
            silent: dict[Labels, float] = {(p,): now - at for p, (at, until) in self._expected_s.items() if until > now}
            return silent | {(p,): now - at for p, at in self._heard_s.items()}
        found: dict[Labels, list[float]] = {}
        for snapshot in self._newest.values():
            for key, value in snapshot["values"].get(metric.name, {}).items():
                found.setdefault(key, []).append(value)
        return {key: JOINS[metric.join](values) for key, values in found.items()}


def _counts_only(snapshot: Snapshot) -> Snapshot:
    """Give a snapshot without its gauges."""
    values = snapshot["values"]
    return {**snapshot, "values": {m.name: values[m.name] for m in METRICS if m.kind != "gauge" and m.name in values}}


def _histogram(metric: Declared, series: Mapping[Labels, list[float]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for key, row in sorted(series.items()):
        seen, buckets = 0.0, []
        for bound, count in zip([*map(str, metric.buckets), "+Inf"], row[:-1], strict=True):
            seen += count
            buckets.append((bound, seen))
        family.add_metric(key, buckets, row[-1])
    return family
