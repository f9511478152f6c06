"""The sections of the config file about what runs around the detection: gateway, metrics port, recording, simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ray_apps.config import HeaderSecret, Section

Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,253}:[0-9]{1,5}$")]
"""host:port"""


class HttpConfig(Section):
    """The HTTP gateway."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$")] = "127.0.0.1"
    """Loopback, for reading needs no login: put a proxy before it to open it."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0: any free port."""
    token: HeaderSecret | None = Field(default=None, min_length=16, max_length=256)
    """Bearer token of the routes that write, better by TAPEWATCH_HTTP__TOKEN than in a file; unset: they are open on
    loopback and closed on any other host."""
    max_streams: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Open /v1/stream connections; apart from requests so that health checks always pass."""
    heartbeat_s: Annotated[float, Field(gt=0, le=300)] = 15.0
    """Between signs of life on a silent stream; proxies cut at 30 to 60 s."""


class MetricsConfig(Section):
    """A port for Prometheus beside the gateway's `/metrics`: there without a gateway too."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$")] = "127.0.0.1"
    """Loopback; a cluster opens it to its Prometheus."""
    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Unset: `/metrics` of the gateway alone."""
    database_limit_gib: Annotated[float, Field(gt=0, le=1_000_000)] = 50.0
    """What the database may take before an alert says so: 30 days of 11,000 stocks take about 20 GB."""


class RecordingConfig(Section):
    """The journal of everything received, for an exact replay; on as soon as `folder` is set (`up --record DIR`)."""

    folder: Path | None = None
    """A folder of its own; unset: nothing is recorded."""
    segment_mib: Annotated[int, Field(ge=1, le=65_536)] = 256
    """A segment begins with the whole state, which for 11,000 stocks is 60 MB: much smaller is mostly state."""
    max_mib: Annotated[int, Field(ge=2, le=100_000_000)] = 8_192
    """Per asset class; the oldest segments go. 11,000 stocks record about 300 MB a day."""


class SimulatorConfig(Section):
    """The market watched when no key is set."""

    ws: Address | None = None
    """Stream of a simulator that runs already (host:port); unset: one is started."""
    rest: Address | None = None
    """Its REST side."""
    symbols: Annotated[int, Field(ge=1, le=11_000)] = 200
    """Stocks on the tape: enough to look alive, cheap enough for two cores."""
    speed: Annotated[float, Field(gt=0, le=100_000)] = 10.0
    """Market seconds per second: a minute closes every 6 s."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 7
    """The tape is a function of it."""
    per_day: Annotated[int, Field(ge=0, le=10_000)] = 40
    """Injected anomalies per day and asset class: at speed 10 one every few minutes is seen."""
