"""Find the numbers of many names at once."""

from collections.abc import Sequence

import numpy as np

from features.jit import kernel
from features.market.types import I32, I64, U8

_WORDS = 3
_NAME_BYTES = 8 * _WORDS  # the vendor's longest, OCC options, have 21
_MIN_CELLS = 64
# Multipliers of congruential generators, odd and without pattern: Knuth's MMIX, and L'Ecuyer (1999), table 4.
_MIX_0, _MIX_1, _MIX_2 = 6364136223846793005, 2862933555777941757, 3202034522624059733


class NameIndex:
    """Numbers by name, looked up thousands at a time.

    A dict hashes and compares one string object after another, all over memory: 400 to 600 ns a name where 11,000
    are known. Here a name is its bytes in three words, in a table of its own with linear probing: 100 ns. Names
    longer than that, or with a NUL in them, are looked up in a dict.

    >>> index = NameIndex()
    >>> index.add("A", 3), index.add("a name of more than 24 bytes", 4), index.get("B")
    (None, None, None)
    >>> index.find(["B", "A"]), index.find(["a name of more than 24 bytes", "A"])
    (array([-1,  3], dtype=int32), array([4, 3], dtype=int32))
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._fresh: list[str] = []  # names that the cells lack
        self._cells = np.zeros((_MIN_CELLS, _WORDS + 1), np.int64)  # a name's words and its number + 1; 0 is free

    def get(self, name: str) -> int | None:
        """Give one name's number, None where it is not known."""
        return self._numbers.get(name)

    def add(self, name: str, number: int) -> None:
        """Take in a name that is not known yet; the number is not negative."""
        self._numbers[name] = number
        self._fresh.append(name)

    def find(self, names: Sequence[str]) -> I32:
        """Give each name's number, -1 for one not known."""
        keys = _keys(names)
        if keys is None:
            return np.array([self._numbers.get(name, -1) for name in names], np.int32)
        if self._fresh:
            self._fill()
        out = np.empty(len(names), np.int32)
        _find(keys, self._cells, out)
        return out

    def _fill(self) -> None:
        """Bring the cells up to date, at most half of them taken."""
        if 2 * len(self._numbers) > len(self._cells):
            old = self._cells[self._cells[:, _WORDS] > 0]
            self._cells = np.zeros((1 << (2 * len(self._numbers)).bit_length(), _WORDS + 1), np.int64)
            _insert(old[:, :_WORDS].copy(), old[:, _WORDS] - 1, self._cells)
        held = [name for name in self._fresh if _fits(name)]
        keys = _keys(held)
        assert keys is not None
        _insert(keys, np.array([self._numbers[name] for name in held], np.int64), self._cells)
        self._fresh.clear()


def _fits(name: str) -> bool:
    return "\0" not in name and len(name.encode("utf-8", "surrogatepass")) <= _NAME_BYTES


def _keys(names: Sequence[str]) -> I64 | None:
    """Give each name's words, [N, 3]; None where one does not fit: it has a NUL or too many bytes."""
    text = np.frombuffer("\0".join(names).encode("utf-8", "surrogatepass"), np.uint8)
    keys = np.zeros((len(names), _WORDS), np.int64)
    return keys if _pack(text, keys) else None


@kernel
def _pack(text: U8, keys: I64) -> bool:
    """Cut the text at its NULs into rows of words, which are zero; False where a row or its bytes are too many."""
    row = 0
    at = 0
    for byte in text:
        if byte == 0:
            row += 1
            at = 0
            if row == keys.shape[0]:
                return False
        elif at == _NAME_BYTES:
            return False
        else:
            keys[row, at >> 3] |= np.int64(byte) << (8 * (at & 7))
            at += 1
    return True


@kernel
def _cell(keys: I64, row: int, cells: I64) -> int:
    """Give the cell that has the row's key, or the free one where it belongs; some cell is free."""
    a, b, c = keys[row, 0], keys[row, 1], keys[row, 2]
    mask = cells.shape[0] - 1
    at: int = ((a * _MIX_0 + b * _MIX_1 + c * _MIX_2) >> 32) & mask
    while cells[at, 3] != 0 and (cells[at, 0] != a or cells[at, 1] != b or cells[at, 2] != c):
        at = (at + 1) & mask
    return at


@kernel
def _find(keys: I64, cells: I64, out: I32) -> None:
    for row in range(keys.shape[0]):
        out[row] = cells[_cell(keys, row, cells), 3] - 1


@kernel
def _insert(keys: I64, numbers: I64, cells: I64) -> None:
    for row in range(keys.shape[0]):
        at = _cell(keys, row, cells)
        cells[at, :3] = keys[row]
        cells[at, 3] = numbers[row] + 1
