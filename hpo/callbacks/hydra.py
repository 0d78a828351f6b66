"""Reports what a Hydra application returns, for programs that are searched as they are.

``["python", "app.py", "{overrides}", "+hydra.callbacks.hpo._target_=hpo.callbacks.hydra.ReportCallback"]`` as a study's
objective makes the value that the decorated function returns the trial's only report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback

from hpo.callbacks import numbers


class ReportCallback(Callback):
    """Prints the returned number, or mapping of names to numbers, as a line of JSON.

    Args:
        metric: The name of a returned number.
    """

    def __init__(self, metric: str = "value") -> None:
        self._metric = metric

    def on_job_end(self, config: Any, job_return: JobReturn, **kwargs: Any) -> None:
        if job_return.status is JobStatus.COMPLETED:
            returned = job_return.return_value
            found = returned if isinstance(returned, Mapping) else {self._metric: returned}
            nothing = f"the application returned {returned!r:.80}, which is no number and has none"
            print(json.dumps(reported) if (reported := numbers(found)) else nothing, flush=True)
