"""Every figure that the series draws more than once; each takes tidy frames and returns its axes.

Colours come from the Okabe-Ito palette, which survives colour blindness, and each method has a
marker of its own, so that the figures can be read in grey print too.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import rc_params_from_file
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grh_helpers.experiment import METHODS

__all__ = ["legend_outside", "plot_equal_cost", "plot_intervals", "plot_precision", "plot_time"]
__all__ += ["plot_precision_recall", "reference", "show", "show_images", "style", "use_style"]

_RC = rc_params_from_file(Path(__file__).with_name("series.mplstyle"), use_default_template=False)
_LOOKS = list(_RC["axes.prop_cycle"])
# What the chapters compare; each has its colour and marker in all of them.
_METHODS = [*METHODS, "ITQ", "GRH ridge", "random keys"]


def use_style() -> None:
    """Set the fonts, sizes and colours of all figures of the series, once per notebook."""
    plt.rcParams.update(_RC)


def style(method: str, place: int = 0) -> dict[str, str]:
    """Colour and marker of a method: the same in every figure of the series.

    Parameters
    ----------
    method : str
        One of the methods that the series compares, or any other label.
    place : int, default=0
        Place in the palette of a label that the series does not know.

    Returns
    -------
    dict
        ``color`` and ``marker``, to pass on to Matplotlib.

    Examples
    --------
    >>> style("LSH")
    {'color': '#0072B2', 'marker': 'o'}
    """
    place = _METHODS.index(method) if method in _METHODS else place
    return _LOOKS[place % len(_LOOKS)]


def reference(ax: Axes, value: float, label: str, axis: str = "y") -> None:
    """Draw a grey dashed line at a value that the curves are to be compared with.

    Parameters
    ----------
    ax : Axes
        Where to draw; its legend, if it has one, is drawn again.
    value : float
        Place on the axis.
    label : str
        What the line stands for: an entry of the legend.
    axis : {"y", "x"}, default="y"
        Axis that `value` lies on.
    """
    line = ax.axhline if axis == "y" else ax.axvline
    line(value, color="0.35", linestyle="--", marker="", label=label)
    if ax.get_legend():
        ax.legend()


def legend_outside(ax: Axes, **options) -> None:
    """Put the legend of the axes below the figure, where it covers nothing and takes no width.

    Parameters
    ----------
    ax : Axes
        Axes with labelled curves.
    **options
        Passed on to Matplotlib's ``legend``; two columns by default.
    """
    ax.legend().remove()
    entries = ax.get_legend_handles_labels()
    ax.figure.legend(*entries, loc="outside lower center", **{"ncols": 2, **options})


def _per_method(frame: pd.DataFrame):
    """Yield (method, rows, style); a frame without methods is one line, "measured"."""
    frame = frame if "method" in frame else frame.assign(method="measured")
    for place, (method, rows) in enumerate(frame.groupby("method", sort=False)):
        yield method, rows, style(method, place)


def _curves(frame, x, y, ax, **settings) -> Axes:
    """Draw one line per method, the mean over draws, in a band of their range, and set the axes."""
    ax = ax or plt.subplots()[1]
    for method, rows, look in _per_method(frame):
        by_radius = rows.groupby("radius")
        places, low, high = by_radius[x].mean(), by_radius[y].min(), by_radius[y].max()
        ax.plot(places, by_radius[y].mean(), label=method, **look)
        ax.fill_between(places, low, high, color=look["color"], alpha=0.15, linewidth=0)
    if x == "radius":
        ax.locator_params(axis="x", integer=True)
        ax.set_xlabel("Hamming radius (bits)")
    ax.legend()
    ax.set(**settings)
    return ax


def plot_intervals(
    frame: pd.DataFrame, x: str, y: str = "mean", ax: Axes | None = None, **options
) -> Axes:
    """One line per method with its intervals.

    Parameters
    ----------
    frame : DataFrame
        Columns `x`, `y`, ``low`` and ``high``, and ``method`` for several lines.
    x, y : str
        Columns to draw against each other.
    ax : Axes, optional
        Where to draw; by default a new figure.
    **options
        Passed on to Matplotlib's ``errorbar``.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    KeyError
        If the frame lacks a column.
    """
    ax = ax or plt.subplots()[1]
    for method, rows, look in _per_method(frame):
        error = [rows[y] - rows["low"], rows["high"] - rows[y]]
        ax.errorbar(rows[x], rows[y], error, **{"capsize": 4, "label": method, **look, **options})
    if "method" in frame:
        ax.legend()
    return ax


def plot_precision(
    frame: pd.DataFrame, ax: Axes | None = None, *, exact: float | None = None, y: str = "precision"
) -> Axes:
    """Precision by Hamming radius.

    Parameters
    ----------
    frame : DataFrame
        Rows of `radius_sweep`; a column ``method`` draws one line each, several rows for a
        method and radius (draws of the hyperplanes) become their mean and a band of their range.
    ax : Axes, optional
        Where to draw; by default a new figure.
    exact : float, optional
        Precision of the exact search over everything, drawn as a dashed line.
    y : {"precision", "precision_nonempty"}
        Whether an empty query counts 0 or is left out.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    KeyError
        If the frame lacks a column.
    """
    ylabel = "precision@10" + ("" if y == "precision" else ", non-empty queries")
    ax = _curves(frame, "radius", y, ax, ylabel=ylabel)
    if exact is not None:
        reference(ax, exact, "exact cosine search")
    ax.set_ylim(0, None)
    return ax


def plot_time(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Time per query by Hamming radius, on a logarithmic axis.

    Parameters
    ----------
    frame, ax
        As for `plot_precision`.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    KeyError
        If the frame lacks a column.
    """
    frame = frame.assign(milliseconds=frame["seconds"] * 1000)
    settings = {"yscale": "log", "ylabel": "time per query (ms)"}
    return _curves(frame, "radius", "milliseconds", ax, **settings)


def plot_equal_cost(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Precision against the number of candidates examined: one point per radius.

    Parameters
    ----------
    frame, ax
        As for `plot_precision`.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    KeyError
        If the frame lacks a column.
    """
    settings = {"xscale": "log", "xlabel": "candidates per query"}
    settings |= {"ylim": (0, None), "ylabel": "precision@10"}
    return _curves(frame, "candidates", "precision", ax, **settings)


def plot_precision_recall(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Precision against recall of Hamming balls: one point per radius.

    Parameters
    ----------
    frame : DataFrame
        Rows of `precision_recall_curve`, with a column ``method`` for several lines.
    ax : Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    KeyError
        If the frame lacks a column.
    """
    settings = {"xlim": (0, 1), "xlabel": "recall (share of the class inside the ball)"}
    settings |= {"ylim": (0, None), "ylabel": "precision of the ball"}
    return _curves(frame, "recall", "precision_nonempty", ax, **settings)


def show_images(images: np.ndarray, titles: list[str], *, columns: int = 10) -> np.ndarray:
    """Show pictures in a grid, each with a title.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width) or (n, height, width, 3)
        Grey or colour pictures.
    titles : sequence of str
        One per picture.
    columns : int, default=10
        Pictures per row.

    Returns
    -------
    ndarray of Axes
        One per cell of the grid.

    Raises
    ------
    ValueError
        If the number of images is not that of the titles.
    """
    columns = min(columns, len(images))
    n_rows = -(-len(images) // columns)
    _, axes = plt.subplots(n_rows, columns, figsize=(columns, 1.35 * n_rows), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, title in zip(axes.flat[: len(images)], images, titles, strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255)
        ax.set_title(title, fontsize=8)
    return axes


def show(figure: Figure | Axes, alt: str) -> None:
    """Display a figure in a notebook with a text for readers who cannot see it.

    Parameters
    ----------
    figure : Figure or Axes
        What to show; it is closed afterwards, so that it appears once.
    alt : str
        One or two sentences that say what the figure shows.
    """
    from IPython.display import display  # only notebooks need it

    # The figure of a figure is the figure itself.
    display(figure.figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure.figure)
