"""The experiment that chapters, command line and benchmarks share."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from grh_helpers import GRH, LSH, Dataset, mean_average_precision, radius_sweep
from grh_helpers.checkpoints import recorded
from grh_helpers.experiment import (
    METHODS,
    encode,
    exact_precision,
    map_table,
    ranking_split,
    sweep_draws,
)


def test_methods_are_estimators_of_length_and_seed():
    assert list(METHODS) == ["LSH", "GRH svm", "GRH kernel"]
    for name, method in METHODS.items():
        hasher = method(6, random_state=3)
        assert isinstance(hasher, LSH if name == "LSH" else GRH)
        assert hasher.n_bits == 6 and hasher.random_state == 3
        assert name == "LSH" or hasher.learner == name.removeprefix("GRH ")


def test_encode_learns_from_the_training_part_alone(digits_split):
    class Spy:
        def fit(self, X, y):
            assert X is digits_split.train and y is digits_split.train_labels
            self.fitted = True

        def transform(self, X):
            assert self.fitted
            return X

    queries, database = encode(Spy(), digits_split)
    assert queries is digits_split.queries and database is digits_split.database


@pytest.mark.parametrize(("n", "size"), [(2000, 300), (10_000, 300), (10_001, 1000)])
def test_ranking_split_is_stratified_and_grows_with_the_data(n, size):
    labels = np.arange(n) % 4 // 3  # three quarters are of class 0
    data = Dataset("toy", np.random.default_rng(0).normal(size=(n, 3)), labels, ["a", "b"])
    split = ranking_split(data)
    assert len(split.queries) == len(split.train) == size
    assert len(split.database) == n - 2 * size
    assert split.query_labels.sum() == split.train_labels.sum() == size / 4
    assert np.array_equal(split.query_index, ranking_split(data).query_index)


def test_exact_precision_is_the_brute_force_one(digits_split):
    s, hits = digits_split, []
    for query, label in zip(s.queries, s.query_labels, strict=True):
        cosines = s.database @ query / (s.database**2).sum(axis=1) ** 0.5
        hits.append((s.database_labels[cosines.argsort()[-7:]] == label).sum())
    precision = exact_precision(s, k=7)
    assert precision.shape == (120,)
    np.testing.assert_allclose(precision, np.array(hits) / 7)
    assert exact_precision(s).mean() == pytest.approx(recorded("digits")["run_exact_precision"])


def test_sweep_draws_is_a_sweep_per_method_and_seed(digits_split):
    methods = {"LSH": LSH, "GRH": partial(GRH, alpha=0.8, n_iter=2)}
    sweep = sweep_draws(digits_split, methods, iter([0, 2]), n_bits=8, seeds=2)
    assert len(sweep) == 2 * 2 * 2 * 120 and list(sweep.index) == list(range(960))
    assert set(sweep["seed"]) == {0, 1} and set(sweep["n_bits"]) == {8}
    for (name, seed), rows in sweep.groupby(["method", "seed"]):
        codes = encode(methods[name](8, random_state=seed), digits_split)
        expected = radius_sweep(*codes, digits_split, [0, 2], per_query=True)
        expected = expected.drop(columns="seconds")
        pd.testing.assert_frame_equal(rows[expected.columns].reset_index(drop=True), expected)


def test_map_table_has_a_row_per_method_length_and_seed(digits_split):
    s, methods = digits_split, {"LSH": LSH, "GRH": GRH}
    table = map_table(s, methods, n_bits=iter([4, 8]), seeds=2)
    assert set(table.columns) == {"method", "n_bits", "seed", "map"}
    assert len(table) == len(table.drop(columns="map").drop_duplicates()) == 2 * 2 * 2
    for row in table.itertuples():
        codes = encode(methods[row.method](row.n_bits, random_state=row.seed), s)
        assert row.map == mean_average_precision(*codes, s.query_labels, s.database_labels)


@pytest.mark.parametrize("seeds", [0, -1, 2.5, "2", None])
def test_a_wrong_number_of_draws_is_named(digits_split, seeds):
    for run in (sweep_draws, map_table):
        with pytest.raises(ValueError, match="seeds must be a whole number of at least 1, got"):
            run(digits_split, {"LSH": LSH}, seeds=seeds)


def test_progress_is_silent_off_terminals(digits_split, capsys):
    map_table(digits_split, {"LSH": LSH}, [4], seeds=1)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == ""
