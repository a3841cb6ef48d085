"""Code books under one learner, on the digits."""

import numpy as np
import pytest

from benchmarks import codebooks
from grh_helpers import GRH, ITQ, mean_average_precision


@pytest.fixture(scope="module")
def case(digits):
    return codebooks.make_case(digits, 100, 300, 0)


@pytest.mark.parametrize(
    "name, init",
    [
        ("majority of LSH bits (GRH)", "lsh"),
        ("majority of ITQ-CCA bits", "itq-cca"),
        ("max-min", "max-min"),
    ],
)
def test_shared_factorisation_is_grh_with_that_start(case, name, init):
    rows = codebooks.measure(case, [name], {16: 2, 32: 2})
    for _, n_bits, seed, value in rows:
        grh = GRH(n_bits, learner="kernel", init=init, random_state=seed)
        grh.fit(case.train, case.members)
        codes = grh.transform(case.queries), grh.transform(case.database)
        expected = mean_average_precision(*codes, case.query_labels, case.database_labels)
        assert value == pytest.approx(expected, abs=2e-4)


def test_bit_equal_for_all_classes_is_a_hyperplane(digits):
    case = codebooks.make_case(digits, 100, 300, 0, range(7))
    book = codebooks.BOOKS[codebooks.GRH_BOOK](case, 16, np.random.RandomState(0))
    assert (book == book[0]).all(axis=0).any()
    [(*_, value)] = codebooks.measure(case, [codebooks.GRH_BOOK], {16: 1})
    grh = GRH(16, learner="kernel", random_state=0).fit(case.train, case.members)
    codes = grh.transform(case.queries), grh.transform(case.database)
    expected = mean_average_precision(*codes, case.query_labels, case.database_labels)
    assert value == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(
    "name, init", [("20 nearest of the class", "lsh"), ("20 nearest of the class, ITQ bits", None)]
)
def test_graph_is_grh_with_that_graph(case, name, init):
    graph = codebooks.nearest_of_class(case)
    assert (graph.sum(axis=1) == 20).all() and (np.diag(graph) == 1).all()
    assert (case.members[graph.nonzero()[0]] == case.members[graph.nonzero()[1]]).all()
    [(*_, value)] = codebooks.measure(case, [name], {16: 1})
    start = init or ITQ(16, random_state=np.random.RandomState(0))
    grh = GRH(16, learner="kernel", init=start, random_state=0).fit(case.train, graph=graph)
    codes = grh.transform(case.queries), grh.transform(case.database)
    expected = mean_average_precision(*codes, case.query_labels, case.database_labels)
    assert value == pytest.approx(expected, abs=0.02 if init is None else 1e-4)


def test_held_out_classes_train_nothing(digits):
    classes = (1, 4, 7)
    case = codebooks.make_case(digits, 100, 300, 0, classes)
    assert case.n_classes == 7 and np.bincount(case.members).min() > 20
    assert set(case.query_labels) == set(case.database_labels) == set(classes)
    whole = codebooks.make_case(digits, 100, 300, 0)
    kept = ~np.isin(np.unique(whole.members), classes)
    assert len(case.train) == np.bincount(whole.members)[kept].sum()
    drawn = codebooks.choices(10, 14)
    assert len(set(drawn)) == 14 and all(len(set(triple)) == 3 for triple in drawn)


def test_near_classes_get_near_codes(case):
    codes = codebooks.BOOKS["max-min"](case, 16, np.random.RandomState(0))
    moved = codebooks.nearby(case, codes)
    assert sorted(map(tuple, codes)) == sorted(map(tuple, moved))
    means = np.array([case.train[case.members == c].mean(axis=0) for c in range(10)])
    means -= means.mean(axis=0)
    means /= np.linalg.norm(means, axis=1, keepdims=True)

    def agreement(book):
        book = codebooks.signs(book)
        return ((means @ means.T) * (book @ book.T)).sum()

    assert agreement(moved) > agreement(codes)


def test_wrong_labels(case):
    wrong = codebooks.wrong_labels(case.members, 0.3, np.random.RandomState(0))
    assert (wrong != case.members).sum() == 90 and set(wrong) <= set(range(10))


def test_interval_counts_splits_and_draws():
    rng = np.random.RandomState(0)
    splits, draws = rng.standard_normal((500, 3, 1)), rng.standard_normal((500, 1, 12))
    noise = 0.3 * rng.standard_normal((500, 3, 12))
    ends = np.array([codebooks.interval(values) for values in splits + draws + noise])
    covered = ((ends[:, 1] <= 0) & (ends[:, 2] >= 0)).mean()
    assert 0.93 < covered < 0.99
    assert codebooks.interval(np.full((3, 2), 0.5)) == (0.5, 0.5, 0.5)
    mean, low, high = codebooks.interval(np.array([[1.0], [2.0], [4.0]]))
    assert mean == pytest.approx(7 / 3) and high - mean == pytest.approx(mean - low)
    assert high - mean == pytest.approx(4.3027 * np.std([1, 2, 4], ddof=1) / 3**0.5, rel=1e-4)


def test_table(digits):
    draws = ({16: 2}, {16: 2}, {16: 2}, 2)
    table = codebooks.run(codebooks.plan(digits, 100, (300,), (2, 2, 2), draws), n_jobs=1)
    assert set(table["question"]) == set(codebooks.REFERENCES) and (table["splits"] == 2).all()
    plain, gains = table[table["reference"] == ""], table[table["reference"] != ""]
    seen = plain[(plain["question"] == "code books")].set_index("method")["mean"]
    assert seen["max-min"] > seen[codebooks.GRH_BOOK] > seen["LSH"] > seen["random codes"]
    assert seen["random codes"] == pytest.approx(0.1, abs=0.02)
    gain = gains[(gains["question"] == "code books")].set_index("method").loc["max-min"]
    assert gain["mean"] == pytest.approx(seen["max-min"] - seen[codebooks.GRH_BOOK])
    assert gain["low"] < gain["mean"] < gain["high"]
    held = plain[plain["question"] == "held-out classes"].set_index("method")["mean"]
    assert held["random codes"] == pytest.approx(1 / 3, abs=0.03) and held["LSH"] > 0.4
    wide = plain[plain["question"] == "baselines"]
    wide = wide.pivot(index="method", columns="measure", values="mean")
    assert wide.loc["exact cosine", "recall@10"] == 1 and wide.loc["LSH", "recall@10"] < 1
    assert wide.loc["LSH + labels in the re-ranker", "recall@10"] < wide.loc["LSH", "recall@10"]
