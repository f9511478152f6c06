"""An artifact read back is the detector that was written; anything else is refused in one line."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalog import NAMES
from features.detectors import card as cards
from features.detectors.artifact import digest, dump, load
from features.detectors.card import ColumnRef, ModelError, column_refs
from tests.support.forests import TAIL, card, forest, grown, rows, wide

pytestmark = pytest.mark.thorough

FOREST = forest()
DATA = dump(FOREST)


def test_what_is_read_is_what_was_written() -> None:
    read = load(DATA)
    x = wide(rows(1_000, 9))
    np.testing.assert_array_equal(read.score(x), FOREST.score(x))
    assert read.card == FOREST.card
    assert read.columns == FOREST.columns
    for name, array in FOREST.arrays.items():
        assert read.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(read.arrays[name], array)
    assert dump(read) == DATA
    assert digest(read) == digest(FOREST)


def test_a_digest_is_of_the_content() -> None:
    path = FOREST.arrays["path"].copy()
    path[-1] = np.nextafter(path[-1], 9.0)
    others = [forest(grown(seed=2)), forest(seed=3), forest(metrics={"rows": 2.0}), forest(bar_s=300)]
    others.append(type(FOREST).of(FOREST.card, {**FOREST.arrays, "path": path}))
    found = {digest(f) for f in [FOREST, *others]}
    assert len(found) == 1 + len(others)
    assert all(len(d) == 32 for d in found)
    first, second = forest(metrics={"a": 1.0, "b": 2.0}), forest(metrics={"b": 2.0, "a": 1.0})
    assert digest(first) == digest(second)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ((ColumnRef("no_such", 1),), r"expected a column of the catalogue \(\w{16}\), was no_such"),
        ((ColumnRef("move_z", 9),), "expected move_z in version 1, was fitted on version 9"),
    ],
)
def test_a_card_that_is_not_the_catalogues_is_refused(columns: tuple[ColumnRef, ...], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        load(with_card(cards.encode(replace(FOREST.card, columns=columns))))


def test_columns_are_found_wherever_they_stand() -> None:
    names = ("volatility_ratio", "move_z", "activity_z", "up_z", "down_z")
    moved = load(dump(forest(columns=column_refs(names))))
    assert [NAMES[c] for c in moved.columns] == list(names)


def with_card(text: bytes) -> bytes:
    out = io.BytesIO()
    np.savez(out, card=np.frombuffer(text, dtype=np.uint8), **FOREST.arrays)
    return out.getvalue()


def test_a_card_that_says_something_else_is_refused() -> None:
    text = cards.encode(card())
    for was, becomes in ((b'"bar_s":60', b'"bar_s":"x"'), (b'"stocks"', b'"bonds"'), (b'"seed":1,', b"")):
        with pytest.raises(ModelError, match="expected a model card, was"):
            load(with_card(text.replace(was, becomes)))
    with pytest.raises(ModelError, match="expected the type isolation_forest, was lstm"):
        load(with_card(cards.encode(card(model_type="lstm"))))
    bad_tail = text.replace(b'"p":[1.0', b'"p":[0.5')
    assert bad_tail != text
    with pytest.raises(ModelError, match="expected p that falls from 1"):
        load(with_card(bad_tail))


def test_an_array_too_few_is_refused() -> None:
    out = io.BytesIO()
    np.savez(out, path=np.zeros(1))
    with pytest.raises(ModelError, match=r"expected an array card, was \['path'\]"):
        load(out.getvalue())
    arrays = {k: v for k, v in FOREST.arrays.items() if k != "root"}
    np.savez(out := io.BytesIO(), card=np.frombuffer(cards.encode(card()), dtype=np.uint8), **arrays)
    with pytest.raises(ModelError, match="expected the arrays"):
        load(out.getvalue())


def test_pickled_arrays_are_refused() -> None:
    out = io.BytesIO()
    np.savez(out, card=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ModelError, match="expected an artifact"):
        load(out.getvalue())


def test_an_artifact_that_swells_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("card.npy", "w") as entry:
        for _ in range(260):
            entry.write(bytes(2**20))
    with pytest.raises(ModelError, match="expected an artifact of at most"):
        load(out.getvalue())


@given(st.one_of(st.binary(max_size=200), st.integers(0, len(DATA)).map(lambda n: DATA[:n][:-1])))
def test_any_bytes_are_a_forest_or_a_model_error(data: bytes) -> None:
    with pytest.raises(ModelError):
        load(data)


@given(at=st.integers(0, len(DATA) - 1), value=st.integers(0, 255))
def test_a_changed_byte_is_an_error_or_harmless(at: int, value: int) -> None:
    data = DATA[:at] + bytes([value]) + DATA[at + 1 :]
    try:
        read = load(data)
    except ModelError:
        return
    assert digest(read) == digest(FOREST)  # only the packing around the content changed


def test_the_tail_is_kept() -> None:
    assert load(DATA).card.calibration == TAIL
