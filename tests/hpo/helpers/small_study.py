"""The small study of hpo.testing."""

from hpo.testing.fakes import SPACE, small_study

__all__ = ["SPACE", "small_study"]
