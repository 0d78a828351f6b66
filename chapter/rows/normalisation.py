"""Section 6.3: rows B1 to B8."""

from __future__ import annotations

import numpy as np

from chapter.results import Floats, Results
from chapter.rows.common import gradient_error
from chapter.rows.row import Finding, Row, between, spread
from trainer import Network
from trainer.batchnorm import BatchNorm

SCALES = (
    *(1.0, 0.541169526546, 0.292864456463, 0.158489319246, 0.0857695898591, 0.0464158883361, 0.0251188643151),
    *(0.0135935639088, 0.0073564225446, 0.00398107170553, 0.00215443469003, 0.00116591440118, 0.00063095734448),
    *(0.000341454887383, 0.000184784979742, 0.0001),
)
FAILED = 0.0  # a run whose loss became NaN has no accuracy


def layer(width: int, **arguments: float) -> BatchNorm:
    made = BatchNorm(width, np.dtype(np.float64), **arguments)
    for name, shape in made.shapes().items():
        made.bind(name, np.empty(shape), np.empty(shape))
    return made


def _forward(_: Results) -> Finding:
    x = 5 + 3 * np.random.default_rng(0).standard_normal((200, 4))
    out, variance = layer(4).forward_training(x), x.var(axis=0)
    mean, off = float(np.abs(out.mean(axis=0)).max()), np.abs(out.var(axis=0) - variance / (variance + 1e-6)).max()
    text = f"|mean| ≤ {mean:.0e}, variance {out.var(axis=0).min():.8f}, off v/(v + eps) by {off:.0e}"
    return Finding(text, mean < 1e-9 and off < 1e-9)


def _scale(_: Results) -> Finding:
    x = np.random.default_rng(0).standard_normal((50, 3))
    made = layer(3)
    plain = made.forward_training(x).copy()
    begins = bool((made.gamma == 1).all() and (made.beta == 0).all())
    made.gamma[...], made.beta[...] = (2, 3, 4), (-1, 0, 1)
    off = float(np.abs(made.forward_training(x) - (plain * (2, 3, 4) + (-1, 0, 1))).max())
    return Finding(f"γ starts at 1, β at 0: {begins}; off γx + β by {off:.0e}", begins and off < 1e-6)


def _place(_: Results) -> Finding:
    network = Network(6, [5] * 5, 3, np.random.default_rng(0), batch_norm=True, dropout=0.2)
    names = [type(one).__name__ for one in network.layers]
    inside = names == ["Dense", "BatchNorm", "ReLU", "Dropout"] * 5 + ["Dense"]
    return Finding(" → ".join(names[:4]), inside)


def _backward(_: Results) -> Finding:
    error = gradient_error(batch_norm=True)
    return Finding(f"off central differences by {error:.1g}", error <= 5e-7)


def _running(_: Results) -> Finding:
    x = 5 + 3 * np.random.default_rng(0).standard_normal((1000, 4))
    made, shares = layer(4), {}
    for k in range(1, 11):
        made.forward_training(x)
        shares[k] = float((made.running_variance / x.var(axis=0)).mean())
    inside = all(abs(share / (1 - 0.9**k) - 1) < 0.03 for k, share in shares.items())
    return Finding(f"{shares[1]:.3f} of the true value after 1 update, {shares[10]:.3f} after 10", inside)


def _benefits(results: Results) -> Finding:
    def last(metric: str, *, batch_norm: bool, lr: float) -> Floats:
        trials = results.trials("batch-norm-and-rates", batch_norm=batch_norm, lr=lr)
        return np.array([trial.last(metric) or FAILED if trial.value is not None else FAILED for trial in trials])

    with_norm, plain = (last("train_accuracy", batch_norm=bn, lr=1.0) for bn in (True, False))
    test_norm, test_plain = (last("test_accuracy", batch_norm=bn, lr=0.01) for bn in (True, False))
    text = (
        f"lr 1.0, training accuracy: with {spread(with_norm)}, without {spread(plain)}; lr .01, test accuracy: with "
        f"{spread(test_norm)}, without {spread(test_plain)}"
    )
    # The mean of the seeds, as for all that is random: one plain network wanders up to .32 and learns nothing.
    trained = plain[plain != FAILED]
    return Finding(text, bool(with_norm.mean() > 0.95 and (not len(trained) or trained.mean() < 0.2)))


def first_at(accuracies: Floats, level: float) -> int:
    reached = np.nonzero(accuracies >= level)[0]
    return int(reached[0]) if len(reached) else len(accuracies)


def _faster(results: Results) -> Finding:
    with_norm, plain = (
        results.curves("fig-6-18", "train_accuracy", batch_norm=batch_norm) for batch_norm in (True, False)
    )
    reached = [[first_at(curve, 0.8) for curve in curves] for curves in (with_norm, plain)]
    earlier = [b - a for a, b in zip(*reached, strict=True)]
    inside = between(float(with_norm[:, -1].mean()), 0.92, 0.98) and between(float(plain[:, -1].mean()), 0.77, 0.94)
    text = (
        f"last epoch: with {spread(with_norm[:, -1])}, without {spread(plain[:, -1])}; .8 reached at epoch "
        f"{min(reached[0])}-{max(reached[0])} against {min(reached[1])}-{max(reached[1])}"
    )
    return Finding(text, inside and min(earlier) >= 4)


def final_accuracies(results: Results) -> tuple[Floats, Floats]:
    """Accuracy at the last epoch with and without batch normalisation, each of shape (seeds, scales)."""
    found = [
        [[FAILED if t.value is None else t.value for t in results.trials("fig-6-19", initializer=s, batch_norm=bn)]]
        for bn in (True, False)
        for s in SCALES
    ]
    both = np.array(found)[:, 0, :]
    return both[: len(SCALES)].T, both[len(SCALES) :].T


def _scales(results: Results) -> Finding:
    with_norm, plain = final_accuracies(results)
    ahead = (with_norm > plain).sum(axis=1)
    exception = not (with_norm > plain)[:, 2].any()
    learns = sorted({SCALES[index] for index in np.nonzero((plain > 0.5).any(axis=0))[0]}, reverse=True)
    inside = bool((ahead >= 13).all() and (ahead <= 15).all() and exception and (with_norm[:, 4:9] > 0.85).all())
    inside = inside and learns == [SCALES[2], SCALES[3]]
    failed = ", ".join(
        f"{int((plain[:, index] == FAILED).sum())} of {len(plain)} at {SCALES[index]:.2g}" for index in (0, 1)
    )
    text = (
        f"ahead at {' '.join(map(str, ahead))} of 16 scales; plain above .5 at "
        f"{', '.join(f'{scale:.3f}' for scale in learns)} only; plain became NaN in {failed}"
    )
    return Finding(text, inside)


ROWS = (
    Row("B1", "6.3.1", "Output of mean 0 and variance 1 (eq. 6.7)", "|mean| < 1e-9, variance v/(v + eps)", _forward),
    Row("B2", "6.3.1", "Then scale and shift (eq. 6.8)", "γx + β to 1e-6; no weight decay on either", _scale),
    Row("B3", "6.3.1", "Fig 6-16: between affine and activation", "none after the last affine layer", _place),
    Row("B4", "6.3.1", "Fig 6-17: its backward pass", "≤ 5e-7, batch of 8", _backward),
    Row("B5", "6.3 (code)", "Running statistics for the test pass", "1 - .9^k after k updates, 3%", _running),
    Row(
        "B6",
        "6.3.1",
        "Larger rates, less dependence on initial values, less over-fitting",
        "lr 1.0, mean of the seeds: plain < .2 or NaN, batch norm > .95; test accuracy .70-.71 with, .76-.77 without",
        _benefits,
        ["batch-norm-and-rates"],
        "the first two benefits; the third does not show here "
        "([details](#batch-normalisation-does-not-regularise-here))",
    ),
    Row(
        "B7",
        "6.3.2",
        "Fig 6-18: batch normalisation speeds up learning",
        "with .92-.98, without .77-.94, .8 at least 4 epochs earlier",
        _faster,
        ["fig-6-18"],
        "the chapter does not say with which initial values; these are He's",
    ),
    Row(
        "B8",
        "6.3.2",
        "Fig 6-19: faster in almost every panel; without a fitting scale plain does not learn",
        "ahead in 13-15 of 16, never at .293; plain > .5 at .293 and .158 only; with > .85 from .0858 to .0074",
        _scales,
        ["fig-6-19"],
        "behind at the scales that suit the plain network, and itself far from 1 at both ends",
    ),
)
