"""Trials on Ray, on this machine or on a cluster.

- :mod:`hpo.execution.ray.pool`: the executor: one long-lived actor per worker
- :mod:`hpo.execution.ray.local`: a Ray on this machine that ends with the driver
- :mod:`hpo.execution.ray.reaper`: ends what a killed driver leaves behind
- :mod:`hpo.execution.ray.cluster`: what the nodes hold, and how several searches share them
- :mod:`hpo.execution.ray.nodes`: folders of trials on the nodes of a cluster
"""

import logging
import os

# In a notebook it asks for ipywidgets, for pictures that nobody sees.
logging.getLogger("ray.widgets.util").setLevel(logging.ERROR)
# Ray reads these when it is imported: no usage statistics, and no metrics that nobody looks at.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_enable_metrics_collection", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Otherwise Ray takes a SIGTERM that arrives while it connects for a crash, and aborts this process three seconds later.
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
