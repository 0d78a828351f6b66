"""Optimizers on one flat parameter vector, sorted by increasing complexity.

An optimizer works in place on cache-sized blocks of the vector, so that every pass over a block after the first finds
its data in the cache. A subclass states its equations for one block.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final

import numpy as np

from trainer.arrays import Floats

BLOCK: Final = 262_144
"""Elements per block; a few float32 arrays of it fit the third-level cache, and the calls for it cost little."""


Block = tuple[slice, bool, Floats, Floats, Floats, list[Floats]]
"""Its place in the vector, whether it decays, the parameters, two scratch arrays, and the state."""


class Optimizer:
    """Base of all optimizers: state, blocks and weight decay.

    Args:
        lr: learning rate, > 0; may be changed between updates (a schedule does).
    """

    slots: ClassVar[tuple[str, ...]] = ()
    """Names of the state vectors, which start at 0."""
    decoupled: ClassVar[bool] = False
    """True multiplies the weights W by 1 - lr * weight_decay, False adds weight_decay * W to the gradient."""

    def __init__(self, lr: float) -> None:
        if not (math.isfinite(lr) and lr > 0):
            raise ValueError(f"`0 < lr < inf` must hold, but got (lr={lr})")
        self.lr = lr
        self.steps = 0
        self._params: Floats | None = None
        self._decayed: int | None = -1  # set by the first update
        self._state: Floats = np.zeros((0, 0))

    def update(self, params: Floats, grads: Floats, weight_decay: float = 0.0, decayed: int | None = None) -> None:
        """Changes `params` in place by one step.

        Args:
            params: 1-d vector, the same object in every call, because the state belongs to it.
            grads: gradient of the loss without the weight-decay term, of the same shape; not changed.
            weight_decay: coefficient of the L2 penalty weight_decay / 2 * sum(W^2), >= 0.
            decayed: how many leading elements the decay acts on (a network keeps its weights first, biases
                after); None means all.
        """
        if self._params is not params:
            self._bind(params)
        if grads.shape != params.shape:
            raise ValueError(f"`grads.shape == {params.shape}`, the parameters', must hold, but got {grads.shape}")
        if decayed != self._decayed:
            self._decayed = decayed
            self._blocks = list(self._cut(params, len(params) if decayed is None else decayed))
        if not 0 <= weight_decay < math.inf:
            raise ValueError(f"`0 <= weight_decay < inf` must hold, but got (weight_decay={weight_decay})")
        self.steps += 1
        self._begin()
        for place, decays, p, scratch, penalized, state in self._blocks:
            g = grads[place]
            if decays and weight_decay:
                if self.decoupled:
                    p *= 1.0 - self.lr * weight_decay
                else:
                    np.multiply(p, weight_decay, out=penalized)
                    penalized += g
                    g = penalized
            self._step(p, g, scratch, *state)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep: the step count and the state vectors, shape (slots, parameters)."""
        return {"steps": self.steps, "state": self._state}

    def load_state(self, params: Floats, state: Mapping[str, Any]) -> None:
        """Restores what `state()` returned, for the vector `params` of the same length."""
        self._bind(params)
        self._state[...] = state["state"]
        self.steps = int(state["steps"])

    def _bind(self, params: Floats) -> None:
        if self._params is not None:
            raise ValueError("an optimizer belongs to one parameter vector (its state does); make one per network")
        if params.ndim != 1:
            raise ValueError(f"`params` must be a flat vector, but got shape {params.shape}")
        self._params = params
        self._state = np.zeros((len(self.slots), len(params)), params.dtype)
        self._scratch = np.empty((2, min(BLOCK, len(params))), params.dtype)

    def _cut(self, params: Floats, decayed: int) -> Iterator[Block]:
        for start, end in ((0, decayed), (decayed, len(params))):
            for low in range(start, end, BLOCK):
                place = slice(low, min(low + BLOCK, end))
                p = params[place]
                scratch, penalized = self._scratch[:, : len(p)]
                yield place, end == decayed, p, scratch, penalized, [s[place] for s in self._state]

    def _begin(self) -> None:
        """Computes what all blocks of an update share."""

    _step: Callable[..., None]
    """The equations for one block: _step(p, g, scratch, *state); may overwrite all of these but g."""


class SGD(Optimizer):
    """Stochastic gradient descent (eq. 6.1)."""

    decoupled = True  # equal to p - lr * (g + wd * p) = (1 - lr * wd) * p - lr * g, with one pass less

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__(lr)

    def _step(self, p: Floats, g: Floats, scratch: Floats) -> None:
        np.multiply(g, self.lr, out=scratch)
        p -= scratch  # (eq. 6.1)


class Momentum(Optimizer):
    """SGD with momentum (eqs. 6.3 and 6.4)."""

    slots = ("v",)

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        super().__init__(lr)
        self.momentum = _share("momentum", momentum)

    def _step(self, p: Floats, g: Floats, scratch: Floats, v: Floats) -> None:
        v *= self.momentum
        np.multiply(g, self.lr, out=scratch)
        v -= scratch  # (eq. 6.3)
        p += v  # (eq. 6.4)


class Nesterov(Momentum):
    """Nesterov's accelerated gradient, as Bengio et al. 2012 write it (gradient at `params`)."""

    def _step(self, p: Floats, g: Floats, scratch: Floats, v: Floats) -> None:
        # v is stored times momentum, which saves a pass
        np.multiply(g, self.lr, out=scratch)
        v -= scratch
        v *= self.momentum
        p += v
        p -= scratch  # in all, p + momentum * v - lr * g


class AdaGrad(Optimizer):
    """AdaGrad (eqs. 6.5 and 6.6; Duchi et al. 2011)."""

    slots = ("h",)

    def __init__(self, lr: float = 0.01, eps: float = 1e-7) -> None:
        super().__init__(lr)
        self.eps = _positive("eps", eps)

    def _step(self, p: Floats, g: Floats, scratch: Floats, h: Floats) -> None:
        np.multiply(g, g, out=scratch)
        h += scratch  # (eq. 6.5)
        np.sqrt(h, out=scratch)
        scratch += self.eps  # not in eq. 6.6; without it, an element that never changed would divide 0 by 0
        np.divide(g, scratch, out=scratch)
        scratch *= self.lr
        p -= scratch  # (eq. 6.6)


class RMSProp(Optimizer):
    """AdaGrad that forgets exponentially (Tieleman and Hinton 2012)."""

    slots = ("h",)

    def __init__(self, lr: float = 0.01, decay: float = 0.99, eps: float = 1e-7) -> None:
        super().__init__(lr)
        self.decay, self.eps = _share("decay", decay), _positive("eps", eps)

    def _begin(self) -> None:
        # h is stored without its factor 1 - decay, which saves a pass
        root = math.sqrt(1.0 - self.decay)
        self._rate, self._eps = self.lr / root, self.eps / root

    def _step(self, p: Floats, g: Floats, scratch: Floats, h: Floats) -> None:
        h *= self.decay
        np.multiply(g, g, out=scratch)
        h += scratch
        np.sqrt(h, out=scratch)
        scratch += self._eps
        np.divide(g, scratch, out=scratch)
        scratch *= self._rate
        p -= scratch


class Adam(Optimizer):
    """Adam with bias correction (Kingma and Ba 2015, algorithm 1)."""

    slots = ("m", "v")

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__(lr)
        self.beta1, self.beta2 = _share("beta1", beta1), _share("beta2", beta2)
        self.eps = _positive("eps", eps)

    def _begin(self) -> None:
        # m and v are stored without their factors (1 - beta), which saves a pass over each; these are the
        # factors, divided by the bias corrections 1 - beta**t
        first = (1.0 - self.beta1) / (1.0 - self.beta1**self.steps)
        second = math.sqrt((1.0 - self.beta2) / (1.0 - self.beta2**self.steps))
        self._rate, self._eps = self.lr * first / second, self.eps / second

    def _step(self, p: Floats, g: Floats, scratch: Floats, m: Floats, v: Floats) -> None:
        m *= self.beta1
        m += g
        np.multiply(g, g, out=scratch)
        v *= self.beta2
        v += scratch
        np.sqrt(v, out=scratch)
        scratch += self._eps
        np.divide(m, scratch, out=scratch)
        scratch *= self._rate
        p -= scratch


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    decoupled = True


OPTIMIZERS: Final[dict[str, type[Optimizer]]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": AdaGrad,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
}


def options(name: str) -> tuple[str, ...]:
    """Names of the arguments that the optimizer `name` takes."""
    if name not in OPTIMIZERS:
        raise ValueError(f"`optimizer` must be one of {tuple(OPTIMIZERS)}, but got {name!r}")
    return tuple(inspect.signature(OPTIMIZERS[name]).parameters)


def _share(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"`0 <= {name} < 1` must hold, but got ({name}={value})")
    return value


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"`0 < {name} < inf` must hold, but got ({name}={value})")
    return value
