"""A study in Markdown, as the tools that show its ledger and its runs display it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpo.study.budget import in_words as limit_in_words
from hpo.study.parameters import in_words
from hpo.study.study import Study

# How many parameters each part shows; the rest is in study.json and the report.
SHOWN = 40


def searched(study: Study, *, until: bool = False) -> str:
    """What is searched, and how; ``until`` adds the budget, which may differ from one run of a study to the next."""
    goal = f"{_goals(study)}: {study.sampler.name} search, "
    goal += f"seed {study.seed}" + (f", {study.pruner.name} pruner" if study.pruner.algorithm.prunes else "")
    goal += f", until {_limits(study)}" if until else ""
    parameters = study.space.parameters
    rows = table(["parameter", "searched"], [[p.name, in_words(p)] for p in parameters[:SHOWN]])
    return f"{goal}.\n\n{rows}{_more(len(parameters))}"


def _goals(study: Study) -> str:
    of = f"of {code(str(study.objective))}"
    if len(study.objectives) == 1:
        return f"{code(study.metric)} {of}, {study.direction}d"
    return f"{' and '.join(f'{code(name)} ({direction}d)' for name, direction in study.objectives.items())} {of}"


def _more(count: int) -> str:
    return f"\n\n{count - SHOWN} more parameters are in study.json." if count > SHOWN else ""


def _limits(study: Study) -> str:
    return " or ".join(f"{key} = {limit_in_words(value)}" for key, value in study.resolved["budget"].items())


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts as they are."""
    lines = [list(map(escaped, heads)), ["---"] * len(heads), *(map(escaped, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Text from a study or an objective, on one line and without links, pictures or HTML of its own."""
    return re.sub(r"([\\`<\[\]|!])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Text as code, on one line."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"
