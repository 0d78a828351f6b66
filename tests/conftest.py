"""What tests need from the machine they run on."""

import os

import pytest

from trainer import data


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test of the real MNIST is skipped where the data is missing, and fails where it must not: in CI."""
    if item.get_closest_marker("mnist") is None:
        return
    try:
        data.check("mnist")
    except data.DataError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have the real MNIST: {error}", pytrace=False)
        pytest.skip(str(error))
