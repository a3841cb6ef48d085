"""Bits and keys, hash tables, Hamming-radius search and exact cosine re-ranking, in plain NumPy.

One mechanism serves every code length: multi-index hashing (Norouzi, Punjani and Fleet, "Fast
search in Hamming space with multi-index hashing", CVPR 2012, doi:10.1109/CVPR.2012.6248043).
A code is cut into chunks of at most 16 bits and each chunk has a direct-address hash table. Codes
of up to 16 bits have one chunk, and the method is then the textbook hash table with multi-probe.
"""

from __future__ import annotations

import hashlib
import math
import os
import uuid
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from numbers import Integral
from pathlib import Path

import numpy as np

__all__ = ["HammingIndex", "pack_bits", "rerank", "unpack_bits"]

CHUNK_BITS = 16
# Temporaries of a block have about this many items, so that they stay in the processor's cache.
BLOCK = 1 << 16
# Measured costs of probing a bucket and of a candidate, without and with verification, in units
# of one item of a scan; and of one gathered vector in rows of a matrix product. Only speed
# depends on them.
PROBE_COST, CANDIDATE_COST, VERIFY_COST, ROW_COST = 2, 5, 6, 20
FORMAT = 1

Answer = tuple[np.ndarray, np.ndarray]


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Read each row of bits as one unsigned number, the first bit being the most significant.

    Parameters
    ----------
    bits : array of shape (n, n_bits), bool or 0/1 integers

    Returns
    -------
    array of shape (n,) of the smallest unsigned type that fits, or for more than 64 bits
        of shape (n, words), uint64, most significant word first.

    Raises
    ------
    ValueError
        If `bits` is not such an array.

    Examples
    --------
    >>> pack_bits(np.array([[False, True, False, True]]))
    array([5], dtype=uint8)
    """
    bits = _check_codes(bits)
    n_bits = bits.shape[1]
    size = next(size for size in (8, 16, 32, 64) if n_bits <= size or size == 64)
    n_words = -(-n_bits // size)
    words = _pack(bits, [n_bits - size * (n_words - 1)] + [size] * (n_words - 1), size, n_words)
    return words[:, 0] if n_words == 1 else words


def unpack_bits(keys: np.ndarray, n_bits: int) -> np.ndarray:
    """Undo `pack_bits`.

    Parameters
    ----------
    keys : array of shape (n,) or, for more than 64 bits, (n, words), unsigned integers
    n_bits : int

    Returns
    -------
    array of shape (n, n_bits), bool

    Raises
    ------
    ValueError
        If the keys are not unsigned integers or have fewer than `n_bits` bits.

    Examples
    --------
    >>> unpack_bits(np.array([5], dtype=np.uint8), 4).astype(int)
    array([[0, 1, 0, 1]])
    """
    keys = np.asarray(keys)
    if keys.dtype.kind != "u" or keys.ndim not in (1, 2):
        raise ValueError(
            "Keys must be unsigned integers as pack_bits returns them, "
            f"got {keys.dtype} of shape {keys.shape}."
        )
    keys = keys[:, None] if keys.ndim == 1 else keys
    width = keys.shape[1] * keys.itemsize * 8
    if not 1 <= n_bits <= width:
        raise ValueError(f"n_bits must lie between 1 and the {width} bits of a key, got {n_bits}.")
    octets = np.ascontiguousarray(keys, keys.dtype.newbyteorder(">")).view(np.uint8)
    return np.unpackbits(octets, axis=1)[:, width - n_bits :].astype(bool)


class HammingIndex:
    """Find all codes within a Hamming distance, exactly, by multi-index hashing.

    Parameters
    ----------
    codes : array of shape (n, n_bits), bool or 0/1 integers
        One row an item; its position is the item's id.
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
    >>> indptr, ids = index.radius_search(np.array([[0, 0, 0], [1, 1, 1]]), radius=1)
    >>> [sorted(ids[a:b].tolist()) for a, b in zip(indptr[:-1], indptr[1:])]
    [[0], [1, 2]]
    """

    def __init__(self, codes: np.ndarray, vectors: np.ndarray | None = None):
        codes = _check_codes(codes)
        if not len(codes):
            raise ValueError("The database is empty; give at least one code.")
        self.n_bits = codes.shape[1]
        n_chunks = -(-self.n_bits // CHUNK_BITS)
        self._widths = [(self.n_bits + j) // n_chunks for j in reversed(range(n_chunks))]
        # Empty chunks fill up to whole machine words: 1, 2 or a multiple of 4 chunks.
        self._slots = n_chunks if n_chunks < 3 else -(-n_chunks // 4) * 4
        self._size, self._vectors, self._parts = 0, None, []
        self._append(codes, vectors)
        self._build()

    def __len__(self) -> int:
        """Return the number of items."""
        return self._size

    def add(self, codes: np.ndarray, vectors: np.ndarray | None = None) -> None:
        """Append items; their ids follow on. The tables are rebuilt at the next search.

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
        if (vectors is None) != (self._vectors is None):
            have = "without" if self._vectors is None else "with"
            raise ValueError(f"The index was built {have} vectors; add items {have} vectors too.")
        self._append(_check_codes(codes, self.n_bits), vectors)

    def _append(self, codes: np.ndarray, vectors: np.ndarray | None) -> None:
        norms = None
        if vectors is not None:
            d = None if self._vectors is None else self._vectors.shape[1]
            vectors, norms = _check_vectors(vectors, "vectors", len(codes), d)
        self._parts.append((self._chunk(codes), vectors, norms))
        self._size += len(codes)

    def _build(self) -> None:
        """Sort the ids by chunk value: one table for all chunks, keyed by (chunk, value)."""
        self._chunks, self._vectors, self._norms = (
            part[0] if len(part) == 1 or part[0] is None else np.concatenate(part)
            for part in zip(*self._parts, strict=True)
        )
        self._parts = [(self._chunks, self._vectors, self._norms)]
        self._words = self._chunks.view(f"u{min(2 * self._slots, 8)}")
        n, m, stride = self._size, len(self._widths), 1 << self._widths[0]
        self._ids = np.empty(m * n, np.int32 if n < 2**31 else np.int64)
        self._offsets = np.zeros(m * stride + 1, np.int32 if m * n < 2**31 else np.int64)
        for j in range(m):
            values = np.ascontiguousarray(self._chunks[:, j])
            self._ids[j * n : (j + 1) * n] = np.argsort(values, kind="stable")
            ends = np.cumsum(np.bincount(values, minlength=stride))
            self._offsets[j * stride + 1 : (j + 1) * stride + 1] = j * n + ends
        # A copy of the codes beside the ids of each table: a bucket's candidates then lie side by
        # side in memory, which makes verifying them some 40 % faster.
        self._copies = self._words.take(self._ids, axis=0) if m > 1 else None

    def _chunk(self, codes: np.ndarray) -> np.ndarray:
        """Cut codes into chunk values, shape (n, slots), uint16."""
        return _pack(codes, self._widths, CHUNK_BITS, self._slots)

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
        ids : array of shape (total,), int32 (int64 from 2³¹ items on)
            Each item at most once a query; the order within a query is deterministic, but not
            specified.

        Raises
        ------
        ValueError
            If the codes are of another width than the index or the radius is negative or not whole.
        """
        query_codes = _check_codes(query_codes, self.n_bits)
        if not isinstance(radius, Integral) or radius < 0:
            raise ValueError(f"radius must be a whole number of bits, 0 or more; got {radius!r}.")
        if len(self._parts) > 1:
            self._build()
        radius, queries = min(int(radius), self.n_bits), self._chunk(query_codes)
        # Pigeonhole: with radius = m·s + a, a neighbour differs by at most s bits in one of the
        # first a + 1 chunks, or by at most s - 1 bits in one of the others.
        s, a = divmod(radius, len(self._widths))
        radii = [s if j <= a else s - 1 for j in range(len(self._widths))]
        masks = [_masks(width, r) for width, r in zip(self._widths, radii, strict=True)]
        probes = sum(map(len, masks))
        if probes * PROBE_COST > self._size:
            parts = list(self._scan(queries, radius))
        else:
            step = max(1, BLOCK // probes)
            blocks = (queries[i : i + step] for i in range(0, len(queries), step))
            parts = [part for block in blocks for part in self._probe(block, radius, radii, masks)]
        counts = np.concatenate([np.zeros(1, np.int64), *(counts for counts, _ in parts)])
        return np.cumsum(counts), np.concatenate([self._ids[:0], *(ids for _, ids in parts)])

    def _probe(self, queries, radius, radii, masks) -> Iterator[Answer]:
        """Yield (counts, ids) of runs of queries, by looking into the buckets around each."""
        stride = 1 << self._widths[0]
        keys = queries.astype(np.intp) + stride * np.arange(self._slots)
        buckets = np.concatenate([keys[:, j, None] ^ mask for j, mask in enumerate(masks)], axis=1)
        starts = self._offsets.take(buckets)
        counts = self._offsets.take(buckets + 1) - starts
        candidates = counts.sum(axis=1, dtype=np.int64)
        cost = CANDIDATE_COST if len(radii) == 1 else VERIFY_COST
        # Runs end where the candidates fill a block; each run is gathered or, if that is cheaper,
        # scanned.
        full = np.flatnonzero(np.diff(np.cumsum(candidates) // BLOCK)) + 1
        for i, j in pairwise([0, *full, len(queries)]):
            total = candidates[i:j].sum()
            if counts[i:j].size * PROBE_COST + total * cost > (j - i) * self._size:
                yield from self._scan(queries[i:j], radius)
                continue
            places = _ranges(starts[i:j].ravel(), counts[i:j].ravel())
            if len(radii) == 1:  # the bucket is the whole code: nothing to verify
                yield candidates[i:j], self._ids.take(places)
            else:
                yield self._verify(queries[i:j], places, candidates[i:j], radius, radii)

    def _verify(self, queries, places, candidates, radius, radii) -> Answer:
        """Keep the candidates within the radius, each from the first chunk that finds it."""
        found = self._copies.take(places, axis=0)
        wanted = np.repeat(queries.view(self._words.dtype), candidates, axis=0)
        near = np.flatnonzero(_distances(found, wanted) <= radius)
        chunk = places[near] // self._size
        apart = np.bitwise_count((found[near] ^ wanted[near]).view(np.uint16))
        first = np.ones(len(near), bool)
        for j, r in enumerate(radii[:-1]):
            first &= (chunk <= j) | (apart[:, j] > r)
        near = near[first]
        counts = np.diff(np.searchsorted(near, np.cumsum(candidates)), prepend=0)
        return counts, self._ids.take(places[near])

    def _scan(self, queries, radius) -> Iterator[Answer]:
        """Yield (counts, ids) of runs of queries, by comparing them with every code."""
        n, words = self._size, queries.view(self._words.dtype)[:, None]
        step = max(1, BLOCK // n)  # several queries with all codes, or one with tiles of codes
        for i in range(0, len(words), step):
            block, counts, ids = words[i : i + step], 0, []
            for j in range(0, n, BLOCK):
                tile = self._words[j : j + BLOCK]
                hits = np.flatnonzero(_distances(tile, block) <= radius)
                ends = np.searchsorted(hits, len(tile) * np.arange(1, len(block) + 1))
                found = np.diff(ends, prepend=0)
                hits += j if step == 1 else np.repeat(-n * np.arange(len(block)), found)
                ids.append(hits.astype(self._ids.dtype))
                counts = counts + found
            yield counts, np.concatenate(ids)

    def search(
        self, query_codes: np.ndarray, radius: int, k: int = 10, queries: np.ndarray | None = None
    ) -> Answer:
        """Find the k best items among those within a Hamming distance of each query.

        Parameters
        ----------
        query_codes : array of shape (n_queries, n_bits), bool or 0/1 integers
        radius : int, at least 0
        k : int, at least 1
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
            As `radius_search`; if k is less than 1; if `queries` do not fit the index's vectors.
        """
        _check_k(k)
        query_codes = _check_codes(query_codes, self.n_bits)
        if queries is not None:
            if self._vectors is None:
                raise ValueError("The index has no vectors; build it with them or omit queries.")
            d = self._vectors.shape[1]
            queries, _ = _check_vectors(queries, "queries", len(query_codes), d)
        indptr, ids = self.radius_search(query_codes, radius)
        if queries is not None:
            return rerank(indptr, ids, queries, self._vectors, self._norms, k)
        words = self._chunk(query_codes).view(self._words.dtype)
        lists = [ids[a:b] for a, b in pairwise(indptr)]
        distances = map(lambda row, word: _distances(self._words[row], word), lists, words)
        return _best(
            zip(lists, (1 - d / self.n_bits for d in distances), strict=True), len(words), k
        )

    def buckets(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Group the items by code.

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
        keys = pack_bits(self._codes())
        columns = keys.reshape(len(keys), -1)
        order = np.lexsort(columns.T[::-1]).astype(self._ids.dtype)
        columns = columns[order]
        new = np.flatnonzero((columns[1:] != columns[:-1]).any(axis=1)) + 1
        indptr = np.concatenate([[0], new, [self._size]])
        return keys[order[indptr[:-1]]], indptr, order

    def _codes(self) -> np.ndarray:
        """Return the codes as bits, put together from the chunks."""
        if len(self._parts) > 1:
            self._build()
        return np.hstack([unpack_bits(self._chunks[:, j], w) for j, w in enumerate(self._widths)])

    def save(self, path: str | os.PathLike) -> None:
        """Write the index to one ``.npz`` file, completely or not at all.

        Parameters
        ----------
        path : path of the file, replaced if it exists

        Raises
        ------
        OSError
            If the file cannot be written; one that was there before is then intact.
        """
        path = Path(path)
        content = {"codes": np.packbits(self._codes(), axis=1), "n_bits": np.array(self.n_bits)}
        if self._vectors is not None:
            content["vectors"] = self._vectors
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with open(temporary, "xb") as file:
                np.savez(file, format=FORMAT, checksum=_checksum(content), **content)
            os.replace(temporary, path)
        except OSError as error:
            raise OSError(f"The index could not be saved to {path}: {error}.") from error
        finally:
            temporary.unlink(missing_ok=True)

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
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, cut short, not an index or of another format version.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                content = dict(file)
            version, checksum = int(content.pop("format")), str(content.pop("checksum"))
        except FileNotFoundError:
            raise
        except Exception as error:  # zip and npy readers raise nearly anything on damaged files
            raise ValueError(
                f"{path} is not a saved index or is damaged; build the index again and save it."
            ) from error
        if version != FORMAT:
            raise ValueError(
                f"{path} has format version {version}, but this package reads version {FORMAT}; "
                "build the index again and save it."
            )
        if checksum != _checksum(content):
            raise ValueError(
                f"{path} is damaged, its checksum is wrong; build the index again and save it."
            )
        codes = np.unpackbits(content["codes"], axis=1, count=int(content["n_bits"]))
        return cls(codes.view(bool), content.get("vectors"))


def rerank(
    indptr: np.ndarray,
    ids: np.ndarray,
    queries: np.ndarray,
    vectors: np.ndarray,
    norms: np.ndarray | None = None,
    k: int = 10,
    similarities: np.ndarray | None = None,
) -> Answer:
    """Keep each query's k most similar candidates by cosine.

    Parameters
    ----------
    indptr, ids : as returned by `HammingIndex.radius_search`
    queries : array of shape (n_queries, d)
    vectors : array of shape (n, d)
        The vectors of all items.
    norms : array of shape (n,), optional
        Their Euclidean lengths, if known; `vectors` must then be float32 or float64.
    k : int, at least 1
    similarities : array of shape (n_queries, n), optional
        The cosines, if known, which are then taken as they are: worth it when the same queries
        are ranked at several radii.

    Returns
    -------
    ids : array of shape (n_queries, k), int64
        Best first, ties by the lower id; -1 where there are fewer than k candidates.
    similarities : array of shape (n_queries, k), float64
        nan where there are fewer than k candidates.

    Raises
    ------
    ValueError
        If k is less than 1 or a vector has no direction.
    """
    _check_k(k)
    lists = [ids[a:b] for a, b in pairwise(indptr)]
    if similarities is not None:
        ranked = ((row, similarities[i].take(row)) for i, row in enumerate(lists))
    else:
        queries, lengths = _check_vectors(queries, "queries", len(lists))
        if norms is None:
            vectors, norms = _check_vectors(vectors, "vectors")
        ranked = _cosines(lists, queries / lengths[:, None], vectors, norms, k)
    return _best(ranked, len(lists), k)


def _cosines(lists, queries, vectors, norms, k) -> Iterator[Answer]:
    """Yield each query's (candidates, cosines), leaving out candidates that cannot be among k."""
    margin = 16 * np.finfo(vectors.dtype).eps * vectors.shape[1] ** 0.5
    step = max(1, 128 * BLOCK // len(vectors))
    for start in range(0, len(queries), step):
        block, rows = queries[start : start + step], lists[start : start + step]
        # A matrix product may round equal rows differently, and float32 rounds a lot, so the
        # product only preselects, with a margin; the exact cosines rank. It has to read all
        # vectors, which takes as long as multiplying by some 16 queries.
        dense = sum(map(len, rows)) * ROW_COST > (len(rows) + 16) * len(vectors)
        product = block.astype(vectors.dtype) @ vectors.T / norms if dense else rows
        for query, row, rough in zip(block, rows, product, strict=True):
            if dense and len(row) > k:
                row = row[_at_least(rough.take(row), k, margin)]
            cosines = np.empty(len(row))
            for i in range(0, len(row), 256):
                part = row[i : i + 256]
                # einsum sums every row in the same order, so equal rows are exactly equal.
                products = np.einsum("ij,j->i", np.asarray(vectors[part], np.float64), query)
                cosines[i : i + 256] = products / norms[part]
            yield row, cosines


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


def _pack(bits: np.ndarray, widths: list[int], size: int, n_words: int) -> np.ndarray:
    """Write runs of bits, right-aligned, into words of `size` bits, shape (n, n_words)."""
    if sum(widths) < size * n_words:
        source, bits = bits, np.zeros((len(bits), size * n_words), bool)
        for j, end in enumerate(np.cumsum(widths)):
            stop = (j + 1) * size
            bits[:, stop - widths[j] : stop] = source[:, end - widths[j] : end]
    octets = np.packbits(np.ascontiguousarray(bits).ravel())
    return octets.view(f">u{size // 8}").astype(f"u{size // 8}").reshape(len(bits), n_words)


def _distances(words: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Hamming distances of codes made of several words, shapes (..., words) -> (...)."""
    total = np.bitwise_count(words[..., 0] ^ others[..., 0])
    for j in range(1, words.shape[-1]):
        more = np.bitwise_count(words[..., j] ^ others[..., j])
        total = np.add(total, more, dtype=np.min_scalar_type(64 * words.shape[-1]))
    return total


@lru_cache(maxsize=CHUNK_BITS)
def _differences(width: int) -> np.ndarray:
    """All differences of two chunks, ordered by their number of bits."""
    return np.argsort(np.bitwise_count(np.arange(1 << width)), kind="stable")


def _masks(width: int, radius: int) -> np.ndarray:
    """Return the differences of at most `radius` bits."""
    return _differences(width)[: sum(math.comb(width, bits) for bits in range(radius + 1))]


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Concatenate arange(start, start + count) for all starts, without a loop."""
    occupied = np.flatnonzero(counts != 0)  # many times faster on bool
    if not len(occupied):
        return occupied
    starts, counts = starts.take(occupied), counts.take(occupied)
    # Steps of one within a range and jumps between ranges add up to the places.
    places = np.ones(counts.sum(), np.intp)
    places[0] = starts[0]
    places[np.cumsum(counts)[:-1]] = starts[1:] - starts[:-1] - counts[:-1] + 1
    return np.cumsum(places, out=places)


def _check_codes(codes: np.ndarray, n_bits: int | None = None) -> np.ndarray:
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] < 1:
        raise ValueError(
            f"Codes must have shape (n, n_bits) with n_bits at least 1, got {codes.shape}."
        )
    if codes.dtype != bool:
        if codes.dtype.kind not in "iu" or ((codes != 0) & (codes != 1)).any():
            raise ValueError("Codes must be bool or the integers 0 and 1; use projections >= 0.")
        codes = codes.astype(bool)
    if n_bits not in (None, codes.shape[1]):
        raise ValueError(
            f"The index holds codes of {n_bits} bits, the given ones have {codes.shape[1]}; "
            "use the same hash function for both."
        )
    return codes


def _check_vectors(vectors, name: str, n: int | None = None, d: int | None = None) -> Answer:
    """Return the vectors as float32 or float64, and their lengths in float64."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must be numbers of shape (n, d), got {vectors.dtype} of shape {vectors.shape}."
        )
    if n not in (None, len(vectors)):
        raise ValueError(f"There are {n} codes but {len(vectors)} {name}; give one for each code.")
    if d not in (None, vectors.shape[1]):
        raise ValueError(
            f"The index holds vectors of {d} numbers, the given {name} have {vectors.shape[1]}."
        )
    if vectors.dtype not in (np.float32, np.float64):
        vectors = vectors.astype(np.float64)
    lengths = np.empty(len(vectors))
    for i in range(0, len(vectors), 1024):
        lengths[i : i + 1024] = np.linalg.norm(vectors[i : i + 1024].astype(np.float64), axis=1)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise ValueError(
            f"Row {bad[0]} of {name} is zero or has NaN or infinite values, so its cosine is "
            f"undefined ({len(bad)} such rows); remove or repair it."
        )
    return vectors, lengths


def _check_k(k: int) -> None:
    if not isinstance(k, Integral) or k < 1:
        raise ValueError(f"k must be a whole number, at least 1; got {k!r}.")


def _checksum(content: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(content):
        array = np.ascontiguousarray(content[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array)
    return digest.hexdigest()
