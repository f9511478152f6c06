"""Encode a closed window's context for the database, and read it back."""

import io
from dataclasses import fields

import numpy as np

from features.stages.context import Contexts


def encode(ctx: Contexts) -> bytes:
    """Give the columns as an uncompressed npz; never a pickle."""
    out = io.BytesIO()
    np.savez(out, **{f.name: getattr(ctx, f.name) for f in fields(Contexts)})
    return out.getvalue()


def decode(data: bytes) -> Contexts:
    """Read what `encode` wrote."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return Contexts(*(arrays[f.name] for f in fields(Contexts)))
