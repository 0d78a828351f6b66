"""One claim and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chapter.results import Floats, Results


@dataclass(frozen=True)
class Finding:
    """What was measured.

    Attributes:
        measured: In a few words, with its numbers.
        inside: Whether it lies in the reference band.
        holds: Whether what the chapter says is so.
    """

    measured: str
    inside: bool
    holds: bool = True


@dataclass(frozen=True)
class Row:
    """One claim of the chapter.

    Attributes:
        id: Its number in the list of claims.
        section: Where the chapter makes it.
        claim: What it says.
        band: What the reference allows, in words; the code of ``measure`` has the same numbers.
        measure: Finds out, from the studies' trials or, for exact properties, from the trainer itself.
        studies: Which studies it reads.
        remark: What must be said where the claim holds with a remark, or does not hold.
    """

    id: str
    section: str
    claim: str
    band: str
    measure: Callable[[Results], Finding]
    studies: Sequence[str] = ()
    remark: str = ""

    def verdict(self, finding: Finding) -> str:
        if not finding.holds:
            return "does not hold"
        return "holds, with a remark" if self.remark else "holds"


def near(value: float, wanted: float, within: float) -> bool:
    return abs(value - wanted) <= within


def between(value: float, low: float, high: float) -> bool:
    return low <= value <= high


def spread(values: Floats, digits: int = 3) -> str:
    """Mean and standard deviation, as a person would write them."""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


def numbers(values: Sequence[float] | Floats, form: str = ".3g") -> str:
    return ", ".join(f"{value:{form}}" for value in values)
