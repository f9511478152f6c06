"""Log lines as JSON, one object a line, for whatever collects a container's output."""

import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from ray_apps.screen import Screen

LOG = logging.getLogger("tapewatch")
FIELDS = ("symbol", "asset_class", "kind", "model", "trace")
"""What a record may say beside its message (`extra=`)."""


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object.

    >>> record = logging.makeLogRecord({"name": "feed", "levelname": "INFO", "msg": "live", "created": 0.0})
    >>> JsonFormatter().format(record)
    '{"time": "1970-01-01T00:00:00+00:00", "level": "INFO", "logger": "feed", "message": "live"}'
    """

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said)


def log_json(level: int = logging.INFO) -> None:
    """Let this process log as JSON on stdout; again it does nothing."""
    root = logging.getLogger()
    if any(isinstance(h.formatter, JsonFormatter) for h in root.handlers):
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root.addHandler(handler)
    root.setLevel(level)


class LogScreen(Screen):
    """Says as log lines what a terminal would show; bars are left out."""

    def line(self, text: str) -> None:
        """Log a line."""
        LOG.info("%s", text.strip())

    def bars(self, bars: Sequence[tuple[int, str, float, float, int]]) -> None:
        """Leave bars out: a market's worth of them is no log."""
