"""A stored context is read as it was written, and under other sectors and pairs by what it then knew."""

import numpy as np

from features.stages.context import Contexts
from features.stages.peers import Peers
from ray_apps.store.contexts import decode, encode
from tests.support.builders import Scene, assert_same, block, engine, gather

OLD = Peers({"low": ("S0", "S1", "S2")}, (("S0", "S3"), ("S4", "S2")))
NEW = Peers({"high": ("S3", "S4", "S5"), "low": ("S0", "S1", "S2")}, (("S1", "S2"), ("S4", "S1")))


def contexts() -> Contexts:
    scene = Scene(n_windows=70, missing=0.0, peers=OLD)
    told = gather(engine(scene).fold(block(scene))).contexts
    assert told is not None
    assert np.isfinite(told.moves).all()
    return told


def test_what_is_read_is_what_was_written() -> None:
    ctx = contexts()
    assert_same(decode(encode(ctx, OLD), OLD), ctx)


def test_a_column_goes_where_it_is_now() -> None:
    ctx = contexts()
    read = decode(encode(ctx, OLD), NEW)
    assert_same(read, ctx, but=("moves",))
    market, low, s2 = ctx.moves.T[[0, 1, 3]]
    unknown = np.full(len(ctx), np.nan)
    np.testing.assert_array_equal(read.moves.T, [market, unknown, low, s2, unknown])
