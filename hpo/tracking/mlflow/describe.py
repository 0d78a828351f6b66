"""What stands on the parent's page: its description in Markdown, and tags that say what ran where."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from hpo.report.scale import duration, label
from hpo.study import Study
from hpo.trial import FAILED, Trial, best_first, counts

# MLflow's limit for a tag is 8000 characters.
LONGEST = 7900
VERSIONS = ("hpo", "optuna", "ray", "mlflow", "numpy")
BEST = 5


def study_tags(study: Study, uid: str) -> dict[str, str]:
    """The parent's tags: what is searched, and on what it is searched now."""
    tags = {
        "hpo.study": study.name,
        "hpo.uid": uid,
        "hpo.role": "study",
        "hpo.metric": study.metric,
        "hpo.direction": study.direction,
        "hpo.objective": study.objective if isinstance(study.objective, str) else " ".join(study.objective),
        "hpo.sampler": study.sampler.name,
        "hpo.pruner": study.pruner.name,
        "hpo.seed": str(study.seed),
        "hpo.host": platform.node(),
        "hpo.version.python": platform.python_version(),
        **{f"hpo.version.{name}": metadata.version(name) for name in VERSIONS},
    }
    if commit := _git("rev-parse", "HEAD"):
        tags["mlflow.source.git.commit"] = commit
        tags["hpo.git.changed"] = str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower()
    return tags


def _git(*words: str) -> str:
    """What git says of the working folder; nothing where there is no git, or no repository."""
    try:
        said = subprocess.run(["git", *words], capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""


def description(study: Study, trials: Sequence[Trial]) -> str:
    """A study in Markdown: what is searched, the best trials, and the verdict on each parameter.

    Args:
        study: What is searched.
        trials: In any state, also none.
    """
    parts = [_searched(study), _so_far(study, trials)]
    if ranked := best_first(list(trials), study.direction)[:BEST]:
        parts.append(_best(study, ranked))
        parts.append(_verdicts(study, trials))
    text = "\n\n".join(part for part in parts if part)
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit("\n", 1)[0] + "\n\n…"


def _searched(study: Study) -> str:
    objective = study.objective if isinstance(study.objective, str) else " ".join(study.objective)
    goal = f"`{study.metric}` of `{objective}`, {study.direction}d: {study.sampler.name} search, seed {study.seed}"
    goal += f", {study.pruner.name} pruner" if study.pruner.name != "none" else ""
    rows = [[f"`{name}`", _range(parameter)] for name, parameter in study.resolved["space"].items()]
    return f"{goal}, until {_limits(study)}.\n\n{_table(['parameter', 'searched'], rows)}"


def _limits(study: Study) -> str:
    return " or ".join(f"{key} = {value:g}" for key, value in study.resolved["budget"].items())


def _range(parameter: Mapping[str, Any]) -> str:
    if "choice" in parameter:
        text = ", ".join(label(choice, 24) for choice in parameter["choice"])
    else:
        text = f"{label(parameter['low'])} to {label(parameter['high'])}"
        text += ", logarithmic" if parameter.get("log") else ""
    if when := parameter.get("when"):
        text += f", when {' and '.join(f'{name} is {label(wanted, 24)}' for name, wanted in when.items())}"
    return text


def _so_far(study: Study, trials: Sequence[Trial]) -> str:
    total = ", ".join(f"{count} {state}" for state, count in counts(list(trials)).items() if count)
    failed = [trial for trial in trials if trial.state == FAILED and trial.error]
    reason = f" Last failure, trial {failed[-1].number}: `{label(_last_line(failed[-1]), 200)}`" if failed else ""
    return f"Trials: {total}.{reason}" if total else ""


def _last_line(trial: Trial) -> str:
    return (trial.error or "").strip().splitlines()[-1].replace("`", "'")


def _best(study: Study, ranked: Sequence[Trial]) -> str:
    names = [name for name in study.resolved["space"] if any(name in trial.params for trial in ranked)]
    rows = [
        [
            str(trial.number),
            f"{trial.value:.6g}",
            *(label(trial.params.get(name, ""), 40) for name in names),
            duration(trial.seconds) if trial.seconds is not None else "",
        ]
        for trial in ranked
    ]
    return _table(["trial", study.metric, *names, "time"], rows)


def _verdicts(study: Study, trials: Sequence[Trial]) -> str:
    from hpo.report.insight import study_insight

    insight = study_insight(study, trials, resamples=0)
    lines = [f"- {line}" for line in insight.lines()]
    if tie := insight.tie(study.metric):
        lines.append(f"\n{tie}")
    return "\n".join(lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
