"""The experiment that chapters, command line and benchmarks run alike.

The labels of the methods and the split that rankings are measured on are defined here and nowhere
else, so that two places cannot disagree about one quantity.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np
import pandas as pd
from tqdm import tqdm

from grh_helpers.codes import check_whole
from grh_helpers.datasets import Dataset, Split
from grh_helpers.evaluation import exact_precision, mean_average_precision, radius_sweep
from grh_helpers.hashing import GRH, LSH

__all__ = ["METHODS", "encode", "exact_precision", "map_table", "ranking_split", "sweep_draws"]

Methods = Mapping[str, Callable]
# Label of a method in tables, legends and recorded keys → an estimator, called with n_bits and
# random_state=…, which must be named: the second parameter of GRH is alpha.
METHODS: Methods = {"LSH": LSH}
METHODS |= {f"GRH {learner}": partial(GRH, learner=learner) for learner in ("svm", "kernel")}


def encode(hasher, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Fit a hasher to the training set, then hash queries and database. By hand in chapter 5.

    Parameters
    ----------
    hasher : estimator
        `LSH`, `GRH` or any other with ``fit(X, y)`` and ``transform(X)``; it is fitted in place.
    split : Split
        Queries, training set and database.

    Returns
    -------
    query_codes, database_codes : ndarray of bool, shapes (n_queries, n_bits), (n_database, n_bits)

    Raises
    ------
    ValueError
        As the estimator.
    """
    hasher.fit(split.train, split.train_labels)
    return hasher.transform(split.queries), hasher.transform(split.database)


def ranking_split(dataset: Dataset) -> Split:
    """Draw the split that mean average precision is measured on, as in the published figures.

    Parameters
    ----------
    dataset : Dataset
        Features and labels.

    Returns
    -------
    Split
        1,000 stratified queries and 1,000 stratified training images, 300 of each if there are at
        most 10,000 images; all others are the database.

    Raises
    ------
    ValueError
        If there are too few images.
    """
    size = 1000 if len(dataset) > 10_000 else 300
    return dataset.split(size, size, stratify=True)


def sweep_draws(
    split: Split,
    methods: Methods = METHODS,
    radii: Iterable[int] = range(11),
    n_bits: int = 16,
    seeds: int = 5,
) -> pd.DataFrame:
    """Sweep the radii for several methods and draws of their hyperplanes. By hand in chapter 5.

    Parameters
    ----------
    split : Split
        Queries, training set and database.
    methods : dict of str to callable, default=METHODS
        Label of a method → function of n_bits and, by name, random_state that returns an
        estimator.
    radii : iterable of int, default=range(11)
        Hamming radii, in bits.
    n_bits : int, default=16
        Length of the codes.
    seeds : int, default=5
        Number of draws: the seeds 0, 1, …, the same for every method.

    Returns
    -------
    DataFrame
        Rows of `radius_sweep`, one per query, with the columns ``method``, ``n_bits`` and
        ``seed``; `mean_over_queries` averages them.

    Raises
    ------
    ValueError
        If there is no method or draw; as the estimators and `radius_sweep`.
    """
    sweep = partial(radius_sweep, split=split, radii=list(radii), per_query=True)
    return _draws(sweep, split, methods, [n_bits], seeds)


def map_table(
    split: Split, methods: Methods = METHODS, n_bits: Iterable[int] = (16, 32, 64), seeds: int = 3
) -> pd.DataFrame:
    """Mean average precision of Hamming rankings by method and code length.

    Parameters
    ----------
    split : Split
        Queries, training set and database; the recorded figures are those of `ranking_split`.
    methods : dict of str to callable, default=METHODS
        As for `sweep_draws`.
    n_bits : iterable of int, default=(16, 32, 64)
        Code lengths.
    seeds : int, default=3
        Number of draws: the seeds 0, 1, …, the same for every method.

    Returns
    -------
    DataFrame
        One row per draw with the columns ``map``, ``method``, ``n_bits`` and ``seed``.

    Raises
    ------
    ValueError
        If there is no method, code length or draw; as the estimators and `mean_average_precision`.
    """
    labels = split.query_labels, split.database_labels

    def measure(*codes) -> pd.DataFrame:
        return pd.DataFrame({"map": [mean_average_precision(*codes, *labels)]})

    return _draws(measure, split, methods, n_bits, seeds)


def _draws(measure: Callable, split: Split, methods: Methods, n_bits, seeds: int) -> pd.DataFrame:
    """Measure the codes of every draw; a seed is the same for all methods."""
    check_whole("seeds", seeds, 1)
    frames = []
    for seed, name, bits in tqdm([*itertools.product(range(seeds), methods, n_bits)], disable=None):
        frame = measure(*encode(methods[name](bits, random_state=seed), split))
        frames.append(frame.assign(method=name, n_bits=bits, seed=seed))
    return pd.concat(frames, ignore_index=True)
