"""Fixtures that several test files share."""

import os

# scikit-learn's array API check is skipped without this, and it must be set before SciPy loads.
os.environ["SCIPY_ARRAY_API"] = "1"

import pytest

from grh_helpers import load_dataset


@pytest.fixture(scope="session")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="session")
def digits_split(digits):
    return digits.split()


def pytest_collection_modifyitems(config, items):
    """Skip tests marked slow, saying so, unless a choice of markers was made."""
    if not config.option.markexpr:
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run it with -m slow"))
