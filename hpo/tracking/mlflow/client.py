"""The way to a tracking store, and names, texts and numbers as MLflow takes them."""

from __future__ import annotations

import hashlib
import logging
import math
import posixpath
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from hpo.tracking import check
from hpo.tracking.mlflow import database
from hpo.trial import Report, Trial

# MLflow's limits, in characters: of any name, of a parameter, of a run's tag, of an experiment's tag.
MAX_KEY, MAX_PARAM, MAX_TAG, MAX_VIEW = 250, 6000, 8000, 20_000
# Its limits for one batch: params, tags, everything together, and about the bytes of a request (1 MB).
MAX_PARAMS, MAX_ENTRIES, MAX_BYTES = 100, 1000, 900_000
PAGE = 1000


def connect(uri: str) -> MlflowClient:
    """A client for a tracking URI; a sqlite database that is not there is made.

    Raises:
        InputError: When MLflow would refuse the kind of store.
    """
    check(uri)
    for name in ("mlflow", "alembic"):  # their remarks on standard error are of no use to the user
        logging.getLogger(name).setLevel(logging.ERROR)
    database.make(uri)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def search(client: MlflowClient, experiment: str, condition: str, view: int = 1) -> Iterator[Run]:
    """All runs of an experiment that fulfil a condition, however many there are; active ones by default."""
    token = None
    while True:
        page = client.search_runs([experiment], condition, view, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def runs_of(client: MlflowClient, experiment: str, uid: str, condition: str = "") -> Iterator[Run]:
    """The active runs of one study."""
    return search(client, experiment, f"tags.`hpo.uid` = '{uid}'" + (f" AND {condition}" if condition else ""))


def log(
    client: MlflowClient,
    run_id: str,
    metrics: Sequence[Metric] = (),
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
) -> None:
    """One call where MLflow's limits allow it, and none where there is nothing to log."""
    for batch in _batches([*params, *tags, *metrics]):
        client.log_batch(
            run_id,
            [entry for entry in batch if isinstance(entry, Metric)],
            [entry for entry in batch if isinstance(entry, Param)],
            [entry for entry in batch if isinstance(entry, RunTag)],
        )


def _batches(entries: Sequence[Metric | Param | RunTag]) -> Iterator[list[Metric | Param | RunTag]]:
    batch: list[Metric | Param | RunTag] = []
    size, texts = 0, 0
    for entry in entries:
        # A request is JSON in ASCII, with up to six bytes for a character.
        bytes_ = 100 + len(entry.key.encode("ascii", "backslashreplace"))
        if is_text := not isinstance(entry, Metric):
            bytes_ += len(entry.value.encode("ascii", "backslashreplace"))
        if len(batch) == MAX_ENTRIES or size + bytes_ > MAX_BYTES or (is_text and texts == MAX_PARAMS):
            yield batch
            batch, size, texts = [], 0, 0
        batch.append(entry)
        size, texts = size + bytes_, texts + is_text
    if batch:
        yield batch


# Values ------------------------------------------------------------------------------------------------------------

# The metric under which a trial's value stands.
OBJECTIVE = "objective"


def metrics(reports: Iterable[Report], *, flat: bool = False) -> list[Metric]:
    """One metric per number of every report; for ``flat`` see :func:`keys`."""
    return [
        Metric(metric_key(name), value, milliseconds(report.time), report.step)
        for report in reports
        for name, value in zip(keys(tuple(report.metrics), flat), report.metrics.values(), strict=True)
    ]


def objective(trial: Trial) -> list[Metric]:
    """The trial's value as the metric ``objective``, at its last step; none where it has no value."""
    if trial.value is None:
        return []
    last = trial.reports[-1] if trial.reports else Report(0, trial.ended or 0.0, {})
    return [Metric(OBJECTIVE, trial.value, milliseconds(last.time), last.step)]


def latest(logged: Iterable[Metric]) -> dict[str, Metric]:
    """What MLflow counts as each metric's last value: of the last step, and there the latest, and then the largest."""
    return {metric.key: metric for metric in sorted(logged, key=_order)}


def _order(metric: Metric) -> tuple[int, int, float]:
    # A database keeps NaN as 0 with a mark.
    return metric.step, metric.timestamp, 0.0 if math.isnan(metric.value) else stored(metric.value)


def milliseconds(seconds: float) -> int:
    """A time as MLflow takes it, the same for a live trial and for its record, which keeps milliseconds."""
    return round(round(seconds, 3) * 1000)


def stored(value: float) -> float:
    """A number as MLflow gives it back: a database has no infinity."""
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value


def same(found: float | None, value: float) -> bool:
    """Whether MLflow gave back the number that it was given; None is no number."""
    return found is not None and (found == stored(value) or (math.isnan(found) and math.isnan(value)))


def texts(values: Mapping[str, Any], prefix: str = "", *, flat: bool = False) -> dict[str, str]:
    """Parameters by MLflow's names for them."""
    names = keys(tuple(prefix + name for name in values), flat)
    return {name: clean(str(value), MAX_PARAM) for name, value in zip(names, values.values(), strict=True)}


def params(values: Mapping[str, Any], prefix: str = "", *, flat: bool = False) -> list[Param]:
    return [Param(name, value) for name, value in texts(values, prefix, flat=flat).items()]


@lru_cache
def keys(names: tuple[str, ...], flat: bool = False) -> tuple[str, ...]:
    """Names that MLflow takes, all different: where two would become one, the one that changes has a mark.

    Args:
        names: Of parameters or metrics.
        flat: Without slashes. In a folder ``loss`` is a file, and there can be no ``loss/train`` beside it.
    """
    short = [key(name).replace("/", "." if flat else "/") for name in names]
    taken = {name for name, found in zip(names, short, strict=True) if name == found}
    for index, name in enumerate(names):
        if short[index] in taken and short[index] != name:
            mark = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
            short[index] = f"{short[index][: MAX_KEY - 9]}-{mark}"
        taken.add(short[index])
    return tuple(short)


def metric_key(name: str) -> str:
    """A reported metric's name in MLflow; ``objective`` is hpo's own, for a trial's value."""
    return f"metrics.{OBJECTIVE}" if key(name) == OBJECTIVE else key(name)


def key(name: str) -> str:
    """A name that MLflow takes: letters, digits, spaces and ``_-.:/``, and no path that leaves its folder."""
    name = re.sub(r"[^\w\-. :/]", "_", name[:MAX_KEY])
    return posixpath.normpath(name).lstrip("/.") or "_"


def clean(text: str, limit: int) -> str:
    """The beginning of a text, without the halves of characters and the NUL that stores do not take."""
    return text[:limit].encode("utf-8", "replace").decode().replace("\0", "?")
