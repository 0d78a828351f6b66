"""Several studies against each other, each run several times."""

# Default repeats of a study file: enough to show a clear difference between up to six pairs of studies.
REPEATS = 10
