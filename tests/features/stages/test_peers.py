"""What a symbol is held against: by the configuration, in the columns, and over a change of it."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from features import catalog
from features.decisions.config import DetectionConfig
from features.engine import Engine
from features.families.cross_section import COUNT, KEY
from features.market.types import AssetClass
from features.stages import newest
from features.stages.peers import Peers
from tests.support.builders import Live, Scene, assert_same, assert_same_arrays, block, cut, engine, gather

STOCKS, CRYPTO = AssetClass.STOCKS, AssetClass.CRYPTO
SECTORS = {"tech": ["stocks:AAPL", "MSFT", "NVDA"], "coins": ["crypto:BTC-USD", "crypto:ETH-USD", "crypto:SOL-USD"]}
PAIRS = [("crypto:BTC-USDC", "BTC-USDT"), ("GOOG", "GOOGL"), ("stocks:AAPL", "stocks:MSFT")]
PEERS = Peers({"low": ("S0", "S1", "S2")}, (("S0", "S3"), ("S4", "S3")))
SCENE = Scene(n_windows=160, missing=0.1, peers=PEERS)
STATE = "60/features.cross_section.state"


def test_a_class_takes_what_is_its_own() -> None:
    assert Peers.of(STOCKS, SECTORS, PAIRS) == Peers(
        {"tech": ("AAPL", "MSFT", "NVDA")}, (("GOOG", "GOOGL"), ("AAPL", "MSFT"))
    )
    assert Peers.of(CRYPTO, SECTORS, PAIRS) == Peers(
        {"coins": ("BTC-USD", "ETH-USD", "SOL-USD")}, (("BTC-USDC", "BTC-USDT"), ("GOOG", "GOOGL"))
    )
    assert Peers.of(AssetClass.FOREX, SECTORS, PAIRS) == Peers(pairs=(("GOOG", "GOOGL"),))


def test_columns_are_the_market_then_sectors_then_partners() -> None:
    peers = Peers.of(STOCKS, SECTORS, PAIRS)
    assert peers.names == ("the market's", "its sector's (tech)", "GOOGL's", "MSFT's")
    assert (peers.members, peers.starts, peers.partners) == (("AAPL", "MSFT", "NVDA"), (0, 3), ("GOOGL", "MSFT"))
    assert [peers.reference(s) for s in ("AAPL", "MSFT", "GOOG", "GOOGL", "IBM")] == [3, 1, 2, 0, 0]
    assert len(peers) == len(peers.keys) == len(set(peers.keys)) == 4


def test_nothing_said_is_the_market_alone() -> None:
    assert (len(Peers()), Peers().names, Peers().keys, Peers().reference("AAPL")) == (1, ("the market's",), (0.0,), 0)


def test_they_travel_to_other_processes() -> None:
    peers = Peers.of(STOCKS, SECTORS, PAIRS)
    assert pickle.loads(pickle.dumps(DetectionConfig(peers=peers))).peers == peers


def test_a_key_does_not_depend_on_what_is_beside_it() -> None:
    alone, beside = Peers(pairs=(("A", "B"),)), Peers({"b": ("A", "B", "C")}, (("C", "D"), ("A", "B")))
    assert alone.keys[1] == beside.keys[beside.names.index("B's")]
    assert alone.keys[1] != Peers({"B": ("A", "B", "C")}).keys[1]


@pytest.mark.parametrize(
    ("sectors", "pairs", "said"),
    [
        ({"a": ("A", "B", "C"), "b": ("D", "C", "E")}, [], "expected a symbol in one sector, was C in a and b"),
        ({"a": ("A", "B", "stocks:A")}, [], "expected a symbol in one sector, was A in a and a"),
        ({"a": ("A", "B")}, [], "expected at least 3 symbols of a class in sector a, was 2"),
        ({"a": ()}, [], "expected at least 3 symbols of a class in sector a, was 0"),
        ({"a": ("A", "stocks:B", "crypto:C", "crypto:D")}, [], "symbols of a class in sector a, was 2"),
        ({}, [("stocks:A", "crypto:B")], "expected both symbols of a pair of one class, was stocks:A against crypto:B"),
        ({}, [("A", "B"), ("stocks:A", "C")], "expected a symbol first in one pair, was A in 2"),
        ({}, [("stocks:A", "A")], "expected two symbols in a pair, was A twice"),
    ],
)
def test_what_is_refused(sectors: dict[str, tuple[str, ...]], pairs: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Peers.of(STOCKS, sectors, pairs)


def residuals(e: Engine) -> np.ndarray:
    """Give move, residual and beta [S, 3] of the newest bars."""
    primary = e.symbols.primary
    n = len(primary.slot_of)
    order = np.argsort(primary.slot_of)
    moves = primary.newest[:n, newest.MOVE]
    return np.stack([moves, *(primary.newest_x[:n, c] for c in (catalog.RESIDUAL, catalog.BETA))], axis=1)[order]


def test_each_symbol_is_held_against_its_own_reference() -> None:
    scene = replace(SCENE, missing=0.0, faults=0, seed=3)
    e = engine(scene)
    contexts = gather(e.fold(block(scene))).contexts
    assert contexts is not None
    move, residual, beta = residuals(e).T
    columns = [PEERS.reference(f"S{n}") for n in range(5)]
    assert columns == [2, 1, 1, 0, 2]
    np.testing.assert_allclose(residual, move - beta * contexts.moves[-1, columns], rtol=1e-12)
    assert len(np.unique(contexts.moves[-1])) == 3


def test_a_sector_of_all_symbols_is_the_market_and_changes_nothing() -> None:
    everyone = Peers({"all": tuple(f"S{n}" for n in range(5))})
    b = block(SCENE)
    alone, within = (engine(SCENE, config=DetectionConfig(peers=peers)) for peers in (Peers(), everyone))
    one, two = gather(alone.fold(b)), gather(within.fold(b))
    assert one.contexts is not None
    assert two.contexts is not None
    np.testing.assert_array_equal(two.contexts.moves[:, 0], two.contexts.moves[:, 1])
    assert_same(one.anomalies, two.anomalies)
    assert_same(one.contexts, two.contexts, but=("moves",))


def changed(to: Peers, at: int = 100) -> tuple[Engine, Engine]:
    """Give an engine that went on with other peers after `at` windows, and one that kept them."""
    before, after = cut(block(SCENE), SCENE, [at])
    first, other = engine(SCENE), engine(SCENE, config=DetectionConfig(peers=to))
    list(first.fold(before))
    other.market.restore(first.market.snapshot())
    other.symbols.restore(first.symbols.snapshot())
    for e in (first, other):
        list(e.fold(after))
    return other, first


def test_a_changed_reference_starts_afresh_and_the_others_go_on() -> None:
    to = Peers({"low": ("S0", "S1", "S2")}, (("S4", "S2"),))
    other, kept = (e.symbols.snapshot()[STATE] for e in changed(to))
    same = [1, 2, 3]
    np.testing.assert_array_equal(other[same], kept[same])
    assert (kept[:, COUNT] > 100).all()
    assert (other[[0, 4], COUNT] <= 60).all()
    assert other[:, KEY].tolist() == [to.keys[to.reference(f"S{n}")] for n in range(5)]


def test_afresh_is_as_if_nothing_had_been_learnt() -> None:
    before, after = cut(block(SCENE), SCENE, [100])
    first = engine(SCENE)
    list(first.fold(before))
    arrays = first.symbols.snapshot()
    wiped = {k: np.zeros_like(v) if "cross_section" in k else v for k, v in arrays.items()}
    told = []
    for state in (arrays, wiped):
        e = engine(SCENE, config=DetectionConfig(peers=Peers()))
        e.market.restore(first.market.snapshot())
        e.symbols.restore(state)
        # S3 was held against the market before: its past stays
        gather(e.fold(after))
        told.append({k: np.delete(v, 3, axis=0) for k, v in e.symbols.snapshot().items() if "cross_section" in k})
    assert_same_arrays(*told)


def test_settings_changed_while_running_leave_the_columns_alone() -> None:
    live = Live(SCENE)
    before, after = cut(block(SCENE), SCENE, [100])
    live.run(before)
    other = DetectionConfig(budget=0.05, peers=Peers({"all": ("S0", "S1", "S2", "S3", "S4")}))
    live.market.configure(other)
    live.shards[0].configure(other)
    live.run(after)
    kept = engine(SCENE)
    list(kept.fold(block(SCENE)))
    assert_same_arrays(*({k: v for k, v in s.snapshot().items() if "cross_section" in k}
                         for s in (live.shards[0], kept.symbols)))  # fmt: skip
