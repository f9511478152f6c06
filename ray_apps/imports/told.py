"""What the user says of the files: what they do not say themselves."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from features.market.types import AssetClass


@dataclass(frozen=True, slots=True)
class Told:
    """How files are to be read, None where they say it themselves.

    Attributes
    ----------
    symbol
        Whose bars the files are; where they name symbols, the one to take.
    bar_s
        Length of their bars, seconds.
    zone
        IANA zone of times that name none.
    unit
        Of times that are numbers.
    columns
        By field the column that has it.
    """

    asset_class: AssetClass
    symbol: str | None = None
    bar_s: int | None = None
    zone: str | None = None
    unit: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def reading(self) -> str:
        """Give all of it as one text: a file read otherwise is another.

        >>> Told(AssetClass.STOCKS, bar_s=60).reading
        '{"bar_s": 60}'
        """
        said = {
            "symbol": self.symbol, "bar_s": self.bar_s, "zone": self.zone, "unit": self.unit,
            "columns": dict(self.columns) or None,
        }  # fmt: skip
        return json.dumps({name: value for name, value in said.items() if value is not None}, sort_keys=True)
