"""What a fitted detector is: on what it was fitted, which columns it reads, how its scores are calibrated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from features.catalog import CATALOG, NAMES, schema_hash
from features.detectors.quantiles import QuantileTail
from features.market.types import AssetClass


class ModelError(ValueError):
    """A fitted detector cannot be used: say what was expected and leave it out."""


@dataclass(frozen=True, slots=True)
class ColumnRef:
    """A column of the catalogue in the version the detector was fitted on."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The description that travels with a fitted detector.

    Attributes
    ----------
    model_type
        Which class reads the arrays.
    asset_class, bar_s
        The series it is for.
    columns
        What it reads, in its own order.
    schema_hash
        The whole catalogue it was fitted under; kept as a record, `columns` is what must fit.
    fitted_on
        The rows it was fitted on, in words.
    n_rows
        Number of those rows.
    seed
        Of everything random in the fit.
    created_ns
        When, as told by who fitted it, UTC ns.
    metrics
        What was measured on held-out rows.
    calibration
        From score to p-value, from held-out rows.
    """

    model_type: str
    asset_class: AssetClass
    bar_s: int
    columns: tuple[ColumnRef, ...]
    schema_hash: str
    fitted_on: str
    n_rows: int
    seed: int
    created_ns: int
    metrics: Mapping[str, float]
    calibration: QuantileTail

    @property
    def name(self) -> str:
        """The name it is served under: type, asset class and bar length."""
        return f"{self.model_type}.{self.asset_class}.{self.bar_s}s"

    def places(self) -> tuple[int, ...]:
        """Give where its columns are in X.

        Raises
        ------
        ModelError
            When the catalogue has no such column, or another version of it.
        """
        if not self.columns:
            raise ModelError(f"{self.name}: expected columns, was none")
        return tuple(self._place(column) for column in self.columns)

    def _place(self, column: ColumnRef) -> int:
        if column.name not in NAMES:
            raise ModelError(f"{self.name}: expected a column of the catalogue ({schema_hash()}), was {column.name}")
        place = NAMES.index(column.name)
        if CATALOG[place].version != column.version:
            expected = f"{column.name} in version {CATALOG[place].version}"
            raise ModelError(f"{self.name}: expected {expected}, was fitted on version {column.version}")
        return place


def column_refs(names: Sequence[str]) -> tuple[ColumnRef, ...]:
    """Give the catalogue's columns of these names, as of now.

    >>> column_refs(["move_z"])
    (ColumnRef(name='move_z', version=1),)
    """
    return tuple(ColumnRef(name, CATALOG[NAMES.index(name)].version) for name in names)


def encode(card: ModelCard) -> bytes:
    """Give the card as JSON; the same card gives the same bytes."""
    return msgspec.json.encode(card, order="deterministic")


def decode(data: bytes) -> ModelCard:
    """Read a card.

    Raises
    ------
    ModelError
        When it is not one.
    """
    try:
        return msgspec.json.decode(data, type=ModelCard)
    except msgspec.MsgspecError as e:
        raise ModelError(f"expected a model card, was: {e}") from e
