"""Compare a table with the one that was recorded for this data set, so that nothing drifts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from grh_helpers._files import atomic
from grh_helpers.datasets import dataset_name

__all__ = ["CheckpointError", "checkpoint", "recorded", "results_file"]

_PACKAGE = Path(__file__).resolve().parent
_IN_CHECKOUT = (_PACKAGE.parent / "pyproject.toml").exists()


class CheckpointError(AssertionError):
    """Figures differ from the recorded ones by more than their tolerance."""


def results_file(dataset: str) -> Path:
    """Path of the recorded figures of a data set.

    Parameters
    ----------
    dataset : str
        Name of a data set, such as "digits".

    Returns
    -------
    Path
        ``<dataset>.json`` in ``$GRH_RESULTS``, else in ``results/`` of the checkout, else in the
        copy that an installed package carries.
    """
    default = (_PACKAGE.parent if _IN_CHECKOUT else _PACKAGE) / "results"
    return Path(os.environ.get("GRH_RESULTS") or default) / f"{dataset}.json"


def recorded(dataset: str) -> dict[str, float]:
    """Read all recorded figures of a data set.

    Parameters
    ----------
    dataset : str
        Name of a data set.

    Returns
    -------
    dict of str to float
        Empty if none is recorded.

    Raises
    ------
    ValueError
        If the file is not JSON.
    """
    path = results_file(dataset)
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        todo = "restore it with git, or record it anew"
        raise ValueError(f"{path.name} is not valid JSON ({error}); {todo}.") from error


def checkpoint(
    name: str,
    values: float | Mapping | pd.Series | pd.DataFrame,
    tolerance: float | Mapping[str, float] = 0.0,
    *,
    relative: float | Mapping[str, float] = 0.0,
    dataset: str | None = None,
    record: bool = False,
) -> None:
    """Print one line if all figures of a table are as recorded, and raise if one is not.

    Parameters
    ----------
    name : str
        What the table is, such as "ch5_paired": the first part of its figures' keys.
    values : number, dict, Series or DataFrame
        The figures just computed. The key of a figure is `name`, its row and its column, joined by
        "_", in lower case. NaN in a table is no figure.
    tolerance, relative : float or dict of column (or key) to float, default=0
        A figure agrees up to ``tolerance + relative * |recorded|``. Counts and arithmetic need
        none; figures that rest on floating-point sums may differ a little between machines.
    dataset : str, optional
        Data set that the figures belong to; by default the one that `load_dataset` returns without
        a name.
    record : bool, default=False
        Write the figures into the file first; the environment variable ``GRH_RECORD=1`` does too.

    Raises
    ------
    CheckpointError
        If figures differ or are not recorded; the message lists each with both values.
    ValueError
        If two figures have one key or there is none to compare.
    """
    dataset = dataset or dataset_name()
    figures = _figures(name, values, tolerance, relative)
    if record or os.environ.get("GRH_RECORD") == "1":
        _record(figures, dataset)
    wrong = _compare(figures, dataset)
    if wrong:
        head = f"{len(wrong)} of {len(figures)} figures are not as recorded for {dataset}"
        cause = "has the code, the data or a library changed?"
        raise CheckpointError("\n- ".join([f"{head}: {cause}", *wrong.values()]))
    print(f"✓ {len(figures)} figure{'s' if len(figures) > 1 else ''} as recorded")


def _figures(name: str, values, tolerance, relative) -> dict[str, tuple[float, float, float]]:
    """Key of each figure → its value, tolerance and relative tolerance."""
    if isinstance(values, pd.DataFrame):
        values = values.stack()
    cells = values.items() if isinstance(values, Mapping | pd.Series) else [((), values)]
    figures = {}
    for parts, value in cells:
        parts = parts if isinstance(parts, tuple) else (parts,)
        key = "_".join([name, *map(_slug, parts)])
        if key in figures:
            raise ValueError(f"Two figures have the key {key}; rename a row or a column.")
        if not np.isnan(value):
            bounds = (b[parts[-1]] if isinstance(b, Mapping) else b for b in (tolerance, relative))
            figures[key] = float(value), *bounds
    if not figures:
        raise ValueError(f"{name} holds no figure to compare.")
    return figures


def _slug(label) -> str:
    """`"GRH, svm"` → `grh_svm`; 2.0 → `2`."""
    label = f"{label:g}" if isinstance(label, float) else str(label)
    return re.sub(r"[^0-9a-zα-ω]+", "_", label.lower()).strip("_")


def _compare(figures: dict[str, tuple[float, float, float]], dataset: str) -> dict[str, str]:
    """Key of each figure that is not as recorded → a sentence that says so."""
    known, wrong = recorded(dataset), {}
    for key, (value, tolerance, relative) in figures.items():
        if key not in known:
            wrong[key] = f"{key} is {value:.6g} but none is recorded (GRH_RECORD=1 records it)"
            continue
        size = abs(known[key])
        # The slack of 1e-9 is for decimal rounding in the file, not for the figure.
        allowed = tolerance + relative * size + 1e-9 * max(1.0, size)
        if not abs(value - known[key]) <= allowed:
            bound = f"the tolerance is {allowed:.3g}"
            wrong[key] = f"{key} is {value:.6g} but {known[key]:.6g} is recorded, and {bound}"
    return wrong


def _record(figures: dict[str, tuple[float, float, float]], dataset: str) -> None:
    path = results_file(dataset)
    if not (_IN_CHECKOUT or os.environ.get("GRH_RESULTS")):
        raise ValueError("Figures are recorded in a checkout only; set GRH_RESULTS to a folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(".grh_helpers.lock")):  # others may record as well
        # A figure that still agrees keeps its digits, so recording twice leaves a clean diff.
        new = {key: float(f"{figures[key][0]:.12g}") for key in _compare(figures, dataset)}
        if new:
            known = recorded(dataset) | new
            with atomic(path, "w") as file:
                file.write(json.dumps(known, indent=0, sort_keys=True, allow_nan=False) + "\n")
