"""Give a fitted detector as bytes and back: one npz of its arrays with the card as JSON inside, nothing pickled."""

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.detectors import card as cards
from features.detectors.base import FittedDetector
from features.detectors.card import ModelError
from features.detectors.isolation_forest import MODEL_TYPE, IsolationForest

CARD = "card"
MAX_BYTES = 256 * 2**20
"""A larger artifact, packed or not, is refused."""


def digest(detector: FittedDetector) -> str:
    """Give the identity of a detector: any change of its card or a bit of its arrays changes it."""
    h = hashlib.blake2b(cards.encode(detector.card), digest_size=16)
    for name, array in sorted(detector.arrays.items()):
        h.update(f"|{name}:{array.dtype.str}:{array.shape}|".encode())
        h.update(np.ascontiguousarray(array).tobytes())
    return h.hexdigest()


def dump(detector: FittedDetector) -> bytes:
    """Give the artifact; the same detector gives the same bytes (npz entries carry no time)."""
    out = io.BytesIO()
    text = np.frombuffer(cards.encode(detector.card), dtype=np.uint8)
    arrays: dict[str, Any] = {CARD: text, **dict(sorted(detector.arrays.items()))}
    np.savez_compressed(out, allow_pickle=False, **arrays)
    return out.getvalue()


def load(data: bytes) -> FittedDetector:
    """Read an artifact.

    Raises
    ------
    ModelError
        When it is not one, or was fitted on columns or versions that are not the catalogue's.
    """
    arrays = dict(_arrays(data))
    if CARD not in arrays:
        raise ModelError(f"expected an array {CARD}, was {sorted(arrays)}")
    card = cards.decode(arrays.pop(CARD).astype(np.uint8).tobytes())
    if card.model_type != MODEL_TYPE:
        raise ModelError(f"{card.name}: expected the type {MODEL_TYPE}, was {card.model_type}")
    return IsolationForest.of(card, arrays)


def _arrays(data: bytes) -> Mapping[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as npz:
            size = sum(entry.file_size for entry in npz.zip.infolist())
            if size > MAX_BYTES:
                raise ModelError(f"expected an artifact of at most {MAX_BYTES} bytes, was {size}")
            return {name: npz[name] for name in npz.files}
    except ModelError:
        raise
    except Exception as e:  # any bytes may come: numpy, zip and zlib each have errors of their own
        raise ModelError(f"expected an artifact (npz), was: {type(e).__name__}: {e}") from e
