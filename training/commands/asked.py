"""What a person asked `tapewatch replay` for, as written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ray_apps.errors import UsageError
from training.commands.common import asset_class_of

if TYPE_CHECKING:
    from features.market.types import AssetClass


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a replay; None where nothing was said."""

    folder: Path | None
    asset: str | None
    out: Path | None
    bar: str | None
    config: Path | None
    diff: bool
    from_: str | None
    to: str | None
    symbols: str | None
    warm_days: float | None
    activity: str | None
    data_dir: Path | None
    speed_report: bool
    json: bool

    def refuse(self, where: str, *options: str) -> None:
        """Refuse the options of these names, which mean nothing there."""
        for option in options:
            name = "from_" if option == "from" else option.replace("-", "_")
            if getattr(self, name) not in (None, False):
                raise UsageError(f"--{option}: expected none {where}")

    def asset_class(self) -> AssetClass:
        """Give the asset class, which has to be said."""
        if self.asset is None:
            raise UsageError("--asset: expected an asset class, such as stocks, was none")
        return asset_class_of(self.asset)
