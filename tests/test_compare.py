"""The comparison on one's own vectors: figures that can be known, the report, bad input."""

import re

import numpy as np
import pytest

from grh_helpers import ITQ, LSH, Dataset, __main__, compare


@pytest.fixture(scope="module")
def own():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=700)
    return rng.normal(size=(4, 24))[labels] + rng.normal(size=(700, 24)), labels


def run(features, labels=None, **options):
    split = Dataset.from_arrays(features, labels).split(70, 233, random_state=0)
    return compare.compare(split, **options)


@pytest.fixture(scope="module")
def table(own):
    return run(*own, n_bits=[8, 16, 32], budgets=[30, 90], seeds=2)


def test_exact_search_finds_everything_and_so_does_a_budget_for_everything(own):
    methods = {"LSH": LSH, "ITQ": ITQ}
    table = compare.compare(Dataset.from_arrays(*own).split(), methods, [8], [30, 10**6])
    everything = table[(table["method"] == "exact") | (table["budget"] == 10**6)]
    assert (everything["recall"] == 1).all() and everything["precision"].round(9).nunique() == 1
    assert len(everything) == 3 and (table.loc[table["budget"] == 30, "recall"] < 1).all()


@pytest.mark.parametrize(("n", "kept"), [(420, [29]), (700, [39]), (800, [100])])
def test_budgets_near_the_whole_database_are_left_out(own, n, kept):
    features = np.resize(own[0], (n, 24))
    split = Dataset.from_arrays(features).split(n // 10, n // 3)
    found = compare.compare(split, n_bits=[8], seeds=1, k=29)
    assert found["budget"].unique().tolist() == [len(split.database), *kept]


def test_methods_and_lengths(table, own):
    # ITQ has no more directions than there are features.
    pairs = set(zip(table["method"], table["n_bits"], strict=True))
    learned = {(name, bits) for name in ("LSH", "GRH svm", "GRH kernel") for bits in (8, 16, 32)}
    assert pairs == learned | {("ITQ", 8), ("ITQ", 16), ("exact", 24 * 64)}
    without = run(own[0], n_bits=[8], budgets=[30])
    assert set(without["method"]) == {"exact", "LSH", "ITQ", "GRH ridge"}
    assert not {"precision", "map"} & set(without)


def test_labels_help_the_ranking_and_more_bits_the_recall(table):
    maps = table[table["budget"] == 30].set_index(["method", "n_bits"])["map"]
    assert maps["GRH kernel", 16] > maps["LSH", 16] + 0.1
    recall = table[table["budget"] == 30].set_index(["method", "n_bits"])["recall"]
    assert recall["LSH", 32] > recall["LSH", 8]


def test_the_same_seed_gives_the_same_figures(own, table):
    again = run(*own, n_bits=[8, 16, 32], budgets=[30, 90], seeds=2)
    columns = [name for name in table if not name.endswith("_us")]
    assert again[columns].equals(table[columns])


def test_the_verdict_quotes_the_table(table):
    text = " ".join(compare.verdict(table))
    quoted = {float(x) for x in re.findall(r"\d\.\d\d", text)}
    known = {float(f"{x:.2f}") for x in table.filter(regex="recall|precision").stack()}
    assert len(quoted) > 3 and quoted <= known
    assert "Intervals hold 95 %: 70 queries, 2 draws." in text


def test_the_verdict_names_the_best_and_the_others_of_its_size(table):
    table = table.drop(columns="precision")
    table.loc[1:, ["recall", "recall_low", "recall_high"]] = 0.5, 0.4, 0.6
    best = (table["method"] == "GRH svm") & (table["n_bits"] == 32) & (table["budget"] == 90)
    table.loc[best, ["recall", "recall_low"]] = 0.55, 0.45
    text = " ".join(compare.verdict(table))
    assert text.startswith(
        "Best for recall@10: GRH svm with 32 bits and 90 candidates per query. Of this size: "
        "exact 1.00 (1.00 to 1.00), LSH 0.50 (0.40 to 0.60), GRH svm 0.55 (0.45 to 0.60), "
        "GRH kernel 0.50 (0.40 to 0.60). A code takes 4 bytes, a vector 192, which"
    ), "ITQ has no code of 32 bits here"
    assert "precision" not in text and "not worth it" in text
    table.loc[1:, "recall_low"] = 0.9  # then the smallest budget and code are enough
    assert "recall@10: LSH with 8 bits and 30 candidates" in compare.verdict(table)[0]


def test_intervals_are_over_queries_and_draws(own, monkeypatch):
    tables, original = [], compare.bootstrap_ci
    monkeypatch.setattr(compare, "bootstrap_ci", lambda v: tables.append(v) or original(v))
    found = run(*own, n_bits=[4], budgets=[30], seeds=3)
    assert found["draws"].tolist() == [1, 3, 3, 3, 3]
    # Precision of exact search and four methods, then recall: 70 queries, a column per draw.
    assert [v.shape for v in tables] == 2 * [(70,), (70, 3), (70, 3), (70, 3), (70, 3)]
    assert np.allclose(found["precision"], [np.mean(v.to_numpy()) for v in tables[:5]])
    assert tables[1].mean().std() > 0


def test_short_codes_are_the_beginning_of_long_ones_except_those_of_itq(own):
    columns = ["recall", "precision", "map"]
    long = run(*own, n_bits=[8, 24], budgets=[30], seeds=2)
    long = long[long["n_bits"] == 8].set_index("method")[columns]
    alone = run(*own, n_bits=[8], budgets=[30], seeds=2).set_index("method")[columns]
    assert long.equals(alone.drop(index="exact"))


@pytest.mark.parametrize(
    ("recall", "time", "words"),
    [
        (0.95, 0.5, "is worth it here"),
        (0.5, 0.5, "not worth it here: nine in ten"),
        (0.95, 2, "not worth it here: it is no faster"),
    ],
)
def test_the_verdict_depends_on_recall_and_time(table, recall, time, words):
    table = table.copy()
    table.loc[table.index[1:], ["recall", "recall_low", "recall_high"]] = recall
    table.loc[table.index[1:], "query_us"] = table["query_us"].iloc[0] * time
    assert words in " ".join(compare.verdict(table))


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_the_command_writes_a_page_that_needs_nothing_else(own, tmp_path, suffix, capsys):
    X, y = own
    path = tmp_path / f"mine{suffix}"
    np.save(path, X) if suffix == ".npy" else np.savez(path, features=X, labels=y)
    labels = tmp_path / "labels.npy"
    np.save(labels, np.array(["a", "b", "c", "d"])[y])
    labels = labels if suffix == ".npy" else path
    options = ["run", "--features", path, "--labels", labels, "--output", tmp_path / "out"]
    assert __main__.main([str(option) for option in options]) == 0
    folder = tmp_path / "out" / "mine"
    assert {p.name for p in folder.iterdir()} == {"report.html", "recall.png", "comparison.csv"}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page and "GRH kernel" in page
    assert not re.search(r"https?://|file:|<script|<link", page)
    assert "Best for recall@10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X[0], None), "Expected 2D array, got 1D array"),
        (lambda X, y: (X[:40], y[:40]), "number of rows must be .* of at least 50, got 40"),
        (lambda X, y: (np.full(X.shape, "a"), y), "could not convert string to float"),
        (lambda X, y: ((X * 1e30).astype("f4"), y), "Row 0 of the features is zero, not finite"),
        (
            lambda X, y: (np.where(X == X[7, 3], np.nan, X), y),
            "Row 7 of the features is zero, not",
        ),
        (lambda X, y: (X * (np.arange(len(X)) != 9)[:, None], y), "Row 9 of the features is zero"),
        (lambda X, y: (X, y[:-1]), r"inconsistent numbers of samples: .700, 699"),
    ],
)
def test_own_vectors_that_are_refused(own, change, message, tmp_path, capsys):
    X, y = change(*own)
    np.save(tmp_path / "x.npy", X)
    y = [] if y is None else ["--labels", str(tmp_path / "y.npy")]
    np.save(tmp_path / "y.npy", own[1] if not y else change(*own)[1])
    options = ["--features", str(tmp_path / "x.npy"), *y, "--output", str(tmp_path)]
    assert __main__.main(["run", *options]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error) and error.startswith("error: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--features", "none.npy"], "none.npy cannot be used ([Errno 2] No such file"),
        (["--features", "text.npy"], "text.npy cannot be used"),
        (["--features", "two.npz"], "one called features with numpy.savez"),
    ],
)
def test_what_the_command_refuses(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npy").write_text("1, 2, 3")
    np.savez(tmp_path / "two.npz", a=np.eye(60), b=np.eye(60))
    assert __main__.main(["run", *options]) == 1
    assert message in capsys.readouterr().err


def test_rows_are_centred_so_that_hyperplanes_divide_them(own):
    table = run(own[0] + 5, n_bits=[32], budgets=[60]).set_index("method")
    assert table.loc["LSH", "recall"] > 0.5


def test_two_files_of_one_name_do_not_overwrite_each_other(own, tmp_path, capsys):
    for name, rows in {"a": 100, "b": 120}.items():
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "mine.npy", own[0][:rows])
    output = ["--output", str(tmp_path / "out")]
    assert __main__.main(["run", "--features", str(tmp_path / "a" / "mine.npy"), *output]) == 0
    report = tmp_path / "out" / "mine" / "report.html"
    first = report.read_bytes()
    assert __main__.main(["run", "--features", str(tmp_path / "b" / "mine.npy"), *output]) == 1
    error = capsys.readouterr().err
    assert f"{report} is the report on another file; choose another folder" in error
    assert report.read_bytes() == first
    assert __main__.main(["run", "--features", str(tmp_path / "a" / "mine.npy"), *output]) == 0
