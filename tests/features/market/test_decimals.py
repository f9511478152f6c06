"""Decimal strings are read as Python reads them, to the last bit."""

import math

from hypothesis import given
from hypothesis import strategies as st

from features.market.decimals import read_decimals

plain = st.builds(
    lambda whole, places, digits: f"{whole}.{digits:0{places}d}" if places else str(whole),
    st.integers(0, 10**9),
    st.integers(0, 6),
    st.integers(0, 9),
)
tiny = st.integers(1, 14).map(lambda k: "0." + "0" * (k - 1) + "7")
long = st.integers(10**14, 10**20).map(str)
junk = st.text(max_size=6)


@given(st.lists(plain | tiny, max_size=20))
def test_plain_decimals_are_exact(texts: list[str]) -> None:
    assert read_decimals(texts).tolist() == [float(t) for t in texts]


@given(st.lists(plain | long | st.floats(allow_nan=False, allow_infinity=False).map(repr), max_size=20))
def test_every_json_number_is_exact(texts: list[str]) -> None:
    found = read_decimals(texts).tolist()
    assert found == [float(t) for t in texts]


@given(st.lists(plain | junk, max_size=10))
def test_junk_is_never_a_number_and_harms_no_neighbour(texts: list[str]) -> None:
    found = read_decimals(texts).tolist()
    assert len(found) == len(texts)
    for text, value in zip(texts, found, strict=True):
        try:
            expected = float(text)
        except ValueError:
            expected = math.inf
        assert value in (expected, math.inf)


def test_the_odd_ones() -> None:
    odd = ["", ",", "1,2", ".5", "5.", "1.2.3", "nan", "inf", "+1", "1_0", "\ud800", "01", "1e400"]
    found = read_decimals([*odd, "3.25"]).tolist()
    assert found[-1] == 3.25
    assert all(math.isinf(v) for v in found[:-1])
    assert read_decimals([]).tolist() == []
