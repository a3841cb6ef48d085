"""Shards on workers, with the functions of chapter 10: a killed worker loses nothing."""

import ast
import logging
import os
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest

from grh_helpers import HammingIndex, unpack_bits

distributed = pytest.importorskip(
    "distributed",
    reason="SCALING OUT IS NOT TESTED: Dask is missing; pip install -r requirements-extras.txt",
)

dask = pytest.importorskip("dask")

CHAPTER = Path(__file__).resolve().parent.parent / "notebooks/10_scaling_out.ipynb"
SHARDS, SIZE, K = 6, 5_000, 10


@pytest.fixture(scope="module")
def chapter():
    """Give the imports and functions of the chapter, without running the rest of it."""
    cells = [c.source for c in nbformat.read(CHAPTER, 4).cells if c.cell_type == "code"]
    wanted = ast.FunctionDef | ast.Import | ast.ImportFrom
    body = [s for source in cells for s in ast.parse(source).body if isinstance(s, wanted)]
    names = {"__name__": "chapter"}  # no module of that name, so that functions travel as code
    exec(compile(ast.Module(body, []), str(CHAPTER), "exec"), names)
    return SimpleNamespace(**names)


@pytest.fixture
def client(tmp_path):
    """Start two workers, and check that closing them leaves no process behind."""
    with (
        dask.config.set({"temporary-directory": str(tmp_path)}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
        pids = client.run(os.getpid).values()
    deadline = time.monotonic() + 10
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "a worker outlives its cluster"
        time.sleep(0.05)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def queries(chapter):
    return unpack_bits(chapter.made_codes(20, seed=99), 64)


@pytest.fixture(scope="module")
def expected(chapter, queries):
    """Answer of one index, without any cluster."""
    words = np.concatenate([chapter.made_codes(SIZE, seed) for seed in range(SHARDS)])
    return HammingIndex(unpack_bits(words, 64)).kneighbors(queries, K)


def equal(answer, expected):
    return all(map(np.array_equal, answer, expected))


def test_merged_shards_are_one_index(chapter, queries, expected):
    shards = [chapter.build_shard(seed, SIZE) for seed in range(SHARDS)]
    answers = [chapter.search_shard(s, i * SIZE, queries, K) for i, s in enumerate(shards)]
    assert equal(chapter.merge(answers, K), expected)
    assert equal(chapter.merge(answers[::-1], K), expected)  # in whatever order they come


def test_a_killed_worker_loses_nothing_but_what_was_scattered(chapter, client, queries, expected):
    address, victim = next(iter(client.run(os.getpid).items()))
    shards = [client.submit(chapter.build_shard, seed, SIZE) for seed in range(SHARDS)]
    distributed.wait(shards)
    held = [key for key, who in client.who_has(shards).items() if address in who]
    assert held  # the victim has shards to lose
    [sent] = client.scatter([np.arange(3)], workers=[address])
    work = {
        client.submit(chapter.search_slowly, shard, i * SIZE, queries, K, pure=False): i
        for i, shard in enumerate(shards)
    }
    answers = {}
    for future, (answer, _) in distributed.as_completed(work, with_results=True):
        answers[work[future]] = answer
        if len(answers) == 2:
            os.kill(victim, 9)
    assert sorted(answers) == list(range(SHARDS))
    assert equal(chapter.merge([answers[i] for i in range(SHARDS)], K), expected)
    client.wait_for_workers(2, timeout=30)
    pids = client.run(os.getpid).values()
    assert victim not in pids and len(pids) == 2
    assert sent.status != "finished"  # the control: no recipe, no second copy
    # The shards that it had held are there again, and searching them gives the same.
    again = [
        client.submit(chapter.search_shard, s, i * SIZE, queries, K, pure=False)
        for i, s in enumerate(shards)
    ]
    assert equal(chapter.merge(client.gather(again), K), expected)


def test_blocks_give_the_codes_of_the_whole(chapter, tmp_path):
    path = tmp_path / "vectors.npy"
    np.save(path, np.random.default_rng(0).standard_normal((1_000, 32), np.float32))
    lsh = chapter.LSH(n_bits=64, random_state=0).fit(np.load(path))
    parts = [chapter.encode_block(path, i, i + 300, lsh) for i in range(0, 1_000, 300)]
    assert np.array_equal(np.concatenate(parts), chapter.encode_block(path, 0, 1_000, lsh))
