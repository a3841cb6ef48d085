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
