"""The trainer compared with PyTorch, scikit-learn and the limits of the machine, in one run.

    python benchmarks/training.py [--repeats 7] [--only abcdef] [--clock cpu]

One process, one thread, float32. In each case the programs take turns; it prints the median of each and its ratio to
this trainer. PyTorch is needed only here (`pip install torch==2.13.0`); without it, its columns are empty.
"""

import os
from typing import Any

# before NumPy is imported: one thread, and the fastest BLAS kernel of this processor
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
os.environ.pop("OPENBLAS_CORETYPE", None)

import argparse
import itertools
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from trainer import Network, data, fit
from trainer.optimizers import OPTIMIZERS, SGD

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

MINIMUM_REPEATS = 7


class Case:
    """One network and training, the same for all sides: the examples, the batches, the evaluation."""

    def __init__(
        self,
        name: str,
        x: Any,
        t: Any,
        hidden: Any,
        *,
        batch: int,
        epochs: int,
        updates: Any,
        validation: Any = None,
        lr: float = 0.01,
        **network: Any,
    ) -> None:
        self.name, self.x, self.t, self.hidden = name, x, t, hidden
        self.batch, self.epochs, self.updates, self.validation, self.lr = batch, epochs, updates, validation, lr
        self.network = {"weight_decay": 1e-4} | network
        self.classes = int(t.max()) + 1
        self.evaluated = len(t) if validation is not None else 1

    @property
    def measured(self) -> list[Any]:
        """What every side evaluates at the end of each epoch."""
        shown = [(self.x[: self.evaluated], self.t[: self.evaluated])]
        return shown if self.validation is None else [*shown, self.validation]

    def ours(self) -> Any:
        rng = np.random.default_rng(0)
        network = Network(self.x.shape[1], self.hidden, self.classes, rng, **self.network)
        reports = fit(
            network,
            (self.x, self.t),
            optimizer=SGD(self.lr),
            rng=rng,
            epochs=self.epochs,
            updates=self.updates,
            batch_size=self.batch,
            validation=self.validation,
            evaluated=self.evaluated,
        )
        *_, last = reports
        return last["loss"]

    def pytorch(self) -> Any:
        x, t = torch.from_numpy(self.x), torch.from_numpy(self.t)
        measured = [(torch.from_numpy(a), torch.from_numpy(b)) for a, b in self.measured]
        model = self.pytorch_model()
        weights = [p for p in model.parameters() if p.ndim == 2]
        rest = [p for p in model.parameters() if p.ndim == 1]
        decay = self.network["weight_decay"]
        groups = [{"params": weights, "weight_decay": decay}, {"params": rest}]
        optimizer = torch.optim.SGD(groups, lr=self.lr)
        rng = np.random.default_rng(0)
        for _ in range(self.epochs):
            drawn = torch.from_numpy(rng.integers(0, len(t), (self.updates, self.batch)))
            total = torch.zeros(())
            for rows in drawn:
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(x[rows]), t[rows])
                loss.backward()
                optimizer.step()
                total += loss.detach()
            model.eval()
            with torch.inference_mode():
                for some_x, some_t in measured:
                    scores = model(some_x)
                    float((scores.argmax(1) == some_t).float().mean())
            model.train()
        return float(total) / self.updates

    def pytorch_model(self) -> Any:
        layers = []
        for n_in, n_out in itertools.pairwise([self.x.shape[1], *self.hidden]):
            layers.append(torch.nn.Linear(n_in, n_out))
            torch.nn.init.kaiming_normal_(layers[-1].weight, nonlinearity="relu")
            torch.nn.init.zeros_(layers[-1].bias)
            if self.network.get("batch_norm"):
                layers.append(torch.nn.BatchNorm1d(n_out, eps=1e-6))
            layers.append(torch.nn.ReLU())
            if self.network.get("dropout"):
                layers.append(torch.nn.Dropout(self.network["dropout"]))
        return torch.nn.Sequential(*layers, torch.nn.Linear(self.hidden[-1], self.classes))

    def scikit_learn(self) -> Any:
        """Shuffled epochs, as it knows no other; the same number of updates and the same evaluation."""
        model = MLPClassifier(
            self.hidden, solver="sgd", momentum=0.0, learning_rate_init=self.lr, alpha=1e-4, batch_size=self.batch
        )
        rows = self.batch * self.updates
        x, t = self.x[:rows], self.t[:rows]
        for _ in range(self.epochs):
            model.partial_fit(x, t, classes=np.arange(self.classes))
            for some_x, some_t in self.measured:
                float((model.predict(some_x) == some_t).mean())
        return model.loss_

    def limit(self) -> None:
        """The multiplications alone, into buffers that are there already."""
        once, per_epoch = self.products
        for _ in range(self.epochs):
            for _ in range(self.updates):
                for a, b, out in once:
                    np.matmul(a, b, out=out)
            for a, b, out in per_epoch:
                np.matmul(a, b, out=out)

    def prepare_limit(self) -> None:
        once, per_epoch = [], []
        rng = np.random.default_rng(0)
        for i, (n_in, n_out) in enumerate(itertools.pairwise([self.x.shape[1], *self.hidden, self.classes])):
            w, dw = rng.standard_normal((2, n_in, n_out)).astype(np.float32)
            x, dx = rng.standard_normal((2, self.batch, n_in)).astype(np.float32)
            z = rng.standard_normal((self.batch, n_out)).astype(np.float32)
            once += [(x, w, z), (x.T, z, dw)] + ([(z, w.T, dx)] if i > 0 else [])
            for some_x, _ in self.measured:
                a = rng.standard_normal((len(some_x), n_in)).astype(np.float32)
                per_epoch.append((a, w, np.empty((len(some_x), n_out), np.float32)))
        self.products = once, per_epoch


def cases(only: Any) -> Any:
    x, t = data.load_train("mnist")
    x, t = np.array(x), np.array(t)  # in memory, as every side would have it
    digits = [np.array(array) for array in data.load_train("digits", 1280)]
    small = (x[:400], t[:400])
    deep = [100] * 4
    wide = [1024, 1024]
    made = {
        "a": lambda: Case(
            "(a) Fig 6-24 trial: 784-100x6-10, 400 images, batch 100, 50 epochs, evaluated",
            *small,
            [100] * 6,
            batch=100,
            epochs=50,
            updates=4,
            validation=(x[400:500], t[400:500]),
        ),
        "b": lambda: Case(
            "(b) Fig 6-9: 784-100x4-10, 60,000 images, batch 128, 2000 updates",
            x,
            t,
            deep,
            batch=128,
            epochs=1,
            updates=2000,
        ),
        "c": lambda: Case(
            "(c) digits: 64-50-10, batch 32, 2000 updates", digits[0], digits[1], [50], batch=32, epochs=50, updates=40
        ),
        "d": lambda: Case(
            "(d) 784-1024-1024-10, batch 256, 40 updates",
            x[:10_000],
            t[:10_000],
            wide,
            batch=256,
            epochs=1,
            updates=40,
        ),
        "e": lambda: Case(
            "(e) as (b) with batch normalisation and dropout .2",
            x,
            t,
            deep,
            batch=128,
            epochs=1,
            updates=2000,
            batch_norm=True,
            dropout=0.2,
        ),
    }
    return [made[letter]() for letter in only if letter in made]


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def alternate(sides: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each side; the sides take turns, after one turn that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, run in sides.items():
            started = clock()
            run()
            if turn > 0:
                seconds[name].append(clock() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def time_case(case: Case, repeats: int, clock: Callable[[], float]) -> None:
    case.prepare_limit()
    sides = {"this trainer": case.ours}
    if torch is not None:
        sides["PyTorch"] = case.pytorch
    if not (case.network.get("batch_norm") or case.network.get("dropout")) and len(case.t) >= case.updates * case.batch:
        sides["scikit-learn"] = case.scikit_learn
    sides["sgemm limit"] = case.limit
    medians = alternate(sides, repeats, clock)
    print(f"\n{case.name}")
    for name, seconds in medians.items():
        print(f"  {name:13} {seconds * 1e3:9.1f} ms{explain(name, medians)}")


def explain(name: str, medians: dict[str, float]) -> str:
    ours = medians["this trainer"]
    if name == "this trainer":
        return ""
    if name == "sgemm limit":
        return f"   this trainer reaches {medians[name] / ours:.2f} of the limit"
    return f"   this trainer takes {ours / medians[name]:.2f} of that"


PEERS = {
    "sgd": lambda p: torch.optim.SGD([p], lr=1e-3),
    "momentum": lambda p: torch.optim.SGD([p], lr=1e-3, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD([p], lr=1e-3, momentum=0.9, nesterov=True),
    "adagrad": lambda p: torch.optim.Adagrad([p], lr=1e-3),
    "rmsprop": lambda p: torch.optim.RMSprop([p], lr=1e-3),
    "adam": lambda p: torch.optim.Adam([p], lr=1e-3),
    "adamw": lambda p: torch.optim.AdamW([p], lr=1e-3, weight_decay=0.0),
}


def time_optimizers(repeats: int, clock: Callable[[], float], size: int = 1_000_000, steps: int = 20) -> None:
    """Updates of a vector of `size` against reading and writing, once each, all that an update must touch."""
    rng = np.random.default_rng(0)
    grads = rng.standard_normal(size).astype(np.float32)
    source, target = grads.copy(), np.empty_like(grads)
    sides: dict[str, Callable[[], object]] = {}

    def copy() -> None:
        for _ in range(steps):
            np.copyto(target, source)

    def ours(optimizer: Any, params: dict[str, Any], gradient: Any) -> None:
        for _ in range(steps):
            optimizer.update(params, gradient)

    def theirs(optimizer: Any) -> None:
        for _ in range(steps):
            optimizer.step()

    sides["copy"] = copy
    for name, cls in OPTIMIZERS.items():
        sides[name] = partial(ours, cls(1e-3), np.ones(size, np.float32), grads.copy())
        if torch is not None:
            parameter = torch.nn.Parameter(torch.ones(size))
            parameter.grad = torch.from_numpy(grads.copy())
            sides[f"{name} torch"] = partial(theirs, PEERS[name](parameter))
    medians = alternate(sides, repeats, clock)
    per_byte = medians["copy"] / steps / (2 * 4 * size)
    print(f"\n(f) one update of {size:,} parameters; a copy moves {1e-9 / per_byte:.1f} GB/s")
    print("  optimizer    this trainer  memory limit  share of limit   PyTorch  ratio")
    for name, cls in OPTIMIZERS.items():
        seconds = medians[name] / steps
        limit = per_byte * 4 * size * (3 + 2 * len(cls.slots))  # parameters and state both ways, gradient one way
        line = f"  {name:11} {seconds * 1e3:10.2f} ms {limit * 1e3:10.2f} ms {limit / seconds:14.2f}"
        if torch is not None:
            peer = medians[f"{name} torch"] / steps
            line += f" {peer * 1e3:8.2f} ms {seconds / peer:6.2f}"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=MINIMUM_REPEATS)
    parser.add_argument("--only", default="abcdef", help="letters of the cases")
    clock_help = "cpu: leave out the time in which other programs had the core (default: wall)"
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help=clock_help)
    arguments = parser.parse_args()
    clock = CLOCKS[arguments.clock]
    warnings.simplefilter("ignore", ConvergenceWarning)
    if torch is not None:
        torch.set_num_threads(1)
    versions = f"NumPy {np.__version__}" + ("" if torch is None else f", PyTorch {torch.__version__}")
    print(f"{versions}; one thread, float32, {arguments.clock} time, medians of {arguments.repeats}, sides alternating")
    for case in cases(arguments.only):
        time_case(case, arguments.repeats, clock)
    if "f" in arguments.only:
        time_optimizers(arguments.repeats, clock)


if __name__ == "__main__":
    main()
