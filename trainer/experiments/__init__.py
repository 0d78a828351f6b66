"""The chapter's experiments as objectives: generators of metrics that a search service can call."""

from trainer.experiments.activation_spread import spread
from trainer.experiments.classification import classify, evaluate, sized
from trainer.experiments.descent import descend
from trainer.experiments.landscape import landscape
from trainer.experiments.overfitting import ensemble, overfit
from trainer.experiments.serving import model

__all__ = ["classify", "descend", "ensemble", "evaluate", "landscape", "model", "overfit", "sized", "spread"]
