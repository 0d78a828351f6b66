"""The parameters of a classification experiment: their names, defaults and rules."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trainer import data, optimizers, schedules
from trainer.arrays import Floats, Labels
from trainer.batches import check_batches
from trainer.network import Network, check_architecture
from trainer.optimizers import Optimizer
from trainer.training import Pairs, check_measuring


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One complete setting; `reading.read` makes it from the parameters of a trial.

    Attributes:
        dataset: "mnist" or "digits".
        hidden: units of each hidden layer; or instead of it
        width, depth: units per hidden layer, and how many of these there are; what a search varies.
        train_size: how many training examples are used, from the first on, including those for validation; None means
            all.
        validation_rate: share of examples for validation, in [0, 1); 0 means no validation.
        validation_size: how many examples after the first `train_size` are for validation, instead of a share of
            these; None means a share.
        split_seed: decides which examples are for validation; the same for all trials of a study.
        epochs: number of reports.
        updates: updates per epoch; None means training examples / batch size, or what `sampling` gives.
        batch_size: examples per update.
        sampling: "replacement" (every batch drawn independently) or "epoch" (every example once per epoch).
        optimizer: "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam" or "adamw".
        lr: learning rate; None takes the optimizer's own default.
        lr_factor: multiplies the learning rate. With `lr = None`, one range of it suits all optimizers.
        optimizer_options: further arguments of the optimizer, each given as a parameter.
        weight_decay: coefficient of the L2 penalty on the weights.
        activation: "relu", "sigmoid" or "tanh".
        initializer: "he", "xavier" or a standard deviation; None takes the one that suits the activation.
        batch_norm: whether to normalise before each activation.
        dropout: probability of removal after each activation.
        input_dropout: probability of removal of an input.
        schedule: "constant", "exponential", "step" or "cosine".
        lr_decay: factor of the exponential (per epoch) and step (per step) schedules.
        lr_decay_every: epochs per step of the step schedule.
        warmup: epochs in which the learning rate first grows to its value.
        accuracy_after: the update of an epoch after which accuracies are measured, "last" or "first".
        evaluated: measure accuracies on so many examples only; None means all, 0 reports only the loss.
        train_evaluated: measure `train_accuracy` on so many examples only; None means the value of `evaluated`.
        loss_after_update: report the loss of each batch after the update on it.
        dtype: "float32" or "float64".
    """

    dataset: str
    hidden: tuple[int, ...] | None = None
    width: int | None = None
    depth: int | None = None
    train_size: int | None = None
    validation_rate: float = 0.2
    validation_size: int | None = None
    split_seed: int = 0
    epochs: int = 20
    updates: int | None = None
    batch_size: int = 100
    sampling: str = "replacement"
    optimizer: str = "sgd"
    lr: float | None = None
    lr_factor: float = 1.0
    optimizer_options: Mapping[str, float] = dataclasses.field(default_factory=dict)
    weight_decay: float = 0.0
    activation: str = "relu"
    initializer: float | str | None = None
    batch_norm: bool = False
    dropout: float = 0.0
    input_dropout: float = 0.0
    schedule: str = "constant"
    lr_decay: float = 0.1
    lr_decay_every: float = 10.0
    warmup: float = 0.0
    accuracy_after: str = "last"
    evaluated: int | None = None
    train_evaluated: int | None = None
    loss_after_update: bool = False
    dtype: str = "float32"

    def __post_init__(self) -> None:
        described = data.describe(self.dataset)
        check_architecture(
            described.features,
            self.layer_widths(),
            described.classes,
            self.activation,
            self.initializer,
            self.weight_decay,
            self.dropout,
            self.input_dropout,
            self.dtype,
        )
        check_batches(self.batch_size, self.sampling, self.updates)
        check_measuring(self.accuracy_after, self.evaluated, self.train_evaluated)
        self._check_sizes(described.train_size)
        if self.epochs < 1:
            raise ValueError(f"`1 <= epochs` must hold, but got (epochs={self.epochs})")
        if self.split_seed < 0:
            raise ValueError(f"`0 <= split_seed` must hold, but got (split_seed={self.split_seed})")
        if not 0 < self.lr_factor < math.inf:
            raise ValueError(f"`0 < lr_factor < inf` must hold, but got (lr_factor={self.lr_factor})")
        self.make_optimizer()
        self.make_schedule()

    def _check_sizes(self, available: int) -> None:
        size, held_out = self.train_size, self.validation_size
        if size is not None and not 1 <= size <= available:
            rule = f"`1 <= train_size <= {available}` must hold for {self.dataset!r}"
            raise ValueError(f"{rule}, but got (train_size={size})")
        if not 0 <= self.validation_rate < 1:
            got = f"(validation_rate={self.validation_rate})"
            raise ValueError(f"`0 <= validation_rate < 1` must hold, but got {got}")
        if held_out is None:
            return
        if size is None or not 1 <= held_out <= available - size:
            rule = f"`1 <= validation_size <= {available} - train_size` must hold for {self.dataset!r}"
            raise ValueError(f"{rule}, but got (validation_size={held_out}, train_size={size})")

    def layer_widths(self) -> tuple[int, ...]:
        """Units of each hidden layer, from `hidden` or from `width` and `depth`."""
        if self.hidden is not None and self.width is None and self.depth is None:
            return self.hidden
        if self.hidden is None and self.width is not None and self.depth is not None:
            if self.depth < 0:
                raise ValueError(f"`0 <= depth` must hold, but got (depth={self.depth})")
            return (self.width,) * self.depth
        got = f"(hidden={self.hidden}, width={self.width}, depth={self.depth})"
        raise ValueError(f"either `hidden`, or `width` and `depth`, must be given, but got {got}")

    def load(self) -> tuple[Pairs, Pairs | None]:
        """Training and validation examples (None without any), in the setting's data type."""
        size, held_out = self.train_size, self.validation_size
        if held_out is not None and size is not None:
            x, t = data.load_train(self.dataset, size + held_out)
            return self.cast(x[:size], t[:size]), self.cast(x[size:], t[size:])
        if self.validation_rate == 0:
            return self.cast(*data.load_train(self.dataset, size)), None
        train, validation = _split(self.dataset, size, self.validation_rate, self.split_seed)
        return self.cast(*train), self.cast(*validation)

    def cast(self, x: Floats, t: Labels) -> Pairs:
        """The examples in the setting's data type."""
        return x.astype(self.dtype, copy=False), t

    def make_network(self, rng: np.random.Generator) -> Network:
        """A network of this setting with new initial weights."""
        described = data.describe(self.dataset)
        return Network(
            described.features,
            self.layer_widths(),
            described.classes,
            rng,
            activation=self.activation,
            initializer=self.initializer,
            weight_decay=self.weight_decay,
            batch_norm=self.batch_norm,
            dropout=self.dropout,
            input_dropout=self.input_dropout,
            dtype=self.dtype,
        )

    def fit_arguments(self) -> dict[str, Any]:
        """The arguments of `fit` that the setting fixes."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "sampling": self.sampling,
            "updates": self.updates,
            "schedule": self.make_schedule(),
            "accuracy_after": self.accuracy_after,
            "evaluated": self.evaluated,
            "train_evaluated": self.train_evaluated,
            "loss_after_update": self.loss_after_update,
        }

    def make_optimizer(self) -> Optimizer:
        """The optimizer of this setting, new."""
        rate = {} if self.lr is None else {"lr": self.lr}
        optimizer = optimizers.OPTIMIZERS[self.optimizer](**rate, **self.optimizer_options)
        optimizer.lr *= self.lr_factor
        return optimizer

    def make_schedule(self) -> schedules.Schedule:
        """The learning-rate schedule of this setting."""
        make: dict[str, Callable[[], schedules.Schedule]] = {
            "constant": schedules.constant,
            "exponential": lambda: schedules.exponential(self.lr_decay),
            "step": lambda: schedules.step(self.lr_decay, self.lr_decay_every),
            "cosine": lambda: schedules.cosine(self.epochs),
        }
        if self.schedule not in make:
            raise ValueError(f"`schedule` must be one of {tuple(make)}, but got {self.schedule!r}")
        schedule = make[self.schedule]()
        return schedule if self.warmup == 0 else schedules.warm_up(self.warmup, schedule)


@functools.lru_cache(maxsize=1)
def _split(dataset: str, size: int | None, rate: float, seed: int) -> tuple[Pairs, Pairs]:
    """Training and validation examples; kept, because all trials of a study share them (150 MB of all MNIST)."""
    examples = data.load_train(dataset, size)
    train, validation = data.split_validation(examples, rate, np.random.default_rng(seed))
    for array in (*train, *validation):
        array.setflags(write=False)
    return train, validation
