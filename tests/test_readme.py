"""The README: its example runs, what it installs is pinned; test_pages.py holds its text."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["best"][:, 0].tolist() == [0, 1, 2]
    assert (names["labels"][names["best"]] == names["labels"][:3, None]).mean() > 0.9


def test_requirements_pin_what_the_package_needs():
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text(), re.M))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (ranges,) = re.findall(r"^dependencies = \[(.*?)\]", project, re.S | re.M)
    assert set(re.findall(r'"([\w-]+)[>=]', ranges)) <= pinned
