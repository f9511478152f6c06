"""Source outages: silences together found, each one's own left to itself."""

import numpy as np
import pytest
from scipy.special import pdtrc

from features.market.quality.outages import Silences, _poisson_tail, outages

N = 20_000


def silent(rates: list[float], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.flatnonzero(rng.random(N) < rate) for rate in rates]


def found(windows: list[np.ndarray]) -> list[tuple[int, int, int]]:
    seen = outages([Silences(w * 60, N) for w in windows], 60)
    columns = (seen.from_ns // 60, seen.to_ns // 60, seen.n_series)
    return list(zip(*(c.tolist() for c in columns), strict=True))


@pytest.mark.parametrize("rates", [[0.0] * 10, [0.01] * 10, [0.04] * 50, [0.001] * 200, [0.04] * 3])
def test_silences_of_their_own_are_no_outage(rates: list[float]) -> None:
    assert sum(len(found(silent(rates, seed))) for seed in range(8)) <= 1


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.03])
def test_silence_together_is(rate: float) -> None:
    windows = silent([rate] * 20, 1)
    windows = [np.union1d(w, np.arange(5_000, 5_003)) for w in windows[:12]] + windows[12:]
    (outage,) = found(windows)
    assert outage[:2] == (5_000, 5_003)
    assert 12 <= outage[2] <= 20


def test_two_series_cannot_tell() -> None:
    assert found([np.array([5]), np.array([5])]) == []
    assert found([]) == []


@pytest.mark.parametrize(("k", "mean"), [(1, 0.001), (3, 0.5), (5, 4.0), (20, 9.0)])
def test_the_tail_is_scipys(k: int, mean: float) -> None:
    assert _poisson_tail(k, mean) == pytest.approx(pdtrc(k - 1, mean), rel=1e-9)
