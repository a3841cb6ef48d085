"""The command line, as a user calls it."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from grh_helpers import __main__ as main_module
from grh_helpers.__main__ import exact_precision, main

FIGURES = {"lsh_precision.png", "lsh_time.png", "lsh_grh_precision.png", "lsh_grh_time.png",
           "equal_cost.png"}  # fmt: skip
TABLES = {"radius_sweep.csv", "mean_average_precision.csv"}


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("GRH_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GRH_DATASET", raising=False)
    monkeypatch.delenv("GRH_RECORD", raising=False)


def test_run_prints_a_table_and_writes_figures_and_csv(tmp_path, capsys):
    output = tmp_path / "out"
    arguments = "run --dataset digits --bits 8 --seeds 2 --max-radius 3 --output".split()
    assert main([*arguments, str(output)]) == 0
    text = capsys.readouterr().out
    assert {p.name for p in (output / "digits").iterdir()} == FIGURES | TABLES
    sweep = pd.read_csv(output / "digits" / "radius_sweep.csv")
    assert len(sweep) == 2 * 2 * 4
    assert set(sweep["method"]) == {"LSH", "GRH"} and set(sweep["seed"]) == {0, 1}
    means = sweep.groupby(["method", "radius"])["precision"].mean()
    rows = [line.split() for line in text.splitlines() if line.split()[:1] in (["LSH"], ["GRH"])]
    printed = {(r[0], int(r[1])): float(r[2]) for r in rows if len(r) == 6}
    assert len(printed) == 8
    for key, value in printed.items():
        assert value == pytest.approx(means[key], abs=0.00051)  # three decimals
    for path in (output / "digits").glob("*.png"):
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_options_reach_the_model(tmp_path, monkeypatch, capsys):
    seen = []
    original = main_module.GRH
    monkeypatch.setattr(
        main_module, "GRH", lambda *a, **k: seen.append((a, k)) or original(*a, **k)
    )
    arguments = "run --dataset digits --bits 6 --alpha 0.8 --iterations 3 --learner ridge --seeds 1"
    assert main([*arguments.split(), "--output", str(tmp_path)]) == 0
    (bits,), options = seen[0]
    assert bits == 6 and options["alpha"] == 0.8 and options["n_iter"] == 3
    assert type(options["learner"]).__name__ == "Ridge"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --dataset digits --bits 0", "n_bits must be a whole number of at least 1"),
        ("run --dataset digits --alpha 2", "alpha must lie between 0 and 1"),
        ("run --dataset digits --iterations 0", "n_iter must be a whole number"),
        ("run --dataset digits --seeds 0", "--seeds must be at least 1"),
        ("run --dataset digits --max-radius -1", "--max-radius must be at least 0"),
        ("run --dataset cifar10", "data"),
        ("data --archive nowhere.tar.gz", "nowhere.tar.gz"),
    ],
)
def test_errors_are_one_sentence_without_a_traceback(arguments, message, capsys, tmp_path):
    extra = ["--output", str(tmp_path / "out")] if arguments.startswith("run") else []
    assert main(arguments.split() + extra) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_unknown_dataset_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "--dataset", "mnist"])
    assert stop.value.code == 2
    text = capsys.readouterr().err
    for name in ("auto", "digits", "cifar10", "cifar10-mat"):
        assert name in text


def test_output_folder_that_cannot_be_written(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    arguments = "run --dataset digits --bits 4 --seeds 1 --max-radius 1 --output".split()
    assert main([*arguments, str(blocked)]) == 1
    assert "choose another folder with --output" in capsys.readouterr().err
    assert blocked.read_text() == "in the way"


def test_a_failed_figure_leaves_older_results_alone(tmp_path, monkeypatch, capsys):
    arguments = ["run", "--dataset", "digits", "--bits", "4", "--seeds", "1", "--max-radius", "1",
                 "--output", str(tmp_path)]  # fmt: skip
    assert main(arguments) == 0
    folder = tmp_path / "digits"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(main_module.plots, "plot_equal_cost", full)
    assert main(arguments) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_ctrl_c_stops_with_one_line_and_leaves_nothing_half_written(tmp_path):
    # Whoever starts the tests in the background of a shell has switched SIGINT off for children.
    code = """if True:
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from grh_helpers.__main__ import main
        print("on", flush=True)
        exit(main())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "--dataset", "digits", "--seeds", "500",
         "--output", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    assert process.stdout.readline() == "on\n"
    assert process.stdout.readline().startswith("digits:")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err and "stopped" in err
    assert list(tmp_path.iterdir()) == []


def test_info_says_what_is_here(tmp_path, capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert f"data home: {tmp_path / 'home'}" in text
    assert "means digits now" in text
    for name in ("digits", "cifar10", "cifar10-mat"):
        assert name in text


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in "dataset bits alpha iterations learner max-radius seeds output data-home".split():
        assert f"--{option}" in text


def test_check_goes_red_when_a_recorded_figure_differs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GRH_RESULTS", str(tmp_path / "results"))
    arguments = ["run", "--dataset", "digits", "--bits", "4", "--seeds", "1", "--max-radius", "1",
                 "--output", str(tmp_path)]  # fmt: skip
    assert main([*arguments, "--record"]) == 0
    assert main([*arguments, "--check"]) == 0
    path = tmp_path / "results" / "digits.json"
    path.write_text(path.read_text().replace('"value": 0.', '"value": 9.'))
    capsys.readouterr()
    assert main([*arguments, "--check"]) == 1
    assert "is recorded for digits" in capsys.readouterr().err


def test_exact_precision_is_the_brute_force_one(digits_split):
    s, hits = digits_split, 0
    for query, label in zip(s.queries, s.query_labels, strict=True):
        cosines = s.database @ query / (s.database**2).sum(axis=1) ** 0.5
        hits += (s.database_labels[cosines.argsort()[-10:]] == label).sum()
    assert exact_precision(s) == pytest.approx(hits / 1200)
