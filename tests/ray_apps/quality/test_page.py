"""The page: whole, self-contained, well-formed, safe against what symbols are called; its plots show what there is."""

import re
import xml.etree.ElementTree as ET

import pytest

from features.market.quality.findings import Flaw
from features.market.quality.summary import Quality
from ray_apps.quality import charts
from ray_apps.quality.page import page
from tests.ray_apps.quality.scenes import HOSTILE, damaged, plain


def tree(quality: Quality, unreadable: tuple[str, ...] = (), crossed: tuple[str, ...] = ()) -> ET.Element:
    return ET.fromstring(page(quality, unreadable, crossed))


def words(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def headings(root: ET.Element) -> list[str]:
    return [words(h) for h in root.iter("h2")]


@pytest.mark.parametrize("quality", [damaged, plain, lambda: plain(3)], ids=["damaged", "one", "three"])
def test_the_page_is_whole_and_needs_nothing_else(quality) -> None:
    text = page(quality(), (), ())
    root = ET.fromstring(text)
    assert [child.tag for child in root] == ["head", "body"]
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|<img|\bsrc=|\bhref=", text)
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+", "", text.lower())
    for svg in root.iter("svg"):
        assert svg.get("aria-label")
        width, height = (float(v) for v in svg.get("viewBox").split()[2:])
        assert 0 < width <= charts.WIDTH
        assert 0 < height < 2_000


def test_every_part_is_there_when_there_is_something_to_show() -> None:
    assert headings(tree(damaged(), ("B.csv: expected rows",), ("--max-gaps: expected 0",))) == [
        "Bounds that are crossed", "Files that could not be read", "Coverage by symbol and day", "Findings",
        "Rows refused and odd", "Price outliers", "Volume outliers", "Volume by time of day",
        "Volatility by time of day", "How symbols go together", "Symbols", "Fields", "How it is found",
    ]  # fmt: skip
    assert headings(tree(plain())) == [
        "Coverage by symbol and day", "Findings", "Volume by time of day", "Volatility by time of day", "Symbols",
        "Fields", "How it is found",
    ]  # fmt: skip


def test_names_and_messages_cannot_break_out() -> None:
    text = page(damaged(), ("<script>alert(1)</script>",), ("a < b & c",))
    assert "<script" not in text
    assert "<b>&" not in text
    said = words(ET.fromstring(text))
    assert HOSTILE in said
    assert "<script>alert(1)</script>" in said
    assert "a < b & c" in said


def test_findings_are_told_in_words() -> None:
    said = words(tree(damaged()))
    for what in (
        "90 bars missing", "stamped 1 h late, 8 days", "2:1, volume x2", "120 bars at", "+899.5 % off both sides",
        "x the usual volume", "0 bars", "3 price not above zero",
    ):  # fmt: skip
        assert what in said
    assert "No gaps, outages, stale prices, outliers, slips, splits or longer bars." in words(tree(plain()))


def test_the_coverage_map_names_holes_by_day() -> None:
    titles = [t.text for t in ET.fromstring(charts.coverage_map(damaged())).iter("title")]
    assert "AAPL 2025-03-05: 76.9 % of the usual bars" in titles
    assert "NIL 2025-03-03 to 2025-03-28: 0 % of the usual bars" in titles
    assert not [t for t in titles if t.startswith("MSFT")]


def test_a_long_span_is_drawn_in_weeks_and_many_symbols_the_worst() -> None:
    quality = damaged()
    wide = ET.fromstring(charts.coverage_map(quality))
    assert "trading day" in words(wide)
    columns, days, size = charts._columns(
        quality.coverage.repeat(30, axis=1), quality.n_windows.repeat(30), quality.day.repeat(30)
    )
    assert (size, columns.shape[1], len(days)) == (2, 300, 300)
    assert columns.max() <= 1.0


@pytest.mark.parametrize("flaw", [Flaw.PRICE_OUTLIER, Flaw.VOLUME_OUTLIER])
def test_outliers_are_dots_with_names(flaw: Flaw) -> None:
    drawn = ET.fromstring(charts.outliers(damaged(), flaw, charts.HALF))
    assert len(list(drawn.iter("circle"))) == damaged().n_flaws[flaw] >= 1
    assert "NVDA" in [t.text for t in drawn.iter("text")]
    for dot in drawn.iter("circle"):
        assert 0 < float(dot.get("cx")) < charts.HALF
        assert 0 < float(dot.get("cy")) < 280
    assert charts.outliers(plain(), flaw, charts.HALF) == ""


def test_bars_by_time_of_day_fill_the_session() -> None:
    quality = damaged()
    drawn = ET.fromstring(charts.by_time(quality, [s.moves_by_time for s in quality.series], "move", "moves"))
    assert len([r for r in drawn.iter("rect") if r.get("class") == "bar"]) == 13
    assert "09:30 to 10:00: " in words(drawn)


def test_the_matrix_has_a_cell_a_pair() -> None:
    drawn = ET.fromstring(charts.correlation_matrix(damaged()))
    assert len([r for r in drawn.iter("rect") if r.get("class") in ("pos", "neg", "absent")]) == 25
    assert charts.correlation_matrix(plain()) == ""
