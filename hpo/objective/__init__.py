"""The objective contract and its adapters; what the rest of hpo uses of them."""

from hpo.objective.contract import Data, Objective, check, data, reports, resolve, takes

__all__ = ["Data", "Objective", "check", "data", "reports", "resolve", "takes"]
