"""Lines for people and payloads for programs, without a server."""

from zoneinfo import ZoneInfo

import msgspec
import pytest

from ray_apps.sinks.base import payload_of, row_of
from ray_apps.sinks.console import anomaly_line, price, tape_line
from ray_apps.sinks.outbox import Backoff
from ray_apps.store.rows import AnomalyRow, EpisodeRow
from tests.support.store import T0, anomaly, episode


def test_a_row_survives_its_payload() -> None:
    row = anomaly(3, scores={"a": 1.5})
    sent = msgspec.json.encode(payload_of(row))
    assert row_of(sent, AnomalyRow) == row
    assert msgspec.json.decode(sent)["ts"] == row.ts // 1_000_000
    other = episode(2, leaders=["A"], members=[])
    assert row_of(msgspec.json.encode(payload_of(other)), EpisodeRow) == other
    assert payload_of(other)["type"] == "episode"
    with pytest.raises(ValueError, match="expected the fields of AnomalyRow"):
        row_of(b'{"id": "x"}', AnomalyRow)


def test_a_fault_has_no_p_and_the_time_is_the_readers() -> None:
    row = anomaly(0, kind="data_fault", p_value=None, rate=None, reading="decimal slip of 10x", severity="low")
    line = anomaly_line(row, ZoneInfo("America/New_York"))
    assert line == "ANOMALY data_fault AAPL  decimal slip of 10x  severity low  09:21:00"


@pytest.mark.parametrize(
    ("value", "text"), [(245.09, "245.09"), (0.1234567, "0.1235"), (1e-10, "0.000000000100"), (99999.999, "100000.00")]
)
def test_prices_keep_their_figures(value: float, text: str) -> None:
    assert price(value) == text


def test_the_tape_shows_absent_volume_as_nothing() -> None:
    assert tape_line("EUR/USD", 1.0856, float("nan"), T0).split() == ["EUR/USD", "1.09", "vol", "13:20:00"]


def test_backoff_grows_to_its_cap_with_jitter() -> None:
    b = Backoff(first_s=1, cap_s=60)
    assert [b.delay_s(n, 1.0) for n in (1, 2, 3, 7, 100)] == [1, 2, 4, 60, 60]
    assert b.delay_s(3, 0.0) == 2
