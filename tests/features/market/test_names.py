"""The index of names equals a dict, whatever the names are and in whatever order they come."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.market.names import NameIndex

near = st.text("AB.:\x00é", max_size=26)  # many equal, many that share a beginning, some too long or with a NUL
names = near | st.text(max_size=30) | st.text("A\ud800", max_size=3)


@given(st.lists(st.lists(names, max_size=30), min_size=1, max_size=4), st.lists(names, max_size=30))
def test_finds_what_a_dict_finds(groups: list[list[str]], asked: list[str]) -> None:
    index, known = NameIndex(), dict[str, int]()
    for group in groups:
        for name in group:
            assert index.get(name) == known.get(name)
            if name not in known:
                known[name] = len(known) * 7
                index.add(name, known[name])
        for some in (asked, [*asked, *known], [name for name in asked if len(name) < 8 and "\x00" not in name]):
            assert index.find(some).tolist() == [known.get(name, -1) for name in some]


def test_names_that_differ_in_one_byte_stay_apart() -> None:
    index = NameIndex()
    long = [f"O:SPY261218C{k:08d}" for k in range(30_000)]
    known = ["A", "AA", "AAAAAAAA", "AAAAAAAAA", "A" * 16, "A" * 17, "A" * 24, *long]
    for number, name in enumerate(known):
        index.add(name, number)
    np.testing.assert_array_equal(index.find(known[::-1]), np.arange(len(known))[::-1])
    assert index.find(["A\x00", "AAA", "A" * 15, "A" * 23, "A" * 25, "O:SPY261218C00030000", ""]).tolist() == [-1] * 7
    assert index.find(["AAA", "A" * 23, "O:SPY261218C00030000", ""]).tolist() == [-1] * 4


def test_nothing_is_found_in_nothing() -> None:
    index = NameIndex()
    assert index.find([]).tolist() == []
    assert index.find(["A", ""]).tolist() == [-1, -1]
    index.add("", 5)
    assert index.find(["A", ""]).tolist() == [-1, 5]
