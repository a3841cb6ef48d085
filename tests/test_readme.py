"""The README: its figures are the recorded ones, its commands exist, its example runs."""

import re
from pathlib import Path

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


def test_the_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["best"][:, 0].tolist() == [0, 1, 2]
    assert (names["labels"][names["best"]] == names["labels"][:3, None]).mean() > 0.9


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
    assert re.findall(r"!\[", README)


def test_requirements_pin_what_the_package_needs():
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text(), re.M))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (ranges,) = re.findall(r"^dependencies = \[(.*?)\]", project, re.S | re.M)
    assert set(re.findall(r'"([\w-]+)[>=]', ranges)) <= pinned
