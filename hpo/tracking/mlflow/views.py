"""What the MLflow UI shows of a study as it opens: two views saved on the experiment, and links to them.

The UI keeps columns, order and charts of a saved view in an experiment tag and opens it by the tag's name in the link
(``viewStateShareKey``). What a view leaves out is the UI's default. A view cannot open the runs under a parent: trials
are listed flat, best first, in one view, and under their study in the other.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from mlflow import MlflowClient

from hpo.space import Choice
from hpo.study import Study
from hpo.tracking.mlflow.client import connect
from hpo.tracking.mlflow.values import key

# Views by the names in their links, and how the UI's menu of views calls them.
TRIALS, STUDY = "trials", "study"
TITLES = {TRIALS: "Trials, best first", STUDY: "Study and its trials"}

# Without it the UI takes an experiment for one of language models, and shows none of its runs.
KIND = ("mlflow.experimentKind", "custom_model_development")
_PREFIX = "mlflow.sharedViewState."
# The column of boxes to tick, as the UI's grid calls it.
_CHECKBOX = "1"
# How many runs the UI draws in one chart before a person asks for more.
_DRAWN = 20


def tags(study: Study, created: float) -> dict[str, str]:
    """The tags of a study's experiment.

    Args:
        study: What is searched.
        created: Seconds since the epoch, for the menu of views.
    """
    params = [key(parameter.name) for parameter in study.space.parameters]
    metric = key(study.metric)
    best = {"orderByKey": "metrics.`objective`", "orderByAsc": study.direction == "minimize"}
    states = {
        TRIALS: {
            **_table(["tags.`hpo.state`", "metrics.`objective`", *(f"params.`{name}`" for name in params)]),
            **_charts("Trials", [*_over_the_space(study, params), _line(metric)]),
            "searchFilter": "tags.`hpo.role` = 'trial'",
            "runsHiddenMode": "FIRST_20_RUNS",
            **best,
        },
        STUDY: {
            **_table(
                [
                    "tags.`hpo.state`",
                    *(f"metrics.`{name}`" for name in ("objective", "best_objective", "trials_finished")),
                    *(f"params.`{name}`" for name in params),
                ]
            ),
            **_charts("Study", [_line("best_objective"), _line("trials_finished")]),
            "orderByKey": "attributes.start_time",
            "orderByAsc": False,
        },
    }
    milliseconds = int(created * 1000)
    return dict([KIND]) | {
        _PREFIX + view: json.dumps({"name": TITLES[view], "createdAt": milliseconds, "state": _packed(state)})
        for view, state in states.items()
    }


def save(client: MlflowClient, experiment_id: str, study: Study, created: float) -> None:
    """Saves a study's views on its experiment; those that a person has changed stay as they are.

    Args:
        client: Of the tracking store.
        experiment_id: The study's experiment.
        study: What is searched.
        created: Seconds since the epoch, when the study was; views of a study of the same name before it are replaced.
    """
    there = client.get_experiment(experiment_id).tags
    for name, value in tags(study, created).items():
        if name not in there or (name.startswith(_PREFIX) and _created(there[name]) != _created(value)):
            client.set_experiment_tag(experiment_id, name, value)


def _created(value: str) -> Any:
    try:
        return json.loads(value).get("createdAt")
    except (ValueError, AttributeError):  # not a view as this version of the UI saves it
        return None


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
    query = {"viewStateShareKey": view} if view in place.views else {}
    query |= {"compareRunsMode": "CHART" if charts else "TABLE", "workflowType": "machine_learning"}
    return f"{server.rstrip('/')}/#/experiments/{place.experiment_id}/runs?{urlencode(query)}"


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


def _over_the_space(study: Study, params: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The objective over all parameters at once, and over each number among them."""
    yield {
        "type": "PARALLEL",
        "selectedParams": list(params),
        "selectedMetrics": ["objective"],
        "showAllRuns": True,
    }
    for parameter, name in zip(study.space.parameters, params, strict=True):
        if not isinstance(parameter, Choice):
            yield {
                "type": "SCATTER",
                "xaxis": {"key": name, "type": "PARAM"},
                "yaxis": {"key": "objective", "type": "METRIC"},
                "runsCountToCompare": 100,
            }


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
