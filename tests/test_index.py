import errno
import io
import threading
import tracemalloc
import zipfile
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grh_helpers import index as module
from grh_helpers.codes import pack_bits, unpack_bits
from grh_helpers.index import HammingIndex, Reranker, rerank

# Costs that force one way of searching, and blocks so small that every boundary is crossed.
WAYS = {
    "default": {},
    "probe": {"PROBE_COST": 0, "CANDIDATE_COST": 0, "VERIFY_COST": 0},
    "probe, small blocks": {"PROBE_COST": 0, "CANDIDATE_COST": 0, "VERIFY_COST": 0, "BLOCK": 64},
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


# bits and keys


@fast
@given(st.integers(1, 200), st.integers(0, 20), st.integers(0, 2**32))
def test_keys_read_as_the_printed_code(n_bits, n, seed):
    bits = np.random.default_rng(seed).random((n, n_bits)) < 0.5
    keys = pack_bits(bits)
    size = next((s for s in (8, 16, 32, 64) if n_bits <= s), 64)
    assert keys.dtype == np.dtype(f"uint{size}")
    assert keys.shape == ((n,) if n_bits <= 64 else (n, -(-n_bits // 64)))
    for row, key in zip(bits, keys, strict=True):
        words = [int(word) for word in np.atleast_1d(key)]
        value = sum(word << 64 * i for i, word in enumerate(reversed(words)))
        assert value == int("".join("01"[int(bit)] for bit in row), 2)
    unpacked = unpack_bits(keys, n_bits)
    assert unpacked.dtype == bool and np.array_equal(unpacked, bits)


def test_keys_by_hand():
    assert pack_bits(np.array([[0, 1, 0, 1], [1, 0, 0, 0]])).tolist() == [5, 8]
    assert pack_bits(np.eye(9, dtype=bool)).tolist() == [2**i for i in range(8, -1, -1)]


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
    indptr, ids = index.radius_search(np.zeros((0, 20), bool), 2)
    assert indptr.tolist() == [0] and indptr.dtype == np.int64 and len(ids) == 0
    for queries in (None, np.zeros((0, 20))):
        found, similarities = index.search(np.zeros((0, 20), bool), 2, 3, queries)
        assert found.shape == similarities.shape == (0, 3)


def test_same_answer_in_the_same_order_twice():
    rng = np.random.default_rng(0)
    codes = random_codes(rng, 3000, 40, "clustered")
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
    rng = np.random.default_rng(1)
    codes = random_codes(rng, 300, n_bits, "clustered")
    for stored in layouts(codes.astype(dtype), tmp_path):
        before = np.array(stored)
        assert_exact(HammingIndex(stored), codes, stored[:4], 3)
        assert np.array_equal(stored, before)
    assert_exact(HammingIndex(codes.tolist() if dtype is bool else codes), codes, codes[:2], 2)


def test_probes_where_that_is_cheap_and_scans_where_not(monkeypatch):
    rng = np.random.default_rng(0)
    calls = []
    for name in ("_scan", "_verify"):
        method = getattr(module._Tables, name)

        def spy(self, *args, method=method, name=name):
            calls.append(name)
            return method(self, *args)

        monkeypatch.setattr(module._Tables, name, spy)
    index = HammingIndex(rng.random((5000, 32)) < 0.5)
    for radius, expected in [(0, {"_verify"}), (2, {"_verify"}), (12, {"_scan"}), (32, {"_scan"})]:
        calls.clear()
        index.radius_search(rng.random((4, 32)) < 0.5, radius)
        assert set(calls) == expected, radius
    # All codes share the first chunk, so that its bucket holds everything.
    codes = rng.random((5000, 32)) < 0.5
    codes[:, :16] = False
    calls.clear()
    HammingIndex(codes).radius_search(codes[:4], 0)
    assert set(calls) == {"_scan"}


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


@pytest.mark.parametrize("row_cost", [0, 20, 10**9], ids=["gather", "default", "product"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_search_equals_a_brute_force_loop(monkeypatch, row_cost, dtype):
    monkeypatch.setattr(module, "GATHER_COST", row_cost)
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


@pytest.mark.parametrize("kept", [0, 10**9], ids=["product again", "product kept"])
def test_a_reranker_answers_at_each_radius_as_a_single_call_does(monkeypatch, kept):
    monkeypatch.setattr(module, "KEPT", kept)
    rng = np.random.default_rng(4)
    codes, vectors = random_codes(rng, 3000, 8, "random"), rng.standard_normal((3000, 16))
    queries = rng.standard_normal((9, 16))
    index, reranker, spared = HammingIndex(codes), Reranker(queries, vectors), []
    for radius in (8, 4, 1, 0):
        indptr, ids = index.radius_search(codes[:9], radius)
        answer = reranker(indptr, ids, k=6)
        spared.append(reranker.spared)
        assert_ranking(answer, rerank(indptr, ids, queries, vectors, k=6))
        assert_ranking(answer, brute_ranking(codes, codes[:9], radius, 6, vectors, queries))
    assert spared[0] == 0 and (spared[1] > 0) == (kept > 0)


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


def test_fewer_than_k_candidates_are_padded():
    index = HammingIndex(np.eye(3, dtype=bool), np.eye(3))
    ids, similarities = index.search(np.eye(3, dtype=bool)[:1], 0, 4, np.ones((1, 3)))
    assert ids.tolist() == [[0, -1, -1, -1]]
    assert similarities[0, 0] == pytest.approx(3**-0.5) and np.isnan(similarities[0, 1:]).all()


# buckets, add, save and load


@fast
@given(problems(max_n=300))
def test_buckets_equal_a_dictionary(problem):
    codes, _, _ = problem
    expected = defaultdict(list)
    for i, row in enumerate(codes):
        expected[int("".join("01"[int(bit)] for bit in row), 2)].append(i)
    keys, indptr, ids = HammingIndex(codes).buckets()
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
    for i, part in enumerate(parts[1:]):
        index.add(*part)
        if i % 2:
            index.radius_search(queries, 1)
    radius = codes.shape[1] // 3
    assert len(index) == len(codes)
    assert_exact(index, codes, queries, radius)
    features = rng.standard_normal((len(queries), 4))
    expected = HammingIndex(codes, vectors).search(queries, radius, 5, features)
    assert_ranking(index.search(queries, radius, 5, features), expected)
    assert np.array_equal(index.buckets()[2], HammingIndex(codes).buckets()[2])


def test_search_with_queries_right_after_add():
    index = HammingIndex(np.array([[0, 0]]), np.array([[1.0, 0.0]]))
    index.add(np.array([[0, 0]]), np.array([[0.0, 1.0]]))
    assert index.search(np.array([[0, 0]]), 0, 1, np.array([[0.0, 1.0]]))[0].tolist() == [[1]]


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
    assert (len(loaded), loaded.n_bits) == (200, n_bits)
    assert_exact(loaded, codes, codes[:9], 3)
    queries = None if dtype is None else np.ones((9, 3))
    for mine, theirs in zip(
        index.search(codes[:9], 3, 4, queries), loaded.search(codes[:9], 3, 4, queries), strict=True
    ):
        assert np.array_equal(mine, theirs, equal_nan=True)


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "index.npz"
    HammingIndex(rng.random((40, 20)) < 0.5, rng.standard_normal((40, 3))).save(path)
    return path


def test_a_truncated_file_is_refused(saved):
    content = saved.read_bytes()
    for length in [0, 1, 4, 100, len(content) // 2, len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(ValueError, match="is damaged or not an index.*build the index again"):
            HammingIndex.load(saved)


def test_a_flipped_byte_is_never_believed(saved):
    content = saved.read_bytes()
    refused = 0
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        saved.write_bytes(damaged)
        try:
            loaded = HammingIndex.load(saved)
        except ValueError as error:
            assert str(saved) in str(error)
            refused += 1
        else:  # a byte without meaning, such as a date
            loaded.save(saved)
            with np.load(saved) as one, np.load(io.BytesIO(content)) as other:
                assert all(np.array_equal(one[name], other[name]) for name in other)
    assert refused > len(content) // 7 * 0.6


def rewrite(path, **changes):
    with np.load(path) as file:
        content = dict(file) | changes
    np.savez(path, **content)


def test_altered_content_fails_the_checksum(saved):
    with np.load(saved) as file:
        codes = file["codes"]
    codes[3, 0] ^= 4
    rewrite(saved, codes=codes)
    with pytest.raises(ValueError, match="is damaged or not an index"):
        HammingIndex.load(saved)


def test_another_format_version_is_refused(saved):
    rewrite(saved, format=99)
    with pytest.raises(ValueError, match="not an index of format version 1"):
        HammingIndex.load(saved)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("the pickle was executed",)


def test_foreign_files_are_refused_and_nothing_is_executed(tmp_path):
    path = tmp_path / "foreign"
    path.write_text("not an index\n")
    with pytest.raises(ValueError, match="is damaged or not an index"):
        HammingIndex.load(path)
    with open(path, "wb") as file:
        np.save(file, np.arange(5))
    with pytest.raises(ValueError, match="is damaged or not an index"):
        HammingIndex.load(path)
    with open(path, "wb") as file:
        np.savez(file, codes=np.ones(3))
    with pytest.raises(ValueError, match="is damaged or not an index"):
        HammingIndex.load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match="is damaged or not an index"):
        HammingIndex.load(path)
    bomb = np.empty(1, object)
    bomb[0] = Bomb()
    with open(path, "wb") as file:
        np.savez(file, codes=bomb, format=1, checksum="")
    with pytest.raises(ValueError, match="is damaged or not an index"):
        HammingIndex.load(path)


def test_forged_files_are_refused_before_memory_is_taken(saved):
    with np.load(saved) as file:
        content = dict(file)
    without = {name: array for name, array in content.items() if name != "codes"}
    np.savez(saved, **without)
    with pytest.raises(ValueError, match="is damaged or not an index"):
        HammingIndex.load(saved)
    # A header may claim what it likes, and a compressed file may hold it.
    huge = np.broadcast_to(np.uint8(0), (1 << 31, 1))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(huge))
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("codes.npy", header.getvalue())
    np.savez_compressed(saved.with_name("zeros.npz"), codes=np.zeros((1 << 24, 8), np.uint8))
    for path in (saved, saved.with_name("zeros.npz")):
        tracemalloc.start()
        with pytest.raises(ValueError, match="is damaged or not an index"):
            HammingIndex.load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**24


def test_trouble_of_the_system_is_not_called_damage(saved, monkeypatch):
    for error in (MemoryError(), PermissionError(errno.EACCES, "no")):
        monkeypatch.setattr(module, "_read" if isinstance(error, MemoryError) else "open",
                            raising(error), raising=False)  # fmt: skip
        with pytest.raises(type(error)):
            HammingIndex.load(saved)
        monkeypatch.undo()


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


def test_a_link_is_followed_and_other_things_are_refused(saved, tmp_path):
    link = tmp_path / "link.npz"
    link.symlink_to(saved)
    before = saved.read_bytes()
    HammingIndex.load(saved).save(link)
    assert link.is_symlink() and saved.read_bytes() == before
    for path in (tmp_path, "/dev/null"):
        with pytest.raises(ValueError, match="is a folder or a device; give the path of a file"):
            HammingIndex(CODES).save(path)


def test_the_longest_name_can_be_saved(tmp_path):
    path = tmp_path / ("x" * 255)
    HammingIndex(CODES).save(path)
    assert len(HammingIndex.load(path)) == 4


def test_searches_during_add_see_the_index_before_or_after(monkeypatch):
    rng = np.random.default_rng(0)
    codes = rng.random((4000, 32)) < 0.5
    index, wrong, done = HammingIndex(codes[:1000]), [], threading.Event()

    def search():
        while not done.is_set():
            indptr, ids = index.radius_search(codes[:5], 0)
            rows = [ids[a:b].tolist() for a, b in zip(indptr[:-1], indptr[1:], strict=True)]
            if any(i not in row for i, row in enumerate(rows)):
                wrong.append(rows)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for start in range(1000, 4000, 100):
        index.add(codes[start : start + 100])
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(index) == 4000
    assert_exact(index, codes, codes[-5:], 3)


def test_simultaneous_adds_lose_nothing():
    codes = np.random.default_rng(0).random((800, 24)) < 0.5
    index = HammingIndex(codes[:1])
    threads = [threading.Thread(target=index.add, args=(codes[i : i + 50],))
               for i in range(0, 800, 50)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(index) == 801


def test_very_short_vectors_are_ranked_too():
    vectors = np.float32([[1e-42, 0], [0, 1e-42], [1e-42, 1e-42]])
    codes = np.zeros((3, 2), bool)
    best, cosines = HammingIndex(codes, vectors).search(codes[:1], 0, 3, vectors[:1])
    assert best.tolist() == [[0, 2, 1]]
    np.testing.assert_allclose(cosines, [[1, 0.5**0.5, 0]], atol=1e-6)


def test_repr_says_what_is_in_it():
    assert repr(HammingIndex(CODES, VECTORS)) == "HammingIndex(4 codes of 4 bits, with vectors)"


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        HammingIndex.load(tmp_path / "nothing.npz")


@pytest.mark.parametrize(
    "error, message",
    [
        (OSError(errno.ENOSPC, "No space left"), "could not be saved.*No space"),
        (KeyboardInterrupt(), None),
    ],
)
def test_a_failed_save_leaves_the_old_file(saved, monkeypatch, error, message):
    before = saved.read_bytes()

    def full(file, **content):
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(type(error), match=message):
        HammingIndex(np.eye(3, dtype=bool)).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_saving_into_a_missing_folder_says_where(tmp_path):
    with pytest.raises(OSError, match="could not be saved to .*nowhere"):
        HammingIndex(np.eye(3, dtype=bool)).save(tmp_path / "nowhere" / "index.npz")


# bad input

CODES = np.eye(4, dtype=bool)
VECTORS = np.arange(1.0, 9).reshape(4, 2)
NAN, ZERO, INFINITE = VECTORS.copy(), VECTORS.copy(), VECTORS.copy()
NAN[2, 1], ZERO[1], INFINITE[3, 0] = np.nan, 0, np.inf


def plain():
    return HammingIndex(CODES)


def full():
    return HammingIndex(CODES, VECTORS)


BAD = {
    "empty database": (lambda: HammingIndex(CODES[:0]), "database is empty; give at least one"),
    "no bits": (lambda: HammingIndex(CODES[:, :0]), "n_bits at least 1, got .4, 0."),
    "one code": (lambda: HammingIndex(CODES[0]), r"shape \(n, n_bits\).*got \(4,\)"),
    "minus ones": (lambda: HammingIndex(2 * CODES.astype(int) - 1), "bool or the integers 0 and 1"),
    "twos": (lambda: HammingIndex(2 * CODES.astype(np.uint8)), "bool or the integers 0 and 1"),
    "projections": (lambda: HammingIndex(VECTORS), "integers 0 and 1; use projections >= 0"),
    "strings": (lambda: HammingIndex(np.array([["0", "1"]])), "bool or the integers 0 and 1"),
    "query width": (lambda: plain().radius_search(CODES[:, :3], 1), "codes of 4 bits.*have 3"),
    "search width": (lambda: plain().search(CODES[:, :3], 1), "codes of 4 bits.*have 3"),
    "add width": (lambda: plain().add(CODES[:, :3]), "codes of 4 bits.*have 3; use the same hash"),
    "query values": (lambda: plain().radius_search(CODES + 1, 1), "bool or the integers 0 and 1"),
    "negative radius": (
        lambda: plain().radius_search(CODES, -1),
        "radius must be a whole number of at least 0, got -1",
    ),
    "half a radius": (
        lambda: plain().radius_search(CODES, 1.5),
        "a whole number.*got 1.5",
    ),
    "float radius": (lambda: plain().search(CODES, 2.0), "radius must be a whole number.*got 2.0"),
    "radius in words": (lambda: plain().radius_search(CODES, "2"), "radius must be a whole number"),
    "k = 0": (
        lambda: plain().search(CODES, 1, k=0),
        "whole number from 1 to 1000, got 0",
    ),
    "k = True": (lambda: plain().search(CODES, 1, k=True), "k must be a whole number.*got True"),
    "huge k": (lambda: plain().search(CODES, 1, k=10**10), "from 1 to 1000, got 10000000000"),
    "k = 1.5": (lambda: plain().search(CODES, 1, k=1.5), "k must be a whole number.*got 1.5"),
    "rerank k": (lambda: rerank(np.array([0]), np.array([]), VECTORS[:0], VECTORS, k=-1), "k must"),
    "fewer vectors": (
        lambda: HammingIndex(CODES, VECTORS[:3]),
        "4 rows but vectors has 3",
    ),
    "more vectors": (
        lambda: HammingIndex(CODES[:2], VECTORS),
        "2 rows but vectors has 4",
    ),
    "flat vectors": (lambda: HammingIndex(CODES, VECTORS[:, 0]), r"shape \(n, d\), got float64"),
    "complex": (lambda: HammingIndex(CODES, VECTORS * 1j), "vectors must be numbers.*complex128"),
    "NaN": (lambda: HammingIndex(CODES, NAN), "Row 2 of vectors is zero or has NaN.*undefined"),
    "zero": (lambda: HammingIndex(CODES, ZERO), "Row 1 of vectors is zero or has NaN.*1 such rows"),
    "infinite": (lambda: HammingIndex(CODES, INFINITE), "Row 3 of vectors.*remove or repair"),
    "no columns": (lambda: HammingIndex(CODES, VECTORS[:, :0]), "Row 0 of vectors is zero"),
    "query NaN": (lambda: full().search(CODES, 1, 1, NAN), "Row 2 of queries is zero or has NaN"),
    "query zero": (lambda: full().search(CODES, 1, 1, ZERO), "Row 1 of queries is zero"),
    "query length": (
        lambda: full().search(CODES, 1, 1, VECTORS[:3]),
        "4 rows but queries has 3",
    ),
    "query numbers": (
        lambda: full().search(CODES, 1, 1, np.ones((4, 3))),
        r"queries must be numbers of shape .n, 2., got float64 of shape .4, 3.",
    ),
    "no vectors": (
        lambda: plain().search(CODES, 1, 1, VECTORS),
        "index has no vectors; build it with",
    ),
    "add without": (lambda: full().add(CODES), "built with vectors; add items with vectors too"),
    "add with": (lambda: plain().add(CODES, VECTORS), "built without vectors; add items without"),
    "rerank zero": (
        lambda: rerank(np.array([0, 1]), np.array([0]), VECTORS[:1], ZERO),
        "Row 1 of vectors is zero",
    ),
    "signed keys": (lambda: unpack_bits(np.array([1, 2]), 2), "unsigned integers as pack_bits"),
    "too many bits": (
        lambda: unpack_bits(np.array([1], np.uint8), 9),
        "from 1 to 8, got 9",
    ),
    "no key bits": (lambda: unpack_bits(np.array([1], np.uint8), 0), "got 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_answered_in_a_sentence(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
