"""The replication of the paper's tables, on the digits."""

import numpy as np
import pytest

from benchmarks import replicate
from grh_helpers import GRH, LSH
from grh_helpers.hashing import SVMs

FEW = {"alpha": (0.8, 1.0), "rounds": 2, "C": (1.0, 10.0), "gamma": (1.0,)}


@pytest.fixture
def small_grid(monkeypatch):
    monkeypatch.setattr(replicate, "GRID", FEW | {"regularisation": (0.1, 1.0)})


def test_table_has_every_row_and_column(digits, small_grid):
    table = replicate.replicate(digits, (100, 150), (16, 32), 1, 5, 300, n_jobs=1)
    assert list(table) == replicate.COLUMNS
    untuned, first, third = (table[table["table"] == number] for number in (0, 1, 3))
    counts = first.groupby(["method", "start", "train_size"])["n_bits"].apply(list)
    learned = [("GRH linear", "lsh"), ("GRH linear", "itq-cca"), ("GRH RBF", "lsh")]
    learned += [("GRH RBF", "itq-cca"), ("ITQ+CCA", "")]
    expected = {(*name, size) for name in learned for size in (100, 150)}
    assert set(counts.index) == expected | {("LSH", "", 0), ("PCAH", "", 100)}
    assert all(bits == [16, 32] for bits in counts)
    assert len(untuned) == 12 and set(untuned["C"]) == {"", "1"}
    assert set(untuned["regularisation"]) == {"", "0.1"}
    assert len(third) == 18 and set(third["rounds"]) == set("012345")
    assert table["mean"].between(0.1, 1).all()
    lsh = first[first["method"] == "LSH"]
    assert lsh["printed"].tolist() == [0.1290, 0.1394]
    assert np.allclose(lsh["difference"], lsh["mean"] - lsh["printed"])
    learned = first[(first["method"] == "GRH RBF") & (first["n_bits"] == 32)]["mean"]
    assert learned.min() > lsh["mean"].max() + 0.1
    assert "GRH RBF" in replicate.side_by_side(table)


def test_no_query_trains_or_tunes(digits):
    part = replicate.partition(digits, per_class=5, train_size=100, n_sample=300, seed=0)
    assert len(part.queries.rows) == len(part.validation.rows) == 50
    assert len(part.train.rows) == 100 and len(part.sample.rows) == 300
    everything = np.concatenate([part.queries.rows, part.database.rows])
    assert np.array_equal(np.sort(everything), np.arange(len(digits)))
    for rows in (part.train.rows, part.validation.rows, part.sample.rows):
        assert np.isin(rows, part.database.rows).all()
        assert not np.isin(rows, part.queries.rows).any()
    assert not np.isin(part.validation.rows, part.sample.rows).any()
    assert not np.isin(part.validation.rows, part.train.rows).any()
    for side in part:
        assert np.array_equal(side.labels, digits.labels[side.rows])
    other = replicate.partition(digits, per_class=5, train_size=150, n_sample=300, seed=0)
    assert np.array_equal(part.queries.rows, other.queries.rows)


def test_chain_of_rounds_is_one_fit_and_short_codes_are_prefixes(digits):
    part = replicate.partition(digits, per_class=5, train_size=100, n_sample=300, seed=0)
    X, y, learner = part.train.vectors, part.train.labels, SVMs()
    start = LSH(32, random_state=0).fit(X)
    *_, chained = replicate.chain(start, 0.8, 3, learner, part.train, seed=0)
    for bits in (16, 32):
        fitted = GRH(bits, 0.8, 3, learner, "lsh", "current", random_state=0).fit(X, y)
        codes = chained.transform(part.database.vectors)[:, :bits]
        assert np.array_equal(codes, fitted.transform(part.database.vectors))
