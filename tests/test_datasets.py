"""Loading, caching and downloading, on a small CIFAR-10 made here and a server on this machine."""

import errno
import functools
import hashlib
import http.server
import io
import json
import os
import pickle
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from grh_helpers import datasets
from grh_helpers.datasets import DataError, Dataset, available, load_dataset, prepare
from grh_helpers.gist import gist

ROWS = 7  # images a batch
NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
NOUNS = ["fire_engine", "tabby_cat", "cat", "o'possum", "man-of-war", "s"]


# A CIFAR-10 of 42 images --------------------------------------------------------------------------


def python2_pickle(value, core=b"numpy.core"):
    """The opcodes Python 2 wrote; Python 3 cannot write its byte strings any more."""
    if isinstance(value, bytes):
        head = (
            b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
        )
        return head + value
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if value is None:
        return b"N"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, np.ndarray):
        parts = [
            core,
            b".multiarray\n_reconstruct\n(cnumpy\nndarray\n(J\0\0\0\0tU\x01btR(J\1\0\0\0",
        ]
        parts += [python2_pickle(value.shape), b"cnumpy\ndtype\n(U\x02u1J\0\0\0\0J\1\0\0\0tR("]
        parts += map(python2_pickle, (3, b"|", None, None, None, -1, -1, 0))
        return b"".join([b"c", *parts, b"tb\x89", python2_pickle(value.tobytes()), b"tb"])
    items = [x for pair in value.items() for x in pair] if isinstance(value, dict) else value
    start, end = {dict: (b"}(", b"u"), list: (b"](", b"e"), tuple: (b"(", b"t")}[type(value)]
    return start + b"".join(python2_pickle(x, core) for x in items) + end


def python2_file(batch, core=b"numpy.core"):
    return b"\x80\x02" + python2_pickle(batch, core) + b"."


def batches(rows=ROWS, seed=0):
    """What the six batch files hold, with byte-string keys and in no particular order."""
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(6 * rows).reshape(6, rows)
    return {
        name: {
            b"batch_label": b"some batch",
            b"labels": rng.integers(0, 10, rows).tolist(),
            b"data": rng.integers(0, 256, (rows, 3072)).astype(np.uint8),
            b"filenames": [f"{NOUNS[k % 6]}_s_{k:06d}.png".encode() for k in mine],
        }
        for name, mine in zip(NAMES, numbers, strict=True)
    }


def write_folder(folder, contents):
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def write_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def fake():
    return batches()


@pytest.fixture(scope="module")
def files(fake):
    return {name: python2_file(batch) for name, batch in fake.items()}


@pytest.fixture(scope="module")
def tar_bytes(files, tmp_path_factory):
    path = tmp_path_factory.mktemp("tar") / "a.tar.gz"
    return write_tar(path, {"batches.meta": b"anything", "readme.html": b"", **files}).read_bytes()


@pytest.fixture(autouse=True)
def small(monkeypatch, tar_bytes):
    """Small batches, the made archive's checksum, no network and no settings from outside."""
    monkeypatch.setattr(datasets, "_ROWS", ROWS)
    monkeypatch.setattr(datasets, "CIFAR_MD5", hashlib.md5(tar_bytes).hexdigest())
    monkeypatch.setattr(datasets, "CIFAR_URL", "http://127.0.0.1:9/nothing")
    monkeypatch.setattr(datasets, "MAT_URL", "http://127.0.0.1:9/nothing")
    monkeypatch.delenv("GRH_DATA_HOME", raising=False)
    monkeypatch.delenv("GRH_DATASET", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def raw_home(home, files):
    write_folder(home / "cifar-10-batches-py", files)
    return home


def caches(home):
    return [p.name for p in home.glob("cifar10-*")]


def check_cifar10(data, fake):
    """Every image, label and noun where its file name sorts it, found without the package."""
    rows = sorted(
        (name, label, pixels)
        for batch in fake.values()
        for name, label, pixels in zip(
            batch[b"filenames"], batch[b"labels"], batch[b"data"].tolist(), strict=True
        )
    )
    assert len(data) == len(rows)
    for i, (name, label, pixels) in enumerate(rows):
        assert data.labels[i] == label
        assert data.nouns[i] == name.decode().rsplit("_", 2)[0].replace("_", " ")
        for row, column, channel in [(0, 0, 0), (3, 17, 1), (31, 30, 2)]:
            assert (
                data.images[i, row, column, channel] == pixels[channel * 1024 + row * 32 + column]
            )
    assert data.labels.dtype == np.int64
    assert data.images.dtype == np.uint8
    assert data.features.dtype == np.float64
    np.testing.assert_array_equal(data.features, np.float32(gist(data.images)))


# A server -----------------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`; `mode` says how badly."""

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.mode, self.ranges = content, "good", []
        self.sent, self.go_on = threading.Event(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/cifar-10-python.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server, content, mode = self.server, self.server.content, self.server.mode
        server.ranges.append(self.headers["Range"])
        if mode == "missing":
            return self.send_error(404)
        start = 0
        if self.headers["Range"] and mode != "no ranges":
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if mode == "encoded":  # some servers say this of every .gz, and nobody must undo it
            self.send_header("Content-Encoding", "x-gzip")
        self.end_headers()
        if mode in ("cut", "stalled"):
            self.wfile.write(content[start : (start + len(content)) // 2])
            self.wfile.flush()
            server.sent.set()
            if mode == "stalled":
                server.go_on.wait(60)
            return None
        self.wfile.write(content[start:])
        return None


@pytest.fixture
def server(tar_bytes):
    with Server(tar_bytes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.go_on.set()
        server.shutdown()


def script(code, *arguments):
    """Start a Python process that works on the small CIFAR-10."""
    start = f"""
        import os, sys, time
        from pathlib import Path
        import grh_helpers.datasets as datasets
        datasets._ROWS = {datasets._ROWS}
        datasets.CIFAR_MD5 = {datasets.CIFAR_MD5!r}
        home = Path(sys.argv[1])
    """
    root = str(Path(datasets.__file__).parents[1])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(start) + textwrap.dedent(code),
            *map(str, arguments),
        ],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Digits and the choice of a data set --------------------------------------------------------------


def test_digits(digits):
    from sklearn.datasets import load_digits

    data, original = digits, load_digits()
    assert data.name == "digits"
    assert data.features.shape == (1797, 512)
    assert data.features.dtype == np.float64
    np.testing.assert_array_equal(data.features, np.float32(gist(data.images)))
    assert data.images.shape == (1797, 32, 32)
    assert data.images.dtype == np.uint8
    assert data.images.max() == 255
    # Bilinear enlargement between the centres of the small pixels, written out.
    for i, row, column in [(0, 0, 0), (0, 31, 13), (5, 17, 10), (9, 12, 31), (77, 15, 18)]:
        total = 0
        for y in range(8):
            for x in range(8):
                down = abs(min(max((row + 0.5) / 4 - 0.5, 0), 7) - y)
                across = abs(min(max((column + 0.5) / 4 - 0.5, 0), 7) - x)
                total += max(0, 1 - down) * max(0, 1 - across) * original.images[i, y, x]
        assert abs(data.images[i, row, column] - total * 255 / 16) <= 0.5 + 1e-9
    np.testing.assert_array_equal(data.labels, original.target)
    assert data.class_names[3] == "three"
    assert len(data.class_names) == 10
    assert data.nouns is None


def test_digits_write_nothing(home):
    load_dataset("digits", home)
    assert prepare("digits", home) == home
    assert not home.exists()


def test_auto(raw_home, tmp_path, capsys, monkeypatch):
    empty = tmp_path / "empty"
    assert load_dataset("auto", empty).name == "digits"
    out = capsys.readouterr().out
    assert out.startswith("auto: digits")
    assert "python -m grh_helpers data" in out
    assert out.count("\n") == 1
    assert not empty.exists()
    assert load_dataset("auto", raw_home).name == "cifar10"
    first = capsys.readouterr().out
    assert first.startswith("auto: cifar10")
    assert "GRH_DATASET=digits" in first
    shutil.rmtree(raw_home / "cifar-10-batches-py")  # the cache is enough
    monkeypatch.setenv("GRH_DATA_HOME", str(raw_home))
    assert load_dataset().name == "cifar10"
    assert capsys.readouterr().out == first
    monkeypatch.setenv("GRH_DATASET", "digits")
    assert load_dataset().name == "digits"
    assert capsys.readouterr().out == ""


def test_unknown_names_are_answered_with_the_known(home, monkeypatch):
    for call in (load_dataset, prepare):
        with pytest.raises(
            DataError, match=r"unknown data set 'mnist'.* cifar10, cifar10-mat, digits"
        ):
            call("mnist", home)
    monkeypatch.setenv("GRH_DATASET", "cifar")
    with pytest.raises(DataError, match="unknown data set 'cifar'; choose one of auto, "):
        load_dataset()
    with pytest.raises(DataError, match="unknown data set 'auto'"):
        prepare("auto", home)


def test_data_home(monkeypatch, tmp_path):
    assert datasets.data_home(tmp_path) == tmp_path
    monkeypatch.setenv("GRH_DATA_HOME", "~/pictures")
    assert datasets.data_home() == Path.home() / "pictures"
    monkeypatch.setenv("GRH_DATA_HOME", "")
    assert datasets.data_home().name == "grh_helpers"


def test_available(home, files, tar_bytes):
    found = available(home)
    assert set(found) == set(datasets.DATASETS)
    assert [found[k].state for k in ("digits", "cifar10", "cifar10-mat")] == [
        "ready", "missing", "missing",
    ]  # fmt: skip
    assert found["auto"].name == "digits"
    assert found["cifar10"].path is None
    home.mkdir()
    (home / "cifar-10-python.tar.gz").write_bytes(tar_bytes)
    entry = available(home)["auto"]
    assert (entry.name, entry.state, entry.size) == ("cifar10", "raw only", len(tar_bytes))
    cache = prepare("cifar10", home)
    (home / "Gist512CIFAR10.mat").write_bytes(b"123")
    found = available(home)
    assert (found["auto"].state, found["auto"].path) == ("ready", cache)
    assert found["cifar10"].size == sum(p.stat().st_size for p in cache.iterdir())
    assert (found["cifar10-mat"].state, found["cifar10-mat"].size) == ("ready", 3)


# Reading CIFAR-10 ---------------------------------------------------------------------------------


def test_from_a_folder(raw_home, fake):
    data = load_dataset("cifar10", raw_home)
    check_cifar10(data, fake)
    assert data.class_names[:3] == ["airplane", "automobile", "bird"]
    assert isinstance(data.images, np.memmap)
    assert not data.images.flags.writeable
    assert repr(data) == "Dataset(name='cifar10')"


def test_from_a_link_to_a_folder(home, tmp_path, files, fake):
    write_folder(tmp_path / "elsewhere", files)
    home.mkdir()
    (home / "cifar-10-batches-py").symlink_to(tmp_path / "elsewhere")
    check_cifar10(load_dataset("cifar10", home), fake)


def test_from_an_archive_in_the_home_without_unpacking_it(home, tar_bytes, fake):
    home.mkdir()
    (home / "cifar-10-python.tar.gz").write_bytes(tar_bytes)
    check_cifar10(load_dataset("cifar10", home), fake)
    cache = datasets._cache_path(home)
    assert {p.name for p in home.iterdir()} == {"cifar-10-python.tar.gz", cache.name}
    names = {"features.npy", "images.npy", "labels.npy", "nouns.npy", "checksums.json"}
    assert {p.name for p in cache.iterdir()} == names


def test_from_a_given_archive(home, tmp_path, files, fake):
    archive = write_tar(tmp_path / "mine.tgz", files | {"other": b"so that the checksum differs"})
    assert prepare("cifar10", home, archive=archive) == datasets._cache_path(home)
    check_cifar10(load_dataset("cifar10", home), fake)
    with pytest.raises(DataError, match="there is no file .*nowhere"):
        prepare("cifar10", home, archive=tmp_path / "nowhere")


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_old_and_new_spelling_of_numpy(home, fake, core):
    files = {name: python2_file(batch, core) for name, batch in fake.items()}
    assert core in files["test_batch"]
    write_folder(home / "cifar-10-batches-py", files)
    check_cifar10(load_dataset("cifar10", home), fake)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_batches_written_again_by_python_3(home, fake, protocol):
    files = {name: pickle.dumps(batch, protocol) for name, batch in fake.items()}
    write_folder(home / "cifar-10-batches-py", files)
    check_cifar10(load_dataset("cifar10", home), fake)


def test_the_order_within_batches_is_no_matter(home, raw_home, fake, tmp_path):
    other = {}
    for name, batch in fake.items():
        turned = {key: batch[key][::-1] for key in (b"labels", b"data", b"filenames")}
        other[name] = python2_file(turned)
    write_folder(tmp_path / "second" / "cifar-10-batches-py", other)
    first, second = load_dataset("cifar10", home), load_dataset("cifar10", tmp_path / "second")
    for field in ("features", "labels", "images", "nouns"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))


def test_missing_batches_are_named(raw_home, tmp_path, files):
    (raw_home / "cifar-10-batches-py" / "data_batch_3").unlink()
    (raw_home / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(DataError, match="has no data_batch_3, test_batch"):
        load_dataset("cifar10", raw_home)
    assert caches(raw_home) == []
    short = {name: files[name] for name in NAMES[1:]}
    with pytest.raises(DataError, match="has no data_batch_1;"):
        prepare("cifar10", tmp_path / "h", archive=write_tar(tmp_path / "a.tgz", short))


def test_nothing_there_says_how_to_get_it(home):
    with pytest.raises(DataError, match="python -m grh_helpers data"):
        load_dataset("cifar10", home)
    with pytest.raises(DataError, match="data --dataset cifar10-mat"):
        load_dataset("cifar10-mat", home)
    assert not home.exists()


def spoil(batch, **changes):
    return {**batch, **{key.encode(): value for key, value in changes.items()}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": np.zeros((ROWS, 3071), np.uint8)}, "data is not 7 x 3072 bytes"),
        ({"data": np.zeros((ROWS - 1, 3072), np.uint8)}, "data is not 7 x 3072 bytes"),
        ({"data": [1, 2]}, "data is not"),
        ({"labels": [0] * (ROWS - 1)}, "labels are not 7 numbers"),
        ({"labels": [10] * ROWS}, "labels are not 7 numbers from 0 to 9"),
        ({"labels": [-1] * ROWS}, "labels are not 7 numbers from 0 to 9"),
        ({"labels": [b"cat"] * ROWS}, "labels are not 7 numbers from 0 to 9"),
        ({"filenames": [b"a_s_000001.png"]}, "there are not 7 file names"),
        ({"filenames": [3] * ROWS}, "no CIFAR-10 batch"),
        ({"filenames": [b"a_s_000001.png"] * ROWS}, "file names occur twice"),
    ],
)
def test_batches_of_the_wrong_content(raw_home, fake, change, message):
    content = python2_file(spoil(fake["data_batch_4"], **change))
    (raw_home / "cifar-10-batches-py" / "data_batch_4").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_dataset("cifar10", raw_home)
    assert caches(raw_home) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "data_batch_2 .*get it again"),
        (b"not a pickle", "data_batch_2 .*get it again"),
        (python2_file([1, 2]), "data_batch_2 .*get it again"),
        (python2_file({b"data": b"", b"labels": []}), "it has no filenames"),
        (pickle.dumps(np.dtype("f8")), "data_batch_2 .*get it again"),
    ],
)
def test_files_that_are_no_batches(raw_home, content, message):
    (raw_home / "cifar-10-batches-py" / "data_batch_2").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_dataset("cifar10", raw_home)


@pytest.mark.filterwarnings("ignore")  # NumPy's own, about strange dtypes
@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 20000), flip=st.integers(1, 255))
def test_damaged_pickles_never_surprise(files, cut, flip):
    """A byte is changed or the end is missing: read all the same, or refused with DataError."""
    content = files["data_batch_1"]
    cut %= len(content)
    altered = content[:cut] + bytes([content[cut] ^ flip]) + content[cut + 1 :]
    for damaged in (content[:cut], altered):
        try:
            datasets._read_batch(io.BytesIO(damaged), "this file")
        except DataError as error:
            assert "this file" in str(error)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_archive(home, tar_bytes, fraction):
    home.mkdir()
    (home / "cifar-10-python.tar.gz").write_bytes(tar_bytes[: int(len(tar_bytes) * fraction)])
    with pytest.raises(DataError, match=r"(damaged|cut short|has no).*"):
        load_dataset("cifar10", home)
    assert caches(home) == []


class Bomb:
    """Unpickled the usual way, this calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.mkdir, eval, np.save, functools.partial])
def test_a_pickle_that_calls_a_function(raw_home, fake, tmp_path, protocol, function):
    victim = tmp_path / "victim"
    arguments = {
        os.mkdir: (str(victim),),
        eval: (f"__import__('os').mkdir({str(victim)!r})",),
        np.save: (str(victim), 1),
        functools.partial: (os.mkdir, str(victim)),
    }[function]
    content = pickle.dumps(spoil(fake["data_batch_1"], extra=Bomb(function, *arguments)), protocol)
    (raw_home / "cifar-10-batches-py" / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match=r"it asks for [a-z_.]+\.\w+, which no batch needs"):
        load_dataset("cifar10", raw_home)
    assert not list(tmp_path.glob("victim*"))
    if function is os.mkdir:  # the bomb is a real one
        pickle.loads(content)
        assert victim.exists()


def climb(name="../../evil", **attributes):
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    "member",
    [
        climb(),
        climb("/tmp/evil"),
        climb("cifar-10-batches-py/../../evil"),
        climb("cifar-10-batches-py/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        climb("cifar-10-batches-py/test_batch", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        climb("cifar-10-batches-py/fifo", type=tarfile.FIFOTYPE),
        climb("cifar-10-batches-py/device", type=tarfile.CHRTYPE),
    ],
    ids=lambda member: member.name,
)
@pytest.mark.parametrize("first", [True, False])
def test_an_archive_that_climbs_out(home, tmp_path, files, member, first):
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        if first:
            archive.addfile(member)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        if not first:
            archive.addfile(member)
    with pytest.raises(DataError, match="which has no place in the CIFAR-10 archive"):
        prepare("cifar10", home, archive=tmp_path / "evil.tar")
    assert list(home.iterdir()) == []


# The cache ----------------------------------------------------------------------------------------


def test_the_cache_is_used_and_preparing_is_idempotent(raw_home, monkeypatch):
    cache = prepare("cifar10", raw_home)
    before = {p.name: p.stat().st_mtime_ns for p in cache.iterdir()}
    shutil.rmtree(raw_home / "cifar-10-batches-py")
    monkeypatch.setattr(datasets, "gist", None)
    assert prepare("cifar10", raw_home) == cache
    load_dataset("cifar10", raw_home)
    assert {p.name: p.stat().st_mtime_ns for p in cache.iterdir()} == before


def test_a_cache_of_another_version_is_never_used(raw_home, monkeypatch):
    old = prepare("cifar10", raw_home)
    monkeypatch.setitem(datasets.GIST_PARAMETERS, "contrast_floor", 0.3)
    new = prepare("cifar10", raw_home)
    assert new != old
    changed = np.load(new / "features.npy")
    assert np.abs(changed - np.load(old / "features.npy")).max() > 1e-3
    np.testing.assert_array_equal(load_dataset("cifar10", raw_home).features, changed)
    shutil.rmtree(new)
    shutil.rmtree(raw_home / "cifar-10-batches-py")
    with pytest.raises(DataError, match="CIFAR-10 is not in"):
        load_dataset("cifar10", raw_home)


def damage(path, how):
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "short":
        path.write_bytes(content[:-3])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "other" and path.suffix == ".json":
        path.write_text("[]")
    elif how == "other":
        np.save(path, np.zeros(3))
    else:
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])


@pytest.mark.parametrize(
    ("name", "how"),
    [
        (name, how)
        for name in ("features", "labels", "nouns", "images", "checksums")
        for how in ("gone", "short", "empty", "other", "bit")
        if (name, how) != ("images", "bit")  # images are opened, not read
    ],
)
def test_a_damaged_cache_is_noticed_and_built_again(raw_home, fake, name, how):
    cache = prepare("cifar10", raw_home)
    damage(cache / (f"{name}.json" if name == "checksums" else f"{name}.npy"), how)
    with pytest.warns(UserWarning, match="is damaged .* built again from .*batches-py"):
        data = load_dataset("cifar10", raw_home)
    check_cifar10(data, fake)
    assert caches(raw_home) == [cache.name]


def test_after_repair_there_is_no_more_warning(raw_home, recwarn):
    cache = prepare("cifar10", raw_home)
    damage(cache / "features.npy", "bit")
    load_dataset("cifar10", raw_home)
    assert len(recwarn) == 1
    load_dataset("cifar10", raw_home)
    assert len(recwarn) == 1


def test_a_damaged_cache_without_raw_data(raw_home):
    cache = prepare("cifar10", raw_home)
    shutil.rmtree(raw_home / "cifar-10-batches-py")
    damage(cache / "features.npy", "bit")
    message = "damaged .wrong checksum of features.npy.*python -m grh_helpers data"
    with pytest.raises(DataError, match=message):
        load_dataset("cifar10", raw_home)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("call", ["np.save", "Path.mkdir", "Path.rename", "Path.write_text"])
def test_a_home_that_cannot_be_written(raw_home, monkeypatch, code, call):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    owner, name = {"np": np, "Path": Path}[call.split(".")[0]], call.split(".")[1]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        todo = "free some space" if code == errno.ENOSPC else "make it writable"
        with pytest.raises(DataError, match=f"cannot use the data home {raw_home} .*{todo}"):
            prepare("cifar10", raw_home)
    assert [p.name for p in raw_home.iterdir()] == ["cifar-10-batches-py"]
    assert load_dataset("cifar10", raw_home).name == "cifar10"


def test_a_disk_that_fills_up_while_caching(raw_home):
    """The system's own limit on file sizes stands in for a full disk."""
    resource = pytest.importorskip("resource")
    code = """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
        try:
            datasets.prepare("cifar10", home)
        except datasets.DataError as error:
            print("DataError", error)
    """
    out, err = script(code, raw_home).communicate(timeout=100)
    assert out.startswith(f"DataError cannot use the data home {raw_home}"), (out, err)
    assert "free some space" in out
    assert [p.name for p in raw_home.iterdir()] == ["cifar-10-batches-py"]
    assert resource.RLIMIT_FSIZE


def test_a_home_that_is_a_file(home):
    home.write_text("")
    with pytest.raises(DataError, match=f"cannot use the data home {home}"):
        prepare("cifar10", home)


def test_interrupted_gist_leaves_nothing_that_looks_finished(raw_home, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    for name in ("gist", "_sha256", "_read_cifar10"):
        with monkeypatch.context() as patch:
            patch.setattr(datasets, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                prepare("cifar10", raw_home)
        assert caches(raw_home) == []
    prepare("cifar10", raw_home)


@pytest.mark.skipif(os.name == "nt", reason="signals to other processes are a POSIX matter")
def test_ctrl_c_in_another_process_during_gist(home, tmp_path):
    rows = 400
    big = {name: python2_file(batch) for name, batch in batches(rows).items()}
    write_folder(home / "cifar-10-batches-py", big)
    code = f"""
        datasets._ROWS = {rows}
        real = datasets.gist
        def gist(*args, **kwargs):
            print("started", flush=True)
            return real(*args, **kwargs)
        datasets.gist = gist
        datasets.prepare("cifar10", home)
    """
    process = script(code, home)
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in err
    assert caches(home) == []


def test_what_killed_runs_left_is_swept_after_a_day(raw_home):
    old, young = raw_home / "cifar10-12345678.aa.tmp", raw_home / "cifar10-12345678.bb.tmp"
    for folder in (old, young):
        folder.mkdir()
        (folder / "features.npy").write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    assert available(raw_home)["cifar10"].state == "raw only"
    cache = prepare("cifar10", raw_home)
    assert sorted(caches(raw_home)) == sorted([cache.name, young.name])


def test_another_process_was_faster(raw_home, monkeypatch, tmp_path):
    """Its cache appears while ours is computed: it is used and ours goes away."""
    cache = prepare("cifar10", raw_home)
    cache.rename(tmp_path / "theirs")

    def meanwhile(images, **kwargs):
        shutil.copytree(tmp_path / "theirs", cache)
        return np.zeros((len(images), 512))

    monkeypatch.setattr(datasets, "gist", meanwhile)
    assert load_dataset("cifar10", raw_home).features.any()
    assert caches(raw_home) == [cache.name]


def test_two_processes_at_once(home, server, fake):
    """Both download into one home and compute; both succeed and nothing is left over."""
    code = """
        real = datasets.gist
        def gist(*args, **kwargs):  # wait until both are here
            (home / f"{os.getpid()}.here").touch()
            while len(list(home.glob("*.here"))) < 2:
                time.sleep(0.01)
            return real(*args, **kwargs)
        datasets.gist = gist
        datasets.prepare("cifar10", home, url=sys.argv[2])
        print(datasets.load_dataset("cifar10", home).features.sum())
    """
    processes = [script(code, home, server.url) for _ in range(2)]
    answers = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert answers[0] == answers[1]
    left = {p.name for p in home.iterdir() if p.suffix != ".here"}
    assert left == {"cifar-10-python.tar.gz", datasets._cache_path(home).name}
    check_cifar10(load_dataset("cifar10", home), fake)


# Downloads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["good", "no ranges", "encoded"])
def test_download(home, server, fake, mode, monkeypatch):
    server.mode = mode
    monkeypatch.setattr(datasets, "CIFAR_URL", server.url)
    cache = prepare("cifar10", home)
    assert {p.name for p in home.iterdir()} == {"cifar-10-python.tar.gz", cache.name}
    check_cifar10(load_dataset("cifar10", home), fake)
    prepare("cifar10", home)
    assert server.ranges == [None]


def test_raw_data_that_is_there_is_not_downloaded(raw_home, server):
    prepare("cifar10", raw_home, url=server.url)
    assert server.ranges == []


@pytest.mark.parametrize("mode", ["good", "no ranges"])
def test_a_broken_connection_is_resumed(home, server, fake, tar_bytes, mode):
    server.mode = "cut"
    with pytest.raises(DataError, match="could not download .*run the same command again"):
        prepare("cifar10", home, url=server.url)
    assert [p.name for p in home.iterdir()] == ["cifar-10-python.tar.gz.part"]
    half = (home / "cifar-10-python.tar.gz.part").stat().st_size
    assert half == len(tar_bytes) // 2
    server.mode = mode
    prepare("cifar10", home, url=server.url)
    assert server.ranges == [None, f"bytes={half}-"]
    assert (home / "cifar-10-python.tar.gz").read_bytes() == tar_bytes
    check_cifar10(load_dataset("cifar10", home), fake)


@pytest.mark.parametrize("extra", [b"", b"more than the server has"])
def test_a_part_that_is_complete_or_too_long(home, server, tar_bytes, extra):
    home.mkdir()
    (home / "cifar-10-python.tar.gz.part").write_bytes(tar_bytes + extra)
    prepare("cifar10", home, url=server.url)
    assert len(server.ranges) == (2 if extra else 1)
    assert (home / "cifar-10-python.tar.gz").read_bytes() == tar_bytes


def test_downloads_of_dead_processes_are_taken_over(home, server, tar_bytes):
    home.mkdir()
    dead = home / "cifar-10-python.tar.gz.aa.downloading"
    smaller = home / "cifar-10-python.tar.gz.part"
    alive = home / "cifar-10-python.tar.gz.bb.downloading"
    for path, size in ((dead, 900), (smaller, 500), (alive, 1000)):
        path.write_bytes(tar_bytes[:size])
    os.utime(dead, (time.time() - 700,) * 2)
    prepare("cifar10", home, url=server.url)
    assert server.ranges == ["bytes=900-"]
    left = {p.name for p in home.iterdir()}
    assert left == {alive.name, "cifar-10-python.tar.gz", datasets._cache_path(home).name}


@pytest.mark.parametrize("altered", [b"short", None])
def test_an_altered_download_is_refused_and_removed(home, server, tar_bytes, altered):
    server.content = altered or tar_bytes[:-1] + bytes([tar_bytes[-1] ^ 1])
    found = hashlib.md5(server.content).hexdigest()
    message = f"MD5 sum {found} instead of {datasets.CIFAR_MD5}.*removed.*try again"
    with pytest.raises(DataError, match=message):
        prepare("cifar10", home, url=server.url)
    assert list(home.iterdir()) == []


def test_http_errors(home, server):
    server.mode = "missing"
    with pytest.raises(DataError, match="could not download .*404.*mirror"):
        prepare("cifar10", home, url=server.url)
    assert list(home.iterdir()) == []


def test_no_network(home):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        with pytest.raises(DataError, match="could not download"):
            prepare("cifar10", home, url=url)
    with pytest.raises(DataError, match="could not download"):
        prepare("cifar10", home, url="not a url")
    assert list(home.iterdir()) == []


def test_timeouts(home, server, monkeypatch):
    server.mode = "stalled"
    get = datasets.requests.get
    patience = []

    def hasty(*args, timeout, **kwargs):
        patience.extend(timeout)
        return get(*args, timeout=0.3, **kwargs)

    monkeypatch.setattr(datasets.requests, "get", hasty)
    with pytest.raises(DataError, match="could not download .*timed out"):
        prepare("cifar10", home, url=server.url)
    assert 0 < max(patience) < datasets._DEAD_DOWNLOAD
    (part,) = home.iterdir()
    assert part.suffix == ".part"
    assert part.stat().st_size > 0


def test_a_disk_that_fills_up_while_downloading(home, server, monkeypatch, tar_bytes):
    class Full(io.FileIO):
        def write(self, block):
            super().write(block[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "open", lambda path, mode: Full(path, mode), raising=False)
        with pytest.raises(DataError, match=f"cannot use the data home {home} .*free some space"):
            prepare("cifar10", home, url=server.url)
    assert [(p.name, p.stat().st_size) for p in home.iterdir()] == [
        ("cifar-10-python.tar.gz.part", 100)
    ]
    prepare("cifar10", home, url=server.url)
    assert server.ranges == [None, "bytes=100-"]


@pytest.mark.skipif(os.name == "nt", reason="signals to other processes are a POSIX matter")
def test_ctrl_c_during_a_download(home, server, tar_bytes):
    server.mode = "stalled"
    process = script("datasets.prepare('cifar10', home, url=sys.argv[2])", home, server.url)
    half = len(tar_bytes) // 2
    deadline = time.monotonic() + 60
    while sum(p.stat().st_size for p in home.glob("*.downloading")) == 0:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert "KeyboardInterrupt" in err
    (part,) = home.iterdir()
    assert part.name == "cifar-10-python.tar.gz.part"
    kept = part.stat().st_size
    assert 0 < kept <= half
    server.mode = "good"
    prepare("cifar10", home, url=server.url)
    assert server.ranges == [None, f"bytes={kept}-"]


# The .mat file ------------------------------------------------------------------------------------


def mat_content(**changes):
    rng = np.random.default_rng(3)
    content = {"X": rng.random((6 * ROWS, 512)), "X_class": np.arange(6 * ROWS)[None] % 10}
    content |= changes
    return {key: value for key, value in content.items() if value is not None}


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_mat(home, first, dtype):
    content = mat_content()
    home.mkdir()
    classes = (content["X_class"] + first).astype(dtype)
    savemat(home / "Gist512CIFAR10.mat", content | {"X_class": classes}, do_compression=True)
    data = load_dataset("cifar10-mat", home)
    np.testing.assert_array_equal(data.features, content["X"])
    np.testing.assert_array_equal(data.labels, np.arange(6 * ROWS) % 10)
    assert data.labels.dtype == np.int64
    assert data.features.flags.c_contiguous
    assert data.images is None
    assert data.nouns is None
    assert prepare("cifar10-mat", home) == home / "Gist512CIFAR10.mat"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": None}, "has no variable 'X'"),
        ({"X_class": None}, "has no variable 'X_class'"),
        ({"X": np.zeros((6 * ROWS, 511))}, "X is not 42 x 512"),
        ({"X": np.zeros((512, 6 * ROWS))}, "X is not 42 x 512"),
        ({"X": "text"}, "X is not 42 x 512"),
        ({"X_class": np.zeros((1, 5))}, "X_class is not 42 numbers"),
        ({"X_class": np.arange(42)[None] % 11}, "X_class is not 42 numbers from 0 to 9 or 1 to 10"),
        ({"X_class": np.arange(42)[None] % 10 + 0.5}, "X_class is not 42 numbers"),
        ({"X_class": np.full((1, 42), np.nan)}, "X_class is not 42 numbers"),
        ({"X": np.full((42, 512), np.nan)}, "42 rows of the features hold NaN or infinity"),
    ],
)
def test_mat_of_the_wrong_content(home, tmp_path, changes, message):
    savemat(tmp_path / "a.mat", mat_content(**changes))
    with pytest.raises(DataError, match=message):
        prepare("cifar10-mat", home, archive=tmp_path / "a.mat")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"<html>sign in</html>" * 50, "damaged"),
        (b"MATLAB 7.3 MAT-file, Platform".ljust(124) + b"\x00\x02IM" + bytes(900), "MATLAB 7.3"),
    ],
)
def test_files_that_are_no_mat(home, content, message):
    home.mkdir()
    (home / "Gist512CIFAR10.mat").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_dataset("cifar10-mat", home)


def test_truncated_mat(home, tmp_path):
    savemat(tmp_path / "a.mat", mat_content())
    content = (tmp_path / "a.mat").read_bytes()
    home.mkdir()
    for keep in (100, 200, len(content) // 2, len(content) - 400):
        (home / "Gist512CIFAR10.mat").write_bytes(content[:keep])
        with pytest.raises(DataError, match="damaged|has no variable"):
            load_dataset("cifar10-mat", home)


def test_mat_download_and_local_file(home, server, tmp_path):
    savemat(tmp_path / "a.mat", mat_content())
    server.content = (tmp_path / "a.mat").read_bytes()
    assert prepare("cifar10-mat", home, url=server.url) == home / "Gist512CIFAR10.mat"
    assert load_dataset("cifar10-mat", home).name == "cifar10-mat"
    prepare("cifar10-mat", tmp_path / "second", archive=tmp_path / "a.mat")
    assert [p.name for p in (tmp_path / "second").iterdir()] == ["Gist512CIFAR10.mat"]
    server.content = b"<html>this file is gone</html>"
    with pytest.raises(DataError, match="get it again"):
        prepare("cifar10-mat", tmp_path / "third", url=server.url)
    assert list((tmp_path / "third").iterdir()) == []


# Splits -------------------------------------------------------------------------------------------


def random_dataset(n=500, d=6, seed=0):
    rng = np.random.default_rng(seed)
    return Dataset("mine", rng.random((n, d)) + 0.1, rng.integers(0, 3, n), list("abc"))


def test_split_of_sixty_thousand_has_the_documented_sizes_and_rows():
    from sklearn.model_selection import train_test_split

    data = random_dataset(60_000, 3)
    split = data.split()
    assert [len(p) for p in (split.queries, split.train, split.database)] == [120, 1198, 58682]
    # The rates as they are usually given to scikit-learn.
    rest, query = train_test_split(np.arange(60_000), test_size=0.002, random_state=42)
    database, train = train_test_split(rest, test_size=0.02, random_state=42)
    np.testing.assert_array_equal(split.query_index, query)
    np.testing.assert_array_equal(split.train_index, train)
    np.testing.assert_array_equal(split.database_index, database)


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 60), st.data())
def test_split_is_normalised_then_centred(n, data):
    n_queries = data.draw(st.integers(1, n - 2))
    n_train = data.draw(st.integers(1, n - n_queries - 1))
    source = random_dataset(n, 4, seed=n)
    split = source.split(n_queries, n_train, random_state=data.draw(st.integers(0, 5)))
    parts = {"query": split.queries, "train": split.train, "database": split.database}
    indices = [getattr(split, f"{part}_index").tolist() for part in parts]
    assert [len(i) for i in indices] == [n_queries, n_train, n - n_queries - n_train]
    assert sorted(sum(indices, [])) == list(range(n))
    unit = [[v / sum(w * w for w in row) ** 0.5 for v in row] for row in source.features.tolist()]
    others = indices[1] + indices[2]
    mean = [sum(unit[i][j] for i in others) / len(others) for j in range(4)]
    for (part, rows), index in zip(parts.items(), indices, strict=True):
        expected = [[v - m for v, m in zip(unit[i], mean, strict=True)] for i in index]
        np.testing.assert_allclose(rows, expected, atol=1e-13)
        assert rows.dtype == np.float64
        assert rows.flags.c_contiguous
        np.testing.assert_array_equal(getattr(split, f"{part}_labels"), source.labels[index])


def test_split_of_digits_and_seeds(digits):
    data = digits
    first = data.split()
    assert [len(p) for p in (first.queries, first.train, first.database)] == [120, 300, 1377]
    np.testing.assert_array_equal(first.query_index, data.split().query_index)
    assert (first.query_index != data.split(random_state=1).query_index).any()
    assert len(data.split(n_train=17).train) == 17


def test_stratified_split_has_every_class_in_equal_share():
    labels = np.repeat([0, 1, 2], [300, 200, 100])
    data = Dataset("mine", np.random.default_rng(0).random((600, 3)) + 0.1, labels, list("abc"))
    split = data.split(60, 120, stratify=True)
    assert np.bincount(split.query_labels).tolist() == [30, 20, 10]
    assert np.bincount(split.train_labels).tolist() == [60, 40, 20]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_queries": 0}, "n_queries must be a whole number of at least 1, got 0"),
        ({"n_train": -3}, "n_train must be a whole number of at least 1, got -3"),
        ({"n_queries": 2.5}, "n_queries must be a whole number"),
        ({"n_train": "9"}, "n_train must be a whole number"),
        ({"n_queries": 200, "n_train": 300}, "200 queries and 300 training rows leave no database"),
        ({"n_queries": 500}, "leave no database of the 500 rows"),
        ({"n_queries": 2, "stratify": True}, "number of classes"),
    ],
)
def test_impossible_sizes(sizes, message):
    with pytest.raises(ValueError, match=message):
        random_dataset().split(**sizes)


def test_a_zero_row_cannot_be_normalised():
    data = random_dataset()
    data.features[77] = 0
    with pytest.raises(DataError, match="row 77 of the features is zero"):
        data.split()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_must_be_finite(value):
    features = np.ones((10, 3))
    features[[4, 7], 1] = value
    with pytest.raises(DataError, match="2 rows .* NaN or infinity, the first is row 4"):
        Dataset("mine", features, np.zeros(10, int), ["a"])


def test_features_and_labels_must_match():
    with pytest.raises(DataError, match=r"\(10, 3\) and \(9,\)"):
        Dataset("mine", np.ones((10, 3)), np.zeros(9, int), ["a"])


def test_the_list_of_names_is_public():
    assert set(datasets.__all__) <= set(vars(datasets))
    assert json.dumps(datasets.GIST_PARAMETERS)  # what the cache's name is a hash of
