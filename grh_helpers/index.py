"""Search by Hamming distance, and exact cosine re-ranking of what it finds, in plain NumPy.

One mechanism serves every code length: multi-index hashing (Norouzi, Punjani and Fleet, "Fast
search in Hamming space with multi-index hashing", CVPR 2012, doi:10.1109/CVPR.2012.6248043).
A code is cut into chunks and each chunk has a direct-address hash table. Codes of up to 16 bits
have one chunk, and the method is then the textbook hash table with multi-probe.

Codes are kept in two ways: as words (`pack_words`), which give distances, and as the values of
their chunks, which are bucket numbers.
"""

import json
import math
import os
import pickle
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, check_consistent_length

from grh_helpers.codes import check_whole, hamming, pack_words, unpack_bits
from grh_helpers.datasets import atomic

__all__ = ["HammingIndex", "exact_search"]

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
# A file begins with a text of so many bytes that says what follows. A change of the tables is a
# change of the format.
HEAD, FORMAT = 4096, 3
_adding = threading.Lock()  # one for all indexes, so that each can be pickled

Answer = tuple[np.ndarray, np.ndarray]


class _State(NamedTuple):
    """What an index holds at one moment. Never changes, so threads may share it.

    The tables of the chunks lie end to end, so that one look-up serves all chunks (a loop over the
    chunks takes up to three times as long for a few queries): table j begins at bucket j·2^width,
    and bucket b holds ``ids[offsets[b]:offsets[b + 1]]``.
    """

    n_bits: int
    chunks: list[tuple[int, int]]  # as `_chunks` returns them
    words: np.ndarray
    offsets: np.ndarray
    ids: np.ndarray
    # The words once more, beside the ids: a bucket's candidates then lie side by side in memory,
    # which makes verifying them some 40 % faster. Empty if the bucket is the whole code.
    copies: np.ndarray
    vectors: np.ndarray | None = None
    norms: np.ndarray | None = None

    @classmethod
    def build(cls, n_bits: int, words: np.ndarray, vectors=None, norms=None) -> Self:
        """Sort the codes into the tables of the chunks."""
        n = len(words)
        m = -(-n_bits // (CHUNK_BITS if n <= 10**6 else round(math.log2(n))))
        dtype = np.int32 if m * n < 2**31 else np.int64
        chunks, sizes, ids = _chunks(n_bits, m), [], []
        for chunk in chunks:  # one at a time, for memory
            values = _values(words, *chunk).astype(np.uint32)
            sizes.append(np.bincount(values, minlength=1 << -(-n_bits // m)))
            # NumPy sorts 16 bits by radix, and two halves of 16 four times as fast as one number
            # of 32.
            order = np.lexsort([values.astype(np.uint16), (values >> 16).astype(np.uint16)])
            ids.append(order.astype(dtype))
        offsets = np.concatenate([[0], *sizes]).cumsum().astype(dtype)
        ids = np.concatenate(ids)
        copies = words.take(ids, axis=0) if m > 1 else words[:0]
        return cls(n_bits, chunks, words, offsets, ids, copies, vectors, norms)

    def within(self, queries: np.ndarray, radius: int) -> Answer:
        """Find all ids within the radius, as `HammingIndex.radius_search` returns them."""
        counts, ids = [np.zeros(1, np.int64)], bytearray()  # grows in place, where it can
        for more, found in self.blocks(queries, radius):
            counts.append(more)
            ids.extend(found)
        return np.concatenate(counts).cumsum(), np.frombuffer(ids, self.ids.dtype)

    def blocks(self, queries, radius: int, k: int | None = None) -> Iterator[Answer]:
        """Find what lies within the radius of the queries, one block of them after the other.

        Yields (counts, ids): how many ids each of the next queries has, and these ids. With k,
        queries that are scanned get their k nearest, and all as near as those, instead.
        """
        radius, m = min(int(radius), self.n_bits), len(self.chunks)
        # Pigeonhole: with radius = m·s + a, a neighbour differs by at most s bits in one of the
        # first a + 1 chunks, or by at most s - 1 bits in one of the others.
        radii = tuple((radius - j) // m for j in range(m))
        probes = _probes(self.n_bits, radii, PROBE_COST, len(self.words))
        if probes is None:
            return self._scan(queries, radius, k)
        return self._probe(queries, radius, radii, *probes, k)

    def _probe(self, queries, radius, radii, probed, flips, k) -> Iterator[Answer]:
        """Open all buckets whose numbers differ from a chunk of the query by few enough bits."""
        cost = CANDIDATE_COST if len(radii) == 1 else VERIFY_COST
        step = max(1, BLOCK // len(flips))
        for start in range(0, len(queries), step):
            block = queries[start : start + step]
            values = np.array([_values(block, *chunk) for chunk in self.chunks], np.intp)
            buckets = values.T.take(probed, axis=1) ^ flips
            starts = self.offsets.take(buckets)
            counts = self.offsets.take(buckets + 1) - starts
            candidates = counts.sum(axis=1)
            # Runs end where the candidates fill a block; each run is gathered or, if that is
            # cheaper, scanned.
            full = np.flatnonzero(np.ediff1d(np.cumsum(candidates) // BLOCK)) + 1
            for i, j in pairwise([0, *full, len(block)]):
                work = counts[i:j].size * PROBE_COST + candidates[i:j].sum() * cost
                if work > (j - i) * len(self.words):
                    yield from self._scan(block[i:j], radius, k)
                    continue
                places, found = _ranges(starts[i:j].ravel(), counts[i:j].ravel()), candidates[i:j]
                if len(radii) > 1:  # otherwise the bucket is the whole code: nothing to verify
                    places, found = self._verify(block[i:j], found, places, radius, radii)
                yield found, self.ids.take(places)

    def _verify(self, queries, counts, places, radius, radii) -> Answer:
        """Keep the candidates within the radius, each from the first chunk that finds it."""
        found, wanted = self.copies.take(places, axis=0), np.repeat(queries, counts, axis=0)
        near = np.flatnonzero(hamming(found, wanted) <= radius)
        differing, places = found.take(near, axis=0) ^ wanted.take(near, axis=0), places.take(near)
        # Counting bits again is up to four times as fast as sorting duplicates out.
        table, first = places // len(self.words), np.ones(len(near), bool)
        for j, chunk in enumerate(self.chunks[:-1]):
            first &= (table <= j) | (np.bitwise_count(_values(differing, *chunk)) > radii[j])
        ends = np.searchsorted(near[first], np.cumsum(counts))
        return places[first], np.ediff1d(ends, to_begin=ends[0])

    def _scan(self, queries, radius: int, k: int | None) -> Iterator[Answer]:
        """Compare the queries with every code."""
        step = max(1, BLOCK // len(self.words))
        for i in range(0, len(queries), step):
            distances = hamming(self.words, queries[i : i + step, None])
            near = [_at_least(~row, k) if k else np.flatnonzero(row <= radius) for row in distances]
            yield np.array(list(map(len, near))), np.concatenate(near).astype(self.ids.dtype)

    def nearest(self, queries, k: int, radius: int | None = None) -> Answer:
        """Find the k nearest, if a radius is given within it (-1 where there are fewer).

        The queries are words or, for query-directed order, scores.
        """
        n, k = len(self.words), min(k, len(self.words))
        if queries.dtype == float:
            return self._directed(queries, k)
        radius = self.n_bits if radius is None else min(radius, self.n_bits)
        # A key holds the distance and the id, so that one sort orders by both.
        best = np.full((len(queries), k), -1)
        rows, reach = np.arange(len(queries)), -1
        while len(rows) and reach < radius:
            # Flipping s bits in every chunk finds everything within m·s + m - 1. Who has not found
            # k then flips one bit more, which costs so much more that the first tries hardly count.
            reach, done = min(radius, reach + len(self.chunks)), 0
            for counts, found in self.blocks(queries[rows], reach, k):
                block = rows[done : done + len(counts)]
                done += len(counts)
                wanted = np.repeat(queries[block], counts, axis=0)
                keys = hamming(self.words.take(found, axis=0), wanted) * np.int64(n) + found
                for row, (i, j) in zip(block, pairwise([0, *np.cumsum(counts)]), strict=True):
                    if j - i >= k or reach == radius:
                        best[row, : j - i] = np.sort(keys[i:j])[:k]
            rows = rows[best[rows, -1] < 0]
        distances, ids = np.divmod(best, n)
        ids[(best < 0) | (distances > radius)] = -1
        return ids, distances

    def _directed(self, scores, k: int) -> Answer:
        """Find the k first in query-directed order, as `HammingIndex.kneighbors` returns them."""
        words = np.concatenate([pack_words(scores >= 0), self.words])
        octets = words.astype(words.dtype.newbyteorder(">")).view(np.uint8).T.copy()
        weights = np.pad(np.abs(scores), ((0, 0), (8 * len(octets) - self.n_bits, 0)))
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
        ids, costs = np.empty((len(scores), k), np.int64), np.empty((len(scores), k))
        for i, weight in enumerate(weights):
            # What differing in an octet costs, by its value: equal codes then cost exactly the
            # same, which they do not in every matrix product.
            prices = weight.reshape(-1, 8) @ bits.T
            differing = octets[:, len(scores) :] ^ octets[:, i, None]
            cost = sum(price.take(octet) for price, octet in zip(prices, differing, strict=True))
            near = _at_least(-cost, k)
            ids[i] = near[np.argsort(cost[near], kind="stable")[:k]]
            costs[i] = cost[ids[i]]
        return ids, costs

    def rank(self, candidates, queries, ids: np.ndarray, cosines: np.ndarray, kept: list) -> float:
        """Write each query's candidates of the highest cosine, for queries of length 1.

        Keeps what a matrix product of the queries with all vectors gave, for the next call with
        the same queries, and the seconds it took; returns the seconds that this call saved.
        """
        k, saved = ids.shape[1], 0.0
        # A matrix product may round equal rows differently, and float32 rounds a lot, so it only
        # preselects, with a margin; the exact cosines rank.
        margin = 16 * np.finfo(self.vectors.dtype).eps * self.vectors.shape[1] ** 0.5
        work = sum(map(len, candidates)) * GATHER_COST
        if dense := work > (len(queries) + READ_COST) * len(self.words):
            saved, start = sum(kept[1:]), time.perf_counter()
            if not kept:
                kept.append(queries.astype(self.vectors.dtype) @ self.vectors.T)
                kept[0] /= self.norms
                kept.append(time.perf_counter() - start)
        for i, (row, query) in enumerate(zip(candidates, queries, strict=True)):
            if dense and len(row) > k:
                row = row[_at_least(kept[0][i].take(row), k, margin)]
            parts = (self.vectors[row[j : j + 256]] for j in range(0, len(row), 256))  # for memory
            # einsum sums every row in the same order, so equal rows are exactly equal.
            dots = (np.einsum("ij,j->i", part.astype(float, copy=False), query) for part in parts)
            exact = np.concatenate([np.zeros(0), *dots]) / self.norms[row]
            order = np.lexsort((row, -exact))[:k]
            ids[i, : len(order)], cosines[i, : len(order)] = row[order], exact[order]
        return saved


class HammingIndex:
    """Find all codes within a Hamming distance, exactly, by multi-index hashing.

    Built by hand in chapter 3. Any number of threads may call any method at the same time, `add`
    included: each search, count or save sees the index as it was before an `add` or as it is after
    it, and no item is lost. Additions wait for each other.

    Parameters
    ----------
    codes : array of shape (n, n_bits), bool or 0/1 integers
        One row per item; its position is the item's id. Or an iterator over such arrays, one block
        of items after the other, for more codes than fit into memory as single bits.
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
        If the codes are empty, not 0/1 or of several lengths, the vectors are of another length
        than the codes, a vector has no direction (zero, with NaN or infinite values, or nearly
        so), or the encoder makes other codes of some of the vectors (up to 100 are tried).

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

    def __init__(self, codes, vectors: np.ndarray | None = None, encoder: Pipeline | None = None):
        words, self.n_bits, self.encoder = [], None, encoder
        for block in codes if isinstance(codes, Iterator) else [codes]:
            words.append(pack_words(block, self.n_bits))
            self.n_bits = np.shape(block)[1]
        if not sum(map(len, words)):
            raise ValueError("The database is empty; give at least one code.")
        self._state = _State.build(self.n_bits, *self._check_items(np.concatenate(words), vectors))

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._state.words)

    def __repr__(self) -> str:
        have = "without" if self._state.vectors is None else "with"
        return f"HammingIndex({len(self)} codes of {self.n_bits} bits, {have} vectors)"

    def _check_items(self, words: np.ndarray, vectors) -> tuple:
        """Return the words, vectors and lengths of some items, if all belong together."""
        norms = None
        if vectors is not None:
            vectors, norms = _check_vectors("vectors", vectors)
            check_consistent_length(words, vectors)
        self._check_encoder(words, vectors)
        return words, vectors, norms

    def _check_encoder(self, words: np.ndarray, vectors: np.ndarray | None) -> None:
        """Raise ValueError unless the encoder turns some of the vectors into their codes."""
        if self.encoder is None or not len(words):
            return
        if vectors is None or not isinstance(self.encoder, Pipeline):
            raise ValueError("An encoder must be a fitted Pipeline, and the index needs vectors.")
        rows = np.linspace(0, len(words) - 1, min(len(words), 100)).astype(int)
        codes = self.encoder[-1].transform(vectors[rows])
        if not np.array_equal(codes, unpack_bits(words[rows], self.n_bits)):
            raise ValueError("The encoder does not belong to this index; give that of its codes.")

    def encode(self, X: np.ndarray) -> Answer:
        """Run raw queries through the encoder.

        Used in the README; chapter 3 encodes by hand.

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
        with _adding:
            old = self._state
            if (vectors is None) != (old.vectors is None):
                raise ValueError("Give vectors if the index was built with them, and only then.")
            items = self._check_items(pack_words(codes, self.n_bits), vectors)
            pairs = zip((old.words, old.vectors, old.norms), items, strict=True)
            joined = [None if new is None else np.concatenate([kept, new]) for kept, new in pairs]
            # Everything is ready and takes effect at once, for searches in other threads.
            self._state = _State.build(self.n_bits, *joined)

    def radius_search(self, query_codes: np.ndarray, radius: int) -> Answer:
        """Find all items within a Hamming distance of each query.

        Built by hand in chapter 3, over one table and over two.

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
        radius = check_whole("radius", radius, 0)
        return self._state.within(pack_words(query_codes, self.n_bits), radius)

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
        radius = check_whole("radius", radius, 0)
        blocks = self._state.blocks(pack_words(query_codes, self.n_bits), radius)
        return np.concatenate([np.zeros(0, np.int64), *(counts for counts, _ in blocks)])

    def kneighbors(self, query_codes, k: int = 10, *, scores: np.ndarray | None = None) -> Answer:
        """Find the k nearest items of each query, by Hamming distance or in query-directed order.

        Built by hand in chapter 3.

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
        k = check_whole("k", k, 1)
        return self._state.nearest(self._asked(query_codes, scores), k)

    def _asked(self, query_codes: np.ndarray, scores: np.ndarray | None = None) -> np.ndarray:
        """Return the words of the queries, or their scores, if they have some that fit."""
        words = pack_words(query_codes, self.n_bits)
        if scores is None:
            return words
        scores = np.asarray(scores, float)
        if not np.isfinite(np.abs(scores).sum()) or not np.array_equal(scores >= 0, query_codes):
            raise ValueError("scores must be finite, one per bit, 0 or more exactly where it is 1.")
        return scores

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

        Built by hand in chapter 3.

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
        if (radius is None) == (budget is None) or (budget is None and scores is not None):
            raise ValueError("Give either a radius or a budget, and scores with a budget only.")
        if queries is not None:
            limits = {"radii": [radius]} if budget is None else {"budgets": [budget]}
            ids, cosines, *_ = self.sweep(query_codes, queries, k, **limits, scores=scores)
            return ids[0], cosines[0]
        state, asked = self._state, self._asked(query_codes, scores)
        k = check_whole("k", k, 1, max(1000, len(state.words)))
        radius = None if radius is None else check_whole("radius", radius, 0)
        budget = k if budget is None else check_whole("budget", budget, 1)
        ids, distances = state.nearest(asked, min(k, budget), radius)
        values = 1 - distances / self.n_bits if scores is None else -distances
        values, fewer = np.where(ids < 0, np.nan, values), ((0, 0), (0, k - ids.shape[1]))
        return np.pad(ids, fewer, constant_values=-1), np.pad(values, fewer, constant_values=np.nan)

    def sweep(self, query_codes, queries, k: int, *, radii=(), budgets=(), scores=None) -> tuple:
        """Search within several radii or budgets; products of vectors are made once for all.

        What chapter 3 does by hand, a loop over radii and queries.

        Parameters
        ----------
        query_codes, queries, k, scores
            As for `search`.
        radii, budgets : iterables of int
            Limits of the candidates, as for `search`: first the radii, then the budgets.

        Returns
        -------
        ids : array of shape (n_limits, n_queries, k), int64
        cosines : array of shape (n_limits, n_queries, k), float64
            As `search` returns them.
        candidates : array of shape (n_limits, n_queries), int64
            How many candidates each query has.
        seconds : array of shape (n_limits,), float64
            What searching took at each limit alone: where one matrix product serves several
            limits, each is charged all of it.

        Raises
        ------
        ValueError
            As `search`.
        """
        state, asked = self._state, self._asked(query_codes, scores)
        k = check_whole("k", k, 1, max(1000, len(state.words)))
        limits = [(check_whole("radius", radius, 0), None) for radius in radii]
        limits += [(None, check_whole("budget", budget, 1)) for budget in budgets]
        if not limits or (scores is not None and limits[0][1] is None):
            raise ValueError("Give at least one radius or budget, and scores with budgets only.")
        if state.vectors is None:
            raise ValueError("The index has no vectors; build it with them or omit queries.")
        queries, lengths = _check_vectors("queries", queries, state.vectors.shape[1])
        check_consistent_length(asked, queries)
        ids, cosines = (np.full((len(limits), len(asked), k), value) for value in (-1, np.nan))
        candidates, seconds = np.zeros(ids.shape[:2], np.int64), np.zeros(len(limits))
        # So many queries at a time that their candidates, and a matrix product of them with all
        # vectors where `rank` needs one, take 64 MB at most.
        most = max(GATHER_COST * budget if budget else np.inf for _, budget in limits)
        step = max(1, 128 * BLOCK // min(len(state.words), most))
        for i in range(0, len(asked), step):
            rows, kept = slice(i, i + step), []
            units = queries[rows] / lengths[rows, None]
            for j, (radius, budget) in enumerate(limits):
                start = time.perf_counter()
                if budget is None:
                    indptr, found = state.within(asked[rows], radius)
                    found = [found[a:b] for a, b in pairwise(indptr)]
                else:
                    found, _ = state.nearest(asked[rows], budget)
                saved = state.rank(found, units, ids[j, rows], cosines[j, rows], kept)
                candidates[j, rows] = list(map(len, found))
                seconds[j] += time.perf_counter() - start + saved
        return ids, cosines, candidates, seconds

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
        words = self._state.words
        order = np.lexsort(words.T[::-1]).astype(self._state.ids.dtype)
        keys = words[order]
        new = np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1
        indptr = np.concatenate([[0], new, [len(keys)]])
        keys = keys[indptr[:-1]]
        return keys[:, 0] if keys.shape[1] == 1 else keys, indptr, order

    def save(self, path: str | os.PathLike) -> None:
        """Write the index with its tables to one file, completely or not at all.

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
        fields = self._state._asdict()
        content = {n: np.ascontiguousarray(v) for n, v in fields.items() if hasattr(v, "dtype")}
        if self.encoder is not None:
            content["encoder"] = np.frombuffer(pickle.dumps(self.encoder), np.uint8)
        arrays = {n: [a.dtype.str, a.shape, sha256(a).hexdigest()] for n, a in content.items()}
        head = {"format": FORMAT, "n_bits": self.n_bits, "chunks": fields["chunks"]}
        text = json.dumps(head | {"arrays": arrays}).encode().ljust(HEAD - 32)
        with atomic(path) as file:
            file.write(sha256(text).digest() + text)
            for array in content.values():
                file.write(bytes(-file.tell() % 64))  # so that the array is aligned
                file.write(array)

    @classmethod
    def load(cls, path: str | os.PathLike, *, trusted: bool = False, mmap: bool = False) -> Self:
        """Read an index that `save` has written; nothing in the file is executed, unless trusted.

        Used in chapter 10.

        Parameters
        ----------
        path : path of the file
        trusted : bool
            Whether to load an encoder, which may execute anything: True only for files of your own.
        mmap : bool
            Whether to map the file into memory instead of reading it: it opens at once, is read
            where a search needs it, and all processes that map it share one copy. Then only its
            head is checked, and that nothing is cut off, not the checksums of codes, tables and
            vectors: damage there can give a wrong answer or an IndexError. Do not write into a
            file that is mapped; `save` puts a new one in its place.

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
        try:
            encoder, state = _read(path, mmap)
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            what = f"{path} is damaged or not an index of format version {FORMAT}"
            raise ValueError(f"{what}; build the index again and save it.") from error
        if encoder is not None and trusted is not True:
            what = f"{path} has an encoder, a Python object whose loading can execute any code"
            raise ValueError(f"{what}; load it with trusted=True if you know who wrote the file.")
        index = cls.__new__(cls)
        index.n_bits, index._state = state.n_bits, state
        index.encoder = None if encoder is None else pickle.loads(encoder)
        index._check_encoder(state.words, state.vectors)
        return index


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
    ids : array of shape (n_queries, k), int64
        Best first, ties by the lower id.
    similarities : array of shape (n_queries, k), float64

    Raises
    ------
    ValueError
        If the vectors differ in length, one has no direction, or k is not from 1 to 1,000 or to
        the number of items, whichever is more.
    """
    # One bucket that holds everything.
    everything = HammingIndex(np.zeros((len(vectors), 1), bool), vectors)
    return everything.search(np.zeros((len(queries), 1), bool), 0, k, queries)


def _at_least(values: np.ndarray, k: int, margin: float = 0) -> np.ndarray:
    """Return the positions of the values not below the k-th largest, less the margin."""
    # The k-th best of a sample is at most the k-th best of all, so it clears most away.
    sample = values[: max(512, 8 * k)]
    positions = np.flatnonzero(values >= np.partition(sample, -k)[-k] - margin)
    kept = values[positions]
    return positions[kept >= np.partition(kept, -k)[-k] - margin]


def _chunks(n_bits: int, m: int) -> list[tuple[int, int]]:
    """Cut a code into m chunks: the width of each, and how many bits of the code come after it.

    >>> _chunks(16, 3)
    [(6, 10), (5, 5), (5, 0)]
    """
    widths = [(n_bits + j) // m for j in reversed(range(m))]
    return [(width, sum(widths[j + 1 :])) for j, width in enumerate(widths)]


def _values(words: np.ndarray, width: int, end: int) -> np.ndarray:
    """Read a chunk of each code as a number."""
    size = 8 * words.itemsize
    word, shift = divmod(end, size)  # counted from the last word
    values = words[:, -1 - word] >> shift
    if shift + width > size:  # the chunk begins in the word before
        values |= words[:, -2 - word] << (size - shift)
    return values & ((1 << width) - 1)


@lru_cache(maxsize=16)
def _probes(n_bits: int, radii: tuple[int, ...], cost: int, n: int) -> Answer | None:
    """List where a query looks: in which chunk, and with which of its bits flipped.

    The number of the chunk, written in front of the bits, leads to its table. Where so many looks
    cost more than a scan of n codes there is no list, and none is kept.
    """
    chunks, flips = _chunks(n_bits, len(radii)), []
    for (width, _), radius in zip(chunks, radii, strict=True):
        flips.append(np.flatnonzero(np.bitwise_count(np.arange(1 << width, dtype="u4")) <= radius))
    probed, flips = np.repeat(np.arange(len(flips)), list(map(len, flips))), np.concatenate(flips)
    return (probed, flips | probed << chunks[0][0]) if len(flips) * cost <= n else None


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Concatenate arange(start, start + count) for all starts, without a loop."""
    occupied = np.flatnonzero(counts != 0)  # many times faster on bool
    starts, counts = starts.take(occupied), counts.take(occupied)
    # Steps of one within a range and jumps between ranges add up to the places, in two thirds of
    # the time of repeat(starts, counts) + arange.
    jumps = starts.copy()
    jumps[1:] -= starts[:-1] + counts[:-1] - 1
    places = np.ones(counts.sum(), np.intp)
    places[np.cumsum(counts) - counts] = jumps
    return np.cumsum(places, out=places)


def _check_vectors(name: str, vectors: np.ndarray, d: int | None = None) -> Answer:
    """Return the vectors as float32 or float64, and their lengths in float64."""
    vectors = check_array(vectors, dtype=[float, np.float32], ensure_min_samples=0, input_name=name)
    if d not in (None, vectors.shape[1]):
        raise ValueError(f"{name} must have shape (n, {d}), got {vectors.shape}.")
    blocks = (vectors[i : i + 1024].astype(float) for i in range(0, len(vectors), 1024))
    lengths = np.concatenate([np.zeros(0), *(np.linalg.norm(b, axis=1) for b in blocks)])
    # Near the ends of the floating-point range matrix products are too rough to preselect with.
    limits = np.finfo(vectors.dtype)
    bad = np.flatnonzero((lengths < limits.tiny / limits.eps) | (lengths > limits.max / 2))
    if len(bad):
        what = f"Row {bad[0]} of {name} is zero, or too short or long for {vectors.dtype}"
        raise ValueError(f"{what}: its cosine is undefined ({len(bad)} such rows); remove it.")
    return vectors, lengths


def _read(path: str | os.PathLike, mmap: bool) -> tuple[np.ndarray | None, _State]:
    """Read or map a file of `HammingIndex.save`: the encoder's pickle, if any, and the state."""
    buffer = np.asarray(np.memmap(path, mode="r")) if mmap else np.fromfile(path, np.uint8)
    text = bytes(buffer[32:HEAD])
    head, arrays, start = json.loads(text), {}, HEAD
    if head["format"] != FORMAT or bytes(buffer[:32]) != sha256(text).digest():
        raise ValueError("The format or the checksum of the head is another one.")
    for name, (dtype, shape, checksum) in head["arrays"].items():
        start += -start % 64
        arrays[name] = np.ndarray(shape, dtype, buffer, start)
        start += arrays[name].nbytes
        if not mmap and sha256(arrays[name]).hexdigest() != checksum:
            raise ValueError(f"The checksum of {name} is another one.")
    return arrays.pop("encoder", None), _State(head["n_bits"], head["chunks"], **arrays)
