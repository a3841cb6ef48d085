"""All benchmarks in one run: tables, one CSV, one picture.

python -m benchmarks            # a few minutes on CIFAR-10
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sklearn

from benchmarks import bench_gist, bench_models
from grh_helpers.plots import use_style

FOLDER = Path(__file__).resolve().parent


def machine() -> str:
    """Facts that a reader needs to judge the figures."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return (
        f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, scikit-learn {sklearn.__version__}"
    )


def draw(search: pd.DataFrame, growth: pd.DataFrame, path: Path) -> None:
    """Time per query by radius, and by size of the database, beside FAISS."""
    use_style()
    figure, axes = plt.subplots(1, 3, figsize=(13, 4))
    for ax, (case, rows) in zip(
        axes, search[search["radius"] >= 0].groupby("case", sort=False), strict=False
    ):
        ax.plot(rows["radius"], rows["ours_us"], label="HammingIndex (NumPy)")
        ax.plot(rows["radius"], rows["peer_us"], label="fastest FAISS binary index")
        ax.set(
            yscale="log", xlabel="Hamming radius (bits)", ylabel="time per query (µs)", title=case
        )
    for name, column in (("HammingIndex (NumPy)", "ours_us"),
                         ("fastest FAISS binary index", "peer_us")):  # fmt: skip
        slope = np.polyfit(np.log(growth["n"]), np.log(growth[column]), 1)[0]
        axes[2].plot(growth["n"], growth[column], label=f"{name}, ~ n^{slope:.2f}")
    axes[2].set(xscale="log", yscale="log", xlabel="codes in the database",
                ylabel="time per query (µs)", title="32 bits, radius 2")  # fmt: skip
    for ax in axes:
        ax.title.set_fontsize(11)
        ax.legend(fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Run everything and write the tables and the picture."""
    try:
        from benchmarks import bench_search
    except ImportError as error:
        raise SystemExit(
            "FAISS is needed for comparison: pip install -r benchmarks/requirements.txt"
        ) from error
    print(machine())
    tables = {}
    for name, run in {
        "radius_search_16_bits": bench_search.single_table,
        "radius_search_64_bits": bench_search.multi_index,
        "nearest": bench_search.nearest,
        "growth": bench_search.growth,
        "memory": bench_search.memory,
        "models": bench_models.run,
        "gist": bench_gist.run,
    }.items():
        tables[name] = run()
        print(f"\n{name}\n{tables[name].to_string(index=False, float_format='{:.3f}'.format)}")
        for key, value in tables[name].attrs.get("exponents", {}).items():
            print(f"fitted exponent of {key}: {value:.2f}")
    everything = pd.concat([t.assign(table=n) for n, t in tables.items()], ignore_index=True)
    everything = everything[["table", *everything.columns.drop("table")]]
    everything.assign(machine=machine()).to_csv(
        FOLDER / "benchmarks.csv", index=False, float_format="%.5g"
    )
    search = [tables["radius_search_16_bits"], tables["radius_search_64_bits"]]
    draw(pd.concat(search), tables["growth"], FOLDER / "benchmarks.png")
    print("\nwritten: benchmarks/benchmarks.csv, benchmarks/benchmarks.png")


if __name__ == "__main__":
    main()
