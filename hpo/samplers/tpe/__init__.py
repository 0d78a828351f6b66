"""The tree-structured Parzen estimator: Optuna's TPE, fast with very many trials.

The good trials (the best tenth, at most 25) give a density l(x), all others a density g(x). Both are mixtures with one
component per trial (:mod:`hpo.samplers.tpe.mixture`). 24 candidates are drawn from l, and the one with the largest
l(x) / g(x) is suggested (Bergstra et al., 2011 and 2013; what each part does: Watanabe, 2023).

Optuna draws the candidates. What is hpo's own is the part that grows with the number of trials:
:mod:`hpo.samplers.tpe.history` keeps the trials as arrays, one row each, and g is computed from these arrays at once.

- Bergstra, Bardenet, Bengio, Kégl: Algorithms for Hyper-Parameter Optimization. NeurIPS 2011.
- Bergstra, Yamins, Cox: Making a Science of Model Search. ICML 2013.
- Watanabe: Tree-Structured Parzen Estimator. arXiv:2304.11127, 2023.
"""

from __future__ import annotations

from typing import Any

from hpo.samplers.stateless import StatelessSampler
from hpo.samplers.tpe.history import History
from hpo.samplers.tpe.sampler import TpeSampler
from hpo.study.space import Space


def tpe(seed: int, space: Space, **options: Any) -> StatelessSampler:
    """The study's sampler: one draws for each trial, and all share what they know of the trials."""
    history = History()
    return StatelessSampler(seed, space, lambda own: TpeSampler(history, seed=own, **options), keeps_space=False)
