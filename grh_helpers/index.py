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
import json
import math
import os
import pickle
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array

from grh_helpers._files import atomic
from grh_helpers.codes import check_codes, check_rows, check_whole, hamming, pack_words, unpack_bits

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
HEAD, FORMAT = 4096, 2
_adding = threading.Lock()  # one for all indexes, so that each can be pickled

Answer = tuple[np.ndarray, np.ndarray]
Block = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class _State:
    """What an index holds at one moment. Never changes, so threads may share it.

    The tables of the chunks lie end to end, so that one look-up serves all chunks (a loop over the
    chunks takes up to three times as long for a few queries): table j begins at bucket j·2^width,
    and bucket b holds ``ids[offsets[b]:offsets[b + 1]]``.
    """

    n_bits: int
    n_chunks: int
    words: np.ndarray
    offsets: np.ndarray
    ids: np.ndarray
    # The words once more, beside the ids: a bucket's candidates then lie side by side in memory,
    # which makes verifying them some 40 % faster. Empty if the bucket is the whole code.
    copies: np.ndarray
    vectors: np.ndarray | None = None
    norms: np.ndarray | None = None

    @classmethod
    def build(cls, words: np.ndarray, n_bits: int, vectors=None, norms=None) -> _State:
        """Sort the codes into the tables of the chunks."""
        n = len(words)
        m = -(-n_bits // (CHUNK_BITS if n <= 10**6 else round(math.log2(n))))
        dtype = np.int32 if m * n < 2**31 else np.int64
        sizes, ids = [], []
        for width, end in zip(*_chunks(n_bits, m), strict=True):  # one at a time, for memory
            values = _values(words, [width], [end])[0].astype(np.uint32)
            sizes.append(np.bincount(values, minlength=1 << -(-n_bits // m)))
            ids.append(_argsort(values).astype(dtype))
        offsets = np.concatenate([[0], *sizes]).cumsum().astype(dtype)
        ids = np.concatenate(ids)
        copies = words.take(ids, axis=0) if m > 1 else words[:0]
        return cls(n_bits, m, words, offsets, ids, copies, vectors, norms)

    def within(self, queries: np.ndarray, radius: int) -> Answer:
        """Find all ids within the radius, as `HammingIndex.radius_search` returns them."""
        counts, ids = [np.zeros(1, np.int64)], bytearray()  # grows in place, where it can
        for _, more, found in self.blocks(queries, radius):
            counts.append(more)
            ids.extend(found)
        return np.concatenate(counts).cumsum(), np.frombuffer(ids, self.ids.dtype)

    def blocks(self, queries, radius: int, k: int | None = None, rows=None) -> Iterator[Block]:
        """Find what lies within the radius of the queries, one block of them after the other.

        Yields (rows, counts, ids): which queries, how many ids each has, and these ids. With k,
        queries that are scanned get their k nearest, and all as near as those, instead.
        """
        rows = np.arange(len(queries)) if rows is None else rows
        radius, (widths, ends) = min(int(radius), self.n_bits), _chunks(self.n_bits, self.n_chunks)
        # Pigeonhole: with radius = m·s + a, a neighbour differs by at most s bits in one of the
        # first a + 1 chunks, or by at most s - 1 bits in one of the others.
        s, a = divmod(radius, self.n_chunks)
        radii = [s if j <= a else s - 1 for j in range(self.n_chunks)]
        sizes = list(map(_ball_size, widths, radii))
        if sum(sizes) * PROBE_COST > len(self.words):
            yield from self._scan(queries, rows, radius, k)
            return
        # A probe is the chunk to look at and the bits to flip there; the chunk's number, written in
        # front of the bits, leads to its table.
        probed = np.repeat(np.arange(self.n_chunks), sizes)
        flips = np.concatenate(list(map(_masks, widths, radii))) | probed << widths[0]
        step = max(1, BLOCK // len(flips))
        for i in range(0, len(rows), step):
            block = rows[i : i + step]
            values = _values(queries[block], widths, ends).T.astype(np.intp, order="C")
            buckets = values.take(probed, axis=1) ^ flips
            yield from self._probe(queries, block, buckets, radius, radii, k)

    def _probe(self, queries, rows, buckets, radius, radii, k) -> Iterator[Block]:
        """Open the buckets of each query."""
        starts = self.offsets.take(buckets)
        counts = self.offsets.take(buckets + 1) - starts
        candidates = counts.sum(axis=1)
        cost = CANDIDATE_COST if self.n_chunks == 1 else VERIFY_COST
        # Runs end where the candidates fill a block; each run is gathered or, if that is cheaper,
        # scanned.
        full = np.flatnonzero(np.diff(np.cumsum(candidates) // BLOCK)) + 1
        for i, j in pairwise([0, *full, len(rows)]):
            work = counts[i:j].size * PROBE_COST + candidates[i:j].sum() * cost
            if work > (j - i) * len(self.words):
                yield from self._scan(queries, rows[i:j], radius, k)
                continue
            places, found = _ranges(starts[i:j].ravel(), counts[i:j].ravel()), candidates[i:j]
            if self.n_chunks > 1:  # otherwise the bucket is the whole code: nothing to verify
                places, found = self._verify(queries[rows[i:j]], found, places, radius, radii)
            yield rows[i:j], found, self.ids.take(places)

    def _verify(self, queries, counts, places, radius, radii) -> Answer:
        """Keep the candidates within the radius, each from the first chunk that finds it."""
        found, wanted = self.copies.take(places, axis=0), np.repeat(queries, counts, axis=0)
        near = np.flatnonzero(hamming(found, wanted) <= radius)
        differing, places = found.take(near, axis=0) ^ wanted.take(near, axis=0), places.take(near)
        # Counting bits again is up to four times as fast as sorting duplicates out.
        table, first = places // len(self.words), np.ones(len(near), bool)
        differing = np.bitwise_count(_values(differing, *_chunks(self.n_bits, self.n_chunks)))
        for j, r in enumerate(radii):
            first &= (table <= j) | (differing[j] > r)
        ends = np.searchsorted(near[first], np.cumsum(counts))
        return places[first], np.diff(ends, prepend=0)

    def _scan(self, queries, rows, radius: int, k: int | None) -> Iterator[Block]:
        """Compare the queries with every code."""
        n = len(self.words)
        step = max(1, BLOCK // n)
        for i in range(0, len(rows), step):
            block = rows[i : i + step]
            distances = hamming(self.words, queries[block, None])
            if k is None:
                hits = np.flatnonzero(distances <= radius)
            else:  # the nearest have the largest complements
                near = [j * n + _at_least(~row, k) for j, row in enumerate(distances)]
                hits = np.concatenate(near)
            starts = n * np.arange(len(block) + 1)
            counts = np.diff(np.searchsorted(hits, starts))
            yield block, counts, (hits - np.repeat(starts[:-1], counts)).astype(self.ids.dtype)

    def nearest(self, queries, k: int, radius: int | None = None, scores=None) -> Answer:
        """Find the k nearest, if a radius is given within it (-1 where there are fewer)."""
        k, radius = min(k, len(self.words)), self.n_bits if radius is None else radius
        if scores is not None:
            return self._directed(queries, k, scores)
        ids, distances = np.full((len(queries), k), -1), np.zeros((len(queries), k), np.int64)
        pending, s = np.arange(len(queries)), 0
        while len(pending):
            # Flipping s bits in every chunk finds everything within m·s + m - 1. Who has not found
            # k then flips one bit more, which costs so much more that the first tries hardly count.
            reach, left = min(radius, self.n_chunks * (s + 1) - 1), []
            for rows, counts, found in self.blocks(queries, reach, k, pending):
                done = (counts >= k) | (reach == radius)
                left.append(rows[~done])
                row, found = np.repeat(rows, counts * done), found[np.repeat(done, counts)]
                distance = hamming(self.words.take(found, axis=0), queries.take(row, axis=0))
                # One sort for all: a key holds the query, the distance and the id.
                keys = (row * (self.n_bits + 1) + distance) * len(self.words) + found
                keys.sort()
                place = np.arange(len(row)) - np.searchsorted(row, row)
                row, place, keys = row[place < k], place[place < k], keys[place < k]
                ids[row, place] = keys % len(self.words)
                distances[row, place] = keys // len(self.words) % (self.n_bits + 1)
            pending, s = np.concatenate(left), s + 1
        ids[distances > radius] = -1
        return ids, distances

    def _directed(self, queries, k: int, scores: np.ndarray) -> Answer:
        """Find the k first in query-directed order, as `HammingIndex.kneighbors` returns them."""
        octets = _octets(self.words).T.copy()
        weights = np.zeros((len(scores), 8 * len(octets)))
        weights[:, -self.n_bits :] = np.abs(scores)
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
        ids, costs = np.empty((len(scores), k), np.int64), np.empty((len(scores), k))
        for i, query in enumerate(_octets(queries)):
            # What differing in an octet costs, by its value: equal codes then cost exactly the
            # same, which they do not in every matrix product.
            prices = weights[i].reshape(-1, 8) @ bits.T
            cost = sum(p.take(c ^ q) for p, c, q in zip(prices, octets, query, strict=True))
            near = _at_least(-cost, k)
            ids[i] = near[np.argsort(cost[near], kind="stable")[:k]]
            costs[i] = cost[ids[i]]
        return ids, costs


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

    def __init__(
        self,
        codes: np.ndarray | Iterator[np.ndarray],
        vectors: np.ndarray | None = None,
        encoder: Pipeline | None = None,
    ):
        words, n_bits = [], None
        for block in codes if isinstance(codes, Iterator) else [codes]:
            block = check_codes(block, n_bits)
            words.append(pack_words(block))
            n_bits = block.shape[1]
        if not sum(map(len, words)):
            raise ValueError("The database is empty; give at least one code.")
        self.n_bits, self.encoder = n_bits, encoder
        words = np.concatenate(words)
        self._state = _State.build(words, n_bits, *self._check_items(words, vectors))

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._state.words)

    def __repr__(self) -> str:
        have = "without" if self._state.vectors is None else "with"
        return f"HammingIndex({len(self)} codes of {self.n_bits} bits, {have} vectors)"

    def _check_items(self, words: np.ndarray, vectors, d: int | None = None) -> Answer:
        """Return the vectors of some codes and their lengths, if all belong together."""
        norms = None
        if vectors is not None:
            vectors, norms = _check_vectors("vectors", vectors, d)
            check_rows("codes", words, "vectors", vectors)
        self._check_encoder(words, vectors)
        return vectors, norms

    def _check_encoder(self, words: np.ndarray, vectors: np.ndarray | None) -> None:
        """Raise ValueError unless the encoder turns some of the vectors into their codes."""
        if self.encoder is None or not len(words):
            return
        if vectors is None or not isinstance(self.encoder, Pipeline):
            raise ValueError("An encoder must be a fitted Pipeline, and the index needs vectors.")
        rows = np.linspace(0, len(words) - 1, min(len(words), 100)).astype(int)
        codes = self.encoder[-1].transform(vectors[rows])
        if not np.array_equal(codes, unpack_bits(words[rows], self.n_bits)):
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
        words = pack_words(check_codes(codes, self.n_bits))
        with _adding:
            old, norms = self._state, None
            if (vectors is None) != (old.vectors is None):
                have = "without" if old.vectors is None else "with"
                raise ValueError(f"The index was built {have} vectors; add items {have} vectors.")
            if vectors is not None:
                vectors, norms = self._check_items(words, vectors, old.vectors.shape[1])
                vectors = np.concatenate([old.vectors, vectors])
                norms = np.concatenate([old.norms, norms])
            # Everything is ready and takes effect at once, for searches in other threads.
            words = np.concatenate([old.words, words])
            self._state = _State.build(words, self.n_bits, vectors, norms)

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
        check_whole("radius", radius, 0)
        return self._state.within(pack_words(check_codes(query_codes, self.n_bits)), radius)

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
        check_whole("radius", radius, 0)
        queries = pack_words(check_codes(query_codes, self.n_bits))
        counts = [counts for _, counts, _ in self._state.blocks(queries, radius)]
        return np.concatenate([np.zeros(0, np.int64), *counts])

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
        check_whole("k", k, 1)
        query_codes = check_codes(query_codes, self.n_bits)
        scores = _check_scores(scores, query_codes)
        return self._state.nearest(pack_words(query_codes), k, None, scores)

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
        state, query_codes = self._state, check_codes(query_codes, self.n_bits)
        words, n = pack_words(query_codes), len(state.words)
        check_whole("k", k, 1, max(1000, n))
        if (radius is None) == (budget is None):
            raise ValueError("Give either a radius or a budget, and not both.")
        check_whole("radius", 0 if radius is None else radius, 0)
        check_whole("budget", 1 if budget is None else budget, 1)
        if scores is not None and budget is None:
            raise ValueError("Scores order the candidates of a budget; give one, not a radius.")
        scores = _check_scores(scores, query_codes)
        ids, similarities = np.full((len(words), k), -1), np.full((len(words), k), np.nan)
        if queries is None:
            found, distances = state.nearest(words, min(k, budget or k), radius, scores)
            values = 1 - distances / self.n_bits if scores is None else -distances
            ids[:, : found.shape[1]] = found
            similarities[:, : found.shape[1]] = np.where(found < 0, np.nan, values)
            return ids, similarities
        if state.vectors is None:
            raise ValueError("The index has no vectors; build it with them or omit queries.")
        queries, lengths = _check_vectors("queries", queries, state.vectors.shape[1])
        check_rows("query_codes", words, "queries", queries)
        # So many queries at a time that their candidates, and a matrix product of them with all
        # vectors where `_rank` needs one, take 64 MB at most.
        gathered = budget is not None and budget * GATHER_COST <= n
        step = max(1, 128 * BLOCK // (budget if gathered else n))
        for i in range(0, len(words), step):
            rows = slice(i, i + step)
            if budget is None:
                indptr, found = state.within(words[rows], radius)
            else:
                some = None if scores is None else scores[rows]
                found, _ = state.nearest(words[rows], budget, None, some)
                indptr, found = np.arange(len(found) + 1) * found.shape[1], found.ravel()
            unit = queries[rows] / lengths[rows, None]
            best = _rank(indptr, found, unit, state.vectors, state.norms, k)
            ids[rows], similarities[rows] = best
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
        content = {n: v for n, v in vars(self._state).items() if isinstance(v, np.ndarray)}
        if self.encoder is not None:
            content["encoder"] = np.frombuffer(pickle.dumps(self.encoder), np.uint8)
        content = {name: np.ascontiguousarray(array) for name, array in content.items()}
        arrays = {n: [a.dtype.str, a.shape, _checksum(a)] for n, a in content.items()}
        head = {"format": FORMAT, "n_bits": self.n_bits, "n_chunks": self._state.n_chunks}
        text = json.dumps(head | {"arrays": arrays}).encode().ljust(HEAD - 64)
        with atomic(path) as file:
            file.write(_checksum(text).encode() + text)
            for array in content.values():
                file.write(array)
                file.write(bytes(-array.nbytes % 64))  # the next array is aligned

    @classmethod
    def load(
        cls, path: str | os.PathLike, *, trusted: bool = False, mmap: bool = False
    ) -> HammingIndex:
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
            head and its size are checked, not the checksums of codes, tables and vectors: damage
            there can give a wrong answer or an IndexError. Do not write into a file that is
            mapped; `save` puts a new one in its place.

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
            head, content = _read(path, mmap)
            encoder = content.pop("encoder", None)
            state = _State(head["n_bits"], head["n_chunks"], **content)
            if not state.n_chunks * len(state.words) == len(state.ids) == state.offsets[-1]:
                raise ValueError("The tables do not belong to the codes.")
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            what = f"{path} is damaged or not an index of format version {FORMAT}"
            raise ValueError(f"{what}; build the index again and save it.") from error
        if encoder is not None and trusted is not True:
            raise ValueError(
                f"{path} has an encoder, a Python object whose loading can execute any code; load "
                "it with trusted=True if you know who wrote the file."
            )
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


def _rank(indptr, ids, queries, vectors, norms, k: int) -> Answer:
    """Keep the k candidates of the highest cosine of each query, for queries of length 1."""
    best_ids, best = np.full((len(queries), k), -1), np.full((len(queries), k), np.nan)
    # A matrix product may round equal rows differently, and float32 rounds a lot, so it only
    # preselects, with a margin; the exact cosines rank.
    product, margin = None, 16 * np.finfo(vectors.dtype).eps * vectors.shape[1] ** 0.5
    if indptr[-1] * GATHER_COST > (len(queries) + READ_COST) * len(vectors):
        product = queries.astype(vectors.dtype) @ vectors.T
        product /= norms
    for i, query in enumerate(queries):
        row = ids[indptr[i] : indptr[i + 1]]
        if product is not None and len(row) > k:
            row = row[_at_least(product[i].take(row), k, margin)]
        cosines = np.empty(len(row))
        for j in range(0, len(row), 256):  # a few vectors at a time, so that memory is bounded
            part = row[j : j + 256]
            # einsum sums every row in the same order, so equal rows are exactly equal.
            cosines[j : j + 256] = np.einsum("ij,j->i", vectors[part].astype(float), query)
        cosines /= norms[row]
        order = np.lexsort((row, -cosines))[:k]
        best_ids[i, : len(order)], best[i, : len(order)] = row[order], cosines[order]
    return best_ids, best


def _at_least(values: np.ndarray, k: int, margin: float = 0) -> np.ndarray:
    """Return the positions of the values not below the k-th largest, less the margin."""
    # The k-th best of a sample is at most the k-th best of all, so it clears most away.
    sample = values[: max(512, 8 * k)]
    positions = np.flatnonzero(values >= np.partition(sample, -k)[-k] - margin)
    kept = values[positions]
    return positions[kept >= np.partition(kept, -k)[-k] - margin]


@lru_cache(maxsize=16)
def _chunks(n_bits: int, m: int) -> tuple[list[int], list[int]]:
    """Cut a code into m chunks: their widths, and where each ends, in bits from the code's end.

    >>> _chunks(16, 3)
    ([6, 5, 5], [10, 5, 0])
    """
    widths = [(n_bits + j) // m for j in reversed(range(m))]
    return widths, [sum(widths[j + 1 :]) for j in range(m)]


def _values(words: np.ndarray, widths: list[int], ends: list[int]) -> np.ndarray:
    """Read chunks of each code as numbers, shape (n_chunks, n)."""
    size, columns = 8 * words.itemsize, words.T[::-1]  # the last word first
    values = np.empty((len(widths), len(words)), words.dtype)
    for row, width, end in zip(values, widths, ends, strict=True):
        word, shift = divmod(end, size)
        np.right_shift(columns[word], shift, out=row)
        if shift + width > size:  # the chunk begins in the word before
            row |= columns[word + 1] << (size - shift)
        row &= (1 << width) - 1
    return values


def _octets(words: np.ndarray) -> np.ndarray:
    """Codes as bytes, shape (n, n_bytes), zeros in front."""
    return words.astype(words.dtype.newbyteorder(">")).view(np.uint8)


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
    """Sort numbers of up to 32 bits, stably."""
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
    dtypes = [np.float64, np.float32]
    vectors = check_array(vectors, dtype=dtypes, ensure_min_samples=0, input_name=name)
    if d not in (None, vectors.shape[1]):
        raise ValueError(f"{name} must have shape (n, {d}), got {vectors.shape}.")
    blocks = (vectors[i : i + 1024].astype(float) for i in range(0, len(vectors), 1024))
    lengths = np.concatenate([np.zeros(0), *(np.linalg.norm(b, axis=1) for b in blocks)])
    # Near the ends of the floating-point range matrix products are too rough to preselect with.
    limits = np.finfo(vectors.dtype)
    bad = np.flatnonzero((lengths < limits.tiny / limits.eps) | (lengths > limits.max / 2))
    if len(bad):
        raise ValueError(
            f"Row {bad[0]} of {name} is zero, or too short or long for {vectors.dtype}, so its "
            f"cosine is undefined ({len(bad)} such rows); remove or repair it."
        )
    return vectors, lengths


def _check_scores(scores: np.ndarray | None, query_codes: np.ndarray) -> np.ndarray | None:
    """Return the scores in float64 if they are those of the codes."""
    if scores is None:
        return None
    scores, shape = np.asarray(scores, float), query_codes.shape
    if scores.shape != shape or not np.isfinite(np.abs(scores).sum(axis=1)).all():
        raise ValueError(f"scores must be finite numbers of shape {shape}, got {scores.shape}.")
    if ((scores >= 0) != query_codes).any():
        raise ValueError("The signs of scores are not the query codes; give those that are.")
    return scores


def _checksum(content) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: str | os.PathLike, mmap: bool) -> tuple[dict, dict[str, np.ndarray]]:
    """Read or map a file of `HammingIndex.save`: what its head says, and its arrays."""
    buffer = np.asarray(np.memmap(path, mode="r")) if mmap else np.fromfile(path, np.uint8)
    text = bytes(buffer[64:HEAD])
    head, arrays, start = json.loads(text), {}, HEAD
    if head["format"] != FORMAT or bytes(buffer[:64]) != _checksum(text).encode():
        raise ValueError("The format or the checksum of the head is another one.")
    for name, (dtype, shape, checksum) in head["arrays"].items():
        content = buffer[start : start + math.prod(shape) * np.dtype(dtype).itemsize]
        if not mmap and _checksum(content) != checksum:
            raise ValueError(f"The checksum of {name} is another one.")
        arrays[name] = content.view(dtype).reshape(shape)
        start += len(content) + -len(content) % 64
    if start != len(buffer):
        raise ValueError("The file is longer or shorter than its head says.")
    return head, arrays
