"""The study file: what to search, how, and for how long."""

from hpo.study.algorithms import Named
from hpo.study.study import Study, TrialSettings, load, parse

__all__ = ["Named", "Study", "TrialSettings", "load", "parse"]
