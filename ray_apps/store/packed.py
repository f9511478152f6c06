"""Unpack gzip data; of data whose end is missing, as far as its last whole line."""

import gzip
import zlib


def unpack(data: bytes) -> tuple[bytes, bool]:
    r"""Give the text and whether its end is missing.

    >>> unpack(gzip.compress(b"a\nb\n")), unpack(gzip.compress(b"a\nb\n")[:-8])
    ((b'a\nb\n', False), (b'a\nb\n', True))

    Raises
    ------
    OSError, zlib.error
        When it is no gzip data, or not what its checksum says.
    """
    try:
        return gzip.decompress(data), False
    except EOFError:
        found = b""
    while data:
        member = zlib.decompressobj(wbits=31)  # with gzip's own header
        try:
            found += member.decompress(data)
        except zlib.error:
            if not found:
                raise
            break  # a further member, cut within its header
        data = member.unused_data
    return found[: found.rfind(b"\n") + 1], True
