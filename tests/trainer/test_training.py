"""`fit`: what it reports, when, and how it ends; row R7."""

import warnings
from typing import Any

import numpy as np
import pytest

from trainer import SGD, Adam, Diverged, Momentum, Network, fit
from trainer.arrays import Floats, Labels
from trainer.schedules import step


def task(n: int = 60, features: int = 6, classes: int = 3, dtype: Any = "float32") -> tuple[Floats, Labels]:
    """Examples whose class is the largest of their first elements."""
    x = np.random.default_rng(0).standard_normal((n, features)).astype(dtype)
    return x, x[:, :classes].argmax(axis=1)


def network(seed: int = 0, **arguments: Any) -> Network:
    return Network(6, [16], 3, np.random.default_rng(seed), **arguments)


def run(net: Any, train: Any, *, seed: int = 1, optimizer: Any = None, **arguments: Any) -> Any:
    given = {"epochs": 3, "batch_size": 10} | arguments
    return fit(net, train, optimizer=optimizer or SGD(0.1), rng=np.random.default_rng(seed), **given)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_learns(dtype: Any) -> None:
    train, net = task(dtype=dtype), network(dtype=dtype)
    *_, last = run(net, train, optimizer=Adam(0.02), epochs=40)
    assert last["train_accuracy"] == net.accuracy(*train) >= 0.95
    assert net.params.dtype == dtype


def test_reports_are_plain_numbers_per_epoch() -> None:
    reports = list(run(network(), task(), validation=task(20)))
    assert [list(r) for r in reports] == [["loss", "train_accuracy", "val_accuracy", "val_loss"]] * 3
    assert {type(value) for r in reports for value in r.values()} == {float}
    assert list(next(run(network(), task()))) == ["loss", "train_accuracy"]


def test_the_same_seeds_give_the_same_reports() -> None:
    assert list(run(network(), task())) == list(run(network(), task()))
    assert list(run(network(), task())) != list(run(network(), task(), seed=2))


def test_r7_accuracy_after_the_first_update_of_each_epoch() -> None:
    """Entry 0 is the accuracy after one update, the next after 1 + updates per epoch."""
    train, by_hand, optimizer = task(), network(), SGD(0.1)
    reports = list(run(network(), train, accuracy_after="first"))
    rng = np.random.default_rng(1)
    accuracies = []
    for _ in range(3):
        drawn = rng.integers(0, 60, 60).reshape(6, 10)
        for i, rows in enumerate(drawn):
            by_hand.backpropagate(train[0][rows], train[1][rows])
            optimizer.update(by_hand.params, by_hand.grads)
            if i == 0:
                accuracies.append(by_hand.accuracy(*train))
    assert [r["train_accuracy"] for r in reports] == accuracies


def test_r7_the_loss_is_the_mean_over_the_epochs_batches_without_penalty() -> None:
    train = task()
    (report,) = run(network(weight_decay=0.5), train, epochs=1, sampling="epoch")
    by_hand, optimizer, losses = network(), SGD(0.1), []
    for rows in np.random.default_rng(1).permutation(60).reshape(6, 10):
        losses.append(by_hand.backpropagate(train[0][rows], train[1][rows]))
        optimizer.update(by_hand.params, by_hand.grads, 0.5, by_hand.decayed)
    assert report["loss"] == pytest.approx(np.mean(losses), rel=1e-12)


def test_r7_the_loss_can_be_measured_after_each_update() -> None:
    train, net = task(10), network()
    (report,) = run(net, train, epochs=1, sampling="epoch", loss_after_update=True)
    assert report["loss"] == pytest.approx(net.loss(*train), rel=1e-6)


def test_r7_measuring_can_be_limited_to_the_first_examples() -> None:
    train, net = task(), network()
    *_, last = run(net, train, evaluated=7)
    assert last["train_accuracy"] == net.accuracy(train[0][:7], train[1][:7])


def test_measuring_can_be_limited_on_the_training_examples_alone() -> None:
    train, validation, net = task(), task(30), network()
    *_, last = run(net, train, validation=validation, train_evaluated=7)
    assert last["train_accuracy"] == net.accuracy(train[0][:7], train[1][:7])
    assert last["val_accuracy"] == net.accuracy(*validation)


def test_weight_decay_of_the_network_reaches_the_weights_only() -> None:
    plain, decayed = network(), network(weight_decay=0.1)
    rows = task(10)
    list(run(plain, rows, epochs=1))
    list(run(decayed, rows, epochs=1))
    start = network()
    w, b = slice(None, start.decayed), slice(start.decayed, None)
    difference = decayed.params - plain.params
    np.testing.assert_allclose(difference[w], -0.1 * 0.1 * start.params[w], rtol=0, atol=1e-7)
    np.testing.assert_array_equal(difference[b], 0)


def test_a_schedule_changes_the_rate_and_gives_it_back() -> None:
    rates = []

    class Noting(SGD):
        def _begin(self) -> None:
            rates.append(self.lr)

    optimizer = Noting(0.1)
    list(run(network(), task(20), optimizer=optimizer, schedule=step(0.5, every=1)))
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
    assert optimizer.lr == 0.1


def test_closing_the_generator_is_safe_and_keeps_the_network() -> None:
    net = network()
    reports = run(net, task(), epochs=100)
    next(reports)
    kept = net.params.copy()
    reports.close()
    np.testing.assert_array_equal(net.params, kept)
    assert list(reports) == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divergence_ends_the_run_in_its_epoch_without_warnings(dtype: Any) -> None:
    net = network(dtype=dtype)
    reports = run(net, task(dtype=dtype), optimizer=SGD(1e30), epochs=50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Diverged, match=r"in epoch \d+, at learning rate 1e\+30"):
            list(reports)
    assert list(reports) == []


def test_divergence_in_the_last_update_is_noticed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = SGD(0.1)
    reports = run(network(), task(10), optimizer=optimizer, epochs=1, batch_size=10)

    def spoil(p: Floats, g: Floats, scratch: Floats) -> None:
        p.fill(np.nan)

    monkeypatch.setattr(optimizer, "_step", spoil)
    with pytest.raises(Diverged, match="parameters stopped being finite in epoch 1"):
        next(reports)


def test_a_validation_loss_that_is_not_finite_is_no_result() -> None:
    x, t = task()
    far = np.full_like(x, 3e38), t
    with pytest.raises(Diverged, match=r"epoch 1 ended with .*'val_loss': (nan|inf)"):
        next(run(network(), (x, t), validation=far))


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"epochs": 0}, r"`epochs` must be an integer >= 1, but got \(epochs=0\)"),
        ({"batch_size": -1}, "`batch_size` must be an integer >= 1"),
        ({"sampling": "all"}, "`sampling` must be one of"),
        ({"accuracy_after": "middle"}, "`accuracy_after` must be one of"),
        ({"evaluated": -1}, "`evaluated` must be an integer >= 0 or None"),
        ({"validation": task(features=5)}, r"`x.shape == \(n, 6\)`"),
        ({"validation": task(classes=6)}, "labels must lie in 0..2"),
    ],
)
def test_bad_input_states_rule_and_value_before_any_work(arguments: dict[str, Any], rule: str) -> None:
    net = network()
    before = net.params.copy()
    with pytest.raises(ValueError, match=rule):
        run(net, task(), **arguments)
    np.testing.assert_array_equal(net.params, before)


def test_one_optimizer_cannot_serve_two_networks() -> None:
    optimizer = Momentum(0.1)
    list(run(network(), task(), optimizer=optimizer))
    with pytest.raises(ValueError, match="belongs to one parameter vector"):
        list(run(network(), task(), optimizer=optimizer))
