"""The whole experiment from a shell: ``python -m grh_helpers run``, ``data`` or ``info``."""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import matplotlib
import pandas as pd

from grh_helpers import GRH, plots
from grh_helpers._files import atomic
from grh_helpers.checkpoints import CheckpointError, checkpoint, results_file
from grh_helpers.compare import compare, load_array, report, verdict
from grh_helpers.datasets import DATASETS, available, data_home, load_dataset, prepare
from grh_helpers.experiment import METHODS, exact_precision, map_table, ranking_split, sweep_draws

__all__ = ["main"]

# Numbers that `run` takes: default, smallest, largest, help.
_NUMBERS = {
    "bits": (16, 1, 1024, "length of the codes"),
    "alpha": (1.0, 0, 1, "GRH: weight of the graph, between 0 and 1"),
    "iterations": (1, 1, 1000, "GRH: rounds of steps A and B"),
    "max-radius": (10, 0, 1024, "largest Hamming radius, in bits"),
    "seeds": (5, 1, 1000, "draws of the hyperplanes to average"),
}


def _say(text: str) -> None:
    """Print at once; when the reader of a pipe has left, as after `| head -1`, go on in silence."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """Say what to do when the operating system refuses to write."""
    try:
        yield
    except OSError as error:
        todo = "make room there or choose another folder (--output for results)"
        reason = error.strerror or error
        raise ValueError(f"Nothing can be written to {folder} ({reason}); {todo}.") from error


def _dataset(options: argparse.Namespace) -> str:
    return options.dataset or os.environ.get("GRH_DATASET") or "auto"


def _run(options: argparse.Namespace) -> None:
    """Run the whole experiment and draw its figures.

    Hash the data with LSH and GRH, search at every Hamming radius, rank by Hamming distance, print
    the tables, and write figures and CSV files.
    """
    _check_options(options)
    if options.features:
        _run_own(options)
        return
    found = available(options.data_home).get(_dataset(options))
    if found and found.state == "raw only":
        _say(f"{found.name}: computing the GIST features, once; this takes about a minute")
    data = load_dataset(options.dataset, options.data_home)
    folder = Path(options.output) / data.name
    with _writing_to(folder):  # a folder that refuses does so now, not after minutes
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        tempfile.TemporaryDirectory(dir=existing).cleanup()
    split = data.split()
    sizes = f"{len(split.queries):,} queries, {len(split.train):,} training images"
    runs = f"{options.bits} bits, {options.seeds} draws"
    _say(f"{data.name}: {sizes}, {len(split.database):,} in the database; {runs}")
    grh = partial(GRH, alpha=options.alpha, n_iter=options.iterations, learner=options.learner)
    methods = {"LSH": METHODS["LSH"], f"GRH {options.learner}": grh}
    radii = range(min(options.max_radius, options.bits) + 1)
    sweep = sweep_draws(split, methods, radii, options.bits, options.seeds, progress=True)
    exact = exact_precision(split).mean()
    _say("ranking the whole database by Hamming distance, for the mean average precision")
    draws = min(options.seeds, 3)
    ranking = map_table(ranking_split(data), seeds=draws, progress=True)
    with _writing_to(folder):
        _write(folder, sweep, ranking, exact)
    means = sweep.drop(columns="seed").groupby(["method", "radius"], sort=False).mean()
    maps = ranking.groupby(["method", "n_bits"], sort=False)["map"].mean().unstack()
    _report(means, exact, maps, draws)
    _say(f"\nfigures and tables are in {folder}")
    picture = results_file(data.name).with_name(f"{data.name}_precision.png")
    if options.check or options.record:
        with _writing_to(picture.parent):
            _check(data.name, means, exact, maps, options.record)
    if options.record:
        with _writing_to(picture.parent), atomic(picture) as file:
            file.write((folder / "lsh_grh_precision.png").read_bytes())


def _run_own(options: argparse.Namespace) -> None:
    features, labels = load_array(options.features, "features"), None
    if options.labels:
        labels = load_array(options.labels, "labels")
    folder = Path(options.output) / Path(options.features).stem
    with _writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _say(f"{options.features}: {len(features):,} rows; exact search, LSH, ITQ, GRH")
    seeds = 3 if len(features) <= 100_000 else 1
    table = compare(features, labels, seeds=seeds, progress=True)
    matplotlib.use("agg")
    plots.use_style()
    page, picture = report(table, f"Is hashing worth it on {folder.name}?")
    _say(table.round(3).to_string(index=False, na_rep=""))
    _say("\n".join(["", *verdict(table), f"\nthe report is {folder / 'report.html'}"]))
    csv = table.to_csv(index=False)
    files = {"report.html": page.encode(), "recall.png": picture, "comparison.csv": csv.encode()}
    with _writing_to(folder):
        for name, content in files.items():
            with atomic(folder / name) as file:
                file.write(content)


def _check_options(options: argparse.Namespace) -> None:
    if options.labels and not options.features:
        raise ValueError("--labels belong to --features; name both files.")
    if options.features and (options.dataset or options.check or options.record):
        raise ValueError("With --features leave out --dataset, --check and --record.")
    changed = ["--learner"] if options.learner != "svm" else []
    for name, (default, low, high, _) in _NUMBERS.items():
        value = vars(options)[name.replace("-", "_")]
        if not low <= value <= high:
            raise ValueError(f"--{name} must lie between {low} and {high}, got {value}.")
        changed += [f"--{name}"] if value != default else []
    if changed and (options.check or options.record):
        leave_out = f"leave out {' and '.join(changed)}, or --check and --record"
        raise ValueError(f"The recorded figures are those of the default options; {leave_out}.")


def _write(folder: Path, sweep: pd.DataFrame, ranking: pd.DataFrame, exact: float) -> None:
    """Write tables and figures under temporary names, and rename them when all are complete."""
    folder.mkdir(parents=True, exist_ok=True)
    matplotlib.use("agg")
    plots.use_style()
    figures = {"equal_cost": plots.plot_equal_cost(sweep)}
    for name, methods in {"lsh": ["LSH"], "lsh_grh": None}.items():
        figures[f"{name}_precision"] = plots.plot_precision(sweep, exact=exact, methods=methods)
        figures[f"{name}_time"] = plots.plot_time(sweep, methods=methods)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as temporary:
        unfinished = Path(temporary)
        sweep.to_csv(unfinished / "radius_sweep.csv", index=False)
        ranking.to_csv(unfinished / "mean_average_precision.csv", index=False)
        for name, ax in figures.items():
            ax.figure.savefig(unfinished / f"{name}.png", dpi=150)
            plots.plt.close(ax.figure)
        for path in sorted(unfinished.iterdir()):
            os.replace(path, folder / path.name)


def _report(means: pd.DataFrame, exact: float, maps: pd.DataFrame, draws: int) -> None:
    texts = {"precision@10": "{:.3f}", "non-empty": "{:.0%}", "candidates": "{:,.0f}"}
    texts["ms per query"] = "{:.3f}"
    formats = {name: text.format for name, text in texts.items()}
    table = means.drop(columns="precision_nonempty").set_axis([*formats], axis=1)
    table["ms per query"] *= 1000
    _say(table.reset_index().to_string(index=False, formatters=formats))
    _say(f"\nexact cosine search over the whole database: precision@10 {exact:.3f}\n")
    _say(f"mean average precision of the Hamming ranking, {draws} draws")
    wide = maps.add_suffix(" bits").rename_axis(index=None, columns=None)
    _say(wide.to_string(float_format="{:.3f}".format))


def _check(dataset: str, means: pd.DataFrame, exact: float, maps: pd.DataFrame, record: bool):
    """Compare the run with the recorded one.

    Tolerances: one retrieved image more or less for one query is 1/1,200 of a precision@10, and
    the mean of five draws a fifth of that. A library that rounds a projection differently flips
    single bits, which moves a few images: 0.005 allows for that, and no effect reported in the
    series is that small. Counts of candidates get 2 %.
    """
    table = means.drop(columns="seconds").set_axis([f"{name} r{r}" for name, r in means.index])
    # Where no query is empty both precisions are one quantity, which is recorded once.
    table["precision_nonempty"] = table["precision_nonempty"].where(table["nonempty"] < 1)
    absolute = {"precision": 0.005, "precision_nonempty": 0.01, "nonempty": 0.01, "candidates": 0.5}
    relative = {**dict.fromkeys(absolute, 0.0), "candidates": 0.02}
    checkpoint("run", table, absolute, relative=relative, dataset=dataset, record=record)
    checkpoint("run_exact_precision", exact, 0.001, dataset=dataset, record=record)
    checkpoint("run_map", maps, 0.005, dataset=dataset, record=record)


def _data(options: argparse.Namespace) -> None:
    """Download, verify and cache a dataset.

    CIFAR-10 is 170 MB, and its GIST features take about a minute. An interrupted download resumes.
    """
    name = "cifar10" if _dataset(options) == "auto" else _dataset(options)
    if name == "digits" and (options.url or options.archive):
        raise ValueError("The digits come with scikit-learn; leave out --url and --archive.")
    if name != "digits":
        _say(f"preparing {name}: a download may take long, computing features about a minute")
    path = prepare(name, options.data_home, url=options.url, archive=options.archive)
    _say(f"{name} is ready in {path}")


def _info(options: argparse.Namespace) -> None:
    """Say which data are on this machine, where, and what 'auto' means now."""
    found = available(options.data_home)
    _say(f"data home: {data_home(options.data_home)}")
    for name in ("digits", "cifar10", "cifar10-mat"):
        entry = found[name]
        where = f"{entry.size / 1e6:7.0f} MB  {entry.path}" if entry.path else DATASETS[name]
        _say(f"{name:<12} {entry.state:<9} {where}")
    _say(f"{'auto':<12} means {found['auto'].name} now")


def _parser() -> argparse.ArgumentParser:
    about = "Learning to hash: LSH against Graph Regularised Hashing, data to figures."
    parser = argparse.ArgumentParser(prog="python -m grh_helpers", description=about)
    commands = parser.add_subparsers(required=True, metavar="run | data | info")

    def command(action):
        name, text = action.__name__[1:], action.__doc__
        new = commands.add_parser(name, description=text, help=text.splitlines()[0])
        new.set_defaults(action=action)

        def option(flag: str, text: str, default=None, **settings) -> None:
            if default is not None:
                settings, text = {"type": type(default), **settings}, f"{text} (%(default)s)"
            new.add_argument(flag, default=default, help=text, **settings)

        home = "where data and caches are; by default $GRH_DATA_HOME, else a cache folder of yours"
        option("--data-home", home, metavar="FOLDER")
        return option

    run = command(_run)
    run("--dataset", "by default $GRH_DATASET, else auto", choices=[*DATASETS])
    for name, (default, _, _, text) in _NUMBERS.items():
        run(f"--{name}", text, default)
    run("--learner", "GRH: what learns a bit", "svm", choices=["svm", "ridge", "kernel"])
    run("--features", "your own vectors, .npy or .npz, instead of a data set", metavar="FILE")
    run("--labels", "their classes, for GRH, precision and mAP", metavar="FILE")
    run("--output", "where the dataset's folder of results goes", "output")
    run("--check", "compare the figures with those in results/", action="store_true")
    run("--record", "write the figures to results/ (for maintainers)", action="store_true")
    data = command(_data)
    names = ["digits", "cifar10", "cifar10-mat"]
    data("--dataset", "by default $GRH_DATASET, else cifar10", choices=names)
    data("--url", "a mirror to download from instead of the official host")
    data("--archive", "a file on this machine to use instead of a download", metavar="FILE")
    command(_info)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit status: 0, or 1 after an error, or 130 after Ctrl-C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an ASCII terminal shows ? for ✓
    options = _parser().parse_args(arguments)
    try:
        options.action(options)
    except (ValueError, OSError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; finished files are kept, unfinished ones are not", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
