"""A neural-network trainer that needs NumPy only."""

from trainer import data
from trainer.ensemble import Ensemble
from trainer.network import Network
from trainer.optimizers import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, RMSProp
from trainer.persistence import load, save
from trainer.training import Diverged, fit

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Diverged",
    "Ensemble",
    "Momentum",
    "Nesterov",
    "Network",
    "RMSProp",
    "data",
    "fit",
    "load",
    "save",
]
