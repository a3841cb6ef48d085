"""Search by Hamming distance, and exact cosine re-ranking of what it finds, in plain NumPy.

One mechanism serves every code length: multi-index hashing (Norouzi, Punjani and Fleet, "Fast
search in Hamming space with multi-index hashing", CVPR 2012, doi:10.1109/CVPR.2012.6248043).
A code is cut into chunks and each chunk has a direct-address hash table. Codes of up to 16 bits
have one chunk, and the method is then the textbook hash table with multi-probe.

Codes are kept in two ways: as words (`pack_words`), which give distances, and as the values of
their chunks, which are bucket numbers.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import BinaryIO

import numpy as np

from grh_helpers._files import atomic
from grh_helpers.codes import check_codes, check_rows, check_whole, hamming, pack_words, unpack_bits

__all__ = ["HammingIndex", "Reranker", "rerank"]

# Chunks have at most 16 bits, and about log2 n from a million codes on, as the method wants.
CHUNK_BITS = 16
# Temporaries of a block have about this many items, so that they stay in the processor's cache.
BLOCK = 1 << 16
# The costs decide between ways to the same answer. They were measured with one thread on CIFAR-10
# (58,682 codes of 16 to 64 bits, vectors of 512 numbers) and a million clustered codes.
# Looking up one bucket, in codes that a scan compares in that time: 3 to 7.
PROBE_COST = 3
# Fetching one candidate from a bucket, in codes of a scan: 3 to 6.
CANDIDATE_COST = 4
# Fetching and verifying one, where there are several chunks, in codes of a scan: 5 to 13.
VERIFY_COST = 10
# Gathering one vector, in rows of a large matrix product: 32 (float64) to 49 (float32).
GATHER_COST = 32
# Reading one row for a product, however few the queries are, in rows of a large one: 8 to 11.
READ_COST = 8
# A `Reranker` keeps products of up to this many numbers in all.
KEPT = 1 << 24
FORMAT = 1
_adding = threading.Lock()  # one for all indexes, so that each can be pickled

Answer = tuple[np.ndarray, np.ndarray]


class _Tables:
    """Codes and the hash tables of their chunks. Never changes, so threads may share it.

    The tables lie end to end, so that one look-up serves all chunks (a loop over the chunks takes
    up to three times as long for a few queries): table j begins at bucket j·2^width, and bucket b
    holds ``ids[offsets[b]:offsets[b + 1]]``.
    """

    def __init__(self, codes: np.ndarray):
        n, self.n_bits = codes.shape
        m = -(-self.n_bits // (CHUNK_BITS if n <= 10**6 else round(math.log2(n))))
        self.widths = [(self.n_bits + j) // m for j in reversed(range(m))]
        self.words = pack_words(codes)
        columns = self._values(codes).T.copy()
        dtype = np.int32 if m * n < 2**31 else np.int64
        sizes = [np.bincount(column, minlength=1 << self.widths[0]) for column in columns]
        self.offsets = np.concatenate([[0], *sizes]).cumsum().astype(dtype)
        ids = np.empty(columns.shape, dtype)
        for row, column in zip(ids, columns, strict=True):
            row[:] = _argsort(column)
        self.ids = ids.ravel()
        # Row j has ones at the bits of chunk j.
        self.chunk_masks = pack_words(np.repeat(np.eye(m, dtype=bool), self.widths, axis=1))
        # A copy of the codes beside the ids: a bucket's candidates then lie side by side in
        # memory, which makes verifying them some 40 % faster.
        self.copies = self.words.take(self.ids, axis=0) if m > 1 else None

    def _values(self, codes: np.ndarray) -> np.ndarray:
        """Cut codes into chunks and read each as a number, shape (n, n_chunks)."""
        m = len(self.widths)
        if self.n_bits % m == 0:  # all chunks in one call, some eight times as fast
            return pack_words(codes.reshape(-1, self.n_bits // m)).reshape(-1, m)
        return np.hstack([pack_words(chunk) for chunk in np.array_split(codes, m, axis=1)])

    def radius_search(self, query_codes: np.ndarray, radius: int) -> Answer:
        """Find everything within the radius, as `HammingIndex.radius_search` returns it."""
        query_codes = check_codes(query_codes, self.n_bits)
        check_whole("radius", radius, 0)
        nothing = np.zeros(1, np.int64), self.ids[:0]
        blocks = [nothing, *self._blocks(query_codes, min(int(radius), self.n_bits))]
        counts, ids = map(np.concatenate, zip(*blocks, strict=True))
        return counts.cumsum(), ids

    def _blocks(self, query_codes: np.ndarray, radius: int) -> Iterator[Answer]:
        """Yield (counts, ids) of one block of queries after the other."""
        queries, m = pack_words(query_codes), len(self.widths)
        # Pigeonhole: with radius = m·s + a, a neighbour differs by at most s bits in one of the
        # first a + 1 chunks, or by at most s - 1 bits in one of the others.
        s, a = divmod(radius, m)
        radii = [s] * (a + 1) + [s - 1] * (m - a - 1)
        sizes = list(map(_ball_size, self.widths, radii))
        if sum(sizes) * PROBE_COST > len(self.words):
            yield from self._scan(queries, radius)
            return
        # A probe is the chunk to look at and the bits to flip there; the chunk's number, written in
        # front of the bits, leads to its table.
        chunks = np.repeat(np.arange(m), sizes)
        flips = np.concatenate(list(map(_masks, self.widths, radii))) | chunks << self.widths[0]
        values = self._values(query_codes).astype(np.intp)
        step = max(1, BLOCK // len(flips))
        for i in range(0, len(queries), step):
            buckets = values[i : i + step].take(chunks, axis=1) ^ flips
            yield from self._probe(queries[i : i + step], buckets, radius, radii)

    def _probe(self, queries, buckets, radius, radii) -> Iterator[Answer]:
        """Yield (counts, ids) of runs of queries, from the buckets of each query."""
        starts = self.offsets.take(buckets)
        counts = self.offsets.take(buckets + 1) - starts
        candidates = counts.sum(axis=1)
        cost = CANDIDATE_COST if self.copies is None else VERIFY_COST
        # Runs end where the candidates fill a block; each run is gathered or, if that is cheaper,
        # scanned.
        full = np.flatnonzero(np.diff(np.cumsum(candidates) // BLOCK)) + 1
        for i, j in pairwise([0, *full, len(queries)]):
            total = candidates[i:j].sum()
            if counts[i:j].size * PROBE_COST + total * cost > (j - i) * len(self.words):
                yield from self._scan(queries[i:j], radius)
                continue
            places = _ranges(starts[i:j].ravel(), counts[i:j].ravel())
            if self.copies is None:  # the bucket is the whole code: nothing to verify
                yield candidates[i:j], self.ids.take(places)
            else:
                yield self._verify(queries[i:j], candidates[i:j], places, radius, radii)

    def _verify(self, queries, candidates, places, radius, radii) -> Answer:
        """Keep the candidates within the radius, each from the first chunk that finds it."""
        found, wanted = self.copies.take(places, axis=0), np.repeat(queries, candidates, axis=0)
        near = np.flatnonzero(hamming(found, wanted) <= radius)
        found, wanted, places = (
            found.take(near, axis=0),
            wanted.take(near, axis=0),
            places.take(near),
        )
        # Counting bits again is up to four times as fast as sorting duplicates out.
        chunk, first = places // len(self.words), np.ones(len(near), bool)
        for j, (mask, r) in enumerate(zip(self.chunk_masks, radii, strict=True)):
            first &= (chunk <= j) | (hamming(found & mask, wanted & mask) > r)
        counts = np.diff(np.searchsorted(near[first], np.cumsum(candidates)), prepend=0)
        return counts, self.ids.take(places[first])

    def _scan(self, queries: np.ndarray, radius: int) -> Iterator[Answer]:
        """Yield (counts, ids) of runs of queries, by comparing them with every code."""
        n = len(self.words)
        step = max(1, BLOCK // n)
        for i in range(0, len(queries), step):
            block = queries[i : i + step, None]
            hits = np.flatnonzero(hamming(self.words, block) <= radius)
            starts = n * np.arange(len(block) + 1)
            counts = np.diff(np.searchsorted(hits, starts))
            yield counts, (hits - np.repeat(starts[:-1], counts)).astype(self.ids.dtype)


class HammingIndex:
    """Find all codes within a Hamming distance, exactly, by multi-index hashing.

    Built by hand in chapter 3. Any number of threads may search and add: a search sees the index
    as it was before an `add` or as it is after it.

    Parameters
    ----------
    codes : array of shape (n, n_bits), bool or 0/1 integers
        One row per item; its position is the item's id.
    vectors : array of shape (n, d), optional
        The items' vectors, for re-ranking by cosine in `search`. float32 and float64 arrays,
        memory maps included, are not copied, so leave them unchanged.

    Attributes
    ----------
    n_bits : int
        Length of a code.

    Raises
    ------
    ValueError
        If the codes are empty or not 0/1, the vectors are of another length than the codes, or a
        vector has no direction (zero, or with NaN or infinite values).

    References
    ----------
    M. Norouzi, A. Punjani, D. Fleet. Fast search in Hamming space with multi-index hashing.
    CVPR 2012. doi:10.1109/CVPR.2012.6248043

    Examples
    --------
    >>> index = HammingIndex(np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1]]))
    >>> index
    HammingIndex(3 codes of 3 bits, without vectors)
    >>> indptr, ids = index.radius_search(np.array([[0, 0, 0], [1, 1, 1]]), radius=1)
    >>> [sorted(ids[a:b].tolist()) for a, b in zip(indptr[:-1], indptr[1:])]
    [[0], [1, 2]]
    """

    def __init__(self, codes: np.ndarray, vectors: np.ndarray | None = None):
        codes, norms = check_codes(codes), None
        if not len(codes):
            raise ValueError("The database is empty; give at least one code.")
        if vectors is not None:
            vectors, norms = _check_vectors("vectors", vectors)
            check_rows("codes", codes, "vectors", vectors)
        self.n_bits = codes.shape[1]
        self._state = _Tables(codes), vectors, norms

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._state[0].words)

    def __repr__(self) -> str:
        have = "without" if self._state[1] is None else "with"
        return f"HammingIndex({len(self)} codes of {self.n_bits} bits, {have} vectors)"

    def add(self, codes: np.ndarray, vectors: np.ndarray | None = None) -> None:
        """Append items; their ids follow on. The tables are built anew, so add many at once.

        Parameters
        ----------
        codes : array of shape (n, n_bits), bool or 0/1 integers
        vectors : array of shape (n, d)
            Needed if the index was built with vectors, refused if it was not.

        Raises
        ------
        ValueError
            As at construction; the index then stays as it was.
        """
        codes = check_codes(codes, self.n_bits)
        with _adding:
            tables, old, norms = self._state
            if (vectors is None) != (old is None):
                have = "without" if old is None else "with"
                message = f"The index was built {have} vectors; add items {have} vectors too."
                raise ValueError(message)
            if vectors is not None:
                vectors, lengths = _check_vectors("vectors", vectors, old.shape[1])
                check_rows("codes", codes, "vectors", vectors)
                vectors, norms = np.concatenate([old, vectors]), np.concatenate([norms, lengths])
            codes = np.concatenate([unpack_bits(tables.words, self.n_bits), codes])
            # Everything is ready and takes effect at once, for searches in other threads.
            self._state = _Tables(codes), vectors, norms

    def radius_search(self, query_codes: np.ndarray, radius: int) -> Answer:
        """Find all items within a Hamming distance of each query.

        Parameters
        ----------
        query_codes : array of shape (n_queries, n_bits), bool or 0/1 integers
        radius : int, at least 0

        Returns
        -------
        indptr : array of shape (n_queries + 1,), int64
            The answer to query i is ``ids[indptr[i]:indptr[i + 1]]``.
        ids : array of shape (total,), int32 (int64 in an index too large for it)
            Each item at most once per query; the order within a query is deterministic, but not
            specified.

        Raises
        ------
        ValueError
            If the codes are of another width than the index or the radius is negative or not whole.
        """
        return self._state[0].radius_search(query_codes, radius)

    def search(
        self, query_codes: np.ndarray, radius: int, k: int = 10, queries: np.ndarray | None = None
    ) -> Answer:
        """Find the k best items among those within a Hamming distance of each query.

        Parameters
        ----------
        query_codes : array of shape (n_queries, n_bits), bool or 0/1 integers
        radius : int, at least 0
        k : int, at least 1
            At most 1,000 or the number of items, whichever is more.
        queries : array of shape (n_queries, d), optional
            The queries' vectors: rank by exact cosine. Without them rank by Hamming distance.

        Returns
        -------
        ids : array of shape (n_queries, k), int64
            Best first, ties by the lower id; -1 where there are fewer than k candidates.
        similarities : array of shape (n_queries, k), float64
            Cosine, or without `queries` the share of equal bits, 1 - distance / n_bits; nan where
            there are fewer than k candidates.

        Raises
        ------
        ValueError
            As `radius_search`; if k is out of range; if `queries` do not fit the index's vectors.
        """
        tables, vectors, norms = self._state
        check_whole("k", k, 1, max(1000, len(tables.words)))
        query_codes = check_codes(query_codes, self.n_bits)
        if queries is not None:
            if vectors is None:
                raise ValueError("The index has no vectors; build it with them or omit queries.")
            reranker = Reranker(queries, vectors, norms)
            check_rows("query_codes", query_codes, "queries", queries)
        indptr, ids = tables.radius_search(query_codes, radius)
        if queries is not None:
            return reranker(indptr, ids, k)
        lists = [ids[a:b] for a, b in pairwise(indptr)]
        ranked = (
            (row, 1 - hamming(tables.words[row], word) / self.n_bits)
            for row, word in zip(lists, pack_words(query_codes), strict=True)
        )
        return _best(ranked, len(lists), k)

    def buckets(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Group the items by code.

        Built by hand in chapter 2.

        Returns
        -------
        keys : array of shape (n_buckets,) or, for more than 64 bits, (n_buckets, words)
            The occupied codes as `pack_bits` writes them, ascending.
        indptr : array of shape (n_buckets + 1,), int64
        ids : array of shape (n,)
            Bucket i holds ``ids[indptr[i]:indptr[i + 1]]``, ascending.

        Examples
        --------
        >>> keys, indptr, ids = HammingIndex(np.array([[1, 1], [0, 1], [1, 1]])).buckets()
        >>> keys, indptr, ids
        (array([1, 3], dtype=uint8), array([0, 1, 3]), array([1, 0, 2], dtype=int32))
        """
        tables = self._state[0]
        order = np.lexsort(tables.words.T[::-1]).astype(tables.ids.dtype)
        keys = tables.words[order]
        new = np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1
        indptr = np.concatenate([[0], new, [len(keys)]])
        keys = keys[indptr[:-1]]
        return keys[:, 0] if keys.shape[1] == 1 else keys, indptr, order

    def save(self, path: str | os.PathLike) -> None:
        """Write the index to one ``.npz`` file, completely or not at all.

        Parameters
        ----------
        path : path of the file, replaced if it exists

        Raises
        ------
        ValueError
            If there is something at `path` that is not a file.
        OSError
            If the file cannot be written; one that was there before is then intact.
        """
        tables, vectors, _ = self._state
        codes = np.packbits(unpack_bits(tables.words, self.n_bits), axis=1)
        content = {"codes": codes, "n_bits": np.array(self.n_bits)}
        if vectors is not None:
            content["vectors"] = vectors
        try:
            with atomic(path) as file:
                np.savez(file, format=FORMAT, checksum=_checksum(content), **content)
        except OSError as error:
            raise OSError(f"The index could not be saved to {path}: {error}.") from error

    @classmethod
    def load(cls, path: str | os.PathLike) -> HammingIndex:
        """Read an index that `save` has written; nothing in the file is executed.

        Parameters
        ----------
        path : path of the file

        Returns
        -------
        HammingIndex

        Raises
        ------
        OSError
            If there is no such file or it may not be read.
        ValueError
            If the file is damaged, cut short, not an index or of another format version.
        """
        with open(path, "rb") as file:
            try:
                codes, vectors = _read(file)
            except MemoryError:
                raise
            except Exception as error:  # zip and npy readers raise nearly anything on damaged files
                what = f"{path} is damaged or not an index of format version {FORMAT}"
                raise ValueError(f"{what}; build the index again and save it.") from error
        return cls(codes, vectors)


class Reranker:
    """Rank candidates of the same queries by cosine, as often as wanted.

    Where the candidates are many, one matrix product of the queries with all vectors is cheaper
    than gathering theirs. It is kept, so that ranking at another radius need not repeat it.

    Parameters
    ----------
    queries : array of shape (n_queries, d)
    vectors : array of shape (n, d)
        The vectors of all items. float32 and float64 arrays are not copied.
    norms : array of shape (n,), optional
        Their Euclidean lengths, if known; `vectors` must then be float32 or float64.

    Attributes
    ----------
    spared : float
        Seconds that kept products have spared the last call.

    Raises
    ------
    ValueError
        If the vectors differ in length or one has no direction.

    Examples
    --------
    >>> reranker = Reranker(np.array([[1.0, 0.0]]), np.array([[0.0, 2.0], [3.0, 3.0], [2.0, 0.0]]))
    >>> reranker(np.array([0, 3]), np.array([0, 1, 2]), k=2)
    (array([[2, 1]]), array([[1.        , 0.70710678]]))
    """

    def __init__(self, queries: np.ndarray, vectors: np.ndarray, norms: np.ndarray | None = None):
        if norms is None:
            vectors, norms = _check_vectors("vectors", vectors)
        queries, lengths = _check_vectors("queries", queries, vectors.shape[1])
        self._queries, self._vectors, self._norms = queries / lengths[:, None], vectors, norms
        self._kept, self.spared = {}, 0.0

    def __call__(self, indptr: np.ndarray, ids: np.ndarray, k: int = 10) -> Answer:
        """Keep each query's k most similar candidates.

        Parameters
        ----------
        indptr, ids : as returned by `HammingIndex.radius_search`
        k : int, at least 1
            At most 1,000 or the number of items, whichever is more.

        Returns
        -------
        ids : array of shape (n_queries, k), int64
            Best first, ties by the lower id; -1 where there are fewer than k candidates.
        similarities : array of shape (n_queries, k), float64
            nan where there are fewer than k candidates.

        Raises
        ------
        ValueError
            If k is out of range or the candidates are those of another number of queries.
        """
        check_whole("k", k, 1, max(1000, len(self._vectors)))
        lists = [ids[a:b] for a, b in pairwise(indptr)]
        check_rows("indptr[1:]", lists, "queries", self._queries)
        self.spared = 0.0
        return _best(self._cosines(lists, k), len(lists), k)

    def _cosines(self, lists: list[np.ndarray], k: int) -> Iterator[Answer]:
        """Yield each query's (candidates, cosines), less candidates that cannot be among k."""
        # A matrix product may round equal rows differently, and float32 rounds a lot, so it only
        # preselects, with a margin; the exact cosines rank.
        margin = 16 * np.finfo(self._vectors.dtype).eps * self._vectors.shape[1] ** 0.5
        step = max(1, 128 * BLOCK // len(self._vectors))
        for start in range(0, len(lists), step):
            rows = lists[start : start + step]
            product = self._product(start, start + len(rows), sum(map(len, rows)))
            for i, row in enumerate(rows):
                if product is not None and len(row) > k:
                    row = row[_at_least(product[i].take(row), k, margin)]
                yield row, self._exact(self._queries[start + i], row)

    def _exact(self, query: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Cosines of a query with some items, whose vectors it gathers a few at a time."""
        # einsum sums every row in the same order, so equal rows are exactly equal.
        parts = [row[j : j + 256] for j in range(0, len(row) or 1, 256)]
        dots = [np.einsum("ij,j->i", np.asarray(self._vectors[p], float), query) for p in parts]
        return np.concatenate(dots) / self._norms[row]

    def _product(self, start: int, stop: int, n_candidates: int) -> np.ndarray | None:
        """Rough cosines of these queries with all items, or None where gathering is better."""
        if start in self._kept:
            product, seconds = self._kept[start]
            self.spared += seconds
            return product
        if n_candidates * GATHER_COST <= (stop - start + READ_COST) * len(self._vectors):
            return None
        # Near the ends of the floating-point range products are too rough to preselect with.
        limits = np.finfo(self._vectors.dtype)
        if self._norms.min() < limits.tiny / limits.eps or self._norms.max() > limits.max / 2:
            return None
        clock = time.perf_counter()
        product = self._queries[start:stop].astype(self._vectors.dtype) @ self._vectors.T
        product /= self._norms
        if product.size + sum(kept.size for kept, _ in self._kept.values()) <= KEPT:
            self._kept[start] = product, time.perf_counter() - clock
        return product


def rerank(
    indptr: np.ndarray, ids: np.ndarray, queries: np.ndarray, vectors: np.ndarray, k: int = 10
) -> Answer:
    """Keep each query's k most similar candidates by cosine: one call of a `Reranker`.

    Built by hand in chapter 3.

    Parameters
    ----------
    indptr, ids : as returned by `HammingIndex.radius_search`
    queries : array of shape (n_queries, d)
    vectors : array of shape (n, d)
        The vectors of all items.
    k : int, at least 1

    Returns
    -------
    ids, similarities : as a `Reranker` returns them

    Raises
    ------
    ValueError
        As a `Reranker`.
    """
    return Reranker(queries, vectors)(indptr, ids, k)


def _best(ranked: Iterable[Answer], n_queries: int, k: int) -> Answer:
    """Sort each query's (ids, similarities) and fill tables of shape (n_queries, k)."""
    best_ids, best = np.full((n_queries, k), -1, np.int64), np.full((n_queries, k), np.nan)
    for i, (ids, similarities) in enumerate(ranked):
        if len(ids) > k:
            chosen = _at_least(similarities, k)
            ids, similarities = ids[chosen], similarities[chosen]
        order = np.lexsort((ids, -similarities))[:k]
        best_ids[i, : len(order)], best[i, : len(order)] = ids[order], similarities[order]
    return best_ids, best


def _at_least(values: np.ndarray, k: int, margin: float = 0.0) -> np.ndarray:
    """Return the positions of the values not below the k-th largest, less the margin."""
    # The k-th best of a sample is at most the k-th best of all, so it clears most away.
    sample = values[: max(512, 8 * k)]
    positions = np.flatnonzero(values >= np.partition(sample, -k)[-k] - margin)
    kept = values[positions]
    return positions[kept >= np.partition(kept, -k)[-k] - margin]


def _ball_size(n_bits: int, radius: int) -> int:
    """Count the ways of flipping at most `radius` of `n_bits` bits."""
    return sum(math.comb(n_bits, flips) for flips in range(radius + 1))


@lru_cache(maxsize=16)
def _masks(n_bits: int, radius: int) -> np.ndarray:
    """Every way of flipping at most `radius` of `n_bits` bits, fewest flips first."""
    shells = [np.zeros(min(radius + 1, 1), np.intp)]  # a radius of -1 has none
    for _ in range(radius):  # one flip more, at a place beyond those that are flipped already
        last = shells[-1]
        shells.append(np.concatenate([last[last < 1 << bit] | 1 << bit for bit in range(n_bits)]))
    return np.concatenate(shells)


def _argsort(values: np.ndarray) -> np.ndarray:
    """Sort unsigned numbers of up to 32 bits, stably."""
    if values.itemsize <= 2:
        return np.argsort(values, kind="stable")
    # NumPy sorts 16 bits by radix, and two halves of 16 four times as fast as one number of 32.
    return np.lexsort([values.astype(np.uint16), (values >> 16).astype(np.uint16)])


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Concatenate arange(start, start + count) for all starts, without a loop."""
    occupied = np.flatnonzero(counts != 0)  # many times faster on bool
    if not len(occupied):
        return occupied
    starts, counts = starts.take(occupied), counts.take(occupied)
    # Steps of one within a range and jumps between ranges add up to the places, in two thirds of
    # the time of repeat(starts, counts) + arange.
    places = np.ones(counts.sum(), np.intp)
    places[0] = starts[0]
    places[np.cumsum(counts)[:-1]] = starts[1:] - starts[:-1] - counts[:-1] + 1
    return np.cumsum(places, out=places)


def _check_vectors(name: str, vectors: np.ndarray, d: int | None = None) -> Answer:
    """Return the vectors as float32 or float64, and their lengths in float64."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.dtype.kind not in "biuf" or d not in (None, vectors.shape[1]):
        got = f"{vectors.dtype} of shape {vectors.shape}"
        raise ValueError(f"{name} must be numbers of shape (n, {d or 'd'}), got {got}.")
    if vectors.dtype not in (np.float32, np.float64):
        vectors = vectors.astype(np.float64)
    lengths = np.empty(len(vectors))
    for i in range(0, len(vectors), 1024):
        lengths[i : i + 1024] = np.linalg.norm(vectors[i : i + 1024].astype(float), axis=1)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        why = (
            f"zero or has NaN or infinite values, so its cosine is undefined ({len(bad)} such rows"
        )
        raise ValueError(f"Row {bad[0]} of {name} is {why}); remove or repair it.")
    return vectors, lengths


def _checksum(content: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(content):
        array = np.ascontiguousarray(content[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array)
    return digest.hexdigest()


def _read(file: BinaryIO) -> tuple[np.ndarray, np.ndarray | None]:
    """Read codes and vectors as `HammingIndex.save` writes them, nothing larger than the file."""
    content = {}
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as member:
                np.lib.format.read_magic(member)
                shape, _, dtype = np.lib.format.read_array_header_1_0(member)
                size = member.tell() + math.prod(shape) * dtype.itemsize
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != size:
                    raise ValueError(f"{entry.filename} claims more than it holds.")
                member.seek(0)
                content[entry.filename.removesuffix(".npy")] = np.lib.format.read_array(member)
    if content.pop("format") != FORMAT or content.pop("checksum") != _checksum(content):
        raise ValueError("The format or the checksum is another one.")
    codes, n_bits = content["codes"], int(content["n_bits"])
    if codes.shape != (len(codes), -(-n_bits // 8)):
        raise ValueError(f"The codes do not have {n_bits} bits.")
    return np.unpackbits(codes, axis=1, count=n_bits).astype(bool), content.get("vectors")
