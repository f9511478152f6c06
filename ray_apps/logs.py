"""Log lines as JSON, one object a line, for whatever collects a container's output."""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ray_apps.screen import Screen
from ray_apps.sinks.console import Said

LOG = logging.getLogger("tapewatch")
FIELDS = ("symbol", "asset_class", "kind", "model", "trace", "shard", "sink", "path", "error")
"""What a record may say beside its message (`extra=`)."""


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object; `about` is what every line of this process is about.

    >>> record = logging.makeLogRecord({"name": "feed", "levelname": "INFO", "msg": "live", "created": 0.0})
    >>> JsonFormatter().format(record)
    '{"time": "1970-01-01T00:00:00+00:00", "level": "INFO", "logger": "feed", "message": "live"}'
    """

    def __init__(self, about: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._about = dict(about or {})

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= self._about | {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)


def log_json(level: int = logging.INFO, **about: str) -> None:
    """Let this process log as JSON on stdout, every line with what it is `about`; again it does nothing."""
    root = logging.getLogger()
    if any(isinstance(h.formatter, JsonFormatter) for h in root.handlers):
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(about))
    root.addHandler(handler)
    root.setLevel(level)


class LogScreen(Screen):
    """Says as log lines what a terminal would show; bars are left out."""

    def line(self, text: str) -> None:
        """Log a line."""
        LOG.info("%s", text.strip())

    def feed(self, asset_class: str, said: str) -> None:
        """Log how a feed is."""
        LOG.info("%s feed %s", asset_class, said, extra={"asset_class": asset_class})

    def alert(self, said: Said) -> None:
        """Log what the console sink says, with what it is about."""
        LOG.info("%s", said.text, extra=said.fields)

    def bars(self, bars: Sequence[tuple[int, str, float, float, int]]) -> None:
        """Leave bars out: a market's worth of them is no log."""
