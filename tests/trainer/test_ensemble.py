"""Row R9: the averaged output of several networks."""

from typing import Any

import numpy as np
import pytest

from trainer import Ensemble, Network


def networks(n: int, **arguments: Any) -> list[Network]:
    return [Network(6, [5], 3, np.random.default_rng(seed), **arguments) for seed in range(n)]


def test_r9_probabilities_are_averaged() -> None:
    x, members = np.random.default_rng(0).random((20, 6)).astype(np.float32), networks(3)
    mean = sum(network.probabilities(x) for network in members) / 3
    ensemble = Ensemble(members)
    np.testing.assert_allclose(ensemble.probabilities(x), mean, rtol=1e-5)
    np.testing.assert_array_equal(ensemble.predict(x), mean.argmax(axis=1))
    assert ensemble.accuracy(x, mean.argmax(axis=1)) == 1.0


def test_networks_that_do_not_match_are_refused() -> None:
    others = [Network(6, [5], 4, np.random.default_rng(0))]
    with pytest.raises(ValueError, match=r"must share one .* but got \[\(6, 3\), \(6, 4\)\]"):
        Ensemble(networks(1) + others)
    with pytest.raises(ValueError, match=r"but got \[\]"):
        Ensemble([])
