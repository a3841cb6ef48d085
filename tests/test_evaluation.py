"""Measures against hand-worked lists, naive loops, shuffles of the ties, and scikit-learn."""

import itertools
import time
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from grh_helpers import (
    LSH,
    average_precision,
    bootstrap_ci,
    budget_sweep,
    index,
    load_dataset,
    mean_average_precision,
    precision_at_k,
    precision_recall_curve,
    radius_sweep,
)
from grh_helpers.evaluation import exact_precision, exact_sweep, mean_over_queries


def ap_of_list(relevant):
    """Average precision of one ranked list, straight from its definition."""
    hits, total = 0, 0.0
    for rank, is_relevant in enumerate(relevant, start=1):
        if is_relevant:
            hits += 1
            total += hits / rank
    return total / hits


def random_case(seed, n_bits=5, n_queries=4, n=40, n_classes=3):
    rng = np.random.default_rng(seed)
    codes = rng.random((n_queries + n, n_bits)) < 0.5
    labels = rng.integers(n_classes, size=n_queries + n)
    labels[n_queries : n_queries + n_classes] = range(n_classes)  # every class is there
    return codes[:n_queries], codes[n_queries:], labels[:n_queries], labels[n_queries:]


def distances(query, database):
    return (query != database).sum(axis=1)


# Rankings -----------------------------------------------------------------------------------------


def code_at(distance, n_bits=8):
    return [True] * distance + [False] * (n_bits - distance)


def test_a_list_worked_by_hand():
    """Distances 1 2 3 4 5, relevant + - + - +: AP = (1 + 2/3 + 3/5) / 3 = 34/45."""
    database = [code_at(d) for d in (1, 2, 3, 4, 5)]
    query, labels = [code_at(0)], [1, 0, 1, 0, 1]
    assert average_precision(query, database, [1], labels)[0] == pytest.approx(34 / 45)
    assert precision_at_k(query, database, [1], labels, k=3)[0] == pytest.approx(2 / 3)
    curve = precision_recall_curve(query, database, [1], labels)
    assert curve["precision"].tolist() == pytest.approx(
        [0, 1, 1 / 2, 2 / 3, 2 / 4, 3 / 5, 3 / 5, 3 / 5, 3 / 5]
    )
    assert curve["recall"].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1, 1, 1, 1])
    assert curve["nonempty"].tolist() == [0] + [1] * 8
    assert np.isnan(curve["precision_nonempty"][0])


def test_a_tie_worked_by_hand():
    """One relevant item tied with two others behind a relevant one: ranks 2, 3, 4 equally likely.

    AP = (1 + mean(2/2, 2/3, 2/4)) / 2 = (1 + 13/18) / 2 = 31/36; precision@2 = (1 + 1/3) / 2.
    """
    database = [code_at(0), code_at(2), code_at(2), code_at(2)]
    labels = [1, 1, 0, 0]
    assert average_precision([code_at(0)], database, [1], labels)[0] == pytest.approx(31 / 36)
    assert precision_at_k([code_at(0)], database, [1], labels, k=2)[0] == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", range(3))
def test_ties_are_the_mean_over_many_shuffles(seed):
    q, d, ql, dl = random_case(seed, n_bits=3, n_queries=1, n=25)
    rng = np.random.default_rng(seed)
    aps, precisions = [], []
    for _ in range(4000):
        shuffled = rng.permutation(len(d))
        order = shuffled[np.argsort(distances(q[0], d[shuffled]), kind="stable")]
        relevant = dl[order] == ql[0]
        aps.append(ap_of_list(relevant))
        precisions.append(relevant[:7].mean())
    for samples, value in (
        (aps, average_precision(q, d, ql, dl)[0]),
        (precisions, precision_at_k(q, d, ql, dl, k=7)[0]),
    ):
        assert abs(np.mean(samples) - value) < 5 * np.std(samples) / 4000**0.5


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    database = np.tril(np.ones((60, 60), dtype=bool))[rng.permutation(60)]  # all distances differ
    labels = rng.integers(2, size=60)
    query = np.zeros((1, 60), dtype=bool)
    expected = average_precision_score(labels == 1, -database.sum(axis=1))
    assert average_precision(query, database, [1], labels)[0] == pytest.approx(expected)


@given(seed=st.integers(0, 10_000), n_bits=st.sampled_from([1, 2, 7, 16, 17, 64, 65, 130]))
@settings(max_examples=40, deadline=None)
def test_order_of_the_database_and_names_of_labels_do_not_matter(seed, n_bits):
    q, d, ql, dl = random_case(seed, n_bits=n_bits)
    order = np.random.default_rng(seed).permutation(len(d))
    names = np.array(["x", "m", "a"])
    for measure in (average_precision, precision_at_k):
        value = measure(q, d, ql, dl)
        np.testing.assert_allclose(measure(q, d[order], ql, dl[order]), value)
        np.testing.assert_allclose(measure(q, d, names[ql], names[dl]), value)
        assert ((value >= 0) & (value <= 1 + 1e-12)).all()


@given(seed=st.integers(0, 10_000), n_bits=st.sampled_from([1, 9, 33, 70]))
@settings(max_examples=30, deadline=None)
def test_precision_recall_curve_equals_the_loop(seed, n_bits):
    q, d, ql, dl = random_case(seed, n_bits=n_bits)
    curve = precision_recall_curve(q, d, ql, dl)
    assert curve["radius"].tolist() == list(range(n_bits + 1))
    for radius in {0, 1, n_bits // 2, n_bits}:
        precision, recall, found = [], [], 0
        for code, label in zip(q, ql, strict=True):
            inside = distances(code, d) <= radius
            found += inside.any()
            precision.append((dl[inside] == label).mean() if inside.any() else 0)
            recall.append((dl[inside] == label).sum() / (dl == label).sum())
        row = curve.iloc[radius]
        assert row["precision"] == pytest.approx(np.mean(precision))
        assert row["recall"] == pytest.approx(np.mean(recall))
        assert row["nonempty"] == found / len(q)
        if found:
            assert row["precision_nonempty"] == pytest.approx(sum(precision) / found)
    assert (np.diff(curve["recall"]) >= 0).all()


def test_all_equal_codes_give_the_chance_level():
    labels = np.arange(1000) % 10
    codes = np.ones((1000, 16), dtype=bool)
    value = precision_at_k(codes[:1], codes, [3], labels, k=10)
    assert value[0] == pytest.approx(0.1)
    assert mean_average_precision(codes[:1], codes, [3], labels) == pytest.approx(0.1, abs=0.01)


def test_perfect_codes_give_one():
    labels = np.arange(30) % 3
    codes = labels[:, None] == np.arange(3)
    assert average_precision(codes[:3], codes, labels[:3], labels).tolist() == pytest.approx(
        [1] * 3
    )


def test_a_query_without_relevant_items_is_left_out_of_the_mean():
    d, labels = [[True], [False]], [0, 1]
    values = average_precision([[True], [True]], d, [0, 7], labels)
    assert values[0] == 1 and np.isnan(values[1])
    assert mean_average_precision([[True], [True]], d, [0, 7], labels) == 1
    with pytest.raises(ValueError, match="No query has a relevant item"):
        mean_average_precision([[True]], d, [7], labels)
    with pytest.raises(ValueError, match="Query 1 has no relevant item"):
        precision_recall_curve([[True], [True]], d, [0, 7], labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": np.ones((4, 6), bool)}, "database has codes of 5 bits, the given ones have 6"),
        ({"q": np.ones(5, bool)}, "Expected 2D array, got 1D array"),
        ({"d": np.ones((40, 5))}, "Codes must be bool or the integers 0 and 1"),
        ({"ql": [0, 1]}, r"inconsistent numbers of samples: \[4, 2\]"),
        ({"dl": [0, 1]}, r"inconsistent numbers of samples: \[40, 2\]"),
        ({"ql": np.zeros((4, 2))}, r"y should be a 1d array, got an array of shape \(4, 2\)"),
        ({"ql": None}, "the target y is None"),
        ({"ql": ["0", "1", "2", "0"]}, "Labels .* must be of one kind, got <U1 and int64"),
        ({"q": np.ones((0, 5), bool), "ql": []}, "0 sample.* while a minimum of 1 is required"),
        ({"d": np.ones((0, 5), bool), "dl": []}, "0 sample.* while a minimum of 1 is required"),
    ],
)
def test_bad_input_of_rankings(change, message):
    case = dict(zip("q d ql dl".split(), random_case(0), strict=True))
    case.update(change)
    for measure in (average_precision, precision_at_k, precision_recall_curve):
        with pytest.raises(ValueError, match=message):
            measure(*case.values())


@pytest.mark.parametrize("k", [0, -1, 2.5, np.nan, np.inf, True, 10**10, "3"])
def test_bad_k(k, small):
    with pytest.raises(ValueError, match="k must be a whole number from 1 to 1000, got"):
        precision_at_k(*random_case(0), k=k)
    codes = np.ones((len(small.queries), 4), bool), np.ones((len(small.database), 4), bool)
    with pytest.raises(ValueError, match="k must be a whole number from 1 to 1000, got"):
        radius_sweep(*codes, small, [0], k=k)


def test_a_list_longer_than_the_database_divides_by_its_length():
    codes = np.ones((3, 4), bool)
    assert precision_at_k(codes[:1], codes, [1], [1, 1, 0], k=4).tolist() == [0.5]


# The radius sweep ---------------------------------------------------------------------------------


def naive_sweep(query_codes, database_codes, split, radius, k):
    """Rank the candidates of each query one cosine at a time."""
    precisions, candidates = [], []
    for code, query, label in zip(query_codes, split.queries, split.query_labels, strict=True):
        inside = np.flatnonzero(distances(code, database_codes) <= radius)
        cosines = [
            split.database[i] @ query / (np.linalg.norm(split.database[i]) * np.linalg.norm(query))
            for i in inside
        ]
        best = sorted(zip([-c for c in cosines], inside, strict=True))[:k]
        precisions.append(sum(split.database_labels[i] == label for _, i in best) / k)
        candidates.append(len(inside))
    return np.array(precisions), np.array(candidates)


@pytest.fixture(scope="module")
def small(digits_split):
    """A fifth of the digits' database and a sixth of the queries."""
    s = digits_split
    return SimpleNamespace(
        queries=s.queries[::6],
        query_labels=s.query_labels[::6],
        train=s.train,
        database=s.database[::5],
        database_labels=s.database_labels[::5],
    )


@pytest.mark.parametrize("cost", [10**9, 32, 0], ids=["dense", "default", "sparse"])
def test_radius_sweep_equals_the_naive_loop(small, cost, monkeypatch):
    monkeypatch.setattr(index, "GATHER_COST", cost)
    lsh = LSH(10, random_state=3).fit(small.train)
    q, d = lsh.transform(small.queries), lsh.transform(small.database)
    frame = radius_sweep(q, d, small, radii=[0, 1, 3, 6, 10], k=7)
    for row in frame.itertuples():
        precision, candidates = naive_sweep(q, d, small, row.radius, k=7)
        found = candidates > 0
        assert row.precision == pytest.approx(precision.mean())
        assert row.precision_nonempty == pytest.approx(precision[found].mean())
        assert row.nonempty == found.mean()
        assert row.candidates == candidates.mean()
        assert row.seconds > 0
    assert frame["nonempty"][0] < 1, "the case has empty buckets"
    assert list(frame) == [
        "radius",
        "precision",
        "precision_nonempty",
        "nonempty",
        "candidates",
        "seconds",
    ]


def test_radius_sweep_per_query_has_the_same_means(small):
    lsh = LSH(10, random_state=3).fit(small.train)
    q, d = lsh.transform(small.queries), lsh.transform(small.database)
    means = radius_sweep(q, d, small, radii=[0, 2])
    long = radius_sweep(q, d, small, radii=[0, 2], per_query=True)
    assert len(long) == 2 * len(q)
    assert (long.groupby("radius")["seconds"].nunique() == 1).all(), "the time of one radius"
    grouped = long.groupby("radius")[["precision", "candidates"]].mean()
    np.testing.assert_allclose(grouped, means.set_index("radius")[["precision", "candidates"]])


def test_means_are_those_of_each_group():
    rows = pd.DataFrame(
        {
            "seed": [1, 1, 0, 0],
            "precision": [0.5, 0.0, 0.0, 0.0],
            "candidates": [3, 0, 0, 0],
            "seconds": [1.0, 1.0, 2.0, 2.0],
        }
    )
    means = mean_over_queries(rows, ["seed"])
    assert means["seed"].tolist() == [1, 0], "the order of the groups is kept"
    assert means["precision"].tolist() == [0.25, 0]
    assert means["precision_nonempty"][0] == 0.5 and np.isnan(means["precision_nonempty"][1])
    assert means["nonempty"].tolist() == [0.5, 0] and means["candidates"].tolist() == [1.5, 0]
    assert means["seconds"].tolist() == [1, 2]


def test_fewer_than_k_candidates_still_divide_by_k(small):
    """Each query's code is unique to it and one item of its class."""
    n = len(small.queries)
    d = np.zeros((len(small.database), n + 1), bool)
    q = np.eye(n, n + 1, dtype=bool)
    for i, label in enumerate(small.query_labels):
        d[np.flatnonzero((small.database_labels == label) & ~d.any(axis=1))[0], i] = True
    row = radius_sweep(q, d, small, radii=[0], k=10).iloc[0]
    assert row["candidates"] == 1 and row["nonempty"] == 1
    assert row["precision"] == row["precision_nonempty"] == pytest.approx(0.1)


def test_no_candidates_at_all(small):
    q = np.ones((len(small.queries), 8), bool)
    d = np.zeros((len(small.database), 8), bool)
    row = radius_sweep(q, d, small, radii=[0]).iloc[0]
    assert row["precision"] == row["nonempty"] == row["candidates"] == 0
    assert np.isnan(row["precision_nonempty"])


def test_full_radius_is_the_exact_search_whatever_the_codes(small):
    rng = np.random.default_rng(0)
    q, d = (rng.random((len(v), 6)) < 0.5 for v in (small.queries, small.database))
    similar = small.queries @ small.database.T / np.linalg.norm(small.database, axis=1)
    best = np.argsort(-similar, axis=1)[:, :10]
    exact = (small.database_labels[best] == small.query_labels[:, None]).mean()
    assert radius_sweep(q, d, small, radii=[6])["precision"][0] == pytest.approx(exact)


def test_plain_arrays_take_the_place_of_a_split(small):
    lsh = LSH(10, random_state=3).fit(small.train)
    q, d = lsh.transform(small.queries), lsh.transform(small.database)
    vectors = small.queries, small.database
    labels = small.query_labels, small.database_labels
    arrays = vectors[0], labels[0].tolist(), vectors[1], labels[1].tolist()
    expected, frame = radius_sweep(q, d, small, [0, 3]), radius_sweep(q, d, arrays, [0, 3])
    pd.testing.assert_frame_equal(frame.drop(columns="seconds"), expected.drop(columns="seconds"))
    expected = budget_sweep(q, d, small, [30])
    expected = expected.drop(columns="seconds")
    frame = budget_sweep(q, d, arrays, [30]).drop(columns="seconds")
    pd.testing.assert_frame_equal(frame, expected)
    unlabelled = budget_sweep(q, d, (vectors[0], None, vectors[1], None), [30])
    expected = expected.drop(columns="precision")
    pd.testing.assert_frame_equal(unlabelled.drop(columns="seconds"), expected)
    assert (exact_precision(arrays) == exact_precision(small)).all()


def test_bad_plain_arrays(small):
    q, d = np.ones((len(small.queries), 8), bool), np.ones((len(small.database), 8), bool)
    for sweep in (radius_sweep, budget_sweep):
        with pytest.raises(ValueError, match="expected 4, got 2"):
            sweep(q, d, (small.queries, small.database))
        with pytest.raises(ValueError, match="the target y is None"):
            sweep(q, d, (small.queries, small.query_labels, small.database, None))
    for measure in (exact_precision, lambda split: radius_sweep(q, d, split)):
        with pytest.raises(ValueError, match="the target y is None"):
            measure((small.queries, None, small.database, None))
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[276, 1\]"):
        exact_precision((small.queries, small.query_labels, small.database, [1]))
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[20, 1\]"):
        budget_sweep(q, d, (small.queries[:1], None, small.database, None))


def test_sweeps_carry_their_protocol(small):
    q, d = np.ones((len(small.queries), 8), bool), np.ones((len(small.database), 8), bool)
    for sweep in (radius_sweep, budget_sweep):
        protocol = sweep(q, d, small, [3, 5], k=7).attrs["protocol"]
        sizes = {"queries": 20, "database": len(d), "bits": 8, "k": 7}
        assert sizes.items() <= protocol.items() and {"ties", "empty"} <= set(protocol)


def test_seconds_are_per_query(small, monkeypatch):
    monkeypatch.setattr(time, "perf_counter", itertools.count(0, 40).__next__)
    q, d = np.ones((len(small.queries), 8), bool), np.zeros((len(small.database), 8), bool)
    assert (radius_sweep(q, d, small, [0, 1])["seconds"] == 40 / len(q)).all()


def test_bad_input_of_the_sweep(small):
    q, d = np.ones((len(small.queries), 8), bool), np.ones((len(small.database), 8), bool)
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[19, 20\]"):
        radius_sweep(q[1:], d, small)
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[275, 276\]"):
        radius_sweep(q, d[1:], small)
    for name in ("query_labels", "database_labels", "queries", "database"):
        one = SimpleNamespace(**{**vars(small), name: getattr(small, name)[:1]})
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            radius_sweep(q, d, one)  # one row would be broadcast
    zero = SimpleNamespace(**{**vars(small), "queries": 0 * small.queries})
    with pytest.raises(ValueError, match="Row 0 of queries is zero"):
        radius_sweep(q, d, zero, radii=[8])
    with pytest.raises(ValueError, match="radius"):
        radius_sweep(q, d, small, radii=[-1])
    with pytest.raises(ValueError, match="at least one radius or budget"):
        radius_sweep(q, d, small, radii=[])
    none = {"queries": small.queries[:0], "query_labels": small.query_labels[:0]}
    with pytest.raises(ValueError, match="0 sample.* while a minimum of 1 is required"):
        radius_sweep(q[:0], d, SimpleNamespace(**{**vars(small), **none}))


# Intervals ----------------------------------------------------------------------------------------


def test_bootstrap_interval_is_the_normal_one_for_a_large_sample():
    values = np.random.default_rng(0).normal(3, 2, size=4000)
    mean, low, high = bootstrap_ci(values)
    half = 1.96 * values.std() / 4000**0.5
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.1 * half)


def test_bootstrap_level_and_seed():
    values = np.random.default_rng(0).random(50)
    wide, narrow = bootstrap_ci(values, level=0.99), bootstrap_ci(values, level=0.5)
    assert wide[1] < narrow[1] < narrow[0] < narrow[2] < wide[2]
    assert bootstrap_ci(values, random_state=1) == bootstrap_ci(values, random_state=1)
    assert bootstrap_ci(values, random_state=1) != bootstrap_ci(values, random_state=2)


@pytest.mark.parametrize("n_resamples", [True, 0, 1, 2.5])
def test_too_few_resamples(n_resamples):
    with pytest.raises(ValueError, match="n_resamples must be a whole number of at least 2"):
        bootstrap_ci([0.0, 1.0, 2.0], n_resamples=n_resamples)


def test_bootstrap_of_many_values_in_little_memory():
    values = np.random.default_rng(0).random(50_000)
    tracemalloc.start()
    low, high = bootstrap_ci(values, n_resamples=1000)[1:]
    assert tracemalloc.get_traced_memory()[1] < 300 * 2**20, "one array of resamples takes 400 MB"
    tracemalloc.stop()
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 50_000**0.5, rel=0.15)


def test_bootstrap_of_a_large_table_in_little_memory():
    table = np.random.default_rng(0).random((50_000, 2))
    tracemalloc.start()
    assert bootstrap_ci(table, n_resamples=1000)[0] == pytest.approx(table.mean())
    assert tracemalloc.get_traced_memory()[1] < 300 * 2**20, "all counts at once take 400 MB"
    tracemalloc.stop()


def test_bootstrap_of_queries_and_draws_covers_both():
    """The variance of a mean of queries + draws + noise is the sum of three parts."""
    rng = np.random.default_rng(0)
    queries, draws = rng.normal(0, 3, (400, 1)), rng.normal(0, 1, (20, 1)).T
    table = queries + draws + rng.normal(0, 0.1, (400, 20))
    mean, low, high = bootstrap_ci(table, n_resamples=4000)
    error = (queries.var() / 400 + draws.var() / 20) ** 0.5
    assert mean == pytest.approx(table.mean())
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)
    _, low_queries, high_queries = bootstrap_ci(table.mean(axis=1))  # as if draws were fixed
    assert high - low > 1.5 * (high_queries - low_queries)
    assert bootstrap_ci(table) == bootstrap_ci(table)


def test_bootstrap_of_equal_values_has_no_width():
    assert bootstrap_ci([0.3] * 5) == pytest.approx((0.3, 0.3, 0.3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "values must be a list, or a table, of at least two finite numbers each way"),
        (([1.0],), "values must be a list, or a table, of at least two finite numbers"),
        (([1.0, np.nan],), "values must be a list, or a table, of at least two finite numbers"),
        (([[1.0], [2.0]],), r"at least two finite numbers each way, got shape \(2, 1\)."),
        (([1.0, 2.0], 1.5), "Quantiles must be in the range"),
    ],
)
def test_bad_input_of_the_bootstrap(arguments, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_ci(*arguments)


# The same budget for every query ------------------------------------------------------------------


def test_budget_sweep_equals_the_loop():
    s = load_dataset("digits").split(40, 200)
    hasher = LSH(9, random_state=1).fit(s.train)
    query_codes, database_codes = hasher.transform(s.queries), hasher.transform(s.database)
    frame = budget_sweep(query_codes, database_codes, s, [5, 120], k=7)
    unit = [X / np.linalg.norm(X, axis=1, keepdims=True) for X in (s.queries, s.database)]
    cosines = unit[0] @ unit[1].T
    for budget in (5, 120):
        rows = frame[frame["budget"] == budget]
        for i, row in enumerate(rows.itertuples()):
            apart = (database_codes != query_codes[i]).sum(axis=1)
            candidates = np.argsort(apart, kind="stable")[:budget]
            best = candidates[np.argsort(-cosines[i, candidates], kind="stable")[:7]]
            true = np.argsort(-cosines[i], kind="stable")[:7]
            hits = (s.database_labels[best] == s.query_labels[i]).sum()
            assert row.query == i and row.precision == pytest.approx(hits / 7)
            assert row.recall == pytest.approx(len(set(best) & set(true)) / 7)


def test_a_budget_for_everything_finds_every_neighbour():
    s = load_dataset("digits").split(20, 1500)
    codes = LSH(4, random_state=0).fit(s.train)
    pair = codes.transform(s.queries), codes.transform(s.database)
    assert (budget_sweep(*pair, s, [10**6])["recall"] == 1).all()


def test_exact_search_is_a_budget_for_everything():
    s = load_dataset("digits").split(20, 1500)
    codes = LSH(4, random_state=0).fit(s.train)
    pair = codes.transform(s.queries), codes.transform(s.database)
    exact, true = exact_sweep(s, k=5)
    swept = budget_sweep(*pair, s, [len(s.database)], k=5)
    columns = ["budget", "query", "precision", "recall"]
    pd.testing.assert_frame_equal(exact[columns], swept[columns])
    cosines = s.queries @ s.database.T / np.linalg.norm(s.database, axis=1)
    assert np.array_equal(true, np.argsort(-cosines, axis=1)[:, :5])
    assert (exact["seconds"] > 0).all() and exact["seconds"].nunique() == 1


def test_known_neighbours_are_taken_as_they_are(monkeypatch):
    s = load_dataset("digits").split(20, 1500)
    codes = LSH(8, random_state=0).fit(s.train)
    pair = codes.transform(s.queries), codes.transform(s.database)
    expected = budget_sweep(*pair, s, [30])["recall"]
    _, true = exact_sweep(s)
    monkeypatch.setattr("grh_helpers.evaluation.exact_sweep", None)  # must not be called
    assert budget_sweep(*pair, s, [30], true=true)["recall"].equals(expected)
    assert (budget_sweep(*pair, s, [30], true=-true - 2)["recall"] == 0).all()


def test_query_directed_order_finds_more_neighbours():
    s = load_dataset("digits").split(100, 300)
    lsh = LSH(16, random_state=0).fit(s.train)
    pair = lsh.transform(s.queries), lsh.transform(s.database)
    plain = budget_sweep(*pair, s, [100])["recall"].mean()
    directed = budget_sweep(*pair, s, [100], scores=lsh.decision_function(s.queries))
    assert directed["recall"].mean() > plain + 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budgets": []}, "at least one radius or budget"),
        ({"budgets": [0]}, "budget must be a whole number of at least 1, got 0"),
        ({"k": 10**6}, "k must be a whole number from 1 to"),
        ({"scores": np.zeros((3, 4))}, "scores"),
        ({"true": np.zeros((1, 10), int)}, r"inconsistent numbers of samples: \[1, 10\]"),
    ],
)
def test_what_budget_sweep_refuses(options, message):
    s = load_dataset("digits").split(10, 1500)
    lsh = LSH(4, random_state=0).fit(s.train)
    with pytest.raises(ValueError, match=message):
        budget_sweep(lsh.transform(s.queries), lsh.transform(s.database), s, **options)
