"""The ranges that a narrowing search went through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hpo.report.scale import label, signed
from hpo.samplers.rounds import Finding, evidence
from hpo.study import Study
from hpo.trial import Trial


def findings(study: Study, trials: Sequence[Trial]) -> list[Finding]:
    """What every finished round concluded, round by round; nothing for a sampler that does not narrow."""
    if study.sampler.name != "narrowing":
        return []
    return evidence(trials, study.space, study.sampler.options, study.direction)


def said(finding: Finding) -> dict[str, str]:
    """One finding in words: round, parameter, old and new range, evidence, remark."""
    about = [f"p = {finding.p:.2g}"]
    if finding.correlation is not None and finding.interval is not None:
        low, high = finding.interval
        about.insert(0, f"rank correlation {signed(finding.correlation)}, 95% interval {signed(low)} to {signed(high)}")
    remarks = [f"the best reach the {end} bound" for end in finding.at_bound] + ["widened"] * finding.widened
    if not finding.effect:
        remarks.append("no effect shown: not narrowed")
    return {
        "round": str(finding.round + 1),
        "parameter": finding.parameter,
        "old": _range(finding.old, finding.correlation is None),
        "new": _range(finding.new, finding.correlation is None),
        "evidence": ", ".join(about),
        "remark": ", ".join(remarks),
    }


def _range(ends: Sequence[Any], choices: bool) -> str:
    return (", " if choices else " to ").join(label(end, 24) for end in ends)
