"""What the MLflow UI shows of a study as it opens: views saved on the experiment, and links to them.

The UI keeps columns, order and charts of a saved view in an experiment tag and opens it by the tag's name in the link
(``viewStateShareKey``). What a view leaves out is the UI's default. A view cannot open the runs under a parent: trials
are listed flat, best first, in one view, and under their study in the other. A study with several objectives has a
third view, of its front.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from urllib.parse import urlencode

from mlflow import MlflowClient

from hpo.study import Study
from hpo.study.markdown import searched
from hpo.tracking.mlflow.client import MAX_VIEW, clean, connect, key, metric_key
from hpo.tracking.mlflow.describe import MAX_DESCRIPTION
from hpo.trial import Direction

# Views by the names in their links, and how the UI's menu of views calls them.
FRONT, TRIALS, STUDY = "front", "trials", "study"
TITLES = {FRONT: "Pareto front", TRIALS: "Trials, best first", STUDY: "Study and its trials"}

# The experiment's description, and how it begins where hpo wrote it.
NOTE, OPENING = "mlflow.note.content", "hpo study: "
# Without it the UI takes an experiment for one of language models, and shows none of its runs.
KIND = ("mlflow.experimentKind", "custom_model_development")
_PREFIX = "mlflow.sharedViewState."
# The column of boxes to tick, as the UI's grid calls it.
_CHECKBOX = "1"
# How many runs the UI draws in one chart before a person asks for more.
_DRAWN = 20
# The metrics of the study's own run; with several objectives there is no single best value.
PROGRESS_METRICS, FRONT_PROGRESS_METRICS = ("best_objective", "trials_finished"), ("hypervolume", "trials_finished")


def tags(study: Study, created: float) -> tuple[dict[str, str], int]:
    """The tags of a study's experiment, with as many of its parameters as fit into MLflow's limit.

    Args:
        study: What is searched.
        created: Seconds since the epoch, for the menu of views.

    Returns:
        The tags, and how many parameters, from the first on, they show.
    """
    shown = len(study.space.parameters)
    while max(map(len, (found := _tags(study, created, shown)).values())) > MAX_VIEW:
        shown = shown * 2 // 3
    return found, shown


def _tags(study: Study, created: float, shown: int) -> dict[str, str]:
    params = [key(parameter.name) for parameter in study.space.parameters[:shown]]
    several = len(study.objectives) > 1
    metrics = [metric_key(name) for name in study.objectives]
    best = {"orderByKey": "metrics.`objective`", "orderByAsc": study.direction is Direction.MINIMIZE}
    columns = [f"params.`{name}`" for name in params]
    values = [f"metrics.`{name}`" for name in (metrics if several else ["objective"])]
    progress = FRONT_PROGRESS_METRICS if several else PROGRESS_METRICS
    states = {
        TRIALS: {
            **_table(["tags.`hpo.pareto`" if several else "tags.`hpo.best`", "tags.`hpo.state`", *values, *columns]),
            **_charts("Trials", [*_fronts(metrics), *_over_the_space(study, params, metrics), *map(_line, metrics)]),
            "searchFilter": "tags.`hpo.role` = 'trial'",
            "runsHiddenMode": "FIRST_20_RUNS",
            **best,
        },
        STUDY: {
            **_table(["tags.`hpo.state`", *values, *(f"metrics.`{name}`" for name in progress), *columns]),
            **_charts("Study", map(_line, progress)),
            "orderByKey": "attributes.start_time",
            "orderByAsc": False,
        },
    }
    if several:
        states[FRONT] = {
            **_table([*values, *columns, "tags.`hpo.state`"]),
            **_charts("Front", [*_fronts(metrics), _parallel(params, metrics)]),
            "searchFilter": "tags.`hpo.pareto` = 'true'",
            **best,
        }
    milliseconds = int(created * 1000)
    return dict([KIND]) | {
        _PREFIX + view: json.dumps({"name": TITLES[view], "createdAt": milliseconds, "state": _packed(state)})
        for view, state in states.items()
    }


def save(client: MlflowClient, experiment_id: str, study: Study, created: float) -> int:
    """Saves a study's views on its experiment; those that a person has changed stay as they are.

    Args:
        client: Of the tracking store.
        experiment_id: The study's experiment.
        study: What is searched.
        created: Seconds since the epoch, when the study was; views of a study of the same name before it are replaced.

    Returns:
        How many parameters the views show.
    """
    there = client.get_experiment(experiment_id).tags
    wanted, shown = tags(study, created)
    saved = {name: (_view(there.get(name, "")), _view(value)) for name, value in wanted.items() if name != KIND[0]}
    earlier = any(found.get("createdAt") != ours["createdAt"] for found, ours in saved.values())
    if NOTE not in there or (earlier and there[NOTE].startswith(OPENING)):
        client.set_experiment_tag(experiment_id, NOTE, note(study, experiment_id))
    if KIND[0] not in there:
        client.set_experiment_tag(experiment_id, *KIND)
    for name, (found, ours) in saved.items():
        # The UI marks what a person has changed.
        if found.get("createdAt") != ours["createdAt"] or ("updatedAt" not in found and found != ours):
            client.set_experiment_tag(experiment_id, name, wanted[name])
    return shown


def _view(value: str) -> dict[str, Any]:
    """A saved view; empty where there is none as this version of the UI saves it."""
    try:
        found = json.loads(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def note(study: Study, experiment_id: str) -> str:
    """The experiment's description in Markdown; MLflow shows its first line on every page of the experiment."""
    shown = [("trials", TRIALS, False), ("charts", TRIALS, True), ("study", STUDY, True)]
    if len(study.objectives) > 1:
        shown.insert(0, ("front", FRONT, True))
    links = ", ".join(f"[{title}]({_path(experiment_id, view, charts=charts)})" for title, view, charts in shown)
    return clean(f"{OPENING}{links}\n\n{searched(study)}", MAX_DESCRIPTION)


@dataclass(frozen=True)
class Place:
    """A study in a tracking store.

    Attributes:
        name: The study.
        experiment_id: Its experiment.
        views: Which of our views the experiment has; none if another version of hpo wrote it.
    """

    name: str
    experiment_id: str
    views: frozenset[str]


def find(uri: str, name: str | None = None) -> Place | None:
    """A study's experiment.

    Args:
        uri: The tracking URI.
        name: The study; None for the one that was begun last.

    Returns:
        None where there is no such study, or no study at all.
    """
    client = connect(uri)
    if name is None:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        newest = client.search_runs(
            experiments, "tags.`hpo.role` = 'study'", order_by=["start_time DESC"], max_results=1
        )
        experiment = client.get_experiment(newest[0].info.experiment_id) if newest else None
    else:
        experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        return None
    known = frozenset(view for view in TITLES if _PREFIX + view in experiment.tags)
    return Place(experiment.name, str(experiment.experiment_id), known)


def link(server: str, place: Place, view: str = TRIALS, *, charts: bool = False) -> str:
    """Where an MLflow server shows a study's view, as a table or as charts."""
    path = _path(place.experiment_id, view if view in place.views else None, charts=charts)
    return f"{server.rstrip('/')}/{path}"


def _path(experiment_id: str, view: str | None, *, charts: bool) -> str:
    query = {"viewStateShareKey": view} if view else {}
    query |= {"compareRunsMode": "CHART" if charts else "TABLE", "workflowType": "machine_learning"}
    return f"#/experiments/{experiment_id}/runs?{urlencode(query)}"


def _packed(state: Mapping[str, Any]) -> str:
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()


def _table(columns: Sequence[str]) -> dict[str, Any]:
    """The columns beside a run's name, in this order; what the UI always shows comes after them."""
    return {
        "selectedColumns": [*columns, "attributes.`Duration`"],
        "columnOrder": [_CHECKBOX, "attributes.`Run Name`", *columns],
    }


def _charts(title: str, cards: Iterable[dict[str, Any]]) -> dict[str, Any]:
    section = {"uuid": "hpo", "name": title, "display": True, "isReordered": True, "deleted": False}
    charts = [
        {"uuid": f"hpo-{index}", "metricSectionId": "hpo", "deleted": False} | card for index, card in enumerate(cards)
    ]
    return {"compareRunSections": [section], "compareRunCharts": charts, "isAccordionReordered": True}


def _parallel(params: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "PARALLEL",
        "selectedParams": list(params),
        "selectedMetrics": list(metrics),
        "showAllRuns": True,
    }


def _fronts(metrics: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every two objectives against each other."""
    for x, y in combinations(metrics, 2):
        yield _scatter({"key": x, "type": "METRIC"}, {"key": y, "type": "METRIC"})


def _over_the_space(study: Study, params: Sequence[str], metrics: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The objectives over all parameters at once, and the first one over each number among them."""
    yield _parallel(params, metrics if len(metrics) > 1 else ["objective"])
    for parameter, name in zip(study.space.parameters, params, strict=False):
        if parameter.ordered:
            yield _scatter({"key": name, "type": "PARAM"}, {"key": "objective", "type": "METRIC"})


def _scatter(x: dict[str, str], y: dict[str, str]) -> dict[str, Any]:
    return {"type": "SCATTER", "xaxis": x, "yaxis": y, "runsCountToCompare": 100}


def _line(metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "runsCountToCompare": _DRAWN,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
