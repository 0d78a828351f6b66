"""A study as one HTML page that needs no other file, no network and no library."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hpo.report.figures.style import THEME
from hpo.report.insight import Insight
from hpo.report.narrowed import findings, said
from hpo.report.scale import duration, label
from hpo.report.usage import usage
from hpo.space import Choice, Float, Int, Parameter
from hpo.study import Study
from hpo.trial import FAILED, Trial, best_first, counts

# What stands above each figure, in the page's order.
CAPTIONS = {
    "best_trials": ("The best trials", "Validation solid, training dashed (the chapter's Fig 6-24)."),
    "slices": (
        "Each parameter",
        "One point per complete trial; in the blue band trials cannot be told from the best. Pruned trials are marks "
        "at the bottom, failed ones crosses.",
    ),
    "pairs": (
        "Pairs of parameters",
        "Coloured by value, the best five numbered; pruned trials hollow, failed ones crosses. Where ranges were "
        "narrowed, a frame for the ranges after each round.",
    ),
    "importances": (
        "Importance",
        "Left: each parameter's share of what sets the best tenth of the trials apart. Right: rank correlation.",
    ),
    "best_so_far": ("Best so far", "In the order in which the trials ended."),
    "learning_curves": ("All learning curves", "Complete trials coloured by their value, pruned ones faded."),
    "parallel": ("Parallel coordinates", "One line per complete trial, the best ones strongest."),
    "timeline": ("Workers", "Who ran what when; on the right each worker's share of busy time."),
}
# Tracebacks on the page, the last ones.
FAILURES = 20


def render(study: Study, trials: Sequence[Trial], drawings: Mapping[str, str], insight: Insight) -> str:
    """The page's text.

    Args:
        study: What was searched.
        trials: In order of their numbers.
        drawings: SVG files by the names of :data:`hpo.report.figures.FIGURES`.
        insight: What the trials say.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    ranked = best_first(list(trials), study.direction)
    failed = [t for t in trials if t.state == FAILED]
    names = [p.name for p in study.space.parameters]
    tied = set(insight.precision.tied) if insight.precision else {t.number for t in ranked[:1]}
    return environment.get_template("page.html").render(
        study=study,
        objective=study.objective if isinstance(study.objective, str) else " ".join(study.objective),
        when=_when(trials),
        tiles=_tiles(study, trials, ranked, insight),
        tie=insight.tie(study.metric) if ranked else None,
        names=names,
        best=[_row(trial, names, tied) for trial in ranked[:5]],
        insight=insight,
        parameters=[
            {"about": about, "range": describe(parameter), "importance": _importance(about.importance)}
            for about, parameter in zip(insight.parameters, study.space.parameters, strict=True)
        ],
        rounds=[said(finding) for finding in findings(study, trials)],
        figures=[
            {"name": name, "title": title, "caption": caption, "svg": inline(drawings[name], f"{title}. {caption}")}
            for name, (title, caption) in {**_own(study), **CAPTIONS}.items()
            if name in drawings
        ],
        rows=[_row(trial, names, tied) for trial in trials],
        failures=[_failure(trial) for trial in failed[-FAILURES:]],
        hidden_failures=max(0, len(failed) - FAILURES),
        settings=_settings(study),
        light=_variables(0),
        dark=_variables(1),
    )


def _own(study: Study) -> dict[str, tuple[str, str]]:
    """Titles of the figures that the study file describes; they carry them inside, too."""
    return {d.name: (d.options["title"] or d.name, "As the study file describes it.") for d in study.figures}


def inline(svg: str, words: str) -> Markup:
    """An SVG file as a part of a page: in the page's colours, as wide as there is room, with ids of its own.

    Args:
        svg: The file's text.
        words: What who does not see the figure is told.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>", "", body, flags=re.S)
    body = re.sub(r"<g id=\"[^\"]*\"", "<g", body)  # nothing refers to groups, and all figures name them alike
    width = float(re.search(r"viewBox=\"0 0 ([\d.]+) ", body)[1])  # type: ignore[index]
    head = Markup('<svg role="img" aria-label="{}" style="max-width: {:.0f}px"').format(words, 1.6 * width)
    body = re.sub(r"^<svg (.*?)width=\"[^\"]*\" height=\"[^\"]*\"", lambda m: f"{head} {m[1]}", body)
    for name, (light, _) in THEME.items():
        body = body.replace(light, f"var(--{name})")
    return Markup(body)


def describe(parameter: Parameter) -> str:
    """A parameter's range, in a few words."""
    if isinstance(parameter, Choice):
        text = ", ".join(label(choice, 24) for choice in parameter.choices)
    else:
        assert isinstance(parameter, Float | Int)
        step = parameter.step if isinstance(parameter, Float) or parameter.step != 1 else None
        text = f"{label(parameter.low)} to {label(parameter.high)}"
        text += ", logarithmic" if parameter.log else f", step {label(step)}" if step else ""
    if parameter.when:
        text += f", when {' and '.join(f'{name} is {label(wanted, 24)}' for name, wanted in parameter.when.items())}"
    return text


def _variables(theme: int) -> Markup:
    return Markup(" ".join(f"--{name}: {colours[theme]};" for name, colours in THEME.items()))


def _when(trials: Sequence[Trial]) -> str:
    times = [time for t in trials for time in (t.started, t.ended) if time is not None]
    if not times:
        return ""
    first, last = (datetime.fromtimestamp(time, UTC) for time in (min(times), max(times)))
    end = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    return f"{first:%Y-%m-%d %H:%M} to {end} UTC"


def _tiles(study: Study, trials: Sequence[Trial], ranked: Sequence[Trial], insight: Insight) -> list[dict[str, str]]:
    total = counts(list(trials))
    error = f", standard error {insight.precision.error:.2g}" if insight.precision else ""
    best = {
        "label": f"best {study.metric}",
        "value": _number(ranked[0].value) if ranked else "–",
        "note": f"trial {ranked[0].number}{error}" if ranked else "no trial is complete yet",
    }
    states = ", ".join(f"{count} {state}" for state, count in total.items() if count)
    tiles = [best, {"label": "trials", "value": str(len(trials)), "note": states or "none yet"}]
    shown = [p.name for p in insight.parameters if p.effect]
    silent = [p.name for p in insight.parameters if p.effect is False]
    tiles.append(
        {
            "label": "parameters that matter",
            "value": label(", ".join(shown), 40) if shown else "none shown",
            "note": f"no effect shown: {label(', '.join(silent), 80)}" if silent else "",
        }
    )
    used = usage(trials)
    if used:
        workers = f"{len(used.workers)} worker{'s' if len(used.workers) > 1 else ''}"
        note = f"{workers} busy {used.share:.1%} of it"
        tiles.append({"label": "running time", "value": duration(used.seconds), "note": note})
    method = f"pruner {study.pruner.name}, seed {study.seed}"
    return [*tiles, {"label": "sampler", "value": study.sampler.name, "note": method}]


def _row(trial: Trial, names: Sequence[str], tied: set[int]) -> dict[str, Any]:
    return {
        "trial": trial,
        "value": _number(trial.value),
        "sort": _sortable(trial.value),
        "params": [
            {"text": label(trial.params[name], 40), "sort": _sortable(trial.params[name])}
            if name in trial.params
            else {"text": "", "sort": ""}
            for name in names
        ],
        "seconds": _sortable(trial.seconds),
        "time": "" if trial.seconds is None else duration(trial.seconds),
        "is_best": trial.number in tied,
    }


def _failure(trial: Trial) -> dict[str, Any]:
    error = (trial.error or "unknown").strip()
    return {"number": trial.number, "reason": error.splitlines()[-1], "error": error}


def _settings(study: Study) -> list[tuple[str, list[tuple[str, str]]]]:
    spaces = [(p.name, describe(p)) for p in study.space.parameters]
    sections: list[tuple[str, list[tuple[str, str]]]] = [
        ("Fixed settings", _entries(study.fixed)),
        ("Search space", spaces),
    ]
    rest = {k: v for k, v in study.resolved.items() if k not in ("fixed", "space") and isinstance(v, Mapping) and v}
    sections += [(name.capitalize(), _entries(section)) for name, section in rest.items()]
    return [(title, entries) for title, entries in sections if entries]


def _entries(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, _entry(value)) for key, value in table.items()]


def _entry(value: Any) -> str:
    if isinstance(value, str):
        return value
    return label(value) if isinstance(value, float) else json.dumps(value)


def _importance(importance: Any) -> str:
    if importance is None:
        return "–"
    low, high = importance.interval or (importance.share, importance.share)
    return f"{importance.share:.0%} ({low:.0%} to {high:.0%})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _sortable(value: Any) -> str:
    """What the table sorts by: nothing for what is missing or not a number."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
