"""Start a simulator from the command line: `python -m ray_apps.simulator --rest-port 8080 --ws-port 8765`."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from features.market.types import NS_PER_S, AssetClass
from ray_apps.simulator.config import SYNTHETIC, SimulatorConfig
from ray_apps.simulator.faults import from_flags
from ray_apps.simulator.server import run
from ray_apps.store.files import FileError


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line like all others."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parse(argv: Sequence[str]) -> SimulatorConfig:
    """Give the configuration the flags say; ValueError in one line where they are wrong."""
    default = SimulatorConfig()
    parser = _Parser("python -m ray_apps.simulator", description=__doc__)
    parser.add_argument("--rest-port", type=int, default=default.rest_port, help="0 = any free port")
    parser.add_argument("--ws-port", type=int, default=default.ws_port, help="the delayed feed is one above")
    parser.add_argument("--source", default=SYNTHETIC, metavar="synthetic|DIR")
    parser.add_argument("--symbols", type=int, default=default.symbols, help="of each class")
    parser.add_argument("--speed", type=float, default=default.speed, help="0 = as fast as clients read")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--asset", default="stocks,crypto", help="classes, comma separated")
    parser.add_argument("--start", metavar="ISO", help="where the clock starts, UTC unless it says")
    parser.add_argument("--batch", type=int, default=default.faults.batch, help="events per frame at most")
    parser.add_argument("--per-day", type=int, default=0, help="injected anomalies per day and class")
    parser.add_argument("--burst-at", metavar="ISO", help="minute of one burst_up in the first symbol")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="where the injected anomalies are told")
    parser.add_argument("--deflate", action="store_true", help="compress the stream when asked")
    parser.add_argument("--hold", action="store_true", help="begin when every class has a subscriber")
    parser.add_argument("--die-with-parent", action="store_true")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args(argv)
    return SimulatorConfig(
        rest_port=given.rest_port,
        ws_port=given.ws_port,
        source=given.source,
        symbols=given.symbols,
        assets=_assets(given.asset),
        seed=given.seed,
        speed=given.speed,
        start_ns=_time("start", given.start),
        per_day=given.per_day,
        burst_ns=_time("burst-at", given.burst_at),
        labels=given.labels,
        deflate=given.deflate,
        hold=given.hold,
        die_with_parent=given.die_with_parent,
        faults=from_flags([f"batch={given.batch}", *given.fault]),
    )


def _assets(text: str) -> tuple[AssetClass, ...]:
    known = [str(c) for c in AssetClass]
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ValueError(f"asset: expected some of {', '.join(known)}, was {name!r}")
    return tuple(AssetClass(name) for name in dict.fromkeys(names))


def _time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name}: expected an ISO time like 2026-09-18T13:30, was {text!r}") from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return round(found.timestamp()) * NS_PER_S


def main() -> int:
    """Run; 2 for wrong flags, 1 where a port or a folder cannot be had."""
    try:
        config = parse(sys.argv[1:])
    except ValueError as e:
        sys.stderr.write(f"error: {e}\n")
        return 2
    try:
        run(config)
    except (OSError, FileError, ValueError) as e:
        sys.stderr.write(f"error: {e}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
