"""Rows B6, B7, B8, R1, R4, R8 and R9 on the real MNIST, against the bands of the chapter's test plan."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from chapter_runs import from_then_on, overfit, sealed_images, training_accuracies

from trainer import Diverged, Ensemble, norms

pytestmark = pytest.mark.mnist

SCALES = np.logspace(0, -4, 16)


def test_b6_batch_norm_bears_a_rate_of_1() -> None:
    assert training_accuracies(0, lr=1.0, batch_norm=True)[-1] > 0.95
    try:
        plain = training_accuracies(0, lr=1.0)[-1]
    except Diverged:
        plain = 0.0
    assert plain < 0.2


def test_b7_batch_norm_learns_faster_from_he() -> None:
    final: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(3):
        curves = {bn: training_accuracies(seed, batch_norm=bn) for bn in (True, False)}
        reached = {bn: int(np.argmax(curve >= 0.8)) for bn, curve in curves.items()}
        assert curves[False].max() >= 0.8
        assert reached[True] + 4 <= reached[False]
        for bn, curve in curves.items():
            final[bn].append(curve[-1])
    assert 0.92 < np.mean(final[True]) < 0.98
    assert 0.77 < np.mean(final[False]) < 0.94


def final_accuracy(seed: int, scale: float, batch_norm: bool) -> float:
    """0 for a run that diverged: it has failed, and the others go on."""
    try:
        return training_accuracies(seed, initializer=scale, batch_norm=batch_norm)[-1]
    except Diverged:
        return 0.0


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.experiment), pytest.param(2, marks=pytest.mark.experiment)]
)
def test_b8_batch_norm_leads_at_almost_every_initial_scale(seed: int) -> None:
    with_norm = np.array([final_accuracy(seed, scale, True) for scale in SCALES])
    plain = np.array([final_accuracy(seed, scale, False) for scale in SCALES])
    ahead = with_norm > plain
    assert 13 <= ahead.sum() <= 15
    assert not ahead[2]  # .293
    assert np.nonzero(plain > 0.5)[0].tolist() == [2, 3]  # .293 and .158
    assert (with_norm[4:9] > 0.85).all()  # .0858 to .00736


@cache
def plain_run(seed: int) -> Any:
    """Shared by the tests of one group, which run in one process."""
    return overfit(seed, 201)


@pytest.mark.xdist_group("plain runs")
def test_r1_a_network_over_fits_300_images() -> None:
    gaps = []
    for seed in range(3):
        _, train, gap = plain_run(seed)
        assert from_then_on(train, 0.99) <= 120
        assert train[-1] == 1.0
        gaps.append(gap)
    assert 0.17 < np.mean(gaps) < 0.32


@pytest.mark.xdist_group("plain runs")
def test_r4_weight_decay_narrows_the_gap() -> None:
    changes, ratios = [], []
    for seed in range(3):
        plain, _, plain_gap = plain_run(seed)
        decayed, train, gap = overfit(seed, 201, weight_decay=0.1)
        assert train.max() < 0.97
        changes.append(gap - plain_gap)
        of_decayed, of_plain = (norms.l2(network.params[: network.decayed]) for network in (decayed, plain))
        ratios.append(of_decayed / of_plain)
    assert max(changes) < 0
    assert -0.095 < np.mean(changes) < -0.04
    assert np.mean(ratios) == pytest.approx(0.563, abs=0.01)


@pytest.mark.parametrize(("rate", "change"), [(0.15, -0.01), (0.2, -0.05)])
@pytest.mark.experiment
@pytest.mark.timeout(1800)
def test_r8_dropout_narrows_the_gap(rate: float, change: Any) -> None:
    changes = []
    for seed in range(5):
        _, _, plain_gap = overfit(seed, 301)
        _, train, gap = overfit(seed, 301, dropout=rate)
        assert train.max() < 0.97
        changes.append(gap - plain_gap)
    assert sum(c < 0 for c in changes) >= 4
    assert np.mean(changes) <= change


def test_r8_dropout_narrows_the_gap_in_one_run() -> None:
    _, _, plain_gap = overfit(0, 301)
    _, train, gap = overfit(0, 301, dropout=0.2)
    assert train.max() < 0.97
    assert gap < plain_gap


@pytest.mark.xdist_group("plain runs")
def test_r9_five_networks_gain_a_few_percent() -> None:
    networks = [plain_run(seed)[0] for seed in range(5)]
    single = [network.accuracy(*sealed_images()) for network in networks]
    gain = Ensemble(networks).accuracy(*sealed_images()) - np.mean(single)
    assert 0.01 < gain < 0.08
    assert np.mean(single) == pytest.approx(0.755, abs=0.05)
