"""Log lines are JSON a collector can read, with what they are about."""

import asyncio
import json
import logging
from pathlib import Path

import msgspec
import pytest
import yaml

from ray_apps.logs import JsonFormatter, LogScreen
from ray_apps.sinks.base import Message, payload_of
from ray_apps.sinks.console import Console, Said
from tests.support.store import anomaly, episode

LOKI = Path(__file__).parents[2] / "k8s" / "loki"


class Kept(logging.Handler):
    """Keeps lines as a container's output would show them."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def kept():
    handler, root = Kept(JsonFormatter({"asset_class": "crypto"})), logging.getLogger("tapewatch")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def test_an_anomaly_on_a_cluster_says_what_it_is_about(kept: Kept) -> None:
    said: list[Said] = []
    console = Console(said.append, versions={"tapewatch": "0.1.0"})
    rows = [("anomaly", anomaly(7)), ("episode", episode(3))]
    messages = [
        Message(n, topic, topic, msgspec.json.encode(payload_of(row)), 1) for n, (topic, row) in enumerate(rows)
    ]
    asyncio.run(console.deliver(messages))
    for line in said:
        LogScreen().alert(line)
    first, second = kept.lines
    assert {k: first[k] for k in ("symbol", "asset_class", "kind", "model", "trace", "level")} == {
        "symbol": "AAPL", "asset_class": "stocks", "kind": "burst_up", "model": "burst 1", "trace": anomaly(7).id,
        "level": "INFO",
    }  # fmt: skip
    assert (second["trace"], second["model"]) == (episode(3).id, "tapewatch 0.1.0")


def test_every_line_of_a_process_says_its_asset_class(kept: Kept) -> None:
    logging.getLogger("tapewatch.x").warning("message not taken", extra={"shard": 3, "error": "away"})
    (line,) = kept.lines
    assert (line["asset_class"], line["shard"], line["error"]) == ("crypto", 3, "away")


def test_the_example_for_loki_labels_little_and_parses_our_fields() -> None:
    values = yaml.safe_load((LOKI / "alloy-values.yaml").read_text("utf-8"))
    pipeline = values["alloy"]["configMap"]["content"]
    assert pipeline.count("{") == pipeline.count("}")
    labels = pipeline.split("stage.labels")[1].split("}")[0]
    assert [w for w in ("asset_class", "level", "symbol", "trace") if w in labels] == ["asset_class", "level"]
    for field in ("time", "level", "message", "asset_class", "symbol", "kind", "model", "trace"):
        assert f"{field} " in pipeline.split("stage.json")[1], field
