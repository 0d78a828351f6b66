"""The chapter's claims, one row each: what it says, the band of the reference, and how it is measured here."""

from __future__ import annotations

from chapter.rows import common, initial_values, normalisation, optimizers, regularisation, search
from chapter.rows.row import Finding, Row

ROWS: tuple[Row, ...] = (
    *common.ROWS,
    *optimizers.ROWS,
    *initial_values.ROWS,
    *normalisation.ROWS,
    *regularisation.ROWS,
    *search.ROWS,
)

__all__ = ["ROWS", "Finding", "Row"]
