"""The parameters of a classification experiment: their names, defaults and rules."""

import dataclasses
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, Self, get_args

import numpy as np

from trainer import optimizers, schedules
from trainer.batches import check_batches
from trainer.data import describe
from trainer.network import Network, check_architecture
from trainer.optimizers import Optimizer
from trainer.training import check_measuring


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One complete setting; `read` makes it from the parameters of a trial.

    Attributes:
        dataset: "mnist" or "digits".
        hidden: units of each hidden layer.
        train_size: use the first so many training examples, of which the validation examples are a part; None
            means all.
        validation_rate: share of validation examples, in (0, 1).
        split_seed: decides which examples are for validation; the same for all trials of a study.
        epochs: passes, of train size / batch size updates each.
        batch_size: examples per update.
        sampling: "replacement" (every batch drawn afresh) or "epoch" (every example once an epoch).
        optimizer: "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam" or "adamw".
        lr: learning rate; None takes the optimizer's own default.
        optimizer_options: further arguments of the optimizer, given as parameters of their own.
        weight_decay: coefficient of the L2 penalty on the weights.
        activation: "relu", "sigmoid" or "tanh".
        initializer: "he", "xavier" or a standard deviation; None takes what suits the activation.
        batch_norm: whether to normalise before each activation.
        dropout: probability of removal after each activation.
        schedule: "constant", "exponential", "step" or "cosine".
        lr_decay: factor of the exponential (per epoch) and step (per step) schedules.
        lr_decay_every: epochs per step of the step schedule.
        warmup: epochs in which the learning rate first grows to its value.
        accuracy_after: the update of an epoch after which accuracies are measured, "last" or "first".
        evaluated: measure accuracies on so many examples only; None means all.
        dtype: "float32" or "float64".
    """

    dataset: str
    hidden: tuple[int, ...]
    train_size: int | None = None
    validation_rate: float = 0.2
    split_seed: int = 0
    epochs: int = 20
    batch_size: int = 100
    sampling: str = "replacement"
    optimizer: str = "sgd"
    lr: float | None = None
    optimizer_options: Mapping[str, float] = dataclasses.field(default_factory=dict)
    weight_decay: float = 0.0
    activation: str = "relu"
    initializer: float | str | None = None
    batch_norm: bool = False
    dropout: float = 0.0
    schedule: str = "constant"
    lr_decay: float = 0.1
    lr_decay_every: float = 10.0
    warmup: float = 0.0
    accuracy_after: str = "last"
    evaluated: int | None = None
    dtype: str = "float32"

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Self:
        """Reads and checks the parameters of a trial.

        Raises:
            ValueError: for an unknown or missing name and for a value outside its rules.
        """
        fields = {f.name: f for f in dataclasses.fields(cls) if f.name != "optimizer_options"}
        options = optimizers.options(params.get("optimizer", "sgd"))
        legal = sorted({*fields, *options})
        if unknown := sorted(set(params) - set(legal)):
            raise ValueError(f"unknown parameters {unknown}; with this optimizer the legal ones are {legal}")
        missing = [n for n, f in fields.items() if n not in params and f.default is dataclasses.MISSING]
        if missing:
            raise ValueError(f"the parameters {missing} must be given")
        for name, value in params.items():
            _check_type(name, value, fields[name].type if name in fields else float)
        given = {name: value for name, value in params.items() if name in fields}
        given["hidden"] = tuple(given["hidden"])
        rest = {name: value for name, value in params.items() if name not in fields}
        setting = cls(**given, optimizer_options=rest)
        setting._check()
        return setting

    def _check(self) -> None:
        described = describe(self.dataset)
        check_architecture(
            described.features,
            self.hidden,
            described.classes,
            self.activation,
            self.initializer,
            self.weight_decay,
            self.dropout,
            self.dtype,
        )
        check_batches(self.batch_size, self.sampling)
        check_measuring(self.accuracy_after, self.evaluated)
        available = described.train_size
        if self.train_size is not None and not 2 <= self.train_size <= available:
            rule = f"`2 <= train_size <= {available}` must hold for {self.dataset!r}"
            raise ValueError(f"{rule}, but got (train_size={self.train_size})")
        if not 0 < self.validation_rate < 1:
            got = f"(validation_rate={self.validation_rate})"
            raise ValueError(f"`0 < validation_rate < 1` must hold, but got {got}")
        if self.epochs < 1:
            raise ValueError(f"`1 <= epochs` must hold, but got (epochs={self.epochs})")
        if self.split_seed < 0:
            raise ValueError(f"`0 <= split_seed` must hold, but got (split_seed={self.split_seed})")
        self.make_optimizer()
        self.make_schedule()

    def make_network(self, rng: np.random.Generator) -> Network:
        """A network of this setting with new initial weights."""
        described = describe(self.dataset)
        return Network(
            described.features,
            self.hidden,
            described.classes,
            rng,
            activation=self.activation,
            initializer=self.initializer,
            weight_decay=self.weight_decay,
            batch_norm=self.batch_norm,
            dropout=self.dropout,
            dtype=self.dtype,
        )

    def fit_arguments(self) -> dict[str, Any]:
        """The arguments of `fit` that the setting fixes."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "sampling": self.sampling,
            "schedule": self.make_schedule(),
            "accuracy_after": self.accuracy_after,
            "evaluated": self.evaluated,
        }

    def make_optimizer(self) -> Optimizer:
        """The optimizer of this setting, new."""
        rate = {} if self.lr is None else {"lr": self.lr}
        return optimizers.OPTIMIZERS[self.optimizer](**rate, **self.optimizer_options)

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


def _check_type(name: str, value: Any, kind: Any) -> None:
    """Raises ValueError unless `value` is of the type `kind`; an integer will do for a float."""
    if name == "hidden":
        if not isinstance(value, (list, tuple)) or not all(_is_number(n, Integral) for n in value):
            raise ValueError(f"`hidden` must be a list of integers, but got {value!r}")
        return
    kinds = get_args(kind) or (kind,)
    fits = (
        (isinstance(value, bool) and bool in kinds)
        or (_is_number(value, Integral) and int in kinds)
        or (_is_number(value, Real) and float in kinds)
        or (isinstance(value, str) and str in kinds)
        or (value is None and type(None) in kinds)
    )
    if not fits:
        names = " or ".join("None" if k is type(None) else k.__name__ for k in kinds)
        raise ValueError(f"`{name}` must be of type {names}, but got {value!r}")


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
