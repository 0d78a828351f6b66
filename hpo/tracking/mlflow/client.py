"""The way to a tracking store."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

# MLflow's own limits for one batch are 100 parameters, 100 tags, and 1000 of everything together.
MAX_METRICS, MAX_PARAMS = 890, 100
PAGE = 1000


def connect(uri: str) -> MlflowClient:
    """A client for a tracking URI; a sqlite database that is not there is made."""
    for name in ("mlflow", "alembic"):  # what they would remark on standard error is of no use to anybody there
        logging.getLogger(name).setLevel(logging.ERROR)
    make_database(uri)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def make_database(uri: str) -> None:
    """Makes an absent sqlite database beside its place and moves it there whole.

    MLflow makes its tables one by one; a process killed meanwhile leaves a file that no MLflow opens again.
    """
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    draft = path.parent / ".hpo" / f"{path.name}.{uuid.uuid4().hex}"
    draft.parent.mkdir(exist_ok=True)
    try:
        MlflowClient(tracking_uri=f"sqlite:///{draft}").search_experiments(max_results=1)
        with contextlib.suppress(FileExistsError):  # another driver was faster
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def search(client: MlflowClient, experiment: str, condition: str) -> Iterator[Run]:
    """All active runs of an experiment that fulfil a condition, however many there are."""
    token = None
    while True:
        page = client.search_runs([experiment], condition, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def log(
    client: MlflowClient,
    run_id: str,
    metrics: Sequence[Metric] = (),
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
) -> None:
    """One call where MLflow's limits allow it, and none where there is nothing to log."""
    while metrics or params or tags:
        client.log_batch(run_id, metrics[:MAX_METRICS], params[:MAX_PARAMS], tags)
        metrics, params, tags = metrics[MAX_METRICS:], params[MAX_PARAMS:], ()
