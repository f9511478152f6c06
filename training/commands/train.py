"""`tapewatch train ...`: fit detectors offline."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ray_apps.errors import UsageError, UserError
from training.commands.common import asset_class_of

if TYPE_CHECKING:
    from features.detectors.isolation_forest import IsolationForest
    from features.market.types import AssetClass
    from training.fit import ForestPlan

app = typer.Typer(help="Fit detectors offline.")


@app.callback()
def train() -> None:
    """Fit detectors offline."""


@app.command()
def forest(
    asset: Annotated[str, typer.Option(help="Asset class, such as stocks or crypto.")],
    out: Annotated[Path, typer.Option(help="File the artifact goes to (.npz).")],
    source: Annotated[str, typer.Option(help="synthetic, or a folder of bars as `replay` reads them.")] = "synthetic",
    symbols: Annotated[int, typer.Option(help="Symbols of the synthetic market.", min=1, max=20_000)] = 100,
    days: Annotated[int, typer.Option(help="Trading days of the synthetic market.", min=1, max=1_000)] = 10,
    trees: Annotated[int, typer.Option(help="Trees.", min=1, max=1_000)] = 100,
    samples: Annotated[int, typer.Option(help="Rows each tree is grown on.", min=2, max=65_536)] = 256,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.", min=0, max=2**31 - 1)] = 7,
    created_at: Annotated[
        str | None, typer.Option(help="UTC instant written on the card, ISO 8601; else the end of the newest bar.")
    ] = None,
) -> None:
    """Fit an isolation forest on bars taken for normal, calibrated on the newest fifth of them.

    Example: tapewatch train forest --asset stocks --out forest_stocks.npz
    """
    from features.detectors.artifact import digest, dump
    from training.fit import ForestPlan

    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out: expected a file in a folder that exists, was {out}")
    made = _fit(asset_class_of(asset), source, symbols, days, ForestPlan(trees, samples, seed), _instant(created_at))
    data = dump(made)
    part = out.with_name(f".{out.name}.part")
    try:
        part.write_bytes(data)
        part.replace(out)
    except OSError as e:
        raise UserError(f"expected room for the artifact at {out}, was: {e.strerror or e}") from e
    finally:
        part.unlink(missing_ok=True)
    told = made.card.metrics
    typer.echo(f"{made.card.name} {digest(made)}: {made.card.n_rows:,} rows, {told['held_out_rows']:,.0f} held out, "
               f"{len(data):,} bytes in {out}")  # fmt: skip


def _fit(
    asset_class: AssetClass, source: str, symbols: int, days: int, plan: ForestPlan, created_ns: int | None
) -> IsolationForest:
    from training import dataset
    from training.fit import fit_forest
    from training.replay import ReplayPlan, load
    from training.spool import Spool

    if source == "synthetic":
        return fit_forest(dataset.synthetic(asset_class, symbols, days, plan.seed), plan, created_ns)
    with Spool() as spool:
        loaded = load(ReplayPlan(Path(source), asset_class), spool)
        for fault in loaded.faults:
            typer.echo(f"warning: {fault}", err=True)
        return fit_forest(dataset.folder(asset_class, loaded), plan, created_ns)


def _instant(text: str | None) -> int | None:
    """Give the UTC ns of an instant."""
    if text is None:
        return None
    try:
        said = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--created-at: expected an instant such as 2026-01-02T09:30, was {text!r}") from None
    return int((said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp()) * 10**9
