"""Tests that any sampler, pruner, executor or ledger must pass, and the stand-ins that they use.

A test module derives a class from a contract and gives it a fixture with the thing to test:

- :class:`~hpo.testing.samplers.SamplerContract`, and :class:`~hpo.testing.samplers.ResumableSamplerContract` and
  :class:`~hpo.testing.samplers.NonLearningSamplerContract` for samplers that promise more: ``sampler``
- :class:`~hpo.testing.pruners.PrunerContract`: ``pruner``
- :class:`~hpo.testing.executors.ExecutorContract`: ``executor``, which runs :data:`~hpo.testing.executors.JOB`
- :class:`~hpo.testing.ledgers.LedgerContract`: ``address``

:class:`~hpo.testing.fakes.ScriptedExecutor` and :class:`~hpo.testing.fakes.SimulatedExecutor` run a search without
workers. The contracts need pytest and Hypothesis, which come with the extra ``[test]``.
"""

# ruff: noqa: E402 (what is missing is reported first, and pytest must know a module before it is imported)

from __future__ import annotations

from importlib.util import find_spec

from hpo.errors import MissingExtra

for _package in ("pytest", "hypothesis"):
    if find_spec(_package) is None:
        raise MissingExtra.of("import", "hpo.testing", _package, "test")

import pytest

# So that a failed assertion shows its values.
pytest.register_assert_rewrite(*(f"hpo.testing.{part}" for part in ("samplers", "pruners", "executors", "ledgers")))

from hpo.testing.executors import JOB, ExecutorContract
from hpo.testing.fakes import ScriptedExecutor, SimulatedExecutor, outcome, search, small_study
from hpo.testing.ledgers import LedgerContract
from hpo.testing.pruners import PrunerContract
from hpo.testing.samplers import NonLearningSamplerContract, ResumableSamplerContract, SamplerContract

__all__ = [
    "JOB",
    "ExecutorContract",
    "LedgerContract",
    "NonLearningSamplerContract",
    "PrunerContract",
    "ResumableSamplerContract",
    "SamplerContract",
    "ScriptedExecutor",
    "SimulatedExecutor",
    "outcome",
    "search",
    "small_study",
]
