"""What stands on the parent's page: its description in Markdown, and tags that say what ran where."""

from __future__ import annotations

import contextlib
import getpass
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata

import hpo
from hpo.best import leading
from hpo.study import Study
from hpo.study.constraints import none_feasible
from hpo.study.markdown import SHOWN, code, escaped, searched, table
from hpo.text import duration, number, short
from hpo.tracking.mlflow.client import MAX_TAG, clean
from hpo.trial import State, Trial, counts, origins

# Characters of the description, below MLflow's limit for a tag.
MAX_DESCRIPTION = 7900
VERSIONS = ("optuna", "ray", "mlflow", "numpy")
BEST = 5
# The tags of a trial's source that do not depend on who runs it.
SOURCE = ("mlflow.source.name", "mlflow.source.type")


def study_tags(study: Study, uid: str) -> dict[str, str]:
    """The parent's tags: what is searched, and on what it is searched now."""
    tags = {
        "hpo.study": study.name,
        "hpo.uid": uid,
        "hpo.role": "study",
        "hpo.metric": ", ".join(study.objectives),
        "hpo.direction": ", ".join(study.objectives.values()),
        "hpo.objective": str(study.objective),
        "hpo.sampler": study.sampler.name,
        "hpo.pruner": study.pruner.name,
        "hpo.seed": str(study.seed),
        **({"hpo.from": study.inherits.study} if study.inherits.study else {}),
        "hpo.host": platform.node(),
        "hpo.version.python": platform.python_version(),
        "hpo.version.hpo": hpo.__version__,
        **{f"hpo.version.{name}": metadata.version(name) for name in VERSIONS},
    }
    tags |= source_tags(study)
    if "mlflow.source.git.commit" in tags:
        tags["hpo.git.changed"] = str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower()
    return {name: clean(text, MAX_TAG) for name, text in tags.items()}


def source_tags(study: Study) -> dict[str, str]:
    """What MLflow's columns Source, Created by and Version show: :data:`SOURCE`, and what holds for this process."""
    tags = {"mlflow.source.name": str(study.objective), "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(OSError, KeyError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    if commit := _git("rev-parse", "HEAD"):
        tags["mlflow.source.git.commit"] = commit
    return {name: clean(text, MAX_TAG) for name, text in tags.items()}


def _git(*words: str) -> str:
    """What git says of the working folder; nothing where there is no git, or no repository."""
    try:
        ended = subprocess.run(["git", *words], capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""


def description(study: Study, trials: Sequence[Trial]) -> str:
    """A study in Markdown: what is searched, the best trials, and the verdict on each parameter.

    Args:
        study: What is searched.
        trials: In any state, also none.
    """
    parts = [searched(study, until=True), _so_far(trials), none_feasible(study.bounds, trials)]
    if ranked := leading(trials, study.objectives)[:BEST]:
        parts.append(_best(study, ranked))
        parts.append(_verdicts(study, trials))
    text = "\n\n".join(part for part in parts if part)
    text = clean(text, len(text))
    return text if len(text) <= MAX_DESCRIPTION else text[:MAX_DESCRIPTION].rsplit("\n", 1)[0] + "\n\n…"


def _so_far(trials: Sequence[Trial]) -> str:
    total = ", ".join(f"{count} {state}" for state, count in counts(list(trials)).items() if count)
    total += f" ({came}, not run again)" if (came := origins(trials)) else ""
    failed = [trial for trial in trials if trial.state == State.FAILED and (trial.error or "").strip()]
    if not total or not failed:
        return f"Trials: {total}." if total else ""
    last = (failed[-1].error or "").strip().splitlines()[-1]
    return f"Trials: {total}. Last failure, trial {failed[-1].number}: {code(short(last, 200))}"


def _best(study: Study, ranked: Sequence[Trial]) -> str:
    names = [name for name in study.space.names if any(name in trial.params for trial in ranked)][:SHOWN]
    rows = [
        [
            str(trial.number),
            *map(number, trial.values),
            *(short(trial.params.get(name, ""), 40) for name in names),
            duration(trial.seconds) if trial.seconds is not None else "",
        ]
        for trial in ranked
    ]
    return table(["trial", *study.objectives, *names, "time"], rows)


def _verdicts(study: Study, trials: Sequence[Trial]) -> str:
    from hpo.insight.parameters import study_insight

    insight = study_insight(study, trials, resamples=0)
    lines = [f"- {escaped(line)}" for line in insight.lines()[:SHOWN]]
    if len(study.objectives) > 1:
        lines.insert(0, f"For {escaped(study.metric)}, the first objective:\n")
    elif tie := insight.tie(study.metric):
        lines.append(f"\n{escaped(tie)}")
    return "\n".join(lines)
