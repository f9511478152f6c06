"""Say what a file is by its first bytes, and what separates the values of a line."""

import re
from dataclasses import dataclass

START_BYTES = 4_096
SEPARATORS = ",;\t|"
TEXT = "text"
PARQUET = "a Parquet file"
_KINDS = (
    (b"PAR1", PARQUET),
    (b"\x1f\x8b", "gzip data"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet"),
    (b"\xff\xfe\x00\x00", "UTF-32 text"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_CONTROL_SHARE = 0.05
"""Of the first bytes: of any bytes a tenth are such characters, of a text a stray one."""
_WIDE_SHARE = 0.3
"""Of the first bytes: of a table in UTF-16 nearly every second one is 0."""
_QUOTED = re.compile(r'"[^"]*"')


def kind_of(start: bytes) -> str:
    """Name what a file is that begins with these bytes; TEXT also where a few of them are not of UTF-8.

    >>> kind_of(b"t,o,h,l,c,v"), kind_of("t,o".encode("utf-16-le")), kind_of(b"PAR1"), kind_of(bytes(range(99)))
    ('text', 'UTF-16 text', 'a Parquet file', 'binary data')
    """
    for magic, kind in _KINDS:
        if start.startswith(magic):
            return kind
    few, many = sorted((start[0::2].count(0), start[1::2].count(0)))
    if few == 0 and many > max(1, _WIDE_SHARE * len(start)):
        return "UTF-16 text"
    header = start.partition(b"\n")[0]
    if _CONTROL.search(header) or len(_CONTROL.findall(start)) > _CONTROL_SHARE * len(start):
        return "binary data"
    return TEXT


@dataclass(frozen=True, slots=True)
class Separation:
    """What separates the values of a line, and how many there are."""

    separator: str
    n_fields: int


def separation(header: str) -> Separation:
    """Find the one character of those that separate values which a header has outside of quotes, else the comma.

    >>> separation("t;o;h;l;c;v")
    Separation(separator=';', n_fields=6)
    >>> separation("Date,Open;High").n_fields, separation('"a,b";c').n_fields
    (2, 2)
    """
    bare = _QUOTED.sub("", header)
    found = [s for s in SEPARATORS if s in bare]
    separator = found[0] if len(found) == 1 else ","
    return Separation(separator, bare.count(separator) + 1)
