import base64
import json
import zlib
from typing import Any

import pytest
from small_study import small_study

from hpo.tracking.mlflow import client as values
from hpo.tracking.mlflow import views
from hpo.trial import Report, State, Trial


def opened(value: str) -> dict[str, Any]:
    """A view's state as the UI reads it: named, compressed, in an experiment tag."""
    envelope = json.loads(value)
    assert isinstance(envelope["name"], str)
    assert isinstance(envelope["createdAt"], int)
    kind, _, packed = envelope["state"].partition(";")
    assert kind == "deflate"
    return dict(json.loads(zlib.decompress(base64.b64decode(packed))))


def states(**changes: Any) -> dict[str, dict[str, Any]]:
    found = views.tags(small_study(**changes), 1.0)[0]
    assert found.pop("mlflow.experimentKind") == "custom_model_development"
    return {name.removeprefix("mlflow.sharedViewState."): opened(value) for name, value in found.items()}


@pytest.mark.parametrize(("direction", "rising"), [("minimize", True), ("maximize", False)])
def test_the_best_trials_come_first(direction: str, rising: bool) -> None:
    state = states(direction=direction)[views.TRIALS]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`objective`", rising)


def test_every_parameter_has_a_column_and_every_number_a_chart() -> None:
    space = {"lr": {"low": 0.1, "high": 1.0}, "layers": {"low": 1, "high": 3}, "kind": {"choice": ["a", "b"]}}
    state = states(space=space)[views.TRIALS]
    assert {"params.`lr`", "params.`layers`", "params.`kind`"} < set(state["selectedColumns"])
    assert [chart["xaxis"]["key"] for chart in state["compareRunCharts"] if chart["type"] == "SCATTER"] == [
        "lr",
        "layers",
    ]


class Client:
    """As much of an MLflow client as saving needs."""

    def __init__(self, tags: dict[str, str]) -> None:
        self.tags = tags

    def get_experiment(self, experiment_id: str) -> "Client":
        return self

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        self.tags[key] = value


def test_a_view_that_a_person_changed_is_kept_and_one_of_an_earlier_study_is_not() -> None:
    client = Client({})

    def save(created: float) -> dict[str, str]:
        views.save(client, "1", small_study(), created)
        return dict(client.tags)

    first = save(5.0)
    mine = json.dumps(json.loads(first["mlflow.sharedViewState.trials"]) | {"state": "{}", "updatedAt": 9000})
    client.tags["mlflow.sharedViewState.trials"] = mine
    assert save(5.0)["mlflow.sharedViewState.trials"] == mine
    of_the_earlier = views.tags(small_study(), 7.0)[0]
    assert save(7.0).items() >= of_the_earlier.items()
    for odd in ("no view", "[]"):
        client.tags["mlflow.sharedViewState.trials"] = odd
        assert save(7.0).items() >= of_the_earlier.items()


def test_a_view_that_an_earlier_version_saved_and_nobody_changed_gets_the_columns_of_this_one() -> None:
    client = Client({})
    views.save(client, "1", small_study(), 5.0)
    ours = dict(client.tags)
    client.tags["mlflow.sharedViewState.trials"] = json.dumps(
        json.loads(ours["mlflow.sharedViewState.trials"]) | {"state": "{}"}
    )
    views.save(client, "1", small_study(), 5.0)
    assert client.tags == ours


def test_the_experiment_s_description_begins_with_links_and_gives_way_to_a_person_s_own() -> None:
    client = Client({})
    views.save(client, "7", small_study(), 5.0)
    first, _, rest = client.tags["mlflow.note.content"].partition("\n")
    assert first.startswith("hpo study: [trials](#/experiments/7/runs?viewStateShareKey=trials&")
    assert first.count("workflowType=machine_learning") == 3
    assert "`score` of `simple_objectives:curve`" in rest
    client.tags["mlflow.note.content"] = "mine"
    views.save(client, "7", small_study(), 6.0)
    assert client.tags["mlflow.note.content"] == "mine"


def test_a_metric_of_the_users_called_objective_keeps_apart_from_the_trials_value() -> None:
    trial = Trial(
        0, {}, 1, State.COMPLETE, (0.25,), 0.0, 1.0, reports=(Report(1, 0.5, {"objective": 7.0, "loss": 0.25}),)
    )

    logged = {metric.key: metric.value for metric in values.metrics(trial.reports) + values.objective(trial)}

    assert logged == {"metrics.objective": 7.0, "loss": 0.25, "objective": 0.25}
