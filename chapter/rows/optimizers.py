"""Section 6.1: rows U1 to U16."""

from __future__ import annotations

import numpy as np

from chapter.results import Floats, Results
from chapter.rows.row import Finding, Row, between, near, numbers, spread
from trainer import SGD, AdaGrad, Adam, Momentum, RMSProp
from trainer.experiments.descent import path
from trainer.optimizers import OPTIMIZERS

FOUR = {"sgd": (0.185, 0.215), "momentum": (0.055, 0.070), "adam": (0.025, 0.050), "adagrad": (0.020, 0.038)}
ORDER = ("adagrad", "adam", "momentum", "sgd")


def heights(points: Floats) -> Floats:
    x, y = points.T
    return np.asarray(x * x / 20 + y * y)


def turns(points: Floats) -> int:
    """How often y changes its sign."""
    y = points[:, 1]
    return int(np.sum(y[1:] * y[:-1] < 0))


def travelled(points: Floats) -> float:
    """How far the path goes up and down, in y."""
    return float(np.abs(np.diff(points[:, 1])).sum())


def length(points: Floats) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def first_below(points: Floats) -> int | None:
    below = np.nonzero(heights(points) < 1e-2)[0]
    return int(below[0]) if len(below) else None


def _sgd_step(_: Results) -> Finding:
    point = path(SGD(0.95), 1)[1]
    return Finding(f"({numbers(point, '.4f')})", bool(np.allclose(point, (-6.335, -1.8), rtol=0, atol=1e-12)))


def _one_call(_: Results) -> Finding:
    params, grads = np.ones(4), np.full(4, 0.5)
    moved = []
    for make in OPTIMIZERS.values():
        own = params.copy()
        view = own[:2]
        make(lr=0.01).update(own, grads)
        moved.append(bool((own != params).all()) and np.shares_memory(view, own))
    return Finding(f"{sum(moved)} of {len(moved)} optimizers, in place, by one call", all(moved))


def _bowl(results: Results) -> Finding:
    height = {(t.params["x"], t.params["y"]): t.value or 0.0 for t in results.trials("fig-6-1")}
    ratio = float(np.sqrt((height[0.0, 5.0] / 25) / (height[10.0, 0.0] / 100)))
    lowest = min(height, key=lambda point: height[point])
    inside = near(height[-7.0, 2.0], 6.45, 1e-12) and near(ratio, 20**0.5, 1e-9) and lowest == (0.0, 0.0)
    return Finding(f"f(-7, 2) = {height[-7.0, 2.0]:.2f}, axis ratio {ratio:.3f}, lowest at {lowest}", inside)


def _slope(results: Results) -> Finding:
    trials = results.trials("fig-6-1")
    angles = np.array([v for trial in trials if (v := trial.last("angle_off")) is not None])
    here = results.only("fig-6-1", x=-7.0, y=2.0).last("angle_off") or 0.0
    off5, off30 = (float(100 * np.mean(angles > limit)) for limit in (5, 30))
    middle = float(np.median(angles))
    inside = near(here, 64.1, 0.1) and near(off5, 93, 0.5) and near(off30, 80, 0.5) and near(middle, 53.7, 0.1)
    text = f"{here:.1f}° at (-7, 2); {off5:.0f}% off by > 5°, {off30:.0f}% by > 30°, median {middle:.1f}°"
    return Finding(text, inside)


def _sgd_path(results: Results) -> Finding:
    points, k = results.path("fig-6-3"), np.arange(30)
    closed = np.stack([-7 * 0.905**k, 2 * (-0.9) ** k], axis=1)
    off = float(np.abs(points - closed).max())
    text = f"{turns(points)} sign changes, |Δy| {travelled(points):.2f}, f {heights(points)[-1]:.5f}, off {off:.0e}"
    return Finding(text, turns(points) == 29 and off < 1e-9 and near(travelled(points), 36.21, 5e-3))


def _momentum_steps(_: Results) -> Finding:
    points = path(Momentum(0.1), 2)
    same = np.array_equal(path(Momentum(0.1, momentum=0.0), 20), path(SGD(0.1), 20))
    inside = same and np.allclose(points[1:], [(-6.93, 1.6), (-6.7977, 0.92)], rtol=0, atol=1e-12)
    return Finding(f"({numbers(points[1], '.4f')}), ({numbers(points[2], '.4f')}); a = 0 is SGD", bool(inside))


def _momentum_path(results: Results) -> Finding:
    points = results.path("fig-6-5")
    inside = turns(points) == 4 and near(travelled(points), 8.93, 5e-3)
    inside = inside and bool(np.allclose(points[-1], (0.81411, 0.27288), rtol=0, atol=1e-5))
    text = f"{turns(points)} sign changes, |Δy| {travelled(points):.2f}, ends at ({numbers(points[-1], '.5f')})"
    return Finding(text, inside)


def _rates(results: Results) -> Finding:
    ends = {rate: results.only("too-large-a-rate", lr=rate).value or np.inf for rate in (0.5, 0.95, 1.0, 1.01)}
    mnist = {rate: results.last("rates", "loss", optimizer="sgd", lr=rate) for rate in (1e-4, 1e-2, 0.1)}
    slow, middle, fast = (float(np.mean(mnist[rate])) for rate in (1e-4, 1e-2, 0.1))
    constant, cosine, step = (
        results.last("learning-rate-decay", "loss", schedule=name) for name in ("constant", "cosine", "step")
    )
    inside = ends[0.5] < 1e-2 < 3 < ends[1.0] < ends[1.01] and slow > 2 > middle > fast
    text = (
        f"f after 60 steps: {numbers([ends[r] for r in (0.95, 1.0, 1.01)])} at lr .95, 1, 1.01; MNIST loss "
        f"{slow:.2f}, {middle:.2f}, {fast:.3f} at 1e-4, .01, .1; from lr .5: "
        f"constant {spread(constant)}, cosine {spread(cosine)}, step {spread(step)}"
    )
    return Finding(text, inside, holds=inside and bool((cosine < constant).all()))


def _adagrad_steps(_: Results) -> Finding:
    params, ones = np.zeros(2), np.array([1.0, 0.0])
    optimizer, steps = AdaGrad(0.01), []
    for _k in range(100):
        before = params[0]
        optimizer.update(params, ones)
        steps.append(before - params[0])
    wanted = 0.01 / np.sqrt(np.arange(1, 101))
    off = float(np.abs(np.array(steps) - wanted).max())
    return Finding(f"step k is lr/√k (off {off:.0e}); unmoved where g = 0: {params[1] == 0.0}", off < 1e-6)


def _adagrad_path(results: Results) -> Finding:
    points = results.path("fig-6-6")
    inside = turns(points) == 0 and near(heights(points)[-1], 9.27e-4, 5e-7) and first_below(points) == 20
    text = f"{turns(points)} sign changes, f {heights(points)[-1]:.2e}, below .01 from step {first_below(points)}"
    return Finding(text, inside)


def _rmsprop(results: Results) -> Finding:
    params, ones = np.zeros(1), np.ones(1)
    optimizer = RMSProp(0.01)
    for _k in range(1999):
        optimizer.update(params, ones)
    before = params[0]
    optimizer.update(params, ones)
    step = float(before - params[0])
    first = first_below(results.path("nesterov-and-rmsprop", optimizer="rmsprop"))
    loss = results.last("rates", "loss", optimizer="rmsprop", lr=1e-3)
    text = f"step {step:.4f} at g = 1, lr .01; eq. 6.2 below .01 at step {first}; MNIST at lr .001: {spread(loss, 4)}"
    return Finding(text, near(step, 0.01, 1e-6) and first == 6)


def _adam_step(_: Results) -> Finding:
    point = path(Adam(0.3), 1)[1]
    return Finding(f"({numbers(point, '.5f')})", bool(np.allclose(point, (-6.7, 1.7), rtol=0, atol=1e-4)))


def _adam_path(results: Results) -> Finding:
    points = results.path("fig-6-7")
    momentum = travelled(results.path("fig-6-5"))
    inside = turns(points) == 2 and near(points[:, 1].min(), -0.708, 5e-4) and near(travelled(points), 3.74, 5e-3)
    text = f"{turns(points)} sign changes, lowest y {points[:, 1].min():.3f}, |Δy| {travelled(points):.2f}"
    return Finding(f"{text} (Momentum {momentum:.2f})", inside, holds=travelled(points) < momentum)


def _four_paths(results: Results) -> Finding:
    wanted = {"adagrad": 7.56, "adam": 8.18, "momentum": 12.60, "sgd": 36.81}
    points = {name: results.path("fig-6-8", optimizer=name) for name in wanted}
    found = {name: length(points[name]) for name in wanted}
    ends = {name: float(heights(points[name])[-1]) for name in wanted}
    inside = all(near(found[name], wanted[name], 5e-3) for name in wanted)
    second = sorted(ends, key=lambda name: ends[name])[1]
    text = f"path length {', '.join(f'{name} {found[name]:.2f}' for name in wanted)}; by final f, {second} is second"
    return Finding(text, inside, holds=min(found, key=lambda name: found[name]) == "adagrad")


def _four_on_mnist(results: Results) -> Finding:
    losses = {name: results.curves("fig-6-9", "loss", optimizer=name) for name in ORDER}
    ends = {name: values[:, -100:].mean(axis=1) for name, values in losses.items()}
    repeats = len(ends["sgd"])
    ordered = [
        tuple(sorted(ORDER, key=lambda name: values[name][seed])) == ORDER
        for values in (ends, {name: each.mean(axis=1) for name, each in losses.items()})
        for seed in range(repeats)
    ]
    inside = all(between(float(ends[name].mean()), *FOUR[name]) for name in ORDER) and all(ordered)
    text = f"{', '.join(f'{name} {spread(ends[name])}' for name in ORDER)}; this order in {sum(ordered)} of "
    return Finding(f"{text}{len(ordered)} (end, and mean of all)", inside, holds=all(ordered))


def _nesterov(results: Results) -> Finding:
    points = results.path("nesterov-and-rmsprop", optimizer="nesterov")
    lowest = int(heights(points).argmin())
    inside = first_below(points) == 22 and lowest == 24 and near(travelled(points), 4.44, 5e-3)
    loss = {name: results.last("rates", "loss", optimizer=name, lr=0.01) for name in ("nesterov", "momentum")}
    mnist = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in loss.items())
    text = f"below .01 at step {first_below(points)}, lowest at {lowest}, |Δy| {travelled(points):.2f}; MNIST: {mnist}"
    return Finding(text, inside)


_PATHS = "path from (-7, 2), 29 steps"
ROWS = (
    Row("U1", "6.1.2", "SGD: W ← W − η ∂L/∂W (eq. 6.1)", "(-6.335, -1.8) after one step", _sgd_step),
    Row("U2", "6.1.2", "Optimizers are exchanged by one line", "every one through the same call, in place", _one_call),
    Row(
        "U3",
        "6.1.3",
        "Fig 6-1: a bowl stretched along x, lowest at (0, 0)",
        "f(-7, 2) = 6.45, axis ratio 4.472",
        _bowl,
        ["fig-6-1"],
    ),
    Row(
        "U4",
        "6.1.3",
        "Fig 6-2: the gradient mostly does not point at the minimum",
        "64.1° at (-7, 2); 93% > 5°, 80% > 30°, median 53.7°",
        _slope,
        ["fig-6-1"],
    ),
    Row(
        "U5",
        "6.1.3",
        "Fig 6-3: SGD zig-zags",
        f"{_PATHS}: 29 sign changes, |Δy| 36.21, f .01637, closed form to 1e-9",
        _sgd_path,
        ["fig-6-3"],
    ),
    Row("U6", "6.1.4", "Momentum (eqs 6.3, 6.4)", "(-6.93, 1.6), (-6.7977, .92)", _momentum_steps),
    Row(
        "U7",
        "6.1.4",
        "Fig 6-5: Momentum zig-zags less",
        f"{_PATHS}: 4 sign changes, |Δy| 8.93, ends at (.81411, .27288)",
        _momentum_path,
        ["fig-6-5", "fig-6-3"],
    ),
    Row(
        "U8",
        "6.1.5",
        "Too small a rate is slow, too large diverges, decay is a remedy",
        "f shrinks below lr 1, |y| stays at 1, f grows at 1.01; MNIST: the order of the rates",
        _rates,
        ["too-large-a-rate", "rates", "learning-rate-decay"],
        "decay is named, not shown; here a cosine helps in every seed, and schedules that cut the rate early do not",
    ),
    Row("U9", "6.1.5", "AdaGrad's steps shrink to nothing (eqs 6.5, 6.6)", "lr/√k for g = 1, to 1e-6", _adagrad_steps),
    Row(
        "U10",
        "6.1.5",
        "Fig 6-6: AdaGrad goes straight to the minimum",
        f"{_PATHS}: no sign change, f 9.27e-4, below .01 from step 20",
        _adagrad_path,
        ["fig-6-6"],
    ),
    Row(
        "U11",
        "6.1.5",
        "RMSProp forgets, so that its steps do not vanish",
        "the step tends to lr; eq. 6.2 below .01 at step 6",
        _rmsprop,
        ["nesterov-and-rmsprop", "rates"],
    ),
    Row("U12", "6.1.6", "Adam blends both, with bias correction", "(-6.7, 1.7) after one step", _adam_step),
    Row(
        "U13",
        "6.1.6",
        "Fig 6-7: like Momentum, with less sideways swing",
        f"{_PATHS}: 2 sign changes, lowest y -.708, |Δy| 3.74",
        _adam_path,
        ["fig-6-7", "fig-6-5"],
    ),
    Row(
        "U14",
        "6.1.7",
        "Fig 6-8: AdaGrad looks best here",
        "path length 7.56 < 8.18 < 12.60 < 36.81",
        _four_paths,
        ["fig-6-8"],
        "by length of the path: judged by the height that is reached, the zig-zag of SGD is second best",
    ),
    Row(
        "U15",
        "6.1.8",
        "Fig 6-9: three learn faster than SGD, AdaGrad slightly fastest",
        "loss of the last 100: SGD .185-.215, Momentum .055-.070, Adam .025-.050, AdaGrad .020-.038; this order",
        _four_on_mnist,
        ["fig-6-9"],
        "at these rates: at its own best rate SGD is ahead of all four ([rates decide](#rates-decide-fig-6-9))",
    ),
    Row(
        "U16",
        "6.1 (code)",
        "Nesterov's momentum",
        "eq. 6.2 below .01 at step 22, lowest at 24, |Δy| 4.44",
        _nesterov,
        ["nesterov-and-rmsprop", "rates"],
    ),
)
