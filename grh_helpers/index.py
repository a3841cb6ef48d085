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
import pickle
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import BinaryIO

import numpy as np
from sklearn.pipeline import Pipeline

from grh_helpers._files import atomic
from grh_helpers.codes import check_codes, check_rows, check_whole, hamming, pack_words, unpack_bits

__all__ = ["HammingIndex", "Reranker", "exact_search", "rerank"]

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
        return next(_join(self._blocks(query_codes, radius), self.ids.dtype))

    def count(self, query_codes: np.ndarray, radius: int) -> np.ndarray:
        """Count what `radius_search` finds."""
        query_codes = check_codes(query_codes, self.n_bits)
        check_whole("radius", radius, 0)
        counts = [counts for counts, _ in self._blocks(query_codes, radius)]
        return np.concatenate([np.zeros(0, np.int64), *counts])

    def candidates(self, query_codes, radius, budget, scores) -> Iterator[Answer]:
        """Yield (counts, ids) of blocks of queries, as `HammingIndex.search` ranks them."""
        if budget is None:
            yield from self._blocks(query_codes, radius)
            return
        budget = min(budget, len(self.words))
        step = max(1, 16 * BLOCK // budget)
        for i in range(0, len(query_codes), step):
            part = None if scores is None else scores[i : i + step]
            ids, _ = self.nearest(query_codes[i : i + step], budget, None, part)
            yield np.full(len(ids), budget), ids.ravel().astype(self.ids.dtype)

    def nearest(self, query_codes, k, radius=None, scores=None) -> Answer:
        """Find the k nearest, if a radius is given within it (-1 where there are fewer)."""
        n, m, words = len(self.words), len(self.widths), pack_words(query_codes)
        k, radius = min(k, n), self.n_bits if radius is None else radius
        if scores is not None:
            return self._directed(query_codes, k, scores)
        ids = np.full((len(words), k), -1)
        distances = np.zeros_like(ids)
        pending, s = np.arange(len(words)), 0
        while len(pending):
            # Flipping s bits in every chunk finds everything within m·s + m - 1. Who has not found
            # k then flips one bit more, which costs so much more that the first tries hardly count.
            reach, i, left = min(radius, m * s + m - 1), 0, []
            for counts, found in self._blocks(query_codes[pending], reach, k):
                rows = pending[i : i + len(counts)]
                i += len(counts)
                done = (counts >= k) | (reach == radius)
                left.append(rows[~done])
                if not done.all():
                    found = found[np.repeat(done, counts)]
                rows, counts = rows[done], counts[done]
                # One sort for all: a key holds the query, the distance and the id.
                wanted = np.repeat(words.take(rows, axis=0), counts, axis=0)
                keys = np.repeat(np.arange(len(rows)) * (self.n_bits + 1), counts)
                keys = (keys + hamming(self.words.take(found, axis=0), wanted)) * n + found
                keys.sort()
                kept = np.minimum(counts, k)
                keys = keys.take(_ranges(np.cumsum(counts) - counts, kept))
                places = np.repeat(rows * k, kept) + _ranges(np.zeros_like(kept), kept)
                ids.put(places, keys % n)
                distances.put(places, keys // n % (self.n_bits + 1))
            pending, s = np.concatenate(left), s + 1
        ids[distances > radius] = -1
        return ids, distances

    def _directed(self, query_codes: np.ndarray, k: int, scores: np.ndarray) -> Answer:
        """Find the k first in query-directed order, as `HammingIndex.kneighbors` returns them."""
        codes = np.packbits(unpack_bits(self.words, self.n_bits), axis=1).T.copy()
        queries, weights = np.packbits(query_codes, axis=1), np.zeros((len(scores), 8 * len(codes)))
        weights[:, : self.n_bits] = np.abs(scores)
        octets = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
        ids, costs = np.empty((len(scores), k), np.int64), np.empty((len(scores), k))
        for i, query in enumerate(queries):
            # What differing in an octet costs, by its value: equal codes then cost exactly the
            # same, which they do not in every matrix product.
            prices = weights[i].reshape(-1, 8) @ octets.T
            cost = sum(p.take(c ^ q) for p, c, q in zip(prices, codes, query, strict=True))
            near = _at_least(-cost, k)
            ids[i] = near[np.argsort(cost[near], kind="stable")[:k]]
            costs[i] = cost[ids[i]]
        return ids, costs

    def _blocks(self, query_codes, radius: int, k: int | None = None) -> Iterator[Answer]:
        """Yield (counts, ids) of one block of queries after the other.

        With k, queries that are scanned get their k nearest, and all as near as those, instead.
        """
        radius = min(int(radius), self.n_bits)
        queries, m = pack_words(query_codes), len(self.widths)
        # Pigeonhole: with radius = m·s + a, a neighbour differs by at most s bits in one of the
        # first a + 1 chunks, or by at most s - 1 bits in one of the others.
        s, a = divmod(radius, m)
        radii = [s] * (a + 1) + [s - 1] * (m - a - 1)
        sizes = list(map(_ball_size, self.widths, radii))
        if sum(sizes) * PROBE_COST > len(self.words):
            yield from self._scan(queries, radius, k)
            return
        # A probe is the chunk to look at and the bits to flip there; the chunk's number, written in
        # front of the bits, leads to its table.
        chunks = np.repeat(np.arange(m), sizes)
        flips = np.concatenate(list(map(_masks, self.widths, radii))) | chunks << self.widths[0]
        values = self._values(query_codes).astype(np.intp)
        step = max(1, BLOCK // len(flips))
        for i in range(0, len(queries), step):
            buckets = values[i : i + step].take(chunks, axis=1) ^ flips
            yield from self._probe(queries[i : i + step], buckets, radius, radii, k)

    def _probe(self, queries, buckets, radius, radii, k) -> Iterator[Answer]:
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
                yield from self._scan(queries[i:j], radius, k)
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

    def _scan(self, queries: np.ndarray, radius: int, k: int | None) -> Iterator[Answer]:
        """Yield (counts, ids) of runs of queries, by comparing them with every code."""
        n = len(self.words)
        step = max(1, BLOCK // n)
        for i in range(0, len(queries), step):
            block = queries[i : i + step, None]
            distances = hamming(self.words, block)
            starts = n * np.arange(len(block) + 1)
            if k is None:
                hits = np.flatnonzero(distances <= radius)
            else:  # the nearest have the largest complements
                rows = [_at_least(~row, k) for row in distances]
                hits = np.concatenate([i * n + row for i, row in enumerate(rows)])
            counts = np.diff(np.searchsorted(hits, starts))
            yield counts, (hits - np.repeat(starts[:-1], counts)).astype(self.ids.dtype)


class HammingIndex:
    """Find all codes within a Hamming distance, exactly, by multi-index hashing.

    Built by hand in chapter 3. Any number of threads may call any method at the same time, `add`
    included: each search, count or save sees the index as it was before an `add` or as it is after
    it, and no item is lost. Additions wait for each other.

    Parameters
    ----------
    codes : array of shape (n, n_bits), bool or 0/1 integers
        One row per item; its position is the item's id.
    vectors : array of shape (n, d), optional
        The items' vectors, for re-ranking by cosine in `search`. float32 and float64 arrays,
        memory maps included, are not copied, so leave them unchanged.
    encoder : fitted sklearn.pipeline.Pipeline, optional
        Its last step is the hash function of the codes, and the steps before it turn raw vectors
        into such as `vectors`. It is saved with the index, and `encode` runs raw queries through
        it.

    Attributes
    ----------
    n_bits : int
        Length of a code.

    Raises
    ------
    ValueError
        If the codes are empty or not 0/1, the vectors are of another length than the codes, a
        vector has no direction (zero, or with NaN or infinite values), or the encoder makes other
        codes of some of the vectors (up to 100 are tried).

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

    def __init__(
        self,
        codes: np.ndarray,
        vectors: np.ndarray | None = None,
        encoder: Pipeline | None = None,
    ):
        codes, norms = check_codes(codes), None
        if not len(codes):
            raise ValueError("The database is empty; give at least one code.")
        if vectors is not None:
            vectors, norms = _check_vectors("vectors", vectors)
            check_rows("codes", codes, "vectors", vectors)
        self.n_bits, self.encoder = codes.shape[1], encoder
        self._check_encoder(codes, vectors)
        self._state = _Tables(codes), vectors, norms

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._state[0].words)

    def __repr__(self) -> str:
        have = "without" if self._state[1] is None else "with"
        return f"HammingIndex({len(self)} codes of {self.n_bits} bits, {have} vectors)"

    def _check_encoder(self, codes: np.ndarray, vectors: np.ndarray | None) -> None:
        """Raise ValueError unless the encoder turns some of the vectors into their codes."""
        if self.encoder is None or not len(codes):
            return
        if vectors is None or not isinstance(self.encoder, Pipeline):
            raise ValueError("An encoder must be a fitted Pipeline, and the index needs vectors.")
        rows = np.linspace(0, len(codes) - 1, min(len(codes), 100)).astype(int)
        try:
            same = np.array_equal(self.encoder[-1].transform(vectors[rows]), codes[rows])
        except Exception as error:  # any estimator may be the last step
            raise ValueError(f"The encoder cannot hash the vectors: {error}") from error
        if not same:
            raise ValueError(
                "The encoder does not belong to this index: its last step makes other codes of the "
                "vectors; give the one that made the codes."
            )

    def encode(self, X: np.ndarray) -> Answer:
        """Run raw queries through the encoder.

        Parameters
        ----------
        X : array of shape (n_queries, d), as the encoder's first step takes it

        Returns
        -------
        query_codes : array of shape (n_queries, n_bits), bool
        queries : array of shape (n_queries, d')
            Vectors for `search`.

        Raises
        ------
        ValueError
            If the index has no encoder.
        """
        if self.encoder is None:
            raise ValueError("The index has no encoder; build it with one, or hash the queries.")
        queries = self.encoder[:-1].transform(X) if len(self.encoder) > 1 else X
        return self.encoder[-1].transform(queries), queries

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
                self._check_encoder(codes, vectors)
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

    def count(self, query_codes: np.ndarray, radius: int) -> np.ndarray:
        """Count the items within a Hamming distance of each query, without keeping their ids.

        Parameters
        ----------
        query_codes : array of shape (n_queries, n_bits), bool or 0/1 integers
        radius : int, at least 0

        Returns
        -------
        array of shape (n_queries,), int64

        Raises
        ------
        ValueError
            As `radius_search`.
        """
        return self._state[0].count(query_codes, radius)

    def kneighbors(
        self, query_codes: np.ndarray, k: int = 10, *, scores: np.ndarray | None = None
    ) -> Answer:
        """Find the k nearest items of each query, by Hamming distance or in query-directed order.

        Parameters
        ----------
        query_codes : array of shape (n_queries, n_bits), bool or 0/1 integers
        k : int, at least 1
        scores : array of shape (n_queries, n_bits), optional
            What the bits of the queries are the signs of: a bit is 1 where its score is at least 0.
            The distance is then the sum of abs(score) over the bits that differ, in float64, so
            bits that the query is sure of weigh more (Lv et al., "Multi-probe LSH", VLDB 2007).

        Returns
        -------
        ids : array of shape (n_queries, min(k, n)), int64
            Nearest first, ties by the lower id. Ids are in the order of the database: shuffle it
            if that order means something.
        distances : array of shape (n_queries, min(k, n)), int64, or float64 with `scores`

        Raises
        ------
        ValueError
            If the codes are of another width than the index, k is not a whole number of at least
            1, or the scores are not finite or not those of the codes.

        Examples
        --------
        >>> index = HammingIndex(np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1]]))
        >>> index.kneighbors(np.array([[0, 0, 0]]), k=2)
        (array([[0, 1]]), array([[1, 2]]))
        >>> index.kneighbors(np.array([[0, 0, 0]]), k=2, scores=np.array([[-9.0, -1.0, -3.0]]))
        (array([[0, 1]]), array([[3., 4.]]))
        """
        query_codes = check_codes(query_codes, self.n_bits)
        check_whole("k", k, 1)
        scores = _check_scores(scores, query_codes)
        return self._state[0].nearest(query_codes, k, None, scores)

    def search(
        self,
        query_codes: np.ndarray,
        radius: int | None = None,
        k: int = 10,
        queries: np.ndarray | None = None,
        *,
        budget: int | None = None,
        scores: np.ndarray | None = None,
    ) -> Answer:
        """Find the k best of each query's candidates: items within a radius, or the nearest few.

        Parameters
        ----------
        query_codes : array of shape (n_queries, n_bits), bool or 0/1 integers
        radius : int, at least 0
            Candidates are the items within this Hamming distance.
        k : int, at least 1
            At most 1,000 or the number of items, whichever is more.
        queries : array of shape (n_queries, d), optional
            The queries' vectors: rank by exact cosine. Without them rank by distance.
        budget : int, at least 1
            Instead of a radius: candidates are so many items, the first that `kneighbors` finds.
        scores : array of shape (n_queries, n_bits), optional
            With a budget only: as in `kneighbors`.

        Returns
        -------
        ids : array of shape (n_queries, k), int64
            Best first, ties by the lower id; -1 where there are fewer than k candidates.
        similarities : array of shape (n_queries, k), float64
            Cosine; without `queries` the share of equal bits, 1 - distance / n_bits, or with
            `scores` minus the distance; nan where there are fewer than k candidates.

        Raises
        ------
        ValueError
            As `radius_search` and `kneighbors`; if k or the budget is out of range; if not exactly
            one of radius and budget is given; if `queries` do not fit the index's vectors.
        """
        tables, vectors, norms = self._state
        check_whole("k", k, 1, max(1000, len(tables.words)))
        query_codes = check_codes(query_codes, self.n_bits)
        if (radius is None) == (budget is None):
            raise ValueError("Give either a radius or a budget, and not both.")
        if budget is not None:
            check_whole("budget", budget, 1)
        else:
            check_whole("radius", radius, 0)
            if scores is not None:
                raise ValueError("Scores order the candidates of a budget; give one, not a radius.")
        scores = _check_scores(scores, query_codes)
        ids = np.full((len(query_codes), k), -1)
        similarities = np.full(ids.shape, np.nan)
        if queries is None:
            found, distances = tables.nearest(query_codes, min(k, budget or k), radius, scores)
            values = 1 - distances / self.n_bits if scores is None else -distances
            ids[:, : found.shape[1]] = found
            similarities[:, : found.shape[1]] = np.where(found < 0, np.nan, values)
            return ids, similarities
        if vectors is None:
            raise ValueError("The index has no vectors; build it with them or omit queries.")
        queries, _ = _check_vectors("queries", queries, vectors.shape[1])
        check_rows("query_codes", query_codes, "queries", queries)
        blocks, i = tables.candidates(query_codes, radius, budget, scores), 0
        for indptr, found in _join(blocks, tables.ids.dtype, 128 * BLOCK):
            j = i + len(indptr) - 1
            reranker = Reranker(queries[i:j], vectors, norms)
            ids[i:j], similarities[i:j] = reranker(indptr, found, k)
            i = j
        return ids, similarities

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
        if self.encoder is not None:
            content["encoder"] = np.frombuffer(pickle.dumps(self.encoder), np.uint8)
        try:
            with atomic(path) as file:
                np.savez(file, format=FORMAT, checksum=_checksum(content), **content)
        except OSError as error:
            raise OSError(f"The index could not be saved to {path}: {error}.") from error

    @classmethod
    def load(cls, path: str | os.PathLike, *, trusted: bool = False) -> HammingIndex:
        """Read an index that `save` has written; nothing in the file is executed, unless trusted.

        Parameters
        ----------
        path : path of the file
        trusted : bool
            Whether to load an encoder, which may execute anything: True only for files of your own.

        Returns
        -------
        HammingIndex

        Raises
        ------
        OSError
            If there is no such file or it may not be read.
        ValueError
            If the file is damaged, cut short, not an index or of another format version, or if it
            has an encoder and is not trusted.
        """
        with open(path, "rb") as file:
            try:
                codes, vectors, encoder = _read(file)
            except MemoryError:
                raise
            except Exception as error:  # zip and npy readers raise nearly anything on damaged files
                what = f"{path} is damaged or not an index of format version {FORMAT}"
                raise ValueError(f"{what}; build the index again and save it.") from error
        if encoder is not None and trusted is not True:
            raise ValueError(
                f"{path} has an encoder, a Python object whose loading can execute any code; load "
                "it with trusted=True if you know who wrote the file."
            )
        return cls(codes, vectors, None if encoder is None else pickle.loads(encoder))


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


def exact_search(queries: np.ndarray, vectors: np.ndarray, k: int = 10) -> Answer:
    """Find each query's k most similar items of all by cosine, in bounded memory.

    Built by hand in chapter 1.

    Parameters
    ----------
    queries : array of shape (n_queries, d)
    vectors : array of shape (n, d)
    k : int, at least 1

    Returns
    -------
    ids, similarities : as a `Reranker` returns them

    Raises
    ------
    ValueError
        As a `Reranker`.
    """
    # One bucket that holds everything.
    everything = HammingIndex(np.zeros((len(vectors), 1), bool), vectors)
    return everything.search(np.zeros((len(queries), 1), bool), 0, k, queries)


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


def _at_least(values: np.ndarray, k: int, margin: float = 0) -> np.ndarray:
    """Return the positions of the values not below the k-th largest, less the margin."""
    # The k-th best of a sample is at most the k-th best of all, so it clears most away.
    sample = values[: max(512, 8 * k)]
    positions = np.flatnonzero(values >= np.partition(sample, -k)[-k] - margin)
    kept = values[positions]
    return positions[kept >= np.partition(kept, -k)[-k] - margin]


def _join(blocks: Iterable[Answer], dtype, size: float = np.inf) -> Iterator[Answer]:
    """Yield (indptr, ids) of blocks, joined until they fill some `size` ids, at least once."""
    counts, ids = [np.zeros(1, np.int64)], bytearray()  # grows in place, where it can
    for more, found in blocks:
        counts.append(more)
        ids.extend(found)
        if len(ids) >= size * dtype.itemsize:
            yield np.concatenate(counts).cumsum(), np.frombuffer(ids, dtype)
            counts, ids = counts[:1], bytearray()
    yield np.concatenate(counts).cumsum(), np.frombuffer(ids, dtype)


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


def _check_scores(scores: np.ndarray | None, query_codes: np.ndarray) -> np.ndarray | None:
    """Return the scores in float64 if they are those of the codes."""
    if scores is None:
        return None
    scores = np.asarray(scores)
    if scores.dtype.kind not in "iuf" or scores.shape != query_codes.shape:
        got = f"{scores.dtype} of shape {scores.shape}"
        raise ValueError(f"scores must be numbers of shape {query_codes.shape}, got {got}.")
    scores = scores.astype(float)
    if not np.isfinite(np.abs(scores).max(initial=0) * scores.shape[1]):
        raise ValueError("scores must be finite; repair the vectors that they were made of.")
    if ((scores >= 0) != query_codes).any():
        raise ValueError(
            "The signs of scores are not the query codes; give the scores whose signs are the bits."
        )
    return scores


def _checksum(content: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(content):
        array = np.ascontiguousarray(content[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array)
    return digest.hexdigest()


def _read(file: BinaryIO) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Read codes, vectors and encoder as `save` writes them, nothing larger than the file."""
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
    codes = np.unpackbits(codes, axis=1, count=n_bits).astype(bool)
    return codes, content.get("vectors"), content.get("encoder")
