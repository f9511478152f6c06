"""Give lists of rows as REST does: filtered, sorted and paged by an opaque cursor."""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ray_apps.simulator.aggs import BadRequest

Row = dict[str, Any]
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "": lambda a, b: bool(a == b),
    "gt": lambda a, b: bool(a > b),
    "gte": lambda a, b: bool(a >= b),
    "lt": lambda a, b: bool(a < b),
    "lte": lambda a, b: bool(a <= b),
}
_KEY = "apiKey"


@dataclass(frozen=True, slots=True)
class Listing:
    """One list: where it is, how many rows a page has by default and at most, and its usual order."""

    path: str
    rows: int
    most: int
    sort: str = "ticker"
    is_descending: bool = False


def page(
    rows: Iterable[Row], options: dict[str, str], listing: Listing, next_url: Callable[[str, str], str]
) -> dict[str, Any]:
    """Give one page as `results`, with `next_url` where there are more.

    Options that name a field, perhaps with `.gt`, `.gte`, `.lt`, `.lte` or `.any_of`, choose rows; `sort`, `order`
    and `limit` are what they say, and anything else is ignored as the vendor does.
    """
    most = limit_of(options, listing.rows, listing.most)
    found = ordered(chosen(rows, options), options, listing)
    first = int(options["page_marker"]) if options.get("page_marker", "").isdigit() else 0
    body: dict[str, Any] = {"results": found[first : first + most]}
    if first + most < len(found):
        same, following = (f"{listing.path}?cursor={cursor(options, str(at))}" for at in (first, first + most))
        body["next_url"] = next_url(same, following)
    return body


def limit_of(options: dict[str, str], usual: int, most: int) -> int:
    """Give how many rows a page may have; BadRequest where that is no number or too many."""
    text = options.get("limit", str(usual))
    if not text.isdigit() or not 1 <= int(text) <= most:
        raise BadRequest(f"The parameter 'limit' must be between 1 and {most}")
    return int(text)


def range_of(
    options: dict[str, str], name: str, known_ns: int, read: Callable[[str], tuple[int, int]]
) -> tuple[int | None, int]:
    """Give the first and the last ns that options of a time ask for, None where there is no first.

    `read` gives the first and the last ns a text names; what lies beyond `known_ns` is not known yet.

    >>> range_of({"t.gt": "5", "t.lte": "9"}, "t", 7, lambda text: (int(text), int(text)))
    (6, 7)
    """
    start, end = None, known_ns
    for how in ("", ".gte", ".gt", ".lte", ".lt"):
        text = options.get(f"{name}{how}")
        if text is None:
            continue
        first, last = read(text)
        if how in ("", ".gte", ".gt"):
            start = last + 1 if how == ".gt" else first
        if how in ("", ".lte", ".lt"):
            end = min(end, first - 1 if how == ".lt" else last)
    return start, end


def chosen(rows: Iterable[Row], options: dict[str, str]) -> list[Row]:
    """Give the rows the options choose.

    >>> rows = [{"ticker": "A", "strike": 5.0}, {"ticker": "B", "strike": 7.0}]
    >>> chosen(rows, {"strike.gte": "6", "limit": "10"}), chosen(rows, {"ticker.any_of": "A,C"})
    ([{'ticker': 'B', 'strike': 7.0}], [{'ticker': 'A', 'strike': 5.0}])
    """
    found = list(rows)
    for name, text in options.items():
        field, _, how = name.partition(".")
        if not any(field in row for row in found[:1]):
            continue
        if how == "any_of":
            wanted = set(text.split(","))
            found = [row for row in found if str(row[field]) in wanted]
        elif how in _COMPARE:
            compare = _COMPARE[how]
            found = [row for row in found if compare(row[field], _like(row[field], text, field))]
    return found


def ordered(rows: list[Row], options: dict[str, str], listing: Listing) -> list[Row]:
    """Sort rows as asked; fields of later endpoints come with their direction, `name.desc`."""
    field, _, direction = options.get("sort", "").split(",")[0].partition(".")
    if not field:
        field = listing.sort
        direction = "desc" if listing.is_descending else "asc"
    direction = options.get("order") or direction
    if rows and field not in rows[0]:
        raise BadRequest(f"The parameter 'sort' must name a field, was '{field}'")
    return sorted(rows, key=lambda row: row[field], reverse=direction == "desc")


def _like(value: Any, text: str, field: str) -> Any:
    """Read an option as what the rows have."""
    if isinstance(value, bool):
        return text == "true"
    if not isinstance(value, int | float):
        return text
    try:
        return float(text)
    except ValueError:
        raise BadRequest(f"Could not parse the parameter '{field}'") from None


def cursor(options: dict[str, str], marker: str) -> str:
    """Encode a whole question and where its next page begins; never the caller's key."""
    told = {name: text for name, text in options.items() if name != _KEY}
    return base64.urlsafe_b64encode(msgspec.json.encode({**told, "page_marker": marker})).decode().rstrip("=")


def options_of(given: Sequence[tuple[str, str]] | dict[str, str]) -> dict[str, str]:
    """Give what a call asks for: a cursor holds the whole of its first page's question."""
    options = dict(given)
    if "cursor" not in options:
        return options
    text = options["cursor"]
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=dict[str, str])
    except ValueError:
        raise BadRequest("Could not parse the 'cursor' parameter") from None
