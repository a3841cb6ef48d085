"""The small measurements behind docs/claims.md, on the digits."""

from functools import partial

import pytest

from benchmarks import claims
from grh_helpers import GRH, radius_sweep
from grh_helpers.experiment import encode


def test_table(digits, digits_split):
    parts = [claims.sizes, claims.buckets, claims.effective_bits, claims.support_vectors]
    parts = [partial(part, draws=2) for part in parts]
    parts += [partial(claims.spread, splits=3), partial(claims.recall, splits=2, budget=100)]
    parts += [partial(claims.limits, splits=2, draws=3, n_queries=100, n_labels=(200, 300))]
    parts += [partial(claims.database, splits=2, n_queries=100, n_train=300)]
    table = claims.run(digits, parts).set_index(["claim", "case"])
    mean = table["mean"].to_dict()
    assert table.index.is_unique and set(table["over"]) == {"", "draws", "splits"}
    assert (table["low"].fillna(-1) <= table["mean"]).all()

    sweeps = [radius_sweep(*encode(GRH(random_state=s), digits_split), digits_split, [0])
              for s in (0, 1)]  # fmt: skip
    candidates = sum(sweep["candidates"].iloc[0] for sweep in sweeps) / 2
    assert mean["bucket", "weights, mean"] == pytest.approx(candidates)
    assert 0.1 < mean["bucket", "weights, top tenth"] < 1
    bits = [mean["effective bits", f"{n} rounds"] for n in (0, 1, 2)]
    assert 16 > bits[0] > bits[1] > bits[2] > 4, "SVMs without a graph fill buckets"
    assert 10.5 < mean["keys", "plug-in entropy"] < 10.82, "1,797 keys: at most log2 1,797"
    for case in ("no graph", "GRH"):
        assert 0 < mean["support vectors", f"{case}, share"] < 1
        assert 0 <= mean["support vectors", f"{case}, at the bound"] < 1
    assert 0.3 < mean["spread", "radius 2"] < 5
    for case in ("LSH", "GRH svm", "GRH kernel"):
        assert 2 * 100 / 1377 < mean["recall", case] < 1, "far above chance"
    assert mean["oracle", "300 labels"] > 0.8
    assert mean["draws", "max-min"] < mean["draws", "random class codes"]
    assert mean["database", "48 bits, in"] > mean["database", "48 bits, out"]
    assert mean["memory", "512 float32 over the index"] == pytest.approx(
        2048 / mean["memory", "index of 16 bits"], rel=1e-3
    )
