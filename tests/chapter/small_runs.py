"""The chapter's studies, small enough for a test and yet real: same files, same objectives, same engine."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chapter.running import ROOT
from hpo.execution import Job
from hpo.execution.inline import InlineExecutor
from hpo.ledger.address import parse
from hpo.ledger.ledger import Ledger
from hpo.search.loop import Search
from hpo.study import Study, load
from hpo.study.budget import Budget
from hpo.trial import Trial

STUDIES = sorted(path.stem for path in (ROOT / "studies").glob("*.toml"))
# What makes each objective quick.
QUICK: dict[str, dict[str, Any]] = {
    "classify": {"epochs": 2, "updates": 1, "batch_size": 10, "train_size": 50},
    "overfit": {"epochs": 2, "updates": 1, "batch_size": 10, "train_size": 50},
    "ensemble": {"epochs": 1, "updates": 1, "batch_size": 10, "train_size": 50},
    "spread": {"examples": 20},
    "descend": {},
    "landscape": {},
}


def small(name: str) -> Study:
    """A study of ``studies/`` with few repeats, points, images and epochs."""
    study = load(ROOT / "studies" / f"{name}.toml")
    assert isinstance(study.objective, str)
    quick = QUICK[study.objective.partition(":")[2]]
    changes = [f"fixed.{key}={value}" for key, value in quick.items()]
    if "validation_size" in study.fixed:
        changes.append("fixed.validation_size=50")
    if study.sampler.options.get("repeats"):
        changes.append("sampler.repeats=2")
    if study.sampler.name == "grid" and study.sampler.options["points"]:
        changes.append("sampler.points=3")
    if study.sampler.name not in ("grid", "listed"):
        changes.append("budget.trials=4")
    return load(ROOT / "studies" / f"{name}.toml", changes)


def run(study: Study, ledger: Path, *, most: int | None = None) -> list[Trial]:
    """Runs a study to its end, or its first ``most`` trials, in this process."""
    if most is not None and study.budget.most > most:
        study = _cut(study, most)
    opened = Ledger.open(parse(str(ledger)), study)
    try:
        search = Search(study, opened)
        executor = InlineExecutor(Job(study.objective, study.metric, study.fixed, (str(ROOT),)))
        try:
            search.run(executor)
        finally:
            executor.close()
        return search.trials
    finally:
        opened.close()


def _cut(study: Study, most: int) -> Study:
    from dataclasses import replace

    return replace(study, budget=Budget(trials=most))


@cache
def exact(name: str) -> tuple[Trial, ...]:
    """A study as it is, in full: for those that take a moment."""
    study = load(ROOT / "studies" / f"{name}.toml")
    with TemporaryDirectory() as folder:
        return tuple(run(study, Path(folder) / "hpo.journal"))
