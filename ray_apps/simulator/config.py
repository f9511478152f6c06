"""Say what a simulator plays and where it listens."""

from dataclasses import dataclass, field
from pathlib import Path

from features.market.types import NS_PER_S, AssetClass
from ray_apps.simulator.clock import checked
from ray_apps.simulator.faults import Faults

SYNTHETIC = "synthetic"
MAX_FRAME_BYTES = 256 * 1024
"""No frame of ours is larger unless a fault asks for it; the official Go client refuses 1,000,000 bytes."""


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """One simulator. Port 0 = any free port; the delayed feed listens one above the real-time one.

    Attributes
    ----------
    rest_port, ws_port, host
        Where it listens.
    source
        "synthetic" or a folder of bar files.
    symbols
        Size of the synthetic universe of each class (indices, options and forex may have fewer).
    assets
        Classes with bars; of a folder the first is what its files are.
    seed
        Same seed, same bars.
    speed
        Market seconds per second; 0 = as fast as the clients read.
    start_ns
        Where the clock starts, UTC ns; None = now (synthetic) or at the first bar (folder).
    per_day
        Injected anomalies per day and class of a synthetic tape.
    burst_ns
        Start of the minute of one more, a burst_up in the first symbol of the first class; None = none.
    labels
        File the truth about injected anomalies is written to (CSV), as far as the clock came.
    deflate
        Whether the stream compresses when asked; costs most of a core in a burst.
    hold
        Begin at `start_ns` when every class has a subscriber, not when the simulator starts.
    die_with_parent
        End when the process that started this one has gone.
    faults
        What is wrong from the start.
    """

    rest_port: int = 8080
    ws_port: int = 8765
    source: str = SYNTHETIC
    symbols: int = 200
    assets: tuple[AssetClass, ...] = (AssetClass.STOCKS, AssetClass.CRYPTO)
    seed: int = 7
    speed: float = 1.0
    start_ns: int | None = None
    per_day: int = 0
    burst_ns: int | None = None
    labels: Path | None = None
    deflate: bool = False
    hold: bool = False
    die_with_parent: bool = False
    faults: Faults = field(default_factory=Faults)
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        for name, most in (("rest_port", 65_535), ("ws_port", 65_534)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{flag(name)}: expected a port from 0 to {most}, was {getattr(self, name)}")
        for name, least in (("symbols", 1), ("per_day", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{flag(name)}: expected {least} or more, was {getattr(self, name)}")
        if not 0 <= self.speed <= 1_000_000:
            raise ValueError(f"speed: expected 0 to 1000000, was {self.speed}")
        if not self.assets:
            raise ValueError("asset: expected at least one asset class, was none")
        self._check_files()
        if self.start_ns is not None:
            checked("start", self.start_ns)
        if self.burst_ns is not None and self.burst_ns % (60 * NS_PER_S):
            raise ValueError(f"burst-at: expected the start of a minute, was {self.burst_ns} ns")

    def _check_files(self) -> None:
        if self.source != SYNTHETIC and not Path(self.source).is_dir():
            raise ValueError(f"source: expected {SYNTHETIC!r} or a folder, was {self.source!r}")
        if self.labels is not None and (self.labels.is_dir() or not self.labels.absolute().parent.is_dir()):
            raise ValueError(f"labels: expected a file in a folder that exists, was {str(self.labels)!r}")


def flag(name: str) -> str:
    """Give a field as it is written on a command line.

    >>> flag("ws_port")
    'ws-port'
    """
    return name.replace("_", "-")
