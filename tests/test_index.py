"""Searches against plain loops, whichever way the index takes; files against every damage."""

import errno
import json
import pickle
import sys
import threading
import tracemalloc
import zipfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from grh_helpers import LSH, HammingIndex
from grh_helpers import index as module
from grh_helpers.codes import pack_words
from grh_helpers.datasets import atomic
from grh_helpers.index import exact_search

# Costs that force one way of searching, blocks so small that every boundary is crossed, and chunks
# of other widths.
PROBE = {"PROBE_COST": 0, "CANDIDATE_COST": 0, "VERIFY_COST": 0}
WAYS = {
    "default": {},
    "probe": PROBE,
    "probe, small blocks": {**PROBE, "BLOCK": 64},
    "probe, short chunks": {**PROBE, "CHUNK_BITS": 6},
    "probe, long chunks": {**PROBE, "CHUNK_BITS": 18},
    "scan": {"PROBE_COST": 10**9},
    "scan, small blocks": {"PROBE_COST": 10**9, "BLOCK": 64},
    "candidates decide": {"PROBE_COST": 0, "BLOCK": 256},
}
fast = settings(max_examples=60, deadline=None)


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    for name, value in WAYS[request.param].items():
        monkeypatch.setattr(module, name, value)
    return request.param


def within(codes, query, radius):
    """The brute-force answer: compare bit by bit."""
    return np.flatnonzero((np.asarray(codes) != query).sum(axis=1) <= radius).tolist()


def answers(index, queries, radius):
    indptr, ids = index.radius_search(queries, radius)
    assert indptr.dtype == np.int64 and indptr.shape == (len(queries) + 1,) and indptr[0] == 0
    assert ids.dtype == np.int32 and ids.shape == (indptr[-1],)
    return [ids[a:b].tolist() for a, b in zip(indptr[:-1], indptr[1:], strict=True)]


def assert_exact(index, codes, queries, radius):
    """Equality of sorted lists: nothing missing, nothing extra, nothing twice."""
    for query, answer in zip(queries, answers(index, queries, radius), strict=True):
        assert sorted(answer) == within(codes, query, radius)


def random_codes(rng, n, n_bits, kind):
    if kind == "equal":
        return np.repeat(rng.random((1, n_bits)) < 0.5, n, axis=0)
    if kind == "random":
        return rng.random((n, n_bits)) < 0.5
    centres = rng.random((max(1, n // 20), n_bits)) < 0.5
    flips = rng.random((n, n_bits)) < (0.08 if kind == "clustered" else 1 / n_bits)
    return centres[rng.integers(len(centres), size=n)] ^ flips


@st.composite
def problems(draw, max_n=5000):
    n_bits = draw(st.integers(1, 136))
    n = draw(st.integers(1, 60) | st.integers(1, max_n))
    kind = draw(st.sampled_from(["equal", "random", "clustered", "duplicates"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    codes = random_codes(rng, n, n_bits, kind)
    n_queries = draw(st.integers(0, 5))
    queries = codes[rng.integers(n, size=n_queries)] ^ (rng.random((n_queries, n_bits)) < 0.06)
    return codes, queries, rng


# radius search


@fast
@given(problems(), st.data())
def test_equals_brute_force(problem, data):
    codes, queries, _ = problem
    n_bits = codes.shape[1]
    index = HammingIndex(codes)
    assert len(index) == len(codes) and index.n_bits == n_bits
    small = st.integers(0, min(n_bits, 12))
    for radius in data.draw(st.sets(small | st.integers(0, n_bits), min_size=1, max_size=4)):
        assert_exact(index, codes, queries, radius)


@pytest.mark.parametrize("n_bits", [1, 2, 7, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65, 80, 128])
def test_every_way_equals_brute_force(way, n_bits):
    rng = np.random.default_rng(n_bits)
    n_chunks = -(-n_bits // 16)
    for kind in ("equal", "clustered", "duplicates"):
        codes = random_codes(rng, 700, n_bits, kind)
        queries = codes[::100] ^ (rng.random((7, n_bits)) < 0.06)
        index = HammingIndex(codes)
        for radius in range(min(n_bits, 3 * n_chunks) + 1):
            assert_exact(index, codes, queries, radius)


@pytest.mark.parametrize("n_bits", [10, 16, 20, 32, 48, 64, 128])
def test_neighbours_at_exactly_the_radius_wherever_the_bits_differ(way, n_bits):
    # The hardest cases of the pigeonhole principle: the differing bits are spread over the
    # chunks evenly, or crowded into the last ones.
    rng = np.random.default_rng(n_bits)
    query = rng.random(n_bits) < 0.5
    for radius in range(1, min(n_bits, 9)):
        spread = np.linspace(0, n_bits - 1, radius).astype(int)
        places = [spread, n_bits - 1 - np.arange(radius), np.arange(radius)]
        places += [rng.permutation(n_bits)[:radius] for _ in range(40)]
        codes = np.repeat(query[None], len(places), axis=0)
        for code, place in zip(codes, places, strict=True):
            code[place] ^= True
        codes = np.vstack([codes, rng.random((400, n_bits)) < 0.5])
        assert set(range(len(places))) <= set(answers(HammingIndex(codes), query[None], radius)[0])
        assert_exact(HammingIndex(codes), codes, query[None], radius)
        assert_exact(HammingIndex(codes), codes, query[None], radius - 1)


def test_a_million_codes_and_more_have_longer_chunks():
    rng = np.random.default_rng(0)
    n = 10**6 + 1
    codes = np.unpackbits(rng.integers(256, size=(n, 5), dtype=np.uint8), axis=1)
    queries = codes[:3].copy()
    queries[:, [0, 7, 20]] ^= 1
    assert [len(HammingIndex(part)._state.chunks) for part in (codes[:-1], codes)] == [3, 2]
    keys = codes.astype(bool)
    for query, answer in zip(queries, answers(HammingIndex(codes), queries, 5), strict=True):
        assert sorted(answer) == within(keys, query, 5)


@pytest.mark.parametrize("n_bits, m", [(5, 1), (16, 1), (17, 2), (64, 3), (65, 5), (130, 9)])
def test_chunk_values_are_the_numbers_of_their_bits(n_bits, m):
    codes = np.random.default_rng(0).random((50, n_bits)) < 0.5
    parts, words = np.array_split(codes, m, axis=1), pack_words(codes)
    for part, chunk in zip(parts, module._chunks(n_bits, m), strict=True):
        expected = part @ (1 << np.arange(part.shape[1])[::-1])
        assert np.array_equal(expected, module._values(words, *chunk))


def test_results_grow_with_the_radius(way):
    rng = np.random.default_rng(3)
    codes = random_codes(rng, 500, 24, "clustered")
    index, queries = HammingIndex(codes), codes[:5]
    previous = [set() for _ in queries]
    for radius in range(25 if "probe" not in way else 12):
        current = [set(answer) for answer in answers(index, queries, radius)]
        assert all(old <= new for old, new in zip(previous, current, strict=True))
        previous = current
    for radius in (24, 25, 300):
        assert [sorted(a) for a in answers(index, queries, radius)] == [list(range(500))] * 5


def test_more_bits_than_a_byte_can_count():
    codes = np.zeros((50, 300), bool)
    codes[10:] = True
    index = HammingIndex(codes)
    for radius in (0, 43, 44, 45, 255, 256, 299):  # 300 - 256 = 44 would overflow
        assert sorted(answers(index, codes[:1], radius)[0]) == list(range(10))
    assert len(answers(index, codes[:1], 300)[0]) == 50


def test_empty_query_batch(way):
    index = HammingIndex(np.eye(20, dtype=bool), np.eye(20))
    assert answers(index, np.zeros((0, 20), bool), 2) == []
    for queries in (None, np.zeros((0, 20))):
        found, similarities = index.search(np.zeros((0, 20), bool), 2, 3, queries)
        assert found.shape == similarities.shape == (0, 3)


def test_same_answer_in_the_same_order_twice():
    codes = random_codes(np.random.default_rng(0), 3000, 40, "clustered")
    one, two = (HammingIndex(codes).radius_search(codes[:50], 6) for _ in range(2))
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])


def layouts(array, folder):
    """The same numbers, stored in every way that NumPy knows."""
    yield np.asfortranarray(array)
    yield np.repeat(np.repeat(array, 2, axis=0), 3, axis=1)[::2, ::3]
    yield array[::-1].copy()[::-1]
    frozen = array.copy()
    frozen.setflags(write=False)
    yield frozen
    path = folder / f"{array.dtype}.npy"
    np.save(path, array)
    yield np.load(path, mmap_mode="r")


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
@pytest.mark.parametrize("n_bits", [13, 16, 40])
def test_codes_in_any_layout(tmp_path, dtype, n_bits):
    codes = random_codes(np.random.default_rng(1), 300, n_bits, "clustered")
    for stored in layouts(codes.astype(dtype), tmp_path):
        before = np.array(stored)
        assert_exact(HammingIndex(stored), codes, stored[:4], 3)
        assert np.array_equal(stored, before)
    assert_exact(HammingIndex(codes.tolist() if dtype is bool else codes), codes, codes[:2], 2)


def test_probes_where_that_is_cheap_and_scans_where_not(monkeypatch):
    rng = np.random.default_rng(0)
    calls = []
    for name in ("_scan", "_verify"):
        method = getattr(module._State, name)

        def spy(self, *args, method=method, name=name):
            calls.append(name)
            return method(self, *args)

        monkeypatch.setattr(module._State, name, spy)
    codes = rng.random((5000, 32)) < 0.5
    crowded = codes & (np.arange(32) >= 16)  # one bucket of the first chunk holds everything
    for case, radius, expected in [
        (codes, 0, "_verify"),
        (codes, 2, "_verify"),
        (codes, 12, "_scan"),
        (codes, 32, "_scan"),
        (crowded, 0, "_scan"),
    ]:
        calls.clear()
        HammingIndex(case).radius_search(case[:4], radius)
        assert set(calls) == {expected}, radius


def test_probes_that_cost_more_than_a_scan_are_not_kept():
    probed, flips = module._probes(64, (1, 1, 0, -1), 3, 105)  # 17 + 17 + 1 probes, 3 codes each
    assert np.bincount(probed).tolist() == [17, 17, 1]
    assert np.array_equal(flips >> 16, probed) and (np.bitwise_count(flips % 2**16) <= 1).all()
    assert module._probes(64, (1, 1, 0, -1), 3, 104) is None
    assert module._probes(64, (16, 16, 16, 16), 3, 10**5) is None


@pytest.mark.parametrize("crowded_bits", [16, 12], ids=["scan", "probe"])
def test_memory_is_bounded_by_blocks_not_by_candidates(crowded_bits):
    rng = np.random.default_rng(0)
    codes = rng.random((20_000, 64)) < 0.5
    codes[:, :crowded_bits] = False  # 20,000 or 1,250 candidates a query, millions in all
    index = HammingIndex(codes)
    tracemalloc.start()
    indptr, _ = index.radius_search(codes[:2000], 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert indptr[-1] >= 2000 and peak < 32 * 2**20


# ranking


def brute_ranking(codes, query_codes, radius, k, vectors, queries):
    """A plain loop: candidates, cosines one by one, a full sort with ties by id."""
    ids, similarities = np.full((len(query_codes), k), -1), np.full((len(query_codes), k), np.nan)
    vectors, queries = np.asarray(vectors, float), np.asarray(queries, float)
    for i, (code, query) in enumerate(zip(query_codes, queries, strict=True)):
        candidates = within(codes, code, radius)
        cosines = np.array(
            [v @ query / np.sqrt((v @ v) * (query @ query)) for v in vectors[candidates]]
        )
        best = np.lexsort((candidates, -cosines.round(12)))[:k]
        ids[i, : len(best)] = np.array(candidates, int)[best]
        similarities[i, : len(best)] = cosines[best]
    return ids, similarities


def assert_ranking(got, expected):
    assert got[0].dtype == np.int64 and got[1].dtype == np.float64
    assert np.array_equal(got[0], expected[0])
    np.testing.assert_allclose(got[1], expected[1], rtol=0, atol=1e-9)


def twins(rng, n, d):
    """Vectors in which directions repeat: exact ties in cosine."""
    directions = rng.standard_normal((max(1, n // 3), d))
    scale = 2.0 ** rng.integers(-3, 4, size=(n, 1))
    return directions[rng.integers(len(directions), size=n)] * scale


@pytest.mark.parametrize("cost", [0, 32, 10**9], ids=["gather", "default", "product"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_search_equals_a_brute_force_loop(monkeypatch, cost, dtype):
    monkeypatch.setattr(module, "GATHER_COST", cost)
    rng = np.random.default_rng(5)
    for n, n_bits, d, k in [(1, 3, 2, 4), (40, 5, 3, 50), (1500, 12, 7, 10), (1500, 40, 33, 1)]:
        codes = random_codes(rng, n, n_bits, "clustered")
        vectors = twins(rng, n, d).astype(dtype)
        query_codes, queries = codes[:6], rng.standard_normal((min(n, 6), d)).astype(dtype)
        index = HammingIndex(codes, vectors)
        for radius in (0, 2, n_bits // 2, n_bits):
            expected = brute_ranking(codes, query_codes, radius, k, vectors, queries)
            assert_ranking(index.search(query_codes, radius, k, queries), expected)


@fast
@given(problems(max_n=700), st.integers(1, 12), st.integers(1, 9), st.data())
def test_search_equals_a_brute_force_loop_on_anything(problem, k, d, data):
    codes, query_codes, rng = problem
    radius = data.draw(st.integers(0, codes.shape[1]))
    vectors, queries = twins(rng, len(codes), d), rng.standard_normal((len(query_codes), d))
    if d == 1:  # only two directions, so the round of twelve digits hides nothing
        vectors, queries = np.sign(vectors), np.sign(queries)
    expected = brute_ranking(codes, query_codes, radius, k, vectors, queries)
    assert_ranking(HammingIndex(codes, vectors).search(query_codes, radius, k, queries), expected)


@pytest.mark.parametrize("cost", [1, 32, 10**9], ids=["gather", "default", "product"])
@pytest.mark.parametrize("block", [8, 1 << 16], ids=["blocks", "one block"])
def test_a_sweep_is_a_search_at_each_limit(monkeypatch, cost, block):
    monkeypatch.setattr(module, "GATHER_COST", cost)
    monkeypatch.setattr(module, "BLOCK", block)
    rng = np.random.default_rng(6)
    codes, vectors = random_codes(rng, 1500, 12, "clustered"), twins(rng, 1500, 7)
    queries = rng.standard_normal((9, 7))
    index = HammingIndex(codes, vectors)
    found = index.sweep(codes[:9], queries, 4, radii=iter([0, 7, 2]), budgets=[3, 40, 9999])
    limits = [{"radius": r} for r in (0, 7, 2)] + [{"budget": b} for b in (3, 40, 9999)]
    for ids, cosines, candidates, seconds, limit in zip(*found, limits, strict=True):
        assert_ranking(index.search(codes[:9], k=4, queries=queries, **limit), (ids, cosines))
        many = index.count(codes[:9], limit.get("radius", 0))
        assert (candidates == (many if "radius" in limit else min(limit["budget"], 1500))).all()
        assert seconds > 0
    scores = np.where(codes[:9], 1.0, -1.0) * rng.random((9, 12))
    ids, *_ = index.sweep(codes[:9], queries, 4, budgets=[40], scores=scores)
    expected, _ = index.search(codes[:9], k=4, queries=queries, budget=40, scores=scores)
    assert np.array_equal(ids[0], expected)
    for none in ({}, {"radii": [1], "scores": scores}):
        with pytest.raises(ValueError, match="at least one radius or budget, and scores with bud"):
            index.sweep(codes[:9], queries, 4, **none)


def test_a_sweep_makes_one_product_and_charges_it_to_all_who_use_it(monkeypatch):
    ticks, kept, rank = count(), [], module._State.rank

    def spy(self, *args):
        kept.append(len(args[-1]))
        return rank(self, *args)

    monkeypatch.setattr(module._State, "rank", spy)
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(module, "GATHER_COST", 10**9)
    codes, vectors = np.eye(8, dtype=bool), np.eye(8)
    *_, seconds = HammingIndex(codes, vectors).sweep(codes[:2], vectors[:2], 1, radii=[0, 2, 8])
    # Start and end of the limit, and those of the product: 3 ticks with it, 2 where it is kept.
    assert kept == [0, 2, 2] and seconds.tolist() == [3, 3, 3]


def test_product_in_blocks_of_queries(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 64)  # 128 · 64 // 4000 = 2 queries a product
    monkeypatch.setattr(module, "GATHER_COST", 10**9)
    rng = np.random.default_rng(2)
    codes, vectors = random_codes(rng, 4000, 6, "random"), twins(rng, 4000, 5)
    queries = rng.standard_normal((7, 5))
    got = HammingIndex(codes, vectors).search(codes[:7], 3, 10, queries)
    assert_ranking(got, brute_ranking(codes, codes[:7], 3, 10, vectors, queries))


def test_a_float32_product_only_preselects(monkeypatch):
    # Cosines that differ by less than a float32 product can tell; all must be ranked exactly.
    monkeypatch.setattr(module, "GATHER_COST", 10**9)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal(64) + 1e-6 * rng.standard_normal((2000, 64))
    vectors, queries = vectors.astype(np.float32), rng.standard_normal((8, 64)).astype(np.float32)
    codes = np.zeros((2000, 4), bool)
    got = HammingIndex(codes, vectors).search(codes[:8], 0, 5, queries)
    assert_ranking(got, brute_ranking(codes, codes[:8], 0, 5, vectors, queries))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_vectors_in_any_layout(tmp_path, dtype):
    rng = np.random.default_rng(1)
    codes = random_codes(rng, 200, 10, "clustered")
    vectors = (10 * rng.standard_normal((200, 6)) + 50).astype(dtype)
    expected = brute_ranking(codes, codes[:5], 3, 8, vectors, vectors[:5])
    for stored in layouts(vectors, tmp_path):
        assert_ranking(HammingIndex(codes, stored).search(codes[:5], 3, 8, stored[:5]), expected)


@pytest.mark.parametrize("radius", [0, 8], ids=["gather", "product"])
def test_vectors_are_not_copied(radius):
    rng = np.random.default_rng(0)
    codes, vectors = rng.random((20_000, 8)) < 0.5, np.ones((20_000, 200), np.float32)
    tracemalloc.start()
    HammingIndex(codes, vectors).search(codes[:2], radius, 10, vectors[:2])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < vectors.nbytes / 2


def test_without_queries_the_hamming_distance_ranks():
    rng = np.random.default_rng(6)
    for n_bits in (6, 20, 70):
        codes = random_codes(rng, 900, n_bits, "clustered")
        for index in (HammingIndex(codes), HammingIndex(codes, np.ones((900, 2)))):
            ids, similarities = index.search(codes[:8], 4, k=7)
            for i in range(8):
                distances = (codes != codes[i]).sum(axis=1)
                near = np.lexsort((np.arange(900), distances))
                near = near[distances[near] <= 4][:7]
                assert ids[i].tolist() == near.tolist() + [-1] * (7 - len(near))
                expected = 1 - distances[near] / n_bits
                assert np.array_equal(similarities[i, : len(near)], expected)
                assert np.isnan(similarities[i, len(near) :]).all()


def test_what_a_scan_finds_beyond_the_radius_is_left_out():
    codes = np.zeros((3, 8), bool)
    codes[1, :3], codes[2] = True, True  # at distances 3 and 8, and three codes are scanned
    ids, similarities = HammingIndex(codes).search(codes[:1], 2, k=3)
    assert ids.tolist() == [[0, -1, -1]] and np.isnan(similarities[0, 1:]).all()


@pytest.mark.parametrize("k", [4, 1000])
def test_fewer_than_k_candidates_are_padded(k):
    index = HammingIndex(np.eye(3, dtype=bool), np.eye(3))
    ids, similarities = index.search(np.eye(3, dtype=bool)[:1], 0, k, np.ones((1, 3)))
    assert ids.tolist() == [[0] + [-1] * (k - 1)]
    assert similarities[0, 0] == pytest.approx(3**-0.5) and np.isnan(similarities[0, 1:]).all()


# nearest, budget, count


def first(distances, k):
    """The k smallest of each row by a full stable sort: positions and values."""
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


@pytest.mark.parametrize("kind", ["equal", "clustered", "duplicates", "random"])
@pytest.mark.parametrize("n_bits", [1, 7, 16, 17, 40, 64, 65, 130])
def test_kneighbors_equals_a_full_sort(way, n_bits, kind):
    rng = np.random.default_rng(n_bits)
    codes = random_codes(rng, 700, n_bits, kind)
    queries = np.vstack([codes[:4] ^ (rng.random((4, n_bits)) < 0.1), ~codes[:2]])
    distances = (codes != queries[:, None]).sum(axis=2)
    scores = np.where(queries, 1, -1) * rng.integers(1, 4, size=queries.shape)
    costs = (np.abs(scores)[:, None] * (codes != queries[:, None])).sum(axis=2)
    index = HammingIndex(codes)
    for k in (1, 10, 699, 700, 10**6):
        ids, found = index.kneighbors(queries, k)
        assert ids.dtype == found.dtype == np.int64
        for got, expected in zip((ids, found), first(distances, k), strict=True):
            assert np.array_equal(got, expected)
    ids, found = index.kneighbors(queries, 12, scores=scores)
    assert found.dtype == np.float64  # whole scores: the sums are exact, and so are ties
    for got, expected in zip((ids, found), first(costs, 12), strict=True):
        assert np.array_equal(got, expected)
    for radius in {0, 1, min(n_bits, 6)}:
        counts = index.count(queries, radius)
        assert counts.dtype == np.int64
        assert np.array_equal(counts, (distances <= radius).sum(axis=1))


def test_scores_by_hand():
    codes = np.array([[0, 0, 1], [1, 1, 0], [0, 0, 1], [1, 1, 1]])
    scores = np.array([[0.0, 4.0, -0.5], [-3.0, -1.0, 2.0]])  # a score of 0 is a bit of 1
    index, queries = HammingIndex(codes, np.eye(4)), scores >= 0
    ids, distances = index.kneighbors(queries, 3, scores=scores)
    assert ids.tolist() == [[1, 3, 0], [0, 2, 3]]
    assert distances.tolist() == [[0, 0.5, 4.5], [0, 0, 4]]
    ids, similarities = index.search(queries, k=2, budget=3, scores=scores)
    assert ids.tolist() == [[1, 3], [0, 2]] and similarities.tolist() == [[0, -0.5], [0, 0]]
    vectors = np.array([[1.0, 2, 3, 4], [1, 2, 3, 4]])
    ids, _ = index.search(queries, k=4, queries=vectors, budget=3, scores=scores)
    assert ids.tolist() == [[3, 1, 0, -1], [3, 2, 0, -1]]


def test_budget_by_hand(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 1)  # one query at a time
    codes = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0]])
    index, queries = HammingIndex(codes, np.eye(4)), np.zeros((2, 3), bool)
    ids, similarities = index.search(queries, k=4, budget=3)
    assert ids.tolist() == [[0, 1, 3, -1]] * 2
    np.testing.assert_array_equal(similarities, [[1, 1 - 1 / 3, 1 - 1 / 3, np.nan]] * 2)
    vectors = np.array([[1.0, 2, 5, 4], [4, 3, 2, 1]])
    ids, similarities = index.search(queries, None, 2, vectors, budget=3)
    assert ids.tolist() == [[3, 1], [0, 1]]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(similarities, [[4, 2], [4, 3]] / lengths)
    assert (
        index.search(queries, k=9, queries=vectors, budget=10**9)[0][:, 4:].tolist()
        == [[-1] * 5] * 2
    )


def test_no_queries_have_no_neighbours():
    none = np.zeros((0, 4), bool)
    assert [a.shape for a in PLAIN.kneighbors(none, 3)] == [(0, 3)] * 2
    assert [a.shape for a in PLAIN.kneighbors(none, 3, scores=np.zeros((0, 4)))] == [(0, 3)] * 2
    assert PLAIN.count(none, 1).shape == (0,)
    assert FULL.search(none, budget=2, queries=VECTORS[:0])[0].shape == (0, 10)


@pytest.mark.parametrize(
    "call",
    [
        lambda index, codes, vectors: index.count(codes, 8),
        lambda index, codes, vectors: index.kneighbors(codes, 5),
        lambda index, codes, vectors: index.search(codes, 8, 5),
        lambda index, codes, vectors: index.search(codes, 8, 5, vectors),
        lambda index, codes, vectors: index.search(codes, None, 5, vectors, budget=2000),
    ],
)
def test_memory_does_not_grow_with_the_number_of_queries(monkeypatch, call):
    monkeypatch.setattr(module, "BLOCK", 1 << 10)
    rng = np.random.default_rng(0)
    codes, vectors = rng.random((2000, 8)) < 0.5, rng.standard_normal((2000, 2))
    index = HammingIndex(codes, vectors)
    tracemalloc.start()
    call(index, codes, vectors)  # 4 million candidates, 16 MB and more
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_a_radius_search_takes_little_more_than_its_answer():
    codes = np.random.default_rng(0).random((3000, 8)) < 0.5
    index = HammingIndex(codes)
    tracemalloc.start()
    ids = index.radius_search(codes, 8)[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * ids.nbytes


# encoder


@pytest.fixture
def encoded():
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((500, 6)) + 1
    encoder = make_pipeline(Normalizer(), StandardScaler(with_std=False), LSH(12, random_state=0))
    encoder.fit(raw)
    vectors = encoder[:-1].transform(raw)
    return raw, encoder, HammingIndex(encoder[-1].transform(vectors), vectors, encoder)


def test_an_encoder_goes_from_raw_query_to_answer_and_into_the_file(encoded, tmp_path):
    raw, encoder, index = encoded
    index.add(encoder.transform(raw[:9]), encoder[:-1].transform(raw[:9]))
    index.save(tmp_path / "index")
    loaded = HammingIndex.load(tmp_path / "index", trusted=True)
    for one in (index, loaded):
        query_codes, queries = one.encode(raw[9:20])
        assert np.array_equal(query_codes, encoder.transform(raw[9:20]))
        ids, cosines = one.search(query_codes, 0, 1, queries)
        assert ids.ravel().tolist() == list(range(9, 20)) and np.allclose(cosines, 1)
    assert HASHED.encode(VECTORS)[1] is VECTORS  # no step before the hash function


def test_a_file_with_an_encoder_is_refused_unless_trusted(encoded, tmp_path, saved):
    encoded[2].save(tmp_path / "index")
    for trusted in (False, 1):
        with pytest.raises(ValueError, match="can execute any code; load it with trusted=True if"):
            HammingIndex.load(tmp_path / "index", trusted=trusted)
    index = HammingIndex.load(saved)
    for encoder, message, trusted in (
        (Bomb(), "can execute any code", False),
        (OTHER, "X has 3 features, but LSH is expecting 2 features", True),
    ):
        index.encoder = encoder
        index.save(saved)
        for mmap in (False, True):
            with pytest.raises(ValueError, match=message):
                HammingIndex.load(saved, trusted=trusted, mmap=mmap)


@pytest.mark.parametrize("row", [0, 499])
def test_one_other_code_at_either_end_is_noticed(encoded, row):
    raw, encoder, _ = encoded
    codes, vectors = encoder.transform(raw), encoder[:-1].transform(raw)
    codes[row, 3] ^= True
    with pytest.raises(ValueError, match="does not belong to this index"):
        HammingIndex(codes, vectors, encoder)


# buckets and add


@fast
@given(problems(max_n=300))
def test_buckets_equal_a_dictionary(problem):
    codes, _, _ = problem
    expected = defaultdict(list)
    for i, row in enumerate(codes):
        expected[int("".join("01"[int(bit)] for bit in row), 2)].append(i)
    keys, indptr, ids = HammingIndex(codes).buckets()
    assert keys.ndim == 1 + (codes.shape[1] > 64)
    words = keys.reshape(len(keys), -1).tolist()
    numbers = [sum(word << 64 * i for i, word in enumerate(reversed(row))) for row in words]
    assert numbers == sorted(expected)
    groups = [ids[a:b].tolist() for a, b in zip(indptr[:-1], indptr[1:], strict=True)]
    assert groups == [expected[number] for number in numbers]


@fast
@given(problems(max_n=400), st.lists(st.integers(0, 400), max_size=3))
def test_add_equals_building_at_once(problem, cuts):
    codes, queries, rng = problem
    vectors = rng.standard_normal((len(codes), 4))
    cuts = sorted({1, *(1 + cut % len(codes) for cut in cuts)})
    parts = list(zip(np.split(codes, cuts), np.split(vectors, cuts), strict=True))
    index = HammingIndex(*parts[0])
    for part in parts[1:]:
        index.add(*part)
    radius = codes.shape[1] // 3
    assert len(index) == len(codes)
    assert_exact(index, codes, queries, radius)
    features = rng.standard_normal((len(queries), 4))
    expected = HammingIndex(codes, vectors).search(queries, radius, 5, features)
    assert_ranking(index.search(queries, radius, 5, features), expected)
    assert np.array_equal(index.buckets()[2], HammingIndex(codes).buckets()[2])


def test_blocks_of_codes_are_one_index():
    rng = np.random.default_rng(0)
    codes, vectors = random_codes(rng, 300, 20, "clustered"), rng.standard_normal((300, 3))
    index = HammingIndex(iter([codes[:100], codes[100:100], codes[100:].astype(int)]), vectors)
    assert len(index) == 300 and index.n_bits == 20
    assert_exact(index, codes, codes[:9], 3)


def test_a_refused_add_changes_nothing():
    rng = np.random.default_rng(0)
    codes, vectors = rng.random((30, 5)) < 0.5, rng.standard_normal((30, 3))
    index = HammingIndex(codes, vectors)
    for bad in [
        (codes[:, :4], vectors),
        (codes, vectors[:4]),
        (codes, vectors[:, :2]),
        (codes, np.zeros_like(vectors)),
        (codes, None),
    ]:
        with pytest.raises(ValueError):
            index.add(*bad)
    assert len(index) == 30
    assert_exact(index, codes, codes[:3], 2)
    index.add(codes[:0], vectors[:0])
    assert_exact(index, codes, codes[:3], 2)


def test_threads_search_while_one_adds():
    # Every answer is that of the index before an add or after it, at any moment of the add.
    rng = np.random.default_rng(0)
    codes, vectors = rng.random((2000, 40)) < 0.5, rng.standard_normal((2000, 3))
    index, sizes = HammingIndex(codes[:100], vectors[:100]), range(100, 2001, 100)

    def search(_):
        seen = []
        while not seen or seen[-1] < 2000:
            ids = index.radius_search(codes[:1], 40)[1]
            assert np.array_equal(np.sort(ids), np.arange(len(ids)))
            best = index.search(codes[:1], 40, 1000, vectors[:1])[0][0]
            seen += [len(ids), max(len(ids), np.count_nonzero(best >= 0))]
            ids = index.kneighbors(codes[:1], 2000)[0]
            assert np.array_equal(np.sort(ids[0]), np.arange(ids.shape[1]))
            seen.append(ids.shape[1])
        return seen

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            results = [pool.submit(search, i) for i in range(4)]
            for start in sizes[:-1]:
                index.add(codes[start : start + 100], vectors[start : start + 100])
            for result in results:
                seen = result.result(timeout=60)
                assert set(seen) <= set(sizes) and seen == sorted(seen)
    finally:
        sys.setswitchinterval(interval)


# save and load


@pytest.mark.parametrize("n_bits", [1, 12, 16, 37, 64, 100])
@pytest.mark.parametrize("dtype", [None, np.float32, np.float64])
def test_load_gives_back_what_was_saved(tmp_path, n_bits, dtype):
    rng = np.random.default_rng(n_bits)
    codes = random_codes(rng, 200, n_bits, "clustered")
    vectors = None if dtype is None else rng.standard_normal((200, 3)).astype(dtype)
    index = HammingIndex(codes[:150], None if dtype is None else vectors[:150])
    index.add(codes[150:], None if dtype is None else vectors[150:])
    path = tmp_path / "index.bin"  # no .npz is appended
    index.save(str(path))
    index.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["index.bin"]
    loaded = HammingIndex.load(path)
    assert (len(loaded), loaded.n_bits, repr(loaded)) == (200, n_bits, repr(index))
    assert_exact(loaded, codes, codes[:9], 3)
    queries = None if dtype is None else np.ones((9, 3))
    for mine, theirs in zip(
        index.search(codes[:9], 3, 4, queries), loaded.search(codes[:9], 3, 4, queries), strict=True
    ):
        assert np.array_equal(mine, theirs, equal_nan=True)


def test_a_file_of_the_first_format_is_refused(tmp_path):
    content = {"codes": np.array([[128], [64], [32]], np.uint8), "n_bits": 3, "format": 1}
    np.savez(tmp_path / "index.npz", **content)
    assert_refused(tmp_path / "index.npz")


def test_fortran_ordered_vectors_come_back(tmp_path):
    vectors = np.asfortranarray(np.arange(1.0, 9).reshape(4, 2))
    HammingIndex(np.eye(4, dtype=bool), vectors).save(tmp_path / "index")
    assert np.array_equal(HammingIndex.load(tmp_path / "index")._state.vectors, vectors)


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "index.npz"
    HammingIndex(rng.random((40, 20)) < 0.5, rng.standard_normal((40, 3))).save(path)
    return path


def assert_refused(path, ways=(False, True)):
    message = "is damaged or not an index of format version 3; build the index again and save it"
    for mmap in ways:
        tracemalloc.start()
        with pytest.raises(ValueError, match=message) as error:
            HammingIndex.load(path, mmap=mmap)
        assert str(path) in str(error.value)
        assert tracemalloc.get_traced_memory()[1] < 2 * path.stat().st_size + 2**20
        tracemalloc.stop()


def test_a_truncated_file_is_refused(saved):
    content = saved.read_bytes()
    for length in [0, 1, 4, 100, 4096, len(content) // 2, len(content) - 1]:
        saved.write_bytes(content[:length])
        assert_refused(saved)


def test_a_flipped_byte_is_never_believed(saved):
    content = saved.read_bytes()
    original = HammingIndex.load(saved)
    refused = 0
    for place in [*range(0, 4096, 7), *range(4096, len(content), 97)]:
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        saved.write_bytes(damaged)
        try:
            loaded = HammingIndex.load(saved)
        except ValueError as error:
            assert str(saved) in str(error)
            refused += 1
        else:  # padding between arrays
            assert place >= 4096
            assert np.array_equal(loaded._state.words, original._state.words)
            assert np.array_equal(loaded._state.vectors, original._state.vectors)
        if place < 4096:  # the head is checked in either way
            assert_refused(saved, [True])
    assert refused > 650


def rewrite(path, sign=True, change=lambda head: None):
    """Write the index anew with another head, with the right checksum or without."""
    content = path.read_bytes()
    head = json.loads(content[32:4096])
    change(head)
    text = json.dumps(head).encode().ljust(4064)
    checksum = sha256(text).digest() if sign else content[:32]
    path.write_bytes(checksum + text + content[4096:])


FORGED = {
    "format 99": lambda head: head.update(format=99),
    "no codes": lambda head: head["arrays"].pop("words"),
    "no bits": lambda head: head.pop("n_bits"),
    "no arrays": lambda head: head.pop("arrays"),
    "arrays of nothing": lambda head: head.update(arrays=[1, 2]),
    "no chunks": lambda head: head.pop("chunks"),
    "a type that is none": lambda head: head["arrays"]["ids"].__setitem__(0, "<q9"),
    "objects": lambda head: head["arrays"]["ids"].__setitem__(0, "|O"),
    "another shape": lambda head: head["arrays"]["vectors"].__setitem__(1, [40, 4]),
    "more than the file": lambda head: head["arrays"]["vectors"].__setitem__(1, [10**12, 3]),
    "less than nothing": lambda head: head["arrays"]["vectors"].__setitem__(1, [-40, 3]),
    "a foreign array": lambda head: head["arrays"].update(more=["|u1", [0], ""]),
    "not a head": lambda head: head.clear(),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_file_is_refused_and_takes_no_memory(saved, case):
    rewrite(saved)
    assert len(HammingIndex.load(saved)) == 40  # what is rewritten without changes is read
    rewrite(saved, change=FORGED[case])
    assert_refused(saved)


def test_a_head_without_its_checksum_is_refused(saved):
    rewrite(saved, sign=False, change=lambda head: head.update(n_bits=19))
    assert_refused(saved)


@pytest.mark.parametrize("with_vectors", [False, True])
def test_a_mapped_index_is_the_same_and_reads_nothing_at_first(tmp_path, with_vectors):
    rng = np.random.default_rng(0)
    codes = random_codes(rng, 30_000, 64, "clustered")
    vectors = rng.standard_normal((30_000, 20)) if with_vectors else None
    index = HammingIndex(codes, vectors)
    index.save(tmp_path / "index")
    tracemalloc.start()
    mapped = HammingIndex.load(tmp_path / "index", mmap=True)
    assert tracemalloc.get_traced_memory()[1] < 2**18
    tracemalloc.stop()
    assert all(a.flags.aligned for a in mapped._state if isinstance(a, np.ndarray))
    with pytest.raises(ValueError, match="read-only"):
        mapped._state.words[0] = 0
    assert_exact(mapped, codes, codes[:5], 6)
    queries = np.ones((5, 20)) if with_vectors else None
    for mine, theirs in zip(
        mapped.search(codes[:5], 9, 4, queries), index.search(codes[:5], 9, 4, queries), strict=True
    ):
        assert np.array_equal(mine, theirs, equal_nan=True)
    index.save(tmp_path / "index")  # a new file takes the place; the map keeps the old one
    mapped.add(codes[:3], None if vectors is None else vectors[:3])
    assert_exact(mapped, np.vstack([codes, codes[:3]]), codes[:5], 6)


def test_damaged_tables_of_a_mapped_file_do_not_lead_outside_it(tmp_path):
    codes = random_codes(np.random.default_rng(0), 5000, 40, "clustered")
    index = HammingIndex(codes)
    index.save(tmp_path / "index")
    bucket = int("".join("01"[int(bit)] for bit in codes[0, :14]), 2)  # of the first chunk
    start = 4096 + 5000 * 8 + 4 * bucket  # its offset, behind the words
    content = bytearray((tmp_path / "index").read_bytes())
    assert content[start : start + 4] == index._state.offsets[bucket].tobytes()
    content[start : start + 8] = np.array([15_005, 15_006], np.int32).tobytes()  # of 15,000
    (tmp_path / "index").write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        HammingIndex.load(tmp_path / "index")
    mapped = HammingIndex.load(tmp_path / "index", mmap=True)
    with pytest.raises(IndexError):
        mapped.radius_search(codes[:1], 0)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("the pickle was executed",)


def test_foreign_files_are_refused_and_nothing_is_executed(tmp_path):
    path = tmp_path / "foreign"
    bomb = np.array([Bomb()])
    for write in (
        lambda file: file.write(b"not an index\n"),
        lambda file: np.save(file, np.arange(5)),
        lambda file: np.savez(file, codes=np.ones(3)),
        lambda file: zipfile.ZipFile(file, "w").close(),
        lambda file: zipfile.ZipFile(file, "w").writestr("readme.txt", "hello"),
        lambda file: np.savez(file, codes=bomb, format=1, checksum=""),
        lambda file: np.save(file, bomb),
    ):
        with open(path, "wb") as file:
            write(file)
        assert_refused(path)


@pytest.mark.parametrize("error", [OSError, MemoryError])
def test_what_is_not_damage_is_not_called_damage(saved, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(np, "fromfile", fail)
    with pytest.raises(error):
        HammingIndex.load(saved)


@contextmanager
def failing(error, path):
    """A disk that is full after 4,096 bytes."""
    with atomic(path) as file:
        write = file.write

        def limited(content):
            write(content)
            if file.tell() > 4096:
                raise error

        yield SimpleNamespace(write=limited, tell=file.tell)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space"), KeyboardInterrupt("No space")]
)
def test_a_failed_save_leaves_the_old_file(saved, monkeypatch, error):
    before = saved.read_bytes()

    monkeypatch.setattr(module, "atomic", partial(failing, error))
    with pytest.raises(type(error), match="No space"):
        HammingIndex(np.eye(3, dtype=bool)).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        HammingIndex.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        HammingIndex(np.eye(3, dtype=bool)).save(tmp_path / "nowhere" / "index.npz")


# bad input

CODES = np.eye(4, dtype=bool)
VECTORS = np.arange(1.0, 9).reshape(4, 2)
NAN, ZERO, INFINITE = VECTORS.copy(), VECTORS.copy(), VECTORS.copy()
NAN[2, 1], ZERO[1], INFINITE[3, 0] = np.nan, 0, np.inf
PLAIN, FULL = HammingIndex(CODES), HammingIndex(CODES, VECTORS)


@pytest.mark.parametrize("radius", [-1, 1.5, 2.0, "2", True, None])
def test_a_radius_that_is_no_radius(radius):
    calls = [PLAIN.radius_search, PLAIN.count, PLAIN.search]
    for search in calls[: 2 if radius is None else 3]:
        with pytest.raises(ValueError, match=f"radius must be .* of at least 0, got {radius!r}."):
            search(CODES, radius)


@pytest.mark.parametrize("k", [0, -1, 1.5, "2", True, 1001, 10**10])
def test_a_k_that_is_no_k(k):
    for call in (
        lambda: PLAIN.search(CODES, 1, k),
        lambda: FULL.search(CODES, 1, k, VECTORS),
        lambda: exact_search(VECTORS[:1], VECTORS, k),
    ):
        with pytest.raises(ValueError, match=f"k must be a .* from 1 to 1000, got {k!r}."):
            call()


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16])
def test_small_integers_of_numpy_do_not_wrap_around(kind):
    for options in ({"budget": 3}, {"radius": 1}):
        wanted = FULL.search(CODES, k=2, queries=VECTORS, **options)
        small = {name: kind(value) for name, value in options.items()}
        found = FULL.search(CODES, k=kind(2), queries=VECTORS, **small)
        assert np.array_equal(found[0], wanted[0])
    assert np.array_equal(PLAIN.kneighbors(CODES, kind(2))[0], PLAIN.kneighbors(CODES, 2)[0])
    ids = exact_search(VECTORS, VECTORS, 2)[0]
    assert np.array_equal(exact_search(VECTORS, VECTORS, kind(2))[0], ids)


SCORES = np.where(CODES, 1.0, -1.0)
ENDLESS = np.where(CODES, np.inf, -1.0)
LINEAR = LSH(4, random_state=0).fit(VECTORS)
HASHED = HammingIndex(LINEAR.transform(VECTORS), VECTORS, Pipeline([("hash", LINEAR)]))
OTHER = Pipeline([("hash", LSH(4, random_state=1).fit(VECTORS))])

BAD = [
    (PLAIN.search, (CODES,), "Give either a radius or a budget, and scores"),
    (partial(PLAIN.search, budget=2), (CODES, 1), "Give either a radius or a budget, and scores"),
    (partial(PLAIN.search, budget=0), (CODES,), "budget must be a whole number of at least 1"),
    (partial(PLAIN.search, budget=2.0), (CODES,), "budget must be a whole number of at least 1"),
    (partial(PLAIN.search, scores=SCORES), (CODES, 1), "scores with a budget only"),
    (
        partial(PLAIN.search, scores=-SCORES, budget=2),
        (CODES,),
        "scores must be finite, one per bit, 0 or more exactly",
    ),
    (PLAIN.kneighbors, (CODES, 0), "k must be a whole number of at least 1, got 0"),
    (PLAIN.kneighbors, (CODES, 2.0), "k must be a whole number of at least 1, got 2.0"),
    (PLAIN.kneighbors, (CODES[:, :3],), "codes of 4 bits.*have 3; use the same hash function"),
    (PLAIN.count, (CODES[:, :3], 1), "codes of 4 bits.*have 3; use the same hash function"),
    (
        partial(PLAIN.kneighbors, scores=-SCORES),
        (CODES,),
        "scores must be finite, one per bit, 0 or more exactly",
    ),
    (partial(PLAIN.kneighbors, scores=ENDLESS), (CODES,), "scores must be finite"),
    (partial(PLAIN.kneighbors, scores=SCORES * np.nan), (CODES,), "scores must be finite"),
    (
        partial(PLAIN.kneighbors, scores=SCORES[:2]),
        (CODES,),
        "scores must be finite, one per bit, 0 or more exactly",
    ),
    (
        partial(PLAIN.kneighbors, scores=CODES),
        (CODES,),
        "scores must be finite, one per bit, 0 or more exactly",
    ),
    (PLAIN.encode, (VECTORS,), "has no encoder; build it with one, or hash the queries"),
    (HammingIndex, (CODES, None, OTHER), "a fitted Pipeline, and the index needs vectors"),
    (HammingIndex, (CODES, VECTORS, LINEAR), "a fitted Pipeline, and the index needs vectors"),
    (HammingIndex, (LINEAR.transform(VECTORS), VECTORS, OTHER), "does not belong to this index"),
    (HammingIndex, (CODES, np.ones((4, 3)), OTHER), "X has 3 features, but LSH is expecting 2"),
    (HASHED.add, (~LINEAR.transform(VECTORS), VECTORS), "does not belong to this index"),
    (HammingIndex, (CODES[:0],), "database is empty; give at least one"),
    (HammingIndex, (CODES[0],), r"shape \(n, n_bits\).*got \(4,\)"),
    (HammingIndex, (CODES[:, :0],), "n_bits at least 1, got .4, 0."),
    (HammingIndex, (CODES + 1,), "bool or the integers 0 and 1"),
    (PLAIN.radius_search, (CODES[:, :3], 1), "codes of 4 bits.*have 3; use the same hash function"),
    (PLAIN.search, (CODES[:, :3], 1), "codes of 4 bits.*have 3; use the same hash function"),
    (PLAIN.add, (CODES[:, :3],), "codes of 4 bits.*have 3; use the same hash function"),
    (PLAIN.radius_search, (CODES + 1, 1), "bool or the integers 0 and 1"),
    (HammingIndex, (CODES, VECTORS[:3]), "inconsistent numbers of samples: .4, 3"),
    (HammingIndex, (CODES[:2], VECTORS), "inconsistent numbers of samples: .2, 4"),
    (HammingIndex, (CODES, VECTORS[:, 0]), "Expected 2D array, got 1D array"),
    (HammingIndex, (CODES, VECTORS * 1j), "Complex data not supported"),
    (HammingIndex, (CODES, NAN), "Input vectors contains NaN"),
    (HammingIndex, (CODES, ZERO), "Row 1 of vectors is zero.*undefined.*1 such rows"),
    (HammingIndex, (CODES, np.float32([[1e-36, 0]] * 4)), "too short or long for float32"),
    (HammingIndex, (CODES, np.float32([[3e38, 3e38]] * 4)), "too short or long for float32"),
    (HammingIndex, (CODES, INFINITE), "Input vectors contains infinity"),
    (HammingIndex, (CODES, VECTORS[:, :0]), "0 feature"),
    (HammingIndex, (iter([CODES, CODES[:, :3]]),), "codes of 4 bits, the given ones have 3"),
    (HammingIndex, (iter([]),), "database is empty; give at least one"),
    (FULL.search, (CODES, 1, 1, NAN), "Input queries contains NaN"),
    (FULL.search, (CODES, 1, 1, ZERO), "Row 1 of queries is zero"),
    (FULL.search, (CODES, 1, 1, VECTORS[:3]), "inconsistent numbers of samples: .4, 3"),
    (
        FULL.search,
        (CODES, 1, 1, np.ones((4, 3))),
        r"queries must have shape \(n, 2\), got .4, 3.",
    ),
    (PLAIN.search, (CODES, 1, 1, VECTORS), "index has no vectors; build it with them or omit"),
    (FULL.add, (CODES,), "Give vectors if the index was built with them"),
    (PLAIN.add, (CODES, VECTORS), "Give vectors if the index was built with them, and only then"),
    (exact_search, (VECTORS, ZERO), "Row 1 of vectors is zero"),
    (exact_search, (VECTORS, VECTORS[:, :1]), r"queries must have shape .n, 1., got"),
    (PLAIN.save, (".",), "is a folder or a device; give the path of a file"),
]


@pytest.mark.parametrize("call, arguments, message", BAD)
def test_bad_input_is_answered_in_a_sentence(call, arguments, message):
    with pytest.raises(ValueError, match=message):
        call(*arguments)


def test_simultaneous_additions_lose_nothing():
    codes = np.random.default_rng(0).random((801, 24)) < 0.5
    index = HammingIndex(codes[:1])
    parts = [codes[i : i + 50] for i in range(1, 801, 50)]
    threads = [threading.Thread(target=index.add, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    indptr, ids = index.radius_search(codes, 0)
    assert len(index) == 801 and (np.diff(indptr) >= 1).all()
    assert len(HammingIndex(codes)) == len(pickle.loads(pickle.dumps(index)))


def test_codes_go_to_faiss_and_back():
    """The lines of docs/your_vectors.md, with FAISS itself."""
    faiss = pytest.importorskip("faiss", reason="FAISS is an extra (requirements-extras.txt)")
    rng = np.random.default_rng(0)
    codes = rng.random((300, 20)) < 0.5
    packed = np.packbits(codes, axis=1)
    flat = faiss.IndexBinaryFlat(8 * packed.shape[1])
    flat.add(packed)
    distances, _ = flat.search(packed[:5], 7)
    assert (distances == HammingIndex(codes).kneighbors(codes[:5], 7)[1]).all()
    stored = faiss.vector_to_array(flat.xb).reshape(len(codes), -1)
    assert (np.unpackbits(stored, axis=1, count=20) == codes).all()
