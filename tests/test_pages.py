"""README and pages beside it: figures are the recorded ones, commands, links and examples work."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_notebooks import untied_figures, wrong_figures
from test_workflows import TARGETS

from grh_helpers.checkpoints import recorded

ROOT = Path(__file__).resolve().parent.parent
NAMES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "results/README.md"]
NAMES += ["benchmarks/README.md", *(f"docs/{p.name}" for p in sorted(ROOT.glob("docs/*.md")))]
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}
every_page = pytest.mark.parametrize("name", NAMES)


def plain(text):
    """Prose: no commands, no names of versions."""
    lines = (line for line in text.splitlines() if not line.startswith("    "))
    return re.sub(r"Python 3\.\d+", "Python", "\n".join(lines))


# A figure of a table of results is quoted as 0.437<!--=budget:itq.hamming.1000.precision-->: the
# table, then what tells its rows apart, then the column.
ROWS = {
    "budget": ["method", "order", "budget"],
    "claims": ["claim", "case"],
    "codebooks": ["question", "method", "n_bits", "labels", "measure", "reference"],
    "defaults": ["learner", "alpha", "n_iter"],
    "field": ["protocol", "method", "bits"],
    "replication": ["table", "method", "start", "train_size", "n_bits", "alpha", "rounds"],
}


def slug(cell):
    return re.sub(r"\W+", "_", str(cell)).strip("_").lower()


@cache
def figures_of(name):
    """Recorded figures of a data set, or those of a table of results."""
    if name not in ROWS:
        return recorded(name)
    file = "replication.csv" if name == "replication" else f"{name}_cifar10.csv"
    table = pd.read_csv(ROOT / "results" / file).fillna(dict.fromkeys(ROWS[name], ""))
    if name == "replication":  # tuned parameters name a row of table 3 only
        table.loc[table["table"] != 3, ["alpha", "rounds"]] = ""
    figures = {}
    for _, row in table.iterrows():
        key = ".".join(filter(None, (slug(row[column]) for column in ROWS[name])))
        for column in table.columns.difference(ROWS[name]):
            assert f"{key}.{column}" not in figures, "two rows of one key"
            figures[f"{key}.{column}"] = row[column]
    return figures


@every_page
def test_quoted_figures_are_the_recorded_ones(name):
    assert wrong_figures(PAGES[name], figures_of) == []


@every_page
def test_no_loose_figure_in_prose(name):
    assert untied_figures(plain(PAGES[name])) == []


@every_page
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#\s]+)\)", PAGES[name]):
        if not target.startswith("http"):
            assert ((ROOT / name).parent / target).exists(), target


@every_page
def test_make_targets_commands_and_files_exist(name):
    text = PAGES[name]
    assert set(re.findall(r"(?:`|    )make ([a-z0-9-]+)", text)) <= TARGETS
    for module in re.findall(r"python -m (\w+(?:\.\w+)*)", text):
        path = ROOT / module.replace(".", "/")
        assert module in {"pip", "pytest"} or path.is_dir() or path.with_suffix(".py").exists()
    for found in re.findall(r"\b(?:tests|notebooks|grh_helpers)/(?!NN)\w+\.(?:py|ipynb)\b", text):
        assert (ROOT / found).exists(), found


@every_page
def test_pictures_have_alt_text(name):
    assert all(len(alt) >= 30 for alt in re.findall(r"!\[(.*?)\]\(", PAGES[name]))


def test_there_are_pictures():
    assert "![" in PAGES["README.md"] and sum(text.count("![") for text in PAGES.values()) >= 2


def test_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"```python\n(.*?)```", PAGES["docs/your_vectors.md"], re.S)
    names = {}
    exec(compile(first, "your_vectors.md", "exec"), names)
    assert len(names["indptr"]) == 4 and (names["counts"] == np.diff(names["indptr"])).all()
    assert names["near"].shape == (3, 100)
    assert (names["labels"][names["best"]] == names["labels"][:3, None]).mean() > 0.9
    exec(compile(second, "your_vectors.md", "exec"), names)
    assert names["best"][:, 0].tolist() == [0, 1, 2] and (tmp_path / "index.grh").exists()


def test_the_replicated_table_is_that_of_the_file():
    table = pd.read_csv(ROOT / "results" / "replication.csv").query("table == 1")
    assert len(table) == 48
    for _, rows in table.groupby(["method", "start", "train_size"], dropna=False):
        rows = rows.sort_values("n_bits")
        cells = [
            f"`{ours:.3f}` (`{printed:.3f}`)"
            for ours, printed in zip(rows["mean"], rows["printed"], strict=True)
        ]
        assert " | ".join(cells) in PAGES["results/README.md"]


def test_every_table_of_results_is_explained():
    tables = {path.name for path in (ROOT / "results").glob("*_cifar10.csv")} | {"replication.csv"}
    assert tables == set(re.findall(r"\]\((\w+\.csv)\)", PAGES["results/README.md"]))


def test_the_break_that_contributing_names_can_be_made():
    ((old, new, path),) = re.findall(r"sed -i\S* 's/(.*)/(.*)/' (\S+)", PAGES["CONTRIBUTING.md"])
    assert (ROOT / path).read_text(encoding="utf-8").count(old) == 1 and old != new


def test_contributing_names_every_check():
    checks = PAGES["CONTRIBUTING.md"].split("## What the checks are")[1].split("\n## ")[0]
    named = set(re.findall(r"`make ([a-z0-9-]+)", checks))
    assert {"lint", "test", "test-cifar10", "lite-check", "book-test"} <= named
