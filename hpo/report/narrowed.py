"""The ranges that a narrowing search went through."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.samplers.rounds import Finding, evidence
from hpo.study import Study
from hpo.trial import Trial


def findings(study: Study, trials: Sequence[Trial]) -> list[Finding]:
    """What every finished round concluded, round by round; nothing for a sampler that does not narrow."""
    if study.sampler.name != "narrowing":
        return []
    return evidence(trials, study.space, study.sampler.options, study.direction)
