"""The study file: what to search, how, and for how long."""

from hpo.study.algorithms import Named
from hpo.study.file import load, parse
from hpo.study.study import Study
from hpo.study.trials import TrialSettings

__all__ = ["Named", "Study", "TrialSettings", "load", "parse"]
