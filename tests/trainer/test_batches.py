"""Mini-batches: with replacement (D14) and as shuffled epochs."""

from typing import Any

import numpy as np
import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.batches import Batches


def batches(n: int, size: int, sampling: str, updates: Any = None, features: int = 3) -> Batches:
    x = np.arange(n, dtype=np.float32)[:, None] * np.ones(features, np.float32)
    return Batches(x, np.arange(n), size, sampling, np.random.default_rng(0), updates)


@settings(max_examples=examples(50))
@given(st.integers(1, 60), st.integers(1, 70), st.sampled_from([1, 3, 20_000]))
def test_an_epoch_deals_every_example_out_once(n: int, size: int, features: int) -> None:
    seen: list[Any] = []
    for x, t in batches(n, size, "epoch", features=features).epoch():
        np.testing.assert_array_equal(x[:, 0], t)
        assert 1 <= len(t) <= size
        seen.extend(t)
    assert sorted(seen) == list(range(n))


@settings(max_examples=examples(50))
@given(st.integers(1, 60), st.integers(1, 70), st.sampled_from([1, 3, 20_000]))
def test_replacement_draws_full_batches_of_pairs(n: int, size: int, features: int) -> None:
    drawn = list(batches(n, size, "replacement", features=features).epoch())
    assert len(drawn) == max(n // size, 1)
    assert {t.shape for _, t in drawn} == {(size,)}


def test_pairs_stay_together_under_replacement() -> None:
    for x, t in batches(500, 100, "replacement", features=784).epoch():
        np.testing.assert_array_equal(x[:, 5], t)


def test_d14_an_epoch_of_draws_sees_about_63_percent() -> None:
    seen = {i for _, t in batches(40_000, 100, "replacement").epoch() for i in t}
    assert len(seen) / 40_000 == pytest.approx(1 - np.exp(-1), abs=0.01)


def test_epochs_differ_and_a_seed_repeats_them() -> None:
    first, second = batches(50, 10, "epoch"), batches(50, 10, "epoch")
    one = [t.tolist() for _, t in first.epoch()]
    two = [t.tolist() for _, t in first.epoch()]
    assert one != two
    assert [t.tolist() for _, t in second.epoch()] == one


def test_updates_set_the_length_of_an_epoch() -> None:
    assert len(list(batches(50, 10, "replacement", updates=17).epoch())) == 17


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ((0, "epoch", None), r"`batch_size` must be an integer >= 1, but got \(batch_size=0\)"),
        ((2.5, "epoch", None), "`batch_size` must be an integer"),
        ((2, "bootstrap", None), r"`sampling` must be one of \('replacement', 'epoch'\), but got 'bootstrap'"),
        ((2, "epoch", 5), "with sampling 'replacement'.*updates=5"),
        ((2, "replacement", 0), "`updates` must be an integer >= 1"),
    ],
)
def test_bad_input_states_rule_and_value(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        batches(10, *arguments)
