"""The command line, as a user calls it."""

import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from grh_helpers import LSH, budget_sweep
from grh_helpers import __main__ as main_module
from grh_helpers.__main__ import main
from grh_helpers.checkpoints import recorded
from grh_helpers.compare import compare
from grh_helpers.datasets import load_dataset
from grh_helpers.experiment import METHODS, encode, map_table, sweep_draws

ROOT = Path(__file__).resolve().parent.parent
FIGURES = {"equal_cost.png", "precision.png", "time.png"}
TABLES = {"radius_sweep.csv", "budget.csv", "mean_average_precision.csv"}
SMALL = "run --dataset digits --bits 4 --seeds 1 --max-radius 1 --output".split()


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("GRH_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GRH_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("GRH_DATASET", raising=False)
    monkeypatch.delenv("GRH_RECORD", raising=False)


@pytest.fixture(scope="module")
def small_tables(digits):
    split, methods = digits.split(), {name: METHODS[name] for name in ("LSH", "GRH svm")}
    tables = sweep_draws(split, methods, [0, 8], 8, 1), map_table(split, n_bits=[4], seeds=1)
    return *tables, compare(split, methods, [8], [100, 300], seeds=2)


@pytest.fixture
def quick(monkeypatch, digits, small_tables):
    """The default options, but measured on less."""
    for name, table in zip(("sweep_draws", "map_table", "compare"), small_tables, strict=True):
        monkeypatch.setattr(main_module, name, lambda *_, _table=table, **options: _table)
    monkeypatch.setattr(main_module, "load_dataset", lambda *args: digits)


def test_only_main_is_public():
    assert main_module.__all__ == ["main"]


# run ----------------------------------------------------------------------------------------------


def test_run_prints_a_table_and_writes_figures_and_csv(tmp_path, capsys):
    output = tmp_path / "out"
    arguments = "run --dataset digits --bits 8 --seeds 2 --max-radius 3 --output".split()
    assert main([*arguments, str(output)]) == 0
    text = capsys.readouterr().out
    assert {p.name for p in (output / "digits").iterdir()} == FIGURES | TABLES
    sweep = pd.read_csv(output / "digits" / "radius_sweep.csv")
    assert len(sweep) == 2 * 2 * 4
    assert set(sweep["method"]) == {"LSH", "GRH svm"} and set(sweep["seed"]) == {0, 1}
    means = sweep.groupby(["method", "radius"]).mean()
    printed = {}
    for line in text.replace("GRH svm", "GRH_svm").splitlines():
        method, *cells = line.split() or [""]
        if method in ("LSH", "GRH_svm") and len(cells) == 6 and cells[0].isdigit():
            printed[method.replace("_", " "), int(cells[0])] = cells[1:]
    assert len(printed) == 8
    methods = {"LSH": METHODS["LSH"], "GRH svm": METHODS["GRH svm"]}
    split = load_dataset("digits").split()
    each = sweep_draws(split, methods, range(4), 8, 2)
    for key, (precision, nonempty, candidates, p95, query_us) in printed.items():
        row = means.loc[key]
        assert precision == f"{row['precision']:.3f}"
        assert nonempty == f"{row['nonempty']:.0%}"
        assert candidates == f"{row['candidates']:,.0f}"
        own = each[(each["method"] == key[0]) & (each["radius"] == key[1])]["candidates"]
        assert len(own) == 2 * 120 and p95 == f"{np.percentile(own, 95):,.0f}"
        assert query_us == f"{1e6 * row['seconds']:,.0f}"
    budget = pd.read_csv(output / "digits" / "budget.csv")
    assert budget["method"].tolist() == ["exact", *np.repeat(["LSH", "ITQ", "GRH svm"], 3)]
    assert budget["budget"].tolist() == [1377, *3 * [100, 300, 1000]]
    mean = budget_sweep(*encode(LSH(8, random_state=0), split), split)["recall"]
    other = budget_sweep(*encode(LSH(8, random_state=1), split), split)["recall"]
    lsh = budget.set_index(["method", "budget"])["recall"]["LSH"]
    both = ((mean + other) / 2).groupby(np.repeat([100, 300, 1000], 120)).mean()
    assert lsh.tolist() == pytest.approx(both.tolist())
    for _, row in budget.iterrows():
        recall = f"{row['recall']:.2f} ({row['recall_low']:.2f} to {row['recall_high']:.2f})"
        assert any(
            recall in line and line.split()[0] in row["method"] for line in text.splitlines()
        )
    maps = pd.read_csv(output / "digits" / "mean_average_precision.csv")
    assert set(maps["seed"]) == {0, 1} and "ranking, 2 draws" in text
    for (method, bits), value in maps.groupby(["method", "n_bits"])["map"].mean().items():
        assert re.search(rf"^ *{method} +{bits} {value:.3f}$", text, re.MULTILINE)
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
    assert options["learner"] == "ridge"
    sweep = pd.read_csv(tmp_path / "digits" / "radius_sweep.csv")
    assert set(sweep["method"]) == {"LSH", "GRH ridge"} and sweep["radius"].max() == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --dataset cifar10", "data"),
        ("data --archive nowhere.tar.gz", "nowhere.tar.gz"),
        ("data --dataset digits --archive a.tar.gz", "leave out --url and --archive."),
        ("data --dataset digits --url file:///a", "leave out --url and --archive."),
    ],
)
def test_errors_are_one_sentence_without_a_traceback(
    arguments, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(main_module, "sweep_draws", None)  # must not be reached
    extra = ["--output", str(tmp_path / "out")] if arguments.startswith("run") else []
    assert main(arguments.split() + extra) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists() and not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--bits 0", "--bits must be a whole number from 1 to 1024, got 0."),
        ("--bits 1000000", "--bits must be a whole number from 1 to 1024, got 1000000."),
        ("--seeds 0", "--seeds must be a whole number from 1 to 1000, got 0."),
        ("--seeds 1000000000", "--seeds must be a whole number from 1 to 1000"),
        ("--max-radius -1", "--max-radius must be a whole number of at least 0, got -1."),
    ],
)
def test_numbers_out_of_range(option, message, monkeypatch, capsys):
    monkeypatch.setattr(main_module, "load_dataset", None)  # must not be reached
    assert main(["run", *option.split()]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "name"),
    [("--alpha 2", "alpha"), ("--alpha nan", "alpha"), ("--iterations 0", "n_iter")],
)
def test_numbers_that_the_model_refuses(option, name, tmp_path, capsys):
    options = ["--output", str(tmp_path), *"--dataset digits --bits 2 --seeds 1".split()]
    assert main(["run", *options, *option.split()]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {name} must be a")
    assert error.count("\n") == 1 and list((tmp_path / "digits").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --bits 4 --record", "--bits goes with run, not with run --record"),
        ("run --seeds 2 --check", "--seeds goes with run, not with run --check"),
        ("run --max-radius 3 --check", "--max-radius goes with run, not with"),
        ("run --learner ridge --check", "--learner goes with run, not"),
        ("run --check --record", "--record goes with run --record, not with run --check"),
        ("run --labels y.npy", "--labels goes with run --features, not with run"),
        ("run --features x --check", "--check goes with run --check, not with run --features"),
        ("run --features x --dataset cifar10-mat", "--dataset goes with run or run --check or"),
        ("run --features x --bits 8", "--bits goes with run, not with run --features"),
        ("run --url u", "--url goes with data, not with run"),
        ("data --output o", "--output goes with run or run --check or"),
        ("info --check", "--check goes with run --check, not with"),
    ],
)
def test_options_that_do_not_go_together(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2 and f"error: {message}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unknown_names_list_the_known_ones(capsys, tmp_path):
    assert main(["run", "--dataset", "mnist"]) == 1
    assert "one of auto, digits, cifar10, cifar10-mat, got 'mnist'" in capsys.readouterr().err
    options = f"run --dataset digits --bits 2 --seeds 1 --learner x --output {tmp_path}"
    assert main(options.split()) == 1
    assert "kernel" in capsys.readouterr().err


def test_output_folder_that_cannot_be_written_is_noticed_first(
    tmp_path, monkeypatch, quick, capsys
):
    monkeypatch.setattr(main_module, "sweep_draws", None)  # must not be reached
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    for output in (blocked, blocked / "below", tmp_path / ("x" * 300)):
        assert main([*SMALL, str(output)]) == 1
        error = capsys.readouterr().err
        assert str(output) in error and error.count("\n") == 1
        assert "make room there, or choose another folder." in error
    assert blocked.read_text() == "in the way"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_failed_figure_leaves_older_results_alone(tmp_path, monkeypatch, quick, capsys):
    assert main([*SMALL, str(tmp_path)]) == 0
    for path in (tmp_path / "digits").iterdir():
        path.write_text("older")
    savefig = Figure.savefig

    def full(self, path, **options):
        if path.name == "time.png":
            raise OSError(28, "No space left on device")
        savefig(self, path, **options)

    monkeypatch.setattr(Figure, "savefig", full)
    assert main([*SMALL, str(tmp_path)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    found = {p.name: p.read_text() for p in (tmp_path / "digits").iterdir()}
    assert found == dict.fromkeys(FIGURES | TABLES, "older")


def test_files_have_the_permissions_that_open_gives(tmp_path, quick):
    old = os.umask(0o027)
    try:
        assert main(["run", "--dataset", "digits", "--record", "--output", str(tmp_path)]) == 0
    finally:
        os.umask(old)
    written = [*(tmp_path / "digits").iterdir(), *(tmp_path / "results").iterdir()]
    assert len(written) == len(FIGURES | TABLES) + 2  # with the lock of those who record
    assert {stat.S_IMODE(p.stat().st_mode) for p in written} == {0o640}


def test_long_steps_are_announced(tmp_path, monkeypatch, capsys):
    said = []

    def watched(name, function):
        def call(*args, **kwargs):
            said.append((name, capsys.readouterr().out.splitlines()))
            return function(*args, **kwargs)

        monkeypatch.setattr(main_module, name, call)

    watched("load_dataset", lambda name, home: load_dataset("digits"))
    watched("sweep_draws", sweep_draws)
    watched("compare", compare)
    watched("map_table", map_table)
    arguments = "run --dataset cifar10 --bits 4 --seeds 1 --max-radius 1 --output".split()
    assert main([*arguments, str(tmp_path)]) == 0
    starts = {"load_dataset": "loading the data; where GIST is not cached"}
    starts |= {"sweep_draws": "digits: 120 queries", "compare": "the same number"}
    starts |= {"map_table": "ranking the whole database"}
    first = {name: lines for name, lines in reversed(said)}
    assert list(reversed(first)) == list(starts)
    for name, start in starts.items():
        assert len(first[name]) == 1 and first[name][0].startswith(start)


# --check and --record -----------------------------------------------------------------------------


def test_record_then_check_then_red_when_a_figure_differs(tmp_path, monkeypatch, quick, capsys):
    arguments = ["run", "--dataset", "digits", "--output", str(tmp_path)]
    assert main([*arguments, "--check"]) == 1, "nothing is recorded yet"
    assert main([*arguments, "--record"]) == 0
    assert main([*arguments, "--check"]) == 0
    ticks = [s for s in capsys.readouterr().out.splitlines() if s.startswith("✓")]
    # LSH and GRH at radii 0 and 8: four figures each, and a fifth where queries are empty.
    assert ticks == 2 * [
        f"✓ {n} as recorded" for n in ("18 figures", "1 figure", "3 figures", "24 figures")
    ]

    figures = recorded("digits")
    assert set(figures) == {
        "run_exact_precision",
        *(f"run_map_{method}_4" for method in ("lsh", "grh_svm", "grh_kernel")),
        *(f"run_{method}_r0_precision_nonempty" for method in ("lsh", "grh_svm")),
        *(
            f"run_{method}_r{radius}_{column}"
            for method in ("lsh", "grh_svm")
            for radius in (0, 8)
            for column in ("precision", "nonempty", "candidates", "p95")
        ),
        *(
            f"run_budget_{method}_{budget}_{measure}{end}"
            for method in ("lsh", "grh_svm")
            for budget in (100, 300)
            for measure in ("recall", "precision")
            for end in ("", "_low", "_high")
        ),
    }, "where no query is empty, precision_nonempty is precision and not recorded again"
    sweep = pd.read_csv(tmp_path / "digits" / "radius_sweep.csv")
    first = sweep.query("method == 'LSH' and radius == 0").iloc[0]
    assert figures["run_lsh_r0_precision_nonempty"] == pytest.approx(first["precision_nonempty"])
    assert first["nonempty"] < 1

    wrong = {
        "run_lsh_r0_precision": 0.006,
        "run_lsh_r0_precision_nonempty": 0.011,
        "run_lsh_r0_nonempty": 0.011,
        "run_grh_svm_r8_candidates": 29,
        "run_exact_precision": 0.0011,
        "run_map_lsh_4": 0.0051,
        "run_budget_lsh_100_recall": 0.0051,
        "run_budget_grh_svm_300_precision_low": 0.0051,
    }
    for keys in (
        list(wrong)[:4],
        list(wrong)[4:5],
        list(wrong)[5:6],
        list(wrong)[6:],
    ):  # one table at a time
        changed = {**figures, **{key: figures[key] + wrong[key] for key in keys}}
        (tmp_path / "results" / "digits.json").write_text(json.dumps(changed))
        assert main([*arguments, "--check"]) == 1
        error = capsys.readouterr().err
        assert f"{len(keys)} of " in error and all(f"\n{key} " in error for key in keys)


def test_record_says_when_it_cannot_write(tmp_path, monkeypatch, quick, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GRH_RESULTS", str(tmp_path / "file" / "results"))
    assert main(["run", "--dataset", "digits", "--record", "--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "file" / "results") in error and "choose another folder" in error


# Terminals, pipes, signals ------------------------------------------------------------------------


def test_an_ascii_terminal_is_enough(tmp_path, monkeypatch, quick):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(["run", "--dataset", "digits", "--record", "--output", str(tmp_path)]) == 0
    assert b"? 18 figures as recorded" in stdout.buffer.getvalue()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_results_are_written_though_the_reader_of_the_pipe_has_left(tmp_path, unbuffered):
    process = subprocess.Popen(
        [sys.executable, "-m", "grh_helpers", *SMALL, str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    assert process.stdout.readline().startswith(b"loading the data")
    process.stdout.close()
    error = process.stderr.read()
    assert process.wait(timeout=60) == 0 and error == b""
    assert {p.name for p in (tmp_path / "digits").iterdir()} == FIGURES | TABLES


@pytest.mark.skipif(os.name == "nt", reason="signals to other processes are a POSIX matter")
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
    assert process.stdout.readline().startswith("loading the data")
    assert process.stdout.readline().startswith("digits:")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err and "stopped" in err
    assert list((tmp_path / "digits").iterdir()) == []


# data, info, help ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "option", "expected"),
    [
        (None, None, "cifar10"),
        ("auto", None, "cifar10"),
        ("cifar10-mat", None, "cifar10-mat"),
        ("digits", None, "digits"),
        ("digits", "cifar10", "cifar10"),
    ],
)
def test_data_prepares_what_option_or_environment_name(
    variable, option, expected, monkeypatch, capsys, tmp_path
):
    asked = []
    if variable:
        monkeypatch.setenv("GRH_DATASET", variable)

    def prepare(*args, **kwargs):
        announced = capsys.readouterr().out
        assert announced.startswith(f"preparing {expected}: ")
        asked.append((args, kwargs))
        return tmp_path

    monkeypatch.setattr(main_module, "prepare", prepare)
    extra = ["--dataset", option] if option else []
    source = [] if expected == "digits" else ["--url", "u", "--archive", "a"]
    assert main(["data", "--data-home", "h", *extra, *source]) == 0
    given = {"url": "u", "archive": "a"} if source else {"url": None, "archive": None}
    assert asked == [((expected, "h"), given)]
    assert f"{expected} is ready in {tmp_path}" in capsys.readouterr().out


def test_info_says_what_is_here(tmp_path, capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert f"data home: {tmp_path / 'home'}" in text
    assert re.search("auto +means +digits", text)
    for name in ("digits", "cifar10", "cifar10-mat"):
        assert name in text


def test_help_names_every_option_and_its_default(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    defaults = {
        name: default
        for options in main_module._OPTIONS.values()
        for name, default in options.items()
    }
    assert len(defaults) == 15
    for name, default in defaults.items():
        option, shown = f"--{name}", f"({default})"
        line = next(
            line
            for line in text.splitlines()
            if line.split()[:1] == [option] or f", {option} " in line
        )
        assert not default or shown in line
