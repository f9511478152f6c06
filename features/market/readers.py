"""Name the forms in which bars reach a feed, and the pure reader of each."""

from collections.abc import Callable, Mapping
from typing import Literal

from features.market.polygon import Limits, Parsed, parse
from features.market.pushed import parse_pushed
from features.market.types import SlotTable

Form = Literal["stream", "rows"]
"""A frame of the vendor's stream, or a request of pushed bars."""
READERS: Mapping[Form, Callable[[bytes, SlotTable, int, int, Limits], Parsed]] = {
    "stream": parse,
    "rows": parse_pushed,
}
