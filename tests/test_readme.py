"""The README: its figures are the recorded ones, its commands exist, its example runs."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from test_notebooks import untied_figures, wrong_figures

from grh_helpers.checkpoints import recorded

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_quoted_figures_are_the_recorded_ones():
    assert wrong_figures(README, recorded) == []


def test_no_loose_figure_in_prose():
    prose = "\n".join(line for line in README.splitlines() if not line.startswith("    "))
    prose = re.sub(r"Python 3\.11", "Python", prose)
    assert untied_figures(prose) == []


def test_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"```python\n(.*?)```", README, re.S)
    names = {}
    exec(compile(first, "README.md", "exec"), names)
    assert len(names["indptr"]) == 4 and (names["counts"] == np.diff(names["indptr"])).all()
    assert names["near"].shape == (3, 100)
    hits = names["labels"][names["best"]] == names["labels"][:3, None]
    assert hits.mean() > 0.9
    exec(compile(second, "README.md", "exec"), names)
    assert names["best"][:, 0].tolist() == [0, 1, 2] and (tmp_path / "index.npz").exists()


def test_every_make_target_exists():
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = set(re.findall(r"\bmake ([a-z0-9-]+)", README))
    assert named and named <= set(targets)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#\s]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_pictures_have_alt_text():
    assert all(len(alt) >= 30 for alt in re.findall(r"!\[(.*?)\]\(", README))
    assert len(re.findall(r"!\[", README)) >= 2


def test_requirements_pin_what_the_package_needs():
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text(), re.M))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (ranges,) = re.findall(r"^dependencies = \[(.*?)\]", project, re.S | re.M)
    assert set(re.findall(r'"([\w-]+)[>=]', ranges)) <= pinned


def test_the_replicated_table_is_that_of_the_file():
    table = pd.read_csv(ROOT / "results" / "replication.csv").query("table == 1")
    assert len(table) == 48
    for (_, _, _), rows in table.groupby(["method", "start", "train_size"], dropna=False):
        rows = rows.sort_values("n_bits")
        cells = [
            f"`{ours:.3f}` (`{printed:.3f}`)"
            for ours, printed in zip(rows["mean"], rows["printed"], strict=True)
        ]
        assert " | ".join(cells) in README
