"""The chapter's experiments as objectives: generators of metrics that a search service can call."""

from trainer.experiments.classification import classify, evaluate

__all__ = ["classify", "evaluate"]
