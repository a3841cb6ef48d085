"""Hamming-radius search: `HammingIndex` against FAISS's binary indexes, one thread each.

Both return the ids of all codes within the radius; equal answers are asserted before any timing.
Ours and FAISS alternate within one process, so that a busy machine slows both alike; times are
medians and the spread of the ratio is its range over the repeats. The peer of a row is the
fastest exact FAISS index at that radius.
"""

from __future__ import annotations

import time
import tracemalloc
from functools import partial

import faiss
import numpy as np
import pandas as pd

from grh_helpers.datasets import load_dataset
from grh_helpers.index import HammingIndex

COLUMNS = ["case", "radius", "ours_us", "peer", "peer_us", "ratio", "ratio_low", "ratio_high"]


def real_codes(n_bits=16, seed=0):
    """LSH codes of the data set at hand: its name, database and query codes."""
    data = load_dataset()
    split = data.split()
    planes = np.random.default_rng(seed).standard_normal((split.database.shape[1], n_bits))
    return data.name, split.database @ planes >= 0, split.queries @ planes >= 0


def clustered_codes(n=1_000_000, n_bits=64, n_queries=120, n_centres=5000, flip=0.1, seed=0):
    """Random centres with bits flipped: database and query codes."""
    rng = np.random.default_rng(seed)
    centres = rng.random((n_centres, n_bits)) < 0.5

    def draw(size):
        flips = rng.random((size, n_bits), dtype=np.float32) < flip
        return centres[rng.integers(n_centres, size=size)] ^ flips

    return draw(n), draw(n_queries)


def _flat(codes):
    index = faiss.IndexBinaryFlat(codes.shape[1])
    index.add(np.packbits(codes, axis=1))
    return index


def _hash(codes, width):
    index = faiss.IndexBinaryHash(codes.shape[1], width)
    index.add(np.packbits(codes, axis=1))
    return index


def _multi_hash(codes, tables, width):
    index = faiss.IndexBinaryMultiHash(codes.shape[1], tables, width)
    index.add(np.packbits(codes, axis=1))
    return index


def _range_search(index, packed, radius):
    """Search FAISS exactly: it keeps distances strictly below the radius it is given."""
    if isinstance(index, faiss.IndexBinaryMultiHash):
        index.nflip = radius // index.nhash  # pigeonhole
    elif isinstance(index, faiss.IndexBinaryHash):
        index.nflip = min(radius, index.b)
    limits, _, ids = index.range_search(packed, radius + 1)
    return limits.astype(np.int64), ids


def _canonical(indptr, ids):
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    return ids[np.lexsort((ids, rows))]


def _compare(case, radius, ours, peers, n_queries, repeats):
    """Assert equal answers, then time in turns; one row of the table."""
    indptr, ids = ours()
    for name, peer in peers.items():
        limits, labels = peer()
        assert np.array_equal(indptr, limits), f"{name} and we disagree at radius {radius}"
        assert np.array_equal(_canonical(indptr, ids), _canonical(limits, labels)), name
        del limits, labels
    del indptr, ids
    calls = {"ours": ours, **peers}
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) / n_queries * 1e6)
    best = min(peers, key=lambda name: np.median(times[name]))
    ratios = np.divide(times["ours"], times[best])
    medians = np.median(times["ours"]), best, np.median(times[best]), np.median(ratios)
    return [case, radius, *medians, ratios.min(), ratios.max()]


def _table(case, codes, queries, radii, indexes, repeats):
    ours, packed = HammingIndex(codes), np.packbits(queries, axis=1)
    rows = []
    for radius in radii:
        peers = {
            name: lambda index=index, radius=radius: _range_search(index, packed, radius)
            for name, index in indexes.items()
        }
        search = lambda radius=radius: ours.radius_search(queries, radius)  # noqa: E731
        rows.append(_compare(case, radius, search, peers, len(queries), repeats))
    return pd.DataFrame(rows, columns=COLUMNS)


def single_table(repeats=7) -> pd.DataFrame:
    """16-bit LSH codes of the data set at hand, radii 0 to 10."""
    faiss.omp_set_num_threads(1)
    name, codes, queries = real_codes()
    indexes = {"IndexBinaryFlat": _flat(codes), "IndexBinaryHash(16)": _hash(codes, 16)}
    case = f"{name}, {len(codes):,} × {codes.shape[1]} bits"
    return _table(case, codes, queries, range(11), indexes, repeats)


def multi_index(n=1_000_000, radii=range(4, 9), repeats=5) -> pd.DataFrame:
    """Clustered 64-bit codes; the last row is the time to build, in microseconds."""
    faiss.omp_set_num_threads(1)
    codes, queries = clustered_codes(n)
    indexes = {"IndexBinaryFlat": _flat(codes)}
    for tables, width in [(4, 16), (3, 21)]:
        indexes[f"IndexBinaryMultiHash({tables}, {width})"] = _multi_hash(codes, tables, width)
    case = f"clustered, {n:,} × {codes.shape[1]} bits"
    frame = _table(case, codes, queries, radii, indexes, repeats)
    builds = []
    for _ in range(3):
        seconds = []
        for build in (HammingIndex, lambda codes: _multi_hash(codes, 4, 16)):
            start = time.perf_counter()
            build(codes)
            seconds.append(time.perf_counter() - start)
        builds.append(seconds)
    ours, peer = np.median(builds, axis=0) * 1e6
    ratios = np.divide(*np.transpose(builds))
    row = [f"{case}, build", -1, ours, "IndexBinaryMultiHash(4, 16)", peer, np.median(ratios)]
    frame.loc[len(frame)] = [*row, ratios.min(), ratios.max()]
    return frame


def growth(sizes=(10**4, 10**5, 10**6, 10**7), radius=2, n_queries=120, repeats=5) -> pd.DataFrame:
    """Time a query against the number of random 32-bit codes.

    Adds a column n; ``frame.attrs["exponents"]`` holds the slopes of log time against log n.
    """
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    frames = []
    for n in sizes:
        codes = np.unpackbits(rng.integers(256, size=(n, 4), dtype=np.uint8), axis=1).view(bool)
        queries = codes[rng.integers(n, size=n_queries)] ^ (rng.random((n_queries, 32)) < 0.03)
        indexes = {"IndexBinaryMultiHash(2, 16)": _multi_hash(codes, 2, 16)}
        if n <= 10**6:  # beyond that the flat index is a hundred times slower
            indexes["IndexBinaryFlat"] = _flat(codes)
        frame = _table(f"random, {n:,} × 32 bits", codes, queries, [radius], indexes, repeats)
        frames.append(frame.assign(n=n))
        del codes, indexes
    frame = pd.concat(frames, ignore_index=True)
    frame.attrs["exponents"] = {
        column: float(np.polyfit(np.log(frame["n"]), np.log(frame[column]), 1)[0])
        for column in ("ours_us", "peer_us")
    }
    return frame


def nearest(n=1_000_000, ks=(10, 100), repeats=5) -> pd.DataFrame:
    """Find the k nearest, k in column radius; equal distances, as FAISS breaks ties otherwise."""
    faiss.omp_set_num_threads(1)
    rows = []
    for name, codes, queries in [real_codes(), ("clustered", *clustered_codes(n))]:
        ours, flat, packed = HammingIndex(codes), _flat(codes), np.packbits(queries, axis=1)
        case = f"{name}, {len(codes):,} × {codes.shape[1]} bits, k nearest"
        for k in ks:
            calls = [partial(ours.kneighbors, queries, k), partial(flat.search, packed, k)]
            assert np.array_equal(calls[0]()[1], calls[1]()[0]), f"FAISS and we disagree at k = {k}"
            times = []
            for _ in range(repeats):
                for call in calls:
                    start = time.perf_counter()
                    call()
                    times.append((time.perf_counter() - start) / len(queries) * 1e6)
            ours_us, flat_us = np.reshape(times, (-1, 2)).T
            ratios = ours_us / flat_us
            medians = np.median(ours_us), "IndexBinaryFlat", np.median(flat_us), np.median(ratios)
            rows.append([case, k, *medians, ratios.min(), ratios.max()])
    return pd.DataFrame(rows, columns=COLUMNS)


def memory(shapes=((58_682, 16), (10**6, 32), (10**6, 64), (10**6, 128))) -> pd.DataFrame:
    """Weigh what an index keeps in memory against the bare codes."""
    rng = np.random.default_rng(0)
    rows = []
    for n, n_bits in shapes:
        codes = rng.random((n, n_bits), dtype=np.float32) < 0.5
        tracemalloc.start()
        index = HammingIndex(codes)
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        raw = n * n_bits / 8
        rows.append([f"{n:,} × {n_bits} bits", raw, kept, peak, kept / raw])
        del index, codes
    return pd.DataFrame(rows, columns=["case", "raw_bytes", "bytes", "peak_bytes", "ratio"])


def main() -> None:
    """Print all tables."""
    for run in (single_table, multi_index, nearest, growth, memory):
        frame = run()
        print(f"\n{run.__name__}\n{frame.to_string(index=False, float_format='%.2f')}", flush=True)
        if "exponents" in frame.attrs:
            print("exponents:", {k: round(v, 2) for k, v in frame.attrs["exponents"].items()})


if __name__ == "__main__":
    main()
