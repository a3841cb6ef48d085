"""The choice of GRH's defaults, on the digits."""

import numpy as np

from benchmarks import choose_defaults
from grh_helpers.experiment import ranking_split


def test_no_reported_query_tunes(digits):
    excluded = choose_defaults.reported(digits, 2, 1)
    queries = [digits.split(), ranking_split(digits), digits.split(random_state=1)]
    queries.append(digits.split(300, 500, stratify=True, random_state=0))
    for split in queries:
        assert np.isin(split.query_index, excluded).all()
    parts = choose_defaults.draw(digits, excluded, 0, 100, 50, 200)
    rows = np.concatenate(parts)
    assert [len(part) for part in parts] == [100, 50, 200]
    assert len(set(rows)) == 350 and not np.isin(rows, excluded).any()


def test_table_is_paired_with_the_default(digits):
    settings = [
        setting
        for setting in choose_defaults.SETTINGS
        if setting[0][0] in (*choose_defaults.DEFAULTS.values(), "SVM C=1")
        and setting[1:] in ((1.0, 1), (0.8, 2))
    ]
    excluded = choose_defaults.reported(digits, 1, 0)
    table = choose_defaults.run(digits, excluded, 2, (100, 50, 200), settings, n_jobs=1)
    assert len(table) == len(settings) == 7
    assert table["map"].is_monotonic_decreasing and table["map"].between(0.2, 1).all()
    rows = table.set_index(["learner", "alpha", "n_iter"])
    assert (
        rows.loc[[(name, 1.0, 1) for name in choose_defaults.DEFAULTS.values()], "gain"] == 0
    ).all()
    gain = rows.loc[("SVM C=1", 1.0, 1)]
    expected = gain["map"] - rows.loc[("SVM, weighted C=1", 1.0, 1), "map"]
    assert np.isclose(gain["gain"], expected) and gain["gain_low"] < gain["gain"]
