"""How deep tests look: a part of the examples in ``make test``, all of them in ``make test-all``."""

import os

FULL = os.environ.get("HPO_TEST_DEPTH") == "full"


def examples(full: int) -> int:
    """How many examples Hypothesis draws."""
    return full if FULL else max(full // 8, 5)


def seeds(usual: int) -> range:
    """The seeds of a campaign's generated cases; ``HPO_FUZZ=10`` takes ten times as many."""
    return range(round(usual * float(os.environ.get("HPO_FUZZ", "1"))))
