"""Radius search by size of the database: ours, the first edition's, and FAISS's best binary index.

python -m benchmarks.bench_growth            # 10⁴ to 10⁷ codes, some ten minutes, 3 GB
python -m benchmarks.bench_growth --large    # 10⁸ codes of ours alone, 12 GB, a few minutes more

Clustered codes of 64 bits (5,000 centres, each bit flipped with probability 0.1) and queries from
the same clusters, one thread. All indexes find the same items, which is asserted. Ours and another
take turns in one process, so that a busy machine slows both alike; a time is the median over the
turns, in seconds of the processor (other programs on the machine then hardly count), a ratio the
median over the turns of other / ours. The first edition's index is taken out of
the history of the repository. The exponent of a size is the slope of log time against log size from
the size before it. Writes results/growth.csv.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from grh_helpers import HammingIndex, pack_bits

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "results" / "growth.csv"
SIZES = (10**4, 10**5, 10**6, 10**7)
RADII = range(9)
N_QUERIES = 200
BLOCK = 500_000  # codes that are drawn at a time


def blocks(n, seed=0):
    """Yield clustered codes, one block after the other."""
    centres = np.random.default_rng(0).random((5000, 64)) < 0.5
    for start in range(0, n, BLOCK):
        rng = np.random.default_rng([1, seed, start])
        size = min(BLOCK, n - start)
        flips = rng.random((size, 64), dtype=np.float32) < 0.1
        yield centres[rng.integers(len(centres), size=size)] ^ flips


def first_edition():
    """Load the module of the first edition's index from the last commit that has it."""

    def git(*arguments):
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    name = "grh_helpers/search.py"
    removed = git("log", "-1", "--diff-filter=D", "--format=%H", "--", name)
    if not removed:
        raise SystemExit(f"The history of this checkout does not reach back to {name}.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "search.py"
        path.write_text(git("show", f"{removed}^:{name}"), encoding="utf-8")
        spec = importlib.util.spec_from_file_location("first_edition", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def measure(n, first, repeats):
    """Compare all indexes at one size: one row per radius."""
    from benchmarks import bench_search as peers

    codes = np.concatenate(list(blocks(n)))
    queries = next(blocks(N_QUERIES, seed=1))
    packed = np.packbits(queries, axis=1)
    ours = HammingIndex(codes)
    makers = {
        "first": first.HammingIndex,
        "IndexBinaryFlat": peers._flat,
        "IndexBinaryMultiHash(4 of 16)": lambda codes: peers._multi_hash(codes, 4, 16),
        "IndexBinaryMultiHash(3 of 21)": lambda codes: peers._multi_hash(codes, 3, 21),
        "IndexBinaryHash(20)": lambda codes: peers._hash(codes, 20),
    }
    rows = []
    for name, make in makers.items():  # one at a time, so that memory suffices
        other = make(codes)
        for radius in RADII:
            if name == "IndexBinaryHash(20)" and radius > 3:  # thousands of buckets
                continue
            times = []
            for _ in range(repeats):
                start = time.process_time()
                indptr, ids = ours.radius_search(queries, radius)
                middle = time.process_time()
                if name == "first":
                    limits, labels = other.radius_search(queries, radius)
                else:
                    limits, labels = peers._range_search(other, packed, radius)
                times.append((middle - start, time.process_time() - middle))
            assert np.array_equal(indptr, limits), f"{name} and we disagree at radius {radius}"
            same = peers._canonical(indptr, ids) == peers._canonical(limits, labels)
            assert same.all(), f"{name} and we disagree at radius {radius}"
            ours_us, other_us = np.median(times, axis=0) / N_QUERIES * 1e6
            ratio = np.median([theirs / mine for mine, theirs in times])
            found = indptr[-1] / N_QUERIES
            rows.append((n, radius, found, name, ours_us, other_us, ratio))
        del other
    columns = ["n", "radius", "found", "name", "ours_us", "other_us", "ratio"]
    frame = pd.DataFrame(rows, columns=columns)
    theirs = frame[frame["name"] == "first"].set_index("radius")
    fastest = frame[frame["name"] != "first"].sort_values("other_us").groupby("radius").first()
    table = theirs[["n", "found"]].assign(ours_us=frame.groupby("radius")["ours_us"].median())
    table = table.assign(first_us=theirs["other_us"], first_ratio=theirs["ratio"])
    table = table.assign(peer=fastest["name"], peer_us=fastest["other_us"])
    return table.assign(peer_ratio=fastest["ratio"]).reset_index()


def with_exponents(frame):
    """Add the growth of our time and the first edition's from the size before."""
    frame = frame.sort_values(["radius", "n"])
    steps = np.log(frame["n"]).groupby(frame["radius"]).diff()
    for name in ("ours", "first"):
        growth = np.log(frame[f"{name}_us"]).groupby(frame["radius"]).diff()
        frame[f"{name}_exponent"] = growth / steps
    return frame.sort_values(["n", "radius"])


def large(n):
    """Build an index of so many codes, search it, and weigh the process."""
    queries = next(blocks(N_QUERIES, seed=1))
    expected = np.zeros((len(RADII), N_QUERIES), int)

    def counted():
        for block in blocks(n):
            words = pack_bits(block)
            for i, query in enumerate(pack_bits(queries)):
                near = np.bitwise_count(words ^ query)
                counts = np.bincount(near, minlength=65).cumsum()
                expected[:, i] += counts[list(RADII)]
            yield block

    start = time.process_time()
    index = HammingIndex(counted())
    seconds = time.process_time() - start  # drawing the codes included
    rows = []
    for radius in RADII:
        times = []
        for _ in range(3):
            start = time.process_time()
            indptr, _ = index.radius_search(queries, radius)
            times.append((time.process_time() - start) / N_QUERIES * 1e6)
        assert np.array_equal(np.diff(indptr), expected[radius]), radius
        found, us = indptr[-1] / N_QUERIES, np.median(times)
        rows.append({"n": n, "radius": radius, "found": found, "ours_us": us})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return pd.DataFrame(rows).assign(build_seconds=seconds, peak_gb=peak)


def main() -> None:
    """Measure and write the table; what was not measured keeps its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="10⁸ codes of ours alone")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    args = parser.parse_args()
    if args.large:
        frames = [large(10**8)]
    else:
        import faiss

        faiss.omp_set_num_threads(1)
        first = first_edition()
        frames = [measure(n, first, args.repeats) for n in args.sizes]
    frame = pd.concat(frames, ignore_index=True)
    if TABLE.exists():
        old = pd.read_csv(TABLE)
        frame = pd.concat([old[~old["n"].isin(frame["n"])], frame], ignore_index=True)
    for name in ("first_us", "build_seconds", "peak_gb"):
        if name not in frame:
            frame[name] = np.nan
    frame = with_exponents(frame)
    frame.to_csv(TABLE, index=False, float_format="%.4g")
    print(frame.to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main()
