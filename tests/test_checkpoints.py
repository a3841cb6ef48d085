"""Checkpoints: they pass, they fail, they record, and a whole notebook goes red with them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from grh_helpers.checkpoints import CheckpointError, checkpoint, recorded, results_file

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("GRH_RESULTS", str(tmp_path))
    monkeypatch.delenv("GRH_RECORD", raising=False)
    figures = {"p": 0.5, "n": 7, "t_lsh_2_map": 0.25, "t_lsh_2_candidates": 200, "d_a": 1}
    (tmp_path / "digits.json").write_text(json.dumps(figures, indent=0, sort_keys=True) + "\n")
    return tmp_path


@pytest.fixture
def table():
    index = pd.MultiIndex.from_tuples([("LSH", 2.0)], names=["method", "radius"])
    return pd.DataFrame({"map": [0.25], "candidates": [202], "empty": [np.nan]}, index=index)


def test_agreement_prints_one_line(results, table, capsys):
    checkpoint("p", 0.509, 0.01, dataset="digits")
    checkpoint("t", table, {"map": 0, "candidates": 1, "empty": 0}, relative=0.01, dataset="digits")
    checkpoint("d", {"a": 1, "b": np.nan}, dataset="digits")
    checkpoint("d", pd.Series({"A": 1.0}), dataset="digits")
    ticks = [f"✓ {n} as recorded\n" for n in ("1 figure", "2 figures", "1 figure", "1 figure")]
    assert capsys.readouterr().out == "".join(ticks)


@pytest.mark.parametrize(("name", "value", "tolerance"), [("p", 0.511, 0.01), ("n", 8, 0)])
def test_disagreement_raises_with_both_numbers(results, name, value, tolerance, capsys):
    with pytest.raises(CheckpointError) as error:
        checkpoint(name, value, tolerance, dataset="digits")
    expected = {"p": 0.5, "n": 7}[name]
    row = error.value.args[0].splitlines()[2].split()
    assert row[0] == name and [*map(float, row[1:])] == [value, tolerance, 0, expected]
    assert "1 of 1 figures are not as recorded for digits" in str(error.value)
    assert capsys.readouterr().out == ""


def test_every_wrong_figure_is_listed(results, table):
    table.loc[("LSH", 2.0)] = [0.26, 205, np.nan]
    table["more"] = 1
    with pytest.raises(CheckpointError) as error:
        relative = {"map": 0.1, "candidates": 0.02, "empty": 0, "more": 0}
        checkpoint("t", table, 0.001, relative=relative, dataset="digits")
    assert [line.split() for line in str(error.value).splitlines()[1:]] == [
        ["value", "tolerance", "relative", "recorded"],
        ["t_lsh_2_candidates", "205.0", "0.001", "0.02", "200.0"],
        ["t_lsh_2_more", "1.0", "0.001", "0.00", "NaN"],
    ]


def test_an_unknown_data_set_raises(results):
    with pytest.raises(CheckpointError, match=r"\np +0.5 .* NaN$"):
        checkpoint("p", 0.5, dataset="cifar10")


@pytest.mark.parametrize("value", [float("inf"), {"a": float("inf")}])
def test_infinity_neither_agrees_nor_is_recorded(results, value):
    before = results_file("digits").read_text()
    with pytest.raises(CheckpointError, match=r"\np\w* +inf "):
        checkpoint("p", value, 0.01, dataset="digits")
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint("p", value, 0.01, dataset="digits", record=True)
    assert results_file("digits").read_text() == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "p needs figures"),
        ({"a": np.nan}, "p needs figures"),
        (np.nan, "p needs figures"),
        ({"a b": 1, "a, B": 2}, r"a key of its own for each: not \['p_a_b', 'p_a_b'\]"),
    ],
)
def test_a_table_without_figures_or_with_one_key_twice_raises(results, values, message):
    with pytest.raises(ValueError, match=message):
        checkpoint("p", values, dataset="digits")


def test_data_set_is_the_one_of_the_environment(results, monkeypatch, capsys):
    monkeypatch.setenv("GRH_DATASET", "digits")
    checkpoint("n", 7)
    monkeypatch.delenv("GRH_DATASET")
    monkeypatch.setenv("GRH_DATA_HOME", str(results / "nothing here"))  # so auto means digits
    checkpoint("n", 7)
    assert capsys.readouterr().out == 2 * "✓ 1 figure as recorded\n"


def test_recording_keeps_what_still_agrees_and_sorts(results, monkeypatch):
    monkeypatch.setenv("GRH_RECORD", "1")
    before = results_file("digits").read_text()
    checkpoint("p", 0.5004, 0.01, dataset="digits")
    assert results_file("digits").read_text() == before, "a clean diff when nothing has changed"
    checkpoint("a", 2.0, 0.1, dataset="digits")
    checkpoint("p", 0.7, 0.01, dataset="digits")
    figures = recorded("digits")
    assert list(figures) == sorted(figures) and figures["a"] == 2.0
    assert figures["p"] == 0.7
    checkpoint("third", 1 / 3, dataset="digits")
    assert recorded("digits")["third"] == 0.333333333333, "twelve digits, on every machine"
    left = {p.name for p in results.iterdir()} - {".grh_helpers.lock"}
    assert left == {"digits.json"}, "no temporary file is left"


def test_simultaneous_recorders_lose_no_figure(results):
    code = """if True:
        import sys
        from grh_helpers import checkpoint
        print("ready", flush=True)
        input()
        for i in range(30):
            checkpoint(f"process {sys.argv[1]}", {i: i}, dataset="digits", record=True)
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    pipes["env"] = os.environ | {"PYTHONPATH": str(ROOT)}
    commands = [[sys.executable, "-c", code, str(i)] for i in range(4)]
    processes = [subprocess.Popen(command, **pipes) for command in commands]
    for process in processes:
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=100)
        assert process.returncode == 0
    assert len(recorded("digits")) == 5 + 4 * 30


def test_git_ignores_the_lock():
    assert ".grh_helpers.lock" in (ROOT / ".gitignore").read_text().splitlines()


def test_an_installed_package_carries_its_figures_and_refuses_to_record(tmp_path):
    wheel(tmp_path)
    code = "from grh_helpers import checkpoint; checkpoint('run_exact_precision', {}, 1, record={})"
    value = recorded("digits")["run_exact_precision"]
    for record, expected in ((False, "✓ 1 figure as recorded"), (True, "in a checkout only")):
        status, output = run(tmp_path, "-c", code.format(value, record))
        assert expected in output, output


def wheel(folder):
    """Lay the package out as an installed wheel does: figures inside, no checkout around it."""
    shutil.copytree(ROOT / "grh_helpers", folder / "grh_helpers",
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    (folder / "grh_helpers" / "results").mkdir()
    for path in (ROOT / "results").glob("*.json"):
        shutil.copy(path, folder / "grh_helpers" / "results")


def test_a_damaged_file_is_refused(results):
    results_file("digits").write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        checkpoint("p", 0.5, 0.01, dataset="digits")


# The regression bites -----------------------------------------------------------------------------

NOTEBOOK = """
from grh_helpers import LSH, checkpoint, load_dataset
split = load_dataset().split()
lsh = LSH(16, random_state=0).fit(split.train)
codes = lsh.transform(split.database)
---
checkpoint("demo_ones", codes.mean(), 0.0005)
---
print(2 ** 4)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the package with a small notebook, its recorded figure and stored outputs."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "grh_helpers", folder / "grh_helpers",
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    for path in ("notebooks/_build.py", "pyproject.toml"):  # the latter marks a checkout
        shutil.copy(ROOT / path, folder)
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in NOTEBOOK.split("---")]
    for cell in cells[1:]:
        cell.metadata["tags"] = ["nbval-check-output"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "demo.ipynb")
    run(folder, "_build.py", "run", "--record", "demo.ipynb")
    return folder


def run(folder, *arguments):
    env = {k: v for k, v in os.environ.items() if k not in ("GRH_RECORD", "GRH_RESULTS")}
    env |= {"GRH_DATASET": "digits", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    out = subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True,
                         text=True)  # fmt: skip
    return out.returncode, out.stdout + out.stderr


def regression(folder):
    return run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax",
               "--nbval-current-env", "demo.ipynb")  # fmt: skip


@pytest.fixture
def altered(project, tmp_path):
    shutil.copytree(project, tmp_path / "p")
    return tmp_path / "p"


def test_the_untouched_project_is_green(project):
    status, output = regression(project)
    assert status == 0, output
    assert "3 passed" in output


def test_running_again_leaves_no_difference(altered):
    before = (altered / "demo.ipynb").read_bytes(), (altered / "results/digits.json").read_bytes()
    status, output = run(altered, "_build.py", "run", "--record", "demo.ipynb")
    assert status == 0, output
    after = (altered / "demo.ipynb").read_bytes(), (altered / "results/digits.json").read_bytes()
    assert before == after


def test_a_changed_recorded_number_turns_red(altered):
    path = altered / "results" / "digits.json"
    figures = json.loads(path.read_text())
    figures["demo_ones"] += 0.001
    path.write_text(json.dumps(figures))
    status, output = regression(altered)
    assert status == 1 and "demo_ones" in output and "not as recorded for digits" in output


def test_a_changed_stored_output_turns_red(altered):
    path = altered / "demo.ipynb"
    path.write_text(path.read_text().replace('"16\\n"', '"17\\n"'))
    status, output = regression(altered)
    assert status == 1 and "17" in output


def test_a_changed_helper_turns_red(altered):
    path = altered / "grh_helpers" / "hashing.py"
    text = path.read_text()
    assert "[scores >= 0 for scores" in text
    path.write_text(text.replace("[scores >= 0 for", "[scores >= 0.001 for"))
    status, output = regression(altered)
    assert status == 1 and "demo_ones" in output and "not as recorded for digits" in output
