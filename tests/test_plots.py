"""Figures: what they draw, what they say on the axes, and what they refuse."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from grh_helpers import plots


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture
def frame():
    rows = [
        (
            method,
            seed,
            radius,
            0.1 * radius + 0.01 * seed + shift,
            10.0**radius,
            1e-4 * (radius + 1),
        )
        for method, shift in (("LSH", 0.0), ("GRH", 0.2))
        for seed in range(3)
        for radius in range(4)
    ]
    columns = ["method", "seed", "radius", "precision", "candidates", "seconds"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(precision_nonempty=frame["precision"], nonempty=1.0)


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_precision_draws_the_mean_of_the_draws(frame):
    ax = plots.plot_precision(frame, exact=0.53)
    np.testing.assert_allclose(lines(ax)["LSH"].get_xdata(), [0, 1, 2, 3])
    np.testing.assert_allclose(lines(ax)["LSH"].get_ydata(), [0.01, 0.11, 0.21, 0.31])
    np.testing.assert_allclose(lines(ax)["exact cosine search"].get_ydata(), 0.53)
    assert ax.get_xlabel() == "Hamming radius (bits)" and ax.get_ylabel() == "precision@10"
    assert len(ax.collections) == 2, "a band of the draws for each method"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "LSH",
        "GRH",
        "exact cosine search",
    ]


def test_methods_differ_in_colour_and_marker_and_keep_them(frame):
    frame = frame.replace({"method": {"GRH": "GRH svm"}})
    both = plots.plot_precision(frame)
    alone = plots.plot_precision(frame[frame["method"] == "GRH svm"])
    looks = {k: (v.get_color(), v.get_marker()) for k, v in lines(both).items()}
    assert looks["LSH"][0] != looks["GRH svm"][0] and looks["LSH"][1] != looks["GRH svm"][1]
    assert {k: (v.get_color(), v.get_marker()) for k, v in lines(alone).items()} == {
        "GRH svm": looks["GRH svm"]
    }


def test_the_band_is_the_range_of_the_draws(frame):
    ax = plots.plot_precision(frame)
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([heights.min(), heights.max()], [0.0, 0.32])


def test_a_legend_outside_covers_no_axes_and_names_every_curve(frame):
    plots.use_style()
    fig, axes = plt.subplots(1, 2)
    plots.plot_precision(frame, axes[0], exact=0.53)
    plots.legend_outside(axes[0])
    fig.canvas.draw()
    (legend,) = fig.legends
    assert axes[0].get_legend() is None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["LSH", "GRH", "exact cosine search"]
    box = legend.get_window_extent()
    assert box.y1 <= min(ax.get_tightbbox().y0 for ax in axes) and box.y0 >= 0


def test_random_keys_never_look_like_a_method():
    looks = [plots.style(m) for m in ("LSH", "GRH svm", "GRH kernel", "ITQ", "GRH ridge")]
    control = plots.style("random keys", 1)
    assert control["color"] not in {look["color"] for look in looks}
    assert control["marker"] not in {look["marker"] for look in looks}


def test_time_is_in_milliseconds_on_a_logarithmic_axis(frame):
    ax = plots.plot_time(frame)
    np.testing.assert_allclose(lines(ax)["GRH"].get_ydata(), [0.1, 0.2, 0.3, 0.4])
    assert ax.get_yscale() == "log" and "ms" in ax.get_ylabel()


def test_equal_cost_has_candidates_on_a_logarithmic_axis(frame):
    ax = plots.plot_equal_cost(frame)
    np.testing.assert_allclose(lines(ax)["LSH"].get_xdata(), [1, 10, 100, 1000])
    assert ax.get_xscale() == "log" and "candidates" in ax.get_xlabel()


def test_precision_recall():
    frame = pd.DataFrame({"radius": [0, 1], "recall": [0.2, 1.0], "precision_nonempty": [0.9, 0.1]})
    ax = plots.plot_precision_recall(frame)
    (line,) = ax.get_lines()
    assert line.get_xdata().tolist() == [0.2, 1.0] and line.get_ydata().tolist() == [0.9, 0.1]


def test_draws_on_given_axes(frame):
    for plot in (plots.plot_precision, plots.plot_time, plots.plot_equal_cost):
        ax = plt.subplots()[1]
        assert plot(frame, ax) is ax


def test_a_missing_column_is_named(frame):
    with pytest.raises(KeyError, match="precision"):
        plots.plot_precision(frame.drop(columns="precision"))


def test_images_with_their_titles():
    images = np.zeros((3, 8, 8), np.uint8)
    axes = plots.show_images(images, ["a", "b", "c"], columns=2)
    assert axes.shape == (2, 2)
    assert [ax.get_title() for ax in axes.flat] == ["a", "b", "c", ""]
    assert [len(ax.images) for ax in axes.flat] == [1, 1, 1, 0]
    assert not any(ax.axison for ax in axes.flat)
    with pytest.raises(ValueError, match="shorter"):
        plots.show_images(images, ["a", "b"])


def test_show_stores_the_alt_text(monkeypatch, frame):
    import IPython.display

    seen = []
    monkeypatch.setattr(IPython.display, "display", lambda *a, **k: seen.append((a, k)))
    ax = plots.plot_precision(frame)
    plots.show(ax, alt="Precision rises with the radius.")
    ((figure,), options) = seen[0]
    assert figure is ax.figure
    plots.show(ax.figure, alt="The same, as a figure.")
    assert seen[1][0] == (figure,)
    assert options == {"metadata": {"image/png": {"alt": "Precision rises with the radius."}}}
    assert plt.get_fignums() == []
