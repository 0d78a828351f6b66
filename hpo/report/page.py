"""A study as one HTML page that needs no other file, no network and no library."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from hpo.best import leading
from hpo.insight.front import front_insight
from hpo.insight.parameters import Insight, findings
from hpo.insight.parameters import in_words as finding_in_words
from hpo.insight.usage import usage
from hpo.report.data import ROWS, Drawn, listed, script_data
from hpo.report.figures.style import THEME
from hpo.study import Study
from hpo.study.constraints import no_best
from hpo.study.figures import FRONT_FIGURES, REPORT_FIGURES
from hpo.study.parameters import in_words
from hpo.text import duration, how_many, number, printable, sentence, short
from hpo.trial import State, Trial, counts, origins, own

# Holds the page's template and its script.
_FOLDER = Path(__file__).parent
# How many tracebacks the page shows, the last ones, and how many characters from the end of each.
FAILURES, ERROR = 20, 8000
# How many characters of any other text, of a setting, and of a short description.
TEXT, SETTING, WORDS = 100_000, 2000, 300
# How many parameters have a column, how many cells a table has at most, how many of its rows the page has without its
# script, and how many rows the narrowed ranges.
COLUMNS, CELLS, FIRST, FINDINGS = 40, 100_000, 200, 500
# How many of the best trials stand at the top, and how many of a front.
BEST, FRONT = 5, 50


def render(
    study: Study,
    trials: Sequence[Trial],
    figures: Mapping[str, Drawn],
    insight: Insight,
    left_out: Mapping[str, str] | None = None,
    links: Mapping[int, Mapping[str, str]] = MappingProxyType({}),
) -> str:
    """The page's text.

    Args:
        study: What was searched.
        trials: In order of their numbers.
        figures: By name: the study file's own, and those of every report.
        insight: What the trials say.
        left_out: Why figures with nothing to show are left out, by their names.
        links: By trial, addresses that its row links, each by its words.
    """
    several = len(study.objectives) > 1
    ranked = leading(trials, study.objectives)
    names = _columns(insight, len(trials))
    tied = {t.number for t in (ranked if several else ranked[:1])}
    if insight.precision and not several:
        tied = set(insight.precision.tied)
    linked = {number: dict(addresses) for number, addresses in links.items()}
    rows, script = listed(study, trials), (_FOLDER / "page.js").read_text(encoding="utf-8")
    return _template().render(
        study=study,
        objective=str(study.objective),
        when=_when(trials),
        tiles=_tiles(study, trials, ranked, insight),
        tie=_tie(study, trials, ranked, insight),
        several=several,
        objectives=list(study.objectives),
        best_title="The Pareto front" if several else "Best trials",
        without_best=sentence(no_best(study.bounds, trials)),
        hidden_best=max(0, len(ranked) - FRONT) if several else 0,
        names=names,
        hidden_names=len(study.space.parameters) - len(names),
        best=[_row(trial, study.objectives, names, tied) for trial in ranked[: FRONT if several else BEST]],
        insight=insight,
        parameters=[
            {"about": about, "range": short(in_words(parameter), WORDS), "importance": _importance(about.importance)}
            for about, parameter in zip(insight.parameters, study.space.parameters, strict=True)
        ],
        rounds=[finding_in_words(finding) for finding in findings(study, trials)[-FINDINGS:]],
        **_figures(study, figures, left_out or {}),
        links=linked,
        rows=[_row(trial, study.objectives, names, tied) for trial in rows[:FIRST]],
        hidden_rows=len(trials) - len(rows),
        later_rows=len(rows) - len(rows[:FIRST]),
        data=script_data(list(study.objectives), rows, names, tied & {t.number for t in rows}, figures, linked),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **_failures(trials),
        settings=_settings(study),
        light=_variables(0),
        dark=_variables(1),
    )


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        finalize=_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _figures(study: Study, figures: Mapping[str, Drawn], left_out: Mapping[str, str]) -> dict[str, Any]:
    """The figures under their titles, and why others are left out."""
    titles = {spec.name: spec.options["title"] or spec.name for spec in study.figures}
    titles |= FRONT_FIGURES | REPORT_FIGURES if len(study.objectives) > 1 else REPORT_FIGURES
    return {
        "figures": [_figure(name, title, figures[name]) for name, title in titles.items() if name in figures],
        "marks": any(figure.panels for figure in figures.values()),
        "left_out": [(titles[name], reason) for name, reason in left_out.items()],
    }


def _figure(name: str, title: str, drawn: Drawn) -> dict[str, Any]:
    svg = inline(drawn.svg, f"{title}. {drawn.caption}", name)
    return {"name": name, "title": title, "caption": drawn.caption, "svg": svg}


def inline(svg: str, words: str, name: str) -> Markup:
    """An SVG file as a part of a page: in the page's colours, as wide as possible, short, with ids of its own.

    Args:
        svg: The file's text.
        words: A description for readers who cannot see the figure.
        name: The figure's; no other figure of the page has it.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>", "", body, flags=re.S)
    body = re.sub(r"<g id=\"(?:Path|Line|Poly|FillBetweenPoly)Collection_\d+\"", '<g class="data"', body)
    body = re.sub(r"<g id=\"[^\"]*\"", "<g", body)  # nothing refers to groups, and all figures name them alike
    body = re.sub(r" [xy]=\"[^\"]*\"", lambda m: re.sub(r"(\.\d)\d+", r"\1", m[0]), body)
    width = float(re.search(r"viewBox=\"0 0 ([\d.]+) ", body)[1])  # type: ignore[index]
    head = Markup('<svg role="img" aria-label="{}" style="max-width: {:.0f}px"').format(_text(words), 1.6 * width)
    body = re.sub(r"^<svg (.*?)width=\"[^\"]*\" height=\"[^\"]*\"", lambda m: f"{head} {m[1]}", body)
    for colour, (light, _) in THEME.items():
        body = body.replace(light, f"var(--{colour})")
    return Markup(_with_classes(body, name))


def _with_classes(svg: str, name: str) -> str:
    """The SVG with a class for every style that many elements have: thousands of points look alike."""
    counted = Counter(re.findall(r"<use [^>]*?style=\"([^\"]*)\"", svg))
    names = {style: f"{name}-{index}" for index, (style, count) in enumerate(counted.most_common(50)) if count > 5}
    if not names:
        return svg
    rules = "".join(f".{own}{{{style}}}" for style, own in names.items())

    def short_form(match: re.Match[str]) -> str:
        own = names.get(match[2])
        return f'{match[1]}class="{own}"' if own else match[0]

    svg = re.sub(r"(<use [^>]*?)style=\"([^\"]*)\"", short_form, svg).replace("<use xlink:href=", "<use href=")
    at = svg.index(">") + 1
    return f"{svg[:at]}<style>{rules}</style>{svg[at:]}"


def _text(value: Any) -> Any:
    """What stands on the page for a value that the template names: no control characters, and no great length."""
    return value if isinstance(value, Markup) else printable(short(str(value), TEXT))


def _columns(insight: Insight, trials: int) -> list[str]:
    """The parameters that have a column in the tables of trials: the clearest ones, in the order of the study file."""
    most = max(5, min(COLUMNS, CELLS // max(1, min(trials, ROWS))))
    clearest = sorted(insight.parameters, key=lambda p: 2.0 if p.p_value is None else p.p_value)[:most]
    return [p.name for p in insight.parameters if p in clearest]


def _variables(theme: int) -> Markup:
    return Markup(" ".join(f"--{name}: {colours[theme]};" for name, colours in THEME.items()))


def _when(trials: Sequence[Trial]) -> str:
    times = [time for t in own(trials) for time in (t.started, t.ended) if time is not None]
    if not times:
        return ""
    first, last = (datetime.fromtimestamp(time, UTC) for time in (min(times), max(times)))
    end = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    return f"{first:%Y-%m-%d %H:%M} to {end} UTC"


def _tie(study: Study, trials: Sequence[Trial], ranked: Sequence[Trial], insight: Insight) -> str | None:
    """What the error of the values means for the best trials, or for the front; None where it is unknown."""
    if len(study.objectives) == 1:
        return insight.tie(study.metric) if ranked else None
    worth = front_insight(study, trials, insight.examples)
    return sentence("; ".join(worth.lines(len(ranked)))) if worth else None


def _tiles(study: Study, trials: Sequence[Trial], ranked: Sequence[Trial], insight: Insight) -> list[dict[str, str]]:
    total = counts(trials, standing=True)
    error = f", standard error {insight.precision.error:.2g}" if insight.precision else ""
    none = no_best(study.bounds, trials)
    best = (
        _front_tile(study, ranked, none)
        if len(study.objectives) > 1
        else {
            "label": f"best {study.metric}",
            "value": number(ranked[0].value) if ranked else "–",
            "note": f"trial {ranked[0].number}{f' ({ranked[0].place})' * bool(ranked[0].origin)}{error}"
            if ranked
            else none,
        }
    )
    states = ", ".join(
        [*(f"{count} {state}" for state, count in total.items() if count), *filter(None, [origins(trials)])]
    )
    tiles = [best, {"label": "trials", "value": str(len(trials)), "note": states or "none yet"}]
    shown = [p.name for p in insight.parameters if p.effect]
    silent = [p.name for p in insight.parameters if p.effect is False]
    tiles.append(
        {
            "label": "parameters that matter",
            "value": short(", ".join(shown), 40) if shown else "none shown",
            "note": f"no effect {'seen' if insight.adaptive else 'shown'}: {short(', '.join(silent), 80)}"
            if silent
            else "",
        }
    )
    used = usage(trials)
    if used:
        note = f"{how_many(len(used.workers), 'worker')} busy {used.share:.1%} of it"
        tiles.append({"label": "running time", "value": duration(used.seconds), "note": note})
    method = f"pruner {study.pruner.name}, seed {study.seed}"
    return [*tiles, {"label": "sampler", "value": study.sampler.name, "note": method}]


def _front_tile(study: Study, front: Sequence[Trial], none: str) -> dict[str, str]:
    ranges = [
        f"{name} {number(min(values))} to {number(max(values))}"
        for name, values in zip(study.objectives, zip(*(trial.values for trial in front), strict=True), strict=False)
    ]
    note = short(", ".join(ranges), 200) if front else none
    return {"label": "trials on the front", "value": str(len(front)), "note": note}


def _row(trial: Trial, objectives: Iterable[str], names: Sequence[str], tied: set[int]) -> dict[str, Any]:
    return {
        "trial": trial,
        "scores": ["" if value is None else number(value) for value in trial.named(objectives).values()],
        "worker": short(trial.place, 80),
        "params": [short(trial.params[name], 40) if name in trial.params else "" for name in names],
        "time": "" if trial.seconds is None else duration(trial.seconds),
        "is_best": trial.number in tied,
    }


def _failures(trials: Sequence[Trial]) -> dict[str, Any]:
    """The last failures, and how many more there are."""
    failed = [trial for trial in trials if trial.state == State.FAILED]
    return {
        "failures": [_failure(trial) for trial in failed[-FAILURES:]],
        "hidden_failures": max(0, len(failed) - FAILURES),
    }


def _failure(trial: Trial) -> dict[str, Any]:
    error = (trial.error or "")[-ERROR:].strip() or "unknown"
    reason = short(error.splitlines()[-1], WORDS)
    return {"number": trial.number, "reason": reason, "error": "…" * (len(trial.error or "") > ERROR) + error}


def _settings(study: Study) -> list[tuple[str, list[tuple[str, str]]]]:
    spaces = [(p.name, short(in_words(p), SETTING)) for p in study.space.parameters]
    sections: list[tuple[str, list[tuple[str, str]]]] = [
        ("Fixed settings", _entries(study.fixed)),
        ("Search space", spaces),
    ]
    rest = {k: v for k, v in study.resolved.items() if k not in ("fixed", "space") and isinstance(v, Mapping) and v}
    sections += [(name.capitalize(), _entries(section)) for name, section in rest.items()]
    return [(title, entries) for title, entries in sections if entries]


def _entries(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    def text(value: Any) -> str:
        return str(value) if isinstance(value, str) else short(value) if isinstance(value, float) else json.dumps(value)

    return [(key, short(text(value), SETTING)) for key, value in table.items()]


def _importance(importance: Any) -> str:
    if importance is None:
        return "–"
    low, high = importance.interval or (importance.share, importance.share)
    return f"{importance.share:.0%} ({low:.0%} to {high:.0%})"
